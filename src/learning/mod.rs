//! Learning that is built in: data, models and a learner on ndarray.

mod builtin;
pub mod data;
pub mod metric;
pub mod model;
pub mod network;
pub mod optimizer;
pub mod private;

pub use builtin::{BuiltinError, BuiltinLearner, Training, Voting};
