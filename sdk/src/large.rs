//! A folder for weights that are better not in memory. What is whole is named by its digest and never written to
//! again, since it may be mapped; what is on its way has another name.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use colearn_contracts::Digest;

use crate::weights::{LARGE_BYTES, Weights};

/// How much of what nobody asks for at the moment stays: what a restart may ask for next, whole or not.
const STAY: usize = 2;

/// Where weights lie when they are whole.
pub(crate) fn path(dir: &Path, digest: Digest) -> PathBuf {
    dir.join(digest.to_string())
}

/// A file that only its owner reads, with what it has had; what is written comes at its end.
pub(crate) fn file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

/// A file that nobody else writes to, and the path that it has until it is whole.
pub(crate) fn new_file(dir: &Path) -> io::Result<(File, PathBuf)> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("new.{}.{number}", std::process::id()));
    // One that is there is of a process that has ended.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok((file(&path)?, path)),
    }
}

/// A file that has no name from the start, and is gone with who has it.
pub(crate) fn nameless_file(dir: &Path) -> io::Result<File> {
    let (file, path) = new_file(dir)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// What a file holds, which is left there if it is large.
pub(crate) fn read(path: &Path) -> io::Result<Weights> {
    match std::fs::metadata(path)?.len() {
        LARGE_BYTES.. => Weights::open(path),
        _ => std::fs::read(path).map(Weights::new),
    }
}

/// Removes what lies in the folder and is none of these, but for the newest few. What cannot be removed takes room,
/// and no more.
pub(crate) fn clear<'a>(dir: &Path, kept: impl IntoIterator<Item = &'a Weights>) {
    let kept: Vec<_> = kept.into_iter().map(|weights| path(dir, weights.digest())).collect();
    // There is no folder where nothing was large.
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut others: Vec<_> = entries
        .map(|entry| (entry.metadata().and_then(|it| it.modified()).ok(), entry.path()))
        .filter(|(_, path)| !kept.contains(path))
        .collect();
    others.sort_unstable();
    others.iter().rev().skip(STAY).for_each(|(_, path)| drop(std::fs::remove_file(path)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_the_newest_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<_> = ["a", "b", "c", "d", "e"].map(Weights::new).into();
        for (at, weights) in (0..).zip(&all) {
            let path = path(dir.path(), weights.digest());
            std::fs::write(&path, weights.bytes()).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        clear(dir.path(), &all[..1]);
        let is_there = |weights: &Weights| path(dir.path(), weights.digest()).exists();
        assert_eq!(all.iter().map(is_there).collect::<Vec<_>>(), [true, false, false, true, true]);
        clear(&dir.path().join("nowhere"), &all);
    }

    #[test]
    fn files_that_are_made_are_different_and_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, path) = new_file(dir.path()).unwrap();
        io::Write::write_all(&mut first, b"half").unwrap();
        let (second, other) = new_file(dir.path()).unwrap();
        assert!(path != other && second.metadata().unwrap().len() == 0);
        let mut again = file(&path).unwrap();
        io::Write::write_all(&mut again, b" and half").unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"half and half");
    }
}
