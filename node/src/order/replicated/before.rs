//! What this node has vouched for in a ledger that it has lost since. Until that has come again from the
//! others, it signs nothing: it could contradict itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use colearn_ledger::Reader;

use crate::error::NodeError;
use crate::resync::Vouched;

/// What is still to come.
#[derive(Default)]
pub(super) struct Before(Mutex<Option<Vouched>>);

impl Before {
    pub(super) fn new(vouched: Option<Vouched>) -> Self {
        Self(Mutex::new(vouched))
    }

    fn vouched(&self) -> MutexGuard<'_, Option<Vouched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries must come before it signs; `None` once they are there.
    pub(super) fn pending(&self) -> Option<u64> {
        self.vouched().as_ref().map(Vouched::size)
    }

    /// Looks whether it is there now.
    ///
    /// # Errors
    /// If something else is, or the ledger cannot be read.
    pub(super) fn look(&self, reader: &Reader) -> Result<(), NodeError> {
        let mut vouched = self.vouched();
        let Some(before) = vouched.as_ref() else { return Ok(()) };
        if before.is_there(reader)?? {
            tracing::info!(
                size = before.size(),
                "all that this node has vouched for is here again: it signs from here on"
            );
            before.forget();
            *vouched = None;
        }
        Ok(())
    }
}
