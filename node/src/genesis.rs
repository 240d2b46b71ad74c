//! The first entry of a ledger, and the keys that its entries give it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use colearn_contracts::{Limits, VERSION, Version};
use colearn_ledger::{JournalReader, Ledger};
use colearn_proto::v1;
use colearn_records::keys::KeyError;
use colearn_records::log_keys::LogKeys;
use colearn_records::record::{self, Record};
use colearn_records::upgrade;
use ed25519_dalek::SigningKey;

use crate::error::NodeError;

/// The genesis of a new ledger: of this name, or of one made from its key, with these limits.
pub(crate) fn new(
    origin: Option<String>,
    limits: &Limits,
    key: &SigningKey,
) -> Result<v1::Genesis, NodeError> {
    limits.check()?;
    // The ledger's id is a hash of this message. Without a nonce two ledgers of one key and name
    // would have the same, and what is signed for one could be recorded in the other.
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(KeyError::Random)?;
    let public = key.verifying_key().to_bytes();
    Ok(v1::Genesis {
        origin: origin.unwrap_or_else(|| format!("colearn/{}", hex::encode(&public[..8]))),
        log_public_key: Bytes::copy_from_slice(&public),
        nonce: Bytes::copy_from_slice(&nonce),
        contract_version: VERSION.number(),
        validators: Vec::new(),
        time_ms: 0,
        limits: Some(upgrade::limits_message(limits)),
        chain: None,
    })
}

/// The genesis of the ledger in a folder; `None` if there is no whole entry yet. Read before the
/// ledger is opened, because opening it needs the name that is in it.
pub(crate) fn read(dir: &Path) -> Result<Option<v1::Genesis>, NodeError> {
    if !dir.join("journal/00000000.journal").exists() {
        return Ok(None);
    }
    let mut journal = JournalReader::open(dir)?;
    let first = match journal.next_entry() {
        Ok(Some(entry)) => entry,
        // Opening the ledger decides whether this is a torn first write or damage.
        Ok(None) | Err(colearn_ledger::Error::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match Record::decode(&first.bytes) {
        Ok(placed) => match placed.record {
            Record::Genesis(genesis) => match Version::try_from(genesis.contract_version) {
                Ok(_) => Ok(Some(genesis)),
                Err(unknown) => Err(NodeError::Version(unknown)),
            },
            Record::Transaction(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => Err(NodeError::Genesis(dir.to_owned())),
        },
        Err(source) => Err(NodeError::Record { index: 0, source }),
    }
}

/// The keys that the ledger's entries give it: the genesis's, and what changed it since.
pub(crate) fn log_keys(ledger: &Ledger, genesis: &v1::Genesis) -> Result<LogKeys, NodeError> {
    let reader = ledger.reader();
    let bad = || NodeError::Genesis(PathBuf::from("the ledger"));
    let mut keys = LogKeys::of_genesis(genesis).ok_or_else(bad)?;
    let mut from = 0;
    while let Some(index) = reader.find(record::KEY_CHANGES, from)? {
        let malformed = |source| NodeError::Record { index, source };
        let placed = Record::decode(&reader.entry(index)?).map_err(malformed)?;
        if let Some(change) = placed.record.key_change() {
            let step = keys.follow(index, &change);
            step.map_err(|source| NodeError::Rotation { index, source })?;
        }
        from = index + 1;
    }
    Ok(keys)
}
