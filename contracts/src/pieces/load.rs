//! Reading as much of an experiment as is needed, and writing what has become of that.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use super::keys;
use super::reach::Extent;
use super::split::{
    self, Aside, Core, Counts, MotionPiece, PartPiece, PhaseCore, SeatPiece, StageCore, Unread,
};
use super::{Damaged, Store};
use crate::action::{Act, Motion};
use crate::draw::Seed;
use crate::experiment::Experiment;
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::merge_tally::{MergeTally, Named};
use crate::merging::Merges;
use crate::motions::{Motions, OpenMotion};
use crate::name::MemberName;
use crate::parameters::{Close, Model};
use crate::proposal::RevealUpdate;
use crate::roster::{Rest, Roster};
use crate::round::{MergeStage, MergedRound, Participant, Phase, Rounds};

/// What is read and written of one experiment.
pub(super) struct Loader<'a, S> {
    store: &'a mut S,
    name: &'a ExperimentName,
    prefix: Vec<u8>,
    /// What was read, and where nothing was.
    read: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
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

/// Which pairs of merges are read, of those that were named.
enum Pairs {
    All,
    /// That which a vote names, and whatever decides what follows from it: the leading one, and where rounds
    /// close early those that checkers name, of whom there are few.
    Judged {
        judged: Merges,
        early: bool,
    },
    None,
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
        extent: Extent,
        asked: Option<(LearnerId, &Act)>,
    ) -> Result<Loaded, Damaged> {
        let core: Core = self.needed(keys::CORE)?;
        let mut extent = extent;
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

    /// The present round.
    fn round(
        &mut self,
        experiment: &mut Experiment,
        phase: PhaseCore,
        extent: Extent,
        act: Option<&Act>,
    ) -> Result<(), Damaged> {
        let early = experiment.parameters.close == Close::Early;
        let like = experiment.model.clone();
        experiment.rounds.phase = match phase {
            PhaseCore::Waiting => Phase::Waiting,
            PhaseCore::Paused(reason) => Phase::Paused(reason),
            PhaseCore::Proposing { proposer, deadline_ms } => {
                Phase::Proposing { proposer, deadline_ms }
            }
            PhaseCore::Voting { proposer, weights, size, tally, stage, deadline_ms } => {
                let weights = Model { digest: weights, size, media_type: like.media_type };
                Phase::Voting { proposer, weights, tally, stage, deadline_ms }
            }
            PhaseCore::Finished(reason) => Phase::Finished(reason),
            PhaseCore::Merged { stage, deadline_ms } => {
                let whole = extent >= Extent::Round;
                let judged = match act {
                    Some(Act::MergeVote(vote)) => Some(vote.merges),
                    Some(Act::RevealMergeVote(reveal)) => Some(reveal.vote.merges),
                    _ => None,
                };
                let mut participants = Vec::new();
                if whole {
                    let parts: Vec<(LearnerId, PartPiece)> = self.values(keys::PARTICIPANT)?;
                    participants.extend(
                        parts
                            .into_iter()
                            .map(|(learner, part)| Participant { learner, part: part.part(&like) }),
                    );
                }
                let checkers = match whole || judged.is_some() {
                    true => self.piece(keys::CHECKERS)?.unwrap_or_default(),
                    false => Vec::new(),
                };
                let stage = match stage {
                    StageCore::Training => MergeStage::Training,
                    StageCore::Revealing => MergeStage::Revealing,
                    StageCore::Gathering => {
                        let (said, held) = self.needed(keys::HELD)?;
                        MergeStage::Gathering { said, held }
                    }
                    StageCore::Voting { counts, stage } => {
                        let pairs = match judged {
                            _ if whole => Pairs::All,
                            Some(judged) => Pairs::Judged { judged, early },
                            None => Pairs::None,
                        };
                        let tally = self.tally(counts, pairs)?;
                        MergeStage::Voting { tally, stage }
                    }
                };
                Phase::Merged(Box::new(MergedRound { participants, checkers, stage, deadline_ms }))
            }
        };
        Ok(())
    }

    /// The votes on merges, with those for these pairs.
    fn tally(&mut self, counts: Counts, which: Pairs) -> Result<MergeTally, Damaged> {
        let mut pairs: BTreeMap<Merges, Named> = BTreeMap::new();
        let (checked, others) = match which {
            Pairs::All => (true, true),
            // Whether enough may yet agree is asked of every pair that a checker names.
            Pairs::Judged { early, .. } => (early && counts.checkers > 0, false),
            Pairs::None => (false, false),
        };
        for (kind, is_read) in [(keys::CHECKED_PAIR, checked), (keys::PAIR, others)] {
            for (key, value) in if is_read { self.range(&[kind]) } else { Vec::new() } {
                let pair = keys::pair(&key).ok_or_else(|| self.damaged(&key))?;
                pairs.insert(pair, self.decode(&key, &value)?);
            }
        }
        if let Pairs::Judged { judged, .. } = which {
            for pair in [judged, counts.leading].into_iter().filter(|pair| !pair.is_none()) {
                for kind in [keys::CHECKED_PAIR, keys::PAIR] {
                    if !pairs.contains_key(&pair)
                        && let Some(named) = self.piece(&keys::of_pair(kind, &pair))?
                    {
                        pairs.insert(pair, named);
                    }
                }
            }
        }
        let unread = counts.pairs.checked_sub(pairs.len() as u32);
        let unread = unread.ok_or_else(|| self.damaged(keys::CORE))?;
        let mut checked = BTreeSet::new();
        for (pair, _) in pairs.iter().filter(|(_, named)| named.checkers > 0) {
            checked.insert(*pair);
        }
        Ok(MergeTally {
            electorate: counts.electorate,
            cast: counts.cast,
            abstentions: counts.abstentions,
            unavailable: counts.unavailable,
            checkers: counts.checkers,
            checkers_cast: counts.checkers_cast,
            pairs,
            leading: counts.leading,
            checked,
            unread,
        })
    }

    /// Who asks, and what its act looks at.
    fn sender(
        &mut self,
        experiment: &mut Experiment,
        sender: LearnerId,
        act: &Act,
        rest: &Rest,
    ) -> Result<(), Damaged> {
        self.seat(experiment, sender, rest)?;
        let trained = if let Act::Propose(proposal) = act {
            Some(proposal.weights.digest)
        } else if let Act::Update(update) | Act::RevealUpdate(RevealUpdate { update, .. }) = act {
            Some(update.weights.digest)
        } else {
            None
        };
        if let Some(digest) = trained {
            if self.get(&keys::of_model(digest)).is_some() {
                experiment.models.insert(digest);
            }
            self.spent(experiment, sender)?;
        }
        if matches!(act, Act::Join(_) | Act::Stop | Act::MotionVote { .. })
            && let Some(right) = self.piece(&keys::of_learner(keys::RIGHT, sender))?
        {
            experiment.roster.admitted.insert(sender, right);
        }
        if let Act::Join(join) = act
            && let Some(name) = &join.name
        {
            self.bearer(experiment, name)?;
        }
        Ok(())
    }

    /// What there is of one learner, if it is or was a member.
    fn seat(
        &mut self,
        experiment: &mut Experiment,
        learner: LearnerId,
        rest: &Rest,
    ) -> Result<(), Damaged> {
        if experiment.roster.member(learner).is_some() {
            return Ok(());
        }
        for kind in [keys::PRESENT, keys::GONE] {
            let seat: Option<SeatPiece> = self.piece(&keys::of_learner(kind, learner))?;
            if let Some(seat) = seat {
                experiment.roster.members.insert(learner, seat.member(learner, rest.renewals));
                break;
            }
        }
        Ok(())
    }

    /// What the proposals of a learner have revealed, if it is or was a member.
    fn spent(&mut self, experiment: &mut Experiment, learner: LearnerId) -> Result<(), Damaged> {
        let spent = self.piece(&keys::of_learner(keys::PRIVACY, learner))?;
        if let Some(member) = experiment.roster.member_mut(learner) {
            member.privacy = spent.map(Box::new);
        }
        Ok(())
    }

    /// What a learner calls itself, if it is or was a member.
    fn called(&mut self, experiment: &mut Experiment, learner: LearnerId) -> Result<(), Damaged> {
        let called = self.piece(&keys::of_learner(keys::CALLED, learner))?;
        if let Some(member) = experiment.roster.member_mut(learner) {
            member.name = called;
        }
        Ok(())
    }

    /// Who bears a name, if anybody does.
    fn bearer(&mut self, experiment: &mut Experiment, name: &MemberName) -> Result<(), Damaged> {
        if let Some(bearer) = self.piece(&keys::of_name(name.as_str()))? {
            // Always written with the other.
            let borne = keys::of_borne(bearer, name.as_str());
            self.read.entry(borne).or_insert(Some(split::THERE.to_vec()));
            experiment.roster.names.insert(name.clone(), bearer);
        }
        Ok(())
    }

    /// Whom the motions are about that are open, adopted or being made, and which names they give.
    fn concerned(
        &mut self,
        experiment: &mut Experiment,
        act: Option<&Act>,
        rest: &Rest,
    ) -> Result<(), Damaged> {
        let Motions { open, adopted, .. } = &experiment.motions;
        let made = match act {
            Some(Act::Move { motion, .. }) => Some(motion),
            _ => None,
        };
        let motions = open.values().map(|it| &it.motion);
        let motions = motions.chain(adopted.iter().map(|it| &it.motion)).chain(made);
        let about = |motion: &Motion| match motion {
            Motion::Admit(invitation) => Some((invitation.learner, invitation.name.clone())),
            Motion::Suspend(learner) | Motion::Expel(learner) => Some((*learner, None)),
            // A chain's ledger has one version, so there is never another to adopt.
            Motion::SetParameters(_) | Motion::Stop | Motion::Adopt(_) => None,
        };
        let concerned: Vec<(LearnerId, Option<MemberName>)> = motions.filter_map(about).collect();
        for (learner, name) in concerned {
            self.seat(experiment, learner, rest)?;
            if let Some(name) = name {
                self.bearer(experiment, &name)?;
            }
        }
        Ok(())
    }

    /// All that goes on under another key, and whether that is known.
    fn replaced(
        &mut self,
        experiment: &mut Experiment,
        from: LearnerId,
        to: LearnerId,
        rest: &Rest,
    ) -> Result<(), Damaged> {
        self.seat(experiment, to, rest)?;
        self.spent(experiment, from)?;
        self.called(experiment, from)?;
        if let Some(count) = self.piece(&keys::of_learner(keys::KEYS_REPLACED, from))? {
            experiment.keys_replaced.insert(from, count);
        }
        for (key, _) in self.range(&keys::of_bearer(from)) {
            let name = self.name(&key, 33)?;
            // Always written with the other.
            let bearer = split::bytes(&from);
            self.read.entry(keys::of_name(name.as_str())).or_insert(Some(bearer));
            experiment.roster.names.insert(name, from);
        }
        Ok(())
    }

    /// The name behind the first `begun` bytes of a key.
    fn name(&self, key: &[u8], begun: usize) -> Result<MemberName, Damaged> {
        let name = key.get(begun..).and_then(|name| core::str::from_utf8(name).ok());
        name.and_then(|name| name.parse().ok()).ok_or_else(|| self.damaged(key))
    }

    /// Who is, or was, a member.
    fn members(
        &mut self,
        experiment: &mut Experiment,
        kind: u8,
        rest: &Rest,
    ) -> Result<(), Damaged> {
        for (learner, seat) in self.of_learners::<SeatPiece>(kind)? {
            experiment.roster.members.insert(learner, seat.member(learner, rest.renewals));
        }
        Ok(())
    }

    /// What the members are deciding, and have decided, but for who has voted.
    fn motions(&mut self, experiment: &mut Experiment) -> Result<(), Damaged> {
        for (key, value) in self.range(&[keys::MOTION]) {
            let number = key.get(1..).and_then(|number| number.try_into().ok());
            let number = u64::from_be_bytes(number.ok_or_else(|| self.damaged(&key))?);
            let piece: MotionPiece = self.decode(&key, &value)?;
            experiment.motions.open.insert(
                number,
                OpenMotion {
                    motion: piece.motion,
                    mover: piece.mover,
                    tally: piece.tally,
                    version: piece.version,
                    threshold: piece.threshold,
                    voters: BTreeSet::new(),
                    electorate: piece.electorate,
                    deadline_ms: piece.deadline_ms,
                },
            );
        }
        experiment.motions.adopted = self.values(keys::ADOPTED)?;
        Ok(())
    }

    /// Whether who votes on a motion, or changes its key, has voted already; of a whole experiment, who has.
    fn voters(
        &mut self,
        experiment: &mut Experiment,
        extent: Extent,
        asked: Option<(LearnerId, &Act)>,
    ) -> Result<(), Damaged> {
        let voted_on = |act: &Act, number| {
            matches!(act, Act::MotionVote { number: asked, .. } if *asked == number)
                || matches!(act, Act::ReplaceKey { .. })
        };
        for (&number, open) in &mut experiment.motions.open {
            if extent == Extent::Whole {
                for (key, _) in self.range(&keys::by_number(keys::VOTER, number)) {
                    let voter = keys::tail(&key, 9).map(LearnerId);
                    open.voters.insert(voter.ok_or_else(|| self.damaged(&key))?);
                }
            } else if let Some((sender, act)) = asked
                && voted_on(act, number)
                && self.get(&keys::of_voter(number, sender)).is_some()
            {
                open.voters.insert(sender);
            }
        }
        Ok(())
    }

    /// What nothing looks at but who wants all of it.
    fn rest(&mut self, experiment: &mut Experiment, rest: &Rest) -> Result<(), Damaged> {
        self.members(experiment, keys::GONE, rest)?;
        for (learner, name) in self.of_learners(keys::CALLED)? {
            if let Some(member) = experiment.roster.member_mut(learner) {
                member.name = Some(name);
            }
        }
        for (learner, spent) in self.of_learners(keys::PRIVACY)? {
            if let Some(member) = experiment.roster.member_mut(learner) {
                member.privacy = Some(Box::new(spent));
            }
        }
        for (key, value) in self.range(&[keys::NAME]) {
            let name = self.name(&key, 1)?;
            experiment.roster.names.insert(name, self.decode(&key, &value)?);
        }
        for (key, _) in self.range(&[keys::MODEL]) {
            let digest = keys::tail(&key, 1).ok_or_else(|| self.damaged(&key))?;
            experiment.models.insert(Digest(digest));
        }
        for (learner, count) in self.of_learners(keys::KEYS_REPLACED)? {
            experiment.keys_replaced.insert(learner, count);
        }
        Ok(())
    }

    /// Where it is kept.
    pub(super) fn store(&self) -> &S {
        self.store
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

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some(value) = self.read.get(key) {
            return value.clone();
        }
        let value = self.store.get(&[&self.prefix, key].concat());
        self.read.insert(key.to_vec(), value.clone());
        value
    }

    fn range(&mut self, begin: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = self.store.range(&[&self.prefix, begin].concat());
        let found =
            found.into_iter().map(|(key, value)| (key[self.prefix.len()..].to_vec(), value));
        let found: Vec<_> = found.collect();
        for (key, value) in &found {
            self.read.insert(key.clone(), Some(value.clone()));
        }
        found
    }

    fn piece<T: DeserializeOwned>(&mut self, key: &[u8]) -> Result<Option<T>, Damaged> {
        let value = self.get(key);
        value.map(|value| self.decode(key, &value)).transpose()
    }

    fn needed<T: DeserializeOwned>(&mut self, key: &[u8]) -> Result<T, Damaged> {
        self.piece(key)?.ok_or_else(|| self.damaged(key))
    }

    /// All of a kind that have a place, in order.
    fn values<T: DeserializeOwned>(&mut self, kind: u8) -> Result<Vec<T>, Damaged> {
        let found = self.range(&[kind]);
        found.iter().map(|(key, value)| self.decode(key, value)).collect()
    }

    /// All of a kind that belong to learners.
    fn of_learners<T: DeserializeOwned>(
        &mut self,
        kind: u8,
    ) -> Result<Vec<(LearnerId, T)>, Damaged> {
        let found = self.range(&[kind]);
        let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let learner = keys::tail(key, 1).map(LearnerId).ok_or_else(|| self.damaged(key))?;
            Ok((learner, self.decode(key, value)?))
        };
        found.iter().map(read).collect()
    }

    fn decode<T: DeserializeOwned>(&self, key: &[u8], value: &[u8]) -> Result<T, Damaged> {
        postcard::from_bytes(value).map_err(|_| self.damaged(key))
    }

    fn damaged(&self, key: &[u8]) -> Damaged {
        Damaged { key: [&self.prefix, key].concat() }
    }
}
