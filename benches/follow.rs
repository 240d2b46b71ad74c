//! Following a long ledger over a socket, as a newcomer does.
//!
//! Run with `cargo bench --bench follow` (100,000 entries), or with another number of entries behind
//! `--`. The rate is compared with `verify_strict` of the same signatures on all cores, measured in the
//! same run; the node, a process of its own, shares the machine. Peak memory is that of a process that
//! does nothing but follow.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod long;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use colearn_records::keys::learner_id;
use colearn_sdk::client::{Client, Followed, Memory, Trust};
use colearn_testkit::Figures;

use self::long::{key, signatures_alone, write};

/// As in the `colearn` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Follows the ledger of a node into a folder, and prints entries, seconds and peak memory in KiB.
fn follow(url: &str, folder: &Path, checkpoint: Option<String>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (size, seconds) = runtime.block_on(async {
        let memory = Memory::open(folder, learner_id(&key(0))).unwrap();
        let started = Instant::now();
        let client = Client::connect(url).await.unwrap();
        let trust = Trust { checkpoint, ..Trust::default() };
        let mut followed = Followed::open(client, memory, trust).await.unwrap();
        followed.catch_up(&mut |_| {}).await.unwrap();
        (followed.size(), started.elapsed().as_secs_f64())
    });
    println!("{size} {seconds} {}", peak_kib());
}

/// The checkpoint that a node has now.
fn latest(url: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(url).await.unwrap();
        let followed = Followed::open(client, Memory::default(), Trust::default()).await.unwrap();
        followed.checkpoint().to_owned()
    })
}

/// The most memory that this process has had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// Runs [`follow`] in a process of its own: entries, seconds, MiB.
fn follower(url: &str, folder: &Path, checkpoint: Option<&str>) -> (u64, f64, f64) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--follow", url])
        .arg(folder)
        .args(checkpoint)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    let line = String::from_utf8(output.stdout).unwrap();
    let [size, seconds, kib] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!() };
    let kib: f64 = kib.parse().unwrap();
    (size.parse().unwrap(), seconds.parse().unwrap(), kib / 1024.0)
}

/// A node, and where it listens.
fn node(data: &Path) -> (Child, String) {
    use std::io::BufRead as _;
    let mut node = Command::new(env!("CARGO_BIN_EXE_colearn"))
        .args(["node", "--until-eof", "--json", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = started["address"].as_str().unwrap().to_owned();
    (node, url)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--follow") {
        let checkpoint = arguments.get(at + 3).cloned();
        return follow(&arguments[at + 1], Path::new(&arguments[at + 2]), checkpoint);
    }
    let entries: u64 = arguments.iter().find_map(|text| text.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = dir.path().join("data");
    write(&data, entries);
    let (mut node, url) = node(&data);
    let ledger = data.join("ledger");
    let checkpoint = latest(&url);

    // In turn, since others may use the machine: the best of each is told. Long ledgers once.
    let (mut alone, mut all, mut trusted) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = 0;
    for time in 0..(500_000 / entries).clamp(1, 5) {
        let (signatures, limit, _) = signatures_alone(&ledger);
        count = signatures;
        alone.push(limit.as_secs_f64());
        let folder = |name: &str| dir.path().join(format!("{name}{time}"));
        all.push(follower(&url, &folder("all"), None));
        trusted.push(follower(&url, &folder("trusted"), Some(&checkpoint)));
    }
    let limit = alone.into_iter().fold(f64::INFINITY, f64::min);
    let mut figures = Figures::of(&format!("follow {entries}"), env!("CARGO_TARGET_TMPDIR"));
    let alone = format!("{limit:.2} s, {:.0}/s", count as f64 / limit);
    figures.told(&format!("{count} signatures alone"), &alone);
    let mut tell = |how: &str, runs: Vec<(u64, f64, f64)>, goal: Option<f64>| {
        let Some((size, seconds, mib)) = runs.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)) else {
            return;
        };
        let (rate, ratio) = (size as f64 / seconds, limit / seconds);
        let figure = format!("{size} entries followed {how}");
        let told = format!(
            "{seconds:.2} s, {rate:.0} entries/s, ratio {ratio:.2}, peak memory {mib:.0} MiB"
        );
        match goal {
            Some(goal) => figures.at_least(&figure, &told, ratio, goal),
            None => figures.told(&figure, &told),
        }
    };
    tell("from the first on", all, Some(0.8));
    tell("with a trusted checkpoint", trusted, None);
    tell("again", vec![follower(&url, &dir.path().join("all0"), None)], None);
    figures.end();
    drop(node.stdin.take());
    node.wait().unwrap();
}
