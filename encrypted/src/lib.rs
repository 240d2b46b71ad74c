#![doc = include_str!("../README.md")]

mod encryptor;
mod keys;
mod opened;
mod round;

pub use encryptor::Encryptor;
pub use keys::{KeysError, ModelKey, ModelKeys};
pub use opened::{NotOpened, Opened, is_encrypted, key_of};
pub use round::Round;

/// What an encrypted model begins with: its form and version.
pub(crate) const MAGIC: &[u8; 24] = b"colearn encrypted model\n";
/// After that, which key it is encrypted under, and the number that stands for what it holds.
pub(crate) const ID_BYTES: usize = 8;
pub(crate) const TAG_BYTES: usize = 32;
pub(crate) const HEADER_BYTES: usize = MAGIC.len() + ID_BYTES + TAG_BYTES;
/// What is encrypted at once, and the bytes by which that grows.
pub(crate) const CHUNK_BYTES: usize = 1 << 16;
pub(crate) const CHUNK_TAG_BYTES: usize = 16;

/// The nonce of a chunk, as in STREAM: where it is, and whether it is the last one. Each key encrypts one model, and so none
/// is used twice.
pub(crate) fn nonce(chunk: u64, is_last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&chunk.to_be_bytes());
    nonce[11] = u8::from(is_last);
    nonce
}
