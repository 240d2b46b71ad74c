//! The right edge of a growing tree: the unfinished tile of each level.

use crate::log::hash::Hash;
use crate::log::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};

/// A tree's size and the tiles that are not full yet.
#[derive(Debug)]
pub(crate) struct Edge {
    tiles: Vec<Tile>,
    size: u64,
}

/// A tile that became full.
#[derive(Debug)]
pub(crate) struct Full {
    /// 0 for a tile of leaves.
    pub(crate) level: u8,
    pub(crate) number: u64,
    pub(crate) tile: Tile,
    /// The tile's root, which is hash `number` of the level above.
    pub(crate) root: Hash,
}

impl Edge {
    /// The edge of a tree of `size` leaves, a multiple of 256: the unfinished tiles from level 1 up.
    pub(crate) fn of(size: u64, upper: Vec<Tile>) -> Self {
        debug_assert!(size.is_multiple_of(TILE_WIDTH));
        let mut tiles = vec![Tile::new()];
        tiles.extend(upper);
        Self { tiles, size }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; the tiles that it fills, from the leaves up.
    pub(crate) fn push(&mut self, leaf: Hash) -> Vec<Full> {
        self.push_at(0, leaf)
    }

    /// Appends all the leaves under a hash of this tile level at once; the tiles that it fills. The
    /// tiles below must be empty.
    fn push_at(&mut self, level: u8, hash: Hash) -> Vec<Full> {
        let mut filled = Vec::new();
        let mut hash = hash;
        self.size += 1 << (TILE_HEIGHT * level);
        for level in usize::from(level).. {
            while self.tiles.len() <= level {
                self.tiles.push(Tile::new());
            }
            let Some(root) = self.tiles[level].push(hash) else { break };
            let tile = std::mem::replace(&mut self.tiles[level], Tile::new());
            let level = level as u8;
            let number = (self.size >> (TILE_HEIGHT * (level + 1))) - 1;
            filled.push(Full { level, number, tile, root });
            hash = root;
        }
        filled
    }

    /// The unfinished tile, if that is where tile `number` of the level is.
    pub(crate) fn tile(&self, level: u8, number: u64) -> Option<&Tile> {
        let hashes = self.size.checked_shr(u32::from(TILE_HEIGHT * level)).unwrap_or(0);
        if hashes / TILE_WIDTH == number { self.tiles.get(usize::from(level)) } else { None }
    }
}

/// A tree's edge with the roots of all its full tiles: everything above the leaves' own tiles.
#[derive(Debug)]
pub(crate) struct Spine {
    edge: Edge,
    /// Hashes of the levels 8, 16, ...
    upper: Vec<Vec<Hash>>,
}

impl Default for Spine {
    fn default() -> Self {
        Self { edge: Edge::of(0, Vec::new()), upper: Vec::new() }
    }
}

impl Spine {
    pub(crate) fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Appends a leaf; the tiles that it fills, from the leaves up.
    pub(crate) fn push(&mut self, leaf: Hash) -> Vec<Full> {
        let filled = self.edge.push(leaf);
        for full in &filled {
            self.raise(full.level, full.root);
        }
        filled
    }

    /// Appends a full tile of leaves by its root alone; no leaf may stand beside the full tiles yet.
    pub(crate) fn push_tile(&mut self, root: Hash) {
        self.raise(0, root);
        for full in self.edge.push_at(1, root) {
            self.raise(full.level, full.root);
        }
    }

    /// Keeps the root of a full tile of this level.
    fn raise(&mut self, level: u8, root: Hash) {
        let level = usize::from(level);
        if self.upper.len() <= level {
            self.upper.push(Vec::new());
        }
        self.upper[level].push(root);
    }

    /// The roots of the full tiles of leaves, in order.
    pub(crate) fn leaf_tile_roots(&self) -> &[Hash] {
        self.upper.first().map_or(&[], Vec::as_slice)
    }

    /// The unfinished tile, if that is where tile `number` of the level is.
    pub(crate) fn tile(&self, level: u8, number: u64) -> Option<&Tile> {
        self.edge.tile(level, number)
    }

    /// The root of full tile `number` of leaves.
    pub(crate) fn leaf_tile_root(&self, number: u64) -> Option<Hash> {
        self.upper.first()?.get(number as usize).copied()
    }

    /// The root of a complete subtree; `None` within a full tile of leaves, which is not kept.
    pub(crate) fn subtree(&self, level: u8, index: u64) -> Option<Hash> {
        let (tile_level, number, above, offset) = locate(level, index);
        if let Some(tile) = self.edge.tile(tile_level, number) {
            return tile.node(above, offset);
        }
        let row = self.upper.get(usize::from(tile_level.checked_sub(1)?))?;
        let first = (index << above) as usize;
        // At most 128 hashes; more than one only for sizes far behind the end.
        Some(fold(row.get(first..first + (1 << above))?.to_vec()))
    }
}

/// The root over a power of two of hashes.
fn fold(mut hashes: Vec<Hash>) -> Hash {
    debug_assert!(hashes.len().is_power_of_two() && hashes.len() <= 1 << TILE_HEIGHT);
    while hashes.len() > 1 {
        hashes = hashes.chunks_exact(2).map(|pair| Hash::node(&pair[0], &pair[1])).collect();
    }
    hashes[0]
}

/// Where a complete subtree's root stands: tile level, tile number, levels above the tile's own
/// hashes, and place.
pub(crate) fn locate(level: u8, index: u64) -> (u8, u64, u8, u64) {
    let (tile_level, above) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
    let per_tile = TILE_HEIGHT - above;
    (tile_level, index >> per_tile, above, index & ((1 << per_tile) - 1))
}
