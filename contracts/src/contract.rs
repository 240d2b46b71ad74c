//! The state machine: every experiment of one ledger, and the one door to change them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Action, CreateExperiment, Experiment, ExperimentName, LearnerId, Outcome, Rejection};

/// The most experiments one ledger can hold (R3).
pub const MAX_EXPERIMENTS: usize = 10_000;

/// The state of every experiment, and the rules that change it.
///
/// Driven only by (time, sender, action): the same sequence gives the same outcomes on every
/// machine, for ever. Call [`Contract::advance`] with the time before each [`Contract::apply`].
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Contract {
    experiments: BTreeMap<ExperimentName, Experiment>,
    /// The deadline of each experiment that has one, soonest first.
    deadlines: BTreeSet<(u64, ExperimentName)>,
    /// The latest time seen (R30).
    now_ms: u64,
}

impl Contract {
    /// A contract with no experiments.
    pub fn new() -> Self {
        Self::default()
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

    /// Closes every round whose deadline has come, soonest deadline first, then by name.
    pub fn advance(&mut self, now_ms: u64) -> Vec<Outcome> {
        // R30. Time never runs backwards.
        self.now_ms = self.now_ms.max(now_ms);
        let mut outcomes = Vec::new();
        while let Some((deadline_ms, name)) = self.deadlines.first().cloned()
            && deadline_ms <= self.now_ms
        {
            self.deadlines.pop_first();
            let Some(experiment) = self.experiments.get_mut(&name) else { continue };
            outcomes.extend(experiment.expire(self.now_ms));
            if let Some(next_ms) = experiment.deadline_ms() {
                debug_assert!(next_ms > self.now_ms, "a deadline opened in the past");
                self.deadlines.insert((next_ms, name));
            }
        }
        outcomes
    }

    /// Applies one action of `sender` at ledger time `now_ms`.
    ///
    /// # Errors
    /// The first broken rule, in the order [`Rejection`] declares them; the state is unchanged.
    pub fn apply(
        &mut self,
        now_ms: u64,
        sender: LearnerId,
        action: &Action,
    ) -> Result<Vec<Outcome>, Rejection> {
        // R30. Time never runs backwards; a rejection leaves even the clock as it was.
        let now_ms = self.now_ms.max(now_ms);
        if let Action::Create(create) = action {
            self.create(sender, create)?;
            self.now_ms = now_ms;
            return Ok(Vec::new());
        }
        let experiment =
            self.experiments.get_mut(action.experiment()).ok_or(Rejection::UnknownExperiment)?;
        let before = experiment.deadline_ms();
        let outcomes = match action {
            // Handled above.
            Action::Create(_) => Vec::new(),
            Action::Join { term, .. } => experiment.join(now_ms, sender, *term)?,
            Action::Leave { term, .. } => experiment.leave(now_ms, sender, *term)?,
            Action::Propose(proposal) => experiment.propose(now_ms, sender, proposal)?,
            Action::Pass { round, .. } => experiment.pass(now_ms, sender, *round)?,
            Action::Vote(vote) => experiment.vote(now_ms, sender, vote)?,
            Action::Stop { .. } => experiment.stop(sender)?,
        };
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
        self.now_ms = now_ms;
        Ok(outcomes)
    }

    fn create(&mut self, sender: LearnerId, create: &CreateExperiment) -> Result<(), Rejection> {
        create.parameters.check(&create.model).map_err(Rejection::InvalidParameters)?;
        if self.experiments.contains_key(&create.name) {
            return Err(Rejection::ExperimentExists);
        }
        if self.experiments.len() >= MAX_EXPERIMENTS {
            return Err(Rejection::TooManyExperiments);
        }

        let experiment = Experiment::new(
            sender,
            create.name.clone(),
            create.parameters.clone(),
            create.model.clone(),
        );
        self.experiments.insert(create.name.clone(), experiment);
        Ok(())
    }
}
