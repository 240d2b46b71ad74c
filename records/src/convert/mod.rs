//! Between the messages of the wire and the types of the contract.
//!
//! What is written reads back as the same value. The other way round need not hold: a deadline that is
//! left out is read as its default. So bytes that are signed or hashed are kept with what was read from
//! them, never made from it again.

mod action;
mod merged;
mod outcome;
mod parameters;
mod state;

use bytes::Bytes;
use colearn_contracts::{
    Digest, ExperimentName, LearnerId, MemberName, Merges, Model, PrivacySegment, PrivacySpent,
    PrivateTraining, Reason, Scores,
};
use colearn_proto::v1;

pub use self::action::{action, action_message, motion, move_message};
pub use self::outcome::{
    finish_reason, finish_reason_message, outcome, outcome_message, pause_reason,
    pause_reason_message, verdict_message,
};
pub use self::parameters::{admission, admission_message, parameters, parameters_message};
pub use self::state::{ChainState, ExperimentState, MemberState, MotionState, SeatState};

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

/// Reads what a member is called (R64); empty is for nothing.
///
/// # Errors
/// If it breaks R64.
pub fn member_name(text: &str) -> Result<Option<MemberName>, BadField> {
    let parse =
        |text: &str| text.parse().map_err(|_| BadField("name (R64: 1 to 64 printable characters)"));
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

fn member_name_message(name: Option<&MemberName>) -> String {
    name.map_or_else(String::new, ToString::to_string)
}

/// Reads a digest that may be left out.
///
/// # Errors
/// If it is there and does not have 32 bytes; `field` is named then.
fn maybe_digest(bytes: &[u8], field: &'static str) -> Result<Option<Digest>, BadField> {
    // Empty is protobuf's way to leave bytes out; another length is an error.
    if bytes.is_empty() { Ok(None) } else { digest(bytes, field).map(Some) }
}

fn maybe_bytes(digest: Option<Digest>) -> Bytes {
    digest.map_or_else(Bytes::new, |it| bytes(it.0))
}

/// Reads a reason; unspecified is for none.
///
/// # Errors
/// If it is unknown: what a later version adds must not pass for no reason.
fn reason(number: i32) -> Result<Option<Reason>, BadField> {
    Ok(match v1::Reason::try_from(number).map_err(|_| BadField("reason"))? {
        v1::Reason::Unspecified => None,
        v1::Reason::Worse => Some(Reason::Worse),
        v1::Reason::NotFinite => Some(Reason::NotFinite),
        v1::Reason::TooLittleData => Some(Reason::TooLittleData),
        v1::Reason::CapReached => Some(Reason::CapReached),
        v1::Reason::Policy => Some(Reason::Policy),
        v1::Reason::Failed => Some(Reason::Failed),
        v1::Reason::Unavailable => Some(Reason::Unavailable),
    })
}

fn reason_message(reason: Option<Reason>) -> i32 {
    reason.map_or(0, |it| it.number().into())
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

/// Reads a pair of merges; absent is for none of either.
fn merges(message: Option<v1::Merges>) -> Result<Merges, BadField> {
    let v1::Merges { open, guarded } = message.unwrap_or_default();
    Ok(Merges { open: maybe_digest(&open, "open")?, guarded: maybe_digest(&guarded, "guarded")? })
}

fn merges_message(merges: &Merges) -> Option<v1::Merges> {
    let Merges { open, guarded } = *merges;
    (!merges.is_none())
        .then(|| v1::Merges { open: maybe_bytes(open), guarded: maybe_bytes(guarded) })
}

fn bytes(array: [u8; 32]) -> Bytes {
    Bytes::copy_from_slice(&array)
}

fn scores(message: v1::Scores) -> Scores {
    Scores { vote: message.vote, test: message.test }
}

fn scores_message(scores: Scores) -> v1::Scores {
    v1::Scores { vote: scores.vote, test: scores.test }
}

/// Reads what proposals have revealed.
///
/// # Errors
/// If it is written as version 1 has it and as the later ones have it, both.
pub fn privacy(message: v1::PrivacySpent) -> Result<PrivacySpent, BadField> {
    let last = PrivacySegment {
        noise_micros: message.noise_micros,
        clip_micros: message.clip_micros,
        sampling_nanos: message.sampling_nanos,
        steps: message.steps,
    };
    let nothing = PrivacySegment { noise_micros: 0, clip_micros: 0, sampling_nanos: 0, steps: 0 };
    let training = match message.segments.is_empty() {
        true => PrivateTraining::Last(last),
        // One of the two would be what is shown, the other what is counted.
        false if last != nothing => return Err(BadField("segments")),
        false => PrivateTraining::All(
            message
                .segments
                .iter()
                .map(|segment| PrivacySegment {
                    noise_micros: segment.noise_micros,
                    clip_micros: segment.clip_micros,
                    sampling_nanos: segment.sampling_nanos,
                    steps: segment.steps,
                })
                .collect(),
        ),
    };
    let (epsilon_micros, delta_picos) = (message.epsilon_micros, message.delta_picos);
    Ok(PrivacySpent { epsilon_micros, delta_picos, training })
}

/// Writes what proposals have revealed.
pub fn privacy_message(spent: &PrivacySpent) -> v1::PrivacySpent {
    let stated = v1::PrivacySpent {
        epsilon_micros: spent.epsilon_micros,
        delta_picos: spent.delta_picos,
        ..v1::PrivacySpent::default()
    };
    match &spent.training {
        PrivateTraining::Last(last) => v1::PrivacySpent {
            noise_micros: last.noise_micros,
            clip_micros: last.clip_micros,
            sampling_nanos: last.sampling_nanos,
            steps: last.steps,
            ..stated
        },
        PrivateTraining::All(segments) => {
            let segment = |segment: &PrivacySegment| v1::PrivacySegment {
                noise_micros: segment.noise_micros,
                clip_micros: segment.clip_micros,
                sampling_nanos: segment.sampling_nanos,
                steps: segment.steps,
            };
            v1::PrivacySpent { segments: segments.iter().map(segment).collect(), ..stated }
        }
    }
}
