//! What is shown: states, and the checkpoint, that more than two thirds of the nodes have signed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use colearn_contracts::Contract;
use colearn_ledger::SignedCheckpoint;
use tokio::sync::watch;

use crate::keeper::Touched;
use crate::view::{Publisher, View, Views};

struct State {
    publisher: Publisher,
    /// The newest state that is durable here.
    newest: Drawn,
    /// The one that the others are asked for. No more are kept: where blocks go on and signatures do not
    /// come, the states between would soon be all that this node has in memory.
    asked: Drawn,
}

/// The state after so many entries; without a picture if it is shown already.
#[derive(Clone)]
struct Drawn {
    size: u64,
    view: Option<Arc<View>>,
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
        let newest = Drawn { size, view: None };
        let state = State { publisher, asked: newest.clone(), newest };
        let state = Mutex::new(state);
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
        let view = Some(state.publisher.draw(contract, touched, size));
        state.newest = Drawn { size, view };
    }

    /// How many entries the others are to sign for next: what is newest now is shown once they have.
    pub(super) fn ask(&self) -> u64 {
        let mut state = self.state();
        state.asked = state.newest.clone();
        state.asked.size
    }

    /// Enough have signed what they were asked for: it is shown.
    pub(super) fn publish(&self, signed: &Arc<SignedCheckpoint>) {
        let size = signed.checkpoint.size;
        let mut state = self.state();
        if size != state.asked.size || size <= self.published_size() {
            return;
        }
        // Before the checkpoint: whoever holds a receipt sees what it has done.
        if let Some(view) = state.asked.view.take() {
            state.publisher.publish(view);
        }
        self.published.send_replace(Some(signed.clone()));
        state.publisher.show_entries(size);
        drop(state);
        // Only audits of the folder need it; what is lost is asked for again.
        if let Err(error) = colearn_ledger::publish(&self.dir, &signed.note) {
            tracing::warn!(%error, "the checkpoint of the nodes cannot be kept beside the ledger");
        }
    }
}
