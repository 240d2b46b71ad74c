//! Roots and proofs against the recursive definitions, and proofs that must not verify.

use colearn_ledger::{Forgotten, Hash, TreeBuilder, tree};
use proptest::prelude::*;

use crate::memory::{MemoryTree, mth, path, subproof};

fn memory(size: u64) -> MemoryTree {
    MemoryTree::of((0..size).map(|i| i.to_be_bytes().to_vec()))
}

#[test]
fn every_root_and_proof_up_to_260_is_as_defined() {
    let source = memory(260);
    for size in 0..=260_usize {
        let leaves = &source.leaves()[..size];
        let root = mth(leaves);
        assert_eq!(tree::root(&source, size as u64), Ok(root));
        for index in 0..size {
            let proof = tree::inclusion(&source, index as u64, size as u64).unwrap();
            assert_eq!(proof, path(index, leaves), "inclusion of {index} in {size}");
            let leaf = leaves[index];
            assert!(tree::verify_inclusion(leaf, index as u64, size as u64, &proof, root));
        }
        for old in 1..=size {
            let proof = tree::consistency(&source, old as u64, size as u64).unwrap();
            assert_eq!(proof, subproof(old, leaves, true), "consistency of {old} with {size}");
            let old_root = mth(&leaves[..old]);
            assert!(tree::verify_consistency(old as u64, old_root, size as u64, root, &proof));
        }
    }
}

#[test]
fn a_tree_goes_on_from_a_few_hashes() {
    let source = memory(66_000);
    let mut whole = TreeBuilder::new();
    let mut stops = [0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_900].iter();
    let mut resumed: Vec<TreeBuilder> = Vec::new();
    let mut next = stops.next();
    for leaf in source.leaves() {
        if next == Some(&whole.size()) {
            let again = TreeBuilder::from_hashes(&whole.hashes());
            assert_eq!((again.size(), again.hashes()), (whole.size(), whole.hashes()));
            resumed.push(again);
            next = stops.next();
        }
        whole.push(*leaf);
        resumed.iter_mut().for_each(|tree| tree.push(*leaf));
    }
    assert_eq!(next, None);
    for tree in resumed {
        assert_eq!(tree::root(&tree, 66_000), tree::root(&whole, 66_000));
        assert_eq!(tree.hashes(), whole.hashes());
    }
}

#[test]
fn a_built_tree_has_the_same_roots_and_asks_for_what_it_forgot() {
    let size = 70_000;
    let source = memory(size);
    let mut builder = TreeBuilder::new();
    for leaf in source.leaves() {
        builder.push(*leaf);
        let now = builder.size();
        if now.is_multiple_of(997) || (65_530..65_540).contains(&now) {
            assert_eq!(tree::root(&builder, now), Ok(tree::root(&source, now).unwrap()));
        }
    }
    for old in [1, 255, 256, 257, 4_000, 65_535, 65_536, 65_537, 69_999, size] {
        let root = loop {
            match tree::root(&builder, old) {
                Ok(root) => break root,
                Err(Forgotten(tile)) => {
                    let first = tile as usize * 256;
                    let leaves = source.leaves()[first..first + 256].iter().copied();
                    assert!(!builder.recall(tile, leaves.clone().rev()));
                    assert!(builder.recall(tile, leaves));
                }
            }
        };
        assert_eq!(root, tree::root(&source, old).unwrap(), "at {old}");
    }
}

proptest! {
    /// A proof verifies for exactly one leaf, index, size and root.
    #[test]
    fn a_changed_inclusion_proof_does_not_verify(
        size in 1..3000_u64, index in any::<u64>(), change in 0..6, bit in 0..256_usize,
        which in any::<prop::sample::Index>(),
    ) {
        let source = memory(size);
        let index = index % size;
        let root = tree::root(&source, size).unwrap();
        let leaf = source.leaves()[index as usize];
        let good = tree::inclusion(&source, index, size).unwrap();
        let flip = |hash: Hash| { let mut h = hash; h.0[bit / 8] ^= 1 << (bit % 8); h };
        let (mut i, mut n, mut l, mut r, mut p) = (index, size, leaf, root, good.clone());
        match change {
            0 => l = flip(l),
            1 => r = flip(r),
            2 => p.push(root),
            3 => { if p.pop().is_none() { return Ok(()); } }
            4 => { if p.is_empty() { return Ok(()); } let at = which.index(p.len()); p[at] = flip(p[at]); }
            _ => { i = (index + 1) % (size + 1); n = size; }
        }
        prop_assert!(tree::verify_inclusion(leaf, index, size, &good, root));
        prop_assert!(!tree::verify_inclusion(l, i, n, &p, r));
    }

    #[test]
    fn a_changed_consistency_proof_does_not_verify(
        new in 2..3000_u64, old in any::<u64>(), change in 0..5, bit in 0..256_usize,
        which in any::<prop::sample::Index>(),
    ) {
        let source = memory(new);
        let old = 1 + old % (new - 1);
        let (old_root, new_root) =
            (tree::root(&source, old).unwrap(), tree::root(&source, new).unwrap());
        let good = tree::consistency(&source, old, new).unwrap();
        prop_assert!(tree::verify_consistency(old, old_root, new, new_root, &good));
        let flip = |hash: Hash| { let mut h = hash; h.0[bit / 8] ^= 1 << (bit % 8); h };
        let (mut o, mut n, mut p) = (old_root, new_root, good);
        match change {
            0 => o = flip(o),
            1 => n = flip(n),
            2 => p.push(new_root),
            3 => { p.pop(); }
            _ => { let at = which.index(p.len()); p[at] = flip(p[at]); }
        }
        prop_assert!(!tree::verify_consistency(old, o, new, n, &p));
    }
}
