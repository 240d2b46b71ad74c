//! A ledger's experiments in a store, and the one door to change them: what
//! [`Contract`](crate::Contract) is in memory.

use core::fmt;

use super::keys;
use super::load::{Loaded, Loader};
use super::reach::Extent;
use super::{Damaged, Store};
use crate::action::{Act, Action, CreateExperiment};
use crate::charter::Charter;
use crate::experiment::Experiment;
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::limits::Limits;
use crate::outcome::{Decision, Outcome};
use crate::rejection::Rejection;
use crate::step::{Context, Moment};
use crate::version::Version;

/// What a ledger says of itself that a contract on a public chain keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ledger {
    /// Its id.
    pub id: Digest,
    /// The version of the rules; 2 or later, and no other ever.
    pub version: Version,
    /// What belongs to no experiment.
    pub limits: Limits,
    /// Who may create, and how many may take part.
    pub charter: Charter,
}

/// A ledger's experiments, in a store.
///
/// As with a [`Contract`](crate::Contract) on a chain, call [`Kept::touch`] before each [`Kept::apply`].
pub struct Kept<'a, S> {
    ledger: &'a Ledger,
    store: &'a mut S,
    /// The time of the last thing that happened (R30).
    now_ms: u64,
}

/// Why something was not done. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotDone {
    /// By a rule.
    Refused(Rejection),
    /// The store is not what this has written.
    Damaged(Damaged),
}

impl From<Rejection> for NotDone {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection)
    }
}

impl From<Damaged> for NotDone {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

impl fmt::Display for NotDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(rejection) => rejection.fmt(f),
            Self::Damaged(damaged) => damaged.fmt(f),
        }
    }
}

impl core::error::Error for NotDone {}

impl<'a, S: Store> Kept<'a, S> {
    /// The experiments of this ledger that are kept here; the last thing happened at this time.
    pub fn new(ledger: &'a Ledger, store: &'a mut S, now_ms: u64) -> Self {
        Self { ledger, store, now_ms }
    }

    /// The time of the last thing that happened.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// R93. Closes what is due of one experiment, the soonest first, and looks at no other; where there is
    /// no such experiment, nothing.
    ///
    /// # Errors
    /// If the store is damaged.
    pub fn touch(&mut self, at: Moment, name: &ExperimentName) -> Result<Vec<Outcome>, Damaged> {
        let at = at.after(self.now_ms);
        let context = self.context(at);
        let mut loader = Loader::new(self.store, name);
        let Some(core) = loader.core()? else { return Ok(Vec::new()) };
        let is_due = |deadline_ms: Option<u64>| deadline_ms.is_some_and(|it| it <= at.now_ms);
        let mut extent = match (is_due(core.motion_deadline_ms), is_due(core.round_deadline_ms())) {
            (true, _) => Extent::Motions,
            (false, true) => Extent::Members,
            (false, false) => return Ok(Vec::new()),
        };
        loop {
            let mut loaded = loader.load(extent, None)?;
            let decisions = loaded.experiment.advance(context);
            extent = needed(&loaded, &decisions);
            if extent <= loaded.extent {
                write(loader, &loaded, &decisions)?;
                return Ok(self.done(at, name, decisions));
            }
        }
    }

    /// Applies one action of `sender`.
    ///
    /// # Errors
    /// The first broken rule, in the order [`Rejection`] declares them, or that the store is damaged.
    pub fn apply(
        &mut self,
        at: Moment,
        sender: LearnerId,
        action: &Action,
    ) -> Result<Vec<Outcome>, NotDone> {
        let at = at.after(self.now_ms);
        let name = &action.experiment;
        if let Act::Create(create) = &action.what {
            self.create(at, sender, name, create)?;
            return Ok(Vec::new());
        }
        let context = self.context(at);
        let mut loader = Loader::new(self.store, name);
        let core = loader.core()?.ok_or(Rejection::UnknownExperiment)?;
        let mut extent = Extent::of_act(&action.what, &core);
        loop {
            // What comes of it may need more of the experiment than it itself did; what was decided without
            // that is forgotten.
            let mut loaded = loader.load(extent, Some((sender, &action.what)))?;
            let decisions = loaded.experiment.apply(context, sender, &action.what)?;
            extent = needed(&loaded, &decisions);
            if extent <= loaded.extent {
                write(loader, &loaded, &decisions)?;
                return Ok(self.done(at, name, decisions));
            }
        }
    }

    /// R51, R52, R2, R91, R3, R54, in the order in which they take precedence.
    fn create(
        &mut self,
        at: Moment,
        sender: LearnerId,
        name: &ExperimentName,
        create: &CreateExperiment,
    ) -> Result<(), NotDone> {
        let experiment = Experiment::create(self.context(at), name.clone(), sender, create)?;
        self.ledger.charter.check_creator(sender)?;
        let mut loader = Loader::new(self.store, name);
        if loader.core()?.is_some() {
            return Err(Rejection::ExperimentExists.into());
        }
        let (limit, count) = (self.ledger.limits.per_creator, unfinished(loader.store, sender)?);
        if count >= limit {
            return Err(Rejection::TooManyOfCreator { limit }.into());
        }

        loader.create(experiment);
        self.store.set(&keys::listed(name.as_str()), &[1]);
        count_unfinished(self.store, sender, count + 1);
        self.now_ms = at.now_ms;
        Ok(())
    }

    /// An experiment as it stands, without what strangers can make grow: who has left, all models but the
    /// present one, who has voted on motions. `None` if there is none of this name.
    ///
    /// # Errors
    /// If the store is damaged.
    pub fn standing(&mut self, name: &ExperimentName) -> Result<Option<Experiment>, Damaged> {
        let mut loader = Loader::new(self.store, name);
        match loader.core()? {
            Some(_) => Ok(Some(loader.standing()?)),
            None => Ok(None),
        }
    }

    /// All of an experiment, however much that is; `None` if there is none of this name.
    ///
    /// # Errors
    /// If the store is damaged.
    pub fn experiment(&mut self, name: &ExperimentName) -> Result<Option<Experiment>, Damaged> {
        let mut loader = Loader::new(self.store, name);
        match loader.core()? {
            Some(_) => Ok(Some(loader.load(Extent::Whole, None)?.experiment)),
            None => Ok(None),
        }
    }

    fn context(&self, at: Moment) -> Context {
        let Ledger { id, version, charter, .. } = self.ledger;
        Context { ledger: *id, version: *version, at, max_members: charter.max_members }
    }

    /// What was written took place.
    fn done(
        &mut self,
        at: Moment,
        name: &ExperimentName,
        decisions: Vec<Decision>,
    ) -> Vec<Outcome> {
        self.now_ms = at.now_ms;
        decisions.into_iter().map(|what| Outcome::new(name.clone(), what)).collect()
    }
}

/// Writes what has become of an experiment by this. Whatever is damaged is found before that.
fn write<S: Store>(
    loader: Loader<'_, S>,
    loaded: &Loaded,
    decisions: &[Decision],
) -> Result<(), Damaged> {
    let creator = loaded.experiment.created_by();
    let left = match is_finished(decisions) {
        true => {
            let key = keys::unfinished(creator);
            // It has been counted itself.
            let left = unfinished(loader.store, creator)?.checked_sub(1);
            Some(left.ok_or(Damaged { key })?)
        }
        false => None,
    };
    let store = loader.save(loaded);
    if let Some(left) = left {
        count_unfinished(store, creator, left);
    }
    Ok(())
}

/// R54. How many unfinished experiments a key has created.
fn unfinished(store: &impl Store, creator: LearnerId) -> Result<u32, Damaged> {
    let key = keys::unfinished(creator);
    let Some(value) = store.get(&key) else { return Ok(0) };
    let count = value.try_into().map(u32::from_be_bytes);
    count.map_err(|_| Damaged { key })
}

fn count_unfinished(store: &mut impl Store, creator: LearnerId, count: u32) {
    match count {
        0 => store.remove(&keys::unfinished(creator)),
        _ => store.set(&keys::unfinished(creator), &count.to_be_bytes()),
    }
}

fn is_finished(decisions: &[Decision]) -> bool {
    decisions.iter().any(|it| matches!(it, Decision::Finished { .. }))
}

/// How much of an experiment had to be there for what was decided.
fn needed(loaded: &Loaded, decisions: &[Decision]) -> Extent {
    let needed = Extent::of_decisions(decisions);
    // They end with it.
    if is_finished(decisions) && loaded.has_open_motions() {
        needed.max(Extent::Motions)
    } else {
        needed
    }
}
