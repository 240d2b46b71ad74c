//! What a learner can ask of the contract.

use serde::{Deserialize, Serialize};

use crate::{Digest, ExperimentName, Model, Parameters};

/// A learner's action, already known to be signed by its sender.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// Create an experiment.
    Create(CreateExperiment),
    /// Become a member from the next round on.
    Join {
        /// The experiment to join.
        experiment: ExperimentName,
        /// How often the sender was a member before (R7): 0 the first time.
        term: u32,
    },
    /// Stop being a member from the next round on.
    Leave {
        /// The experiment to leave.
        experiment: ExperimentName,
        /// The term that ends (R7).
        term: u32,
    },
    /// Propose new weights; only the round's proposer may.
    Propose(Proposal),
    /// Give up this round's turn to propose.
    Pass {
        /// The experiment.
        experiment: ExperimentName,
        /// The round whose turn is given up.
        round: u64,
    },
    /// Approve or reject the round's proposal.
    Vote(Vote),
    /// End the experiment at once; only its creator may.
    Stop {
        /// The experiment to end.
        experiment: ExperimentName,
    },
}

impl Action {
    /// The experiment the action is about.
    pub fn experiment(&self) -> &ExperimentName {
        match self {
            Self::Create(create) => &create.name,
            Self::Propose(proposal) => &proposal.experiment,
            Self::Vote(vote) => &vote.experiment,
            Self::Join { experiment, .. }
            | Self::Leave { experiment, .. }
            | Self::Pass { experiment, .. }
            | Self::Stop { experiment } => experiment,
        }
    }
}

/// A new experiment: its name, rules and initial model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CreateExperiment {
    /// Unique on its ledger.
    pub name: ExperimentName,
    /// The rules, fixed for the experiment's life.
    pub parameters: Parameters,
    /// The global model before the first round.
    pub model: Model,
}

/// Scores as decimal fixed point in micro-units: `950_000` is 0.95. Absent when withheld.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Scores {
    /// The score the vote was decided on.
    pub vote: Option<i64>,
    /// The score on data that decides nothing.
    pub test: Option<i64>,
}

/// "In round r of experiment e, from base model b, I propose weights w."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// The experiment.
    pub experiment: ExperimentName,
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The digest of the global model the proposal was trained from (R15).
    pub base: Digest,
    /// The proposed weights (R16).
    pub weights: Model,
    /// What the proposer says its proposal scores on its own data.
    pub scores: Scores,
}

/// A member's judgement of one proposal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The experiment.
    pub experiment: ExperimentName,
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The digest of the proposal's weights (R17).
    pub weights: Digest,
    /// Whether the weights should become the global model.
    pub approve: bool,
    /// What the voter measured.
    pub scores: Scores,
}
