//! Replaying recorded entries through the contract: what the node does when it opens a ledger and
//! what audit does to check one.

use std::collections::VecDeque;

use colearn_contracts::{Action, Contract, LearnerId, Outcome, Rejection};

/// The contract, fed with what a ledger records.
#[derive(Debug, Default)]
pub struct Replay {
    contract: Contract,
    /// Outcomes that have to be recorded next, and their time.
    due: VecDeque<Outcome>,
    due_time_ms: u64,
}

/// How a ledger departs from the contract.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Departure {
    /// The contract refuses a recorded transaction.
    #[error("the contract refuses this transaction: {0}")]
    Refused(Rejection),
    /// An outcome is recorded that the contract did not decide.
    #[error("the contract decided {expected:?}, recorded is {found:?}")]
    OtherOutcome {
        /// What the contract decided.
        expected: Option<Outcome>,
        /// What is recorded.
        found: Option<Outcome>,
    },
}

impl Replay {
    /// Goes on from a state in which nothing was due.
    pub fn resume(contract: Contract) -> Self {
        Self { contract, ..Self::default() }
    }

    /// Follows a recorded transaction.
    ///
    /// # Errors
    /// If an outcome should have been recorded before, or the contract refuses it.
    pub fn transaction(
        &mut self,
        time_ms: u64,
        sender: LearnerId,
        action: &Action,
    ) -> Result<(), Departure> {
        self.advance(time_ms);
        if let Some(expected) = self.due.front() {
            return Err(Departure::OtherOutcome { expected: Some(expected.clone()), found: None });
        }
        let outcomes = self.contract.apply(time_ms, sender, action).map_err(Departure::Refused)?;
        self.due.extend(outcomes);
        self.due_time_ms = time_ms;
        Ok(())
    }

    /// Follows a recorded outcome.
    ///
    /// # Errors
    /// If it is not what the contract decided.
    pub fn outcome(&mut self, time_ms: u64, found: &Outcome) -> Result<(), Departure> {
        self.advance(time_ms);
        let expected = self.due.pop_front();
        if expected.as_ref() == Some(found) && time_ms == self.due_time_ms {
            Ok(())
        } else {
            Err(Departure::OtherOutcome { expected, found: Some(found.clone()) })
        }
    }

    fn advance(&mut self, time_ms: u64) {
        if self.due.is_empty() {
            self.due.extend(self.contract.advance(time_ms));
            self.due_time_ms = time_ms;
        }
    }

    /// The contract's state now.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The contract, and the outcomes that are decided but not recorded: what an interrupted write
    /// has cut off. They are to be recorded with the given time.
    pub fn finish(self) -> (Contract, u64, Vec<Outcome>) {
        (self.contract, self.due_time_ms, self.due.into())
    }
}
