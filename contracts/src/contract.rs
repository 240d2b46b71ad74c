//! The experiments of one ledger: a map of them, their deadlines, one clock, and the one door to
//! change them.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::{Act, Action, CreateExperiment};
use crate::experiment::Experiment;
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::outcome::{Decision, Outcome};
use crate::rejection::Rejection;
use crate::step::{Context, Moment};
use crate::version::Version;

/// The most experiments one ledger can hold (R3).
pub const MAX_EXPERIMENTS: usize = 10_000;

/// The layout of the contract's state when it is written with serde.
///
/// Whoever keeps the state writes this number before it, and reads no other: a state of another
/// layout may well decode, as something that nobody decided. The ledger is there to replay. It grows
/// whenever the golden bytes in `tests/golden` change.
pub const LAYOUT: u32 = 3;

/// The state of every experiment, and the rules that change it.
///
/// Driven only by (moment, sender, action): the same sequence gives the same outcomes on every
/// machine, for ever. Call [`Contract::advance`] before each [`Contract::apply`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Contract {
    /// The ledger's id, which sealed ballots and sortition are bound to.
    ledger: Digest,
    /// What new experiments follow.
    version: Version,
    experiments: BTreeMap<ExperimentName, Experiment>,
    /// The deadline of each experiment that has one, soonest first.
    deadlines: BTreeSet<(u64, ExperimentName)>,
    /// The time of the last thing that happened (R30).
    now_ms: u64,
}

impl Contract {
    /// A contract with no experiments, on the ledger with this id, which begins with this version of
    /// the rules.
    pub fn new(ledger: Digest, version: Version) -> Self {
        Self {
            ledger,
            version,
            experiments: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            now_ms: 0,
        }
    }

    /// The ledger's id.
    pub fn ledger(&self) -> Digest {
        self.ledger
    }

    /// The version of the rules that new experiments follow.
    pub fn version(&self) -> Version {
        self.version
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

    /// Has experiments that are created from here on follow a later version of the rules. Those there
    /// are keep theirs: nobody but their members changes the rules that they joined under.
    ///
    /// # Errors
    /// If the version is not a later one; so a recorded upgrade, sent again, never counts twice.
    pub fn upgrade(&mut self, version: Version) -> Result<(), NotAnUpgrade> {
        if version <= self.version {
            return Err(NotAnUpgrade { from: self.version, to: version });
        }
        self.version = version;
        Ok(())
    }

    /// Closes every round and motion whose deadline has come, soonest deadline first, then by name.
    pub fn advance(&mut self, at: Moment) -> Vec<Outcome> {
        // R30. Time never runs backwards, but where nothing happens it leaves no trace: what is
        // recorded is all there is to replay.
        let at = Moment { now_ms: self.now_ms.max(at.now_ms), ..at };
        let context = Context { ledger: self.ledger, at };
        let mut outcomes = Vec::new();
        while let Some((deadline_ms, name)) = self.deadlines.first().cloned()
            && deadline_ms <= at.now_ms
        {
            self.now_ms = at.now_ms;
            self.deadlines.pop_first();
            let Some(experiment) = self.experiments.get_mut(&name) else { continue };
            outcomes.extend(outcomes_of(&name, experiment.advance(context)));
            if let Some(next_ms) = experiment.deadline_ms() {
                assert!(next_ms > self.now_ms, "a deadline opened in the past");
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
        let name = &action.experiment;
        if let Act::Create(create) = &action.what {
            self.create(sender, name, create)?;
            self.now_ms = at.now_ms;
            return Ok(Vec::new());
        }
        let experiment = self.experiments.get_mut(name).ok_or(Rejection::UnknownExperiment)?;
        let before = experiment.deadline_ms();
        let decisions =
            experiment.apply(Context { ledger: self.ledger, at }, sender, &action.what)?;
        let after = experiment.deadline_ms();
        // Most votes change no deadline, and then nothing is searched, cloned or moved here.
        if before != after {
            if let Some(deadline_ms) = before {
                self.deadlines.remove(&(deadline_ms, name.clone()));
            }
            if let Some(deadline_ms) = after {
                self.deadlines.insert((deadline_ms, name.clone()));
            }
        }
        self.now_ms = at.now_ms;
        // Nothing comes of most votes but the vote; the rest is for those that decide.
        if decisions.is_empty() {
            return Ok(Vec::new());
        }
        Ok(outcomes_of(name, decisions).collect())
    }

    fn create(
        &mut self,
        sender: LearnerId,
        name: &ExperimentName,
        create: &CreateExperiment,
    ) -> Result<(), Rejection> {
        // R2 before R3: the order in which rejections take precedence.
        let experiment = Experiment::create(self.version, name.clone(), sender, create)?;
        if self.experiments.contains_key(name) {
            return Err(Rejection::ExperimentExists);
        }
        if self.experiments.len() >= MAX_EXPERIMENTS {
            return Err(Rejection::TooManyExperiments);
        }

        self.experiments.insert(name.clone(), experiment);
        Ok(())
    }
}

fn outcomes_of(name: &ExperimentName, decisions: Vec<Decision>) -> impl Iterator<Item = Outcome> {
    decisions.into_iter().map(|what| Outcome::new(name.clone(), what))
}

/// The ledger follows this version of the rules already, or a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAnUpgrade {
    /// What it follows.
    pub from: Version,
    /// What was asked for.
    pub to: Version,
}

impl fmt::Display for NotAnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "the ledger follows version {from} of the rules; {to} is not a later one")
    }
}

impl core::error::Error for NotAnUpgrade {}
