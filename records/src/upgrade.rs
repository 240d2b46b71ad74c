//! Upgrades: recorded entries from which new experiments follow another version of the rules.

use bytes::Bytes;
use colearn_contracts::{Limits, Version};
use colearn_proto::v1;
use ed25519_dalek::{Signature, Signer as _, SigningKey};

use crate::convert::BadField;
use crate::log_keys::LogKeys;
use crate::transaction::LedgerId;

const DOMAIN: &[u8] = b"colearn/v1/upgrade\n";

/// Why an entry does not upgrade the rules.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the upgrade is not signed by the one key of the ledger, or has no limits")]
pub struct BadUpgrade;

/// The entry that has new experiments follow this version, and the ledger these limits.
pub fn sign(ledger: &LedgerId, key: &SigningKey, version: Version, limits: Limits) -> v1::Upgrade {
    let contract_version = version.number();
    let signature = key.sign(&message(ledger, contract_version, &limits));
    v1::Upgrade {
        contract_version,
        signature: Bytes::copy_from_slice(&signature.to_bytes()),
        limits: Some(limits_message(&limits)),
    }
}

/// Reads a ledger's limits.
///
/// # Errors
/// If there are none, or they break a bound.
pub fn limits(message: Option<&v1::Limits>) -> Result<Limits, BadField> {
    let message = message.ok_or(BadField("limits"))?;
    let limits = Limits {
        per_creator: message.experiments_per_creator,
        experiments: message.experiments,
        expiry_ms: message.expiry_ms,
    };
    limits
        .check()
        .map_err(|_| BadField("limits (1 or more experiments, expiry 10 ms to 366 days)"))?;
    Ok(limits)
}

/// Writes a ledger's limits.
pub fn limits_message(limits: &Limits) -> v1::Limits {
    v1::Limits {
        experiments_per_creator: limits.per_creator,
        experiments: limits.experiments,
        expiry_ms: limits.expiry_ms,
    }
}

/// Verifies that the ledger's key of that time has signed an upgrade. Whether there is such a version, and
/// whether it is a later one, is the contract's to say.
///
/// # Errors
/// If it has not.
pub fn check(upgrade: &v1::Upgrade, keys: &LogKeys) -> Result<(), BadUpgrade> {
    let limits = limits(upgrade.limits.as_ref()).map_err(|_| BadUpgrade)?;
    let message = message(&keys.ledger(), upgrade.contract_version, &limits);
    let signature = Signature::from_slice(&upgrade.signature).map_err(|_| BadUpgrade)?;
    // Where several nodes keep the ledger, more than two thirds of them have to approve.
    if keys.validators().is_some() {
        return Err(BadUpgrade);
    }
    let key = keys.current().one().ok_or(BadUpgrade)?;
    key.key().verify_strict(&message, &signature).map_err(|_| BadUpgrade)
}

/// The rules that a change of a ledger of several nodes brings, if it does.
pub fn rules(change: &v1::ValidatorChange) -> Option<&v1::Rules> {
    match change.change.as_ref()? {
        v1::validator_change::Change::Rules(rules) => Some(rules),
        v1::validator_change::Change::Admit(_)
        | v1::validator_change::Change::Remove(_)
        | v1::validator_change::Change::Update(_)
        | v1::validator_change::Change::Found(_) => None,
    }
}

fn message(ledger: &LedgerId, version: u32, limits: &Limits) -> Vec<u8> {
    [
        DOMAIN,
        &ledger.0,
        &version.to_be_bytes(),
        &limits.per_creator.to_be_bytes(),
        &limits.experiments.to_be_bytes(),
        &limits.expiry_ms.to_be_bytes(),
    ]
    .concat()
}
