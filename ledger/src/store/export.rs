//! Writing a ledger as static files, under the paths of the read API (C2SP tlog-tiles).

use std::path::{Path, PathBuf};

use crate::log::export::Tiler;
use crate::log::note::{Checkpoint, SignedNote};
use crate::log::tile::{Resource, TILE_WIDTH};
use crate::store::error::Error;

/// Writes tiles, entry bundles and at last the checkpoint into a folder that a web server can
/// serve. What is there and right already is left alone, so a second export writes only what is
/// new.
pub struct Exporter {
    tiler: Tiler,
    files: Files,
}

struct Files {
    dir: PathBuf,
    written: u64,
}

impl Exporter {
    /// Begins an export into a folder, which is created if need be.
    pub fn new(dir: &Path) -> Self {
        let files = Files { dir: dir.to_owned(), written: 0 };
        Self { tiler: Tiler::default(), files }
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// If it is too large, or a file cannot be written.
    pub fn push(&mut self, entry: &[u8]) -> Result<(), Error> {
        let files = &mut self.files;
        self.tiler.push(entry, |resource, bytes| files.put(resource, bytes))
    }

    /// Writes the unfinished tiles, and the checkpoint last. Gives the number of files that were
    /// new or had to be changed.
    ///
    /// # Errors
    /// [`Error::Rewritten`] if the checkpoint is not about exactly these entries; it is not written
    /// then.
    pub fn finish(self, checkpoint: &str) -> Result<u64, Error> {
        let Self { tiler, mut files } = self;
        let stated = SignedNote::parse(checkpoint)
            .and_then(|note| Checkpoint::parse(note.text()))
            .map_err(|reason| Error::Foreign { dir: files.dir.clone(), reason })?;
        if stated.size != tiler.size() || tiler.root() != Some(stated.root) {
            return Err(Error::Rewritten { size: stated.size, dir: files.dir });
        }
        tiler.finish(|resource, bytes| files.put(resource, bytes))?;
        files.write(&files.dir.join("checkpoint"), checkpoint.as_bytes())?;
        Ok(files.written)
    }
}

impl Files {
    fn put(&mut self, resource: Resource, bytes: &[u8]) -> Result<(), Error> {
        let path = self.dir.join(resource.path());
        self.write(&path, bytes)?;
        let (Resource::Hashes { width, .. } | Resource::Entries { width, .. }) = resource;
        if u64::from(width) == TILE_WIDTH {
            // The full tile serves everyone the partial ones did.
            let partial = path.with_extension("p");
            match std::fs::remove_dir_all(&partial) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::storage("remove", &partial)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Replaces a file as a whole, unless it is right already. Not synced, as `colearn_files` would
    /// do it: there are thousands of small files, nothing is promised by them that the ledger does
    /// not keep, and the next export finds and mends what a power failure has emptied.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        if std::fs::read(path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let new = path.with_extension("new");
        let write = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&new, bytes)?;
            std::fs::rename(&new, path)
        };
        write().map_err(Error::storage("write", path))?;
        self.written += 1;
        Ok(())
    }
}
