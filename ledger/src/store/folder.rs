//! A ledger's folder: what lies where in it, and the lock that keeps a second process out.

use std::path::{Path, PathBuf};

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

/// Keeps every process out of the ledger in a folder, for as long as what it gives lives.
///
/// # Errors
/// [`Error::InUse`] if another process has it locked.
pub fn lock(dir: &Path) -> Result<Lock, Error> {
    // The system gives the lock up when the process ends, however it ends; so the file stays, and
    // that it is there means nothing.
    let path = dir.join("LOCK");
    let lock = Lock::try_take(&path).map_err(Error::storage("lock", &path))?;
    lock.ok_or_else(|| Error::InUse { dir: dir.to_owned() })
}
