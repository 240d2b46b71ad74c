//! The rules of membership: joining, leaving, resuming, changing one's key, losing one's seat.

use crate::experiment::{Experiment, Member, Phase, Seat, Step, Tally};
use crate::outcome::{Outcome, PauseReason, SuspendReason, Verdict};
use crate::parameters::MAX_MEMBERS;
use crate::{LearnerId, Rejection};

impl Experiment {
    pub(crate) fn join(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        term: u32,
    ) -> Result<(), Rejection> {
        let known = self.members.get(&sender);
        match known.map(|member| member.seat) {
            Some(Seat::Expelled) => return Err(Rejection::Expelled),
            Some(Seat::Replaced) => return Err(Rejection::KeyReplaced),
            _ if !self.open && !self.admitted.contains_key(&sender) => {
                return Err(Rejection::NotInvited);
            }
            Some(Seat::Joining | Seat::Seated(_) | Seat::Leaving(_)) => {
                return Err(Rejection::AlreadyMember);
            }
            Some(Seat::Left | Seat::Suspended) | None => {}
        }
        let expected = known.map_or(0, |member| member.term.saturating_add(1));
        if term != expected {
            return Err(Rejection::WrongTerm { expected });
        }
        if known.is_none() && self.members.len() >= MAX_MEMBERS {
            return Err(Rejection::TooManyMembers);
        }

        let weight = self.admitted.get(&sender).copied().unwrap_or(1);
        let member = self.members.entry(sender).or_insert(Member {
            term,
            seat: Seat::Joining,
            weight,
            last_vote: 0,
            commitment: None,
            missed: 0,
            exhausted: false,
            privacy: None,
        });
        (member.term, member.seat, member.weight, member.missed) = (term, Seat::Joining, weight, 0);
        self.pending.push(sender);
        // Somebody is there again.
        self.idle = 0;
        self.settle_now(step);
        Ok(())
    }

    pub(crate) fn leave(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        term: u32,
    ) -> Result<(), Rejection> {
        let member = self.members.get_mut(&sender).ok_or(Rejection::NotMember)?;
        let left = match member.seat {
            Seat::Joining => Seat::Left,
            Seat::Seated(seat) => Seat::Leaving(seat),
            Seat::Leaving(_) | Seat::Left | Seat::Suspended | Seat::Expelled | Seat::Replaced => {
                return Err(Rejection::NotMember);
            }
        };
        if term != member.term {
            return Err(Rejection::WrongTerm { expected: member.term });
        }

        member.seat = left;
        if left == Seat::Left {
            self.pending.retain(|pending| *pending != sender);
            return Ok(());
        }
        self.pending.push(sender);
        match self.phase {
            // R28. Who leaves before proposing gives up its turn.
            Phase::Proposing { proposer, .. } if proposer == sender => {
                self.close_round(step, Verdict::Passed, Tally::default());
            }
            Phase::Waiting
            | Phase::Paused(_)
            | Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Finished(_) => self.settle_now(step),
        }
        Ok(())
    }

    /// R41.
    pub(crate) fn resume(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        round: u64,
    ) -> Result<(), Rejection> {
        self.member_now(sender)?;
        match self.phase {
            Phase::Paused(PauseReason::NobodyProposes) => {}
            Phase::Paused(PauseReason::BudgetsSpent) => return Err(Rejection::BudgetsSpent),
            Phase::Waiting
            | Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Finished(_) => return Err(Rejection::NotPaused),
        }
        if round != self.round {
            return Err(Rejection::WrongRound { current: self.round });
        }

        self.idle = 0;
        self.go_on(step);
        Ok(())
    }

    /// R31. Everything known under one key goes on under another.
    pub(crate) fn replace_key(&mut self, from: LearnerId, to: LearnerId) -> Result<(), Rejection> {
        let known = |learner| {
            self.members.contains_key(&learner)
                || self.admitted.contains_key(&learner)
                || self.creator == learner
        };
        match self.members.get(&from).map(|member| member.seat) {
            Some(Seat::Expelled) => return Err(Rejection::Expelled),
            Some(Seat::Replaced) => return Err(Rejection::KeyReplaced),
            _ if !known(from) => return Err(Rejection::NotMember),
            _ => {}
        }
        if self.members.contains_key(&from) && self.members.len() >= MAX_MEMBERS {
            return Err(Rejection::TooManyMembers);
        }
        if known(to) {
            return Err(Rejection::KeyInUse);
        }

        if self.creator == from {
            self.creator = to;
        }
        if let Some(weight) = self.admitted.remove(&from) {
            self.admitted.insert(to, weight);
        }
        if let Some(member) = self.members.get_mut(&from) {
            let before = member.clone();
            (member.seat, member.commitment) = (Seat::Replaced, None);
            if let Some(seat) = before.seat.number() {
                self.roster.insert(seat, to);
            }
            self.members.insert(to, before);
        }
        self.pending.iter_mut().filter(|learner| **learner == from).for_each(|it| *it = to);
        match &mut self.phase {
            Phase::Proposing { proposer, .. } | Phase::Voting { proposer, .. }
                if *proposer == from =>
            {
                *proposer = to;
            }
            Phase::Waiting
            | Phase::Paused(_)
            | Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Finished(_) => {}
        }
        self.replace_in_motions(from, to);
        Ok(())
    }

    /// R9. A learner that is a member now, though perhaps not from this round on.
    pub(crate) fn member_now(&self, learner: LearnerId) -> Result<&Member, Rejection> {
        let member = self.members.get(&learner).filter(|member| member.seat.is_member());
        member.ok_or(Rejection::NotMember)
    }

    /// Settles the seats if no round is open, and goes on if that changes where the experiment
    /// stands: waiting goes on waiting without saying so again.
    pub(crate) fn settle_now(&mut self, step: &mut Step) {
        if !self.is_between_rounds() {
            return;
        }
        let was_waiting = self.phase == Phase::Waiting;
        self.settle(step);
        if !was_waiting || self.roster.len() >= self.parameters.min_learners as usize {
            self.go_on(step);
        }
    }

    /// R25, R48. Gives a seat to who joined and takes it from who left since the last round opened,
    /// and lets adopted motions take effect.
    pub(crate) fn settle(&mut self, step: &mut Step) {
        debug_assert!(self.is_between_rounds());
        for learner in core::mem::take(&mut self.pending) {
            let Some(member) = self.members.get_mut(&learner) else { continue };
            match member.seat {
                Seat::Joining => {
                    member.seat = Seat::Seated(self.next_seat);
                    self.roster_weight += member.weight;
                    self.roster.insert(self.next_seat, learner);
                    self.next_seat += 1;
                }
                Seat::Leaving(seat) => {
                    member.seat = Seat::Left;
                    self.roster_weight -= member.weight;
                    self.roster.remove(&seat);
                }
                Seat::Seated(_)
                | Seat::Left
                | Seat::Suspended
                | Seat::Expelled
                | Seat::Replaced => {}
            }
        }
        self.take_effect(step);
    }

    /// Takes a member's seat between rounds.
    pub(crate) fn unseat(
        &mut self,
        step: &mut Step,
        learner: LearnerId,
        seat: Seat,
        reason: SuspendReason,
    ) {
        let Some(member) = self.members.get_mut(&learner) else { return };
        if let Some(number) = member.seat.number() {
            self.roster.remove(&number);
            self.roster_weight -= member.weight;
        }
        member.seat = seat;
        self.pending.retain(|pending| *pending != learner);
        let experiment = self.name.clone();
        step.outcomes.push(Outcome::Suspended { experiment, learner, reason });
    }
}
