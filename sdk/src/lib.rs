#![doc = include_str!("../README.md")]

#[cfg(feature = "bridge")]
pub mod bridge;
pub mod client;
pub mod encrypted;
mod error_cause;
mod large;
pub mod learner;
pub mod links;
#[cfg(feature = "local")]
pub mod local;
pub mod merging;
pub mod participant;
pub mod policy;
pub mod spending;
pub mod turn;
mod weights;

pub use bytes;
pub use colearn_contracts as contracts;
pub use colearn_keys as keys;
pub use colearn_ledger as ledger;
pub use colearn_records as records;
pub use ed25519_dalek;
