//! What the contract decides.

use bytes::Bytes;
use colearn_contracts::{
    Decision, FinishReason, LearnerId, Merge, Outcome, PauseReason, Sent, SuspendReason, Verdict,
};
use colearn_proto::v1;

use super::{BadField, bytes, digest, learner, merges, merges_message, name};

/// Writes a verdict.
pub fn verdict_message(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Accepted => v1::Verdict::Accepted,
        Verdict::Rejected => v1::Verdict::Rejected,
        Verdict::Expired => v1::Verdict::Expired,
        Verdict::Passed => v1::Verdict::Passed,
        Verdict::NoAgreement => v1::Verdict::NoAgreement,
    }
}

fn verdict(message: v1::Verdict) -> Result<Verdict, BadField> {
    Ok(match message {
        v1::Verdict::Accepted => Verdict::Accepted,
        v1::Verdict::Rejected => Verdict::Rejected,
        v1::Verdict::Expired => Verdict::Expired,
        v1::Verdict::Passed => Verdict::Passed,
        v1::Verdict::NoAgreement => Verdict::NoAgreement,
        // What a later version adds arrives here too. Taking it for the nearest known verdict would
        // tell of another round than the one that was recorded.
        v1::Verdict::Unspecified => return Err(BadField("verdict")),
    })
}

/// Writes the reason why an experiment ended.
pub fn finish_reason_message(reason: FinishReason) -> v1::FinishReason {
    match reason {
        FinishReason::MaxRounds => v1::FinishReason::MaxRounds,
        FinishReason::Stopped => v1::FinishReason::Stopped,
        FinishReason::Patience => v1::FinishReason::Patience,
        FinishReason::Abandoned => v1::FinishReason::Abandoned,
    }
}

/// Reads the reason why an experiment ended.
///
/// # Errors
/// If there is none, or an unknown one.
pub fn finish_reason(message: v1::FinishReason) -> Result<FinishReason, BadField> {
    Ok(match message {
        v1::FinishReason::MaxRounds => FinishReason::MaxRounds,
        v1::FinishReason::Stopped => FinishReason::Stopped,
        v1::FinishReason::Patience => FinishReason::Patience,
        v1::FinishReason::Abandoned => FinishReason::Abandoned,
        v1::FinishReason::Unspecified => return Err(BadField("reason")),
    })
}

/// Writes the reason why an experiment pauses.
pub fn pause_reason_message(reason: PauseReason) -> v1::PauseReason {
    match reason {
        PauseReason::NobodyProposes => v1::PauseReason::NobodyProposes,
        PauseReason::BudgetsSpent => v1::PauseReason::BudgetsSpent,
        PauseReason::OnlyJudges => v1::PauseReason::OnlyJudges,
    }
}

/// Reads the reason why an experiment pauses.
///
/// # Errors
/// If there is none, or an unknown one.
pub fn pause_reason(message: v1::PauseReason) -> Result<PauseReason, BadField> {
    Ok(match message {
        v1::PauseReason::NobodyProposes => PauseReason::NobodyProposes,
        v1::PauseReason::BudgetsSpent => PauseReason::BudgetsSpent,
        v1::PauseReason::OnlyJudges => PauseReason::OnlyJudges,
        v1::PauseReason::Unspecified => return Err(BadField("reason")),
    })
}

/// Reads an outcome.
///
/// It need not be one that the contract decided: whoever follows the ledger compares them.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn outcome(message: v1::Outcome) -> Result<Outcome, BadField> {
    use v1::outcome::Decision as Wire;
    let experiment = name(&message.experiment)?;
    let what = match message.decision.ok_or(BadField("decision"))? {
        Wire::RoundOpened(opened) => Decision::RoundOpened {
            round: opened.round,
            proposer: learner(&opened.proposer, "proposer")?,
            base: digest(&opened.base, "base")?,
            deadline_ms: opened.deadline_ms,
        },
        Wire::VotingOpened(opened) => Decision::VotingOpened {
            round: opened.round,
            weights: digest(&opened.weights, "weights")?,
            electorate: opened.electorate,
            deadline_ms: opened.deadline_ms,
        },
        Wire::RevealOpened(opened) => Decision::RevealOpened {
            round: opened.round,
            committed: opened.committed,
            deadline_ms: opened.deadline_ms,
        },
        Wire::RoundClosed(closed) => Decision::RoundClosed {
            round: closed.round,
            verdict: verdict(closed.verdict())?,
            approvals: closed.approvals,
            rejections: closed.rejections,
            abstentions: closed.abstentions,
            unavailable: closed.unavailable,
            electorate: closed.electorate,
            model: digest(&closed.model, "model")?,
        },
        Wire::Waiting(waiting) => {
            Decision::Waiting { members: waiting.members, min_learners: waiting.min_learners }
        }
        Wire::Paused(paused) => Decision::Paused { reason: pause_reason(paused.reason())? },
        Wire::Suspended(suspended) => Decision::Suspended {
            learner: learner(&suspended.learner, "learner")?,
            reason: match suspended.reason() {
                v1::SuspendReason::MissedTurns => SuspendReason::MissedTurns,
                v1::SuspendReason::Decided => SuspendReason::Decided,
                v1::SuspendReason::Expelled => SuspendReason::Expelled,
                v1::SuspendReason::Unspecified => return Err(BadField("reason")),
            },
        },
        Wire::MotionOpened(opened) => Decision::MotionOpened {
            number: opened.number,
            electorate: opened.electorate,
            deadline_ms: opened.deadline_ms,
        },
        Wire::MotionDecided(decided) => Decision::MotionDecided {
            number: decided.number,
            adopted: decided.adopted,
            approvals: decided.approvals,
            rejections: decided.rejections,
            electorate: decided.electorate,
        },
        Wire::MotionTookEffect(number) => Decision::MotionTookEffect { number },
        Wire::Finished(finished) => Decision::Finished {
            reason: finish_reason(finished.reason())?,
            rounds: finished.rounds,
            model: digest(&finished.model, "model")?,
        },
        Wire::TrainingOpened(opened) => Decision::TrainingOpened {
            round: opened.round,
            participants: learners(&opened.participants, "participants")?,
            checkers: learners(&opened.checkers, "checkers")?,
            base: digest(&opened.base, "base")?,
            previous: digest(&opened.previous, "previous")?,
            deadline_ms: opened.deadline_ms,
        },
        Wire::GatheringOpened(opened) => Decision::GatheringOpened {
            round: opened.round,
            updates: sent(&opened.updates)?,
            deadline_ms: opened.deadline_ms,
        },
        Wire::MergeVotingOpened(opened) => Decision::MergeVotingOpened {
            round: opened.round,
            updates: sent(&opened.updates)?,
            electorate: opened.electorate,
            deadline_ms: opened.deadline_ms,
        },
        Wire::MergeDecided(decided) => Decision::MergeDecided {
            round: decided.round,
            accepted: accepted(&decided)?,
            agreed: match decided.agreed {
                Some(agreed) => Some(merges(Some(agreed))?),
                None => None,
            },
            named: decided.named,
            bear_open: decided.bear_open,
            bear_guarded: decided.bear_guarded,
            prefer_guarded: decided.prefer_guarded,
        },
    };
    Ok(Outcome::new(experiment, what))
}

/// Writes an outcome.
pub fn outcome_message(outcome: &Outcome) -> v1::Outcome {
    use v1::outcome::Decision as Wire;
    let decision = match &outcome.what {
        Decision::RoundOpened { round, proposer, base, deadline_ms } => {
            Wire::RoundOpened(v1::RoundOpened {
                round: *round,
                proposer: bytes(proposer.0),
                base: bytes(base.0),
                deadline_ms: *deadline_ms,
            })
        }
        Decision::VotingOpened { round, weights, electorate, deadline_ms } => {
            Wire::VotingOpened(v1::VotingOpened {
                round: *round,
                weights: bytes(weights.0),
                electorate: *electorate,
                deadline_ms: *deadline_ms,
            })
        }
        Decision::RevealOpened { round, committed, deadline_ms } => {
            Wire::RevealOpened(v1::RevealOpened {
                round: *round,
                committed: *committed,
                deadline_ms: *deadline_ms,
            })
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
        } => Wire::RoundClosed(v1::RoundClosed {
            round: *round,
            verdict: verdict_message(*verdict).into(),
            approvals: *approvals,
            rejections: *rejections,
            electorate: *electorate,
            model: bytes(model.0),
            abstentions: *abstentions,
            unavailable: *unavailable,
        }),
        Decision::Waiting { members, min_learners } => {
            Wire::Waiting(v1::Waiting { members: *members, min_learners: *min_learners })
        }
        Decision::Paused { reason } => {
            Wire::Paused(v1::Paused { reason: pause_reason_message(*reason).into() })
        }
        Decision::Suspended { learner, reason } => {
            let reason = match reason {
                SuspendReason::MissedTurns => v1::SuspendReason::MissedTurns,
                SuspendReason::Decided => v1::SuspendReason::Decided,
                SuspendReason::Expelled => v1::SuspendReason::Expelled,
            };
            let learner = bytes(learner.0);
            Wire::Suspended(v1::Suspended { learner, reason: reason.into() })
        }
        Decision::MotionOpened { number, electorate, deadline_ms } => {
            Wire::MotionOpened(v1::MotionOpened {
                number: *number,
                electorate: *electorate,
                deadline_ms: *deadline_ms,
            })
        }
        Decision::MotionDecided { number, adopted, approvals, rejections, electorate } => {
            Wire::MotionDecided(v1::MotionDecided {
                number: *number,
                adopted: *adopted,
                approvals: *approvals,
                rejections: *rejections,
                electorate: *electorate,
            })
        }
        Decision::MotionTookEffect { number } => Wire::MotionTookEffect(*number),
        Decision::Finished { reason, rounds, model } => Wire::Finished(v1::Finished {
            reason: finish_reason_message(*reason).into(),
            rounds: *rounds,
            model: bytes(model.0),
        }),
        Decision::TrainingOpened { round, participants, checkers, base, previous, deadline_ms } => {
            Wire::TrainingOpened(v1::TrainingOpened {
                round: *round,
                participants: participants.iter().map(|learner| bytes(learner.0)).collect(),
                checkers: checkers.iter().map(|learner| bytes(learner.0)).collect(),
                base: bytes(base.0),
                previous: bytes(previous.0),
                deadline_ms: *deadline_ms,
            })
        }
        Decision::GatheringOpened { round, updates, deadline_ms } => {
            Wire::GatheringOpened(v1::GatheringOpened {
                round: *round,
                updates: sent_message(updates),
                deadline_ms: *deadline_ms,
            })
        }
        Decision::MergeVotingOpened { round, updates, electorate, deadline_ms } => {
            Wire::MergeVotingOpened(v1::MergeVotingOpened {
                round: *round,
                updates: sent_message(updates),
                electorate: *electorate,
                deadline_ms: *deadline_ms,
            })
        }
        Decision::MergeDecided {
            round,
            agreed,
            named,
            bear_open,
            bear_guarded,
            prefer_guarded,
            accepted,
        } => {
            let accepted = match accepted {
                None => v1::Merge::Unspecified,
                Some(Merge::Open) => v1::Merge::Open,
                Some(Merge::Guarded) => v1::Merge::Guarded,
            };
            Wire::MergeDecided(v1::MergeDecided {
                round: *round,
                agreed: agreed.as_ref().and_then(merges_message),
                named: *named,
                bear_open: *bear_open,
                bear_guarded: *bear_guarded,
                prefer_guarded: *prefer_guarded,
                accepted: accepted.into(),
            })
        }
    };
    v1::Outcome { experiment: outcome.experiment.to_string(), decision: Some(decision) }
}

fn learners(keys: &[Bytes], field: &'static str) -> Result<Vec<LearnerId>, BadField> {
    keys.iter().map(|key| learner(key, field)).collect()
}

fn sent(updates: &[v1::SentUpdate]) -> Result<Vec<Sent>, BadField> {
    let sent = |update: &v1::SentUpdate| {
        Ok(Sent {
            learner: learner(&update.learner, "updates")?,
            weights: digest(&update.weights, "updates")?,
        })
    };
    updates.iter().map(sent).collect()
}

fn sent_message(updates: &[Sent]) -> Vec<v1::SentUpdate> {
    let message = |sent: &Sent| v1::SentUpdate {
        learner: bytes(sent.learner.0),
        weights: bytes(sent.weights.0),
    };
    updates.iter().map(message).collect()
}

fn accepted(decided: &v1::MergeDecided) -> Result<Option<Merge>, BadField> {
    // Not `decided.accepted()`, which takes what it does not know for neither.
    Ok(match v1::Merge::try_from(decided.accepted).map_err(|_| BadField("accepted"))? {
        v1::Merge::Unspecified => None,
        v1::Merge::Open => Some(Merge::Open),
        v1::Merge::Guarded => Some(Merge::Guarded),
    })
}
