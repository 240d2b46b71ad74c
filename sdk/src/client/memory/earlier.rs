//! Folders of the first version: one file, `learner.json`, and `receipts/`.

use std::path::Path;

use colearn_contracts::LearnerId;
use serde::Deserialize;

use super::turns::{Signed, any_sealed, transaction, write_signed};
use super::{Bound, FILE, damaged, data, experiment_folder};
use crate::client::ClientError;
use crate::participant::Turn;

const EARLIER: &str = "learner.json";

#[derive(Deserialize)]
struct Remembered {
    ledger_id: Option<String>,
    signed: Option<String>,
    sealed: Option<String>,
}

/// Moves a folder of the first version to where it is now, unless it is another key's, as far as can be
/// told: then this key begins anew.
pub(super) fn move_here(from: &Path, to: &Path, key: LearnerId) -> Result<(), ClientError> {
    if from == to || to.exists() || !from.join(EARLIER).exists() {
        return Ok(());
    }
    let remembered = read(from)?;
    let signed = remembered.signed.as_deref().and_then(transaction);
    if signed.is_some_and(|signed| signed.sender != key) {
        return Ok(());
    }
    colearn_files::rename(from, to).map_err(|error| data(from, error))
}

/// Takes over what the first version remembered. At whatever step it ends, it can be begun again.
pub(super) fn take_over(dir: &Path, key: LearnerId) -> Result<(), ClientError> {
    let earlier = dir.join(EARLIER);
    if dir.join(FILE).exists() || !earlier.exists() {
        return Ok(());
    }
    let remembered = read(dir)?;
    let unreadable = || damaged(&earlier, "what was signed cannot be read");
    if let Some(hex) = &remembered.signed {
        let signed = transaction(hex).ok_or_else(unreadable)?;
        if signed.sender != key {
            let (dir, owner) = (dir.to_owned(), signed.sender.to_string());
            return Err(ClientError::ForeignMemory { dir, owner, key });
        }
        let experiment = &signed.action.experiment;
        let of_it = |hex: &&String| any_sealed(hex).is_some_and(|(of, _)| of == *experiment);
        let sealed = remembered.sealed.as_ref().filter(of_it).cloned();
        let kept = match Turn::of(&signed.action) {
            Some(Turn::Propose { .. }) => {
                Signed { turn: Some(hex.clone()), sealed, ..Signed::default() }
            }
            Some(Turn::Vote { .. } | Turn::Merge { .. }) => {
                Signed { ballot: Some(hex.clone()), sealed, ..Signed::default() }
            }
            None => Signed { sealed, ..Signed::default() },
        };
        let folder = experiment_folder(dir, experiment);
        colearn_files::create_folder(&folder).map_err(|error| data(&folder, error))?;
        write_signed(&folder, &kept)?;
    }
    let bound = Bound { keys: vec![key.to_string()], ledger: remembered.ledger_id };
    let path = dir.join(FILE);
    let json = serde_json::to_vec_pretty(&bound);
    let json = json.map_err(|error| damaged(&path, &error.to_string()))?;
    colearn_files::replace_secret(&path, &json).map_err(|error| data(&path, error))?;
    // From here on it would only say what was once.
    std::fs::remove_file(&earlier).map_err(|source| ClientError::Data { path: earlier, source })
}

fn read(dir: &Path) -> Result<Remembered, ClientError> {
    let path = dir.join(EARLIER);
    let bytes =
        std::fs::read(&path).map_err(|source| ClientError::Data { path: path.clone(), source })?;
    serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &error.to_string()))
}
