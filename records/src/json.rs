//! What the contract decides, as JSON: in the words of [`mod@crate::words`], for commands and audits alike.

use colearn_contracts::{Decision, ExperimentName, LearnerId, Merges, Outcome, Sent};
use serde_json::{Value, json};

use crate::words::Word as _;

/// A decision of the contract: one object under the word for its kind.
pub fn outcome(outcome: &Outcome) -> Value {
    kind(outcome.what.word(), &outcome.experiment, decision(&outcome.what))
}

/// One object under the word for its kind, with the experiment among its fields.
pub fn kind(word: &str, experiment: &ExperimentName, mut fields: Value) -> Value {
    fields["experiment"] = experiment.as_str().into();
    json!({ word: fields })
}

fn decision(decision: &Decision) -> Value {
    match decision {
        Decision::RoundOpened { round, proposer, base, deadline_ms } => json!({
            "round": round,
            "proposer": proposer.to_string(),
            "base": base.to_string(),
            "deadline_ms": deadline_ms,
        }),
        Decision::VotingOpened { round, weights, electorate, deadline_ms } => json!({
            "round": round,
            "weights": weights.to_string(),
            "electorate": electorate,
            "deadline_ms": deadline_ms,
        }),
        Decision::RevealOpened { round, committed, deadline_ms } => {
            json!({ "round": round, "committed": committed, "deadline_ms": deadline_ms })
        }
        Decision::RoundClosed {
            round,
            verdict,
            approvals,
            rejections,
            abstentions,
            unavailable,
            electorate,
            model,
        } => json!({
            "round": round,
            "verdict": verdict.word(),
            "approvals": approvals,
            "rejections": rejections,
            "abstentions": abstentions,
            "unavailable": unavailable,
            "electorate": electorate,
            "model": model.to_string(),
        }),
        Decision::Waiting { members, min_learners } => {
            json!({ "members": members, "min_learners": min_learners })
        }
        Decision::Paused { reason } => json!({ "reason": reason.word() }),
        Decision::Suspended { learner, reason } => {
            json!({ "learner": learner.to_string(), "reason": reason.word() })
        }
        Decision::MotionOpened { number, electorate, deadline_ms } => {
            json!({ "number": number, "electorate": electorate, "deadline_ms": deadline_ms })
        }
        Decision::MotionDecided { number, adopted, approvals, rejections, electorate } => json!({
            "number": number,
            "adopted": adopted,
            "approvals": approvals,
            "rejections": rejections,
            "electorate": electorate,
        }),
        Decision::MotionTookEffect { number } => json!({ "number": number }),
        Decision::Finished { reason, rounds, model } => {
            json!({ "reason": reason.word(), "rounds": rounds, "model": model.to_string() })
        }
        Decision::TrainingOpened { round, participants, checkers, base, previous, deadline_ms } => {
            json!({
                "round": round,
                "participants": keys(participants),
                "checkers": keys(checkers),
                "base": base.to_string(),
                "previous": previous.to_string(),
                "deadline_ms": deadline_ms,
            })
        }
        Decision::GatheringOpened { round, updates, deadline_ms } => json!({
            "round": round,
            "updates": sent(updates),
            "deadline_ms": deadline_ms,
        }),
        Decision::MergeVotingOpened { round, updates, electorate, deadline_ms } => json!({
            "round": round,
            "updates": sent(updates),
            "electorate": electorate,
            "deadline_ms": deadline_ms,
        }),
        Decision::MergeDecided {
            round,
            agreed,
            named,
            bear_open,
            bear_guarded,
            prefer_guarded,
            accepted,
        } => json!({
            "round": round,
            "agreed": agreed.as_ref().map(merges),
            "named": named,
            "bear_open": bear_open,
            "bear_guarded": bear_guarded,
            "prefer_guarded": prefer_guarded,
            "accepted": accepted.map(|which| which.word()),
        }),
    }
}

/// Public keys, in their order.
fn keys(learners: &[LearnerId]) -> Vec<String> {
    learners.iter().map(ToString::to_string).collect()
}

/// The updates of a merged round, in their order.
fn sent(updates: &[Sent]) -> Vec<Value> {
    let one = |Sent { learner, weights }: &Sent| json!({ "learner": learner.to_string(), "weights": weights.to_string() });
    updates.iter().map(one).collect()
}

/// A pair of merges; null for one that is not there.
pub fn merges(merges: &Merges) -> Value {
    json!({
        "open": merges.open.map(|it| it.to_string()),
        "guarded": merges.guarded.map(|it| it.to_string()),
    })
}
