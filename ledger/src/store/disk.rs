//! The file operations that durability rests on, behind one seam, so that tests can put a disk
//! beneath it that fails, tears writes and forgets what was not synced.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::store::at::write_all_at;

/// Changes files and makes changes durable. The journal and the anchor use nothing else.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing; with `create` it begins empty.
    ///
    /// # Errors
    /// Those of the file system.
    fn open(&self, path: &Path, create: bool) -> io::Result<File>;

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// Those of the file system; some of the bytes may be written then.
    fn write_at(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts a file off, or extends it with zeros.
    ///
    /// # Errors
    /// Those of the file system.
    fn set_len(&self, path: &Path, file: &File, length: u64) -> io::Result<()>;

    /// Makes a file's content and length durable.
    ///
    /// # Errors
    /// Those of the file system; nothing is known about the content then.
    fn sync(&self, path: &Path, file: &File) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(create).truncate(create).open(path)
    }

    fn write_at(&self, _: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        write_all_at(file, bytes, offset)
    }

    fn set_len(&self, _: &Path, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn sync(&self, _: &Path, file: &File) -> io::Result<()> {
        // fdatasync: also the length, where that has changed.
        file.sync_data()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Ok(colearn_files::sync_folder(dir)?)
    }
}
