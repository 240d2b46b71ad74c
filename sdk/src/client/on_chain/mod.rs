//! A ledger that a contract on a public chain keeps: nobody signs for it, and what its root is the chain proves.
//!
//! A node that mirrors it hands on what servers of the chain answer. Of that only what follows from the header that
//! somebody trusts is believed, and only from the code that is trusted. Without such a header the node's word is
//! followed, and nothing is signed.

mod error;
mod headers;

use std::cmp::Ordering;
use std::collections::VecDeque;

use colearn_ledger::Checkpoint;
use colearn_light::{RawBlock, RawValue};
use colearn_records::on_chain::{Between, PublicChain, TREE_KEY, Tree};
use colearn_records::transaction::Seen;

pub use self::error::ChainError;
use self::headers::Headers;
use super::error::Evidence;
use super::{BoxFuture, ChainTrust, Client, ClientError, Memory, Trust};

/// How many ends of the ledger are remembered that were proven.
const MAX_ENDS: usize = 16;
/// How old the newest header that proves an end may be where something is signed.
const MAX_AGE_MS: u64 = 60_000;
/// From when on a newer one is asked for: what is signed next is not to wait for it.
const ASKED_AFTER_MS: u64 = MAX_AGE_MS / 2;

/// What a chain was found to prove of a ledger that a contract there keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenEnd {
    /// The chain's id.
    pub chain: String,
    /// The contract's address there.
    pub contract: String,
    /// The height of the header that proves it.
    pub height: u64,
    /// That header's time, in ms since 1970.
    pub time_ms: u64,
    /// How many entries the ledger has, and their root.
    pub seen: Seen,
}

impl Client {
    /// What the chain proves of the node's ledger at a size that the node has shown lately, or 0 for the newest, by what is
    /// trusted.
    ///
    /// # Errors
    /// If the node does not answer, or proves nothing.
    pub fn proven_end<'a>(
        &'a self,
        trusted: &'a ChainTrust,
        size: u64,
    ) -> BoxFuture<'a, Result<ProvenEnd, ClientError>> {
        Box::pin(async move {
            let trust = Trust { chain: Some(trusted.clone()), ..Trust::default() };
            let (memory, keys) = (Memory::default(), self.first_keys().await?);
            trust.check_is_on_chain(&keys)?;
            let origin = keys.current().name();
            let mut chain = OnChain::begin(self, &memory, origin, &trust).await?;
            let seen = chain.prove(self, &memory, size).await?;
            let header = chain.headers.as_ref().map(Headers::newest);
            let (height, time_ms) = header.map_or((0, 0), |it| (it.height(), it.time_ms()));
            let contract = trusted.contract.clone();
            Ok(ProvenEnd { chain: chain.id, contract, height, time_ms, seen })
        })
    }
}

/// What is known of the chain that keeps a ledger.
pub(super) struct OnChain {
    /// The chain's id.
    id: String,
    contract: [u8; 32],
    /// Its address, as it is written.
    name: String,
    /// `None` where nobody has said what to trust.
    headers: Option<Headers>,
    /// The ledger's ends that were proven lately, by their sizes.
    ends: VecDeque<End>,
}

/// An end of the ledger at which calls of the contract have ended: what can be vouched for.
#[derive(Clone, Copy, Debug)]
struct End {
    seen: Seen,
    /// The times of the first and of the last header that are known to prove it, in ms since 1970.
    first_ms: u64,
    last_ms: u64,
    /// The last one's height.
    height: u64,
}

impl OnChain {
    /// Begins with what is trusted, for the ledger of this origin.
    pub(super) async fn begin(
        client: &Client,
        memory: &Memory,
        origin: &str,
        trust: &Trust,
    ) -> Result<Self, ClientError> {
        let (id, name) = PublicChain::of_origin(origin).unwrap_or_default();
        let contract = colearn_light::address(name).map_err(ChainError::from)?;
        let headers = match &trust.chain {
            Some(trust) if trust.line.chain != id => {
                let (trusted, found) = (trust.line.chain.clone(), id.to_owned());
                return Err(ChainError::OtherChain { trusted, found }.into());
            }
            Some(trust) if trust.contract != name => {
                let (trusted, found) = (trust.contract.clone(), name.to_owned());
                return Err(ChainError::OtherContract { trusted, found }.into());
            }
            Some(trust) => Some(Headers::begin(client, memory, trust).await?),
            None => {
                tracing::warn!(
                    chain = id,
                    "nothing says which header of the chain to trust: the ledger's root is the node's word"
                );
                None
            }
        };
        let (id, name) = (id.to_owned(), name.to_owned());
        Ok(Self { id, contract, name, headers, ends: VecDeque::new() })
    }

    /// The last end that the chain has proven of the first `size` entries; `None` if it has proven none.
    pub(super) fn proven(&self, size: u64) -> Option<ProvenEnd> {
        let End { seen, last_ms: time_ms, height, .. } =
            *self.ends.iter().rev().find(|end| end.seen.size <= size)?;
        let (chain, contract) = (self.id.clone(), self.name.clone());
        Some(ProvenEnd { chain, contract, height, time_ms, seen })
    }

    /// Whether the chain proves this checkpoint; where nothing is trusted, the node's word is enough.
    pub(super) async fn holds(
        &mut self,
        client: &Client,
        memory: &Memory,
        checkpoint: &Checkpoint,
    ) -> Result<(), ClientError> {
        if self.headers.is_none() {
            return Ok(());
        }
        let stated = Seen { size: checkpoint.size, root: checkpoint.root };
        let known = self.ends.iter().find(|end| end.seen.size == stated.size);
        let proven = match known {
            Some(end) => end.seen,
            None => self.prove(client, memory, stated.size).await?,
        };
        if proven == stated {
            return Ok(());
        }
        let (stated, proven) = ((stated.size, stated.root), (proven.size, proven.root));
        Err(ChainError::OtherEnd { stated, proven }.into())
    }

    /// Sees to an end that a header proves which is new enough to sign something, as far as there is one. That end, if
    /// one was asked for.
    pub(super) async fn freshen(
        &mut self,
        client: &Client,
        memory: &Memory,
    ) -> Result<Option<Seen>, ClientError> {
        match (&self.headers, self.age_ms()) {
            (None, _) => Ok(None),
            (Some(_), Some(age_ms)) if age_ms <= ASKED_AFTER_MS => Ok(None),
            (Some(_), _) => self.prove(client, memory, 0).await.map(Some),
        }
    }

    /// How old the newest header is that is known to prove an end, by this machine's clock, in ms; `None` if none is. A
    /// header of which nothing was proven says nothing of the ledger, however new it is.
    fn age_ms(&self) -> Option<u64> {
        let proven_ms = self.ends.iter().map(|end| end.last_ms).max()?;
        Some(headers::now_ms().saturating_sub(proven_ms))
    }

    /// The end of the ledger at a size that the node has shown lately, 0 for the newest, as the chain proves it.
    async fn prove(
        &mut self,
        client: &Client,
        memory: &Memory,
        size: u64,
    ) -> Result<Seen, ClientError> {
        let (block, value) = client.chain_proof(size).await?;
        match self.try_prove(client, memory, &block, &value).await {
            // What a slow clock or a mirror that lags does shows nothing of anybody.
            Err(ClientError::OnChain(error, Evidence(None)))
                if error.is_a_lie() || error.ends_trust() =>
            {
                let parts = [&headers::text(&block), &value.value, &value.contract, &value.code];
                let evidence = parts.map(Vec::as_slice).join(&b"\n---\n"[..]);
                let what = if error.ends_trust() { "departed" } else { "chain" };
                let evidence = Evidence(memory.keep_evidence(what, &evidence));
                Err(ClientError::OnChain(error, evidence))
            }
            proven => proven,
        }
    }

    async fn try_prove(
        &mut self,
        client: &Client,
        memory: &Memory,
        block: &RawBlock,
        value: &RawValue,
    ) -> Result<Seen, ClientError> {
        let chain = self.id.clone();
        let headers = self.headers.as_mut().ok_or(ChainError::NoTrust { chain })?;
        let light = headers.believe(client, memory, block).await?;
        let code = headers.pinned().code;
        let established = light.established(&self.contract, TREE_KEY, &code, value);
        let established = established.map_err(ChainError::from)?;
        if let Some(admin) = established.admin {
            return Err(ChainError::Admin { admin }.into());
        }
        let tree = Tree::from_bytes(&established.value).ok_or(ChainError::NoTree)?;
        let (seen, time_ms) = (Seen { size: tree.head().size, root: tree.root() }, light.time_ms());
        let end = End { seen, first_ms: time_ms, last_ms: time_ms, height: light.height() };
        self.check_grows(&end)?;
        self.remember(end);
        Ok(seen)
    }

    /// A ledger only grows: no end of fewer entries is under a later header, and of as many there is one root.
    fn check_grows(&self, new: &End) -> Result<(), ChainError> {
        let is_of_one_ledger = |end: &&End| match end.seen.size.cmp(&new.seen.size) {
            Ordering::Less => end.last_ms <= new.first_ms,
            Ordering::Equal => end.seen.root == new.seen.root,
            Ordering::Greater => end.first_ms >= new.last_ms,
        };
        match self.ends.iter().find(|end| !is_of_one_ledger(end)) {
            Some(end) => Err(ChainError::Shrunk { one: end.seen.size, other: new.seen.size }),
            None => Ok(()),
        }
    }

    fn remember(&mut self, new: End) {
        if let Some(end) = self.ends.iter_mut().find(|end| end.seen == new.seen) {
            end.first_ms = end.first_ms.min(new.first_ms);
            if new.last_ms >= end.last_ms {
                (end.last_ms, end.height) = (new.last_ms, new.height);
            }
            return;
        }
        let place = self.ends.partition_point(|end| end.seen.size < new.seen.size);
        self.ends.insert(place, new);
        if self.ends.len() > MAX_ENDS {
            self.ends.pop_front();
        }
    }

    /// What can be vouched for of the first `size` entries: the last end that the chain has proven.
    ///
    /// # Errors
    /// If nobody has said what to trust, or the newest header that proves an end is too old to sign anything because of
    /// it.
    pub(super) fn vouched(&self, size: u64) -> Result<Option<Seen>, ChainError> {
        let chain = || self.id.clone();
        self.headers.as_ref().ok_or_else(|| ChainError::NoTrust { chain: chain() })?;
        let Some(age_ms) = self.age_ms() else { return Ok(None) };
        if age_ms > MAX_AGE_MS {
            return Err(ChainError::Stale { age_s: age_ms / 1000, max_s: MAX_AGE_MS / 1000 });
        }
        Ok(self.ends.iter().rev().map(|end| end.seen).find(|seen| seen.size <= size))
    }

    /// Whether an entry's time lies between those of the headers between which it was recorded.
    pub(super) fn check_time(&self, index: u64, time_ms: u64) -> Result<(), ChainError> {
        // Entries behind an end that a header proves are of that block or of later ones.
        let before = self.ends.iter().filter(|end| end.seen.size <= index);
        let after_ms = before.map(|end| end.last_ms).max().unwrap_or(0);
        let behind = self.ends.iter().filter(|end| end.seen.size > index);
        let before_ms = behind.map(|end| end.first_ms).min().unwrap_or(u64::MAX);
        Ok(Between { after_ms, before_ms }.check(index, time_ms)?)
    }
}
