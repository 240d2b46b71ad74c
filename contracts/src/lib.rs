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
mod member;
mod membership;
mod motions;
mod outcome;
mod parameters;
mod privacy;
mod rejection;
mod roster;
mod round;
mod step;
mod tally;
pub mod version;

pub use action::{
    Act, Action, Commit, CreateExperiment, Motion, Proposal, Reveal, Scores, Sealed, Vote,
};
pub use admission::{Admission, Invitation, MAX_INVITED, MAX_WEIGHT};
pub use contract::{Contract, LAYOUT, MAX_EXPERIMENTS, NotAnUpgrade};
pub use draw::draw;
pub use experiment::Experiment;
pub use id::{Digest, ExperimentName, InvalidName, LearnerId};
pub use member::{Member, Seat};
pub use motions::OpenMotion;
pub use outcome::{Decision, FinishReason, Outcome, PauseReason, SuspendReason, Verdict};
pub use parameters::{
    BallotKind, Close, DEADLINE_RANGE_MS, InvalidParameters, MAX_MEMBERS, MAX_WEIGHTS_BYTES, Model,
    Parameters, Selection, Threshold,
};
pub use privacy::{PrivacyCap, PrivacySpent};
pub use rejection::{Described, Rejection, RejectionKind, rule_is_stale};
pub use round::{Phase, Stage};
pub use step::{Context, Moment};
pub use tally::Tally;
pub use version::v1::MAX_OPEN_MOTIONS;
pub use version::{UnknownVersion, VERSION, Version};
