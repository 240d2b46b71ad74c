//! The Merkle tree of RFC 6962: roots and proofs from the hashes of complete subtrees, and the
//! checks that need nothing but a proof.

use crate::log::hash::Hash;

/// Where the hashes of complete subtrees come from.
pub trait Subtrees {
    /// What may go wrong while looking one up.
    type Error;

    /// The root of the complete subtree over the leaves `index << level .. (index + 1) << level`.
    ///
    /// # Errors
    /// Whatever the source reports, for example a damaged or missing tile.
    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// The root over the first `size` leaves: MTH of RFC 6962 section 2.1.
///
/// # Errors
/// Those of the source.
pub fn root<S: Subtrees>(source: &S, size: u64) -> Result<Hash, S::Error> {
    if size == 0 { Ok(Hash::empty_root()) } else { range(source, 0, size) }
}

/// The audit path of leaf `index` in the tree of `size` leaves: PATH of RFC 6962 section 2.1.1.
///
/// # Errors
/// Those of the source.
pub fn inclusion<S: Subtrees>(source: &S, index: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    assert!(index < size, "leaf {index} is not in a tree of {size}");
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range(source, middle, end)?);
            end = middle;
        } else {
            path.push(range(source, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new`: PROOF of RFC 6962
/// section 2.1.2. Empty when `old` is 0 or `new`.
///
/// # Errors
/// Those of the source.
pub fn consistency<S: Subtrees>(source: &S, old: u64, new: u64) -> Result<Vec<Hash>, S::Error> {
    assert!(old <= new, "a tree of {new} has no prefix of {old}");
    let mut path = Vec::new();
    if old == 0 || old == new {
        return Ok(path);
    }
    let (mut start, mut end) = (0, new);
    // The old tree is `0..old`; follow its right edge until a complete subtree of it is left.
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(range(source, middle, end)?);
            end = middle;
        } else {
            path.push(range(source, start, middle)?);
            start = middle;
        }
    }
    if start != 0 {
        path.push(range(source, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `path` proves that `leaf` is leaf `index` of the tree with `size` leaves and this root
/// (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash], root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut position, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            hash = Hash::node(sibling, &hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = Hash::node(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

/// Whether `path` proves that the tree of `old` leaves with `old_root` is a prefix of the tree of
/// `new` leaves with `new_root` (RFC 9162 section 2.1.4.2).
pub fn verify_consistency(
    old: u64,
    old_root: Hash,
    new: u64,
    new_root: Hash,
    path: &[Hash],
) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return path.is_empty() && old_root == Hash::empty_root();
    }
    // A complete old tree is its own first subtree, and the proof leaves it out.
    let climbed = match (old.is_power_of_two(), path) {
        (true, rest) => climb(old, new, old_root, rest),
        (false, [first, rest @ ..]) => climb(old, new, *first, rest),
        (false, []) => None,
    };
    climbed == Some((old_root, new_root))
}

/// The root of the first `old` leaves of the tree of `new` leaves with this root, as far as `path` proves
/// it: there is no other. `None` if it proves nothing, or if `old` is a power of two, whose root a proof
/// leaves out.
pub fn proven_beginning(old: u64, new: u64, new_root: Hash, path: &[Hash]) -> Option<Hash> {
    let (first, rest) = path.split_first()?;
    if old == 0 || old >= new || old.is_power_of_two() {
        return None;
    }
    let (old_root, led_to) = climb(old, new, *first, rest)?;
    (led_to == new_root).then_some(old_root)
}

/// The two roots that a proof leads to from the first subtree that the trees have in common.
fn climb(old: u64, new: u64, first: Hash, path: &[Hash]) -> Option<(Hash, Hash)> {
    let (mut position, mut last) = (old - 1, new - 1);
    while position & 1 == 1 {
        position >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if position & 1 == 1 || position == last {
            old_hash = Hash::node(sibling, &old_hash);
            new_hash = Hash::node(sibling, &new_hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = Hash::node(&new_hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    (last == 0).then_some((old_hash, new_hash))
}

/// The largest power of two smaller than `size`, which is at least 2.
fn split(size: u64) -> u64 {
    debug_assert!(size >= 2);
    1 << (63 - (size - 1).leading_zeros())
}

/// The root over the leaves `start..end`, a range the recursion of MTH can reach.
fn range<S: Subtrees>(source: &S, start: u64, end: u64) -> Result<Hash, S::Error> {
    let size = end - start;
    if size.is_power_of_two() {
        let level = size.trailing_zeros();
        return source.subtree(level as u8, start >> level);
    }
    let middle = start + split(size);
    let left = range(source, start, middle)?;
    let right = range(source, middle, end)?;
    Ok(Hash::node(&left, &right))
}
