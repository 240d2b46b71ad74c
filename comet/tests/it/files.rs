//! What CometBFT is told.

use std::time::Duration;

use colearn_comet::files::{self, FilesError, Genesis, Settings};
use colearn_comet::process::Sockets;

fn genesis() -> Genesis {
    Genesis {
        chain_id: "colearn-0123456789abcdef0123456789abcdef".to_owned(),
        time_ms: 1_796_126_400_007,
        app_version: 2,
        validators: vec![("org-a".to_owned(), [1; 32]), ("org-b".to_owned(), [2; 32])],
    }
}

#[test]
fn the_genesis_is_the_same_at_every_validator() {
    let home = tempfile::tempdir().unwrap();
    let sockets = Sockets::create().unwrap();
    let settings = Settings::new("127.0.0.1:26656".parse().unwrap());
    files::write(home.path(), &genesis(), &settings, &sockets).unwrap();
    let written = std::fs::read_to_string(home.path().join("config/genesis.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(
        written,
        serde_json::json!({
            "genesis_time": "2026-12-01T12:00:00.007Z",
            "chain_id": "colearn-0123456789abcdef0123456789abcdef",
            "initial_height": "1",
            "consensus_params": {
                "block": { "max_bytes": "1048576", "max_gas": "-1" },
                "evidence": {
                    "max_age_num_blocks": "100000",
                    "max_age_duration": "172800000000000",
                    "max_bytes": "65536",
                },
                "validator": { "pub_key_types": ["ed25519"] },
                "version": { "app": "2" },
                "abci": { "vote_extensions_enable_height": "0" },
            },
            "validators": [
                {
                    "address": "72CD6E8422C407FB6D098690F1130B7DED7EC2F7",
                    "pub_key": {
                        "type": "tendermint/PubKeyEd25519",
                        "value": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
                    },
                    "power": "1",
                    "name": "org-a",
                },
                {
                    "address": "75877BB41D393B5FB8455CE60ECD8DDA001D0631",
                    "pub_key": {
                        "type": "tendermint/PubKeyEd25519",
                        "value": "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
                    },
                    "power": "1",
                    "name": "org-b",
                },
            ],
            "app_hash": "",
        })
    );
}

#[test]
fn the_configuration_says_what_is_not_the_default() {
    let home = tempfile::tempdir().unwrap();
    let sockets = Sockets::create().unwrap();
    let settings = Settings {
        external_address: Some("a.example:26656".to_owned()),
        persistent_peers: vec!["0a@b.example:26656".to_owned(), "0b@c.example:26656".to_owned()],
        block_interval: Duration::from_millis(1500),
        ..Settings::new("[::]:26656".parse().unwrap())
    };
    files::write(home.path(), &genesis(), &settings, &sockets).unwrap();
    let written = std::fs::read_to_string(home.path().join("config/config.toml")).unwrap();
    let run = sockets.abci().parent().unwrap().display().to_string();
    assert_eq!(
        written.replace(&run, "RUN"),
        r#"proxy_app = "unix://RUN/abci.sock"
abci = "socket"
filter_peers = true

[rpc]
laddr = "unix://RUN/rpc.sock"

[p2p]
laddr = "tcp://[::]:26656"
external_address = "a.example:26656"
persistent_peers = "0a@b.example:26656,0b@c.example:26656"
pex = false
addr_book_strict = false
allow_duplicate_ip = true
persistent_peers_max_dial_period = "5s"

[mempool]
size = 5000
max_tx_bytes = 66560
max_txs_bytes = 67108864
cache_size = 20000
recheck = false

[consensus]
timeout_propose = "1s"
timeout_commit = "1500ms"
create_empty_blocks = false
create_empty_blocks_interval = "60s"

[storage]
discard_abci_responses = true

[tx_index]
indexer = "null"
"#
    );
}

#[test]
fn a_chain_s_name_has_fifty_characters_at_most() {
    let home = tempfile::tempdir().unwrap();
    let sockets = Sockets::create().unwrap();
    let settings = Settings::new("127.0.0.1:26656".parse().unwrap());
    let named = |length| Genesis { chain_id: "x".repeat(length), ..genesis() };
    files::write(home.path(), &named(50), &settings, &sockets).unwrap();
    let refused = files::write(home.path(), &named(51), &settings, &sockets);
    assert!(matches!(refused, Err(FilesError::ChainId(_))));
}

#[test]
fn a_store_that_was_begun_and_not_made_is_begun_anew() {
    let home = tempfile::tempdir().unwrap();
    files::clear_unmade(home.path()).unwrap();
    let write = |name: &str| {
        let path = home.path().join("data").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "bytes").unwrap();
        path
    };
    let half = [write("state.db/MANIFEST-000000"), write("state.db/LOG")];
    let whole = [write("blockstore.db/CURRENT"), write("blockstore.db/MANIFEST-000000")];
    let other = [write("cs.wal/wal"), write("priv_validator_state.json")];
    for _ in 0..2 {
        files::clear_unmade(home.path()).unwrap();
        assert!(half.iter().all(|path| !path.exists()) && !half[0].parent().unwrap().exists());
        assert!(whole.iter().chain(&other).all(|path| path.exists()));
    }
}

#[test]
fn what_the_key_has_signed_last_is_not_forgotten_with_the_blocks() {
    let home = tempfile::tempdir().unwrap();
    let state = files::signed_last(home.path());
    std::fs::create_dir_all(home.path().join("data/blockstore.db")).unwrap();
    for file in ["data/blockstore.db/1.log", "data/state.json", "data/cs.wal"] {
        std::fs::write(home.path().join(file), "blocks").unwrap();
    }
    std::fs::write(&state, "signed").unwrap();
    // Once more, as after an interruption, it is the same.
    for there in [true, false] {
        assert_eq!(files::has_blocks(home.path()), there);
        files::set_blocks_aside(home.path(), &home.path().join("aside/blocks")).unwrap();
        let left: Vec<_> = std::fs::read_dir(home.path().join("data")).unwrap().collect();
        assert_eq!((left.len(), std::fs::read_to_string(&state).unwrap().as_str()), (1, "signed"));
        let moved = std::fs::read_to_string(home.path().join("aside/blocks/blockstore.db/1.log"));
        assert_eq!(moved.unwrap(), "blocks");
    }
}
