//! Upgrades: recorded entries from which new experiments follow another version of the rules.

use bytes::Bytes;
use colearn_contracts::Version;
use colearn_proto::v1;
use ed25519_dalek::{Signature, Signer as _, SigningKey};

use crate::log_keys::LogKeys;
use crate::transaction::LedgerId;

const DOMAIN: &[u8] = b"colearn/v1/upgrade\n";

/// Why an entry does not upgrade the rules.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the upgrade is not signed by the ledger's key")]
pub struct BadUpgrade;

/// The entry that has new experiments follow this version.
pub fn sign(ledger: &LedgerId, key: &SigningKey, version: Version) -> v1::Upgrade {
    let contract_version = version.number();
    let signature = key.sign(&message(ledger, contract_version));
    v1::Upgrade { contract_version, signature: Bytes::copy_from_slice(&signature.to_bytes()) }
}

/// Verifies that the ledger's key of that time has signed an upgrade. Whether there is such a version, and
/// whether it is a later one, is the contract's to say.
///
/// # Errors
/// If it has not.
pub fn check(upgrade: &v1::Upgrade, keys: &LogKeys) -> Result<(), BadUpgrade> {
    let message = message(&keys.ledger(), upgrade.contract_version);
    let signature = Signature::from_slice(&upgrade.signature).map_err(|_| BadUpgrade)?;
    keys.current().key().verify_strict(&message, &signature).map_err(|_| BadUpgrade)
}

fn message(ledger: &LedgerId, version: u32) -> Vec<u8> {
    [DOMAIN, &ledger.0, &version.to_be_bytes()].concat()
}
