//! The end of a round, and what comes after it: the next one, waiting, a pause, or the end.

use super::{Phase, Stage};
use crate::draw::{Draw, Fixed};
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::member::Seat;
use crate::outcome::{Decision, FinishReason, PauseReason, SuspendReason, Verdict};
use crate::parameters::{Model, Selection};
use crate::step::Step;
use crate::tally::Tally;

impl Experiment {
    /// R13, R22, R23, R36. The phase's deadline has come.
    pub(crate) fn expire_round(&mut self, step: &mut Step) {
        match self.rounds.phase {
            Phase::Merged(_) => self.expire_merged(step),
            Phase::Proposing { proposer, .. } => {
                if let Some(member) = self.roster.member_mut(proposer) {
                    member.miss();
                }
                self.close_round(step, Verdict::Expired, Tally::default());
            }
            Phase::Voting { stage: Stage::Commit { committed }, .. } if committed > 0 => {
                self.open_reveal(step, committed);
            }
            Phase::Voting { proposer, tally, stage, .. } => {
                self.count_missed(proposer, stage);
                self.close_round(step, tally.verdict(self.parameters.threshold), tally);
            }
            Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => {}
        }
    }

    /// R39. Who could vote and did not has missed a turn.
    pub(super) fn count_missed(&mut self, proposer: LearnerId, stage: Stage) {
        let round = self.rounds.current;
        for (learner, member) in self.roster.seated_mut() {
            let silent =
                member.last_vote != round || (stage != Stage::Open && member.commitment.is_some());
            if learner != proposer && silent {
                member.miss();
                if member.last_vote != round {
                    member.silent = round;
                }
            }
        }
    }

    /// R23, R40, R68. Closes a round that has one proposer.
    pub(crate) fn close_round(&mut self, step: &mut Step, verdict: Verdict, tally: Tally) {
        let accepted = match core::mem::replace(&mut self.rounds.phase, Phase::Waiting) {
            Phase::Voting { proposer, weights, .. } => {
                self.serve(proposer, verdict != Verdict::Expired);
                (verdict == Verdict::Accepted).then_some(weights)
            }
            // R40. Only where nothing was proposed, not where most could not get what was.
            Phase::Proposing { .. }
            | Phase::Merged(_)
            | Phase::Waiting
            | Phase::Paused(_)
            | Phase::Finished(_) => {
                self.rounds.idle += 1;
                None
            }
        };
        self.end_round(step, verdict, tally, accepted);
    }

    /// R23, R25 to R27, R38, R85. Records the verdict and what was accepted, and opens the next round,
    /// waits, or finishes.
    pub(super) fn end_round(
        &mut self,
        step: &mut Step,
        verdict: Verdict,
        tally: Tally,
        accepted: Option<Model>,
    ) {
        self.rounds.phase = Phase::Waiting;
        self.rounds.previous = accepted.map(|model| {
            self.models.insert(model.digest);
            core::mem::replace(&mut self.model, model)
        });
        match verdict {
            Verdict::Accepted => self.rounds.rejected = 0,
            Verdict::Rejected => self.rounds.rejected += 1,
            Verdict::Expired | Verdict::Passed | Verdict::NoAgreement => {}
        }
        step.push(Decision::RoundClosed {
            round: self.rounds.current,
            verdict,
            approvals: tally.approvals,
            rejections: tally.rejections,
            abstentions: tally.abstentions,
            unavailable: tally.unavailable,
            electorate: tally.electorate,
            model: self.model.digest,
        });
        self.rounds.between_since_ms = step.now_ms();
        // Before anybody's seat is taken: who leaves cannot take back what it has revealed.
        self.fix_following_draw();
        // In this order: who is suspended for absence has no say in what follows, and motions take
        // effect before it is decided whether another round opens.
        self.suspend_absent(step);
        self.settle(step);
        self.go_on(step);
    }

    /// R68. A vote between does not begin the count of this anew, only a proposal that could be had.
    fn serve(&mut self, proposer: LearnerId, served: bool) {
        let Some(member) = self.roster.member_mut(proposer) else { return };
        member.unavailable = if served { 0 } else { member.unavailable.saturating_add(1) };
    }

    /// R63. Fixes what the proposer of the round after the next is drawn from.
    fn fix_following_draw(&mut self) {
        if self.parameters.selection != Selection::Sortition || !self.version.rules().chains {
            return;
        }
        let round = self.rounds.current;
        let revealed = |learner: &LearnerId| {
            let chain = self.roster.member(*learner)?.chain.as_ref()?;
            (chain.revealed == round).then_some(chain.link)
        };
        let links = self.roster.seats().values().filter_map(revealed);
        let seed = self.rounds.draws.next.seed.next(links);
        let fixed = Some(Fixed { round, seats_below: self.roster.next_seat() });
        self.rounds.draws.following = Draw { seed, fixed };
    }

    /// R39. Takes the seats of those who have missed too many turns.
    fn suspend_absent(&mut self, step: &mut Step) {
        let Some(limit) = self.parameters.missed_turns else { return };
        for learner in self.roster.absent(limit) {
            self.unseat(step, learner, Seat::Suspended, SuspendReason::MissedTurns);
        }
    }

    /// R26, R27, R38, R40, R43. With no round open and the seats settled: finishes, waits, pauses or
    /// opens the next round.
    pub(crate) fn go_on(&mut self, step: &mut Step) {
        assert!(self.rounds.is_between(), "went on while a round was open");
        self.rounds.phase = Phase::Waiting;
        let parameters = &self.parameters;
        let members = self.roster.seats().len() as u64;
        let rotations = parameters.idle_rotations.map(|most| u64::from(most) * members);
        // The order of these is part of the protocol: it decides which of several reasons is told.
        if parameters.max_rounds.is_some_and(|max| self.rounds.current >= max) {
            self.finish(step, FinishReason::MaxRounds);
        } else if parameters.patience.is_some_and(|patience| self.rounds.rejected >= patience) {
            self.finish(step, FinishReason::Patience);
        } else if members < u64::from(parameters.min_learners) {
            step.push(Decision::Waiting {
                // MAX_MEMBERS keeps it far below u32::MAX.
                members: members as u32,
                min_learners: parameters.min_learners,
            });
        } else if self.roster.has_only_judges() {
            self.pause(step, PauseReason::OnlyJudges);
        } else if self.roster.proposers().next().is_none() {
            self.pause(step, PauseReason::BudgetsSpent);
        } else if rotations.is_some_and(|most| self.rounds.idle >= most) {
            self.pause(step, PauseReason::NobodyProposes);
        } else {
            self.open_round(step);
        }
    }

    fn pause(&mut self, step: &mut Step, reason: PauseReason) {
        self.rounds.phase = Phase::Paused(reason);
        step.push(Decision::Paused { reason });
    }
}
