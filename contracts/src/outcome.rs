//! What the contract decides.

use serde::{Deserialize, Serialize};

use crate::{Digest, ExperimentName, LearnerId};

/// The result of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// The threshold was reached: the proposal is the new global model.
    Accepted,
    /// The threshold was not reached by the time voting ended.
    Rejected,
    /// Nothing was proposed before the deadline.
    Expired,
    /// The proposer gave up its turn.
    Passed,
}

/// Why an experiment ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FinishReason {
    /// `max_rounds` rounds are closed (R27).
    MaxRounds,
    /// The creator stopped it (R29).
    Stopped,
}

/// A consequence of an action or of time, in the order it happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// A round began: `proposer` may propose until `deadline_ms`.
    RoundOpened {
        /// The experiment.
        experiment: ExperimentName,
        /// Counted from 1.
        round: u64,
        /// Whose turn it is.
        proposer: LearnerId,
        /// The global model to train from.
        base: Digest,
        /// Ledger time at which the turn ends, exclusive.
        deadline_ms: u64,
    },
    /// A proposal is in: `electorate` members may vote until `deadline_ms`.
    VotingOpened {
        /// The experiment.
        experiment: ExperimentName,
        /// The round.
        round: u64,
        /// The proposed weights.
        weights: Digest,
        /// How many may vote; frozen (R19).
        electorate: u32,
        /// Ledger time at which voting ends, exclusive.
        deadline_ms: u64,
    },
    /// A round ended.
    RoundClosed {
        /// The experiment.
        experiment: ExperimentName,
        /// The round.
        round: u64,
        /// Its result.
        verdict: Verdict,
        /// Votes for.
        approvals: u32,
        /// Votes against. The rest of the electorate was silent.
        rejections: u32,
        /// How many could vote; 0 when nothing was proposed.
        electorate: u32,
        /// The global model from here on.
        model: Digest,
    },
    /// No round can open: fewer members than `min_learners` (R26).
    Waiting {
        /// The experiment.
        experiment: ExperimentName,
        /// Members now.
        members: u32,
        /// Members needed.
        min_learners: u32,
    },
    /// The experiment ended; nothing changes it any more.
    Finished {
        /// The experiment.
        experiment: ExperimentName,
        /// Why.
        reason: FinishReason,
        /// How many rounds were opened.
        rounds: u64,
        /// The final global model.
        model: Digest,
    },
}

impl Outcome {
    /// The experiment the outcome is about.
    pub fn experiment(&self) -> &ExperimentName {
        match self {
            Self::RoundOpened { experiment, .. }
            | Self::VotingOpened { experiment, .. }
            | Self::RoundClosed { experiment, .. }
            | Self::Waiting { experiment, .. }
            | Self::Finished { experiment, .. } => experiment,
        }
    }
}
