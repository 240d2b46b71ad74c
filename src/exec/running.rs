//! A command that runs in a folder: begun once, waited for also by a learner that was started anew, and ended when
//! nobody needs what it does.
//!
//! Whether it runs is said by a lock that it holds itself: the locked file is its standard input, which all that it
//! starts inherits. So no number of a process is believed, which may be another's by now.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use colearn_files::Lock;
use colearn_records::keys::Passphrase;

use super::ExecError;
use super::answer::{Answer, open_file, read_at_most};
use super::folder::{Asked, OUTPUT, OVER, PENDING, Place, RESULT, file, remove_file};
use crate::shell;

/// How often it is looked: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(500);
/// A file that has not changed for so long is not being written.
const SETTLED: Duration = Duration::from_secs(10);
/// By then it is known whose group a command is that has begun.
const NOTED: Duration = Duration::from_secs(5);
/// The file that says whose group a command is has no more bytes.
const MAX_GROUP_BYTES: u64 = 256;

/// What is run, and where.
pub(super) struct Running<'a> {
    pub(super) command: &'a str,
    pub(super) place: &'a Place,
    /// What the folder is to hold.
    pub(super) asked: Asked<'a>,
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
        self.place.folder.join(name)
    }

    /// Gets the answer: the one that is there, or that of the command that runs, or of one that is begun.
    pub(super) fn answer(&self) -> Result<Ended, ExecError> {
        let mut pause = FIRST_LOOK;
        let mut waits = false;
        let mut changes = Changes::default();
        loop {
            let lock = Lock::try_take(&self.place.lock).map_err(file(&self.place.lock))?;
            if lock.is_some() && !(self.is_over)() {
                self.ask_again()?;
            }
            match (self.answer_there(lock.is_none(), &mut changes)?, lock) {
                (Some(answer), _) => return Ok(Ended::Answered(answer)),
                (None, Some(lock)) if !self.path(PENDING).exists() && !(self.is_over)() => {
                    if let Some(ended) = self.begin(lock)? {
                        return Ok(ended);
                    }
                    // It is pending now.
                }
                (None, _) if !std::mem::replace(&mut waits, true) => {
                    let folder = self.place.folder.display();
                    tracing::info!(%folder, "waiting for an answer that is on its way");
                }
                (None, _) => {}
            }
            if (self.is_over)() {
                end_or_warn(self.place, self.grace);
                return Ok(Ended::Over);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// The answer is needed again, though once it was not: whoever was told so has stopped, and will not give it.
    fn ask_again(&self) -> Result<(), ExecError> {
        let over = self.path(OVER);
        if over.symlink_metadata().is_err()
            || matches!(Answer::read(&self.path(RESULT)), Ok(Some(_)))
        {
            return Ok(());
        }
        remove_file(&self.path(PENDING))?;
        // Last, because by it this is found again after a crash.
        remove_file(&over)
    }

    /// The answer, if there is a whole one.
    fn answer_there(&self, runs: bool, changes: &mut Changes) -> Result<Option<Answer>, ExecError> {
        let path = self.path(RESULT);
        let read = Answer::read(&path);
        match (&read, self.path(PENDING).exists()) {
            (Ok(_), _) => read,
            // Somebody may still be writing it.
            (Err(_), _) if runs => Ok(None),
            (Err(_), true) if !changes.are_over(&path, Instant::now()) => Ok(None),
            (Err(_), true) => read,
            // Left by one that was cut off; the next one writes another.
            (Err(error), false) => {
                tracing::warn!("{error}; asking again");
                remove_file(&path)?;
                Ok(None)
            }
        }
    }

    /// Begins the command and waits for its end; `None` if it has left its answer to somebody else.
    fn begin(&self, lock: Lock) -> Result<Option<Ended>, ExecError> {
        self.asked.write(&self.place.folder)?;
        let mut child = self.spawn(lock)?;
        tracing::info!(folder = %self.place.folder.display(), "a command is at work");
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
        let is_pending = ended.success() && self.path(PENDING).exists();
        match Answer::read(&self.path(RESULT)) {
            Ok(Some(answer)) => Ok(Some(Ended::Answered(answer))),
            // There may be half an answer by now.
            Ok(None) | Err(_) if is_pending => Ok(None),
            Ok(None) => Err(self.no_answer(ended)),
            Err(error) => Err(error),
        }
    }

    fn spawn(&self, lock: Lock) -> Result<Child, ExecError> {
        let output = self.path(OUTPUT);
        // After what one has printed that was started before.
        let log = open_file(&output, File::options().append(true).create(true));
        let log = log.map_err(file(&output))?;
        let errors = log.try_clone().map_err(file(&output))?;
        let Place { folder, lock: locked, group } = self.place;
        // A number that one has left that was started before could be anybody's by now.
        remove_file(group)?;
        let input = lock.hand_on().map_err(file(locked))?;
        let mut child = shell::shell(self.command)
            .current_dir(folder)
            // Jobs are handed what is in the environment, and that is shown to others.
            .env_remove(Passphrase::VARIABLE)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(input))
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| self.cannot_run(source))?;
        let Some(machine) = machine() else { return Ok(child) };
        // Whole or not at all: half a number would be another's.
        let written = colearn_files::replace(group, format!("{machine} {}", child.id()).as_bytes());
        if let Err(error) = written {
            // Nobody could end it after a crash.
            shell::kill(&mut child).map_err(|source| self.cannot_run(source))?;
            return Err(file(group)(error.into()));
        }
        Ok(child)
    }

    fn cannot_run(&self, source: std::io::Error) -> ExecError {
        ExecError::Run { command: self.command.to_owned(), source }
    }

    fn no_answer(&self, ended: ExitStatus) -> ExecError {
        let output = self.path(OUTPUT);
        ExecError::NoAnswer { ended: ended.to_string(), result: self.path(RESULT), output }
    }

    /// Ends what was begun here: politely, and then all of its group. It gets its signals whatever else fails.
    fn stop(&self, child: &mut Child) -> Result<(), ExecError> {
        mark_over(&self.place.folder);
        let is_asked = shell::ask_to_end(child.id()).is_ok();
        let asked = Instant::now();
        while is_asked && asked.elapsed() < self.grace {
            let Ok(ended) = child.try_wait() else { break };
            if ended.is_some() && runs(self.place).is_ok_and(|runs| !runs) {
                return Ok(());
            }
            std::thread::sleep(FIRST_LOOK);
        }
        shell::kill(child).map_err(|source| self.cannot_run(source))
    }
}

/// How long a file has been as it is, by this machine's clock: a file server's may be another.
#[derive(Default)]
struct Changes {
    /// Its length, when it says that it was changed, and since when that is known.
    known: Option<(u64, Option<SystemTime>, Instant)>,
}

impl Changes {
    /// Whether nobody seems to be writing the file any more.
    fn are_over(&mut self, path: &Path, now: Instant) -> bool {
        let Ok(found) = path.symlink_metadata() else {
            self.known = None;
            return false;
        };
        let (length, changed) = (found.len(), found.modified().ok());
        match self.known {
            Some((known, at, since)) if (known, at) == (length, changed) => {
                now.saturating_duration_since(since) >= SETTLED
            }
            _ => {
                self.known = Some((length, changed, now));
                false
            }
        }
    }
}

/// Whether a command runs in a place.
fn runs(place: &Place) -> Result<bool, ExecError> {
    let path = &place.lock;
    Ok(path.exists() && Lock::try_take(path).map_err(file(path))?.is_none())
}

/// Says in a folder that its answer is not needed any more, if that can be said: no signal waits for it.
fn mark_over(folder: &Path) {
    let path = folder.join(OVER);
    match File::options().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            tracing::warn!("{}", file(&path)(error));
        }
        Ok(_) | Err(_) => {}
    }
}

/// Nobody needs the answer of a folder: what runs there, begun by whichever learner, is ended. What cannot be ended is
/// told, and keeps nobody from other work.
pub(super) fn end_or_warn(place: &Place, grace: Duration) {
    if let Err(error) = end(place, grace) {
        tracing::warn!("{}: its command is not ended: {error}", place.folder.display());
    }
}

fn end(place: &Place, grace: Duration) -> Result<(), ExecError> {
    mark_over(&place.folder);
    if !runs(place)? {
        return Ok(());
    }
    // As long as the lock is held some of it lives, so the group's number cannot have become another's on this machine.
    let Some(group) = group_of(place)? else { return Ok(()) };
    let failed = |source| ExecError::Run { command: format!("process group {group}"), source };
    shell::ask_to_end(group).map_err(failed)?;
    let asked = Instant::now();
    while runs(place)? {
        if asked.elapsed() >= grace {
            return shell::kill_group(group).map_err(failed);
        }
        std::thread::sleep(FIRST_LOOK);
    }
    Ok(())
}

/// The process group of what runs in a place, if it was begun on this machine.
fn group_of(place: &Place) -> Result<Option<u32>, ExecError> {
    let Some(machine) = machine() else { return Ok(None) };
    let asked = Instant::now();
    let written = loop {
        if let Some(written) = read_at_most(&place.group, MAX_GROUP_BYTES)? {
            break written;
        }
        // Noted just after a command was begun; never, if its learner was killed in between.
        if asked.elapsed() >= NOTED || !runs(place)? {
            return Ok(None);
        }
        std::thread::sleep(FIRST_LOOK);
    };
    let written = String::from_utf8(written).unwrap_or_default();
    let here = written.rsplit_once(' ').filter(|(on, _)| *on == machine);
    Ok(here.and_then(|(_, group)| group.parse().ok()))
}

/// This machine since it was started, and whose numbers its processes have; `None` where that has no name. Folders may
/// be shared by several machines, and a machine by several containers.
fn machine() -> Option<String> {
    let known = |path: &str| std::fs::read_to_string(path).ok();
    let boot = known("/proc/sys/kernel/random/boot_id")?;
    let host = known("/proc/sys/kernel/hostname")?;
    let numbers = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {} {}", boot.trim(), host.trim(), numbers.display()))
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_once_it_has_not_changed_for_long_by_this_machines_clock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RESULT);
        let (mut changes, now) = (Changes::default(), Instant::now());
        assert!(!changes.are_over(&path, now + SETTLED), "it is not there");
        std::fs::write(&path, "{").unwrap();
        // By the file server's clock it was years ago.
        let old = SystemTime::UNIX_EPOCH;
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert!(!changes.are_over(&path, now));
        assert!(!changes.are_over(&path, now + SETTLED / 2));
        std::fs::write(&path, "{ ").unwrap();
        assert!(!changes.are_over(&path, now + SETTLED), "it has changed");
        assert!(changes.are_over(&path, now + SETTLED * 2));
    }

    /// A place in which something runs, whose group is this.
    fn place(dir: &Path, group: &str) -> (Place, Lock) {
        let [folder, lock, path] = ["folder", "lock", "group"].map(|name| dir.join(name));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&path, group).unwrap();
        let held = Lock::wait(&lock).unwrap();
        (Place { folder, lock, group: path }, held)
    }

    #[test]
    fn numbers_that_are_no_commands_or_of_other_machines_get_no_signal() {
        let machine = machine().unwrap_or_default();
        for group in ["1".to_owned(), rustix::process::getpgrp().as_raw_nonzero().to_string()] {
            let dir = tempfile::tempdir().unwrap();
            let (place, _held) = place(dir.path(), &format!("{machine} {group}"));
            let refused = end(&place, Duration::ZERO);
            // Where machines have no names, no number is believed at all.
            assert!(refused.is_err() || machine.is_empty());
            assert!(place.folder.join(OVER).exists());
        }
        for group in ["", "1", "elsewhere 1", "elsewhere elsewhere pid:[1] 1"] {
            let dir = tempfile::tempdir().unwrap();
            let (place, _held) = place(dir.path(), group);
            end(&place, Duration::ZERO).unwrap();
        }
    }

    #[test]
    fn signals_are_sent_though_nobody_can_be_told_that_it_is_over() {
        let Some(machine) = machine() else { return };
        let dir = tempfile::tempdir().unwrap();
        let (place, held) = place(dir.path(), "");
        std::fs::remove_dir(&place.folder).unwrap();
        let mut child = shell::shell("exec sleep 600")
            .stdin(Stdio::from(held.hand_on().unwrap()))
            .spawn()
            .unwrap();
        std::fs::write(&place.group, format!("{machine} {}", child.id())).unwrap();
        end(&place, Duration::from_secs(60)).unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
