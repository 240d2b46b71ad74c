//! The rules of membership: joining, leaving, resuming, changing one's key, losing one's seat.

use crate::action::Join;
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::member::Seat;
use crate::outcome::{Decision, FinishReason, PauseReason, SuspendReason, Verdict};
use crate::parameters::MAX_MEMBERS;
use crate::rejection::Rejection;
use crate::round::Phase;
use crate::step::Step;
use crate::tally::Tally;

impl Experiment {
    /// R6 to R8, R50, R53, R64.
    pub(crate) fn join(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        join: &Join,
    ) -> Result<(), Rejection> {
        let Join { term, terms, name } = join;
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
        let expected = self.next_term(sender);
        if *term != expected {
            return Err(Rejection::WrongTerm { expected });
        }
        let rules = self.version.rules();
        if rules.terms && *terms != Some(self.terms) {
            return Err(Rejection::OtherTerms { current: self.terms });
        }
        if let Some(name) = name {
            let called_otherwise =
                self.roster.right(sender).and_then(|it| it.name.as_ref()).is_some();
            if called_otherwise || self.roster.is_taken(name, sender) {
                return Err(Rejection::NameTaken);
            }
        }
        if known.is_none() && self.count_members() >= MAX_MEMBERS {
            return Err(Rejection::TooManyMembers);
        }
        if self.roster.present_count() >= step.context.max_members as usize {
            return Err(Rejection::MembersFull { most: step.context.max_members });
        }

        self.roster.join(sender, *term, name.as_ref());
        // Somebody is there again.
        self.rounds.idle = 0;
        self.settle_now(step);
        Ok(())
    }

    /// R7. The term that a learner which is no member would join for.
    fn next_term(&self, learner: LearnerId) -> u32 {
        self.roster.member(learner).map_or(0, |member| member.term.saturating_add(1))
    }

    /// R8, R61. How many members there have been; in version 1, how many keys.
    fn count_members(&self) -> usize {
        match self.version.rules().key_replacements {
            Some(_) => self.roster.ever(),
            None => self.roster.keys(),
        }
    }

    /// R7, R25, R28, R58.
    pub(crate) fn leave(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        term: u32,
        renounce: bool,
    ) -> Result<(), Rejection> {
        let member = self.roster.member(sender);
        let present =
            member.is_some_and(|member| matches!(member.seat, Seat::Joining | Seat::Seated(_)));
        // Who is gone, or has never come, may still give up its right to come.
        let may_renounce = renounce && self.roster.right(sender).is_some();
        if !(present || may_renounce) {
            return Err(Rejection::NotMember);
        }
        // A member's present term; otherwise the one that it would join for, which is used up with it:
        // a recorded renunciation, sent again, never takes what it was given later.
        let ended = member.filter(|member| member.seat.is_member()).map(|member| member.term);
        let expected = ended.unwrap_or_else(|| self.next_term(sender));
        if term != expected {
            return Err(Rejection::WrongTerm { expected });
        }

        if ended.is_none() {
            self.roster.use_up(sender, term);
        }
        if renounce && self.roster.withdraw(sender) {
            self.terms_changed();
            if self.roster.admitted() == 0 && !self.roster.is_open() {
                self.roster.leave(sender);
                self.finish(step, FinishReason::Abandoned);
                return Ok(());
            }
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
            Phase::Merged(_) => self.leave_training(step, sender),
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
            Phase::Paused(PauseReason::OnlyJudges) => return Err(Rejection::WaitingForMembers),
            Phase::Waiting
            | Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Merged(_)
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
        let most = self.version.rules().key_replacements;
        // The old key's record stays, so in version 1 another one is taken of those there may be (R8).
        if most.is_none() && member.is_some() && self.roster.keys() >= MAX_MEMBERS {
            return Err(Rejection::TooManyMembers);
        }
        if known(to) {
            return Err(Rejection::KeyInUse);
        }
        // Of who is only invited, or has created it, too: each change makes other terms, and whoever
        // is about to join has to look again (R53).
        let by_others = self.keys_replaced.get(&from).copied().unwrap_or(0);
        let replaced = member.map_or(by_others, |member| member.keys_replaced);
        if most.is_some_and(|most| replaced >= most) {
            return Err(Rejection::TooManyKeys);
        }

        if member.is_none() {
            self.keys_replaced.remove(&from);
            self.keys_replaced.insert(to, replaced.saturating_add(1));
        }
        if self.creator == from {
            self.creator = to;
        }
        // Every part that holds keys; one that is forgotten would leave a vote to the old key.
        self.roster.replace_key(from, to);
        self.rounds.replace_key(from, to);
        self.motions.replace_key(from, to);
        self.terms_changed();
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
