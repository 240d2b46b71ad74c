#![doc = include_str!("../README.md")]

mod address;
mod answer;
pub mod code;
mod line;
mod proof;

pub use address::{NotAnAddress, address};
pub use answer::{BadAnswer, Block, MAX_ANSWER_BYTES, Proven, block, proven};
pub use line::{Light, NotBelieved, TrustLine};
pub use proof::{BadProof, contract_key};
