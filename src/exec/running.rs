//! A command that runs in a folder: begun once, waited for also by a learner that was started anew, and ended when
//! nobody needs what it does.
//!
//! Whether it runs is said by a lock that it holds itself: the locked file is its standard input, which all that it
//! starts inherits. So no number of a process is believed, which may be another's by now.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use colearn_files::Lock;
use colearn_records::keys::Passphrase;

use super::ExecError;
use super::answer::{Answer, read_at_most};
use super::folder::{GROUP, OUTPUT, OVER, PENDING, RESULT, RUNNING, file};
use crate::shell;

/// How often it is looked: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(500);
/// A file that has not changed for so long is not being written.
const SETTLED: Duration = Duration::from_secs(10);
/// The file that says whose group a command is has no more bytes.
const MAX_GROUP_BYTES: u64 = 256;

/// What is run in a folder.
pub(super) struct Running<'a> {
    pub(super) command: &'a str,
    pub(super) folder: &'a Path,
    pub(super) variables: &'a [(&'static str, String)],
    /// How long one that is asked to end may take.
    pub(super) grace: Duration,
    /// Whether nobody needs it any more.
    pub(super) is_over: &'a dyn Fn() -> bool,
}

/// What came of it.
pub(super) enum Ended {
    /// An answer.
    Answered(Answer),
    /// None, and none is needed.
    Over,
}

impl Running<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Gets the answer: the one that is there, or that of the command that runs, or of one that is begun.
    pub(super) fn answer(&self) -> Result<Ended, ExecError> {
        let mut pause = FIRST_LOOK;
        let mut waits = false;
        loop {
            let lock = Lock::try_take(&self.path(RUNNING)).map_err(file(&self.path(RUNNING)))?;
            match (self.answer_there(lock.is_none())?, lock) {
                (Some(answer), _) => return Ok(Ended::Answered(answer)),
                (None, Some(lock)) if !self.path(PENDING).exists() && !(self.is_over)() => {
                    if let Some(ended) = self.begin(lock)? {
                        return Ok(ended);
                    }
                    // It is pending now.
                }
                (None, _) if !std::mem::replace(&mut waits, true) => {
                    let folder = self.folder.display();
                    tracing::info!(%folder, "waiting for an answer that is on its way");
                }
                (None, _) => {}
            }
            if (self.is_over)() {
                end(self.folder, self.grace)?;
                return Ok(Ended::Over);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// The answer, if there is a whole one.
    fn answer_there(&self, runs: bool) -> Result<Option<Answer>, ExecError> {
        let path = self.path(RESULT);
        let read = Answer::read(&path);
        match (&read, self.path(PENDING).exists()) {
            (Ok(_), _) => read,
            // Somebody may still be writing it.
            (Err(_), _) if runs => Ok(None),
            (Err(_), true) if is_fresh(&path) => Ok(None),
            (Err(_), true) => read,
            // Left by one that was cut off; the next one writes another.
            (Err(error), false) => {
                tracing::warn!("{error}; asking again");
                std::fs::remove_file(&path).map_err(file(&path))?;
                Ok(None)
            }
        }
    }

    /// Begins the command and waits for its end; `None` if it has left its answer to somebody else.
    fn begin(&self, lock: Lock) -> Result<Option<Ended>, ExecError> {
        let mut child = self.spawn(lock)?;
        tracing::info!(folder = %self.folder.display(), "a command is at work");
        let mut pause = FIRST_LOOK;
        let ended = loop {
            if let Some(ended) = child.try_wait().map_err(|source| self.cannot_run(source))? {
                break ended;
            }
            if (self.is_over)() {
                self.stop(&mut child)?;
                return Ok(Some(Ended::Over));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LAST_LOOK);
        };
        match Answer::read(&self.path(RESULT))? {
            Some(answer) => Ok(Some(Ended::Answered(answer))),
            None if ended.success() && self.path(PENDING).exists() => Ok(None),
            None => Err(self.no_answer(ended)),
        }
    }

    fn spawn(&self, lock: Lock) -> Result<Child, ExecError> {
        let output = self.path(OUTPUT);
        let mut options = OpenOptions::new();
        // After what one has printed that was started before.
        options.append(true).create(true);
        let log = options.open(&output).map_err(file(&output))?;
        let errors = log.try_clone().map_err(file(&output))?;
        let input = lock.hand_on().map_err(file(&self.path(RUNNING)))?;
        let child = shell::shell(self.command)
            .current_dir(self.folder)
            // Jobs are handed what is in the environment, and that is shown to others.
            .env_remove(Passphrase::VARIABLE)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(input))
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| self.cannot_run(source))?;
        let group = self.path(GROUP);
        let written = std::fs::write(&group, format!("{} {}", machine(), child.id()));
        written.map_err(file(&group))?;
        Ok(child)
    }

    fn cannot_run(&self, source: std::io::Error) -> ExecError {
        ExecError::Run { command: self.command.to_owned(), source }
    }

    fn no_answer(&self, ended: ExitStatus) -> ExecError {
        let output = self.path(OUTPUT);
        ExecError::NoAnswer { ended: ended.to_string(), result: self.path(RESULT), output }
    }

    /// Ends what was begun here: politely, and then all of its group.
    fn stop(&self, child: &mut Child) -> Result<(), ExecError> {
        mark_over(self.folder)?;
        let failed = |source| self.cannot_run(source);
        shell::ask_to_end(child.id()).map_err(failed)?;
        let asked = Instant::now();
        while asked.elapsed() < self.grace {
            if child.try_wait().map_err(failed)?.is_some() && !runs(self.folder)? {
                return Ok(());
            }
            std::thread::sleep(FIRST_LOOK);
        }
        shell::kill(child).map_err(failed)
    }
}

/// Whether the file has changed just now.
fn is_fresh(path: &Path) -> bool {
    let changed = std::fs::metadata(path).and_then(|known| known.modified()).ok();
    changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|since| since < SETTLED)
}

/// Whether a command runs in a folder.
fn runs(folder: &Path) -> Result<bool, ExecError> {
    let path = folder.join(RUNNING);
    Ok(path.exists() && Lock::try_take(&path).map_err(file(&path))?.is_none())
}

/// Says in a folder that its answer is not needed any more.
fn mark_over(folder: &Path) -> Result<(), ExecError> {
    let path = folder.join(OVER);
    if path.exists() { Ok(()) } else { std::fs::write(&path, "").map_err(file(&path)) }
}

/// Nobody needs the answer of a folder: what runs there, begun by whichever learner, is ended.
pub(super) fn end(folder: &Path, grace: Duration) -> Result<(), ExecError> {
    mark_over(folder)?;
    if !runs(folder)? {
        return Ok(());
    }
    // As long as the lock is held some of it lives, so the group's number cannot have become another's on this machine.
    let Some(group) = group_of(folder)? else { return Ok(()) };
    let failed = |source| ExecError::Run { command: format!("process group {group}"), source };
    shell::ask_to_end(group).map_err(failed)?;
    let asked = Instant::now();
    while runs(folder)? {
        if asked.elapsed() >= grace {
            return shell::kill_group(group).map_err(failed);
        }
        std::thread::sleep(FIRST_LOOK);
    }
    Ok(())
}

/// The process group of what runs in a folder, if it was begun on this machine.
fn group_of(folder: &Path) -> Result<Option<u32>, ExecError> {
    let written = read_at_most(&folder.join(GROUP), MAX_GROUP_BYTES)?.unwrap_or_default();
    let written = String::from_utf8(written).unwrap_or_default();
    let here = written.split_once(' ').filter(|(on, _)| *on == machine());
    Ok(here.and_then(|(_, group)| group.parse().ok()))
}

/// This machine since it was started, where that has a name: folders may be shared by several.
fn machine() -> String {
    let known = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    known.map_or_else(|_| "here".to_owned(), |known| known.trim().to_owned())
}
