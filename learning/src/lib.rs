#![doc = include_str!("../README.md")]

mod builtin;
pub mod canaries;
mod contents;
pub mod data;
mod hardening;
pub mod metric;
pub mod model;
pub mod network;
pub mod optimizer;
pub mod paired;
mod predict;
pub mod private;
mod reading;
mod score_noise;
mod shards;
mod student;
mod training;
mod words;

pub use builtin::{BuiltinError, BuiltinLearner};
pub use contents::{Contents, Tensor};
pub use predict::{Predictions, Predictor};
pub use shards::{INDEX, Shards, ShardsError};
pub use training::{ClassWeights, Training, VoteRule};

/// The seed of what learner `number` of a group draws at random.
pub fn learner_seed(seed: u64, number: usize) -> u64 {
    seed.wrapping_mul(1_000_003).wrapping_add(number as u64)
}
