//! A ledger as static files: what they hold and what they are called (C2SP tlog-tiles).

use crate::log::edge::Spine;
use crate::log::entry::TooLarge;
use crate::log::hash::Hash;
use crate::log::tile::{Resource, TILE_WIDTH, Tile};
use crate::log::tree;

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
    pub fn push<E: From<TooLarge>>(
        &mut self,
        entry: &[u8],
        mut emit: impl FnMut(Resource, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let length = u16::try_from(entry.len()).map_err(|_| TooLarge { size: entry.len() })?;
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

/// The root of a tree needs its edge and the roots of its full tiles, nothing below.
impl tree::Subtrees for Tiler {
    type Error = ();

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, ()> {
        self.spine.subtree(level, index).ok_or(())
    }
}
