//! Why the contract refuses an action: one variant per rule, in order of precedence.

use core::fmt;

use crate::{Digest, InvalidParameters, LearnerId};

/// A refused action. Where several rules are broken, the variant declared first is the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// R2. The parameters or the initial model break a bound.
    InvalidParameters(InvalidParameters),
    /// R3. The name is taken.
    ExperimentExists,
    /// R3. The ledger holds as many experiments as it may.
    TooManyExperiments,
    /// R4. There is no such experiment.
    UnknownExperiment,
    /// R5. The experiment has finished.
    ExperimentFinished,
    /// R6. The sender is not among the invited.
    NotInvited,
    /// R7. The sender is a member already.
    AlreadyMember,
    /// R7. The term is not the sender's next (joining) or present (leaving) one.
    WrongTerm {
        /// The term that would be right.
        expected: u32,
    },
    /// R8. The experiment has had as many members as it may.
    TooManyMembers,
    /// R9. The sender is not a member.
    NotMember,
    /// R29. The sender did not create the experiment.
    NotCreator,
    /// R10. No round is open: the experiment waits for members.
    WaitingForMembers,
    /// R11. Another round is current.
    WrongRound {
        /// The round that is open.
        current: u64,
    },
    /// R12. The round has its proposal already.
    AlreadyProposed,
    /// R12. The round has no proposal yet.
    NothingProposed,
    /// R13. The deadline has passed.
    DeadlinePassed,
    /// R14. It is another member's turn.
    NotYourTurn {
        /// Whose turn it is.
        proposer: LearnerId,
    },
    /// R15. The proposal was trained from another model.
    WrongBase {
        /// The global model.
        current: Digest,
    },
    /// R16. The weights are empty or over the limit.
    WeightsSize {
        /// The limit, in bytes.
        limit: u64,
    },
    /// R16. The weights have another media type than the model.
    MediaTypeDiffers,
    /// R17. The vote names other weights than the proposal.
    WrongProposal {
        /// The proposed weights.
        proposed: Digest,
    },
    /// R18. The proposer has no vote.
    ProposerCannotVote,
    /// R19. The sender joined after the round opened.
    NotInElectorate,
    /// R20. One vote a member and round; it cannot be changed.
    AlreadyVoted,
}

impl Rejection {
    /// The number of the broken rule in this crate's README.
    pub fn rule(&self) -> u8 {
        match self {
            Self::InvalidParameters(_) => 2,
            Self::ExperimentExists | Self::TooManyExperiments => 3,
            Self::UnknownExperiment => 4,
            Self::ExperimentFinished => 5,
            Self::NotInvited => 6,
            Self::AlreadyMember | Self::WrongTerm { .. } => 7,
            Self::TooManyMembers => 8,
            Self::NotMember => 9,
            Self::NotCreator => 29,
            Self::WaitingForMembers => 10,
            Self::WrongRound { .. } => 11,
            Self::AlreadyProposed | Self::NothingProposed => 12,
            Self::DeadlinePassed => 13,
            Self::NotYourTurn { .. } => 14,
            Self::WrongBase { .. } => 15,
            Self::WeightsSize { .. } | Self::MediaTypeDiffers => 16,
            Self::WrongProposal { .. } => 17,
            Self::ProposerCannotVote => 18,
            Self::NotInElectorate => 19,
            Self::AlreadyVoted => 20,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{}: ", self.rule())?;
        match self {
            Self::InvalidParameters(which) => write!(f, "{which}"),
            Self::ExperimentExists => {
                f.write_str("an experiment of this name exists; choose another name")
            }
            Self::TooManyExperiments => {
                f.write_str("this ledger holds as many experiments as it may")
            }
            Self::UnknownExperiment => f.write_str("there is no experiment of this name"),
            Self::ExperimentFinished => f.write_str("the experiment has finished"),
            Self::NotInvited => f.write_str(
                "this learner is not invited; give its public key to whoever creates the experiment",
            ),
            Self::AlreadyMember => f.write_str("this learner is a member already"),
            Self::WrongTerm { expected } => {
                write!(f, "this learner's membership has moved on; its term is {expected}")
            }
            Self::TooManyMembers => f.write_str("the experiment has had as many members as it may"),
            Self::NotMember => f.write_str("this learner is not a member; join first"),
            Self::NotCreator => f.write_str("only the experiment's creator may stop it"),
            Self::WaitingForMembers => {
                f.write_str("no round is open; the experiment waits for more members")
            }
            Self::WrongRound { current } => {
                write!(f, "that round is closed or not open yet; the current round is {current}")
            }
            Self::AlreadyProposed => f.write_str("this round has its proposal"),
            Self::NothingProposed => f.write_str("nothing is proposed in this round yet"),
            Self::DeadlinePassed => f.write_str("the deadline has passed"),
            Self::NotYourTurn { proposer } => write!(f, "it is the turn of {proposer}"),
            Self::WrongBase { current } => {
                write!(f, "the proposal's base is not the global model {current}; train from that")
            }
            Self::WeightsSize { limit } => write!(f, "weights have 1 to {limit} bytes here"),
            Self::MediaTypeDiffers => {
                f.write_str("the weights' media type is not that of the experiment's model")
            }
            Self::WrongProposal { proposed } => {
                write!(f, "the vote is not about this round's proposal, which is {proposed}")
            }
            Self::ProposerCannotVote => f.write_str("nobody votes on their own proposal"),
            Self::NotInElectorate => {
                f.write_str("this learner joined during the round and votes from the next one on")
            }
            Self::AlreadyVoted => f.write_str("this learner's vote is in and cannot be changed"),
        }
    }
}

impl core::error::Error for Rejection {}
