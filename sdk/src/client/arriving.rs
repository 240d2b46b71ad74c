//! Weights on their way here: small ones in memory, large ones in a file, where there is a place for it. What has come
//! of those is there after a break, and in a folder after a restart, too.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use colearn_contracts::Model;
use sha2::{Digest as _, Sha256};

use super::ClientError;
use crate::large;
use crate::weights::{LARGE_BYTES, Weights};

/// What is set aside in memory before any of it has arrived.
const MAX_RESERVE_BYTES: u64 = 64 << 20;

/// What is hashed sooner than another thread has begun with it.
const HASHED_AT_ONCE: usize = 64 << 10;

/// Where weights come to.
#[derive(Clone, Debug, Default)]
pub enum Destination {
    /// Memory.
    #[default]
    Memory,
    /// A folder, in which they are named by their digest, if they are large, and otherwise memory. Nobody else writes to
    /// what lies there.
    Folder(PathBuf),
    /// A folder in which they have no name, and are gone with who has them.
    Nameless(PathBuf),
}

/// What has come of a model's weights.
pub(super) enum Arriving {
    /// All of them, before.
    Whole(Weights),
    Memory(BytesMut),
    File(Part),
}

/// A file that is written from one end to the other, and not mapped before it is whole.
pub(super) struct Part {
    file: File,
    /// The path of it, for who reads of an error; and that which it is to have, if any.
    path: PathBuf,
    becomes: Option<PathBuf>,
    length: u64,
}

impl Arriving {
    /// Goes on with what has come of a model's weights from one node before. From another they come anew: nobody's false bytes, and
    /// nobody's silence, spoil what another sends.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub(super) async fn begin(
        model: &Model,
        node: &str,
        to: &Destination,
    ) -> Result<Self, ClientError> {
        match to {
            Destination::Folder(dir) if model.size >= LARGE_BYTES => {
                Self::in_folder(dir, model, node).await
            }
            Destination::Nameless(dir) if model.size >= LARGE_BYTES => {
                let failed = |source| ClientError::data(dir, source);
                let (file, path) = large::new_file(dir).map_err(failed)?;
                // Its name was only needed to make it.
                std::fs::remove_file(&path).map_err(failed)?;
                Ok(Self::File(Part { file, path, becomes: None, length: 0 }))
            }
            _ => Ok(Self::memory(model)),
        }
    }

    fn memory(model: &Model) -> Self {
        Self::Memory(BytesMut::with_capacity(model.size.min(MAX_RESERVE_BYTES) as usize))
    }

    async fn in_folder(dir: &Path, model: &Model, node: &str) -> Result<Self, ClientError> {
        let becomes = large::path(dir, model.digest);
        let failed = ClientError::data;
        colearn_files::create_folder(dir).map_err(|error| failed(dir, error.into()))?;
        if becomes.metadata().is_ok_and(|there| there.len() == model.size) {
            let path = becomes.clone();
            let there = off_the_thread(move || Weights::open(&path)).await?;
            let there = there.map_err(|error| failed(&becomes, error))?;
            if there.digest() == model.digest {
                return Ok(Self::Whole(there));
            }
            // Removed, and not cut: somebody may look at it.
            std::fs::remove_file(&becomes).map_err(|error| failed(&becomes, error))?;
        }
        let node = hex::encode(&Sha256::digest(node)[..4]);
        let name = format!("{}.{}.{node}", model.digest, model.size);
        let path = dir.join(name);
        let file = large::file(&path).map_err(|error| failed(&path, error))?;
        if file.try_lock().is_err() {
            // It comes twice at a time.
            return Ok(Self::memory(model));
        }
        let length = file.metadata().map_err(|error| failed(&path, error))?.len();
        let mut part = Part { file, path, becomes: Some(becomes), length };
        if length > model.size {
            part.clear()?;
        }
        Ok(Self::File(part))
    }

    /// How many bytes have come.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Whole(weights) => weights.bytes().len() as u64,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(part) => part.length,
        }
    }

    /// Takes the bytes that come next.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), ClientError> {
        match self {
            Self::Whole(_) => {}
            Self::Memory(bytes) => bytes.extend_from_slice(chunk),
            // Here, and not on another thread: who waits no longer leaves nothing behind that still writes.
            Self::File(part) => {
                part.file.write_all(chunk).map_err(|error| part.failed(error))?;
                part.length += chunk.len() as u64;
            }
        }
        Ok(())
    }

    /// Forgets what has come: it was something else.
    ///
    /// # Errors
    /// If it cannot be.
    pub(super) fn clear(&mut self) -> Result<(), ClientError> {
        match self {
            Self::Whole(_) => Ok(()),
            Self::Memory(bytes) => {
                bytes.clear();
                Ok(())
            }
            Self::File(part) => part.clear(),
        }
    }

    /// The weights that have come, if they are the model's. Hashing large ones takes its time.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) async fn whole(&mut self, model: &Model) -> Result<Option<Weights>, ClientError> {
        let weights = match self {
            Self::Whole(weights) => weights.clone(),
            Self::Memory(bytes) => {
                let bytes = std::mem::take(bytes).freeze();
                match bytes.len() <= HASHED_AT_ONCE {
                    true => Weights::new(bytes),
                    false => off_the_thread(move || Weights::new(bytes)).await?,
                }
            }
            Self::File(part) => {
                let file = part.file.try_clone().map_err(|error| part.failed(error))?;
                let read = off_the_thread(move || Weights::in_file(file)).await?;
                read.map_err(|error| part.failed(error))?
            }
        };
        if weights.digest() != model.digest {
            return Ok(None);
        }
        if let Self::File(Part { path, becomes: Some(becomes), .. }) = self
            && let Err(error) = std::fs::rename(&path, becomes)
        {
            tracing::warn!(%error, "weights that come again after a restart");
        }
        Ok(Some(weights))
    }
}

impl Part {
    fn clear(&mut self) -> Result<(), ClientError> {
        let cleared =
            self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map(drop);
        cleared.map_err(|error| self.failed(error))?;
        self.length = 0;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> ClientError {
        ClientError::data(&self.path, source)
    }
}

async fn off_the_thread<T: Send + 'static>(
    task: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(task).await.map_err(|_| ClientError::Panicked)
}
