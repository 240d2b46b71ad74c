//! Blocks, recorded by several nodes, each driven by a CometBFT of the tests'.

use std::os::unix::net::UnixListener;
use std::path::Path;

use colearn_comet::abci::{self, Stopping};
use colearn_comet::files::Genesis;
use colearn_comet::testing::FakeComet;
use colearn_contracts::{Limits, VERSION};
use colearn_ledger::{Ledger, Options};
use colearn_records::validators::{self, Validator};
use ed25519_dalek::SigningKey;

use super::*;
use crate::testing::{Draws, key, next_step};

const BEGIN_MS: u64 = 1_000_000;

fn consensus_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[100 + number; 32])
}

fn validator(number: u8) -> v1::Validator {
    let (p2p, url) = (format!("{number:040x}@127.0.0.1:1"), "http://127.0.0.1:1".to_owned());
    let name = format!("org-{number}");
    let it = Validator::sign(&name, &p2p, &url, &key(number), &consensus_key(number)).unwrap();
    it.message().clone()
}

/// The first entry of a ledger that as many nodes keep.
fn genesis(nodes: u8) -> v1::Genesis {
    let nodes = (1..=nodes).map(validator).collect();
    validators::genesis(Some("test".to_owned()), nodes, BEGIN_MS, VERSION, &Limits::default())
        .unwrap()
}

/// The chain that begins with it.
fn chain(nodes: u8) -> Genesis {
    let key = |number| consensus_key(number).verifying_key().to_bytes();
    Genesis {
        chain_id: "test".to_owned(),
        time_ms: BEGIN_MS,
        app_version: VERSION_OF_BLOCKS,
        validators: (1..=nodes).map(|number| (format!("org-{number}"), key(number))).collect(),
    }
}

const VERSION_OF_BLOCKS: u64 = application::VERSION;

/// One node, without CometBFT.
struct Node {
    application: Arc<Application>,
    server: Stopping,
    serving: Option<JoinHandle<()>>,
}

impl Node {
    fn start(dir: &Path, number: u8, nodes: u8) -> Self {
        let genesis = genesis(nodes);
        let own = crate::open::signer("test", key(number)).unwrap();
        let options = Options {
            keys_of: record::keys_of,
            drop_unanchored: true,
            ..Options::new(own.clone())
        };
        let (mut ledger, _) = Ledger::open(&dir.join("ledger"), options).unwrap();
        if ledger.head().size == 0 {
            let payload = record::genesis_payload(genesis.clone());
            ledger.append(BEGIN_MS, payload, Vec::new()).unwrap();
            ledger.commit().unwrap();
        }
        let keys = crate::genesis::log_keys(&ledger, &genesis).unwrap();
        let height = crate::open::last_block(&ledger).unwrap();
        let (keeper, _) = Keeper::open(ledger, &keys).unwrap();
        let beginning = Beginning {
            keeper,
            keys,
            height,
            signer: own,
            data: dir.to_owned(),
            config: NetworkConfig::default(),
        };
        let (application, _, _) = prepare(beginning, "test".to_owned());
        let server = Stopping::new();
        let socket = dir.join("abci.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let answers = application.clone();
        let answer = move |request| answers.answer(request);
        let serving = Some(abci::serve(listener, answer, server.clone()).unwrap());
        Self { application, server, serving }
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        let reader = self.application.blocks().keeper().reader();
        reader.entries(0, reader.size(), usize::MAX).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.stop();
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

/// Something of everything, as bytes that are ordered.
#[test]
fn nodes_record_the_same_bytes_whatever_happens_to_one() {
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut nodes: Vec<_> =
        (1..=4).zip(&dirs).map(|(number, dir)| Node::start(dir.path(), number, 4)).collect();
    let mut comets: Vec<_> = dirs
        .iter()
        .map(|dir| {
            let mut comet = FakeComet::new(chain(4));
            comet.connect(&dir.path().join("abci.sock")).unwrap();
            comet
        })
        .collect();
    let ledger = nodes[0].application.keys.borrow().ledger();
    let (mut draws, mut now_ms) = (Draws(7), BEGIN_MS);
    let mut recorded = 0;
    for height in 1..=60_u64 {
        let mut txs = Vec::new();
        // Drawn from a copy that goes on within the block, as the nodes will.
        let mut contract = nodes[0].application.blocks().keeper().contract().clone();
        let reader = nodes[0].application.blocks().keeper().reader();
        let size = reader.size();
        let seen = colearn_records::transaction::Seen { size, root: reader.root(size).unwrap() };
        for _ in 0..draws.below(6) {
            let drawn = next_step(&mut draws, &contract);
            let sender =
                (0..=255).find(|it| colearn_records::keys::learner_id(&key(*it)) == drawn.sender());
            let transaction =
                Transaction::sign(&key(sender.unwrap()), &ledger, seen, drawn.action().clone());
            let at = colearn_contracts::Moment::without_ledger(now_ms);
            let _ = contract.apply(at, transaction.sender(), transaction.action());
            txs.push(Bytes::from(record::transaction_payload(&transaction)));
        }
        if draws.below(3) == 0 {
            txs.push(Bytes::from_static(b"\x2a\x00junk"));
            txs.push(Bytes::from(ordered::tick(now_ms)));
        }
        let block = comets[0].block_of(txs, now_ms, now_ms + 40);
        let mut answers = Vec::new();
        for (at, comet) in comets.iter_mut().enumerate() {
            comet.decide(block.clone());
            let answer = comet.finalize().unwrap();
            // One is started anew in between, and finds its own candidate again.
            if height % 7 == at as u64 {
                comet.connect(&dirs[at].path().join("abci.sock")).unwrap();
            } else if height % 11 == at as u64 {
                // One dies before it is durable: it drops what it has.
                comet.disconnect();
                nodes.remove(at);
                nodes.insert(at, Node::start(dirs[at].path(), at as u8 + 1, 4));
                comet.connect(&dirs[at].path().join("abci.sock")).unwrap();
            } else {
                comet.commit().unwrap();
            }
            answers.push((answer.app_hash, answer.tx_results));
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "block {height}");
        recorded += answers[0].1.iter().filter(|result| result.code == 0).count();
        now_ms += [40, 200, 1_000, 30_000][draws.below(4) as usize];
    }
    let first = nodes[0].entries();
    for node in &nodes[1..] {
        assert_eq!(node.entries(), first);
    }
    assert!(recorded > 60, "{recorded} recorded");
    assert!(first.len() > 120, "{} entries", first.len());
    // What is recorded is a ledger that anybody can follow.
    follow(&first);
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
