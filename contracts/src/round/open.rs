//! The beginning of a round: whose turn it is to propose, or who trains in it.

use super::{MergeStage, MergedRound, Part, Participant, Phase};
use crate::draw::{CHECKER, PROPOSER, draw};
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::merging::Merging;
use crate::outcome::Decision;
use crate::parameters::Selection;
use crate::step::Step;

impl Experiment {
    /// R24, R32, R43, R73. Opens the next round.
    pub(super) fn open_round(&mut self, step: &mut Step) {
        match self.parameters.merging {
            Some(merging) => self.open_merged_round(step, merging),
            None => self.open_single_round(step),
        }
    }

    /// The next round has begun; what it is drawn from was known.
    fn begin_round(&mut self) {
        self.rounds.draws.next = self.rounds.draws.following;
        self.rounds.current += 1;
    }

    /// R24, R32, R43. Opens the next round with the next proposer.
    fn open_single_round(&mut self, step: &mut Step) {
        let Some((seat, proposer)) = self.next_proposer(step) else {
            unreachable!("a round opens only where go_on has found somebody who may propose");
        };
        self.rounds.last_proposer_seat = Some(seat);
        self.begin_round();
        let deadline_ms = step.deadline_ms(self.parameters.proposal_deadline_ms);
        self.rounds.phase = Phase::Proposing { proposer, deadline_ms };
        step.push(Decision::RoundOpened {
            round: self.rounds.current,
            proposer,
            base: self.model.digest,
            deadline_ms,
        });
    }

    /// R73, R74, R86. Opens the next round with those who train in it.
    fn open_merged_round(&mut self, step: &mut Step, merging: Merging) {
        let participants = self.next_participants(merging.proposers as usize);
        let seated = self.roster.seats().iter().map(|(seat, learner)| (*seat, *learner));
        let checkers = self.draw_several(CHECKER, seated, merging.checkers as usize);
        let learners = |seats: Vec<(u64, LearnerId)>| -> Vec<LearnerId> {
            seats.into_iter().map(|(_, learner)| learner).collect()
        };
        let (participants, checkers) = (learners(participants), learners(checkers));
        self.begin_round();
        let deadline_ms = step.deadline_ms(self.parameters.proposal_deadline_ms);
        let due = |learner: &LearnerId| Participant { learner: *learner, part: Part::Due };
        self.rounds.phase = Phase::Merged(Box::new(MergedRound {
            participants: participants.iter().map(due).collect(),
            checkers: checkers.clone(),
            stage: MergeStage::Training,
            deadline_ms,
        }));
        step.push(Decision::TrainingOpened {
            round: self.rounds.current,
            participants,
            checkers,
            base: self.model.digest,
            previous: self.previous().digest,
            deadline_ms,
        });
    }

    /// R73. Who trains next, in joining order.
    fn next_participants(&mut self, most: usize) -> Vec<(u64, LearnerId)> {
        match self.parameters.selection {
            Selection::RoundRobin => {
                let mut next: Vec<(u64, LearnerId)> = self.turns().take(most).collect();
                self.rounds.last_proposer_seat = next.last().map(|(seat, _)| *seat);
                next.sort_unstable();
                next
            }
            Selection::Sortition => self.draw_several(PROPOSER, self.roster.proposers(), most),
        }
    }

    /// R24. Who has turns, from the one on whose turn is next.
    fn turns(&self) -> impl Iterator<Item = (u64, LearnerId)> + '_ {
        // The last proposer's seat may be gone; what comes after its number is still right.
        let after = self.rounds.last_proposer_seat.map_or(0, |seat| seat + 1);
        let seats = self.roster.seats();
        let turns = seats.range(after..).chain(seats.range(..after));
        let turns = turns.map(|(seat, learner)| (*seat, *learner));
        turns.filter(|(_, learner)| self.roster.has_turns(*learner))
    }

    /// R24, R32. Whose turn is next, with its seat; `None` only if nobody has turns.
    fn next_proposer(&self, step: &Step) -> Option<(u64, LearnerId)> {
        let last = self.rounds.last_proposer_seat;
        match self.parameters.selection {
            Selection::RoundRobin => self.turns().next(),
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

    /// R73, R86. The first so many in the order that the seed gives for a purpose, in joining order: of
    /// those whom it is for, as long as there are enough.
    fn draw_several(
        &self,
        purpose: &str,
        among: impl Iterator<Item = (u64, LearnerId)>,
        most: usize,
    ) -> Vec<(u64, LearnerId)> {
        let draw = self.rounds.draws.next;
        let silent = |who| self.roster.member(who).map_or(0, |member| member.silent);
        let mut drawn: Vec<(u64, LearnerId)> = among.collect();
        // Where all are drawn nothing is, and a hash for each of many would be for nothing.
        if most > 0 && drawn.len() > most {
            drawn.sort_by_cached_key(|(seat, who)| {
                (!draw.is_for(*seat, silent(*who)), draw.seed.rank(purpose, *seat))
            });
        }
        drawn.truncate(most);
        drawn.sort_unstable();
        drawn
    }
}
