//! Comparing the index with the journal, for an audit.

use std::path::Path;
use std::thread::JoinHandle;

use crate::log::hash::Hash;
use crate::log::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::store::error::Error;
use crate::store::folder;
use crate::store::index::{INDEX_THREAD, Index};
use crate::store::journal::JournalReader;

/// The first entry the index is wrong about, and how.
type Checked = Result<Option<(u64, String)>, Error>;

/// A comparison of the index in a ledger's folder with its journal, under way in a thread of its own:
/// it mostly waits for the disk. Dropped, it is waited for, since it holds the folder's lock.
#[derive(Debug)]
pub struct IndexCheck(Option<JoinHandle<Checked>>);

impl IndexCheck {
    /// Begins to compare. An index that cannot be opened now, because the ledger is in use or there is
    /// none, or because it would be made anew, is not compared.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn begin(dir: &Path) -> Result<Self, Error> {
        let start = {
            let dir = dir.to_owned();
            std::thread::Builder::new().name(INDEX_THREAD.to_owned()).spawn(move || check(&dir))
        };
        let check = start.map_err(Error::storage("start to check", &folder::index(dir)))?;
        Ok(Self(Some(check)))
    }

    /// Waits for the end: the first entry the index is wrong about, and how.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn finish(mut self) -> Checked {
        match self.0.take().map(JoinHandle::join) {
            None => Ok(None),
            Some(Ok(checked)) => checked,
            // sled panics on some kinds of damage.
            Some(Err(_)) => Ok(Some((0, "the index cannot be read".to_owned()))),
        }
    }
}

impl Drop for IndexCheck {
    fn drop(&mut self) {
        if let Some(check) = self.0.take() {
            let _ = check.join();
        }
    }
}

fn check(dir: &Path) -> Checked {
    let index_dir = folder::index(dir);
    match folder::index_is_there(dir) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error @ Error::NotAFolder { .. }) => return Ok(Some((0, error.to_string()))),
        Err(error) => return Err(error),
    }
    // sled is for one process: a running ledger's index cannot be read from here, nor one that somebody else
    // compares. A ledger that is opened now waits for the end of this.
    let Ok(Some(_lock)) = folder::share(dir) else { return Ok(None) };
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
