//! Work on a thread of its own, which calls back to the thread that waits for it.
//!
//! The one that called is the only one that runs Python: signals are delivered there, and libraries that belong to a
//! thread, as those with a graphics card do, stay on theirs. While it waits it holds no lock.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use tokio::sync::oneshot;

/// How often the waiting thread looks for signals.
const LOOK: Duration = Duration::from_millis(100);

/// What the waiting thread is to do. An error ends everything.
type Call = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send>;

/// Where the waiting thread is called.
#[derive(Clone)]
pub(crate) struct Desk {
    calls: Sender<Call>,
}

/// The waiting thread does not wait any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it was interrupted")
    }
}

impl std::error::Error for Gone {}

impl Desk {
    /// Has the waiting thread do something, and waits for what comes of it. What is raised is passed on; but
    /// what ends programs (`KeyboardInterrupt`, `SystemExit`) ends the waiting, and is raised there.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(Python<'_>) -> PyResult<T> + Send + 'static,
    ) -> Result<PyResult<T>, Gone> {
        let (reply, answer) = sync_channel(1);
        self.call(move |py| match task(py) {
            Err(error) if !error.is_instance_of::<PyException>(py) => Err(error),
            done => {
                // Nobody hears it where that thread has ended, which is then known there.
                let _ = reply.send(done);
                Ok(())
            }
        })?;
        answer.recv().map_err(|_| Gone)
    }

    /// As [`Desk::ask`], where whatever is raised ends the waiting.
    pub(crate) fn demand<T: Send + 'static>(
        &self,
        task: impl FnOnce(Python<'_>) -> PyResult<T> + Send + 'static,
    ) -> Result<T, Gone> {
        let (reply, answer) = sync_channel(1);
        self.call(move |py| {
            let _ = reply.send(task(py)?);
            Ok(())
        })?;
        answer.recv().map_err(|_| Gone)
    }

    /// Has the waiting thread do something, and goes on. What is raised ends the waiting.
    pub(crate) fn call(
        &self,
        task: impl FnOnce(Python<'_>) -> PyResult<()> + Send + 'static,
    ) -> Result<(), Gone> {
        self.calls.send(Box::new(task)).map_err(|_| Gone)
    }
}

/// Resolves when the waiting thread does not wait any more.
pub(crate) struct Interrupted(oneshot::Receiver<()>);

impl Interrupted {
    /// What a future comes to, unless it is interrupted.
    pub(crate) fn unless<T>(self, future: impl Future<Output = T>) -> std::io::Result<Option<T>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(self.unless_on(&runtime, future))
    }

    /// The same, driven by a runtime that there is already.
    pub(crate) fn unless_on<T>(
        self,
        runtime: &tokio::runtime::Runtime,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = self.0 => None,
                done = future => Some(done),
            }
        })
    }
}

/// Runs some work on a thread of its own. Meanwhile this one does what it is called for, and looks for signals;
/// an exception here interrupts the work, which is waited for.
pub(crate) fn serve<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(Desk, Interrupted) -> T + Send + 'static,
) -> PyResult<T> {
    let (calls, called) = channel();
    let (waiting, interrupted) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("colearn".to_owned())
        .spawn(move || work(Desk { calls }, Interrupted(interrupted)))?;
    let served = answer(py, called);
    // Whoever waits there for an answer is told by this that none will come.
    drop(waiting);
    let done = py.detach(|| thread.join());
    served?;
    done.map_err(|_| PyRuntimeError::new_err("the core of colearn panicked; see its message above"))
}

/// Answers calls until nobody can call any more.
fn answer(py: Python<'_>, mut called: Receiver<Call>) -> PyResult<()> {
    loop {
        let (next, back) = py.detach(move || (called.recv_timeout(LOOK), called));
        called = back;
        match next {
            Ok(call) => call(py)?,
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}
