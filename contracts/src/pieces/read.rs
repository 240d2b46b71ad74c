//! Reading single pieces of an experiment, and all of one kind.

use serde::de::DeserializeOwned;

use super::keys;
use super::load::Loader;
use super::{Damaged, Store};
use crate::id::LearnerId;
use crate::name::MemberName;

impl<S: Store> Loader<'_, S> {
    pub(super) fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some(value) = self.read.get(key) {
            return value.clone();
        }
        let value = self.store.get(&[&self.prefix, key].concat());
        self.read.insert(key.to_vec(), value.clone());
        value
    }

    pub(super) fn range(&mut self, begin: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = self.store.range(&[&self.prefix, begin].concat());
        let found =
            found.into_iter().map(|(key, value)| (key[self.prefix.len()..].to_vec(), value));
        let found: Vec<_> = found.collect();
        for (key, value) in &found {
            self.read.insert(key.clone(), Some(value.clone()));
        }
        found
    }

    pub(super) fn piece<T: DeserializeOwned>(&mut self, key: &[u8]) -> Result<Option<T>, Damaged> {
        let value = self.get(key);
        value.map(|value| self.decode(key, &value)).transpose()
    }

    pub(super) fn needed<T: DeserializeOwned>(&mut self, key: &[u8]) -> Result<T, Damaged> {
        self.piece(key)?.ok_or_else(|| self.damaged(key))
    }

    /// All of a kind that have a place, in order.
    pub(super) fn values<T: DeserializeOwned>(&mut self, kind: u8) -> Result<Vec<T>, Damaged> {
        let found = self.range(&[kind]);
        found.iter().map(|(key, value)| self.decode(key, value)).collect()
    }

    /// All of a kind that belong to learners.
    pub(super) fn of_learners<T: DeserializeOwned>(
        &mut self,
        kind: u8,
    ) -> Result<Vec<(LearnerId, T)>, Damaged> {
        let found = self.range(&[kind]);
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let learner = keys::tail(key, 1).map(LearnerId).ok_or_else(|| self.damaged(key))?;
            Ok((learner, self.decode(key, value)?))
        };
        found.iter().map(read).collect()
    }

    pub(super) fn decode<T: DeserializeOwned>(
        &self,
        key: &[u8],
        value: &[u8],
    ) -> Result<T, Damaged> {
        postcard::from_bytes(value).map_err(|_| self.damaged(key))
    }

    pub(super) fn damaged(&self, key: &[u8]) -> Damaged {
        Damaged { key: [&self.prefix, key].concat() }
    }

    /// The name behind the first `begun` bytes of a key.
    pub(super) fn name(&self, key: &[u8], begun: usize) -> Result<MemberName, Damaged> {
        let name = key.get(begun..).and_then(|name| core::str::from_utf8(name).ok());
        name.and_then(|name| name.parse().ok()).ok_or_else(|| self.damaged(key))
    }
}
