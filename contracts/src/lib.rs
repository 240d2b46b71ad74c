#![doc = include_str!("../README.md")]
#![deny(
    clippy::float_arithmetic,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm
)]

mod action;
mod contract;
mod experiment;
mod id;
mod outcome;
mod parameters;
mod rejection;

pub use action::{Action, CreateExperiment, Proposal, Scores, Vote};
pub use contract::{Contract, MAX_EXPERIMENTS};
pub use experiment::{Experiment, Member, Phase, Seat, Tally};
pub use id::{Digest, ExperimentName, InvalidName, LearnerId};
pub use outcome::{FinishReason, Outcome, Verdict};
pub use parameters::{
    Admission, DEADLINE_RANGE_MS, InvalidParameters, MAX_INVITED, MAX_MEMBERS, MAX_WEIGHTS_BYTES,
    Model, Parameters, Threshold,
};
pub use rejection::Rejection;
