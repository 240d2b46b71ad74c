//! The keys of encrypted models, as a flag.

use std::path::PathBuf;

use clap::Args;
use colearn_sdk::encrypted::{KeysError, ModelKeys};

/// What opens encrypted models.
#[derive(Args, Clone)]
pub(crate) struct ModelKeysArg {
    /// The keys of the experiment's models, where these are encrypted: nothing is then taken or sent in the clear; see
    /// docs/encrypted.md
    #[arg(long, value_name = "FILE")]
    model_keys: Option<PathBuf>,
}

impl ModelKeysArg {
    /// Whether they are named.
    pub(crate) fn are_named(&self) -> bool {
        self.model_keys.is_some()
    }

    /// Reads them, if they are named.
    pub(crate) fn read(&self) -> Result<Option<ModelKeys>, KeysError> {
        self.model_keys.as_deref().map(ModelKeys::read).transpose()
    }
}
