//! What is shown: states, and the checkpoint, that more than two thirds of the nodes have signed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use colearn_contracts::Contract;
use colearn_ledger::SignedCheckpoint;
use tokio::sync::watch;

use crate::keeper::Touched;
use crate::view::{Publisher, View, Views};

struct State {
    publisher: Publisher,
    /// States that are durable here, by size, and not signed by enough yet.
    drawn: VecDeque<(u64, Arc<View>)>,
    indexed: u64,
}

/// Holds back what is durable here until it is signed by enough.
pub(super) struct Shown {
    state: Mutex<State>,
    published: watch::Sender<Option<Arc<SignedCheckpoint>>>,
    /// The ledger's folder.
    dir: PathBuf,
}

impl Shown {
    /// Shows the state after `size` entries, of which those under the checkpoint are signed by enough.
    pub(super) fn new(
        contract: &Contract,
        size: u64,
        published: Option<Arc<SignedCheckpoint>>,
        dir: PathBuf,
    ) -> (Self, Views) {
        let shown = published.as_ref().map_or(0, |it| it.checkpoint.size);
        let (publisher, views) = Publisher::showing(contract, size, shown);
        let state = Mutex::new(State { publisher, drawn: VecDeque::new(), indexed: size });
        (Self { state, published: watch::Sender::new(published), dir }, views)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest checkpoint that enough have signed.
    pub(super) fn published(&self) -> watch::Receiver<Option<Arc<SignedCheckpoint>>> {
        self.published.subscribe()
    }

    /// How many entries are under it.
    pub(super) fn published_size(&self) -> u64 {
        self.published.borrow().as_ref().map_or(0, |it| it.checkpoint.size)
    }

    /// Draws a state that is durable here.
    pub(super) fn draw(&self, contract: &Contract, touched: &Touched, size: u64) {
        let mut state = self.state();
        let view = state.publisher.draw(contract, touched, size);
        state.drawn.push_back((size, view));
    }

    /// So many entries can be looked up.
    pub(super) fn indexed(&self, size: u64) {
        let mut state = self.state();
        state.indexed = size;
        let shown = size.min(self.published_size());
        state.publisher.indexed(shown);
    }

    /// Enough have signed this: it and what it covers is shown. `false` if a newer one is.
    pub(super) fn publish(&self, signed: &Arc<SignedCheckpoint>) -> bool {
        let size = signed.checkpoint.size;
        let mut state = self.state();
        if size <= self.published_size() {
            return false;
        }
        let mut view = None;
        while let Some((_, next)) = state.drawn.pop_front_if(|(with, _)| *with <= size) {
            view = Some(next);
        }
        // Before the checkpoint: whoever holds a receipt sees what it has done.
        if let Some(view) = view {
            state.publisher.publish(view);
        }
        self.published.send_replace(Some(signed.clone()));
        let shown = state.indexed.min(size);
        state.publisher.indexed(shown);
        drop(state);
        // Only audits of the folder need it; what is lost is asked for again.
        if let Err(error) = colearn_ledger::publish(&self.dir, &signed.note) {
            tracing::warn!(%error, "the checkpoint of the nodes cannot be kept beside the ledger");
        }
        true
    }
}
