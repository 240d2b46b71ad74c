//! What a learner signs: made in one place, signed at most once for a turn or a ballot.

use colearn_contracts::{
    Act, Action, Commit, Digest, ExperimentName, LearnerId, Model, Proposal, Reveal, Scores,
    Sealed, Vote,
};

use super::Event;
use crate::learner::{Proposed, Weights};

/// Something to sign and submit.
#[derive(Clone, PartialEq, Debug)]
pub struct Statement {
    /// What is said.
    pub act: Act,
    /// The turn or ballot for which it may be signed once only. Keep it, durably, before it is sent: a
    /// learner that is started again sends the same, and never signs another.
    pub once: Option<Turn>,
    /// What a commitment is to. Keep it, durably, before the commitment is signed: without the salt
    /// the ballot could never be revealed.
    pub sealed: Option<Reveal>,
    /// The weights that must be where the others find them before this is submitted.
    pub weights: Option<Weights>,
    /// What went wrong, if a turn is given up for that.
    reason: Option<String>,
}

impl Statement {
    /// A statement that may be signed again, since it says the same whenever it is.
    pub(super) fn new(act: Act) -> Self {
        Self { act, once: None, sealed: None, weights: None, reason: None }
    }

    /// What a learner says in its turn.
    pub(super) fn turn(
        turn: Turn,
        round: u64,
        base: &Model,
        proposed: Proposed,
        scores: Scores,
    ) -> Self {
        let Some(weights) = proposed.weights().cloned() else {
            let exhausted = proposed == Proposed::Exhausted;
            let reason = exhausted.then(|| "the privacy budget is spent".to_owned());
            return Self::pass(turn, round, exhausted, reason);
        };
        let proposal = Proposal {
            round,
            base: base.digest,
            // What the media type of an experiment is, is said by its model.
            weights: weights.model(&base.media_type),
            scores,
            privacy: proposed.privacy(),
        };
        Self { once: Some(turn), weights: Some(weights), ..Self::new(Act::Propose(proposal)) }
    }

    pub(super) fn pass(turn: Turn, round: u64, exhausted: bool, reason: Option<String>) -> Self {
        Self { once: Some(turn), reason, ..Self::new(Act::Pass { round, exhausted }) }
    }

    pub(super) fn vote(experiment: ExperimentName, vote: Vote) -> Self {
        let once = Some(Turn::vote(experiment, vote.round, vote.weights));
        Self { once, ..Self::new(Act::Vote(vote)) }
    }

    pub(super) fn commit(
        ledger: Digest,
        experiment: &ExperimentName,
        voter: LearnerId,
        reveal: Reveal,
    ) -> Self {
        let Reveal { vote, salt } = &reveal;
        let (round, weights) = (vote.round, vote.weights);
        let commitment = Sealed { ledger, experiment, voter, vote, salt }.commitment();
        let once = Some(Turn::vote(experiment.clone(), round, weights));
        let act = Act::Commit(Commit { round, weights, commitment });
        Self { once, sealed: Some(reveal), ..Self::new(act) }
    }

    /// What there is to tell once it is recorded.
    pub(super) fn told(self) -> Option<Event> {
        Some(match self.act {
            Act::Join { .. } => Event::Joined,
            Act::Resume { .. } => Event::Resumed,
            Act::Propose(Proposal { round, scores, .. }) => Event::Proposed { round, scores },
            Act::Pass { round, .. } => Event::Passed { round, reason: self.reason },
            Act::Commit(commit) => Event::Committed { round: commit.round },
            Act::Vote(vote) | Act::Reveal(Reveal { vote, .. }) => {
                let Vote { round, approve, scores, .. } = vote;
                Event::Voted { round, approve, scores }
            }
            Act::Create(_)
            | Act::Leave { .. }
            | Act::ReplaceKey { .. }
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Stop => return None,
        })
    }
}

/// What a learner signs at most once: its turn in a round, or its vote on a proposal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Turn {
    /// A proposal, or that there is none.
    Propose {
        /// The experiment.
        experiment: ExperimentName,
        /// The round.
        round: u64,
    },
    /// A vote, or the commitment to one.
    Vote {
        /// The experiment.
        experiment: ExperimentName,
        /// The round.
        round: u64,
        /// The proposed weights.
        weights: Digest,
    },
}

impl Turn {
    pub(super) fn propose(experiment: ExperimentName, round: u64) -> Self {
        Self::Propose { experiment, round }
    }

    pub(super) fn vote(experiment: ExperimentName, round: u64, weights: Digest) -> Self {
        Self::Vote { experiment, round, weights }
    }

    /// The turn or ballot that an action is for; `None` for one that may be signed again.
    pub fn of(action: &Action) -> Option<Self> {
        let experiment = action.experiment.clone();
        match &action.what {
            Act::Propose(Proposal { round, .. }) | Act::Pass { round, .. } => {
                Some(Self::Propose { experiment, round: *round })
            }
            // A commitment is the vote, as far as signing once goes.
            Act::Vote(Vote { round, weights, .. }) | Act::Commit(Commit { round, weights, .. }) => {
                Some(Self::Vote { experiment, round: *round, weights: *weights })
            }
            Act::Create(_)
            | Act::Join { .. }
            | Act::Leave { .. }
            | Act::Reveal(_)
            | Act::Resume { .. }
            | Act::ReplaceKey { .. }
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Stop => None,
        }
    }
}
