//! The ledger as this node keeps it: what the chain proves, and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use colearn_ledger::{Appended, Entry, Reader, SignedCheckpoint};
use colearn_records::on_chain::Tree;
use colearn_records::record::{self, DecodedEntry, NotARecord, Record};
use colearn_records::transaction::{LedgerId, Transaction};
use rayon::prelude::*;

use super::stretch::check;
use crate::error::{ChainError, NodeError};
use crate::keeper::{Keeper, Mirrored};
use crate::order::waiting::{Key, key};
use crate::view::{Publisher, View, Views};

/// The contract's ledger in this node's folder.
pub(crate) struct Mirror {
    keeper: Keeper,
    reader: Reader,
    tree: Tree,
    ledger: LedgerId,
    publisher: Publisher,
    /// What is recorded and not shown yet.
    drawn: Option<Arc<View>>,
}

/// Why entries were not taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMirrored {
    /// They are not those that the chain proves: nothing was changed, and another server may have them.
    #[error(transparent)]
    Unproven(ChainError),
    /// The chain proves what no ledger may be, or the disk fails: this ends here.
    #[error(transparent)]
    Fatal(#[from] NodeError),
}

impl Mirror {
    /// Goes on with an opened ledger.
    pub(crate) fn new(keeper: Keeper, ledger: LedgerId) -> Result<(Self, Views), NodeError> {
        let (head, reader) = (keeper.head(), keeper.reader());
        let frontier = reader.frontier(head.size)?;
        let tree = Tree::of(head, frontier).ok_or_else(|| {
            NodeError::Stopped("the ledger's tree has another size than the ledger".to_owned())
        })?;
        // Nothing is shown before the chain has proven it anew.
        let (publisher, views) = Publisher::showing(keeper.contract(), tree.head().size, 0);
        Ok((Self { keeper, reader, tree, ledger, publisher, drawn: None }, views))
    }

    /// What decides, and the ledger.
    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// The ledger's end.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether an entry is of this time or later; one that cannot be read is not.
    pub(crate) fn is_recent(&self, index: u64, from_ms: u64) -> bool {
        let entry = self.reader.entry(index).ok().and_then(|bytes| Entry::decode(&bytes).ok());
        entry.is_some_and(|entry| entry.time_ms >= from_ms)
    }

    /// The newest checkpoint of this node.
    pub(crate) fn checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        self.reader.checkpoint()
    }

    /// Takes over entries that end where the chain proves that the ledger did once, or does, durably; [`Mirror::show`] shows them. Gives
    /// each transaction of them.
    pub(crate) fn take(
        &mut self,
        entries: &[Vec<u8>],
        proven: &Tree,
    ) -> Result<Vec<(Key, Transaction, Appended)>, NotMirrored> {
        check(&self.tree, entries, proven).map_err(NotMirrored::Unproven)?;
        let mut due = VecDeque::new();
        let mut transactions = Vec::new();
        let ledger = &self.ledger;
        let index = |at| self.tree.head().size + at as u64;
        // Signatures are most of the work, and wait for nothing.
        let read: Result<Vec<_>, _> = entries
            .par_iter()
            .enumerate()
            .map(|(at, bytes)| read(ledger, index(at), bytes))
            .collect();
        for (index, time_ms, mirrored) in read? {
            let taken =
                self.keeper.mirror(time_ms, &mirrored, &mut due).map_err(NodeError::from)?;
            let appended = taken.map_err(|source| NodeError::Departure { index, source })?;
            if let Mirrored::Transaction(transaction) = mirrored {
                let key = key(&record::transaction_payload(&transaction));
                transactions.push((key, transaction, appended));
            }
        }
        if !due.is_empty() || self.keeper.head() != *proven.head() {
            return Err(NodeError::WithinBlock(proven.head().size).into());
        }
        self.tree = proven.clone();
        let _ = self
            .keeper
            .seal_here()
            .and_then(colearn_ledger::Sealed::wait)
            .map_err(NodeError::from)?;
        let touched = self.keeper.take_touched();
        let view = self.publisher.draw(self.keeper.contract(), &touched, proven.head().size);
        self.drawn = Some(view);
        self.keeper.update_index().map_err(NodeError::from)?;
        if let Some(snapshot) = self.keeper.snapshot_if_due() {
            self.keeper.save_snapshot(snapshot).map_err(NodeError::from)?;
        }
        Ok(transactions)
    }

    /// Shows what was taken over, once whoever is woken by that finds the checkpoint over it.
    pub(crate) fn show(&mut self) {
        if let Some(view) = self.drawn.take() {
            self.publisher.publish(view);
        }
        self.publisher.show_entries(self.tree.head().size);
    }

    /// Keeps a snapshot, so that the next start replays nothing.
    pub(crate) fn close(&mut self) -> Result<(), NodeError> {
        Ok(self.keeper.snapshot_now()?)
    }
}

/// Reads an entry of a ledger, with its index and time.
fn read(ledger: &LedgerId, index: u64, entry: &[u8]) -> Result<(u64, u64, Mirrored), NodeError> {
    let bad = |source| NodeError::Record { index, source };
    let DecodedEntry { time_ms, record, .. } = Record::decode(entry).map_err(bad)?;
    let mirrored = match record {
        Record::Transaction(unverified) => {
            // The contract has verified it; whoever reads this node's copy will, too.
            let verified = unverified.verify(ledger);
            Mirrored::Transaction(verified.map_err(|invalid| bad(invalid.into()))?)
        }
        Record::Outcome(outcome) => Mirrored::Outcome(outcome),
        Record::Genesis(_)
        | Record::KeyRotation(_)
        | Record::Upgrade(_)
        | Record::Block(_)
        | Record::ValidatorChange(_) => return Err(bad(NotARecord::Malformed)),
    };
    Ok((index, time_ms, mirrored))
}
