//! Reading the ledger from asynchronous code.

use std::sync::Arc;
use std::time::Duration;

use colearn_ledger::{Error, Reader, SignedCheckpoint};
use tokio::sync::{Semaphore, watch};

use crate::refusal::Refusal;

/// How many reads may wait for the disk at a time. Each takes a thread of the runtime's, so that
/// without a limit a crowd of readers would take hundreds.
const MAX_READS: usize = 16;

/// How long is waited for what another node has shown already.
const CATCH_UP: Duration = Duration::from_secs(5);

/// How many of the last entries are taken to be in memory.
const RECENT: u64 = 256;

/// A ledger's reader whose blocking reads leave the threads that answer everybody; cheap to clone.
#[derive(Clone)]
pub(crate) struct Reads {
    reader: Reader,
    /// The newest checkpoint that enough nodes have signed, where several keep the ledger.
    published: Option<watch::Receiver<Option<Arc<SignedCheckpoint>>>>,
    slots: Arc<Semaphore>,
}

impl Reads {
    pub(crate) fn new(
        reader: Reader,
        published: Option<watch::Receiver<Option<Arc<SignedCheckpoint>>>>,
    ) -> Self {
        Self { reader, published, slots: Arc::new(Semaphore::new(MAX_READS)) }
    }

    /// Reads where it may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Refusal> {
        let reader = self.reader.clone();
        // Never closed; if it were there would be no limit, which is no reason not to read.
        let slot = self.slots.clone().acquire_owned().await.ok();
        // The slot comes back with what was read: given back before the thread is free it would have the runtime start
        // another one, and each keeps some of what it has read in.
        let done = tokio::task::spawn_blocking(move || (read(&reader), slot));
        // It fails only if it panicked, or the runtime is shutting down.
        let (done, _slot) = done.await.map_err(|_| Refusal::Stopped)?;
        Ok(done?)
    }

    /// Reads what concerns the last `behind` entries: at once where these are so few that they were
    /// written a moment ago, and so are in memory, and where it may block otherwise. Handing a read to
    /// another thread costs more than a read from memory, and a round has dozens of them.
    pub(crate) async fn read_last<T: Send + 'static>(
        &self,
        behind: u64,
        read: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Refusal> {
        match behind <= RECENT {
            true => Ok(read(&self.reader)?),
            false => self.read(read).await,
        }
    }

    /// The last checkpoint that is signed by who must have signed it, which is in memory.
    pub(crate) fn checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        match &self.published {
            Some(published) => published.borrow().clone(),
            None => self.reader.checkpoint(),
        }
    }

    /// Waits until so many entries are under a checkpoint, where several nodes keep the ledger: another may
    /// have shown more than this one has. `false` if that takes too long.
    pub(crate) async fn reach(&self, size: u64) -> bool {
        let Some(mut published) = self.published.clone() else { return true };
        let reached = published.wait_for(|signed| {
            signed.as_ref().is_some_and(|signed| signed.checkpoint.size >= size)
        });
        matches!(tokio::time::timeout(CATCH_UP, reached).await, Ok(Ok(_)))
    }

    /// For what is in memory: reads of the last entries, and what needs none.
    pub(crate) fn in_memory(&self) -> &Reader {
        &self.reader
    }
}
