//! What learners ask of the contract.

use bytes::Bytes;
use colearn_contracts::{
    Act, Action, Commit, CreateExperiment, ExperimentName, Invitation, Motion, Proposal, Reveal,
    Vote,
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
            Action::new(
                name(&create.name)?,
                Act::Create(CreateExperiment {
                    parameters: parameters(&message)?,
                    admission: admission(message.admission.ok_or(BadField("admission"))?)?,
                    model: model(create.model.ok_or(BadField("model"))?)?,
                    // Empty is protobuf's way to leave bytes out; another length is an error.
                    plan: match create.plan.is_empty() {
                        true => None,
                        false => Some(digest(&create.plan, "plan")?),
                    },
                }),
            )
        }
        Wire::JoinExperiment(join) => {
            Action::new(name(&join.experiment)?, Act::Join { term: join.term })
        }
        Wire::LeaveExperiment(leave) => {
            Action::new(name(&leave.experiment)?, Act::Leave { term: leave.term })
        }
        Wire::Propose(propose) => Action::new(
            name(&propose.experiment)?,
            Act::Propose(Proposal {
                round: propose.round,
                base: digest(&propose.base, "base")?,
                weights: model(propose.weights.ok_or(BadField("weights"))?)?,
                scores: scores(propose.scores.ok_or(BadField("scores"))?),
                privacy: propose.privacy.map(privacy),
            }),
        ),
        Wire::Pass(pass) => Action::new(
            name(&pass.experiment)?,
            Act::Pass { round: pass.round, exhausted: pass.exhausted },
        ),
        Wire::Vote(message) => Action::new(name(&message.experiment)?, Act::Vote(vote(message)?)),
        Wire::Commit(commit) => Action::new(
            name(&commit.experiment)?,
            Act::Commit(Commit {
                round: commit.round,
                weights: digest(&commit.weights, "weights")?,
                commitment: digest(&commit.commitment, "commitment")?,
            }),
        ),
        Wire::Reveal(reveal) => {
            let message = reveal.vote.ok_or(BadField("vote"))?;
            let experiment = name(&message.experiment)?;
            let vote = vote(message)?;
            let salt = digest(&reveal.salt, "salt")?.0;
            Action::new(experiment, Act::Reveal(Reveal { vote, salt }))
        }
        Wire::ResumeExperiment(resume) => {
            Action::new(name(&resume.experiment)?, Act::Resume { round: resume.round })
        }
        Wire::ReplaceKey(replace) => Action::new(
            name(&replace.experiment)?,
            Act::ReplaceKey { to: learner(&replace.new_public_key, "new_public_key")? },
        ),
        Wire::Move(message) => Action::new(
            name(&message.experiment)?,
            Act::Move {
                number: message.number,
                motion: motion(message.motion.ok_or(BadField("motion"))?)?,
            },
        ),
        Wire::Ballot(ballot) => Action::new(
            name(&ballot.experiment)?,
            Act::MotionVote { number: ballot.number, approve: ballot.approve },
        ),
        Wire::StopExperiment(stop) => Action::new(name(&stop.experiment)?, Act::Stop),
    })
}

/// Writes an action. The consent of the new key, which a replacement of keys needs, is not the
/// action's and left out.
pub fn action_message(action: &Action) -> v1::transaction::Action {
    use v1::transaction::Action as Wire;
    let experiment = action.experiment.to_string();
    match &action.what {
        Act::Create(create) => {
            let admission = Some(admission_message(&create.admission));
            let parameters = parameters_message(&create.parameters);
            Wire::CreateExperiment(v1::CreateExperiment {
                name: experiment,
                parameters: Some(v1::Parameters { admission, ..parameters }),
                model: Some(model_message(&create.model)),
                plan: create.plan.map_or_else(Bytes::new, |plan| bytes(plan.0)),
            })
        }
        Act::Join { term } => Wire::JoinExperiment(v1::JoinExperiment { experiment, term: *term }),
        Act::Leave { term } => {
            Wire::LeaveExperiment(v1::LeaveExperiment { experiment, term: *term })
        }
        Act::Propose(proposal) => Wire::Propose(v1::Propose {
            experiment,
            round: proposal.round,
            base: bytes(proposal.base.0),
            weights: Some(model_message(&proposal.weights)),
            scores: Some(scores_message(proposal.scores)),
            privacy: proposal.privacy.map(privacy_message),
        }),
        Act::Pass { round, exhausted } => {
            Wire::Pass(v1::Pass { experiment, round: *round, exhausted: *exhausted })
        }
        Act::Vote(vote) => Wire::Vote(vote_message(experiment, vote)),
        Act::Commit(commit) => Wire::Commit(v1::Commit {
            experiment,
            round: commit.round,
            weights: bytes(commit.weights.0),
            commitment: bytes(commit.commitment.0),
        }),
        Act::Reveal(reveal) => Wire::Reveal(v1::Reveal {
            vote: Some(vote_message(experiment, &reveal.vote)),
            salt: bytes(reveal.salt),
        }),
        Act::Resume { round } => {
            Wire::ResumeExperiment(v1::ResumeExperiment { experiment, round: *round })
        }
        Act::ReplaceKey { to } => Wire::ReplaceKey(v1::ReplaceKey {
            experiment,
            new_public_key: bytes(to.0),
            // Without it nobody takes the transaction; `Transaction::replace_key` puts it in.
            new_signature: Bytes::new(),
        }),
        Act::Move { number, motion } => {
            Wire::Move(move_message(&action.experiment, *number, motion))
        }
        Act::MotionVote { number, approve } => {
            Wire::Ballot(v1::Ballot { experiment, number: *number, approve: *approve })
        }
        Act::Stop => Wire::StopExperiment(v1::StopExperiment { experiment }),
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
        // Not passed over: who votes for a motion must be able to rely on all that it says.
        Wire::SetParameters(_) => return Err(BadField("admission")),
        Wire::Admit(admit) => Motion::Admit(Invitation {
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
        round: message.round,
        weights: digest(&message.weights, "weights")?,
        approve: message.approve,
        scores: scores(message.scores.ok_or(BadField("scores"))?),
    })
}

fn vote_message(experiment: String, vote: &Vote) -> v1::Vote {
    v1::Vote {
        experiment,
        round: vote.round,
        weights: bytes(vote.weights.0),
        approve: vote.approve,
        scores: Some(scores_message(vote.scores)),
    }
}
