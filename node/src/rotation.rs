//! Changing the key that signs the ledger's checkpoints.

use std::path::Path;

use colearn_ledger::Verifiers;
use colearn_records::log_keys::KeyChange;
use colearn_records::{keys, log_keys, record};

use crate::clock;
use crate::config::{Config, Progress};
use crate::error::NodeError;
use crate::key_files::KeyFiles;
use crate::open::{OpenLedger, open, signer};

/// A completed change of the key.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The entry that records it.
    pub index: u64,
    /// The key until then.
    pub from: Verifiers,
    /// The key from then on.
    pub to: Verifiers,
}

/// Changes the key that signs the ledger's checkpoints: makes a new one, records the change signed
/// by both, and puts the new key file in place. The old one stays beside it and goes on signing
/// too, so that readers and witnesses that know only that one have time; with `drop_old` it is
/// deleted at once. Interrupted at any point, the next start or the next try completes it.
/// `progress` is told how far the index is rebuilt, where that is needed.
///
/// # Errors
/// If a node has the folder open, or it cannot be opened or written.
pub fn rotate_key(
    data: &Path,
    drop_old: bool,
    progress: Option<Progress>,
) -> Result<Rotated, NodeError> {
    let config = Config { progress, ..Config::new(data) };
    if !data.join("ledger").is_dir() {
        return Err(NodeError::Genesis(data.to_owned()));
    }
    let files = KeyFiles::of(data);
    let OpenLedger { keeper, keys, .. } = open(&config, None)?.alone()?;
    let mut ledger = keeper.into_ledger();
    let from = keys.current().clone();
    // What an interrupted try has left is used: it may be recorded already.
    let (old, new) = (keys::load(&files.current)?, keys::load_or_create(&files.next)?);
    let rotation = log_keys::sign(&keys.ledger(), &old, &new);
    let mut after = keys.clone();
    let index = ledger.head().size;
    let change = KeyChange::Rotation(rotation.clone());
    after.follow(index, &change).map_err(|source| NodeError::Rotation { index, source })?;
    ledger.append(
        clock::now_ms(),
        record::rotation_payload(&rotation),
        vec![record::KEY_CHANGES.to_vec()],
    )?;
    // Both sign the checkpoint that first covers the change, and only then do the files change
    // places: at no moment is there a checkpoint that none of the files can verify.
    ledger.set_signers(signer(from.name(), new)?, vec![signer(from.name(), old)?]);
    ledger.commit()?;
    files.install_next()?;
    if drop_old {
        files.drop_old()?;
    }
    Ok(Rotated { index, from, to: after.current().clone() })
}
