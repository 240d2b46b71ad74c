//! The files that tell CometBFT what to do: `genesis.json` and `config.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::keys::Typed;
use crate::process::Sockets;

/// After this long without a block one is made though there is nothing to put into it.
pub const HEARTBEAT: Duration = Duration::from_secs(60);
/// The most bytes of evidence in a block. A validator can make as much as it wants against itself, and must not
/// fill blocks with it.
const MAX_EVIDENCE_BYTES: u32 = 64 << 10;
/// The most bytes of transactions in a block.
pub const MAX_BLOCK_BYTES: u32 = 1 << 20;
/// The longest transaction.
pub const MAX_TX_BYTES: u32 = 66_560;
/// The longest name of a chain.
pub const MAX_CHAIN_ID: usize = 50;

/// How a chain begins. The same at every validator, to the byte that matters.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// The chain's name, of at most [`MAX_CHAIN_ID`] characters.
    pub chain_id: String,
    /// When it begins; CometBFT waits for that.
    pub time_ms: u64,
    /// The application's version at the beginning.
    pub app_version: u64,
    /// Who signs: names, and consensus keys. Each counts the same.
    pub validators: Vec<(String, [u8; 32])>,
}

/// What is one node's own.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens for its peers.
    pub p2p_listen: SocketAddr,
    /// Where its peers reach it, `HOST:PORT`, if that is somewhere else.
    pub external_address: Option<String>,
    /// Whom it calls, and calls again: `ID@HOST:PORT`.
    pub persistent_peers: Vec<String>,
    /// How long is waited after a block for late votes and more transactions.
    pub block_interval: Duration,
}

impl Settings {
    /// What a network of organisations begins with, at an address to listen at.
    pub fn new(p2p_listen: SocketAddr) -> Self {
        Self {
            p2p_listen,
            external_address: None,
            persistent_peers: Vec::new(),
            block_interval: Duration::from_millis(200),
        }
    }
}

/// Writes `genesis.json` and `config.toml` into a home folder, whatever was there.
///
/// # Errors
/// If one cannot be written, or cannot say what it should.
pub fn write(
    home: &Path,
    genesis: &Genesis,
    settings: &Settings,
    sockets: &Sockets,
) -> Result<(), FilesError> {
    if genesis.chain_id.chars().count() > MAX_CHAIN_ID {
        return Err(FilesError::ChainId(genesis.chain_id.clone()));
    }
    let config = config(settings, sockets)?;
    colearn_files::create_folder(&home.join("config"))?;
    let genesis = format!("{:#}", genesis.to_json());
    colearn_files::replace(&in_config(home, "genesis.json"), genesis.as_bytes())?;
    Ok(colearn_files::replace(&in_config(home, "config.toml"), config.as_bytes())?)
}

impl Genesis {
    /// Numbers of 64 bits are strings in Go's dialect of JSON.
    fn to_json(&self) -> serde_json::Value {
        let text = |number: u64| number.to_string();
        let validator = |(name, key): &(String, [u8; 32])| {
            json!({
                "address": hex::encode_upper(address(key)),
                "pub_key": Typed::public(key),
                "power": "1",
                "name": name,
            })
        };
        let time = UNIX_EPOCH + Duration::from_millis(self.time_ms);
        json!({
            "genesis_time": humantime::format_rfc3339_millis(time).to_string(),
            "chain_id": self.chain_id,
            "initial_height": "1",
            "consensus_params": {
                "block": { "max_bytes": text(MAX_BLOCK_BYTES.into()), "max_gas": "-1" },
                // How long a fault may be told after it: CometBFT's own defaults, two days.
                "evidence": {
                    "max_age_num_blocks": "100000",
                    "max_age_duration": "172800000000000",
                    "max_bytes": text(MAX_EVIDENCE_BYTES.into()),
                },
                "validator": { "pub_key_types": ["ed25519"] },
                "version": { "app": text(self.app_version) },
                "abci": { "vote_extensions_enable_height": "0" },
            },
            "validators": self.validators.iter().map(validator).collect::<Vec<_>>(),
            "app_hash": "",
        })
    }
}

/// What is not CometBFT's default, and only that.
fn config(settings: &Settings, sockets: &Sockets) -> Result<String, FilesError> {
    #[derive(Serialize)]
    struct Config<'a> {
        proxy_app: String,
        abci: &'a str,
        /// The application is asked whether a peer may be one.
        filter_peers: bool,
        rpc: Rpc,
        p2p: P2p<'a>,
        mempool: Mempool,
        consensus: Consensus<'a>,
        storage: Storage,
        tx_index: TxIndex<'a>,
    }
    #[derive(Serialize)]
    struct Rpc {
        laddr: String,
    }
    #[derive(Serialize)]
    struct P2p<'a> {
        laddr: String,
        external_address: &'a str,
        persistent_peers: String,
        /// Who the peers are is known; nobody else is looked for.
        pex: bool,
        addr_book_strict: bool,
        allow_duplicate_ip: bool,
        persistent_peers_max_dial_period: &'a str,
    }
    #[derive(Serialize)]
    struct Mempool {
        size: u32,
        max_tx_bytes: u32,
        max_txs_bytes: u32,
        cache_size: u32,
        /// What `CheckTx` looks at does not change from block to block.
        recheck: bool,
    }
    #[derive(Serialize)]
    struct Consensus<'a> {
        timeout_propose: &'a str,
        timeout_commit: String,
        create_empty_blocks: bool,
        /// A heartbeat, which bounds how old the time of an idle chain is.
        create_empty_blocks_interval: String,
    }
    #[derive(Serialize)]
    struct Storage {
        discard_abci_responses: bool,
    }
    #[derive(Serialize)]
    struct TxIndex<'a> {
        indexer: &'a str,
    }
    let config = Config {
        proxy_app: unix(&sockets.abci())?,
        abci: "socket",
        filter_peers: true,
        rpc: Rpc { laddr: unix(&sockets.rpc())? },
        p2p: P2p {
            laddr: format!("tcp://{}", settings.p2p_listen),
            external_address: settings.external_address.as_deref().unwrap_or_default(),
            persistent_peers: settings.persistent_peers.join(","),
            pex: false,
            addr_book_strict: false,
            allow_duplicate_ip: true,
            persistent_peers_max_dial_period: "5s",
        },
        mempool: Mempool {
            size: 5000,
            max_tx_bytes: MAX_TX_BYTES,
            max_txs_bytes: 64 << 20,
            cache_size: 20_000,
            recheck: false,
        },
        consensus: Consensus {
            timeout_propose: "1s",
            timeout_commit: format!("{}ms", settings.block_interval.as_millis()),
            create_empty_blocks: false,
            create_empty_blocks_interval: format!("{}s", HEARTBEAT.as_secs()),
        },
        storage: Storage { discard_abci_responses: true },
        tx_index: TxIndex { indexer: "null" },
    };
    Ok(toml::to_string(&config)?)
}

/// A socket's path as CometBFT takes it.
fn unix(socket: &Path) -> Result<String, FilesError> {
    let path = socket.to_str().ok_or_else(|| FilesError::NotText(socket.to_owned()))?;
    Ok(format!("unix://{path}"))
}

/// Why the files cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] colearn_files::Error),
    /// A chain's name is too long.
    #[error("the chain id {0:?} has more than {MAX_CHAIN_ID} characters")]
    ChainId(String),
    /// A path that CometBFT could not be told.
    #[error("{} is not UTF-8, and cannot stand in config.toml: use another folder", .0.display())]
    NotText(PathBuf),
    /// What is stored cannot be moved.
    #[error("cannot set {} aside: {source}", path.display())]
    Aside {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The settings cannot be told in TOML.
    #[error("cannot write config.toml: {0}")]
    Toml(#[from] toml::ser::Error),
}

/// The address of a public key, by which blocks name validators.
pub fn address(public_key: &[u8; 32]) -> [u8; 20] {
    let mut address = [0; 20];
    address.copy_from_slice(&Sha256::digest(public_key)[..20]);
    address
}

pub(crate) fn in_config(home: &Path, name: &str) -> PathBuf {
    home.join("config").join(name)
}

/// Where CometBFT keeps what its key has signed last. Without it the key could sign two blocks of one height.
pub fn signed_last(home: &Path) -> PathBuf {
    home.join("data").join(SIGNED_LAST)
}

const SIGNED_LAST: &str = "priv_validator_state.json";

/// Whether CometBFT has stored blocks in a home folder.
pub fn has_blocks(home: &Path) -> bool {
    home.join("data").join("blockstore.db").exists()
}

/// Moves all that CometBFT has stored in a home folder, which must not be in use, into another folder of the same
/// disk, but for what its key has signed last. It fetches all blocks again then.
///
/// # Errors
/// If something cannot be moved; the next try goes on.
pub fn set_blocks_aside(home: &Path, aside: &Path) -> Result<(), FilesError> {
    let data = home.join("data");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FilesError::Aside { path, source }
    };
    colearn_files::create_folder(aside)?;
    for file in std::fs::read_dir(&data).map_err(failed(&data))? {
        let file = file.map_err(failed(&data))?;
        let path = file.path();
        if file.file_name() == SIGNED_LAST {
            continue;
        }
        std::fs::rename(&path, aside.join(file.file_name())).map_err(failed(&path))?;
    }
    colearn_files::sync_folder(aside)?;
    Ok(colearn_files::sync_folder(&data)?)
}

/// Removes what of CometBFT's stores was begun and not made: a store is there with its `CURRENT`, which comes last, and
/// without it but with others of its files CometBFT refuses to start, for ever. For a home folder whose chain has
/// recorded nothing yet, which must not be in use.
///
/// # Errors
/// If something cannot be removed.
pub fn clear_unmade(home: &Path) -> Result<(), FilesError> {
    let data = home.join("data");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FilesError::Aside { path, source }
    };
    let files = match std::fs::read_dir(&data) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        files => files.map_err(failed(&data))?,
    };
    for file in files {
        let path = file.map_err(failed(&data))?.path();
        let is_store = path.extension().is_some_and(|it| it == "db") && path.is_dir();
        if is_store && !path.join("CURRENT").exists() {
            std::fs::remove_dir_all(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}
