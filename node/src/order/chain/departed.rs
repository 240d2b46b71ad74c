//! A contract whose ledger cannot be gone on with, as the chain itself proves: nothing more of it is believed, and what
//! shows it is kept.

use std::path::PathBuf;

use colearn_light::Light;
use colearn_records::on_chain::{OutOfTime, Tree};
use serde::{Deserialize, Serialize};

use super::crosscheck::KeptBlock;
use super::line::Proven;
use crate::error::ChainError;

/// Why it cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    /// Its past is another than was proven.
    #[error(
        "the chain has proven {had} entries before, and now proves {size} that are not those and more"
    )]
    Rewritten {
        /// How many were proven.
        had: u64,
        /// How many are now.
        size: u64,
    },
    /// An entry has another time than its block.
    #[error(transparent)]
    Time(#[from] OutOfTime),
}

/// What shows it, and the mark that nothing more is to be believed, for as long as the file is there.
#[derive(Serialize, Deserialize)]
struct Evidence {
    why: String,
    /// The hash of the header that is trusted.
    trusted: String,
    /// The ledger's end as it was proven before, which is here, in hex.
    had: String,
    /// The height of the header that proves the other.
    height: u64,
    block: KeptBlock,
    /// What a server has answered about the ledger's end, the contract, its code, and the root that the contract has kept of
    /// so many entries as were here.
    tree: String,
    contract: String,
    code: String,
    root: Option<String>,
}

/// Whether the folder's mirror has found that, and where it is kept.
pub(super) struct Departed {
    file: PathBuf,
    found: Option<String>,
}

impl Departed {
    /// As it was left in this folder.
    ///
    /// # Errors
    /// If that cannot be read.
    pub(super) fn begin(folder: &std::path::Path) -> Result<Self, ChainError> {
        let file = folder.join("chain-departed.json");
        let found = match std::fs::read(&file) {
            // Whatever is in it: that it is there is what counts.
            Ok(text) => {
                let kept: Option<Evidence> = serde_json::from_slice(&text).ok();
                Some(kept.map_or_else(|| "it was found before".to_owned(), |kept| kept.why))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(ChainError::Kept { path: file, source }),
        };
        Ok(Self { file, found })
    }

    /// Whether nothing was found.
    ///
    /// # Errors
    /// If something was.
    pub(super) fn check(&self) -> Result<(), ChainError> {
        match &self.found {
            Some(why) => Err(ChainError::Departed { why: why.clone(), file: self.file.clone() }),
            None => Ok(()),
        }
    }

    /// From here on nothing more is believed: because of what a header proves beside what is here, and of what a server has
    /// answered about the root of that.
    pub(super) fn found(
        &mut self,
        why: &Why,
        (trusted, light): (&[u8; 32], &Light),
        (had, proven): (&Tree, &Proven),
        root: Option<&[u8]>,
    ) -> ChainError {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let why = why.to_string();
        tracing::error!(height = proven.height, why, "nothing more of the chain is believed");
        let evidence = Evidence {
            why: why.clone(),
            trusted: hex::encode(trusted),
            had: hex::encode(had.to_bytes()),
            height: proven.height,
            block: KeptBlock::of(light.hash(), &proven.block),
            tree: text(&proven.value.value),
            contract: text(&proven.value.contract),
            code: text(&proven.value.code),
            root: root.map(text),
        };
        let json = serde_json::to_vec_pretty(&evidence).map_err(|error| error.to_string());
        let kept = json.and_then(|json| {
            colearn_files::replace(&self.file, &json).map(drop).map_err(|error| error.to_string())
        });
        if let Err(error) = kept {
            let file = self.file.display();
            tracing::error!(%file, error, "that is not kept, and forgotten when this node stops");
        }
        self.found = Some(why.clone());
        ChainError::Departed { why, file: self.file.clone() }
    }
}
