//! Between the messages of the wire and the types of the contract.
//!
//! What is written reads back as the same value. The other way round need not hold: a deadline that is
//! left out is read as its default. So bytes that are signed or hashed are kept with what was read from
//! them, never made from it again.

mod action;
mod outcome;
mod parameters;
mod state;

use bytes::Bytes;
use colearn_contracts::{Digest, ExperimentName, LearnerId, Model, PrivacySpent, Scores};
use colearn_proto::v1;

pub use self::action::{action, action_message, motion, move_message};
pub use self::outcome::{
    finish_reason, finish_reason_message, outcome, outcome_message, pause_reason,
    pause_reason_message, verdict_message,
};
pub use self::parameters::{admission, admission_message, parameters, parameters_message};
pub use self::state::{ExperimentState, MemberState, MotionState, SeatState};

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
pub fn privacy(message: v1::PrivacySpent) -> PrivacySpent {
    PrivacySpent {
        epsilon_micros: message.epsilon_micros,
        delta_picos: message.delta_picos,
        noise_micros: message.noise_micros,
        clip_micros: message.clip_micros,
        sampling_nanos: message.sampling_nanos,
        steps: message.steps,
    }
}

/// Writes what proposals have revealed.
pub fn privacy_message(spent: PrivacySpent) -> v1::PrivacySpent {
    v1::PrivacySpent {
        epsilon_micros: spent.epsilon_micros,
        delta_picos: spent.delta_picos,
        noise_micros: spent.noise_micros,
        clip_micros: spent.clip_micros,
        sampling_nanos: spent.sampling_nanos,
        steps: spent.steps,
    }
}
