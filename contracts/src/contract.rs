//! The state machine: every experiment of one ledger, and the one door to change them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Action, CreateExperiment, Digest, Experiment, ExperimentName, LearnerId, Outcome, Rejection,
};

/// The most experiments one ledger can hold (R3).
pub const MAX_EXPERIMENTS: usize = 10_000;

/// When something happens: in ledger time, and after which entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Ledger time, in ms.
    pub now_ms: u64,
    /// The leaf hash of the ledger's last entry: what sortition draws from (R32).
    pub head: Digest,
}

impl Moment {
    /// A moment where there is no ledger: the head is zero.
    pub fn without_ledger(now_ms: u64) -> Self {
        Self { now_ms, head: Digest([0; 32]) }
    }
}

/// The state of every experiment, and the rules that change it.
///
/// Driven only by (moment, sender, action): the same sequence gives the same outcomes on every
/// machine, for ever. Call [`Contract::advance`] before each [`Contract::apply`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Contract {
    /// The ledger's id, which sealed ballots and sortition are bound to.
    ledger: Digest,
    experiments: BTreeMap<ExperimentName, Experiment>,
    /// The deadline of each experiment that has one, soonest first.
    deadlines: BTreeSet<(u64, ExperimentName)>,
    /// The time of the last thing that happened (R30).
    now_ms: u64,
}

impl Contract {
    /// A contract with no experiments, on the ledger with this id.
    pub fn new(ledger: Digest) -> Self {
        Self { ledger, experiments: BTreeMap::new(), deadlines: BTreeSet::new(), now_ms: 0 }
    }

    /// The ledger's id.
    pub fn ledger(&self) -> Digest {
        self.ledger
    }

    /// The experiment of this name.
    pub fn experiment(&self, name: &ExperimentName) -> Option<&Experiment> {
        self.experiments.get(name)
    }

    /// Every experiment, by name.
    pub fn experiments(&self) -> impl ExactSizeIterator<Item = &Experiment> {
        self.experiments.values()
    }

    /// When [`Contract::advance`] will next change something; `None` if time alone never will.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Closes every round and motion whose deadline has come, soonest deadline first, then by name.
    pub fn advance(&mut self, at: Moment) -> Vec<Outcome> {
        // R30. Time never runs backwards, but where nothing happens it leaves no trace: what is
        // recorded is all there is to replay.
        let at = Moment { now_ms: self.now_ms.max(at.now_ms), ..at };
        let mut outcomes = Vec::new();
        while let Some((deadline_ms, name)) = self.deadlines.first().cloned()
            && deadline_ms <= at.now_ms
        {
            self.now_ms = at.now_ms;
            self.deadlines.pop_first();
            let Some(experiment) = self.experiments.get_mut(&name) else { continue };
            experiment.expire(self.ledger, at, &mut outcomes);
            if let Some(next_ms) = experiment.deadline_ms() {
                debug_assert!(next_ms > self.now_ms, "a deadline opened in the past");
                self.deadlines.insert((next_ms, name));
            }
        }
        outcomes
    }

    /// Applies one action of `sender`.
    ///
    /// # Errors
    /// The first broken rule, in the order [`Rejection`] declares them; the state is unchanged.
    pub fn apply(
        &mut self,
        at: Moment,
        sender: LearnerId,
        action: &Action,
    ) -> Result<Vec<Outcome>, Rejection> {
        // R30. Time never runs backwards; a rejection leaves even the clock as it was.
        let at = Moment { now_ms: self.now_ms.max(at.now_ms), ..at };
        if let Action::Create(create) = action {
            self.create(sender, create)?;
            self.now_ms = at.now_ms;
            return Ok(Vec::new());
        }
        let experiment =
            self.experiments.get_mut(action.experiment()).ok_or(Rejection::UnknownExperiment)?;
        let before = experiment.deadline_ms();
        let outcomes = experiment.apply(self.ledger, at, sender, action)?;
        let after = experiment.deadline_ms();
        if before != after {
            let name = experiment.name().clone();
            if let Some(deadline_ms) = before {
                self.deadlines.remove(&(deadline_ms, name.clone()));
            }
            if let Some(deadline_ms) = after {
                self.deadlines.insert((deadline_ms, name));
            }
        }
        self.now_ms = at.now_ms;
        Ok(outcomes)
    }

    fn create(&mut self, sender: LearnerId, create: &CreateExperiment) -> Result<(), Rejection> {
        create.parameters.check(&create.model).map_err(Rejection::InvalidParameters)?;
        create.admission.check(&create.parameters).map_err(Rejection::InvalidParameters)?;
        if self.experiments.contains_key(&create.name) {
            return Err(Rejection::ExperimentExists);
        }
        if self.experiments.len() >= MAX_EXPERIMENTS {
            return Err(Rejection::TooManyExperiments);
        }

        self.experiments.insert(create.name.clone(), Experiment::new(sender, create));
        Ok(())
    }
}
