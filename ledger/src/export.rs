//! Writing a ledger as static files, under the paths of the read API (C2SP tlog-tiles).

use std::path::{Path, PathBuf};

use crate::edge::Spine;
use crate::error::Error;
use crate::hash::Hash;
use crate::note::SignedNote;
use crate::tile::{Resource, TILE_WIDTH, Tile};
use crate::{Checkpoint, tree};

/// Makes the tiles and entry bundles of a ledger from its entries, one after another.
#[derive(Debug, Default)]
pub struct Tiler {
    spine: Spine,
    bundle: Vec<u8>,
}

impl Tiler {
    /// The number of entries so far.
    pub fn size(&self) -> u64 {
        self.spine.size()
    }

    /// Adds the next entry; `emit` gets what it completes.
    ///
    /// # Errors
    /// Those of `emit`, and if the entry is too large.
    pub fn push<E: From<Error>>(
        &mut self,
        entry: &[u8],
        mut emit: impl FnMut(Resource, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let length =
            u16::try_from(entry.len()).map_err(|_| Error::TooLarge { size: entry.len() })?;
        self.bundle.extend(length.to_be_bytes());
        self.bundle.extend_from_slice(entry);
        for full in self.spine.push(Hash::leaf(entry)) {
            let resource = hashes(full.level, full.number, &full.tile);
            emit(resource, &full.tile.to_bytes())?;
        }
        if self.size().is_multiple_of(TILE_WIDTH) {
            let number = self.size() / TILE_WIDTH - 1;
            emit(Resource::Entries { number, width: TILE_WIDTH as u16 }, &self.bundle)?;
            self.bundle.clear();
        }
        Ok(())
    }

    /// Emits the unfinished tiles and bundle.
    ///
    /// # Errors
    /// Those of `emit`.
    pub fn finish<E>(
        &self,
        mut emit: impl FnMut(Resource, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = self.size();
        let number = |level: u8| size.checked_shr(u32::from(level) * 8).unwrap_or(0) / TILE_WIDTH;
        for level in 0.. {
            let Some(tile) = self.spine.tile(level, number(level)) else { break };
            if tile.width() > 0 {
                emit(hashes(level, number(level), tile), &tile.to_bytes())?;
            }
        }
        let width = (size % TILE_WIDTH) as u16;
        if width > 0 {
            emit(Resource::Entries { number: size / TILE_WIDTH, width }, &self.bundle)?;
        }
        Ok(())
    }

    /// The root over all entries so far.
    pub fn root(&self) -> Option<Hash> {
        tree::root(self, self.size()).ok()
    }
}

fn hashes(level: u8, number: u64, tile: &Tile) -> Resource {
    Resource::Hashes { level, number, width: tile.width() as u16 }
}

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

    /// Replaces a file as a whole, unless it is right already.
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

/// The root of a tree needs its edge and the roots of its full tiles, nothing below.
impl tree::Subtrees for Tiler {
    type Error = ();

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, ()> {
        self.spine.subtree(level, index).ok_or(())
    }
}
