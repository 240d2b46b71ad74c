//! The motions of one experiment: open ones, and adopted ones that have not taken effect.
//!
//! Data and what keeps it consistent; the rules that decide them are in `governance`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::action::Motion;
use crate::id::LearnerId;
use crate::parameters::Threshold;
use crate::tally::Tally;
use crate::version::Version;

/// A motion that is being voted on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenMotion {
    /// What is to be decided.
    pub motion: Motion,
    /// Who moved it.
    pub mover: LearnerId,
    /// The votes so far.
    pub tally: Tally,
    /// The version of the rules that judges it: the experiment's when it was moved, but for its own
    /// adoption, which the adopted version judges (R69).
    pub version: Version,
    /// The share that must approve, as it was when it was moved (R57); `None` in version 1, where it is
    /// that of the day when it is counted.
    pub threshold: Option<Threshold>,
    /// Who has voted.
    pub(crate) voters: BTreeSet<LearnerId>,
    /// Who may vote.
    pub(crate) electorate: Electorate,
    /// When voting ends, exclusive.
    pub deadline_ms: u64,
}

/// Who may vote on a motion: who could when it was moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Electorate {
    /// Members with a seat below this: those who were seated (R46). Seats are numbered once and for
    /// all, so this is all there is to remember.
    Seated {
        /// The number that the next seat had.
        below: u64,
    },
    /// Who was admitted by then, with what it was admitted with (R55).
    Admitted {
        /// How many changes of the admission there had been.
        changes: u64,
    },
}

/// A motion that the members have adopted, and that waits for the round's end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Adopted {
    pub(crate) number: u64,
    pub(crate) motion: Motion,
    /// The version of the rules that judged it.
    pub(crate) version: Version,
}

/// What the members are deciding together, and what they have decided.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Motions {
    /// By number.
    pub(crate) open: BTreeMap<u64, OpenMotion>,
    /// The number of the last motion; 0 before the first.
    pub(crate) last: u64,
    /// Adopted motions that wait for the round's end, in the order of adoption.
    pub(crate) adopted: Vec<Adopted>,
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
        let replace = |motion: &mut Motion, version: Version| match motion {
            Motion::Suspend(learner) | Motion::Expel(learner) if *learner == from => *learner = to,
            Motion::Admit(invitation)
                if invitation.learner == from && version.rules().constitution =>
            {
                invitation.learner = to;
            }
            Motion::Suspend(_)
            | Motion::Expel(_)
            | Motion::Admit(_)
            | Motion::SetParameters(_)
            | Motion::Stop
            | Motion::Adopt(_) => {}
        };
        for open in self.open.values_mut() {
            if open.mover == from {
                open.mover = to;
            }
            if open.voters.remove(&from) {
                open.voters.insert(to);
            }
            replace(&mut open.motion, open.version);
        }
        self.adopted.iter_mut().for_each(|it| replace(&mut it.motion, it.version));
    }
}
