//! What a folder knows of how its ledger of one became one of several: the network's file, kept beside the
//! ledger.
//!
//! It is there before the ledger says so: a folder with this file whose ledger does not is one in which a
//! command was interrupted, and no node goes on with it alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use colearn_records::founded::{Founded, OtherFounding};
use colearn_records::log_keys::LogKeys;
use colearn_records::network_file::{self, NetworkFile};

use crate::error::NodeError;

fn file(data: &Path) -> PathBuf {
    data.join("network.json")
}

/// What is kept in a folder; `None` where a ledger is of one node, or of several from its first entry on.
pub(crate) fn kept(data: &Path) -> Result<Option<Founded>, NodeError> {
    let path = file(data);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(NodeError::Io { doing: format!("read {}", path.display()), source });
        }
    };
    match network_file::read_network(&text) {
        Ok(NetworkFile::Founded(founded)) => Ok(Some(*founded)),
        // Whoever has put it there has put it where it does no harm.
        Ok(NetworkFile::Begun(_)) => Ok(None),
        Err(source) => Err(NodeError::NetworkFile { path, source }),
    }
}

/// Keeps it, durably.
pub(crate) fn keep(data: &Path, founded: &Founded) -> Result<(), NodeError> {
    let path = file(data);
    colearn_files::replace(&path, network_file::founded(founded).as_bytes()).map_err(|error| {
        NodeError::Io { doing: format!("write {}", path.display()), source: error.into() }
    })
}

/// Whether the ledger that is read here is the one that was founded.
pub(crate) fn check(
    founded: &Founded,
    keys: &LogKeys,
    reader: &colearn_ledger::Reader,
) -> Result<Result<(), OtherFounding>, NodeError> {
    let size = founded.size();
    let root = (reader.size() >= size).then(|| reader.root(size)).transpose()?;
    Ok(founded.check(keys, root))
}
