//! What a key remembers between two starts, in one folder:
//!
//! ```text
//! memory.json              which key and ledger it belongs to
//! followed                 where it stands: tree, contract, keys, and the checkpoint that proves them
//! header                   of a public chain that keeps the ledger: what was trusted, and the newest header that follows from it
//! two-headers              that validators of that chain have signed two headers of one height: nothing is believed while it is there
//! receipts/                what the ledger has promised, in a file for each thousand of its entries
//! evidence/                what did not fit
//! experiments/NAME/        lock, what was signed, trained and lived with: see `turns`;
//!                          `updates/`: what others have, as long as it is merged;
//!                          `weights/`: the latest models, where they are large;
//!                          what was spent of privacy: see `crate::spending`
//! ```
//!
//! Several processes may use the folder, one in each experiment, and commands beside them. What several
//! write is replaced whole, under the folder's lock.

mod earlier;
mod receipts;
mod turns;

use std::path::{Path, PathBuf};

use colearn_contracts::{ExperimentName, LearnerId};
use colearn_files::Lock;
use colearn_keys::Place;
use colearn_ledger::Receipt;
use colearn_records::follower::{Follower, FollowerState};
use colearn_records::receipts::KeptReceipt;
use colearn_records::transaction::{Invalid, LedgerId, Transaction, Unverified};
use serde::{Deserialize, Serialize};

pub(super) use self::turns::Turns;
use super::ClientError;
use super::updates::Updates;
#[cfg(feature = "chain")]
use super::{ChainTrust, NoTrust};
use crate::participant::Turn;
use crate::spending::{Spending, SpendingError, experiment_folder};

const FILE: &str = "memory.json";
const FOLLOWED: &str = "followed";
#[cfg(feature = "chain")]
const HEADER: &str = "header";
#[cfg(feature = "chain")]
const TWO_HEADERS: &str = "two-headers";
const LOCK: &str = "lock";
const RECEIPTS: &str = "receipts";
/// How many pieces of evidence are kept, and how much of each, in bytes: whoever lies without end fills no
/// disk. What was signed stands first in them.
const MAX_EVIDENCE: usize = 100;
/// How many of them are only for what shows that trust has ended: whoever spoils answers takes no room from that.
const RESERVED: usize = 20;
/// What that is.
const ENDS_TRUST: [&str; 3] = ["header", "fork", "departed"];
const MAX_EVIDENCE_BYTES: usize = 1 << 20;

/// What a key remembers, in a folder or, without one, until the process ends.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    dir: Option<PathBuf>,
    bound: Bound,
}

/// What a folder belongs to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Bound {
    /// The public key in hex, behind those that it has replaced.
    keys: Vec<String>,
    /// The ledger's id in hex, from the first contact on.
    ledger: Option<String>,
}

/// What is gone on from: the state, and the checkpoint that proved it; empty where it is only a node's word, of a
/// public chain's ledger.
pub(super) struct Kept {
    pub(super) state: FollowerState,
    pub(super) checkpoint: String,
}

impl Memory {
    /// The folder that a key file has by default: its whole name with `.data` behind it. What the first
    /// version kept elsewhere is moved there if it is this key's.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn beside(key_file: &Path, key: LearnerId) -> Result<PathBuf, ClientError> {
        let mut name = key_file.file_name().unwrap_or_default().to_owned();
        name.push(".data");
        let dir = key_file.with_file_name(name);
        earlier::move_here(&key_file.with_extension("data"), &dir, key)?;
        Ok(dir)
    }

    /// The folder that a key has by default: beside its file ([`Memory::beside`]), or, where it is in no file,
    /// `colearn/PUBLIC_KEY` in the user's folder for what programs keep: the one that `XDG_STATE_HOME` names, or else
    /// `.local/state` in the home folder.
    ///
    /// # Errors
    /// [`ClientError::NoHome`] if there is no such folder; and those of [`Memory::beside`].
    pub fn of(place: &Place, key: LearnerId) -> Result<PathBuf, ClientError> {
        if let Some(file) = place.file() {
            return Self::beside(file, key);
        }
        // As the specification has it: what is not absolute is passed over.
        let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
        let named = named.filter(|dir| dir.is_absolute());
        let state = named.or_else(|| Some(std::env::home_dir()?.join(".local/state")));
        let state = state.filter(|dir| dir.is_absolute()).ok_or(ClientError::NoHome)?;
        Ok(state.join("colearn").join(key.to_string()))
    }

    /// Opens the memory of a key in a folder, creating that if need be.
    ///
    /// # Errors
    /// [`ClientError::ForeignMemory`] if it is another key's; and if it cannot be used or read.
    pub fn open(dir: &Path, key: LearnerId) -> Result<Self, ClientError> {
        colearn_files::create_folder(dir).map_err(|error| data(dir, error))?;
        let _lock = lock(&dir.join(LOCK))?;
        earlier::take_over(dir, key)?;
        let path = dir.join(FILE);
        let mut memory = Self { dir: Some(dir.to_owned()), bound: Bound::default() };
        match std::fs::read(&path) {
            Ok(bytes) => {
                let read = serde_json::from_slice(&bytes);
                memory.bound = read.map_err(|error| damaged(&path, &error.to_string()))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                memory.bound.keys.push(key.to_string());
                memory.save_bound()?;
            }
            Err(source) => return Err(ClientError::Data { path, source }),
        }
        if !memory.bound.keys.contains(&key.to_string()) {
            let (dir, owner) = (dir.to_owned(), memory.bound.keys.pop().unwrap_or_default());
            return Err(ClientError::ForeignMemory { dir, owner, key });
        }
        receipts::take_over(&dir.join(RECEIPTS))?;
        Ok(memory)
    }

    /// The ledger that it belongs to.
    pub(super) fn ledger(&self) -> Result<Option<LedgerId>, ClientError> {
        let Some(text) = &self.bound.ledger else { return Ok(None) };
        let path = || self.dir.clone().unwrap_or_default().join(FILE);
        text.parse().map(Some).map_err(|_| damaged(&path(), "no ledger's id"))
    }

    /// Belongs to this ledger from now on.
    pub(super) fn bind(&mut self, ledger: LedgerId) -> Result<(), ClientError> {
        if self.bound.ledger.is_some() {
            return Ok(());
        }
        self.bound.ledger = Some(ledger.to_string());
        let _lock = self.dir.as_ref().map(|dir| lock(&dir.join(LOCK))).transpose()?;
        self.save_bound()
    }

    /// Belongs to another key, too, that goes on in this one's place.
    pub(super) fn goes_on_as(&mut self, key: LearnerId) -> Result<(), ClientError> {
        let key = key.to_string();
        if self.bound.keys.contains(&key) {
            return Ok(());
        }
        self.bound.keys.push(key);
        let _lock = self.dir.as_ref().map(|dir| lock(&dir.join(LOCK))).transpose()?;
        self.save_bound()
    }

    fn save_bound(&self) -> Result<(), ClientError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = dir.join(FILE);
        let json = serde_json::to_vec_pretty(&self.bound);
        let json = json.map_err(|error| damaged(&path, &error.to_string()))?;
        colearn_files::replace_secret(&path, &json).map_err(|error| data(&path, error))
    }

    /// What was followed before. A state that is damaged or of another version is none: it follows from
    /// the ledger again.
    pub(super) fn followed(&self) -> Option<Kept> {
        let bytes = std::fs::read(self.dir.as_ref()?.join(FOLLOWED)).ok()?;
        let kept = decode_followed(&bytes);
        if kept.is_none() {
            tracing::warn!(
                "what was followed before cannot be read; it is followed from the first entry"
            );
        }
        kept
    }

    /// Keeps what was followed, unless another process is doing so.
    pub(super) fn keep_followed(
        &self,
        follower: &Follower,
        checkpoint: &str,
    ) -> Result<(), ClientError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let Some(_lock) = try_lock(&dir.join(LOCK))? else { return Ok(()) };
        let path = dir.join(FOLLOWED);
        let length = (checkpoint.len() as u32).to_be_bytes();
        let behind = [&length, checkpoint.as_bytes()].concat();
        let Some(bytes) = follower.to_bytes(behind) else { return Ok(()) };
        colearn_files::replace_secret(&path, &bytes).map_err(|error| data(&path, error))
    }

    /// The header that was trusted, and the newest that was verified from it, where this is to be trusted now.
    #[cfg(feature = "chain")]
    pub(super) fn header(
        &self,
        pinned: &ChainTrust,
    ) -> Result<Option<(ChainTrust, ChainTrust)>, ClientError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let path = dir.join(HEADER);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ClientError::Data { path, source }),
        };
        let read = |line: &str| match line.parse() {
            // From before lines named a contract. A header is the chain's, and says nothing of contracts.
            Err(NoTrust::NoContract(older)) => format!("{older}/{}", pinned.contract).parse().ok(),
            read => read.ok(),
        };
        let lines: Vec<ChainTrust> = text.lines().filter_map(read).collect();
        let lines: Result<[ChainTrust; 2], _> = lines.try_into();
        let [trusted, newest] = lines
            .map_err(|_| damaged(&path, "not two headers; remove it to begin with --trust"))?;
        Ok(Some((trusted, newest)))
    }

    /// Keeps them, unless another process is doing so.
    #[cfg(feature = "chain")]
    pub(super) fn keep_header(
        &self,
        trusted: &ChainTrust,
        newest: &ChainTrust,
    ) -> Result<(), ClientError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let Some(_lock) = try_lock(&dir.join(LOCK))? else { return Ok(()) };
        let (path, text) = (dir.join(HEADER), format!("{trusted}\n{newest}\n"));
        colearn_files::replace_secret(&path, text.as_bytes()).map_err(|error| data(&path, error))
    }

    /// The height of which two headers were found that both follow from what is trusted, if that was: 0 if the file does
    /// not say.
    #[cfg(feature = "chain")]
    pub(super) fn two_headers(&self) -> Result<Option<u64>, ClientError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let path = dir.join(TWO_HEADERS);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().parse().unwrap_or(0))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            // Whatever is there: it counts.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(Some(0)),
            Err(source) => Err(ClientError::Data { path, source }),
        }
    }

    /// Remembers that, until somebody removes the file.
    #[cfg(feature = "chain")]
    pub(super) fn keep_two_headers(&self, height: u64) -> Result<(), ClientError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = dir.join(TWO_HEADERS);
        let text = format!("{height}\n");
        colearn_files::replace_secret(&path, text.as_bytes()).map_err(|error| data(&path, error))
    }

    /// What this key does in one experiment, which nobody else does with it as long as this is held.
    pub(super) fn turns(&self, experiment: &ExperimentName) -> Result<Turns, ClientError> {
        let dir = self.dir.as_ref().map(|dir| experiment_folder(dir, experiment));
        Turns::open(dir, experiment)
    }

    /// What the key has signed for its last round in an experiment, be it sent or not: also while a learner uses the
    /// folder. A public chain takes it from anybody.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn signed(&self, experiment: &ExperimentName) -> Result<Vec<Transaction>, ClientError> {
        let (Some(dir), Some(ledger)) = (&self.dir, self.ledger()?) else { return Ok(Vec::new()) };
        let turns = Turns::shown(&experiment_folder(dir, experiment), experiment)?;
        let round = |signed: &Unverified| Turn::of(&signed.action).map(|turn| turn.round());
        let last = turns.signed().filter_map(round).max();
        let signed = turns.signed().filter(|signed| round(signed) == last);
        let verified = signed.map(|signed| signed.clone().verify(&ledger));
        let malformed = |error: Invalid| ClientError::Malformed(error.to_string());
        verified.map(|it| it.map_err(malformed)).collect()
    }

    /// What others have trained in the open round of an experiment.
    pub(super) fn updates(&self, experiment: &ExperimentName) -> Updates {
        let dir = self.dir.as_ref().map(|dir| experiment_folder(dir, experiment).join("updates"));
        Updates::new(dir)
    }

    /// Where the large weights of an experiment lie.
    pub(super) fn large(&self, experiment: &ExperimentName) -> Option<PathBuf> {
        Some(experiment_folder(self.dir.as_ref()?, experiment).join("weights"))
    }

    /// The first of the keys that it has belonged to.
    pub(super) fn first_key(&self) -> Option<LearnerId> {
        let mut key = [0; 32];
        hex::decode_to_slice(self.bound.keys.first()?, &mut key).ok()?;
        Some(LearnerId(key))
    }

    /// What this key has spent of its data's privacy, in one experiment and in all.
    pub(super) fn spending(&self, experiment: &ExperimentName) -> Result<Spending, SpendingError> {
        match &self.dir {
            Some(dir) => Spending::open(dir, experiment),
            None => Ok(Spending::in_memory()),
        }
    }

    /// Keeps a verified receipt and its entry. What is kept of an index stays: `false` if that is another
    /// entry.
    pub(super) fn keep_receipt(
        &self,
        receipt: &Receipt,
        entry: &[u8],
    ) -> Result<bool, ClientError> {
        let Some(dir) = &self.dir else { return Ok(true) };
        let _lock = lock(&dir.join(LOCK))?;
        let kept = KeptReceipt { receipt: receipt.clone(), entry: entry.to_vec() };
        receipts::keep(&dir.join(RECEIPTS), [kept])
    }

    /// The receipt for the last entry of this key's, if one can be read.
    pub(super) fn last_receipt(&self) -> Option<Receipt> {
        receipts::last(&self.dir.as_ref()?.join(RECEIPTS))
    }

    /// Keeps what did not fit; where, if there is a folder.
    pub(super) fn keep_evidence(&self, what: &str, evidence: &[u8]) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?.join("evidence");
        let evidence = evidence.get(..MAX_EVIDENCE_BYTES).unwrap_or(evidence);
        colearn_files::create_folder(&dir).ok()?;
        let kept = std::fs::read_dir(&dir).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let kept: Vec<PathBuf> = kept.take(MAX_EVIDENCE).collect();
        // What is shown again and again is kept once: there would be no room for what comes after it.
        let is_same = |path: &PathBuf| {
            let as_long = path.metadata().is_ok_and(|it| it.len() == evidence.len() as u64);
            as_long && std::fs::read(path).is_ok_and(|bytes| bytes == evidence)
        };
        if let Some(same) = kept.iter().find(|path| is_same(path)) {
            return Some(same.clone());
        }
        let room = if ENDS_TRUST.contains(&what) { MAX_EVIDENCE } else { MAX_EVIDENCE - RESERVED };
        let path = (kept.len()..room).map(|at| dir.join(format!("{at:02}-{what}.txt")));
        let path = path.into_iter().find(|path| !path.exists())?;
        colearn_files::replace(&path, evidence).ok()?;
        Some(path)
    }
}

fn decode_followed(bytes: &[u8]) -> Option<Kept> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (checkpoint, state) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let checkpoint = String::from_utf8(checkpoint.to_vec()).ok()?;
    Some(Kept { state: FollowerState::from_bytes(state)?, checkpoint })
}

/// Waits for a lock; held until it is dropped.
fn lock(path: &Path) -> Result<Lock, ClientError> {
    Lock::wait(path).map_err(|source| ClientError::Data { path: path.to_owned(), source })
}

/// A lock, unless another process has it.
fn try_lock(path: &Path) -> Result<Option<Lock>, ClientError> {
    Lock::try_take(path).map_err(|source| ClientError::Data { path: path.to_owned(), source })
}

fn data(path: &Path, error: colearn_files::Error) -> ClientError {
    ClientError::Data { path: path.to_owned(), source: error.into() }
}

fn damaged(path: &Path, why: &str) -> ClientError {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned());
    ClientError::Data { path: path.to_owned(), source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_trust_has_room_whatever_else_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::open(dir.path(), LearnerId([1; 32])).unwrap();
        let keep = |what, at: usize| memory.keep_evidence(what, at.to_string().as_bytes());
        let kept = (0..MAX_EVIDENCE).filter(|at| keep("chain", *at).is_some());
        assert_eq!(kept.count(), MAX_EVIDENCE - RESERVED);
        assert!(ENDS_TRUST.iter().zip(1_000..).all(|(what, at)| keep(what, at).is_some()));
    }

    #[test]
    fn evidence_is_bounded_in_number_and_size() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::open(dir.path(), LearnerId([1; 32])).unwrap();
        let path = memory.keep_evidence("unproven", &[b'x'; 3 * MAX_EVIDENCE_BYTES]).unwrap();
        assert_eq!(path.metadata().unwrap().len(), MAX_EVIDENCE_BYTES as u64);
        for at in 1..MAX_EVIDENCE {
            let shown = at.to_string();
            let kept = memory.keep_evidence("fork", shown.as_bytes());
            assert!(kept.is_some());
            assert_eq!(memory.keep_evidence("fork", shown.as_bytes()), kept, "it is kept once");
        }
        assert_eq!(memory.keep_evidence("fork", b"one too many"), None);
    }

    #[cfg(feature = "chain")]
    #[test]
    fn a_header_from_before_lines_named_a_contract_is_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::open(dir.path(), LearnerId([1; 32])).unwrap();
        let contract = "wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d";
        let older =
            |height: u64| format!("chain-1/{height}/{}/600s/{}", "ab".repeat(32), "07".repeat(32));
        let now =
            |height| -> ChainTrust { format!("{}/{contract}", older(height)).parse().unwrap() };
        let (trusted, newest) = (now(7), now(9));
        assert_eq!(memory.header(&trusted).unwrap(), None);
        std::fs::write(dir.path().join(HEADER), format!("{}\n{}\n", older(7), older(9))).unwrap();
        assert_eq!(memory.header(&trusted).unwrap(), Some((trusted.clone(), newest.clone())));
        memory.keep_header(&trusted, &newest).unwrap();
        assert_eq!(memory.header(&trusted).unwrap(), Some((trusted.clone(), newest)));
        std::fs::write(dir.path().join(HEADER), format!("{}\n", older(7))).unwrap();
        assert!(memory.header(&trusted).is_err(), "one is no two");
    }
}
