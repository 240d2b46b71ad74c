//! Who may do what here: everybody, members of the ledger's experiments, keys that the operator lists.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use colearn_contracts::{Admission, Digest, ExperimentName, LearnerId};
use colearn_records::convert::SeatState;
use colearn_records::keys::parse_learner_id;
use colearn_records::log_keys::LogKeys;
use tokio::sync::watch;

use crate::access::{Access, Grant};
use crate::artifacts::ArtifactStore;
use crate::error::NodeError;
use crate::limits::BROUGHT;
use crate::pulling::models;
use crate::refusal::Refusal;
use crate::view::{ExperimentView, View, Views};
use crate::watched::{Look, look};

/// How somebody comes to have what members have.
const MEMBERSHIP: &str = "; whoever governs an experiment can make it a member";
/// The largest file of keys that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What somebody may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Right {
    /// Read the ledger, and the weights of one's experiments.
    Read,
    /// Submit what the contract then decides on, and upload weights.
    Write,
    /// Create experiments.
    Create,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
        })
    }
}

/// Who has signed what is asked for, if somebody has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Caller(pub(crate) Option<LearnerId>);

/// Who may do what; cheap to clone.
#[derive(Clone)]
pub(crate) struct Rights(Arc<Inner>);

struct Inner {
    read: Given,
    write: Given,
    create: Given,
    files: Files,
    views: Views,
    /// Who keeps the ledger reads all of it.
    keys: watch::Receiver<Arc<LogKeys>>,
    artifacts: ArtifactStore,
    /// Who has brought what whole, newest last.
    brought: Mutex<VecDeque<(LearnerId, Digest)>>,
}

/// To whom a right is given.
struct Given {
    grant: Grant,
    lists: Vec<Arc<KeyFile>>,
}

/// The files of keys that are watched; cheap to clone.
#[derive(Clone)]
pub(crate) struct Files(Arc<Vec<Arc<KeyFile>>>);

impl Files {
    /// Reads those anew that have changed.
    pub(crate) fn look(&self) {
        self.0.iter().for_each(|file| file.look());
    }

    /// Whether there are none.
    pub(crate) fn are_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl Rights {
    /// What an operator gives, for a node with this data folder that listens for others or does not.
    ///
    /// # Errors
    /// If a file of keys cannot be read.
    pub(crate) fn new(
        access: &Access,
        views: Views,
        keys: watch::Receiver<Arc<LogKeys>>,
        artifacts: ArtifactStore,
    ) -> Result<Self, NodeError> {
        let mut files: Vec<Arc<KeyFile>> = Vec::new();
        let mut given = |grant: &Grant| -> Result<Given, NodeError> {
            let mut lists = Vec::new();
            for path in &grant.keys {
                let known = files.iter().find(|file| file.path == *path).cloned();
                let file = match known {
                    Some(file) => file,
                    None => {
                        let may_lack = access.may_lack.as_deref() == Some(path);
                        let file = Arc::new(KeyFile::open(path, may_lack)?);
                        files.push(file.clone());
                        file
                    }
                };
                lists.push(file);
            }
            Ok(Given { grant: grant.clone(), lists })
        };
        let (read, write) = (given(&access.read)?, given(&access.write)?);
        let create = given(&access.create)?;
        let files = Files(Arc::new(files));
        let brought = Mutex::default();
        Ok(Self(Arc::new(Inner { read, write, create, files, views, keys, artifacts, brought })))
    }

    /// The files of keys.
    pub(crate) fn files(&self) -> Files {
        self.0.files.clone()
    }

    fn given(&self, right: Right) -> &Given {
        match right {
            Right::Read => &self.0.read,
            Right::Write => &self.0.write,
            Right::Create => &self.0.create,
        }
    }

    /// Whether everybody may.
    pub(crate) fn is_public(&self, right: Right) -> bool {
        self.given(right).grant.is_public()
    }

    /// Whether members have it, whoever else does.
    pub(crate) fn are_members(&self, right: Right) -> bool {
        self.given(right).grant.members
    }

    /// Whether the holder of this key may.
    ///
    /// # Errors
    /// Says that it may not, and who may.
    pub(crate) fn check(&self, right: Right, key: LearnerId) -> Result<(), Refusal> {
        let may = match right {
            // Whoever may create follows the ledger for that, and uploads what an experiment begins with.
            Right::Read => {
                self.reads_all(key) || self.is_given(Right::Read, key) || self.is_creator(key)
            }
            Right::Write => self.is_given(Right::Write, key) || self.is_creator(key),
            Right::Create => self.is_given(Right::Create, key),
        };
        match may {
            true => Ok(()),
            false => Err(self.refusal(right, key)),
        }
    }

    fn refusal(&self, right: Right, key: LearnerId) -> Refusal {
        // Not which files they are: that is for the operator to know.
        let Grant { members, keys, .. } = &self.given(right).grant;
        let (to, how) = match (members, keys.is_empty()) {
            (true, true) => ("members", MEMBERSHIP),
            (true, false) => ("members and listed keys", MEMBERSHIP),
            (false, _) => ("listed keys", ""),
        };
        Refusal::NoRight { key, right, to, how }
    }

    /// Whether the key is one of few: nobody can have many that are members by invitation, or listed.
    pub(crate) fn is_rare(&self, key: LearnerId) -> bool {
        let all = [&self.0.read, &self.0.write, &self.0.create];
        let view = self.0.views.latest();
        let is_invited = |experiment: &ExperimentView| {
            experiment.state().admission != Admission::Open && experiment.admits(key)
        };
        self.reads_all(key)
            || all.iter().any(|given| given.lists.iter().any(|file| file.has(key)))
            || view.experiments_after("").any(|it| is_invited(it))
    }

    fn is_given(&self, right: Right, key: LearnerId) -> bool {
        let given = self.given(right);
        given.grant.is_public()
            || given.lists.iter().any(|file| file.has(key))
            || (given.grant.members && is_admitted(&self.0.views.latest(), key))
    }

    fn is_creator(&self, key: LearnerId) -> bool {
        self.0.create.lists.iter().any(|file| file.has(key))
    }

    /// Who keeps the ledger, and whom the operator lists as readers.
    fn reads_all(&self, key: LearnerId) -> bool {
        let keys = self.0.keys.borrow().clone();
        self.0.read.lists.iter().any(|file| file.has(key))
            || keys.current().iter().any(|it| *it.key().as_bytes() == key.0)
    }

    /// Whether whoever asks may have these weights: those of one's own experiments.
    ///
    /// # Errors
    /// Says that it may not, and who may.
    pub(crate) fn check_weights(&self, caller: Caller, digest: &Digest) -> Result<(), Refusal> {
        let Caller(Some(key)) = caller else {
            // Nobody was asked who it is.
            return Ok(());
        };
        match self.is_public(Right::Read) || self.reads_all(key) || self.is_own(key, digest) {
            true => Ok(()),
            false => Err(Refusal::NoWeights { key }),
        }
    }

    /// The experiments whose weights whoever asks may have, as [`Self::check_weights`] says it of one.
    pub(crate) fn own(&self, Caller(key): Caller) -> Own {
        let view = self.0.views.latest();
        let key = key.filter(|key| !self.is_public(Right::Read) && !self.reads_all(*key));
        let own = key.map(|key| {
            let own = view.experiments_after("").filter(|it| it.admits(key));
            own.map(|it| it.state().name.clone()).collect()
        });
        Own { view, own }
    }

    /// Whether these weights are of an experiment that has admitted the key, or would.
    fn is_own(&self, key: LearnerId, digest: &Digest) -> bool {
        let view = self.0.views.latest();
        let own = |experiment: &ExperimentView| experiment.admits(key);
        // What is named now, first: what the ledger has ever named is looked up a little later than it is recorded.
        let shown = |experiment: &ExperimentView| {
            models(experiment.state()).iter().any(|model| model.digest == *digest)
        };
        let once = |name: &ExperimentName| view.experiment(name).is_some_and(|it| own(it));
        view.experiments_after("").any(|it| own(it) && shown(it))
            || self.0.artifacts.experiments_of(digest).unwrap_or_default().iter().any(once)
    }

    /// Waits until it is known whose all weights are that the ledger names now; whether that is.
    pub(crate) async fn are_known(&self) -> bool {
        let size = self.0.views.latest().size();
        self.0.artifacts.are_followed(size).await
    }

    /// Whether whoever asks is to be told whether these weights are here: not of those of others, nor before it is known
    /// whose they are.
    pub(crate) async fn may_know(&self, caller: Caller, digest: &Digest) -> bool {
        if self.check_weights(caller, digest).is_ok() {
            return true;
        }
        self.are_known().await && self.0.artifacts.experiments_of(digest).is_none()
    }

    /// Whether the key may name these weights in an experiment, which makes them that experiment's: it has to have
    /// them.
    ///
    /// # Errors
    /// Says that they are others', or that it is not known yet whose they are.
    pub(crate) async fn check_naming(&self, key: LearnerId, digest: Digest) -> Result<(), Refusal> {
        if self.check_weights(Caller(Some(key)), &digest).is_ok() || self.has_brought(key, digest) {
            return Ok(());
        }
        // What nobody has named is known to whoever has made it. It could have been named just now.
        if !self.are_known().await {
            return Err(Refusal::Busy);
        }
        match self.0.artifacts.experiments_of(&digest) {
            None => Ok(()),
            Some(_) => Err(Refusal::NoWeights { key }),
        }
    }

    /// Whoever has brought weights whole has them.
    pub(crate) fn has_brought(&self, key: LearnerId, digest: Digest) -> bool {
        self.brought().contains(&(key, digest))
    }

    /// A key has brought weights whole.
    pub(crate) fn note_brought(&self, caller: Caller, digest: Digest) {
        let Caller(Some(key)) = caller else { return };
        let mut brought = self.brought();
        if !brought.contains(&(key, digest)) {
            if brought.len() >= BROUGHT {
                brought.pop_front();
            }
            brought.push_back((key, digest));
        }
    }

    fn brought(&self) -> MutexGuard<'_, VecDeque<(LearnerId, Digest)>> {
        self.0.brought.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The experiments whose weights somebody may have.
pub(crate) struct Own {
    view: Arc<View>,
    /// `None` where that is all there is, also what no experiment has.
    own: Option<BTreeSet<ExperimentName>>,
}

impl Own {
    /// Whether it is all there is.
    pub(crate) fn is_all(&self) -> bool {
        self.own.is_none()
    }

    /// Whether it is this one's, too.
    pub(crate) fn has(&self, experiment: &ExperimentName) -> bool {
        self.own.as_ref().is_none_or(|own| own.contains(experiment))
    }

    /// The experiments.
    pub(crate) fn experiments(&self) -> impl Iterator<Item = &ExperimentView> {
        let all = self.view.experiments_after("").map(|it| &**it);
        all.filter(|it| self.has(&it.state().name))
    }

    /// Those that have not finished.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &ExperimentView> {
        self.view.unfinished().filter(|it| self.has(&it.state().name))
    }
}

/// Whether an experiment has admitted the key, or would.
fn is_admitted(view: &View, key: LearnerId) -> bool {
    view.experiments_after("").any(|experiment| experiment.admits(key))
}

impl ExperimentView {
    /// Whether it has admitted the key, or would.
    fn admits(&self, key: LearnerId) -> bool {
        let state = self.state();
        let may_join = || match &state.admission {
            Admission::Open => true,
            Admission::Invited(them) | Admission::ByVote(them) => {
                them.binary_search_by_key(&key, |it| it.learner).is_ok()
            }
        };
        match self.member(key).map(|member| member.seat) {
            Some(seat) if seat.is_member() => true,
            // A key that was replaced may be in anybody's hands.
            Some(SeatState::Expelled | SeatState::Replaced) => false,
            _ => key == state.creator || may_join(),
        }
    }
}

/// A file of keys: one a line in hex, perhaps with a name behind it; what stands behind `#` is for people.
pub(crate) struct KeyFile {
    path: PathBuf,
    /// Nobody is listed where it is not there.
    may_lack: bool,
    current: Mutex<(Look, BTreeSet<LearnerId>)>,
}

impl KeyFile {
    /// Reads a file of keys.
    ///
    /// # Errors
    /// If it cannot be read, or is not there and has to be.
    fn open(path: &Path, may_lack: bool) -> Result<Self, NodeError> {
        let looked = look(path);
        let keys = read_one(path, looked, may_lack)?;
        Ok(Self { path: path.to_owned(), may_lack, current: Mutex::new((looked, keys)) })
    }

    fn current(&self) -> MutexGuard<'_, (Look, BTreeSet<LearnerId>)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, key: LearnerId) -> bool {
        self.current().1.contains(&key)
    }

    /// Reads it anew if it has changed. What cannot be read is told of, and what was read before stays in force.
    fn look(&self) {
        let looked = look(&self.path);
        if looked == self.current().0 {
            return;
        }
        match read_one(&self.path, looked, self.may_lack) {
            Ok(keys) => {
                tracing::info!(file = %self.path.display(), keys = keys.len(), "keys were read anew");
                *self.current() = (looked, keys);
            }
            Err(error) => {
                // Told once a change, and not at every look.
                self.current().0 = looked;
                tracing::error!(%error, "keys cannot be read anew; those before stay in force");
            }
        }
    }
}

fn read_one(path: &Path, looked: Look, may_lack: bool) -> Result<BTreeSet<LearnerId>, NodeError> {
    match looked {
        None if may_lack => Ok(BTreeSet::new()),
        _ => read(path),
    }
}

fn read(path: &Path) -> Result<BTreeSet<LearnerId>, NodeError> {
    let bad = |reason: String| NodeError::Keys { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(bad(format!("it has {size} bytes; {MAX_FILE_BYTES} are read at most")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let mut keys = BTreeSet::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let Some(key) = line.split_whitespace().next() else { continue };
        let key =
            parse_learner_id(key).map_err(|why| bad(format!("line {}: {why}", number + 1)))?;
        keys.insert(key);
    }
    Ok(keys)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
impl Rights {
    /// Everything to everybody, at a node with nothing in its ledger.
    pub(crate) fn public(artifacts: ArtifactStore) -> Self {
        let local = std::net::Ipv4Addr::LOCALHOST.into();
        Self::test(&Access::by_default(local, Path::new("")), artifacts)
    }

    /// The same with other rights.
    pub(crate) fn test(access: &Access, artifacts: ArtifactStore) -> Self {
        let keys = crate::testing::log_keys();
        let contract =
            colearn_contracts::Contract::new(Digest(keys.ledger().0), colearn_contracts::VERSION);
        let (_, views) = crate::view::Publisher::new(&contract, 1);
        Self::new(access, views, watch::channel(Arc::new(keys)).1, artifacts).unwrap()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_of_keys_are_read_and_stay_in_force_until_they_can_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("readers.txt");
        assert!(KeyFile::open(&path, false).is_err());
        let file = KeyFile::open(&path, true).unwrap();
        let (a, b) = (LearnerId([0xab; 32]), LearnerId([2; 32]));
        assert!(!file.has(a));
        let hex = |key: &LearnerId| hex::encode(key.0);
        std::fs::write(&path, format!("# readers\n\n {} auditor # in June\n", hex(&a))).unwrap();
        file.look();
        assert!(file.has(a) && !file.has(b));
        std::fs::write(&path, format!("{}\nnonsense of another length\n", hex(&b))).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("readers.txt"), "{error}");
        file.look();
        assert!(file.has(a) && !file.has(b));
        std::fs::write(&path, hex(&b)).unwrap();
        file.look();
        assert!(!file.has(a) && file.has(b));
        // One that has to be there stays in force when it is not; one that need not, lists nobody then.
        let needed = KeyFile::open(&path, false).unwrap();
        std::fs::remove_file(&path).unwrap();
        needed.look();
        file.look();
        assert!(needed.has(b) && !file.has(b));
    }
}
