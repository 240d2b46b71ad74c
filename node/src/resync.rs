//! What a folder knows of a ledger that was set aside, to be fetched again from the others: where it lies, and
//! what this node has vouched for in it.
//!
//! While the command that does that is not through, no node starts on the folder; afterwards the node holds
//! what comes to what it has vouched for.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use colearn_ledger::{Checkpoint, Hash, Reader};
use serde_json::{Value, json};

use crate::error::NodeError;
use crate::founding::stated;

/// What is intended, or was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// The folder, within the data folder, that the ledger is set aside as.
    pub(crate) aside: String,
    /// The last checkpoint that this node has signed; `None` if that is not known.
    pub(crate) note: Option<String>,
    /// Whether all is done but to fetch the ledger.
    pub(crate) done: bool,
}

/// What this node has vouched for before its ledger was set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Vouched {
    checkpoint: Checkpoint,
    /// Where the ledger lies that it has vouched for.
    aside: PathBuf,
    data: PathBuf,
}

/// What came is not what this node has vouched for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this node has signed the root {expected} of {size} entries, and those that the other nodes have sent have the \
     root {found}: it does not go on. What it had lies in {}; compare both with the others, and keep it as evidence",
    aside.display()
)]
pub struct Diverged {
    /// How many entries.
    pub size: u64,
    /// What it has signed.
    pub expected: Hash,
    /// What came.
    pub found: Hash,
    /// Where the ledger lies that it has vouched for.
    pub aside: PathBuf,
}

fn file(data: &Path) -> PathBuf {
    data.join("resync.json")
}

/// What is kept in a folder.
pub(crate) fn read(data: &Path) -> Result<Option<Plan>, NodeError> {
    let path = file(data);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(NodeError::Io { doing: format!("read {}", path.display()), source });
        }
    };
    let plan = serde_json::from_str::<Value>(&text).ok().and_then(|it| {
        Some(Plan {
            aside: it["aside"].as_str()?.to_owned(),
            note: it["checkpoint"].as_str().map(str::to_owned),
            done: it["done"].as_bool()?,
        })
    });
    plan.map(Some).ok_or(NodeError::ResyncFile(path))
}

/// Keeps it, durably.
pub(crate) fn write(data: &Path, plan: &Plan) -> Result<(), NodeError> {
    let Plan { aside, note, done } = plan;
    let text = format!("{:#}\n", json!({ "aside": aside, "checkpoint": note, "done": done }));
    let path = file(data);
    colearn_files::replace(&path, text.as_bytes()).map_err(|error| NodeError::Io {
        doing: format!("write {}", path.display()),
        source: error.into(),
    })
}

/// What was vouched for and did not come again yet.
///
/// # Errors
/// If the command was interrupted.
pub(crate) fn vouched(data: &Path) -> Result<Option<Vouched>, NodeError> {
    let Some(plan) = read(data)? else { return Ok(None) };
    if !plan.done {
        return Err(NodeError::ResyncInterrupted);
    }
    let checkpoint = plan.note.as_deref().and_then(stated);
    let (aside, data) = (data.join(plan.aside), data.to_owned());
    Ok(checkpoint.map(|checkpoint| Vouched { checkpoint, aside, data }))
}

impl Vouched {
    /// How many entries must come again.
    pub(crate) fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Whether all that was vouched for is there again.
    ///
    /// # Errors
    /// If something else is.
    pub(crate) fn is_there(
        &self,
        reader: &Reader,
    ) -> Result<Result<bool, Diverged>, colearn_ledger::Error> {
        let (size, expected) = (self.checkpoint.size, self.checkpoint.root);
        if reader.size() < size {
            return Ok(Ok(false));
        }
        let found = reader.root(size)?;
        let aside = self.aside.clone();
        Ok(match found == expected {
            true => Ok(true),
            false => Err(Diverged { size, expected, found, aside }),
        })
    }

    /// Forgets it: it is there.
    pub(crate) fn forget(&self) {
        // If it cannot be removed it is looked at again at the next start.
        if let Err(error) = std::fs::remove_file(file(&self.data)) {
            tracing::warn!(%error, "resync.json cannot be removed");
        }
    }
}
