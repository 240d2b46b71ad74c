//! Files that are locked, by one process at a time or by several that only read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// A file that is locked as long as this lives, and this process does. What is in the file means nothing,
/// and neither does that it is there.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// Whether somebody else holds it, too.
    handed_on: bool,
}

impl Lock {
    /// Locks a file, and waits for whoever has it locked. Creates it if it is not there.
    ///
    /// # Errors
    /// If it cannot be opened or locked.
    pub fn wait(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        file.lock()?;
        Ok(Self::of(file))
    }

    /// Locks a file, unless it is locked: `None`. Creates it if it is not there.
    ///
    /// # Errors
    /// If it cannot be opened or locked.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        taken(file.try_lock()).map(|taken| taken.then(|| Self::of(file)))
    }

    /// Shares a file with everybody else who shares it, unless somebody has it locked: `None`. Creates it if it
    /// is not there.
    ///
    /// # Errors
    /// If it cannot be opened or locked.
    pub fn try_share(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        taken(file.try_lock_shared()).map(|taken| taken.then(|| Self::of(file)))
    }

    fn of(file: File) -> Self {
        Self { file, handed_on: false }
    }

    /// Hands the lock on. On Unix the file is locked until the last process has ended or closed it that was given what
    /// this returns, such as one of which it is the standard input, or has inherited it from such a one.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn hand_on(mut self) -> io::Result<File> {
        let file = self.file.try_clone()?;
        self.handed_on = true;
        Ok(file)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that was forked off meanwhile has the same open file: closing this one would leave it
        // locked as long as that lives.
        if !self.handed_on {
            let _ = self.file.unlock();
        }
    }
}

fn taken(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Read, too: it may become somebody's standard input.
    options.read(true).write(true).create(true).truncate(false);
    // Whoever could open it could lock it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_as_long_as_it_lives_whoever_has_inherited_its_file() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let lock = Lock::wait(&path)?;
        assert!(Lock::try_take(&path)?.is_none());
        // What a process that is forked off has.
        let inherited = lock.file.try_clone()?;
        drop(lock);
        assert!(Lock::try_take(&path)?.is_some());
        drop(inherited);
        Ok(())
    }

    #[test]
    fn those_who_share_keep_out_only_who_does_not() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let shared = [Lock::try_share(&path)?, Lock::try_share(&path)?];
        assert!(shared.iter().all(Option::is_some) && Lock::try_take(&path)?.is_none());
        drop(shared);
        let taken = Lock::try_take(&path)?;
        assert!(taken.is_some() && Lock::try_share(&path)?.is_none());
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_handed_on_is_held_as_long_as_whoever_has_it_lives() -> io::Result<()> {
        use std::process::{Command, Stdio};

        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let file = Lock::wait(&path)?.hand_on()?;
        let mut child =
            Command::new("sh").args(["-c", "exec sleep 600"]).stdin(Stdio::from(file)).spawn()?;
        assert!(Lock::try_take(&path)?.is_none());
        child.kill()?;
        child.wait()?;
        assert!(Lock::try_take(&path)?.is_some());
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn whoever_reads_what_was_handed_on_finds_nothing_in_it() -> io::Result<()> {
        use std::process::{Command, Stdio};

        let dir = tempfile::tempdir()?;
        let file = Lock::wait(&dir.path().join("lock"))?.hand_on()?;
        let read = Command::new("cat").stdin(Stdio::from(file)).output()?;
        assert!(read.status.success() && read.stdout.is_empty(), "{read:?}");
        Ok(())
    }
}
