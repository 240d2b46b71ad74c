//! One experiment: its members, its round, and the rules that move it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::outcome::{FinishReason, Outcome, Verdict};
use crate::parameters::{Admission, MAX_MEMBERS};
use crate::{ExperimentName, LearnerId, Model, Parameters, Proposal, Rejection, Vote};

/// Where an experiment stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// No round is open: fewer members than `min_learners` (R26).
    Waiting,
    /// The proposer may propose.
    Proposing {
        /// Whose turn it is.
        proposer: LearnerId,
        /// When the turn ends, exclusive.
        deadline_ms: u64,
    },
    /// The electorate may vote.
    Voting {
        /// Who proposed.
        proposer: LearnerId,
        /// The proposed weights.
        weights: Model,
        /// The votes so far.
        tally: Tally,
        /// When voting ends, exclusive.
        deadline_ms: u64,
    },
    /// The experiment has ended.
    Finished(FinishReason),
}

/// The count of a round's votes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// How many may vote; frozen when the proposal arrives (R19).
    pub electorate: u32,
    /// Votes for.
    pub approvals: u32,
    /// Votes against.
    pub rejections: u32,
}

impl Tally {
    /// Whether every eligible vote is in.
    fn is_complete(self) -> bool {
        debug_assert!(self.approvals + self.rejections <= self.electorate);
        self.approvals + self.rejections == self.electorate
    }
}

/// What the contract remembers of a learner that is, will be or was a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// How often the learner was a member before this time (R7).
    pub term: u32,
    /// Whether it takes part.
    pub seat: Seat,
    /// The last round it voted in; 0 for none. Rounds only grow, so this is all that R20 needs.
    pub last_vote: u64,
}

/// Whether a member takes part in rounds. Changes of seat happen between rounds (R25).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Seat {
    /// Joined; takes part from the next round on.
    Joining,
    /// Takes part; the number orders the members by joining.
    Seated(u64),
    /// Left; takes part until the round ends.
    Leaving(u64),
    /// Was a member.
    Left,
}

/// The state of one experiment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Experiment {
    name: ExperimentName,
    creator: LearnerId,
    parameters: Parameters,
    model: Model,
    /// The last opened round; 0 before the first.
    round: u64,
    phase: Phase,
    members: BTreeMap<LearnerId, Member>,
    /// The seated members by seat: the electorate with the proposer. Fixed while a round is open.
    roster: BTreeMap<u64, LearnerId>,
    next_seat: u64,
    last_proposer_seat: Option<u64>,
    /// Seat changes that wait for the round's end, in order of arrival.
    pending: Vec<LearnerId>,
}

impl Experiment {
    pub(crate) fn new(
        creator: LearnerId,
        name: ExperimentName,
        parameters: Parameters,
        model: Model,
    ) -> Self {
        Self {
            name,
            creator,
            parameters,
            model,
            round: 0,
            phase: Phase::Waiting,
            members: BTreeMap::new(),
            roster: BTreeMap::new(),
            next_seat: 0,
            last_proposer_seat: None,
            pending: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &ExperimentName {
        &self.name
    }

    /// Who created it.
    pub fn creator(&self) -> LearnerId {
        self.creator
    }

    /// Its rules.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The global model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The last opened round; 0 before the first.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What is known of a learner; `None` if it never joined.
    pub fn member(&self, learner: LearnerId) -> Option<&Member> {
        self.members.get(&learner)
    }

    /// The members that take part in the present round, in joining order.
    pub fn seated(&self) -> impl ExactSizeIterator<Item = LearnerId> + '_ {
        self.roster.values().copied()
    }

    /// When the contract must be advanced next; `None` if time alone changes nothing.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Proposing { deadline_ms, .. } | Phase::Voting { deadline_ms, .. } => {
                Some(deadline_ms)
            }
            Phase::Waiting | Phase::Finished(_) => None,
        }
    }

    pub(crate) fn join(
        &mut self,
        now_ms: u64,
        sender: LearnerId,
        term: u32,
    ) -> Result<Vec<Outcome>, Rejection> {
        self.check_live()?;
        if let Admission::Invited(invited) = &self.parameters.admission
            && invited.binary_search(&sender).is_err()
        {
            return Err(Rejection::NotInvited);
        }
        let expected = match self.members.get(&sender) {
            None => 0,
            Some(Member { seat: Seat::Left, term, .. }) => term.saturating_add(1),
            Some(_) => return Err(Rejection::AlreadyMember),
        };
        if term != expected {
            return Err(Rejection::WrongTerm { expected });
        }
        if self.members.len() >= MAX_MEMBERS && !self.members.contains_key(&sender) {
            return Err(Rejection::TooManyMembers);
        }

        let member = self.members.entry(sender).or_insert(Member {
            term,
            seat: Seat::Joining,
            last_vote: 0,
        });
        member.term = term;
        member.seat = Seat::Joining;
        self.pending.push(sender);
        let mut outcomes = Vec::new();
        if self.phase == Phase::Waiting {
            self.settle_seats();
            if self.roster.len() >= self.parameters.min_learners as usize {
                self.open_round(now_ms, &mut outcomes);
            }
        }
        Ok(outcomes)
    }

    pub(crate) fn leave(
        &mut self,
        now_ms: u64,
        sender: LearnerId,
        term: u32,
    ) -> Result<Vec<Outcome>, Rejection> {
        self.check_live()?;
        let member = self.members.get_mut(&sender).ok_or(Rejection::NotMember)?;
        let left = match member.seat {
            Seat::Left | Seat::Leaving(_) => return Err(Rejection::NotMember),
            Seat::Joining => Seat::Left,
            Seat::Seated(seat) => Seat::Leaving(seat),
        };
        if term != member.term {
            return Err(Rejection::WrongTerm { expected: member.term });
        }

        member.seat = left;
        let mut outcomes = Vec::new();
        if left == Seat::Left {
            self.pending.retain(|pending| *pending != sender);
            return Ok(outcomes);
        }
        self.pending.push(sender);
        match self.phase {
            Phase::Waiting => self.settle_seats(),
            // R28. Who leaves before proposing gives up its turn.
            Phase::Proposing { proposer, .. } if proposer == sender => {
                self.close_round(now_ms, Verdict::Passed, Tally::default(), &mut outcomes);
            }
            Phase::Proposing { .. } | Phase::Voting { .. } | Phase::Finished(_) => {}
        }
        Ok(outcomes)
    }

    pub(crate) fn propose(
        &mut self,
        now_ms: u64,
        sender: LearnerId,
        proposal: &Proposal,
    ) -> Result<Vec<Outcome>, Rejection> {
        self.check_turn(now_ms, sender, proposal.round)?;
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

        let tally = Tally { electorate: self.seated_count() - 1, ..Tally::default() };
        let deadline_ms = now_ms.saturating_add(self.parameters.vote_deadline_ms);
        let mut outcomes = vec![Outcome::VotingOpened {
            experiment: self.name.clone(),
            round: self.round,
            weights: proposal.weights.digest,
            electorate: tally.electorate,
            deadline_ms,
        }];
        self.phase = Phase::Voting {
            proposer: sender,
            weights: proposal.weights.clone(),
            tally,
            deadline_ms,
        };
        self.close_if_complete(now_ms, &mut outcomes);
        Ok(outcomes)
    }

    pub(crate) fn pass(
        &mut self,
        now_ms: u64,
        sender: LearnerId,
        round: u64,
    ) -> Result<Vec<Outcome>, Rejection> {
        self.check_turn(now_ms, sender, round)?;

        let mut outcomes = Vec::new();
        self.close_round(now_ms, Verdict::Passed, Tally::default(), &mut outcomes);
        Ok(outcomes)
    }

    pub(crate) fn vote(
        &mut self,
        now_ms: u64,
        sender: LearnerId,
        vote: &Vote,
    ) -> Result<Vec<Outcome>, Rejection> {
        self.check_round(sender, vote.round)?;
        let Phase::Voting { proposer, weights, tally, deadline_ms } = &mut self.phase else {
            return Err(Rejection::NothingProposed);
        };
        if now_ms >= *deadline_ms {
            return Err(Rejection::DeadlinePassed);
        }
        if vote.weights != weights.digest {
            return Err(Rejection::WrongProposal { proposed: weights.digest });
        }
        if sender == *proposer {
            return Err(Rejection::ProposerCannotVote);
        }
        let member = self.members.get_mut(&sender).ok_or(Rejection::NotMember)?;
        match member.seat {
            Seat::Seated(_) | Seat::Leaving(_) => {}
            Seat::Joining | Seat::Left => return Err(Rejection::NotInElectorate),
        }
        if member.last_vote == self.round {
            return Err(Rejection::AlreadyVoted);
        }

        member.last_vote = self.round;
        if vote.approve {
            tally.approvals += 1;
        } else {
            tally.rejections += 1;
        }
        let mut outcomes = Vec::new();
        self.close_if_complete(now_ms, &mut outcomes);
        Ok(outcomes)
    }

    pub(crate) fn stop(&mut self, sender: LearnerId) -> Result<Vec<Outcome>, Rejection> {
        self.check_live()?;
        if sender != self.creator {
            return Err(Rejection::NotCreator);
        }

        let mut outcomes = Vec::new();
        self.finish(FinishReason::Stopped, &mut outcomes);
        Ok(outcomes)
    }

    /// R13, R22, R23. Closes the round if its deadline has come.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        match self.phase {
            Phase::Proposing { deadline_ms, .. } if now_ms >= deadline_ms => {
                self.close_round(now_ms, Verdict::Expired, Tally::default(), &mut outcomes);
            }
            Phase::Voting { deadline_ms, tally, .. } if now_ms >= deadline_ms => {
                self.close_round(now_ms, self.verdict(tally), tally, &mut outcomes);
            }
            Phase::Proposing { .. }
            | Phase::Voting { .. }
            | Phase::Waiting
            | Phase::Finished(_) => {}
        }
        outcomes
    }

    /// R5.
    fn check_live(&self) -> Result<(), Rejection> {
        match self.phase {
            Phase::Finished(_) => Err(Rejection::ExperimentFinished),
            Phase::Waiting | Phase::Proposing { .. } | Phase::Voting { .. } => Ok(()),
        }
    }

    /// R5, R9, R10, R11: what proposing, passing and voting have in common.
    fn check_round(&self, sender: LearnerId, round: u64) -> Result<(), Rejection> {
        self.check_live()?;
        match self.members.get(&sender) {
            None | Some(Member { seat: Seat::Left, .. }) => return Err(Rejection::NotMember),
            Some(_) => {}
        }
        if self.phase == Phase::Waiting {
            return Err(Rejection::WaitingForMembers);
        }
        if round != self.round {
            return Err(Rejection::WrongRound { current: self.round });
        }
        Ok(())
    }

    /// R11 to R14: what proposing and passing have in common.
    fn check_turn(&self, now_ms: u64, sender: LearnerId, round: u64) -> Result<(), Rejection> {
        self.check_round(sender, round)?;
        let Phase::Proposing { proposer, deadline_ms } = self.phase else {
            return Err(Rejection::AlreadyProposed);
        };
        if now_ms >= deadline_ms {
            return Err(Rejection::DeadlinePassed);
        }
        if sender != proposer {
            return Err(Rejection::NotYourTurn { proposer });
        }
        Ok(())
    }

    /// R21. Silence is not approval: the count is over the electorate, not over those who came.
    fn verdict(&self, tally: Tally) -> Verdict {
        if self.parameters.threshold.is_met(tally.approvals, tally.electorate) {
            Verdict::Accepted
        } else {
            Verdict::Rejected
        }
    }

    /// R22.
    fn close_if_complete(&mut self, now_ms: u64, outcomes: &mut Vec<Outcome>) {
        if let Phase::Voting { tally, .. } = self.phase
            && tally.is_complete()
        {
            self.close_round(now_ms, self.verdict(tally), tally, outcomes);
        }
    }

    /// R23, R25 to R27. Records the verdict and opens the next round, waits, or finishes.
    fn close_round(
        &mut self,
        now_ms: u64,
        verdict: Verdict,
        tally: Tally,
        outcomes: &mut Vec<Outcome>,
    ) {
        let closing = core::mem::replace(&mut self.phase, Phase::Waiting);
        if verdict == Verdict::Accepted
            && let Phase::Voting { weights, .. } = closing
        {
            self.model = weights;
        }
        outcomes.push(Outcome::RoundClosed {
            experiment: self.name.clone(),
            round: self.round,
            verdict,
            approvals: tally.approvals,
            rejections: tally.rejections,
            electorate: tally.electorate,
            model: self.model.digest,
        });
        self.settle_seats();
        if self.parameters.max_rounds.is_some_and(|max| self.round >= max) {
            self.finish(FinishReason::MaxRounds, outcomes);
        } else if self.roster.len() < self.parameters.min_learners as usize {
            outcomes.push(Outcome::Waiting {
                experiment: self.name.clone(),
                members: self.seated_count(),
                min_learners: self.parameters.min_learners,
            });
        } else {
            self.open_round(now_ms, outcomes);
        }
    }

    /// R24. The seat after the last proposer's, or the first, has the turn.
    fn open_round(&mut self, now_ms: u64, outcomes: &mut Vec<Outcome>) {
        let after = self.last_proposer_seat.map_or(0, |seat| seat + 1);
        let next = self.roster.range(after..).next().or_else(|| self.roster.iter().next());
        let Some((&seat, &proposer)) = next else {
            // min_learners is at least 1, so there is someone whenever a round may open.
            debug_assert!(false, "a round opened without members");
            return;
        };
        self.last_proposer_seat = Some(seat);
        self.round += 1;
        let deadline_ms = now_ms.saturating_add(self.parameters.proposal_deadline_ms);
        self.phase = Phase::Proposing { proposer, deadline_ms };
        outcomes.push(Outcome::RoundOpened {
            experiment: self.name.clone(),
            round: self.round,
            proposer,
            base: self.model.digest,
            deadline_ms,
        });
    }

    fn finish(&mut self, reason: FinishReason, outcomes: &mut Vec<Outcome>) {
        self.phase = Phase::Finished(reason);
        outcomes.push(Outcome::Finished {
            experiment: self.name.clone(),
            reason,
            rounds: self.round,
            model: self.model.digest,
        });
    }

    /// R25. Gives a seat to who joined and takes it from who left since the last round opened.
    fn settle_seats(&mut self) {
        for learner in core::mem::take(&mut self.pending) {
            let Some(member) = self.members.get_mut(&learner) else { continue };
            match member.seat {
                Seat::Joining => {
                    member.seat = Seat::Seated(self.next_seat);
                    self.roster.insert(self.next_seat, learner);
                    self.next_seat += 1;
                }
                Seat::Leaving(seat) => {
                    member.seat = Seat::Left;
                    self.roster.remove(&seat);
                }
                Seat::Seated(_) | Seat::Left => {}
            }
        }
    }

    fn seated_count(&self) -> u32 {
        // MAX_MEMBERS keeps the roster far below u32::MAX.
        u32::try_from(self.roster.len()).unwrap_or(u32::MAX)
    }
}
