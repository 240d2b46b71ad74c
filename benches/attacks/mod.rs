//! What attacks do to somebody honest: how long receipts take before, during and after each, and what the node
//! has in memory. Attackers are a process of their own, of the lowest priority, and share the machine.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bytes::Bytes;
use colearn::supervise::NodeProcess;
use colearn_contracts::{Act, Action, Admission, CreateExperiment, LearnerId, Parameters, VERSION};
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_proto::v1::ledger_service_client::LedgerServiceClient;
use colearn_proto::v1::upload_artifact_request::Part;
use colearn_records::transaction::Transaction;
use colearn_sdk::client::{Followed, Memory};
use colearn_sdk::learner::{SAFETENSORS, Weights};
use ed25519_dalek::SigningKey;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::{Channel, Endpoint};

use super::channel;
use super::load::Joins;
use super::usage::usage;

/// What is tried; with a node that speaks TLS the last, and with one of a network the one before.
const ATTACKS: [&str; 11] = [
    "silent connections",
    "connections without end",
    "unread ledgers",
    "unread weights",
    "unread bundles",
    "bodies that do not come",
    "stalled uploads",
    "questions without end",
    "watchers of something else",
    WORDS,
    HANDSHAKES,
];
/// What nodes ask of each other (`/checkpoint/SIZE`): an answer is signed, or waits until the ledger is that long.
const WORDS: &str = "words of nodes";
const HANDSHAKES: &str = "handshakes";
/// How many experiments with how many invited there are: an entry of 50 KB each.
const LARGE: u32 = 60;
const INVITED: u32 = 1_500;
/// How long is measured before and after, and during, and how long an attack has to unfold.
const BEFORE: Duration = Duration::from_secs(3);
const DURING: Duration = Duration::from_secs(6);
const UNFOLDS: Duration = Duration::from_secs(3);
/// How long is waited for the node to recover.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many receipts in their usual time say that it has.
const IN_A_ROW: usize = 20;
/// The aims.
const SLOWER: f64 = 3.0;
const MEGABYTES: f64 = 512.0;

/// Measures each, and says what came of it; those whose names contain this.
pub(crate) fn measure(dir: &Path, start: impl Fn(&str, &[&str]) -> NodeProcess, only: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!(
        "{:26} {:>15} {:>15} {:>15} {:>8} {:>7} {:>9}",
        "receipts, ms: p50 p99", "before", "during", "after", "failed", "MB", "recovered"
    );
    for attack in ATTACKS.iter().filter(|attack| attack.contains(only)) {
        let flags = match *attack {
            HANDSHAKES => vec!["--tls-self-signed".to_owned()],
            WORDS => match of_a_network(&dir.join(attack)) {
                Some(flags) => flags,
                None => continue,
            },
            _ => Vec::new(),
        };
        // One for each: what one has left in memory is not another's.
        let node = start(attack, &flags.iter().map(String::as_str).collect::<Vec<_>>());
        if *attack == WORDS {
            // Before its first block it orders nothing.
            let network = format!("{}/network", node.url);
            let height = || -> Option<u64> {
                let text = ureq::get(&network).call().ok()?.body_mut().read_to_string().ok()?;
                serde_json::from_str::<serde_json::Value>(&text).ok()?["height"].as_u64()
            };
            while height().is_none_or(|height| height == 0) {
                std::thread::sleep(Duration::from_millis(50));
            }
        } else {
            // There each would take a block, and nobody asks for any of it.
            runtime.block_on(fill(&node.url));
        }
        println!("{}", runtime.block_on(one(&node, attack)));
    }
}

/// Makes the data folder of a network's only node, and gives its flags; `None`, and said so, where there is no CometBFT.
fn of_a_network(data: &Path) -> Option<Vec<String>> {
    let comet = colearn_testkit::cometbft()?;
    let told = |arguments: &[&OsStr]| {
        let output = Command::new(env!("CARGO_BIN_EXE_colearn")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let p2p = colearn_testkit::free_address().to_string();
    let identity = ["network", "identity", "--name", "one", "--url", "http://127.0.0.1:1"];
    let identity = [&identity[..], &["--p2p", &p2p, "--data"]].concat();
    let identity: Vec<_> = identity.iter().map(OsStr::new).chain([data.as_os_str()]).collect();
    let [file, network] = ["json", "network.json"].map(|it| data.with_extension(it));
    std::fs::write(&file, told(&identity)).unwrap();
    let genesis = ["network", "genesis", "--time", "2026-01-01T00:00:00Z"].map(OsStr::new);
    let genesis: Vec<_> = genesis.into_iter().chain([file.as_os_str()]).collect();
    std::fs::write(&network, told(&genesis)).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    Some(vec!["--network".to_owned(), path(&network), "--cometbft".to_owned(), path(&comet)])
}

/// A ledger with something in it.
async fn fill(url: &str) {
    let followed = &mut Followed::connect(url, Memory::default()).await.unwrap();
    let weights = Weights::new(vec![7; 8 << 20]);
    followed.client().clone().upload(&weights).await.unwrap();
    let invited: BTreeSet<LearnerId> = (0..INVITED)
        .map(|number| {
            let mut learner = [1; 32];
            learner[..4].copy_from_slice(&number.to_be_bytes());
            LearnerId(learner)
        })
        .collect();
    for number in 0..LARGE {
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters: Parameters::default(),
            admission: Admission::invite(invited.iter().copied()),
            model: weights.model(SAFETENSORS),
            plan: None,
        };
        let name = format!("large-{number}").parse().unwrap();
        let key = SigningKey::from_bytes(&[200 + (number / 30) as u8; 32]);
        followed.act(key, Action::new(name, Act::Create(create))).await.unwrap();
    }
}

/// What somebody honest has met.
struct Met {
    /// How long each receipt took, in ms, the shortest first.
    took: Vec<f64>,
    /// What was not answered, or not taken.
    failed: usize,
    /// The most that the node had in memory.
    most_mb: f64,
}

impl Met {
    fn at(&self, share: f64) -> f64 {
        let at = (self.took.len() as f64 * share) as usize;
        self.took.get(at.min(self.took.len().saturating_sub(1))).copied().unwrap_or(f64::INFINITY)
    }

    fn told(&self) -> String {
        format!("{:.1} {:.1}", self.at(0.5), self.at(0.99))
    }
}

/// Somebody who has one thing recorded after the other, and connects anew now and then.
struct Honest<'a> {
    node: &'a NodeProcess,
    joins: std::vec::IntoIter<Transaction>,
    connected: Option<CoordinatorServiceClient<Channel>>,
    done: usize,
}

impl Honest<'_> {
    /// One receipt, and how long that took, with the connection where it needs one.
    async fn one(&mut self) -> Option<f64> {
        self.done += 1;
        if self.done.is_multiple_of(10) {
            self.connected = None;
        }
        let transaction = Some(self.joins.next().expect("enough were signed").message().clone());
        let (connected, url) = (self.connected.take(), &self.node.url);
        let asking = async {
            let mut client = match connected {
                Some(client) => client,
                None => CoordinatorServiceClient::new(channel(url).await.ok()?),
            };
            let began = Instant::now();
            client.submit(v1::SubmitRequest { transaction }).await.ok()?;
            Some((client, began.elapsed().as_secs_f64() * 1e3))
        };
        let (client, took) = tokio::time::timeout(PATIENCE, asking).await.ok()??;
        self.connected = Some(client);
        Some(took)
    }

    async fn for_so_long(&mut self, time: Duration) -> Met {
        let (mut took, mut failed, mut most_mb) = (Vec::new(), 0, 0.0_f64);
        let until = Instant::now() + time;
        while Instant::now() < until {
            match self.one().await {
                Some(one) => took.push(one),
                None => failed += 1,
            }
            most_mb = most_mb.max(usage(self.node.process.id()).rss_mb);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        took.sort_unstable_by(f64::total_cmp);
        Met { took, failed, most_mb }
    }

    /// How long it takes until receipts take their usual time.
    async fn recovers(&mut self, usual: f64) -> Option<Duration> {
        let began = Instant::now();
        let mut in_a_row = (0, Duration::ZERO);
        while began.elapsed() < PATIENCE {
            match self.one().await {
                Some(took) if took <= SLOWER * usual => in_a_row.0 += 1,
                _ => in_a_row = (0, began.elapsed()),
            }
            if in_a_row.0 == IN_A_ROW {
                return Some(in_a_row.1);
            }
        }
        None
    }
}

async fn one(node: &NodeProcess, attack: &str) -> String {
    let mut followed = Followed::connect(&node.url, Memory::default()).await.unwrap();
    let joins = Joins::create(&mut followed, &attack.replace(' ', "-")).await;
    drop(followed);
    let joins = joins.sign(0..12_000).into_iter();
    let mut honest = Honest { node, joins, connected: None, done: 0 };
    let before = honest.for_so_long(BEFORE).await;
    let attackers = Attackers::start(attack, &node.url);
    let mut unfolds = honest.for_so_long(UNFOLDS).await;
    let during = honest.for_so_long(DURING).await;
    drop(attackers);
    let recovered = honest.recovers(before.at(0.99)).await;
    let after = honest.for_so_long(BEFORE).await;
    unfolds.failed += during.failed;
    let most_mb = during.most_mb.max(unfolds.most_mb);
    let slower = (during.at(0.5) / before.at(0.5)).max(during.at(0.99) / before.at(0.99));
    let is_met = slower <= SLOWER
        && most_mb <= MEGABYTES
        && unfolds.failed + after.failed == 0
        && recovered.is_some();
    format!(
        "{attack:26} {:>15} {:>15} {:>15} {:>8} {most_mb:>7.0} {:>9}   {slower:.1} times   {}",
        before.told(),
        during.told(),
        after.told(),
        unfolds.failed + after.failed,
        recovered.map_or("NOT".to_owned(), |time| format!("{:.1} s", time.as_secs_f64())),
        if is_met { "met" } else { "NOT met" },
    )
}

/// A process that attacks, until it is dropped.
struct Attackers(Child);

impl Attackers {
    fn start(attack: &str, url: &str) -> Self {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(std::env::current_exe().unwrap());
        Self(command.args(["--attack", attack, url]).spawn().unwrap())
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Attacks until it is killed.
pub(crate) fn attack(attack: &str, url: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = url.to_owned();
    runtime.block_on(async move {
        match attack {
            "silent connections" => everywhere(5, 1_100, &url, silent).await,
            "connections without end" => everywhere(8, 4, &url, connect).await,
            "unread ledgers" => unread_ledgers(&url).await,
            "unread weights" => unread_weights(&url).await,
            "unread bundles" => everywhere(4, 300, &url, unread_bundle).await,
            "bodies that do not come" => everywhere(4, 300, &url, no_body).await,
            "stalled uploads" => stalled_uploads(&url).await,
            "questions without end" => everywhere(4, 16, &url, questions).await,
            "watchers of something else" => watchers(&url).await,
            WORDS => everywhere(4, 60, &url, words).await,
            HANDSHAKES => handshakes(&url).await,
            other => panic!("there is no attack {other}"),
        }
        std::future::pending::<()>().await;
    });
}

/// Somebody else, at an address of this machine.
fn stranger(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + number)
}

/// The same again and again over so many connections from each of so many addresses.
async fn everywhere<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    addresses: u8,
    connections: usize,
    url: &str,
    what: fn(TcpStream, usize) -> F,
) {
    let to: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    for from in (0..addresses).map(stranger) {
        for number in 0..connections {
            tokio::spawn(async move {
                loop {
                    let socket = TcpSocket::new_v4().unwrap();
                    let connecting = async {
                        socket.bind((from, 0).into())?;
                        what(socket.connect(to).await?, number).await
                    };
                    if connecting.await.is_err() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
    }
}

/// Says nothing, or that it speaks HTTP/2, and no more.
async fn silent(mut stream: TcpStream, number: usize) -> std::io::Result<()> {
    if number % 2 == 1 {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
    }
    while stream.read(&mut [0; 256]).await? > 0 {}
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(())
}

async fn connect(stream: TcpStream, _: usize) -> std::io::Result<()> {
    drop(stream);
    Ok(())
}

async fn unread_bundle(mut stream: TcpStream, _: usize) -> std::io::Result<()> {
    stream.write_all(b"GET /tile/entries/000.p/60 HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    // What it has is not read: the answer is still there when it is closed.
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stream.write_all(b"\r\n").await?;
    }
}

async fn no_body(mut stream: TcpStream, _: usize) -> std::io::Result<()> {
    let head = b"POST /validator-change HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n";
    stream.write_all(head).await?;
    while stream.read(&mut [0; 256]).await? > 0 {}
    Ok(())
}

async fn questions(mut stream: TcpStream, _: usize) -> std::io::Result<()> {
    let mut buffer = [0; 64 << 10];
    loop {
        stream.write_all(b"GET /tile/entries/000.p/1 HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        if stream.read(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Half of them wait for what never comes, and half ask for what is signed.
async fn words(mut stream: TcpStream, number: usize) -> std::io::Result<()> {
    let mut buffer = [0; 64 << 10];
    for size in (1..=4_u64).cycle() {
        let size = if number.is_multiple_of(2) { size } else { u64::MAX - size };
        let asked = format!("GET /checkpoint/{size} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(asked.as_bytes()).await?;
        if stream.read(&mut buffer).await? == 0 {
            break;
        }
    }
    Ok(())
}

async fn channel_from(number: u8, url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    endpoint.local_address(Some(stranger(number).into())).connect().await.unwrap()
}

/// Keeps what it is answered, or else, if it is refused, forgets it.
fn keep<T: Send + 'static>(asked: impl Future<Output = T> + Send + 'static) {
    tokio::spawn(async move {
        let _kept = asked.await;
        std::future::pending::<()>().await;
    });
}

async fn unread_ledgers(url: &str) {
    for number in 0..40 {
        let ledger = LedgerServiceClient::new(channel_from(number % 4, url).await);
        for _ in 0..110 {
            let mut ledger = ledger.clone();
            keep(async move { ledger.subscribe(v1::SubscribeRequest { start: 0 }).await });
        }
    }
}

async fn unread_weights(url: &str) {
    let digest = Bytes::copy_from_slice(&Weights::new(vec![7; 8 << 20]).digest().0);
    for number in 0..16 {
        let artifacts = ArtifactServiceClient::new(channel_from(number % 4, url).await);
        for _ in 0..110 {
            let (mut artifacts, digest) = (artifacts.clone(), digest.clone());
            let asked = v1::DownloadArtifactRequest { digest, offset: 0 };
            keep(async move { artifacts.download_artifact(asked).await });
        }
    }
}

async fn stalled_uploads(url: &str) {
    for number in 0..16 {
        let artifacts = ArtifactServiceClient::new(channel_from(number, url).await);
        for at in 0..16_u8 {
            let mut artifacts = artifacts.clone();
            let digest = Bytes::copy_from_slice(&Sha256::digest([number, at]));
            let header = v1::UploadHeader { digest, size: 1 << 20, offset: 0 };
            let parts = [Part::Header(header), Part::Chunk(Bytes::from(vec![1; 200_000]))];
            let parts = parts.map(|part| v1::UploadArtifactRequest { part: Some(part) });
            let parts = futures_util::stream::iter(parts).chain(futures_util::stream::pending());
            keep(async move { artifacts.upload_artifact(parts).await });
        }
    }
}

async fn watchers(url: &str) {
    for number in 0..10_u32 {
        let coordinator =
            CoordinatorServiceClient::new(channel_from((number % 4) as u8, url).await);
        for at in 0..100_u32 {
            let mut coordinator = coordinator.clone();
            let name = format!("large-{}", (10 * number + at) % LARGE);
            let asked = v1::WatchExperimentRequest { name, start: 0 };
            tokio::spawn(async move {
                let Ok(told) = coordinator.watch_experiment(asked).await else { return };
                let mut told = told.into_inner();
                while let Ok(Some(_)) = told.message().await {}
            });
        }
    }
}

async fn handshakes(url: &str) {
    for _ in 0..8 {
        let url = url.to_owned();
        tokio::spawn(async move {
            loop {
                drop(channel(&url).await);
            }
        });
    }
}
