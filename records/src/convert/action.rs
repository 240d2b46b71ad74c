//! What learners ask of the contract.

use bytes::Bytes;
use colearn_contracts::{
    Action, Commit, CreateExperiment, ExperimentName, Motion, Proposal, Reveal, Share, Vote,
};
use colearn_proto::v1;

use super::{
    BadField, admission, admission_message, bytes, digest, learner, model, model_message, name,
    parameters, parameters_message, privacy, privacy_message, scores, scores_message,
};

/// Reads an action.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn action(message: v1::transaction::Action) -> Result<Action, BadField> {
    use v1::transaction::Action as Wire;
    Ok(match message {
        Wire::CreateExperiment(create) => {
            let message = create.parameters.ok_or(BadField("parameters"))?;
            Action::Create(CreateExperiment {
                name: name(&create.name)?,
                parameters: parameters(&message)?,
                admission: admission(message.admission.ok_or(BadField("admission"))?)?,
                model: model(create.model.ok_or(BadField("model"))?)?,
                plan: match create.plan.is_empty() {
                    true => None,
                    false => Some(digest(&create.plan, "plan")?),
                },
            })
        }
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
            privacy: propose.privacy.map(privacy),
        }),
        Wire::Pass(pass) => Action::Pass {
            experiment: name(&pass.experiment)?,
            round: pass.round,
            exhausted: pass.exhausted,
        },
        Wire::Vote(message) => Action::Vote(vote(message)?),
        Wire::Commit(commit) => Action::Commit(Commit {
            experiment: name(&commit.experiment)?,
            round: commit.round,
            weights: digest(&commit.weights, "weights")?,
            commitment: digest(&commit.commitment, "commitment")?,
        }),
        Wire::Reveal(reveal) => Action::Reveal(Reveal {
            vote: vote(reveal.vote.ok_or(BadField("vote"))?)?,
            salt: digest(&reveal.salt, "salt")?.0,
        }),
        Wire::ResumeExperiment(resume) => {
            Action::Resume { experiment: name(&resume.experiment)?, round: resume.round }
        }
        Wire::ReplaceKey(replace) => Action::ReplaceKey {
            experiment: name(&replace.experiment)?,
            to: learner(&replace.new_public_key, "new_public_key")?,
        },
        Wire::Move(message) => Action::Move {
            experiment: name(&message.experiment)?,
            number: message.number,
            motion: motion(message.motion.ok_or(BadField("motion"))?)?,
        },
        Wire::Ballot(ballot) => Action::Ballot {
            experiment: name(&ballot.experiment)?,
            number: ballot.number,
            approve: ballot.approve,
        },
        Wire::StopExperiment(stop) => Action::Stop { experiment: name(&stop.experiment)? },
    })
}

/// Writes an action. The consent of the new key, which a replacement of keys needs, is not the
/// action's and left out.
pub fn action_message(action: &Action) -> v1::transaction::Action {
    use v1::transaction::Action as Wire;
    match action {
        Action::Create(create) => {
            let admission = Some(admission_message(&create.admission));
            let parameters = parameters_message(&create.parameters);
            Wire::CreateExperiment(v1::CreateExperiment {
                name: create.name.to_string(),
                parameters: Some(v1::Parameters { admission, ..parameters }),
                model: Some(model_message(&create.model)),
                plan: create.plan.map_or_else(Bytes::new, |plan| bytes(plan.0)),
            })
        }
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
            privacy: proposal.privacy.map(privacy_message),
        }),
        Action::Pass { experiment, round, exhausted } => Wire::Pass(v1::Pass {
            experiment: experiment.to_string(),
            round: *round,
            exhausted: *exhausted,
        }),
        Action::Vote(vote) => Wire::Vote(vote_message(vote)),
        Action::Commit(commit) => Wire::Commit(v1::Commit {
            experiment: commit.experiment.to_string(),
            round: commit.round,
            weights: bytes(commit.weights.0),
            commitment: bytes(commit.commitment.0),
        }),
        Action::Reveal(reveal) => Wire::Reveal(v1::Reveal {
            vote: Some(vote_message(&reveal.vote)),
            salt: bytes(reveal.salt),
        }),
        Action::Resume { experiment, round } => Wire::ResumeExperiment(v1::ResumeExperiment {
            experiment: experiment.to_string(),
            round: *round,
        }),
        Action::ReplaceKey { experiment, to } => Wire::ReplaceKey(v1::ReplaceKey {
            experiment: experiment.to_string(),
            new_public_key: bytes(to.0),
            new_signature: Bytes::new(),
        }),
        Action::Move { experiment, number, motion } => {
            Wire::Move(move_message(experiment, *number, motion))
        }
        Action::Ballot { experiment, number, approve } => Wire::Ballot(v1::Ballot {
            experiment: experiment.to_string(),
            number: *number,
            approve: *approve,
        }),
        Action::Stop { experiment } => {
            Wire::StopExperiment(v1::StopExperiment { experiment: experiment.to_string() })
        }
    }
}

/// Reads a motion.
///
/// # Errors
/// If something is missing or malformed. Who may join cannot be part of one.
pub fn motion(message: v1::r#move::Motion) -> Result<Motion, BadField> {
    use v1::r#move::Motion as Wire;
    Ok(match message {
        Wire::SetParameters(message) if message.admission.is_none() => {
            Motion::SetParameters(Box::new(parameters(&message)?))
        }
        Wire::SetParameters(_) => return Err(BadField("admission")),
        Wire::Admit(admit) => Motion::Admit(Share {
            learner: learner(&admit.learner, "learner")?,
            weight: admit.weight,
        }),
        Wire::Suspend(key) => Motion::Suspend(learner(&key, "suspend")?),
        Wire::Expel(key) => Motion::Expel(learner(&key, "expel")?),
        Wire::Stop(_) => Motion::Stop,
    })
}

/// Writes a motion.
pub fn move_message(experiment: &ExperimentName, number: u64, motion: &Motion) -> v1::Move {
    use v1::r#move::Motion as Wire;
    let motion = match motion {
        Motion::SetParameters(parameters) => Wire::SetParameters(parameters_message(parameters)),
        Motion::Admit(share) => {
            Wire::Admit(v1::Admit { learner: bytes(share.learner.0), weight: share.weight })
        }
        Motion::Suspend(learner) => Wire::Suspend(bytes(learner.0)),
        Motion::Expel(learner) => Wire::Expel(bytes(learner.0)),
        Motion::Stop => Wire::Stop(v1::StopMotion {}),
    };
    v1::Move { experiment: experiment.to_string(), number, motion: Some(motion) }
}

fn vote(message: v1::Vote) -> Result<Vote, BadField> {
    Ok(Vote {
        experiment: name(&message.experiment)?,
        round: message.round,
        weights: digest(&message.weights, "weights")?,
        approve: message.approve,
        scores: scores(message.scores.ok_or(BadField("scores"))?),
    })
}

fn vote_message(vote: &Vote) -> v1::Vote {
    v1::Vote {
        experiment: vote.experiment.to_string(),
        round: vote.round,
        weights: bytes(vote.weights.0),
        approve: vote.approve,
        scores: Some(scores_message(vote.scores)),
    }
}
