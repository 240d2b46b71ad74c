//! The bytes of a model.

use bytes::Bytes;
use colearn_contracts::{Digest, Model};
use sha2::{Digest as _, Sha256};

/// The media type of weights in the safetensors format, which cannot execute code.
pub const SAFETENSORS: &str = "application/x-safetensors";

/// The bytes of a model, with their digest. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Weights {
    bytes: Bytes,
    digest: Digest,
}

impl Weights {
    /// Takes bytes and computes their digest.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = Digest(Sha256::digest(&bytes).into());
        Self { bytes, digest }
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How the ledger knows them.
    pub fn model(&self, media_type: &str) -> Model {
        Model {
            digest: self.digest,
            size: self.bytes.len() as u64,
            media_type: media_type.to_owned(),
        }
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weights({} bytes, {})", self.bytes.len(), self.digest)
    }
}
