#![doc = include_str!("../README.md")]
#![cfg(unix)]

pub mod abci;
pub mod files;
pub mod keys;
pub mod process;
pub mod program;
pub mod rpc;
#[cfg(feature = "testing")]
pub mod testing;
