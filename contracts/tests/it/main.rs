//! The rules, tested through the public door.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod consortium;
mod history;
mod layout;
mod rejections;
mod rules;
mod script;
mod structure;
mod tally;
mod versions;
