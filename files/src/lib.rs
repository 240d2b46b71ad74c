#![doc = include_str!("../README.md")]

mod lock;
#[cfg(feature = "map")]
mod mapped;

use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

pub use lock::Lock;
#[cfg(feature = "map")]
pub use mapped::Mapped;

/// Replaces a file's content, or creates the file: after a crash at any moment it has the old
/// content or the new. On success the new content survives a power failure. A symbolic link is
/// itself replaced, not the file it points to.
///
/// # Errors
/// If a step fails. The old content is still there then, unless it is the last step,
/// [`Step::SyncFolder`]: then the new content is there, but may be gone after a power failure.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = write_beside(path, bytes, Access::Usual)?;
    move_into_place(&new, path)
}

/// Replaces a file's content as [`replace`] does, in a file that only its owner may read or write
/// (mode 0600 on Unix), whatever the old one allowed.
///
/// # Errors
/// Those of [`replace`].
pub fn replace_secret(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = write_beside(path, bytes, Access::Owner)?;
    move_into_place(&new, path)
}

/// Creates a file that only its owner may read or write (mode 0600 on Unix) and that was not there:
/// after a crash at any moment it is there with all its content, or not at all.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] at [`Step::Rename`] if there is one, which is left as it is;
/// and if a step fails.
pub fn create_secret(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    create_as(path, bytes, Access::Owner)
}

/// Creates a file that was not there: after a crash at any moment it is there with all its content, or not at all.
///
/// # Errors
/// Those of [`create_secret`].
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    create_as(path, bytes, Access::Usual)
}

fn create_as(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    let is_secret = matches!(access, Access::Owner);
    let new = write_beside(path, bytes, access)?;
    // A rename would replace a file that another process has created since. A link does not.
    let linked = match std::fs::hard_link(&new, path) {
        // Not every file system has links, such as that of a memory stick. No secret is risked for that.
        Err(error)
            if error.kind() != io::ErrorKind::AlreadyExists
                && !is_secret
                && path.symlink_metadata().is_err() =>
        {
            std::fs::rename(&new, path)
        }
        linked => linked,
    };
    let linked = linked.map_err(Error::at(Step::Rename, path));
    // Its other name is not needed either way; one that stays is overwritten the next time.
    let _ = std::fs::remove_file(&new);
    linked?;
    sync_parent(path)
}

/// Moves a file to another place in the same file system, durably, in place of what is there. Its
/// content must have been synced.
///
/// # Errors
/// If a step fails; unless it is [`Step::SyncFolder`], nothing has changed then.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(Error::at(Step::Rename, to))?;
    sync_parent(to)
}

/// Where large files may lie for a while: the folder for temporary files if the environment names one, and otherwise
/// rather `/var/tmp` than `/tmp`, which is memory on some systems.
pub fn scratch() -> PathBuf {
    let usual = Path::new("/var/tmp");
    match std::env::var_os("TMPDIR") {
        None if cfg!(unix) && usual.is_dir() => usual.to_owned(),
        _ => std::env::temp_dir(),
    }
}

/// Creates a folder with those above it, durably, if it is not there.
///
/// # Errors
/// If it cannot be created, for example because a file has its name.
pub fn create_folder(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    // One at a time, because each name is durable only when the folder that holds it is synced.
    if let Some(parent) = parent(dir) {
        create_folder(parent)?;
    }
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => {
            return Err(Error::at(Step::Create, dir)(error));
        }
        // There now, by this process or another; but perhaps not synced yet.
        Ok(()) | Err(_) => {}
    }
    sync_parent(dir)
}

/// Makes the names in a folder durable: what was created, renamed or removed there. Does nothing
/// where folders cannot be synced, which is everywhere but on Unix.
///
/// # Errors
/// If the folder cannot be opened or synced.
pub fn sync_folder(dir: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    std::fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::at(Step::SyncFolder, dir))?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

/// Why a file was not replaced, created or moved.
#[derive(Debug)]
pub struct Error {
    /// What was being done.
    pub step: Step,
    /// With which file or folder.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// What was being done when it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Creating the new file beside the old, or a folder.
    Create,
    /// Writing the new content.
    Write,
    /// Making the new content durable.
    Sync,
    /// Giving the new file its name. Before and during this step the old content stays.
    Rename,
    /// Making the name durable. The new content is in place by now.
    SyncFolder,
}

impl Error {
    fn at(step: Step, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { step, path: path.to_owned(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.step {
            Step::Create => "create",
            Step::Write => "write",
            Step::Sync => "sync",
            Step::Rename => "put in place",
            Step::SyncFolder => "sync the folder",
        };
        write!(f, "cannot {doing} {}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Only the cause, for callers that name the file themselves.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        error.source
    }
}

/// Who may read and write a file.
#[derive(Clone, Copy)]
enum Access {
    /// Whoever the process's umask allows.
    Usual,
    /// Its owner only.
    Owner,
}

/// Writes and syncs the new content in a file beside `path`. The same folder, because a rename is
/// atomic only within a file system.
fn write_beside(path: &Path, bytes: &[u8], access: Access) -> Result<PathBuf, Error> {
    // Asked first because systems answer a rename onto a folder in ways that say little.
    if path.is_dir() {
        let error = io::Error::new(io::ErrorKind::IsADirectory, "it is a folder");
        return Err(Error::at(Step::Create, path)(error));
    }
    let Some(name) = path.file_name() else {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "the path names no file");
        return Err(Error::at(Step::Create, path)(error));
    };
    // Behind the whole name, not in place of its extension: `a.json` and `a.toml` may be
    // replaced at the same time.
    let mut name: OsString = name.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    write_new(&new, bytes, access).inspect_err(|_| {
        // Half a file is of no use to anyone; if it stays, the next time overwrites it.
        let _ = std::fs::remove_file(&new);
    })?;
    Ok(new)
}

fn write_new(new: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    // What a crash has left is removed, not written over: its permissions would stay, and others
    // may have it open, or may have put a link there.
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::at(Step::Create, new)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    match access {
        Access::Usual => {}
        // At creation, not afterwards: there must be no moment in which others can open it.
        #[cfg(unix)]
        Access::Owner => {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        #[cfg(not(unix))]
        Access::Owner => {}
    }
    let mut file = options.open(new).map_err(Error::at(Step::Create, new))?;
    file.write_all(bytes).map_err(Error::at(Step::Write, new))?;
    // Before the rename: otherwise the name may become durable before the content.
    file.sync_all().map_err(Error::at(Step::Sync, new))
}

fn move_into_place(new: &Path, path: &Path) -> Result<(), Error> {
    std::fs::rename(new, path).map_err(Error::at(Step::Rename, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(new);
    })?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    sync_folder(folder_of(path))
}

/// The folder in which a path's last name is or would be.
pub fn folder_of(path: &Path) -> &Path {
    parent(path).unwrap_or(Path::new("."))
}

/// The folder that holds a path's last name; `None` where that is the working folder or a root.
fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}
