//! A ledger as far as it was followed: what is known of it, whoever says what.
//!
//! Nothing is believed but what the ledger's key has signed, or a public chain proves, and of that only what follows
//! from the entries: chain, tree, signatures, contract. Whoever stands between, or keeps the ledger, can be silent
//! and nothing else. A message that does not fit changes nothing here.

use std::sync::Arc;

use bytes::Bytes;
use colearn_contracts::{
    Action, Contract, Experiment, ExperimentName, LearnerId, Moment, VERSION, Version,
};
use colearn_keys::Key;
use colearn_ledger::{Checkpoint, Forgotten, Hash, NoteError, SignedNote, TILE_WIDTH, tree};
use colearn_proto::v1;
use colearn_records::convert::{ExperimentState, MemberState};
use colearn_records::follower::{Depth, Fault, Follower, ReadEntry};
use colearn_records::log_keys::LogKeys;
use colearn_records::pins::Pins;
use colearn_records::record::Record;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use rayon::ThreadPool;
use rayon::prelude::*;
use tokio::time::Instant;
use tonic::Streaming;

use super::connection::hashes;
use super::elsewhere::in_its_time;
use super::error::{Evidence, Refused};
use super::memory::Kept;
use super::nodes::Failures;
use super::on_chain::OnChain;
use super::receipts::Pledge;
use super::{BoxFuture, Client, ClientError, Described, Memory, Nodes, Submitted, threads};
#[cfg(feature = "chain")]
use super::{ChainError, ChainTrust, ProvenEnd};
use crate::weights::Weights;

/// How many changes of the ledger's key are followed.
const MAX_ROTATIONS: usize = 1000;
/// From so many entries on they are read on all cores.
const FEW: usize = 16;
/// And by no thread fewer than these, which take longer than it takes to begin one.
const FEW_EACH: usize = 8;
/// How many entries are read together, and followed before others have their turn.
const AT_ONCE: usize = 256;
/// After how many entries what was followed is kept.
const KEEP_EVERY: u64 = 1024;
/// And how many while catching up.
const KEEP_EVERY_BEHIND: u64 = 65_536;

/// What is believed before anything was verified: what somebody was told by those it takes part with.
#[derive(Clone, Default, Debug)]
pub struct Trust {
    /// Which ledger, whose key, which witnesses.
    pub pins: Pins,
    /// A signed checkpoint of the ledger. Who signed what it counts is believed, not checked; chain, tree
    /// and contract are checked all the same. For a newcomer to a long ledger.
    pub checkpoint: Option<String>,
    /// A header of the public chain that keeps the ledger, the contract there, and its code. Without it such a ledger is
    /// read, and nothing is signed for it.
    #[cfg(feature = "chain")]
    pub chain: Option<ChainTrust>,
}

impl Trust {
    /// Whether only what a public chain proves is believed.
    fn asks_for_proofs(&self) -> bool {
        #[cfg(feature = "chain")]
        return self.chain.is_some();
        #[cfg(not(feature = "chain"))]
        false
    }

    /// Who insists on what a chain proves is shown no ledger that something else keeps.
    pub(super) fn check_is_on_chain(&self, keys: &LogKeys) -> Result<(), ClientError> {
        #[cfg(feature = "chain")]
        if let Some(chain) = self.chain.as_ref().filter(|_| !keys.is_on_chain()) {
            let trusted = chain.line.chain.clone();
            return Err(ChainError::NotOnChain { trusted, ledger: keys.ledger() }.into());
        }
        let _ = keys;
        Ok(())
    }
}

/// How far a ledger was followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// So many entries.
    pub followed: u64,
    /// Of so many.
    pub size: u64,
}

/// A ledger on a node, as far as it was followed.
pub struct Followed {
    pub(super) client: Client,
    pub(super) memory: Memory,
    pub(super) trust: Trust,
    pub(super) follower: Follower,
    /// The keys that sign its checkpoints, until the last one that is known.
    pub(super) keys: LogKeys,
    /// What is known of the public chain that keeps it, if one does: nobody signs then.
    chain: Option<OnChain>,
    /// The longest checkpoint that goes on from what was followed, and the note it is in.
    latest: (Checkpoint, String),
    /// The checkpoint that was verified last, under the keys as they are known now.
    opened: Option<(Checkpoint, String)>,
    stream: Option<Stream>,
    /// What the ledger has signed besides, and what was signed on its word: all must fit what is followed.
    pub(super) pledges: Vec<Pledge>,
    /// Of so many entries it is believed who has signed them.
    trusted: u64,
    /// So many entries the witnesses that are demanded have cosigned.
    pub(super) witnessed: u64,
    /// The size when what was followed was last kept.
    kept: u64,
    /// The version of the rules that the node says new experiments follow.
    contract_version: u32,
}

/// Entries as they come, and the index of the next.
struct Stream {
    entries: Streaming<v1::SubscribeResponse>,
    next: u64,
}

/// What the node has sent, before anything of it is believed.
pub(super) struct Sent(v1::SubscribeResponse);

impl Followed {
    /// Connects to a node, and follows its ledger to its end from where the memory stands.
    ///
    /// # Errors
    /// If the node cannot be reached, keeps another ledger than the memory or the pins say, or shows what
    /// does not fit; of several, if none will do.
    pub fn connect(
        nodes: impl Into<Nodes>,
        memory: Memory,
    ) -> BoxFuture<'static, Result<Self, ClientError>> {
        let nodes = nodes.into();
        Box::pin(async move {
            let client = Client::connect(nodes).await?;
            let mut followed = Self::open(client, memory, Trust::default()).await?;
            followed.catch_up_somewhere(&mut |_| {}).await?;
            Ok(followed)
        })
    }

    /// Prepares to follow the ledger that a node keeps: see [`Followed::catch_up`].
    ///
    /// # Errors
    /// Those of [`Followed::connect`].
    pub fn open<'a>(
        client: Client,
        memory: Memory,
        trust: Trust,
    ) -> BoxFuture<'a, Result<Self, ClientError>> {
        Box::pin(async move {
            let (mut client, mut failures) = (client, Failures::default());
            let mut connected = Ok(());
            loop {
                let opened = match connected {
                    Ok(()) => Self::open_at(client.clone(), memory.clone(), trust.clone()).await,
                    Err(error) => Err(error),
                };
                let Err(error) = opened else { return opened };
                failures.try_next(&mut client.nodes, error)?;
                connected = client.reconnect().await;
            }
        })
    }

    /// With the node that is connected to.
    fn open_at<'a>(
        mut client: Client,
        memory: Memory,
        trust: Trust,
    ) -> BoxFuture<'a, Result<Self, ClientError>> {
        Box::pin(async move {
            let known = client.known_ledger().await?;
            let ledger = stated(&client, &known, &memory, &trust)?;
            client.insist_on(ledger);
            let kept = memory.followed().filter(|kept| kept.state.keys.ledger() == ledger);
            // What a node has made up would make what the chain proves look like a fork.
            let kept = kept.filter(|kept| !trust.asks_for_proofs() || !kept.checkpoint.is_empty());
            let resumed = kept.and_then(|Kept { state, checkpoint }| {
                Some((Follower::resume(Depth::Full, state)?, checkpoint))
            });
            let (follower, note) = match resumed {
                Some(resumed) => resumed,
                None => (first(&client, ledger).await?, String::new()),
            };
            let keys = follower.keys().clone();
            let origin = keys.current().name();
            trust.check_is_on_chain(&keys)?;
            let chain = match keys.is_on_chain() {
                true => Some(OnChain::begin(&client, &memory, origin, &trust).await?),
                false => None,
            };
            let root = follower.root(follower.head().size).ok().flatten();
            let mut latest = Checkpoint {
                origin: keys.current().name().to_owned(),
                size: follower.head().size,
                root: root.unwrap_or_else(Hash::empty_root),
            };
            if let Ok(checkpoint) = follower.confirm(&note) {
                latest = checkpoint;
            }
            let mut followed = Self {
                kept: follower.head().size,
                contract_version: known.contract_version,
                client,
                memory,
                trust,
                follower,
                keys,
                chain,
                latest: (latest, note),
                opened: None,
                stream: None,
                pledges: Vec::new(),
                trusted: 0,
                witnessed: 0,
            };
            // What was acted on last may be newer than what was kept last.
            let promised = followed.memory.last_receipt();
            followed.pledges.extend(promised.and_then(|receipt| Pledge::of(&receipt)));
            followed.establish(known).await?;
            followed.trust_checkpoint().await?;
            // On the word of a node, which may have made a ledger up, nothing is signed for a public chain's, and no key
            // belongs to it for good.
            if followed.chain.is_none() || followed.trust.asks_for_proofs() {
                followed.memory.bind(ledger)?;
            }
            Ok(followed)
        })
    }

    /// Connects again, to the node that is spoken to.
    pub(super) fn reconnect(&mut self) -> BoxFuture<'_, Result<(), ClientError>> {
        Box::pin(async move {
            self.stream = None;
            self.client.reconnect().await?;
            let known = self.client.known_ledger().await?;
            stated(&self.client, &known, &self.memory, &self.trust)?;
            self.contract_version = known.contract_version;
            self.establish(known).await
        })
    }

    /// The connection itself, for what proves nothing and for weights.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Which ledger it is.
    pub fn ledger_id(&self) -> LedgerId {
        self.keys.ledger()
    }

    /// The keys that sign its checkpoints.
    pub fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// Of how many entries it is believed who has signed them, since they were to be trusted
    /// ([`Trust::checkpoint`]).
    pub fn trusted(&self) -> u64 {
        self.trusted
    }

    /// How many entries were followed.
    pub fn size(&self) -> u64 {
        self.follower.head().size
    }

    /// The longest checkpoint that goes on from what was followed, as it was signed.
    pub fn checkpoint(&self) -> &str {
        &self.latest.1
    }

    /// What the public chain that keeps the ledger has proven of what was followed; `None` where none keeps it, or nothing
    /// of it is to be trusted.
    #[cfg(feature = "chain")]
    pub fn proven(&self) -> Option<ProvenEnd> {
        self.chain.as_ref()?.proven(self.size())
    }

    /// What a signature vouches for: what was followed. Of a public chain's ledger the last end that the chain has proven:
    /// its contract knows only roots at which a call has ended.
    ///
    /// # Errors
    /// [`ClientError::Departed`] if there is nothing; [`ClientError::OnChain`] if nothing may be signed for a public
    /// chain's ledger.
    pub fn seen(&self) -> Result<Seen, ClientError> {
        let size = self.size();
        if let Some(chain) = &self.chain {
            return chain.vouched(size)?.ok_or_else(lost);
        }
        let root = self.follower.root(size).ok().flatten().ok_or_else(lost)?;
        Ok(Seen { size, root })
    }

    /// How many entries the ledger must have: as many as were followed, or were promised.
    fn promised_size(&self) -> u64 {
        let promised = self.pledges.iter().map(|pledge| pledge.size);
        promised.fold(self.size(), u64::max)
    }

    /// The contract's state.
    ///
    /// # Errors
    /// [`ClientError::Departed`] if it is lost.
    pub fn contract(&self) -> Result<&Contract, ClientError> {
        self.follower.contract().ok_or_else(lost)
    }

    /// The version of the rules that new experiments follow; where the node's ledger follows a later one
    /// than this program knows, the latest that it knows.
    ///
    /// # Errors
    /// [`ClientError::Departed`] if the state is lost.
    pub fn contract_version(&self) -> Result<Version, ClientError> {
        // A ledger with rules that are not known here cannot be followed beyond the upgrade.
        Ok(self.contract()?.version().min(VERSION))
    }

    /// An experiment.
    ///
    /// # Errors
    /// [`ClientError::NoExperiment`] if there is none of the name.
    pub fn experiment(&self, name: &ExperimentName) -> Result<&Experiment, ClientError> {
        let experiment = self.contract()?.experiment(name);
        experiment.ok_or_else(|| ClientError::NoExperiment(name.clone()))
    }

    /// An experiment, and how a learner stands in it, as they are described. At most so many members are
    /// listed.
    ///
    /// # Errors
    /// [`ClientError::NoExperiment`] if there is none of the name.
    pub fn described(
        &self,
        name: &ExperimentName,
        learner: LearnerId,
        max_members: usize,
    ) -> Result<Described, ClientError> {
        let experiment = self.experiment(name)?;
        Ok(Described {
            size: self.size(),
            member: experiment.member(learner).map(MemberState::of),
            experiment: ExperimentState::of(experiment, max_members),
        })
    }

    /// Follows the ledger to the end that it has now.
    ///
    /// # Errors
    /// If the connection is lost, or something does not fit.
    pub fn catch_up<'a>(
        &'a mut self,
        told: &'a mut (dyn FnMut(Progress) + Send),
    ) -> BoxFuture<'a, Result<(), ClientError>> {
        Box::pin(async move {
            let size = self.refresh().await?;
            let mut streamed = self.stream.is_some();
            while self.size() < size {
                let sent = match self.receive().await {
                    // The stream of before has ended with the node; the connection was made again.
                    Err(ClientError::Unreachable { .. }) if std::mem::take(&mut streamed) => {
                        continue;
                    }
                    received => received?,
                };
                self.take(sent).await?;
                told(Progress { followed: self.size(), size: size.max(self.size()) });
                if self.size() >= self.kept + KEEP_EVERY_BEHIND {
                    self.keep()?;
                }
            }
            self.freshen().await?;
            self.check_pledges().await?;
            if self.size() >= self.kept + KEEP_EVERY || self.kept == 0 {
                self.keep()?;
            }
            Ok(())
        })
    }

    /// Of a public chain's ledger, sees to a header that is new enough to sign something, as far as there is one.
    pub(super) async fn freshen(&mut self) -> Result<(), ClientError> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        if let Some(Seen { size, root }) = chain.freshen(&self.client, &self.memory).await? {
            let signed = format!("the chain proves root {root} at size {size}\n");
            self.expect(Pledge { size, root, signed });
        }
        Ok(())
    }

    /// Asks for the ledger's end, and gives its size.
    pub(super) async fn refresh(&mut self) -> Result<u64, ClientError> {
        let (checkpoint, note) = self.fetch_checkpoint().await?;
        let size = checkpoint.size;
        self.take_latest(checkpoint, note);
        Ok(size)
    }

    /// What the node sends next, as soon as it does. Where it says nothing for long it is asked whether
    /// there is anything. May be given up at any time: nothing is lost.
    pub(super) async fn receive(&mut self) -> Result<Sent, ClientError> {
        self.receive_since(Instant::now()).await
    }

    /// The same, where it has been waited for since then, and given up in between.
    pub(super) async fn receive_since(&mut self, since: Instant) -> Result<Sent, ClientError> {
        let received = self.try_receive(since).await;
        if received.is_err() {
            self.stream = None;
        }
        received
    }

    async fn try_receive(&mut self, mut since: Instant) -> Result<Sent, ClientError> {
        let start = self.size();
        let client = self.client.clone();
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let request = v1::SubscribeRequest { start };
                let entries = client.answer(client.ledger().subscribe(request)).await?;
                none.insert(Stream { entries, next: start })
            }
        };
        loop {
            let until = since + client.patience();
            let waited = tokio::time::timeout_at(until, stream.entries.message()).await;
            since = Instant::now();
            let message = match waited {
                Ok(message) => message.map_err(|status| client.refusal(&status))?,
                Err(_) => {
                    // Somebody between may keep the connection open, and the entries back.
                    let (note, _) = client.checkpoint(0).await?;
                    if unsigned(&note).is_ok_and(|checkpoint| checkpoint.size > start) {
                        return Err(client.stalled());
                    }
                    continue;
                }
            };
            let ended = || ClientError::Unreachable {
                url: client.url().to_owned(),
                reason: "the stream ended".to_owned(),
            };
            return message.ok_or_else(ended).map(Sent);
        }
    }

    /// Follows what was sent, once it is proven that the ledger's key has signed it. Gives the entries.
    pub(super) async fn take(&mut self, sent: Sent) -> Result<Vec<ReadEntry>, ClientError> {
        let taken = self.try_take(sent).await;
        if taken.is_err() {
            // What comes behind it would not fit either.
            self.stream = None;
        }
        taken
    }

    async fn try_take(&mut self, Sent(message): Sent) -> Result<Vec<ReadEntry>, ClientError> {
        let v1::SubscribeResponse { mut entries, checkpoint, consistency_proof } = message;
        let size = self.size();
        // What was fetched otherwise in the meantime comes again.
        if let Some(stream) = &mut self.stream {
            let known = size.saturating_sub(stream.next).min(entries.len() as u64);
            stream.next += entries.len() as u64;
            entries.drain(..known as usize);
        }
        let upto = size + entries.len() as u64;
        let (mut note, mut proof) = match checkpoint.is_empty() {
            false => (checkpoint, hashes(&consistency_proof)?),
            true if entries.is_empty() => return Ok(Vec::new()),
            // A node of the first version sends none.
            true => self.client.checkpoint(upto).await?,
        };
        let checkpoint = match self.signed(&note).await {
            // It has waited so long that the node no longer keeps what proves it.
            Err(ClientError::Refused { refused: Refused::NotFound, .. })
                if self.chain.is_some() =>
            {
                (note, proof) = self.client.checkpoint(upto).await?;
                self.signed(&note).await?
            }
            signed => signed?,
        };
        if checkpoint.size < upto && entries.is_empty() {
            return Err(self.rolled_back(&checkpoint, &note));
        }
        let leaves = entries.iter().map(|entry| Hash::leaf(entry));
        if !self.follower.is_begun_by(&checkpoint, leaves, &proof) {
            let what = format!(
                "entries {size} to {upto} are not proven to be those of its checkpoint of {}",
                checkpoint.size
            );
            return Err(self.unproven(what, &note, &entries));
        }
        let entries = self.follow_each(&entries, &note).await?;
        self.take_latest(checkpoint, note);
        self.check_pledges().await?;
        if self.size() >= self.kept + KEEP_EVERY && self.size() == self.latest.0.size {
            self.keep()?;
        }
        Ok(entries)
    }

    /// Follows entries, while those behind them are read.
    async fn follow_each(
        &mut self,
        entries: &[Bytes],
        note: &str,
    ) -> Result<Vec<ReadEntry>, ClientError> {
        let pool = readers(entries.len());
        let mut followed = Vec::with_capacity(entries.len());
        let mut parts = entries.chunks(AT_ONCE);
        let mut next = parts.next().map(|part| self.read(part, pool.clone()));
        while let Some(reading) = next {
            next = parts.next().map(|part| self.read(part, pool.clone()));
            let read = reading.await;
            for entry in &read {
                self.check_time(entry, note)?;
                self.follow(entry, note).await?;
            }
            followed.extend(read);
        }
        Ok(followed)
    }

    /// Reads entries and verifies their signatures. Where there is a pool this begins at once.
    fn read(
        &self,
        entries: &[Bytes],
        pool: Option<Arc<ThreadPool>>,
    ) -> impl Future<Output = Vec<ReadEntry>> + Send + use<> {
        let (reader, entries) = (self.follower.reader(), entries.to_vec());
        let begun = pool.map(|pool| {
            let entries = entries.clone();
            let read =
                move || entries.par_iter().map(|entry| reader.read(entry.to_vec())).collect();
            tokio::task::spawn_blocking(move || pool.install(read))
        });
        async move {
            if let Some(begun) = begun
                && let Ok(read) = begun.await
            {
                return read;
            }
            // They are few, or the runtime is shutting down.
            entries.iter().map(|entry| reader.read(entry.to_vec())).collect()
        }
    }

    async fn follow(&mut self, entry: &ReadEntry, note: &str) -> Result<(), ClientError> {
        loop {
            match self.follower.follow(entry) {
                Ok(()) => return Ok(()),
                Err(Fault::Forgotten(tile)) => self.recall(tile).await?,
                // The ledger's key has signed what no ledger can be.
                Err(fault) => {
                    let evidence = format!("{note}\n---\n{}\n", hex::encode(entry.bytes()));
                    let evidence = self.memory.keep_evidence("departed", evidence.as_bytes());
                    let index = self.size();
                    return Err(ClientError::Departed {
                        index,
                        fault,
                        evidence: Evidence(evidence),
                    });
                }
            }
        }
    }

    /// Of a public chain's ledger: an entry has the time of its block.
    fn check_time(&self, entry: &ReadEntry, note: &str) -> Result<(), ClientError> {
        let (Some(chain), Some(decoded)) = (&self.chain, entry.decoded()) else { return Ok(()) };
        chain.check_time(self.size(), decoded.time_ms).map_err(|error| {
            let evidence = format!("{error}\n\n{note}\n---\n{}\n", hex::encode(entry.bytes()));
            let evidence = self.memory.keep_evidence("departed", evidence.as_bytes());
            ClientError::OnChain(error, Evidence(evidence))
        })
    }

    /// Gets the leaves of old entries again. They are compared with the tree.
    async fn recall(&mut self, Forgotten(tile): Forgotten) -> Result<(), ClientError> {
        let mut leaves = Vec::new();
        while (leaves.len() as u64) < TILE_WIDTH {
            let start = tile * TILE_WIDTH + leaves.len() as u64;
            let count = TILE_WIDTH as usize - leaves.len();
            let entries = self.client.entries(start, count as u32).await?;
            if entries.is_empty() {
                return Err(ClientError::Malformed(format!("entry {start} is missing")));
            }
            leaves.extend(entries.iter().take(count).map(|entry| Hash::leaf(entry)));
        }
        if self.follower.recall(tile, leaves) {
            return Ok(());
        }
        let what =
            format!("entries {} and those behind it are not what they were", tile * TILE_WIDTH);
        Err(self.unproven(what, "", &[]))
    }

    /// The root over the first `size` entries; `None` if there are not as many yet.
    pub(super) async fn root(&mut self, size: u64) -> Result<Option<Hash>, ClientError> {
        loop {
            match self.follower.root(size) {
                Ok(root) => return Ok(root),
                Err(tile) => self.recall(tile).await?,
            }
        }
    }

    /// Keeps what was followed.
    ///
    /// # Errors
    /// If the memory cannot be written.
    pub fn keep(&mut self) -> Result<(), ClientError> {
        // Of a chain's ledger, a checkpoint that nothing has proven is the node's word.
        let is_proven = self.chain.is_none() || self.trust.asks_for_proofs();
        let proven_by = if is_proven { &*self.latest.1 } else { "" };
        self.memory.keep_followed(&self.follower, proven_by)?;
        self.kept = self.size();
        Ok(())
    }

    /// Another key goes on in this one's place, with what this one remembers.
    ///
    /// # Errors
    /// If the memory cannot be written.
    pub fn goes_on_as(&mut self, key: LearnerId) -> Result<(), ClientError> {
        self.memory.goes_on_as(key)
    }

    /// Signs an action over what was followed. Waits for whoever keeps the key, if it is kept elsewhere.
    ///
    /// # Errors
    /// [`ClientError::Departed`] if there is nothing to vouch for, [`ClientError::Signer`] if the key does not sign.
    pub fn sign(&self, key: impl Into<Key>, action: Action) -> Result<Transaction, ClientError> {
        Ok(Transaction::sign_with(&key.into(), &self.ledger_id(), self.seen()?, action)?)
    }

    /// As [`Followed::sign`], on a thread where somebody who is asked may take their time.
    pub(super) async fn signed_with(
        &mut self,
        key: &Key,
        action: Action,
    ) -> Result<Transaction, ClientError> {
        let (ledger, seen) = (self.ledger_id(), self.seen_somewhere().await?);
        in_its_time(key, move |key| Transaction::sign_with(key, &ledger, seen, action)).await
    }

    /// Follows the ledger to its end, waits for the witnesses that are demanded, signs an action, submits it, and keeps the receipt.
    ///
    /// # Errors
    /// Those of [`Followed::catch_up`], [`Followed::sign`] and [`Followed::submit`].
    pub fn act<'a>(
        &'a mut self,
        key: impl Into<Key>,
        action: Action,
    ) -> BoxFuture<'a, Result<Submitted, ClientError>> {
        self.act_with(key.into(), action, None)
    }

    /// Does something that names weights, which are uploaded wherever it is submitted.
    pub(super) fn act_with<'a>(
        &'a mut self,
        key: Key,
        action: Action,
        weights: Option<&'a Weights>,
    ) -> BoxFuture<'a, Result<Submitted, ClientError>> {
        Box::pin(async move {
            self.catch_up_somewhere(&mut |_| {}).await?;
            self.wait_for_witnesses().await?;
            let signed = self.signed_with(&key, action).await?;
            match self.submit_somewhere(&signed, weights).await {
                Err(error) if error.rule().is_some() => {
                    self.catch_up(&mut |_| {}).await?;
                    Err(self.refusal_of(&signed, error))
                }
                submitted => submitted,
            }
        })
    }

    /// What is true of a refusal by a rule of the contract: whoever stands between can forge that, too, but
    /// whether the contract refuses follows from the ledger. To be asked once that is followed to its end.
    pub(super) fn refusal_of(&self, signed: &Transaction, stated: ClientError) -> ClientError {
        let ClientError::Refused { refused, .. } = stated else { return stated };
        let Some(mut contract) = self.follower.contract().cloned() else { return lost() };
        // Not the time of any clock: what time has closed is recorded before anything is refused for it.
        let now = Moment::without_ledger(0);
        match contract.apply(now, signed.sender(), signed.action()) {
            Err(rejection) => ClientError::Refused {
                refused,
                rule: Some(rejection.rule()),
                message: rejection.to_string(),
            },
            Ok(_) => {
                let what = format!("a refusal of what the ledger's rules allow ({stated})");
                self.unproven(what, &self.latest.1, &[])
            }
        }
    }

    /// A checkpoint that the ledger's key of its time has signed, or the chain that keeps the ledger proves.
    pub(super) async fn signed(&mut self, note: &str) -> Result<Checkpoint, ClientError> {
        if let Some(chain) = &mut self.chain {
            let stated = self.keys.stated(note);
            let stated = stated.map_err(|error| {
                let evidence = self.memory.keep_evidence("checkpoint", note.as_bytes());
                ClientError::Checkpoint(error, Evidence(evidence))
            })?;
            chain.holds(&self.client, &self.memory, &stated).await?;
            let (size, root) = (stated.size, stated.root);
            self.expect(Pledge { size, root, signed: note.to_owned() });
            return Ok(stated);
        }
        if note == self.latest.1 {
            return Ok(self.latest.0.clone());
        }
        match self.open_note(note) {
            // Perhaps the ledger's keys were changed.
            Err(NoteError::Unsigned(_) | NoteError::TooFew { .. }) => {
                let known = self.client.known_ledger().await?;
                self.prove_keys(&known, note).await?;
                Ok(self.open_note(note)?)
            }
            Err(error) => {
                let evidence = self.memory.keep_evidence("checkpoint", note.as_bytes());
                Err(ClientError::Checkpoint(error, Evidence(evidence)))
            }
            Ok(opened) => Ok(opened),
        }
    }

    /// A checkpoint that the ledger's key of its time has signed, as far as that is known. What came last comes again as
    /// a rule, in the stream after a receipt, and is not verified again.
    pub(super) fn open_note(&mut self, note: &str) -> Result<Checkpoint, NoteError> {
        if let Some((opened, last)) = &self.opened
            && last == note
        {
            return Ok(opened.clone());
        }
        let opened = self.keys.open(note)?;
        self.opened = Some((opened.clone(), note.to_owned()));
        Ok(opened)
    }

    fn take_latest(&mut self, checkpoint: Checkpoint, note: String) {
        if checkpoint.size >= self.latest.0.size {
            self.latest = (checkpoint, note);
        }
    }

    /// Believes the node's checkpoint, and the key that signs it, only if that key is the one in the
    /// ledger's first entry or was changed to by entries signed by both keys.
    async fn establish(&mut self, known: v1::GetLedgerResponse) -> Result<(), ClientError> {
        if self.chain.is_none() {
            let (note, _) = self.client.checkpoint(0).await?;
            self.prove_keys(&known, &note).await?;
        }
        self.trust.pins.check_keys(&self.keys)?;
        let (checkpoint, note) = self.fetch_checkpoint().await?;
        self.take_latest(checkpoint, note);
        Ok(())
    }

    /// Learns the keys that lead from those that are known to the one that the node states, each change
    /// proven to be in the tree of the checkpoint that the last of them has signed.
    async fn prove_keys(
        &mut self,
        known: &v1::GetLedgerResponse,
        note: &str,
    ) -> Result<(), ClientError> {
        let malformed = |what: &str| ClientError::Malformed(what.to_owned());
        if known.key_rotations.len() > MAX_ROTATIONS {
            return Err(malformed("the keys changed too often"));
        }
        let checkpoint = unsigned(note)?;
        let followed = self.size();
        let mut keys = self.follower.keys().clone();
        for index in known.key_rotations.iter().copied().filter(|index| *index >= followed) {
            let entry = self.proven_entry(index, &checkpoint).await?;
            let change = Record::decode(&entry).ok().and_then(|placed| placed.record.key_change());
            let change =
                change.ok_or_else(|| malformed("an entry said to change the keys does not"))?;
            keys.follow(index, &change).map_err(|error| malformed(&error.to_string()))?;
        }
        keys.open(note)?;
        self.keys = keys;
        self.opened = None;
        Ok(())
    }

    /// An entry that the checkpoint's tree is proven to hold.
    async fn proven_entry(
        &self,
        index: u64,
        checkpoint: &Checkpoint,
    ) -> Result<Bytes, ClientError> {
        let entries = self.client.entries(index, 1).await?;
        let missing = || ClientError::Malformed(format!("entry {index} is missing"));
        let entry = entries.into_iter().next().ok_or_else(missing)?;
        let (size, root) = (checkpoint.size, checkpoint.root);
        let path = self.client.inclusion(index, size).await?;
        if !tree::verify_inclusion(Hash::leaf(&entry), index, size, &path, root) {
            let what = format!("entry {index} is not in the checkpoint's tree");
            return Err(ClientError::Malformed(what));
        }
        Ok(entry)
    }

    /// The node's checkpoint, if it is signed and goes on from what was followed.
    async fn fetch_checkpoint(&mut self) -> Result<(Checkpoint, String), ClientError> {
        let old_size = self.size();
        let (note, proof) = match self.client.checkpoint(old_size).await {
            Ok(answer) => answer,
            Err(ClientError::Refused { refused: Refused::OutOfRange, .. }) => {
                // What it shows instead, as far as it is signed.
                let (note, _) = self.client.checkpoint(0).await?;
                let checkpoint = self.signed(&note).await?;
                return Err(self.rolled_back(&checkpoint, &note));
            }
            Err(error) => return Err(error),
        };
        let checkpoint = self.signed(&note).await?;
        if checkpoint.size < self.promised_size() {
            return Err(self.rolled_back(&checkpoint, &note));
        }
        if old_size > 0 && !self.follower.is_begun_by(&checkpoint, [], &proof) {
            return Err(self.other_history(&checkpoint, &note).await);
        }
        Ok((checkpoint, note))
    }

    /// What a checkpoint is that is not proven to go on from what was followed: a fork, where it is proven
    /// to begin otherwise; where nothing is proven, anybody between may have spoilt the proof.
    pub(super) async fn other_history(
        &mut self,
        checkpoint: &Checkpoint,
        note: &str,
    ) -> ClientError {
        let size = self.size();
        if checkpoint.size == size {
            return self.fork("it has another root", note);
        }
        // Of a power of two the proof would not say which beginning it is.
        let old_size = if size.is_power_of_two() { size - 1 } else { size };
        let proof = self.client.consistency(old_size, checkpoint.size).await.unwrap_or_default();
        let begins = tree::proven_beginning(old_size, checkpoint.size, checkpoint.root, &proof);
        match (begins, self.follower.root(old_size)) {
            (Some(proven), Ok(Some(followed))) if proven != followed => {
                self.fork("it begins otherwise", note)
            }
            _ => self.unproven("its proof of consistency does not fit".to_owned(), note, &[]),
        }
    }

    /// Holds a newcomer's ledger to the checkpoint that it was told to trust.
    async fn trust_checkpoint(&mut self) -> Result<(), ClientError> {
        let Some(note) = self.trust.checkpoint.clone() else { return Ok(()) };
        let trusted = unsigned(&note).map_err(ClientError::NoCheckpoint)?;
        let pledge = Pledge { size: trusted.size, root: trusted.root, signed: note };
        self.pledges.push(pledge);
        if self.size() >= trusted.size {
            return self.check_pledges().await;
        }
        let latest = &self.latest.0;
        let (old_size, new_size) = (trusted.size, latest.size);
        let proven = match old_size <= new_size {
            true => {
                let proof = self.client.consistency(old_size, new_size).await?;
                tree::verify_consistency(old_size, trusted.root, new_size, latest.root, &proof)
            }
            false => false,
        };
        if !proven {
            return Err(ClientError::NotTrusted { trusted: old_size, size: new_size });
        }
        // Who has verified something itself goes on from there.
        if self.size() == 0 {
            self.follower.trust(trusted.size);
            self.trusted = trusted.size;
        }
        Ok(())
    }

    /// Keeps what was followed, for it to be compared after a restart, too: what is kept otherwise may be
    /// so old that both histories begin with it.
    fn remember(&mut self) {
        if self.size() > self.kept
            && let Err(error) = self.keep()
        {
            tracing::warn!(%error, "what was followed is not kept");
        }
    }

    pub(super) fn fork(&mut self, what: &str, new: &str) -> ClientError {
        self.remember();
        let both = format!("{}\n---\n\n{new}", self.latest.1);
        let evidence = Evidence(self.memory.keep_evidence("fork", both.as_bytes()));
        ClientError::Fork(what.to_owned(), evidence)
    }

    /// The node shows less than was followed.
    fn rolled_back(&mut self, shown: &Checkpoint, note: &str) -> ClientError {
        self.remember();
        if let Ok(Some(root)) = self.follower.root(shown.size)
            && root != shown.root
        {
            return self.fork("it is shorter and another one", note);
        }
        let (shown, known) = (shown.size, self.promised_size());
        if self.several_keepers() {
            return ClientError::Behind { url: self.client.url().to_owned(), shown, known };
        }
        let both = format!("{}\n---\n\n{note}", self.latest.1);
        let evidence = Evidence(self.memory.keep_evidence("rolled-back", both.as_bytes()));
        ClientError::RolledBack { shown, known, evidence }
    }

    /// What was sent is not what the ledger's key has signed, as far as can be told.
    pub(super) fn unproven(&self, what: String, note: &str, entries: &[Bytes]) -> ClientError {
        let entries: Vec<String> = entries.iter().take(16).map(hex::encode).collect();
        let evidence = format!("{what}\n\n{note}\n---\n{}\n", entries.join("\n"));
        let evidence = Evidence(self.memory.keep_evidence("unproven", evidence.as_bytes()));
        ClientError::Unproven(what, evidence)
    }
}

/// Threads to read so many entries on all cores; `None` where they are few, or no threads are to be had.
fn readers(entries: usize) -> Option<Arc<ThreadPool>> {
    if entries < FEW {
        return None;
    }
    threads::pool(entries / FEW_EACH).map(Arc::new)
}

/// The ledger that a node states. Another one than the memory and the pins know is refused before
/// anything else is asked.
fn stated(
    client: &Client,
    known: &v1::GetLedgerResponse,
    memory: &Memory,
    trust: &Trust,
) -> Result<LedgerId, ClientError> {
    let id = known.ledger_id[..].try_into();
    let id = id.map_err(|_| ClientError::Malformed("a ledger id is 32 bytes".to_owned()))?;
    let found = LedgerId(id);
    let expected = memory.ledger()?.or(trust.pins.ledger());
    for expected in expected.into_iter().chain(trust.pins.ledger()) {
        if expected != found {
            let url = client.url().to_owned();
            return Err(ClientError::OtherLedger { url, found, expected });
        }
    }
    Ok(found)
}

impl Client {
    /// Who kept the node's ledger first, as its first entry says: a public chain's is kept by no others later.
    ///
    /// # Errors
    /// If the node does not answer, or shows no first entry of the ledger that it names.
    pub fn first_keys(&self) -> BoxFuture<'_, Result<LogKeys, ClientError>> {
        Box::pin(async move {
            let ledger = self.known_ledger().await?.ledger_id[..].try_into().map(LedgerId);
            let malformed = |_| ClientError::Malformed("a ledger id is 32 bytes".to_owned());
            Ok(first(self, ledger.map_err(malformed)?).await?.keys().clone())
        })
    }
}

/// A follower of the ledger, from its first entry on.
async fn first(client: &Client, ledger: LedgerId) -> Result<Follower, ClientError> {
    let malformed = |what: String| ClientError::Malformed(what);
    let entries = client.entries(0, 1).await?;
    let first = entries.first().ok_or_else(|| malformed("entry 0 is missing".to_owned()))?;
    let follower =
        Follower::new(Depth::Full, first).map_err(|error| malformed(error.to_string()))?;
    if follower.keys().ledger() != ledger {
        return Err(malformed("the ledger id is not that of the first entry".to_owned()));
    }
    Ok(follower)
}

/// What a checkpoint states, whoever has signed it.
fn unsigned(note: &str) -> Result<Checkpoint, NoteError> {
    Checkpoint::parse(SignedNote::parse(note)?.text())
}

/// The contract's state is lost where an entry departed from it; nothing is known from there on.
fn lost() -> ClientError {
    ClientError::Malformed("the ledger departs from its contract".to_owned())
}
