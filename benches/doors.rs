//! What TLS costs: votes that are recorded a second with it, as a share of those without, in the same run, beside what
//! signing each costs; what a node takes for a vote, beside verifying it; handshakes a second; and the memory of a node that many idle connections are open to. How fast
//! models are encrypted and opened. And what attacks do to somebody honest.
//!
//! Run with `cargo bench --bench doors`; `-- --connections 10000` says how many are left open, `-- attacks` measures
//! the attacks (`-- attacks unread`: those whose names say so). All processes and the clients share the machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod attacks;
#[allow(dead_code)]
#[path = "network/load.rs"]
mod load;
#[path = "network/usage.rs"]
mod usage;

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use colearn::supervise::NodeProcess;
use colearn_contracts::{Act, Action, ExperimentName};
use colearn_encrypted::{Encryptor, ModelKeys, Opened};
use colearn_ledger::Hash;
use colearn_net::{Address, Connector, Protocol, Trust};
use colearn_proto::v1;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_records::transaction::{LedgerId, Seen, Transaction, Unverified};
use colearn_sdk::client::{Followed, Memory};
use colearn_testkit::Figures;
use ed25519_dalek::SigningKey;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tonic::transport::{Channel, Endpoint};
use tower_service::Service as _;

use self::load::Joins;
use self::usage::usage;

/// As in the `colearn` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 32;
/// How many each submits in a run.
const EACH: usize = 300;
/// Runs of each kind, taken in turn; the best of each counts, since only others make it slower.
const RUNS: usize = 3;
const SHAKING: Duration = Duration::from_secs(5);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut connections = 1_000;
    let mut attacks = None;
    while let Some(argument) = arguments.next() {
        match &argument[..] {
            "--connections" => connections = arguments.next().unwrap().parse().unwrap(),
            "attacks" => attacks = Some(arguments.next().filter(|it| it != "--bench")),
            "--attack" => {
                return attacks::attack(&arguments.next().unwrap(), &arguments.next().unwrap());
            }
            // From cargo.
            "--bench" => {}
            other => panic!("it knows no {other}"),
        }
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let start = |name: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_colearn"));
        command.args(["node", "--until-eof", "--json", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(dir.path().join(name)).args(more);
        NodeProcess::start(command).unwrap()
    };
    if let Some(only) = attacks {
        return attacks::measure(dir.path(), start, &only.unwrap_or_default());
    }
    let most = (connections + 1_000).to_string();
    let many = ["--max-connections", &most, "--max-connections-per-address", &most];
    let plain = start("plain", &many);
    let secure = start("tls", &[&many[..], &["--tls-self-signed"]].concat());
    let mut figures = Figures::of("doors", env!("CARGO_TARGET_TMPDIR"));
    let mut best = [[0.0_f64; 2]; 2];
    // Of a node without TLS, for a vote.
    let mut cpu_us = [f64::INFINITY; 2];
    for run in 0..RUNS {
        for (kind, node) in [&plain, &secure].into_iter().enumerate() {
            for streamed in [false, true] {
                let name = format!("run-{run}-{streamed}");
                let before = usage(node.process.id()).cpu_s;
                let rate = runtime.block_on(rate(&node.url, &name, streamed));
                let used_s = usage(node.process.id()).cpu_s - before;
                let best = &mut best[kind][usize::from(streamed)];
                *best = best.max(rate);
                if kind == 0 {
                    let least = &mut cpu_us[usize::from(streamed)];
                    *least = least.min(used_s * 1e6 / (CLIENTS * EACH) as f64);
                }
            }
        }
    }
    for (at, how) in ["unary", "streamed"].into_iter().enumerate() {
        let (plain, secure) = (best[0][at], best[1][at]);
        let share = secure / plain;
        let cost_us = 1e6 / secure - 1e6 / plain;
        let told = format!("{secure:.0}/s of {plain:.0}/s: {share:.2}; {cost_us:.1} us each");
        figures.at_least(&format!("votes with TLS to those without, {how}"), &told, share, 0.9);
    }
    let verify_us = signing(&mut figures);
    for ((how, goal), cpu_us) in [("unary", 2.2), ("streamed", 1.35)].into_iter().zip(cpu_us) {
        let times = cpu_us / verify_us;
        let told = format!("{cpu_us:.0} us, {times:.2} times");
        figures.at_most(&format!("a node's CPU a vote to verifying it, {how}"), &told, times, goal);
    }
    encryption(&mut figures);
    let shaken = runtime.block_on(handshakes(&secure.url));
    figures.told("handshakes, both ends on this machine", &format!("{shaken:.0}/s"));
    let before = usage(secure.process.id()).rss_mb;
    let held = runtime.block_on(hold(&secure.url, connections));
    let after = usage(secure.process.id()).rss_mb;
    let each = (after - before) * 1000.0 / held.len() as f64;
    let told = format!("{after:.0} MB, {before:.0} MB before: {each:.1} kB each");
    figures.told(&format!("{} idle TLS connections", held.len()), &told);
    figures.end();
}

/// What it costs to sign a vote, and to find out that it is signed, on one core. Gives the second, in microseconds.
fn signing(figures: &mut Figures) -> f64 {
    const SIGNED: u64 = 2_000;
    let name: ExperimentName = "signed".parse().unwrap();
    let key = SigningKey::from_bytes(&[7; 32]);
    let (ledger, seen) = (LedgerId([7; 32]), Seen { size: 0, root: Hash::ZERO });
    let act =
        |round| Action::new(name.clone(), Act::Pass { round, exhausted: false, reason: None });
    let best = |work: &dyn Fn()| {
        let once = |_| {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        };
        (0..RUNS).map(once).fold(f64::INFINITY, f64::min) * 1e6 / SIGNED as f64
    };
    let sign = || (0..SIGNED).map(|round| Transaction::sign(&key, &ledger, seen, act(round)));
    let signed: Vec<_> = sign().collect();
    let sign_us = best(&|| sign().for_each(|it| drop(std::hint::black_box(it))));
    let verify_us = best(&|| {
        signed.iter().for_each(|it| {
            Unverified::decode(it.message().clone()).unwrap().check(&ledger).unwrap();
        });
    });
    let told = format!("{sign_us:.1} us to make, {verify_us:.1} us to verify");
    figures.told("a vote's signature", &told);
    verify_us
}

/// How fast models are encrypted and opened, on one core, beside their digest, which is needed in any case.
fn encryption(figures: &mut Figures) {
    let model = vec![7_u8; 64 << 20];
    let keys = ModelKeys::generate().unwrap();
    let digest = <[u8; 32]>::from(Sha256::digest(&model));
    let encrypt = || {
        let to = Vec::with_capacity(model.len() + model.len() / 1000 + 1000);
        let mut encryptor = Encryptor::new(to, keys.newest(), &digest).unwrap();
        encryptor.write_all(&model).unwrap();
        encryptor.finish().unwrap()
    };
    let encrypted = encrypt();
    let best = |work: &dyn Fn()| {
        let once = |_| {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        };
        model.len() as f64 / 1e6 / (0..RUNS).map(once).fold(f64::INFINITY, f64::min)
    };
    let hashed = best(&|| {
        let _ = std::hint::black_box(Sha256::digest(&model));
    });
    let sealed = best(&|| drop(std::hint::black_box(encrypt())));
    // It is looked at as a whole, and then read.
    let opened = best(&|| {
        Opened::new(&encrypted, &keys).unwrap().copy_to(&mut std::io::sink()).unwrap();
    });
    let told = format!(
        "{sealed:.0} MB/s encrypted, {opened:.0} MB/s opened and read; SHA-256 {hashed:.0} MB/s"
    );
    figures.told("models", &told);
}

async fn channel(url: &str) -> Result<Channel, tonic::transport::Error> {
    let address: Address = url.parse().unwrap();
    let connector = Connector::new(&address, &Trust::default(), Protocol::Http2).unwrap();
    Endpoint::from(address.uri().clone()).connect_with_connector(connector).await
}

/// Votes that are recorded a second. They are joins, which cost what a vote does.
async fn rate(url: &str, name: &str, streamed: bool) -> f64 {
    let mut followed = Followed::connect(url, Memory::default()).await.unwrap();
    let joins = Joins::create(&mut followed, name).await;
    let signed = joins.sign(0..CLIENTS * EACH);
    let mut clients = Vec::new();
    for mine in signed.chunks(EACH) {
        clients.push((CoordinatorServiceClient::new(channel(url).await.unwrap()), mine.to_vec()));
    }
    let started = Instant::now();
    let submitting = clients.into_iter().map(|(client, mine)| match streamed {
        true => tokio::spawn(in_a_stream(client, mine)),
        false => tokio::spawn(one_by_one(client, mine)),
    });
    for submitted in submitting.collect::<Vec<_>>() {
        submitted.await.unwrap();
    }
    (CLIENTS * EACH) as f64 / started.elapsed().as_secs_f64()
}

async fn one_by_one(mut client: CoordinatorServiceClient<Channel>, mine: Vec<Transaction>) {
    for signed in mine {
        let transaction = Some(signed.message().clone());
        client.submit(v1::SubmitRequest { transaction }).await.unwrap();
    }
}

async fn in_a_stream(mut client: CoordinatorServiceClient<Channel>, mine: Vec<Transaction>) {
    let count = mine.len();
    let requests = futures_util::stream::iter(mine)
        .map(|signed| v1::SubmitStreamRequest { transaction: Some(signed.message().clone()) });
    let mut answers = client.submit_stream(requests).await.unwrap().into_inner();
    let mut receipts = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(matches!(answer.result.unwrap(), v1::submit_stream_response::Result::Receipt(_)));
        receipts += 1;
    }
    assert_eq!(receipts, count);
}

/// Handshakes a second, eight at a time.
async fn handshakes(url: &str) -> f64 {
    let address: Address = url.parse().unwrap();
    let connector = Connector::new(&address, &Trust::default(), Protocol::Http2).unwrap();
    let (count, until) = (Arc::new(AtomicUsize::new(0)), Instant::now() + SHAKING);
    let shaking = (0..8).map(|_| {
        let (mut connector, count) = (connector.clone(), count.clone());
        let uri = address.uri().clone();
        tokio::spawn(async move {
            while Instant::now() < until {
                drop(connector.call(uri.clone()).await.unwrap());
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for shaken in shaking.collect::<Vec<_>>() {
        shaken.await.unwrap();
    }
    count.load(Ordering::Relaxed) as f64 / SHAKING.as_secs_f64()
}

/// Connections over each of which something was asked once.
async fn hold(url: &str, count: usize) -> Vec<Channel> {
    let mut held = Vec::new();
    for _ in 0..count {
        let channel = channel(url).await.unwrap();
        let mut client = CoordinatorServiceClient::new(channel.clone());
        let asked =
            client.list_experiments(v1::ListExperimentsRequest { page_size: 1, after: "~".into() });
        asked.await.unwrap();
        held.push(channel);
    }
    held
}
