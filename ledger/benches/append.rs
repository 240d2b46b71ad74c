//! Durable append against the raw limit: the same bytes appended to a file and synced.
//!
//! Run with `cargo bench -p colearn-ledger`. Both sides take turns in one run, since disks are
//! shared and noisy; medians are compared.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::{Duration, Instant};

use colearn_ledger::note::KeyKind;
use colearn_ledger::{Ledger, Options, Signer};
use colearn_testkit::Figures;
use ed25519_dalek::SigningKey;

const BATCH: usize = 256;
const ENTRY_BYTES: usize = 300;
const BATCHES: usize = 400;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A file that is appended to and synced, as the raw limit.
struct Raw(File);

impl Raw {
    fn open(path: &std::path::Path) -> Self {
        Self(OpenOptions::new().create(true).append(true).open(path).unwrap())
    }

    fn append(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.sync_data().unwrap();
    }
}

fn main() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let signer =
        Signer::new("bench/ledger", KeyKind::Log, SigningKey::from_bytes(&[1; 32])).unwrap();
    let (mut ledger, _) = Ledger::open(&dir.path().join("ledger"), Options::new(signer)).unwrap();
    let mut raw = Raw::open(&dir.path().join("raw"));
    let mut raw_anchor = Raw::open(&dir.path().join("raw-anchor"));
    // Payloads that make entries of 300 bytes with the envelope.
    let mut payload = vec![0x22, 0xf8, 0x01];
    payload.resize(ENTRY_BYTES - 45, 7);
    let mut written = 0;
    let mut fill = |ledger: &mut Ledger, batch: usize| {
        for i in 0..BATCH {
            let time_ms = 1_700_000_000_000 + (batch * BATCH + i) as u64;
            written = ledger.append(time_ms, payload.clone(), Vec::new()).unwrap().bytes.len();
        }
    };
    let (mut ours, mut once, mut twice) = (Vec::new(), Vec::new(), Vec::new());
    for batch in 0..BATCHES {
        let started = Instant::now();
        fill(&mut ledger, batch);
        ledger.commit().unwrap();
        ours.push(started.elapsed());
        ledger.update_index().unwrap();

        let bytes = vec![7; BATCH * (ENTRY_BYTES + 8)];
        let started = Instant::now();
        raw.append(&bytes);
        once.push(started.elapsed());

        // A ledger that signs a checkpoint must sync that too before it leaves the process.
        let started = Instant::now();
        raw.append(&bytes);
        raw_anchor.append(&[7; 200]);
        twice.push(started.elapsed());
    }
    // One batch is appended while the one before is on its way to the disk, as the node does.
    let started = Instant::now();
    fill(&mut ledger, BATCHES);
    let mut sealed = ledger.seal().unwrap();
    for batch in 1..BATCHES {
        fill(&mut ledger, BATCHES + batch);
        let next = ledger.seal().unwrap();
        sealed.wait().unwrap();
        sealed = next;
        ledger.update_index().unwrap();
    }
    sealed.wait().unwrap();
    let overlapped = started.elapsed() / BATCHES as u32;
    // The raw limit of the same moment.
    let bytes = vec![7; BATCH * (ENTRY_BYTES + 8)];
    let started = Instant::now();
    (0..BATCHES).for_each(|_| raw.append(&bytes));
    let steady = started.elapsed() / BATCHES as u32;

    let (ours, once, twice) = (median(ours), median(once), median(twice));
    let line = |what: &str, time: Duration, raw: Duration| {
        let per_second = (BATCH as f64 / time.as_secs_f64()) as u64;
        let ratio = raw.as_secs_f64() / time.as_secs_f64();
        println!("{what:<44}{time:>10.1?}  {per_second:>8} entries/s  ratio {ratio:.2}");
        (format!("{per_second} entries/s, ratio {ratio:.2}"), ratio)
    };
    println!("{BATCHES} batches of {BATCH} entries of {written} bytes");
    let mut figures = Figures::of("append", env!("CARGO_TARGET_TMPDIR"));
    println!("one batch at a time (medians)");
    line("  raw: append + fdatasync", once, once);
    line("  raw: the same, then a second file", twice, once);
    let (told, ratio) = line("  ledger: append + commit", ours, once);
    figures.at_least("a batch durable, to raw append and fdatasync", &told, ratio, 0.85);
    println!("one batch after another, steadily (means)");
    line("  raw: append + fdatasync", steady, steady);
    let (told, ratio) = line("  ledger: append, commit, index, overlapped", overlapped, steady);
    figures.at_least("the same overlapped, with the index", &told, ratio, 0.8);
    figures.end();
}
