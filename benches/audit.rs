//! Auditing and opening long ledgers.
//!
//! Run with `cargo bench --bench audit` (100,000 entries), or with another number of entries behind
//! `--`. Six of ten entries are votes. The audit is compared with `verify_strict` of the same
//! signatures on all cores; peak memory is that of `colearn audit` as a process of its own.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod long;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use colearn_testkit::Figures;

use self::long::{signatures_alone, write};

/// As in the `colearn` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The peak memory of a process, in MiB, after it has ended well.
fn peak_of(arguments: &[&str]) -> f64 {
    let script = format!("{} > /dev/null; grep VmHWM /proc/self/status > /dev/null", "\"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_colearn")])
        .args(arguments)
        .spawn()
        .unwrap();
    let mut peak = 0.0_f64;
    loop {
        // The shell's child; sampled, since its end takes the figure with it.
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        for pid in std::fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find(|line| line.starts_with("VmHWM"));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
            peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        }
        if child.try_wait().unwrap().is_some() {
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// How long a node takes until it serves; it is killed then.
fn open(data: &Path) -> (f64, serde_json::Value) {
    let started = Instant::now();
    let mut node = Command::new(env!("CARGO_BIN_EXE_colearn"))
        .args(["node", "--json", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(node.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let elapsed = started.elapsed().as_secs_f64();
    let pid = rustix::process::Pid::from_child(&node);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    node.wait().unwrap();
    (elapsed, serde_json::from_str(&line).unwrap())
}

fn main() {
    let entries = std::env::args().find_map(|text| text.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = dir.path().join("data");
    let started = Instant::now();
    write(&data, entries);
    println!("wrote {entries} entries in {:.1} s", started.elapsed().as_secs_f64());
    let ledger = data.join("ledger");

    let (count, limit, [entry, signed]) = signatures_alone(&ledger);
    println!("a vote takes {entry:.0} bytes in the journal, the signed transaction {signed:.0}");
    let mut source = colearn_audit::open(data.to_str().unwrap()).unwrap();
    let started = Instant::now();
    let report =
        colearn_audit::audit(&mut *source, colearn_audit::AuditOptions::default()).unwrap();
    let audit = started.elapsed();
    assert!(report.ok, "{report:?}");
    let mut figures = Figures::of(&format!("audit {entries}"), env!("CARGO_TARGET_TMPDIR"));
    let (audit, limit) = (audit.as_secs_f64(), limit.as_secs_f64());
    let told =
        format!("{audit:.2} s, {count} signatures alone {limit:.2} s: ratio {:.2}", limit / audit);
    figures.at_least("an audit, to its signatures alone", &told, limit / audit, 0.92);
    let peak = peak_of(&["audit", data.to_str().unwrap()]);
    figures.at_most("its memory, MiB", &format!("{peak:.0}"), peak, 64.0);

    let (first, _) = open(&data);
    figures.told("opened without a snapshot", &format!("{first:.2} s"));
    let mut times: Vec<f64> = (0..5).map(|_| open(&data).0).collect();
    times.sort_by(f64::total_cmp);
    figures.at_most("opened with a snapshot, s", &format!("{:.3}", times[2]), times[2], 0.1);
    std::fs::remove_dir_all(ledger.join("index")).unwrap();
    let (rebuild, started) = open(&data);
    let size = started["entries"].as_f64().unwrap();
    let rate = size / rebuild;
    figures.at_least("the index rebuilt, entries/s", &format!("{rate:.0}"), rate, 300_000.0);
    figures.end();
}
