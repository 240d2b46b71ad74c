//! Where in its blocks a ledger stands that several nodes keep together.

use colearn_ledger::Head;
use colearn_proto::v1;
use serde::{Deserialize, Serialize};

use crate::record::{DecodedEntry, Record};

/// How an entry does not fit into the blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadBlock {
    /// One node keeps the ledger, and makes no blocks.
    #[error("it ends a block, in a ledger that one node keeps")]
    NoBlocks,
    /// Heights ascend.
    #[error("it ends a block of height {found}, after one of height {last}")]
    Height {
        /// Of the block before.
        last: u64,
        /// What it says.
        found: u64,
    },
    /// All of a block is recorded at one time.
    #[error("its time is {found} ms, and that of its block is {block} ms")]
    Time {
        /// Of the entries before it in the block, or what the first entry says.
        block: u64,
        /// Its own.
        found: u64,
    },
    /// Nobody can have seen what is recorded in the same block.
    #[error("its signer saw {seen} entries, and its block began when there were {begin}")]
    Seen {
        /// How many entries there were.
        begin: u64,
        /// How many its signer saw.
        seen: u64,
    },
    /// A block changes the nodes once.
    #[error("its block has changed who keeps the ledger already")]
    SecondChange,
}

/// Where in its blocks a ledger stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Blocks {
    /// Of the last block; 0 before the first.
    height: u64,
    /// How many entries there were when the present block began.
    begin: u64,
    /// Of the entries of the present block; `None` as long as there are none.
    time_ms: Option<u64>,
    /// Whether the present block has changed who keeps the ledger.
    changed: bool,
}

impl Blocks {
    /// Between two blocks, the last of this height, when there are `size` entries.
    pub fn between(height: u64, size: u64) -> Self {
        Self { height, begin: size, time_ms: None, changed: false }
    }

    /// Where a ledger stands that this entry is the last of, which several nodes keep; `None` within a block.
    pub fn behind(last: &DecodedEntry) -> Option<Self> {
        match &last.record {
            Record::Block(block) => Some(Self::between(block.height, last.index + 1)),
            Record::Genesis(_) => Some(Self::between(0, last.index + 1)),
            Record::ValidatorChange(change) if founds(change) => {
                Some(Self::between(0, last.index + 1))
            }
            Record::ValidatorChange(_)
            | Record::Transaction(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_) => None,
        }
    }

    /// The last block's height; 0 before the first.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Whether no block is open: only there a checkpoint is signed.
    pub fn is_between(&self) -> bool {
        self.time_ms.is_none()
    }

    /// How the next entry does not fit.
    pub(super) fn check(&self, entry: &DecodedEntry) -> Result<(), BadBlock> {
        if let Some(block) = self.time_ms.filter(|time_ms| *time_ms != entry.time_ms) {
            return Err(BadBlock::Time { block, found: entry.time_ms });
        }
        match &entry.record {
            Record::Block(block) if block.height <= self.height => {
                Err(BadBlock::Height { last: self.height, found: block.height })
            }
            Record::Transaction(transaction) if transaction.seen.size > self.begin => {
                Err(BadBlock::Seen { begin: self.begin, seen: transaction.seen.size })
            }
            Record::ValidatorChange(_) if self.changed => Err(BadBlock::SecondChange),
            Record::Block(_)
            | Record::Transaction(_)
            | Record::ValidatorChange(_)
            | Record::Genesis(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_) => Ok(()),
        }
    }

    /// Goes on behind an entry, after which the ledger's head is this.
    pub(super) fn push(&mut self, entry: &DecodedEntry, head: &Head) {
        if let Record::Block(block) = &entry.record {
            *self = Self::between(block.height, head.size);
            return;
        }
        self.changed |= matches!(entry.record, Record::ValidatorChange(_));
        self.time_ms = Some(entry.time_ms);
    }
}

fn founds(change: &v1::ValidatorChange) -> bool {
    matches!(change.change, Some(v1::validator_change::Change::Found(_)))
}
