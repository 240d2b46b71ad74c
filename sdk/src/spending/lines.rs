//! A file of JSON lines that is only ever appended to, and what is in it survives a power failure.
//!
//! A line that a crash has cut off has no end, and nothing had left: it is passed over, and cut off
//! before the next is written. Each whole line carries a check value over itself and all before it, so
//! that damage is not taken for that.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::SpendingError;

/// Changes the file and makes changes durable. A seam, so that tests can end the process at each step.
pub(super) trait Disk: std::fmt::Debug + Send + Sync {
    /// Opens the file for writing, creating it if it is not there.
    fn open(&self, path: &Path) -> io::Result<File>;
    /// Cuts off what is behind the last whole line.
    fn cut(&self, file: &File, length: u64) -> io::Result<()>;
    /// Writes at the file's end.
    fn append(&self, file: &mut File, line: &[u8]) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        // What was spent on private data is nobody else's.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn append(&self, file: &mut File, line: &[u8]) -> io::Result<()> {
        file.seek(SeekFrom::End(0))?;
        file.write_all(line)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        Ok(colearn_files::sync_folder(folder)?)
    }
}

/// What a line says.
pub(super) trait Entry: Serialize + DeserializeOwned {
    /// Adds all that it says to the check value of its line.
    fn add_to(&self, check: &mut Sha256);
}

/// The file, as far as it was read.
#[derive(Debug)]
pub(super) struct Lines<E> {
    path: PathBuf,
    /// The folder below which names are made durable, itself included.
    root: PathBuf,
    /// What every check value begins with: whose file it is.
    begins: Sha256,
    disk: Arc<dyn Disk>,
    /// How long the whole lines are that were read or written, and the check value of the last. `None`
    /// where what is there is not known.
    read: Option<(u64, Check)>,
    /// Whether the file's name is known to be durable.
    named: bool,
    entries: PhantomData<fn() -> E>,
}

type Check = [u8; 32];

#[derive(Serialize, Deserialize)]
struct Line<E> {
    training: E,
    /// Hex.
    check: String,
}

impl<E: Entry> Lines<E> {
    pub(super) fn new(path: PathBuf, root: &Path, begins: Sha256, disk: Arc<dyn Disk>) -> Self {
        let root = root.to_owned();
        Self { path, root, begins, disk, read: None, named: false, entries: PhantomData }
    }

    /// All entries, if there is something in the file that was not read yet.
    pub(super) fn news(&mut self) -> Result<Option<Vec<E>>, SpendingError> {
        let path = &self.path;
        if let Some((length, _)) = self.read
            && std::fs::metadata(path).map_or(0, |file| file.len()) == length
        {
            return Ok(None);
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(SpendingError::disk(path, source)),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (mut check, mut length) = (Check::default(), 0);
        let mut entries = Vec::new();
        // What was read before must still be what it begins with.
        let before = self.read.unwrap_or_default();
        let mut goes_on = before == (length, check);
        for (at, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let damaged = || SpendingError::Damaged { path: path.clone(), line: at + 1 };
            length += line.len() as u64;
            let line: Line<E> = serde_json::from_slice(line).map_err(|_| damaged())?;
            check = self.check(&line.training, &check);
            if line.check != hex::encode(check) {
                return Err(damaged());
            }
            goes_on |= before == (length, check);
            if length >= before.0 && !goes_on {
                return Err(damaged());
            }
            entries.push(line.training);
        }
        if !goes_on {
            return Err(SpendingError::Damaged { path: path.clone(), line: entries.len() + 1 });
        }
        self.read = Some((whole as u64, check));
        Ok(Some(entries))
    }

    /// Adds an entry, durably. All before it must have been read, under the same lock.
    pub(super) fn append(&mut self, entry: E) -> Result<(), SpendingError> {
        let path = self.path.clone();
        let failed = |source: io::Error| SpendingError::disk(&path, source);
        // Whatever fails from here on, what is there then is to be read again.
        let (length, before) = self.read.take().unwrap_or_default();
        let folder = path.parent().unwrap_or(&path);
        colearn_files::create_folder(folder).map_err(|error| failed(error.into()))?;
        let mut file = self.disk.open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > length {
            self.disk.cut(&file, length).map_err(failed)?;
        }
        let check = self.check(&entry, &before);
        let line = Line { training: entry, check: hex::encode(check) };
        let mut line = serde_json::to_vec(&line).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let written = self.write(&mut file, folder, &line);
        if written.is_err() {
            // What could not be made durable must not look as if it had been.
            let _ = self.disk.cut(&file, length);
        }
        written.map_err(failed)?;
        self.read = Some((length + line.len() as u64, check));
        Ok(())
    }

    fn write(&mut self, file: &mut File, folder: &Path, line: &[u8]) -> io::Result<()> {
        self.disk.append(file, line)?;
        self.disk.sync(file)?;
        if !self.named {
            // Also where the file was there before: who created it may have ended before it got this
            // far.
            for folder in folder.ancestors().take_while(|it| it.starts_with(&self.root)) {
                self.disk.sync_folder(folder)?;
            }
            self.named = true;
        }
        Ok(())
    }

    /// The check value of a line, which follows one with another.
    fn check(&self, entry: &E, before: &Check) -> Check {
        let mut check = self.begins.clone().chain_update(before);
        entry.add_to(&mut check);
        check.finalize().into()
    }
}

/// 32 bytes, in hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Hex(pub(super) [u8; 32]);

impl TryFrom<String> for Hex {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes))
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex::encode(hex.0)
    }
}
