//! The audit itself: every entry is followed, then what the ledger has signed is compared.

use colearn_contracts::{Contract, VERSION, Version};
use colearn_ledger::{Checkpoint, Forgotten, Hash, Head, SignedCheckpoint, SignedNote};
use colearn_records::follower::{BadGenesis, EntryReader, Follower, ReadEntry};
use colearn_records::log_keys::LogKeys;
use colearn_records::on_chain::{Between, OutOfTime};
use colearn_records::pins::Unpinned;
use colearn_records::record::DecodedEntry;
use rayon::prelude::*;

use crate::checkpoint::StatedCheckpoints;
use crate::finding::{Finding, Kind};
use crate::merges::MergedRounds;
use crate::options::{AuditOptions, Proven};
use crate::privacy::Statements;
use crate::report::{AuditReport, ChainReport};
use crate::source::{Source, SourceError, Trouble};

/// Audits a ledger.
///
/// # Errors
/// Only if it cannot be read; whatever is wrong with it is in the report.
pub fn audit(
    source: &mut dyn Source,
    options: AuditOptions<'_>,
) -> Result<AuditReport, SourceError> {
    Auditor::new(options).audit(source)
}

/// Is shown each entry once the contract has taken it, and the contract.
pub(crate) type Watch<'a> = &'a mut (dyn FnMut(&DecodedEntry, &Contract) + Send);

/// What a ledger comes to, as far as it could be followed.
pub(crate) struct End {
    /// `None` where the entries depart from the contract.
    pub(crate) contract: Option<Contract>,
    pub(crate) keys: LogKeys,
    /// The checkpoint that the entries were held to; `None` if there is none, or they do not reach it.
    pub(crate) checkpoint: Option<SignedCheckpoint>,
}

/// An audit under way.
pub(crate) struct Auditor<'a> {
    options: AuditOptions<'a>,
    /// What a chain proves of the entries; `None` where nobody is asked.
    proven: Option<Proven>,
    /// The first entry that is later than what proves it.
    out_of_time: Option<OutOfTime>,
    statements: Statements,
    merged: MergedRounds,
    watch: Option<Watch<'a>>,
    end: Option<End>,
    pub(crate) report: AuditReport,
}

/// A ledger whose entries were followed as far as they could be.
pub(crate) struct Followed {
    follower: Follower,
    /// The checkpoint that the entries are held to; `None` if there is none, or they do not reach it.
    pub(crate) checkpoint: Option<SignedCheckpoint>,
}

impl<'a> Auditor<'a> {
    pub(crate) fn new(options: AuditOptions<'a>) -> Self {
        Self {
            options,
            proven: None,
            out_of_time: None,
            statements: Statements::default(),
            merged: MergedRounds::default(),
            watch: None,
            end: None,
            report: AuditReport::default(),
        }
    }

    /// The same, which shows the entries to somebody.
    pub(crate) fn watched_by(self, watch: Watch<'a>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// What the audit comes to.
    pub(crate) fn audit(self, source: &mut dyn Source) -> Result<AuditReport, SourceError> {
        Ok(self.audit_to_end(source)?.0)
    }

    /// What the audit comes to, and what the ledger does, if that is shown to somebody: none where it has no
    /// beginning, or was damaged on the way.
    pub(crate) fn audit_to_end(
        mut self,
        source: &mut dyn Source,
    ) -> Result<(AuditReport, Option<End>), SourceError> {
        match self.run(source) {
            Ok(()) => {}
            Err(Trouble::Damaged { index, what }) => {
                self.report.add(Finding::damaged(index, what));
            }
            Err(Trouble::Unreadable(error)) => return Err(error),
        }
        self.report.ok = self.report.findings.is_empty();
        Ok((self.report, self.end))
    }

    fn run(&mut self, source: &mut dyn Source) -> Result<(), Trouble> {
        let Some(Followed { mut follower, checkpoint }) = self.follow_all(source)? else {
            return Ok(());
        };
        if self.watch.is_some() {
            let (contract, keys) = (follower.contract().cloned(), follower.keys().clone());
            self.end = Some(End { contract, keys, checkpoint: checkpoint.clone() });
        }
        self.check_pinned_keys(&follower);
        let Some(signed) = checkpoint else { return Ok(()) };
        self.check_witnesses(&signed);
        let checkpoint = signed.checkpoint;
        self.check_due(&follower);
        self.check_block(&follower);
        self.check_merges();
        self.check_promises(source, &mut follower, &checkpoint)?;
        self.check_root(source, &mut follower, &checkpoint)?;
        self.check_proven(source, &mut follower)?;
        if let Some((index, what)) = source.check_derived()? {
            self.report.find(Kind::Index, Some(index), "what the entries give", what);
        }
        Ok(())
    }

    /// Reads the first entry, and the checkpoints that are stated, none of them verified. `None` if
    /// there is nothing to go on with.
    pub(crate) fn begin(
        &mut self,
        source: &mut dyn Source,
    ) -> Result<Option<(Follower, StatedCheckpoints)>, Trouble> {
        let Some(first) = source.next_entries(1)?.pop() else {
            // An export is as long as its checkpoint says: where that cannot be read, it is what is wrong,
            // not the entries.
            let stated = StatedCheckpoints::of(source.checkpoints()?);
            let expected = match (stated.size(), stated.complaint()) {
                (None, bad) if !bad.is_empty() => {
                    self.report.find(Kind::Checkpoint, None, "a signed checkpoint", bad);
                    return Ok(None);
                }
                (None, _) => "a first entry".to_owned(),
                (Some(size), _) => format!("{size} entries, as a checkpoint there states"),
            };
            self.report.find(Kind::Incomplete, Some(0), expected, "there are no entries");
            return Ok(None);
        };
        let mut follower = match Follower::new(self.options.level.depth(), &first) {
            Ok(follower) => follower,
            Err(bad) => {
                let expected = format!("a genesis of version {} to {VERSION}", Version::V1);
                let got = match bad {
                    BadGenesis::OtherRecord => "something else".to_owned(),
                    BadGenesis::Record(_)
                    | BadGenesis::Version(_)
                    | BadGenesis::Key
                    | BadGenesis::Chain(_)
                    | BadGenesis::Limits => bad.to_string(),
                };
                self.report.find(Kind::Genesis, Some(0), expected, got);
                return Ok(None);
            }
        };
        self.report.ledger_id = follower.keys().ledger().to_string();
        self.report.origin = follower.keys().current().name().to_owned();
        self.report.verifier_key = follower.keys().current().to_string();
        let first = follower.reader().read(first);
        // If it is out of place, so is all that comes after; that is found there.
        self.follow(source, &mut follower, &[first])?;
        let stated = StatedCheckpoints::of(source.checkpoints()?);
        if stated.size().is_none() {
            self.report.find(Kind::Checkpoint, None, "a signed checkpoint", stated.complaint());
            return Ok(None);
        }
        Ok(Some((follower, stated)))
    }

    /// Follows every entry, and finds the checkpoint that they are to be held to: the newest that is
    /// signed by the key of its time. Which key that is, the entries before say. `None` if there is
    /// no ledger to be followed.
    pub(crate) fn follow_all(
        &mut self,
        source: &mut dyn Source,
    ) -> Result<Option<Followed>, Trouble> {
        source.begin()?;
        let Some((mut follower, stated)) = self.begin(source)? else { return Ok(None) };
        let size = stated.size().unwrap_or(0);
        self.proven = self.options.prover.map(|prover| prover.prove(size)).transpose()?;
        self.check_time(&follower.head());
        let reader = follower.reader();
        let mut entries = read_each(reader, source.next_entries(size)?);
        while follower.head().size < size && !entries.is_empty() {
            // Damage in what comes next is reported after what comes before it.
            let next = source.next_entries(size);
            // What has to go in order goes on beside what need not.
            let (goes_on, next) = rayon::join(
                || self.follow(source, &mut follower, &entries),
                || next.map(|next| read_each(reader, next)),
            );
            if !goes_on? {
                return Ok(Some(Followed { follower, checkpoint: None }));
            }
            if let Some(progress) = self.options.progress {
                progress(follower.head().size, size);
            }
            if follower.head().size == size {
                break;
            }
            entries = next?;
        }
        let checkpoint = self.reached(&follower, stated);
        Ok(Some(Followed { follower, checkpoint }))
    }

    /// Takes some entries in order; `false` if going on makes no sense.
    fn follow(
        &mut self,
        source: &mut dyn Source,
        follower: &mut Follower,
        entries: &[ReadEntry],
    ) -> Result<bool, Trouble> {
        for entry in entries {
            let index = follower.head().size;
            while let Err(Forgotten(tile)) = follower.prepare(entry) {
                // If the source no longer gives what it gave, the root counts as another.
                if !follower.recall(tile, source.leaves(tile)?) {
                    break;
                }
            }
            let report = &mut self.report;
            let step = follower.follow_past(entry, |fault| {
                report.find_fault(index, fault);
                Ok(())
            });
            if let Err(fault) = step {
                report.find_fault(index, fault);
                return Ok(false);
            }
            report.count(index, entry, follower.keys());
            self.check_time(&follower.head());
            if let (Some(watch), Some(contract), Some(decoded)) =
                (&mut self.watch, follower.contract(), entry.decoded())
            {
                watch(decoded, contract);
            }
            // Only what the contract has accepted is a statement.
            if let (Some(contract), Some(record)) = (follower.contract(), entry.record()) {
                self.statements.take(index, record);
                if let Some(weights) = self.options.weights
                    && let Some(merged) = self.merged.take(index, record, contract)
                {
                    let computed = merged.compute(weights);
                    computed.finding().into_iter().for_each(|finding| self.report.add(finding));
                    self.report.merges.push(computed);
                }
            }
        }
        self.account();
        Ok(true)
    }

    /// Notes the first entry that is later than the header that counts it. Whether that is of this ledger is not known yet.
    fn check_time(&mut self, head: &Head) {
        if let (Some(proven), None, Some(index)) =
            (&self.proven, &self.out_of_time, head.size.checked_sub(1))
            && index < proven.size
        {
            // Which header was the last that does not count it, nobody has proven.
            let between = Between { after_ms: 0, before_ms: proven.time_ms };
            self.out_of_time = between.check(index, head.time_ms).err();
        }
    }

    /// What learners have stated is held to what they say they did. That is nothing that the ledger or the
    /// contract could refuse, so it ends nothing.
    fn account(&mut self) {
        let (checked, findings) = self.statements.check();
        self.report.statements += checked;
        findings.into_iter().for_each(|finding| self.report.add(finding));
    }

    /// The checkpoint that the entries are to be held to, if they are as many as it counts.
    fn reached(
        &mut self,
        follower: &Follower,
        stated: StatedCheckpoints,
    ) -> Option<SignedCheckpoint> {
        let key = follower.keys().current();
        self.report.verifier_key = key.to_string();
        let (signed, bad) = stated.verified(follower.keys());
        let Some(signed) = signed else {
            let expected = format!("a checkpoint signed by {key}");
            self.report.find(Kind::Checkpoint, None, expected, bad.join("; "));
            return None;
        };
        if !bad.is_empty() {
            // Nothing tells what a crash has half written from what was damaged, so it cannot be said
            // that nothing was acknowledged beyond the one that is left.
            let expected = format!(
                "another checkpoint beside the one of {} entries, which may not be the last: where \
                 power has failed, start the node once, which writes it anew and keeps what lies behind",
                signed.checkpoint.size
            );
            self.report.find(Kind::Checkpoint, None, expected, bad.join("; "));
        }
        let signers = SignedNote::parse(&signed.note).ok().and_then(|note| {
            follower.keys().at(signed.checkpoint.size).signed(&note).ok().map(|keys| keys.len())
        });
        let signers = signers.unwrap_or(1);
        self.report.chain = follower.keys().public_chain().map(|(id, contract)| {
            let (id, contract) = (id.to_owned(), contract.to_owned());
            ChainReport { id, contract, ..ChainReport::default() }
        });
        self.report.signatures += signers as u64;
        if let Some(validators) = follower.keys().validators() {
            let network = self.report.network.get_or_insert_default();
            (network.validators, network.signed) = (validators.count(), signers);
        }
        self.report.size = signed.checkpoint.size;
        self.report.root = signed.checkpoint.root.to_string();
        let (expected, got) = (signed.checkpoint.size, follower.head().size);
        if got < expected {
            let expected = format!("{expected} entries, as the checkpoint counts");
            self.report.find(Kind::Incomplete, Some(got), expected, format!("{got} entries"));
            return None;
        }
        Some(signed)
    }

    /// It must be the ledger that was asked for, of the key that was asked for.
    fn check_pinned_keys(&mut self, follower: &Follower) {
        let (expected, got) = match self.options.pins.check_keys(follower.keys()) {
            Ok(()) => return,
            Err(Unpinned::Ledger { expected, found }) => {
                (format!("the ledger {expected}"), format!("the ledger {found}"))
            }
            Err(Unpinned::Key { expected, found }) => {
                (expected.to_string(), format!("the key {found}"))
            }
            Err(other @ (Unpinned::Witnesses { .. } | Unpinned::Note(_))) => {
                ("the ledger that was asked for".to_owned(), other.to_string())
            }
        };
        self.report.find(Kind::Genesis, Some(0), expected, got);
    }

    /// What the chain that keeps the ledger proves must be what the entries give; and who insists on a proof by a chain is
    /// not told that all is well without one.
    fn check_proven(
        &mut self,
        source: &mut dyn Source,
        follower: &mut Follower,
    ) -> Result<(), Trouble> {
        let Some(Proven { size, root: proven, total, chain, contract, height, time_ms }) =
            self.proven.take()
        else {
            if self.options.pins.trust().is_some() {
                let expected = "a root that a public chain proves, as --trust asks for";
                self.report.find(
                    Kind::Checkpoint,
                    None,
                    expected,
                    "nobody who was asked for a proof",
                );
            }
            return Ok(());
        };
        let expected = format!(
            "root {proven} at size {size} of {contract}, as {chain} proves by block {height}"
        );
        let found = root(source, follower, size)?;
        match (&mut self.report.chain, found) {
            (Some(report), Some(found))
                if (&report.id, &report.contract, found) == (&chain, &contract, proven) =>
            {
                (report.proven, report.total) = (size, total);
                (report.height, report.time_ms) = (height, time_ms);
                if let Some(OutOfTime { index, time_ms: got, .. }) = self.out_of_time.take() {
                    let expected = format!("no time after that of block {height}, {time_ms} ms");
                    self.report.find(Kind::OnChain, Some(index), expected, format!("{got} ms"));
                }
                // What lies behind the proven end is the word of who keeps this copy.
                if self.report.size > size {
                    let expected = format!("a proof of all {} entries", self.report.size);
                    let got = format!(
                        "{chain} proves the first {size} by block {height}; where the ledger grew meanwhile, audit it again"
                    );
                    self.report.find(Kind::Checkpoint, Some(size), expected, got);
                }
            }
            (None, _) => {
                self.report.find(Kind::Genesis, Some(0), expected, "a ledger that no chain keeps");
            }
            (Some(_), None) => {
                let got = format!("{} entries", self.report.size);
                self.report.find(Kind::Incomplete, Some(self.report.size), expected, got);
            }
            (Some(report), Some(found)) => {
                let got = format!("root {found} of {} on {}", report.contract, report.id);
                self.report.find(Kind::Root, None, expected, got);
            }
        }
        Ok(())
    }

    /// The witnesses that were asked for must have seen what its entries are held to.
    fn check_witnesses(&mut self, signed: &SignedCheckpoint) {
        let pins = &self.options.pins;
        if let Err(error) = pins.check_witnesses(&signed.note) {
            let expected = format!("a checkpoint that {} witnesses have cosigned", pins.quorum());
            self.report.find(Kind::Checkpoint, None, expected, error);
        }
    }

    /// Who asks for merges to be computed again is not told that all is well where none was.
    fn check_merges(&mut self) {
        let merges = &self.report.merges;
        if let Some(first) = merges.first().and_then(|merge| merge.missing.first())
            && merges.iter().all(|merge| !merge.missing.is_empty())
        {
            let got =
                format!("none of {} merged rounds could be computed again: {first}", merges.len());
            self.report.find(Kind::Merge, None, "the weights of a merged round", got);
        }
    }

    /// Nothing that the contract has decided may be left out at the end.
    fn check_due(&mut self, follower: &Follower) {
        if let Some(outcome) = follower.replay().and_then(|replay| replay.due().next()) {
            let size = follower.head().size;
            self.report.find(Kind::Contract, Some(size), format!("{outcome:?}"), "nothing");
        }
    }

    /// Where several nodes keep the ledger they sign at the end of a block.
    fn check_block(&mut self, follower: &Follower) {
        if follower.blocks().is_some_and(|blocks| !blocks.is_between()) {
            let size = follower.head().size;
            self.report.find(
                Kind::Network,
                Some(size),
                "the end of a block",
                "a checkpoint within one",
            );
        }
    }

    /// What the ledger signed before must be the beginning of what it shows now.
    fn check_promises(
        &mut self,
        source: &mut dyn Source,
        follower: &mut Follower,
        now: &Checkpoint,
    ) -> Result<(), Trouble> {
        for promise in std::mem::take(&mut self.options.promises) {
            let (path, index) = (promise.path.clone(), promise.index());
            let then = match promise.verify(follower.keys()) {
                Ok(then) => then,
                Err(error) => {
                    let expected = "a promise of this ledger's";
                    self.report.find(Kind::Receipt, index, expected, error);
                    continue;
                }
            };
            // A ledger that a contract keeps has nobody who signs; what a file says that it has shown proves nothing.
            let is_signed = !follower.keys().is_on_chain();
            self.report.signatures += u64::from(is_signed);
            let root = root(source, follower, then.size)?;
            if root == Some(then.root) {
                self.report.promises += 1;
                continue;
            }
            let found = root.map_or_else(
                || format!("it has only {} entries", now.size),
                |root| format!("its first {} entries have root {root}", then.size),
            );
            let (kind, whose) = match is_signed {
                true => (Kind::BrokenPromise, "signed by the ledger's key"),
                false => {
                    (Kind::Receipt, "which nobody has signed: it proves nothing against the ledger")
                }
            };
            let expected = format!(
                "root {} at size {}: {} holds a checkpoint that says so, {whose}",
                then.root,
                then.size,
                path.display()
            );
            self.report.find(kind, index, expected, found);
        }
        Ok(())
    }

    /// The entries must have the root that the checkpoint says.
    fn check_root(
        &mut self,
        source: &mut dyn Source,
        follower: &mut Follower,
        checkpoint: &Checkpoint,
    ) -> Result<(), Trouble> {
        let found = root(source, follower, checkpoint.size)?;
        if found != Some(checkpoint.root) {
            let found = found.map_or_else(|| "none".to_owned(), |root| root.to_string());
            self.report.find(Kind::Root, None, format!("root {}", checkpoint.root), found);
        }
        Ok(())
    }
}

/// Reads entries and verifies their signatures, on all cores: most of the work of an audit, and the
/// same for each entry whatever the others are.
fn read_each(reader: EntryReader, entries: Vec<Vec<u8>>) -> Vec<ReadEntry> {
    entries.into_par_iter().map(|bytes| reader.read(bytes)).collect()
}

/// The root over the first `size` entries; `None` if there are not as many, or the source no longer
/// gives what it gave.
fn root(
    source: &mut dyn Source,
    follower: &mut Follower,
    size: u64,
) -> Result<Option<Hash>, Trouble> {
    loop {
        match follower.root(size) {
            Ok(root) => return Ok(root),
            Err(Forgotten(tile)) => {
                if !follower.recall(tile, source.leaves(tile)?) {
                    return Ok(None);
                }
            }
        }
    }
}
