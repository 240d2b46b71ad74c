#![doc = include_str!("../README.md")]

/// The messages, clients and servers of package `colearn.v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("colearn.v1");
}

/// The original package's learner server, package `contract_learn.grpc`: what `colearn bridge` speaks.
#[allow(missing_docs, clippy::all)]
pub mod legacy {
    tonic::include_proto!("contract_learn.grpc");
}

/// The package's file descriptors, encoded, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The metadata of a refused call that holds the number of the contract's broken rule.
pub const RULE_METADATA: &str = "colearn-rule";
