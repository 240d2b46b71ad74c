//! The artifact store: one file an artifact, named by its digest, never half written.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use colearn_contracts::Digest;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};

use crate::error::NodeError;

/// How many uploads may run at once.
const MAX_UPLOADS: usize = 64;
/// How long an unfinished upload is kept.
const PARTIAL_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Why an artifact was not stored or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("there is no artifact {0}")]
    Missing(Digest),
    #[error("an artifact has 1 to {limit} bytes here, this one {size}")]
    TooLarge { size: u64, limit: u64 },
    #[error("the artifact store is full ({quota} bytes); ask the node's operator for room")]
    Full { quota: u64 },
    #[error("artifact {0} is being uploaded by someone else; try again in a second")]
    InProgress(Digest),
    #[error("too many uploads at once; try again in a second")]
    Busy,
    #[error("the upload begins at {found} but the kept part ends at {expected}; ask StatArtifact")]
    WrongOffset { found: u64, expected: u64 },
    #[error("more bytes arrived than the {0} announced")]
    TooLong(u64),
    #[error(
        "the upload ended early; what arrived is kept, go on from the partial_size of StatArtifact"
    )]
    Incomplete,
    #[error("the bytes have the digest {found}, not {expected}; the upload is discarded")]
    WrongDigest { expected: Digest, found: Digest },
    #[error("the artifact store cannot be used: {0}")]
    Io(#[from] io::Error),
}

impl From<ArtifactError> for Status {
    fn from(error: ArtifactError) -> Self {
        let code = match &error {
            ArtifactError::Missing(_) => Code::NotFound,
            ArtifactError::TooLarge { .. }
            | ArtifactError::TooLong(_)
            | ArtifactError::WrongDigest { .. } => Code::InvalidArgument,
            ArtifactError::Full { .. } | ArtifactError::Busy => Code::ResourceExhausted,
            ArtifactError::InProgress(_) | ArtifactError::Incomplete => Code::Aborted,
            ArtifactError::WrongOffset { .. } => Code::OutOfRange,
            ArtifactError::Io(_) => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// The store of one node.
#[derive(Clone)]
pub(crate) struct ArtifactStore(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    max_bytes: u64,
    quota_bytes: u64,
    /// Bytes stored or promised to a running upload.
    used_bytes: AtomicU64,
    uploading: Mutex<HashSet<Digest>>,
    /// How many were begun by this process itself.
    made: AtomicU64,
}

impl ArtifactStore {
    /// Opens the store, removing unfinished uploads that are too old.
    pub(crate) fn open(dir: &Path, max_bytes: u64, quota_bytes: u64) -> Result<Self, NodeError> {
        let io = |source| NodeError::Io { doing: format!("open {}", dir.display()), source };
        std::fs::create_dir_all(dir.join("partial")).map_err(io)?;
        let mut used = 0;
        for file in std::fs::read_dir(dir).map_err(io)?.flatten() {
            used += file
                .metadata()
                .map(|data| if data.is_file() { data.len() } else { 0 })
                .unwrap_or(0);
        }
        for file in std::fs::read_dir(dir.join("partial")).map_err(io)?.flatten() {
            let old = file.metadata().and_then(|data| data.modified()).is_ok_and(|modified| {
                SystemTime::now().duration_since(modified).is_ok_and(|age| age > PARTIAL_LIFE)
            });
            if old {
                // What cannot be removed now is tried again at the next start.
                let _ = std::fs::remove_file(file.path());
            }
        }
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            max_bytes,
            quota_bytes,
            used_bytes: AtomicU64::new(used),
            uploading: Mutex::default(),
            made: AtomicU64::new(0),
        })))
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.0.max_bytes
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.dir.join(digest.to_string())
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.0.dir.join("partial").join(digest.to_string())
    }

    /// The largest artifact that could be stored now.
    pub(crate) fn room_bytes(&self) -> u64 {
        let used = self.0.used_bytes.load(Ordering::Relaxed);
        self.0.quota_bytes.saturating_sub(used).min(self.0.max_bytes)
    }

    /// The size of a stored artifact.
    pub(crate) fn size_of(&self, digest: &Digest) -> Option<u64> {
        std::fs::metadata(self.path(digest)).ok().map(|data| data.len())
    }

    /// How much of an unfinished upload is kept.
    pub(crate) fn partial_size_of(&self, digest: &Digest) -> u64 {
        std::fs::metadata(self.partial_path(digest)).map_or(0, |data| data.len())
    }

    /// Begins or resumes an upload; `None` if the artifact is there already.
    pub(crate) fn upload(
        &self,
        digest: Digest,
        size: u64,
        offset: u64,
    ) -> Result<Option<Upload>, ArtifactError> {
        if self.size_of(&digest) == Some(size) {
            return Ok(None);
        }
        if size == 0 || size > self.0.max_bytes {
            return Err(ArtifactError::TooLarge { size, limit: self.0.max_bytes });
        }
        {
            let mut uploading = self.0.uploading.lock().unwrap_or_else(|e| e.into_inner());
            if uploading.len() >= MAX_UPLOADS {
                return Err(ArtifactError::Busy);
            }
            if !uploading.insert(digest) {
                return Err(ArtifactError::InProgress(digest));
            }
        }
        let used = self.0.used_bytes.fetch_add(size, Ordering::Relaxed);
        // From here on dropping the upload gives both back.
        let mut upload = Upload {
            store: self.clone(),
            digest,
            size,
            written: 0,
            hasher: Sha256::new(),
            file: None,
            stored: false,
        };
        if used.saturating_add(size) > self.0.quota_bytes {
            return Err(ArtifactError::Full { quota: self.0.quota_bytes });
        }
        upload.resume(offset)?;
        Ok(Some(upload))
    }

    /// Begins an artifact that this process makes, of so many bytes, whose digest is not known yet.
    pub(crate) fn make(&self, size: u64) -> Result<Made, ArtifactError> {
        if size == 0 || size > self.0.max_bytes {
            return Err(ArtifactError::TooLarge { size, limit: self.0.max_bytes });
        }
        let used = self.0.used_bytes.fetch_add(size, Ordering::Relaxed);
        // From here on dropping it gives the room back.
        let number = self.0.made.fetch_add(1, Ordering::Relaxed);
        let path = self.0.dir.join("partial").join(format!("made-{number}"));
        let mut made = Made { store: self.clone(), path, size, file: None };
        if used.saturating_add(size) > self.0.quota_bytes {
            return Err(ArtifactError::Full { quota: self.0.quota_bytes });
        }
        made.file = Some(File::create(&made.path)?);
        Ok(made)
    }

    /// Removes a stored artifact, if it is there.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), ArtifactError> {
        let Some(size) = self.size_of(digest) else { return Ok(()) };
        std::fs::remove_file(self.path(digest))?;
        self.0.used_bytes.fetch_sub(size, Ordering::Relaxed);
        Ok(())
    }

    /// Opens a stored artifact for reading from an offset on.
    pub(crate) fn download(&self, digest: &Digest, offset: u64) -> Result<File, ArtifactError> {
        let mut file = File::open(self.path(digest)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ArtifactError::Missing(*digest),
            _ => error.into(),
        })?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    }
}

/// An artifact that this process makes. Thrown away unless it is [kept](Made::keep).
pub(crate) struct Made {
    store: ArtifactStore,
    path: PathBuf,
    size: u64,
    file: Option<File>,
}

impl Made {
    /// Puts it in its place, durably, under the digest of what was written.
    pub(crate) fn keep(mut self, digest: Digest) -> Result<(), ArtifactError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        if self.store.size_of(&digest).is_some() {
            std::fs::remove_file(&self.path)?;
            self.store.0.used_bytes.fetch_sub(self.size, Ordering::Relaxed);
            return Ok(());
        }
        file.sync_all()?;
        colearn_files::rename(&self.path, &self.store.path(&digest)).map_err(io::Error::from)?;
        Ok(())
    }
}

impl io::Write for Made {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Ok(0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What cannot be removed now is removed at a later start.
            let _ = std::fs::remove_file(&self.path);
            self.store.0.used_bytes.fetch_sub(self.size, Ordering::Relaxed);
        }
    }
}

/// An upload in progress.
pub(crate) struct Upload {
    store: ArtifactStore,
    digest: Digest,
    size: u64,
    written: u64,
    hasher: Sha256,
    file: Option<File>,
    stored: bool,
}

impl Upload {
    /// Hashes what is kept up to `offset` and drops what lies behind.
    fn resume(&mut self, offset: u64) -> Result<(), ArtifactError> {
        let kept = self.store.partial_size_of(&self.digest);
        if offset > kept || offset > self.size {
            return Err(ArtifactError::WrongOffset { found: offset, expected: kept });
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.store.partial_path(&self.digest))?;
        file.set_len(offset)?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            self.hasher.update(&buffer[..read]);
        }
        self.written = offset;
        self.file = Some(file);
        Ok(())
    }

    /// Appends a chunk.
    pub(crate) fn write(&mut self, chunk: &[u8]) -> Result<(), ArtifactError> {
        if self.written + chunk.len() as u64 > self.size {
            return Err(ArtifactError::TooLong(self.size));
        }
        if let Some(file) = &mut self.file {
            file.write_all(chunk)?;
        }
        self.hasher.update(chunk);
        self.written += chunk.len() as u64;
        Ok(())
    }

    /// Checks the digest and puts the artifact in its place, durably.
    pub(crate) fn finish(mut self) -> Result<u64, ArtifactError> {
        if self.written < self.size {
            return Err(ArtifactError::Incomplete);
        }
        let partial = self.store.partial_path(&self.digest);
        let found = Digest(std::mem::take(&mut self.hasher).finalize().into());
        if found != self.digest {
            std::fs::remove_file(&partial)?;
            return Err(ArtifactError::WrongDigest { expected: self.digest, found });
        }
        if self.store.size_of(&self.digest).is_some() {
            // It was made here meanwhile, and takes its room once.
            std::fs::remove_file(&partial)?;
            return Ok(self.size);
        }
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        // Synced before it has its name: what is found under a digest is whole, after any crash.
        colearn_files::rename(&partial, &self.store.path(&self.digest)).map_err(io::Error::from)?;
        self.stored = true;
        Ok(self.size)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.stored {
            self.store.0.used_bytes.fetch_sub(self.size, Ordering::Relaxed);
        }
        self.store.0.uploading.lock().unwrap_or_else(|e| e.into_inner()).remove(&self.digest);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    #[test]
    fn an_upload_resumes_and_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(dir.path(), 100, 150).unwrap();
        let bytes = b"twenty bytes of model";
        let (name, size) = (digest(bytes), bytes.len() as u64);
        let mut upload = store.upload(name, size, 0).unwrap().unwrap();
        assert!(matches!(store.upload(name, size, 0), Err(ArtifactError::InProgress(_))));
        upload.write(&bytes[..8]).unwrap();
        assert!(matches!(upload.finish(), Err(ArtifactError::Incomplete)));
        assert_eq!(store.partial_size_of(&name), 8);
        assert!(matches!(store.upload(name, size, 9), Err(ArtifactError::WrongOffset { .. })));
        let mut upload = store.upload(name, size, 8).unwrap().unwrap();
        upload.write(&bytes[8..]).unwrap();
        assert!(matches!(upload.write(b"x"), Err(ArtifactError::TooLong(_))));
        assert_eq!(upload.finish().unwrap(), size);
        assert_eq!((store.size_of(&name), store.partial_size_of(&name)), (Some(size), 0));
        assert!(store.upload(name, size, 0).unwrap().is_none());

        let mut read = Vec::new();
        store.download(&name, 7).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, &bytes[7..]);
        store.remove(&name).unwrap();
        store.remove(&name).unwrap();
        assert_eq!((store.size_of(&name), store.room_bytes()), (None, 100));
        assert!(matches!(store.download(&digest(b""), 0), Err(ArtifactError::Missing(_))));
    }

    #[test]
    fn what_is_made_here_is_there_once_it_is_kept_and_takes_no_room_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(dir.path(), 100, 150).unwrap();
        let bytes = b"a model";
        let make = || {
            let mut made = store.make(bytes.len() as u64).unwrap();
            made.write_all(bytes).unwrap();
            made
        };
        drop(make());
        assert_eq!((store.size_of(&digest(bytes)), store.room_bytes()), (None, 100));
        make().keep(digest(bytes)).unwrap();
        // It is there already.
        make().keep(digest(bytes)).unwrap();
        assert_eq!(store.size_of(&digest(bytes)), Some(7));
        assert_eq!(std::fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
        // And so it is when it comes from elsewhere while it is made.
        let other = b"another model";
        let mut upload = store.upload(digest(other), 13, 0).unwrap().unwrap();
        upload.write(other).unwrap();
        let mut made = store.make(13).unwrap();
        made.write_all(other).unwrap();
        made.keep(digest(other)).unwrap();
        assert_eq!(upload.finish().unwrap(), 13);
        assert_eq!(store.0.used_bytes.load(Ordering::Relaxed), 20);
        store.remove(&digest(other)).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
        let rest = store.make(100).unwrap();
        assert!(matches!(store.make(44), Err(ArtifactError::Full { .. })));
        drop(rest);
        assert!(store.make(44).is_ok());
        assert!(matches!(store.make(101), Err(ArtifactError::TooLarge { .. })));
    }

    #[test]
    fn wrong_large_and_too_many_bytes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(dir.path(), 100, 150).unwrap();
        let mut upload = store.upload(digest(b"right"), 5, 0).unwrap().unwrap();
        upload.write(b"wrong").unwrap();
        assert!(matches!(upload.finish(), Err(ArtifactError::WrongDigest { .. })));
        assert_eq!(store.partial_size_of(&digest(b"right")), 0);
        for size in [0, 101, u64::MAX] {
            let refused = store.upload(digest(b""), size, 0);
            assert!(matches!(refused, Err(ArtifactError::TooLarge { .. })), "{size}");
        }
        let _first = store.upload(digest(b"a"), 100, 0).unwrap();
        assert!(matches!(store.upload(digest(b"b"), 51, 0), Err(ArtifactError::Full { .. })));
        assert!(store.upload(digest(b"b"), 50, 0).is_ok());
    }
}
