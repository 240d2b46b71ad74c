//! A merged round: who trains in it, what each has sent, and where it stands.
//!
//! Data and what keeps it consistent; what may be sent when, and what follows, is said in the files
//! beside.

use serde::{Deserialize, Serialize};

use crate::id::{Digest, LearnerId};
use crate::merge_tally::MergeTally;
use crate::outcome::Sent;
use crate::parameters::Model;

/// How votes are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stage {
    /// As they are.
    Open,
    /// As commitments.
    Commit {
        /// The votes committed to so far.
        committed: u32,
    },
    /// By revealing what was committed to.
    Reveal {
        /// The votes that were committed to.
        committed: u32,
    },
}

/// A merged round that is open (R72 on).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MergedRound {
    /// Who trains, in joining order; frozen when the round opens (R73). At most 64.
    pub participants: Vec<Participant>,
    /// Who must compute the merges, in joining order; nobody where all do (R86). At most 64.
    pub checkers: Vec<LearnerId>,
    /// What it waits for.
    pub stage: MergeStage,
    /// When that ends, exclusive.
    pub deadline_ms: u64,
}

/// Somebody who trains in a merged round.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Participant {
    /// Who it is.
    pub learner: LearnerId,
    /// What it has done.
    pub part: Part,
}

/// What a participant of a merged round has done in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Part {
    /// Nothing yet.
    Due,
    /// It has given up its turn (R77).
    Passed,
    /// It has committed to an update (R76).
    Committed {
        /// To what.
        commitment: Digest,
        /// Under which key: part of what was hashed, so it stays what it was when the member goes on
        /// under another.
        key: LearnerId,
    },
    /// It has sent this update, which is, or will be, merged.
    Sent(Model),
    /// It has sent this update, and too few hold it (R80).
    Dropped {
        /// The update.
        weights: Model,
        /// Whether most said so, which is its sender's fault.
        missed: bool,
    },
}

/// What a merged round waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MergeStage {
    /// Updates (R75); where ballots are sealed, commitments to them (R76).
    Training,
    /// The updates that were committed to (R76).
    Revealing,
    /// What each member holds of the updates (R80).
    Gathering {
        /// The votes of those who have said it.
        said: u32,
        /// Of those, the votes of who holds it, for each update in order.
        held: Vec<u32>,
    },
    /// Votes on the merges (R81).
    Voting {
        /// The votes so far.
        tally: MergeTally,
        /// How they are taken now.
        stage: Stage,
    },
}

impl MergedRound {
    /// The updates that are merged, or will be if all are held, in the order of that: who sent what.
    pub fn updates(&self) -> impl Iterator<Item = (LearnerId, &Model)> {
        self.participants.iter().filter_map(|it| match &it.part {
            Part::Sent(weights) => Some((it.learner, weights)),
            Part::Due | Part::Passed | Part::Committed { .. } | Part::Dropped { .. } => None,
        })
    }

    /// Whether a learner must compute the merges.
    pub fn is_checker(&self, learner: LearnerId) -> bool {
        self.checkers.contains(&learner)
    }

    /// What a learner has done, if it trains in this round.
    pub fn part(&self, learner: LearnerId) -> Option<&Part> {
        self.participants.iter().find(|it| it.learner == learner).map(|it| &it.part)
    }

    pub(crate) fn part_mut(&mut self, learner: LearnerId) -> Option<&mut Part> {
        self.participants.iter_mut().find(|it| it.learner == learner).map(|it| &mut it.part)
    }

    /// The updates as outcomes tell of them.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        let sent =
            |(learner, weights): (LearnerId, &Model)| Sent { learner, weights: weights.digest };
        self.updates().map(sent).collect()
    }

    /// How many have done this.
    pub(crate) fn count(&self, is: impl Fn(&Part) -> bool) -> usize {
        self.participants.iter().filter(|it| is(&it.part)).count()
    }

    /// R31. Somebody goes on under another key.
    pub(crate) fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        let participants = self.participants.iter_mut().map(|it| &mut it.learner);
        let learners = participants.chain(self.checkers.iter_mut());
        learners.filter(|learner| **learner == from).for_each(|learner| *learner = to);
    }
}
