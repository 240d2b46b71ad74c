//! Every disk call of a node that starts and records one transaction fails once, and is once the
//! last thing the process does. What was acknowledged must be there afterwards.
//!
//! Needs strace (Debian's package of that name); without it the test is skipped and says so.
//! `COLEARN_SWEEP=1` sweeps over every call, otherwise over a few of each kind.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use colearn_sdk::client::{Followed, Memory};

use crate::support::{Counter, NodeProcess, Speaker, copy, id, join, key, name, succeed};

/// The calls that durability rests on, with the errors they may meet.
const CALLS: [(&str, &[&str]); 8] = [
    ("pwrite64", &["EIO", "ENOSPC"]),
    ("fdatasync", &["EIO"]),
    ("fsync", &["EIO"]),
    ("sync_file_range", &["EIO"]),
    ("ftruncate", &["EIO"]),
    ("rename", &["EIO", "ENOSPC"]),
    ("openat", &["EIO", "ENOSPC"]),
    ("mkdir", &["ENOSPC"]),
];

/// Starts a node under strace and lets a learner join. Gives whether that was acknowledged.
fn record(data: &Path, log: &Path, more: &[&str], runtime: &tokio::runtime::Runtime) -> bool {
    let calls: Vec<&str> = CALLS.iter().map(|(call, _)| *call).collect();
    let mut node = Command::new("strace")
        .args(["-f", "-qq", "-e", &format!("trace={}", calls.join(",")), "-o"])
        .arg(log)
        .args(more)
        .arg(env!("CARGO_BIN_EXE_colearn"))
        .args(["node", "--json", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(node.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    let started: Option<serde_json::Value> = serde_json::from_str(&line).ok();
    let acknowledged = started.is_some_and(|started| {
        let url = started["address"].as_str().unwrap().to_owned();
        runtime.block_on(async {
            let work = async {
                let mut followed = Followed::connect(&url, Memory::default()).await?;
                let signed = followed.sign(key(7), join("x", 3, 0))?;
                followed.submit(&signed).await
            };
            // A node that hangs fails the test below, since its end is waited for.
            work.await.is_ok()
        })
    });
    // strace ends with what it traces; whatever is left of the node goes.
    let pids = format!("/proc/{0}/task/{0}/children", node.id());
    for pid in std::fs::read_to_string(pids).unwrap_or_default().split_whitespace() {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    node.wait().unwrap();
    acknowledged
}

#[test]
fn every_disk_call_fails_once() {
    if Command::new("strace").arg("true").output().is_err() {
        colearn_testkit::skip("strace", "apt-get install strace");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (base, log) = (dir.path().join("base"), dir.path().join("log"));
    let node = NodeProcess::start(&base);
    runtime.block_on(async {
        Speaker::connect(&node.url).await.create("x", &Counter::weights(0), 3).await;
    });
    node.stop();

    let counting = dir.path().join("counting");
    copy(&base, &counting);
    assert!(record(&counting, &log, &[], &runtime), "without a fault it is acknowledged");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        for (call, _) in CALLS {
            if line.contains(&format!(" {call}(")) {
                *counts.entry(call).or_default() += 1;
            }
        }
    }
    assert!(counts["fdatasync"] >= 2 && counts["pwrite64"] >= 2, "{counts:?}");

    let every = std::env::var_os("COLEARN_SWEEP").is_some();
    let (mut runs, mut acknowledged) = (0, 0);
    for (call, errors) in CALLS {
        let count = counts.get(call).copied().unwrap_or(0);
        let step = if every { 1 } else { count.div_ceil(3).max(1) };
        // The last calls of a kind belong to the transaction, the first to the start.
        for at in (1..=count).rev().step_by(step) {
            let faults = errors
                .iter()
                .map(|error| format!("inject={call}:error={error}:when={at}"))
                .chain([format!("inject={call}:signal=KILL:when={at}")]);
            for fault in faults {
                let data = dir.path().join(format!("run-{runs}"));
                copy(&base, &data);
                let was_acknowledged = record(&data, &log, &["-e", &fault], &runtime);
                runs += 1;
                let node = NodeProcess::start(&data);
                if was_acknowledged {
                    acknowledged += 1;
                    let known = runtime.block_on(async {
                        let speaker = Speaker::connect(&node.url).await;
                        speaker.client.experiment(&name("x"), Some(id(&key(7)))).await.unwrap()
                    });
                    assert!(known.member.is_some(), "{fault}: what was acknowledged is lost");
                }
                node.stop();
                let audited = succeed(&["audit", data.to_str().unwrap()]);
                assert!(audited.contains("AUDIT OK"), "{fault}: {audited}");
                std::fs::remove_dir_all(&data).unwrap();
            }
        }
    }
    println!("{runs} faults over {counts:?}: {acknowledged} acknowledged all the same, none lost");
}
