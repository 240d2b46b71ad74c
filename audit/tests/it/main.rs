//! What an audit finds, and what it tells.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod book;
mod chain;
mod explain;
mod merges;
mod models;
mod places;
mod privacy;
mod time;
mod versions;
