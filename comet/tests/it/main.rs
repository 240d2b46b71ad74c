//! Driving a CometBFT, real or not.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]
