//! What a folder knows of how its ledger of one became one of several: the network's file, kept beside the
//! ledger.
//!
//! It is there before the ledger says so: a folder with this file whose ledger does not is one in which a
//! command was interrupted, and no node goes on with it alone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use colearn_ledger::{Checkpoint, Entry, JournalReader, SignedNote, anchor_files};
use colearn_records::founded::{Founded, OtherFounding};
use colearn_records::log_keys::LogKeys;
use colearn_records::network_file::{self, NetworkFile};
use colearn_records::record::{self, Record};

use crate::error::NodeError;

/// Where it is kept.
pub(crate) fn file(data: &Path) -> PathBuf {
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

/// Who keeps a ledger that is not opened, as far as its entries can be read.
pub(crate) struct Keepers {
    pub(crate) keys: LogKeys,
    /// How many entries can be read, and be followed.
    read: u64,
    /// How many are anchored; `None` if neither anchor can be read.
    anchored: Option<u64>,
}

impl Keepers {
    /// Reads a ledger's entries; `None` if not even the first can be.
    pub(crate) fn of(ledger: &Path) -> Option<Self> {
        let mut journal = JournalReader::open(ledger).ok()?;
        let first = journal.next_entry().ok()??;
        let Record::Genesis(genesis) = Record::decode(&first.bytes).ok()?.record else {
            return None;
        };
        let mut keys = LogKeys::of_genesis(&genesis)?;
        let mut read = 1;
        while let Ok(Some(entry)) = journal.next_entry()
            && let Ok(entry) = Entry::decode(&entry.bytes)
        {
            if let Some(change) = record::key_change(&entry.payload)
                && keys.follow(entry.index, &change).is_err()
            {
                break;
            }
            read += 1;
        }
        let files = anchor_files(ledger).into_iter().flatten();
        let anchored = files.filter_map(|file| Some(stated(file.note()?)?.size)).max();
        Some(Self { keys, read, anchored })
    }

    /// Whether all is read that was ever vouched for: then nobody else keeps it.
    pub(crate) fn all(&self) -> bool {
        self.anchored.is_some_and(|anchored| self.read >= anchored)
    }

    /// Whether the entry is anchored that made several nodes of one.
    pub(crate) fn are_several(&self) -> bool {
        let anchored = self.anchored.unwrap_or(0);
        self.keys.founders().is_some_and(|(index, _)| index < anchored)
    }
}

/// What a note says of a ledger, whoever has signed it.
pub(crate) fn stated(note: &str) -> Option<Checkpoint> {
    Checkpoint::parse(SignedNote::parse(note).ok()?.text()).ok()
}
