//! Comparing the index with the journal, for an audit.

use std::path::Path;

use crate::log::hash::Hash;
use crate::log::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::store::error::Error;
use crate::store::folder;
use crate::store::index::Index;
use crate::store::journal::JournalReader;

/// Compares the index in a ledger's folder with its journal: the first entry it is wrong about, and
/// how. An index that cannot be opened now, because the ledger is in use or there is none, is not
/// compared.
///
/// # Errors
/// If the journal cannot be read.
pub fn check_index(dir: &Path) -> Result<Option<(u64, String)>, Error> {
    let index_dir = folder::index(dir);
    if !index_dir.is_dir() {
        return Ok(None);
    }
    // sled is for one process: a running ledger's index cannot be read from here.
    let Ok(_lock) = folder::lock(dir) else { return Ok(None) };
    let Ok(index) = Index::open_once(&index_dir) else { return Ok(None) };
    let Some(extent) = index.extent()? else { return Ok(None) };
    let mut journal = JournalReader::open(dir)?;
    let (mut leaves, mut positions) = (Vec::new(), Vec::new());
    while journal.index() < extent.head.size {
        let at = journal.index();
        let Some(entry) = journal.next_entry()? else {
            return Ok(Some((at, "the index goes beyond the journal".to_owned())));
        };
        leaves.push(Hash::leaf(&entry.bytes));
        positions.push(entry.at);
        if positions.len() as u64 == TILE_WIDTH {
            let first = at + 1 - TILE_WIDTH;
            let mut tile = Tile::new();
            let root = leaves.drain(..).fold(None, |_, leaf| tile.push(leaf));
            let stored = index.tile(first / TILE_WIDTH)?.map(|stored| stored.to_bytes());
            let node = index.nodes(TILE_HEIGHT, first / TILE_WIDTH)?.first().copied();
            if stored != Some(tile.to_bytes()) || node != root {
                return Ok(Some((first, "the index has other hashes".to_owned())));
            }
            let stored = index.positions(first / TILE_WIDTH)?.unwrap_or_default();
            let wrong = (0..positions.len()).find(|at| stored.get(*at) != positions.get(*at));
            if let Some(at) = wrong {
                let what = "the index has another position".to_owned();
                return Ok(Some((first + at as u64, what)));
            }
            positions.clear();
        }
    }
    Ok(None)
}
