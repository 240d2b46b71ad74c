//! Blocks, recorded by several nodes, each driven by a CometBFT of the tests'.

mod audit;
mod bundles;
mod crashes;
mod determinism;
mod equivalence;
mod figures;
mod history;
mod hostile;
mod signatures;
mod started_over;
mod time;

use std::fs::File;
use std::os::unix::net::UnixListener;

use colearn_comet::abci::{self, ResponseFinalizeBlock, Stopping};
use colearn_comet::files::Genesis;
use colearn_comet::testing::{Block, FakeComet};
use colearn_contracts::{Action, Contract, Limits, VERSION, Version};
use colearn_ledger::{Disk, Ledger, Options, RealDisk};
use colearn_records::transaction::{LedgerId, Seen};
use colearn_records::validators::{self, Validator};
use ed25519_dalek::SigningKey;
use std::sync::atomic::Ordering as Atomic;
use tempfile::TempDir;

use super::*;
use crate::config::NetworkConfig;
use crate::metrics::Counts;
use crate::testing::key;

const BEGIN_MS: u64 = 1_000_000;

fn consensus_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[100 + number; 32])
}

fn validator_at(number: u8, url: &str) -> v1::Validator {
    let p2p = format!("{number:040x}@127.0.0.1:1");
    let name = format!("org-{number}");
    let it = Validator::sign(&name, &p2p, url, &key(number), &consensus_key(number)).unwrap();
    it.message().clone()
}

fn validator(number: u8) -> v1::Validator {
    validator_at(number, "http://127.0.0.1:1")
}

/// The first entry of a ledger that these keep.
fn genesis_of(validators: Vec<v1::Validator>, version: Version) -> v1::Genesis {
    let origin = Some("test".to_owned());
    validators::genesis(origin, validators, BEGIN_MS, version, &Limits::default()).unwrap()
}

/// The first entry of a ledger that as many nodes keep.
fn genesis(nodes: u8) -> v1::Genesis {
    genesis_of((1..=nodes).map(validator).collect(), VERSION)
}

/// The chain that begins with it.
fn chain(genesis: &v1::Genesis) -> Genesis {
    let key = |it: &v1::Validator| it.consensus_public_key[..].try_into().unwrap();
    Genesis {
        chain_id: "test".to_owned(),
        time_ms: BEGIN_MS,
        app_version: application::VERSION,
        validators: genesis.validators.iter().map(|it| (it.name.clone(), key(it))).collect(),
    }
}

/// A disk that takes its time for nothing, since no test here cuts the power; and that fails for good after
/// so many changes, the last of them half done.
struct TestDisk {
    left: AtomicU64,
}

impl TestDisk {
    fn failing_after(changes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(changes) })
    }

    /// Whether it does one more.
    fn works(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        self.left.fetch_update(Atomic::SeqCst, Atomic::SeqCst, one_less).is_ok()
    }

    fn change(&self) -> std::io::Result<()> {
        if self.works() { Ok(()) } else { Err(std::io::Error::other("the disk fails")) }
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, create: bool) -> std::io::Result<File> {
        self.change()?;
        RealDisk.open(path, create)
    }

    fn write_at(&self, path: &Path, file: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
        if self.works() {
            return RealDisk.write_at(path, file, bytes, at);
        }
        RealDisk.write_at(path, file, &bytes[..bytes.len() / 2], at)?;
        Err(std::io::Error::other("the disk fails"))
    }

    fn set_len(&self, path: &Path, file: &File, length: u64) -> std::io::Result<()> {
        self.change()?;
        RealDisk.set_len(path, file, length)
    }

    fn sync(&self, _: &Path, _: &File) -> std::io::Result<()> {
        self.change()
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.change()?;
        RealDisk.remove(path)
    }

    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        self.change()
    }
}

/// A node that runs, without CometBFT.
struct Running {
    application: Arc<Application>,
    signatures: Arc<Signatures>,
    views: Views,
    server: Stopping,
    serving: Option<JoinHandle<()>>,
}

impl Running {
    fn start(
        dir: &Path,
        number: u8,
        genesis: &v1::Genesis,
        clock: Clock,
        disk: Arc<TestDisk>,
    ) -> Self {
        let own = crate::open::signer("test", key(number)).unwrap();
        let options = Options {
            keys_of: record::keys_of,
            drop_unanchored: true,
            disk,
            ..Options::new(own.clone())
        };
        let (mut ledger, _) = Ledger::open(&dir.join("ledger"), options).unwrap();
        if ledger.head().size == 0 {
            let payload = record::genesis_payload(genesis.clone());
            ledger.append(BEGIN_MS, payload, Vec::new()).unwrap();
            ledger.commit().unwrap();
        }
        let keys = crate::genesis::log_keys(&ledger, genesis).unwrap();
        let height = crate::open::last_block(&ledger).unwrap();
        let (keeper, _) = Keeper::open(ledger, &keys).unwrap();
        let beginning = Beginning {
            keeper,
            keys,
            height,
            signer: own,
            vouched: crate::resync::vouched(dir).unwrap(),
            data: dir.to_owned(),
            config: NetworkConfig::default(),
            counts: Counts::default(),
        };
        let (application, views, signatures) =
            prepare(beginning, "test".to_owned(), clock).unwrap();
        let server = Stopping::new();
        let socket = dir.join("abci.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let answers = application.clone();
        let answer = move |request| answers.answer(request);
        let serving = Some(abci::serve(listener, answer, server.clone()).unwrap());
        Self { application, signatures, views, server, serving }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.stop();
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

/// A node with its folder and its CometBFT; both outlive the process.
struct Node {
    number: u8,
    genesis: v1::Genesis,
    clock: Clock,
    dir: TempDir,
    comet: FakeComet,
    running: Option<Running>,
}

impl Node {
    fn new(number: u8, genesis: &v1::Genesis, clock: &Clock) -> Self {
        let mut comet = FakeComet::new(chain(genesis));
        comet.me = colearn_comet::files::address(&consensus_key(number).verifying_key().to_bytes());
        let (genesis, clock) = (genesis.clone(), clock.clone());
        let dir = tempfile::tempdir().unwrap();
        let mut node = Self { number, genesis, clock, dir, comet, running: None };
        node.start();
        node
    }

    fn start(&mut self) {
        self.start_on(TestDisk::failing_after(u64::MAX));
        self.connect();
    }

    fn start_on(&mut self, disk: Arc<TestDisk>) {
        let (dir, clock) = (self.dir.path(), self.clock.clone());
        self.running = Some(Running::start(dir, self.number, &self.genesis, clock, disk));
    }

    fn connect(&mut self) {
        self.comet.connect(&self.dir.path().join("abci.sock")).unwrap();
    }

    /// As a kill: what is not durable is gone.
    fn kill(&mut self) {
        self.comet.disconnect();
        self.running = None;
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn application(&self) -> &Application {
        &self.running().application
    }

    fn reader(&self) -> colearn_ledger::Reader {
        self.application().blocks().keeper().reader()
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        let reader = self.reader();
        reader.entries(0, reader.size(), usize::MAX).unwrap()
    }
}

/// Nodes that keep a ledger together, by one clock.
struct Network {
    nodes: Vec<Node>,
    clock: Clock,
}

impl Network {
    fn of(nodes: u8) -> Self {
        Self::begun_with(&genesis(nodes), nodes)
    }

    /// The first so many of the nodes that a ledger begins with.
    fn begun_with(genesis: &v1::Genesis, nodes: u8) -> Self {
        let clock = Clock::by_hand(BEGIN_MS);
        let nodes = (1..=nodes).map(|number| Node::new(number, genesis, &clock)).collect();
        Self { nodes, clock }
    }

    fn ledger(&self) -> LedgerId {
        self.nodes[0].application().keys.borrow().ledger()
    }

    fn contract(&self) -> Contract {
        self.nodes[0].application().blocks().keeper().contract().clone()
    }

    /// All that there is.
    fn seen(&self) -> Seen {
        let reader = self.nodes[0].reader();
        let size = reader.size();
        Seen { size, root: reader.root(size).unwrap() }
    }

    /// A learner's action, as it is ordered.
    fn sign(&self, learner: u8, action: Action) -> Bytes {
        tx(&Transaction::sign(&key(learner), &self.ledger(), self.seen(), action))
    }

    /// The next block with these, of this time, voted for when it is finalized.
    fn block(&self, txs: Vec<Bytes>, time_ms: u64) -> Block {
        self.nodes[0].comet.block_of(txs, time_ms, self.clock.now_ms().max(time_ms))
    }

    /// Has all record a block; all must come to the same.
    fn apply(&mut self, block: &Block) -> ResponseFinalizeBlock {
        let apply = |node: &mut Node| node.comet.apply(block.clone()).unwrap();
        let answers: Vec<_> = self.nodes.iter_mut().map(apply).collect();
        assert_same(&answers, block.height);
        answers[0].clone()
    }

    /// Has all record these at the time of the clock; what became of each.
    fn record(&mut self, txs: Vec<Bytes>) -> Vec<u32> {
        let block = self.block(txs, self.clock.now_ms());
        codes(&self.apply(&block))
    }

    /// All entries; of every node the same.
    fn entries(&self) -> Vec<Vec<u8>> {
        let first = self.nodes[0].entries();
        for node in &self.nodes[1..] {
            assert!(node.entries() == first, "node {} has other entries", node.number);
        }
        first
    }
}

fn assert_same(answers: &[ResponseFinalizeBlock], height: u64) {
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "block {height}: {answers:#?}");
}

fn codes(answer: &ResponseFinalizeBlock) -> Vec<u32> {
    answer.tx_results.iter().map(|result| result.code).collect()
}

/// A transaction as it is ordered.
fn tx(transaction: &Transaction) -> Bytes {
    record::transaction_payload(transaction).into()
}

/// The next change of who keeps a ledger, approved by the nodes with these keys.
fn change(
    ledger: &LedgerId,
    number: u64,
    change: v1::validator_change::Change,
    by: impl IntoIterator<Item = u8>,
) -> Bytes {
    let change = Some(change);
    let mut change = v1::ValidatorChange { number, change, approvals: Vec::new() };
    for number in by {
        validators::approve(ledger, &key(number), &mut change);
    }
    record::validator_change_payload(&change).into()
}

/// Follows the entries as an auditor would.
fn follow(entries: &[Vec<u8>]) {
    use colearn_records::follower::{Depth, Follower};
    let mut follower = Follower::new(Depth::Full, &entries[0]).unwrap();
    for entry in entries {
        let entry = follower.reader().read(entry.clone());
        follower.follow(&entry).unwrap();
    }
    assert!(follower.blocks().unwrap().is_between());
}
