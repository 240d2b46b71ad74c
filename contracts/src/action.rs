//! What a learner can ask of the contract.

use serde::{Deserialize, Serialize};

use crate::admission::{Admission, Invitation};
use crate::ballot::{Commit, MergeVote, Reason, Reveal, RevealMergeVote, Vote};
use crate::evaluation::Evaluation;
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::name::MemberName;
use crate::parameters::{Model, Parameters};
use crate::privacy::PrivacySpent;
use crate::proposal::{CommitUpdate, Proposal, RevealUpdate, Update};
use crate::version::Version;

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
    Join(Join),
    /// Stop being a member from the next round on.
    Leave {
        /// The term that ends (R7).
        term: u32,
        /// Whether the sender gives up its right to a seat for good (R58).
        renounce: bool,
    },
    /// Propose new weights; only the round's proposer may.
    Propose(Proposal),
    /// Give up this round's turn to propose, or to train.
    Pass {
        /// The round whose turn is given up.
        round: u64,
        /// Whether the sender's privacy budget is spent: it has no more turns then, but still votes
        /// (R43).
        exhausted: bool,
        /// Why, in a word (R67).
        reason: Option<Reason>,
    },
    /// Approve or reject the round's proposal.
    Vote(Vote),
    /// Commit to a sealed ballot, on a proposal or on merges.
    Commit(Commit),
    /// Reveal a sealed ballot on a proposal.
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
    /// Record what a model is worth on the sender's own data. It decides nothing (R66).
    Evaluate(Evaluation),
    /// Send what was trained in a merged round; each of its participants may (R75).
    Update(Update),
    /// Commit to a sealed update (R76).
    CommitUpdate(CommitUpdate),
    /// Reveal a sealed update (R76).
    RevealUpdate(RevealUpdate),
    /// Say which of a merged round's updates the sender holds, and has checked (R80).
    Have {
        /// The round; must be the current one (R11).
        round: u64,
        /// A bit for each update, in the order in which they are merged, the lowest first.
        held: u64,
    },
    /// Judge the merges of a round (R81).
    MergeVote(MergeVote),
    /// Reveal a sealed ballot on merges.
    RevealMergeVote(RevealMergeVote),
}

impl Act {
    /// R51. The first version that has all that is said here.
    pub fn needs(&self) -> Version {
        let second = match self {
            Self::Create(create) => {
                create.parameters.needs().max(create.admission.needs()) > Version::V1
            }
            Self::Join(join) => join.terms.is_some() || join.name.is_some(),
            Self::Leave { renounce, .. } => *renounce,
            Self::Propose(proposal) => {
                proposal.privacy.as_ref().is_some_and(|it| it.needs() > Version::V1)
            }
            Self::Pass { reason, .. } => reason.is_some(),
            Self::Vote(vote) => vote.is_more() || vote.link.is_some(),
            Self::Commit(commit) => commit.link.is_some(),
            Self::Reveal(reveal) => reveal.vote.is_more() || reveal.vote.link.is_some(),
            Self::Move { motion, .. } => match motion {
                Motion::SetParameters(parameters) => parameters.needs() > Version::V1,
                Motion::Admit(invitation) => invitation.is_more(),
                Motion::Adopt(_) => true,
                Motion::Suspend(_) | Motion::Expel(_) | Motion::Stop => false,
            },
            Self::Evaluate(_)
            | Self::Update(_)
            | Self::CommitUpdate(_)
            | Self::RevealUpdate(_)
            | Self::Have { .. }
            | Self::MergeVote(_)
            | Self::RevealMergeVote(_) => true,
            Self::Resume { .. }
            | Self::ReplaceKey { .. }
            | Self::MotionVote { .. }
            | Self::Stop => false,
        };
        if second { Version::V2 } else { Version::V1 }
    }

    /// What it states of its sender's privacy (R42), if it says what was trained and states anything. A
    /// sealed update does when it is revealed.
    pub fn privacy(&self) -> Option<&PrivacySpent> {
        match self {
            Self::Propose(proposal) => proposal.privacy.as_ref(),
            Self::Update(update) | Self::RevealUpdate(RevealUpdate { update, .. }) => {
                update.privacy.as_ref()
            }
            Self::Create(_)
            | Self::Join(_)
            | Self::Leave { .. }
            | Self::Pass { .. }
            | Self::Vote(_)
            | Self::Commit(_)
            | Self::Reveal(_)
            | Self::Resume { .. }
            | Self::ReplaceKey { .. }
            | Self::Move { .. }
            | Self::MotionVote { .. }
            | Self::Stop
            | Self::Evaluate(_)
            | Self::CommitUpdate(_)
            | Self::Have { .. }
            | Self::MergeVote(_)
            | Self::RevealMergeVote(_) => None,
        }
    }
}

/// "I join, under these terms."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Join {
    /// How often the sender was a member before (R7): 0 the first time.
    pub term: u32,
    /// The digest of the terms that the sender has seen (R53).
    pub terms: Option<Digest>,
    /// What it is called, where its invitation does not say (R64).
    pub name: Option<MemberName>,
}

impl Join {
    /// Joins for this term under these terms, without a name.
    pub fn new(term: u32, terms: Option<Digest>) -> Self {
        Self { term, terms, name: None }
    }
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
    /// Follow this later version of the rules (R69).
    Adopt(Version),
}

/// A new experiment: its rules and initial model. Its name is the action's, unique on its ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CreateExperiment {
    /// The number of the version of the rules that it is made for (R52).
    pub version: u32,
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
