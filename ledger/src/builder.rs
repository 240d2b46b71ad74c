//! A tree built from leaves alone, in little memory: for those who check a ledger.

use std::collections::BTreeMap;

use crate::Hash;
use crate::edge::{Edge, locate};
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::tree::Subtrees;

/// How many full tiles of leaves are kept, about 16 KB each.
const KEPT_TILES: usize = 256;

/// A growing tree that remembers every 256th level's hashes, and the leaves only of late.
///
/// Older leaves can be handed back with [`TreeBuilder::recall`] when a proof or root needs them.
#[derive(Debug)]
pub struct TreeBuilder {
    edge: Edge,
    /// Hashes of the levels 8, 16, ...
    upper: Vec<Vec<Hash>>,
    kept: BTreeMap<u64, Tile>,
}

/// A tile of leaves that is no longer remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the leaves {} to {} are no longer remembered", .0 * 256, .0 * 256 + 255)]
pub struct Forgotten(pub u64);

impl Default for TreeBuilder {
    fn default() -> Self {
        Self { edge: Edge::of(0, Vec::new()), upper: Vec::new(), kept: BTreeMap::new() }
    }
}

impl TreeBuilder {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        for full in self.edge.push(leaf) {
            let level = usize::from(full.level);
            if self.upper.len() <= level {
                self.upper.push(Vec::new());
            }
            self.upper[level].push(full.root);
            if level == 0 {
                self.keep(full.number, full.tile);
            }
        }
    }

    /// Hands back the 256 leaves of a tile that was forgotten. Leaves that are not those it once
    /// had are refused with `false`.
    pub fn recall(&mut self, number: u64, leaves: impl IntoIterator<Item = Hash>) -> bool {
        let mut tile = Tile::new();
        let mut root = None;
        for leaf in leaves.into_iter().take(TILE_WIDTH as usize) {
            root = tile.push(leaf);
        }
        let known = self.upper.first().and_then(|roots| roots.get(number as usize)).copied();
        let right = root.is_some() && root == known;
        if right {
            self.keep(number, tile);
        }
        right
    }

    fn keep(&mut self, number: u64, tile: Tile) {
        if self.kept.len() >= KEPT_TILES {
            // The oldest is the least likely to be asked for, unless it was just recalled.
            self.kept.pop_first();
        }
        self.kept.insert(number, tile);
    }
}

impl Subtrees for TreeBuilder {
    type Error = Forgotten;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Forgotten> {
        let (tile_level, number, above, offset) = locate(level, index);
        if let Some(tile) = self.edge.tile(tile_level, number) {
            return tile.node(above, offset).ok_or(Forgotten(number));
        }
        if tile_level == 0 {
            return self
                .kept
                .get(&number)
                .and_then(|tile| tile.node(above, offset))
                .ok_or(Forgotten(number));
        }
        let row = &self.upper[usize::from(tile_level - 1)];
        let first = (index << above) as usize;
        let hashes = row[first..first + (1 << above)].iter().copied();
        // At most 128 hashes; only for sizes far behind the end.
        Ok(fold(hashes.collect()))
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
