//! Re-deriving a ledger's whole history from its bytes alone.
//!
//! The checks, in order: the genesis and the checkpoint's signature; framing and completeness; the
//! chain of parents; every entry's encoding; every signature; every history a signer vouches for;
//! the contract, outcome by outcome; the root.

mod finding;
mod promise;
mod source;

use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Forgotten, Hash, Head, NoteError, TreeBuilder, Verifier, tree};
use ed25519_dalek::VerifyingKey;
use rayon::prelude::*;
use serde::Serialize;

pub use self::finding::{Finding, Kind};
pub use self::promise::{Promise, PromiseError};
pub use self::source::{Source, SourceError, Trouble, open};
use crate::record::{CONTRACT_VERSION, NotARecord, Placed, Record};
use crate::replay::Replay;
use crate::transaction::{Invalid, LedgerId, Seen};

/// The most findings that are reported.
pub const MAX_FINDINGS: usize = 10;

/// What an audit came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether everything is as it should be.
    pub ok: bool,
    /// The ledger's name.
    pub origin: String,
    /// The key the checkpoint was verified with.
    pub verifier_key: String,
    /// Entries in the checkpoint.
    pub size: u64,
    /// The checkpoint's root, hex.
    pub root: String,
    /// Experiments created.
    pub experiments: u64,
    /// Rounds closed.
    pub rounds: u64,
    /// Transactions recorded.
    pub transactions: u64,
    /// Signatures verified, the checkpoint's included.
    pub signatures: u64,
    /// What is not as it should be: the first ten.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The last line of the output.
    pub fn verdict_line(&self) -> String {
        match self.findings.first() {
            None => format!(
                "AUDIT OK origin={} size={} root={} experiments={} rounds={} transactions={} \
                 signatures={}",
                self.origin,
                self.size,
                self.root,
                self.experiments,
                self.rounds,
                self.transactions,
                self.signatures
            ),
            Some(finding) => format!(
                "AUDIT FAIL code={} name={} index={} found={:?}",
                finding.kind.code(),
                finding.kind.name(),
                finding.index.map_or_else(|| "-".to_owned(), |index| index.to_string()),
                finding.message
            ),
        }
    }

    /// 0, or the code of the first finding.
    pub fn exit_code(&self) -> u8 {
        self.findings.first().map_or(0, |finding| finding.kind.code())
    }
}

/// How deep an audit goes. Each level includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Level {
    /// Bytes, chain and tree only.
    Tree,
    /// Every encoding, signature and vouched history too.
    Signatures,
    /// Everything: also the contract, outcome by outcome.
    #[default]
    Contract,
}

/// How an audit is done.
#[derive(Default)]
pub struct Options<'a> {
    /// The key the ledger must be signed with; `None` to take the one in its first entry.
    pub key: Option<Verifier>,
    /// How deep to go.
    pub level: Level,
    /// What the ledger has promised before: receipts and older checkpoints.
    pub promises: Vec<Promise>,
    /// Told how many entries are done, and of how many.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

/// Audits a ledger.
///
/// # Errors
/// Only if it cannot be read; whatever is wrong with it is in the report.
pub fn audit(source: &mut dyn Source, options: Options<'_>) -> Result<Report, SourceError> {
    let mut audit = Audit::new(options);
    match audit.run(source) {
        Ok(()) => {}
        Err(Trouble::Damaged { index, what }) => audit.find(Kind::Damaged, Some(index), what),
        Err(Trouble::Unreadable(error)) => return Err(error),
    }
    audit.report.ok = audit.report.findings.is_empty();
    Ok(audit.report)
}

/// Why a place has no checkpoint that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum NoCheckpoint {
    /// Something is not as it should be.
    #[error("{0}")]
    Finding(Finding),
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The key in a ledger's first entry, and the checkpoint signed with it, verbatim. Nothing else is
/// checked.
///
/// # Errors
/// If there is no genesis or no such checkpoint.
pub fn signed_checkpoint(source: &mut dyn Source) -> Result<(Verifier, String), NoCheckpoint> {
    let mut audit = Audit::new(Options::default());
    match audit.begin(source) {
        Ok(Some((verifier, _, note))) => return Ok((verifier, note)),
        Ok(None) => {}
        Err(Trouble::Damaged { index, what }) => audit.find(Kind::Damaged, Some(index), what),
        Err(Trouble::Unreadable(error)) => return Err(error.into()),
    }
    let nothing =
        || Finding { kind: Kind::Checkpoint, index: None, message: "there is none".to_owned() };
    Err(NoCheckpoint::Finding(audit.report.findings.pop().unwrap_or_else(nothing)))
}

/// What an entry is by itself: its record, and whether the signature verifies if it has one.
type Checked = Result<(Placed, Option<Result<(), Invalid>>), NotARecord>;

/// Decodes entries and verifies their signatures, on all cores: most of the work of an audit, and
/// the same for each entry whatever the others are.
fn check_each(entries: &[Vec<u8>], ledger_id: &LedgerId) -> Vec<Checked> {
    let check = |bytes: &Vec<u8>| {
        let placed = Record::decode(bytes)?;
        let signature = match &placed.record {
            Record::Transaction(transaction) => Some(transaction.check(ledger_id)),
            Record::Genesis(_) | Record::Outcome(_) => None,
        };
        Ok((placed, signature))
    };
    entries.par_iter().map(check).collect()
}

struct Audit<'a> {
    options: Options<'a>,
    report: Report,
    head: Head,
    tree: TreeBuilder,
    ledger_id: LedgerId,
    /// `None` once the record has departed from the contract.
    replay: Option<Replay>,
    /// The last roots asked for: many signers vouch for the same history.
    known_root: Option<(u64, Hash)>,
}

impl<'a> Audit<'a> {
    fn new(options: Options<'a>) -> Self {
        let report = Report {
            ok: false,
            origin: String::new(),
            verifier_key: String::new(),
            size: 0,
            root: String::new(),
            experiments: 0,
            rounds: 0,
            transactions: 0,
            signatures: 0,
            findings: Vec::new(),
        };
        Self {
            report,
            head: Head::EMPTY,
            tree: TreeBuilder::new(),
            ledger_id: LedgerId([0; 32]),
            replay: (options.level == Level::Contract).then(Replay::default),
            options,
            known_root: None,
        }
    }

    fn find(&mut self, kind: Kind, index: Option<u64>, message: impl ToString) {
        if self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(Finding { kind, index, message: message.to_string() });
        }
    }

    /// Reads the genesis, and the checkpoint that is signed with its key.
    fn begin(
        &mut self,
        source: &mut dyn Source,
    ) -> Result<Option<(Verifier, Checkpoint, String)>, Trouble> {
        let first = source.next_entries(1)?;
        let Some(genesis) = first.first() else {
            self.find(Kind::Incomplete, Some(0), "the ledger has no entries");
            return Ok(None);
        };
        let Some(verifier) = self.genesis(genesis) else { return Ok(None) };
        self.report.origin = verifier.name().to_owned();
        self.report.verifier_key = verifier.to_string();
        let note = source.checkpoint(&verifier)?;
        let checkpoint = match &note {
            Some(note) => Checkpoint::open(note, &verifier),
            None => Err(NoteError::Malformed("there is none of this ledger's key")),
        };
        match checkpoint {
            Ok(checkpoint) => {
                self.report.signatures += 1;
                self.report.size = checkpoint.size;
                self.report.root = checkpoint.root.to_string();
                self.chain(genesis);
                Ok(Some((verifier, checkpoint, note.unwrap_or_default())))
            }
            Err(error) => {
                self.find(Kind::Checkpoint, None, error);
                Ok(None)
            }
        }
    }

    fn run(&mut self, source: &mut dyn Source) -> Result<(), Trouble> {
        let Some((verifier, checkpoint, _)) = self.begin(source)? else { return Ok(()) };
        let ledger_id = self.ledger_id;
        let level = self.options.level;
        let check = |entries: &[Vec<u8>]| match level {
            Level::Tree => Vec::new(),
            Level::Signatures | Level::Contract => check_each(entries, &ledger_id),
        };
        let mut entries = source.next_entries(checkpoint.size)?;
        let mut checked = check(&entries);
        while self.head.size < checkpoint.size {
            if entries.is_empty() {
                let size = self.head.size;
                let message = format!("the checkpoint counts {} entries", checkpoint.size);
                self.find(Kind::Incomplete, Some(size), message);
                return Ok(());
            }
            // Damage in what comes next is reported after what comes before it.
            let next = source.next_entries(checkpoint.size);
            // What has to go in order goes on beside what need not.
            let (goes_on, next_checked) = rayon::join(
                || self.follow(source, &entries, checked),
                || next.as_ref().map_or_else(|_| Vec::new(), |next| check(next)),
            );
            if !goes_on? {
                return Ok(());
            }
            if let Some(progress) = self.options.progress {
                progress(self.head.size, checkpoint.size);
            }
            if self.head.size < checkpoint.size {
                entries = next?;
                checked = next_checked;
            } else {
                break;
            }
        }
        if let Some(replay) = self.replay.take() {
            let (_, _, due) = replay.finish();
            if let Some(outcome) = due.first() {
                let message = format!("the contract decided {outcome:?}, which is not recorded");
                self.find(Kind::Contract, Some(self.head.size), message);
            }
        }
        self.promises(source, &verifier, &checkpoint)?;
        match self.root(source, checkpoint.size)? {
            Some(root) if root == checkpoint.root => {}
            found => {
                let found = found.map_or_else(|| "none".to_owned(), |root| root.to_string());
                let message = format!("the entries have root {found}, not {}", checkpoint.root);
                self.find(Kind::Root, None, message);
            }
        }
        if let Some((index, what)) = source.check_derived()? {
            self.find(Kind::Index, Some(index), what);
        }
        Ok(())
    }

    /// Reads the first entry; gives the key that checkpoints must be signed with.
    fn genesis(&mut self, bytes: &[u8]) -> Option<Verifier> {
        let genesis = match Record::decode(bytes).map(|placed| placed.record) {
            Ok(Record::Genesis(genesis)) if genesis.contract_version == CONTRACT_VERSION => genesis,
            Ok(_) => {
                self.find(Kind::Genesis, Some(0), "it is not a genesis of a known version");
                return None;
            }
            Err(error) => {
                self.find(Kind::Genesis, Some(0), error);
                return None;
            }
        };
        self.ledger_id = LedgerId::of(&genesis);
        let key = genesis.log_public_key[..].try_into().ok();
        let key = key.and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
        let own = key.and_then(|key| Verifier::new(&genesis.origin, KeyKind::Log, key).ok());
        let Some(own) = own else {
            self.find(Kind::Genesis, Some(0), "its key or origin cannot be used");
            return None;
        };
        if let Some(expected) = &self.options.key
            && *expected != own
        {
            let message = format!("the ledger's key is {own}, not {expected}");
            self.find(Kind::Genesis, Some(0), message);
            return None;
        }
        Some(own)
    }

    /// Follows the chain by one entry; `false` if it is broken.
    fn chain(&mut self, bytes: &[u8]) -> bool {
        match self.head.follow(bytes) {
            Ok((_, head)) => {
                self.head = head;
                self.tree.push(head.leaf);
                true
            }
            Err(broken) => {
                self.find(Kind::Chain, Some(self.head.size), broken);
                false
            }
        }
    }

    /// Takes some entries in order, with what was found of each alone; `false` if going on makes no
    /// sense.
    fn follow(
        &mut self,
        source: &mut dyn Source,
        entries: &[Vec<u8>],
        checked: Vec<Checked>,
    ) -> Result<bool, Trouble> {
        if self.options.level == Level::Tree {
            return Ok(entries.iter().all(|entry| self.chain(entry)));
        }
        let first = self.head.size;
        for (at, (bytes, checked)) in entries.iter().zip(checked).enumerate() {
            let index = first + at as u64;
            if !self.chain(bytes) {
                return Ok(false);
            }
            let (placed, signature) = match checked {
                Ok(checked) => checked,
                Err(error) => {
                    self.find(Kind::Encoding, Some(index), error);
                    // What cannot be read cannot be replayed.
                    self.replay = None;
                    continue;
                }
            };
            match signature {
                Some(Ok(())) => self.report.signatures += 1,
                Some(Err(error)) => self.find(Kind::Signature, Some(index), error),
                None => {}
            }
            let time_ms = placed.time_ms;
            let step = match &placed.record {
                Record::Genesis(_) => {
                    self.find(Kind::Encoding, Some(index), "a second genesis");
                    continue;
                }
                Record::Transaction(transaction) => {
                    self.report.transactions += 1;
                    if let colearn_contracts::Action::Create(_) = transaction.action {
                        self.report.experiments += 1;
                    }
                    self.seen(source, index, transaction.seen)?;
                    self.replay.as_mut().map(|replay| {
                        replay.transaction(time_ms, transaction.sender, &transaction.action)
                    })
                }
                Record::Outcome(outcome) => {
                    if let colearn_contracts::Outcome::RoundClosed { .. } = outcome {
                        self.report.rounds += 1;
                    }
                    self.replay.as_mut().map(|replay| replay.outcome(time_ms, outcome))
                }
            };
            if let Some(Err(departure)) = step {
                self.find(Kind::Contract, Some(index), departure);
                // After a departure the states differ, and every later comparison would too.
                self.replay = None;
            }
        }
        Ok(true)
    }

    /// The history a signer vouches for must be the beginning of this one.
    fn seen(&mut self, source: &mut dyn Source, index: u64, seen: Seen) -> Result<(), Trouble> {
        if self.known_root != Some((seen.size, seen.root)) {
            let root = if seen.size <= index { self.root(source, seen.size)? } else { None };
            if root != Some(seen.root) {
                let message = format!(
                    "its signer saw size {} root {}, here the root is {}",
                    seen.size,
                    seen.root,
                    root.map_or_else(|| "none".to_owned(), |root| root.to_string())
                );
                self.find(Kind::Seen, Some(index), message);
                return Ok(());
            }
            self.known_root = Some((seen.size, seen.root));
        }
        Ok(())
    }

    /// What the ledger signed before must be the beginning of what it shows now.
    fn promises(
        &mut self,
        source: &mut dyn Source,
        verifier: &Verifier,
        now: &Checkpoint,
    ) -> Result<(), Trouble> {
        for promise in std::mem::take(&mut self.options.promises) {
            let then = match promise.verify(verifier) {
                Ok(then) => then,
                Err(error) => {
                    self.find(Kind::Receipt, promise.index(), format!("{}: {error}", promise.name));
                    continue;
                }
            };
            self.report.signatures += 1;
            let root = self.root(source, then.size)?;
            if root != Some(then.root) {
                let found = root.map_or_else(
                    || format!("it has only {} entries", now.size),
                    |root| format!("its first {} entries have root {root}", then.size),
                );
                let message = format!(
                    "BROKEN PROMISE: {} holds a checkpoint of size {} and root {} that this \
                     ledger's key signed, but {found}",
                    promise.name, then.size, then.root
                );
                self.find(Kind::BrokenPromise, promise.index(), message);
            }
        }
        Ok(())
    }

    /// The root over the first `size` entries; `None` if the source no longer gives what it gave.
    fn root(&mut self, source: &mut dyn Source, size: u64) -> Result<Option<Hash>, Trouble> {
        if size > self.tree.size() {
            return Ok(None);
        }
        loop {
            match tree::root(&self.tree, size) {
                Ok(root) => return Ok(Some(root)),
                Err(Forgotten(tile)) => {
                    let leaves = source.leaves(tile)?;
                    if !self.tree.recall(tile, leaves) {
                        return Ok(None);
                    }
                }
            }
        }
    }
}
