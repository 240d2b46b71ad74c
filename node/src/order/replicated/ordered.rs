//! What is ordered: the bytes that a block holds.
//!
//! A transaction of CometBFT's *is* the payload that will be recorded, or holds several of them. Nothing is encoded twice,
//! and the bytes that a client signed are those that all nodes agree on.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use colearn_proto::v1;
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Transaction, Unverified};

use super::bundle::{self, BUNDLE};

pub(super) use crate::order::waiting::{Key, key};

/// What begins a tick: no payload begins so.
const TICK: u8 = 0;
/// How many transactions are remembered to have a good signature.
const MAX_VERIFIED: usize = 100_000;

/// What one transaction of a block is.
pub(super) enum Ordered<'a> {
    /// It is at least this late, in ms since 1970, somebody says. Nothing is recorded of it: it has a
    /// block made, whose time decides what is due.
    Tick(u64),
    /// A learner's action.
    Transaction(Box<Unverified>),
    /// A change of who keeps the ledger.
    Change(Box<v1::ValidatorChange>),
    /// The payloads of learners' actions; what does not read as one is nothing.
    Bundle(Vec<&'a [u8]>),
}

/// A tick of this time.
pub(super) fn tick(time_ms: u64) -> Vec<u8> {
    let mut tx = vec![TICK];
    tx.extend(time_ms.to_be_bytes());
    tx
}

/// Reads what is to be ordered; `None` if it is nothing that may be. No signature is looked at.
pub(super) fn read(tx: &[u8]) -> Option<Ordered<'_>> {
    if let Some((&TICK, time_ms)) = tx.split_first() {
        return Some(Ordered::Tick(u64::from_be_bytes(time_ms.try_into().ok()?)));
    }
    if let Some((&BUNDLE, payloads)) = tx.split_first() {
        return bundle::split(payloads).map(Ordered::Bundle);
    }
    match record::read_payload(tx)? {
        v1::entry::Payload::Transaction(message) => {
            Some(Ordered::Transaction(Box::new(Unverified::decode(message).ok()?)))
        }
        v1::entry::Payload::ValidatorChange(change) if change.change.is_some() => {
            Some(Ordered::Change(Box::new(change)))
        }
        v1::entry::Payload::ValidatorChange(_)
        | v1::entry::Payload::Genesis(_)
        | v1::entry::Payload::Outcome(_)
        | v1::entry::Payload::KeyRotation(_)
        | v1::entry::Payload::Block(_)
        | v1::entry::Payload::Upgrade(_) => None,
    }
}

/// Reads one of a bundle, which holds learners' actions only.
pub(super) fn read_bundled(payload: &[u8]) -> Option<Box<Unverified>> {
    match read(payload)? {
        Ordered::Transaction(transaction) => Some(transaction),
        Ordered::Tick(_) | Ordered::Change(_) | Ordered::Bundle(_) => None,
    }
}

/// The transactions whose signatures this node has verified: each comes four times, and a signature is most
/// of the work.
pub(super) struct Verified {
    ledger: LedgerId,
    keys: Mutex<HashSet<Key>>,
}

impl Verified {
    pub(super) fn new(ledger: LedgerId) -> Self {
        Self { ledger, keys: Mutex::default() }
    }

    /// Remembers one whose signature was verified.
    pub(super) fn remember(&self, key: Key) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // Anybody can send as many as there is room for; beginning anew costs less than an account of
        // which came last.
        if keys.len() >= MAX_VERIFIED {
            keys.clear();
        }
        keys.insert(key);
    }

    fn contains(&self, key: &Key) -> bool {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// The transaction, if its signature verifies.
    pub(super) fn verify(&self, key: Key, transaction: Unverified) -> Option<Transaction> {
        if self.contains(&key) {
            return Some(transaction.verified_before());
        }
        let transaction = transaction.verify(&self.ledger).ok()?;
        self.remember(key);
        Some(transaction)
    }

    /// Whether a block may hold it, whatever the state: for this every node comes to the same.
    pub(super) fn may_be_ordered(&self, tx: &[u8]) -> Option<Kind> {
        // What was verified was read. Nobody knows a bundle by a key of its own.
        let key = (tx.first() != Some(&BUNDLE)).then(|| key(tx));
        if let Some(key) = key.filter(|key| self.contains(key)) {
            return Some(Kind::Transactions(vec![key]));
        }
        match read(tx)? {
            Ordered::Tick(time_ms) => Some(Kind::Tick(time_ms)),
            Ordered::Transaction(transaction) => {
                let key = key?;
                self.verify(key, *transaction).map(|_| Kind::Transactions(vec![key]))
            }
            Ordered::Change(_) => Some(Kind::Change),
            Ordered::Bundle(payloads) => {
                let keys = payloads.into_iter().map(|payload| self.may_be_bundled(payload));
                keys.collect::<Option<_>>().map(Kind::Transactions)
            }
        }
    }

    fn may_be_bundled(&self, payload: &[u8]) -> Option<Key> {
        let key = key(payload);
        if !self.contains(&key) {
            self.verify(key, *read_bundled(payload)?)?;
        }
        Some(key)
    }
}

/// What kind of thing is ordered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Tick(u64),
    /// Of learners: one, or those of a bundle.
    Transactions(Vec<Key>),
    Change,
}
