//! Taking over the past of a ledger that one node has kept alone, from wherever it is served or lies.
//!
//! Nothing is believed: each entry is verified as in an audit, the last must lead to what the one who kept it
//! has signed, and the founding is this network's. It grows in a folder of its own, which no node opens, and
//! is put in place when it is whole.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use colearn_ledger::{Entry, Error, Forgotten, Hash, Ledger, Options, TILE_WIDTH};
use colearn_records::follower::{BadGenesis, Depth, EntryReader, Fault, Follower, ReadEntry};
use colearn_records::founded::Founded;
use colearn_records::keys;
use colearn_records::record;
use colearn_records::transaction::LedgerId;

use crate::clock;
use crate::config::Config;
use crate::error::NodeError;
use crate::founding;
use crate::genesis;
use crate::key_files::KeyFiles;
use crate::open::{open_unfinished, signer};

/// By how much the founding is ahead of this machine's clock, if that is more than clocks may differ: until then
/// there is no block.
pub fn ahead(founded: &Founded) -> Option<std::time::Duration> {
    clock::ahead(founded.time_ms())
}

/// How many entries are followed together when those that are here are read again.
const CHUNK: u64 = 4096;
const CHUNK_BYTES: usize = 8 << 20;
/// From so many entries on they are verified on all cores.
const FEW: usize = 64;

/// Where a ledger grows until it is whole.
fn staging(data: &Path) -> PathBuf {
    data.join("ledger.import")
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Imported {
    /// It was there already.
    Before,
    /// It is there now, and so many of its entries were there from an interrupted try.
    Now {
        /// How many.
        resumed: u64,
    },
}

/// Why a ledger was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// This folder.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The folder has no keys.
    #[error("{} has no keys: make them with `colearn network identity` first", .0.display())]
    NoKeys(PathBuf),
    /// Where it comes from cannot be read. What has come is kept for the next try.
    #[error("{0}; what has come is kept: run the command again")]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// There is less than was founded. What has come is kept.
    #[error(
        "there are {found} entries, and the network was founded with {needed}: it is behind, or an old copy; \
         take another place"
    )]
    Short {
        /// How many there are.
        found: u64,
        /// How many there must be.
        needed: u64,
    },
    /// It is another ledger.
    #[error("that is the ledger {found}, and the network keeps {expected}: take another place")]
    OtherLedger {
        /// The network's.
        expected: LedgerId,
        /// What came.
        found: LedgerId,
    },
    /// It does not begin as a ledger does.
    #[error("its first entry is none: {0}; take another place")]
    Genesis(BadGenesis),
    /// An entry breaks the rules.
    #[error(
        "entry {index} cannot be followed: {source}; nothing of it is kept: take another place"
    )]
    Fault {
        /// The entry.
        index: u64,
        /// Why.
        source: Fault,
    },
    /// Another key kept it.
    #[error(
        "the key that has signed the network's file has not kept this ledger: ask who made the file"
    )]
    OtherKey,
    /// It is not what its keeper has signed, or what the network was founded with.
    #[error(
        "its first {size} entries have the root {found}, and the network was founded with {expected}: it is \
         another history, of which nothing is kept; compare the root with the others"
    )]
    OtherHistory {
        /// How many.
        size: u64,
        /// What the network's file says.
        expected: Hash,
        /// What came.
        found: Hash,
    },
    /// It was founded otherwise.
    #[error(
        "entry {0} there founds another network than the file does, or none: one of the two is not the \
         others'; compare the root with them"
    )]
    OtherFounding(u64),
}

impl ImportError {
    /// Whether what has come is wrong. Kept, it would be in the way of what is right.
    fn spoils(&self) -> bool {
        match self {
            Self::Node(_) | Self::NoKeys(_) | Self::Source(_) | Self::Short { .. } => false,
            Self::OtherLedger { .. }
            | Self::Genesis(_)
            | Self::Fault { .. }
            | Self::OtherKey
            | Self::OtherHistory { .. }
            | Self::OtherFounding(_) => true,
        }
    }
}

impl From<colearn_ledger::Error> for ImportError {
    fn from(error: colearn_ledger::Error) -> Self {
        Self::Node(error.into())
    }
}

/// What gives entries: some from this index on, none of them beyond so many; none at the end.
pub type Next<'a> =
    dyn FnMut(u64, u64) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// Takes over the ledger that was founded, into a folder with a node's keys: `next` gives its entries, and
/// `told` is told how many are there. Interrupted anywhere, the next try goes on with what has come.
///
/// # Errors
/// If it cannot be read, or is not what was founded.
pub fn import(
    data: &Path,
    founded: &Founded,
    next: &mut Next<'_>,
    told: &mut dyn FnMut(u64),
) -> Result<Imported, ImportError> {
    let files = KeyFiles::of(data);
    let key = match keys::load(&files.current) {
        Ok(key) => key,
        Err(keys::KeyError::Missing { .. }) => return Err(ImportError::NoKeys(data.to_owned())),
        Err(error) => return Err(NodeError::from(error).into()),
    };
    if genesis::read(&data.join("ledger"))?.is_some() {
        let opened = open_unfinished(&Config::new(data), founding::kept(data)?.as_ref(), None)?;
        let same = founding::check(founded, &opened.keys, &opened.keeper.reader())?;
        same.map_err(NodeError::OtherFounding)?;
        founding::keep(data, founded)?;
        return Ok(Imported::Before);
    }
    let dir = staging(data);
    let signer = signer(founded.origin(), key)?;
    let options = || Options {
        keys_of: record::keys_of,
        drop_unanchored: true,
        ..Options::new(signer.clone())
    };
    let (ledger, _) = match Ledger::open(&dir, options()) {
        // Whatever has happened to it, it comes again.
        Err(
            Error::Corrupt { .. }
            | Error::RolledBack { .. }
            | Error::Rewritten { .. }
            | Error::AnchorMissing { .. }
            | Error::Foreign { .. },
        ) => {
            remove(&dir)?;
            Ledger::open(&dir, options())?
        }
        opened => opened?,
    };
    let resumed = ledger.head().size;
    let mut import = Import { founded, ledger, follower: None };
    let done = import.follow_what_is_here().and_then(|()| import.run(next, told));
    match done {
        Ok(()) => {}
        Err(error) => {
            drop(import);
            if error.spoils() {
                remove(&dir)?;
            }
            return Err(error);
        }
    }
    drop(import);
    let io = |doing: &str, source| NodeError::Io { doing: doing.to_owned(), source };
    colearn_ledger::publish(&dir, founded.note()).map_err(|it| io("keep a checkpoint", it))?;
    founding::keep(data, founded)?;
    colearn_files::rename(&dir, &data.join("ledger"))
        .map_err(|error| io("put the ledger in place", error.into()))?;
    Ok(Imported::Now { resumed })
}

fn remove(dir: &Path) -> Result<(), NodeError> {
    std::fs::remove_dir_all(dir)
        .map_err(|source| NodeError::Io { doing: format!("remove {}", dir.display()), source })
}

/// A ledger that comes.
struct Import<'a> {
    founded: &'a Founded,
    ledger: Ledger,
    /// `None` before the first entry.
    follower: Option<Follower>,
}

impl Import<'_> {
    /// Follows what an interrupted try has left. Its signatures were verified before it was kept.
    fn follow_what_is_here(&mut self) -> Result<(), ImportError> {
        let reader = self.ledger.reader();
        let (mut at, size) = (0, reader.size());
        while at < size {
            let entries = reader.entries(at, at + CHUNK, CHUNK_BYTES)?;
            at += entries.len() as u64;
            self.follow(entries, size)?;
        }
        Ok(())
    }

    /// Takes what comes, to the founding, and checks that it is what was founded.
    fn run(&mut self, next: &mut Next<'_>, told: &mut dyn FnMut(u64)) -> Result<(), ImportError> {
        let (founded, index) = (self.founded, self.founded.index());
        let mut goes_on = None;
        while self.size() < founded.size() {
            let mut entries = next(self.size(), founded.size()).map_err(ImportError::Source)?;
            if entries.is_empty() {
                break;
            }
            let before = usize::try_from(index - self.size().min(index)).unwrap_or(usize::MAX);
            goes_on = entries.split_off(before.min(entries.len())).into_iter().next();
            self.take(entries)?;
            told(self.size());
            if self.size() == index {
                break;
            }
        }
        if self.size() < index {
            return Err(ImportError::Short { found: self.size(), needed: index });
        }
        if self.size() == index {
            let follower = self.follower.as_ref();
            let keeper = follower.and_then(|it| it.keys().current().one());
            if keeper.is_none_or(|key| key.key() != founded.key()) {
                return Err(ImportError::OtherKey);
            }
            self.check_root(index, founded.alone().root)?;
            let founding = self.founding();
            // Where it is told how the ledger goes on, that is how it must.
            if goes_on.is_some_and(|found| found != founding) {
                return Err(ImportError::OtherFounding(index));
            }
            self.take(vec![founding])?;
        }
        self.check_root(founded.size(), founded.root())
    }

    fn size(&self) -> u64 {
        self.ledger.head().size
    }

    /// The entry that founds the network, behind what is here.
    fn founding(&self) -> Vec<u8> {
        let (index, parent) = (self.founded.index(), self.ledger.head().leaf);
        let (time_ms, payload) = (self.founded.time_ms(), self.founded.payload());
        Entry { index, parent, time_ms, payload }.encode()
    }

    fn check_root(&self, size: u64, expected: Hash) -> Result<(), ImportError> {
        let found = self.ledger.reader().root(size)?;
        match found == expected {
            true => Ok(()),
            false => Err(ImportError::OtherHistory { size, expected, found }),
        }
    }

    /// Verifies entries and makes them durable.
    fn take(&mut self, entries: Vec<Vec<u8>>) -> Result<(), ImportError> {
        for bytes in self.follow(entries, 0)? {
            // It was followed, so it has an envelope.
            let fault = |broken: colearn_ledger::Broken| broken.into();
            let index = self.size();
            let Entry { time_ms, payload, .. } = Entry::decode(&bytes)
                .map_err(|broken| ImportError::Fault { index, source: fault(broken) })?;
            let keys = record::keys_of(&payload);
            self.ledger.append(time_ms, payload, keys)?;
        }
        self.ledger.commit()?;
        Ok(self.ledger.update_index()?)
    }

    /// Follows entries; of the first `trusted` of all it is known who has signed them. Gives their bytes.
    fn follow(&mut self, entries: Vec<Vec<u8>>, trusted: u64) -> Result<Vec<Vec<u8>>, ImportError> {
        let Some(first) = entries.first() else { return Ok(entries) };
        let follower = match &mut self.follower {
            Some(follower) => follower,
            none => {
                let follower = Follower::new(Depth::Full, first).map_err(ImportError::Genesis)?;
                let (expected, found) = (self.founded.ledger(), follower.keys().ledger());
                if expected != found {
                    return Err(ImportError::OtherLedger { expected, found });
                }
                none.insert(follower)
            }
        };
        follower.trust(trusted);
        let read = read_each(&follower.reader(), &entries);
        let here = self.ledger.reader();
        for entry in &read {
            let index = follower.head().size;
            while let Err(Forgotten(tile)) = follower.prepare(entry) {
                let leaves = (tile * TILE_WIDTH..(tile + 1) * TILE_WIDTH).map(|at| here.leaf(at));
                if !follower.recall(tile, leaves.collect::<Result<Vec<_>, _>>()?) {
                    break;
                }
            }
            let step = follower.follow(entry);
            step.map_err(|source| ImportError::Fault { index, source })?;
        }
        Ok(entries)
    }
}

/// Reads entries and verifies their signatures, on all cores.
fn read_each(reader: &EntryReader, entries: &[Vec<u8>]) -> Vec<ReadEntry> {
    let read = |part: &[Vec<u8>]| -> Vec<ReadEntry> {
        part.iter().map(|bytes| reader.read(bytes.clone())).collect()
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    if entries.len() < FEW || cores == 1 {
        return read(entries);
    }
    std::thread::scope(|scope| {
        let parts = entries.chunks(entries.len().div_ceil(cores));
        let parts: Vec<_> = parts.map(|part| (part, scope.spawn(move || read(part)))).collect();
        parts.into_iter().flat_map(|(part, it)| it.join().unwrap_or_else(|_| read(part))).collect()
    })
}
