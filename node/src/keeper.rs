//! What records: the contract, the ledger, and that both say the same.
//!
//! A keeper decides transactions in the order, and at the times, that it is given. It reads no clock,
//! has no queue and knows no limit of this machine, so every keeper that is given the same times and
//! transactions records the same bytes. Who orders ([`crate::order`]) drives it.

use std::collections::{BTreeMap, VecDeque};

use colearn_contracts::{
    Contract, Digest, ExperimentName, LearnerId, Limits, MAX_TIME_MS, Moment, NotAnUpgrade,
    Outcome, Rejection, Version,
};
use colearn_ledger::{Appended, Entry, Error, Hash, Head, Ledger, Reader, Sealed};
use colearn_proto::v1;
use colearn_records::follower::Times;
use colearn_records::log_keys::LogKeys;
use colearn_records::record;
use colearn_records::replay::Departure;
use colearn_records::transaction::Transaction;

use crate::error::NodeError;
use crate::replay::replay;
use crate::snapshot;

/// The contract and the ledger that records what it decides.
pub(crate) struct Keeper {
    ledger: Ledger,
    reader: Reader,
    contract: Contract,
    /// When what was recorded since this was opened was recorded (R71).
    times: Times,
    /// What was decided since [`Keeper::take_touched`].
    touched: Touched,
    /// How many entries are sealed, or on their way.
    sealed_size: u64,
    /// How many entries the last snapshot covers.
    snapshot_size: u64,
}

/// What became of a transaction.
pub(crate) enum Decision {
    /// It is this entry; durable when what is sealed next is.
    Recorded(Appended),
    /// It changed nothing and left no trace, whatever was decided besides.
    Refused(Rejection),
}

/// What a contract on a public chain has recorded after its first entry.
pub(crate) enum Mirrored {
    /// What a learner did.
    Transaction(Transaction),
    /// What was decided.
    Outcome(Outcome),
}

impl Mirrored {
    fn experiment(&self) -> &ExperimentName {
        match self {
            Self::Transaction(transaction) => &transaction.action().experiment,
            Self::Outcome(outcome) => &outcome.experiment,
        }
    }
}

/// The experiments in which something was decided.
pub(crate) type Touched = BTreeMap<ExperimentName, Members>;

/// Whose standing in an experiment may have changed.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Members {
    /// The senders' of what was recorded. If there are more members than before, anybody's.
    Senders(Vec<LearnerId>),
    /// Anybody's: a round or motion began or ended.
    Anybody,
}

/// The contract's state after some entries, to be kept when these are durable.
pub(crate) struct Snapshot {
    head: Head,
    bytes: Vec<u8>,
}

impl Keeper {
    /// Takes over an opened ledger: replays it from the last snapshot on, and records what an
    /// interrupted write has cut off. Gives the first entry that was replayed, too.
    ///
    /// # Errors
    /// If an entry is not a record or departs from the contract, or the ledger fails.
    pub(crate) fn open(mut ledger: Ledger, keys: &LogKeys) -> Result<(Self, u64), NodeError> {
        let (replay, replayed_from) = replay(&ledger, keys)?;
        let (contract, time_ms, due) = replay.finish();
        if !due.is_empty() && (keys.validators().is_some() || keys.is_on_chain()) {
            // Of a block, or of what a chain proves at once, nothing is durable before all of it is.
            return Err(NodeError::WithinBlock(ledger.head().size));
        }
        if !due.is_empty() {
            // With the time of what they follow from, as if nothing had come between.
            for outcome in &due {
                append_outcome(&mut ledger, time_ms, outcome)?;
            }
            ledger.commit()?;
            ledger.update_index()?;
        }
        let reader = ledger.reader();
        let size = reader.size();
        let keeper = Self {
            ledger,
            reader,
            times: Times::from_here(contract.limits().expiry_ms),
            contract,
            touched: Touched::new(),
            sealed_size: size,
            snapshot_size: size,
        };
        Ok((keeper, replayed_from))
    }

    /// The contract's state after everything decided, durable or not.
    pub(crate) fn contract(&self) -> &Contract {
        &self.contract
    }

    /// What the next entry will follow.
    pub(crate) fn head(&self) -> Head {
        self.ledger.head()
    }

    /// A handle for reading what is durable.
    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Records an entry that a contract on a public chain has, where that decides and this mirrors it. What the
    /// contract here comes to is compared with what is recorded there; `due` is what must come next.
    ///
    /// # Errors
    /// If it departs from the rules: then this is not to be used any more. Or if the ledger fails.
    pub(crate) fn mirror(
        &mut self,
        time_ms: u64,
        mirrored: &Mirrored,
        due: &mut VecDeque<Outcome>,
    ) -> Result<Result<Appended, Departure>, Error> {
        if due.is_empty() {
            due.extend(self.contract.touch(self.moment(time_ms), mirrored.experiment()));
        }
        let entry = match mirrored {
            Mirrored::Transaction(transaction) => {
                if let Some(expected) = due.pop_front() {
                    let expected = Some(expected);
                    return Ok(Err(Departure::OtherOutcome { expected, found: None }));
                }
                let (sender, action) = (transaction.sender(), transaction.action());
                match self.contract.apply(self.moment(time_ms), sender, action) {
                    Ok(outcomes) => due.extend(outcomes),
                    Err(rejection) => return Ok(Err(Departure::Refused(rejection))),
                }
                self.append_transaction(time_ms, transaction)?
            }
            Mirrored::Outcome(outcome) => {
                let expected = due.pop_front();
                if expected.as_ref() != Some(outcome) {
                    let found = Some(outcome.clone());
                    return Ok(Err(Departure::OtherOutcome { expected, found }));
                }
                let entry = append_outcome(&mut self.ledger, time_ms, outcome)?;
                self.times.push(entry.index, time_ms);
                self.touch(&outcome.experiment, None);
                entry
            }
        };
        Ok(Ok(entry))
    }

    /// Whether a transaction would be recorded at this time, as far as is known here; nothing is changed.
    ///
    /// # Errors
    /// If the ledger fails.
    pub(crate) fn would(
        &self,
        now_ms: u64,
        transaction: &Transaction,
    ) -> Result<Result<(), Rejection>, Error> {
        let now_ms = self.time(now_ms);
        if let Err(expired) = self.check_fresh(now_ms, transaction)? {
            return Ok(Err(expired));
        }
        let (sender, action) = (transaction.sender(), transaction.action());
        Ok(self.contract.would(self.moment(now_ms), sender, action))
    }

    /// The ledger alone, for what is no business of the contract.
    pub(crate) fn into_ledger(self) -> Ledger {
        self.ledger
    }

    /// Records what time alone decides: rounds and motions whose deadline has come. A time before
    /// the last entry's counts as that.
    ///
    /// # Errors
    /// If an entry is too large, which would be a fault of the contract.
    pub(crate) fn advance(&mut self, now_ms: u64) -> Result<(), Error> {
        let now_ms = self.time(now_ms);
        if self.contract.next_deadline_ms().is_none_or(|deadline_ms| now_ms < deadline_ms) {
            return Ok(());
        }
        let outcomes = self.contract.advance(self.moment(now_ms));
        self.append_outcomes(now_ms, &outcomes)
    }

    /// Decides a transaction, after what time alone decides, and records it if the contract takes
    /// it. Nothing comes between deciding and appending.
    ///
    /// # Errors
    /// If an entry is too large, which would be a fault of whoever let it in.
    pub(crate) fn decide(
        &mut self,
        now_ms: u64,
        transaction: &Transaction,
    ) -> Result<Decision, Error> {
        // In here, so that no driver can forget it: the order of the two is part of the protocol.
        self.advance(now_ms)?;
        let now_ms = self.time(now_ms);
        if let Err(expired) = self.check_fresh(now_ms, transaction)? {
            return Ok(Decision::Refused(expired));
        }
        let (sender, action) = (transaction.sender(), transaction.action());
        let outcomes = match self.contract.apply(self.moment(now_ms), sender, action) {
            Ok(outcomes) => outcomes,
            Err(rejection) => return Ok(Decision::Refused(rejection)),
        };
        let entry = self.append_transaction(now_ms, transaction)?;
        self.append_outcomes(now_ms, &outcomes)?;
        Ok(Decision::Recorded(entry))
    }

    fn append_transaction(
        &mut self,
        now_ms: u64,
        transaction: &Transaction,
    ) -> Result<Appended, Error> {
        let action = transaction.action();
        let keys = record::keys_of_transaction(transaction.message(), action);
        let payload = record::transaction_payload(transaction);
        let entry = self.ledger.append(now_ms, payload, keys.into())?;
        self.times.push(entry.index, now_ms);
        self.touch(&action.experiment, Some(transaction.sender()));
        Ok(entry)
    }

    /// R71. Whether a transaction was not signed too long ago.
    fn check_fresh(
        &self,
        now_ms: u64,
        transaction: &Transaction,
    ) -> Result<Result<(), Rejection>, Error> {
        let unseen = transaction.seen().size;
        let unseen_ms = match self.times.at(unseen) {
            _ if unseen >= self.head().size => None,
            Some(time_ms) => Some(time_ms),
            // Recorded before this was opened, or long ago: the ledger has it.
            None => {
                let bytes = self.reader.entry(unseen)?;
                // One that is damaged is for the audit to find, and old.
                Some(Entry::decode(&bytes).map_or(0, |entry| entry.time_ms))
            }
        };
        Ok(self.contract.check_fresh(now_ms, unseen_ms))
    }

    /// Records that new experiments follow another version of the rules, after what time alone decides.
    ///
    /// # Errors
    /// If the version is no later one, or the ledger fails.
    pub(crate) fn upgrade(
        &mut self,
        now_ms: u64,
        version: Version,
        limits: Limits,
        entry: &v1::Upgrade,
    ) -> Result<Appended, NodeError> {
        self.advance(now_ms)?;
        let now_ms = self.time(now_ms);
        self.contract.upgrade(now_ms, version, limits).map_err(NodeError::NotAnUpgrade)?;
        let entry = self.ledger.append(now_ms, record::upgrade_payload(entry), Vec::new())?;
        self.times.expire_after(limits.expiry_ms);
        self.times.push(entry.index, now_ms);
        Ok(entry)
    }

    /// Records what is no business of the contract: a block's end, or a change of who keeps the ledger.
    ///
    /// # Errors
    /// If the entry is too large, or the ledger fails.
    pub(crate) fn note(
        &mut self,
        now_ms: u64,
        payload: Vec<u8>,
        keys: Vec<Vec<u8>>,
    ) -> Result<Appended, Error> {
        let now_ms = self.time(now_ms);
        let entry = self.ledger.append(now_ms, payload, keys)?;
        self.times.push(entry.index, now_ms);
        Ok(entry)
    }

    /// Has new experiments follow another version of the rules, as an entry says that is recorded next.
    ///
    /// # Errors
    /// If the version is no later one.
    pub(crate) fn follow_rules(
        &mut self,
        now_ms: u64,
        version: Version,
        limits: Limits,
    ) -> Result<(), NotAnUpgrade> {
        let now_ms = self.time(now_ms);
        self.contract.upgrade(now_ms, version, limits)?;
        self.times.expire_after(limits.expiry_ms);
        Ok(())
    }

    /// The root over everything recorded, durable or not.
    ///
    /// # Errors
    /// If the tree cannot be read.
    pub(crate) fn root(&self) -> Result<Hash, Error> {
        self.ledger.root()
    }

    /// The entry of the very same transaction, if it was recorded before. Every action is idempotent
    /// by meaning, so a repetition is refused: this is what to tell whoever has sent it again. It
    /// never decides anything, because how far the index goes is this machine's own affair.
    ///
    /// # Errors
    /// If the index is damaged.
    pub(crate) fn find(&self, transaction: &Transaction) -> Result<Option<u64>, Error> {
        let [key, _] = record::keys_of_transaction(transaction.message(), transaction.action());
        self.ledger.find(&key)
    }

    /// Whether something was recorded since the last seal.
    pub(crate) fn is_unsealed(&self) -> bool {
        self.head().size > self.sealed_size
    }

    /// Signs everything recorded and sends it on its way to the disk; the next transactions can be
    /// decided meanwhile.
    ///
    /// # Errors
    /// If a write failed before.
    pub(crate) fn seal(&mut self) -> Result<Sealed, Error> {
        self.sealed_size = self.head().size;
        self.ledger.seal()
    }

    /// The same, but it is durable when this returns. Sooner, where there is nothing to decide meanwhile.
    ///
    /// # Errors
    /// If a write failed, now or before.
    pub(crate) fn seal_here(&mut self) -> Result<Sealed, Error> {
        self.sealed_size = self.head().size;
        self.ledger.seal_here()
    }

    /// In which experiments something was decided since this was last asked.
    pub(crate) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Moves what is durable from memory to the index.
    ///
    /// # Errors
    /// If the index fails.
    pub(crate) fn update_index(&mut self) -> Result<(), Error> {
        self.ledger.update_index()
    }

    /// The contract's state now, if so many entries came since the last snapshot that the next start
    /// would be slow. To be given to [`Keeper::save_snapshot`] when everything recorded is durable.
    pub(crate) fn snapshot_if_due(&mut self) -> Option<Snapshot> {
        let due = self.head().size >= self.snapshot_size + snapshot::EVERY;
        due.then(|| self.snapshot())
    }

    fn snapshot(&mut self) -> Snapshot {
        let head = self.head();
        self.snapshot_size = head.size;
        Snapshot { head, bytes: snapshot::encode(&self.contract) }
    }

    /// Keeps the state as it is, of which everything must be durable; the next start need not replay it.
    ///
    /// # Errors
    /// If the index fails.
    pub(crate) fn snapshot_now(&mut self) -> Result<(), Error> {
        if self.head().size > self.snapshot_size && !self.is_unsealed() {
            let snapshot = self.snapshot();
            self.save_snapshot(snapshot)?;
        }
        Ok(())
    }

    /// Keeps a snapshot.
    ///
    /// # Errors
    /// If the index fails.
    pub(crate) fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), Error> {
        self.ledger.save_snapshot(snapshot.head, &snapshot.bytes)
    }

    /// Closes the ledger, of which everything must be durable; the next start need not replay it.
    ///
    /// # Errors
    /// If the index fails.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        self.snapshot_now()
    }

    /// Ledger time: never before the last entry's, as the ledger itself has it, and never beyond what
    /// it can name (R70).
    fn time(&self, now_ms: u64) -> u64 {
        now_ms.min(MAX_TIME_MS).max(self.head().time_ms)
    }

    fn moment(&self, now_ms: u64) -> Moment {
        Moment { now_ms, head: Digest(self.head().leaf.0) }
    }

    fn append_outcomes(&mut self, now_ms: u64, outcomes: &[Outcome]) -> Result<(), Error> {
        for outcome in outcomes {
            let entry = append_outcome(&mut self.ledger, now_ms, outcome)?;
            self.times.push(entry.index, now_ms);
            self.touch(&outcome.experiment, None);
        }
        Ok(())
    }

    /// Remembers that something was decided in an experiment: by this sender, or for anybody.
    fn touch(&mut self, experiment: &ExperimentName, sender: Option<LearnerId>) {
        match (self.touched.get_mut(experiment), sender) {
            (Some(Members::Senders(senders)), Some(sender)) => senders.push(sender),
            (Some(Members::Anybody), Some(_)) => {}
            (Some(members @ (Members::Senders(_) | Members::Anybody)), None) => {
                *members = Members::Anybody;
            }
            (None, sender) => {
                let members = sender.map_or(Members::Anybody, |it| Members::Senders(vec![it]));
                self.touched.insert(experiment.clone(), members);
            }
        }
    }
}

fn append_outcome(ledger: &mut Ledger, now_ms: u64, outcome: &Outcome) -> Result<Appended, Error> {
    ledger.append(now_ms, record::outcome_payload(outcome), record::keys_of_outcome(outcome))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_ledger::Entry;
    use colearn_records::transaction::Seen;

    use super::*;
    use crate::testing::{Draws, keeper, ledger, log_keys, next_step};

    /// A history of something of everything: each transaction with its time, and how many entries
    /// there were after it.
    struct Story {
        steps: Vec<(u64, Transaction, u64)>,
        entries: Vec<Vec<u8>>,
    }

    /// Drives a keeper through a drawn history, sealing after every step.
    fn story(steps: u64) -> Story {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let (mut draws, mut now_ms) = (Draws(1), 1_000);
        let mut story = Story { steps: Vec::new(), entries: Vec::new() };
        let mut recorded = 0;
        for _ in 0..steps {
            // Now and then long enough for a deadline.
            now_ms += [0, 1, 7, 60][draws.below(4) as usize];
            let transaction = next_step(&mut draws, keeper.contract());
            let decision = keeper.decide(now_ms, &transaction).unwrap();
            recorded += usize::from(matches!(decision, Decision::Recorded(_)));
            let _ = keeper.seal().unwrap().wait().unwrap();
            keeper.update_index().unwrap();
            story.steps.push((now_ms, transaction, keeper.head().size));
        }
        story.entries = entries(&keeper);
        // Enough of both to mean something.
        let outcomes = story.entries.len() - recorded - 1;
        assert!(recorded as u64 > steps / 4, "{recorded} of {steps} recorded");
        assert!(outcomes as u64 > steps / 8, "{outcomes} outcomes of {steps} steps");
        story
    }

    fn entries(keeper: &Keeper) -> Vec<Vec<u8>> {
        keeper.reader().entries(0, keeper.reader().size(), usize::MAX).unwrap()
    }

    /// Decides the steps that end behind `size` entries, all in one batch.
    fn go_on(keeper: &mut Keeper, story: &Story, size: u64) {
        let first = story.steps.iter().position(|(_, _, after)| *after > size);
        let first = first.unwrap_or(story.steps.len());
        for (now_ms, transaction, _) in &story.steps[first..] {
            keeper.decide(*now_ms, transaction).unwrap();
        }
        let _ = keeper.seal().unwrap().wait().unwrap();
    }

    #[test]
    fn the_same_times_and_transactions_give_the_same_bytes() {
        let story = story(500);
        let dir = tempfile::tempdir().unwrap();
        let mut other = keeper(dir.path());
        // However they are sealed: here all at once.
        go_on(&mut other, &story, 0);
        assert!(entries(&other) == story.entries);
    }

    #[test]
    fn what_an_interrupted_write_cut_off_is_completed() {
        let story = story(60);
        for size in 1..=story.entries.len() as u64 {
            let dir = tempfile::tempdir().unwrap();
            let mut cut = ledger(dir.path());
            for bytes in &story.entries[1..size as usize] {
                let Entry { time_ms, payload, .. } = Entry::decode(bytes).unwrap();
                let keys = record::keys_of(&payload);
                cut.append(time_ms, payload, keys).unwrap();
            }
            cut.commit().unwrap();
            let (mut keeper, _) = Keeper::open(cut, &log_keys()).unwrap();
            let opened = entries(&keeper);
            assert!(story.entries.starts_with(&opened), "cut at {size}");
            go_on(&mut keeper, &story, opened.len() as u64);
            let whole = entries(&keeper);
            assert!(whole == story.entries, "cut at {size}: {} entries", whole.len());
        }
    }

    #[test]
    fn a_repetition_is_refused_and_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let create = crate::testing::signed(1, crate::testing::create("a"));
        assert_eq!(keeper.find(&create).unwrap(), None);
        let Decision::Recorded(entry) = keeper.decide(2_000, &create).unwrap() else {
            panic!("refused");
        };
        // Before it is durable, while it is not indexed, and after.
        for step in 0..3 {
            let again = keeper.decide(2_000 + step, &create).unwrap();
            assert!(matches!(again, Decision::Refused(Rejection::ExperimentExists)), "{step}");
            assert_eq!(keeper.find(&create).unwrap(), Some(entry.index), "{step}");
            match step {
                0 => drop(keeper.seal().unwrap().wait().unwrap()),
                _ => keeper.update_index().unwrap(),
            }
        }
    }

    #[test]
    fn time_never_runs_backwards_and_a_closed_ledger_is_not_replayed() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        for (learner, now_ms) in [(1, 5_000), (2, 4_000)] {
            let create = crate::testing::create(["a", "b"][learner as usize - 1]);
            keeper.decide(now_ms, &crate::testing::signed(learner, create)).unwrap();
            assert_eq!(keeper.head().time_ms, 5_000);
        }
        let _ = keeper.seal().unwrap().wait().unwrap();
        let contract = keeper.contract().clone();
        keeper.close().unwrap();
        let (keeper, replayed_from) = Keeper::open(ledger(dir.path()), &log_keys()).unwrap();
        assert_eq!((keeper.contract(), replayed_from), (&contract, 3));
    }

    #[test]
    fn a_transaction_signed_too_long_ago_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let expiry_ms = Limits::default().expiry_ms;
        let refused =
            |decision| matches!(decision, Decision::Refused(Rejection::TransactionExpired));
        // All are signed before anything was seen: the first unseen entry is the genesis, of time 1,000.
        let create = |name| crate::testing::signed(1, crate::testing::create(name));
        assert!(!refused(keeper.decide(2_000, &create("a")).unwrap()));
        assert!(!refused(keeper.decide(1_000 + expiry_ms, &create("b")).unwrap()));
        assert!(refused(keeper.decide(1_001 + expiry_ms, &create("c")).unwrap()));
        let _ = keeper.seal().unwrap().wait().unwrap();
        keeper.update_index().unwrap();
        // What was recorded in time is still found.
        assert!(refused(keeper.decide(1_001 + expiry_ms, &create("a")).unwrap()));
        assert_eq!(keeper.find(&create("a")).unwrap(), Some(1));
        // Also by a node that looks the time up in its ledger.
        keeper.close().unwrap();
        let mut keeper = super::tests::keeper(dir.path());
        assert!(refused(keeper.decide(1_001 + expiry_ms, &create("c")).unwrap()));
        // The same may be signed again, by who has seen what there is.
        let head = keeper.head();
        let seen = Seen { size: head.size, root: keeper.reader().root(head.size).unwrap() };
        let again = Transaction::sign(
            &crate::testing::key(1),
            &crate::testing::ledger_id(),
            seen,
            crate::testing::create("c"),
        );
        assert!(!refused(keeper.decide(1_001 + expiry_ms, &again).unwrap()));
    }
}
