//! The way of a transaction from the wire to its receipt: what the node itself checks before the
//! contract is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use colearn_contracts::{Act, Action, Model};
use colearn_ledger::Hash;
use colearn_proto::v1;
use colearn_records::transaction::{LedgerId, Seen, Transaction, Unverified};

use crate::artifacts::ArtifactStore;
use crate::door::rights::{Right, Rights};
use crate::metrics::Counts;
use crate::order::{Answers, Recorded, RecordedEntry, Submissions};
use crate::pulling::Pulling;
use crate::reads::Reads;
use crate::refusal::Refusal;

/// How many roots of the ledger's past are remembered. Those who vote together have mostly seen the
/// same checkpoint.
const MAX_ROOTS: usize = 1024;

/// Admits transactions; cheap to clone.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Inner>);

struct Inner {
    ledger: LedgerId,
    reads: Reads,
    submissions: Submissions,
    artifacts: ArtifactStore,
    rights: Rights,
    /// Fetches what was uploaded to another node, where several keep the ledger.
    pulling: Option<Pulling>,
    counts: Counts,
    /// Roots of this ledger by size, as far as they were asked for.
    roots: Mutex<BTreeMap<u64, Hash>>,
}

/// Transactions on their way: for each one that was sent whether it was admitted, and the answers for
/// those that were.
pub(crate) struct Queued {
    arrived: Instant,
    admitted: Vec<Result<(), Refusal>>,
    answers: Option<Result<Answers, Refusal>>,
}

impl Admission {
    pub(crate) fn new(
        ledger: LedgerId,
        reads: Reads,
        submissions: Submissions,
        artifacts: ArtifactStore,
        rights: Rights,
        pulling: Option<Pulling>,
        counts: Counts,
    ) -> Self {
        let roots = Mutex::default();
        Self(Arc::new(Inner {
            ledger,
            reads,
            submissions,
            artifacts,
            rights,
            pulling,
            counts,
            roots,
        }))
    }

    /// Records a transaction; resolves when it is durable.
    pub(crate) async fn submit(
        &self,
        message: Option<v1::SignedTransaction>,
    ) -> Result<v1::Receipt, Refusal> {
        let queued = self.queue(vec![message]).await;
        self.receipts(queued).await.pop().unwrap_or(Err(Refusal::Stopped))
    }

    /// Decodes, verifies and checks transactions, and queues those that pass in their order. Nothing
    /// that is queued later comes before them.
    pub(crate) async fn queue(&self, messages: Vec<Option<v1::SignedTransaction>>) -> Queued {
        let arrived = Instant::now();
        let mut transactions = Vec::with_capacity(messages.len());
        let mut admitted = Vec::with_capacity(messages.len());
        for message in messages {
            admitted.push(match self.admit(message).await {
                Ok(transaction) => {
                    transactions.push(transaction);
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            });
        }
        let answers = (!transactions.is_empty()).then(|| self.0.submissions.submit(transactions));
        Queued { arrived, admitted, answers }
    }

    /// The receipts of queued transactions, when they are durable, or why there is none.
    pub(crate) async fn receipts(&self, queued: Queued) -> Vec<Result<v1::Receipt, Refusal>> {
        let arrived = queued.arrived;
        let answers = self.answers(queued).await;
        let counts = &self.0.counts;
        let refusals = answers.iter().filter_map(|answer| answer.as_ref().err());
        refusals.for_each(|refusal| counts.refuse(refusal.class(), refusal));
        counts.receipts(answers.iter().filter(|answer| answer.is_ok()).count(), arrived.elapsed());
        answers
    }

    async fn answers(&self, queued: Queued) -> Vec<Result<v1::Receipt, Refusal>> {
        let recorded = match queued.answers {
            Some(Ok(answers)) => answers.await.unwrap_or_default(),
            Some(Err(Refusal::Busy)) => {
                let busy =
                    queued.admitted.into_iter().map(|admitted| admitted.and(Err(Refusal::Busy)));
                return busy.collect();
            }
            Some(Err(_)) | None => Vec::new(),
        };
        let mut recorded = recorded.into_iter();
        let mut receipts = Vec::with_capacity(queued.admitted.len());
        for admitted in queued.admitted {
            receipts.push(match admitted {
                // Where the answers end early the node is stopping.
                Ok(()) => match recorded.next().unwrap_or(Err(Refusal::Stopped)) {
                    Ok(recorded) => self.receipt(recorded).await,
                    Err(refusal) => Err(refusal),
                },
                Err(refusal) => Err(refusal),
            });
        }
        receipts
    }

    async fn receipt(&self, recorded: Recorded) -> Result<v1::Receipt, Refusal> {
        let Recorded { entry, checkpoint } = recorded;
        let size = checkpoint.checkpoint.size;
        let (index, leaf, entry, proof) = match entry {
            RecordedEntry::New(appended) => {
                // Not where it may block: the tree's right edge is in memory, and changing the thread
                // takes longer than the proof.
                let proof = self.0.reads.in_memory().inclusion(appended.index, size)?;
                (appended.index, appended.leaf, appended.bytes, proof)
            }
            RecordedEntry::Before(index) => {
                let read = self
                    .0
                    .reads
                    .read(move |reader| Ok((reader.entry(index)?, reader.inclusion(index, size)?)));
                let (entry, proof) = read.await?;
                (index, Hash::leaf(&entry), entry, proof)
            }
        };
        Ok(v1::Receipt {
            index,
            leaf_hash: hash_bytes(&leaf),
            inclusion_proof: proof.iter().map(hash_bytes).collect(),
            checkpoint: checkpoint.note.clone(),
            entry: entry.into(),
        })
    }

    async fn admit(&self, message: Option<v1::SignedTransaction>) -> Result<Transaction, Refusal> {
        let message = message.ok_or(Refusal::Empty)?;
        // First, so that nobody without a key makes the node look anything up.
        let transaction = Unverified::decode(message)?.verify(&self.0.ledger)?;
        self.check_right(&transaction)?;
        self.check_seen(transaction.seen()).await?;
        // Of who may not it says nothing what is here: the contract refuses it.
        if let Some(weights) = weights(transaction.action())
            && self.0.rights.check(Right::Write, transaction.sender()).is_ok()
        {
            self.0.rights.check_naming(transaction.sender(), weights.digest).await?;
            let (artifacts, digest) = (self.0.artifacts.clone(), weights.digest);
            let stored = tokio::task::spawn_blocking(move || artifacts.hold(&digest));
            let here = stored.await.map_err(|_| Refusal::Stopped)? == Some(weights.size);
            if !here && !self.pull(weights).await {
                return Err(Refusal::NoSuchArtifact(digest.to_string()));
            }
        }
        Ok(transaction)
    }

    /// Whoever signs it is to have the right to what it asks. Whether members do is for the contract to say, which says
    /// it better.
    fn check_right(&self, transaction: &Transaction) -> Result<(), Refusal> {
        match &transaction.action().what {
            Act::Create(_) => self.0.rights.check(Right::Create, transaction.sender()),
            _ if self.0.rights.are_members(Right::Write) => Ok(()),
            _ => self.0.rights.check(Right::Write, transaction.sender()),
        }
    }

    /// Whoever goes on at this node may have uploaded its weights to another.
    async fn pull(&self, weights: &Model) -> bool {
        match &self.0.pulling {
            Some(pulling) => pulling.fetch(weights).await,
            None => false,
        }
    }

    /// The history a signer vouches for must be this ledger's.
    async fn check_seen(&self, seen: Seen) -> Result<(), Refusal> {
        let verdict = |root: Hash| {
            if root == seen.root { Ok(()) } else { Err(Refusal::UnknownSeen(seen.size)) }
        };
        if let Some(latest) = self.0.reads.checkpoint()
            && latest.checkpoint.size == seen.size
        {
            return verdict(latest.checkpoint.root);
        }
        if let Some(root) = self.known_root(seen.size) {
            return verdict(root);
        }
        if !self.0.reads.reach(seen.size).await {
            return Err(Refusal::Behind(seen.size));
        }
        let latest = self.0.reads.checkpoint().map_or(0, |latest| latest.checkpoint.size);
        let behind = latest.saturating_sub(seen.size);
        match self.0.reads.read_last(behind, move |reader| reader.root(seen.size)).await {
            Ok(root) => {
                self.remember_root(seen.size, root);
                verdict(root)
            }
            Err(Refusal::Ledger(colearn_ledger::Error::NoSuchEntry { .. })) => {
                Err(Refusal::UnknownSeen(seen.size))
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn known_root(&self, size: u64) -> Option<Hash> {
        self.0.roots.lock().unwrap_or_else(|e| e.into_inner()).get(&size).copied()
    }

    fn remember_root(&self, size: u64, root: Hash) {
        let mut roots = self.0.roots.lock().unwrap_or_else(|e| e.into_inner());
        roots.insert(size, root);
        if roots.len() > MAX_ROOTS {
            // The oldest: most signers have seen something recent.
            roots.pop_first();
        }
    }
}

/// The weights that an action names for the first time: they must have been uploaded, or nobody
/// could judge them.
fn weights(action: &Action) -> Option<&Model> {
    match &action.what {
        Act::Create(create) => Some(&create.model),
        Act::Propose(proposal) => Some(&proposal.weights),
        Act::Update(update) => Some(&update.weights),
        // What a commitment is to nobody knows.
        Act::RevealUpdate(reveal) => Some(&reveal.update.weights),
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
        | Act::Stop
        | Act::CommitUpdate(_)
        | Act::Have { .. }
        // Everybody computes merges, whoever has them.
        | Act::MergeVote(_)
        | Act::RevealMergeVote(_)
        // What was evaluated may be somebody's own model, which nobody else is to have.
        | Act::Evaluate(_) => None,
    }
}

pub(crate) fn hash_bytes(hash: &Hash) -> Bytes {
    Bytes::copy_from_slice(&hash.0)
}
