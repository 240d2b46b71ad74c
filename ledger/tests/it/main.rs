//! The ledger through its public door.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "store")]
mod export;
#[cfg(feature = "store")]
mod faults;
#[cfg(feature = "store")]
mod lookup;
mod memory;
#[cfg(feature = "store")]
mod pace;
#[cfg(feature = "store")]
mod recovery;
mod tree;
mod vectors;
