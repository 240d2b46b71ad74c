//! Versions of the rules, and all that differs between them.
//!
//! A ledger follows one version at a time, an experiment the one that it was created under: an
//! upgrade changes nobody's rules. So every version ever released stays in this program, for ever.
//!
//! **How a version is added.** A variant of [`Version`], its number, and its row of `Rules`. What it
//! decides differently reads from that row where it is decided; no other file asks which version
//! there is. Then a golden test of its own, and a ledger of it among the frozen ones.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The version that new ledgers follow.
pub const VERSION: Version = Version::V1;

/// A version of the rules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Version {
    /// The first: R1 to R50 as this crate's README has them.
    V1,
    /// No version that a ledger may follow: what tests upgrade to. One motion at a time in an
    /// experiment (R45), and otherwise the first version.
    #[cfg(feature = "test-version")]
    Test,
}

impl Version {
    /// The number by which a ledger names it.
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            // Never given out.
            #[cfg(feature = "test-version")]
            Self::Test => u32::MAX,
        }
    }

    /// What it decides in its own way.
    pub(crate) const fn rules(self) -> Rules {
        match self {
            Self::V1 => Rules { open_motions: v1::MAX_OPEN_MOTIONS },
            #[cfg(feature = "test-version")]
            Self::Test => Rules { open_motions: 1 },
        }
    }
}

/// All that differs between versions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// R45. The most motions that can be open in one experiment.
    pub(crate) open_motions: usize,
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
            #[cfg(feature = "test-version")]
            u32::MAX => Ok(Self::Test),
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
        write!(f, "version {} of the rules is not known here (the latest is {VERSION})", self.0)
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
