//! What the ledger's opaque payloads are: genesis, transactions and outcomes.

use colearn_contracts::{Action, ExperimentName, Outcome};
use colearn_proto::v1;
use prost::Message as _;

use crate::convert::{self, BadField};
use crate::log_keys::KeyChange;
use crate::transaction::{self, Invalid, Transaction, Unverified};
use crate::validators::MAX_VALIDATORS;

/// An entry's payload.
#[derive(Clone, Debug)]
pub enum Record {
    /// What the ledger is.
    Genesis(v1::Genesis),
    /// What a learner did; its signature has not been looked at.
    Transaction(Box<Unverified>),
    /// What the contract decided.
    Outcome(Outcome),
    /// Another key signs from here on; its signatures have not been looked at.
    KeyRotation(v1::KeyRotation),
    /// New experiments follow another version of the rules from here on; its signature has not been
    /// looked at.
    Upgrade(v1::Upgrade),
    /// The entries before it, since the last one, are of one block.
    Block(v1::Block),
    /// Other nodes keep the ledger together from here on; whether it is approved has not been looked at.
    ValidatorChange(v1::ValidatorChange),
}

/// Why an entry does not hold a record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotARecord {
    /// Not protobuf, or no payload.
    #[error("it has no payload that can be read")]
    Malformed,
    /// Not in the one encoding.
    #[error("it is not in the one encoding")]
    NotCanonical,
    /// The outcome or genesis is malformed.
    #[error(transparent)]
    Field(#[from] BadField),
    /// The transaction is malformed.
    #[error(transparent)]
    Transaction(#[from] Invalid),
}

/// An entry of the ledger with its payload read.
#[derive(Clone, Debug)]
pub struct DecodedEntry {
    /// The entry's index.
    pub index: u64,
    /// The entry's ledger time, in ms since 1970.
    pub time_ms: u64,
    /// The record.
    pub record: Record,
}

impl Record {
    /// Reads an entry's bytes, insisting on the one encoding.
    ///
    /// # Errors
    /// If they are not a canonical entry with a well-formed payload.
    pub fn decode(bytes: &[u8]) -> Result<DecodedEntry, NotARecord> {
        let entry = v1::Entry::decode(bytes).map_err(|_| NotARecord::Malformed)?;
        // Protobuf has many encodings of one message and skips fields that it does not know. With a
        // second one, two different leaf hashes would be the same entry, or one would hide something.
        if entry.encode_to_vec() != bytes {
            return Err(NotARecord::NotCanonical);
        }
        let record = match entry.payload.ok_or(NotARecord::Malformed)? {
            v1::entry::Payload::Genesis(genesis) => Self::Genesis(genesis),
            v1::entry::Payload::Transaction(signed) => {
                Self::Transaction(Box::new(Unverified::decode(signed)?))
            }
            v1::entry::Payload::Outcome(outcome) => Self::Outcome(convert::outcome(outcome)?),
            v1::entry::Payload::KeyRotation(rotation) => Self::KeyRotation(rotation),
            v1::entry::Payload::Upgrade(upgrade) => Self::Upgrade(upgrade),
            v1::entry::Payload::Block(block) => Self::Block(checked_block(block)?),
            v1::entry::Payload::ValidatorChange(change) => Self::ValidatorChange(change),
        };
        Ok(DecodedEntry { index: entry.index, time_ms: entry.time_ms, record })
    }

    /// The experiment that it is about, if it is about one.
    pub fn experiment(&self) -> Option<&ExperimentName> {
        match self {
            Self::Transaction(transaction) => Some(&transaction.action.experiment),
            Self::Outcome(outcome) => Some(&outcome.experiment),
            Self::Genesis(_)
            | Self::KeyRotation(_)
            | Self::Upgrade(_)
            | Self::Block(_)
            | Self::ValidatorChange(_) => None,
        }
    }
}

impl Record {
    /// How it changes the ledger's keys, if it does.
    pub fn key_change(self) -> Option<KeyChange> {
        match self {
            Self::KeyRotation(rotation) => Some(KeyChange::Rotation(rotation)),
            Self::ValidatorChange(change) => Some(KeyChange::Validators(change)),
            Self::Genesis(_)
            | Self::Transaction(_)
            | Self::Outcome(_)
            | Self::Upgrade(_)
            | Self::Block(_) => None,
        }
    }
}

/// The payload of a genesis entry.
pub fn genesis_payload(genesis: v1::Genesis) -> Vec<u8> {
    payload(v1::entry::Payload::Genesis(genesis))
}

/// The payload of a transaction's entry.
pub fn transaction_payload(transaction: &Transaction) -> Vec<u8> {
    payload(v1::entry::Payload::Transaction(transaction.message().clone()))
}

/// The payload of an outcome's entry.
pub fn outcome_payload(outcome: &Outcome) -> Vec<u8> {
    payload(v1::entry::Payload::Outcome(convert::outcome_message(outcome)))
}

/// The payload of the entry that changes the key.
pub fn rotation_payload(rotation: &v1::KeyRotation) -> Vec<u8> {
    payload(v1::entry::Payload::KeyRotation(rotation.clone()))
}

/// The payload of the entry that upgrades the rules.
pub fn upgrade_payload(upgrade: &v1::Upgrade) -> Vec<u8> {
    payload(v1::entry::Payload::Upgrade(upgrade.clone()))
}

/// The payload of the entry that ends a block.
pub fn block_payload(block: &v1::Block) -> Vec<u8> {
    payload(v1::entry::Payload::Block(block.clone()))
}

/// The payload of the entry that changes who keeps the ledger.
pub fn validator_change_payload(change: &v1::ValidatorChange) -> Vec<u8> {
    payload(v1::entry::Payload::ValidatorChange(change.clone()))
}

/// The longest payload that is taken from others: what is left of an entry's 65,535 bytes is more than its
/// envelope takes.
pub const MAX_PAYLOAD_BYTES: usize = 65_400;

/// Reads a payload that somebody wants recorded: in the one encoding, and without an envelope, which is not
/// the sender's to say. `None` if it is nothing that could be recorded.
pub fn read_payload(payload: &[u8]) -> Option<v1::entry::Payload> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    let entry = v1::Entry::decode(payload).ok()?;
    let bare = entry.index == 0 && entry.parent.is_empty() && entry.time_ms == 0;
    if !bare || entry.encode_to_vec() != payload {
        return None;
    }
    entry.payload
}

/// Reads the payload of a transaction as [`read_payload`] does, but without all that reads others, for
/// programs that have to be small. `None` if it is none.
pub fn read_transaction(payload: &[u8]) -> Option<v1::SignedTransaction> {
    /// Field 5, length-delimited.
    const TAG: u8 = 5 << 3 | 2;
    if payload.len() > MAX_PAYLOAD_BYTES {
        return None;
    }
    let signed =
        v1::SignedTransaction::decode_length_delimited(payload.strip_prefix(&[TAG])?).ok()?;
    // Also tells what comes after it, which was not looked at.
    let canonical = self::payload(v1::entry::Payload::Transaction(signed.clone()));
    (canonical == payload).then_some(signed)
}

/// The change of the keys that a payload records, if it does. Far cheaper than decoding all.
pub fn key_change(payload: &[u8]) -> Option<KeyChange> {
    /// Fields 7 and 9, length-delimited.
    const TAGS: [u8; 2] = [7 << 3 | 2, 9 << 3 | 2];
    // Of all entries a handful change the keys; one byte tells that the others do not. One in another
    // encoding is overlooked here, and refused by `Record::decode`.
    let first = *payload.first()?;
    if !TAGS.contains(&first) {
        return None;
    }
    match v1::Entry::decode(payload).ok()?.payload? {
        v1::entry::Payload::KeyRotation(rotation) => Some(KeyChange::Rotation(rotation)),
        v1::entry::Payload::ValidatorChange(change) => Some(KeyChange::Validators(change)),
        v1::entry::Payload::Genesis(_)
        | v1::entry::Payload::Transaction(_)
        | v1::entry::Payload::Outcome(_)
        | v1::entry::Payload::Block(_)
        | v1::entry::Payload::Upgrade(_) => None,
    }
}

/// The most that one block tells of who was caught: each node for one thing.
pub const MAX_MISBEHAVIOR: usize = MAX_VALIDATORS;

fn checked_block(block: v1::Block) -> Result<v1::Block, BadField> {
    if block.hash.len() != 32 {
        return Err(BadField("hash (32 bytes)"));
    }
    if block.proposer.len() != 20 {
        return Err(BadField("proposer (20 bytes)"));
    }
    let known = |caught: &v1::Misbehavior| {
        caught.validator.len() == 20
            && !matches!(caught.kind.try_into(), Ok(v1::MisbehaviorKind::Unspecified) | Err(_))
    };
    if block.misbehavior.len() > MAX_MISBEHAVIOR || !block.misbehavior.iter().all(known) {
        return Err(BadField("misbehavior"));
    }
    Ok(block)
}

/// The key under which the changes of the ledger's keys are found.
pub const KEY_CHANGES: &[u8] = b"k";

/// The key under which the blocks are found that tell who was caught.
pub const CAUGHT: &[u8] = b"c";

/// An entry without an envelope is just its payload.
fn payload(payload: v1::entry::Payload) -> Vec<u8> {
    let entry = v1::Entry { payload: Some(payload), ..v1::Entry::default() };
    entry.encode_to_vec()
}

/// The key under which an experiment's entries are found.
pub fn experiment_key(name: &str) -> Vec<u8> {
    [b"e", name.as_bytes()].concat()
}

/// The key under which a transaction's entry is found.
fn transaction_key(message: &v1::SignedTransaction) -> Vec<u8> {
    // Half a digest, for the index has one for every transaction. Two with the same half take their
    // maker 2^64 tries, and then the second is taken for the first one sent again.
    [b"t", &transaction::digest(message)[..16]].concat()
}

/// What a transaction's entry is found under: itself, and its experiment. The writer asks for the
/// first before it records a transaction; without it, one sent twice would be recorded twice.
pub fn keys_of_transaction(message: &v1::SignedTransaction, action: &Action) -> [Vec<u8>; 2] {
    [transaction_key(message), experiment_key(action.experiment.as_str())]
}

/// What an outcome's entry is found under: its experiment.
pub fn keys_of_outcome(outcome: &Outcome) -> Vec<Vec<u8>> {
    vec![experiment_key(outcome.experiment.as_str())]
}

/// What a block's entry is found under: nothing, unless it tells who was caught.
pub fn keys_of_block(block: &v1::Block) -> Vec<Vec<u8>> {
    if block.misbehavior.is_empty() { Vec::new() } else { vec![CAUGHT.to_vec()] }
}

/// What an entry is found under, from its payload: what the writer gives when it appends, and what
/// an index is rebuilt from.
pub fn keys_of(payload: &[u8]) -> Vec<Vec<u8>> {
    // Nothing is refused here: whoever rebuilds an index must find what the writer found, and what
    // cannot be read is found by an audit.
    let Ok(entry) = v1::Entry::decode(payload) else { return Vec::new() };
    match entry.payload {
        Some(v1::entry::Payload::Transaction(message)) => {
            match Unverified::decode(message.clone()) {
                Ok(transaction) => keys_of_transaction(&message, &transaction.action).into(),
                Err(_) => Vec::new(),
            }
        }
        Some(v1::entry::Payload::Outcome(outcome)) => vec![experiment_key(&outcome.experiment)],
        Some(v1::entry::Payload::KeyRotation(_) | v1::entry::Payload::ValidatorChange(_)) => {
            vec![KEY_CHANGES.to_vec()]
        }
        Some(v1::entry::Payload::Block(block)) => keys_of_block(&block),
        Some(v1::entry::Payload::Genesis(_) | v1::entry::Payload::Upgrade(_)) | None => Vec::new(),
    }
}
