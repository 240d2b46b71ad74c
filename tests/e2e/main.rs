//! The whole of colearn with real parts: node processes, sockets, files and data.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alone;
mod artifacts;
mod attacks;
mod audit;
mod backup;
mod bridge;
mod chain;
mod consortium;
mod crash;
mod demo;
mod doors;
mod elsewhere;
mod encrypted;
#[cfg(unix)]
mod exec;
mod failover;
#[cfg(target_os = "linux")]
mod flow;
mod founding;
mod frozen;
#[cfg(target_os = "linux")]
mod full;
mod hostile;
mod init;
mod interop;
mod keys;
mod killed;
mod large;
mod learning;
mod members;
mod memory;
mod merged;
mod merges;
mod mirrors;
mod model;
mod network;
mod node;
mod operations;
mod packaging;
mod page;
mod partition;
mod places;
mod plots;
mod policy;
mod privacy;
mod promises;
mod proxy;
mod python;
mod reference;
mod report;
mod resync;
mod rights;
mod rounds;
mod scored;
mod scores;
mod support;
mod sweep;
mod terminal;
#[cfg(target_os = "linux")]
mod top;
mod transcript;
mod tutorials;
mod upgrade;
mod wire;
mod withheld;
