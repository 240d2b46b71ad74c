//! A sorted map whose copies share what they have in common.

use std::sync::Arc;

/// The most entries of a chunk; one that grows beyond is split in halves. A change copies one chunk,
/// a copy of the map one pointer a chunk: 64 keeps both small up to 100,000 entries.
const CHUNK: usize = 64;

/// A sorted map that is cheap to copy and, where a copy of before is still in use, cheap to change:
/// only what is changed is copied. Entries are never removed.
#[derive(Clone, Debug)]
pub(crate) struct SharedMap<K, V> {
    /// Ascending; none is empty.
    chunks: Vec<Arc<Vec<(K, V)>>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let chunk = self.chunks.get(self.chunk_of(key)?)?;
        let at = chunk.binary_search_by(|(there, _)| there.cmp(key)).ok()?;
        Some(&chunk[at].1)
    }

    /// Puts a value in, in place of the one of this key. Gives the one that was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(at) = self.chunk_of(&key) else {
            // Before everything, or the first: it begins the first chunk.
            match self.chunks.first_mut() {
                Some(first) => Arc::make_mut(first).insert(0, (key, value)),
                None => self.chunks.push(Arc::new(vec![(key, value)])),
            }
            self.len += 1;
            self.split(0);
            return None;
        };
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        match chunk.binary_search_by(|(there, _)| there.cmp(&key)) {
            Ok(place) => Some(std::mem::replace(&mut chunk[place].1, value)),
            Err(place) => {
                chunk.insert(place, (key, value));
                self.len += 1;
                self.split(at);
                None
            }
        }
    }

    /// Makes the map hold all of `entries`, which ascend, copying only the chunks that change.
    pub(crate) fn update(&mut self, entries: impl Iterator<Item = (K, V)>)
    where
        V: PartialEq,
    {
        let mut before = self.iter().peekable();
        let mut changed = Vec::new();
        for (key, value) in entries {
            while before.next_if(|(there, _)| **there < key).is_some() {}
            let same = before.peek().is_some_and(|(there, old)| **there == key && **old == value);
            if !same {
                changed.push((key, value));
            }
        }
        drop(before);
        for (key, value) in changed {
            self.insert(key, value);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.after(|_| false)
    }

    /// The entries behind those that `is_passed` holds for; it must hold for the first ones only.
    pub(crate) fn after(&self, is_passed: impl Fn(&K) -> bool) -> impl Iterator<Item = (&K, &V)> {
        // The last chunk that begins with a passed entry may go on with others.
        let chunk = self.chunks.partition_point(|chunk| is_passed(&chunk[0].0)).saturating_sub(1);
        let passed = self
            .chunks
            .get(chunk)
            .map_or(0, |chunk| chunk.partition_point(|(key, _)| is_passed(key)));
        let chunks = self.chunks.get(chunk..).unwrap_or_default();
        chunks.iter().flat_map(|chunk| chunk.iter()).skip(passed).map(|(key, value)| (key, value))
    }

    /// The chunk that holds a key if any does; `None` if it comes before all.
    fn chunk_of(&self, key: &K) -> Option<usize> {
        self.chunks.partition_point(|chunk| chunk[0].0 <= *key).checked_sub(1)
    }

    fn split(&mut self, at: usize) {
        if self.chunks[at].len() > CHUNK {
            let behind = Arc::make_mut(&mut self.chunks[at]).split_off(CHUNK / 2);
            self.chunks.insert(at + 1, Arc::new(behind));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Numbers in no order, each once.
    fn shuffled(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(move |number| number * 7919 % count)
    }

    #[test]
    fn it_holds_what_a_sorted_map_holds() {
        let (mut map, mut expected) = (SharedMap::default(), BTreeMap::new());
        for number in shuffled(5_000) {
            assert_eq!(map.insert(number, number + 1), None);
            expected.insert(number, number + 1);
        }
        assert_eq!(map.insert(17, 0), expected.insert(17, 0));
        assert_eq!(map.len(), 5_000);
        assert!(map.iter().eq(expected.iter()));
        for first in [0, 1, 63, 64, 2_500, 4_999, 5_000, 9_000] {
            assert!(map.after(|key| *key < first).eq(expected.range(first..)), "from {first}");
            assert_eq!(map.get(&first), expected.get(&first));
        }
        assert_eq!(SharedMap::<u64, u64>::default().iter().next(), None);
    }

    #[test]
    fn a_copy_stays_as_it_was_and_shares_what_was_not_changed() {
        let mut map = SharedMap::default();
        map.update((0..5_000).map(|number| (number, 0)));
        let before = map.clone();
        map.insert(123, 1);
        map.update((0..5_001).map(|number| (number, u64::from(number == 4_000))));
        assert!(before.iter().all(|(_, value)| *value == 0) && before.len() == 5_000);
        let changed: Vec<_> = map.iter().filter(|(_, value)| **value != 0).collect();
        assert_eq!((changed, map.len()), (vec![(&4_000, &1)], 5_001));
        let shared = map
            .chunks
            .iter()
            .filter(|chunk| before.chunks.iter().any(|other| Arc::ptr_eq(chunk, other)));
        // All but those of 123, 4,000 and 5,000.
        assert!(shared.count() >= before.chunks.len() - 3);
    }
}
