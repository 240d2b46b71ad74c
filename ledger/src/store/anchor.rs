//! The anchor: the last signed checkpoint, kept in two files in turn, so that one of them is whole
//! whatever happens while the other is written.
//!
//! This is not done by writing a new file and renaming it: that would be two syncs at each commit,
//! of the file with its metadata and of the folder, where writing a file of fixed size in its place
//! is one. The file that is not being written is what a rename would have kept.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::log::note::{Checkpoint, NoteError, SignedCheckpoint, SignedNote, Verifier, from_bytes};
use crate::store::at::read_exact_at;
use crate::store::disk::Disk;
use crate::store::error::Error;

const NAMES: [&str; 2] = ["anchor-a", "anchor-b"];
/// Each file always has this size, so that rewriting one changes no metadata and the sync is cheap.
const FILE_BYTES: usize = 2048;

/// How often the files are read until they hold still: a running node writes them.
const READS: usize = 100;

/// One of the two anchor files of a ledger's folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnchorFile {
    /// Its name in the folder.
    pub name: &'static str,
    /// What is in it.
    pub held: Held,
}

/// What an anchor file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// A note, not verified.
    Note(String),
    /// Nothing was ever written to it, as in a ledger that was just begun.
    Nothing,
    /// The file is not there.
    Missing,
    /// What is no note: it was damaged, or a crash has cut its writing short.
    Malformed(NoteError),
}

impl AnchorFile {
    /// The note in it, not verified.
    pub fn note(&self) -> Option<&str> {
        match &self.held {
            Held::Note(note) => Some(note),
            Held::Nothing | Held::Missing | Held::Malformed(_) => None,
        }
    }
}

impl std::fmt::Display for AnchorFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.held {
            Held::Note(_) => f.write_str("it holds a note"),
            Held::Nothing => f.write_str("nothing was ever written to it"),
            Held::Missing => f.write_str("it is missing"),
            Held::Malformed(error) => write!(f, "{error}"),
        }
    }
}

/// What the two files say together.
#[derive(Default)]
pub(crate) struct Anchored {
    /// The newer of the two checkpoints; `None` if there are no anchor files.
    pub(crate) newest: Option<SignedCheckpoint>,
    /// What is wrong with the other file, if no checkpoint can be read there.
    pub(crate) lost: Option<String>,
}

/// Reads both files.
pub(crate) fn read(dir: &Path, verifier: &Verifier) -> Result<Anchored, Error> {
    let mut newest: Option<SignedCheckpoint> = None;
    let mut bad: Option<NoteError> = None;
    let mut lost = None;
    for file in anchor_files(dir)? {
        let Some(note) = file.note() else {
            lost = Some(file.to_string());
            if let Held::Malformed(error) = file.held {
                bad = Some(error);
            }
            continue;
        };
        match Checkpoint::open(note, verifier) {
            Ok(checkpoint)
                if newest.as_ref().is_none_or(|other| other.checkpoint.size < checkpoint.size) =>
            {
                let note = note.to_owned();
                newest = Some(SignedCheckpoint { checkpoint, note });
            }
            Ok(_) => {}
            Err(error) => bad = Some(error),
        }
    }
    match (newest, bad) {
        // One of the two may be half written.
        (Some(newest), _) => Ok(Anchored { newest: Some(newest), lost }),
        (None, Some(reason)) => Err(Error::Foreign { dir: dir.to_owned(), reason }),
        (None, None) => Ok(Anchored::default()),
    }
}

/// Reads the last checkpoint a ledger folder vouches for, without opening the ledger.
///
/// # Errors
/// If there is none, or the files cannot be read.
pub fn anchored_checkpoint(dir: &Path, verifier: &Verifier) -> Result<SignedCheckpoint, Error> {
    read(dir, verifier)?.newest.ok_or_else(|| Error::AnchorMissing { dir: dir.to_owned() })
}

/// What a folder's two anchor files hold, none of it verified. The ledger may be in use.
///
/// # Errors
/// If a file is there but cannot be read.
pub fn anchor_files(dir: &Path) -> Result<[AnchorFile; 2], Error> {
    // Whoever reads a file while it is written may find half of what it holds before and half of
    // what it holds after.
    let mut bytes = read_both(dir)?;
    for _ in 1..READS {
        let again = read_both(dir)?;
        if again == bytes {
            break;
        }
        bytes = again;
    }
    let mut bytes = bytes.into_iter();
    Ok(NAMES.map(|name| AnchorFile { name, held: held(bytes.next().flatten()) }))
}

/// The bytes of the two files, where they are there.
fn read_both(dir: &Path) -> Result<[Option<Vec<u8>>; 2], Error> {
    let read = |name: &str| {
        let path = dir.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::storage("read", &path)(error)),
        }
    };
    Ok([read(NAMES[0])?, read(NAMES[1])?])
}

fn held(bytes: Option<Vec<u8>>) -> Held {
    let Some(mut bytes) = bytes else { return Held::Missing };
    // Padded with zeros to the file's size; a new file is nothing else.
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    if end == 0 && bytes.iter().all(|byte| *byte == 0) {
        return Held::Nothing;
    }
    bytes.truncate(end);
    let note = from_bytes(bytes).and_then(|note| SignedNote::parse(&note).map(|_| note));
    note.map_or_else(Held::Malformed, Held::Note)
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
        read_exact_at(file, &mut first, 0).map_err(Error::storage("read", path))?;
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
