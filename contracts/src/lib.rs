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
mod ballot;
mod chain;
mod charter;
mod contract;
mod draw;
mod evaluation;
mod experiment;
mod governance;
mod id;
mod limits;
mod member;
mod membership;
mod merge_tally;
mod merging;
mod motions;
mod name;
mod outcome;
mod parameters;
pub mod pieces;
mod privacy;
mod proposal;
mod rejection;
mod roster;
mod round;
mod sealed;
mod step;
mod tally;
mod terms;
pub mod version;

pub use action::{Act, Action, CreateExperiment, Join, Motion};
pub use admission::{Admission, Invitation, MAX_INVITED, MAX_WEIGHT};
pub use ballot::{Choice, Commit, MergeVote, Reason, Reveal, RevealMergeVote, Scores, Vote};
pub use chain::{Chain, LINKS, link};
pub use charter::{Charter, Creators, InvalidCharter, MAX_CREATORS};
pub use contract::{Contract, LAYOUT, MAX_EXPERIMENTS, NotAnUpgrade};
pub use draw::{CHECKER, Draw, Fixed, PROPOSER, Seed, draw};
pub use evaluation::{Evaluation, MAX_MEASURES, Measure};
pub use experiment::Experiment;
pub use id::{Digest, ExperimentName, InvalidName, LearnerId};
pub use limits::{InvalidLimits, Limits};
pub use member::{Member, Seat};
pub use merge_tally::{MergeTally, MergeVerdict, Named};
pub use merging::{MAX_MERGED, MERGED_MEDIA_TYPE, Merge, Merges, Merging};
pub use motions::OpenMotion;
pub use name::{InvalidMeasureName, InvalidMemberName, MeasureName, MemberName};
pub use outcome::{Decision, FinishReason, Outcome, PauseReason, Sent, SuspendReason, Verdict};
pub use parameters::{
    BallotKind, Close, DEADLINE_RANGE_MS, InvalidParameters, MAX_MEMBERS, MAX_WEIGHTS_BYTES, Model,
    Parameters, Selection, Threshold,
};
pub use privacy::{MAX_SEGMENTS, PrivacyCap, PrivacySegment, PrivacySpent, PrivateTraining};
pub use proposal::{CommitUpdate, Proposal, RevealUpdate, Update};
pub use rejection::{Described, Rejection, RejectionKind, rule_is_stale};
pub use round::{MergeStage, MergedRound, Part, Participant, Phase, Stage};
pub use sealed::{Sealed, SealedMergeVote, SealedUpdate};
pub use step::{Context, MAX_TIME_MS, Moment};
pub use tally::Tally;
pub use terms::terms;
pub use version::v1::MAX_OPEN_MOTIONS;
pub use version::{UnknownVersion, VERSION, Version};
