//! What the services share: the way of a transaction from the wire to its receipt.

use std::sync::Arc;

use bytes::Bytes;
use colearn_contracts::Act;
use colearn_ledger::{Hash, Reader};
use colearn_proto::v1;
use tokio_util::sync::CancellationToken;

use super::artifacts::ArtifactStore;
use super::refusal::Refusal;
use super::witnesses::Cosignatures;
use super::writer::{Recorded, WriterHandle};
use colearn_records::log_keys::LogKeys;
use colearn_records::transaction::{Seen, Transaction, Unverified};

/// Shared by all services; cheap to clone.
#[derive(Clone)]
pub(crate) struct Core(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) keys: LogKeys,
    pub(crate) reader: Reader,
    pub(crate) writer: WriterHandle,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) cosignatures: Cosignatures,
    pub(crate) stopping: CancellationToken,
}

impl std::ops::Deref for Core {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Core {
    pub(crate) fn new(
        keys: LogKeys,
        reader: Reader,
        writer: WriterHandle,
        artifacts: ArtifactStore,
        cosignatures: Cosignatures,
        stopping: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner { keys, reader, writer, artifacts, cosignatures, stopping }))
    }

    /// Records a transaction; resolves when it is durable.
    pub(crate) async fn submit(
        &self,
        message: Option<v1::SignedTransaction>,
    ) -> Result<v1::Receipt, Refusal> {
        let mut answers = self.submit_all(vec![message]).await;
        answers.pop().unwrap_or(Err(Refusal::Stopped))
    }

    /// Records transactions in their order: decode, verify, check and queue each before this
    /// returns; the future resolves to their receipts when they are durable.
    pub(crate) fn submit_all(
        &self,
        messages: Vec<Option<v1::SignedTransaction>>,
    ) -> impl Future<Output = Vec<Result<v1::Receipt, Refusal>>> + Send + use<> {
        let mut admitted = Vec::with_capacity(messages.len());
        let places: Vec<Result<(), Refusal>> = messages
            .into_iter()
            .map(|message| {
                admitted.push(self.admit(message.ok_or(Refusal::Empty)?)?);
                Ok(())
            })
            .collect();
        let queued = if admitted.is_empty() { None } else { Some(self.writer.submit(admitted)) };
        let core = self.clone();
        async move {
            let recorded = match queued {
                Some(Ok(answers)) => answers.await.unwrap_or_default(),
                Some(Err(Refusal::Busy)) => {
                    let busy = places.into_iter().map(|place| place.and(Err(Refusal::Busy)));
                    return busy.collect();
                }
                Some(Err(_)) | None => Vec::new(),
            };
            let mut recorded = recorded.into_iter();
            let answers = places.into_iter().map(|place| {
                place?;
                core.receipt(recorded.next().unwrap_or(Err(Refusal::Stopped))?)
            });
            answers.collect()
        }
    }

    fn receipt(&self, recorded: Recorded) -> Result<v1::Receipt, Refusal> {
        let size = recorded.checkpoint.checkpoint.size;
        let proof = self.reader.inclusion(recorded.index, size)?;
        Ok(v1::Receipt {
            index: recorded.index,
            leaf_hash: hash_bytes(&recorded.leaf),
            inclusion_proof: proof.iter().map(hash_bytes).collect(),
            checkpoint: recorded.checkpoint.note.clone(),
            entry: recorded.entry.into(),
        })
    }

    fn admit(&self, message: v1::SignedTransaction) -> Result<Transaction, Refusal> {
        let transaction = Unverified::decode(message)?.verify(&self.keys.ledger())?;
        self.check_seen(transaction.seen())?;
        let weights = match &transaction.action().what {
            Act::Create(create) => Some(&create.model),
            Act::Propose(proposal) => Some(&proposal.weights),
            Act::Join { .. }
            | Act::Leave { .. }
            | Act::Pass { .. }
            | Act::Vote(_)
            | Act::Commit(_)
            | Act::Reveal(_)
            | Act::Resume { .. }
            | Act::ReplaceKey { .. }
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Stop => None,
        };
        if let Some(weights) = weights
            && self.artifacts.size_of(&weights.digest) != Some(weights.size)
        {
            return Err(Refusal::NoSuchArtifact(weights.digest.to_string()));
        }
        Ok(transaction)
    }

    /// The history a signer vouches for must be this ledger's.
    fn check_seen(&self, seen: Seen) -> Result<(), Refusal> {
        if let Some(latest) = self.reader.checkpoint()
            && latest.checkpoint.size == seen.size
            && latest.checkpoint.root == seen.root
        {
            return Ok(());
        }
        match self.reader.root(seen.size) {
            Ok(root) if root == seen.root => Ok(()),
            Ok(_) | Err(colearn_ledger::Error::NoSuchEntry { .. }) => {
                Err(Refusal::UnknownSeen(seen.size))
            }
            Err(error) => Err(error.into()),
        }
    }
}

pub(crate) fn hash_bytes(hash: &Hash) -> Bytes {
    Bytes::copy_from_slice(&hash.0)
}
