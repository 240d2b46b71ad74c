//! A tree in memory and the definitions of RFC 6962 written down as they stand there.

use std::convert::Infallible;

use colearn_ledger::Hash;
use colearn_ledger::tree::Subtrees;

/// Leaf hashes in memory, with every complete subtree above them.
pub(crate) struct MemoryTree {
    levels: Vec<Vec<Hash>>,
}

impl MemoryTree {
    pub(crate) fn of(leaves: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut levels = vec![leaves.into_iter().map(|leaf| Hash::leaf(&leaf)).collect::<Vec<_>>()];
        while levels.last().unwrap().len() > 1 {
            let below = levels.last().unwrap();
            levels.push(below.chunks_exact(2).map(|pair| Hash::node(&pair[0], &pair[1])).collect());
        }
        Self { levels }
    }

    pub(crate) fn leaves(&self) -> &[Hash] {
        &self.levels[0]
    }
}

impl Subtrees for MemoryTree {
    type Error = Infallible;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        Ok(self.levels[usize::from(level)][index as usize])
    }
}

/// MTH of RFC 6962 section 2.1.
pub(crate) fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
            Hash::node(&mth(left), &mth(right))
        }
    }
}

/// PATH of RFC 6962 section 2.1.1.
pub(crate) fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut rest, sibling) =
        if m < k { (path(m, left), mth(right)) } else { (path(m - k, right), mth(left)) };
    rest.push(sibling);
    rest
}

/// SUBPROOF of RFC 6962 section 2.1.2.
pub(crate) fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut rest, sibling) = if m <= k {
        (subproof(m, left, whole), mth(right))
    } else {
        (subproof(m - k, right, false), mth(left))
    };
    rest.push(sibling);
    rest
}

fn largest_power_below(size: usize) -> usize {
    size.next_power_of_two() / 2
}
