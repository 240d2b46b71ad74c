//! How a ledger that one node has kept alone becomes one that several keep together: what whoever goes on
//! with it has to know, as the one who kept it says it.

use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Hash, NoteError, SignedNote, Verifier};
use colearn_proto::v1;
use ed25519_dalek::VerifyingKey;

use crate::log_keys::LogKeys;
use crate::record;
use crate::transaction::LedgerId;
use crate::validators::{BadChange, Validators};

/// A ledger of one node's that several keep from an entry on.
///
/// It holds together by itself: one key has signed what there was when it kept the ledger alone, and has
/// approved who keeps it from then on. Whether that key is the ledger's, only the ledger's entries tell.
#[derive(Clone, PartialEq, Debug)]
pub struct Founded {
    ledger: LedgerId,
    change: v1::ValidatorChange,
    time_ms: u64,
    alone: Checkpoint,
    note: String,
    root: Hash,
    key: VerifyingKey,
    validators: Validators,
}

/// Why something founds nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadFounding {
    /// The change.
    #[error(transparent)]
    Change(#[from] BadChange),
    /// The checkpoint.
    #[error("its checkpoint is not signed by the key that approves: {0}")]
    Checkpoint(#[from] NoteError),
    /// There was nothing that could be gone on from.
    #[error("its checkpoint counts no entry")]
    Nothing,
}

/// Why a ledger is not the one that was founded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OtherFounding {
    /// It is another ledger.
    #[error("it is the ledger {found}, and {expected} was founded")]
    Ledger {
        /// The one that was founded.
        expected: LedgerId,
        /// The one that is there.
        found: LedgerId,
    },
    /// Nothing makes several nodes of one in it.
    #[error(
        "it does not say that several nodes keep it: it is a copy from before entry {0}, which does"
    )]
    Never(u64),
    /// Another entry does.
    #[error("others keep it than those of the network's file, or from another entry on")]
    Others,
    /// It has another past.
    #[error("its first {size} entries have the root {found}, and {expected} was founded")]
    Root {
        /// How many.
        size: u64,
        /// The root that was founded.
        expected: Hash,
        /// The one that is there.
        found: Hash,
    },
}

impl Founded {
    /// Takes what the keeper of a ledger says, and verifies that one key says all of it: `note` is the last
    /// checkpoint that it has signed alone, and the change the entry behind it, of this time; `root` is the
    /// root with that entry.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(
        ledger: LedgerId,
        note: String,
        change: v1::ValidatorChange,
        time_ms: u64,
        root: Hash,
    ) -> Result<Self, BadFounding> {
        let by = change.approvals.first().and_then(|it| it.key[..].try_into().ok());
        let key = by.and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
        let key = key.ok_or(BadChange::Unapproved { approved: 0, needed: 1, of: 1 })?;
        let validators = Validators::found(&ledger, &key, &change)?;
        let origin = Checkpoint::parse(SignedNote::parse(&note)?.text())?.origin;
        let alone = Checkpoint::open(&note, &Verifier::new(&origin, KeyKind::Log, key)?)?;
        if alone.size == 0 {
            return Err(BadFounding::Nothing);
        }
        Ok(Self { ledger, change, time_ms, alone, note, root, key, validators })
    }

    /// Which ledger it is.
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The ledger's name.
    pub fn origin(&self) -> &str {
        &self.alone.origin
    }

    /// The entry from which on several keep it.
    pub fn index(&self) -> u64 {
        self.alone.size
    }

    /// How many entries there are with that one.
    pub fn size(&self) -> u64 {
        self.alone.size.saturating_add(1)
    }

    /// The root over these: what those who keep it compare.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The last checkpoint that one key has signed alone, verbatim.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// What that says.
    pub fn alone(&self) -> &Checkpoint {
        &self.alone
    }

    /// The key that has signed it.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Who keeps it from then on, as it is recorded.
    pub fn change(&self) -> &v1::ValidatorChange {
        &self.change
    }

    /// The same, verified.
    pub fn validators(&self) -> &Validators {
        &self.validators
    }

    /// The time of the entry that says so, in ms since 1970.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The payload of that entry.
    pub fn payload(&self) -> Vec<u8> {
        record::validator_change_payload(&self.change)
    }

    /// Whether a ledger with these keys is the one that was founded; `root` is that of its first
    /// [`Founded::size`] entries, `None` where there are not as many.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, keys: &LogKeys, root: Option<Hash>) -> Result<(), OtherFounding> {
        if keys.ledger() != self.ledger {
            let (expected, found) = (self.ledger, keys.ledger());
            return Err(OtherFounding::Ledger { expected, found });
        }
        let (size, expected) = (self.size(), self.root);
        match (keys.founders(), root) {
            (None, _) | (_, None) => Err(OtherFounding::Never(self.index())),
            (Some(founders), _) if founders != (self.index(), &self.validators) => {
                Err(OtherFounding::Others)
            }
            (Some(_), Some(found)) if found == expected => Ok(()),
            (Some(_), Some(found)) => Err(OtherFounding::Root { size, expected, found }),
        }
    }
}
