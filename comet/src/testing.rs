//! A CometBFT for tests: a client of the application's socket that does what CometBFT does, one step at
//! a time, with a clock that the test sets.
//!
//! What an application must never do (be ahead of the chain, answer a block with another hash than
//! before, propose too much) fails the test: each of it would stop a real chain. That the connection
//! breaks is an error, [`Gone`], since tests break it.

#![allow(clippy::panic, clippy::expect_used, reason = "it asserts what must hold, as tests do")]

mod between;

use std::collections::{HashSet, VecDeque};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use prost::bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tendermint_proto::v0_38::types::{BlockIdFlag, BlockParams};

pub use self::between::Between;

use crate::abci::response_process_proposal::ProposalStatus;
use crate::abci::*;
use crate::files::{Genesis, MAX_BLOCK_BYTES, address};
use crate::rpc::Broadcast;

/// What a block has for transactions at most; the rest is for its header, its commit and evidence.
const MAX_DATA_BYTES: usize = MAX_BLOCK_BYTES as usize - 16 * 1024;

/// How long an answer may take. A test that waits longer is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// The application ended the connection, or answered with an exception.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] FrameError),
    /// The application gave up, for this reason.
    #[error("exception: {0}")]
    Exception(String),
}

impl From<std::io::Error> for Gone {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.into())
    }
}

/// A block.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// Its height, from 1.
    pub height: u64,
    /// Its time.
    pub time_ms: u64,
    /// What it holds.
    pub txs: Vec<Bytes>,
    /// Whose faults it tells.
    pub misbehavior: Vec<Misbehavior>,
    /// Who proposed it: an address.
    pub proposer: [u8; 20],
    /// The hash of the block before.
    pub previous: [u8; 32],
    /// When the validators voted for it; the next block's time.
    pub voted_ms: u64,
}

impl Block {
    /// Its hash. Not CometBFT's, but it covers as much.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.height.to_be_bytes());
        hash.update(self.time_ms.to_be_bytes());
        hash.update(self.previous);
        hash.update(self.proposer);
        for tx in &self.txs {
            hash.update(Sha256::digest(tx));
        }
        for misbehavior in &self.misbehavior {
            hash.update(prost::Message::encode_to_vec(misbehavior));
        }
        hash.finalize().into()
    }
}

/// Consensus keys, and how much each counts.
type Powers = Vec<([u8; 32], i64)>;

/// A block with what came of it.
#[derive(Debug)]
struct Stored {
    block: Block,
    /// What the application answered to it, once it has.
    answer: Option<ResponseFinalizeBlock>,
    /// Whether the application has committed it.
    committed: bool,
}

/// One node's CometBFT. Several of them make a network where a test hands blocks from one to the
/// others.
#[derive(Debug)]
pub struct FakeComet {
    genesis: Genesis,
    /// Its own address, as that of the first validator unless it is set.
    pub me: [u8; 20],
    blocks: Vec<Stored>,
    /// What `InitChain` answered.
    genesis_hash: Option<Bytes>,
    /// Keys and powers; each with the height from which on it is so.
    validators: Vec<(u64, Powers)>,
    mempool: VecDeque<Bytes>,
    /// What was offered and not refused.
    cache: HashSet<Bytes>,
    connections: Option<Connections>,
}

/// As CometBFT, one each for what may go on at the same time.
#[derive(Debug)]
struct Connections {
    query: Connection,
    mempool: Connection,
    consensus: Connection,
    _snapshot: Connection,
}

impl FakeComet {
    /// At the beginning of a chain, connected to nothing.
    pub fn new(genesis: Genesis) -> Self {
        let me = genesis.validators.first().map_or([0; 20], |(_, key)| address(key));
        let validators = genesis.validators.iter().map(|(_, key)| (*key, 1)).collect();
        Self {
            genesis,
            me,
            blocks: Vec::new(),
            genesis_hash: None,
            validators: vec![(1, validators)],
            mempool: VecDeque::new(),
            cache: HashSet::new(),
            connections: None,
        }
    }

    /// The height of the last block that it holds.
    pub fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The block of a height.
    pub fn block(&self, height: u64) -> Option<&Block> {
        let place = usize::try_from(height.checked_sub(1)?).ok()?;
        self.blocks.get(place).map(|stored| &stored.block)
    }

    /// What the application answered to the block of a height.
    pub fn answer(&self, height: u64) -> Option<&ResponseFinalizeBlock> {
        let place = usize::try_from(height.checked_sub(1)?).ok()?;
        self.blocks.get(place)?.answer.as_ref()
    }

    /// What waits to be proposed.
    pub fn mempool(&self) -> impl Iterator<Item = &Bytes> {
        self.mempool.iter()
    }

    /// Who signs the block of a height: keys and powers, as they were updated two blocks before at
    /// least.
    pub fn validators(&self, height: u64) -> &[([u8; 32], i64)] {
        let of = self.validators.iter().rev().find(|(from, _)| *from <= height.max(1));
        of.map_or(&[], |(_, validators)| validators)
    }

    /// Starts, or starts again: connects to the application and does the handshake. `InitChain` where
    /// the application is at the beginning; then every block that it lacks.
    ///
    /// # Errors
    /// If the application is not there, or gives up.
    ///
    /// # Panics
    /// If the application is ahead of the chain, or came to other hashes.
    pub fn connect(&mut self, socket: &Path) -> Result<(), Gone> {
        self.disconnect();
        self.connections = Some(Connections {
            query: Connection::open(socket)?,
            _snapshot: Connection::open(socket)?,
            mempool: Connection::open(socket)?,
            consensus: Connection::open(socket)?,
        });
        let info = self.info()?;
        let height = u64::try_from(info.last_block_height).expect("a height below 0");
        assert!(
            height <= self.height(),
            "the application is at height {height}, ahead of the chain's {}",
            self.height()
        );
        let mut hash = info.last_block_app_hash;
        if height == 0 {
            hash = self.init_chain()?;
        }
        self.assert_hash(height, &hash);
        // The application has the block; its answer was saved before it committed.
        if let Some(stored) = self.stored(height) {
            assert!(
                stored.answer.is_some(),
                "the application is ahead: it was never sent {height}"
            );
            stored.committed = true;
        }
        for height in height + 1..=self.height() {
            self.send_finalize(height)?;
            self.send_commit(height)?;
        }
        Ok(())
    }

    /// Breaks all connections, and forgets the mempool, as a restart does. The chain stays.
    pub fn disconnect(&mut self) {
        self.connections = None;
        self.mempool.clear();
        self.cache.clear();
    }

    /// Offers a transaction, as `broadcast_tx_sync` does.
    ///
    /// # Errors
    /// If the application is gone.
    pub fn check_tx(&mut self, tx: impl Into<Bytes>) -> Result<Broadcast, Gone> {
        let tx = tx.into();
        if !self.cache.insert(tx.clone()) {
            return Ok(Broadcast::InCache);
        }
        let request = RequestCheckTx { tx: tx.clone(), r#type: CheckTxType::New.into() };
        let answer = self.open().mempool.call(request::Value::CheckTx(request))?;
        let response::Value::CheckTx(answer) = answer else { panic!("to CheckTx: {answer:?}") };
        if answer.code == 0 {
            self.mempool.push_back(tx);
            return Ok(Broadcast::Taken);
        }
        self.cache.remove(&tx);
        Ok(Broadcast::Refused { code: answer.code })
    }

    /// Asks the application whatever it may be asked, for example `/p2p/filter/id/ID`.
    ///
    /// # Errors
    /// If the application is gone.
    pub fn query(&mut self, path: &str) -> Result<ResponseQuery, Gone> {
        let request = RequestQuery { path: path.to_owned(), ..RequestQuery::default() };
        match self.open().query.call(request::Value::Query(request))? {
            response::Value::Query(answer) => Ok(answer),
            answer => panic!("to Query: {answer:?}"),
        }
    }

    /// Where the application says that it is.
    ///
    /// # Errors
    /// If the application is gone.
    pub fn info(&mut self) -> Result<ResponseInfo, Gone> {
        let request = RequestInfo {
            version: "0.38.25".to_owned(),
            block_version: 11,
            p2p_version: 8,
            abci_version: "2.0.0".to_owned(),
        };
        match self.open().query.call(request::Value::Info(request))? {
            response::Value::Info(answer) => Ok(answer),
            answer => panic!("to Info: {answer:?}"),
        }
    }

    /// The time of the next block: when the validators voted for the last one, however long ago that
    /// is. The first block's is the chain's beginning.
    pub fn next_time_ms(&self) -> u64 {
        self.blocks.last().map_or(self.genesis.time_ms, |stored| stored.block.voted_ms)
    }

    /// Has the application propose the next block, out of the mempool, with CometBFT's rule for its
    /// time. The validators vote for it at `now_ms`.
    ///
    /// # Errors
    /// If the application is gone.
    ///
    /// # Panics
    /// If the application proposes more than a block may have.
    pub fn propose(&mut self, now_ms: u64) -> Result<Block, Gone> {
        self.propose_at(self.next_time_ms(), now_ms)
    }

    /// As [`FakeComet::propose`], with another time: what a hostile proposer comes to.
    ///
    /// # Errors
    /// If the application is gone.
    ///
    /// # Panics
    /// If the application proposes more than a block may have.
    pub fn propose_at(&mut self, time_ms: u64, now_ms: u64) -> Result<Block, Gone> {
        let height = self.height() + 1;
        let mut bytes = 0;
        let reap = |tx: &&Bytes| {
            bytes += size(tx);
            bytes <= MAX_DATA_BYTES
        };
        let txs = self.mempool.iter().take_while(reap).cloned().collect();
        let request = RequestPrepareProposal {
            max_tx_bytes: int(MAX_DATA_BYTES as u64),
            txs,
            local_last_commit: Some(ExtendedCommitInfo { round: 0, votes: self.extended(height) }),
            misbehavior: Vec::new(),
            height: int(height),
            time: Some(timestamp(time_ms)),
            next_validators_hash: self.validators_hash(height + 1),
            proposer_address: self.me.to_vec().into(),
        };
        let answer = self.open().consensus.call(request::Value::PrepareProposal(request))?;
        let response::Value::PrepareProposal(answer) = answer else {
            panic!("to PrepareProposal: {answer:?}")
        };
        let proposed: usize = answer.txs.iter().map(size).sum();
        assert!(proposed <= MAX_DATA_BYTES, "a proposal of {proposed} bytes stops CometBFT");
        Ok(self.block_of(answer.txs, time_ms, now_ms))
    }

    /// A block that the application did not propose.
    pub fn block_of(&self, txs: Vec<Bytes>, time_ms: u64, now_ms: u64) -> Block {
        Block {
            height: self.height() + 1,
            time_ms,
            txs,
            misbehavior: Vec::new(),
            proposer: self.me,
            previous: self.blocks.last().map_or([0; 32], |stored| stored.block.hash()),
            // As CometBFT's validators, which never vote before the block that they vote for.
            voted_ms: now_ms.max(time_ms + 1),
        }
    }

    /// Whether the application would accept a block.
    ///
    /// # Errors
    /// If the application is gone.
    pub fn process(&mut self, block: &Block) -> Result<bool, Gone> {
        let request = RequestProcessProposal {
            txs: block.txs.clone(),
            proposed_last_commit: Some(CommitInfo { round: 0, votes: self.votes(block.height) }),
            misbehavior: block.misbehavior.clone(),
            hash: block.hash().to_vec().into(),
            height: int(block.height),
            time: Some(timestamp(block.time_ms)),
            next_validators_hash: self.validators_hash(block.height + 1),
            proposer_address: block.proposer.to_vec().into(),
        };
        match self.open().consensus.call(request::Value::ProcessProposal(request))? {
            response::Value::ProcessProposal(answer) => {
                assert!(answer.status() != ProposalStatus::Unknown, "no answer stops CometBFT");
                Ok(answer.status() == ProposalStatus::Accept)
            }
            answer => panic!("to ProcessProposal: {answer:?}"),
        }
    }

    /// Takes a block as decided: it is on the disk from here on, and the application may know nothing
    /// of it.
    ///
    /// # Panics
    /// If it does not follow the last one, or that one is not committed.
    pub fn decide(&mut self, block: Block) {
        assert_eq!(block.height, self.height() + 1, "a block that does not follow");
        if let Some(last) = self.blocks.last() {
            assert!(last.committed, "the last block is not committed");
            assert_eq!(block.previous, last.block.hash(), "a block of another chain");
        }
        self.blocks.push(Stored { block, answer: None, committed: false });
    }

    /// Sends the last block to the application, and keeps the answer.
    ///
    /// # Errors
    /// If the application is gone.
    ///
    /// # Panics
    /// If the application answers otherwise than before, or not for each transaction.
    pub fn finalize(&mut self) -> Result<ResponseFinalizeBlock, Gone> {
        self.send_finalize(self.height())
    }

    /// Has the application commit the last block.
    ///
    /// # Errors
    /// If the application is gone.
    pub fn commit(&mut self) -> Result<ResponseCommit, Gone> {
        self.send_commit(self.height())
    }

    /// Decides, finalizes and commits a block.
    ///
    /// # Errors
    /// If the application is gone.
    pub fn apply(&mut self, block: Block) -> Result<ResponseFinalizeBlock, Gone> {
        self.decide(block);
        let answer = self.finalize()?;
        self.commit()?;
        Ok(answer)
    }

    /// A whole block: proposed, processed, decided, finalized, committed; at a moment of the real
    /// clock.
    ///
    /// # Errors
    /// If the application is gone.
    ///
    /// # Panics
    /// If the application rejects what it has proposed.
    pub fn make_block(&mut self, now_ms: u64) -> Result<ResponseFinalizeBlock, Gone> {
        let block = self.propose(now_ms)?;
        assert!(self.process(&block)?, "the application rejects its own proposal");
        self.apply(block)
    }

    fn init_chain(&mut self) -> Result<Bytes, Gone> {
        let keys = self.genesis.validators.iter();
        let request = RequestInitChain {
            time: Some(timestamp(self.genesis.time_ms)),
            chain_id: self.genesis.chain_id.clone(),
            consensus_params: Some(ConsensusParams {
                block: Some(BlockParams { max_bytes: MAX_BLOCK_BYTES.into(), max_gas: -1 }),
                version: Some(VersionParams { app: self.genesis.app_version }),
                ..ConsensusParams::default()
            }),
            validators: keys.map(|(_, key)| validator_update(key, 1)).collect(),
            app_state_bytes: Bytes::new(),
            initial_height: 1,
        };
        let answer = self.open().consensus.call(request::Value::InitChain(request))?;
        let response::Value::InitChain(answer) = answer else { panic!("to InitChain: {answer:?}") };
        let before = self.genesis_hash.get_or_insert_with(|| answer.app_hash.clone());
        assert_eq!(*before, answer.app_hash, "InitChain came to another hash than before");
        Ok(answer.app_hash)
    }

    /// Holds what the application came to against what it came to before.
    fn assert_hash(&self, height: u64, hash: &Bytes) {
        let before = match height.checked_sub(1) {
            None => self.genesis_hash.as_ref(),
            Some(_) => self.answer(height).map(|answer| &answer.app_hash),
        };
        if let Some(before) = before {
            assert_eq!(before, hash, "another hash at height {height} than before");
        }
    }

    fn send_finalize(&mut self, height: u64) -> Result<ResponseFinalizeBlock, Gone> {
        let block = self.block(height).expect("no such block").clone();
        let request = RequestFinalizeBlock {
            txs: block.txs.clone(),
            decided_last_commit: Some(CommitInfo { round: 0, votes: self.votes(height) }),
            misbehavior: block.misbehavior.clone(),
            hash: block.hash().to_vec().into(),
            height: int(height),
            time: Some(timestamp(block.time_ms)),
            next_validators_hash: self.validators_hash(height + 1),
            proposer_address: block.proposer.to_vec().into(),
        };
        let answer = self.open().consensus.call(request::Value::FinalizeBlock(request))?;
        let response::Value::FinalizeBlock(answer) = answer else {
            panic!("to FinalizeBlock: {answer:?}")
        };
        assert_eq!(answer.tx_results.len(), block.txs.len(), "one result for each transaction");
        if let Some(before) = self.answer(height) {
            assert_eq!(*before, answer, "another answer at height {height} than before");
        } else {
            self.follow(height, &answer);
            let stored = self.stored(height).expect("it was there");
            stored.answer = Some(answer.clone());
        }
        Ok(answer)
    }

    /// What an answer changes here: the validators of the block after the next, and the mempool.
    fn follow(&mut self, height: u64, answer: &ResponseFinalizeBlock) {
        if !answer.validator_updates.is_empty() {
            let mut validators = self.validators(height + 2).to_vec();
            for update in &answer.validator_updates {
                let key = key_of(update);
                validators.retain(|(other, _)| *other != key);
                if update.power > 0 {
                    validators.push((key, update.power));
                }
            }
            assert!(!validators.is_empty(), "a chain without validators stops");
            self.validators.push((height + 2, validators));
        }
        let block = self.block(height).expect("it was there").clone();
        for (tx, result) in block.txs.iter().zip(&answer.tx_results) {
            self.mempool.retain(|waiting| waiting != tx);
            if result.code == 0 {
                self.cache.insert(tx.clone());
            } else {
                self.cache.remove(tx);
            }
        }
    }

    fn send_commit(&mut self, height: u64) -> Result<ResponseCommit, Gone> {
        let answer = self.open().consensus.call(request::Value::Commit(RequestCommit {}))?;
        let response::Value::Commit(answer) = answer else { panic!("to Commit: {answer:?}") };
        self.stored(height).expect("no block to commit").committed = true;
        Ok(answer)
    }

    fn votes(&self, height: u64) -> Vec<VoteInfo> {
        let commit = BlockIdFlag::Commit.into();
        let votes = self.last_validators(height).into_iter();
        votes.map(|who| VoteInfo { validator: Some(who), block_id_flag: commit }).collect()
    }

    fn extended(&self, height: u64) -> Vec<ExtendedVoteInfo> {
        let vote = |validator| ExtendedVoteInfo {
            validator: Some(validator),
            vote_extension: Bytes::new(),
            extension_signature: Bytes::new(),
            block_id_flag: BlockIdFlag::Commit.into(),
        };
        self.last_validators(height).into_iter().map(vote).collect()
    }

    /// Who has signed the block before; nobody before the first.
    fn last_validators(&self, height: u64) -> Vec<Validator> {
        if height < 2 {
            return Vec::new();
        }
        let validator = |(key, power): &([u8; 32], i64)| Validator {
            address: address(key).to_vec().into(),
            power: *power,
        };
        self.validators(height - 1).iter().map(validator).collect()
    }

    fn validators_hash(&self, height: u64) -> Bytes {
        let mut hash = Sha256::new();
        for (key, power) in self.validators(height) {
            hash.update(key);
            hash.update(power.to_be_bytes());
        }
        hash.finalize().to_vec().into()
    }

    fn stored(&mut self, height: u64) -> Option<&mut Stored> {
        let place = usize::try_from(height.checked_sub(1)?).ok()?;
        self.blocks.get_mut(place)
    }

    fn open(&mut self) -> &mut Connections {
        self.connections.as_mut().expect("connected to nothing")
    }
}

/// A connection to the application that asks one thing at a time, each followed by a flush.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<UnixStream>,
    writer: BufWriter<UnixStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn open(socket: &Path) -> Result<Self, Gone> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let writer = BufWriter::new(stream.try_clone()?);
        Ok(Self { reader: BufReader::new(stream), writer })
    }

    /// Sends a request and a flush, and waits for both answers.
    ///
    /// # Errors
    /// If the application is gone, or answers with an exception.
    ///
    /// # Panics
    /// If the second answer is not that to the flush.
    pub fn call(&mut self, request: request::Value) -> Result<response::Value, Gone> {
        self.send(request)?;
        self.send(request::Value::Flush(RequestFlush {}))?;
        self.flush()?;
        let answer = self.receive()?;
        match self.receive()? {
            response::Value::Flush(_) => Ok(answer),
            other => panic!("to Flush: {other:?}"),
        }
    }

    /// Writes a request, but does not see to it that it leaves.
    ///
    /// # Errors
    /// If the application is gone.
    pub fn send(&mut self, request: request::Value) -> Result<(), Gone> {
        Ok(write(&mut self.writer, &Request { value: Some(request) })?)
    }

    /// Has what was written leave.
    ///
    /// # Errors
    /// If the application is gone.
    pub fn flush(&mut self) -> Result<(), Gone> {
        Ok(self.writer.flush()?)
    }

    /// The next answer.
    ///
    /// # Errors
    /// If the application is gone, or answers with an exception.
    pub fn receive(&mut self) -> Result<response::Value, Gone> {
        match read::<Response>(&mut self.reader)? {
            Some(Response { value: Some(response::Value::Exception(exception)) }) => {
                Err(Gone::Exception(exception.error))
            }
            Some(Response { value: Some(answer) }) => Ok(answer),
            Some(Response { value: None }) => Err(FrameError::Unknown.into()),
            None => Err(FrameError::Cut.into()),
        }
    }
}

/// What a transaction takes in a block.
fn size(tx: &Bytes) -> usize {
    tx.len() + 1 + prost::length_delimiter_len(tx.len())
}

fn key_of(update: &ValidatorUpdate) -> [u8; 32] {
    use tendermint_proto::v0_38::crypto::public_key::Sum;
    match update.pub_key.as_ref().and_then(|key| key.sum.as_ref()) {
        Some(Sum::Ed25519(key)) => key.as_slice().try_into().expect("a key of 32 bytes"),
        other => panic!("an update of no Ed25519 key: {other:?}"),
    }
}

fn int(number: u64) -> i64 {
    i64::try_from(number).expect("fewer than 2^63")
}
