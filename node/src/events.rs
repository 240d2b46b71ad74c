//! What a running node logs of what happens: one line each, at the level info.
//!
//! All of it is here, so that its messages and fields stay what docs/operations.md says. Nothing in it is a text that
//! somebody chose freely: names are of few characters, and reasons are escaped.

use std::fmt::Display;

use colearn_contracts::{Act, Decision, LearnerId};
use colearn_records::record::{DecodedEntry, Record};
use colearn_records::words::Word as _;
use tracing::field::display;
use tracing::info;

use crate::metrics::{Class, key_id};
use crate::peer::Peer;

/// Tells of an entry that was recorded, if it is one of those that an operator wants to hear of.
pub(crate) fn recorded(entry: &DecodedEntry) {
    let index = entry.index;
    match &entry.record {
        Record::Transaction(transaction) => {
            let (experiment, sender) =
                (&transaction.action.experiment, key_id(&transaction.sender));
            match &transaction.action.what {
                Act::Create(_) => {
                    info!(entry = index, %experiment, member = sender, "experiment created");
                }
                Act::Join(join) => {
                    let (term, name) = (join.term, join.name.as_ref().map(display));
                    info!(entry = index, %experiment, member = sender, name, term, "member joined");
                }
                Act::Leave { .. } => {
                    info!(entry = index, %experiment, member = sender, "member leaves");
                }
                Act::Propose(_)
                | Act::Pass { .. }
                | Act::Vote(_)
                | Act::Commit(_)
                | Act::Reveal(_)
                | Act::Resume { .. }
                | Act::ReplaceKey { .. }
                | Act::Move { .. }
                | Act::MotionVote { .. }
                | Act::Stop
                | Act::Evaluate(_)
                | Act::Update(_)
                | Act::CommitUpdate(_)
                | Act::RevealUpdate(_)
                | Act::Have { .. }
                | Act::MergeVote(_)
                | Act::RevealMergeVote(_) => {}
            }
        }
        Record::Outcome(outcome) => decided(index, &outcome.experiment, &outcome.what),
        Record::Genesis(_)
        | Record::KeyRotation(_)
        | Record::Upgrade(_)
        | Record::Block(_)
        | Record::ValidatorChange(_) => {}
    }
}

fn decided(index: u64, experiment: &dyn Display, what: &Decision) {
    match what {
        Decision::RoundClosed {
            round,
            verdict,
            approvals,
            rejections,
            abstentions,
            unavailable: _,
            electorate,
            model,
        } => {
            let verdict = verdict.word();
            info!(
                entry = index, %experiment, round, verdict, approvals, rejections, abstentions, electorate, %model,
                "round closed"
            );
        }
        Decision::Paused { reason } => {
            info!(entry = index, %experiment, reason = reason.word(), "experiment paused");
        }
        Decision::Waiting { members, min_learners } => {
            info!(entry = index, %experiment, members, min_learners, "experiment waits for members");
        }
        Decision::Suspended { learner, reason } => {
            let (member, reason) = (key_id(learner), reason.word());
            info!(entry = index, %experiment, member, reason, "member suspended");
        }
        Decision::Finished { reason, rounds, model } => {
            let reason = reason.word();
            info!(entry = index, %experiment, reason, rounds, %model, "experiment finished");
        }
        Decision::RoundOpened { .. }
        | Decision::VotingOpened { .. }
        | Decision::RevealOpened { .. }
        | Decision::MotionOpened { .. }
        | Decision::MotionDecided { .. }
        | Decision::MotionTookEffect { .. }
        | Decision::TrainingOpened { .. }
        | Decision::GatheringOpened { .. }
        | Decision::MergeVotingOpened { .. }
        | Decision::MergeDecided { .. } => {}
    }
}

/// Tells that weights are here whole.
pub(crate) fn uploaded(digest: &dyn Display, bytes: u64, from: Peer, key: Option<LearnerId>) {
    let from = key.map_or_else(|| from.described(), |key| key_id(&key));
    info!(%digest, bytes, from, "upload finished");
}

/// Tells how many uploads had no line of their own, since that was last told.
pub(crate) fn more_uploaded(count: u64) {
    info!(count, "more uploads finished");
}

/// Tells that so much was refused for one reason since that was last told; `latest` is what was answered last.
pub(crate) fn refused(class: Class, count: u64, latest: &str) {
    let (by, latest) = (class.by(), latest.escape_debug());
    info!(by, class = %class.word(), count, %latest, "refused");
}
