//! What can be wrong with an entry, a first entry and a checkpoint.

use colearn_contracts::UnknownVersion;
use colearn_ledger::{Broken, Forgotten, Hash, NoteError};

use super::blocks::BadBlock;
use crate::log_keys::BadKeyChange;
use crate::on_chain::BadChain;
use crate::record::NotARecord;
use crate::replay::Departure;
use crate::transaction::{Invalid, Seen};
use crate::upgrade::BadUpgrade;

/// How an entry is not what a ledger must go on with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// It does not follow the entry before.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It is not the first entry of this ledger.
    #[error("it is not the first entry of this ledger")]
    OtherGenesis,
    /// It changes the keys but may not.
    #[error(transparent)]
    Keys(#[from] BadKeyChange),
    /// It does not fit into the blocks of a ledger of several nodes.
    #[error(transparent)]
    Block(#[from] BadBlock),
    /// It upgrades the rules but may not.
    #[error(transparent)]
    Upgrade(#[from] BadUpgrade),
    /// It is not a record.
    #[error(transparent)]
    Record(#[from] NotARecord),
    /// Its signature does not verify.
    #[error(transparent)]
    Signature(#[from] Invalid),
    /// A contract on a public chain keeps the ledger, and never writes this.
    #[error("it is {0}, which a contract on a public chain never writes")]
    OnChain(&'static str),
    /// It is a genesis, but not the first entry.
    #[error("it is a second genesis")]
    SecondGenesis,
    /// Its signer vouches for another history.
    #[error("its signer saw root {} at size {}, which is not this history", vouched.root, vouched.size)]
    Seen {
        /// What its signer saw.
        vouched: Seen,
        /// The root there; `None` if it has not been followed that far, or it is forgotten.
        root: Option<Hash>,
    },
    /// Its transaction was signed too long before it (R71).
    #[error(
        "its signer had seen {} entries, and the next one is older than transactions may be (R71)",
        vouched.size
    )]
    Expired {
        /// What its signer saw.
        vouched: Seen,
    },
    /// Its time is none that a ledger can name (R70).
    #[error("its time is {0} ms, beyond the year 9999 (R70)")]
    Time(u64),
    /// It departs from the contract.
    #[error(transparent)]
    Departure(#[from] Departure),
    /// An entry before it departed from the contract: whatever follows means nothing.
    #[error("an entry before it departs from the contract")]
    Departed,
    /// Nothing is wrong with it: [`Follower::prepare`](super::Follower::prepare) has to look up what its signer vouches for.
    #[error(transparent)]
    Forgotten(#[from] Forgotten),
}

/// Why a ledger cannot be followed from its first entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadGenesis {
    /// It is not a record.
    #[error(transparent)]
    Record(#[from] NotARecord),
    /// It is another record.
    #[error("it is not a genesis")]
    OtherRecord,
    /// It asks for rules that this program does not know.
    #[error("{0}")]
    Version(UnknownVersion),
    /// Its name or key is none.
    #[error("its key or origin cannot be used")]
    Key,
    /// It is not what a contract on a public chain would have written.
    #[error(transparent)]
    Chain(#[from] BadChain),
    /// Its limits are not those of its version: none in version 1, within their bounds in later ones.
    #[error("its limits are not those that its version of the rules has")]
    Limits,
}

/// Why a checkpoint says nothing about what was followed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unconfirmed {
    /// It is not one that the ledger's key of its time has signed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// It counts entries that were not followed yet.
    #[error("it counts {stated} entries, and {followed} were followed")]
    Ahead {
        /// What it says.
        stated: u64,
        /// How many are in the tree.
        followed: u64,
    },
    /// The ledger has signed two histories.
    #[error("it says that the first {size} entries have root {stated}; theirs is {root}")]
    OtherRoot {
        /// The entries it counts.
        size: u64,
        /// What it says.
        stated: Hash,
        /// The root of what was followed.
        root: Hash,
    },
    /// The leaves of a tile have to be handed back with [`Follower::recall`](super::Follower::recall) first.
    #[error(transparent)]
    Forgotten(#[from] Forgotten),
}
