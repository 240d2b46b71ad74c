//! What the contract decides.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, ExperimentName, LearnerId};
use crate::merging::{Merge, Merges};

/// The result of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// The threshold was reached: the proposal, or a merge, is the new global model.
    Accepted,
    /// The threshold was not reached by the time voting ended.
    Rejected,
    /// Nothing was proposed before the deadline, or most could not get what was (R68, R80).
    Expired,
    /// The proposer gave up its turn; in a merged round, everybody who was to train.
    Passed,
    /// No pair of merges was named by enough (R82).
    NoAgreement,
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

/// An update of a merged round, as outcomes tell of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Who sent it.
    pub learner: LearnerId,
    /// The digest of its weights.
    pub weights: Digest,
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
    /// until `deadline_ms` (R35). In a merged round the updates come first (R76).
    RevealOpened {
        /// The round.
        round: u64,
        /// The votes committed to, or how many updates.
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
    /// A merged round began: its participants may send updates, or commit to them, until `deadline_ms`
    /// (R74).
    TrainingOpened {
        /// Counted from 1.
        round: u64,
        /// Who trains, in joining order.
        participants: Vec<LearnerId>,
        /// Who must compute the merges, in joining order; nobody where all do.
        checkers: Vec<LearnerId>,
        /// The global model to train from.
        base: Digest,
        /// The model before that, if the round before accepted one; otherwise the base itself.
        previous: Digest,
        /// Ledger time at which training ends, exclusive.
        deadline_ms: u64,
    },
    /// Training ended: members may say which of the updates they hold until `deadline_ms` (R80).
    GatheringOpened {
        /// The round.
        round: u64,
        /// What was sent, in the order of the bits that members send.
        updates: Vec<Sent>,
        /// Ledger time at which gathering ends, exclusive.
        deadline_ms: u64,
    },
    /// It is certain what is merged: members may judge the merges, or commit to that, until
    /// `deadline_ms` (R79).
    MergeVotingOpened {
        /// The round.
        round: u64,
        /// What is merged, in the order of that.
        updates: Vec<Sent>,
        /// The votes there are; frozen (R73).
        electorate: u32,
        /// Ledger time at which voting ends, exclusive.
        deadline_ms: u64,
    },
    /// Voting on merges ended (R82 to R85). The round's verdict follows.
    MergeDecided {
        /// The round.
        round: u64,
        /// The pair that enough name; `None` without agreement.
        agreed: Option<Merges>,
        /// The votes that name the pair that the most name.
        named: u32,
        /// Of those, the votes that can bear the open merge.
        bear_open: u32,
        /// Those that can bear the guarded one.
        bear_guarded: u32,
        /// Those to whom the guarded one is better.
        prefer_guarded: u32,
        /// Which of the pair is the global model from here on, if one is.
        accepted: Option<Merge>,
    },
}
