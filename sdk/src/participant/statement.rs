//! What a learner signs: made in one place, signed at most once for a turn or a ballot.

use colearn_contracts::{
    Act, Action, Choice, Commit, CommitUpdate, Digest, ExperimentName, LearnerId, MergeVote,
    Proposal, Reason, Reveal, RevealMergeVote, RevealUpdate, Scores, Sealed, SealedMergeVote,
    SealedUpdate, Update, Vote,
};
use colearn_records::words::Words as _;

use super::{Event, Standing};
use crate::learner::{Judgement, Weights};
use crate::links::NextLink;

/// Something to sign and submit.
#[derive(Clone, PartialEq, Debug)]
pub struct Statement {
    /// What is said; without the link that it has to carry, which only the key can give
    /// ([`Statement::act_of`]).
    pub act: Act,
    /// The link that it has to carry.
    pub link: Option<NextLink>,
    /// The turn or ballot for which it may be signed once only. Keep it, durably, before it is sent: a
    /// learner that is started again sends the same, and never signs another.
    pub once: Option<Turn>,
    /// Whether it stands for what was signed for that turn before, which the contract has refused and
    /// would refuse whenever it came.
    pub instead: bool,
    /// What a commitment is to. Keep it, durably, before the commitment is signed: without the salt
    /// the ballot could never be revealed.
    pub sealed: Option<Secret>,
    /// The weights that must be where the others find them before this is submitted.
    pub weights: Option<Weights>,
    /// What went wrong, if a turn is given up for that.
    pub(super) told: Option<String>,
}

/// What a commitment is to, with the salt that keeps it secret.
#[derive(Clone, PartialEq, Debug)]
pub enum Secret {
    /// A vote on a proposal.
    Vote(Reveal),
    /// A vote on the merges of a round.
    MergeVote(RevealMergeVote),
    /// An update.
    Update(RevealUpdate),
}

impl Statement {
    /// A statement that may be signed again, since it says the same whenever it is.
    pub(super) fn new(act: Act) -> Self {
        Self {
            act,
            link: None,
            once: None,
            instead: false,
            sealed: None,
            weights: None,
            told: None,
        }
    }

    pub(super) fn propose(turn: Turn, proposal: Proposal, weights: Weights) -> Self {
        Self { once: Some(turn), weights: Some(weights), ..Self::new(Act::Propose(proposal)) }
    }

    pub(super) fn pass(turn: Turn, standing: &Standing, pass: Pass) -> Self {
        let Pass { exhausted, reason, told } = pass;
        let told = told.or_else(|| reason.map(|reason| reason.meaning().to_owned()));
        // Version 1 knew no reasons; from version 2 on only a cap can be reached for good (R43).
        let exhausted = exhausted && (!standing.is_second() || standing.cap.is_some());
        let reason = reason.filter(|_| standing.is_second());
        let act = Act::Pass { round: standing.round, exhausted, reason };
        Self { once: Some(turn), told, ..Self::new(act) }
    }

    pub(super) fn vote(experiment: ExperimentName, standing: &Standing, vote: Vote) -> Self {
        let once = Some(Turn::vote(experiment, vote.round, vote.weights));
        Self { once, link: standing.next_link(), ..Self::new(Act::Vote(vote)) }
    }

    pub(super) fn commit(
        ledger: Digest,
        experiment: &ExperimentName,
        voter: LearnerId,
        standing: &Standing,
        reveal: Reveal,
    ) -> Self {
        let Reveal { vote, salt } = &reveal;
        let (round, weights, version) = (vote.round, vote.weights, standing.version);
        let commitment = Sealed { version, ledger, experiment, voter, vote, salt }.commitment();
        let once = Some(Turn::vote(experiment.clone(), round, weights));
        let act = Act::Commit(Commit { round, weights, commitment, link: None });
        let sealed = Some(Secret::Vote(reveal));
        Self { once, link: standing.next_link(), sealed, ..Self::new(act) }
    }

    /// What was trained in a merged round.
    pub(super) fn update(turn: Turn, update: Update, weights: Weights) -> Self {
        Self { once: Some(turn), weights: Some(weights), ..Self::new(Act::Update(update)) }
    }

    /// A commitment to that.
    pub(super) fn commit_update(
        ledger: Digest,
        experiment: &ExperimentName,
        sender: LearnerId,
        reveal: RevealUpdate,
    ) -> Self {
        let RevealUpdate { update, salt } = &reveal;
        let Update { round, base, .. } = *update;
        let commitment = SealedUpdate { ledger, experiment, sender, update, salt }.commitment();
        let once = Some(Turn::propose(experiment.clone(), round));
        let act = Act::CommitUpdate(CommitUpdate { round, base, commitment });
        Self { once, sealed: Some(Secret::Update(reveal)), ..Self::new(act) }
    }

    /// A vote on merges.
    pub(super) fn merge_vote(
        experiment: ExperimentName,
        standing: &Standing,
        vote: MergeVote,
    ) -> Self {
        let once = Some(Turn::Merge { experiment, round: vote.round });
        Self { once, link: standing.next_link(), ..Self::new(Act::MergeVote(vote)) }
    }

    /// A commitment to that.
    pub(super) fn commit_merge_vote(
        ledger: Digest,
        experiment: &ExperimentName,
        voter: LearnerId,
        standing: &Standing,
        reveal: RevealMergeVote,
    ) -> Self {
        let RevealMergeVote { vote, salt } = &reveal;
        let (round, weights) = (vote.round, standing.model.digest);
        let commitment = SealedMergeVote { ledger, experiment, voter, vote, salt }.commitment();
        let once = Some(Turn::vote(experiment.clone(), round, weights));
        let act = Act::Commit(Commit { round, weights, commitment, link: None });
        let sealed = Some(Secret::MergeVote(reveal));
        Self { once, link: standing.next_link(), sealed, ..Self::new(act) }
    }

    /// What there is to tell once it is recorded.
    pub(super) fn told(self) -> Option<Event> {
        Some(match self.act {
            Act::Join(_) => Event::Joined,
            Act::Resume { .. } => Event::Resumed,
            Act::Propose(Proposal { round, scores, .. }) => Event::Proposed { round, scores },
            Act::Pass { round, .. } => Event::Passed { round, reason: self.told },
            Act::Commit(commit) => Event::Committed { round: commit.round },
            Act::Vote(vote) | Act::Reveal(Reveal { vote, .. }) => {
                let Vote { round, choice, reason, scores, .. } = vote;
                Event::Voted { round, choice, reason, scores }
            }
            Act::Update(Update { round, scores, .. })
            | Act::RevealUpdate(RevealUpdate { update: Update { round, scores, .. }, .. }) => {
                Event::Updated { round, scores }
            }
            Act::CommitUpdate(CommitUpdate { round, .. }) => Event::UpdateCommitted { round },
            Act::MergeVote(vote) | Act::RevealMergeVote(RevealMergeVote { vote, .. }) => {
                Event::Judged { round: vote.round, vote: Box::new(vote) }
            }
            Act::Create(_)
            | Act::Leave { .. }
            | Act::ReplaceKey { .. }
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Stop
            | Act::Evaluate(_)
            | Act::Have { .. } => return None,
        })
    }
}

/// How a turn is given up.
pub(super) struct Pass {
    /// Whether for good: the privacy budget is spent.
    pub(super) exhausted: bool,
    /// Why, as it is recorded.
    pub(super) reason: Option<Reason>,
    /// Why, for who runs the learner; in the reason's words where there are no better ones.
    pub(super) told: Option<String>,
}

impl Pass {
    pub(super) fn because(reason: Reason, told: Option<String>) -> Self {
        Self { exhausted: false, reason: Some(reason), told }
    }

    /// The privacy budget is spent.
    pub(super) fn exhausted(told: Option<String>) -> Self {
        let told = told.or_else(|| Some("the privacy budget is spent".to_owned()));
        Self { exhausted: true, reason: Some(Reason::CapReached), told }
    }
}

/// A vote of what a learner thinks, in the words of the version that the experiment follows: version 1
/// knew no reasons and no abstentions, and who did not approve was against.
pub(super) fn vote(
    standing: &Standing,
    weights: Digest,
    judgement: Judgement,
    scores: Scores,
) -> Vote {
    let (choice, reason) = match (standing.is_second(), judgement.choice()) {
        (true, choice) => (choice, judgement.reason()),
        (false, Choice::Approve) => (Choice::Approve, None),
        (false, Choice::Reject | Choice::Abstain) => (Choice::Reject, None),
    };
    Vote { round: standing.round, weights, choice, reason, scores, link: None }
}

impl Standing {
    /// The link that a vote in the present round has to carry, if it has to carry one.
    fn next_link(&self) -> Option<NextLink> {
        self.drawn.then_some(NextLink { round: self.round, chain: self.chain })
    }
}

/// What a learner signs at most once: its turn in a round, or its vote on a proposal or on merges.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Turn {
    /// A proposal or an update, or that there is none.
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
        /// The proposed weights; of a commitment in a merged round its base.
        weights: Digest,
    },
    /// A vote on the merges of a round.
    Merge {
        /// The experiment.
        experiment: ExperimentName,
        /// The round.
        round: u64,
    },
}

impl Turn {
    pub(super) fn propose(experiment: ExperimentName, round: u64) -> Self {
        Self::Propose { experiment, round }
    }

    pub(super) fn vote(experiment: ExperimentName, round: u64, weights: Digest) -> Self {
        Self::Vote { experiment, round, weights }
    }

    /// The round that it is in.
    pub fn round(&self) -> u64 {
        match self {
            Self::Propose { round, .. } | Self::Vote { round, .. } | Self::Merge { round, .. } => {
                *round
            }
        }
    }

    /// The turn or ballot that an action is for; `None` for one that may be signed again.
    pub fn of(action: &Action) -> Option<Self> {
        let experiment = action.experiment.clone();
        match &action.what {
            Act::Propose(Proposal { round, .. })
            | Act::Update(Update { round, .. })
            | Act::CommitUpdate(CommitUpdate { round, .. })
            | Act::Pass { round, .. } => {
                Some(Self::Propose { experiment, round: *round })
            }
            // A commitment is the vote, as far as signing once goes.
            Act::Vote(Vote { round, weights, .. }) | Act::Commit(Commit { round, weights, .. }) => {
                Some(Self::Vote { experiment, round: *round, weights: *weights })
            }
            Act::MergeVote(MergeVote { round, .. }) => Some(Self::Merge { experiment, round: *round }),
            Act::Create(_)
            | Act::Join(_)
            | Act::Leave { .. }
            | Act::Reveal(_)
            | Act::RevealUpdate(_)
            | Act::RevealMergeVote(_)
            // What it holds is a matter of fact, and said again it is the same.
            | Act::Have { .. }
            | Act::Resume { .. }
            | Act::ReplaceKey { .. }
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Stop
            | Act::Evaluate(_) => None,
        }
    }
}
