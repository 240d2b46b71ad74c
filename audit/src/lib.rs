#![doc = include_str!("../README.md")]

mod auditor;
mod checkpoint;
mod entries;
pub mod experiments;
pub mod explain;
mod finding;
pub mod merges;
pub mod models;
mod options;
mod privacy;
mod promise;
pub mod reached;
mod report;
mod source;

pub use self::auditor::audit;
pub use self::checkpoint::{NoCheckpoint, signed_checkpoint};
pub use self::entries::{Entries, entries};
pub use self::finding::{Finding, Kind};
pub use self::options::{AuditOptions, Level, Proven, Prover};
pub use self::promise::{Promise, PromiseError};
pub use self::report::{AuditReport, ChainReport, MAX_FINDINGS};
#[cfg(feature = "http")]
pub use self::source::open_trusting;
pub use self::source::{Source, SourceError, Stated, Trouble, open};
