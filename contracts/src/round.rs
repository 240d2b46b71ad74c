//! The rules of a round: proposing, voting, closing, and opening the next.

use crate::draw::draw;
use crate::experiment::{Experiment, Member, Phase, Seat, Stage, Step, Tally};
use crate::outcome::{FinishReason, Outcome, PauseReason, SuspendReason, Verdict};
use crate::{
    Ballot, Close, Commit, Digest, LearnerId, Proposal, Rejection, Reveal, Sealed, Selection, Vote,
};

impl Experiment {
    pub(crate) fn propose(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        proposal: &Proposal,
    ) -> Result<(), Rejection> {
        self.check_turn(step, sender, proposal.round)?;
        if proposal.base != self.model.digest {
            return Err(Rejection::WrongBase { current: self.model.digest });
        }
        let limit = self.parameters.max_weights_bytes;
        if proposal.weights.size == 0 || proposal.weights.size > limit {
            return Err(Rejection::WeightsSize { limit });
        }
        if proposal.weights.media_type != self.model.media_type {
            return Err(Rejection::MediaTypeDiffers);
        }
        let member = self.members.get_mut(&sender).ok_or(Rejection::NotMember)?;
        // R42.
        match (&proposal.privacy, &self.parameters.privacy) {
            (None, Some(_)) => return Err(Rejection::PrivacyMissing),
            (None, None) => {}
            (Some(spent), cap) => {
                let before = member.privacy.as_ref();
                if !spent.is_valid() || before.is_some_and(|before| !spent.continues(before)) {
                    return Err(Rejection::PrivacyInvalid);
                }
                if cap.as_ref().is_some_and(|cap| !spent.is_within(cap)) {
                    return Err(Rejection::PrivacyOverCap);
                }
            }
        }

        member.privacy = proposal.privacy.or(member.privacy);
        member.missed = 0;
        self.idle = 0;
        let tally = Tally { electorate: self.roster_weight - member.weight, ..Tally::default() };
        let deadline_ms = step.at.now_ms.saturating_add(self.parameters.vote_deadline_ms);
        step.outcomes.push(Outcome::VotingOpened {
            experiment: self.name.clone(),
            round: self.round,
            weights: proposal.weights.digest,
            electorate: tally.electorate,
            deadline_ms,
        });
        let stage = match self.parameters.ballot {
            Ballot::Open => Stage::Open,
            Ballot::Sealed => Stage::Commit { committed: 0 },
        };
        let weights = proposal.weights.clone();
        self.phase = Phase::Voting { proposer: sender, weights, tally, stage, deadline_ms };
        self.close_if_decided(step);
        Ok(())
    }

    pub(crate) fn pass(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        round: u64,
        exhausted: bool,
    ) -> Result<(), Rejection> {
        self.check_turn(step, sender, round)?;

        if let Some(member) = self.members.get_mut(&sender) {
            member.missed = 0;
            member.exhausted |= exhausted;
        }
        self.close_round(step, Verdict::Passed, Tally::default());
        Ok(())
    }

    pub(crate) fn vote(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        vote: &Vote,
    ) -> Result<(), Rejection> {
        let round = self.round;
        let member = self.check_ballot(step, sender, vote.round, vote.weights, Stage::Open)?;

        (member.last_vote, member.missed) = (round, 0);
        let weight = member.weight;
        self.count(step, vote.approve, weight);
        Ok(())
    }

    /// R34.
    pub(crate) fn commit(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        commit: &Commit,
    ) -> Result<(), Rejection> {
        let round = self.round;
        let stage = Stage::Commit { committed: 0 };
        let member = self.check_ballot(step, sender, commit.round, commit.weights, stage)?;

        member.last_vote = round;
        member.commitment = Some((commit.commitment, sender));
        let weight = member.weight;
        if let Phase::Voting { stage: Stage::Commit { committed }, .. } = &mut self.phase {
            *committed += weight;
        }
        self.close_if_decided(step);
        Ok(())
    }

    /// R35.
    pub(crate) fn reveal(
        &mut self,
        step: &mut Step,
        sender: LearnerId,
        reveal: &Reveal,
    ) -> Result<(), Rejection> {
        let vote = &reveal.vote;
        let stage = Stage::Reveal { committed: 0 };
        let round = self.round;
        let member = self.check_ballot(step, sender, vote.round, vote.weights, stage)?;
        let committed = member.commitment.filter(|_| member.last_vote == round);
        let (commitment, voter) = committed.ok_or(Rejection::NothingCommitted)?;
        let sealed = Sealed { ledger: step.ledger, voter, vote, salt: &reveal.salt };
        if sealed.commitment() != commitment {
            return Err(Rejection::RevealMismatch);
        }

        (member.commitment, member.missed) = (None, 0);
        let weight = member.weight;
        self.count(step, vote.approve, weight);
        Ok(())
    }

    /// Adds a vote that can be read to the tally.
    fn count(&mut self, step: &mut Step, approve: bool, weight: u32) {
        if let Phase::Voting { tally, .. } = &mut self.phase {
            tally.add(approve, weight);
        }
        self.close_if_decided(step);
    }

    /// R13, R22, R23, R36. The phase's deadline has come.
    pub(crate) fn expire_round(&mut self, step: &mut Step) {
        match self.phase {
            Phase::Proposing { proposer, .. } => {
                if let Some(member) = self.members.get_mut(&proposer) {
                    member.missed = member.missed.saturating_add(1);
                }
                self.close_round(step, Verdict::Expired, Tally::default());
            }
            Phase::Voting { stage: Stage::Commit { committed }, .. } if committed > 0 => {
                self.open_reveal(step, committed);
            }
            Phase::Voting { proposer, tally, stage, .. } => {
                self.count_missed(proposer, stage);
                self.close_round(step, self.verdict(tally), tally);
            }
            Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => {}
        }
    }

    /// R39. Who could vote and did not has missed a turn.
    fn count_missed(&mut self, proposer: LearnerId, stage: Stage) {
        for learner in self.roster.values().filter(|learner| **learner != proposer) {
            let Some(member) = self.members.get_mut(learner) else { continue };
            let silent = member.last_vote != self.round
                || (stage != Stage::Open && member.commitment.is_some());
            if silent {
                member.missed = member.missed.saturating_add(1);
            }
        }
    }

    /// R5, R9, R10, R11, R40: what proposing, passing and voting have in common.
    fn check_round(&mut self, sender: LearnerId, round: u64) -> Result<&mut Member, Rejection> {
        // Looked up once: with many members this is most of what a vote costs.
        let member = self.members.get_mut(&sender).filter(|member| member.seat.is_member());
        let member = member.ok_or(Rejection::NotMember)?;
        match self.phase {
            Phase::Waiting => return Err(Rejection::WaitingForMembers),
            Phase::Paused(_) => return Err(Rejection::Paused),
            Phase::Proposing { .. } | Phase::Voting { .. } | Phase::Finished(_) => {}
        }
        if round != self.round {
            return Err(Rejection::WrongRound { current: self.round });
        }
        Ok(member)
    }

    /// R11 to R14: what proposing and passing have in common.
    fn check_turn(&mut self, step: &Step, sender: LearnerId, round: u64) -> Result<(), Rejection> {
        self.check_round(sender, round)?;
        let Phase::Proposing { proposer, deadline_ms } = self.phase else {
            return Err(Rejection::AlreadyProposed);
        };
        if step.at.now_ms >= deadline_ms {
            return Err(Rejection::DeadlinePassed);
        }
        if sender != proposer {
            return Err(Rejection::NotYourTurn { proposer });
        }
        Ok(())
    }

    /// R11 to R13, R17 to R20, R34, R35: what voting, committing and revealing have in common.
    fn check_ballot(
        &mut self,
        step: &Step,
        sender: LearnerId,
        round: u64,
        judged: Digest,
        asked: Stage,
    ) -> Result<&mut Member, Rejection> {
        // Copied, so that the member can be given back to be changed.
        let open = match &self.phase {
            Phase::Voting { proposer, weights, stage, deadline_ms, .. } => {
                Some((*proposer, weights.digest, *stage, *deadline_ms))
            }
            Phase::Waiting | Phase::Paused(_) | Phase::Proposing { .. } | Phase::Finished(_) => {
                None
            }
        };
        let current = self.round;
        let member = self.check_round(sender, round)?;
        let (proposer, proposed, stage, deadline_ms) = open.ok_or(Rejection::NothingProposed)?;
        if step.at.now_ms >= deadline_ms {
            return Err(Rejection::DeadlinePassed);
        }
        match (asked, stage) {
            (Stage::Open, Stage::Open)
            | (Stage::Commit { .. }, Stage::Commit { .. })
            | (Stage::Reveal { .. }, Stage::Reveal { .. }) => {}
            (Stage::Open, _) => return Err(Rejection::BallotSealed),
            (_, Stage::Open) => return Err(Rejection::BallotOpen),
            // The time to commit is over, by its deadline or because all have.
            (Stage::Commit { .. }, Stage::Reveal { .. }) => return Err(Rejection::DeadlinePassed),
            (Stage::Reveal { .. }, Stage::Commit { .. }) => return Err(Rejection::NotRevealing),
        }
        if judged != proposed {
            return Err(Rejection::WrongProposal { proposed });
        }
        if sender == proposer {
            return Err(Rejection::ProposerCannotVote);
        }
        if member.seat.number().is_none() {
            return Err(Rejection::NotInElectorate);
        }
        if member.last_vote == current && !matches!(asked, Stage::Reveal { .. }) {
            return Err(Rejection::AlreadyVoted);
        }
        Ok(member)
    }

    /// R21. Silence is not approval: the count is over the electorate, not over those who came.
    fn verdict(&self, tally: Tally) -> Verdict {
        if self.parameters.threshold.is_met(tally.approvals, tally.electorate) {
            Verdict::Accepted
        } else {
            Verdict::Rejected
        }
    }

    /// R22, R33, R34. Goes on when nothing more can come, or nothing more can change the verdict.
    fn close_if_decided(&mut self, step: &mut Step) {
        let Phase::Voting { tally, stage, .. } = self.phase else { return };
        let outstanding = match stage {
            Stage::Commit { committed } if tally.electorate > 0 => {
                if committed == tally.electorate {
                    self.open_reveal(step, committed);
                }
                return;
            }
            Stage::Open | Stage::Commit { .. } => tally.electorate - tally.cast(),
            Stage::Reveal { committed } => committed - tally.cast(),
        };
        let best = tally.approvals + outstanding;
        let threshold = self.parameters.threshold;
        let decided = threshold.is_met(tally.approvals, tally.electorate)
            || !threshold.is_met(best, tally.electorate);
        if outstanding == 0 || (self.parameters.close == Close::Early && decided) {
            if outstanding == 0
                && matches!(stage, Stage::Reveal { committed } if committed < tally.electorate)
                && let Phase::Voting { proposer, .. } = self.phase
            {
                // Whoever had not committed by the deadline has missed a turn.
                self.count_missed(proposer, stage);
            }
            self.close_round(step, self.verdict(tally), tally);
        }
    }

    /// R35. What is committed may be revealed.
    fn open_reveal(&mut self, step: &mut Step, votes: u32) {
        let now_ms = step.at.now_ms;
        if let Phase::Voting { stage, deadline_ms, .. } = &mut self.phase {
            *stage = Stage::Reveal { committed: votes };
            *deadline_ms = now_ms.saturating_add(self.parameters.reveal_deadline_ms);
            step.outcomes.push(Outcome::RevealOpened {
                experiment: self.name.clone(),
                round: self.round,
                committed: votes,
                deadline_ms: *deadline_ms,
            });
        }
        self.close_if_decided(step);
    }

    /// R23, R25 to R27, R38, R40. Records the verdict and opens the next round, waits, or finishes.
    pub(crate) fn close_round(&mut self, step: &mut Step, verdict: Verdict, tally: Tally) {
        let closing = core::mem::replace(&mut self.phase, Phase::Waiting);
        match verdict {
            Verdict::Accepted => {
                if let Phase::Voting { weights, .. } = closing {
                    self.model = weights;
                }
                self.rejected = 0;
            }
            Verdict::Rejected => self.rejected += 1,
            Verdict::Expired | Verdict::Passed => self.idle += 1,
        }
        step.outcomes.push(Outcome::RoundClosed {
            experiment: self.name.clone(),
            round: self.round,
            verdict,
            approvals: tally.approvals,
            rejections: tally.rejections,
            electorate: tally.electorate,
            model: self.model.digest,
        });
        self.suspend_absent(step);
        self.settle(step);
        self.go_on(step);
    }

    /// R39. Takes the seats of those who have missed too many turns.
    fn suspend_absent(&mut self, step: &mut Step) {
        let Some(limit) = self.parameters.missed_turns else { return };
        let absent = |learner: &&LearnerId| {
            self.members.get(learner).is_some_and(|member| {
                member.missed >= limit && matches!(member.seat, Seat::Seated(_))
            })
        };
        let absent: Vec<LearnerId> = self.roster.values().filter(absent).copied().collect();
        for learner in absent {
            self.unseat(step, learner, Seat::Suspended, SuspendReason::MissedTurns);
        }
    }

    /// R26, R27, R38, R40, R43. With no round open and the seats settled: finishes, waits, pauses or
    /// opens the next round.
    pub(crate) fn go_on(&mut self, step: &mut Step) {
        debug_assert!(self.is_between_rounds());
        self.phase = Phase::Waiting;
        let parameters = &self.parameters;
        let members = self.roster.len() as u64;
        let rotations = parameters.idle_rotations.map(|most| u64::from(most) * members);
        if parameters.max_rounds.is_some_and(|max| self.round >= max) {
            self.finish(step, FinishReason::MaxRounds);
        } else if parameters.patience.is_some_and(|patience| self.rejected >= patience) {
            self.finish(step, FinishReason::Patience);
        } else if members < u64::from(parameters.min_learners) {
            step.outcomes.push(Outcome::Waiting {
                experiment: self.name.clone(),
                // MAX_MEMBERS keeps it far below u32::MAX.
                members: members as u32,
                min_learners: parameters.min_learners,
            });
        } else if self.proposers().next().is_none() {
            self.pause(step, PauseReason::BudgetsSpent);
        } else if rotations.is_some_and(|most| self.idle >= most) {
            self.pause(step, PauseReason::NobodyProposes);
        } else {
            self.open_round(step);
        }
    }

    fn pause(&mut self, step: &mut Step, reason: PauseReason) {
        self.phase = Phase::Paused(reason);
        step.outcomes.push(Outcome::Paused { experiment: self.name.clone(), reason });
    }

    /// R24, R32, R43. Opens the next round with the next proposer.
    fn open_round(&mut self, step: &mut Step) {
        let last = self.last_proposer_seat;
        let next = match self.parameters.selection {
            Selection::RoundRobin => {
                let after = last.map_or(0, |seat| seat + 1);
                let turns = self.roster.range(after..).chain(self.roster.range(..after));
                let mut turns = turns.map(|(seat, learner)| (*seat, *learner));
                turns.find(|(_, learner)| self.has_turns(*learner))
            }
            Selection::Sortition => {
                let not_last = |(seat, _): &(u64, LearnerId)| Some(*seat) != last;
                let (head, round) = (step.at.head, self.round + 1);
                let draw = |among| draw(&step.ledger, &head, &self.name, round, among);
                match self.proposers().filter(not_last).count() {
                    // Only the last proposer is left.
                    0 => self.proposers().next(),
                    among => self.proposers().filter(not_last).nth(draw(among)),
                }
            }
        };
        let Some((seat, proposer)) = next else {
            // go_on has found somebody who may propose.
            debug_assert!(false, "a round opened without a proposer");
            return;
        };
        self.last_proposer_seat = Some(seat);
        self.round += 1;
        let deadline_ms = step.at.now_ms.saturating_add(self.parameters.proposal_deadline_ms);
        self.phase = Phase::Proposing { proposer, deadline_ms };
        step.outcomes.push(Outcome::RoundOpened {
            experiment: self.name.clone(),
            round: self.round,
            proposer,
            base: self.model.digest,
            deadline_ms,
        });
    }
}
