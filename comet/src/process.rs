//! CometBFT's process: started, started again whenever it ends, and ended.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::program::Program;

/// A folder with the two sockets, which nobody else may enter; gone when dropped. A new one for each
/// run, under the system's temporary folder, because a socket's path may have a hundred bytes only.
#[derive(Debug)]
pub struct Sockets {
    folder: tempfile::TempDir,
}

impl Sockets {
    /// Makes the folder.
    ///
    /// # Errors
    /// If it cannot be made, or its name is too long for sockets.
    pub fn create() -> Result<Self, ProcessError> {
        let folder = tempfile::tempdir().map_err(ProcessError::Folder)?;
        Ok(Self { folder })
    }

    /// Where CometBFT reaches the application.
    pub fn abci(&self) -> PathBuf {
        self.folder.path().join("abci.sock")
    }

    /// Where CometBFT is reached.
    pub fn rpc(&self) -> PathBuf {
        self.folder.path().join("rpc.sock")
    }

    /// Listens at [`Sockets::abci`].
    ///
    /// # Errors
    /// If that is not possible.
    pub fn listen(&self) -> Result<UnixListener, ProcessError> {
        UnixListener::bind(self.abci()).map_err(ProcessError::Folder)
    }
}

/// A CometBFT that is kept running. Killed when dropped.
#[derive(Debug)]
pub struct Process {}

impl Process {
    /// Starts it, and starts it again whenever it ends. Its keys, its files and the application's
    /// socket must be there.
    ///
    /// # Errors
    /// If its log cannot be written, or it cannot be started the first time.
    pub fn start(program: &Program, home: &Path, sockets: &Sockets) -> Result<Self, ProcessError> {
        let _ = (program, home, sockets);
        Ok(Self {})
    }

    /// The number of the process that runs now; `None` while none does.
    pub fn pid(&self) -> Option<u32> {
        None
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        0
    }

    /// Asks it to end, and waits for that; kills it after 10 s.
    pub fn stop(self) -> Stopped {
        Stopped::Killed
    }
}

/// How it ended when it was asked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// By itself.
    Ended,
    /// It was deaf to that, and was killed.
    Killed,
}

/// Why CometBFT cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The folder of sockets cannot be made.
    #[error("cannot make a folder for sockets: {0}")]
    Folder(io::Error),
}
