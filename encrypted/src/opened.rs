//! Opening: an encrypted model, read as if it was not.

use std::io;

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};
use colearn_merge::Source;
use sha2::{Digest as _, Sha256};

use crate::keys::{ModelKey, ModelKeys};
use crate::{CHUNK_BYTES, CHUNK_TAG_BYTES, HEADER_BYTES, ID_BYTES, MAGIC, TAG_BYTES, nonce};

/// Why a model was not opened. Whoever has the same keys finds the same, but for what cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    /// It is not encrypted.
    #[error("it is not encrypted, and nothing of this experiment is taken in the clear")]
    NotEncrypted,
    /// The key is not here.
    #[error(
        "it is encrypted under the model key {}, which is not here; whoever has added it has a newer file of keys",
        hex::encode(.0)
    )]
    UnknownKey([u8; ID_BYTES]),
    /// It is not what was encrypted.
    #[error("it is damaged or forged: what it holds does not fit its key")]
    Forged,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Whether bytes begin like an encrypted model.
///
/// # Errors
/// If they cannot be read.
pub fn is_encrypted(source: &dyn Source) -> io::Result<bool> {
    if source.size()? < MAGIC.len() as u64 {
        return Ok(false);
    }
    let mut magic = [0; MAGIC.len()];
    source.read_at(0, &mut magic)?;
    Ok(magic == *MAGIC)
}

/// The key that a model says it is encrypted under. Only [`Opened`] tells whether it is.
///
/// # Errors
/// If it is not encrypted, or under none of these keys.
pub fn key_of<'a>(source: &dyn Source, keys: &'a ModelKeys) -> Result<&'a ModelKey, NotOpened> {
    if !is_encrypted(source)? {
        return Err(NotOpened::NotEncrypted);
    }
    if source.size()? < HEADER_BYTES as u64 {
        return Err(NotOpened::Forged);
    }
    let mut id = [0; ID_BYTES];
    source.read_at(MAGIC.len() as u64, &mut id)?;
    keys.with_id(&id).ok_or(NotOpened::UnknownKey(id))
}

/// An encrypted model that was found whole. A chunk at a time is in memory while it is read, at any place.
pub struct Opened<'a> {
    source: &'a dyn Source,
    cipher: ChaCha20Poly1305,
    key: ModelKey,
    /// How many bytes it holds.
    size: u64,
    chunks: u64,
    digest: [u8; 32],
}

impl std::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("key", &self.key).field("size", &self.size).finish()
    }
}

impl<'a> Opened<'a> {
    /// Opens a model, and looks at all of it: afterwards nothing in it is in doubt.
    ///
    /// # Errors
    /// If it is not encrypted under one of these keys, or somebody has changed it.
    pub fn new(source: &'a dyn Source, keys: &ModelKeys) -> Result<Self, NotOpened> {
        let key = key_of(source, keys)?.clone();
        let body = source.size()?.checked_sub(HEADER_BYTES as u64).ok_or(NotOpened::Forged)?;
        let mut tag = [0; TAG_BYTES];
        source.read_at((MAGIC.len() + ID_BYTES) as u64, &mut tag)?;
        let cipher = ChaCha20Poly1305::new(&(*key.of_model(&tag)).into());
        let chunks = body.div_ceil((CHUNK_BYTES + CHUNK_TAG_BYTES) as u64).max(1);
        let tags = chunks * CHUNK_TAG_BYTES as u64;
        let size = body.checked_sub(tags).ok_or(NotOpened::Forged)?;
        // A last chunk of nothing is for a model of nothing: there is one encryption, and no other.
        if chunks > 1 && size <= (chunks - 1) * CHUNK_BYTES as u64 {
            return Err(NotOpened::Forged);
        }
        let mut opened = Self { source, cipher, key, size, chunks, digest: [0; 32] };
        let (mut hasher, mut chunk) = (Sha256::new(), Vec::new());
        for at in 0..chunks {
            opened.read_chunk(at, &mut chunk)?;
            hasher.update(&chunk);
        }
        opened.digest = hasher.finalize().into();
        match opened.key.is_tag(&opened.digest, &tag) {
            true => Ok(opened),
            false => Err(NotOpened::Forged),
        }
    }

    /// The key that it is encrypted under.
    pub fn key(&self) -> &ModelKey {
        &self.key
    }

    /// SHA-256 of what it holds.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Writes all that it holds.
    ///
    /// # Errors
    /// If it cannot be read any more, or not be written.
    pub fn copy_to(&self, to: &mut dyn io::Write) -> io::Result<()> {
        let mut chunk = Vec::new();
        for at in 0..self.chunks {
            self.read_chunk(at, &mut chunk).map_err(changed)?;
            to.write_all(&chunk)?;
        }
        to.flush()
    }

    fn read_chunk(&self, at: u64, chunk: &mut Vec<u8>) -> Result<(), NotOpened> {
        let begin = at * CHUNK_BYTES as u64;
        let length = (self.size - begin).min(CHUNK_BYTES as u64) as usize;
        chunk.resize(length + CHUNK_TAG_BYTES, 0);
        let offset = HEADER_BYTES as u64 + at * (CHUNK_BYTES + CHUNK_TAG_BYTES) as u64;
        self.source.read_at(offset, chunk)?;
        let nonce = nonce(at, at + 1 == self.chunks).into();
        self.cipher.decrypt_in_place(&nonce, &[], chunk).map_err(|_| NotOpened::Forged)
    }
}

/// It was whole when it was opened.
fn changed(error: NotOpened) -> io::Error {
    match error {
        NotOpened::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

impl Source for Opened<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let (mut at, mut rest, mut chunk) = (offset, buffer, Vec::new());
        while !rest.is_empty() {
            self.read_chunk(at / CHUNK_BYTES as u64, &mut chunk).map_err(changed)?;
            let begin = (at % CHUNK_BYTES as u64) as usize;
            let length = rest.len().min(chunk.len() - begin);
            let (now, later) = rest.split_at_mut(length);
            now.copy_from_slice(&chunk[begin..begin + length]);
            (at, rest) = (at + length as u64, later);
        }
        Ok(())
    }
}
