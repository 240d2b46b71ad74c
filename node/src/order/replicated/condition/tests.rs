//! What a node says of itself, over HTTP; what orders is played here.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use colearn_comet::abci::{RequestCommit, RequestFinalizeBlock, request};
use colearn_comet::process::Health as Comet;
use colearn_comet::rpc::Client;
use colearn_contracts::{Limits, VERSION};
use colearn_ledger::{Checkpoint, Hash, Ledger, Options, Reader};
use colearn_proto::v1;
use colearn_records::record;
use colearn_records::validators::{self, Validator};
use ed25519_dalek::SigningKey;
use tokio_util::sync::CancellationToken;

use super::super::{Application, Beginning, Signatures, prepare, signatures};
use super::*;
use crate::artifacts::ArtifactStore;
use crate::clock::Clock;
use crate::config::NetworkConfig;
use crate::disk::DiskReserve;
use crate::http::health::{Health, health};
use crate::http::network::{Networks, router};
use crate::http::tiles::{self, Tiles};
use crate::keeper::Keeper;
use crate::metrics::Counts;
use crate::order::waiting::Waiter;
use crate::reads::Reads;
use crate::testing::key;
use crate::witness::Cosignatures;

fn validator(number: u8, url: &str) -> v1::Validator {
    let (name, p2p) = (format!("org-{number}"), format!("{number:040x}@127.0.0.1:1"));
    let consensus = SigningKey::from_bytes(&[100 + number; 32]);
    Validator::sign(&name, &p2p, url, &key(number), &consensus).unwrap().message().clone()
}

/// The first node of a ledger that those at these addresses keep together, without CometBFT.
struct First {
    dir: tempfile::TempDir,
    application: Arc<Application>,
    reader: Reader,
    url: String,
    stopping: CancellationToken,
}

impl First {
    async fn start(urls: &[String]) -> Self {
        Self::begun_at(1_000, urls).await
    }

    /// The same, of a ledger that began at this time.
    async fn begun_at(time_ms: u64, urls: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let nodes = (1..).zip(urls).map(|(number, url)| validator(number, url)).collect();
        let origin = Some("test".to_owned());
        let genesis =
            validators::genesis(origin, nodes, time_ms, VERSION, &Limits::default()).unwrap();
        let signer = crate::open::signer("test", key(1)).unwrap();
        let options = Options {
            keys_of: record::keys_of,
            drop_unanchored: true,
            ..Options::new(signer.clone())
        };
        let (mut ledger, _) = Ledger::open(&dir.path().join("ledger"), options).unwrap();
        ledger.append(time_ms, record::genesis_payload(genesis.clone()), Vec::new()).unwrap();
        ledger.commit().unwrap();
        let keys = crate::genesis::log_keys(&ledger, &genesis).unwrap();
        let (keeper, _) = Keeper::open(ledger, &keys).unwrap();
        let reader = keeper.reader();
        let (data, config) = (dir.path().to_owned(), NetworkConfig::default());
        let (vouched, counts) = (None, Counts::default());
        let beginning =
            Beginning { keeper, keys, height: 0, signer, vouched, data, config, counts };
        let (mut application, views, signatures) =
            prepare(beginning, "test".to_owned(), Clock::default()).unwrap();
        // It was started long ago.
        Arc::get_mut(&mut application).unwrap().started_ms -= 100_000;

        let socket = dir.path().join("rpc.sock");
        order(UnixListener::bind(&socket).unwrap(), application.clone());
        let stopping = CancellationToken::new();
        let submissions = Submissions::new(
            application.clone(),
            signatures.clone(),
            Client::new(socket),
            Comet::default(),
            stopping.clone(),
        );
        tokio::spawn(signatures::gather(application.clone(), signatures.clone(), stopping.clone()));
        let network = Some(Arc::new(Network::new(submissions)));
        let artifacts = ArtifactStore::open(
            &dir.path().join("artifacts"),
            100,
            100,
            DiskReserve::new(dir.path(), 0),
        )
        .unwrap();
        let url = serve(&application, &reader, signatures, network, views, artifacts, &stopping);
        Self { url: url.await, dir, application, reader, stopping }
    }

    /// The status of an answer, and its body.
    async fn ask(&self, path: &str, body: Option<Vec<u8>>) -> (u16, String) {
        let url = format!("{}{path}", self.url);
        let asking = tokio::task::spawn_blocking(move || {
            let agent = ureq::Agent::new_with_config(
                ureq::Agent::config_builder().http_status_as_error(false).build(),
            );
            let mut answer = match body {
                Some(body) => agent.post(&url).send(body).unwrap(),
                None => agent.get(&url).call().unwrap(),
            };
            (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
        });
        asking.await.unwrap()
    }

    async fn report(&self) -> Value {
        let (status, body) = self.ask("/network", None).await;
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// The payload of a change that only this node needs to approve: it has moved.
    fn moved(&self) -> Vec<u8> {
        let mut change = v1::ValidatorChange {
            number: 1,
            change: Some(v1::validator_change::Change::Update(validator(1, "http://127.0.0.1:2"))),
            ..v1::ValidatorChange::default()
        };
        let ledger = self.application.keys.borrow().ledger();
        validators::approve(&ledger, &key(1), &mut change);
        record::validator_change_payload(&change)
    }
}

impl Drop for First {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

async fn serve(
    application: &Application,
    reader: &Reader,
    signatures: Arc<Signatures>,
    network: Option<Arc<Network>>,
    views: crate::view::Views,
    artifacts: ArtifactStore,
    stopping: &CancellationToken,
) -> String {
    let tiles = Tiles {
        reads: Reads::new(reader.clone(), Some(application.shown.published())),
        cosignatures: Cosignatures::new(0, 0),
        stopping: stopping.clone(),
        signatures: Some(signatures),
    };
    let disk = DiskReserve::new(std::path::Path::new("/"), 0);
    let health = health(Health::new(stopping.clone(), disk, network.clone(), None));
    let networks = Networks { network, views, artifacts, stopping: stopping.clone() };
    let routes = tiles::router(tiles).merge(router(networks)).merge(health);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

/// Takes what is broadcast, and has each thing recorded in a block of its own.
fn order(rpc: UnixListener, application: Arc<Application>) {
    std::thread::spawn(move || {
        for (height, stream) in (1..).zip(rpc.incoming()) {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                if let Some(bytes) = line.strip_prefix("Content-Length: ") {
                    length = bytes.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).unwrap();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let tx = BASE64.decode(asked["params"]["tx"].as_str().unwrap()).unwrap();
            let block = RequestFinalizeBlock {
                height,
                txs: vec![Bytes::from(tx)],
                ..RequestFinalizeBlock::default()
            };
            application.answer(request::Value::FinalizeBlock(block)).unwrap();
            application.answer(request::Value::Commit(RequestCommit {})).unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"result\":{\"code\":0}}").unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_how_it_is_and_takes_changes_that_are_approved() {
    let node = First::start(&["http://127.0.0.1:1".to_owned()]).await;
    let report = node.report().await;
    assert_eq!(report["name"], "org-1");
    assert_eq!((&report["height"], &report["size"]), (&json!(0), &json!(1)));
    assert_eq!((&report["quorum"], &report["tolerated"]), (&json!(1), &json!(0)));
    assert_eq!(report["idle_ms"], Value::Null);
    assert_eq!(report["experiments"], json!([]));
    let id = format!("{:040x}", 1);
    let listed = json!([{ "name": "org-1", "url": "http://127.0.0.1:1", "node_id": id }]);
    assert_eq!(report["validators"], listed);

    let bytes = |count| Some(vec![0; count]);
    assert_eq!(node.ask("/validator-change", bytes(10)).await.0, 400);
    assert_eq!(node.ask("/validator-change", bytes(MAX_CHANGE_BYTES + 1)).await.0, 413);
    let unapproved = v1::ValidatorChange { number: 1, ..read(&node.moved()) };
    let unapproved = v1::ValidatorChange { approvals: Vec::new(), ..unapproved };
    let unapproved = record::validator_change_payload(&unapproved);
    let (status, why) = node.ask("/validator-change", Some(unapproved)).await;
    assert_eq!(status, 409, "{why}");
    assert!(node.application.waiting.is_empty(), "nothing of it was handed on");

    let answer = node.ask("/validator-change", Some(node.moved())).await;
    assert_eq!(answer, (200, "{\"index\":1}\n".to_owned()));
    let report = node.report().await;
    assert_eq!(report["validators"][0]["url"], "http://127.0.0.1:2");
    // The change, and the block.
    assert_eq!((&report["height"], &report["size"]), (&json!(1), &json!(3)));
    assert_eq!((&report["published_size"], &report["signed"]), (&json!(3), &json!(1)));
    assert!(report["idle_ms"].is_u64());
    let (status, why) = node.ask("/validator-change", Some(node.moved())).await;
    assert_eq!(status, 409, "it was made already: {why}");
    assert_eq!(node.ask("/healthz", None).await, (200, "ok\n".to_owned()));
}

fn read(payload: &[u8]) -> v1::ValidatorChange {
    let Some(Ordered::Change(change)) = ordered::read(payload) else { unreachable!() };
    *change
}

/// Another node, which signs what it likes for the first entry.
fn other(number: u8, listener: TcpListener, root: impl Fn() -> Hash + Send + 'static) {
    std::thread::spawn(move || {
        let signer = crate::open::signer("test", key(number)).unwrap();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut line = "some".to_owned();
            while !line.trim().is_empty() {
                line.clear();
                lines.read_line(&mut line).unwrap();
            }
            let text = Checkpoint { origin: "test".to_owned(), size: 1, root: root() }.text();
            let note = format!("{text}\n{}", signer.sign(&text, 0));
            let length = note.len();
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length:";
            write!(stream, "{head} {length}\r\n\r\n{note}").unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_too_many_contradict_takes_nothing_until_enough_agree() {
    let nobody = "http://127.0.0.1:1".to_owned();
    let listeners: Vec<_> =
        (2..=3).map(|number| (number, TcpListener::bind("127.0.0.1:0").unwrap())).collect();
    let mut urls = vec![nobody.clone()];
    urls.extend(listeners.iter().map(|(_, it)| format!("http://{}", it.local_addr().unwrap())));
    urls.push(nobody);
    let node = First::start(&urls).await;
    let (agree, right) = (Arc::new(AtomicBool::new(false)), node.reader.root(1).unwrap());
    for (number, listener) in listeners {
        let agree = agree.clone();
        other(number, listener, move || match agree.load(Ordering::SeqCst) {
            true => right,
            false => Hash([3; 32]),
        });
    }
    let contradicted = async || loop {
        let health = node.ask("/healthz", None).await;
        if health.0 == 503 {
            break health.1;
        }
    };
    assert_eq!(
        contradicted().await,
        "2 of the 4 nodes have signed another history than this one\n"
    );
    let (status, why) = node.ask("/validator-change", Some(node.moved())).await;
    assert_eq!(status, 503);
    assert!(why.contains("submit to another node"), "{why}");
    assert_eq!(node.report().await["contradicted"], json!(["org-2", "org-3"]));
    assert!(node.dir.path().join("fork-1-org-2.txt").exists());

    agree.store(true, Ordering::SeqCst);
    while node.ask("/healthz", None).await.0 != 200 {}
    let report = node.report().await;
    assert_eq!((&report["published_size"], &report["trouble"]), (&json!(1), &Value::Null));
    assert_eq!(report["contradicted"], json!(["org-2", "org-3"]), "the evidence stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_at_which_somebody_waits_in_vain_says_so() {
    let node = First::start(&["http://127.0.0.1:1".to_owned()]).await;
    assert_eq!(node.ask("/healthz", None).await.0, 200, "nobody waits");
    let (mut waiters, _answers) = Waiter::of(1);
    let tx = Bytes::from_static(b"something");
    let waiter = waiters.remove(0);
    node.application.waiting.wait_for(ordered::key(&tx), &tx, waiter).unwrap();
    let (status, why) = node.ask("/healthz", None).await;
    assert_eq!(status, 503);
    assert!(why.starts_with("1 transactions wait, and no block came for 10"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_ledger_that_begins_later_says_so() {
    let begins_ms = crate::clock::now_ms() + 3_600_000;
    let node = First::begun_at(begins_ms, &["http://127.0.0.1:1".to_owned()]).await;
    let (status, why) = node.ask("/healthz", None).await;
    assert_eq!(status, 503);
    assert!(
        why.starts_with("the chain begins in 3") && why.contains("this clock is behind"),
        "{why}"
    );
    assert!(node.report().await["trouble"].as_str().unwrap().starts_with("the chain begins"));
}
