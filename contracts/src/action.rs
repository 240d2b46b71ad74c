//! What a learner can ask of the contract.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::admission::{Admission, Invitation};
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::parameters::{Model, Parameters};
use crate::privacy::PrivacySpent;

/// A learner's action, already known to be signed by its sender.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Action {
    /// The experiment it is about.
    pub experiment: ExperimentName,
    /// What is asked.
    pub what: Act,
}

impl Action {
    /// This, asked of this experiment.
    pub fn new(experiment: ExperimentName, what: Act) -> Self {
        Self { experiment, what }
    }
}

/// What a learner can ask of one experiment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Act {
    /// Create it.
    Create(CreateExperiment),
    /// Become a member from the next round on.
    Join {
        /// How often the sender was a member before (R7): 0 the first time.
        term: u32,
    },
    /// Stop being a member from the next round on.
    Leave {
        /// The term that ends (R7).
        term: u32,
    },
    /// Propose new weights; only the round's proposer may.
    Propose(Proposal),
    /// Give up this round's turn to propose.
    Pass {
        /// The round whose turn is given up.
        round: u64,
        /// Whether the sender's privacy budget is spent: it has no more turns then, but still votes
        /// (R43).
        exhausted: bool,
    },
    /// Approve or reject the round's proposal.
    Vote(Vote),
    /// Commit to a sealed ballot.
    Commit(Commit),
    /// Reveal a sealed ballot.
    Reveal(Reveal),
    /// Let it go on, when it is paused.
    Resume {
        /// The last opened round, so that a recorded resumption never counts twice.
        round: u64,
    },
    /// Go on under another key, which has agreed to it.
    ReplaceKey {
        /// The new key.
        to: LearnerId,
    },
    /// Move that the members decide something.
    Move {
        /// The number the motion will have: one more than the last.
        number: u64,
        /// What is to be decided.
        motion: Motion,
    },
    /// Approve or reject a motion.
    MotionVote {
        /// The motion's number.
        number: u64,
        /// For or against.
        approve: bool,
    },
    /// End it at once (R29).
    Stop,
}

/// What members can decide (R48).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Motion {
    /// Go on under these rules.
    SetParameters(Box<Parameters>),
    /// Let a learner join, also one that was expelled.
    Admit(Invitation),
    /// Suspend a member; it may rejoin.
    Suspend(LearnerId),
    /// Expel a member; it may not rejoin unless it is admitted again.
    Expel(LearnerId),
    /// End the experiment.
    Stop,
}

/// A new experiment: its rules and initial model. Its name is the action's, unique on its ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CreateExperiment {
    /// The rules.
    pub parameters: Parameters,
    /// Who may join.
    pub admission: Admission,
    /// The global model before the first round.
    pub model: Model,
    /// The digest of the plan that the experiment was created from, if it was (the contract only
    /// records it).
    pub plan: Option<Digest>,
}

/// Scores as decimal fixed point in micro-units: `950_000` is 0.95. Absent when withheld.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Scores {
    /// The score the vote was decided on.
    pub vote: Option<i64>,
    /// The score on data that decides nothing.
    pub test: Option<i64>,
}

/// "In round r, from base model b, I propose weights w."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The digest of the global model the proposal was trained from (R15).
    pub base: Digest,
    /// The proposed weights (R16).
    pub weights: Model,
    /// What the proposer says its proposal scores on its own data.
    pub scores: Scores,
    /// What the proposer's proposals have revealed so far; needed under a cap (R42).
    pub privacy: Option<PrivacySpent>,
}

/// A member's judgement of one proposal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The digest of the proposal's weights (R17).
    pub weights: Digest,
    /// Whether the weights should become the global model.
    pub approve: bool,
    /// What the voter measured.
    pub scores: Scores,
}

/// A promise to reveal a vote that nobody can read yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The digest of the proposal's weights (R17).
    pub weights: Digest,
    /// What [`Sealed::commitment`] gives for the vote.
    pub commitment: Digest,
}

/// A vote that was committed to, with the salt that kept it secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reveal {
    /// The vote.
    pub vote: Vote,
    /// 32 random bytes.
    pub salt: [u8; 32],
}

/// What a commitment is to.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// The ledger's id.
    pub ledger: Digest,
    /// The experiment.
    pub experiment: &'a ExperimentName,
    /// Who votes. Part of what is hashed, so that nobody can copy another's commitment.
    pub voter: LearnerId,
    /// The vote.
    pub vote: &'a Vote,
    /// 32 random bytes.
    pub salt: &'a [u8; 32],
}

impl Sealed<'_> {
    /// SHA-256 over "colearn/v1/ballot\n", the ledger's id, the voter's key, the length of the
    /// experiment's name in one byte, the name, the round in 8 bytes, the digest of the proposed
    /// weights, 1 or 0 for the vote, each of the two scores as 0 or as 1 and 8 bytes, and the salt.
    /// Numbers are big-endian.
    pub fn commitment(&self) -> Digest {
        let Self { ledger, experiment, voter, vote, salt } = self;
        let name = experiment.as_str().as_bytes();
        let mut hash = Sha256::new()
            .chain_update(b"colearn/v1/ballot\n")
            .chain_update(ledger.0)
            .chain_update(voter.0)
            .chain_update([name.len() as u8])
            .chain_update(name)
            .chain_update(vote.round.to_be_bytes())
            .chain_update(vote.weights.0)
            .chain_update([u8::from(vote.approve)]);
        for score in [vote.scores.vote, vote.scores.test] {
            match score {
                Some(score) => {
                    hash.update([1]);
                    hash.update(score.to_be_bytes());
                }
                None => hash.update([0]),
            }
        }
        Digest(hash.chain_update(salt).finalize().into())
    }
}
