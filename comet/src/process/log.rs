//! What a process says, in a file that does not grow for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The most that a file holds. There are two: `log`, and `log.old` with what came before.
const MAX_BYTES: u64 = 8 << 20;

pub(super) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Whether it was told that it cannot be written.
    told: bool,
}

impl Log {
    /// Goes on with the file that is there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, told: false })
    }

    /// What cannot be written is lost: a full disk must not keep the process from going on.
    pub(super) fn write(&mut self, said: &[u8]) {
        let written = self.make_room(said.len() as u64).and_then(|()| self.file.write_all(said));
        self.bytes += said.len() as u64;
        if let Err(error) = written
            && !self.told
        {
            tracing::error!(file = %self.path.display(), %error, "cometbft's log cannot be written");
            self.told = true;
        }
    }

    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.bytes + bytes <= MAX_BYTES {
            return Ok(());
        }
        std::fs::rename(&self.path, self.path.with_extension("old"))?;
        *self = Self { told: self.told, ..Self::open(&self.path)? };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn two_files_hold_the_last_that_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let size = |name: &str| dir.path().join(name).metadata().map(|file| file.len()).ok();
        let mut log = Log::open(&path).unwrap();
        let chunk = [b'x'; 1 << 20];
        for _ in 0..8 {
            log.write(&chunk);
        }
        assert_eq!((size("log"), size("log.old")), (Some(8 << 20), None));
        log.write(b"more");
        assert_eq!((size("log"), size("log.old")), (Some(4), Some(8 << 20)));

        let mut log = Log::open(&path).unwrap();
        for _ in 0..8 {
            log.write(&chunk);
        }
        assert_eq!((size("log"), size("log.old")), (Some(1 << 20), Some((7 << 20) + 4)));
    }
}
