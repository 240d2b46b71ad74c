//! What a learner can ask of the contract.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::admission::{Admission, Invitation};
use crate::evaluation::Evaluation;
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::name::MemberName;
use crate::parameters::{Model, Parameters};
use crate::privacy::PrivacySpent;
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
    /// Give up this round's turn to propose.
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
    /// Record what a model is worth on the sender's own data. It decides nothing (R66).
    Evaluate(Evaluation),
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
            Self::Evaluate(_) => true,
            Self::Resume { .. }
            | Self::ReplaceKey { .. }
            | Self::MotionVote { .. }
            | Self::Stop => false,
        };
        if second { Version::V2 } else { Version::V1 }
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

/// Why somebody passes, votes against or abstains, in a word (R67). What more there is to say people
/// say elsewhere: what stands in a history can never be erased.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reason {
    /// The model is worse on the sender's data.
    Worse,
    /// The model has weights that are no numbers.
    NotFinite,
    /// There is too little data here to judge, or to train.
    TooLittleData,
    /// The sender has revealed as much as it may.
    CapReached,
    /// The sender's own policy.
    Policy,
    /// Training or judging failed.
    Failed,
    /// The bytes were not to be had in time (R68).
    Unavailable,
}

impl Reason {
    /// Its number, from 1: part of what is hashed and sent, so none is ever given twice.
    pub const fn number(self) -> u8 {
        match self {
            Self::Worse => 1,
            Self::NotFinite => 2,
            Self::TooLittleData => 3,
            Self::CapReached => 4,
            Self::Policy => 5,
            Self::Failed => 6,
            Self::Unavailable => 7,
        }
    }
}

/// What a vote says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Choice {
    /// The weights should become the global model.
    Approve,
    /// They should not.
    Reject,
    /// The voter was there and says neither (R67).
    Abstain,
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
    /// For, against, or neither.
    pub choice: Choice,
    /// Why not (R67).
    pub reason: Option<Reason>,
    /// What the voter measured.
    pub scores: Scores,
    /// The next link of the voter's chain, where proposers are drawn (R63). Not in a revealed ballot:
    /// its commitment had it.
    pub link: Option<Digest>,
}

impl Vote {
    /// Whether it says more of the judgement than for or against.
    fn is_more(&self) -> bool {
        self.choice == Choice::Abstain || self.reason.is_some()
    }
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
    /// The next link of the voter's chain, where proposers are drawn (R63).
    pub link: Option<Digest>,
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
    /// The version of the rules that the experiment follows.
    pub version: Version,
    /// The ledger's id.
    pub ledger: Digest,
    /// The experiment.
    pub experiment: &'a ExperimentName,
    /// Who votes. Part of what is hashed, so that nobody can copy another's commitment.
    pub voter: LearnerId,
    /// The vote, of which the link is no part.
    pub vote: &'a Vote,
    /// 32 random bytes.
    pub salt: &'a [u8; 32],
}

impl Sealed<'_> {
    /// SHA-256 over "colearn/v1/ballot\n", the ledger's id, the voter's key, the length of the
    /// experiment's name in one byte, the name, the round in 8 bytes, the digest of the proposed
    /// weights, 0 against, 1 for, 2 for neither, from version 2 on the number of the reason in one byte,
    /// 0 for none, each of the two scores as 0 or as 1 and 8 bytes, and the salt. Numbers are
    /// big-endian. From version 2 on it begins with "colearn/v2/ballot\n".
    pub fn commitment(&self) -> Digest {
        let Self { version, ledger, experiment, voter, vote, salt } = self;
        let name = experiment.as_str().as_bytes();
        let rules = version.rules();
        let choice = match vote.choice {
            Choice::Reject => 0,
            Choice::Approve => 1,
            Choice::Abstain => 2,
        };
        let mut hash = Sha256::new()
            .chain_update(rules.ballot_domain)
            .chain_update(ledger.0)
            .chain_update(voter.0)
            .chain_update([name.len() as u8])
            .chain_update(name)
            .chain_update(vote.round.to_be_bytes())
            .chain_update(vote.weights.0)
            .chain_update([choice]);
        if rules.reasons {
            hash.update([vote.reason.map_or(0, Reason::number)]);
        }
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
