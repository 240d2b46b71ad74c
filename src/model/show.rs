//! What is in a model's file.

use std::path::{Path, PathBuf};

use colearn_contracts::Digest;
use colearn_learning::Contents;
use colearn_sdk::learner::{SAFETENSORS, Weights};
use serde_json::{Value, json};

/// What a file looks like.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// Weights in the safetensors format.
    Safetensors(Contents),
    /// XGBoost's trees.
    XgboostUbj,
    /// A pickle: whoever loads it executes what its author wants.
    Pickle,
    /// Anything else.
    Other,
}

/// A model's file.
#[derive(Clone, PartialEq, Debug)]
pub struct Shown {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes: what the ledger knows it by.
    pub digest: Digest,
    /// What it looks like.
    pub kind: Kind,
}

/// Looks into a model's file, and executes nothing of it.
///
/// # Errors
/// If it cannot be read.
pub fn show(path: &Path) -> std::io::Result<Shown> {
    let weights = Weights::new(std::fs::read(path)?);
    let kind = Kind::of(&weights);
    let (size, digest) = (weights.bytes().len() as u64, weights.digest());
    Ok(Shown { path: path.to_owned(), size, digest, kind })
}

impl Kind {
    fn of(weights: &Weights) -> Self {
        if let Ok(contents) = Contents::of(weights) {
            return Self::Safetensors(contents);
        }
        match &weights.bytes()[..] {
            // The first key of its object is always this.
            [b'{', b'L', _, _, _, _, _, _, _, _, b'l', b'e', b'a', b'r', b'n', b'e', b'r', ..] => {
                Self::XgboostUbj
            }
            [0x80, 2..=5, .., b'.'] => Self::Pickle,
            _ => Self::Other,
        }
    }

    /// The media type that such a file has in a ledger; `None` where that cannot be told.
    pub fn media_type(&self) -> Option<&'static str> {
        match self {
            Self::Safetensors(_) => Some(SAFETENSORS),
            Self::XgboostUbj => Some("application/x-xgboost-ubj"),
            Self::Pickle => Some(colearn_sdk::bridge::LEGACY),
            Self::Other => None,
        }
    }
}

impl Shown {
    /// As JSON for programs.
    pub fn to_json(&self) -> Value {
        let mut told = json!({
            "file": self.path,
            "size": self.size,
            "digest": self.digest.to_string(),
            "media_type": self.kind.media_type(),
        });
        if let Kind::Safetensors(contents) = &self.kind {
            let tensors = contents.tensors.iter();
            let tensors =
                tensors.map(|it| json!({ "name": it.name, "type": it.kind, "shape": it.shape }));
            told["parameters"] = contents.parameters().into();
            told["tensors"] = tensors.collect();
            told["metadata"] = json!(contents.metadata);
            told["model"] = match &contents.model {
                Some(Ok(spec)) => json!({
                    "layers": spec.widths(),
                    "activation": spec.activation,
                    "schema": spec.schema,
                }),
                Some(Err(_)) | None => Value::Null,
            };
            let error = contents.model.as_ref().and_then(|model| model.as_ref().err());
            told["error"] = error.map(ToString::to_string).into();
        }
        told
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_by_its_bytes_and_never_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let shown = |bytes: &[u8]| {
            let path = dir.path().join("file");
            std::fs::write(&path, bytes).unwrap();
            show(&path).unwrap()
        };
        let pickle = shown(b"\x80\x04K*.");
        assert_eq!((&pickle.kind, pickle.size), (&Kind::Pickle, 5));
        assert_eq!(pickle.to_json()["tensors"], Value::Null);
        assert_eq!(shown(b"{L\0\0\0\0\0\0\0\x07learner{").kind, Kind::XgboostUbj);
        assert_eq!((shown(b"").kind, shown(b"{}").kind), (Kind::Other, Kind::Other));
        assert!(show(&dir.path().join("none")).is_err());
    }
}
