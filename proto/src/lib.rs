#![doc = include_str!("../README.md")]

/// The messages, clients and servers of package `colearn.v1`.
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
#[path = "generated/colearn.v1.rs"]
pub mod v1;

/// The original package's learner server, package `contract_learn.grpc`: what `colearn bridge` speaks.
#[cfg(feature = "legacy")]
#[allow(missing_docs, clippy::all)]
#[rustfmt::skip]
#[path = "generated/contract_learn.grpc.rs"]
pub mod legacy;

/// The package's file descriptors, encoded, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptors.bin");

/// The metadata of a refused call that holds the number of the contract's broken rule.
pub const RULE_METADATA: &str = "colearn-rule";

/// The metadata of a call that holds the latest version of the contract's rules that the caller knows, as a
/// decimal number; left out by programs that know only the first.
pub const CONTRACT_METADATA: &str = "colearn-contract";
