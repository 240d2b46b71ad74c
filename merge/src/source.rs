//! Where the bytes of a model come from.

#[cfg(any(unix, windows))]
use std::fs::File;
use std::io;

use sha2::{Digest as _, Sha256};

use crate::HEADER_LIMIT;

/// How much is read at once where nothing but the digest is wanted.
const PART: usize = 1 << 18;

/// Bytes that can be read at any place, by several threads at once.
///
/// Whoever merges reads them twice. They must be the same both times: whoever downloads them compares their digest
/// first, and keeps others from writing to them.
pub trait Source: Sync {
    /// How many bytes there are.
    ///
    /// # Errors
    /// If that cannot be told.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// If they cannot be read, or end before `buffer` is full.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// SHA-256 of the bytes, of which a part at a time is in memory.
///
/// # Errors
/// If they cannot be read.
pub fn digest(source: &dyn Source) -> io::Result<[u8; 32]> {
    let size = source.size()?;
    let (mut hasher, mut part, mut at) = (Sha256::new(), vec![0; PART], 0);
    while at < size {
        let length = usize::try_from(size - at).map_or(PART, |left| left.min(PART));
        source.read_at(at, &mut part[..length])?;
        hasher.update(&part[..length]);
        at += length as u64;
    }
    Ok(hasher.finalize().into())
}

/// The most bytes that an update can have and still count, where the base has so many: it has the base's tensors,
/// and no header is longer than [`HEADER_LIMIT`]. What is larger is void, and need not be had to know it.
pub fn largest_update(base_bytes: u64) -> u64 {
    base_bytes.saturating_add(HEADER_LIMIT)
}

impl Source for &[u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buffer)
    }
}

#[cfg(any(unix, windows))]
impl Source for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        use std::os::windows::fs::FileExt as _;
        while !buffer.is_empty() {
            let read = match self.seek_read(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            offset += read as u64;
            buffer = &mut buffer[read..];
        }
        Ok(())
    }
}
