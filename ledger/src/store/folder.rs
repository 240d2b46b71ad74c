//! A ledger's folder: what lies where in it, and the lock that keeps a second process out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use colearn_files::Lock;

use crate::store::error::Error;

/// The folder of the journal's segments.
pub(crate) fn journal(dir: &Path) -> PathBuf {
    dir.join("journal")
}

/// The folder of the index. Everything in it is derived.
pub(crate) fn index(dir: &Path) -> PathBuf {
    dir.join("index")
}

/// Whether there is an index.
///
/// # Errors
/// [`Error::NotAFolder`] if something else lies in its place.
pub(crate) fn index_is_there(dir: &Path) -> Result<bool, Error> {
    let path = index(dir);
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(Error::NotAFolder { path }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::storage("look at", &path)(error)),
    }
}

/// Creates a folder, durably, if it is not there.
pub(crate) fn create(dir: &Path) -> Result<(), Error> {
    Ok(colearn_files::create_folder(dir)?)
}

/// Removes a folder and what is in it, if it is there.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::storage("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// How long a ledger that is opened waits for those who only read its folder, and how often it looks. An audit
/// reads an index of a million entries for some seconds.
const READERS: Duration = Duration::from_secs(60);
const READERS_PAUSE: Duration = Duration::from_millis(20);

/// Keeps every process out of the ledger in a folder, for as long as what it gives lives. Waits for those who
/// only read it, up to a minute: a node must not fail to start because somebody audits.
///
/// # Errors
/// [`Error::InUse`] if another process has it locked, or reads it for longer.
pub fn lock(dir: &Path) -> Result<Lock, Error> {
    lock_within(dir, READERS)
}

fn lock_within(dir: &Path, limit: Duration) -> Result<Lock, Error> {
    // The system gives the lock up when the process ends, however it ends; so the file stays, and
    // that it is there means nothing.
    let path = dir.join("LOCK");
    let started = Instant::now();
    loop {
        if let Some(lock) = Lock::try_take(&path).map_err(Error::storage("lock", &path))? {
            return Ok(lock);
        }
        if share(dir)?.is_none() || started.elapsed() >= limit {
            return Err(Error::InUse { dir: dir.to_owned() });
        }
        std::thread::sleep(READERS_PAUSE);
    }
}

/// Keeps the ledger in a folder from being opened while somebody reads what is in it; `None` if it is open.
///
/// # Errors
/// If the lock's file cannot be opened.
pub(crate) fn share(dir: &Path) -> Result<Option<Lock>, Error> {
    let path = dir.join("LOCK");
    Lock::try_share(&path).map_err(Error::storage("lock", &path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_opens_a_ledger_waits_for_those_who_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let shared = share(dir.path()).unwrap().unwrap();
        let early = lock_within(dir.path(), Duration::ZERO);
        assert!(matches!(early, Err(Error::InUse { .. })));
        let opened = std::thread::scope(|threads| {
            let opening = threads.spawn(|| lock(dir.path()));
            drop(shared);
            opening.join().unwrap()
        });
        assert!(share(dir.path()).unwrap().is_none());
        drop(opened.unwrap());
        assert!(share(dir.path()).unwrap().is_some());
    }
}
