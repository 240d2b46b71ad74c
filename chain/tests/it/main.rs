//! The contract, tested as the chain calls it: natively, with storage in memory, and on a real chain.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod costs;
mod counted;
mod equivalence;
mod light;
mod native;
mod people;
mod reference;
mod round;
mod wasmd;
