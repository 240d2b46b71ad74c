//! Ending a server, and hearing that one has ended.

use std::collections::HashMap;
use std::fmt;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What an application cannot go on after: its disk fails, or it was asked for what must not be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(String);

impl Fatal {
    /// With a reason for people; CometBFT writes it to its log.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// Ends a server, and tells why one has ended. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Stopping(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    reason: Option<Fatal>,
    /// What is ended with it, by the number of its registration.
    open: HashMap<u64, UnixStream>,
    registrations: u64,
}

impl Stopping {
    /// Of a server that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the server: connections are cut, and no request is taken any more. Does not wait; a request
    /// that is being handled is handled to its end.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        for stream in state.open.values() {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.0.changed.notify_all();
    }

    /// Ends the server for a reason. The first reason stays.
    pub fn fail(&self, fatal: Fatal) {
        self.blame(fatal);
        self.stop();
    }

    /// Why the server is about to end: for who tells somebody else of it before it ends, since he may
    /// [`Stopping::stop`] it at once, and that is not why. The first reason stays.
    pub(super) fn blame(&self, fatal: Fatal) {
        let mut state = self.state();
        if !state.stopped {
            state.reason.get_or_insert(fatal);
        }
    }

    /// Whether it has ended, or is about to.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Waits until it ends; then why, if not because of [`Stopping::stop`].
    pub fn wait(&self) -> Option<Fatal> {
        let changed = &self.0.changed;
        let waited = changed.wait_while(self.state(), |state| !state.stopped);
        waited.unwrap_or_else(PoisonError::into_inner).reason.clone()
    }

    /// Why it ended, or is about to, if not because of [`Stopping::stop`].
    pub fn reason(&self) -> Option<Fatal> {
        self.state().reason.clone()
    }

    /// Has a stream ended with the server, as long as the registration lives. `None` if it has ended
    /// already.
    pub(super) fn register(&self, stream: UnixStream) -> Option<Registration<'_>> {
        let mut state = self.state();
        if state.stopped {
            return None;
        }
        let number = state.registrations;
        state.registrations += 1;
        state.open.insert(number, stream);
        Some(Registration { stopping: self, number })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Registration<'a> {
    stopping: &'a Stopping,
    number: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.stopping.state().open.remove(&self.number);
    }
}
