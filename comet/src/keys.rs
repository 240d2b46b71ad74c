//! The keys of a validator, in the files and the format in which CometBFT keeps them.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use crate::files::{address, in_config, signed_last};

/// The key that a validator signs blocks and votes with.
#[derive(Debug)]
pub struct ConsensusKey(SigningKey);

/// The key by which a node is known to its peers. It signs nothing that lasts.
#[derive(Debug)]
pub struct NodeKey(SigningKey);

impl ConsensusKey {
    /// The key of a home folder; made, once, where there is none. What the key has signed last is kept
    /// beside it by CometBFT, and begins with nothing.
    ///
    /// # Errors
    /// If the file cannot be read or made, or is no such key.
    pub fn create_or_open(home: &Path) -> Result<Self, KeyError> {
        let path = in_config(home, "priv_validator_key.json");
        let state = signed_last(home);
        let known = path.exists();
        if !state.exists() {
            if known {
                tracing::warn!(
                    file = %state.display(),
                    "what the consensus key has signed last is not known; \
                     where another machine has the key too, stop that one first"
                );
            }
            // Before the key, so that there is never a key without it.
            create(&state, &serde_json::json!({ "height": "0", "round": 0, "step": 0 }))?;
        }
        let key = create_or_open(&path, |key| {
            let public = key.verifying_key().to_bytes();
            serde_json::json!({
                "address": hex::encode_upper(address(&public)),
                "pub_key": Typed::public(&public),
                "priv_key": Typed::private(key),
            })
        })?;
        Ok(Self(key))
    }

    /// What others verify its signatures with.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs what is no block and no vote: the caller's messages begin with words of their own.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl NodeKey {
    /// The key of a home folder; made, once, where there is none.
    ///
    /// # Errors
    /// If the file cannot be read or made, or is no such key.
    pub fn create_or_open(home: &Path) -> Result<Self, KeyError> {
        let key = create_or_open(
            &in_config(home, "node_key.json"),
            |key| serde_json::json!({ "priv_key": Typed::private(key) }),
        )?;
        Ok(Self(key))
    }

    /// What the node is called in peers' addresses: 40 hexadecimal digits, `ID@HOST:PORT`.
    pub fn id(&self) -> String {
        hex::encode(address(&self.0.verifying_key().to_bytes()))
    }
}

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] colearn_files::Error),
    /// The file holds something else.
    #[error("{} is no Ed25519 key of CometBFT's ({why}): put the right file there", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A key as CometBFT writes it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Typed {
    r#type: String,
    value: String,
}

impl Typed {
    pub(crate) fn public(key: &[u8; 32]) -> Self {
        Self { r#type: "tendermint/PubKeyEd25519".to_owned(), value: BASE64.encode(key) }
    }

    /// The seed and then the public key: 64 bytes, as in Go.
    fn private(key: &SigningKey) -> Self {
        Self { r#type: PRIVATE.to_owned(), value: BASE64.encode(key.to_keypair_bytes()) }
    }
}

const PRIVATE: &str = "tendermint/PrivKeyEd25519";

fn create_or_open(
    path: &Path,
    file: impl Fn(&SigningKey) -> serde_json::Value,
) -> Result<SigningKey, KeyError> {
    match std::fs::read(path) {
        Ok(bytes) => parse(&bytes).map_err(|why| KeyError::Invalid { path: path.to_owned(), why }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(KeyError::Random)?;
            let key = SigningKey::from_bytes(&seed);
            create(path, &file(&key))?;
            Ok(key)
        }
        Err(source) => Err(KeyError::Read { path: path.to_owned(), source }),
    }
}

fn parse(bytes: &[u8]) -> Result<SigningKey, &'static str> {
    #[derive(Deserialize)]
    struct File {
        priv_key: Typed,
    }
    let file: File = serde_json::from_slice(bytes).map_err(|_| "it has no priv_key")?;
    if file.priv_key.r#type != PRIVATE {
        return Err("its key is of another type");
    }
    let pair = BASE64.decode(&file.priv_key.value).map_err(|_| "its key is not base64")?;
    let pair: [u8; 64] = pair.try_into().map_err(|_| "its key has not 64 bytes")?;
    SigningKey::from_keypair_bytes(&pair).map_err(|_| "its two halves do not belong together")
}

fn create(path: &Path, file: &serde_json::Value) -> Result<(), KeyError> {
    if let Some(folder) = path.parent() {
        colearn_files::create_folder(folder)?;
    }
    Ok(colearn_files::create_secret(path, format!("{file:#}").as_bytes())?)
}
