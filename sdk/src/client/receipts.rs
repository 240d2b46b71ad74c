//! What a ledger promises: receipts, and everything else that it has signed and that has to fit what is
//! followed.

use bytes::Bytes;
use colearn_ledger::{Checkpoint, Hash, NoteError, Receipt, SignedNote};
use colearn_proto::v1;
use colearn_records::transaction::Transaction;
use prost::Message as _;

use super::connection::hashes;
use super::error::Evidence;
use super::followed::Followed;
use super::{BoxFuture, ClientError};

/// How many are waited for. Each is followed within moments; more of them is a lie.
const MAX_PLEDGES: usize = 4096;

/// A recorded transaction.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// Proof of its place; verified.
    pub receipt: Receipt,
    /// Its entry, as recorded.
    pub entry: Bytes,
}

/// The root that the first `size` entries must have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pledge {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// The checkpoint that says so, or what else does.
    pub(super) signed: String,
}

impl Pledge {
    /// What a kept receipt says; it was verified when it came.
    pub(super) fn of(receipt: &Receipt) -> Option<Self> {
        let checkpoint = SignedNote::parse(&receipt.checkpoint).ok()?;
        let Checkpoint { size, root, .. } = Checkpoint::parse(checkpoint.text()).ok()?;
        Some(Self { size, root, signed: receipt.checkpoint.clone() })
    }
}

impl Followed {
    /// Submits a signed transaction, verifies the receipt and keeps it. That its checkpoint is of this
    /// ledger's history is verified now, or once that is followed so far.
    ///
    /// # Errors
    /// If the node refuses, or its receipt does not prove the transaction's place.
    pub fn submit<'a>(
        &'a mut self,
        transaction: &'a Transaction,
    ) -> BoxFuture<'a, Result<Submitted, ClientError>> {
        Box::pin(async move {
            let sent = transaction.message();
            let request = v1::SubmitRequest { transaction: Some(sent.clone()) };
            let answer = self.client.submitted(request).await?;
            let message = answer.receipt.unwrap_or_default();
            let (note, shown) = (message.checkpoint.clone(), message.entry.clone());
            let memory = self.memory.clone();
            let bad = |what: &str| {
                let evidence = format!("{what}\n\n{note}\n---\n{}\n", hex::encode(&shown));
                let evidence = memory.keep_evidence("receipt", evidence.as_bytes());
                ClientError::Receipt(what.to_owned(), Evidence(evidence))
            };
            let entry = v1::Entry::decode(message.entry.clone()).map_err(|_| bad("no entry"))?;
            let Some(v1::entry::Payload::Transaction(recorded)) = &entry.payload else {
                return Err(bad("the entry is no transaction"));
            };
            // All of it: what differs in the signature alone is another entry.
            if recorded != sent || entry.index != message.index {
                return Err(bad("the entry is another one"));
            }
            let receipt = Receipt {
                index: message.index,
                path: hashes(&message.inclusion_proof)?,
                checkpoint: message.checkpoint,
            };
            let leaf = Hash::leaf(&message.entry);
            let checkpoint = match self.keys().is_on_chain() {
                // Nobody has signed it: the chain proves it.
                true => {
                    let checkpoint = self.signed(&receipt.checkpoint).await?;
                    receipt.is_under(leaf, &checkpoint).map(|()| checkpoint)
                }
                false => self.promised(&receipt, leaf),
            };
            let checkpoint = checkpoint.map_err(|error| bad(&error.to_string()))?;
            if !self.memory.keep_receipt(&receipt, &message.entry)? {
                return Err(self.fork("a receipt for another entry was kept", &receipt.to_text()));
            }
            self.expect(Pledge {
                size: checkpoint.size,
                root: checkpoint.root,
                signed: receipt.checkpoint.clone(),
            });
            self.check_pledges().await?;
            Ok(Submitted { receipt, entry: message.entry })
        })
    }

    fn promised(&mut self, receipt: &Receipt, leaf: Hash) -> Result<Checkpoint, NoteError> {
        let checkpoint = self.open_note(&receipt.checkpoint)?;
        receipt.is_under(leaf, &checkpoint)?;
        Ok(checkpoint)
    }

    /// Holds what is followed to this, too.
    pub(super) fn expect(&mut self, pledge: Pledge) {
        if self.pledges.len() < MAX_PLEDGES && !self.pledges.contains(&pledge) {
            self.pledges.push(pledge);
        }
    }

    /// Compares what was followed with all that has to fit it.
    ///
    /// # Errors
    /// [`ClientError::Fork`] if something does not: the ledger's key has signed both.
    pub(super) async fn check_pledges(&mut self) -> Result<(), ClientError> {
        let size = self.size();
        while let Some(at) = self.pledges.iter().position(|pledge| pledge.size <= size) {
            let root = self.root(self.pledges[at].size).await?;
            let pledge = self.pledges.swap_remove(at);
            if root != Some(pledge.root) {
                let what = format!("its first {} entries are other ones", pledge.size);
                return Err(self.fork(&what, &pledge.signed));
            }
        }
        Ok(())
    }
}
