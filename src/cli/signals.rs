//! Being asked to stop: Ctrl-C, SIGTERM, and the end of whoever started this process.

use std::process::ExitCode;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlBreak, CtrlC, ctrl_break, ctrl_c};

/// Which signal it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM; on Windows Ctrl-Break.
    Terminate,
}

impl Asked {
    /// The exit code of what was cut short by it: what a shell says of a process that it ended.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        })
    }
}

/// Both signals, caught from the moment this is made.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(windows)]
    interrupt: CtrlC,
    #[cfg(windows)]
    terminate: CtrlBreak,
}

impl Signals {
    /// Catches them from here on. Call it before anyone is told that the process runs, so that none is
    /// missed.
    ///
    /// # Errors
    /// If they cannot be caught.
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            interrupt: signal(SignalKind::interrupt())?,
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())?,
            #[cfg(windows)]
            interrupt: ctrl_c()?,
            #[cfg(windows)]
            terminate: ctrl_break()?,
        })
    }

    /// Resolves when one has come.
    pub(crate) async fn asked(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.terminate.recv() => Asked::Terminate,
        }
    }
}

/// SIGHUP, by which daemons are told that files of theirs have changed; on Windows nothing.
pub(crate) struct Hangups {
    #[cfg(unix)]
    hangup: Signal,
}

impl Hangups {
    /// Catches them from here on.
    ///
    /// # Errors
    /// If they cannot be caught.
    pub(crate) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves when one has come.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        self.hangup.recv().await;
        #[cfg(not(unix))]
        std::future::pending::<()>().await;
    }
}

/// Resolves when standard input has ended.
pub(crate) async fn input_ended() {
    let (ended, told) = tokio::sync::oneshot::channel::<()>();
    // A thread that nobody waits for: the runtime would not end before one of its own does.
    std::thread::spawn(move || {
        // What cannot be read has ended too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ended);
    });
    let _ = told.await;
}
