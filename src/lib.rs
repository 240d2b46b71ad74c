#![doc = include_str!("../README.md")]

pub mod audit;
pub mod bridge;
pub mod client;
mod clock;
pub mod convert;
pub mod dp;
pub mod explain;
pub mod history;
pub mod keys;
pub mod learner;
pub mod learning;
pub mod local;
pub mod node;
pub mod plan;
pub mod plot;
pub mod record;
pub mod replay;
pub mod rotation;
pub mod simulate;
pub mod transaction;
pub mod witness;
