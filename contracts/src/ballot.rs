//! How members judge: votes on a proposal, and on the merges of a round; and what both say of it.

use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::merging::Merges;

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

/// Scores as decimal fixed point in micro-units: `950_000` is 0.95. Absent when withheld.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Scores {
    /// The score the vote was decided on.
    pub vote: Option<i64>,
    /// The score on data that decides nothing.
    pub test: Option<i64>,
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
    pub(crate) fn is_more(&self) -> bool {
        self.choice == Choice::Abstain || self.reason.is_some()
    }
}

/// A promise to reveal a vote that nobody can read yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The digest of the proposal's weights (R17); in a merged round that of the base (R81).
    pub weights: Digest,
    /// What [`Sealed::commitment`](crate::Sealed::commitment) gives for the vote, in a merged round
    /// [`SealedMergeVote::commitment`](crate::SealedMergeVote::commitment).
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

/// A member's judgement of the two merges (R81).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MergeVote {
    /// The round; must be the current one (R11).
    pub round: u64,
    /// The merges that it is about; of an abstention none.
    pub merges: Merges,
    /// Whether the voter can bear the open merge.
    pub bear_open: bool,
    /// Whether the voter can bear the guarded merge.
    pub bear_guarded: bool,
    /// Whether the guarded merge is better than the open one.
    pub prefer_guarded: bool,
    /// Why it can bear none, or abstains (R67).
    pub reason: Option<Reason>,
    /// What the voter measured of the open merge.
    pub scores_open: Scores,
    /// What the voter measured of the guarded merge.
    pub scores_guarded: Scores,
    /// The next link of the voter's chain, where proposers are drawn (R63). Not in a revealed ballot:
    /// its commitment had it.
    pub link: Option<Digest>,
}

impl MergeVote {
    /// Whether it judges nothing.
    pub fn is_abstention(&self) -> bool {
        self.merges.is_none()
    }

    /// R81. Whether it judges only what it names.
    pub(crate) fn is_valid(&self) -> bool {
        (self.merges.open.is_some() || !self.bear_open)
            && (self.merges.guarded.is_some() || !(self.bear_guarded || self.prefer_guarded))
    }

    /// R67. Whether a reason goes with what it says.
    pub(crate) fn has_fitting_reason(&self) -> bool {
        match self.reason {
            None => true,
            Some(Reason::Unavailable) => self.is_abstention(),
            Some(
                Reason::Worse
                | Reason::NotFinite
                | Reason::TooLittleData
                | Reason::CapReached
                | Reason::Policy
                | Reason::Failed,
            ) => !(self.bear_open || self.bear_guarded),
        }
    }
}

/// A vote on merges that was committed to, with the salt that kept it secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RevealMergeVote {
    /// The vote.
    pub vote: MergeVote,
    /// 32 random bytes.
    pub salt: [u8; 32],
}
