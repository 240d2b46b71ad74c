//! What an operator does to a node of several, beside running it.

mod found;
mod import;
mod resync;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use colearn_comet::keys::{ConsensusKey, NodeKey};
use colearn_proto::v1;
use colearn_records::keys;
use colearn_records::record;
use colearn_records::transaction::LedgerId;
use colearn_records::validators::{self, BadValidator, Validator};
use ed25519_dalek::{Signer as _, SigningKey};

use crate::error::{CometError, NodeError};
use crate::https;
use crate::key_files::KeyFiles;

pub use self::found::{FoundError, found};
pub use self::import::{ImportError, Imported, Next, ahead, import};
pub use self::resync::{Needs, ResyncError, Resynced, Signed, resync};

/// How long another node may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest answer.
const MAX_BYTES: usize = 1 << 20;

/// Why a node cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Its folder or keys.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What was asked for.
    #[error(transparent)]
    Invalid(#[from] BadValidator),
}

/// Describes the node of a folder, where its keys are made if they are not there: `p2p` is where the others'
/// nodes reach it, `HOST:PORT`, and `url` where everybody does. Nothing of it is secret.
///
/// # Errors
/// If a key cannot be read or made, or the description would be none.
pub fn identity(
    data: &Path,
    name: &str,
    p2p: &str,
    url: &str,
) -> Result<v1::Validator, IdentityError> {
    std::fs::create_dir_all(data)
        .map_err(|source| NodeError::Io { doing: format!("create {}", data.display()), source })?;
    let key = keys::load_or_create(&KeyFiles::of(data).current).map_err(NodeError::from)?;
    let home = data.join("comet");
    let consensus =
        ConsensusKey::create_or_open(&home).map_err(CometError::from).map_err(NodeError::from)?;
    let node = NodeKey::create_or_open(&home).map_err(CometError::from).map_err(NodeError::from)?;
    let mut message = v1::Validator {
        name: name.to_owned(),
        log_public_key: Bytes::copy_from_slice(key.verifying_key().as_bytes()),
        consensus_public_key: Bytes::copy_from_slice(&consensus.public_key()),
        p2p: format!("{}@{p2p}", node.id()),
        url: url.trim_end_matches('/').to_owned(),
        ..v1::Validator::default()
    };
    let signed = validators::possession(&message);
    message.log_signature = Bytes::copy_from_slice(&key.sign(&signed).to_bytes());
    message.consensus_signature = Bytes::copy_from_slice(&consensus.sign(&signed));
    Ok(Validator::read(message)?.message().clone())
}

/// The file with the key by which the node of a folder is known.
pub fn own_key(data: &Path) -> std::path::PathBuf {
    KeyFiles::of(data).current
}

/// Has the node of a folder consent to a change.
///
/// # Errors
/// If its key cannot be read.
pub fn approve(
    data: &Path,
    ledger: &LedgerId,
    change: &mut v1::ValidatorChange,
) -> Result<(), NodeError> {
    let key: SigningKey = keys::load(&KeyFiles::of(data).current)?;
    validators::approve(ledger, &key, change);
    Ok(())
}

/// What a node says of itself and the others, as JSON (`GET /network`).
///
/// # Errors
/// What went wrong, for people.
pub async fn status(url: &str) -> Result<String, String> {
    get(url, "/network").await
}

/// The checkpoint that a node shows, not verified.
///
/// # Errors
/// What went wrong, for people.
pub async fn checkpoint(url: &str) -> Result<String, String> {
    get(url, "/checkpoint").await
}

/// Has a change recorded; answers what the node answers, as JSON.
///
/// # Errors
/// What went wrong, for people.
pub async fn submit(url: &str, change: &v1::ValidatorChange) -> Result<String, String> {
    let server = https::one(url, TIMEOUT).map_err(|error| error.to_string())?;
    let body = record::validator_change_payload(change);
    let answer = server.post("/validator-change", body.into(), MAX_BYTES).await;
    answer.map_err(|error| error.to_string())?.text()
}

async fn get(url: &str, path: &str) -> Result<String, String> {
    let server = https::one(url, TIMEOUT).map_err(|error| error.to_string())?;
    server.get(path, MAX_BYTES).await.map_err(|error| error.to_string())?.text()
}
