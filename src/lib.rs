#![doc = include_str!("../README.md")]

// The commands name this crate as whoever uses it does.
extern crate self as colearn;

mod alone;
pub mod backup;
mod claims;
mod cli;
mod curve;
mod deeds;
mod exec;
pub mod model;
pub mod place;
pub mod plot;
pub mod proving;
mod report;
mod shell;
pub mod simulate;
pub mod supervise;
mod top;
mod ui;

pub use cli::{Program, event_text, experiment_json, main, plan_of};
