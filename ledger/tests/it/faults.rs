//! What crashes, failing disks and damage may do to a ledger, and what they may not.
//!
//! The short forms run with every test. Long forms: `COLEARN_KILLS=10000`, `COLEARN_CRASHES=100000`
//! and `COLEARN_DAMAGES=5000` set how often each is done; `COLEARN_SEED` replays one seed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use colearn_ledger::{
    Disk, Error, Hash, Head, IndexCheck, JournalReader, Ledger, Options, RealDisk,
};
use tempfile::TempDir;

use crate::recovery::{keys_of, options, payload};

/// A small generator whose whole state is its seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

fn times(variable: &str, short: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("COLEARN_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    }
}

fn append(ledger: &mut Ledger, i: u64) -> Result<Hash, Error> {
    Ok(ledger.append(1000 + i, payload(i), keys_of(&payload(i)))?.leaf)
}

/// Everything that was acknowledged is there, the chain holds, and what is served agrees with it.
fn check_acknowledged(dir: &Path, ledger: &Ledger, acknowledged: &[Hash]) {
    let reader = ledger.reader();
    assert!(reader.size() >= acknowledged.len() as u64, "acknowledged entries are lost");
    let mut journal = JournalReader::open(dir).unwrap();
    let mut head = Head::EMPTY;
    while let Some(entry) = journal.next_entry().unwrap() {
        head = head.follow(&entry.bytes).unwrap().1;
        let index = head.size - 1;
        if let Some(leaf) = acknowledged.get(index as usize) {
            assert_eq!(head.leaf, *leaf, "entry {index} has changed");
        }
        assert_eq!(reader.leaf(index).unwrap(), head.leaf);
        assert_eq!(reader.entry(index).unwrap(), entry.bytes);
    }
    assert_eq!(head, ledger.head());
}

/// The child of the kill loop: appends and reports each acknowledged entry, until it is killed.
#[test]
fn kill_loop_child() {
    let Ok(dir) = std::env::var("COLEARN_KILL_DIR") else { return };
    let (mut ledger, _) = Ledger::open(Path::new(&dir), options(1)).unwrap();
    let mut random = Random(ledger.head().size ^ u64::from(std::process::id()));
    loop {
        let first = ledger.head().size;
        let leaves: Vec<Hash> =
            (0..=random.below(20)).map(|i| append(&mut ledger, first + i).unwrap()).collect();
        ledger.commit().unwrap();
        for (i, leaf) in leaves.iter().enumerate() {
            println!("acknowledged {} {leaf}", first + i as u64);
        }
        ledger.update_index().unwrap();
    }
}

#[test]
fn kill_loop() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged: Vec<Hash> = Vec::new();
    let cycles = times("COLEARN_KILLS", 15);
    let mut random = Random(7);
    for cycle in 0..cycles {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::kill_loop_child", "--nocapture"])
            .env("COLEARN_KILL_DIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after some acknowledgement, at whatever it is doing then.
        let mut left = random.below(60) as i64;
        for line in lines.map_while(Result::ok) {
            let Some(text) = line.strip_prefix("acknowledged ") else { continue };
            let (index, leaf) = text.split_once(' ').unwrap();
            let index: usize = index.parse().unwrap();
            let leaf = Hash(std::array::from_fn(|i| {
                u8::from_str_radix(&leaf[2 * i..2 * i + 2], 16).unwrap()
            }));
            assert_eq!(index, acknowledged.len(), "acknowledged in order, once");
            acknowledged.push(leaf);
            if left == 0 {
                child.kill().unwrap();
            }
            left -= 1;
        }
        child.wait().unwrap();
        let (ledger, _) = Ledger::open(dir.path(), options(1)).unwrap();
        let (reader, size) = (ledger.reader(), ledger.head().size);
        assert!(size >= acknowledged.len() as u64, "acknowledged entries are lost");
        if let Some(last) = acknowledged.len().checked_sub(1) {
            assert_eq!(reader.leaf(last as u64).unwrap(), acknowledged[last]);
        }
        // What was written but not acknowledged counts from here on.
        for index in acknowledged.len() as u64..size {
            acknowledged.push(reader.leaf(index).unwrap());
        }
        if cycle % 1_000 == 0 || cycle + 1 == cycles {
            check_acknowledged(dir.path(), &ledger, &acknowledged);
        }
    }
    println!("{cycles} kills, {} entries acknowledged, none lost", acknowledged.len());
}

/// One change that a disk was asked for.
#[derive(Clone, Debug)]
enum Change {
    Create(PathBuf),
    Write(PathBuf, Vec<u8>, u64),
    SetLen(PathBuf, u64),
    Remove(PathBuf),
    Sync(PathBuf),
    SyncDir,
}

/// Does what it is asked on the real disk and remembers it; fails from some change on.
struct SimulatedDisk {
    changes: Mutex<Vec<Change>>,
    fail_at: usize,
}

impl SimulatedDisk {
    fn record(&self, change: Change) -> io::Result<()> {
        let mut changes = self.changes.lock().unwrap();
        if changes.len() >= self.fail_at {
            return Err(io::Error::other("the simulated disk fails"));
        }
        changes.push(change);
        Ok(())
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<File> {
        if create {
            self.record(Change::Create(path.to_owned()))?;
        }
        RealDisk.open(path, create)
    }

    fn write_at(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.record(Change::Write(path.to_owned(), bytes.to_vec(), offset))?;
        RealDisk.write_at(path, file, bytes, offset)
    }

    fn set_len(&self, path: &Path, file: &File, length: u64) -> io::Result<()> {
        self.record(Change::SetLen(path.to_owned(), length))?;
        RealDisk.set_len(path, file, length)
    }

    fn sync(&self, path: &Path, _: &File) -> io::Result<()> {
        // Nothing needs to reach the real disk here.
        self.record(Change::Sync(path.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.exists() {
            self.record(Change::Remove(path.to_owned()))?;
        }
        RealDisk.remove(path)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.record(Change::SyncDir)
    }
}

/// What a disk may hold after power fails: everything synced, and of the rest any part of it.
fn after_power_failure(changes: &[Change], random: &mut Random) -> BTreeMap<PathBuf, Vec<u8>> {
    let synced_until = |path: &Path, at: usize| {
        changes[at..].iter().any(|change| matches!(change, Change::Sync(p) if p == path))
    };
    let named_until = |at: usize| changes[at..].iter().any(|c| matches!(c, Change::SyncDir));
    let mut files: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    for (at, change) in changes.iter().enumerate() {
        match change {
            // A name that was not synced may be missing, and then so is the file.
            Change::Create(path) => {
                if named_until(at) || random.below(2) == 0 {
                    files.insert(path.clone(), Vec::new());
                } else {
                    files.remove(path);
                }
            }
            Change::Remove(path) => {
                if named_until(at) || random.below(2) == 0 {
                    files.remove(path);
                }
            }
            Change::SetLen(path, length) => {
                if let Some(file) = files.get_mut(path)
                    && (synced_until(path, at) || random.below(2) == 0)
                {
                    file.resize(*length as usize, 0);
                }
            }
            Change::Write(path, bytes, offset) => {
                let Some(file) = files.get_mut(path) else { continue };
                let offset = *offset as usize;
                if synced_until(path, at) {
                    file.resize(file.len().max(offset + bytes.len()), 0);
                    file[offset..offset + bytes.len()].copy_from_slice(bytes);
                    continue;
                }
                // Sectors of an unsynced write arrive in any order, or not at all.
                let length = random.below(bytes.len() as u64 + 1) as usize;
                if length == 0 {
                    continue;
                }
                file.resize(file.len().max(offset + length), 0);
                for start in (0..length).step_by(512) {
                    let end = (start + 512).min(length);
                    if random.below(4) > 0 {
                        file[offset + start..offset + end].copy_from_slice(&bytes[start..end]);
                    }
                }
            }
            Change::Sync(_) | Change::SyncDir => {}
        }
    }
    files
}

#[test]
fn simulated_disk() {
    let crashes = times("COLEARN_CRASHES", 150);
    for seed in seeds(crashes) {
        let result = std::panic::catch_unwind(|| one_simulated_crash(seed));
        assert!(result.is_ok(), "COLEARN_SEED={seed} replays the failure");
    }
    println!("{crashes} simulated power failures and disk errors, nothing acknowledged was lost");
}

fn one_simulated_crash(seed: u64) {
    let mut random = Random(seed);
    let dir = TempDir::new().unwrap();
    let disk =
        Arc::new(SimulatedDisk { changes: Mutex::default(), fail_at: random.below(120) as usize });
    let open = |dir: &Path, disk: Arc<dyn Disk>| {
        Ledger::open(dir, Options { disk, segment_bytes: 1500, ..options(1) })
    };
    let mut acknowledged = Vec::new();
    // Until the disk fails; sometimes with a restart in between.
    'lives: for _ in 0..3 {
        let Ok((mut ledger, _)) = open(dir.path(), disk.clone()) else { break };
        for _ in 0..random.below(30) {
            let first = ledger.head().size;
            let batch: Vec<Hash> =
                (0..=random.below(6)).map(|i| append(&mut ledger, first + i).unwrap()).collect();
            if ledger.commit().is_err() {
                // It takes nothing more, and never tries a sync again.
                let at = ledger.head().size;
                append(&mut ledger, at).unwrap();
                assert!(matches!(ledger.commit(), Err(Error::Stopped)));
                break 'lives;
            }
            acknowledged.truncate(first as usize);
            assert_eq!(acknowledged.len() as u64, first);
            acknowledged.extend(batch);
        }
    }
    let changes = disk.changes.lock().unwrap().clone();
    // Power fails: the index is lost half of the time, the rest keeps what was synced.
    let files = after_power_failure(&changes, &mut random);
    let after = TempDir::new().unwrap();
    std::fs::create_dir(after.path().join("journal")).unwrap();
    for (path, bytes) in files {
        let path = after.path().join(path.strip_prefix(dir.path()).unwrap());
        std::fs::write(path, bytes).unwrap();
    }
    let (mut ledger, _) = open(after.path(), Arc::new(RealDisk))
        .unwrap_or_else(|error| panic!("a crash alone must not stop the ledger: {error}"));
    check_acknowledged(after.path(), &ledger, &acknowledged);
    let next = ledger.head().size;
    append(&mut ledger, next).unwrap();
    ledger.commit().unwrap();
    check_acknowledged(after.path(), &ledger, &acknowledged);
}

#[test]
fn a_failed_batch_is_not_called_durable_when_asked_again() {
    let open = |disk: &Arc<SimulatedDisk>| {
        let dir = TempDir::new().unwrap();
        let options = Options { disk: disk.clone(), ..options(1) };
        (Ledger::open(dir.path(), options).unwrap().0, dir)
    };
    let healthy = Arc::new(SimulatedDisk { changes: Mutex::default(), fail_at: usize::MAX });
    drop(open(&healthy));
    let opening = healthy.changes.lock().unwrap().len();
    // A commit writes and syncs the journal, then the anchor.
    for at in 0..4 {
        let disk = SimulatedDisk { changes: Mutex::default(), fail_at: opening + at };
        let (mut ledger, _dir) = open(&Arc::new(disk));
        append(&mut ledger, 0).unwrap();
        let (first, second) = (ledger.seal().unwrap(), ledger.seal());
        // Nothing was appended in between, yet the second must wait for what the first becomes.
        assert!(matches!(second.and_then(colearn_ledger::Sealed::wait), Err(Error::Stopped)));
        assert!(matches!(first.wait(), Err(Error::Storage { .. })));
        assert!(matches!(ledger.commit(), Err(Error::Stopped)));
        assert_eq!(ledger.reader().size(), 0);
    }
}

#[test]
fn damage_fuzz() {
    let whole = TempDir::new().unwrap();
    let mut leaves = Vec::new();
    {
        let (mut ledger, _) = Ledger::open(whole.path(), options(1)).unwrap();
        for i in 0..1200 {
            leaves.push(append(&mut ledger, i).unwrap());
            if i % 100 == 99 {
                ledger.commit().unwrap();
                ledger.update_index().unwrap();
            }
        }
    }
    let files = files_below(whole.path());
    let damages = times("COLEARN_DAMAGES", 60);
    let mut counts = [0_u64; 2];
    for seed in seeds(damages) {
        let mut random = Random(seed);
        let dir = TempDir::new().unwrap();
        for file in &files {
            let to = dir.path().join(file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(whole.path().join(file), to).unwrap();
        }
        let victim = &files[random.below(files.len() as u64) as usize];
        let what = damage(&dir.path().join(victim), &mut random);
        let story = || format!("COLEARN_SEED={seed}: {what} of {}", victim.display());
        let clean = match std::panic::catch_unwind(|| Ledger::open(dir.path(), options(1))) {
            Err(_) => panic!("{}: a panic", story()),
            Ok(Err(_)) => false,
            Ok(Ok((ledger, _))) => {
                assert_eq!(ledger.head().size, leaves.len() as u64, "{}: a loss", story());
                let reads = journal_is_whole(dir.path());
                if reads {
                    check_acknowledged(dir.path(), &ledger, &leaves);
                }
                drop(ledger);
                // Opening reads the end only. Damage before it is for an audit to find.
                let index = IndexCheck::begin(dir.path()).and_then(IndexCheck::finish);
                let index = index.unwrap_or(Some((0, String::new())));
                reads && index.is_none()
            }
        };
        counts[usize::from(clean)] += 1;
    }
    println!("{damages} damages: {} opened whole, {} named as damage", counts[1], counts[0]);
}

/// Whether every entry can be read and follows the one before, as an audit checks.
fn journal_is_whole(dir: &Path) -> bool {
    let Ok(mut journal) = JournalReader::open(dir) else { return false };
    let mut head = Head::EMPTY;
    loop {
        match journal.next_entry() {
            Ok(Some(entry)) => match head.follow(&entry.bytes) {
                Ok((_, next)) => head = next,
                Err(_) => return false,
            },
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for file in std::fs::read_dir(next).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.push(path.strip_prefix(dir).unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

fn damage(path: &Path, random: &mut Random) -> &'static str {
    let length = std::fs::metadata(path).unwrap().len();
    let kind = random.below(5);
    if length == 0 || kind == 4 {
        std::fs::remove_file(path).unwrap();
        return "deletion";
    }
    let file = File::options().read(true).write(true).open(path).unwrap();
    let at = random.below(length);
    match kind {
        0 => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << random.below(8))], at).unwrap();
            "a flipped bit"
        }
        1 => {
            let end = (at + 512).min(length);
            file.write_all_at(&vec![0; (end - at) as usize], at).unwrap();
            "a zeroed block"
        }
        2 => {
            let block = (length / 2).min(512);
            let (mut a, mut b) = (vec![0; block as usize], vec![0; block as usize]);
            let other = length - block;
            file.read_exact_at(&mut a, 0).unwrap();
            file.read_exact_at(&mut b, other).unwrap();
            file.write_all_at(&b, 0).unwrap();
            file.write_all_at(&a, other).unwrap();
            "two swapped blocks"
        }
        _ => {
            file.set_len(at).unwrap();
            "a truncation"
        }
    }
}
