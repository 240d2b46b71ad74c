//! Compiles the `.proto` files with a compiler written in Rust, so that no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "colearn/v1/types.proto",
        "colearn/v1/ledger.proto",
        "colearn/v1/coordinator.proto",
        "colearn/v1/artifact.proto",
    ];
    println!("cargo::rerun-if-changed=colearn");
    println!("cargo::rerun-if-changed=legacy");
    let descriptors = protox::compile(files, ["."])?;
    let out: PathBuf = std::env::var("OUT_DIR")?.into();
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // Byte fields as `Bytes`: decoding shares the request's buffer instead of copying it.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    // Apart, so that reflection does not offer it: the node does not serve it.
    let legacy = protox::compile(["legacy/grpc_learner.proto"], ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(legacy)?;
    Ok(())
}
