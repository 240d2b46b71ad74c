//! Re-deriving a ledger's whole history from its bytes alone.
//!
//! The checks, in order: the genesis and the checkpoint's signature; framing and completeness; the
//! chain of parents; every entry's encoding; every signature; every history a signer vouches for;
//! the contract, outcome by outcome; the root.

pub mod explain;
mod finding;
mod promise;
mod source;

use colearn_contracts::{Digest, Moment, VERSION};
use colearn_ledger::{
    Checkpoint, Forgotten, Hash, Head, NoteError, SignedCheckpoint, SignedNote, TreeBuilder,
    Verifier, tree,
};
use rayon::prelude::*;
use serde::Serialize;

pub use self::finding::{Finding, Kind};
pub use self::promise::{Promise, PromiseError};
pub use self::source::{Source, SourceError, Trouble, open};
use colearn_records::log_keys::LogKeys;
use colearn_records::record::{self, NotARecord, Placed, Record};
use colearn_records::replay::{Departure, Replay};
use colearn_records::transaction::{Invalid, LedgerId, Seen};

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
                "AUDIT FAIL code={} name={} index={} expected={:?} got={:?}",
                finding.kind.code(),
                finding.kind.name(),
                finding.index.map_or_else(|| "-".to_owned(), |index| index.to_string()),
                finding.expected,
                finding.got
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
    Ok(run(source, options)?.report)
}

fn run<'a>(source: &mut dyn Source, options: Options<'a>) -> Result<Audit<'a>, SourceError> {
    let mut audit = Audit::new(options);
    match audit.run(source) {
        Ok(()) => {}
        Err(Trouble::Damaged { index, what }) => {
            audit.find(Kind::Damaged, Some(index), "a whole entry", what);
        }
        Err(Trouble::Unreadable(error)) => return Err(error),
    }
    audit.report.ok = audit.report.findings.is_empty();
    Ok(audit)
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

/// The newest checkpoint of a place that is signed by the ledger's key of its time, verbatim, with
/// what it says. Where the key never changed only the first entry is read.
///
/// # Errors
/// If there is no genesis or no such checkpoint, or if what has to be read is not as it should be.
pub fn signed_checkpoint(source: &mut dyn Source) -> Result<(Checkpoint, String), NoCheckpoint> {
    let mut audit = Audit::new(Options { level: Level::Tree, ..Options::default() });
    let quick = match audit.begin(source) {
        Ok(quick) => quick,
        Err(Trouble::Damaged { .. }) => None,
        Err(Trouble::Unreadable(error)) => return Err(error.into()),
    };
    if let (Some((keys, notes)), true) = (&quick, audit.report.findings.is_empty())
        && let Some(newest) = notes.first()
        && keys.open(&newest.note).is_ok()
    {
        return Ok((newest.checkpoint.clone(), newest.note.clone()));
    }
    audit.follow_all(source).map_err(|trouble| match trouble {
        Trouble::Damaged { index, what } => NoCheckpoint::Finding(Finding {
            kind: Kind::Damaged,
            index: Some(index),
            expected: "a whole entry".to_owned(),
            got: what,
        }),
        Trouble::Unreadable(error) => error.into(),
    })?;
    match (audit.report.findings.pop(), audit.checkpoint.take()) {
        (None, Some(SignedCheckpoint { checkpoint, note })) => Ok((checkpoint, note)),
        (Some(finding), _) => Err(NoCheckpoint::Finding(finding)),
        (None, None) => Err(NoCheckpoint::Finding(Finding {
            kind: Kind::Checkpoint,
            index: None,
            expected: "a checkpoint".to_owned(),
            got: "none".to_owned(),
        })),
    }
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
            Record::Genesis(_) | Record::Outcome(_) | Record::KeyRotation(_) => None,
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
    /// The keys the entries so far give the ledger.
    keys: Option<LogKeys>,
    /// `None` once the record has departed from the contract.
    replay: Option<Replay>,
    /// The last roots asked for: many signers vouch for the same history.
    known_root: Option<(u64, Hash)>,
    /// The checkpoint that the entries are held to.
    checkpoint: Option<SignedCheckpoint>,
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
            keys: None,
            replay: None,
            options,
            known_root: None,
            checkpoint: None,
        }
    }

    fn find(
        &mut self,
        kind: Kind,
        index: Option<u64>,
        expected: impl ToString,
        got: impl ToString,
    ) {
        if self.report.findings.len() < MAX_FINDINGS {
            let (expected, got) = (expected.to_string(), got.to_string());
            self.report.findings.push(Finding { kind, index, expected, got });
        }
    }

    /// Reads the genesis, and the checkpoints that are stated, none of them verified, largest
    /// first. `None` if there is nothing to go on with.
    fn begin(
        &mut self,
        source: &mut dyn Source,
    ) -> Result<Option<(LogKeys, Vec<SignedCheckpoint>)>, Trouble> {
        let first = source.next_entries(1)?;
        let Some(genesis) = first.first() else {
            self.find(Kind::Incomplete, Some(0), "a first entry", "there are no entries");
            return Ok(None);
        };
        let Some(keys) = self.genesis(genesis) else { return Ok(None) };
        self.report.origin = keys.current().name().to_owned();
        self.report.verifier_key = keys.current().to_string();
        self.keys = Some(keys.clone());
        self.replay = (self.options.level == Level::Contract).then(|| Replay::new(keys.ledger()));
        self.chain(genesis);
        let mut stated = Vec::new();
        let mut bad = None;
        for note in source.checkpoints()? {
            match SignedNote::parse(&note).and_then(|parsed| Checkpoint::parse(parsed.text())) {
                Ok(checkpoint) => stated.push(SignedCheckpoint { checkpoint, note }),
                Err(error) => bad = Some(error),
            }
        }
        stated.sort_by_key(|signed| std::cmp::Reverse(signed.checkpoint.size));
        if stated.is_empty() {
            let got = bad.map_or_else(|| "there is none".to_owned(), |error| error.to_string());
            self.find(Kind::Checkpoint, None, "a signed checkpoint", got);
            return Ok(None);
        }
        Ok(Some((keys, stated)))
    }

    /// Follows every entry, and finds the checkpoint that they are to be held to: the newest that is
    /// signed by the key of its time. Which key that is, the entries before say.
    fn follow_all(&mut self, source: &mut dyn Source) -> Result<(), Trouble> {
        *self = Self::new(std::mem::take(&mut self.options));
        source.begin()?;
        let Some((keys, stated)) = self.begin(source)? else { return Ok(()) };
        let size = stated.first().map_or(0, |signed| signed.checkpoint.size);
        let ledger_id = keys.ledger();
        let level = self.options.level;
        let check = |entries: &[Vec<u8>]| match level {
            Level::Tree => Vec::new(),
            Level::Signatures | Level::Contract => check_each(entries, &ledger_id),
        };
        let mut entries = source.next_entries(size)?;
        let mut checked = check(&entries);
        while self.head.size < size && !entries.is_empty() {
            // Damage in what comes next is reported after what comes before it.
            let next = source.next_entries(size);
            // What has to go in order goes on beside what need not.
            let (goes_on, next_checked) = rayon::join(
                || self.follow(source, &entries, checked),
                || next.as_ref().map_or_else(|_| Vec::new(), |next| check(next)),
            );
            if !goes_on? {
                return Ok(());
            }
            if let Some(progress) = self.options.progress {
                progress(self.head.size, size);
            }
            if self.head.size == size {
                break;
            }
            entries = next?;
            checked = next_checked;
        }
        let Some(keys) = self.keys.clone() else { return Ok(()) };
        self.report.verifier_key = keys.current().to_string();
        let mut error = NoteError::Malformed("there is none");
        let signed = stated.into_iter().find(|signed| match keys.open(&signed.note) {
            Ok(_) => true,
            Err(why) => {
                error = why;
                false
            }
        });
        let Some(signed) = signed else {
            let expected = format!("a checkpoint signed by {}", keys.current());
            self.find(Kind::Checkpoint, None, expected, error);
            return Ok(());
        };
        self.report.signatures += 1;
        self.report.size = signed.checkpoint.size;
        self.report.root = signed.checkpoint.root.to_string();
        if self.head.size < signed.checkpoint.size {
            let (expected, got) = (signed.checkpoint.size, self.head.size);
            let expected = format!("{expected} entries, as the checkpoint counts");
            self.find(Kind::Incomplete, Some(got), expected, format!("{got} entries"));
            return Ok(());
        }
        self.checkpoint = Some(signed);
        Ok(())
    }

    fn run(&mut self, source: &mut dyn Source) -> Result<(), Trouble> {
        self.follow_all(source)?;
        let Some(keys) = self.keys.clone() else { return Ok(()) };
        if let Some(expected) = self.options.key.take()
            && !keys.contains(&expected)
        {
            self.find(Kind::Genesis, Some(0), expected, format!("the key {}", keys.current()));
        }
        let Some(SignedCheckpoint { checkpoint, .. }) = self.checkpoint.clone() else {
            return Ok(());
        };
        if let Some(replay) = self.replay.take() {
            let (_, _, due) = replay.finish();
            if let Some(outcome) = due.first() {
                self.find(Kind::Contract, Some(self.head.size), format!("{outcome:?}"), "nothing");
            }
        }
        self.promises(source, &keys, &checkpoint)?;
        match self.root(source, checkpoint.size)? {
            Some(root) if root == checkpoint.root => {}
            found => {
                let found = found.map_or_else(|| "none".to_owned(), |root| root.to_string());
                self.find(Kind::Root, None, format!("root {}", checkpoint.root), found);
            }
        }
        if let Some((index, what)) = source.check_derived()? {
            self.find(Kind::Index, Some(index), "what the entries give", what);
        }
        Ok(())
    }

    /// Reads the first entry; gives the key that the first checkpoints must be signed with.
    fn genesis(&mut self, bytes: &[u8]) -> Option<LogKeys> {
        let expected = format!("a genesis of version {VERSION}");
        let genesis = match Record::decode(bytes).map(|placed| placed.record) {
            Ok(Record::Genesis(genesis)) if genesis.contract_version == VERSION.number() => genesis,
            Ok(_) => {
                self.find(Kind::Genesis, Some(0), expected, "something else");
                return None;
            }
            Err(error) => {
                self.find(Kind::Genesis, Some(0), expected, error);
                return None;
            }
        };
        let keys = LogKeys::of_genesis(&genesis);
        if keys.is_none() {
            self.find(Kind::Genesis, Some(0), expected, "its key or origin cannot be used");
        }
        keys
    }

    /// Follows the chain by one entry, and the changes of the ledger's key; `false` if it is broken.
    fn chain(&mut self, bytes: &[u8]) -> bool {
        let index = self.head.size;
        match self.head.follow(bytes) {
            Ok((entry, head)) => {
                self.head = head;
                self.tree.push(head.leaf);
                if let (Some(keys), Some(rotation)) =
                    (&mut self.keys, record::rotation(&entry.payload))
                    && let Err(error) = keys.follow(index, &rotation)
                {
                    let expected = "a change of the ledger's key";
                    self.find(Kind::Signature, Some(index), expected, error);
                }
                true
            }
            Err(broken) => {
                self.find(Kind::Chain, Some(index), "an entry that follows the one before", broken);
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
            let head = Digest(self.head.leaf.0);
            if !self.chain(bytes) {
                return Ok(false);
            }
            let (placed, signature) = match checked {
                Ok(checked) => checked,
                Err(error) => {
                    self.find(Kind::Encoding, Some(index), "a record in its one encoding", error);
                    // What cannot be read cannot be replayed.
                    self.replay = None;
                    continue;
                }
            };
            match signature {
                Some(Ok(())) => self.report.signatures += 1,
                Some(Err(error)) => {
                    self.find(Kind::Signature, Some(index), "a signature that verifies", error);
                }
                None => {}
            }
            let at = Moment { now_ms: placed.time_ms, head };
            match &placed.record {
                Record::Genesis(_) => {
                    self.find(Kind::Encoding, Some(index), "one genesis", "a second");
                    continue;
                }
                Record::KeyRotation(_) => {
                    self.report.signatures += 2;
                    continue;
                }
                Record::Transaction(transaction) => {
                    self.report.transactions += 1;
                    if let colearn_contracts::Act::Create(_) = transaction.action.what {
                        self.report.experiments += 1;
                    }
                    self.seen(source, index, transaction.seen)?;
                }
                Record::Outcome(outcome) => {
                    if let colearn_contracts::Decision::RoundClosed { .. } = outcome.what {
                        self.report.rounds += 1;
                    }
                }
            }
            let step = self.replay.as_mut().map(|replay| replay.record(at, &placed.record));
            if let Some(Err(departure)) = step {
                let (expected, got) = match departure {
                    Departure::Refused(rejection) => {
                        ("what the contract accepts".to_owned(), rejection.to_string())
                    }
                    Departure::OtherOutcome { expected, found } => (
                        expected.map_or_else(|| "no decision".to_owned(), |it| format!("{it:?}")),
                        found.map_or_else(|| "a transaction".to_owned(), |it| format!("{it:?}")),
                    ),
                };
                self.find(Kind::Contract, Some(index), expected, got);
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
                let root = root.map_or_else(|| "none".to_owned(), |root| root.to_string());
                let expected = format!("root {root} at size {}", seen.size);
                let got = format!("its signer saw root {} there", seen.root);
                self.find(Kind::Seen, Some(index), expected, got);
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
        keys: &LogKeys,
        now: &Checkpoint,
    ) -> Result<(), Trouble> {
        for promise in std::mem::take(&mut self.options.promises) {
            let then = match promise.verify(keys) {
                Ok(then) => then,
                Err(error) => {
                    let got = format!("{}: {error}", promise.name);
                    self.find(Kind::Receipt, promise.index(), "a promise of this ledger", got);
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
                let expected = format!(
                    "root {} at size {}: {} holds a checkpoint that says so, signed by the \
                     ledger's key",
                    then.root, then.size, promise.name
                );
                self.find(Kind::BrokenPromise, promise.index(), expected, found);
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
