//! Where an experiment stands, as far as one learner has to know.

use colearn_contracts::{
    BallotKind, CreateExperiment, FinishReason, LearnerId, Model, Parameters, PauseReason,
    PrivacyCap, SuspendReason,
};
use colearn_records::convert::{ExperimentState, MemberState, SeatState};

/// Where an experiment stands, for one learner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The last opened round; 0 before the first.
    pub round: u64,
    /// The global model.
    pub model: Model,
    /// What the round waits for.
    pub phase: Phase,
    /// Whether the learner takes part.
    pub membership: Membership,
    /// The term with which it would join the next time (R7): how often it was a member.
    pub next_term: u32,
    /// It has no vote before this round: it joined during the present one, or has voted in it.
    pub votes_from: u64,
    /// Whether it has committed to a ballot of this round that is still to be revealed.
    pub unrevealed: bool,
    /// Whether ballots are sealed.
    pub sealed: bool,
    /// What proposals may reveal.
    pub cap: Option<PrivacyCap>,
}

/// What a round waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// No round is open: members are missing.
    Idle,
    /// No round is open, for another reason.
    Paused(PauseReason),
    /// A proposal.
    Proposing {
        /// Whose turn it is.
        proposer: LearnerId,
    },
    /// Votes.
    Voting {
        /// Who proposed.
        proposer: LearnerId,
        /// The proposed weights.
        weights: Model,
        /// How votes are taken now.
        stage: Stage,
    },
    /// Nothing: the experiment has ended.
    Finished(FinishReason),
}

/// How votes are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// As they are.
    Open,
    /// As commitments.
    Commit,
    /// By revealing what was committed to.
    Reveal,
}

/// Whether a learner takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Membership {
    /// Not a member, but it may become one.
    Outside,
    /// A member, perhaps from the next round on.
    Member,
    /// Left while it took part.
    Left,
    /// Lost its seat by a decision of the members.
    Unseated(SuspendReason),
    /// Goes on under another key.
    Replaced(LearnerId),
}

impl Standing {
    /// Of an experiment that was just created.
    pub(super) fn created(create: &CreateExperiment) -> Self {
        let mut standing = Self {
            round: 0,
            model: create.model.clone(),
            phase: Phase::Idle,
            membership: Membership::Outside,
            next_term: 0,
            votes_from: 0,
            unrevealed: false,
            sealed: false,
            cap: None,
        };
        standing.set_rules(&create.parameters);
        standing
    }

    /// Of an experiment as it is described, for a learner that was `member` of it, if it ever was.
    pub fn of(experiment: &ExperimentState, member: Option<&MemberState>) -> Self {
        use colearn_contracts::{Phase as Known, Stage as KnownStage};
        let phase = match &experiment.phase {
            Known::Waiting => Phase::Idle,
            Known::Paused(reason) => Phase::Paused(*reason),
            Known::Proposing { proposer, .. } => Phase::Proposing { proposer: *proposer },
            Known::Voting { proposer, weights, stage, .. } => Phase::Voting {
                proposer: *proposer,
                weights: weights.clone(),
                stage: match stage {
                    KnownStage::Open => Stage::Open,
                    KnownStage::Commit { .. } => Stage::Commit,
                    KnownStage::Reveal { .. } => Stage::Reveal,
                },
            },
            Known::Finished(reason) => Phase::Finished(*reason),
        };
        let round = experiment.round;
        let mut standing = Self {
            round,
            model: experiment.model.clone(),
            phase,
            membership: match member.map(|member| member.seat) {
                Some(SeatState::Joining | SeatState::Seated | SeatState::Leaving) => {
                    Membership::Member
                }
                // Whether it may come back is the contract's to say.
                Some(
                    SeatState::Left
                    | SeatState::Suspended
                    | SeatState::Expelled
                    | SeatState::Replaced,
                )
                | None => Membership::Outside,
            },
            next_term: member.map_or(0, |member| member.term + 1),
            votes_from: member.map_or(0, |member| match member.seat {
                SeatState::Joining => round + 1,
                SeatState::Seated
                | SeatState::Leaving
                | SeatState::Left
                | SeatState::Suspended
                | SeatState::Expelled
                | SeatState::Replaced => member.last_vote + 1,
            }),
            // What was not revealed in its round can never be.
            unrevealed: matches!(experiment.phase, Known::Voting { .. })
                && member.is_some_and(|member| member.unrevealed && member.last_vote == round),
            sealed: false,
            cap: None,
        };
        standing.set_rules(&experiment.parameters);
        standing
    }

    /// Takes other rules, as far as they matter to a learner.
    pub fn set_rules(&mut self, parameters: &Parameters) {
        self.sealed = parameters.ballot == BallotKind::Sealed;
        self.cap = parameters.privacy;
    }

    /// The learner has lost its seat. Whoever missed turns may come back at once; whom the members
    /// suspended or expelled waits for people to decide.
    pub(super) fn unseat(&mut self, reason: SuspendReason) {
        self.membership = match reason {
            SuspendReason::MissedTurns => Membership::Outside,
            SuspendReason::Decided | SuspendReason::Expelled => Membership::Unseated(reason),
        };
    }
}
