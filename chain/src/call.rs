//! What one call of the contract does to the ledger: the order of things, to the byte.

use colearn_contracts::pieces::{Kept, Ledger, NotDone, Store};
use colearn_contracts::{Act, Digest, ExperimentName, MAX_TIME_MS, Moment, Outcome};
use colearn_proto::v1;
use colearn_records::on_chain::Tree;
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Seen, Transaction, Unverified};

use crate::error::Error;
use crate::messages::{INVALID, OUTDATED, RECORDED};
use crate::state;

/// A call that is being carried out, at one time.
///
/// The chain undoes it where it ends with an error, or without [`Call::end`].
pub struct Call<'a, S> {
    store: &'a mut S,
    tree: Tree,
    begun: Tree,
    now_ms: u64,
}

impl<'a, S: Store> Call<'a, S> {
    /// Begins a ledger whose first entry is this genesis, of this time.
    ///
    /// # Errors
    /// If the entry is too large, which no genesis within its bounds is.
    pub fn begin_ledger(
        store: &'a mut S,
        ledger: &Ledger,
        genesis: v1::Genesis,
        time_ms: u64,
    ) -> Result<(), Error> {
        state::keep_rules(store, ledger);
        let (tree, begun) = (Tree::empty(), Tree::empty());
        let mut call = Self { store, tree, begun, now_ms: time_ms };
        call.append(record::genesis_payload(genesis))?;
        call.end();
        Ok(())
    }

    /// Begins a call in a block of this time, in ms since 1970.
    ///
    /// # Errors
    /// If what is kept is damaged.
    pub fn begin(store: &'a mut S, block_ms: u64) -> Result<Self, Error> {
        let tree = state::tree(store)?;
        // Never before what was recorded (R30), nor beyond the end of time (R70).
        let now_ms = block_ms.min(MAX_TIME_MS).max(tree.head().time_ms);
        Ok(Self { store, begun: tree.clone(), tree, now_ms })
    }

    /// Decides one transaction, and records it unless it is refused. Gives its code.
    ///
    /// # Errors
    /// If what is kept is damaged, or an entry is too large.
    pub fn submit(&mut self, payload: &[u8]) -> Result<u32, Error> {
        let Some(message) = record::read_transaction(payload) else { return Ok(INVALID) };
        let Ok(unverified) = Unverified::decode(message) else { return Ok(INVALID) };
        let creates = matches!(unverified.action.what, Act::Create(_));
        let ledger = state::rules(self.store, creates)?;
        let Ok(transaction) = unverified.verify(&LedgerId(ledger.id.0)) else {
            return Ok(INVALID);
        };
        if !self.has_seen(&ledger, transaction.seen())? {
            return Ok(OUTDATED);
        }
        // What is due stays, whatever becomes of the transaction.
        self.touch(&ledger, &transaction.action().experiment)?;
        self.decide(&ledger, &transaction)
    }

    /// Whether this history was that of the ledger, and what came since is not too old (R71).
    fn has_seen(&self, ledger: &Ledger, seen: Seen) -> Result<bool, Error> {
        let Some(root) = state::root(self.store, seen.size)? else { return Ok(false) };
        if root.root != seen.root {
            return Ok(false);
        }
        // Nothing unseen is older than what was seen, so mostly no entry has to be read.
        let is_fresh = |unseen_ms| ledger.limits.check_fresh(self.now_ms, Some(unseen_ms)).is_ok();
        if seen.size == self.tree.head().size || is_fresh(root.time_ms) {
            return Ok(true);
        }
        Ok(is_fresh(state::time_ms(self.store, seen.size)?))
    }

    fn decide(&mut self, ledger: &Ledger, transaction: &Transaction) -> Result<u32, Error> {
        let at = self.moment();
        let mut kept = Kept::new(ledger, self.store, self.begun_ms());
        let outcomes = match kept.apply(at, transaction.sender(), transaction.action()) {
            Ok(outcomes) => outcomes,
            Err(NotDone::Refused(rejection)) => return Ok(u32::from(rejection.rule())),
            Err(NotDone::Damaged(damaged)) => return Err(damaged.into()),
        };
        self.append(record::transaction_payload(transaction))?;
        self.append_outcomes(&outcomes)?;
        Ok(RECORDED)
    }

    /// Records what time alone decides of an experiment, if there is one of this name.
    ///
    /// # Errors
    /// If what is kept is damaged, or an entry is too large.
    pub fn tick(&mut self, name: &ExperimentName) -> Result<(), Error> {
        let ledger = state::rules(self.store, false)?;
        self.touch(&ledger, name)
    }

    fn touch(&mut self, ledger: &Ledger, name: &ExperimentName) -> Result<(), Error> {
        let at = self.moment();
        let outcomes = Kept::new(ledger, self.store, self.begun_ms()).touch(at, name)?;
        self.append_outcomes(&outcomes)
    }

    /// Keeps the end of the ledger, if there is anything new.
    pub fn end(self) {
        if self.tree != self.begun {
            state::keep_tree(self.store, &self.tree);
        }
    }

    fn moment(&self) -> Moment {
        Moment { now_ms: self.now_ms, head: Digest(self.tree.head().leaf.0) }
    }

    /// The time of the last thing that happened: that of the last entry.
    fn begun_ms(&self) -> u64 {
        self.tree.head().time_ms
    }

    fn append_outcomes(&mut self, outcomes: &[Outcome]) -> Result<(), Error> {
        outcomes.iter().try_for_each(|outcome| self.append(record::outcome_payload(outcome)))
    }

    fn append(&mut self, payload: Vec<u8>) -> Result<(), Error> {
        let key = state::entry_key(self.tree.head().size);
        let entry = self.tree.push(self.now_ms, payload)?;
        self.store.set(&key, &entry);
        Ok(())
    }
}
