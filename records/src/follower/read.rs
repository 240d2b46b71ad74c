//! What can be said of an entry by itself.

use colearn_ledger::Hash;

use super::Depth;
use crate::record::{DecodedEntry, NotARecord, Record};
use crate::transaction::{Invalid, LedgerId, Unverified};

/// Looks at entries one by one, as deep as the follower that it is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryReader {
    pub(super) ledger: LedgerId,
    pub(super) depth: Depth,
    /// The entries before this one are believed to be signed.
    pub(super) trusted: u64,
}

impl EntryReader {
    /// Reads an entry and verifies its signature: what is the same whatever the others are. What is
    /// wrong with it is told when it is followed.
    pub fn read(&self, bytes: Vec<u8>) -> ReadEntry {
        let decoded = self.depth.reads_records().then(|| Record::decode(&bytes));
        let mut entry = ReadEntry { reader: *self, bytes, decoded, signature: None };
        // An entry that names another index than its place is followed nowhere.
        let believed = entry.decoded().is_some_and(|decoded| decoded.index < self.trusted);
        if self.depth.verifies() && !believed {
            entry.signature = entry.transaction().map(|it| it.check(&self.ledger));
        }
        entry
    }
}

/// An entry, and what was found of it alone.
#[derive(Clone, Debug)]
pub struct ReadEntry {
    pub(super) reader: EntryReader,
    pub(super) bytes: Vec<u8>,
    /// `None` if no more than its place was to be looked at.
    pub(super) decoded: Option<Result<DecodedEntry, NotARecord>>,
    /// Of transactions only.
    pub(super) signature: Option<Result<(), Invalid>>,
}

impl ReadEntry {
    /// The bytes that are stored, hashed and served.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its leaf hash.
    pub fn leaf(&self) -> Hash {
        Hash::leaf(&self.bytes)
    }

    /// The record in it; `None` if it was not to be read, or is none.
    pub fn record(&self) -> Option<&Record> {
        self.decoded().map(|decoded| &decoded.record)
    }

    /// The entry with its record; `None` if it was not to be read, or is none.
    pub fn decoded(&self) -> Option<&DecodedEntry> {
        self.decoded.as_ref()?.as_ref().ok()
    }

    /// Whether it is a transaction whose signature was verified.
    pub fn is_signed(&self) -> bool {
        matches!(self.signature, Some(Ok(())))
    }

    pub(super) fn transaction(&self) -> Option<&Unverified> {
        match self.record()? {
            Record::Transaction(transaction) => Some(transaction),
            Record::Genesis(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => None,
        }
    }
}
