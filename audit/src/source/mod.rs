//! Where a ledger is audited from: a data folder, an exported folder, or a node's HTTP address.

mod folder;
#[cfg(feature = "http")]
mod http;
mod tiles;

use std::path::{Path, PathBuf};

use colearn_ledger::{Error as LedgerError, Hash, TooLarge};

use self::folder::Folder;
use self::tiles::{Store, Tiles};

/// Why nothing could be audited.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no ledger there.
    #[error(
        "{0} holds no ledger: a data folder has ledger/journal, an exported folder or a URL has a checkpoint; if it is a \
         node's address, it looks like http://HOST:PORT"
    )]
    NoLedger(String),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A URL cannot be fetched.
    #[error("cannot fetch {url}: {reason}")]
    Http {
        /// The address.
        url: String,
        /// The cause.
        reason: String,
    },
    /// A server is not reached.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Net(#[from] colearn_net::NetError),
    /// The ledger's files.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Who was asked what a public chain proves of it has no proof.
    #[error(transparent)]
    NotProven(Box<dyn std::error::Error + Send + Sync>),
}

impl From<TooLarge> for SourceError {
    fn from(error: TooLarge) -> Self {
        Self::Ledger(error.into())
    }
}

/// What stops reading.
#[derive(Debug)]
pub enum Trouble {
    /// The bytes of this entry are not what was written.
    Damaged {
        /// The entry.
        index: u64,
        /// What does not fit.
        what: String,
    },
    /// Nothing can be said about the ledger.
    Unreadable(SourceError),
}

impl<E: Into<SourceError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Unreadable(error.into())
    }
}

/// A checkpoint as a file states it, verbatim and unverified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stated {
    /// The file.
    pub file: String,
    /// The signed note in it.
    pub note: String,
}

/// Gives a ledger's bytes, in order.
pub trait Source: Send {
    /// What each file holds that should hold a checkpoint; `Err` says which holds none, and why.
    ///
    /// # Errors
    /// If it cannot be read.
    fn checkpoints(&mut self) -> Result<Vec<Result<Stated, String>>, SourceError>;

    /// Begins with the first entry, and begins to check what the place keeps beside the entries.
    ///
    /// # Errors
    /// If it cannot be read.
    fn begin(&mut self) -> Result<(), SourceError>;

    /// Goes on behind the first so many entries: for who has them, and compares what the place keeps beside
    /// the entries with nothing. After [`Source::begin`], before anything is read.
    ///
    /// # Errors
    /// If they cannot be read, or are damaged.
    fn skip(&mut self, entries: u64) -> Result<(), Trouble>;

    /// The next entries, some thousands at most; none at the end. Not beyond `size` entries.
    ///
    /// # Errors
    /// If they cannot be read, or are damaged.
    fn next_entries(&mut self, size: u64) -> Result<Vec<Vec<u8>>, Trouble>;

    /// What the place keeps beside the entries must agree with them, now that all are read since
    /// [`Source::begin`]: the first entry it is wrong about, and how.
    ///
    /// # Errors
    /// If it cannot be read.
    fn check_derived(&mut self) -> Result<Option<(u64, String)>, SourceError>;

    /// The leaf hashes of a full tile that was read before.
    ///
    /// # Errors
    /// If they cannot be read.
    fn leaves(&mut self, tile: u64) -> Result<Vec<Hash>, Trouble>;
}

/// Opens whatever `place` names: a URL, an exported folder, or a data folder.
///
/// # Errors
/// If there is no ledger.
pub fn open(place: &str) -> Result<Box<dyn Source>, SourceError> {
    match url(place) {
        Some(url) => open_url(url),
        None => open_folder(place),
    }
}

/// The same by one who believes other certificates than this process does, shows another, or signs with another key.
///
/// # Errors
/// If there is no ledger.
#[cfg(feature = "http")]
pub fn open_trusting(
    place: &str,
    trust: &colearn_net::Trust,
) -> Result<Box<dyn Source>, SourceError> {
    match url(place) {
        Some(url) => Ok(Box::new(Tiles::new(Store::Served(http::Client::new(url, trust)?))?)),
        None => open_folder(place),
    }
}

/// Its address, if it is one.
fn url(place: &str) -> Option<&str> {
    let is_url = place.starts_with("http://") || place.starts_with("https://");
    is_url.then(|| place.trim_end_matches('/'))
}

fn open_folder(place: &str) -> Result<Box<dyn Source>, SourceError> {
    let dir = Path::new(place);
    let journal = |dir: &Path| dir.join("journal/00000000.journal").exists();
    let ledger = dir.join("ledger");
    if journal(&ledger) {
        return Ok(Box::new(Folder::open(&ledger)?));
    }
    if journal(dir) {
        return Ok(Box::new(Folder::open(dir)?));
    }
    if dir.join("checkpoint").exists() {
        return Ok(Box::new(Tiles::new(Store::Dir(dir.to_owned()))?));
    }
    Err(SourceError::NoLedger(place.to_owned()))
}

#[cfg(feature = "http")]
fn open_url(url: &str) -> Result<Box<dyn Source>, SourceError> {
    open_trusting(url, &colearn_net::Trust::of_process())
}

#[cfg(not(feature = "http"))]
fn open_url(url: &str) -> Result<Box<dyn Source>, SourceError> {
    let reason = "this program was built without the feature `http`".to_owned();
    Err(SourceError::Http { url: url.to_owned(), reason })
}
