//! A growing tree of which nothing is kept but what its next root needs.

use crate::log::hash::Hash;
use crate::log::tree::{self, Subtrees};

/// The roots of the complete subtrees that a tree of some size consists of, largest first: one for each
/// bit of its size. Enough to append leaves and to say the root, too little for any proof.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// That of the first `size` leaves.
    ///
    /// # Errors
    /// Those of the source.
    pub fn of<S: Subtrees>(source: &S, size: u64) -> Result<Self, S::Error> {
        let levels = (0..u64::BITS as u8).rev().filter(|level| size >> level & 1 == 1);
        let peaks = levels.map(|level| source.subtree(level, (size >> level) - 1));
        Ok(Self { size, peaks: peaks.collect::<Result<_, _>>()? })
    }

    /// One that was kept as its size and [peaks](Self::peaks); `None` if there are too many of these, or too few.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// The roots of the complete subtrees, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        // As many subtrees become complete as the size ends in ones.
        let complete = self.size.trailing_ones() as usize;
        let rest = self.peaks.len() - complete;
        let joined = self.peaks.drain(rest..).rev();
        let peak = joined.fold(leaf, |right, left| Hash::node(&left, &right));
        self.peaks.push(peak);
        self.size += 1;
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        let joined = self.peaks.iter().rev().copied();
        joined.reduce(|right, left| Hash::node(&left, &right)).unwrap_or_else(Hash::empty_root)
    }

    /// Whether a proof shows that this is the beginning of a tree of `size` leaves with this root.
    pub fn begins(&self, size: u64, root: Hash, proof: &[Hash]) -> bool {
        tree::verify_consistency(self.size, self.root(), size, root, proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::builder::TreeBuilder;

    #[test]
    fn it_has_the_roots_of_the_whole_tree() {
        let mut tree = TreeBuilder::new();
        let mut frontier = Frontier::default();
        for size in 0..600_u64 {
            assert_eq!(Frontier::of(&tree, size), Ok(frontier.clone()), "{size}");
            let peaks = frontier.peaks().to_vec();
            assert_eq!(Frontier::from_peaks(size, peaks.clone()), Some(frontier.clone()));
            assert_eq!(Frontier::from_peaks(size, [&peaks[..], &[Hash::ZERO]].concat()), None);
            assert_eq!(tree::root(&tree, size), Ok(frontier.root()), "{size}");
            let leaf = Hash::leaf(&size.to_be_bytes());
            tree.push(leaf);
            frontier.push(leaf);
        }
        let early = Frontier::of(&tree, 100).unwrap_or_default();
        let proof = tree::consistency(&tree, 100, 600).unwrap_or_default();
        assert!(early.begins(600, frontier.root(), &proof));
        assert!(!early.begins(600, early.root(), &proof));
        // Who has followed another beginning learns which one is proven.
        let root = frontier.root();
        assert_eq!(tree::proven_beginning(100, 600, root, &proof), Some(early.root()));
        assert_eq!(tree::proven_beginning(100, 600, early.root(), &proof), None);
        assert_eq!(tree::proven_beginning(100, 600, root, &proof[1..]), None);
    }
}
