//! The experiments of one ledger: a map of them, their deadlines, one clock, and the one door to
//! change them.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::{Act, Action, CreateExperiment};
use crate::charter::Charter;
use crate::experiment::Experiment;
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::limits::Limits;
use crate::outcome::{Decision, Outcome};
use crate::rejection::Rejection;
use crate::round::Phase;
use crate::step::{Context, Moment};
use crate::version::Version;

/// The most experiments one ledger can hold in version 1 (R3).
pub const MAX_EXPERIMENTS: usize = 10_000;

/// The layout of the contract's state when it is written with serde.
///
/// Whoever keeps the state writes this number before it, and reads no other: a state of another
/// layout may well decode, as something that nobody decided. The ledger is there to replay. It grows
/// whenever the golden bytes in `tests/golden` change.
pub const LAYOUT: u32 = 6;

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
    /// What belongs to no experiment.
    limits: Limits,
    /// Since when they hold: 0 if from the first entry on.
    limits_since_ms: u64,
    /// Where a contract on a public chain keeps the ledger: there deadlines are lazy (R93).
    charter: Option<Charter>,
    experiments: BTreeMap<ExperimentName, Experiment>,
    /// How many unfinished experiments each key has created, that has any (R54). Of the key that did:
    /// who goes on under another one has created no less.
    unfinished: BTreeMap<LearnerId, u32>,
    /// The deadline of each experiment that has one, soonest first.
    deadlines: BTreeSet<(u64, ExperimentName)>,
    /// The time of the last thing that happened (R30).
    now_ms: u64,
}

impl Contract {
    /// A contract with no experiments, on the ledger with this id, which begins with this version of
    /// the rules and the usual limits.
    pub fn new(ledger: Digest, version: Version) -> Self {
        Self::with_limits(ledger, version, Limits::default())
    }

    /// The same with these limits, which version 1 knows nothing of.
    pub fn with_limits(ledger: Digest, version: Version, limits: Limits) -> Self {
        Self {
            ledger,
            version,
            limits,
            limits_since_ms: 0,
            charter: None,
            experiments: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            now_ms: 0,
        }
    }

    /// The same, of a ledger that a contract on a public chain keeps. Call [`Contract::touch`] there, never
    /// [`Contract::advance`].
    pub fn on_chain(ledger: Digest, version: Version, limits: Limits, charter: Charter) -> Self {
        Self { charter: Some(charter), ..Self::with_limits(ledger, version, limits) }
    }

    /// What holds beside the limits where a contract on a public chain keeps the ledger.
    pub fn charter(&self) -> Option<&Charter> {
        self.charter.as_ref()
    }

    /// The ledger's id.
    pub fn ledger(&self) -> Digest {
        self.ledger
    }

    /// The version of the rules that new experiments follow.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The limits of the ledger; of no meaning in version 1.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// R71. Whether a transaction is not too old: `unseen_ms` is the time of the first entry that its
    /// signer had not seen, if there is one. In version 1 none ever is, and what was recorded before an
    /// upgrade counts as recorded with it.
    ///
    /// # Errors
    /// If it is.
    pub fn check_fresh(&self, now_ms: u64, unseen_ms: Option<u64>) -> Result<(), Rejection> {
        match self.version.rules().limited_creators {
            true => {
                let unseen_ms = unseen_ms.map(|unseen_ms| unseen_ms.max(self.limits_since_ms));
                self.limits.check_fresh(now_ms, unseen_ms)
            }
            false => Ok(()),
        }
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

    /// Has experiments that are created from here on follow a later version of the rules, and the
    /// ledger these limits, at this ledger time. The experiments there are keep their rules: nobody but their members
    /// changes those that they joined under (R69).
    ///
    /// # Errors
    /// If the version is not a later one; so a recorded upgrade, sent again, never counts twice.
    pub fn upgrade(
        &mut self,
        now_ms: u64,
        version: Version,
        limits: Limits,
    ) -> Result<(), NotAnUpgrade> {
        if version <= self.version {
            return Err(NotAnUpgrade { from: self.version, to: version });
        }
        (self.version, self.limits, self.limits_since_ms) = (version, limits, now_ms);
        Ok(())
    }

    fn context(&self, at: Moment) -> Context {
        let max_members = self.charter.as_ref().map_or(u32::MAX, |charter| charter.max_members);
        Context { ledger: self.ledger, version: self.version, at, max_members }
    }

    /// R93. Closes what is due of one experiment, the soonest first, and looks at no other; where there is
    /// no such experiment, nothing.
    pub fn touch(&mut self, at: Moment, name: &ExperimentName) -> Vec<Outcome> {
        let at = at.after(self.now_ms);
        let deadline_ms = self.experiments.get(name).and_then(Experiment::deadline_ms);
        match deadline_ms.filter(|deadline_ms| *deadline_ms <= at.now_ms) {
            Some(deadline_ms) => self.fire(at, deadline_ms, name.clone()),
            None => Vec::new(),
        }
    }

    /// Closes every round and motion whose deadline has come: experiment by experiment, the one with the
    /// soonest deadline first, then by name, and in each the soonest first.
    pub fn advance(&mut self, at: Moment) -> Vec<Outcome> {
        // R30. Time never runs backwards, but where nothing happens it leaves no trace: what is
        // recorded is all there is to replay.
        let at = at.after(self.now_ms);
        let mut outcomes = Vec::new();
        while let Some((deadline_ms, name)) = self.deadlines.first().cloned()
            && deadline_ms <= at.now_ms
        {
            outcomes.extend(self.fire(at, deadline_ms, name));
        }
        outcomes
    }

    /// Closes what is due of an experiment with this deadline.
    fn fire(&mut self, at: Moment, deadline_ms: u64, name: ExperimentName) -> Vec<Outcome> {
        let context = self.context(at);
        self.now_ms = at.now_ms;
        let due = (deadline_ms, name);
        self.deadlines.remove(&due);
        let (_, name) = due;
        let Some(experiment) = self.experiments.get_mut(&name) else { return Vec::new() };
        let decisions = experiment.advance(context);
        let (creator, finished) = (experiment.created_by(), is_finished(experiment));
        let outcomes = outcomes_of(&name, decisions).collect();
        if let Some(next_ms) = experiment.deadline_ms() {
            assert!(next_ms > self.now_ms, "a deadline opened in the past");
            self.deadlines.insert((next_ms, name));
        }
        if finished {
            self.count_finished(creator);
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
        let at = at.after(self.now_ms);
        let context = self.context(at);
        let name = &action.experiment;
        if let Act::Create(create) = &action.what {
            self.create(context, sender, name, create)?;
            self.now_ms = at.now_ms;
            return Ok(Vec::new());
        }
        let experiment = self.experiments.get_mut(name).ok_or(Rejection::UnknownExperiment)?;
        let before = experiment.deadline_ms();
        let was_finished = is_finished(experiment);
        let decisions = experiment.apply(context, sender, &action.what)?;
        let after = experiment.deadline_ms();
        let (creator, finished) = (experiment.created_by(), is_finished(experiment));
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
        if finished && !was_finished {
            self.count_finished(creator);
        }
        // Nothing comes of most votes but the vote; the rest is for those that decide.
        if decisions.is_empty() {
            return Ok(Vec::new());
        }
        Ok(outcomes_of(name, decisions).collect())
    }

    /// What becomes of an action at this moment, after what is due of its experiment by then: nothing is changed.
    ///
    /// It costs what a copy of that one experiment does, however many there are.
    ///
    /// # Errors
    /// Those of [`Contract::apply`].
    pub fn would(&self, at: Moment, sender: LearnerId, action: &Action) -> Result<(), Rejection> {
        let name = &action.experiment;
        let experiment = self.experiments.get_key_value(name);
        let deadline_ms = experiment.and_then(|(_, it)| it.deadline_ms());
        let creates = matches!(action.what, Act::Create(_));
        let mut alone = Self {
            ledger: self.ledger,
            version: self.version,
            limits: self.limits,
            limits_since_ms: self.limits_since_ms,
            charter: self.charter.clone(),
            experiments: experiment
                .map(|(name, experiment)| (name.clone(), experiment.clone()))
                .into_iter()
                .collect(),
            // Only a new experiment is counted.
            unfinished: if creates { self.unfinished.clone() } else { BTreeMap::new() },
            deadlines: deadline_ms.map(|it| (it, name.clone())).into_iter().collect(),
            now_ms: self.now_ms,
        };
        alone.touch(at, name);
        alone.apply(at, sender, action).map(drop)
    }

    fn create(
        &mut self,
        context: Context,
        sender: LearnerId,
        name: &ExperimentName,
        create: &CreateExperiment,
    ) -> Result<(), Rejection> {
        // R52, R51 and R2 before R91 and R3: the order in which rejections take precedence.
        let experiment = Experiment::create(context, name.clone(), sender, create)?;
        if let Some(charter) = &self.charter {
            charter.check_creator(sender)?;
        }
        if self.experiments.contains_key(name) {
            return Err(Rejection::ExperimentExists);
        }
        if self.version.rules().limited_creators {
            let of_all: u64 = self.unfinished.values().map(|count| u64::from(*count)).sum();
            if self.charter.is_none() && of_all >= u64::from(self.limits.experiments) {
                return Err(Rejection::TooManyExperiments);
            }
            let limit = self.limits.per_creator;
            if self.unfinished.get(&sender).is_some_and(|count| *count >= limit) {
                return Err(Rejection::TooManyOfCreator { limit });
            }
        } else if self.experiments.len() >= MAX_EXPERIMENTS {
            return Err(Rejection::TooManyExperiments);
        }

        self.experiments.insert(name.clone(), experiment);
        self.count_begun(sender);
        Ok(())
    }

    /// R54. Counts an unfinished experiment of a creator.
    fn count_begun(&mut self, creator: LearnerId) {
        *self.unfinished.entry(creator).or_insert(0) += 1;
    }

    /// R54. Counts one less.
    fn count_finished(&mut self, creator: LearnerId) {
        if let Some(count) = self.unfinished.get_mut(&creator) {
            *count -= 1;
            if *count == 0 {
                self.unfinished.remove(&creator);
            }
        }
    }
}

fn is_finished(experiment: &Experiment) -> bool {
    matches!(experiment.phase(), Phase::Finished(_))
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
