//! A tree built from leaves alone, in little memory: for those who check a ledger.

use std::collections::BTreeMap;

use crate::log::edge::{Spine, locate};
use crate::log::frontier::Frontier;
use crate::log::hash::Hash;
use crate::log::tile::{TILE_WIDTH, Tile};
use crate::log::tree::Subtrees;

/// How many full tiles of leaves are kept, about 16 KB each.
const KEPT_TILES: usize = 256;

/// A growing tree that remembers every 256th level's hashes, and the leaves only of late.
///
/// Older leaves can be handed back with [`TreeBuilder::recall`] when a proof or root needs them.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    spine: Spine,
    kept: BTreeMap<u64, Tile>,
}

/// A tree as few hashes as it can be built from: 32 bytes for 256 leaves, and the last leaves.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TreeHashes {
    /// The roots of the full tiles of 256 leaves, in order.
    pub tiles: Vec<Hash>,
    /// The leaves behind them, fewer than 256.
    pub leaves: Vec<Hash>,
}

/// A tile of leaves that is no longer remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the leaves {} to {} are no longer remembered", .0 * 256, .0 * 256 + 255)]
pub struct Forgotten(pub u64);

impl TreeBuilder {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tree that [`TreeBuilder::hashes`] gave these of; it remembers no leaves of full tiles.
    pub fn from_hashes(hashes: &TreeHashes) -> Self {
        let mut tree = Self::default();
        for root in &hashes.tiles {
            tree.spine.push_tile(*root);
        }
        for leaf in &hashes.leaves {
            tree.push(*leaf);
        }
        tree
    }

    /// What the tree can be built from again.
    pub fn hashes(&self) -> TreeHashes {
        let tiles = self.spine.leaf_tile_roots().to_vec();
        TreeHashes { tiles, leaves: self.unfinished().to_vec() }
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.spine.size()
    }

    /// The leaves behind the last full tile, fewer than 256. None of them is ever forgotten.
    pub fn unfinished(&self) -> &[Hash] {
        let unfinished = self.spine.tile(0, self.spine.leaf_tile_roots().len() as u64);
        unfinished.map_or(&[], |tile| tile.hashes())
    }

    /// What the next roots need of it. Nothing of it is ever forgotten.
    pub fn frontier(&self) -> Frontier {
        // The complete subtrees at the right edge lie in the unfinished tiles.
        Frontier::of(self, self.size()).unwrap_or_default()
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        for full in self.spine.push(leaf) {
            if full.level == 0 {
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
        let right = root.is_some() && root == self.spine.leaf_tile_root(number);
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
        if let Some(hash) = self.spine.subtree(level, index) {
            return Ok(hash);
        }
        let (_, number, above, offset) = locate(level, index);
        let kept = self.kept.get(&number).and_then(|tile| tile.node(above, offset));
        kept.ok_or(Forgotten(number))
    }
}
