//! Checkpoints that more than two thirds of the nodes have signed.
//!
//! Each node signs what is durable on its own disk. Whoever wants to show a checkpoint asks the others for
//! theirs of the same size: `GET /checkpoint/<size>` waits until that is durable there. No quorum, no
//! receipt.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Hash, Reader, SignedCheckpoint, SignedNote, Signer, Verifier};
use colearn_net::Credential;
use colearn_records::follower::Blocks;
use colearn_records::log_keys::LogKeys;
use colearn_records::record::Record;
use colearn_records::validators::Validator;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::application::Application;
use super::before::Before;
use super::peers::{self, Answer};
use crate::clock::{Clock, MAX_SKEW};
use crate::https::Servers;

/// How far ahead of a node it may be asked to sign: it waits until it is there.
pub(crate) const MAX_AHEAD: u64 = 1_000;
/// How long a node waits until it has what it is asked to sign.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// After an answer that was none, another node is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// The most that evidence has: two notes.
const MAX_EVIDENCE_BYTES: u64 = 256 << 10;
/// For how many sizes the lines of others are kept, to be handed on.
const KEPT_SIZES: usize = 64;

/// Signs for this node, and knows what others have signed.
pub(crate) struct Signatures {
    signer: Signer,
    reader: Reader,
    committed: watch::Receiver<u64>,
    keys: watch::Receiver<Arc<LogKeys>>,
    /// The lines of others that verify, by size.
    lines: Mutex<BTreeMap<u64, Vec<(Verifier, String)>>>,
    /// Who has signed another history than this one, and of how many entries at most.
    contradicted: Mutex<BTreeMap<String, u64>>,
    /// Whose clock shows another time, by so many ms.
    skews: Mutex<BTreeMap<String, i64>>,
    /// The others.
    servers: Servers,
    /// Whoever has this hears those out who answer when enough have signed.
    hearing: Arc<Semaphore>,
    /// What must come before it signs.
    before: Arc<Before>,
    /// Where evidence is kept: a node that is started anew has not forgotten.
    data: PathBuf,
}

/// What another node says about a size.
enum Said {
    /// These lines are right, and of this history.
    Lines(Vec<(Verifier, String)>),
    /// It has signed another root.
    OtherRoot,
    /// Nothing that can be used.
    Nothing(String),
}

impl Signatures {
    pub(super) fn new(
        signer: Signer,
        reader: Reader,
        committed: watch::Receiver<u64>,
        keys: watch::Receiver<Arc<LogKeys>>,
        before: Arc<Before>,
        data: PathBuf,
    ) -> Self {
        let contradicted =
            Mutex::new(evidence(&data, signer.verifier().name(), &keys.borrow(), &reader));
        let (lines, skews) = (Mutex::default(), Mutex::default());
        let own = Credential::new(signer.signing_key()).for_ledger(keys.borrow().ledger().0);
        let (servers, hearing) = (Servers::signing(own), Arc::new(Semaphore::new(1)));
        Self {
            signer,
            reader,
            committed,
            keys,
            lines,
            contradicted,
            skews,
            servers,
            hearing,
            before,
            data,
        }
    }

    /// This node's note of the first `size` entries, when they are durable here, with the lines of others
    /// that it knows; `None` if that takes too long, or no block ends there.
    pub(crate) async fn note(&self, size: u64) -> Result<Option<String>, colearn_ledger::Error> {
        let mut committed = self.committed.clone();
        let there = *committed.borrow_and_update();
        if size == 0 || size > there.saturating_add(MAX_AHEAD) || self.before.pending().is_some() {
            return Ok(None);
        }
        let reached = committed.wait_for(|there| *there >= size);
        if !matches!(tokio::time::timeout(PATIENCE, reached).await, Ok(Ok(_))) {
            return Ok(None);
        }
        // Of a block all is signed or nothing, whoever asks: a checkpoint within one would be a fault.
        let last = Record::decode(&self.reader.entry(size - 1)?);
        if !last.is_ok_and(|last| Blocks::behind(&last).is_some()) {
            return Ok(None);
        }
        let root = self.reader.root(size)?;
        let text = self.text(size, root);
        let mut note = format!("{text}\n{}", self.signer.sign(&text, 0));
        for (_, line) in self.lines().get(&size).into_iter().flatten() {
            note.push_str(line);
        }
        Ok(Some(note))
    }

    fn text(&self, size: u64, root: Hash) -> String {
        let origin = self.signer.verifier().name().to_owned();
        Checkpoint { origin, size, root }.text()
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<(Verifier, String)>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that this node signs with.
    pub(super) fn own(&self) -> &Verifier {
        self.signer.verifier()
    }

    /// The nodes that have signed another history than this one.
    pub(super) fn contradicted(&self) -> Vec<String> {
        let contradicted = self.contradicted.lock().unwrap_or_else(PoisonError::into_inner);
        contradicted.keys().cloned().collect()
    }

    /// Notes what another node's clock shows while this one's shows `now_ms`, and warns when they come to differ.
    fn compare_clocks(&self, name: &str, clock_ms: u64, now_ms: u64) {
        let ms = |time_ms: u64| i64::try_from(time_ms).unwrap_or(i64::MAX);
        let skew_ms = ms(clock_ms).saturating_sub(ms(now_ms));
        let mut skews = self.skews.lock().unwrap_or_else(PoisonError::into_inner);
        if Duration::from_millis(skew_ms.unsigned_abs()) < MAX_SKEW {
            skews.remove(name);
        } else if skews.insert(name.to_owned(), skew_ms).is_none() {
            let differs_s = skew_ms as f64 / 1000.0;
            tracing::warn!(
                node = name,
                differs_s,
                "another node's clock shows another time than this one's; see to NTP: blocks from a minute \
                 ahead are refused"
            );
        }
    }

    /// Who of those that keep the ledger has a clock that shows another time than this node's, and by how many ms
    /// it is ahead.
    pub(super) fn skews(&self) -> BTreeMap<String, i64> {
        let keys = self.keys.borrow().clone();
        let mut skews = self.skews.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody asks those any more that have left.
        skews.retain(|name, _| keys.validators().is_some_and(|them| them.get(name).is_some()));
        skews.clone()
    }

    /// How many contradict this node, and of how many, if these are more than a third: then there is no quorum
    /// for what this node has. What enough have signed with it since is contradicted no longer.
    pub(super) fn contradiction(&self, published: u64) -> Option<(usize, usize)> {
        let keys = self.keys.borrow().clone();
        let them = keys.validators()?;
        let contradicted = self.contradicted.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |it: &&Validator| contradicted.get(it.name()).is_some_and(|at| *at > published);
        let (by, of) = (them.iter().filter(since).count(), them.count());
        (3 * by > of).then_some((by, of))
    }

    /// Looks at what a node has answered.
    fn judge(&self, from: &Validator, keys: &LogKeys, own: &Checkpoint, note: &str) -> Said {
        let parsed = match SignedNote::parse(note) {
            Ok(parsed) => parsed,
            Err(error) => return Said::Nothing(error.to_string()),
        };
        let stated = match Checkpoint::parse(parsed.text()) {
            Ok(stated) => stated,
            Err(error) => return Said::Nothing(error.to_string()),
        };
        if (&stated.origin, stated.size) != (&own.origin, own.size) {
            return Said::Nothing("it answered something else than it was asked".to_owned());
        }
        if stated.root != own.root {
            // Only its own word is held against it.
            let key = Verifier::new(&own.origin, KeyKind::Log, *from.log_key());
            return match key.is_ok_and(|key| key.verify(&parsed).is_ok()) {
                true => {
                    self.keep_evidence(from, own, note);
                    Said::OtherRoot
                }
                false => Said::Nothing("it answered with another root, and not signed".to_owned()),
            };
        }
        let of = keys.at(own.size);
        match of.signed(&parsed) {
            Ok(signed) => Said::Lines(
                signed
                    .into_iter()
                    .filter_map(|key| Some((key.clone(), parsed.line_of(key)?)))
                    .collect(),
            ),
            Err(error) => Said::Nothing(error.to_string()),
        }
    }

    /// Keeps the first of each node, which is enough: it could sign another history at every size.
    fn keep_evidence(&self, from: &Validator, own: &Checkpoint, note: &str) {
        let size = own.size;
        let mut contradicted = self.contradicted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = contradicted.get(from.name()).copied();
        contradicted.insert(from.name().to_owned(), size.max(before.unwrap_or(0)));
        drop(contradicted);
        if before.is_some() {
            return;
        }
        let path = evidence_path(&self.data, size, from.name());
        let text = own.text();
        let ours = match self.before.pending() {
            None => format!("{text}\n{}", self.signer.sign(&text, 0)),
            // It has vouched for something else, perhaps.
            Some(_) => text,
        };
        let kept = colearn_files::replace(&path, format!("{ours}\n{note}").as_bytes());
        tracing::error!(
            node = from.name(),
            size,
            evidence = %path.display(),
            kept = kept.is_ok(),
            "a node has signed another history than this one"
        );
    }

    fn remember(&self, size: u64, new: Vec<(Verifier, String)>) {
        let mut lines = self.lines();
        let known = lines.entry(size).or_default();
        for (key, line) in new {
            if key != *self.signer.verifier() && !known.iter().any(|(other, _)| *other == key) {
                known.push((key, line));
            }
        }
        while lines.len() > KEPT_SIZES {
            lines.pop_first();
        }
    }

    /// The checkpoint with as many lines as it needs, this node's first; `None` if there are too few.
    fn gathered(&self, own: &Checkpoint, keys: &LogKeys) -> Option<SignedCheckpoint> {
        let of = keys.at(own.size);
        let text = own.text();
        let mut signed: Vec<String> = Vec::new();
        if of.contains(self.signer.verifier()) && self.before.pending().is_none() {
            signed.push(self.signer.sign(&text, 0));
        }
        for (_, line) in self.lines().get(&own.size).into_iter().flatten() {
            // Readers of notes take sixteen lines: none more than is needed.
            if signed.len() < of.quorum() {
                signed.push(line.clone());
            }
        }
        let note = format!("{text}\n{}", signed.concat());
        let checkpoint = of.open(&note).ok()?;
        Some(SignedCheckpoint { checkpoint, note })
    }
}

/// Where it is kept that a node has signed another history.
fn evidence_path(data: &Path, size: u64, name: &str) -> PathBuf {
    data.join(format!("fork-{size}-{name}.txt"))
}

/// Of how many entries, and against whom, a file of this name is evidence; `None` if it is none by its name.
pub(crate) fn evidence_of(name: &str) -> Option<(u64, &str)> {
    let (size, by) = name.strip_prefix("fork-")?.strip_suffix(".txt")?.split_once('-')?;
    Some((size.parse().ok()?, by))
}

/// Who has signed another history than what is here, as the evidence proves that was kept before this node was
/// started, and of how many entries. What proves nothing is left alone.
fn evidence(data: &Path, origin: &str, keys: &LogKeys, reader: &Reader) -> BTreeMap<String, u64> {
    let files = std::fs::read_dir(data).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    let mut contradicted = BTreeMap::new();
    for name in names {
        let Some((size, by)) = evidence_of(&name) else { continue };
        let mut text = String::new();
        let file = std::fs::File::open(data.join(&name));
        let read = file.and_then(|file| file.take(MAX_EVIDENCE_BYTES).read_to_string(&mut text));
        let Ok(root) = reader.root(size) else { continue };
        let own = Checkpoint { origin: origin.to_owned(), size, root };
        if read.is_ok() && keys.named(by).any(|by| contradicts(&text, by, &own)) {
            let most: &mut u64 = contradicted.entry(by.to_owned()).or_default();
            *most = size.max(*most);
        }
    }
    contradicted
}

/// Whether a text ends with a note that this node has signed, of another root than this one of as many entries.
fn contradicts(text: &str, by: &Validator, own: &Checkpoint) -> bool {
    let Ok(key) = Verifier::new(&own.origin, KeyKind::Log, *by.log_key()) else { return false };
    let begin = format!("{}\n{}\n", own.origin, own.size);
    text.match_indices(&begin).any(|(at, _)| {
        let note = SignedNote::parse(&text[at..]);
        note.is_ok_and(|note| {
            let stated = Checkpoint::parse(note.text());
            let other = |it: Checkpoint| {
                (&it.origin, it.size) == (&own.origin, own.size) && it.root != own.root
            };
            stated.is_ok_and(other) && key.verify(&note).is_ok()
        })
    })
}

/// Has each newest state signed by enough nodes, and shown, until the node stops.
pub(super) async fn gather(
    application: Arc<Application>,
    signatures: Arc<Signatures>,
    stopping: CancellationToken,
) {
    let mut committed = application.committed.subscribe();
    loop {
        if *committed.borrow_and_update() > application.shown.published_size() {
            // What is newer would do for this, too; but this first, or under load nothing would ever be signed.
            tokio::select! {
                () = stopping.cancelled() => return,
                () = gather_one(&application, &signatures) => {}
            }
            continue;
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = committed.changed() => if changed.is_err() { return },
        }
    }
}

/// Asks each node once to sign what is newest, until enough have. Those who have not answered then are heard out
/// all the same: whoever is slow may have another clock, or another history.
pub(super) async fn gather_one(application: &Application, signatures: &Arc<Signatures>) {
    let size = application.shown.ask();
    let keys = signatures.keys.borrow().clone();
    let own = match signatures.reader.root(size) {
        Ok(root) => {
            let origin = signatures.signer.verifier().name().to_owned();
            Checkpoint { origin, size, root }
        }
        Err(error) => {
            tracing::error!(%error, "the ledger's root cannot be read");
            tokio::time::sleep(PAUSE).await;
            return;
        }
    };
    let (sender, heard) = mpsc::channel(64);
    let me = *signatures.signer.verifier().key();
    let others = keys.validators().into_iter().flat_map(|them| them.iter());
    for other in others.filter(|it| *it.log_key() != me) {
        tokio::spawn(ask(signatures.servers.clone(), other.clone(), size, sender.clone()));
    }
    drop(sender);
    let (signatures, clock) = (signatures.clone(), application.clock.clone());
    let mut asked = Asked { signatures, keys, own, clock, heard };
    let started = tokio::time::Instant::now();
    loop {
        if let Some(signed) = asked.signatures.gathered(&asked.own, &asked.keys) {
            let signed = Arc::new(signed);
            application.shown.publish(&signed);
            application.waiting.signed(&signed);
            asked.hear_out();
            return;
        }
        // All were asked, or it takes long: the newest is asked for, which may be this one again.
        if !matches!(tokio::time::timeout(PATIENCE, asked.hear()).await, Ok(true)) {
            if started.elapsed() < PAUSE {
                tokio::time::sleep(PAUSE).await;
            }
            return;
        }
    }
}

/// What the other nodes were asked.
struct Asked {
    signatures: Arc<Signatures>,
    keys: Arc<LogKeys>,
    own: Checkpoint,
    clock: Clock,
    heard: mpsc::Receiver<(Validator, Result<Answer, String>)>,
}

impl Asked {
    /// Takes in the next answer; `false` if there will be none.
    async fn hear(&mut self) -> bool {
        let Some((from, answer)) = self.heard.recv().await else { return false };
        let Answer { text: note, clock_ms } = match answer {
            Ok(answer) => answer,
            Err(why) => {
                tracing::debug!(node = from.name(), why, "no signature of a checkpoint");
                return true;
            }
        };
        if let Some(clock_ms) = clock_ms {
            self.signatures.compare_clocks(from.name(), clock_ms, self.clock.now_ms());
        }
        match self.signatures.judge(&from, &self.keys, &self.own, &note) {
            Said::Lines(lines) => self.signatures.remember(self.own.size, lines),
            Said::OtherRoot => {}
            Said::Nothing(why) => {
                tracing::warn!(node = from.name(), why, "no signature of a checkpoint");
            }
        }
        true
    }

    /// Hears those who have not answered yet, of one size at a time: each answers or not within its own time, and
    /// blocks may come faster than that.
    fn hear_out(mut self) {
        let Ok(hearing) = self.signatures.hearing.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            while self.hear().await {}
            drop(hearing);
        });
    }
}

/// Asks a node for its note of a size.
async fn ask(
    servers: Servers,
    validator: Validator,
    size: u64,
    heard: mpsc::Sender<(Validator, Result<Answer, String>)>,
) {
    let answer = peers::get(&servers, validator.url(), &format!("/checkpoint/{size}")).await;
    // Nobody listens once enough have signed.
    let _ = heard.send((validator, answer)).await;
}
