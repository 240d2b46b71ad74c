//! The rules, tested through the public door.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adoption;
mod attacks;
mod charter;
mod consortium;
mod constitution;
mod draw;
mod history;
mod layout;
mod limits;
mod merged;
mod model;
mod pace;
mod pieces;
mod privacy;
mod rejections;
mod rounds;
mod rules;
mod script;
mod structure;
mod tally;
mod versions;
