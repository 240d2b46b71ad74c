//! What records blocks: the keeper, driven by what the nodes have agreed on.
//!
//! Everything that is recorded follows from the ledger before and the block. What is one node's own (its
//! clock, its disk, its index, who waits) decides nothing here: two nodes that differ in one byte have no
//! ledger in common any more.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use colearn_comet::abci::{
    ExecTxResult, Fatal, Misbehavior, MisbehaviorType, RequestFinalizeBlock, ResponseFinalizeBlock,
    ValidatorUpdate, time_ms, validator_update,
};
use colearn_contracts::{Rejection, Version};
use colearn_ledger::{Appended, Hash, Head, Reader};
use colearn_proto::v1;
use colearn_records::caught::Caught;
use colearn_records::log_keys::{KeyChange, LogKeys};
use colearn_records::record::{self, KEY_CHANGES, MAX_MISBEHAVIOR, Record};
use colearn_records::transaction::Transaction;
use colearn_records::upgrade;

use super::ordered::{self, Key, Ordered, Verified};
use crate::keeper::{Decision, Keeper, Snapshot, Touched};

/// The codes of transactions of a block besides the rules' numbers, which are smaller.
pub(super) mod code {
    /// It is recorded.
    pub(crate) const RECORDED: u32 = 0;
    /// Its signer vouches for another history, or one that is not there yet.
    pub(crate) const SEEN: u32 = 200;
    /// It is nothing that may be ordered.
    pub(crate) const INVALID: u32 = 201;
    /// It is no change of who keeps the ledger.
    pub(crate) const CHANGE: u32 = 202;
}

/// What became of one transaction of a block.
pub(super) enum Became {
    /// This entry.
    Recorded(Appended),
    /// The contract refuses it. It may be in the ledger already.
    Rejected(Box<Transaction>, Rejection),
    /// Its signer vouches for a history that is not this one.
    UnknownSeen(u64),
    /// It changes nothing, for this reason.
    NoChange(String),
}

/// A block that was decided and is not durable yet.
struct Candidate {
    height: u64,
    hash: Bytes,
    /// Its time, in ms since 1970.
    time_ms: u64,
    /// Whether it holds nothing.
    empty: bool,
    answer: ResponseFinalizeBlock,
    became: Vec<(Key, Became)>,
    /// Who keeps the ledger after it, if that changes.
    keys: Option<LogKeys>,
    /// The entry that tells who was caught, and that.
    told: Option<(u64, v1::Block)>,
}

/// A block that is durable here.
pub(super) struct Committed {
    pub(super) height: u64,
    /// Its time, in ms since 1970.
    pub(super) time_ms: u64,
    /// Whether it held nothing.
    pub(super) empty: bool,
    /// How many entries there are, if it has recorded something.
    pub(super) grown: Option<u64>,
    /// What it took to make it durable, if it has recorded something.
    pub(super) took: Option<Duration>,
    pub(super) became: Vec<(Key, Became)>,
    pub(super) keys: Option<LogKeys>,
    pub(super) touched: Touched,
    pub(super) snapshot: Option<Snapshot>,
}

/// What records blocks.
pub(super) struct Blocks {
    keeper: Keeper,
    keys: LogKeys,
    /// Of the last block that is durable here, be it empty.
    height: u64,
    candidate: Option<Candidate>,
    hint: Hint,
    /// Who was caught, in blocks that are durable here.
    caught: Caught,
}

impl Blocks {
    /// Goes on from a ledger whose last block has this height; 0 before the first.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub(super) fn new(
        keeper: Keeper,
        keys: LogKeys,
        height: u64,
        data: &Path,
    ) -> Result<Self, colearn_ledger::Error> {
        let hint = Hint(data.join("height"));
        let height = height.max(hint.read(keeper.root()?).unwrap_or(0));
        let caught = caught_before(&keeper.reader(), &keys)?;
        Ok(Self { keeper, keys, height, candidate: None, hint, caught })
    }

    /// Who was caught signing against the rules.
    pub(super) fn caught(&self) -> &Caught {
        &self.caught
    }

    pub(super) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    pub(super) fn keeper_mut(&mut self) -> &mut Keeper {
        &mut self.keeper
    }

    /// Of the last block that is durable here.
    pub(super) fn height(&self) -> u64 {
        self.height
    }

    /// The root after it. Whatever is a candidate is not durable, and so not counted.
    pub(super) fn app_hash(&self) -> Result<Hash, Fatal> {
        let reader = self.keeper.reader();
        reader.root(reader.size()).map_err(fatal)
    }

    /// Decides a block.
    pub(super) fn finalize(
        &mut self,
        block: &RequestFinalizeBlock,
        verified: &Verified,
    ) -> Result<ResponseFinalizeBlock, Fatal> {
        let height = u64::try_from(block.height).map_err(fatal)?;
        if let Some(candidate) = &self.candidate {
            // CometBFT was started anew; this node was not.
            if (candidate.height, &candidate.hash) == (height, &block.hash) {
                return Ok(candidate.answer.clone());
            }
            return Err(Fatal::new(format!(
                "block {height} was decided to be another one than before"
            )));
        }
        if height != self.height + 1 {
            let expected = self.height + 1;
            return Err(Fatal::new(format!("block {height} came, and {expected} is the next")));
        }
        let head = self.keeper.head();
        let time_ms = block.time.as_ref().and_then(time_ms).unwrap_or(0);
        // A ledger that one node has kept before may be ahead of the nodes' clocks.
        let now_ms = time_ms.max(head.time_ms);
        self.keeper.advance(now_ms).map_err(fatal)?;
        let (root, keys, became) = (None, None, Vec::new());
        let mut deciding = Deciding { now_ms, begin: head, root, keys, became };
        let mut results = Vec::with_capacity(block.txs.len());
        for tx in &block.txs {
            let code = self.decide(&mut deciding, tx, verified)?;
            results.push(ExecTxResult { code, ..ExecTxResult::default() });
        }
        let Deciding { keys, became, .. } = deciding;
        let caught = caught(&block.misbehavior);
        let mut told = None;
        if self.keeper.head().size > head.size || !caught.is_empty() {
            let block = v1::Block {
                height,
                hash: block.hash.clone(),
                proposer: block.proposer_address.clone(),
                misbehavior: caught,
            };
            let (payload, found) = (record::block_payload(&block), record::keys_of_block(&block));
            let entry = self.keeper.note(now_ms, payload, found).map_err(fatal)?;
            told = (!block.misbehavior.is_empty()).then_some((entry.index, block));
        }
        let updates = keys.as_ref().map_or_else(Vec::new, |keys| updates(&self.keys, keys));
        let answer = ResponseFinalizeBlock {
            tx_results: results,
            validator_updates: updates,
            app_hash: self.keeper.root().map_err(fatal)?.0.to_vec().into(),
            ..ResponseFinalizeBlock::default()
        };
        let (hash, empty) = (block.hash.clone(), block.txs.is_empty());
        let answer_kept = answer.clone();
        self.candidate = Some(Candidate {
            height,
            hash,
            time_ms,
            empty,
            answer: answer_kept,
            became,
            keys,
            told,
        });
        Ok(answer)
    }

    fn decide(
        &mut self,
        deciding: &mut Deciding,
        tx: &Bytes,
        verified: &Verified,
    ) -> Result<u32, Fatal> {
        let (key, (code, became)) = match ordered::read(tx) {
            // The block's time has decided what was due.
            Some(Ordered::Tick(_)) => return Ok(code::RECORDED),
            Some(Ordered::Transaction(transaction)) => {
                let key = ordered::key(tx);
                match verified.verify(key, *transaction) {
                    Some(transaction) => (key, self.decide_transaction(deciding, transaction)?),
                    None => return Ok(code::INVALID),
                }
            }
            Some(Ordered::Change(change)) => {
                (ordered::key(tx), self.decide_change(deciding, &change)?)
            }
            Some(Ordered::Bundle(payloads)) => {
                for payload in payloads {
                    self.decide_bundled(deciding, payload, verified)?;
                }
                return Ok(code::RECORDED);
            }
            None => return Ok(code::INVALID),
        };
        deciding.became.push((key, became));
        Ok(code)
    }

    /// Decides one of several. No block holds what is nothing: its proposer's is refused.
    fn decide_bundled(
        &mut self,
        deciding: &mut Deciding,
        payload: &[u8],
        verified: &Verified,
    ) -> Result<(), Fatal> {
        let key = ordered::key(payload);
        let read = ordered::read_bundled(payload);
        if let Some(transaction) = read.and_then(|it| verified.verify(key, *it)) {
            let (_, became) = self.decide_transaction(deciding, transaction)?;
            deciding.became.push((key, became));
        }
        Ok(())
    }

    fn decide_transaction(
        &mut self,
        deciding: &mut Deciding,
        transaction: Transaction,
    ) -> Result<(u32, Became), Fatal> {
        let seen = transaction.seen();
        // Of the block itself nobody has seen anything: its entries are signed together.
        let known = seen.size <= deciding.begin.size;
        if !known || self.root(deciding, seen.size)? != seen.root {
            return Ok((code::SEEN, Became::UnknownSeen(seen.size)));
        }
        match self.keeper.decide(deciding.now_ms, &transaction).map_err(fatal)? {
            Decision::Recorded(entry) => Ok((code::RECORDED, Became::Recorded(entry))),
            Decision::Refused(rejection) => {
                let code = rejection.rule().into();
                Ok((code, Became::Rejected(Box::new(transaction), rejection)))
            }
        }
    }

    /// The root of the first entries, of which there are as many.
    fn root(&self, deciding: &mut Deciding, size: u64) -> Result<Hash, Fatal> {
        if let Some((known, root)) = deciding.root
            && known == size
        {
            return Ok(root);
        }
        let root = self.keeper.reader().root(size).map_err(fatal)?;
        deciding.root = Some((size, root));
        Ok(root)
    }

    fn decide_change(
        &mut self,
        deciding: &mut Deciding,
        change: &v1::ValidatorChange,
    ) -> Result<(u32, Became), Fatal> {
        let refused = |why: String| Ok((code::CHANGE, Became::NoChange(why)));
        if deciding.keys.is_some() {
            return refused("the block has changed who keeps the ledger already".to_owned());
        }
        let mut keys = self.keys.clone();
        let index = self.keeper.head().size;
        if let Err(bad) = keys.follow(index, &KeyChange::Validators(change.clone())) {
            return refused(bad.to_string());
        }
        if let Some(rules) = upgrade::rules(change) {
            // More than two thirds have agreed on it; this program cannot go on without knowing it.
            let version = Version::try_from(rules.contract_version).map_err(fatal)?;
            let limits = upgrade::limits(rules.limits.as_ref()).map_err(fatal)?;
            if let Err(not) = self.keeper.follow_rules(deciding.now_ms, version, limits) {
                return refused(not.to_string());
            }
        }
        let payload = record::validator_change_payload(change);
        let entry = self.keeper.note(deciding.now_ms, payload, vec![KEY_CHANGES.to_vec()]);
        let entry = entry.map_err(fatal)?;
        deciding.keys = Some(keys);
        Ok((code::RECORDED, Became::Recorded(entry)))
    }

    /// Makes the decided block durable.
    pub(super) fn commit(&mut self) -> Result<Committed, Fatal> {
        let Some(Candidate { height, time_ms, empty, became, keys, told, .. }) =
            self.candidate.take()
        else {
            return Err(Fatal::new("a block is to be durable, and none was decided"));
        };
        let grown = self.keeper.is_unsealed();
        let mut took = None;
        if grown {
            let sealed = self.keeper.seal_here().map_err(fatal)?;
            let (_, sync) = sealed.wait_timed().map_err(fatal)?;
            took = Some(sync);
        }
        let size = self.keeper.head().size;
        if !grown {
            self.hint.write(height, self.keeper.root().map_err(fatal)?);
        }
        self.height = height;
        if let Some(keys) = &keys {
            self.keys = keys.clone();
        }
        if let Some((index, block)) = told {
            self.caught.follow(index, &block, &self.keys);
        }
        Ok(Committed {
            height,
            time_ms,
            empty,
            grown: grown.then_some(size),
            took,
            became,
            keys,
            touched: self.keeper.take_touched(),
            snapshot: self.keeper.snapshot_if_due(),
        })
    }
}

/// A block while it is decided.
struct Deciding {
    now_ms: u64,
    /// The ledger's head before it.
    begin: Head,
    /// The last root that a signer vouched for: many vouch for the same.
    root: Option<(u64, Hash)>,
    keys: Option<LogKeys>,
    became: Vec<(Key, Became)>,
}

/// What CometBFT is told of a change: keys that count, and keys that count no longer.
fn updates(before: &LogKeys, after: &LogKeys) -> Vec<ValidatorUpdate> {
    let keys = |keys: &LogKeys| -> Vec<[u8; 32]> {
        let validators = keys.validators().into_iter().flat_map(|it| it.iter());
        validators.map(|it| it.consensus_key().to_bytes()).collect()
    };
    let (before, after) = (keys(before), keys(after));
    let gone = before.iter().filter(|key| !after.contains(key)).map(|key| (key, 0));
    let new = after.iter().filter(|key| !before.contains(key)).map(|key| (key, 1));
    gone.chain(new).map(|(key, power)| validator_update(key, power)).collect()
}

/// Whose faults a block records: each validator once. One can commit any number, of which CometBFT takes a
/// megabyte into a block; an entry has room for few.
fn caught(all: &[Misbehavior]) -> Vec<v1::Misbehavior> {
    let mut told = HashSet::new();
    let caught = all.iter().filter_map(misbehavior);
    let once = caught.filter(|it| told.insert(it.validator.clone()));
    once.take(MAX_MISBEHAVIOR).collect()
}

fn misbehavior(caught: &Misbehavior) -> Option<v1::Misbehavior> {
    let kind = match MisbehaviorType::try_from(caught.r#type).ok()? {
        MisbehaviorType::DuplicateVote => v1::MisbehaviorKind::DuplicateVote,
        MisbehaviorType::LightClientAttack => v1::MisbehaviorKind::LightClientAttack,
        MisbehaviorType::Unknown => return None,
    };
    Some(v1::Misbehavior {
        kind: kind.into(),
        validator: caught.validator.as_ref()?.address.clone(),
        height: u64::try_from(caught.height).ok()?,
        time_ms: caught.time.as_ref().and_then(time_ms).unwrap_or(0),
    })
}

/// Who was caught in what a ledger holds already.
fn caught_before(reader: &Reader, keys: &LogKeys) -> Result<Caught, colearn_ledger::Error> {
    let mut caught = Caught::default();
    let mut from = 0;
    while let Some(index) = reader.find(record::CAUGHT, from)? {
        if let Ok(Record::Block(block)) = Record::decode(&reader.entry(index)?).map(|it| it.record)
        {
            caught.follow(index, &block, keys);
        }
        from = index + 1;
    }
    Ok(caught)
}

fn fatal(error: impl std::fmt::Display) -> Fatal {
    Fatal::new(error)
}

/// The height of the last block that has recorded nothing, with the ledger's root. It saves having such
/// blocks again after a start, and nothing else: what is lost or stale is no matter.
struct Hint(PathBuf);

impl Hint {
    fn read(&self, root: Hash) -> Option<u64> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        let (height, of) = text.trim_end().split_once(' ')?;
        // Of another ledger, or an older state of this one: then its blocks come again.
        (of == root.to_string()).then(|| height.parse().ok()).flatten()
    }

    fn write(&self, height: u64, root: Hash) {
        let new = self.0.with_extension("new");
        let done = std::fs::write(&new, format!("{height} {root}\n"))
            .and_then(|()| std::fs::rename(&new, &self.0));
        if let Err(error) = done {
            tracing::debug!(%error, "the height of an empty block is not kept");
        }
    }
}
