//! The end of a round, and what comes after it: the next one, waiting, a pause, or the end.

use super::{Phase, Stage};
use crate::draw::{Draw, Fixed, PROPOSER, draw};
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::member::Seat;
use crate::outcome::{Decision, FinishReason, PauseReason, SuspendReason, Verdict};
use crate::parameters::Selection;
use crate::step::Step;
use crate::tally::Tally;

impl Experiment {
    /// R13, R22, R23, R36. The phase's deadline has come.
    pub(crate) fn expire_round(&mut self, step: &mut Step) {
        match self.rounds.phase {
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

    /// R23, R25 to R27, R38, R40. Records the verdict and opens the next round, waits, or finishes.
    pub(crate) fn close_round(&mut self, step: &mut Step, verdict: Verdict, tally: Tally) {
        let closing = core::mem::replace(&mut self.rounds.phase, Phase::Waiting);
        match &closing {
            Phase::Voting { proposer, .. } => self.serve(*proposer, verdict != Verdict::Expired),
            // R40. Only where nothing was proposed, not where most could not get what was.
            Phase::Proposing { .. } | Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => {
                self.rounds.idle += 1;
            }
        }
        match verdict {
            Verdict::Accepted => {
                if let Phase::Voting { weights, .. } = closing {
                    self.models.insert(weights.digest);
                    self.model = weights;
                }
                self.rounds.rejected = 0;
            }
            Verdict::Rejected => self.rounds.rejected += 1,
            Verdict::Expired | Verdict::Passed => {}
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

    /// R24, R32, R43. Opens the next round with the next proposer.
    fn open_round(&mut self, step: &mut Step) {
        let Some((seat, proposer)) = self.next_proposer(step) else {
            unreachable!("a round opens only where go_on has found somebody who may propose");
        };
        self.rounds.last_proposer_seat = Some(seat);
        self.rounds.draws.next = self.rounds.draws.following;
        self.rounds.current += 1;
        let deadline_ms = step.deadline_ms(self.parameters.proposal_deadline_ms);
        self.rounds.phase = Phase::Proposing { proposer, deadline_ms };
        step.push(Decision::RoundOpened {
            round: self.rounds.current,
            proposer,
            base: self.model.digest,
            deadline_ms,
        });
    }

    /// R24, R32. Whose turn is next, with its seat; `None` only if nobody has turns.
    fn next_proposer(&self, step: &Step) -> Option<(u64, LearnerId)> {
        let last = self.rounds.last_proposer_seat;
        match self.parameters.selection {
            Selection::RoundRobin => {
                // The last proposer's seat may be gone; what comes after its number is still right.
                let after = last.map_or(0, |seat| seat + 1);
                let seats = self.roster.seats();
                let turns = seats.range(after..).chain(seats.range(..after));
                let mut turns = turns.map(|(seat, learner)| (*seat, *learner));
                turns.find(|(_, learner)| self.roster.has_turns(*learner))
            }
            Selection::Sortition if self.version.rules().chains => self.draw_proposer(last),
            Selection::Sortition => {
                let not_last = |(seat, _): &(u64, LearnerId)| Some(*seat) != last;
                let ledger = step.context.ledger;
                let (head, round) = (step.context.at.head, self.rounds.current + 1);
                let draw = |among| draw(&ledger, &head, &self.name, round, among);
                // Counted and walked in joining order, which is what the draw is a place in: anybody
                // can draw again from what is recorded.
                match self.roster.proposers().filter(not_last).count() {
                    // Only the last proposer is left.
                    0 => self.roster.proposers().next(),
                    among => self.roster.proposers().filter(not_last).nth(draw(among)),
                }
            }
        }
    }

    /// R63. The first in the order that the seed gives: of those whom it is for, and not who had the last
    /// turn, as long as there are others.
    fn draw_proposer(&self, last: Option<u64>) -> Option<(u64, LearnerId)> {
        let draw = self.rounds.draws.next;
        let first = |among: &dyn Fn(u64, LearnerId) -> bool| {
            let candidates = self.roster.proposers().filter(|(seat, who)| among(*seat, *who));
            candidates.min_by_key(|(seat, _)| draw.seed.rank(PROPOSER, *seat))
        };
        let silent = |who| self.roster.member(who).map_or(0, |member| member.silent);
        first(&|seat, who| draw.is_for(seat, silent(who)) && Some(seat) != last)
            .or_else(|| first(&|seat, _| Some(seat) != last))
            .or_else(|| first(&|_, _| true))
    }
}
