//! Reading a ledger while it grows: entries, tiles, roots and proofs of what is committed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::edge::{Edge, locate};
use crate::entry::Head;
use crate::error::Error;
use crate::hash::Hash;
use crate::index::{Batch, Extent, Index};
use crate::journal::{Position, Segments};
use crate::note::Checkpoint;
use crate::tile::{Resource, TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::tree::{self, Subtrees};

/// How many tiles with all their inner nodes are kept, about 16 KB each.
const CACHED_TILES: usize = 512;

/// A checkpoint with its signed form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedCheckpoint {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note, verbatim.
    pub note: String,
}

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
    /// How far the index goes after each block of 256 entries that is not in it yet.
    pub(crate) extents: VecDeque<Extent>,
    /// How many entries are in the index; a multiple of 256.
    pub(crate) indexed: u64,
}

impl State {
    /// Appends an entry: the head after it, where its frame begins and where that ends.
    pub(crate) fn push(&mut self, head: Head, at: Position, end: Position) {
        self.positions.push_back(at);
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
    positions: usize,
    full: Vec<u64>,
    nodes: Vec<(u8, u64)>,
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
        let covered = |at: &(u8, u64)| (at.1 + 1) << at.0 <= upto;
        let nodes: Vec<(u8, u64)> = self.nodes.keys().filter(|at| covered(at)).copied().collect();
        for (level, index) in &nodes {
            batch.node(*level, *index, self.nodes[&(*level, *index)]);
        }
        if let Some(extent) = self.extents.iter().rfind(|extent| extent.head.size <= upto) {
            batch.extent(extent);
        }
        Moved { positions, full, nodes }
    }

    /// Forgets what is in the index now.
    pub(crate) fn forget(&mut self, moved: &Moved) {
        self.positions.drain(..moved.positions);
        self.indexed += moved.positions as u64;
        self.extents.retain(|extent| extent.head.size > self.indexed);
        for number in &moved.full {
            self.full.remove(number);
        }
        for at in &moved.nodes {
            self.nodes.remove(at);
        }
    }
}

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

    pub(crate) fn position(&self, index: u64) -> Result<Position, Error> {
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
            // Memory before index: what is moved from one to the other is then seen at least once.
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

/// A handle for reading what is committed; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Reader(pub(crate) Arc<Shared>);

impl Reader {
    /// The last signed checkpoint; `None` only while the ledger is being opened.
    pub fn checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        self.0.state().committed.clone()
    }

    /// The number of committed entries.
    pub fn size(&self) -> u64 {
        self.0.state().committed.as_ref().map_or(0, |signed| signed.checkpoint.size)
    }

    /// The bytes of one entry.
    ///
    /// # Errors
    /// If it is not committed, or the journal or index is damaged.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, Error> {
        Ok(self.entries(index, index + 1, 0)?.swap_remove(0))
    }

    /// The entries `start..end`, at least one, and no more after their sizes exceed `max_bytes`.
    ///
    /// # Errors
    /// If the first is not committed, or the journal or index is damaged.
    pub fn entries(&self, start: u64, end: u64, max_bytes: usize) -> Result<Vec<Vec<u8>>, Error> {
        let size = self.size();
        if start >= size || start >= end {
            return Err(Error::NoSuchEntry { index: start, size });
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut next: Option<Position> = None;
        for index in start..end.min(size) {
            // Most follow one another; at a segment's end the position is looked up.
            let followed = next.and_then(|at| self.0.segments.read(at).ok());
            let (entry, after) = match followed {
                Some(read) => read,
                None => self.read_at(index)?,
            };
            bytes += entry.len();
            entries.push(entry);
            next = Some(after);
            if bytes > max_bytes {
                break;
            }
        }
        Ok(entries)
    }

    fn read_at(&self, index: u64) -> Result<(Vec<u8>, Position), Error> {
        let at = self.0.position(index)?;
        let lost = |error| Error::Index(format!("entry {index} is not at {at:?}: {error}"));
        self.0.segments.read(at).map_err(lost)
    }

    /// The leaf hash of an entry.
    ///
    /// # Errors
    /// If it is not committed, or the index is damaged.
    pub fn leaf(&self, index: u64) -> Result<Hash, Error> {
        self.check(index, self.size())?;
        self.0.subtree(0, index)
    }

    /// The root over the first `size` entries.
    ///
    /// # Errors
    /// If there are not that many, or the index is damaged.
    pub fn root(&self, size: u64) -> Result<Hash, Error> {
        if size > 0 {
            self.check(size - 1, self.size())?;
        }
        tree::root(&*self.0, size)
    }

    /// The proof that the tree of `size` entries holds entry `index`.
    ///
    /// # Errors
    /// If there is no such entry or size, or the index is damaged.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
        self.check(index, size)?;
        self.check(size - 1, self.size())?;
        tree::inclusion(&*self.0, index, size)
    }

    /// The proof that the tree of `old` entries is a prefix of the tree of `new`.
    ///
    /// # Errors
    /// If there are not that many entries, or the index is damaged.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        if old > new || new > self.size() {
            return Err(Error::NoSuchEntry { index: old.max(new), size: self.size() });
        }
        tree::consistency(&*self.0, old, new)
    }

    /// The content of a tile or entry bundle; `None` if the committed tree does not have it.
    ///
    /// # Errors
    /// If the journal or index is damaged.
    pub fn resource(&self, resource: Resource) -> Result<Option<Vec<u8>>, Error> {
        let size = self.size();
        // Whether `width` items of tile `number` exist among `count` of them.
        let exists = |number: u64, width: u16, count: u64| {
            number
                .checked_mul(TILE_WIDTH)
                .and_then(|n| n.checked_add(u64::from(width)))
                .is_some_and(|end| end <= count)
        };
        match resource {
            Resource::Hashes { level, number, width } => {
                if !exists(number, width, size >> (level * TILE_HEIGHT)) {
                    return Ok(None);
                }
                let mut bytes = Vec::with_capacity(usize::from(width) * 32);
                for offset in 0..u64::from(width) {
                    let hash = self.0.subtree(level * TILE_HEIGHT, number * TILE_WIDTH + offset)?;
                    bytes.extend_from_slice(&hash.0);
                }
                Ok(Some(bytes))
            }
            Resource::Entries { number, width } => {
                if !exists(number, width, size) {
                    return Ok(None);
                }
                let start = number * TILE_WIDTH;
                let entries = self.entries(start, start + u64::from(width), usize::MAX)?;
                let mut bytes = Vec::new();
                for entry in entries {
                    // MAX_ENTRY_BYTES is what 16 bits can say.
                    bytes.extend((entry.len() as u16).to_be_bytes());
                    bytes.extend(entry);
                }
                Ok(Some(bytes))
            }
        }
    }

    /// The first committed entry from `from` on that was indexed under `key`. What was committed
    /// since [`crate::Ledger::update_index`] last ran is not found.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn find(&self, key: &[u8], from: u64) -> Result<Option<u64>, Error> {
        let size = self.size();
        Ok(self.0.index.find(key, from)?.filter(|index| *index < size))
    }

    fn check(&self, index: u64, size: u64) -> Result<(), Error> {
        if index < size { Ok(()) } else { Err(Error::NoSuchEntry { index, size }) }
    }
}
