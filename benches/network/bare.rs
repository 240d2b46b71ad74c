//! Four CometBFTs that keep nothing but keys and values, in their own process: what ordering alone costs.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use colearn_comet::files::{self, Genesis, Settings};
use colearn_comet::keys::{ConsensusKey, NodeKey};
use colearn_comet::process::Sockets;
use colearn_comet::rpc::Client;
use colearn_testkit::free_addresses;
use serde_json::{Value, json};

use super::{NODES, wait_for};

pub(crate) struct Bare {
    nodes: Vec<Node>,
    _dir: tempfile::TempDir,
}

struct Node {
    process: Child,
    sockets: Sockets,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bare {
    /// Started with the files that the nodes of a ledger write for theirs, and each other's peers.
    pub(crate) fn start(program: &Path) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let homes: Vec<_> = (0..NODES).map(|at| dir.path().join(at.to_string())).collect();
        let listen = free_addresses(NODES);
        let mut validators = Vec::new();
        let mut peers = Vec::new();
        for (at, home) in homes.iter().enumerate() {
            let key = ConsensusKey::create_or_open(home).unwrap();
            validators.push((at.to_string(), key.public_key()));
            peers.push(format!("{}@{}", NodeKey::create_or_open(home).unwrap().id(), listen[at]));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let genesis = Genesis {
            chain_id: "bare".to_owned(),
            time_ms: now.as_millis() as u64,
            app_version: 1,
            validators,
        };
        let start = |at: usize| {
            let sockets = Sockets::create().unwrap();
            let mut persistent_peers = peers.clone();
            persistent_peers.remove(at);
            let settings = Settings { persistent_peers, ..Settings::new(listen[at]) };
            files::write(&homes[at], &genesis, &settings, &sockets).unwrap();
            let log = std::fs::File::create(homes[at].join("log")).unwrap();
            let process = Command::new(program)
                .env_clear()
                .args(["node", "--proxy_app", "kvstore", "--home"])
                .arg(&homes[at])
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            Node { process, sockets }
        };
        let bare = Self { nodes: (0..NODES).map(start).collect(), _dir: dir };
        wait_for("the bare CometBFTs are at the same height", || {
            bare.nodes.iter().all(|node| node.height() > 1).then_some(())
        });
        bare
    }

    /// From broadcast to commit, one transaction at a time.
    pub(crate) fn latencies(&self, count: u64, bytes: usize) -> Vec<Duration> {
        (0..count)
            .map(|number| {
                let started = Instant::now();
                let tx = BASE64.encode(tx(number, bytes));
                let became = self.nodes[0].call("broadcast_tx_commit", &json!({ "tx": tx }));
                assert_eq!(became["tx_result"]["code"], 0, "{became}");
                started.elapsed()
            })
            .collect()
    }

    /// Transactions in blocks a second, offered by so many threads for so long.
    pub(crate) fn rate(&self, threads: usize, time: Duration, bytes: usize) -> f64 {
        // Behind those that were offered one at a time.
        let (next, going) = (AtomicU64::new(1 << 32), AtomicBool::new(true));
        let before = self.nodes[0].height();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let client = Client::new(self.nodes[thread % NODES].sockets.rpc());
                let (next, going) = (&next, &going);
                scope.spawn(move || {
                    while going.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        // The mempool is full: others will have made room soon.
                        if client.broadcast_tx_sync(&tx(number, bytes)).is_err() {
                            std::thread::sleep(Duration::from_millis(10));
                        }
                    }
                });
            }
            std::thread::sleep(time);
            let counted = self.nodes[0].transactions(before + 1, self.nodes[0].height());
            going.store(false, Ordering::Relaxed);
            counted as f64 / time.as_secs_f64()
        })
    }
}

/// A pair, as the store takes it, of so many bytes.
fn tx(number: u64, bytes: usize) -> Vec<u8> {
    let mut tx = format!("{number:016x}=").into_bytes();
    tx.resize(bytes, b'v');
    tx
}

impl Node {
    fn height(&self) -> u64 {
        Client::new(self.sockets.rpc()).status().map_or(0, |status| status.height)
    }

    /// How many transactions the blocks have from one height to another.
    fn transactions(&self, first: u64, last: u64) -> u64 {
        /// CometBFT tells no more of them at once.
        const AT_ONCE: u64 = 20;
        let mut count = 0;
        for from in (first..=last).step_by(AT_ONCE as usize) {
            let to = last.min(from + AT_ONCE - 1);
            let range = json!({ "minHeight": from.to_string(), "maxHeight": to.to_string() });
            let blocks = self.call("blockchain", &range);
            for block in blocks["block_metas"].as_array().unwrap() {
                count += block["num_txs"].as_str().unwrap().parse::<u64>().unwrap();
            }
        }
        count
    }

    /// What the nodes of a ledger never ask, and so their client neither.
    fn call(&self, method: &str, params: &Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (body, mut answer) = (body.to_string(), String::new());
        let mut stream = UnixStream::connect(self.sockets.rpc()).unwrap();
        let head = "POST / HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length:";
        write!(stream, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut answer: Value = serde_json::from_str(body).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].take()
    }
}
