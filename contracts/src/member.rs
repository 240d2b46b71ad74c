//! What the contract remembers of one learner.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, LearnerId};
use crate::privacy::PrivacySpent;

/// What the contract remembers of a learner that is, will be or was a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// How often the learner was a member before this time (R7).
    pub term: u32,
    /// Whether it takes part.
    pub seat: Seat,
    /// What its vote weighs (R37).
    pub weight: u32,
    /// The last round it voted or committed in; 0 for none. Rounds only grow, so this is all that
    /// R20 needs.
    pub last_vote: u64,
    /// What it committed to in that round, and under which key, until that is revealed. The key is
    /// part of what was hashed (R34), so it stays what it was when the member goes on under another.
    pub(crate) commitment: Option<(Digest, LearnerId)>,
    /// How many turns it has missed in a row (R39).
    pub missed: u32,
    /// Whether it has declared its privacy budget spent (R43).
    pub exhausted: bool,
    /// What its proposals have revealed, in its words (R42).
    pub privacy: Option<PrivacySpent>,
}

impl Member {
    /// One that joins for the first time.
    pub(crate) fn new(weight: u32) -> Self {
        Self {
            term: 0,
            seat: Seat::Joining,
            weight,
            last_vote: 0,
            commitment: None,
            missed: 0,
            exhausted: false,
            privacy: None,
        }
    }

    /// Whether it has committed to a ballot that is not revealed.
    pub fn has_unrevealed(&self) -> bool {
        self.commitment.is_some()
    }

    /// R39. Counts a turn that it has missed.
    pub(crate) fn miss(&mut self) {
        self.missed = self.missed.saturating_add(1);
    }
}

/// Whether a member takes part in rounds. Changes of seat happen between rounds (R25).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Seat {
    /// Joined; takes part from the next round on.
    Joining,
    /// Takes part; the number orders the members by joining.
    Seated(u64),
    /// Left; takes part until the round ends.
    Leaving(u64),
    /// Was a member.
    Left,
    /// Was a member until it missed too many turns or was suspended; may rejoin (R39).
    Suspended,
    /// Was a member until it was expelled (R50).
    Expelled,
    /// Goes on under another key (R31).
    Replaced,
}

impl Seat {
    /// The number, of who takes part in the present round.
    pub(crate) fn number(self) -> Option<u64> {
        match self {
            Self::Seated(number) | Self::Leaving(number) => Some(number),
            Self::Joining | Self::Left | Self::Suspended | Self::Expelled | Self::Replaced => None,
        }
    }

    /// Whether the learner is a member, though perhaps not from this round on.
    pub(crate) fn is_member(self) -> bool {
        self == Self::Joining || self.number().is_some()
    }
}
