//! Reading who takes part, and who else an act or a motion is about.

use super::keys;
use super::load::Loader;
use super::split::{self, SeatPiece};
use super::{Damaged, Store};
use crate::action::{Act, Motion};
use crate::experiment::Experiment;
use crate::id::{Digest, LearnerId};
use crate::motions::Motions;
use crate::name::MemberName;
use crate::proposal::RevealUpdate;
use crate::roster::Rest;

impl<S: Store> Loader<'_, S> {
    /// Who asks, and what its act looks at.
    pub(super) fn sender(
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
    pub(super) fn seat(
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
    pub(super) fn spent(
        &mut self,
        experiment: &mut Experiment,
        learner: LearnerId,
    ) -> Result<(), Damaged> {
        let spent = self.piece(&keys::of_learner(keys::PRIVACY, learner))?;
        if let Some(member) = experiment.roster.member_mut(learner) {
            member.privacy = spent.map(Box::new);
        }
        Ok(())
    }

    /// What a learner calls itself, if it is or was a member.
    pub(super) fn called(
        &mut self,
        experiment: &mut Experiment,
        learner: LearnerId,
    ) -> Result<(), Damaged> {
        let called = self.piece(&keys::of_learner(keys::CALLED, learner))?;
        if let Some(member) = experiment.roster.member_mut(learner) {
            member.name = called;
        }
        Ok(())
    }

    /// Who bears a name, if anybody does.
    pub(super) fn bearer(
        &mut self,
        experiment: &mut Experiment,
        name: &MemberName,
    ) -> Result<(), Damaged> {
        if let Some(bearer) = self.piece(&keys::of_name(name.as_str()))? {
            // Always written with the other.
            let borne = keys::of_borne(bearer, name.as_str());
            self.read.entry(borne).or_insert(Some(split::THERE.to_vec()));
            experiment.roster.names.insert(name.clone(), bearer);
        }
        Ok(())
    }

    /// Whom the motions are about that are open, adopted or being made, and which names they give.
    pub(super) fn concerned(
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
    pub(super) fn replaced(
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

    /// Who is, or was, a member.
    pub(super) fn members(
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

    /// What nothing looks at but who wants all of it.
    pub(super) fn rest(&mut self, experiment: &mut Experiment, rest: &Rest) -> Result<(), Damaged> {
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
}
