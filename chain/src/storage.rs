//! A chain's storage as a store of pieces.

use colearn_contracts::pieces::Store;
use cosmwasm_std::{Order, Storage};

/// For reading and writing.
pub(crate) struct Writing<'a>(pub(crate) &'a mut dyn Storage);

/// For reading alone: what is written to it goes nowhere.
pub(crate) struct Reading<'a>(pub(crate) &'a dyn Storage);

impl Store for Writing<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn range(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        range(self.0, prefix)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.0.set(key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}

impl Store for Reading<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn range(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        range(self.0, prefix)
    }

    fn set(&mut self, _: &[u8], _: &[u8]) {}

    fn remove(&mut self, _: &[u8]) {}
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
