//! The motions of one experiment: open ones, and adopted ones that have not taken effect.
//!
//! Data and what keeps it consistent; the rules that decide them are in `governance`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::Motion;
use crate::id::LearnerId;
use crate::tally::Tally;

/// A motion that is being voted on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenMotion {
    /// What is to be decided.
    pub motion: Motion,
    /// Who moved it.
    pub mover: LearnerId,
    /// The votes so far.
    pub tally: Tally,
    /// Who has voted.
    pub(crate) voters: BTreeSet<LearnerId>,
    /// Members with a seat below this may vote: those who were seated when it was moved (R46). Seats
    /// are numbered once and for all, so this is all there is to remember of the electorate.
    pub(crate) seats_below: u64,
    /// When voting ends, exclusive.
    pub deadline_ms: u64,
}

/// What the members are deciding together, and what they have decided.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Motions {
    /// By number.
    pub(crate) open: BTreeMap<u64, OpenMotion>,
    /// The number of the last motion; 0 before the first.
    pub(crate) last: u64,
    /// Adopted motions that wait for the round's end, in the order of adoption.
    pub(crate) adopted: Vec<(u64, Motion)>,
}

impl Motions {
    /// When the first of the open ones ends.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.open.values().map(|open| open.deadline_ms).min()
    }

    /// The first motion that ends at this deadline.
    pub(crate) fn due(&self, deadline_ms: u64) -> Option<u64> {
        let due = self.open.iter().find(|(_, open)| open.deadline_ms == deadline_ms);
        due.map(|(number, _)| *number)
    }

    /// R31. Whatever names one key names another from here on.
    pub(crate) fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        let replace = |motion: &mut Motion| {
            if let Motion::Suspend(learner) | Motion::Expel(learner) = motion
                && *learner == from
            {
                *learner = to;
            }
        };
        for open in self.open.values_mut() {
            if open.mover == from {
                open.mover = to;
            }
            if open.voters.remove(&from) {
                open.voters.insert(to);
            }
            replace(&mut open.motion);
        }
        self.adopted.iter_mut().for_each(|(_, motion)| replace(motion));
    }
}
