//! Where a ledger is audited from: a data folder, an exported folder, or a node's HTTP address.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use colearn_ledger::{
    Checkpoint, Error as LedgerError, Hash, JournalReader, Mark, Resource, SignedNote, TILE_WIDTH,
    Tiler, TooLarge,
};

/// The largest bundle: 256 entries of 65,535 bytes and their lengths.
const MAX_BUNDLE_BYTES: u64 = 256 * (65_535 + 2);
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Why nothing could be audited.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no ledger there.
    #[error(
        "{0} holds no ledger: a data folder has ledger/journal, an exported folder or a URL has a checkpoint"
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
    /// The ledger's files.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
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

/// Gives a ledger's bytes, in order.
pub trait Source: Send {
    /// What is there of checkpoints, verbatim and unverified.
    ///
    /// # Errors
    /// If it cannot be read.
    fn checkpoints(&mut self) -> Result<Vec<String>, SourceError>;

    /// Begins with the first entry, and begins to check what the place keeps beside the entries.
    ///
    /// # Errors
    /// If it cannot be read.
    fn begin(&mut self) -> Result<(), SourceError>;

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
    if place.starts_with("http://") || place.starts_with("https://") {
        return Ok(Box::new(Tiles::new(Store::Url(place.trim_end_matches('/').to_owned()))?));
    }
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

/// The first entry the index is wrong about, and how.
type IndexChecked = Result<Option<(u64, String)>, LedgerError>;

/// A ledger's own folder. The journal is only read, so the node may be running; the index is looked
/// into only where no node has the folder open.
struct Folder {
    dir: PathBuf,
    journal: JournalReader,
    /// Where each tile's first entry lies.
    marks: Vec<Mark>,
    /// Compares the index with the journal.
    index_check: Option<JoinHandle<IndexChecked>>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It holds the folder's lock; whoever has closed the source may rely on that being free.
        if let Some(check) = self.index_check.take() {
            let _ = check.join();
        }
    }
}

impl Folder {
    fn open(dir: &Path) -> Result<Self, SourceError> {
        let journal = JournalReader::open(dir)?;
        Ok(Self { dir: dir.to_owned(), journal, marks: Vec::new(), index_check: None })
    }
}

fn next_entry(journal: &mut JournalReader) -> Result<Option<Vec<u8>>, Trouble> {
    match journal.next_entry() {
        Ok(entry) => Ok(entry.map(|entry| entry.bytes)),
        Err(LedgerError::Corrupt { index, what, file }) => {
            Err(Trouble::Damaged { index, what: format!("{what} in {}", file.display()) })
        }
        Err(error) => Err(error.into()),
    }
}

impl Source for Folder {
    fn checkpoints(&mut self) -> Result<Vec<String>, SourceError> {
        Ok(colearn_ledger::anchored_notes(&self.dir)?)
    }

    fn begin(&mut self) -> Result<(), SourceError> {
        self.journal = JournalReader::open(&self.dir)?;
        self.marks.clear();
        let dir = self.dir.clone();
        // Mostly waits for the disk and would keep one core busy alone at the end.
        self.index_check = Some(std::thread::spawn(move || colearn_ledger::check_index(&dir)));
        Ok(())
    }

    fn next_entries(&mut self, size: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        const CHUNK: usize = 4096;
        let mut entries = Vec::new();
        while entries.len() < CHUNK && self.journal.index() < size {
            if self.journal.index().is_multiple_of(TILE_WIDTH) {
                self.marks.push(self.journal.mark());
            }
            match next_entry(&mut self.journal) {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => break,
                // What was whole is audited first; the damage is met again at the next call.
                Err(_) if !entries.is_empty() => break,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(entries)
    }

    fn check_derived(&mut self) -> Result<Option<(u64, String)>, SourceError> {
        let Some(check) = self.index_check.take() else { return Ok(None) };
        match check.join() {
            Ok(checked) => Ok(checked?),
            // sled panics on some kinds of damage.
            Err(_) => Ok(Some((0, "the index cannot be read".to_owned()))),
        }
    }

    fn leaves(&mut self, tile: u64) -> Result<Vec<Hash>, Trouble> {
        let Some(mark) = self.marks.get(tile as usize) else { return Ok(Vec::new()) };
        let mut journal = JournalReader::resume(&self.dir, *mark);
        let mut leaves = Vec::new();
        while leaves.len() < TILE_WIDTH as usize
            && let Some(entry) = next_entry(&mut journal)?
        {
            leaves.push(Hash::leaf(&entry));
        }
        Ok(leaves)
    }
}

/// A place that serves the read API's paths.
enum Store {
    Dir(PathBuf),
    Url(String),
}

impl Store {
    /// The bytes under a path; `None` if there is nothing.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        match self {
            Self::Dir(dir) => {
                let path = dir.join(path);
                match std::fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(SourceError::Io { path, source }),
                }
            }
            Self::Url(base) => {
                let url = format!("{base}/{path}");
                let agent: ureq::Agent =
                    ureq::Agent::config_builder().timeout_global(Some(HTTP_TIMEOUT)).build().into();
                let fail = |reason: String| SourceError::Http { url: url.clone(), reason };
                match agent.get(&url).call() {
                    Ok(answer) => {
                        let mut bytes = Vec::new();
                        let mut body = answer.into_body().into_reader().take(MAX_BUNDLE_BYTES + 1);
                        body.read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
                        Ok(Some(bytes))
                    }
                    Err(ureq::Error::StatusCode(404)) => Ok(None),
                    Err(error) => Err(fail(error.to_string())),
                }
            }
        }
    }
}

/// An exported ledger, or one that is served.
struct Tiles {
    store: Store,
    checkpoint: Option<String>,
    /// What the checkpoint, not verified yet, says: partial bundles are named by it.
    size: u64,
    next: u64,
    /// What the hash tiles must be.
    tiler: Tiler,
    /// The first entry under the first hash tile that is not.
    wrong: Option<(u64, String)>,
}

impl Tiles {
    fn new(store: Store) -> Result<Self, SourceError> {
        let bytes = store.get("checkpoint")?;
        let checkpoint = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let stated = checkpoint
            .as_ref()
            .and_then(|note| Checkpoint::parse(SignedNote::parse(note).ok()?.text()).ok());
        let size = stated.map_or(0, |checkpoint| checkpoint.size);
        Ok(Self { store, checkpoint, size, next: 0, tiler: Tiler::default(), wrong: None })
    }

    /// How many entries bundle `number` has.
    fn width(&self, number: u64) -> u64 {
        self.size.saturating_sub(number * TILE_WIDTH).min(TILE_WIDTH)
    }

    /// A tile or bundle, or its beginning if the ledger has grown since and the partial one is gone.
    fn fetch(
        &self,
        resource: Resource,
        bytes_wanted: usize,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        if let Some(bytes) = self.store.get(&resource.path())? {
            return Ok(Some(bytes));
        }
        let full = match resource {
            Resource::Hashes { level, number, .. } => {
                Resource::Hashes { level, number, width: TILE_WIDTH as u16 }
            }
            Resource::Entries { number, .. } => {
                Resource::Entries { number, width: TILE_WIDTH as u16 }
            }
        };
        let mut bytes = self.store.get(&full.path())?;
        if let Some(bytes) = &mut bytes {
            bytes.truncate(bytes_wanted);
        }
        Ok(bytes)
    }

    /// Checks that the hash tiles are those of these entries.
    fn check_hashes(&mut self, entries: &[Vec<u8>]) -> Result<(), Trouble> {
        let mut tiler = std::mem::take(&mut self.tiler);
        let mut wrong = None;
        let mut compare = |resource: Resource, bytes: &[u8]| {
            if let Resource::Hashes { level, number, .. } = resource
                && wrong.is_none()
                && self.fetch(resource, bytes.len())?.as_deref() != Some(bytes)
            {
                let what = format!("{} is not what its entries hash to", resource.path());
                wrong = Some(((number * TILE_WIDTH) << (8 * level), what));
            }
            Ok::<(), SourceError>(())
        };
        for entry in entries {
            tiler.push(entry, &mut compare)?;
        }
        if tiler.size() == self.size {
            tiler.finish(&mut compare)?;
        }
        self.tiler = tiler;
        if self.wrong.is_none() {
            self.wrong = wrong;
        }
        Ok(())
    }

    /// The entries of a bundle, of which the tree has `width`; fewer if it is cut off.
    fn bundle(&self, number: u64, width: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        let resource = Resource::Entries { number, width: width as u16 };
        let Some(bytes) = self.fetch(resource, usize::MAX)? else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        let mut rest = &bytes[..];
        while (entries.len() as u64) < width && !rest.is_empty() {
            let entry = rest.split_first_chunk().and_then(|(length, rest)| {
                rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
            });
            let Some((entry, after)) = entry else {
                let index = number * TILE_WIDTH + entries.len() as u64;
                return Err(Trouble::Damaged { index, what: "the bundle is cut off".to_owned() });
            };
            entries.push(entry.to_vec());
            rest = after;
        }
        Ok(entries)
    }
}

impl Source for Tiles {
    fn checkpoints(&mut self) -> Result<Vec<String>, SourceError> {
        Ok(self.checkpoint.clone().into_iter().collect())
    }

    fn begin(&mut self) -> Result<(), SourceError> {
        (self.next, self.tiler, self.wrong) = (0, Tiler::default(), None);
        Ok(())
    }

    fn next_entries(&mut self, size: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        if self.next >= size {
            return Ok(Vec::new());
        }
        let number = self.next / TILE_WIDTH;
        let mut entries = self.bundle(number, self.width(number))?;
        entries.drain(..((self.next % TILE_WIDTH) as usize).min(entries.len()));
        entries.truncate((size - self.next) as usize);
        self.next += entries.len() as u64;
        self.check_hashes(&entries)?;
        Ok(entries)
    }

    fn check_derived(&mut self) -> Result<Option<(u64, String)>, SourceError> {
        Ok(self.wrong.take())
    }

    fn leaves(&mut self, tile: u64) -> Result<Vec<Hash>, Trouble> {
        let entries = self.bundle(tile, TILE_WIDTH)?;
        Ok(entries.iter().map(|entry| Hash::leaf(entry)).collect())
    }
}
