//! The artifacts of a node that is stopped: what they are, and which of them can go.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use colearn_contracts::{Digest, ExperimentName, Phase};
use colearn_records::convert::ExperimentState;

use super::elsewhere::{Kept, kept_at, kept_before};
use super::named::Named;
use super::uses::{Role, Use, Uses};
use super::{PARTS, PartName, age, files};
use crate::config::{Config, Keep, Progress};
use crate::error::NodeError;
use crate::limits::{PART_LIFE, UNNAMED_LIFE};
use crate::open::{OpenLedger, open};
use crate::pulling::models;

/// How many bytes of entries are read at a time.
const CHUNK_BYTES: usize = 8 << 20;

/// The artifacts of a node's data folder, which no node has open as long as this is held; they lie in the folder, or where
/// the node kept them when it ran last.
pub struct Shelf {
    kept: Kept,
    /// What is stored: digest, size, and when it came.
    stored: Vec<(Digest, u64, SystemTime)>,
    named: Named,
    uses: Uses,
    states: Vec<ExperimentState>,
    // Holds the folder's lock.
    _opened: OpenLedger,
}

/// What an artifact is to the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ArtifactKind {
    /// It is or was an experiment's model.
    Model,
    /// It was proposed, and did not become a model.
    Proposal,
    /// An update of a merged round, or a merge that was voted on.
    Update,
    /// The ledger does not name it.
    Unnamed,
    /// It has not come whole yet.
    Unfinished,
}

impl ArtifactKind {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 5] =
        [Self::Model, Self::Proposal, Self::Update, Self::Unnamed, Self::Unfinished];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Proposal => "proposal",
            Self::Update => "update",
            Self::Unnamed => "unnamed",
            Self::Unfinished => "unfinished",
        }
    }
}

/// One artifact on the disk, or in the store.
#[derive(Clone, Debug)]
pub struct Shelved {
    /// Its digest; of something that the node was making when it ended, none.
    pub digest: Option<Digest>,
    /// What it is to the ledger.
    pub kind: ArtifactKind,
    /// The experiment and the last round that name it; what an experiment began with is named in round 0.
    pub named: Option<(ExperimentName, u64)>,
    /// Its size in bytes.
    pub size: u64,
    /// When it came.
    pub since: SystemTime,
    /// Whether it can go.
    pub goes: bool,
    /// Where it is one, the file of what is unfinished.
    part: Option<PathBuf>,
}

/// What an experiment needs to go on, and is not here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The experiment.
    pub experiment: ExperimentName,
}

impl Shelf {
    /// Opens the data folder of a node that is stopped, and lists what it keeps. May block, and is called where a runtime
    /// with another thread runs: an object store is asked there.
    ///
    /// # Errors
    /// If there is no ledger, a node has it open, or it or the weights cannot be read.
    pub fn open(data: &Path, progress: Option<Progress>) -> Result<Self, NodeError> {
        if !data.join("ledger").is_dir() {
            return Err(NodeError::Genesis(data.to_owned()));
        }
        let opened = open(&Config { progress, ..Config::new(data) }, None)?;
        // Only now: no node brings or removes anything meanwhile.
        let own = data.join("artifacts");
        let kept = kept_at(&own, &kept_before(&own)?)?;
        let listed = kept.storage.list().map_err(NodeError::artifacts)?;
        // What somebody else has put there is nobody's artifact.
        let stored =
            listed.into_iter().filter_map(|(digest, size, since)| Some((digest?, size, since)));
        let (mut named, mut uses) = (Named::default(), Uses::default());
        let reader = opened.keeper.reader();
        let size = reader.size();
        while named.followed() < size {
            for entry in reader.entries(named.followed(), size, CHUNK_BYTES)? {
                named.note(&entry).into_iter().for_each(|naming| uses.add(naming));
            }
        }
        let experiments = opened.keeper.contract().experiments();
        let states: Vec<_> = experiments.map(|it| ExperimentState::of(it, 0)).collect();
        for ExperimentState { name, round, model, .. } in &states {
            // A proposal that was accepted last is one, which no entry says that names it.
            let (experiment, round) = (name.clone(), *round);
            uses.note(model.digest, Use { role: Role::Model, round, experiment, is_own: true });
        }
        Ok(Self { kept, stored: stored.collect(), named, uses, states, _opened: opened })
    }

    /// What is there, and what of it goes if this much is kept. Not named or not finished goes what came so
    /// long ago that nobody will go on with it.
    ///
    /// # Errors
    /// If the folder of what is unfinished cannot be read.
    pub fn artifacts(&self, keep: Keep) -> Result<Vec<Shelved>, NodeError> {
        let parts = self.kept.dir.join(PARTS);
        let io = |source| NodeError::Io { doing: format!("read {}", parts.display()), source };
        let now = SystemTime::now();
        let kept = self.named.kept(keep, self.states.iter());
        let mut artifacts = Vec::new();
        for &(digest, size, since) in &self.stored {
            let is_old = age(now, since) >= UNNAMED_LIFE;
            let (kind, named, goes) = match self.uses.most(&digest) {
                Some(it) => (it.role.into(), Some(it), !kept.contains(&digest)),
                None => (ArtifactKind::Unnamed, None, is_old),
            };
            let named = named.map(|Use { experiment, round, .. }| (experiment.clone(), *round));
            let digest = Some(digest);
            artifacts.push(Shelved { digest, kind, named, size, since, goes, part: None });
        }
        for (name, size, since) in found(&parts).map_err(io)? {
            let digest = PartName::parse(&name).map(|part| part.digest);
            // What was made here and is not whole nobody can go on with.
            let goes = digest.is_none() || age(now, since) > PART_LIFE;
            let (kind, part) = (ArtifactKind::Unfinished, Some(parts.join(name)));
            artifacts.push(Shelved { digest, kind, named: None, size, since, goes, part });
        }
        artifacts.sort_by_key(|it| (it.kind, it.named.clone(), it.digest));
        Ok(artifacts)
    }

    /// What experiments that have not finished need, and is not here: whoever holds it can upload it again.
    pub fn lost(&self) -> Vec<Lost> {
        let live = self.states.iter().filter(|it| !matches!(it.phase, Phase::Finished(_)));
        let needed = live.flat_map(|state| models(state).into_iter().map(move |it| (state, it)));
        let stored: BTreeSet<_> = self.stored.iter().map(|(digest, ..)| digest).collect();
        let lost = needed.filter(|(_, model)| !stored.contains(&model.digest));
        let lost = lost.map(|(state, model)| {
            let lost =
                Lost { digest: model.digest, size: model.size, experiment: state.name.clone() };
            ((lost.experiment.clone(), lost.digest), lost)
        });
        lost.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// Removes these, durably. What is cut short can be done again.
    ///
    /// # Errors
    /// If one cannot be removed; those before it are.
    pub fn remove<'a>(
        &self,
        artifacts: impl IntoIterator<Item = &'a Shelved>,
    ) -> Result<(), NodeError> {
        for Shelved { digest, part, .. } in artifacts {
            match (part, digest) {
                (Some(path), _) => match std::fs::remove_file(path) {
                    Err(source) if source.kind() != io::ErrorKind::NotFound => {
                        let doing = format!("remove {}", path.display());
                        return Err(NodeError::Io { doing, source });
                    }
                    Ok(()) | Err(_) => {}
                },
                (None, Some(digest)) => {
                    self.kept.storage.removal(*digest)().map_err(NodeError::artifacts)?;
                }
                (None, None) => {}
            }
        }
        for dir in [&self.kept.dir, &self.kept.dir.join(PARTS)] {
            if dir.is_dir() {
                let synced = colearn_files::sync_folder(dir).map_err(io::Error::from);
                let io =
                    |source| NodeError::Io { doing: format!("sync {}", dir.display()), source };
                synced.map_err(io)?;
            }
        }
        Ok(())
    }
}

impl From<Role> for ArtifactKind {
    fn from(role: Role) -> Self {
        match role {
            Role::Update => Self::Update,
            Role::Proposal => Self::Proposal,
            Role::Model => Self::Model,
        }
    }
}

/// The files of a folder, or none where nothing was ever stored.
fn found(dir: &Path) -> io::Result<Vec<(String, u64, SystemTime)>> {
    match files(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        files => files,
    }
}
