//! What CometBFT asks, and what is answered.

use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use colearn_comet::abci::response_apply_snapshot_chunk::Result as SnapshotResult;
use colearn_comet::abci::response_offer_snapshot::Result as OfferResult;
use colearn_comet::abci::response_process_proposal::ProposalStatus;
use colearn_comet::abci::response_verify_vote_extension::VerifyStatus;
use colearn_comet::abci::{
    Fatal, RequestCheckTx, RequestInitChain, RequestPrepareProposal, RequestProcessProposal,
    ResponseApplySnapshotChunk, ResponseCheckTx, ResponseCommit, ResponseExtendVote, ResponseInfo,
    ResponseInitChain, ResponseListSnapshots, ResponseLoadSnapshotChunk, ResponseOfferSnapshot,
    ResponsePrepareProposal, ResponseProcessProposal, ResponseQuery, ResponseVerifyVoteExtension,
    request, response, time_ms,
};
use colearn_comet::files::HEARTBEAT;
use colearn_records::log_keys::{KeyChange, LogKeys};
use tokio::sync::watch;

use super::before::Before;
use super::blocks::{Became, Blocks, Committed, code};
use super::ordered::{self, Key, Kind, Ordered, Verified};
use super::shown::Shown;
use crate::clock::Clock;
use crate::keeper::Snapshot;
use crate::metrics::Counts;
use crate::order::waiting::Waiting;
use crate::refusal::Refusal;

/// The version of the application that CometBFT writes into its blocks: of how blocks are recorded.
pub(super) const VERSION: u64 = 2;
/// A block of a time not longer ago than this records what comes as of now; on a network whose blocks take
/// long, as of not longer ago than twice that, and [`MAX_FRESH_MS`] at most.
const FRESH_MS: u64 = 2_000;
const MAX_FRESH_MS: u64 = 10_000;
/// After so long a block comes by itself.
const HEARTBEAT_MS: u64 = HEARTBEAT.as_secs() * 1000;
/// After this long without a block, what is due needs a tick.
const QUIET_MS: u64 = 1_000;
/// A transaction takes its length in a block besides.
const FRAME_BYTES: usize = 8;

/// Somebody waits and there was no block for this long: it does not go on.
const STUCK_MS: u64 = 60_000;
/// Nor does it where there was none for this long: an idle chain has one each minute.
const SILENT_MS: u64 = 150_000;

/// All that the connections share.
pub(super) struct Application {
    pub(super) chain_id: String,
    pub(super) clock: Clock,
    pub(super) blocks: Mutex<Blocks>,
    pub(super) verified: Verified,
    pub(super) waiting: Waiting,
    /// What must come before this node signs.
    pub(super) before: Arc<Before>,
    pub(super) shown: Shown,
    /// How many entries are durable here.
    pub(super) committed: watch::Sender<u64>,
    /// Who keeps the ledger, as far as it is durable here.
    pub(super) keys: watch::Sender<Arc<LogKeys>>,
    /// When something will be due by itself, in ms since 1970.
    pub(super) due_ms: AtomicU64,
    pub(super) pace: Mutex<Pace>,
    /// When this was started, in ms since 1970.
    pub(super) started_ms: u64,
    /// When the chain begins; CometBFT waits for that.
    pub(super) begins_ms: u64,
    /// Who may be a peer besides the validators: node ids, a line each.
    pub(super) observers: std::path::PathBuf,
    /// Has done what need not be done before CometBFT goes on.
    pub(super) landing: Mutex<Option<Sender<Landing>>>,
    pub(super) counts: Counts,
}

/// What is done after a commit was answered.
pub(super) struct Landing {
    pub(super) snapshot: Option<Snapshot>,
}

/// When blocks came.
#[derive(Default)]
pub(super) struct Pace {
    /// When the last one was durable here, in ms since 1970.
    last_ms: Option<u64>,
    /// The last one's time, and whether it held nothing; `None` as long as there was none since the start.
    block: Option<(u64, bool)>,
}

impl Pace {
    fn block(&mut self, now_ms: u64, time_ms: u64, empty: bool) {
        (self.last_ms, self.block) = (Some(now_ms), Some((time_ms, empty)));
    }

    /// For how many ms no block came; `None` before the first.
    pub(super) fn idle_ms(&self, now_ms: u64) -> Option<u64> {
        self.last_ms.map(|last_ms| now_ms.saturating_sub(last_ms))
    }

    /// Whether a block of this time would record what comes now as of long ago.
    ///
    /// A block's time is when the one before was voted for (CometBFT, spec/consensus/bft-time), so that on a
    /// chain that makes no empty blocks what comes after an idle minute would be recorded a minute early. An
    /// empty block makes the next one's time present. Never two in a row for that, however slow the network
    /// is: nothing would ever be recorded.
    fn is_stale(&self, time_ms: u64, now_ms: u64) -> bool {
        let late_ms = now_ms.saturating_sub(time_ms);
        let patience_ms = match self.block {
            None => FRESH_MS,
            Some((last_ms, empty)) => {
                // From the votes for the block before it to those for it.
                let took_ms = time_ms.saturating_sub(last_ms);
                match empty {
                    // It came late and before the heartbeat: it was made to refresh the time.
                    true if (FRESH_MS..HEARTBEAT_MS).contains(&took_ms) => return false,
                    // Of a heartbeat, or to prove what the last block recorded: says nothing of the network.
                    true => FRESH_MS,
                    // Where blocks take long, late is later.
                    false => (2 * took_ms).clamp(FRESH_MS, MAX_FRESH_MS),
                }
            }
        };
        late_ms > patience_ms
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Application {
    pub(super) fn blocks(&self) -> MutexGuard<'_, Blocks> {
        lock(&self.blocks)
    }

    /// Answers one request.
    pub(super) fn answer(&self, request: request::Value) -> Result<response::Value, Fatal> {
        use {request::Value as Q, response::Value as A};
        Ok(match request {
            Q::Info(_) => A::Info(self.info()?),
            Q::InitChain(chain) => A::InitChain(self.init_chain(&chain)?),
            Q::Query(query) => A::Query(self.query(&query.path)),
            Q::CheckTx(check) => A::CheckTx(self.check_tx(&check)),
            Q::PrepareProposal(asked) => A::PrepareProposal(self.prepare(asked)),
            Q::ProcessProposal(proposal) => A::ProcessProposal(self.process(&proposal)),
            Q::FinalizeBlock(block) => {
                A::FinalizeBlock(self.blocks().finalize(&block, &self.verified)?)
            }
            Q::Commit(_) => A::Commit(self.commit()?),
            // Not used: CometBFT asks all the same where it is set up otherwise.
            Q::ExtendVote(_) => A::ExtendVote(ResponseExtendVote::default()),
            Q::VerifyVoteExtension(_) => A::VerifyVoteExtension(ResponseVerifyVoteExtension {
                status: VerifyStatus::Accept.into(),
            }),
            Q::ListSnapshots(_) => A::ListSnapshots(ResponseListSnapshots::default()),
            Q::OfferSnapshot(_) => {
                A::OfferSnapshot(ResponseOfferSnapshot { result: OfferResult::Reject.into() })
            }
            Q::LoadSnapshotChunk(_) => A::LoadSnapshotChunk(ResponseLoadSnapshotChunk::default()),
            Q::ApplySnapshotChunk(_) => A::ApplySnapshotChunk(ResponseApplySnapshotChunk {
                result: SnapshotResult::Abort.into(),
                ..ResponseApplySnapshotChunk::default()
            }),
            Q::Echo(_) | Q::Flush(_) => return Err(Fatal::new("answered before")),
        })
    }

    /// For how long somebody waits and no block came, if that is too long.
    pub(super) fn stuck(&self) -> Option<Duration> {
        let now_ms = self.clock.now_ms();
        let idle_ms = lock(&self.pace).idle_ms(now_ms);
        let idle_ms = idle_ms.unwrap_or_else(|| now_ms.saturating_sub(self.started_ms));
        let is_waited_for = idle_ms >= STUCK_MS && !self.waiting.is_empty();
        // Cut off from the others it would be well for ever: whoever waited has gone to another node.
        let stuck = is_waited_for || (idle_ms >= SILENT_MS && self.not_begun().is_none());
        stuck.then(|| Duration::from_millis(idle_ms))
    }

    /// How long it is until the chain begins, by this node's clock and to the second.
    pub(super) fn not_begun(&self) -> Option<Duration> {
        let ahead = Duration::from_millis(self.begins_ms.saturating_sub(self.clock.now_ms()));
        // Blocks are recorded under their lock: it is not waited for once the time has come.
        (!ahead.is_zero() && self.blocks().height() == 0).then_some(ahead)
    }

    fn info(&self) -> Result<ResponseInfo, Fatal> {
        let blocks = self.blocks();
        let height = blocks.height();
        let hash = match height {
            0 => Bytes::new(),
            _ => blocks.app_hash()?.0.to_vec().into(),
        };
        Ok(ResponseInfo {
            data: "colearn".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            app_version: VERSION,
            last_block_height: i64::try_from(height).map_err(Fatal::new)?,
            last_block_app_hash: hash,
        })
    }

    fn init_chain(&self, chain: &RequestInitChain) -> Result<ResponseInitChain, Fatal> {
        if chain.chain_id != self.chain_id {
            let (found, expected) = (&chain.chain_id, &self.chain_id);
            return Err(Fatal::new(format!("CometBFT keeps the chain {found}, not {expected}")));
        }
        let hash = self.blocks().app_hash()?.0.to_vec().into();
        Ok(ResponseInitChain { app_hash: hash, ..ResponseInitChain::default() })
    }

    /// Whether a peer may be one. Nothing else is asked.
    fn query(&self, path: &str) -> ResponseQuery {
        let allowed = match path.strip_prefix("/p2p/filter/id/") {
            Some(id) => self.may_be_peer(id),
            None => path.starts_with("/p2p/filter/addr/"),
        };
        ResponseQuery { code: u32::from(!allowed), ..ResponseQuery::default() }
    }

    fn may_be_peer(&self, id: &str) -> bool {
        let keys = self.keys.borrow().clone();
        if keys.validators().is_some_and(|them| them.iter().any(|it| it.node_id() == id)) {
            return true;
        }
        let observers = std::fs::read_to_string(&self.observers).unwrap_or_default();
        observers.lines().any(|line| line.trim() == id)
    }

    /// Nothing of the contract's state is asked: a mempool offers each transaction to a peer once, and a
    /// node that is one block behind would lose a good vote.
    fn check_tx(&self, check: &RequestCheckTx) -> ResponseCheckTx {
        let code = match self.verified.may_be_ordered(&check.tx) {
            Some(Kind::Transactions(_) | Kind::Change) => code::RECORDED,
            // Anybody can send ticks; they are taken only while there is something to be done.
            Some(Kind::Tick(time_ms)) => {
                let (due_ms, now_ms) = (self.due_ms.load(Atomic::Relaxed), self.clock.now_ms());
                let wanted = due_ms <= time_ms && time_ms <= now_ms.saturating_add(1000);
                if wanted { code::RECORDED } else { code::INVALID }
            }
            None => code::INVALID,
        };
        ResponseCheckTx { code, ..ResponseCheckTx::default() }
    }

    fn prepare(&self, asked: RequestPrepareProposal) -> ResponsePrepareProposal {
        let time_ms = asked.time.as_ref().and_then(time_ms).unwrap_or(0);
        if lock(&self.pace).is_stale(time_ms, self.clock.now_ms()) {
            return ResponsePrepareProposal::default();
        }
        let room = usize::try_from(asked.max_tx_bytes).unwrap_or(0);
        let change = self.next_change(&asked.txs);
        let mut kept = Kept::default();
        let mut bytes = 0;
        let mut txs = Vec::with_capacity(asked.txs.len());
        for tx in asked.txs {
            let with = bytes + tx.len() + FRAME_BYTES;
            // More than there is room for would stop CometBFT.
            if with <= room
                && let Some(kind) = self.verified.may_be_ordered(&tx)
                && (kind != Kind::Change || change.as_ref().is_none_or(|next| *next == tx))
                && kept.take(&kind)
            {
                bytes = with;
                txs.push(tx);
            }
        }
        ResponsePrepareProposal { txs }
    }

    /// The first change that those who keep the ledger now have approved. Anybody among the peers can offer
    /// any number of others, of which a block takes one: they would hold it up.
    fn next_change(&self, txs: &[Bytes]) -> Option<Bytes> {
        let keys = self.keys.borrow().clone();
        let next = txs.iter().find(|tx| match ordered::read(tx) {
            Some(Ordered::Change(change)) => {
                let change = KeyChange::Validators(*change);
                LogKeys::clone(&keys).follow(u64::MAX, &change).is_ok()
            }
            Some(Ordered::Tick(_) | Ordered::Transaction(_) | Ordered::Bundle(_)) | None => false,
        });
        next.cloned()
    }

    fn process(&self, proposal: &RequestProcessProposal) -> ResponseProcessProposal {
        let mut kept = Kept::default();
        let good = proposal
            .txs
            .iter()
            .all(|tx| self.verified.may_be_ordered(tx).is_some_and(|kind| kept.take(&kind)));
        let status = if good { ProposalStatus::Accept } else { ProposalStatus::Reject };
        ResponseProcessProposal { status: status.into() }
    }

    fn commit(&self) -> Result<ResponseCommit, Fatal> {
        let mut blocks = self.blocks();
        let Committed { height, time_ms, empty, grown, took, became, keys, touched, snapshot } =
            blocks.commit()?;
        if !became.is_empty() {
            self.counts.batch(became.len());
        }
        if let Some(took) = took {
            self.counts.sync(took);
        }
        lock(&self.pace).block(self.clock.now_ms(), time_ms, empty);
        let contract = blocks.keeper().contract();
        self.due_ms.store(contract.next_deadline_ms().unwrap_or(u64::MAX), Atomic::Relaxed);
        if let Some(size) = grown {
            self.shown.draw(contract, &touched, size);
        }
        for (key, became) in became {
            match became {
                Became::Recorded(entry) => {
                    self.waiting.recorded(&key, &entry);
                }
                Became::Rejected(transaction, rejection) => {
                    if !self.waiting.is_waited_for(&key) {
                        continue;
                    }
                    match blocks.keeper().find(&transaction).map_err(Fatal::new)? {
                        Some(index) => self.waiting.recorded_before(&key, index),
                        None => self.waiting.refuse(&key, || rejection.clone().into()),
                    }
                }
                Became::UnknownSeen(size) => {
                    self.waiting.refuse(&key, || Refusal::UnknownSeen(size));
                }
                Became::NoChange(why) => {
                    self.waiting.refuse(&key, || Refusal::NoChange(why.clone()));
                }
            }
        }
        let reader = blocks.keeper().reader();
        drop(blocks);
        if let Some(keys) = keys {
            self.keys.send_replace(Arc::new(keys));
        }
        if let Some(size) = grown {
            tracing::debug!(height, size, "block");
            self.before.look(&reader).map_err(Fatal::new)?;
            self.committed.send_replace(size);
            if let Some(landing) = &*lock(&self.landing) {
                // An index that stands still would soon be all that this node has in memory.
                let sent = landing.send(Landing { snapshot });
                sent.map_err(|_| Fatal::new("what is durable cannot be indexed any more"))?;
            }
        }
        Ok(ResponseCommit { retain_height: 0 })
    }

    /// What has a block made that decides what is due, if something is and no block came for a while. The
    /// same bytes from every node, since of many one is ordered; one each second, `last_s` the last.
    pub(super) fn tick(&self, last_s: &mut u64) -> Option<Bytes> {
        let now_ms = self.clock.now_ms();
        let second = now_ms / 1000;
        let due = self.due_ms.load(Atomic::Relaxed) <= second * 1000;
        let quiet = lock(&self.pace).idle_ms(now_ms).is_none_or(|idle_ms| idle_ms >= QUIET_MS);
        if !due || !quiet || second == *last_s {
            return None;
        }
        *last_s = second;
        Some(ordered::tick(second * 1000).into())
    }

    /// Tells whoever waits for what is under the newest checkpoint already.
    pub(super) fn look_again(&self) {
        let published = self.shown.published().borrow().clone();
        if let Some(published) = published {
            self.waiting.signed(&published);
        }
    }

    /// Indexes what is durable, and keeps a snapshot.
    pub(super) fn land(&self, landing: Landing) -> Result<(), colearn_ledger::Error> {
        let mut blocks = self.blocks();
        blocks.keeper_mut().update_index()?;
        if let Some(snapshot) = landing.snapshot {
            blocks.keeper().save_snapshot(snapshot)?;
        }
        Ok(())
    }
}

/// What a block holds so far, as far as it matters: each thing once, one tick, one change. A bundle has a place if it holds
/// something new: somebody may have put a transaction of it into another one, and the rest of it must not wait for that.
#[derive(Default)]
struct Kept {
    keys: std::collections::HashSet<Key>,
    tick: bool,
    change: bool,
}

impl Kept {
    /// Whether there is a place for it.
    fn take(&mut self, kind: &Kind) -> bool {
        match kind {
            Kind::Tick(_) => !std::mem::replace(&mut self.tick, true),
            Kind::Change => !std::mem::replace(&mut self.change, true),
            Kind::Transactions(keys) => {
                let before = self.keys.len();
                self.keys.extend(keys);
                self.keys.len() > before
            }
        }
    }
}
