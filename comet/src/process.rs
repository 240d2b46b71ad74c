//! CometBFT's process: started, started again whenever it ends, and ended.

mod log;
mod words;

use std::fs::Permissions;
use std::io::{self, PipeReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use self::log::Log;
use self::words::Words;
use crate::program::Program;

/// How long it is not started again after it has ended; twice as long each time, up to the most.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
const MOST_PAUSE: Duration = Duration::from_secs(30);
/// Whoever has run for so long has started well: the next pause is the shortest again. It may take a while to
/// read what is stored, and only then to find that wrong.
const STEADY: Duration = Duration::from_secs(60);
/// Whoever has ended so often without having run for that long, or could not be started, will not do better by
/// itself.
const SHORT_RUNS: u32 = 5;
/// How long it may take to end when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may go unnoticed that it has ended, if that does not show in its output.
const LOOK: Duration = Duration::from_secs(1);
/// The same where its output has ended before it.
const LOOK_SOON: Duration = Duration::from_millis(10);

/// What is read at once of what it says, and how often that is as much as a pipe holds.
const PIPE_READ: usize = 8 << 10;
const PIPE_READS: usize = 16;

/// The shortest that systems allow for a socket's path is 104 bytes with the zero at its end.
const MAX_SOCKET_PATH: usize = 103;

/// A folder with the two sockets, which nobody else may enter; gone when the last clone is dropped, and
/// the process that uses it. A new one for each run: CometBFT does not start where a killed one has
/// left its socket. It is under the system's temporary folder, because a socket's path may have a
/// hundred bytes only.
#[derive(Clone, Debug)]
pub struct Sockets {
    folder: Arc<tempfile::TempDir>,
}

impl Sockets {
    /// Makes the folder.
    ///
    /// # Errors
    /// If it cannot be made, or its name is too long for sockets.
    pub fn create() -> Result<Self, ProcessError> {
        let mut folder = tempfile::Builder::new();
        folder.prefix("colearn-").permissions(Permissions::from_mode(0o700));
        let folder = folder
            .tempdir()
            .map_err(|source| ProcessError::Folder { path: std::env::temp_dir(), source })?;
        let sockets = Self { folder: Arc::new(folder) };
        let path = sockets.abci();
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(ProcessError::TooLong { path });
        }
        Ok(sockets)
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
        let path = self.abci();
        UnixListener::bind(&path).map_err(|source| ProcessError::Listen { path, source })
    }
}

/// A CometBFT that is kept running. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    shared: Arc<Shared>,
    /// The supervisor wakes up when this is closed.
    wake: Option<UnixStream>,
    supervisor: Option<JoinHandle<Stopped>>,
}

#[derive(Debug, Default)]
struct Shared {
    run: Mutex<Run>,
    restarts: AtomicU64,
    /// Whether it is ended without being asked.
    kill: AtomicBool,
}

/// What is known of the run that is now, and of those just before.
#[derive(Debug, Default)]
struct Run {
    /// The process and since when it runs; `None` while none does.
    process: Option<(u32, Instant)>,
    /// How many runs in a row were short, until the one that is now.
    short: u32,
    /// Why the last one ended.
    why: String,
    /// Why it takes no part any more, though it runs.
    halted: Option<String>,
}

/// Why CometBFT takes no part. Starting it again does not help.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ailment {
    /// It runs, and has said that it cannot go on: to it, what was decided is wrong.
    #[error("cometbft runs and takes no part any more: {0}")]
    Halted(String),
    /// It ends soon after it is started, or cannot be started.
    #[error("cometbft ends as soon as it is started, or cannot be, {times} times so far: {why}")]
    Ends {
        /// How often in a row.
        times: u32,
        /// How it ended last, and why if it said so; or why it cannot be started.
        why: String,
    },
}

/// How a CometBFT is that is kept running; of none, well.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Shared>);

impl Health {
    /// Why it takes no part, as far as its process tells.
    pub fn ailment(&self) -> Option<Ailment> {
        self.0.run().ailment(Instant::now())
    }
}

impl Run {
    /// It has ended after so long, or could not be started.
    fn ended(&mut self, after: Duration, why: &str) {
        let short = if after >= STEADY { 0 } else { self.short.saturating_add(1) };
        *self = Self { short, why: why.to_owned(), ..Self::default() };
    }

    fn ailment(&self, now: Instant) -> Option<Ailment> {
        if let Some(why) = &self.halted {
            return Some(Ailment::Halted(why.clone()));
        }
        let ran = |since| now.saturating_duration_since(since);
        let steady = self.process.is_some_and(|(_, since)| ran(since) >= STEADY);
        let ends = self.short >= SHORT_RUNS && !steady;
        ends.then(|| Ailment::Ends { times: self.short, why: self.why.clone() })
    }
}

impl Process {
    /// Starts it, and starts it again whenever it ends, for whatever reason. Its keys and its files
    /// must be in `home`, and somebody must listen at [`Sockets::abci`]. What it says goes to
    /// `home/log`.
    ///
    /// # Errors
    /// If its log cannot be written, or it cannot be started the first time.
    pub fn start(program: &Program, home: &Path, sockets: &Sockets) -> Result<Self, ProcessError> {
        let home = std::path::absolute(home)
            .map_err(|source| ProcessError::Folder { path: home.to_owned(), source })?;
        let path = home.join("log");
        let log = Log::open(&path).map_err(|source| ProcessError::Log { path, source })?;
        let starter =
            Starter { program: program.path().to_owned(), home, sockets: sockets.clone() };
        let failed = |source| ProcessError::Start { program: program.path().to_owned(), source };
        let (wake, woken) = UnixStream::pair().map_err(failed)?;
        let running = starter.start().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        shared.run().process = Some((running.child.id(), running.since));
        let words = Words::default();
        let supervisor = Supervisor { starter, log, words, woken, shared: shared.clone() };
        let supervisor = std::thread::Builder::new()
            .name("cometbft".to_owned())
            .spawn(move || supervisor.run(running))
            .map_err(failed)?;
        Ok(Self { shared, wake: Some(wake), supervisor: Some(supervisor) })
    }

    /// The number of the process that runs now; `None` while none does.
    pub fn pid(&self) -> Option<u32> {
        self.shared.run().process.map(|(pid, _)| pid)
    }

    /// How it is, from now on; also once this is gone.
    pub fn health(&self) -> Health {
        Health(self.shared.clone())
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u64 {
        self.shared.restarts.load(Ordering::Relaxed)
    }

    /// Asks it to end, and waits for that; kills it after 10 s. It must still reach the application.
    pub fn stop(mut self) -> Stopped {
        self.end()
    }

    fn end(&mut self) -> Stopped {
        drop(self.wake.take());
        let ended = self.supervisor.take().map(JoinHandle::join);
        // One that panicked has killed the process.
        ended.and_then(Result::ok).unwrap_or(Stopped::Killed)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.shared.kill.store(true, Ordering::Relaxed);
        self.end();
    }
}

impl Shared {
    fn run(&self) -> MutexGuard<'_, Run> {
        // Nothing is left half done under the lock.
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How it ended when it was asked to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// By itself, or it did not run just then.
    Ended,
    /// It was deaf to that, and was killed.
    Killed,
}

/// Why CometBFT cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A folder cannot be made or found.
    #[error("cannot use the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system's temporary folder has too long a name.
    #[error("{} is too long a path for a socket: set TMPDIR to a shorter folder", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// The application's socket cannot be listened at.
    #[error("cannot listen at {}: {source}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process cannot be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Whatever is in this process's environment for CometBFT would override its files: CMTHOME, TMHOME and
/// CMT_*. It gets only what any program needs.
pub(crate) fn clear_environment(command: &mut Command) {
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// How it is started.
struct Starter {
    program: PathBuf,
    home: PathBuf,
    sockets: Sockets,
}

/// A process that was started. Killed when dropped.
struct Running {
    child: Child,
    /// What it says, until it says nothing any more.
    output: Option<PipeReader>,
    since: Instant,
}

impl Starter {
    fn start(&self) -> io::Result<Running> {
        // Left by one that was killed; the next would not start ("address already in use").
        match std::fs::remove_file(self.sockets.rpc()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let (output, input) = io::pipe()?;
        let mut command = Command::new(&self.program);
        clear_environment(&mut command);
        command.args(["start", "--home"]).arg(&self.home).current_dir(&self.home);
        command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
        // What a terminal sends to all that run in it is for this process, which ends the other in
        // order.
        command.process_group(0);
        let child = command.spawn()?;
        tracing::info!(pid = child.id(), "cometbft started");
        Ok(Running { child, output: Some(output), since: Instant::now() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the supervisor panicked.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the supervising thread has.
struct Supervisor {
    starter: Starter,
    log: Log,
    words: Words,
    /// Ends when the process is to end.
    woken: UnixStream,
    shared: Arc<Shared>,
}

/// What a wait came to.
enum Event {
    Ended(ExitStatus),
    TimeOut,
    /// The process is to end.
    Woken,
}

/// What was heard during a wait.
struct Heard {
    said: bool,
    woken: bool,
}

impl Supervisor {
    fn run(mut self, mut running: Running) -> Stopped {
        let mut pause = LEAST_PAUSE;
        loop {
            let ended = match self.watch(&mut running, None) {
                Event::Ended(status) => status.to_string(),
                Event::Woken | Event::TimeOut => return self.end(running),
            };
            let ran = running.since.elapsed();
            if ran >= STEADY {
                pause = LEAST_PAUSE;
            }
            drop(running);
            let mut why = match self.words.ends() {
                Some(said) => format!("{said} ({ended})"),
                None => ended,
            };
            self.shared.run().ended(ran, &why);
            self.words = Words::default();
            running = loop {
                tracing::warn!(
                    %why,
                    log = %self.starter.home.join("log").display(),
                    "cometbft has ended and is started again in {pause:?}"
                );
                if self.is_woken_within(pause) {
                    return Stopped::Ended;
                }
                pause = (pause * 2).min(MOST_PAUSE);
                match self.starter.start() {
                    Ok(running) => break running,
                    Err(error) => {
                        why = format!("cannot start {}: {error}", self.starter.program.display());
                        self.shared.run().ended(Duration::ZERO, &why);
                    }
                }
            };
            self.shared.restarts.fetch_add(1, Ordering::Relaxed);
            self.shared.run().process = Some((running.child.id(), running.since));
        }
    }

    /// Passes on what the process says until it ends, or else until the time is over, or without one
    /// until the process is to end.
    fn watch(&mut self, running: &mut Running, until: Option<Instant>) -> Event {
        loop {
            match running.child.try_wait() {
                Ok(Some(status)) => {
                    // What a pipe holds, and no more: another process may have it open as well.
                    for _ in 0..PIPE_READS {
                        if self.wait(running.output.as_ref(), false, Duration::ZERO).said {
                            self.pass_on(running);
                        }
                    }
                    return Event::Ended(status);
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "cometbft cannot be waited for"),
            }
            let look = if running.output.is_some() { LOOK } else { LOOK_SOON };
            let left = until.map_or(look, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Event::TimeOut;
            }
            let heard = self.wait(running.output.as_ref(), until.is_none(), left.min(look));
            if heard.said {
                self.pass_on(running);
            }
            if heard.woken {
                return Event::Woken;
            }
        }
    }

    /// Waits until the process says something or, if that is heeded, is to end.
    fn wait(&self, output: Option<&PipeReader>, heed: bool, timeout: Duration) -> Heard {
        let mut ends = Vec::with_capacity(2);
        ends.extend(output.map(|output| PollFd::new(output, PollFlags::IN)));
        if heed {
            ends.push(PollFd::new(&self.woken, PollFlags::IN));
        }
        // No wait here is so long that the system could not be told.
        let timeout = Timespec::try_from(timeout).ok();
        // Interrupted by a signal, it is as if the time were over; the caller looks again.
        let _ = poll(&mut ends, timeout.as_ref());
        let happened = |end: Option<&PollFd<'_>>| end.is_some_and(|end| !end.revents().is_empty());
        Heard {
            said: output.is_some() && happened(ends.first()),
            woken: heed && happened(ends.last()),
        }
    }

    /// Writes what the process has said to the log.
    fn pass_on(&mut self, running: &mut Running) {
        let Some(output) = &mut running.output else { return };
        let mut said = [0; PIPE_READ];
        match output.read(&mut said) {
            Ok(read @ 1..) => {
                self.log.write(&said[..read]);
                if let Some(why) = self.words.hear(&said[..read]) {
                    tracing::error!(
                        why,
                        log = %self.starter.home.join("log").display(),
                        "cometbft takes no part any more"
                    );
                    self.shared.run().halted = Some(why);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => running.output = None,
        }
    }

    /// Whether the process is to end before the time is over.
    fn is_woken_within(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if self.wait(None, true, left).woken {
                return true;
            }
        }
    }

    /// Asks the process to end, and kills it if it does not.
    fn end(&mut self, mut running: Running) -> Stopped {
        if !self.shared.kill.load(Ordering::Relaxed) {
            // It cannot have been waited for, so the number is still its own.
            let asked = kill_process(Pid::from_child(&running.child), Signal::TERM);
            let until = Instant::now() + STOP_TIMEOUT;
            match asked.map(|()| self.watch(&mut running, Some(until))) {
                Ok(Event::Ended(status)) => {
                    tracing::info!(%status, "cometbft has ended");
                    return Stopped::Ended;
                }
                Ok(Event::TimeOut | Event::Woken) => {
                    tracing::warn!("cometbft did not end in {STOP_TIMEOUT:?} and is killed");
                }
                Err(error) => {
                    tracing::error!(%error, "cometbft cannot be asked to end, and is killed")
                }
            }
        }
        Stopped::Killed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_started_well_when_it_has_run_for_a_minute() {
        let began = Instant::now();
        let mut run = Run::default();
        // It reads for six seconds, and then finds that something is wrong.
        for times in 1..=SHORT_RUNS {
            assert_eq!(run.ailment(began), None);
            run.ended(Duration::from_secs(6), "panic: wrong hash");
            assert_eq!(run.short, times);
        }
        let ailment =
            Some(Ailment::Ends { times: SHORT_RUNS, why: "panic: wrong hash".to_owned() });
        assert_eq!(run.ailment(began), ailment);
        run.process = Some((1, began));
        assert_eq!(run.ailment(began + Duration::from_secs(59)), ailment);
        assert_eq!(run.ailment(began + STEADY), None);
        run.ended(STEADY, "killed");
        assert_eq!((run.short, run.ailment(began)), (0, None));
    }
}
