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
    /// R50. The sender was expelled.
    Expelled,
    /// R31. The sender's key was replaced by another.
    KeyReplaced,
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
    /// R31. The new key is known to the experiment already.
    KeyInUse,
    /// R29. Only the members together may stop the experiment, or the sender did not create it.
    NotCreator,
    /// R10. No round is open: the experiment waits for members.
    WaitingForMembers,
    /// R40. No round is open: the experiment is paused.
    Paused,
    /// R41. The experiment is not paused.
    NotPaused,
    /// R43. Nobody may propose, so there is nothing to resume.
    BudgetsSpent,
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
    /// R42. Under a privacy cap a proposal states what it reveals.
    PrivacyMissing,
    /// R42. What is stated of privacy cannot be, or is less than was stated before.
    PrivacyInvalid,
    /// R42. The proposal reveals more than the cap allows.
    PrivacyOverCap,
    /// R34. Ballots are sealed here: a vote is committed to first.
    BallotSealed,
    /// R34. Ballots are open here: votes are cast as they are.
    BallotOpen,
    /// R35. It is not the time to reveal.
    NotRevealing,
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
    /// R35. The sender has committed to nothing that is not revealed.
    NothingCommitted,
    /// R35. The revealed vote is not the one committed to.
    RevealMismatch,
    /// R44. The number is not the next motion's.
    WrongMotion {
        /// The number that would be right.
        expected: u64,
    },
    /// R45. The sender has a motion open, or there are as many open as there may be.
    MotionsOpen,
    /// R44. The motion would break a bound of R2.
    MotionInvalid(InvalidParameters),
    /// R44. The motion is about nobody who is a member.
    NoSuchMember,
    /// R46. No such motion is open.
    NoSuchMotion,
}

impl Rejection {
    /// The number of the broken rule in this crate's README.
    pub fn rule(&self) -> u8 {
        match self {
            Self::InvalidParameters(_) => 2,
            Self::ExperimentExists | Self::TooManyExperiments => 3,
            Self::UnknownExperiment => 4,
            Self::ExperimentFinished => 5,
            Self::Expelled => 50,
            Self::KeyReplaced | Self::KeyInUse => 31,
            Self::NotInvited => 6,
            Self::AlreadyMember | Self::WrongTerm { .. } => 7,
            Self::TooManyMembers => 8,
            Self::NotMember => 9,
            Self::NotCreator => 29,
            Self::WaitingForMembers => 10,
            Self::Paused => 40,
            Self::NotPaused => 41,
            Self::BudgetsSpent => 43,
            Self::WrongRound { .. } => 11,
            Self::AlreadyProposed | Self::NothingProposed => 12,
            Self::DeadlinePassed => 13,
            Self::NotYourTurn { .. } => 14,
            Self::WrongBase { .. } => 15,
            Self::WeightsSize { .. } | Self::MediaTypeDiffers => 16,
            Self::PrivacyMissing | Self::PrivacyInvalid | Self::PrivacyOverCap => 42,
            Self::BallotSealed | Self::BallotOpen => 34,
            Self::NotRevealing | Self::NothingCommitted | Self::RevealMismatch => 35,
            Self::WrongMotion { .. } | Self::MotionInvalid(_) | Self::NoSuchMember => 44,
            Self::MotionsOpen => 45,
            Self::NoSuchMotion => 46,
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
            Self::Expelled => f.write_str(
                "the members have expelled this learner; they can admit it again by a motion",
            ),
            Self::KeyReplaced => f.write_str("this key was replaced; use the new one"),
            Self::KeyInUse => f.write_str("the experiment knows the new key already; make another"),
            Self::AlreadyMember => f.write_str("this learner is a member already"),
            Self::WrongTerm { expected } => {
                write!(f, "this learner's membership has moved on; its term is {expected}")
            }
            Self::TooManyMembers => f.write_str("the experiment has had as many members as it may"),
            Self::NotMember => f.write_str("this learner is not a member; join first"),
            Self::NotCreator => f.write_str(
                "nobody may stop this experiment alone; move that the members stop it: colearn \
                 experiment move NAME stop",
            ),
            Self::WaitingForMembers => {
                f.write_str("no round is open; the experiment waits for more members")
            }
            Self::Paused => f.write_str("the experiment is paused; resume it first"),
            Self::NotPaused => f.write_str("the experiment is not paused"),
            Self::BudgetsSpent => f.write_str(
                "every member's privacy budget is spent; it goes on when somebody new joins or the \
                 members raise the cap",
            ),
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
            Self::PrivacyMissing => f.write_str(
                "a proposal states here what it reveals (epsilon, delta, noise, clipping norm, \
                 sampling rate, steps)",
            ),
            Self::PrivacyInvalid => f.write_str(
                "what is stated of privacy cannot be, or is less than this learner stated before",
            ),
            Self::PrivacyOverCap => f.write_str(
                "the proposal reveals more than the experiment's privacy cap allows; pass, and say \
                 that the budget is spent",
            ),
            Self::BallotSealed => f.write_str("ballots are sealed here; commit first, then reveal"),
            Self::BallotOpen => f.write_str("ballots are open here; vote without committing"),
            Self::NotRevealing => {
                f.write_str("it is not the time to reveal; ballots are still being committed")
            }
            Self::NothingCommitted => {
                f.write_str("this learner has no committed ballot left to reveal in this round")
            }
            Self::RevealMismatch => {
                f.write_str("the vote, scores or salt are not those that were committed to")
            }
            Self::WrongMotion { expected } => write!(f, "the next motion has number {expected}"),
            Self::MotionsOpen => f.write_str(
                "this learner has a motion open, or too many are; wait until one is decided",
            ),
            Self::MotionInvalid(which) => write!(f, "{which}"),
            Self::NoSuchMember => f.write_str("that learner is not a member"),
            Self::NoSuchMotion => f.write_str("there is no open motion of this number"),
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
