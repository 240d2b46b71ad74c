//! What the contract decides.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, ExperimentName, LearnerId};

/// The result of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// The threshold was reached: the proposal is the new global model.
    Accepted,
    /// The threshold was not reached by the time voting ended.
    Rejected,
    /// Nothing was proposed before the deadline, or most could not get what was (R68).
    Expired,
    /// The proposer gave up its turn.
    Passed,
}

/// Why an experiment ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FinishReason {
    /// `max_rounds` rounds are closed (R27).
    MaxRounds,
    /// The creator or the members stopped it (R29, R48).
    Stopped,
    /// As many proposals in a row were rejected as `patience` allows (R38).
    Patience,
    /// Everybody who could decide has renounced (R58).
    Abandoned,
}

/// Why an experiment pauses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PauseReason {
    /// Nobody proposed for as many rotations as `idle_rotations` says (R40).
    NobodyProposes,
    /// Every member has declared its privacy budget spent (R43).
    BudgetsSpent,
    /// Only judges are there (R65).
    OnlyJudges,
}

/// Why a member was suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SuspendReason {
    /// It missed as many turns in a row as `missed_turns` says (R39).
    MissedTurns,
    /// The members decided it (R48).
    Decided,
    /// The members decided it, and that it may not return (R48).
    Expelled,
}

/// A consequence of an action or of time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The experiment it happened in.
    pub experiment: ExperimentName,
    /// What happened.
    pub what: Decision,
}

impl Outcome {
    /// This, in this experiment.
    pub fn new(experiment: ExperimentName, what: Decision) -> Self {
        Self { experiment, what }
    }
}

/// What can happen in one experiment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Decision {
    /// A round began: `proposer` may propose until `deadline_ms`.
    RoundOpened {
        /// Counted from 1.
        round: u64,
        /// Whose turn it is.
        proposer: LearnerId,
        /// The global model to train from.
        base: Digest,
        /// Ledger time at which the turn ends, exclusive.
        deadline_ms: u64,
    },
    /// A proposal is in: its electorate may vote, or commit, until `deadline_ms`.
    VotingOpened {
        /// The round.
        round: u64,
        /// The proposed weights.
        weights: Digest,
        /// The votes there are; frozen (R19).
        electorate: u32,
        /// Ledger time at which voting ends, exclusive.
        deadline_ms: u64,
    },
    /// Every eligible ballot is committed, or the time to commit is over: who committed may reveal
    /// until `deadline_ms` (R35).
    RevealOpened {
        /// The round.
        round: u64,
        /// The votes committed to.
        committed: u32,
        /// Ledger time at which revealing ends, exclusive.
        deadline_ms: u64,
    },
    /// A round ended.
    RoundClosed {
        /// The round.
        round: u64,
        /// Its result.
        verdict: Verdict,
        /// Votes for.
        approvals: u32,
        /// Votes against.
        rejections: u32,
        /// Votes for neither (R67). The rest of the electorate was silent.
        abstentions: u32,
        /// How many of those could not get the proposal's bytes (R68).
        unavailable: u32,
        /// The votes there were; 0 when nothing was proposed.
        electorate: u32,
        /// The global model from here on.
        model: Digest,
    },
    /// No round can open: fewer members than `min_learners` (R26).
    Waiting {
        /// Members now.
        members: u32,
        /// Members needed.
        min_learners: u32,
    },
    /// No round opens until somebody resumes, joins or leaves, or a motion takes effect (R40, R41).
    Paused {
        /// Why.
        reason: PauseReason,
    },
    /// A member lost its seat.
    Suspended {
        /// The member.
        learner: LearnerId,
        /// Why.
        reason: SuspendReason,
    },
    /// A motion was made: the members may vote on it until `deadline_ms` (R44).
    MotionOpened {
        /// Its number.
        number: u64,
        /// The votes there are; frozen. In version 1 the mover's is not among them.
        electorate: u32,
        /// Ledger time at which voting ends, exclusive.
        deadline_ms: u64,
    },
    /// A motion was decided (R47).
    MotionDecided {
        /// Its number.
        number: u64,
        /// Whether it was adopted.
        adopted: bool,
        /// Votes for.
        approvals: u32,
        /// Votes against.
        rejections: u32,
        /// The votes there were.
        electorate: u32,
    },
    /// An adopted motion took effect (R48).
    MotionTookEffect {
        /// Its number.
        number: u64,
    },
    /// The experiment ended; nothing changes it any more.
    Finished {
        /// Why.
        reason: FinishReason,
        /// How many rounds were opened.
        rounds: u64,
        /// The final global model.
        model: Digest,
    },
}
