//! What the bytes of a ledger mean: one encoding for everything, and a follower that takes nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod codec;
mod describe;
mod expiry;
mod fields;
mod follower;
mod history;
#[cfg(all(feature = "files", unix))]
mod network;
mod on_chain;
mod receipts;
mod scribe;
mod strategies;
mod time;
mod upgrade;
mod vectors;
