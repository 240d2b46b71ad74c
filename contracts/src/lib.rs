#![doc = include_str!("../README.md")]
#![deny(
    clippy::float_arithmetic,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm
)]

mod action;
mod admission;
mod contract;
mod draw;
mod experiment;
mod governance;
mod id;
mod membership;
mod outcome;
mod parameters;
mod privacy;
mod rejection;
mod round;

pub use action::{
    Action, Commit, CreateExperiment, Motion, Proposal, Reveal, Scores, Sealed, Vote,
};
pub use admission::{Admission, MAX_INVITED, MAX_WEIGHT, Share};
pub use contract::{Contract, MAX_EXPERIMENTS, Moment};
pub use draw::draw;
pub use experiment::{Experiment, Member, Phase, Seat, Stage, Tally};
pub use governance::{MAX_OPEN_MOTIONS, OpenMotion};
pub use id::{Digest, ExperimentName, InvalidName, LearnerId};
pub use outcome::{FinishReason, Outcome, PauseReason, SuspendReason, Verdict};
pub use parameters::{
    Ballot, Close, DEADLINE_RANGE_MS, InvalidParameters, MAX_MEMBERS, MAX_WEIGHTS_BYTES, Model,
    Parameters, Selection, Threshold,
};
pub use privacy::{PrivacyCap, PrivacySpent};
pub use rejection::Rejection;
