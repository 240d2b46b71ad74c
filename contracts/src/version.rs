//! Versions of the rules, and all that differs between them.
//!
//! A ledger follows one version at a time, an experiment the one that it was created under, until its
//! members adopt a later one (R69): an upgrade changes nobody's rules. So every version ever released
//! stays in this program, for ever.
//!
//! **How a version is added.** A variant of [`Version`], its number, and its row of `Rules`. What it
//! decides differently reads from that row where it is decided; no other file asks which version
//! there is. Then a golden test of its own, and a ledger of it among the frozen ones.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The version that new ledgers follow.
pub const VERSION: Version = Version::V2;

/// A version of the rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Version {
    /// The first: R1 to R50 as this crate's README has them.
    V1,
    /// The second: no minority decides for the others. R51 and on, and what the README says of it
    /// under the rules before.
    V2,
}

impl Version {
    /// The number by which a ledger names it.
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// What it decides in its own way.
    pub(crate) const fn rules(self) -> Rules {
        match self {
            Self::V1 => Rules {
                constitution: false,
                terms: false,
                chains: false,
                limited_creators: false,
                stop_idle: false,
                new_models: false,
                key_replacements: None,
                segments: false,
                exhausted_needs_cap: false,
                unavailable: false,
                ballot_domain: b"colearn/v1/ballot\n",
                reasons: false,
            },
            Self::V2 => Rules {
                constitution: true,
                terms: true,
                chains: true,
                limited_creators: true,
                stop_idle: true,
                new_models: true,
                key_replacements: Some(v2::MAX_KEY_REPLACEMENTS),
                segments: true,
                exhausted_needs_cap: true,
                unavailable: true,
                ballot_domain: b"colearn/v2/ballot\n",
                reasons: true,
            },
        }
    }
}

/// All that differs between versions. What is only *said* in a later one, such as a reason with a
/// vote, is refused in an earlier one by R51 (`Act::needs`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// R55 to R57, R2. Motions are counted over the whole admitted weight, by the threshold that was in
    /// force when they were moved and that is at least one half; what they decide of seats takes
    /// effect between rounds. Otherwise over who sits, by the threshold in force when they are counted.
    pub(crate) constitution: bool,
    /// R53. Who joins names the terms that it has seen.
    pub(crate) terms: bool,
    /// R63. Sortition draws from the members' hash chains, otherwise from the ledger's last entry.
    pub(crate) chains: bool,
    /// R54. A creator's unfinished experiments are limited, and only unfinished ones count in R3.
    pub(crate) limited_creators: bool,
    /// R59. What nobody uses can be stopped.
    pub(crate) stop_idle: bool,
    /// R60. What was the global model before is not proposed again.
    pub(crate) new_models: bool,
    /// R61. How often a member may change its key; R8 counts members, not keys.
    pub(crate) key_replacements: Option<u32>,
    /// R62. What is stated of privacy lists all that was done, and steps grow.
    pub(crate) segments: bool,
    /// R43. Only where there is a cap can a budget be spent.
    pub(crate) exhausted_needs_cap: bool,
    /// R68. Whose weights most cannot get has missed its turn.
    pub(crate) unavailable: bool,
    /// R34. What a sealed ballot's commitment begins with.
    pub(crate) ballot_domain: &'static [u8],
    /// R34, R67. Whether a reason is part of that.
    pub(crate) reasons: bool,
}

impl From<Version> for u32 {
    fn from(version: Version) -> Self {
        version.number()
    }
}

impl TryFrom<u32> for Version {
    type Error = UnknownVersion;

    fn try_from(number: u32) -> Result<Self, UnknownVersion> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            _ => Err(UnknownVersion(number)),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// This program does not know the rules of this version; a newer one may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownVersion(pub u32);

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(needed) = self;
        write!(
            f,
            "version {needed} of the rules is needed here, and this program knows 1 to {VERSION}: \
            use a later colearn"
        )
    }
}

impl core::error::Error for UnknownVersion {}

/// The numbers of version 1. They are part of what recorded bytes mean and never change, unlike
/// [`Parameters::default`](crate::Parameters), which only proposes.
pub mod v1 {
    /// The most motions that can be open in one experiment (R45).
    pub const MAX_OPEN_MOTIONS: usize = 64;
    /// `reveal_deadline_ms`, where a message has none: 10 minutes.
    pub const REVEAL_DEADLINE_MS: u64 = 600_000;
    /// `motion_deadline_ms`, where a message has none: a week.
    pub const MOTION_DEADLINE_MS: u64 = 604_800_000;
}

/// The numbers of version 2, where they are not those of version 1.
pub mod v2 {
    /// How often one member can change its key (R61).
    pub const MAX_KEY_REPLACEMENTS: u32 = 64;
    /// How long an experiment is without an open round before it can be stopped as unused (R59): a
    /// week.
    pub const UNUSED_MS: u64 = 604_800_000;
    /// The evaluations that a member may have recorded by a round, for each round and one more (R66).
    pub const EVALUATIONS_PER_ROUND: u64 = 16;
}
