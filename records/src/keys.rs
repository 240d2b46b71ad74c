//! Ed25519 keys: who a learner is, and where private keys are kept.

use colearn_contracts::LearnerId;
use ed25519_dalek::VerifyingKey;

pub use colearn_keys::*;

/// The learner a key belongs to, wherever that is kept.
pub fn learner_id(key: &impl AsRef<VerifyingKey>) -> LearnerId {
    LearnerId(key.as_ref().to_bytes())
}

/// Reads a public key written as 64 hex digits.
///
/// # Errors
/// A sentence saying what is wrong.
pub fn parse_learner_id(text: &str) -> Result<LearnerId, String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| format!("{text} is not a public key of 64 hex digits"))?;
    Ok(LearnerId(bytes))
}
