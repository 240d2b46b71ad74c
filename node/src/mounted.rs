//! What somebody else has served at the operator's own listener: a page, of which nothing is known here.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use colearn_ledger::{Error, Reader, SignedCheckpoint};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::BoxFuture;
use crate::limits::PIECE_BYTES;
use crate::reads::Reads;

/// Makes what is served besides metrics and health, once, when the node listens.
#[derive(Clone)]
pub struct Mount {
    pub(crate) about: &'static str,
    make: Arc<dyn Fn(Option<Shown>) -> Router + Send + Sync>,
}

impl Mount {
    /// What is served is made by this, from the ledger; `about` is its line where it is said what there is. Nobody is
    /// asked there who it is: where not everybody may read the ledger, it gets `None`.
    pub fn new(
        about: &'static str,
        make: impl Fn(Option<Shown>) -> Router + Send + Sync + 'static,
    ) -> Self {
        Self { about, make: Arc::new(make) }
    }

    pub(crate) fn routes(&self, shown: Option<Shown>) -> Router {
        (self.make)(shown)
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("about", &self.about).finish_non_exhaustive()
    }
}

/// A running node's ledger as everybody is shown it: as far as a signed checkpoint counts it. Cheap to clone.
#[derive(Clone)]
pub struct Shown {
    pub(crate) origin: String,
    pub(crate) reads: Reads,
    pub(crate) size: watch::Receiver<u64>,
    pub(crate) stopping: CancellationToken,
}

impl Shown {
    /// The ledger's name.
    pub fn origin(&self) -> String {
        self.origin.clone()
    }

    /// How many entries are shown.
    pub fn size(&self) -> u64 {
        let signed = self.signed().map_or(0, |signed| signed.checkpoint.size);
        (*self.size.borrow()).min(signed)
    }

    /// The checkpoint that counts them, as it was signed; `None` only where none was yet.
    pub fn checkpoint(&self) -> Option<String> {
        self.signed().map(|signed| signed.note.clone())
    }

    /// The entries `start..end`, at least one, or fewer where they are large. It waits for the disk.
    ///
    /// # Errors
    /// If the first is not there, or the ledger's files are damaged.
    pub fn entries(&self, start: u64, end: u64) -> Result<Vec<Vec<u8>>, Error> {
        self.reader().entries(start, end, PIECE_BYTES)
    }

    /// Resolves when more entries than these are shown; `false` when the node stops.
    pub fn grown(&self, beyond: u64) -> BoxFuture<bool> {
        let shown = self.clone();
        Box::pin(async move {
            let mut size = shown.size.clone();
            while shown.size() <= beyond {
                tokio::select! {
                    () = shown.stopping.cancelled() => return false,
                    changed = size.changed() => if changed.is_err() { return false },
                }
            }
            true
        })
    }

    fn signed(&self) -> Option<Arc<SignedCheckpoint>> {
        self.reads.checkpoint()
    }

    fn reader(&self) -> &Reader {
        self.reads.in_memory()
    }
}
