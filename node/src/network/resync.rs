//! Starting over: the ledger is set aside and what CometBFT has stored is forgotten, so that the node fetches
//! all blocks again from the others. What its key has signed last is not forgotten, nor are weights.

use std::path::{Path, PathBuf};

use colearn_comet::files::{self, FilesError};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, JournalReader, Verifier};
use colearn_records::keys;
use colearn_records::log_keys::LogKeys;
use colearn_records::network_file::NetworkFile;
use colearn_records::record::{self, Record};
use ed25519_dalek::SigningKey;

use super::import::{ImportError, import};
use crate::config::Config;
use crate::error::{CometError, NodeError};
use crate::founding;
use crate::genesis;
use crate::key_files::KeyFiles;
use crate::open::open_unfinished;
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

/// Sets the ledger of a folder aside, and has what CometBFT has stored forgotten, so that the node fetches all
/// blocks from the others when it is started. It then refuses to go on if they do not begin with what it has
/// vouched for. No node may have the folder open. Interrupted anywhere, the next try completes it.
///
/// # Errors
/// If nobody else has the ledger, or the folder cannot be read or written.
pub fn resync(data: &Path) -> Result<Resynced, ResyncError> {
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
            let plan = plan(data, &key, before)?;
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
        vouched: plan.note.as_deref().and_then(resync::stated),
        needs,
    })
}

type Step = fn(&Path, &Plan) -> Result<(), ResyncError>;

const STEPS: [Step; 2] = [set_aside, forget_blocks];

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

fn forget_blocks(data: &Path, _: &Plan) -> Result<(), ResyncError> {
    files::forget_blocks(&data.join("comet"))?;
    // Of blocks that are forgotten.
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
    let mut config = Config::new(data);
    config.network.file = Some(NetworkFile::Begun(genesis));
    open_unfinished(&config, None)?.keeper.close().map_err(NodeError::from)?;
    Ok(Needs::Nothing)
}

/// How many entries are handed over together.
const CHUNK: usize = 4096;

/// Looks at what is there, and decides what is to be done.
fn plan(data: &Path, key: &SigningKey, before: Option<Plan>) -> Result<Plan, ResyncError> {
    let ledger = data.join("ledger");
    let kept = founding::kept(data)?;
    match keys_in(&ledger) {
        Some(keys) => {
            let them = keys.validators().or(kept.as_ref().map(|kept| kept.validators()));
            if them.is_none_or(|them| them.count() == 1) {
                return Err(ResyncError::Alone);
            }
        }
        // It cannot be read, or is not there.
        None if kept.is_none() && !files::has_blocks(&data.join("comet")) => {
            return Err(ResyncError::Never);
        }
        None => {}
    }
    let signed = colearn_ledger::anchor_files(&ledger).ok().into_iter().flatten();
    let own = signed.filter_map(|file| own(file.note()?, key));
    // One that was set aside before, and did not come again yet, may have been longer.
    let before = before.and_then(|plan| own_of(plan.note?));
    let newest = own.chain(before).max_by_key(|(checkpoint, _)| checkpoint.size);
    let free = |number: &u32| !data.join(aside(*number)).exists();
    let number = (1..).find(free).unwrap_or(1);
    Ok(Plan { aside: aside(number), note: newest.map(|(_, note)| note), done: false })
}

fn aside(number: u32) -> String {
    format!("ledger-before-{number}")
}

fn own_of(note: String) -> Option<(Checkpoint, String)> {
    Some((resync::stated(&note)?, note))
}

/// What a note says, if it is signed with this key.
fn own(note: &str, key: &SigningKey) -> Option<(Checkpoint, String)> {
    let origin = resync::stated(note)?.origin;
    let verifier = Verifier::new(&origin, KeyKind::Log, key.verifying_key()).ok()?;
    Some((Checkpoint::open(note, &verifier).ok()?, note.to_owned()))
}

/// Who keeps a ledger, as far as its entries can be read.
fn keys_in(ledger: &Path) -> Option<LogKeys> {
    let mut journal = JournalReader::open(ledger).ok()?;
    let first = journal.next_entry().ok()??;
    let Record::Genesis(genesis) = Record::decode(&first.bytes).ok()?.record else { return None };
    let mut keys = LogKeys::of_genesis(&genesis)?;
    while let Ok(Some(entry)) = journal.next_entry() {
        let decoded = colearn_ledger::Entry::decode(&entry.bytes).ok();
        if let Some(entry) = decoded
            && let Some(change) = record::key_change(&entry.payload)
        {
            keys.follow(entry.index, &change).ok()?;
        }
    }
    Some(keys)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
