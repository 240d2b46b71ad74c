//! The anchor: the last signed checkpoint, kept in two files in turn, so that one of them is whole
//! whatever happens while the other is written.
//!
//! This is not done by writing a new file and renaming it: that would be two syncs at each commit,
//! of the file with its metadata and of the folder, where writing a file of fixed size in its place
//! is one. The file that is not being written is what a rename would have kept.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::log::note::{Checkpoint, NoteError, SignedCheckpoint, Verifier};
use crate::store::disk::Disk;
use crate::store::error::Error;

const NAMES: [&str; 2] = ["anchor-a", "anchor-b"];
/// Each file always has this size, so that rewriting one changes no metadata and the sync is cheap.
const FILE_BYTES: usize = 2048;

/// Reads the newer of the two checkpoints; `None` if there are no anchor files.
pub(crate) fn read(dir: &Path, verifier: &Verifier) -> Result<Option<SignedCheckpoint>, Error> {
    let mut newest: Option<SignedCheckpoint> = None;
    let mut bad: Option<NoteError> = None;
    for note in anchored_notes(dir)? {
        match Checkpoint::open(&note, verifier) {
            Ok(checkpoint)
                if newest.as_ref().is_none_or(|other| other.checkpoint.size < checkpoint.size) =>
            {
                newest = Some(SignedCheckpoint { checkpoint, note });
            }
            Ok(_) => {}
            Err(error) => bad = Some(error),
        }
    }
    match (newest, bad) {
        // One of the two may be half written.
        (Some(newest), _) => Ok(Some(newest)),
        (None, Some(reason)) => Err(Error::Foreign { dir: dir.to_owned(), reason }),
        (None, None) => Ok(None),
    }
}

/// Reads the last checkpoint a ledger folder vouches for, without opening the ledger.
///
/// # Errors
/// If there is none, or the files cannot be read.
pub fn anchored_checkpoint(dir: &Path, verifier: &Verifier) -> Result<SignedCheckpoint, Error> {
    read(dir, verifier)?.ok_or_else(|| Error::AnchorMissing { dir: dir.to_owned() })
}

/// The checkpoints in a folder's anchor files, verbatim and unverified.
///
/// # Errors
/// If a file is there but cannot be read.
pub fn anchored_notes(dir: &Path) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    for name in NAMES {
        let path = dir.join(name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::storage("read", &path)(error)),
        };
        // Padded with zeros to the file's size; a new file is nothing else.
        let text: Vec<u8> = bytes.into_iter().take_while(|byte| *byte != 0).collect();
        if !text.is_empty() {
            notes.push(String::from_utf8_lossy(&text).into_owned());
        }
    }
    Ok(notes)
}

/// Writes checkpoints to the two files in turn.
pub(crate) struct Anchor {
    disk: Arc<dyn Disk>,
    files: [(PathBuf, File); 2],
    next: usize,
}

impl Anchor {
    /// Opens the files, creating them if need be. The file that holds `newest` is written last.
    pub(crate) fn open(
        dir: &Path,
        newest: Option<&SignedCheckpoint>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, Error> {
        let open = |name: &str| {
            let path = dir.join(name);
            let open = || {
                let file = disk.open(&path, !path.exists())?;
                if file.metadata()?.len() != FILE_BYTES as u64 {
                    disk.set_len(&path, &file, FILE_BYTES as u64)?;
                    disk.sync(&path, &file)?;
                }
                Ok(file)
            };
            let file = open().map_err(Error::storage("open", &path))?;
            Ok::<_, Error>((path, file))
        };
        let files = [open(NAMES[0])?, open(NAMES[1])?];
        // Both names are durable before either file is needed: a journal without them is refused.
        disk.sync_dir(dir).map_err(Error::storage("sync", dir))?;
        let mut first = vec![0; FILE_BYTES];
        let (path, file) = &files[0];
        file.read_exact_at(&mut first, 0).map_err(Error::storage("read", path))?;
        // The newest is overwritten last. The other way round, a crash during the next write would
        // leave only the older one, and what was acknowledged since would count as if it was not.
        let holds_newest = newest.is_some_and(|newest| first.starts_with(newest.note.as_bytes()));
        Ok(Self { disk, files, next: usize::from(holds_newest) })
    }

    /// Makes a checkpoint durable. Only then may it leave the process.
    pub(crate) fn write(&mut self, note: &str) -> Result<(), Error> {
        let (path, file) = &self.files[self.next];
        let mut bytes = note.as_bytes().to_vec();
        if bytes.len() >= FILE_BYTES {
            let error = io::Error::other("the checkpoint is longer than an anchor file");
            return Err(Error::storage("write", path)(error));
        }
        bytes.resize(FILE_BYTES, 0);
        self.disk.write_at(path, file, &bytes, 0).map_err(Error::storage("write", path))?;
        self.disk.sync(path, file).map_err(Error::storage("sync", path))?;
        // Only after the sync: after a failure the other file stays the one that is whole.
        self.next = 1 - self.next;
        Ok(())
    }
}
