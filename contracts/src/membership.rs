//! The rules of membership: joining, leaving, resuming, changing one's key, losing one's seat.

use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::member::Seat;
use crate::outcome::{Decision, PauseReason, SuspendReason, Verdict};
use crate::parameters::MAX_MEMBERS;
use crate::rejection::Rejection;
use crate::round::Phase;
use crate::step::Step;
use crate::tally::Tally;

impl Experiment {
    /// R6 to R8, R50.
    pub(crate) fn join(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        term: u32,
    ) -> Result<(), Rejection> {
        let known = self.roster.member(sender);
        match known.map(|member| member.seat) {
            Some(Seat::Expelled) => return Err(Rejection::Expelled),
            Some(Seat::Replaced) => return Err(Rejection::KeyReplaced),
            // In the order of precedence: who may not join is told so before all that may pass.
            _ if !self.roster.admits(sender) => return Err(Rejection::NotInvited),
            Some(Seat::Joining | Seat::Seated(_) | Seat::Leaving(_)) => {
                return Err(Rejection::AlreadyMember);
            }
            Some(Seat::Left | Seat::Suspended) | None => {}
        }
        let expected = known.map_or(0, |member| member.term.saturating_add(1));
        if term != expected {
            return Err(Rejection::WrongTerm { expected });
        }
        if known.is_none() && self.roster.members().len() >= MAX_MEMBERS {
            return Err(Rejection::TooManyMembers);
        }

        self.roster.join(sender, term);
        // Somebody is there again.
        self.rounds.idle = 0;
        self.settle_now(step);
        Ok(())
    }

    /// R7, R25, R28.
    pub(crate) fn leave(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        term: u32,
    ) -> Result<(), Rejection> {
        let member = self.roster.member(sender).ok_or(Rejection::NotMember)?;
        match member.seat {
            Seat::Joining | Seat::Seated(_) => {}
            Seat::Leaving(_) | Seat::Left | Seat::Suspended | Seat::Expelled | Seat::Replaced => {
                return Err(Rejection::NotMember);
            }
        }
        if term != member.term {
            return Err(Rejection::WrongTerm { expected: member.term });
        }

        if !self.roster.leave(sender) {
            // It was never seated, so nothing changes for anybody else.
            return Ok(());
        }
        match self.rounds.phase {
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
        self.roster.present(sender)?;
        match self.rounds.phase {
            Phase::Paused(PauseReason::NobodyProposes) => {}
            Phase::Paused(PauseReason::BudgetsSpent) => return Err(Rejection::BudgetsSpent),
            Phase::Waiting
            | Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Finished(_) => return Err(Rejection::NotPaused),
        }
        let current = self.rounds.current;
        if round != current {
            return Err(Rejection::WrongRound { current });
        }

        self.rounds.idle = 0;
        self.go_on(step);
        Ok(())
    }

    /// R31. Everything known under one key goes on under another.
    pub(crate) fn replace_key(&mut self, from: LearnerId, to: LearnerId) -> Result<(), Rejection> {
        let known = |learner| self.roster.knows(learner) || self.creator == learner;
        let member = self.roster.member(from);
        match member.map(|member| member.seat) {
            Some(Seat::Expelled) => return Err(Rejection::Expelled),
            Some(Seat::Replaced) => return Err(Rejection::KeyReplaced),
            Some(
                Seat::Joining | Seat::Seated(_) | Seat::Leaving(_) | Seat::Left | Seat::Suspended,
            ) => {}
            None if known(from) => {}
            None => return Err(Rejection::NotMember),
        }
        // The old key's record stays, so another one is taken of those there may be (R8).
        if member.is_some() && self.roster.members().len() >= MAX_MEMBERS {
            return Err(Rejection::TooManyMembers);
        }
        if known(to) {
            return Err(Rejection::KeyInUse);
        }

        if self.creator == from {
            self.creator = to;
        }
        // Every part that holds keys; one that is forgotten would leave a vote to the old key.
        self.roster.replace_key(from, to);
        self.rounds.replace_key(from, to);
        self.motions.replace_key(from, to);
        Ok(())
    }

    /// Settles the seats if no round is open, and goes on if that changes where the experiment
    /// stands: waiting goes on waiting without saying so again.
    pub(crate) fn settle_now(&mut self, step: &mut Step) {
        if !self.rounds.is_between() {
            return;
        }
        let was_waiting = self.rounds.phase == Phase::Waiting;
        self.settle(step);
        if !was_waiting || self.roster.seats().len() >= self.parameters.min_learners as usize {
            self.go_on(step);
        }
    }

    /// R25, R48. Gives a seat to who joined and takes it from who left since the last round opened,
    /// and lets adopted motions take effect.
    pub(crate) fn settle(&mut self, step: &mut Step) {
        assert!(self.rounds.is_between(), "seats changed while a round was open");
        // Seats first: a motion may be about who has just come, or just gone.
        self.roster.settle();
        self.take_effect(step);
    }

    /// Takes a member's seat between rounds, and says so.
    pub(crate) fn unseat(
        &mut self,
        step: &mut Step,
        learner: LearnerId,
        seat: Seat,
        reason: SuspendReason,
    ) {
        self.roster.unseat(learner, seat);
        step.push(Decision::Suspended { learner, reason });
    }
}
