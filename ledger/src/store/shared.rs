//! What the writer and the readers of a ledger share: the index, the journal's files, and in memory
//! the end of the ledger that is in the index not yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::log::edge::{Edge, locate};
use crate::log::entry::Head;
use crate::log::hash::Hash;
use crate::log::note::SignedCheckpoint;
use crate::log::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::log::tree::Subtrees;
use crate::store::error::Error;
use crate::store::index::{Batch, Extent, Index};
use crate::store::journal::{Position, Segments};
use crate::store::keys::{Fingerprint, Keys, Posting};

/// How many tiles with all their inner nodes are kept, about 16 KB each.
const CACHED_TILES: usize = 512;

/// What the writer and the readers share.
pub(crate) struct Shared {
    pub(crate) index: Index,
    pub(crate) segments: Segments,
    state: RwLock<State>,
    cache: Mutex<TileCache>,
}

/// The end of the ledger that is not in the index yet, and the tree's right edge.
pub(crate) struct State {
    /// The last checkpoint that may leave the process.
    pub(crate) committed: Option<Arc<SignedCheckpoint>>,
    /// The tree's right edge, committed or not.
    pub(crate) edge: Edge,
    /// Full tiles of leaves that are not in the index yet, by number.
    pub(crate) full: BTreeMap<u64, Arc<Tile>>,
    /// Roots of complete subtrees that are not in the index yet.
    pub(crate) nodes: BTreeMap<(u8, u64), Hash>,
    /// The positions of the entries from `indexed` on.
    pub(crate) positions: VecDeque<Position>,
    /// What the entries from `indexed` on are found by.
    pub(crate) keys: Keys,
    /// How far the index goes after each block of 256 entries that is not in it yet.
    pub(crate) extents: VecDeque<Extent>,
    /// How many entries are in the index; a multiple of 256.
    pub(crate) indexed: u64,
}

impl State {
    /// Of a ledger whose entries are all in the index; `edge` is its tree's.
    pub(crate) fn new(edge: Edge) -> Self {
        Self {
            committed: None,
            indexed: edge.size(),
            edge,
            full: BTreeMap::new(),
            nodes: BTreeMap::new(),
            positions: VecDeque::new(),
            keys: Keys::default(),
            extents: VecDeque::new(),
        }
    }

    /// Appends an entry: the head after it, what it is found by, where its frame begins and where
    /// that ends.
    pub(crate) fn push(&mut self, head: Head, keys: &[Vec<u8>], at: Position, end: Position) {
        self.positions.push_back(at);
        for key in keys {
            self.keys.insert(key, head.size - 1);
        }
        if head.size.is_multiple_of(TILE_WIDTH) {
            self.extents.push_back(Extent { head, end });
        }
        for full in self.edge.push(head.leaf) {
            // The root of a full tile is a hash of the level above.
            self.nodes.insert(((full.level + 1) * TILE_HEIGHT, full.number), full.root);
            if full.level == 0 {
                self.full.insert(full.number, Arc::new(full.tile));
            }
        }
    }
}

/// What a batch has moved from memory into the index, to be forgotten once it is applied.
pub(crate) struct Moved {
    /// How many entries were in the index before.
    from: u64,
    positions: usize,
    postings: Vec<Posting>,
    full: Vec<u64>,
    nodes: Vec<(u8, u64)>,
}

impl Moved {
    /// Applies a batch, with the postings, which may have to be merged with what the index holds.
    fn apply(&self, index: &Index, mut batch: Batch) -> Result<(), Error> {
        let upto = self.from + self.positions as u64;
        index.add_postings(&mut batch, &self.postings, self.from, upto)?;
        index.apply(batch)
    }
}

impl State {
    /// Adds to a batch what of the first `upto` entries is not in the index: whole blocks only.
    pub(crate) fn copy_to(&self, batch: &mut Batch, upto: u64) -> Moved {
        let blocks = upto / TILE_WIDTH;
        let positions = (blocks * TILE_WIDTH).saturating_sub(self.indexed) as usize;
        let moving: Vec<Position> = self.positions.range(..positions).copied().collect();
        for (block, positions) in moving.chunks(TILE_WIDTH as usize).enumerate() {
            batch.positions(self.indexed / TILE_WIDTH + block as u64, positions);
        }
        let full: Vec<u64> = self.full.range(..blocks).map(|(number, _)| *number).collect();
        for number in &full {
            batch.tile(*number, &self.full[number]);
        }
        // The subtree ends within the first `upto` entries: the index holds nothing that a crash
        // could still take back.
        let covered = |at: &(u8, u64)| (at.1 + 1) << at.0 <= upto;
        let nodes: Vec<(u8, u64)> = self.nodes.keys().filter(|at| covered(at)).copied().collect();
        for (level, index) in &nodes {
            batch.node(*level, *index, self.nodes[&(*level, *index)]);
        }
        if let Some(extent) = self.extents.iter().rfind(|extent| extent.head.size <= upto) {
            batch.extent(extent);
        }
        let postings = self.keys.before(blocks * TILE_WIDTH);
        Moved { from: self.indexed, positions, postings, full, nodes }
    }

    /// Moves what of the first `upto` entries is in memory into the index.
    pub(crate) fn move_to(&mut self, index: &Index, upto: u64) -> Result<(), Error> {
        let mut batch = Batch::default();
        let moved = self.copy_to(&mut batch, upto);
        moved.apply(index, batch)?;
        self.forget(&moved);
        Ok(())
    }

    /// Forgets what is in the index now.
    pub(crate) fn forget(&mut self, moved: &Moved) {
        self.positions.drain(..moved.positions);
        self.indexed += moved.positions as u64;
        self.keys.forget_before(self.indexed);
        self.extents.retain(|extent| extent.head.size > self.indexed);
        for number in &moved.full {
            self.full.remove(number);
        }
        for at in &moved.nodes {
            self.nodes.remove(at);
        }
    }
}

/// The full tiles read last. A full tile never changes, so none is ever out of date.
#[derive(Default)]
struct TileCache {
    tiles: HashMap<(u8, u64), Arc<Tile>>,
    order: VecDeque<(u8, u64)>,
}

impl TileCache {
    fn insert(&mut self, at: (u8, u64), tile: Arc<Tile>) {
        if self.tiles.insert(at, tile).is_none() {
            self.order.push_back(at);
        }
        if self.order.len() > CACHED_TILES
            && let Some(oldest) = self.order.pop_front()
        {
            self.tiles.remove(&oldest);
        }
    }
}

impl Shared {
    pub(crate) fn new(index: Index, segments: Segments, state: State) -> Self {
        Self { index, segments, state: RwLock::new(state), cache: Mutex::default() }
    }

    /// Takes apart what [`Shared::new`] put together.
    pub(crate) fn into_parts(self) -> (Index, State) {
        (self.index, self.state.into_inner().unwrap_or_else(|e| e.into_inner()))
    }

    // A poisoned lock means a panic in another thread between two whole states.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Moves what of the first `upto` entries is not in the index yet into it, if they are at least so
    /// many: whole blocks only.
    pub(crate) fn move_to_index(&self, upto: u64, least: u64) -> Result<(), Error> {
        let mut batch = Batch::default();
        let moved = {
            let state = self.state();
            if upto < state.indexed + least {
                return Ok(());
            }
            state.copy_to(&mut batch, upto)
        };
        moved.apply(&self.index, batch)?;
        // Only now may readers stop finding these in memory.
        self.state_mut().forget(&moved);
        Ok(())
    }

    /// The first entry from `from` on that has the key, committed or not.
    pub(crate) fn find(&self, key: &[u8], from: u64) -> Result<Option<u64>, Error> {
        let key = Fingerprint::of(key);
        // Memory before index, as below; what the index knows comes first in the ledger.
        let recent = self.state().keys.find(key, from);
        Ok(self.index.find(key, from)?.or(recent))
    }

    pub(crate) fn position(&self, index: u64) -> Result<Position, Error> {
        // Memory before index, here and below: what is moved goes into the index before it is
        // forgotten here, so that looking in this order always meets it.
        let size = {
            let state = self.state();
            if let Some(recent) = index.checked_sub(state.indexed)
                && let Some(at) = state.positions.get(recent as usize)
            {
                return Ok(*at);
            }
            state.edge.size()
        };
        if index >= size {
            return Err(Error::NoSuchEntry { index, size });
        }
        let lost = || Error::Index(format!("the position of entry {index} is missing"));
        self.index.position(index)?.ok_or_else(lost)
    }

    fn full_tile(&self, level: u8, number: u64) -> Result<Arc<Tile>, Error> {
        if level == 0
            && let Some(tile) = self.state().full.get(&number)
        {
            return Ok(tile.clone());
        }
        let at = (level, number);
        if let Some(tile) = self.cache.lock().unwrap_or_else(|e| e.into_inner()).tiles.get(&at) {
            return Ok(tile.clone());
        }
        let tile = if level == 0 {
            self.index.tile(number)?
        } else {
            let (first, level) = (number * TILE_WIDTH, level * TILE_HEIGHT);
            let range = (level, first)..(level, first + TILE_WIDTH);
            let recent: BTreeMap<_, _> =
                self.state().nodes.range(range).map(|((_, index), hash)| (*index, *hash)).collect();
            let mut hashes = self.index.nodes(level, first)?;
            while let Some(hash) = recent.get(&(first + hashes.len() as u64)) {
                hashes.push(*hash);
            }
            (hashes.len() as u64 == TILE_WIDTH).then(|| Tile::of(hashes))
        };
        let lost = || Error::Index(format!("tile {number} of level {level} is missing"));
        let tile = Arc::new(tile.ok_or_else(lost)?);
        self.cache.lock().unwrap_or_else(|e| e.into_inner()).insert(at, tile.clone());
        Ok(tile)
    }
}

impl Subtrees for Shared {
    type Error = Error;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Error> {
        let (tile_level, number, above, offset) = locate(level, index);
        let lost = || Error::Index(format!("subtree {index} of level {level} is missing"));
        if let Some(tile) = self.state().edge.tile(tile_level, number) {
            return tile.node(above, offset).ok_or_else(lost);
        }
        self.full_tile(tile_level, number)?.node(above, offset).ok_or_else(lost)
    }
}
