#![doc = include_str!("../README.md")]

pub mod convert;
pub mod follower;
pub mod founded;
pub mod history;
pub mod json;
pub mod keys;
pub mod log_keys;
pub mod network_file;
pub mod pins;
pub mod plan;
pub mod record;
pub mod replay;
pub mod transaction;
pub mod upgrade;
pub mod validators;
pub mod words;
