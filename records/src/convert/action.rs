//! What learners ask of the contract.

use bytes::Bytes;
use colearn_contracts::{
    Act, Action, Choice, Commit, CommitUpdate, CreateExperiment, Evaluation, ExperimentName,
    Invitation, Join, Measure, MergeVote, Motion, Proposal, Reveal, RevealMergeVote, RevealUpdate,
    Update, Version, Vote,
};
use colearn_proto::v1;

use super::{
    BadField, admission, admission_message, bytes, digest, learner, maybe_bytes, maybe_digest,
    member_name, member_name_message, merges, merges_message, model, model_message, name,
    parameters, parameters_message, privacy, privacy_message, reason, reason_message, scores,
    scores_message,
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
                    // Version 1 did not say so.
                    version: create.contract_version.max(1),
                    parameters: parameters(&message)?,
                    admission: admission(message.admission.ok_or(BadField("admission"))?)?,
                    model: model(create.model.ok_or(BadField("model"))?)?,
                    plan: maybe_digest(&create.plan, "plan")?,
                }),
            )
        }
        Wire::JoinExperiment(join) => Action::new(
            name(&join.experiment)?,
            Act::Join(Join {
                term: join.term,
                terms: maybe_digest(&join.terms, "terms")?,
                name: member_name(&join.name)?,
            }),
        ),
        Wire::LeaveExperiment(leave) => Action::new(
            name(&leave.experiment)?,
            Act::Leave { term: leave.term, renounce: leave.renounce },
        ),
        Wire::Propose(propose) => Action::new(
            name(&propose.experiment)?,
            Act::Propose(Proposal {
                round: propose.round,
                base: digest(&propose.base, "base")?,
                weights: model(propose.weights.ok_or(BadField("weights"))?)?,
                scores: scores(propose.scores.ok_or(BadField("scores"))?),
                privacy: propose.privacy.map(privacy).transpose()?,
            }),
        ),
        Wire::Pass(pass) => Action::new(
            name(&pass.experiment)?,
            Act::Pass {
                round: pass.round,
                exhausted: pass.exhausted,
                reason: reason(pass.reason)?,
            },
        ),
        Wire::Vote(message) => Action::new(name(&message.experiment)?, Act::Vote(vote(message)?)),
        Wire::Commit(commit) => Action::new(
            name(&commit.experiment)?,
            Act::Commit(Commit {
                round: commit.round,
                weights: digest(&commit.weights, "weights")?,
                commitment: digest(&commit.commitment, "commitment")?,
                link: maybe_digest(&commit.link, "link")?,
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
        Wire::Evaluate(evaluate) => {
            Action::new(name(&evaluate.experiment)?, Act::Evaluate(evaluation(evaluate)?))
        }
        Wire::Update(message) => {
            Action::new(name(&message.experiment)?, Act::Update(update(message)?))
        }
        Wire::CommitUpdate(commit) => Action::new(
            name(&commit.experiment)?,
            Act::CommitUpdate(CommitUpdate {
                round: commit.round,
                base: digest(&commit.base, "base")?,
                commitment: digest(&commit.commitment, "commitment")?,
            }),
        ),
        Wire::RevealUpdate(reveal) => {
            let message = reveal.update.ok_or(BadField("update"))?;
            let experiment = name(&message.experiment)?;
            let update = update(message)?;
            let salt = digest(&reveal.salt, "salt")?.0;
            Action::new(experiment, Act::RevealUpdate(RevealUpdate { update, salt }))
        }
        Wire::Have(have) => {
            Action::new(name(&have.experiment)?, Act::Have { round: have.round, held: have.held })
        }
        Wire::MergeVote(message) => {
            Action::new(name(&message.experiment)?, Act::MergeVote(merge_vote(message)?))
        }
        Wire::RevealMergeVote(reveal) => {
            let message = reveal.vote.ok_or(BadField("vote"))?;
            let experiment = name(&message.experiment)?;
            let vote = merge_vote(message)?;
            let salt = digest(&reveal.salt, "salt")?.0;
            Action::new(experiment, Act::RevealMergeVote(RevealMergeVote { vote, salt }))
        }
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
                plan: maybe_bytes(create.plan),
                contract_version: if create.version == 1 { 0 } else { create.version },
            })
        }
        Act::Join(join) => Wire::JoinExperiment(v1::JoinExperiment {
            experiment,
            term: join.term,
            terms: maybe_bytes(join.terms),
            name: member_name_message(join.name.as_ref()),
        }),
        Act::Leave { term, renounce } => {
            let (term, renounce) = (*term, *renounce);
            Wire::LeaveExperiment(v1::LeaveExperiment { experiment, term, renounce })
        }
        Act::Propose(proposal) => Wire::Propose(v1::Propose {
            experiment,
            round: proposal.round,
            base: bytes(proposal.base.0),
            weights: Some(model_message(&proposal.weights)),
            scores: Some(scores_message(proposal.scores)),
            privacy: proposal.privacy.as_ref().map(privacy_message),
        }),
        Act::Pass { round, exhausted, reason } => Wire::Pass(v1::Pass {
            experiment,
            round: *round,
            exhausted: *exhausted,
            reason: reason_message(*reason),
        }),
        Act::Vote(vote) => Wire::Vote(vote_message(experiment, vote)),
        Act::Commit(commit) => Wire::Commit(v1::Commit {
            experiment,
            round: commit.round,
            weights: bytes(commit.weights.0),
            commitment: bytes(commit.commitment.0),
            link: maybe_bytes(commit.link),
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
        Act::Evaluate(evaluation) => Wire::Evaluate(v1::Evaluate {
            experiment,
            number: evaluation.number,
            model: bytes(evaluation.model.0),
            measures: evaluation
                .measures
                .iter()
                .map(|measure| v1::Measure {
                    name: measure.name.to_string(),
                    value_micros: measure.value_micros,
                })
                .collect(),
        }),
        Act::Update(update) => Wire::Update(update_message(experiment, update)),
        Act::CommitUpdate(commit) => Wire::CommitUpdate(v1::CommitUpdate {
            experiment,
            round: commit.round,
            base: bytes(commit.base.0),
            commitment: bytes(commit.commitment.0),
        }),
        Act::RevealUpdate(reveal) => Wire::RevealUpdate(v1::RevealUpdate {
            update: Some(update_message(experiment, &reveal.update)),
            salt: bytes(reveal.salt),
        }),
        Act::Have { round, held } => {
            Wire::Have(v1::Have { experiment, round: *round, held: *held })
        }
        Act::MergeVote(vote) => Wire::MergeVote(merge_vote_message(experiment, vote)),
        Act::RevealMergeVote(reveal) => Wire::RevealMergeVote(v1::RevealMergeVote {
            vote: Some(merge_vote_message(experiment, &reveal.vote)),
            salt: bytes(reveal.salt),
        }),
    }
}

fn evaluation(message: v1::Evaluate) -> Result<Evaluation, BadField> {
    let measure = |measure: v1::Measure| {
        Ok(Measure {
            name: measure.name.parse().map_err(|_| BadField("measures (R66: a-z 0-9 . _ -)"))?,
            value_micros: measure.value_micros,
        })
    };
    Ok(Evaluation {
        number: message.number,
        model: digest(&message.model, "model")?,
        measures: message.measures.into_iter().map(measure).collect::<Result<_, BadField>>()?,
    })
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
            judge: admit.judge,
            name: member_name(&admit.name)?,
        }),
        Wire::Suspend(key) => Motion::Suspend(learner(&key, "suspend")?),
        Wire::Expel(key) => Motion::Expel(learner(&key, "expel")?),
        Wire::Stop(_) => Motion::Stop,
        Wire::Adopt(version) => Motion::Adopt(
            Version::try_from(version)
                .map_err(|_| BadField("adopt (a later colearn knows the version)"))?,
        ),
    })
}

/// Writes a motion.
pub fn move_message(experiment: &ExperimentName, number: u64, motion: &Motion) -> v1::Move {
    use v1::r#move::Motion as Wire;
    let motion = match motion {
        Motion::SetParameters(parameters) => Wire::SetParameters(parameters_message(parameters)),
        Motion::Admit(invitation) => Wire::Admit(v1::Admit {
            learner: bytes(invitation.learner.0),
            weight: invitation.weight,
            name: member_name_message(invitation.name.as_ref()),
            judge: invitation.judge,
        }),
        Motion::Suspend(learner) => Wire::Suspend(bytes(learner.0)),
        Motion::Expel(learner) => Wire::Expel(bytes(learner.0)),
        Motion::Stop => Wire::Stop(v1::StopMotion {}),
        Motion::Adopt(version) => Wire::Adopt(version.number()),
    };
    v1::Move { experiment: experiment.to_string(), number, motion: Some(motion) }
}

fn vote(message: v1::Vote) -> Result<Vote, BadField> {
    Ok(Vote {
        round: message.round,
        weights: digest(&message.weights, "weights")?,
        choice: match (message.approve, message.abstain) {
            (true, false) => Choice::Approve,
            (false, false) => Choice::Reject,
            (false, true) => Choice::Abstain,
            (true, true) => return Err(BadField("abstain")),
        },
        reason: reason(message.reason)?,
        scores: scores(message.scores.ok_or(BadField("scores"))?),
        link: maybe_digest(&message.link, "link")?,
    })
}

fn vote_message(experiment: String, vote: &Vote) -> v1::Vote {
    v1::Vote {
        experiment,
        round: vote.round,
        weights: bytes(vote.weights.0),
        approve: vote.choice == Choice::Approve,
        scores: Some(scores_message(vote.scores)),
        abstain: vote.choice == Choice::Abstain,
        reason: reason_message(vote.reason),
        link: maybe_bytes(vote.link),
    }
}

fn update(message: v1::Update) -> Result<Update, BadField> {
    Ok(Update {
        round: message.round,
        base: digest(&message.base, "base")?,
        weights: model(message.weights.ok_or(BadField("weights"))?)?,
        scores: scores(message.scores.ok_or(BadField("scores"))?),
        privacy: message.privacy.map(privacy).transpose()?,
    })
}

fn update_message(experiment: String, update: &Update) -> v1::Update {
    v1::Update {
        experiment,
        round: update.round,
        base: bytes(update.base.0),
        weights: Some(model_message(&update.weights)),
        scores: Some(scores_message(update.scores)),
        privacy: update.privacy.as_ref().map(privacy_message),
    }
}

fn merge_vote(message: v1::MergeVote) -> Result<MergeVote, BadField> {
    Ok(MergeVote {
        round: message.round,
        merges: merges(message.merges)?,
        bear_open: message.bear_open,
        bear_guarded: message.bear_guarded,
        prefer_guarded: message.prefer_guarded,
        reason: reason(message.reason)?,
        scores_open: scores(message.scores_open.ok_or(BadField("scores_open"))?),
        scores_guarded: scores(message.scores_guarded.ok_or(BadField("scores_guarded"))?),
        link: maybe_digest(&message.link, "link")?,
    })
}

fn merge_vote_message(experiment: String, vote: &MergeVote) -> v1::MergeVote {
    v1::MergeVote {
        experiment,
        round: vote.round,
        merges: merges_message(&vote.merges),
        bear_open: vote.bear_open,
        bear_guarded: vote.bear_guarded,
        prefer_guarded: vote.prefer_guarded,
        scores_open: Some(scores_message(vote.scores_open)),
        scores_guarded: Some(scores_message(vote.scores_guarded)),
        reason: reason_message(vote.reason),
        link: maybe_bytes(vote.link),
    }
}
