//! What is in a model's file.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use colearn_contracts::{Digest, MAX_WEIGHTS_BYTES};
use colearn_learning::{Contents, Tensor};
use colearn_sdk::learner::SAFETENSORS;
use serde_json::{Value, json};

/// What a file looks like.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// Weights in the safetensors format.
    Safetensors(Contents),
    /// XGBoost's trees.
    XgboostUbj,
    /// LightGBM's trees.
    LightgbmText,
    /// A pickle: whoever loads it executes what its author wants.
    Pickle,
    /// A ZIP archive, as PyTorch and NumPy write them: it may hold a pickle.
    Zip,
    /// A model that only members can read.
    Encrypted,
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

/// Looks into a model's file, and executes nothing of it. It is read once for its digest, and its header again:
/// never all of it at once.
///
/// # Errors
/// If it is no file, larger than weights can be, or cannot be read.
pub fn show(path: &Path) -> io::Result<Shown> {
    let refused = |told: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, told));
    // Before it is opened, which of a pipe would wait for whoever writes.
    if !std::fs::metadata(path)?.is_file() {
        return refused("it is no regular file");
    }
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return refused("it is no regular file");
    }
    let size = found.len();
    if size > MAX_WEIGHTS_BYTES {
        return refused("it is larger than weights can be");
    }
    let digest = Digest(colearn_merge::digest(&file)?);
    let kind = Kind::of(&mut file, size)?;
    Ok(Shown { path: path.to_owned(), size, digest, kind })
}

impl Kind {
    fn of(file: &mut File, size: u64) -> io::Result<Self> {
        if colearn_encrypted::is_encrypted(file)? {
            return Ok(Self::Encrypted);
        }
        file.rewind()?;
        if let Ok(contents) = Contents::read(&mut BufReader::new(&mut *file), size)? {
            return Ok(Self::Safetensors(contents));
        }
        file.rewind()?;
        let mut beginning = Vec::new();
        file.take(17).read_to_end(&mut beginning)?;
        Ok(match &beginning[..] {
            // The first key of its object is always this.
            [b'{', b'L', _, _, _, _, _, _, _, _, b'l', b'e', b'a', b'r', b'n', b'e', b'r', ..] => {
                Self::XgboostUbj
            }
            // A line of its own.
            [b't', b'r', b'e', b'e', b'\n', b'v', b'e', b'r', b's', b'i', b'o', b'n', b'=', ..] => {
                Self::LightgbmText
            }
            // What comes after its end does not keep it from being loaded.
            [0x80, 2..=5, ..] => Self::Pickle,
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            _ => Self::Other,
        })
    }

    /// The media type that such a file has in a ledger; `None` where that cannot be told.
    pub fn media_type(&self) -> Option<&'static str> {
        match self {
            Self::Safetensors(_) => Some(SAFETENSORS),
            Self::XgboostUbj => Some("application/x-xgboost-ubj"),
            Self::LightgbmText => Some("text/x-lightgbm"),
            Self::Pickle => Some(colearn_sdk::bridge::LEGACY),
            Self::Zip | Self::Encrypted | Self::Other => None,
        }
    }
}

impl Shown {
    /// As JSON for programs.
    pub fn to_json(&self) -> Value {
        let contents = match &self.kind {
            Kind::Safetensors(contents) => Some(contents),
            Kind::XgboostUbj
            | Kind::LightgbmText
            | Kind::Pickle
            | Kind::Zip
            | Kind::Encrypted
            | Kind::Other => None,
        };
        let tensors = contents.map(|contents| {
            let tensors = contents.tensors.iter();
            let told = |it: &Tensor| json!({ "name": it.name, "type": it.kind, "shape": it.shape });
            tensors.map(told).collect::<Vec<_>>()
        });
        let model = contents.and_then(|contents| contents.model.as_ref());
        let spec = model.and_then(|model| model.as_ref().ok());
        json!({
            "file": self.path,
            "size": self.size,
            "digest": self.digest.to_string(),
            "media_type": self.kind.media_type(),
            "parameters": contents.map(Contents::parameters),
            "tensors": tensors,
            "metadata": contents.map(|contents| &contents.metadata),
            "model": spec.map(|spec| json!({
                "layers": spec.widths(),
                "activation": spec.activation,
                "schema": spec.schema,
            })),
            "error": model.and_then(|model| model.as_ref().err()).map(ToString::to_string),
        })
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
        let trees = shown(b"tree\nversion=v4\nnum_class=1\n");
        assert_eq!(
            (&trees.kind, trees.kind.media_type()),
            (&Kind::LightgbmText, Some("text/x-lightgbm"))
        );
        assert_eq!((shown(b"").kind, shown(b"{}").kind), (Kind::Other, Kind::Other));
        assert!(show(&dir.path().join("none")).is_err());
        // What is behind its end keeps nobody from loading it; nor does an archive around it.
        assert_eq!(shown(b"\x80\x04K*.\n").kind, Kind::Pickle);
        assert_eq!(shown(b"PK\x03\x04archive/data.pkl").kind, Kind::Zip);
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let told = show(dir.path()).unwrap_err().to_string();
        assert!(told.contains("no regular file"), "{told}");
        let path = dir.path().join("large");
        let file = File::create(&path).unwrap();
        // A file with holes: it takes no room.
        if file.set_len(MAX_WEIGHTS_BYTES + 1).is_ok() {
            let told = show(&path).unwrap_err().to_string();
            assert!(told.contains("larger than weights can be"), "{told}");
        }
    }
}
