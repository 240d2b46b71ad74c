//! Driving a CometBFT, real or not.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod abci;
mod app;
mod fake;
mod files;
mod keys;
mod process;
mod program;
mod real;
mod rpc;
mod stub;
