//! The ledger through its public door.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod export;
mod faults;
mod memory;
mod recovery;
mod tree;
mod vectors;
