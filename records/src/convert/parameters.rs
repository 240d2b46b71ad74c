//! The rules of an experiment.

use bytes::Bytes;
use colearn_contracts::version::v1 as version_1;
use colearn_contracts::{
    Admission, BallotKind, Close, Invitation, Merging, Parameters, PrivacyCap, Selection, Threshold,
};
use colearn_proto::v1;

use super::{BadField, bytes, learner, member_name, member_name_message};

/// What a deadline is that an old or short message leaves out.
fn or_default(deadline_ms: u64, default_ms: u64) -> u64 {
    if deadline_ms == 0 { default_ms } else { deadline_ms }
}

pub(super) fn threshold(fraction: v1::Fraction) -> Threshold {
    let v1::Fraction { numerator, denominator, strict } = fraction;
    Threshold { numerator, denominator, strict }
}

pub(super) fn fraction(threshold: Threshold) -> v1::Fraction {
    let Threshold { numerator, denominator, strict } = threshold;
    v1::Fraction { numerator, denominator, strict }
}

/// Reads an experiment's parameters.
///
/// # Errors
/// If something is missing or malformed; the rules are the contract's to check.
pub fn parameters(message: &v1::Parameters) -> Result<Parameters, BadField> {
    let unknown = |field: &'static str| move |_| BadField(field);
    Ok(Parameters {
        threshold: threshold(message.threshold.ok_or(BadField("threshold"))?),
        selection: match v1::Selection::try_from(message.selection).map_err(unknown("selection"))? {
            v1::Selection::RoundRobin => Selection::RoundRobin,
            v1::Selection::Sortition => Selection::Sortition,
        },
        proposal_deadline_ms: message.proposal_deadline_ms,
        vote_deadline_ms: message.vote_deadline_ms,
        reveal_deadline_ms: or_default(message.reveal_deadline_ms, version_1::REVEAL_DEADLINE_MS),
        close: match v1::Close::try_from(message.close).map_err(unknown("close"))? {
            v1::Close::All => Close::All,
            v1::Close::Early => Close::Early,
        },
        ballot: match v1::BallotKind::try_from(message.ballot).map_err(unknown("ballot"))? {
            v1::BallotKind::Open => BallotKind::Open,
            v1::BallotKind::Sealed => BallotKind::Sealed,
        },
        min_learners: message.min_learners,
        max_rounds: message.max_rounds,
        patience: message.patience,
        missed_turns: Some(message.missed_turns).filter(|most| *most > 0),
        idle_rotations: Some(message.idle_rotations).filter(|most| *most > 0),
        privacy: message.privacy.map(|cap| PrivacyCap {
            epsilon_micros: cap.epsilon_micros,
            delta_picos: cap.delta_picos,
        }),
        max_weights_bytes: message.max_weights_bytes,
        governance_threshold: message.governance_threshold.map(threshold),
        motion_deadline_ms: or_default(message.motion_deadline_ms, version_1::MOTION_DEADLINE_MS),
        creator_may_stop: !message.stop_needs_motion,
        merging: message.merging.map(|merging| {
            let v1::Merging {
                proposers,
                clip_permille,
                momentum_permille,
                checkers,
                gather_deadline_ms,
            } = merging;
            Merging { proposers, clip_permille, momentum_permille, checkers, gather_deadline_ms }
        }),
    })
}

/// Writes an experiment's parameters, without who may join.
pub fn parameters_message(parameters: &Parameters) -> v1::Parameters {
    let selection = match parameters.selection {
        Selection::RoundRobin => v1::Selection::RoundRobin,
        Selection::Sortition => v1::Selection::Sortition,
    };
    let close = match parameters.close {
        Close::All => v1::Close::All,
        Close::Early => v1::Close::Early,
    };
    let ballot = match parameters.ballot {
        BallotKind::Open => v1::BallotKind::Open,
        BallotKind::Sealed => v1::BallotKind::Sealed,
    };
    v1::Parameters {
        threshold: Some(fraction(parameters.threshold)),
        proposal_deadline_ms: parameters.proposal_deadline_ms,
        vote_deadline_ms: parameters.vote_deadline_ms,
        admission: None,
        min_learners: parameters.min_learners,
        max_rounds: parameters.max_rounds,
        max_weights_bytes: parameters.max_weights_bytes,
        selection: selection.into(),
        close: close.into(),
        ballot: ballot.into(),
        reveal_deadline_ms: parameters.reveal_deadline_ms,
        patience: parameters.patience,
        missed_turns: parameters.missed_turns.unwrap_or(0),
        idle_rotations: parameters.idle_rotations.unwrap_or(0),
        privacy: parameters.privacy.map(|cap| v1::PrivacyCap {
            epsilon_micros: cap.epsilon_micros,
            delta_picos: cap.delta_picos,
        }),
        governance_threshold: parameters.governance_threshold.map(fraction),
        motion_deadline_ms: parameters.motion_deadline_ms,
        stop_needs_motion: !parameters.creator_may_stop,
        merging: parameters.merging.map(|merging| {
            let Merging {
                proposers,
                clip_permille,
                momentum_permille,
                checkers,
                gather_deadline_ms,
            } = merging;
            v1::Merging {
                proposers,
                clip_permille,
                momentum_permille,
                checkers,
                gather_deadline_ms,
            }
        }),
    }
}

/// Reads who may join.
///
/// # Errors
/// If a key or a name is malformed, there are not as many weights or names as learners, or the judges
/// are not some of them.
pub fn admission(message: v1::parameters::Admission) -> Result<Admission, BadField> {
    let shares = |invited: v1::InvitedAdmission| {
        if !invited.weights.is_empty() && invited.weights.len() != invited.learners.len() {
            return Err(BadField("weights"));
        }
        if !invited.names.is_empty() && invited.names.len() != invited.learners.len() {
            return Err(BadField("names"));
        }
        let weights = invited.weights.iter().copied().chain(std::iter::repeat(1));
        let names = invited.names.iter().map(String::as_str).chain(std::iter::repeat(""));
        let read = |((key, weight), name): ((&Bytes, u32), &str)| {
            let (learner, name) = (learner(key, "learners")?, member_name(name)?);
            Ok(Invitation { learner, weight, judge: false, name })
        };
        let invitations = invited.learners.iter().zip(weights).zip(names).map(read);
        let mut invitations = invitations.collect::<Result<Vec<Invitation>, BadField>>()?;
        // Ascending, so that there is one way to say it.
        if !invited.judges.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(BadField("judges"));
        }
        for judge in invited.judges {
            let invitation = invitations.get_mut(judge as usize).ok_or(BadField("judges"))?;
            invitation.judge = true;
        }
        Ok(invitations)
    };
    Ok(match message {
        v1::parameters::Admission::Open(_) => Admission::Open,
        v1::parameters::Admission::Invited(invited) => Admission::Invited(shares(invited)?),
        v1::parameters::Admission::ByVote(founders) => Admission::ByVote(shares(founders)?),
    })
}

/// Writes who may join.
pub fn admission_message(admission: &Admission) -> v1::parameters::Admission {
    let shares = admission.invitations();
    let equal = shares.iter().all(|share| share.weight == 1);
    let nameless = shares.iter().all(|share| share.name.is_none());
    let names = shares.iter().map(|share| member_name_message(share.name.as_ref()));
    // MAX_MEMBERS keeps places far below u32::MAX.
    let judges = shares.iter().zip(0..).filter(|(share, _)| share.judge).map(|(_, place)| place);
    let invited = v1::InvitedAdmission {
        learners: shares.iter().map(|share| bytes(share.learner.0)).collect(),
        weights: if equal { Vec::new() } else { shares.iter().map(|it| it.weight).collect() },
        names: if nameless { Vec::new() } else { names.collect() },
        judges: judges.collect(),
    };
    match admission {
        Admission::Open => v1::parameters::Admission::Open(v1::OpenAdmission {}),
        Admission::Invited(_) => v1::parameters::Admission::Invited(invited),
        Admission::ByVote(_) => v1::parameters::Admission::ByVote(invited),
    }
}
