#![doc = include_str!("../README.md")]

mod address;
mod answer;
pub mod code;
mod established;
mod line;
mod proof;
mod trust;
mod votes;
mod way;

pub use address::{NotAnAddress, address};
pub use answer::{BadAnswer, Block, MAX_ANSWER_BYTES, Proven, block, proven};
pub use established::{Established, NotEstablished, RawBlock, RawValue};
pub use line::{Light, NotBelieved, TrustLine};
pub use proof::{BadProof, contract_key};
pub use trust::{NoTrust, Trust};
pub use way::Way;
