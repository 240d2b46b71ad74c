#![doc = include_str!("../README.md")]
#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]
#![deny(unsafe_code)]

pub mod call;
pub mod contract;
mod error;
#[cfg(target_arch = "wasm32")]
mod exports;
pub mod messages;
mod state;
mod storage;

pub use error::Error;
