//! A ledger that four nodes keep, beside four bare CometBFTs with the same settings.
//!
//! Run with `cargo bench --bench network`, or a part of it with `-- latency`, `votes`, `join`, `death` or `idle`;
//! `-- --seconds 600` says for how long the nodes are left idle. The bare ones keep keys and values in their own
//! process and verify nothing: what a ledger costs is told as a share of theirs, in the same run. All processes
//! and the clients share the machine. It needs a CometBFT, and says so where there is none.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod bare;
mod load;
mod ours;
mod usage;

use std::time::{Duration, Instant};

use colearn_sdk::client::{Followed, Memory};
use colearn_testkit::Figures;
use tokio::runtime::Runtime;

use self::bare::Bare;
use self::load::{Joins, Load};
use self::ours::Ours;
use self::usage::Usage;

/// As in the `colearn` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: usize = 4;
const CLIENTS: usize = 64;
/// How many transactions are submitted one at a time.
const LATENCIES: usize = 60;
/// For how long as many as possible are.
const LOADED: Duration = Duration::from_secs(20);
/// How many of each client are on their way. All together fit into a mempool.
const IN_FLIGHT: usize = 64;
/// More than any client comes to.
const EACH: usize = 1000;
/// How long nodes are under load before one is killed, and how long it stays away.
const BEFORE_DEATH: Duration = Duration::from_secs(5);
const DEATH: Duration = Duration::from_secs(10);

fn main() {
    let Some(comet) = colearn_testkit::cometbft() else { return };
    let mut arguments = std::env::args().skip(1);
    let (mut asked, mut idle) = (Vec::new(), Duration::from_secs(60));
    while let Some(argument) = arguments.next() {
        match &argument[..] {
            "--seconds" => idle = Duration::from_secs(arguments.next().unwrap().parse().unwrap()),
            // Cargo's own.
            "--bench" => {}
            _ => asked.push(argument),
        }
    }
    let is_asked = |what: &str| asked.is_empty() || asked.iter().any(|it| it == what);
    let runtime = Runtime::new().unwrap();
    let (mut bare_latencies, mut bare_rate) = (Vec::new(), 0.0);
    if is_asked("latency") || is_asked("votes") {
        let bare = Bare::start(&comet);
        if is_asked("latency") {
            bare_latencies = bare.latencies(LATENCIES as u64, Joins::BYTES);
        }
        if is_asked("votes") {
            bare_rate = bare.rate(CLIENTS, LOADED, Joins::BYTES);
        }
    }
    let mut ours = Ours::start(&comet);
    let mut table = Figures::of("network", env!("CARGO_TARGET_TMPDIR"));
    if is_asked("idle") {
        idling(&ours, idle, &mut table);
    }
    if is_asked("latency") {
        let latencies = runtime.block_on(latencies(&ours));
        tell_latencies(latencies, bare_latencies, &mut table);
    }
    if is_asked("votes") {
        let rate = runtime.block_on(rate(&ours));
        let ratio = rate / bare_rate;
        let measured = format!("{rate:.0}/s of {bare_rate:.0}/s bare: {ratio:.2}");
        table.goal("signed transactions of 64 clients", &measured, ">= 0.50", ratio >= 0.5);
    }
    if is_asked("join") {
        if !is_asked("votes") {
            runtime.block_on(rate(&ours));
        }
        join(&mut ours, &mut table);
    }
    if is_asked("death") {
        runtime.block_on(death(&mut ours, &mut table));
    }
    table.end();
}

/// From submission to a receipt that was verified, one transaction at a time.
async fn latencies(ours: &Ours) -> Vec<Duration> {
    let mut followed = Followed::connect(&ours.urls[0][..], Memory::default()).await.unwrap();
    let joins = Joins::create(&mut followed, "latency").await;
    let mut latencies = Vec::new();
    for signed in joins.sign(0..LATENCIES) {
        let started = Instant::now();
        followed.submit(&signed).await.unwrap();
        latencies.push(started.elapsed());
    }
    latencies
}

fn tell_latencies(mut ours: Vec<Duration>, mut bare: Vec<Duration>, table: &mut Figures) {
    ours.sort_unstable();
    bare.sort_unstable();
    let at = |all: &[Duration], share: f64| all[(all.len() as f64 * share) as usize].as_secs_f64();
    let (p50, bare_p50) = (at(&ours, 0.5), at(&bare, 0.5));
    let ratio = p50 / bare_p50;
    let measured = format!("{p50:.3} s of {bare_p50:.3} s bare: {ratio:.2}");
    let met = ratio <= 1.2 && p50 <= 1.0;
    table.goal("submission to receipt, p50", &measured, "<= 1.20, <= 1 s", met);
    let (p99, bare_p99) = (at(&ours, 0.99), at(&bare, 0.99));
    let measured = format!("{p99:.3} s of {bare_p99:.3} s bare");
    table.goal("submission to receipt, p99", &measured, "<= 2.5 s", p99 <= 2.5);
}

/// Receipts a second, when many clients submit as fast as they are answered.
async fn rate(ours: &Ours) -> f64 {
    let mut followed = Followed::connect(&ours.urls[0][..], Memory::default()).await.unwrap();
    let joins = Joins::create(&mut followed, "votes").await;
    let load = Load::start(&ours.urls, &joins, IN_FLIGHT).await;
    println!("  {CLIENTS} clients submit");
    let started = Instant::now();
    tokio::time::sleep(LOADED).await;
    let receipts = load.stop().await;
    let in_time = receipts.iter().filter(|at| **at <= started + LOADED).count();
    let after = ours.usage();
    let mean = |of: fn(&Usage) -> f64, which: usize| {
        after.iter().map(|it| of(&it[which])).sum::<f64>() / NODES as f64
    };
    let told = |which: usize| {
        let (cpu_s, rss_mb) = (mean(|it| it.cpu_s, which), mean(|it| it.rss_mb, which));
        format!(
            "{:.0} us of CPU a transaction, {rss_mb:.0} MB",
            cpu_s / receipts.len() as f64 * 1e6
        )
    };
    println!("  afterwards: a node {}; a CometBFT {}", told(0), told(1));
    in_time as f64 / LOADED.as_secs_f64()
}

/// A node that has nothing but its keys fetches all blocks from the others.
fn join(ours: &mut Ours, table: &mut Figures) {
    const JOINER: usize = NODES - 1;
    let entries = ours.size(0);
    ours.start_over(JOINER);
    let started = Instant::now();
    ours.restart(JOINER);
    wait_for("the node has fetched all", || (ours.size(JOINER) >= entries).then_some(()));
    let rate = entries as f64 / started.elapsed().as_secs_f64();
    let [node, comet] = ours.usage()[JOINER];
    println!(
        "  afterwards: the node has {:.0} MB, its CometBFT {:.0} MB",
        node.rss_mb, comet.rss_mb
    );
    let measured = format!("{rate:.0} entries/s of {entries}");
    table.goal("joining, from the start to the last entry", &measured, ">= 2000/s", rate >= 2000.0);
}

/// One of the nodes is killed while clients of the others submit one transaction after another.
async fn death(ours: &mut Ours, table: &mut Figures) {
    const VICTIM: usize = NODES - 1;
    let mut followed = Followed::connect(&ours.urls[0][..], Memory::default()).await.unwrap();
    let joins = Joins::create(&mut followed, "death").await;
    let load = Load::start(&ours.urls[..VICTIM], &joins, 1).await;
    tokio::time::sleep(BEFORE_DEATH).await;
    let killed = Instant::now();
    ours.kill(VICTIM);
    tokio::time::sleep(DEATH).await;
    let restarted = Instant::now();
    ours.restart(VICTIM);
    wait_for("the killed node shows what the others show", || {
        let others = ours.size(0);
        (ours.size(VICTIM) >= others).then_some(())
    });
    let back = restarted.elapsed().as_secs_f64();
    let receipts = load.stop().await;
    let gap = |receipts: &[Instant]| {
        let gaps = receipts.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or(Duration::MAX).as_secs_f64()
    };
    let (before, after) = receipts.split_at(receipts.partition_point(|at| *at < killed));
    let last = before.last().copied().unwrap_or(killed);
    let after: Vec<_> = [last].iter().chain(after).copied().collect();
    let (before, after) = (gap(before), gap(&after));
    let measured = format!("{after:.2} s, before {before:.2} s");
    table.goal("a node killed: longest without a receipt", &measured, "<= 5 s", after <= 5.0);
    table.goal(
        "the same: started again, in step",
        &format!("{back:.2} s"),
        "<= 10 s",
        back <= 10.0,
    );
}

/// Nobody asks for anything.
fn idling(ours: &Ours, time: Duration, table: &mut Figures) {
    let (shown, before) = (ours.shown(0), ours.usage());
    std::thread::sleep(time);
    let after = ours.usage();
    let cpu_s = |usage: &[[Usage; 2]]| usage.iter().flatten().map(|it| it.cpu_s).sum::<f64>();
    let cores = (cpu_s(&after) - cpu_s(&before)) / time.as_secs_f64();
    table.goal("idle: cores of all", &format!("{cores:.3}"), "<= 0.2", cores <= 0.2);
    let same = ours.shown(0) == shown;
    let measured = if same { "unchanged" } else { "another" };
    let time_s = time.as_secs();
    table.goal(&format!("idle: root after {time_s} s"), measured, "unchanged", same);
    let most = |which: usize| after.iter().map(|it| it[which].rss_mb).fold(0.0, f64::max);
    let (node, comet) = (most(0), most(1));
    table.goal("idle: memory of a node", &format!("{node:.1} MB"), "<= 40 MB", node <= 40.0);
    table.goal("idle: memory of a CometBFT", &format!("{comet:.1} MB"), "<= 60 MB", comet <= 60.0);
}

/// Polls until something is there.
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}
