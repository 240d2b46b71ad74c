//! Reading as much of an experiment as is needed, and writing what has become of that.

use std::collections::{BTreeMap, BTreeSet};

use super::keys;
use super::reach::Extent;
use super::split::{self, Aside, Core, Unread};
use super::{Damaged, Store};
use crate::action::Act;
use crate::draw::Seed;
use crate::experiment::Experiment;
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::motions::Motions;
use crate::parameters::Model;
use crate::roster::{Rest, Roster};
use crate::round::Rounds;

/// What is read and written of one experiment.
pub(super) struct Loader<'a, S> {
    pub(super) store: &'a mut S,
    name: &'a ExperimentName,
    /// What its keys begin with.
    pub(super) prefix: Vec<u8>,
    /// What was read, and where nothing was.
    pub(super) read: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// A part of an experiment, good for what needs no more.
pub(super) struct Loaded {
    pub(super) experiment: Experiment,
    pub(super) extent: Extent,
    unread: Unread,
}

impl Loaded {
    /// Whether motions are open that were not read, and end with the experiment.
    pub(super) fn has_open_motions(&self) -> bool {
        self.unread.open_motions > 0
    }
}

/// All pieces of an experiment, by their keys.
pub fn of(experiment: &Experiment) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut pieces = BTreeMap::new();
    Loader::new(&mut pieces, experiment.name()).create(experiment.clone());
    pieces
}

impl<'a, S: Store> Loader<'a, S> {
    pub(super) fn new(store: &'a mut S, name: &'a ExperimentName) -> Self {
        Self { store, name, prefix: keys::of_experiment(name), read: BTreeMap::new() }
    }

    /// What nearly everything needs; `None` if there is no such experiment.
    pub(super) fn core(&mut self) -> Result<Option<Core>, Damaged> {
        self.piece(keys::CORE)
    }

    /// As much of it as this, and what an act of this sender looks at beside.
    pub(super) fn load(
        &mut self,
        mut extent: Extent,
        asked: Option<(LearnerId, &Act)>,
    ) -> Result<Loaded, Damaged> {
        let core: Core = self.needed(keys::CORE)?;
        let mut rest = Rest::default();
        let mut unread =
            Unread { motion_deadline_ms: core.motion_deadline_ms, ..Unread::default() };
        let aside: Option<Aside> = match extent {
            Extent::Sender | Extent::Round => None,
            Extent::Members | Extent::Motions | Extent::Rights | Extent::Whole => {
                Some(self.needed(keys::ASIDE)?)
            }
        };
        // They take effect where a round ends.
        if aside.as_ref().is_some_and(|it| it.adopted_motions > 0) {
            extent = extent.max(Extent::Rights);
        }
        let media_type = core.model.media_type.clone();
        let model = |digest, size| Model { digest, size, media_type: media_type.clone() };
        let mut experiment = Experiment {
            name: self.name.clone(),
            version: core.version,
            creator: LearnerId([0; 32]),
            created_by: LearnerId([0; 32]),
            created_ms: 0,
            plan: None,
            models: BTreeSet::new(),
            terms: Digest([0; 32]),
            roster: Roster::default(),
            rounds: Rounds::new(0, Seed(Digest([0; 32]))),
            motions: Motions::default(),
            keys_replaced: BTreeMap::new(),
            parameters: core.parameters,
            model: core.model,
        };
        // As every model that was ever the global one: it is there, and need not be read.
        experiment.models.insert(experiment.model.digest);
        self.read
            .entry(keys::of_model(experiment.model.digest))
            .or_insert(Some(split::THERE.to_vec()));
        experiment.roster.weight = core.weight;
        experiment.rounds.current = core.round;
        experiment.rounds.idle = core.idle;
        if let Some(aside) = aside {
            experiment.creator = aside.creator;
            experiment.created_by = aside.created_by;
            experiment.created_ms = aside.created_ms;
            experiment.plan = aside.plan;
            experiment.terms = aside.terms;
            let rounds = &mut experiment.rounds;
            rounds.last_proposer_seat = aside.last_proposer_seat;
            rounds.previous = aside.previous.map(|(digest, size)| model(digest, size));
            rounds.rejected = aside.rejected;
            rounds.between_since_ms = aside.between_since_ms;
            rounds.draws = aside.draws;
            let roster = &mut experiment.roster;
            (roster.open, roster.by_vote) = (aside.open, aside.by_vote);
            roster.admitted_weight = aside.admitted_weight;
            roster.changes = aside.changes;
            roster.next_seat = aside.next_seat;
            roster.replaced = aside.replaced;
            rest = Rest { members: aside.members, renewals: aside.renewals };
            unread.open_motions = aside.open_motions;
            unread.adopted_motions = aside.adopted_motions;
            unread.last_motion = aside.last_motion;
        }
        self.round(&mut experiment, core.phase, extent, asked.map(|(_, act)| act))?;
        if extent >= Extent::Members {
            self.members(&mut experiment, keys::PRESENT, &rest)?;
            experiment.roster.pending = self.values(keys::PENDING)?;
        }
        if let Some((sender, act)) = asked {
            self.sender(&mut experiment, sender, act, &rest)?;
        }
        if extent >= Extent::Motions {
            self.motions(&mut experiment)?;
            experiment.motions.last = unread.last_motion;
            unread.motion_deadline_ms = None;
            (unread.open_motions, unread.adopted_motions) = (0, 0);
            self.voters(&mut experiment, extent, asked)?;
        }
        if extent >= Extent::Rights {
            for (learner, right) in self.of_learners(keys::RIGHT)? {
                experiment.roster.admitted.insert(learner, right);
            }
            self.concerned(&mut experiment, asked.map(|(_, act)| act), &rest)?;
            if let Some((from, Act::ReplaceKey { to })) = asked {
                self.replaced(&mut experiment, from, *to, &rest)?;
            }
        }
        if extent == Extent::Whole {
            self.rest(&mut experiment, &rest)?;
        }
        if extent >= Extent::Members {
            let others = rest.members.checked_sub(experiment.roster.members.len());
            rest.members = others.ok_or_else(|| self.damaged(keys::ASIDE))?;
        }
        if extent < Extent::Whole {
            experiment.roster.rest = Some(rest);
        }
        experiment.roster.sit();
        Ok(Loaded { experiment, extent, unread })
    }

    /// As it stands, with what its members call themselves.
    pub(super) fn standing(&mut self) -> Result<Experiment, Damaged> {
        let Loaded { mut experiment, .. } = self.load(Extent::Rights, None)?;
        let seated: Vec<LearnerId> = experiment.seated().collect();
        for learner in seated {
            self.called(&mut experiment, learner)?;
        }
        Ok(experiment)
    }

    /// Writes what has changed of what was read, and what is new. Gives the store back.
    pub(super) fn save(self, loaded: &Loaded) -> &'a mut S {
        let with_aside = loaded.extent >= Extent::Members;
        let pieces = split::pieces(&loaded.experiment, &loaded.unread, with_aside);
        let Self { store, prefix, read, .. } = self;
        let key = |key: &[u8]| [&prefix, key].concat();
        for (gone, _) in
            read.iter().filter(|(it, value)| value.is_some() && !pieces.contains_key(*it))
        {
            store.remove(&key(gone));
        }
        for (piece, value) in &pieces {
            if read.get(piece).and_then(Option::as_ref) != Some(value) {
                store.set(&key(piece), value);
            }
        }
        store
    }

    /// Writes a new experiment.
    pub(super) fn create(self, experiment: Experiment) {
        let loaded = Loaded { experiment, extent: Extent::Whole, unread: Unread::default() };
        self.save(&loaded);
    }
}
