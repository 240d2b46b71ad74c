//! Why the contract refuses an action: one row per rule that can be broken, in order of precedence.

use core::fmt;

use crate::id::{Digest, LearnerId};
use crate::parameters::InvalidParameters;

/// What a refusal is to a peer, whatever the rule: what it may do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RejectionKind {
    /// It can never be accepted as it is.
    Invalid,
    /// It is so already.
    Exists,
    /// A limit is reached.
    Limit,
    /// What it is about is not there.
    Unknown,
    /// The sender may not.
    Forbidden,
    /// It was made for another state; look again, and make it anew.
    Outdated,
    /// It came too late.
    Late,
    /// The experiment is not where this could be done.
    NotNow,
}

/// What is to be said of one variant of [`Rejection`]: a row of the table below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Described {
    /// The variant's name.
    pub name: &'static str,
    /// The number of the broken rule in this crate's README.
    pub rule: u8,
    /// What it is to a peer.
    pub kind: RejectionKind,
    /// Whether it only says that the experiment has moved on since the sender looked, which is
    /// nobody's fault. The same for all variants of a rule.
    pub stale: bool,
}

/// The one table. What follows from it: the variants, in order of precedence, their rules, kinds and
/// texts, and what a client can ask of a number. A row reads
/// `Variant: rule, kind, stale or fault, "text";`, the text with the variant's own fields in it.
macro_rules! rejections {
    ($(
        $(#[$doc:meta])*
        $name:ident $(($inner:ident: $of:ty))? $({ $(#[$field_doc:meta])* $field:ident: $type:ty })?:
        $rule:literal, $kind:ident, $stale:ident, $text:literal;
    )*) => {
        /// A refused action. Where several rules are broken, the variant declared first is the
        /// answer.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Rejection {
            $($(#[$doc])* $name $(($of))? $({ $(#[$field_doc])* $field: $type })?,)*
        }

        impl Rejection {
            /// Every row, in order of precedence.
            pub const TABLE: &[Described] = &[$(described!($name, $rule, $kind, $stale)),*];

            /// What is to be said of it, but for the text.
            pub fn describe(&self) -> Described {
                match self {
                    $(Self::$name $((rejections!(@any $inner)))? $({ $field: _ })? => {
                        const { described!($name, $rule, $kind, $stale) }
                    })*
                }
            }
        }

        impl fmt::Display for Rejection {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "R{}: ", self.rule())?;
                match self {
                    $(Self::$name $(($inner))? $({ $field })? => write!(f, $text),)*
                }
            }
        }
    };
    (@any $inner:ident) => { _ };
}

/// A row without its text.
macro_rules! described {
    ($name:ident, $rule:literal, $kind:ident, $stale:ident) => {
        Described {
            name: stringify!($name),
            rule: $rule,
            kind: RejectionKind::$kind,
            stale: described!(@$stale),
        }
    };
    (@stale) => { true };
    (@fault) => { false };
}

rejections! {
    /// R71. The transaction was signed too long ago.
    TransactionExpired: 71, Outdated, stale,
        "this was signed too long ago: too much has happened since; look again, and sign it again";
    /// R52. The experiment was made for another version of the rules than is in force.
    OtherVersion {
        /// The version in force.
        current: u32
    }: 52, Outdated, stale,
        "the rules in force are version {current}; look at what that changes, and create it for that";
    /// R51. The version of the rules that the experiment follows does not have this.
    NotInVersion {
        /// The first version that has it.
        needed: u32
    }: 51, Invalid, fault,
        "the experiment follows rules that do not have this; its members can adopt version {needed} by \
        a motion";
    /// R2. The parameters or the initial model break a bound.
    InvalidParameters(which: InvalidParameters): 2, Invalid, fault, "{which}";
    /// R91. The ledger is a chain's, whose genesis does not list the sender among the creators.
    CreatorNotListed: 91, Forbidden, fault,
        "this ledger's first entry lists who may create experiments, and this key is not among them; ask \
        one of those";
    /// R3. The name is taken.
    ExperimentExists: 3, Exists, fault,
        "an experiment of this name exists; choose another name";
    /// R3. The ledger holds as many experiments as it may.
    TooManyExperiments: 3, Limit, fault, "this ledger holds as many experiments as it may";
    /// R54. The creator has as many unfinished experiments as it may.
    TooManyOfCreator {
        /// How many that are.
        limit: u32
    }: 54, Limit, fault,
        "this key has created {limit} experiments that have not finished, as many as this ledger \
        allows; stop one first";
    /// R4. There is no such experiment.
    UnknownExperiment: 4, Unknown, fault, "there is no experiment of this name";
    /// R5. The experiment has finished.
    ExperimentFinished: 5, NotNow, stale, "the experiment has finished";
    /// R50. The sender was expelled.
    Expelled: 50, Forbidden, fault,
        "the members have expelled this learner; they can admit it again by a motion";
    /// R31. The sender's key was replaced by another.
    KeyReplaced: 31, Forbidden, fault, "this key was replaced; use the new one";
    /// R6. The sender is not among the invited.
    NotInvited: 6, Forbidden, fault,
        "this learner is not invited; give its public key to whoever creates the experiment";
    /// R7. The sender is a member already.
    AlreadyMember: 7, Exists, fault, "this learner is a member already";
    /// R7. The term is not the sender's next (joining) or present (leaving) one.
    WrongTerm {
        /// The term that would be right.
        expected: u32
    }: 7, Outdated, fault, "this learner's membership has moved on; its term is {expected}";
    /// R53. The joiner has seen other terms.
    OtherTerms {
        /// The digest of those in force.
        current: Digest
    }: 53, Outdated, stale,
        "the terms are not those that this learner has seen, but {current}; look at them, then join";
    /// R64. Somebody else is called that.
    NameTaken: 64, Exists, fault, "somebody else has this name here; choose another";
    /// R8. The experiment has had as many members as it may.
    TooManyMembers: 8, Limit, fault, "the experiment has had as many members as it may";
    /// R92. As many take part as one call on the ledger's chain can close a round of.
    MembersFull {
        /// How many that are.
        most: u32
    }: 92, Limit, fault,
        "{most} members take part, as many as this ledger allows; join when one has left";
    /// R9. The sender is not a member.
    NotMember: 9, Forbidden, stale, "this learner is not a member; join first";
    /// R31. The new key is known to the experiment already.
    KeyInUse: 31, Exists, fault, "the experiment knows the new key already; make another";
    /// R61. The member has changed its key as often as it may.
    TooManyKeys: 61, Limit, fault,
        "this member has changed its key as often as it may; the members can admit the new key by a \
        motion";
    /// R29. Only the members together may stop the experiment, or the sender did not create it.
    NotCreator: 29, Forbidden, fault,
        "nobody may stop this experiment alone yet; move that the members stop it: colearn \
        experiment move NAME stop";
    /// R10. No round is open: the experiment waits for members.
    WaitingForMembers: 10, NotNow, stale,
        "no round is open; the experiment waits for more members";
    /// R40. No round is open: the experiment is paused.
    Paused: 40, NotNow, stale, "the experiment is paused; resume it first";
    /// R41. The experiment is not paused.
    NotPaused: 41, NotNow, stale, "the experiment is not paused";
    /// R43. Nobody may propose, so there is nothing to resume.
    BudgetsSpent: 43, NotNow, fault,
        "every member's privacy budget is spent; it goes on when somebody new joins or the \
        members raise the cap";
    /// R11. Another round is current.
    WrongRound {
        /// The round that is open.
        current: u64
    }: 11, Outdated, stale,
        "that round is closed or not open yet; the current round is {current}";
    /// R72. Rounds are merged here.
    RoundIsMerged: 72, NotNow, fault,
        "this round is merged: its participants send updates, and all vote on the merges";
    /// R72. Rounds have one proposer here.
    RoundIsSingle: 72, NotNow, fault,
        "this round has one proposer: nothing is merged in it";
    /// R12. The round has its proposal already.
    AlreadyProposed: 12, NotNow, stale, "this round has its proposal";
    /// R78. Training has ended.
    TrainingOver: 78, NotNow, stale, "training has ended in this round";
    /// R80. What members hold is not asked now.
    NotGathering: 80, NotNow, stale, "this is not when members say which updates they hold";
    /// R12. The round has no proposal, or no merges, yet.
    NothingProposed: 12, NotNow, stale, "there is nothing to vote on in this round yet";
    /// R13. The deadline has passed.
    DeadlinePassed: 13, Late, stale, "the deadline has passed";
    /// R34. What is sent here is sealed: it is committed to first.
    BallotSealed: 34, NotNow, stale,
        "what is sent here is sealed; commit first, then reveal";
    /// R34. Nothing is sealed here: it is sent as it is.
    BallotOpen: 34, NotNow, stale, "nothing is sealed here; send it without committing";
    /// R35. It is not the time to reveal.
    NotRevealing: 35, NotNow, stale,
        "it is not the time to reveal; commitments are still coming in";
    /// R14. It is another member's turn.
    NotYourTurn {
        /// Whose turn it is.
        proposer: LearnerId
    }: 14, NotNow, stale, "it is the turn of {proposer}";
    /// R73. The sender does not train in this round.
    NotParticipant: 73, NotNow, stale, "this learner does not train in this round";
    /// R75. One update a participant and round; it cannot be changed.
    AlreadySent: 75, Exists, stale,
        "this learner's update or pass is in and cannot be changed";
    /// R15. It was trained from another model, or is about others.
    WrongBase {
        /// The global model.
        current: Digest
    }: 15, Outdated, fault,
        "the base is not the global model {current}; go on from that";
    /// R16. The weights are empty or over the limit.
    WeightsSize {
        /// The limit, in bytes.
        limit: u64
    }: 16, Invalid, fault, "weights have 1 to {limit} bytes here";
    /// R16. The weights have another media type than the model.
    MediaTypeDiffers: 16, Invalid, fault,
        "the weights' media type is not that of the experiment's model";
    /// R60. The weights were the global model before.
    NotNew: 60, Invalid, fault,
        "these weights are the global model, or were before; pass if training changed nothing";
    /// R42. Under a privacy cap a proposal states what it reveals.
    PrivacyMissing: 42, Invalid, fault,
        "a proposal states here what it reveals (epsilon, delta, noise, clipping norm, \
        sampling rate, steps)";
    /// R42. What is stated of privacy cannot be, or is less than was stated before.
    PrivacyInvalid: 42, Invalid, fault,
        "what is stated of privacy cannot be, or is less than this learner stated before";
    /// R42. The proposal reveals more than the cap allows.
    PrivacyOverCap: 42, Limit, fault,
        "the proposal reveals more than the experiment's privacy cap allows; pass, and say \
        that the budget is spent";
    /// R43. There is no budget that could be spent.
    NoPrivacyCap: 43, Invalid, fault,
        "this experiment has no privacy cap, so no budget can be spent; pass without saying so";
    /// R17. The vote names other weights than the proposal.
    WrongProposal {
        /// The proposed weights.
        proposed: Digest
    }: 17, Outdated, stale, "the vote is not about this round's proposal, which is {proposed}";
    /// R18. The proposer has no vote.
    ProposerCannotVote: 18, Forbidden, fault, "nobody votes on their own proposal";
    /// R19. The sender joined after the round opened.
    NotInElectorate: 19, NotNow, stale,
        "this learner joined during the round and votes from the next one on";
    /// R20. One vote a member and round; it cannot be changed.
    AlreadyVoted: 20, Exists, stale, "this learner's vote is in and cannot be changed";
    /// R80. What a member holds it says once.
    AlreadyTold: 80, Exists, stale, "this learner has said which updates it holds";
    /// R79. There are fewer updates.
    NoSuchUpdate {
        /// How many there are.
        updates: u32
    }: 79, Invalid, fault, "there are {updates} updates in this round; a bit stands for another";
    /// R35. The sender has committed to nothing that is not revealed.
    NothingCommitted: 35, NotNow, stale,
        "this learner has nothing committed left to reveal in this round";
    /// R35. What is revealed is not what was committed to.
    RevealMismatch: 35, Invalid, stale,
        "what is revealed, or its salt, is not what was committed to";
    /// R81. A vote judges a merge that it does not name.
    MergeVoteInvalid: 81, Invalid, fault,
        "a vote bears and prefers only the merges that it names";
    /// R67. A reason goes with a vote for, or is not one against.
    ReasonMisplaced: 67, Invalid, fault,
        "a reason goes with a pass, a vote against or an abstention, not with a vote for; who could \
        not get the bytes abstains";
    /// R63. The link is not the next one of the voter's chain, or there should be none.
    WrongLink: 63, Invalid, fault,
        "where proposers are drawn a vote reveals the next link of its voter's hash chain, or states \
        the anchor of its first; elsewhere it reveals none";
    /// R66. The evaluation has no, too many or unordered numbers.
    EvaluationInvalid: 66, Invalid, fault,
        "an evaluation has 1 to 16 numbers, each name once, in ascending order";
    /// R66. The number is not that of the sender's next evaluation.
    WrongEvaluation {
        /// The number that would be right.
        expected: u64
    }: 66, Outdated, fault, "this learner's next evaluation has number {expected}";
    /// R66. The sender has recorded as many evaluations as it may by now.
    TooManyEvaluations: 66, Limit, fault,
        "this learner has recorded as many evaluations as it may by this round: 16 for each round, and \
        16 more";
    /// R44. The number is not the next motion's.
    WrongMotion {
        /// The number that would be right.
        expected: u64
    }: 44, Outdated, fault, "the next motion has number {expected}";
    /// R45. The sender has a motion open, or there are as many open as there may be.
    MotionsOpen: 45, Limit, fault,
        "this learner has a motion open, or too many are; wait until one is decided";
    /// R44. The motion would break a bound of R2.
    MotionInvalid(which: InvalidParameters): 44, Invalid, fault, "{which}";
    /// R69. The version is no later one, or the ledger has not been upgraded to it.
    CannotAdopt {
        /// The version that the ledger follows.
        ledger: u32
    }: 69, NotNow, fault,
        "an experiment adopts a later version than its own, and the ledger follows {ledger}: its \
        operator upgrades it first";
    /// R44. The motion is about nobody whom it can be about.
    NoSuchMember: 44, Unknown, fault, "that learner is not a member, or its key was replaced";
    /// R46. No such motion is open.
    NoSuchMotion: 46, Unknown, fault, "there is no open motion of this number";
}

impl Rejection {
    /// The number of the broken rule in this crate's README.
    pub fn rule(&self) -> u8 {
        self.describe().rule
    }

    /// What it is to a peer.
    pub fn kind(&self) -> RejectionKind {
        self.describe().kind
    }

    /// Whether it only says that the experiment has moved on since the sender looked.
    pub fn is_stale(&self) -> bool {
        self.describe().stale
    }
}

/// Whether a refusal by the rule of this number only says that the experiment has moved on since the
/// sender looked: for who is told the number and no more. Of an unknown rule, `false`.
///
/// ```
/// use colearn_contracts::{Rejection, rule_is_stale};
///
/// let late = Rejection::WrongRound { current: 7 };
/// assert!(late.is_stale() && rule_is_stale(late.rule()));
/// assert!(!rule_is_stale(Rejection::NotInvited.rule()));
/// ```
pub fn rule_is_stale(rule: u8) -> bool {
    Rejection::TABLE.iter().any(|row| row.rule == rule && row.stale)
}

impl core::error::Error for Rejection {}
