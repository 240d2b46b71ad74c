//! What can go wrong with a ledger, for the operator to read.

use std::io;
use std::path::PathBuf;

use colearn_files::Step;

use crate::log::entry::{Broken, TooLarge};
use crate::log::note::NoteError;

/// Why a ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the ledger open.
    #[error("{} is in use by another process; stop that one first", dir.display())]
    InUse {
        /// The ledger's folder.
        dir: PathBuf,
    },
    /// An entry in the journal is not what was written.
    #[error(
        "entry {index} of the journal is damaged ({what}); restore {} from a copy, and run \
         `colearn audit` on it",
        file.display()
    )]
    Corrupt {
        /// The entry.
        index: u64,
        /// What does not fit.
        what: Damage,
        /// The segment file.
        file: PathBuf,
    },
    /// The journal lacks entries that a signed checkpoint promises.
    #[error(
        "the journal ends at {size} entries but the ledger has vouched for {anchored}: it was \
         rolled back or lost its end; keep {} as evidence and restore the newest copy",
        dir.display()
    )]
    RolledBack {
        /// Entries in the journal.
        size: u64,
        /// Entries in the last signed checkpoint.
        anchored: u64,
        /// The ledger's folder.
        dir: PathBuf,
    },
    /// The journal's content is not what a signed checkpoint says it is.
    #[error(
        "the journal's first {size} entries do not have the root the ledger has vouched for: it \
         was rewritten; keep {} as evidence and restore the newest copy",
        dir.display()
    )]
    Rewritten {
        /// The size of the checkpoint that does not fit.
        size: u64,
        /// The ledger's folder.
        dir: PathBuf,
    },
    /// There is a journal but no anchor.
    #[error(
        "{} has a journal but neither anchor file; restore `anchor-a` and `anchor-b` from a copy",
        dir.display()
    )]
    AnchorMissing {
        /// The ledger's folder.
        dir: PathBuf,
    },
    /// The anchor is signed by another key or names another ledger.
    #[error("{} belongs to another ledger or key: {reason}", dir.display())]
    Foreign {
        /// The ledger's folder.
        dir: PathBuf,
        /// What does not fit.
        reason: NoteError,
    },
    /// An entry exceeds [`crate::MAX_ENTRY_BYTES`].
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The entry is not there (yet).
    #[error("entry {index} does not exist; the ledger has {size}")]
    NoSuchEntry {
        /// The asked entry.
        index: u64,
        /// The number of entries.
        size: u64,
    },
    /// The index has lost something; a restart rebuilds it.
    #[error("the index is damaged ({0}); delete the `index` folder and start again to rebuild it")]
    Index(String),
    /// Something else lies where the index's folder belongs.
    #[error(
        "{} is no folder, and the index belongs there; move it away and start the node, which makes \
         the index anew",
        path.display()
    )]
    NotAFolder {
        /// The index's place.
        path: PathBuf,
    },
    /// A file operation failed. After a failed write or sync the ledger takes nothing more.
    #[error("cannot {doing} {}: {source}", path.display())]
    Storage {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An earlier write or sync failed, so nothing more is taken until a restart.
    #[error(
        "the ledger has stopped after a failed write; restart to recover what was acknowledged"
    )]
    Stopped,
}

impl Error {
    pub(crate) fn storage(
        doing: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Storage { doing, path, source }
    }
}

impl From<colearn_files::Error> for Error {
    fn from(error: colearn_files::Error) -> Self {
        let doing = match error.step {
            Step::Create => "create",
            Step::Write => "write",
            Step::Sync | Step::SyncFolder => "sync",
            Step::Rename => "replace",
        };
        Self::Storage { doing, path: error.path, source: error.source }
    }
}

impl From<sled::Error> for Error {
    fn from(error: sled::Error) -> Self {
        Self::Index(crate::store::index::told(&error))
    }
}

/// How an entry in the journal is damaged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// The segment's header is not what it should be.
    #[error("the segment's header is wrong")]
    Header,
    /// A whole segment is missing.
    #[error("the segment is missing")]
    MissingSegment,
    /// The file ends within the frame.
    #[error("the frame is cut off")]
    CutOff,
    /// The frame's length cannot be.
    #[error("the frame's length is impossible")]
    Length,
    /// The checksum does not fit.
    #[error("the checksum does not fit")]
    Checksum,
    /// The entry does not follow the one before.
    #[error(transparent)]
    Chain(#[from] Broken),
}
