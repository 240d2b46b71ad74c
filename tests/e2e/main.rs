//! The whole of colearn with real parts: node processes, sockets, files and data.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attacks;
mod audit;
mod bridge;
mod consortium;
mod crash;
mod demo;
mod frozen;
mod interop;
mod keys;
mod learning;
mod members;
mod memory;
mod merged;
mod node;
mod privacy;
mod promises;
mod proxy;
mod python;
mod rounds;
mod support;
mod sweep;
mod terminal;
mod transcript;
mod upgrade;
mod wire;
