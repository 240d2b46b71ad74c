//! A chain's storage as a store of pieces: each value is read and written at most once a call.

use std::cell::RefCell;
use std::collections::BTreeMap;

use colearn_contracts::pieces::Store;
use cosmwasm_std::{Order, Storage};

/// What is kept, and what is to become of it at the end.
pub(crate) struct Cached<'a> {
    storage: &'a dyn Storage,
    /// What was read, and what is to be written.
    known: RefCell<BTreeMap<Vec<u8>, Known>>,
}

/// A value, if there is one, and whether it is to be written.
type Known = (Option<Vec<u8>>, bool);

/// What is to be written.
pub(crate) struct Changes(BTreeMap<Vec<u8>, Known>);

impl<'a> Cached<'a> {
    pub(crate) fn of(storage: &'a dyn Storage) -> Self {
        Self { storage, known: RefCell::default() }
    }

    pub(crate) fn changes(self) -> Changes {
        Changes(self.known.into_inner())
    }
}

impl Changes {
    pub(crate) fn write(self, storage: &mut dyn Storage) {
        for (key, (value, changed)) in self.0 {
            match value {
                _ if !changed => {}
                Some(value) => storage.set(&key, &value),
                None => storage.remove(&key),
            }
        }
    }
}

impl Store for Cached<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some((value, _)) = self.known.borrow().get(key) {
            return value.clone();
        }
        let value = self.storage.get(key);
        self.known.borrow_mut().insert(key.to_vec(), (value.clone(), false));
        value
    }

    fn range(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = BTreeMap::new();
        for (key, value) in range(self.storage, prefix) {
            found.insert(key, value);
        }
        let known = self.known.borrow();
        let changed = known.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        for (key, (value, _)) in changed {
            match value {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        found.into_iter().collect()
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.known.get_mut().insert(key.to_vec(), (Some(value.to_vec()), true));
    }

    fn remove(&mut self, key: &[u8]) {
        self.known.get_mut().insert(key.to_vec(), (None, true));
    }
}

fn range(storage: &dyn Storage, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    // All begin with a letter, so there is an end.
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    storage.range(Some(prefix), Some(&end), Order::Ascending).collect()
}

#[cfg(test)]
mod tests {
    use cosmwasm_std::testing::MockStorage;

    use super::*;

    #[test]
    fn what_is_written_is_read_before_the_end_and_there_after_it() {
        let mut storage = MockStorage::new();
        for key in [b"a1", b"a2", b"b1"] {
            storage.set(key, b"old");
        }
        let mut writing = Cached::of(&storage);
        assert_eq!(writing.get(b"a1").as_deref(), Some(&b"old"[..]));
        writing.remove(b"a1");
        writing.set(b"a3", b"new");
        writing.set(b"b1", b"new");
        assert_eq!((writing.get(b"a1"), writing.get(b"a3")), (None, Some(b"new".to_vec())));
        let all = [(b"a2".to_vec(), b"old".to_vec()), (b"a3".to_vec(), b"new".to_vec())];
        assert_eq!(writing.range(b"a"), all);
        writing.changes().write(&mut storage);
        let kept: Vec<_> = storage.range(None, None, Order::Ascending).map(|it| it.0).collect();
        assert_eq!(kept, [b"a2", b"a3", b"b1"]);
        assert_eq!(storage.get(b"b1").as_deref(), Some(&b"new"[..]));
    }
}
