//! Ed25519 keys: who a learner is, and private keys in files.

#[cfg(feature = "files")]
mod files;
#[cfg(feature = "files")]
mod openssh;
#[cfg(feature = "files")]
mod passphrase;

use colearn_contracts::LearnerId;
use ed25519_dalek::SigningKey;

#[cfg(feature = "files")]
pub use self::files::{
    KeyError, KeyFile, LockedKey, generate, load, load_or_create, read, save_new, save_new_locked,
};
#[cfg(feature = "files")]
pub use self::passphrase::Passphrase;

/// The learner a key belongs to.
pub fn learner_id(key: &SigningKey) -> LearnerId {
    LearnerId(key.verifying_key().to_bytes())
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
