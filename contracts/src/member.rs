//! What the contract remembers of one learner.

use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::id::{Digest, LearnerId};
use crate::name::MemberName;
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
    /// Boxed, as what most members do not have is: a vote costs what of the members' table it has to
    /// bring into the processor's cache.
    pub(crate) commitment: Option<Box<(Digest, LearnerId)>>,
    /// Which pair of merges it named with that vote, by the order in which pairs were first named; 0
    /// for none (R83). Of no meaning in another round.
    pub(crate) named: u32,
    /// The last round in which it said what it holds; 0 for none (R80).
    pub last_have: u64,
    /// The last round in which it could have revealed a link and did not: it kept silent until voting
    /// ended, or began another chain; 0 for none (R63).
    pub silent: u64,
    /// How many turns it has missed in a row (R39).
    pub missed: u32,
    /// Whether it has declared its privacy budget spent (R43).
    pub exhausted: bool,
    /// What its proposals have revealed, in its words (R42).
    pub privacy: Option<Box<PrivacySpent>>,
    /// Whether it only judges (R65).
    pub judge: bool,
    /// What it calls itself, where its invitation does not say (R64).
    pub name: Option<MemberName>,
    /// Its hash chain, where proposers are drawn (R63).
    pub chain: Option<Box<Chain>>,
    /// How many of its proposals in a row most could not get (R68).
    pub unavailable: u32,
    /// How often it has changed its key (R61).
    pub keys_replaced: u32,
    /// How many of its evaluations are recorded (R66).
    pub evaluations: u64,
}

impl Member {
    /// One that joins for the first time.
    pub(crate) fn new() -> Self {
        Self {
            term: 0,
            seat: Seat::Joining,
            weight: 1,
            last_vote: 0,
            named: 0,
            last_have: 0,
            silent: 0,
            commitment: None,
            missed: 0,
            exhausted: false,
            privacy: None,
            judge: false,
            name: None,
            chain: None,
            unavailable: 0,
            keys_replaced: 0,
            evaluations: 0,
        }
    }

    /// Whether it has committed to a ballot that is not revealed.
    pub fn has_unrevealed(&self) -> bool {
        self.commitment.is_some()
    }

    /// R42. Takes what it states with what it has trained. Who states nothing does not make the contract
    /// forget.
    pub(crate) fn state(&mut self, privacy: Option<&PrivacySpent>) {
        if let Some(spent) = privacy {
            self.privacy = Some(Box::new(spent.clone()));
        }
    }

    /// R39, R68. Whether it has missed so many turns that it loses its seat.
    pub(crate) fn is_absent(&self, limit: u32) -> bool {
        self.missed >= limit || self.unavailable >= limit
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
