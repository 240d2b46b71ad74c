//! Keeping processes: starting them, reading what they say, ending them, and starting a node again
//! when it dies.

use std::io::{self, BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How long a node may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that dies is started again this often.
const MAX_RESTARTS: u32 = 20;
/// How often it is looked whether a process has ended.
const POLL: Duration = Duration::from_millis(10);

/// Why a node cannot be kept running.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The process cannot be started or asked.
    #[error("cannot run the node: {0}")]
    Io(#[from] io::Error),
    /// It ended before it listened.
    #[error("the node did not start ({0}); see its message above")]
    NotStarted(ExitStatus),
    /// It said something else than a node says.
    #[error("the node did not say where it listens")]
    NoAddress,
    /// It was asked to stop, and failed.
    #[error("the node stopped with {0}")]
    Failed(ExitStatus),
    /// It was asked to stop, and did not.
    #[error("the node did not stop in time and was killed")]
    Killed,
    /// It was started again too often.
    #[error("the node died {0} times")]
    DiedTooOften(u32),
}

/// A child process, of which every line of output can be read. Killed when dropped. Nothing is ever
/// written to it, and its input ends when this process does, however that ends: a node that runs with
/// `--until-eof` ends then too.
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it; what it writes to stderr goes where this process's does.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output, as soon as it is there; `None` at the end.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn line(&mut self) -> io::Result<Option<String>> {
        self.lines.next().transpose()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// How it ended; `None` if it has not for so long.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn wait(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let started = Instant::now();
        loop {
            match self.ended()? {
                None if started.elapsed() < patience => std::thread::sleep(POLL),
                ended => return Ok(ended),
            }
        }
    }

    /// Asks it to end: by SIGTERM, or where there are no signals by the end of its input.
    ///
    /// # Errors
    /// If it cannot be asked, for example because it has ended.
    #[cfg(unix)]
    pub fn terminate(&mut self) -> io::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }

    /// Asks it to end: by SIGTERM, or where there are no signals by the end of its input.
    ///
    /// # Errors
    /// If it cannot be asked.
    #[cfg(not(unix))]
    pub fn terminate(&mut self) -> io::Result<()> {
        drop(self.child.stdin.take());
        Ok(())
    }

    /// Ends it at once (SIGKILL), and waits for that.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// A node in a process of its own.
pub struct NodeProcess {
    /// The process.
    pub process: Process,
    /// What it said when it started.
    pub started: serde_json::Value,
    /// Where it listens.
    pub url: String,
}

impl NodeProcess {
    /// Runs `colearn node --json ...` and waits until it says where it listens.
    ///
    /// # Errors
    /// If it does not start, or is no node.
    pub fn start(command: Command) -> Result<Self, SuperviseError> {
        let mut process = Process::start(command)?;
        let Some(line) = process.line()? else {
            return Err(SuperviseError::NotStarted(process.child.wait()?));
        };
        let started: serde_json::Value =
            serde_json::from_str(&line).map_err(|_| SuperviseError::NoAddress)?;
        let url = started["address"].as_str().ok_or(SuperviseError::NoAddress)?.to_owned();
        Ok(Self { process, started, url })
    }

    /// Where it listens, for a node that is to take its place.
    ///
    /// # Errors
    /// If that is no address.
    pub fn address(&self) -> Result<SocketAddr, SuperviseError> {
        let address = self.url.strip_prefix("http://").and_then(|address| address.parse().ok());
        address.ok_or(SuperviseError::NoAddress)
    }

    /// Asks it to stop, and waits for it.
    ///
    /// # Errors
    /// If it fails, or has to be killed.
    pub fn stop(mut self) -> Result<(), SuperviseError> {
        self.process.terminate()?;
        match self.process.wait(STOP_TIMEOUT)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(SuperviseError::Failed(status)),
            None => {
                self.process.kill()?;
                Err(SuperviseError::Killed)
            }
        }
    }
}

/// A node that is started again, on its data and at its address, whenever it dies. Killed when
/// dropped.
pub struct Supervisor {
    url: String,
    pid: u32,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<(), SuperviseError>>>,
    failed: watch::Receiver<Option<Arc<str>>>,
}

impl Supervisor {
    /// Starts a node with the command for an address to listen at, first for a free port. `died` is
    /// told whenever it is started again.
    ///
    /// # Errors
    /// If it does not start the first time.
    pub fn start(
        command: impl Fn(SocketAddr) -> Command + Send + 'static,
        died: impl Fn(ExitStatus) + Send + 'static,
    ) -> Result<Self, SuperviseError> {
        let node = NodeProcess::start(command(SocketAddr::from(([127, 0, 0, 1], 0))))?;
        let (url, pid, address) = (node.url.clone(), node.process.id(), node.address()?);
        let (stop, stopping) = channel();
        let (fail, failed) = watch::channel(None);
        let keep = move || {
            let kept = keep_running(node, &stopping, || command(address), died);
            if let Err(error) = &kept {
                fail.send_replace(Some(error.to_string().into()));
            }
            kept
        };
        let thread = std::thread::Builder::new().name("supervisor".to_owned()).spawn(keep)?;
        Ok(Self { url, pid, stop: Some(stop), thread: Some(thread), failed })
    }

    /// Where the node listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of the node's first process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Resolves, with the reason, when the node could not be kept running.
    pub async fn given_up(&self) -> Arc<str> {
        let mut failed = self.failed.clone();
        let reason = failed.wait_for(Option::is_some).await.map(|reason| reason.clone());
        match reason {
            Ok(Some(reason)) => reason,
            // The supervisor has ended without a failure: the node was stopped.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Stops the node, and waits for it.
    ///
    /// # Errors
    /// If it fails or could not be kept running.
    pub fn stop(mut self) -> Result<(), SuperviseError> {
        if let Some(stop) = self.stop.take() {
            // Nobody hears it where the node was given up, which is then the answer.
            let _ = stop.send(());
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(kept)) => kept,
            Some(Err(_)) | None => {
                Err(SuperviseError::Io(io::Error::other("the supervisor panicked")))
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The thread sees that nobody can ask any more, and drops the node, which kills it. Waited
        // for, so that no node outlives this process.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the node again until it is to stop, or nobody can ask for that any more.
fn keep_running(
    mut node: NodeProcess,
    stopping: &Receiver<()>,
    command: impl Fn() -> Command,
    died: impl Fn(ExitStatus),
) -> Result<(), SuperviseError> {
    let mut restarts = 0;
    loop {
        match stopping.recv_timeout(POLL) {
            Ok(()) => return node.stop(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = node.process.ended()? {
            if restarts == MAX_RESTARTS {
                return Err(SuperviseError::DiedTooOften(MAX_RESTARTS));
            }
            restarts += 1;
            died(status);
            node = NodeProcess::start(command())?;
        }
    }
}
