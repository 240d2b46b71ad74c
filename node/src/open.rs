//! Opening a node's data folder: key, genesis, ledger, contract.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use colearn_contracts::{Contract, VERSION};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{
    Entry, Hash, Head, JournalReader, Ledger, Opened, Options, Reader, Signer, Verifier,
};
use colearn_proto::v1;
use ed25519_dalek::SigningKey;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Config, NodeError, snapshot};
use colearn_records::follower::{Depth, Fault, Follower, FollowerState};
use colearn_records::keys;
use colearn_records::log_keys::{self, LogKeys};
use colearn_records::record::{self, Record};
use colearn_records::replay::Replay;

/// A ledger ready to be written.
pub(super) struct OpenLedger {
    pub(super) ledger: Ledger,
    pub(super) contract: Contract,
    pub(super) keys: LogKeys,
    pub(super) report: Opened,
    /// The first entry that was replayed; those before came from a snapshot.
    pub(super) replayed_from: u64,
}

/// Opens the data folder, or makes a new ledger in it.
pub(super) fn open(config: &Config) -> Result<OpenLedger, NodeError> {
    let io = |doing: String| move |source| NodeError::Io { doing, source };
    std::fs::create_dir_all(&config.data)
        .map_err(io(format!("create {}", config.data.display())))?;
    let dir = config.data.join("ledger");
    let files = KeyFiles::of(&config.data);
    let key = keys::load_or_create(&files.current)?;
    let recorded = read_genesis(&dir)?;
    let genesis = match recorded.clone() {
        Some(genesis) => genesis,
        None => {
            let mut nonce = [0; 32];
            getrandom::fill(&mut nonce).map_err(keys::KeyError::Random)?;
            let public = key.verifying_key().to_bytes();
            let made = || format!("colearn/{}", hex::encode(&public[..8]));
            v1::Genesis {
                origin: config.origin.clone().unwrap_or_else(made),
                log_public_key: Bytes::copy_from_slice(&public),
                nonce: Bytes::copy_from_slice(&nonce),
                contract_version: VERSION.number(),
            }
        }
    };
    let signer = |key| {
        Signer::new(&genesis.origin, KeyKind::Log, key)
            .map_err(|error| NodeError::Origin(genesis.origin.clone(), error))
    };
    let own = signer(key)?;
    let own_verifier = own.verifier().clone();
    let old = files.load(&files.old)?.map(signer).transpose()?;
    let options = Options {
        keys_of: record::keys_of,
        progress: Some(rebuild_progress()),
        cosigners: old.into_iter().collect(),
        ..Options::new(own.clone())
    };
    let (mut ledger, mut report) = Ledger::open(&dir, options)?;
    if ledger.head().size == 0 {
        let payload = record::genesis_payload(genesis.clone());
        ledger.append(crate::clock::now_ms(), payload, Vec::new())?;
        ledger.commit()?;
        report.size = 1;
    } else if recorded.is_none() {
        return Err(NodeError::Genesis(dir));
    }
    let keys = log_keys(&ledger, &genesis)?;
    if *keys.current() != own_verifier {
        // A change of the key was recorded but its files are not in place yet.
        let next = files.load(&files.next)?.map(signer).transpose()?;
        let next = next.filter(|next| next.verifier() == keys.current());
        let next = next.ok_or_else(|| NodeError::OtherKey {
            path: files.current.clone(),
            expected: keys.current().to_string(),
        })?;
        ledger.set_signers(next, vec![own]);
        ledger.commit()?;
        files.install_next()?;
    }
    let (contract, replayed_from) = replay(&mut ledger, &keys)?;
    Ok(OpenLedger { ledger, contract, keys, report, replayed_from })
}

/// The keys that the ledger's entries give it.
fn log_keys(ledger: &Ledger, genesis: &v1::Genesis) -> Result<LogKeys, NodeError> {
    let reader = ledger.reader();
    let bad = || NodeError::Genesis(PathBuf::from("the ledger"));
    let mut keys = LogKeys::of_genesis(genesis).ok_or_else(bad)?;
    let mut from = 0;
    while let Some(index) = reader.find(record::ROTATION_KEY, from)? {
        let malformed = |source| NodeError::Record { index, source };
        let placed = Record::decode(&reader.entry(index)?).map_err(malformed)?;
        if let Record::KeyRotation(rotation) = placed.record {
            let step = keys.follow(index, &rotation);
            step.map_err(|source| NodeError::Rotation { index, source })?;
        }
        from = index + 1;
    }
    Ok(keys)
}

/// Changes the key that signs the ledger's checkpoints: makes a new one, records the change signed
/// by both, and puts the new key file in place. The old one stays beside it and goes on signing
/// too, so that readers and witnesses that know only that one have time; with `drop_old` it is
/// deleted at once. Interrupted at any point, the next start or the next try completes it.
///
/// # Errors
/// If a node has the folder open, or it cannot be opened or written.
pub fn rotate_key(data: &Path, drop_old: bool) -> Result<Rotated, NodeError> {
    let config = Config::new(data);
    if !data.join("ledger").is_dir() {
        return Err(NodeError::Genesis(data.to_owned()));
    }
    let files = KeyFiles::of(data);
    let OpenLedger { mut ledger, keys, .. } = open(&config)?;
    let from = keys.current().clone();
    // What an interrupted try has left is used: it may be recorded already.
    let (old, new) = (keys::load(&files.current)?, keys::load_or_create(&files.next)?);
    let rotation = log_keys::sign(&keys.ledger(), &old, &new);
    let mut after = keys.clone();
    let index = ledger.head().size;
    after.follow(index, &rotation).map_err(|source| NodeError::Rotation { index, source })?;
    ledger.append(
        crate::clock::now_ms(),
        record::rotation_payload(&rotation),
        vec![record::ROTATION_KEY.to_vec()],
    )?;
    let signer = |key| {
        Signer::new(from.name(), KeyKind::Log, key)
            .map_err(|error| NodeError::Origin(from.name().to_owned(), error))
    };
    ledger.set_signers(signer(new)?, vec![signer(old)?]);
    ledger.commit()?;
    files.install_next()?;
    if drop_old {
        files.drop_old()?;
    }
    Ok(Rotated { index, from, to: after.current().clone() })
}

/// A completed change of the key.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The entry that records it.
    pub index: u64,
    /// The key until then.
    pub from: Verifier,
    /// The key from then on.
    pub to: Verifier,
}

/// The files of the node's keys.
struct KeyFiles {
    dir: PathBuf,
    /// Signs.
    current: PathBuf,
    /// Signed before, and signs beside the current one while it is there.
    old: PathBuf,
    /// Will sign; there only while the key is being changed.
    next: PathBuf,
}

impl KeyFiles {
    fn of(dir: &Path) -> Self {
        let at = |name: &str| dir.join(name);
        Self {
            dir: dir.to_owned(),
            current: at("node.pem"),
            old: at("node-old.pem"),
            next: at("node-next.pem"),
        }
    }

    fn load(&self, path: &Path) -> Result<Option<SigningKey>, NodeError> {
        match keys::load(path) {
            Ok(key) => Ok(Some(key)),
            Err(keys::KeyError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The next key becomes the current one, and that the old one.
    fn install_next(&self) -> Result<(), NodeError> {
        self.drop_old()?;
        let done = std::fs::hard_link(&self.current, &self.old)
            .and_then(|()| std::fs::rename(&self.next, &self.current))
            .and_then(|()| std::fs::File::open(&self.dir)?.sync_all());
        done.map_err(|source| NodeError::Io {
            doing: format!("put {} in place", self.current.display()),
            source,
        })
    }

    fn drop_old(&self) -> Result<(), NodeError> {
        match std::fs::remove_file(&self.old) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(NodeError::Io { doing: format!("delete {}", self.old.display()), source })
            }
            _ => Ok(()),
        }
    }
}

/// The genesis of the ledger in a folder; `None` if there is no whole entry yet.
fn read_genesis(dir: &Path) -> Result<Option<v1::Genesis>, NodeError> {
    if !dir.join("journal/00000000.journal").exists() {
        return Ok(None);
    }
    let mut journal = JournalReader::open(dir)?;
    let first = match journal.next_entry() {
        Ok(Some(entry)) => entry,
        // Opening the ledger decides whether this is a torn first write or damage.
        Ok(None) | Err(colearn_ledger::Error::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match Record::decode(&first.bytes) {
        Ok(placed) => match placed.record {
            Record::Genesis(genesis) if genesis.contract_version == VERSION.number() => {
                Ok(Some(genesis))
            }
            Record::Genesis(_)
            | Record::Transaction(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_) => Err(NodeError::Genesis(dir.to_owned())),
        },
        Err(source) => Err(NodeError::Record { index: 0, source }),
    }
}

/// Replays the ledger from the last snapshot on, and records what an interrupted write has left
/// undone. Gives the contract and the first entry that was replayed.
fn replay(ledger: &mut Ledger, keys: &LogKeys) -> Result<(Contract, u64), NodeError> {
    /// How many entries are read at once.
    const CHUNK: u64 = 4096;
    let reader = ledger.reader();
    let size = reader.size();
    let mut follower = match resume(ledger, keys)? {
        Some(follower) => follower,
        None => begin(&reader)?,
    };
    let entries = follower.reader();
    let first = follower.head().size;
    let mut next = first;
    while next < size {
        for bytes in reader.entries(next, next + CHUNK, 8 << 20)? {
            let step = follower.follow(&entries.read(bytes));
            step.map_err(|fault| fault_at(next, fault))?;
            next += 1;
        }
    }
    let replay = follower.into_replay().map_err(|fault| fault_at(next, fault))?;
    let (contract, time_ms, due) = replay.finish();
    if !due.is_empty() {
        for outcome in &due {
            let keys = record::keys_of_outcome(outcome);
            ledger.append(time_ms, record::outcome_payload(outcome), keys)?;
        }
        ledger.commit()?;
        ledger.update_index()?;
    }
    Ok((contract, first))
}

/// Goes on from the last snapshot, if there is one that can be used.
fn resume(ledger: &Ledger, keys: &LogKeys) -> Result<Option<Follower>, NodeError> {
    let Some((size, bytes)) = ledger.snapshot()? else { return Ok(None) };
    let Some(contract) = snapshot::decode(&bytes) else { return Ok(None) };
    let Some(index) = size.checked_sub(1) else { return Ok(None) };
    let last = ledger.reader().entry(index)?;
    let time_ms = Entry::decode(&last).map_err(|broken| fault_at(index, broken.into()))?.time_ms;
    let state = FollowerState {
        keys: keys.before(size),
        head: Head { size, leaf: Hash::leaf(&last), time_ms },
        tree: None,
        replay: Some(Replay::resume(contract)),
    };
    Ok(Follower::resume(Depth::Replay, state))
}

/// Begins with the first entry.
fn begin(reader: &Reader) -> Result<Follower, NodeError> {
    let genesis = reader.entry(0)?;
    let mut follower = Follower::new(Depth::Replay, &genesis)
        .map_err(|_| NodeError::Genesis(PathBuf::from("the ledger")))?;
    let entry = follower.reader().read(genesis);
    follower.follow(&entry).map_err(|fault| fault_at(0, fault))?;
    Ok(follower)
}

fn fault_at(index: u64, fault: Fault) -> NodeError {
    match fault {
        Fault::Record(source) => NodeError::Record { index, source },
        Fault::Rotation(source) => NodeError::Rotation { index, source },
        Fault::Departure(source) => NodeError::Departure { index, source },
        Fault::SecondGenesis => NodeError::Record { index, source: record::NotARecord::Malformed },
        Fault::Broken(_)
        | Fault::OtherGenesis
        | Fault::Signature(_)
        | Fault::Seen { .. }
        | Fault::Forgotten(_)
        | Fault::Departed => NodeError::Fault { index, source: fault },
    }
}

/// A progress bar that appears only when an index is rebuilt.
fn rebuild_progress() -> Box<dyn Fn(u64, u64)> {
    let bar = ProgressBar::hidden();
    if let Ok(style) = ProgressStyle::with_template(
        "rebuilding the index {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    ) {
        bar.set_style(style);
    }
    Box::new(move |done, total| {
        if bar.is_hidden() && bar.position() == 0 {
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        bar.set_length(total);
        bar.set_position(done);
    })
}
