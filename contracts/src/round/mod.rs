//! Rounds: where they stand, here; how they are proposed in, voted on, closed and opened, in the
//! files below. `train`, `gather` and `judge` are the stages of a merged round.

mod close;
mod gather;
mod judge;
mod merged;
mod open;
mod propose;
mod train;
mod vote;

use serde::{Deserialize, Serialize};

use crate::draw::{Draws, Seed};
use crate::id::LearnerId;
use crate::outcome::{FinishReason, PauseReason};
use crate::parameters::Model;
use crate::tally::Tally;

pub use merged::{MergeStage, MergedRound, Part, Participant, Stage};

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
    /// A merged round is open (R72). Boxed, as it is larger than all else.
    Merged(Box<MergedRound>),
    /// The experiment has ended.
    Finished(FinishReason),
}

/// The rounds of one experiment: the present one, and what the next depends on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Rounds {
    /// The last opened round; 0 before the first.
    pub(crate) current: u64,
    pub(crate) phase: Phase,
    /// The seat whose turn it was last (R24, R32).
    pub(crate) last_proposer_seat: Option<u64>,
    /// The model before the present one, if the last round accepted that (R74).
    pub(crate) previous: Option<Model>,
    /// Rejected proposals in a row (R38).
    pub(crate) rejected: u64,
    /// Rounds in a row in which nothing was proposed (R40).
    pub(crate) idle: u64,
    /// Since when no round is open (R59); of no meaning while one is.
    pub(crate) between_since_ms: u64,
    /// What the next proposers are drawn from (R63).
    pub(crate) draws: Draws,
}

impl Rounds {
    pub(crate) fn new(now_ms: u64, seed: Seed) -> Self {
        Self {
            current: 0,
            phase: Phase::Waiting,
            last_proposer_seat: None,
            previous: None,
            rejected: 0,
            idle: 0,
            between_since_ms: now_ms,
            draws: Draws::new(seed),
        }
    }

    /// Whether no round is open, and the next may be: seats change only then (R25).
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Paused(_))
    }

    /// When the present phase ends by itself.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Proposing { deadline_ms, .. } | Phase::Voting { deadline_ms, .. } => {
                Some(*deadline_ms)
            }
            Phase::Merged(round) => Some(round.deadline_ms),
            Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => None,
        }
    }

    /// R31. Who has a part in the round goes on under another key.
    pub(crate) fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        match &mut self.phase {
            Phase::Proposing { proposer, .. } | Phase::Voting { proposer, .. } => {
                if *proposer == from {
                    *proposer = to;
                }
            }
            Phase::Merged(round) => round.replace_key(from, to),
            Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => {}
        }
    }
}
