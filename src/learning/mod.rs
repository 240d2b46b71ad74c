//! Learning that is built in: data, models and a learner on ndarray.

mod builtin;
pub mod data;
pub mod network;

pub use builtin::{BuiltinLearner, Training};
