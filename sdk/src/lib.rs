#![doc = include_str!("../README.md")]

#[cfg(feature = "bridge")]
pub mod bridge;
pub mod client;
pub mod learner;
#[cfg(feature = "local")]
pub mod local;
