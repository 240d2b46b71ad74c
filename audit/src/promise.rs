//! What a ledger has promised: receipts and older checkpoints, kept by others.

use std::path::{Path, PathBuf};

use colearn_ledger::{Checkpoint, Hash, NoteError, Receipt};

use colearn_records::log_keys::LogKeys;

/// A signed statement of the ledger's that its later states must honour.
#[derive(Clone, Debug)]
pub struct Promise {
    /// What it is called in findings: its file.
    pub name: String,
    receipt: Option<Receipt>,
    /// The receipt's entry, if it was kept too.
    entry: Option<Vec<u8>>,
    checkpoint: String,
}

/// Why a promise could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PromiseError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not a receipt.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NoteError,
    },
}

impl Promise {
    /// An older checkpoint from a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn checkpoint(path: &Path) -> Result<Self, PromiseError> {
        let checkpoint = read(path)?;
        Ok(Self { name: path.display().to_string(), receipt: None, entry: None, checkpoint })
    }

    /// A receipt from a file, with its entry if that lies beside it (`.entry`).
    ///
    /// # Errors
    /// If it cannot be read or is not a receipt.
    pub fn receipt(path: &Path) -> Result<Self, PromiseError> {
        let receipt = Receipt::parse(&read(path)?)
            .map_err(|source| PromiseError::Malformed { path: path.to_owned(), source })?;
        Ok(Self {
            name: path.display().to_string(),
            entry: std::fs::read(path.with_extension("entry")).ok(),
            checkpoint: receipt.checkpoint.clone(),
            receipt: Some(receipt),
        })
    }

    /// Every receipt (`*.tlog-proof`) of a folder, by entry.
    ///
    /// # Errors
    /// If the folder or a receipt cannot be read.
    pub fn receipts(dir: &Path) -> Result<Vec<Self>, PromiseError> {
        let io = |source| PromiseError::Io { path: dir.to_owned(), source };
        let mut receipts = Vec::new();
        for file in std::fs::read_dir(dir).map_err(io)? {
            let path = file.map_err(io)?.path();
            if path.extension().is_some_and(|ending| ending == "tlog-proof") {
                receipts.push(Self::receipt(&path)?);
            }
        }
        receipts.sort_by_key(Self::index);
        Ok(receipts)
    }

    /// The entry it is about, if it is a receipt.
    pub(super) fn index(&self) -> Option<u64> {
        self.receipt.as_ref().map(|receipt| receipt.index)
    }

    /// Verifies the signature, and that the receipt holds its entry.
    pub(super) fn verify(&self, keys: &LogKeys) -> Result<Checkpoint, NoteError> {
        let then = keys.open(&self.checkpoint)?;
        match (&self.receipt, &self.entry) {
            (Some(receipt), Some(entry)) => receipt.verify(Hash::leaf(entry), keys.at(then.size)),
            _ => Ok(then),
        }
    }
}

fn read(path: &Path) -> Result<String, PromiseError> {
    std::fs::read_to_string(path)
        .map_err(|source| PromiseError::Io { path: path.to_owned(), source })
}
