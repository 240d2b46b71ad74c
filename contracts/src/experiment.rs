//! One experiment: its state, and what can be asked of it. The rules that move it are in `round`,
//! `membership` and `governance`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contract::Moment;
use crate::governance::OpenMotion;
use crate::outcome::{FinishReason, Outcome, PauseReason};
use crate::{
    Action, Admission, CreateExperiment, Digest, ExperimentName, LearnerId, Model, Motion,
    Parameters, PrivacySpent, Rejection, Share,
};

/// Where an experiment stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// No round is open: fewer members than `min_learners` (R26).
    Waiting,
    /// No round is open, for another reason (R40, R43).
    Paused(PauseReason),
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
        /// How votes are taken now.
        stage: Stage,
        /// When the stage ends, exclusive.
        deadline_ms: u64,
    },
    /// The experiment has ended.
    Finished(FinishReason),
}

/// How votes are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// As they are.
    Open,
    /// As commitments.
    Commit {
        /// The votes committed to so far.
        committed: u32,
    },
    /// By revealing what was committed to.
    Reveal {
        /// The votes that were committed to.
        committed: u32,
    },
}

/// The count of a round's votes. Where members' votes weigh differently, the sums of their weights.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// The votes there are; frozen when the proposal arrives (R19).
    pub electorate: u32,
    /// Votes for.
    pub approvals: u32,
    /// Votes against.
    pub rejections: u32,
}

impl Tally {
    /// The votes that were cast.
    pub fn cast(self) -> u32 {
        self.approvals + self.rejections
    }

    pub(crate) fn add(&mut self, approve: bool, weight: u32) {
        if approve {
            self.approvals += weight;
        } else {
            self.rejections += weight;
        }
        debug_assert!(self.cast() <= self.electorate);
    }
}

/// What the contract remembers of a learner that is, will be or was a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// How often the learner was a member before this time (R7).
    pub term: u32,
    /// Whether it takes part.
    pub seat: Seat,
    /// What its vote weighs (R37).
    pub weight: u32,
    /// The last round it voted or committed in; 0 for none. Rounds only grow, so this is all that
    /// R20 needs.
    pub last_vote: u64,
    /// What it committed to in that round, and under which key, until that is revealed.
    pub(crate) commitment: Option<(Digest, LearnerId)>,
    /// How many turns it has missed in a row (R39).
    pub missed: u32,
    /// Whether it has declared its privacy budget spent (R43).
    pub exhausted: bool,
    /// What its proposals have revealed, in its words (R42).
    pub privacy: Option<PrivacySpent>,
}

impl Member {
    /// Whether it has committed to a ballot that is not revealed.
    pub fn has_unrevealed(&self) -> bool {
        self.commitment.is_some()
    }
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
    /// Was a member until it missed too many turns or was suspended; may rejoin (R39).
    Suspended,
    /// Was a member until it was expelled (R50).
    Expelled,
    /// Goes on under another key (R31).
    Replaced,
}

impl Seat {
    /// The number, of who takes part in the present round.
    pub(crate) fn number(self) -> Option<u64> {
        match self {
            Self::Seated(number) | Self::Leaving(number) => Some(number),
            Self::Joining | Self::Left | Self::Suspended | Self::Expelled | Self::Replaced => None,
        }
    }

    /// Whether the learner is a member, though perhaps not from this round on.
    pub(crate) fn is_member(self) -> bool {
        self == Self::Joining || self.number().is_some()
    }
}

/// The state of one experiment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Experiment {
    pub(crate) name: ExperimentName,
    pub(crate) creator: LearnerId,
    pub(crate) parameters: Parameters,
    pub(crate) plan: Option<Digest>,
    pub(crate) model: Model,
    /// The last opened round; 0 before the first.
    pub(crate) round: u64,
    pub(crate) phase: Phase,
    /// Whether anyone may join.
    pub(crate) open: bool,
    /// Whether those listed at the beginning were called founders.
    pub(crate) by_vote: bool,
    /// Who may join otherwise, and what their votes weigh.
    pub(crate) admitted: BTreeMap<LearnerId, u32>,
    pub(crate) members: BTreeMap<LearnerId, Member>,
    /// The seated members by seat: the electorate with the proposer. Fixed while a round is open.
    pub(crate) roster: BTreeMap<u64, LearnerId>,
    /// The votes of the roster together.
    pub(crate) roster_weight: u32,
    pub(crate) next_seat: u64,
    pub(crate) last_proposer_seat: Option<u64>,
    /// Seat changes that wait for the round's end, in order of arrival.
    pub(crate) pending: Vec<LearnerId>,
    /// Rejected proposals in a row (R38).
    pub(crate) rejected: u64,
    /// Rounds in a row in which nothing was proposed (R40).
    pub(crate) idle: u64,
    pub(crate) motions: BTreeMap<u64, OpenMotion>,
    /// The number of the last motion.
    pub(crate) last_motion: u64,
    /// Adopted motions that wait for the round's end.
    pub(crate) adopted: Vec<(u64, Motion)>,
}

impl Experiment {
    pub(crate) fn new(creator: LearnerId, create: &CreateExperiment) -> Self {
        let shares = create.admission.shares();
        Self {
            name: create.name.clone(),
            creator,
            parameters: create.parameters.clone(),
            plan: create.plan,
            model: create.model.clone(),
            round: 0,
            phase: Phase::Waiting,
            open: create.admission == Admission::Open,
            by_vote: matches!(create.admission, Admission::ByVote(_)),
            admitted: shares.iter().map(|share| (share.learner, share.weight)).collect(),
            members: BTreeMap::new(),
            roster: BTreeMap::new(),
            roster_weight: 0,
            next_seat: 0,
            last_proposer_seat: None,
            pending: Vec::new(),
            rejected: 0,
            idle: 0,
            motions: BTreeMap::new(),
            last_motion: 0,
            adopted: Vec::new(),
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

    /// The digest of the plan it was created from, if it was.
    pub fn plan(&self) -> Option<Digest> {
        self.plan
    }

    /// Who may join now: what was created, and what the members have decided since.
    pub fn admission(&self) -> Admission {
        let share =
            |(learner, weight): (&LearnerId, &u32)| Share { learner: *learner, weight: *weight };
        let shares = self.admitted.iter().map(share).collect();
        match (self.open, self.by_vote) {
            (true, _) => Admission::Open,
            (false, true) => Admission::ByVote(shares),
            (false, false) => Admission::Invited(shares),
        }
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

    /// Everyone who is, will be or was a member, by key.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (LearnerId, &Member)> {
        self.members.iter().map(|(learner, member)| (*learner, member))
    }

    /// The members that take part in the present round, in joining order.
    pub fn seated(&self) -> impl ExactSizeIterator<Item = LearnerId> + '_ {
        self.roster.values().copied()
    }

    /// The members that take part and have turns to propose (R43), with their seats, in joining order.
    pub fn proposers(&self) -> impl Iterator<Item = (u64, LearnerId)> + '_ {
        let seated = self.roster.iter().map(|(seat, learner)| (*seat, *learner));
        seated.filter(|(_, learner)| self.has_turns(*learner))
    }

    pub(crate) fn has_turns(&self, learner: LearnerId) -> bool {
        self.members.get(&learner).is_some_and(|member| !member.exhausted)
    }

    /// The open motions, by number.
    pub fn motions(&self) -> impl ExactSizeIterator<Item = (u64, &OpenMotion)> {
        self.motions.iter().map(|(number, motion)| (*number, motion))
    }

    /// The number of the last motion; 0 before the first.
    pub fn last_motion(&self) -> u64 {
        self.last_motion
    }

    /// When the round's phase ends by itself.
    fn round_deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Proposing { deadline_ms, .. } | Phase::Voting { deadline_ms, .. } => {
                Some(deadline_ms)
            }
            Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => None,
        }
    }

    /// When the contract must be advanced next; `None` if time alone changes nothing.
    pub fn deadline_ms(&self) -> Option<u64> {
        let motions = self.motions.values().map(|motion| motion.deadline_ms);
        motions.chain(self.round_deadline_ms()).min()
    }

    /// The votes that those who take part have together.
    pub fn weight(&self) -> u32 {
        self.roster_weight
    }

    pub(crate) fn apply(
        &mut self,
        ledger: Digest,
        at: Moment,
        sender: LearnerId,
        action: &Action,
    ) -> Result<Vec<Outcome>, Rejection> {
        self.check_live()?;
        let mut step = Step { ledger, at, outcomes: Vec::new() };
        match action {
            // The contract creates experiments; here one of this name exists.
            Action::Create(_) => return Err(Rejection::ExperimentExists),
            Action::Join { term, .. } => self.join(&mut step, sender, *term)?,
            Action::Leave { term, .. } => self.leave(&mut step, sender, *term)?,
            Action::ReplaceKey { to, .. } => self.replace_key(sender, *to)?,
            Action::Resume { round, .. } => self.resume(&mut step, sender, *round)?,
            Action::Propose(proposal) => self.propose(&mut step, sender, proposal)?,
            Action::Pass { round, exhausted, .. } => {
                self.pass(&mut step, sender, *round, *exhausted)?;
            }
            Action::Vote(vote) => self.vote(&mut step, sender, vote)?,
            Action::Commit(commit) => self.commit(&mut step, sender, commit)?,
            Action::Reveal(reveal) => self.reveal(&mut step, sender, reveal)?,
            Action::Move { number, motion, .. } => {
                self.make_motion(&mut step, sender, *number, motion)?;
            }
            Action::Ballot { number, approve, .. } => {
                self.ballot(&mut step, sender, *number, *approve)?;
            }
            Action::Stop { .. } => self.stop(&mut step, sender)?,
        }
        Ok(step.outcomes)
    }

    /// R13, R47. Closes what is due, soonest first; a round before a motion of the same time.
    pub(crate) fn expire(&mut self, ledger: Digest, at: Moment, outcomes: &mut Vec<Outcome>) {
        let mut step = Step { ledger, at, outcomes: core::mem::take(outcomes) };
        while let Some(deadline_ms) = self.deadline_ms()
            && deadline_ms <= at.now_ms
        {
            if self.round_deadline_ms() == Some(deadline_ms) {
                self.expire_round(&mut step);
            } else {
                self.expire_motion(&mut step, deadline_ms);
            }
        }
        *outcomes = step.outcomes;
    }

    /// R5.
    fn check_live(&self) -> Result<(), Rejection> {
        match self.phase {
            Phase::Finished(_) => Err(Rejection::ExperimentFinished),
            Phase::Waiting | Phase::Paused(_) | Phase::Proposing { .. } | Phase::Voting { .. } => {
                Ok(())
            }
        }
    }

    /// Whether no round is open.
    pub(crate) fn is_between_rounds(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Paused(_))
    }

    /// R29.
    fn stop(&mut self, step: &mut Step, sender: LearnerId) -> Result<(), Rejection> {
        // Before anybody takes part, nobody else could.
        let untouched = self.round == 0 && self.roster.is_empty();
        if sender != self.creator || !(self.parameters.creator_may_stop || untouched) {
            return Err(Rejection::NotCreator);
        }

        self.finish(step, FinishReason::Stopped);
        Ok(())
    }

    pub(crate) fn finish(&mut self, step: &mut Step, reason: FinishReason) {
        self.phase = Phase::Finished(reason);
        self.motions.clear();
        step.outcomes.push(Outcome::Finished {
            experiment: self.name.clone(),
            reason,
            rounds: self.round,
            model: self.model.digest,
        });
    }
}

/// One action, or one advance of time, on its way through the rules.
pub(crate) struct Step {
    pub(crate) ledger: Digest,
    pub(crate) at: Moment,
    pub(crate) outcomes: Vec<Outcome>,
}
