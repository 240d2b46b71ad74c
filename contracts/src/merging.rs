//! Merged rounds: the rules that an experiment sets for them (R72), and the two merges of each.

use core::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// The only media type whose weights can be merged (R72).
pub const MERGED_MEDIA_TYPE: &str = "application/x-safetensors";
/// How many can train in one merged round, and how many can be its checkers (R73, R86).
pub const MAX_MERGED: u32 = 64;
/// The limit of an update's length, in thousandths of the median length.
pub(crate) const CLIP_PERMILLE: RangeInclusive<u32> = 1000..=10_000;
/// The largest share of the last movement that can be added.
pub(crate) const MAX_MOMENTUM_PERMILLE: u32 = 900;

/// The rules of merged rounds. What the contract itself follows are the numbers of learners and the
/// deadline; the rest says how merges are computed, which is for all to do and for nobody to decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Merging {
    /// How many learners train in a round; with fewer seated, all of them (R73). 1 to
    /// [`MAX_MERGED`].
    pub proposers: u32,
    /// The limit of an update's length, in thousandths of the median length; 1,000 to 10,000.
    pub clip_permille: u32,
    /// The share of the last movement that is added, in thousandths; at most 900.
    pub momentum_permille: u32,
    /// How many must compute the merges; 0 for everybody (R86). At most [`MAX_MERGED`].
    pub checkers: u32,
    /// How long members have to say which updates they hold, in ms of ledger time; `None` where an
    /// update is not recorded before its bytes are there for all (R80).
    pub gather_deadline_ms: Option<u64>,
}

impl Default for Merging {
    fn default() -> Self {
        Self {
            proposers: MAX_MERGED,
            clip_permille: 2000,
            momentum_permille: 500,
            checkers: 0,
            gather_deadline_ms: None,
        }
    }
}

impl Merging {
    /// Whether the numbers keep their bounds (R2); the deadline is looked at with the others.
    pub(crate) fn is_valid(&self) -> bool {
        (1..=MAX_MERGED).contains(&self.proposers)
            && CLIP_PERMILLE.contains(&self.clip_permille)
            && self.momentum_permille <= MAX_MOMENTUM_PERMILLE
            && self.checkers <= MAX_MERGED
    }
}

/// One of the two merges of a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Merge {
    /// The mean of all updates: nobody is left out.
    Open,
    /// What most agree on: outsiders are left out.
    Guarded,
}

/// The two merges of a round, as a voter has computed them. A merge begins with the bytes of the base's
/// header and has as many as that in all, so its digest names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct Merges {
    /// The open merge, if there is one.
    pub open: Option<Digest>,
    /// The guarded merge, if there is one.
    pub guarded: Option<Digest>,
}

impl Merges {
    /// The digest of one of them, if it is there.
    pub fn of(&self, which: Merge) -> Option<Digest> {
        match which {
            Merge::Open => self.open,
            Merge::Guarded => self.guarded,
        }
    }

    /// Whether there is neither: what an abstention names.
    pub fn is_none(&self) -> bool {
        self.open.is_none() && self.guarded.is_none()
    }
}
