//! What entries are looked up by: fingerprints of keys with the entries' indices, in memory for the
//! ledger's end, and for what lies before it in sorted runs, which [`crate::store::index`] holds.
//!
//! A key of its own for each would be the simplest index, and costs more than all else that an entry
//! costs: a tree like sled's copies a node for every key it takes. A run is sorted once and written
//! in pieces of some kilobytes. Which runs there are follows from how far the index goes, like the
//! digits of a number: each is of 256, 4,096 or 65,536 entries, the longest first, and sixteen of one
//! length give way to one of the next. So a key that is in none of a million entries is looked for in
//! some thirty runs, and each key is written three times.

use std::collections::BTreeSet;
use std::ops::Range;

use sha2::{Digest, Sha256};

/// The lengths of runs, in entries.
const LENGTHS: [u64; 3] = [1 << 16, 1 << 12, 1 << 8];

/// What stands for a key: the first half of its SHA-256. Two keys with one fingerprint take their maker
/// 2^64 tries, and make a lookup give an entry of the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    pub(crate) fn of(key: &[u8]) -> Self {
        let digest = Sha256::digest(key);
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(half)
    }
}

/// A key and an entry that has it. Ordered by key, then by entry, as numbers and as bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Posting {
    pub(crate) key: Fingerprint,
    pub(crate) entry: u64,
}

impl Posting {
    pub(crate) const BYTES: usize = 24;
    pub(crate) const FIRST: Self = Self { key: Fingerprint([0; 16]), entry: 0 };
    pub(crate) const LAST: Self = Self { key: Fingerprint([0xff; 16]), entry: u64::MAX };

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.key.0);
        bytes[16..].copy_from_slice(&self.entry.to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let (mut key, mut entry) = ([0; 16], [0; 8]);
        key.copy_from_slice(&bytes[..16]);
        entry.copy_from_slice(&bytes[16..]);
        Self { key: Fingerprint(key), entry: u64::from_be_bytes(entry) }
    }
}

/// The runs of an index of so many entries, a multiple of 256: the entries of each, in their order.
pub(crate) fn runs(size: u64) -> impl Iterator<Item = Range<u64>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let length = LENGTHS.into_iter().find(|length| size - start >= *length)?;
        let run = start..start + length;
        start = run.end;
        Some(run)
    })
}

/// The runs that are to be written when an index grows from one number of entries to another.
pub(crate) fn new_runs(from: u64, to: u64) -> impl Iterator<Item = Range<u64>> {
    runs(to).filter(move |run| run.end > from)
}

/// The runs that are to be removed then, since longer ones hold what they hold.
pub(crate) fn old_runs(from: u64, to: u64) -> impl Iterator<Item = Range<u64>> {
    let kept = new_runs(from, to).next().map_or(from, |run| run.start);
    runs(from).filter(move |run| run.start >= kept)
}

/// The postings of the entries that are in no run yet.
#[derive(Default)]
pub(crate) struct Keys(BTreeSet<Posting>);

impl Keys {
    pub(crate) fn insert(&mut self, key: &[u8], entry: u64) {
        self.0.insert(Posting { key: Fingerprint::of(key), entry });
    }

    /// The first entry from `from` on that has the key.
    pub(crate) fn find(&self, key: Fingerprint, from: u64) -> Option<u64> {
        let range = Posting { key, entry: from }..=Posting { key, entry: u64::MAX };
        self.0.range(range).next().map(|posting| posting.entry)
    }

    /// Those of the entries before one.
    pub(crate) fn before(&self, entry: u64) -> Vec<Posting> {
        self.0.iter().filter(|posting| posting.entry < entry).copied().collect()
    }

    /// Forgets those of all entries before one.
    pub(crate) fn forget_before(&mut self, entry: u64) {
        self.0.retain(|posting| posting.entry >= entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_all_entries_once_and_sixteen_give_way_to_one() {
        let lengths = |size| runs(size).map(|run| run.end - run.start).collect::<Vec<_>>();
        assert_eq!(lengths(0), []);
        assert_eq!(lengths(15 * 256), [256; 15]);
        assert_eq!(lengths(16 * 256), [4_096]);
        assert_eq!(lengths(65_536 * 17 + 4_096 + 256), [&[65_536; 17][..], &[4_096, 256]].concat());
        for size in (0..300_000).step_by(256) {
            let end = runs(size).fold(0, |end, run| {
                assert_eq!(run.start, end);
                run.end
            });
            assert_eq!(end, size);
        }
    }

    #[test]
    fn growing_replaces_exactly_the_runs_that_are_no_more() {
        for (from, to) in (0..90).flat_map(|from| (from..90).map(move |to| (from, to))) {
            // Steps that meet all three lengths.
            let (from, to) = (from * 1_280 / 256 * 256, to * 1_280 / 256 * 256);
            let (before, after): (Vec<_>, Vec<_>) = (runs(from).collect(), runs(to).collect());
            let gone: Vec<_> = before.iter().filter(|run| !after.contains(run)).cloned().collect();
            let came: Vec<_> = after.iter().filter(|run| !before.contains(run)).cloned().collect();
            assert_eq!(old_runs(from, to).collect::<Vec<_>>(), gone, "{from} {to}");
            assert_eq!(new_runs(from, to).collect::<Vec<_>>(), came, "{from} {to}");
        }
    }

    #[test]
    fn postings_are_ordered_as_their_bytes_are() {
        let keys = ["a", "b", "c"].map(|key| Fingerprint::of(key.as_bytes()));
        let mut postings: Vec<_> = keys
            .into_iter()
            .flat_map(|key| [0, 255, 256, 1 << 40].map(|entry| Posting { key, entry }))
            .collect();
        postings.sort();
        assert!(postings.is_sorted_by_key(|posting| posting.to_bytes()));
        assert!(postings.iter().all(|it| Posting::from_bytes(it.to_bytes()) == *it));
    }
}
