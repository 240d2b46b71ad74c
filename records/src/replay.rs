//! The contract, fed with what a ledger records, and each recorded outcome compared with it. The
//! entries themselves are the [follower](crate::follower)'s business.

use std::collections::VecDeque;

use colearn_contracts::{
    Action, Contract, Digest, ExperimentName, LearnerId, Limits, Moment, NotAnUpgrade, Outcome,
    Rejection, UnknownVersion, Version,
};
use colearn_proto::v1;

use crate::convert::BadField;
use crate::json;
use crate::record::Record;
use crate::transaction::LedgerId;
use crate::upgrade;

/// The contract, fed with what a ledger records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replay {
    contract: Contract,
    /// Outcomes that have to be recorded next, and when they were decided.
    due: VecDeque<Outcome>,
    decided: Moment,
}

/// How a ledger departs from the contract.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Departure {
    /// The contract refuses a recorded transaction.
    #[error("the contract refuses this transaction: {0}")]
    Refused(Rejection),
    /// An outcome is recorded that the contract did not decide.
    #[error("the contract decided {}, recorded is {}", told(expected), told(found))]
    OtherOutcome {
        /// What the contract decided.
        expected: Option<Outcome>,
        /// What is recorded.
        found: Option<Outcome>,
    },
    /// The rules are upgraded to a version that this program does not know.
    #[error("{0}")]
    UnknownVersion(UnknownVersion),
    /// The upgrade's limits are missing or break a bound.
    #[error(transparent)]
    Limits(#[from] BadField),
    /// The rules are upgraded to a version that is no later one.
    #[error("{0}")]
    NotAnUpgrade(NotAnUpgrade),
}

fn told(outcome: &Option<Outcome>) -> String {
    outcome.as_ref().map_or_else(|| "nothing".to_owned(), |it| json::outcome(it).to_string())
}

impl Replay {
    /// Begins with an empty contract of this version of the rules, and with these limits.
    pub fn new(ledger: LedgerId, version: Version, limits: Limits) -> Self {
        Self::resume(Contract::with_limits(Digest(ledger.0), version, limits))
    }

    /// Goes on from a state in which every outcome was recorded.
    pub fn resume(contract: Contract) -> Self {
        Self { contract, due: VecDeque::new(), decided: Moment::without_ledger(0) }
    }

    /// What [`Replay::contract`] and [`Replay::decided`] gave while nothing was due.
    pub(crate) fn of_parts(contract: Contract, decided: Moment) -> Self {
        Self { contract, due: VecDeque::new(), decided }
    }

    /// Follows a record, at the time of its entry and after the entry before it. The contract knows
    /// nothing of the genesis and of the ledger's keys.
    ///
    /// # Errors
    /// If the record departs from the contract.
    pub fn record(&mut self, at: Moment, record: &Record) -> Result<(), Departure> {
        match record {
            Record::Transaction(transaction) => {
                self.transaction(at, transaction.sender, &transaction.action)
            }
            Record::Outcome(outcome) => self.outcome(at, outcome),
            Record::Upgrade(upgrade) => {
                self.upgrade(at, upgrade.contract_version, upgrade.limits.as_ref())
            }
            Record::ValidatorChange(change) => match upgrade::rules(change) {
                Some(rules) => self.upgrade(at, rules.contract_version, rules.limits.as_ref()),
                None => Ok(()),
            },
            Record::Genesis(_) | Record::KeyRotation(_) | Record::Block(_) => Ok(()),
        }
    }

    /// Follows a recorded upgrade: new experiments follow another version from here on.
    ///
    /// # Errors
    /// If an outcome should have been recorded before, or it is to no later version that is known here.
    fn upgrade(
        &mut self,
        at: Moment,
        version: u32,
        limits: Option<&v1::Limits>,
    ) -> Result<(), Departure> {
        self.advance(at, None);
        if let Some(expected) = self.due.front() {
            return Err(Departure::OtherOutcome { expected: Some(expected.clone()), found: None });
        }
        let version = Version::try_from(version).map_err(Departure::UnknownVersion)?;
        let limits = upgrade::limits(limits)?;
        self.contract.upgrade(at.now_ms, version, limits).map_err(Departure::NotAnUpgrade)
    }

    /// Follows a recorded transaction, at the time of its entry and after the entry before it.
    ///
    /// # Errors
    /// If an outcome should have been recorded before, or the contract refuses it.
    fn transaction(
        &mut self,
        at: Moment,
        sender: LearnerId,
        action: &Action,
    ) -> Result<(), Departure> {
        self.advance(at, Some(&action.experiment));
        if let Some(expected) = self.due.front() {
            return Err(Departure::OtherOutcome { expected: Some(expected.clone()), found: None });
        }
        let outcomes = self.contract.apply(at, sender, action).map_err(Departure::Refused)?;
        self.due.extend(outcomes);
        self.decided = at;
        Ok(())
    }

    /// Follows a recorded outcome, at the time of its entry and after the entry before it.
    ///
    /// # Errors
    /// If it is not what the contract decided.
    fn outcome(&mut self, at: Moment, found: &Outcome) -> Result<(), Departure> {
        self.advance(at, Some(&found.experiment));
        let expected = self.due.pop_front();
        // The time counts too: whoever replays an outcome later takes its deadlines from there.
        if expected.as_ref() == Some(found) && at.now_ms == self.decided.now_ms {
            Ok(())
        } else {
            Err(Departure::OtherOutcome { expected, found: Some(found.clone()) })
        }
    }

    /// Has what is due decided, before a record about this experiment or about none.
    fn advance(&mut self, at: Moment, experiment: Option<&ExperimentName>) {
        // Not while something is due: it was decided before this moment and is recorded first.
        if self.due.is_empty() {
            let outcomes = match (self.contract.charter(), experiment) {
                (None, _) => self.contract.advance(at),
                // R93.
                (Some(_), Some(name)) => self.contract.touch(at, name),
                (Some(_), None) => Vec::new(),
            };
            self.due.extend(outcomes);
            self.decided = at;
        }
    }

    /// The contract's state now.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// When what is recorded last was decided, and after which entry.
    pub fn decided(&self) -> Moment {
        self.decided
    }

    /// The outcomes that are decided and have to be recorded next, in order.
    pub fn due(&self) -> impl ExactSizeIterator<Item = &Outcome> {
        self.due.iter()
    }

    /// The contract, and the outcomes that are decided but not recorded: what an interrupted write
    /// has cut off. They are to be recorded with the given time.
    pub fn finish(self) -> (Contract, u64, Vec<Outcome>) {
        (self.contract, self.decided.now_ms, self.due.into())
    }
}
