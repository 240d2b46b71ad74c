//! Encrypting: what is written comes out encrypted, a chunk at a time.

use std::io::{self, Write};

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};

use crate::keys::ModelKey;
use crate::{CHUNK_BYTES, CHUNK_TAG_BYTES, MAGIC, nonce};

/// Encrypts the bytes of one model, of which the digest is known before. Their encryption follows from them and the
/// key: it is the same wherever it is made.
pub struct Encryptor<W> {
    to: W,
    cipher: ChaCha20Poly1305,
    /// What is not encrypted yet: up to a whole chunk, which may be the last.
    chunk: Vec<u8>,
    chunks: u64,
}

impl<W: Write> Encryptor<W> {
    /// Begins with bytes whose SHA-256 is this. If it is not, what comes of it cannot be opened.
    ///
    /// # Errors
    /// If nothing can be written.
    pub fn new(mut to: W, key: &ModelKey, digest: &[u8; 32]) -> io::Result<Self> {
        let tag = key.tag(digest);
        to.write_all(MAGIC)?;
        to.write_all(&key.id())?;
        to.write_all(&tag)?;
        let cipher = ChaCha20Poly1305::new(&(*key.of_model(&tag)).into());
        let chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_TAG_BYTES);
        Ok(Self { to, cipher, chunk, chunks: 0 })
    }

    /// Ends it, and gives back what was written to.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_chunk(true)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn write_chunk(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = nonce(self.chunks, is_last).into();
        let encrypted = self.cipher.encrypt_in_place(&nonce, &[], &mut self.chunk);
        encrypted.map_err(|_| io::Error::other("a chunk is too long to be encrypted"))?;
        self.to.write_all(&self.chunk)?;
        self.chunk.clear();
        self.chunks += 1;
        Ok(())
    }
}

impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK_BYTES && !bytes.is_empty() {
            // Only now it is known that it is not the last.
            self.write_chunk(false)?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Whole chunks are written as they come; the rest when it is [finished](Self::finish).
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
