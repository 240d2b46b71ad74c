//! An experiment kept in pieces, each under a key of its own, so that what is done to it reads and writes
//! little more than what it changes.
//!
//! For stores in which every byte is paid for, such as a public chain's state. The rules are those of
//! [`Experiment`](crate::Experiment), which decides as it always does: here is only which of its parts have
//! to be there for that. [`Kept`] does what a [`Contract`](crate::Contract) does on a chain, piece by piece.

mod kept;
mod keys;
mod learners;
mod load;
mod motions;
mod reach;
mod read;
mod round;
mod split;

use core::fmt;
use std::collections::BTreeMap;

pub use kept::{Kept, Ledger, NotDone};
pub use load::of;

/// Where pieces are kept.
pub trait Store {
    /// The value under a key.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Every key that begins so, with its value, in the order of the keys.
    fn range(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)>;

    /// Keeps a value, which is never empty.
    fn set(&mut self, key: &[u8], value: &[u8]);

    /// Forgets a key.
    fn remove(&mut self, key: &[u8]);
}

impl Store for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key).cloned()
    }

    fn range(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let from = self.range(prefix.to_vec()..);
        let begin = from.take_while(|(key, _)| key.starts_with(prefix));
        begin.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.insert(key.to_vec(), value.to_vec());
    }

    fn remove(&mut self, key: &[u8]) {
        self.remove(key);
    }
}

/// What is under this key was not written by this program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damaged {
    /// The key.
    pub key: Vec<u8>,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what is kept under the key ")?;
        self.key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(" is missing or cannot be read: this is not the store of this contract")
    }
}

impl core::error::Error for Damaged {}
