//! Learners, and what they sign.

use colearn_contracts::{Act, Action, Digest, LearnerId, Model};
use colearn_records::keys::learner_id;
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use ed25519_dalek::SigningKey;

pub(crate) fn key(number: u16) -> SigningKey {
    let mut seed = [5; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

pub(crate) fn learner(number: u16) -> LearnerId {
    learner_id(&key(number))
}

pub(crate) fn model(number: u32) -> Model {
    let mut digest = [9; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    Model { digest: Digest(digest), size: 1_000, media_type: "application/x-safetensors".into() }
}

/// What this learner signs, who has seen this, as it is submitted.
pub(crate) fn signed(
    ledger: &LedgerId,
    seen: Seen,
    who: u16,
    experiment: &str,
    what: Act,
) -> Transaction {
    let action = Action::new(experiment.parse().unwrap(), what);
    Transaction::sign(&key(who), ledger, seen, action)
}

pub(crate) fn payload(transaction: &Transaction) -> Vec<u8> {
    record::transaction_payload(transaction)
}
