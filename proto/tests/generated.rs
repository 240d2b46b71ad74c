//! `src/generated` is what the `.proto` files say.
//!
//! The code is committed, so that building needs no compiler of `.proto` files. After a change to
//! one, `COLEARN_BLESS=1 cargo test -p colearn-proto` writes it anew.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;

const V1: [&str; 4] = [
    "colearn/v1/types.proto",
    "colearn/v1/ledger.proto",
    "colearn/v1/coordinator.proto",
    "colearn/v1/artifact.proto",
];
const LEGACY: [&str; 1] = ["legacy/grpc_learner.proto"];

#[test]
fn the_committed_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/generated");
    let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    generate(root, &V1, Some(&scratch.join("descriptors.bin")), &scratch);
    // Apart, so that reflection does not offer it: the node does not serve it.
    generate(root, &LEGACY, None, &scratch);
    for name in ["colearn.v1.rs", "contract_learn.grpc.rs", "descriptors.bin"] {
        let fresh = fs::read(scratch.join(name)).unwrap();
        if std::env::var_os("COLEARN_BLESS").is_some() {
            fs::write(committed.join(name), &fresh).unwrap();
        }
        assert!(
            fs::read(committed.join(name)).unwrap_or_default() == fresh,
            "{name} is not what the .proto files say; \
             `COLEARN_BLESS=1 cargo test -p colearn-proto` writes it anew"
        );
    }
}

/// Writes the code of some `.proto` files to `out`, and their descriptors where asked.
fn generate(root: &Path, files: &[&str], descriptors: Option<&Path>, out: &Path) {
    // Written in Rust, so that no `protoc` is needed.
    let compiled = protox::compile(files, [root]).unwrap();
    if let Some(path) = descriptors {
        let mut bare = compiled.clone();
        for file in &mut bare.file {
            // Comments and positions: most of the bytes, and reflection works without.
            file.source_code_info = None;
        }
        fs::write(path, bare.encode_to_vec()).unwrap();
    }
    tonic_prost_build::configure()
        // Byte fields as `Bytes`: decoding shares the request's buffer instead of copying it.
        .bytes(".")
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .out_dir(out)
        .compile_fds(compiled)
        .unwrap();
}
