//! How much of an experiment has to be there for something to be asked of it, or decided.

use super::split::{Core, PhaseCore};
use crate::action::Act;
use crate::outcome::Decision;

/// How much of an experiment there is. Each has what the ones before have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Extent {
    /// By which rules a round is judged, where it stands, and who asks.
    Sender,
    /// All that a merged round has.
    Round,
    /// Everybody who is a member, and whose turn it was.
    Members,
    /// What they are deciding, but for who has voted.
    Motions,
    /// Who may join, and whom motions are about.
    Rights,
    /// Everything: also who has gone. Strangers can make that large, so nothing that is asked of a chain reads
    /// it.
    Whole,
}

impl Extent {
    /// What an act needs if nothing follows from it but that it is counted. All that it can be refused for
    /// is there.
    pub(super) fn of_act(act: &Act, core: &Core) -> Self {
        match act {
            Act::Propose(_)
            | Act::Vote(_)
            | Act::Commit(_)
            | Act::Reveal(_)
            | Act::Have { .. }
            | Act::MergeVote(_)
            | Act::RevealMergeVote(_)
            | Act::Evaluate(_) => Self::Sender,
            // Whether it is the last.
            Act::Update(_) | Act::CommitUpdate(_) | Act::RevealUpdate(_) => Self::Round,
            Act::Pass { .. } if matches!(core.phase, PhaseCore::Merged { .. }) => Self::Round,
            Act::Pass { .. }
            | Act::Create(_)
            | Act::Join(_)
            | Act::Leave { renounce: false, .. }
            | Act::Resume { .. }
            | Act::Stop => Self::Members,
            Act::MotionVote { .. } => Self::Motions,
            Act::Leave { renounce: true, .. } | Act::ReplaceKey { .. } | Act::Move { .. } => {
                Self::Rights
            }
        }
    }

    /// What had to be there for this to be decided.
    pub(super) fn of_decision(decision: &Decision) -> Self {
        match decision {
            Decision::VotingOpened { .. } => Self::Sender,
            Decision::RevealOpened { .. }
            | Decision::GatheringOpened { .. }
            | Decision::MergeVotingOpened { .. } => Self::Round,
            Decision::RoundOpened { .. }
            | Decision::TrainingOpened { .. }
            | Decision::RoundClosed { .. }
            | Decision::MergeDecided { .. }
            | Decision::Waiting { .. }
            | Decision::Paused { .. }
            | Decision::Suspended { .. }
            | Decision::Finished { .. } => Self::Members,
            Decision::MotionDecided { adopted: false, .. } => Self::Motions,
            Decision::MotionOpened { .. }
            | Decision::MotionDecided { adopted: true, .. }
            | Decision::MotionTookEffect { .. } => Self::Rights,
        }
    }

    /// What had to be there for all of these.
    pub(super) fn of_decisions(decisions: &[Decision]) -> Self {
        decisions.iter().map(Self::of_decision).max().unwrap_or(Self::Sender)
    }
}
