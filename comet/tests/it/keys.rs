//! Keys, in files that are CometBFT's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use colearn_comet::files::address;
use colearn_comet::keys::{ConsensusKey, KeyError, NodeKey};
use ed25519_dalek::{Signature, VerifyingKey};

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn keys_are_made_once_and_are_their_owners() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().join("comet");
    let consensus = ConsensusKey::create_or_open(&home).unwrap();
    let node = NodeKey::create_or_open(&home).unwrap();
    assert_eq!(ConsensusKey::create_or_open(&home).unwrap().public_key(), consensus.public_key());
    assert_eq!(NodeKey::create_or_open(&home).unwrap().id(), node.id());
    let files = [
        "config/priv_validator_key.json",
        "config/node_key.json",
        "data/priv_validator_state.json",
    ];
    for file in files {
        assert_eq!(
            home.join(file).metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{file}"
        );
    }
    let file = json(&home.join(files[0]));
    assert_eq!(file["address"], hex::encode_upper(address(&consensus.public_key())));
    assert_eq!(file["pub_key"]["type"], "tendermint/PubKeyEd25519");
    assert_eq!(file["priv_key"]["type"], "tendermint/PrivKeyEd25519");
    assert_eq!(
        json(&home.join(files[2])),
        serde_json::json!({ "height": "0", "round": 0, "step": 0 })
    );
    assert_eq!(node.id().len(), 40);
}

#[test]
fn what_was_signed_last_is_not_forgotten() {
    let home = tempfile::tempdir().unwrap();
    let key = ConsensusKey::create_or_open(home.path()).unwrap();
    let state = home.path().join("data/priv_validator_state.json");
    std::fs::write(&state, "what CometBFT has written").unwrap();
    ConsensusKey::create_or_open(home.path()).unwrap();
    assert_eq!(std::fs::read(&state).unwrap(), b"what CometBFT has written");
    // Gone, it is made again, and the key stays.
    std::fs::remove_file(&state).unwrap();
    assert_eq!(ConsensusKey::create_or_open(home.path()).unwrap().public_key(), key.public_key());
    assert_eq!(json(&state)["height"], "0");
}

#[test]
fn signatures_verify() {
    let home = tempfile::tempdir().unwrap();
    let key = ConsensusKey::create_or_open(home.path()).unwrap();
    let public = VerifyingKey::from_bytes(&key.public_key()).unwrap();
    public.verify_strict(b"mine", &Signature::from_bytes(&key.sign(b"mine"))).unwrap();
}

#[test]
fn what_is_no_key_is_told_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    NodeKey::create_or_open(home.path()).unwrap();
    let path = home.path().join("config/node_key.json");
    let good = std::fs::read_to_string(&path).unwrap();
    let value = json(&path)["priv_key"]["value"].as_str().unwrap().to_owned();
    for bad in [
        String::new(),
        "{}".to_owned(),
        good.replace("Ed25519", "Secp256k1"),
        good.replace(&value, "!"),
        good.replace(&value, "AAAA"),
        // Halves of two keys.
        good.replace(&value[..8], "AAAAAAAA"),
    ] {
        std::fs::write(&path, &bad).unwrap();
        let error = NodeKey::create_or_open(home.path()).unwrap_err();
        assert!(matches!(error, KeyError::Invalid { .. }), "{bad}: {error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
    }
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(NodeKey::create_or_open(home.path()), Err(KeyError::Read { .. })));
}
