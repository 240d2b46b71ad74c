//! What a ledger has promised: receipts and older checkpoints, kept by others.

use std::path::{Path, PathBuf};

use colearn_ledger::note::from_bytes;
use colearn_ledger::{Checkpoint, Hash, NoteError, Receipt};
use colearn_records::log_keys::LogKeys;
use colearn_records::receipts::{ENDING, KeptReceipt, KeptReceipts, NotKept};

/// A signed statement of the ledger's that its later states must honour.
#[derive(Debug)]
pub struct Promise {
    /// Its file, by which it is called in findings.
    pub path: PathBuf,
    /// What the file holds. Where that is no promise, the ledger is not to blame, and the others are
    /// looked at all the same.
    held: Result<Held, PromiseError>,
}

#[derive(Debug)]
struct Held {
    receipt: Option<Receipt>,
    /// The receipt's entry, if it was kept too.
    entry: Option<Vec<u8>>,
    checkpoint: String,
}

/// Why there is no promise to be held to.
#[derive(Debug, thiserror::Error)]
pub enum PromiseError {
    /// A file or folder cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is empty: its writing was cut short.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is no receipt or checkpoint.
    #[error("{} cannot be read: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NoteError,
    },
    /// The entry beside a receipt is not the one that it is for.
    #[error(
        "{} is not for the entry beside it: its proof does not lead from there to its checkpoint",
        path.display()
    )]
    OtherEntry {
        /// The receipt.
        path: PathBuf,
    },
    /// Not signed by the ledger.
    #[error("{} is not this ledger's: {source}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NoteError,
    },
    /// A file of many receipts has something else, too.
    #[error("{} cannot be read to its end: {source}", path.display())]
    NotKept {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NotKept,
    },
    /// A folder without any.
    #[error("{} holds no receipts: no file there ends in .receipts or .tlog-proof", dir.display())]
    NoReceipts {
        /// The folder.
        dir: PathBuf,
    },
}

impl Promise {
    /// An older checkpoint from a file.
    ///
    /// # Errors
    /// If there is none to be read. What is no checkpoint is found by the audit.
    pub fn checkpoint(path: &Path) -> Result<Self, PromiseError> {
        let held = match text(path) {
            Err(error @ PromiseError::Io { .. }) => return Err(error),
            text => text.map(|checkpoint| Held { receipt: None, entry: None, checkpoint }),
        };
        Ok(Self { path: path.to_owned(), held })
    }

    /// An older checkpoint's note, which is called by this path in findings.
    pub fn stated(path: &Path, checkpoint: String) -> Self {
        let held = Ok(Held { receipt: None, entry: None, checkpoint });
        Self { path: path.to_owned(), held }
    }

    /// A receipt from a file, with its entry if that lies beside it (`.entry`).
    pub fn receipt(path: &Path) -> Self {
        Self { path: path.to_owned(), held: read_receipt(path) }
    }

    /// Every receipt of a folder, by entry: those in files of many (`*.receipts`), and each in a file of its own
    /// (`*.tlog-proof`). Where there is none, the audit says so.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn receipts(dir: &Path) -> Result<Vec<Self>, PromiseError> {
        let io = |source| PromiseError::Io { path: dir.to_owned(), source };
        let mut receipts = Vec::new();
        for file in std::fs::read_dir(dir).map_err(io)? {
            let path = file.map_err(io)?.path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("tlog-proof") => receipts.push(Self::receipt(&path)),
                Some(ENDING) => receipts.extend(Self::kept(&path)),
                Some(_) | None => {}
            }
        }
        if receipts.is_empty() {
            // Whoever asks for receipts to be honoured is not told that all is well without any.
            let held = Err(PromiseError::NoReceipts { dir: dir.to_owned() });
            receipts.push(Self { path: dir.to_owned(), held });
        }
        receipts.sort_by(|a, b| (a.index(), &a.path).cmp(&(b.index(), &b.path)));
        Ok(receipts)
    }

    /// Each receipt of a file of many.
    fn kept(path: &Path) -> Vec<Self> {
        let of = |held| Self { path: path.to_owned(), held };
        let bytes = match bytes(path) {
            Ok(bytes) => bytes,
            Err(error) => return vec![of(Err(error))],
        };
        let held = KeptReceipts::new(&bytes).map(|kept| match kept {
            Ok(KeptReceipt { receipt, entry }) => {
                let checkpoint = receipt.checkpoint.clone();
                Ok(Held { receipt: Some(receipt), entry: Some(entry), checkpoint })
            }
            Err(source) => Err(PromiseError::NotKept { path: path.to_owned(), source }),
        });
        held.map(of).collect()
    }

    /// The entry that it is proven to be about, once it is verified: without the entry's bytes a receipt only says a
    /// number.
    pub fn proven_index(&self) -> Option<u64> {
        self.held.as_ref().ok()?.entry.as_ref()?;
        self.index()
    }

    /// The entry it is about, if it is a receipt.
    pub(super) fn index(&self) -> Option<u64> {
        let held = self.held.as_ref().ok()?;
        held.receipt.as_ref().map(|receipt| receipt.index)
    }

    /// The checkpoint that is to be honoured: verifies its signature, and that the receipt holds its
    /// entry.
    pub(super) fn verify(self, keys: &LogKeys) -> Result<Checkpoint, PromiseError> {
        let Self { path, held } = self;
        let held = held?;
        let opened = match keys.is_on_chain() {
            // Whoever keeps it has seen the chain prove it.
            true => keys.stated(&held.checkpoint),
            false => keys.open(&held.checkpoint),
        };
        let then = opened.map_err(|source| match source {
            NoteError::Malformed(_) => PromiseError::Malformed { path: path.clone(), source },
            NoteError::Key(_)
            | NoteError::Unsigned(_)
            | NoteError::BadSignature(_)
            | NoteError::TooFew { .. }
            | NoteError::WrongOrigin { .. } => PromiseError::Foreign { path: path.clone(), source },
        })?;
        match (&held.receipt, &held.entry) {
            (Some(receipt), Some(entry)) => match receipt.is_under(Hash::leaf(entry), &then) {
                Ok(()) => Ok(then),
                Err(_) => Err(PromiseError::OtherEntry { path }),
            },
            (Some(_) | None, _) => Ok(then),
        }
    }
}

fn read_receipt(path: &Path) -> Result<Held, PromiseError> {
    let malformed = |source| PromiseError::Malformed { path: path.to_owned(), source };
    let receipt = Receipt::parse(&text(path)?).map_err(malformed)?;
    let entry = match bytes(&path.with_extension("entry")) {
        Ok(entry) => Some(entry),
        Err(PromiseError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            None
        }
        Err(error) => return Err(error),
    };
    Ok(Held { checkpoint: receipt.checkpoint.clone(), receipt: Some(receipt), entry })
}

fn text(path: &Path) -> Result<String, PromiseError> {
    let malformed = |source| PromiseError::Malformed { path: path.to_owned(), source };
    from_bytes(bytes(path)?).map_err(malformed)
}

fn bytes(path: &Path) -> Result<Vec<u8>, PromiseError> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.is_empty() => Err(PromiseError::Empty { path: path.to_owned() }),
        Ok(bytes) => Ok(bytes),
        Err(source) => Err(PromiseError::Io { path: path.to_owned(), source }),
    }
}
