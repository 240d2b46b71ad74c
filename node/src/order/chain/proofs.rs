//! What the chain has proven lately, for whoever follows this node's copy and does not believe it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::line::Proven;

/// How many sizes of the ledger can be proven: of more, nobody is shown a checkpoint.
const KEPT: usize = 16;

/// The last proofs, each size's newest; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Proofs(Arc<Mutex<VecDeque<Arc<Proven>>>>);

impl Proofs {
    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Proven>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a newer one.
    pub(crate) fn push(&self, proven: Proven) {
        let mut kept = self.kept();
        let size = proven.tree.head().size;
        // As long as nothing is recorded, it is the header that is newer.
        if kept.back().is_some_and(|last| last.tree.head().size == size) {
            kept.pop_back();
        }
        kept.push_back(Arc::new(proven));
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    /// That of a ledger of so many entries; the newest for 0.
    pub(crate) fn of(&self, size: u64) -> Option<Arc<Proven>> {
        let kept = self.kept();
        let mut found = kept.iter().rev();
        found.find(|it| size == 0 || it.tree.head().size == size).cloned()
    }
}
