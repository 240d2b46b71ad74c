//! Weights that the other nodes of a ledger have, and this one has not.
//!
//! A learner uploads its weights to one node. What the ledger then names each node fetches for itself, so that
//! every learner finds it at its own node. Nobody is believed: what arrives goes the way of an upload, which
//! takes no more than was announced and compares the digest. It is asked for with `GET /artifact/DIGEST`, a part
//! at a time and each in limited time: no client, no certificates and no limits besides those that asking for
//! signatures needs already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use colearn_contracts::{Digest, ExperimentName, Model, Phase};
use colearn_net::{Body, Credential, Http};
use colearn_records::convert::ExperimentState;
use colearn_records::log_keys::LogKeys;
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::artifacts::{ArtifactError, ArtifactStore, Bringer, Upload};
use crate::https::Servers;
use crate::view::{View, Views};

/// How many are fetched at once of what the ledger names, and as many again of what is submitted: somebody
/// waits for those, so they do not stand behind the others.
const AT_ONCE: usize = 4;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How much is asked for at a time.
    pub(crate) part_bytes: u64,
    /// How long a part may take. What has arrived by then is kept, and another node is asked for the rest: who
    /// sends a byte now and then holds nothing up.
    pub(crate) part: Duration,
    /// How long it is before all are asked again, at first and at most.
    pub(crate) pause: (Duration, Duration),
    /// How long a submission waits for the weights that it names.
    pub(crate) submission: Duration,
    /// How long a download waits for weights that the ledger names.
    pub(crate) download: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            part_bytes: 2 << 20,
            part: Duration::from_secs(10),
            pause: (Duration::from_secs(1), Duration::from_secs(30)),
            submission: Duration::from_secs(10),
            download: Duration::from_secs(60),
        }
    }
}

/// Fetches weights from the other nodes; cheap to clone.
#[derive(Clone)]
pub(crate) struct Pulling(Arc<Inner>);

struct Inner {
    artifacts: ArtifactStore,
    others: Others,
    /// The key that this node signs checkpoints with, so that it does not ask itself.
    own: [u8; 32],
    servers: Servers,
    patience: Patience,
    /// What the ledger names, be it here or not.
    named: Mutex<BTreeMap<Wanted, Pull>>,
    for_ledger: Arc<Semaphore>,
    for_submissions: Arc<Semaphore>,
    stopping: CancellationToken,
}

/// Who the other nodes are.
pub(crate) enum Others {
    /// Those that keep the ledger together with this one.
    Keepers(watch::Receiver<Arc<LogKeys>>),
    /// Those at these addresses: mirrors of a contract's ledger, which does not name them.
    Named(Vec<String>),
}

/// One of them.
#[derive(Clone)]
struct Other {
    name: String,
    url: String,
}

/// What is fetched. With its size, which whoever names a digest could misstate: that must not keep the same
/// from being fetched for who states it right.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Wanted {
    digest: Digest,
    size: u64,
}

impl From<&Model> for Wanted {
    fn from(model: &Model) -> Self {
        Self { digest: model.digest, size: model.size }
    }
}

/// Something that the ledger names.
struct Pull {
    /// Cancelled when it is named no longer.
    unwanted: CancellationToken,
    /// Whether it is here.
    here: watch::Receiver<bool>,
}

/// What is thought of the other nodes while something is fetched.
#[derive(Default, Debug)]
struct Doubts {
    /// How often all were asked.
    rounds: usize,
    /// Parts of several nodes made something else. From then on each is asked for the whole: then it is known
    /// who sends other bytes, and a liar spoils nothing that others have sent.
    each_alone: bool,
    /// Who has sent other bytes, alone.
    liars: BTreeSet<String>,
}

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
enum NotPulled {
    #[error("nobody wants it any more")]
    Unwanted,
    #[error("no other node has sent it")]
    Nobody,
    #[error("{0}")]
    Asking(String),
    #[error("it sent {got} of {wanted} bytes that it was asked for")]
    Short { got: u64, wanted: u64 },
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl Pulling {
    /// Fetches for the node with this key, which is not asked, and says so to those that are.
    pub(crate) fn new(
        artifacts: ArtifactStore,
        others: Others,
        own: Credential,
        patience: Patience,
        stopping: &CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            artifacts,
            others,
            own: own.public_key(),
            servers: Servers::signing(own),
            patience,
            named: Mutex::default(),
            for_ledger: Arc::new(Semaphore::new(AT_ONCE)),
            for_submissions: Arc::new(Semaphore::new(AT_ONCE)),
            stopping: stopping.clone(),
        }))
    }

    fn named(&self) -> MutexGuard<'_, BTreeMap<Wanted, Pull>> {
        self.0.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches what the ledger names, until the node stops.
    pub(crate) async fn follow(self, views: Views) {
        let mut size = views.size();
        let mut live = BTreeSet::new();
        loop {
            size.mark_unchanged();
            self.look(named_by(&views.latest(), &mut live)).await;
            tokio::select! {
                () = self.0.stopping.cancelled() => return,
                changed = size.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Begins with what is named now, and ends with what is not any more.
    async fn look(&self, named: BTreeSet<Wanted>) {
        let new: Vec<Wanted> = {
            let mut known = self.named();
            known.retain(|wanted, pull| {
                // What has gone from where it was kept is fetched again.
                let gone = *pull.here.borrow() && self.is_gone(wanted);
                let still = named.contains(wanted) && !gone;
                if !still {
                    pull.unwanted.cancel();
                }
                still
            });
            named.into_iter().filter(|wanted| !known.contains_key(wanted)).collect()
        };
        if new.is_empty() {
            return;
        }
        let artifacts = self.0.artifacts.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let here = |it: Wanted| (it, artifacts.size_of(&it.digest).is_some());
            new.into_iter().map(here).collect::<Vec<_>>()
        });
        // The runtime is shutting down if this fails.
        let Ok(looked) = looked.await else { return };
        for (wanted, is_here) in looked {
            let pull = self.begin(wanted, is_here);
            self.named().insert(wanted, pull);
        }
    }

    fn begin(&self, wanted: Wanted, is_here: bool) -> Pull {
        let (done, here) = watch::channel(is_here);
        let unwanted = self.0.stopping.child_token();
        if !is_here {
            tokio::spawn(self.clone().pull(wanted, unwanted.clone(), done));
        }
        Pull { unwanted, here }
    }

    /// Whether it is not in the store, where it was.
    fn is_gone(&self, wanted: &Wanted) -> bool {
        self.0.artifacts.size_of(&wanted.digest).is_none()
    }

    /// Asks again and again for something that the ledger names.
    async fn pull(self, wanted: Wanted, unwanted: CancellationToken, here: watch::Sender<bool>) {
        let digest = wanted.digest;
        let mut doubts = Doubts::default();
        let (mut pause, longest) = self.0.patience.pause;
        loop {
            let slots = self.0.for_ledger.clone();
            let slot = tokio::select! {
                () = unwanted.cancelled() => return,
                slot = slots.acquire_owned() => slot,
            };
            let (pulling, stop) = (self.clone(), unwanted.clone());
            let asked = tokio::task::spawn_blocking(move || {
                let done = pulling.ask_all(wanted, &mut doubts, &stop);
                drop(slot);
                (done, doubts)
            });
            // The runtime is shutting down if this fails.
            let Ok((done, after)) = asked.await else { return };
            doubts = after;
            match done {
                Ok(()) => {
                    tracing::debug!(%digest, "weights fetched from another node");
                    here.send_replace(true);
                    return;
                }
                Err(NotPulled::Unwanted) => return,
                Err(error) if doubts.rounds == 1 => {
                    tracing::warn!(%digest, %error, "weights that the ledger names are not here yet");
                }
                Err(error) => tracing::debug!(%digest, %error, "weights are not here yet"),
            }
            tokio::select! {
                () = unwanted.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (2 * pause).min(longest);
        }
    }

    /// Fetches weights that somebody names who has perhaps uploaded them to another node: asks each once. Tells
    /// whether they are here in the end.
    pub(crate) async fn fetch(&self, model: &Model) -> bool {
        let wanted = Wanted::from(model);
        let stop = self.0.stopping.child_token();
        // Ends the fetching, too, when whoever asks does not wait any longer.
        let _stops = stop.clone().drop_guard();
        let fetching = async {
            if let Some(here) = self.pull_of(|it| *it == wanted) {
                return became_true(here).await;
            }
            // Never closed; it fails as if it were not there.
            let Ok(slot) = self.0.for_submissions.clone().acquire_owned().await else {
                return false;
            };
            let pulling = self.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let done = pulling.ask_all(wanted, &mut Doubts::default(), &stop);
                drop(slot);
                done
            });
            matches!(asked.await, Ok(Ok(())))
        };
        tokio::time::timeout(self.0.patience.submission, fetching).await.unwrap_or(false)
    }

    /// Waits for weights that the ledger names; at once `false` for any other: this fetches nothing for strangers.
    pub(crate) async fn wait_for(&self, digest: &Digest) -> bool {
        let Some(here) = self.pull_of(|it| it.digest == *digest) else { return false };
        let waiting = became_true(here);
        tokio::time::timeout(self.0.patience.download, waiting).await.unwrap_or(false)
    }

    fn pull_of(&self, is_it: impl Fn(&Wanted) -> bool) -> Option<watch::Receiver<bool>> {
        let mut named = self.named();
        let (wanted, pull) = named.iter_mut().find(|(wanted, _)| is_it(wanted))?;
        if *pull.here.borrow() && self.is_gone(wanted) {
            *pull = self.begin(*wanted, false);
        }
        Some(pull.here.clone())
    }

    /// The others, another first each time, so that no one of them has all the work.
    fn others(&self, wanted: Wanted, rounds: usize) -> Vec<Other> {
        let mut others: Vec<_> = match &self.0.others {
            Others::Keepers(keys) => {
                let keys = keys.borrow().clone();
                let them = keys.validators().into_iter().flat_map(|them| them.iter());
                let them = them.filter(|it| *it.log_key().as_bytes() != self.0.own);
                them.map(|it| Other { name: it.name().to_owned(), url: it.url().to_owned() })
                    .collect()
            }
            Others::Named(urls) => {
                urls.iter().map(|url| Other { name: url.clone(), url: url.clone() }).collect()
            }
        };
        if !others.is_empty() {
            let first = (usize::from(wanted.digest.0[0]) + rounds) % others.len();
            others.rotate_left(first);
        }
        others
    }

    /// Asks each of the others once, one after the other.
    fn ask_all(
        &self,
        wanted: Wanted,
        doubts: &mut Doubts,
        stop: &CancellationToken,
    ) -> Result<(), NotPulled> {
        let others = self.others(wanted, doubts.rounds);
        doubts.rounds += 1;
        // Somebody has brought it here, or it was merged here.
        if self.0.artifacts.size_of(&wanted.digest) == Some(wanted.size) {
            return Ok(());
        }
        for other in others {
            if doubts.liars.contains(&other.name) {
                continue;
            }
            match self.ask(&other, wanted, doubts, stop) {
                Ok(()) => return Ok(()),
                Err(NotPulled::Unwanted) => return Err(NotPulled::Unwanted),
                // Whoever sends it, it cannot be kept here.
                Err(NotPulled::Artifact(
                    error @ (ArtifactError::Full { .. }
                    | ArtifactError::DiskFull
                    | ArtifactError::TooLarge { .. }
                    | ArtifactError::InProgress(_)
                    | ArtifactError::Busy
                    | ArtifactError::Store(_)
                    | ArtifactError::Io(_)),
                )) => return Err(error.into()),
                Err(error) => {
                    let (node, digest) = (&other.name, wanted.digest);
                    tracing::debug!(node, %digest, %error, "no weights from another node");
                }
            }
        }
        Err(NotPulled::Nobody)
    }

    /// Asks one of the others for what is missing.
    fn ask(
        &self,
        other: &Other,
        wanted: Wanted,
        doubts: &mut Doubts,
        stop: &CancellationToken,
    ) -> Result<(), NotPulled> {
        let Wanted { digest, size } = wanted;
        let server = self.0.servers.at(&other.url, self.0.patience.part);
        let server = server.map_err(|error| NotPulled::Asking(error.to_string()))?;
        let path = format!("/artifact/{digest}");
        let kept = self.0.artifacts.part_size_of(&digest, Bringer::Node);
        let begin = if doubts.each_alone || kept > size { 0 } else { kept };
        let mut at = begin;
        let mut upload = None;
        while at < size {
            let part = self.0.patience.part_bytes.min(size - at);
            let deadline = Instant::now() + self.0.patience.part;
            let mut answer = ask_for(&server, &path, (at, part, size), stop)?;
            // Only now: whoever has nothing takes no room, and cuts off nothing that is kept.
            if upload.is_none() {
                upload = self.0.artifacts.upload(Bringer::Node, digest, size, begin)?;
            }
            let Some(upload) = &mut upload else { return Ok(()) };
            take(&mut answer, part, deadline, upload, stop)?;
            at += part;
        }
        let upload = match upload {
            Some(upload) => Some(upload),
            // All was kept, and only not looked at.
            None => self.0.artifacts.upload(Bringer::Node, digest, size, begin)?,
        };
        let Some(upload) = upload else { return Ok(()) };
        match upload.finish() {
            Ok(_) => Ok(()),
            Err(error @ ArtifactError::WrongDigest { .. }) => {
                if begin == 0 {
                    tracing::warn!(node = other.name, %digest, "a node has sent other weights");
                    doubts.liars.insert(other.name.clone());
                } else {
                    doubts.each_alone = true;
                }
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

async fn became_true(mut here: watch::Receiver<bool>) -> bool {
    // The other end goes when it is not wanted any more.
    here.wait_for(|here| *here).await.is_ok()
}

/// Asks for a part of something that has so many bytes. On a thread that may block.
fn ask_for(
    server: &Http,
    path: &str,
    (at, part, size): (u64, u64, u64),
    stop: &CancellationToken,
) -> Result<Body, NotPulled> {
    let last = at + part - 1;
    let answer = Handle::current().block_on(async {
        tokio::select! {
            () = stop.cancelled() => Err(NotPulled::Unwanted),
            answer = server.get_range(path, at, last) => {
                answer.map_err(|error| NotPulled::Asking(error.to_string()))
            }
        }
    })?;
    let range = answer.headers().get("content-range").and_then(|it| it.to_str().ok());
    let is_it = range == Some(&format!("bytes {at}-{last}/{size}"));
    match answer.status().as_u16() {
        206 if is_it => Ok(answer.into_body()),
        206 => {
            let range = range.unwrap_or("nothing");
            Err(NotPulled::Asking(format!("it answers with {range}, asked for {at}-{last}/{size}")))
        }
        status => Err(NotPulled::Asking(format!("it answers {status}"))),
    }
}

/// Writes what arrives until then, and not more than was asked for.
fn take(
    from: &mut Body,
    part: u64,
    deadline: Instant,
    upload: &mut Upload,
    stop: &CancellationToken,
) -> Result<(), NotPulled> {
    let runtime = Handle::current();
    let mut got = 0;
    while got < part {
        let next = runtime.block_on(async {
            tokio::select! {
                () = stop.cancelled() => Err(NotPulled::Unwanted),
                next = tokio::time::timeout_at(deadline, from.frame()) => Ok(next),
            }
        })?;
        let bytes = match next {
            Err(_) => return Err(NotPulled::Asking("it takes too long".to_owned())),
            Ok(None) => return Err(NotPulled::Short { got, wanted: part }),
            Ok(Some(Err(error))) => return Err(NotPulled::Asking(error.to_string())),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => bytes,
                // Trailers.
                Err(_) => continue,
            },
        };
        let left = usize::try_from(part - got).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(left)];
        upload.write(bytes)?;
        got += bytes.len() as u64;
    }
    Ok(())
}

/// What a state names, of the experiments that were seen to be live: one that ends with a merge is to end with
/// its model everywhere.
fn named_by(view: &View, live: &mut BTreeSet<ExperimentName>) -> BTreeSet<Wanted> {
    let mut named = BTreeSet::new();
    for experiment in view.experiments_after("") {
        let state = experiment.state();
        if matches!(state.phase, Phase::Finished(_)) {
            if live.contains(&state.name) {
                named.insert(Wanted::from(&state.model));
            }
            continue;
        }
        live.insert(state.name.clone());
        named.extend(models(state).into_iter().map(Wanted::from));
    }
    named
}

/// What an experiment needs to go on.
pub(crate) fn models(state: &ExperimentState) -> Vec<&Model> {
    let mut models = vec![&state.model];
    models.extend(&state.previous);
    match &state.phase {
        Phase::Voting { weights, .. } => models.push(weights),
        Phase::Merged(round) => models.extend(round.updates().map(|(_, weights)| weights)),
        Phase::Waiting | Phase::Paused(_) | Phase::Proposing { .. } | Phase::Finished(_) => {}
    }
    models
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
