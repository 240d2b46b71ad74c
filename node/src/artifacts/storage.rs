//! Where whole artifacts lie: in a folder, or in an object store.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use colearn_contracts::Digest;
use colearn_merge::Source;
use tokio::io::AsyncRead;

#[cfg(feature = "object-store")]
use super::bucket::Bucket;
use super::elsewhere::{MARK, MAX_MARK_BYTES};
use super::{ArtifactError, Bringer, Made, files, parse_digest};
use crate::limits::PIECE_BYTES;

/// Where whole artifacts lie.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    /// In a folder, beside what has not come whole.
    Folder(PathBuf),
    /// In an object store. What is there was listed when the store was opened, and is known since.
    #[cfg(feature = "object-store")]
    Bucket(Bucket),
}

/// A stored artifact that was opened, to be read from a place on.
pub(crate) enum Opened {
    /// A file.
    File(File),
    /// As it comes from elsewhere.
    #[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "there is no elsewhere"))]
    Stream(Pin<Box<dyn AsyncRead + Send>>),
}

/// What is read for somebody.
pub(crate) enum Reading {
    /// It is all here.
    Read(Bytes),
    Opened(Opened),
}

impl Opened {
    /// So many bytes, or what is left. What fits into one piece is read at once, where it is a file: each turn on
    /// another thread takes longer than that.
    pub(crate) fn read(mut self, length: u64) -> io::Result<Reading> {
        let Self::File(file) = &mut self else { return Ok(Reading::Opened(self)) };
        let left = file.metadata()?.len().saturating_sub(file.stream_position()?).min(length);
        if left > PIECE_BYTES as u64 {
            return Ok(Reading::Opened(self));
        }
        let mut bytes = Vec::with_capacity(left as usize);
        file.take(left).read_to_end(&mut bytes)?;
        Ok(Reading::Read(bytes.into()))
    }
}

/// A stored artifact as a file here, which can be read at any place.
pub(crate) struct Whole {
    file: File,
    /// It was fetched for this, and goes with it.
    _fetched: Option<Made>,
}

impl Whole {
    pub(super) fn new(file: File, fetched: Option<Made>) -> Self {
        Self { file, _fetched: fetched }
    }
}

impl Source for Whole {
    fn size(&self) -> io::Result<u64> {
        Source::size(&self.file)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        Source::read_at(&self.file, offset, buffer)
    }
}

impl Storage {
    /// The file of an artifact, where it is one.
    pub(super) fn file(&self, digest: &Digest) -> Option<PathBuf> {
        match self {
            Self::Folder(dir) => Some(dir.join(digest.to_string())),
            #[cfg(feature = "object-store")]
            Self::Bucket(_) => None,
        }
    }

    /// What has turned out to be other bytes since this was asked last, where that is looked at when it is read.
    pub(super) fn take_wrong(&self) -> BTreeSet<Digest> {
        match self {
            Self::Folder(_) => BTreeSet::new(),
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.take_wrong(),
        }
    }

    /// Whether what is stored takes the disk on which the rest lies.
    pub(super) fn is_here(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            #[cfg(feature = "object-store")]
            Self::Bucket(_) => false,
        }
    }

    /// What a node has left there to say that these weights are its own; `None` where none has.
    pub(super) fn mark(&self) -> Result<Option<String>, ArtifactError> {
        match self {
            Self::Folder(dir) => {
                let file = match File::open(dir.join(MARK)) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
                let mut mark = Vec::new();
                file.take(MAX_MARK_BYTES as u64).read_to_end(&mut mark)?;
                Ok(Some(String::from_utf8_lossy(&mark).trim().to_owned()))
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.mark(),
        }
    }

    /// Leaves a mark there.
    pub(super) fn leave(&self, mark: &str) -> Result<(), ArtifactError> {
        match self {
            Self::Folder(dir) => {
                let left = colearn_files::replace(&dir.join(MARK), format!("{mark}\n").as_bytes());
                Ok(left.map_err(io::Error::from)?)
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.leave(mark),
        }
    }

    /// What is there: name, size, and when it came. Of a folder also what is no artifact.
    pub(super) fn list(&self) -> Result<Vec<(Option<Digest>, u64, SystemTime)>, ArtifactError> {
        Ok(match self {
            Self::Folder(dir) => {
                let named =
                    |(name, size, since): (String, _, _)| (parse_digest(&name), size, since);
                match files(dir) {
                    Ok(files) => files.into_iter().map(named).collect(),
                    // Where nothing was ever stored.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    Err(error) => return Err(error.into()),
                }
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => {
                let listed = bucket.list()?.into_iter();
                listed.map(|(digest, size, since)| (Some(digest), size, since)).collect()
            }
        })
    }

    /// Puts a whole file in its place, durably: what is found under a digest is whole, after any crash.
    pub(super) fn place(
        &self,
        who: Bringer,
        file: &File,
        at: &Path,
        digest: Digest,
    ) -> Result<(), ArtifactError> {
        match self {
            Self::Folder(dir) => {
                let _ = who;
                file.sync_all()?;
                let placed = colearn_files::rename(at, &dir.join(digest.to_string()));
                placed.map_err(io::Error::from)?;
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => {
                bucket.put(who, file.try_clone()?, digest)?;
                // It is there; what stays here all the same is removed at a later start.
                let _ = std::fs::remove_file(at);
            }
        }
        Ok(())
    }

    /// Opens an artifact of so many bytes from an offset on.
    pub(super) fn open(
        &self,
        who: Bringer,
        digest: Digest,
        size: Option<u64>,
        offset: u64,
    ) -> Result<Opened, ArtifactError> {
        match self {
            Self::Folder(dir) => {
                let _ = (who, size);
                let file = File::open(dir.join(digest.to_string()));
                let mut file = file.map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => ArtifactError::Missing(digest),
                    _ => error.into(),
                })?;
                file.seek(SeekFrom::Start(offset))?;
                Ok(Opened::File(file))
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => match size {
                None => Err(ArtifactError::Missing(digest)),
                Some(size) if offset >= size => Ok(Opened::Stream(Box::pin(tokio::io::empty()))),
                Some(size) => bucket.read(who, digest, size, offset).map(Opened::Stream),
            },
        }
    }

    /// Where else an artifact can be read for so long, by everybody who has that address.
    pub(super) fn address(
        &self,
        who: Bringer,
        digest: Digest,
        life: Duration,
    ) -> Result<Option<String>, ArtifactError> {
        match self {
            Self::Folder(_) => {
                let _ = (who, digest, life);
                Ok(None)
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => bucket.address(who, digest, life),
        }
    }

    /// What removes an artifact, if it is there. To a store nobody brings it until then.
    pub(super) fn removal(
        &self,
        digest: Digest,
    ) -> Box<dyn FnOnce() -> Result<(), ArtifactError> + Send> {
        match self {
            Self::Folder(dir) => {
                let path = dir.join(digest.to_string());
                Box::new(move || match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                    Ok(()) | Err(_) => Ok(()),
                })
            }
            #[cfg(feature = "object-store")]
            Self::Bucket(bucket) => {
                let (bucket, removal) = (bucket.clone(), bucket.removal(digest));
                Box::new(move || bucket.run(Bringer::Node, removal))
            }
        }
    }
}
