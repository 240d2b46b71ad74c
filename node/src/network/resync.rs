//! Starting over: the ledger and what CometBFT has stored are set aside, so that the node fetches all blocks again
//! from the others. What its key has signed last stays where it is, and so do weights.

use std::path::{Path, PathBuf};

use colearn_comet::files::{self, FilesError};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Frontier, Hash, JournalReader, Verifier};
use colearn_records::keys;
use colearn_records::network_file::NetworkFile;
use ed25519_dalek::SigningKey;

use super::import::{ImportError, import};
use crate::config::Config;
use crate::error::{CometError, NodeError};
use crate::founding::{self, Keepers};
use crate::genesis;
use crate::key_files::KeyFiles;
use crate::open::open_unfinished;
use crate::order::replicated::evidence_of;
use crate::resync::{self, Plan};

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resynced {
    /// Where the ledger lies now; `None` if there was none.
    pub aside: Option<PathBuf>,
    /// What this node has vouched for, and what must come again; `None` if that is not known.
    pub vouched: Option<Checkpoint>,
    /// What the node needs before it fetches the rest.
    pub needs: Needs,
}

/// What a node needs before it fetches blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Nothing: it can be started.
    Nothing,
    /// The network's file, since its first entry cannot be read any more.
    File,
    /// The past that one node has recorded alone, which cannot be read any more.
    Past,
}

/// Whether it must be known what this node has signed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Signed {
    /// It must: what comes is held to it.
    #[default]
    Known,
    /// Where it cannot be read any more, whatever comes is gone on with.
    Any,
}

/// Why a ledger was not set aside.
#[derive(Debug, thiserror::Error)]
pub enum ResyncError {
    /// This folder.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What CometBFT has stored.
    #[error(transparent)]
    Comet(#[from] CometError),
    /// Nobody else has the ledger.
    #[error("this node keeps its ledger alone: nobody could send it what was set aside")]
    Alone,
    /// One node has begun the ledger, and how several came to keep it is not known here.
    #[error(
        "as far as it can be read one node has begun this ledger, and {} is missing, or is not about it, which says \
         how several came to keep it: put that back (every node has it in its data folder) and run this again",
        .0.display()
    )]
    NoFile(PathBuf),
    /// It is unknown what this node has vouched for.
    #[error(
        "what this node has signed cannot be read in {}: what the others send could not be held to it. Restore \
         `anchor-a`, `anchor-b` or `published` there from a copy; or, if you compare the ledger with the others \
         yourself: --nothing-signed-is-known",
        .0.display()
    )]
    NothingKnown(PathBuf),
    /// No node of several has run here.
    #[error("no ledger of several nodes was kept here: there is nothing to start over")]
    Never,
    /// It is unknown what the key has signed.
    #[error(
        "{} is missing: without it this node could sign two blocks of one height, for which it would be named in \
         the ledger for ever. Restore it, or have the others remove this node and admit it with new keys",
        .0.display()
    )]
    NoState(PathBuf),
}

impl From<FilesError> for ResyncError {
    fn from(error: FilesError) -> Self {
        CometError::from(error).into()
    }
}

/// Sets the ledger of a folder aside, and what CometBFT has stored, so that the node fetches all blocks from the
/// others when it is started. It then refuses to go on if they do not begin with what it has
/// vouched for. No node may have the folder open. Interrupted anywhere, the next try completes it.
///
/// # Errors
/// If nobody else has the ledger, it is not known what this node has signed, or the folder cannot be read or
/// written.
pub fn resync(data: &Path, signed: Signed) -> Result<Resynced, ResyncError> {
    let key = keys::load(&KeyFiles::of(data).current).map_err(NodeError::from)?;
    let state = files::signed_last(&data.join("comet"));
    if !state.exists() {
        return Err(ResyncError::NoState(state));
    }
    let ledger = data.join("ledger");
    let lock = match ledger.is_dir() {
        true => Some(colearn_ledger::lock(&ledger).map_err(NodeError::from)?),
        false => None,
    };
    let plan = match resync::read(data)? {
        Some(plan) if !plan.done => plan,
        before => {
            let plan = plan(data, &key, signed, before)?;
            resync::write(data, &plan)?;
            plan
        }
    };
    // Nothing but the file says how far it came: each step does what is left of it.
    for step in STEPS {
        step(data, &plan)?;
    }
    drop(lock);
    let needs = begin(data, &plan)?;
    resync::write(data, &Plan { done: true, ..plan.clone() })?;
    let aside = data.join(&plan.aside);
    Ok(Resynced {
        aside: aside.is_dir().then_some(aside),
        vouched: plan.note.as_deref().and_then(founding::stated),
        needs,
    })
}

type Step = fn(&Path, &Plan) -> Result<(), ResyncError>;

const STEPS: [Step; 3] = [set_aside, set_evidence_aside, set_blocks_aside];

fn set_aside(data: &Path, plan: &Plan) -> Result<(), ResyncError> {
    let (ledger, aside) = (data.join("ledger"), data.join(&plan.aside));
    // Once it is aside, what lies in its place is what came after it.
    if !aside.exists() && ledger.exists() {
        colearn_files::rename(&ledger, &aside).map_err(|error| NodeError::Io {
            doing: format!("set {} aside", ledger.display()),
            source: error.into(),
        })?;
    }
    Ok(())
}

/// What others have signed contradicts the ledger that is set aside, and perhaps not the one that comes.
fn set_evidence_aside(data: &Path, plan: &Plan) -> Result<(), ResyncError> {
    let aside = data.join(&plan.aside);
    let failed = |source| NodeError::Io { doing: format!("read {}", data.display()), source };
    for file in std::fs::read_dir(data).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        if name.to_str().and_then(evidence_of).is_none() {
            continue;
        }
        let moved = colearn_files::create_folder(&aside)
            .and_then(|()| colearn_files::rename(&data.join(&name), &aside.join(&name)));
        moved.map_err(|error| NodeError::Io {
            doing: format!("set {} aside", name.display()),
            source: error.into(),
        })?;
    }
    Ok(())
}

fn set_blocks_aside(data: &Path, plan: &Plan) -> Result<(), ResyncError> {
    // Not removed: that others have them is not known, but what this node takes to be so.
    files::set_blocks_aside(&data.join("comet"), &data.join(&plan.aside).join("comet"))?;
    // Of blocks that are not there any more.
    match std::fs::remove_file(data.join("height")) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(NodeError::Io { doing: "remove `height`".to_owned(), source }.into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Begins the ledger anew, as far as blocks do not bring it: with its first entry, or with all that one node has
/// recorded before there were blocks.
fn begin(data: &Path, plan: &Plan) -> Result<Needs, ResyncError> {
    let aside = data.join(&plan.aside);
    if let Some(founded) = founding::kept(data)? {
        let mut journal: Option<JournalReader> = None;
        let mut next = |at: u64, size: u64| {
            let journal = match &mut journal {
                Some(journal) => journal,
                none => {
                    let mut opened = JournalReader::open(&aside)?;
                    while opened.index() < at && opened.next_entry()?.is_some() {}
                    none.insert(opened)
                }
            };
            let mut entries = Vec::new();
            while entries.len() < CHUNK
                && journal.index() < size
                && let Some(entry) = journal.next_entry()?
            {
                entries.push(entry.bytes);
            }
            Ok(entries)
        };
        return match import(data, &founded, &mut next, &mut |_| {}) {
            Ok(_) => Ok(Needs::Nothing),
            Err(ImportError::Node(error)) => Err(error.into()),
            // It is damaged, which may be why it was set aside.
            Err(error) => {
                tracing::warn!(%error, "the ledger's past cannot be taken from what was set aside");
                Ok(Needs::Past)
            }
        };
    }
    let first = match data.join("ledger/journal").exists() {
        true => genesis::read(&data.join("ledger")),
        false => genesis::read(&aside),
    };
    let Ok(Some(genesis)) = first else { return Ok(Needs::File) };
    // One node has begun it. Its first entry made anew would be the beginning of another ledger.
    if genesis.validators.is_empty() {
        return Ok(Needs::File);
    }
    let mut config = Config::new(data);
    config.network.file = Some(NetworkFile::Begun(genesis));
    open_unfinished(&config, None, None)?.keeper.close().map_err(NodeError::from)?;
    Ok(Needs::Nothing)
}

/// How many entries are handed over together.
const CHUNK: usize = 4096;

/// Looks at what is there, and decides what is to be done.
fn plan(
    data: &Path,
    key: &SigningKey,
    signed: Signed,
    before: Option<Plan>,
) -> Result<Plan, ResyncError> {
    let ledger = data.join("ledger");
    let kept = founding::kept(data)?;
    match Keepers::of(&ledger) {
        Some(keepers) => {
            let (them, founders) = (keepers.keys.validators(), keepers.keys.founders());
            // What cannot be read may say that others keep it, too.
            let alone = keepers.all()
                && match (them, &kept) {
                    (Some(them), _) => them.count() == 1,
                    (None, Some(kept)) => kept.validators().count() == 1,
                    (None, None) => true,
                };
            if alone {
                return Err(ResyncError::Alone);
            }
            if kept.is_none() && founders.is_none_or(|(index, _)| index > 0) {
                return Err(ResyncError::NoFile(founding::file(data)));
            }
        }
        // It cannot be read, or is not there.
        None if kept.is_none() && !files::has_blocks(&data.join("comet")) => {
            return Err(ResyncError::Never);
        }
        None => {}
    }
    let note = vouched(&ledger, key, before);
    if note.is_none() && signed == Signed::Known {
        return Err(ResyncError::NothingKnown(ledger));
    }
    let free = |number: &u32| !data.join(aside(*number)).exists();
    let number = (1..).find(free).unwrap_or(1);
    Ok(Plan { aside: aside(number), note, done: false })
}

/// The newest note with which this node vouches for what it has.
fn vouched(ledger: &Path, key: &SigningKey, before: Option<Plan>) -> Option<String> {
    let anchors = colearn_ledger::anchor_files(ledger).ok().into_iter().flatten();
    let shown = colearn_ledger::published(ledger).ok().flatten();
    let notes = anchors.filter_map(|file| file.note().map(str::to_owned)).chain(shown);
    let own = notes.filter_map(|note| Some((own(&note, key)?, note)));
    let newest = own.max_by_key(|(checkpoint, _)| checkpoint.size);
    // What was set aside before, and did not come again yet, is what it has vouched for, and not what has come
    // since, however much that is: its anchors are signed while it comes.
    let earlier =
        before.and_then(|plan| Some((founding::stated(plan.note.as_deref()?)?, plan.note?)));
    let vouched = match earlier {
        Some((checkpoint, note)) if !begins_with(ledger, &checkpoint) => Some((checkpoint, note)),
        earlier => newest.into_iter().chain(earlier).max_by_key(|(checkpoint, _)| checkpoint.size),
    };
    vouched.map(|(_, note)| note)
}

/// Whether a ledger begins with what a checkpoint says.
fn begins_with(ledger: &Path, checkpoint: &Checkpoint) -> bool {
    let Ok(mut journal) = JournalReader::open(ledger) else { return false };
    let mut tree = Frontier::default();
    while tree.size() < checkpoint.size
        && let Ok(Some(entry)) = journal.next_entry()
    {
        tree.push(Hash::leaf(&entry.bytes));
    }
    (tree.size(), tree.root()) == (checkpoint.size, checkpoint.root)
}

fn aside(number: u32) -> String {
    format!("ledger-before-{number}")
}

/// What a note says, if it is signed with this key.
fn own(note: &str, key: &SigningKey) -> Option<Checkpoint> {
    let origin = founding::stated(note)?.origin;
    let verifier = Verifier::new(&origin, KeyKind::Log, key.verifying_key()).ok()?;
    Checkpoint::open(note, &verifier).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
