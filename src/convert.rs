//! Between the messages of the wire and the types of the contract.

use bytes::Bytes;
use colearn_contracts::{
    Action, Admission, CreateExperiment, Digest, ExperimentName, FinishReason, LearnerId, Model,
    Outcome, Parameters, Proposal, Scores, Threshold, Verdict, Vote,
};
use colearn_proto::v1;

/// What is missing or malformed in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the field {0} is missing or malformed")]
pub struct BadField(pub &'static str);

/// Reads a digest.
///
/// # Errors
/// If it does not have 32 bytes; `field` is named then.
pub fn digest(bytes: &[u8], field: &'static str) -> Result<Digest, BadField> {
    bytes.try_into().map(Digest).map_err(|_| BadField(field))
}

/// Reads a learner's public key.
///
/// # Errors
/// If it does not have 32 bytes; `field` is named then.
pub fn learner(bytes: &[u8], field: &'static str) -> Result<LearnerId, BadField> {
    bytes.try_into().map(LearnerId).map_err(|_| BadField(field))
}

/// Reads an experiment's name (R1).
///
/// # Errors
/// If it breaks R1.
pub fn name(text: &str) -> Result<ExperimentName, BadField> {
    text.parse().map_err(|_| BadField("experiment (R1: 1 to 64 of a-z 0-9 . _ -)"))
}

fn bytes(array: [u8; 32]) -> Bytes {
    Bytes::copy_from_slice(&array)
}

/// Reads an action.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn action(message: v1::transaction::Action) -> Result<Action, BadField> {
    use v1::transaction::Action as Wire;
    Ok(match message {
        Wire::CreateExperiment(create) => Action::Create(CreateExperiment {
            name: name(&create.name)?,
            parameters: parameters(create.parameters.ok_or(BadField("parameters"))?)?,
            model: model(create.model.ok_or(BadField("model"))?)?,
        }),
        Wire::JoinExperiment(join) => {
            Action::Join { experiment: name(&join.experiment)?, term: join.term }
        }
        Wire::LeaveExperiment(leave) => {
            Action::Leave { experiment: name(&leave.experiment)?, term: leave.term }
        }
        Wire::Propose(propose) => Action::Propose(Proposal {
            experiment: name(&propose.experiment)?,
            round: propose.round,
            base: digest(&propose.base, "base")?,
            weights: model(propose.weights.ok_or(BadField("weights"))?)?,
            scores: scores(propose.scores.ok_or(BadField("scores"))?),
        }),
        Wire::Pass(pass) => Action::Pass { experiment: name(&pass.experiment)?, round: pass.round },
        Wire::Vote(vote) => Action::Vote(Vote {
            experiment: name(&vote.experiment)?,
            round: vote.round,
            weights: digest(&vote.weights, "weights")?,
            approve: vote.approve,
            scores: scores(vote.scores.ok_or(BadField("scores"))?),
        }),
        Wire::StopExperiment(stop) => Action::Stop { experiment: name(&stop.experiment)? },
    })
}

/// Writes an action.
pub fn action_message(action: &Action) -> v1::transaction::Action {
    use v1::transaction::Action as Wire;
    match action {
        Action::Create(create) => Wire::CreateExperiment(v1::CreateExperiment {
            name: create.name.to_string(),
            parameters: Some(parameters_message(&create.parameters)),
            model: Some(model_message(&create.model)),
        }),
        Action::Join { experiment, term } => Wire::JoinExperiment(v1::JoinExperiment {
            experiment: experiment.to_string(),
            term: *term,
        }),
        Action::Leave { experiment, term } => Wire::LeaveExperiment(v1::LeaveExperiment {
            experiment: experiment.to_string(),
            term: *term,
        }),
        Action::Propose(proposal) => Wire::Propose(v1::Propose {
            experiment: proposal.experiment.to_string(),
            round: proposal.round,
            base: bytes(proposal.base.0),
            weights: Some(model_message(&proposal.weights)),
            scores: Some(scores_message(proposal.scores)),
        }),
        Action::Pass { experiment, round } => {
            Wire::Pass(v1::Pass { experiment: experiment.to_string(), round: *round })
        }
        Action::Vote(vote) => Wire::Vote(v1::Vote {
            experiment: vote.experiment.to_string(),
            round: vote.round,
            weights: bytes(vote.weights.0),
            approve: vote.approve,
            scores: Some(scores_message(vote.scores)),
        }),
        Action::Stop { experiment } => {
            Wire::StopExperiment(v1::StopExperiment { experiment: experiment.to_string() })
        }
    }
}

fn scores(message: v1::Scores) -> Scores {
    Scores { vote: message.vote, test: message.test }
}

fn scores_message(scores: Scores) -> v1::Scores {
    v1::Scores { vote: scores.vote, test: scores.test }
}

/// Reads a model's description.
///
/// # Errors
/// If the digest is malformed.
pub fn model(message: v1::Model) -> Result<Model, BadField> {
    Ok(Model {
        digest: digest(&message.digest, "digest")?,
        size: message.size,
        media_type: message.media_type,
    })
}

/// Writes a model's description.
pub fn model_message(model: &Model) -> v1::Model {
    v1::Model {
        digest: bytes(model.digest.0),
        size: model.size,
        media_type: model.media_type.clone(),
    }
}

/// Reads an experiment's parameters.
///
/// # Errors
/// If something is missing or malformed; the rules are the contract's to check.
pub fn parameters(message: v1::Parameters) -> Result<Parameters, BadField> {
    let threshold = message.threshold.ok_or(BadField("threshold"))?;
    let admission = match message.admission.ok_or(BadField("admission"))? {
        v1::parameters::Admission::Open(_) => Admission::Open,
        v1::parameters::Admission::Invited(invited) => Admission::Invited(
            invited
                .learners
                .iter()
                .map(|key| learner(key, "learners"))
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Parameters {
        threshold: Threshold { numerator: threshold.numerator, denominator: threshold.denominator },
        proposal_deadline_ms: message.proposal_deadline_ms,
        vote_deadline_ms: message.vote_deadline_ms,
        admission,
        min_learners: message.min_learners,
        max_rounds: message.max_rounds,
        max_weights_bytes: message.max_weights_bytes,
    })
}

/// Writes an experiment's parameters.
pub fn parameters_message(parameters: &Parameters) -> v1::Parameters {
    let admission = match &parameters.admission {
        Admission::Open => v1::parameters::Admission::Open(v1::OpenAdmission {}),
        Admission::Invited(learners) => v1::parameters::Admission::Invited(v1::InvitedAdmission {
            learners: learners.iter().map(|learner| bytes(learner.0)).collect(),
        }),
    };
    v1::Parameters {
        threshold: Some(v1::Fraction {
            numerator: parameters.threshold.numerator,
            denominator: parameters.threshold.denominator,
        }),
        proposal_deadline_ms: parameters.proposal_deadline_ms,
        vote_deadline_ms: parameters.vote_deadline_ms,
        admission: Some(admission),
        min_learners: parameters.min_learners,
        max_rounds: parameters.max_rounds,
        max_weights_bytes: parameters.max_weights_bytes,
    }
}

/// Writes a verdict.
pub fn verdict_message(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Accepted => v1::Verdict::Accepted,
        Verdict::Rejected => v1::Verdict::Rejected,
        Verdict::Expired => v1::Verdict::Expired,
        Verdict::Passed => v1::Verdict::Passed,
    }
}

/// Writes the reason why an experiment ended.
pub fn finish_reason_message(reason: FinishReason) -> v1::FinishReason {
    match reason {
        FinishReason::MaxRounds => v1::FinishReason::MaxRounds,
        FinishReason::Stopped => v1::FinishReason::Stopped,
    }
}

/// Reads an outcome.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn outcome(message: v1::Outcome) -> Result<Outcome, BadField> {
    use v1::outcome::Decision;
    let experiment = name(&message.experiment)?;
    Ok(match message.decision.ok_or(BadField("decision"))? {
        Decision::RoundOpened(opened) => Outcome::RoundOpened {
            experiment,
            round: opened.round,
            proposer: learner(&opened.proposer, "proposer")?,
            base: digest(&opened.base, "base")?,
            deadline_ms: opened.deadline_ms,
        },
        Decision::VotingOpened(opened) => Outcome::VotingOpened {
            experiment,
            round: opened.round,
            weights: digest(&opened.weights, "weights")?,
            electorate: opened.electorate,
            deadline_ms: opened.deadline_ms,
        },
        Decision::RoundClosed(closed) => Outcome::RoundClosed {
            experiment,
            round: closed.round,
            verdict: match closed.verdict() {
                v1::Verdict::Accepted => Verdict::Accepted,
                v1::Verdict::Rejected => Verdict::Rejected,
                v1::Verdict::Expired => Verdict::Expired,
                v1::Verdict::Passed => Verdict::Passed,
                v1::Verdict::Unspecified => return Err(BadField("verdict")),
            },
            approvals: closed.approvals,
            rejections: closed.rejections,
            electorate: closed.electorate,
            model: digest(&closed.model, "model")?,
        },
        Decision::Waiting(waiting) => Outcome::Waiting {
            experiment,
            members: waiting.members,
            min_learners: waiting.min_learners,
        },
        Decision::Finished(finished) => Outcome::Finished {
            experiment,
            reason: match finished.reason() {
                v1::FinishReason::MaxRounds => FinishReason::MaxRounds,
                v1::FinishReason::Stopped => FinishReason::Stopped,
                v1::FinishReason::Unspecified => return Err(BadField("reason")),
            },
            rounds: finished.rounds,
            model: digest(&finished.model, "model")?,
        },
    })
}

/// Writes an outcome.
pub fn outcome_message(outcome: &Outcome) -> v1::Outcome {
    use v1::outcome::Decision;
    let decision = match outcome {
        Outcome::RoundOpened { round, proposer, base, deadline_ms, .. } => {
            Decision::RoundOpened(v1::RoundOpened {
                round: *round,
                proposer: bytes(proposer.0),
                base: bytes(base.0),
                deadline_ms: *deadline_ms,
            })
        }
        Outcome::VotingOpened { round, weights, electorate, deadline_ms, .. } => {
            Decision::VotingOpened(v1::VotingOpened {
                round: *round,
                weights: bytes(weights.0),
                electorate: *electorate,
                deadline_ms: *deadline_ms,
            })
        }
        Outcome::RoundClosed {
            round, verdict, approvals, rejections, electorate, model, ..
        } => Decision::RoundClosed(v1::RoundClosed {
            round: *round,
            verdict: verdict_message(*verdict).into(),
            approvals: *approvals,
            rejections: *rejections,
            electorate: *electorate,
            model: bytes(model.0),
        }),
        Outcome::Waiting { members, min_learners, .. } => {
            Decision::Waiting(v1::Waiting { members: *members, min_learners: *min_learners })
        }
        Outcome::Finished { reason, rounds, model, .. } => Decision::Finished(v1::Finished {
            reason: finish_reason_message(*reason).into(),
            rounds: *rounds,
            model: bytes(model.0),
        }),
    };
    v1::Outcome { experiment: outcome.experiment().to_string(), decision: Some(decision) }
}
