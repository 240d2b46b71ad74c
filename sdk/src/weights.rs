//! The bytes of a model.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use colearn_contracts::{Digest, Model};
use colearn_merge::Source;
use sha2::{Digest as _, Sha256};

/// The media type of weights in the safetensors format, which cannot execute code.
pub const SAFETENSORS: &str = "application/x-safetensors";

/// From so many bytes on weights are kept in a file, where there is a place for it.
pub const LARGE_BYTES: u64 = 16 << 20;

/// The bytes of a model, with their digest. Cheap to clone.
///
/// Large ones may lie in a file ([`Weights::open`]): what reads them from one end to the other, as transfers and
/// merges do, has a part at a time in memory.
#[derive(Clone)]
pub struct Weights {
    bytes: Bytes,
    digest: Digest,
    /// Where the same bytes lie.
    file: Option<Arc<File>>,
}

/// Those of one digest are the same.
impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Weights {}

impl Weights {
    /// Takes bytes and computes their digest.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = Digest(Sha256::digest(&bytes).into());
        Self { bytes, digest, file: None }
    }

    /// Those of a file, which stay there: they take no memory of the process's own, and are read when they are
    /// looked at. As long as these weights or a clone of them live, nobody may write to the file or cut it;
    /// to replace or remove it does no harm. (A pipe is read now, and so is a file where the system is no Unix.)
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.is_file() {
            return Self::in_file(file);
        }
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes)?;
        Ok(Self::new(bytes))
    }

    /// The same of a file that is open, and perhaps has no name any more.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn in_file(file: File) -> io::Result<Self> {
        // Read, and not looked at in the map, so that the pages of it stay out of memory.
        let digest = Digest(colearn_merge::digest(&file)?);
        let bytes = bytes_of(&file)?;
        let file = cfg!(unix).then(|| Arc::new(file));
        Ok(Self { bytes, digest, file })
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether the bytes lie in a file, and not in memory.
    pub fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    /// Where the bytes lie, unless that is in memory.
    pub(crate) fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }

    /// Some of the bytes, which are there.
    pub(crate) fn part(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let Some(file) = &self.file else {
            let begin = usize::try_from(at).map_err(io::Error::other)?;
            // A slice shares the buffer.
            return Ok(self.bytes.slice(begin..begin + length));
        };
        let mut part = vec![0; length];
        file.read_at(at, &mut part)?;
        Ok(part.into())
    }

    /// How the ledger knows them.
    pub fn model(&self, media_type: &str) -> Model {
        Model {
            digest: self.digest,
            size: self.bytes.len() as u64,
            media_type: media_type.to_owned(),
        }
    }
}

impl Source for Weights {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.file {
            Some(file) => file.read_at(offset, buffer),
            None => (&self.bytes[..]).read_at(offset, buffer),
        }
    }
}

#[cfg(unix)]
fn bytes_of(file: &File) -> io::Result<Bytes> {
    // Nothing cannot be mapped.
    match file.metadata()?.len() {
        0 => Ok(Bytes::new()),
        _ => colearn_files::Mapped::of(file).map(Bytes::from_owner),
    }
}

/// Elsewhere what is open or mapped could not be replaced.
#[cfg(not(unix))]
fn bytes_of(file: &File) -> io::Result<Bytes> {
    let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    Source::read_at(file, 0, &mut bytes)?;
    Ok(bytes.into())
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} bytes, {})", self.bytes.len(), self.digest)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn weights_in_a_file_are_those_in_memory_also_when_the_file_is_removed_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        for bytes in [&b""[..], &[7; 100_000]] {
            std::fs::write(&path, bytes).unwrap();
            let (there, here) = (Weights::open(&path).unwrap(), Weights::new(bytes));
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "others").unwrap();
            assert_eq!(there, here);
            assert_eq!(there.bytes(), here.bytes());
            assert_eq!(there.model(SAFETENSORS), here.model(SAFETENSORS));
            if !bytes.is_empty() {
                assert_eq!(there.part(99_990, 10).unwrap(), here.part(99_990, 10).unwrap());
                assert!(there.part(99_990, 11).is_err());
            }
            let digest = colearn_merge::digest(&there).unwrap();
            assert_eq!(
                (Digest(digest), there.size().unwrap()),
                (here.digest(), here.size().unwrap())
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told() {
        assert!(Weights::open(Path::new("/nowhere/weights")).is_err());
        assert!(Weights::open(&std::env::temp_dir()).is_err(), "a folder");
    }
}
