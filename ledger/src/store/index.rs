//! The index: sled, derived from the journal and rebuildable from it at any time.
//!
//! One tree with one-letter prefixes, so that a batch is atomic:
//! `t` tile number → the 256 leaf hashes of a full tile; `n` level, index → the root of a complete
//! subtree, at the levels 8, 16, ...; `p` block number → the journal positions of 256 entries;
//! `k` the run's first entry and length, the first posting → up to 256 postings of the run;
//! `s` number → a piece of the caller's snapshot; `S` → what the
//! snapshot is of; `m` → how far the index goes. Numbers are big-endian, so that sled's order is
//! theirs.
//!
//! Nothing here is synced when it is written. sled gives back a state that it had, perhaps an older
//! one, and recovery reads the rest from the journal; what is damaged is rebuilt.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::log::entry::Head;
use crate::log::hash::Hash;
use crate::log::tile::{TILE_WIDTH, Tile};
use crate::store::error::Error;
use crate::store::journal::Position;
use crate::store::keys::{self, Fingerprint, Posting};

const META: &[u8] = b"m";
const SNAPSHOT: &[u8] = b"S";
/// The layout, in the extent: an index of another is rebuilt, never guessed at.
const LAYOUT: u8 = 2;
/// How many postings of a run are one value: some kilobytes.
const PIECE_POSTINGS: usize = 256;
/// sled is to hold small values only.
const PIECE_BYTES: usize = 65_536;
/// Bytes sled may cache.
const CACHE_BYTES: u64 = 64 << 20;
/// Bytes sled may cache where all is read once, in order.
const ONCE_CACHE_BYTES: u64 = 4 << 20;
/// What is said where sled finds its files other than it wrote them.
const DAMAGED: &str = "it is damaged";

/// The name of the threads in which sled's panics, by which it tells of some kinds of damage, are caught
/// and told in other words. Whoever prints panics need not print these.
pub const INDEX_THREAD: &str = "index";

/// sled's lock outlives its owner by a moment; how often and how long to wait for it.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(40);

/// How far the index goes: everything below `head.size`, a multiple of 256, is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub(crate) head: Head,
    /// Where the next entry's frame begins.
    pub(crate) end: Position,
}

impl Extent {
    /// An index of nothing.
    pub(crate) const NOTHING: Self = Self { head: Head::EMPTY, end: Position::START };
}

pub(crate) struct Index {
    db: sled::Db,
}

/// Changes to the index that become visible together.
#[derive(Default)]
pub(crate) struct Batch(sled::Batch);

impl Index {
    /// Opens the index in a folder. `Err` carries the reason why it must be rebuilt from nothing.
    pub(crate) fn open(dir: &Path) -> Result<Self, String> {
        Self::open_with(dir, CACHE_BYTES)
    }

    /// Opens the index to read it once.
    pub(crate) fn open_once(dir: &Path) -> Result<Self, String> {
        Self::open_with(dir, ONCE_CACHE_BYTES)
    }

    /// Waits for a lock, because a process that was just killed, or an index that was just closed,
    /// has it a moment longer.
    fn open_with(dir: &Path, cache_bytes: u64) -> Result<Self, String> {
        remove_unfinished_snapshots(dir);
        for attempt in 0.. {
            let dir = dir.to_owned();
            let open = move || {
                sled::Config::new()
                    .path(dir)
                    .cache_capacity(cache_bytes)
                    .flush_every_ms(Some(10_000))
                    .open()
            };
            let thread = std::thread::Builder::new().name(INDEX_THREAD.to_owned());
            let opened = thread.spawn(open).map_err(|error| error.to_string())?;
            match opened.join() {
                Ok(Ok(db)) => return Ok(Self { db }),
                Ok(Err(sled::Error::Io(error))) if attempt < LOCK_TRIES && is_lock(&error) => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Ok(Err(error)) => return Err(told(&error)),
                Err(_) => return Err(DAMAGED.to_owned()),
            }
        }
        Err("the lock was never free".to_owned())
    }

    /// How far the index goes; `None` if it is empty or of another format.
    pub(crate) fn extent(&self) -> Result<Option<Extent>, Error> {
        let Some(bytes) = self.db.get(META)? else { return Ok(None) };
        // The first layout had no number.
        let Some((bytes, [LAYOUT])) = bytes.split_first_chunk::<56>() else { return Ok(None) };
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            word
        };
        let mut leaf = [0; 32];
        leaf.copy_from_slice(&bytes[8..40]);
        let head = Head {
            size: u64::from_be_bytes(number(0)),
            leaf: Hash(leaf),
            time_ms: u64::from_be_bytes(number(40)),
        };
        Ok(Some(Extent { head, end: Position::from_bytes(number(48)) }))
    }

    pub(crate) fn apply(&self, batch: Batch) -> Result<(), Error> {
        Ok(self.db.apply_batch(batch.0)?)
    }

    /// Replaces the caller's snapshot: bytes that describe the state after `size` entries, the last
    /// of which has this leaf hash.
    pub(crate) fn save_snapshot(&self, size: u64, leaf: Hash, bytes: &[u8]) -> Result<(), Error> {
        // One batch, so that there is never half of one snapshot with half of another. The old
        // pieces go first: the new snapshot may have fewer, and the last word on a key counts.
        let mut batch = sled::Batch::default();
        for piece in self.db.scan_prefix(b"s").keys() {
            batch.remove(piece?);
        }
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            batch.insert(key(b's', number as u64).to_vec(), piece);
        }
        let about = [&size.to_be_bytes()[..], &leaf.0, &Hash::leaf(bytes).0].concat();
        batch.insert(SNAPSHOT, about);
        Ok(self.db.apply_batch(batch)?)
    }

    /// The snapshot, if it is whole: its size, leaf hash and bytes.
    pub(crate) fn snapshot(&self) -> Result<Option<(u64, Hash, Vec<u8>)>, Error> {
        let Some(about) = self.db.get(SNAPSHOT)? else { return Ok(None) };
        let Ok(about) = <[u8; 72]>::try_from(&*about) else { return Ok(None) };
        let mut bytes = Vec::new();
        for piece in self.db.scan_prefix(b"s").values() {
            bytes.extend_from_slice(&piece?);
        }
        let (size, hashes) = about.split_at(8);
        // sled's checksums cover its own pages; that these pieces are one snapshot, only this hash.
        let whole = hashes[32..] == Hash::leaf(&bytes).0;
        match (size.try_into().map(u64::from_be_bytes), Hash::try_from(&hashes[..32])) {
            (Ok(size), Ok(leaf)) if whole => Ok(Some((size, leaf, bytes))),
            _ => Ok(None),
        }
    }

    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.db.flush()?;
        Ok(())
    }

    /// The full tile of leaf hashes.
    pub(crate) fn tile(&self, number: u64) -> Result<Option<Tile>, Error> {
        let Some(bytes) = self.db.get(key(b't', number))? else { return Ok(None) };
        let hashes = bytes.chunks_exact(32).filter_map(|chunk| Hash::try_from(chunk).ok());
        let tile = Tile::of(hashes.take(TILE_WIDTH as usize));
        // Only full tiles are ever put in. Fewer hashes are damage, and count as a missing tile.
        Ok((tile.width() == TILE_WIDTH).then_some(tile))
    }

    /// The roots of up to 256 complete subtrees of a level from `first` on.
    pub(crate) fn nodes(&self, level: u8, first: u64) -> Result<Vec<Hash>, Error> {
        let mut hashes = Vec::new();
        for item in self.db.range(node_key(level, first)..node_key(level, first + TILE_WIDTH)) {
            let (key, value) = item?;
            let expected = node_key(level, first + hashes.len() as u64);
            let Ok(hash) = Hash::try_from(&*value) else { break };
            // A gap: what comes behind it has another index than its place would say.
            if *key != *expected {
                break;
            }
            hashes.push(hash);
        }
        Ok(hashes)
    }

    /// Where the 256 entries of a block below the extent lie in the journal.
    pub(crate) fn positions(&self, block: u64) -> Result<Option<Vec<Position>>, Error> {
        let Some(bytes) = self.db.get(key(b'p', block))? else { return Ok(None) };
        let words = bytes.chunks_exact(8).filter_map(|word| word.try_into().ok());
        Ok(Some(words.map(Position::from_bytes).collect()))
    }

    /// Where an entry below the extent lies in the journal.
    pub(crate) fn position(&self, index: u64) -> Result<Option<Position>, Error> {
        let Some(bytes) = self.db.get(key(b'p', index / TILE_WIDTH))? else { return Ok(None) };
        let at = (index % TILE_WIDTH) as usize * 8;
        let bytes = bytes.get(at..at + 8).and_then(|slice| slice.try_into().ok());
        Ok(bytes.map(Position::from_bytes))
    }

    /// The first entry from `from` on that has the key.
    pub(crate) fn find(&self, key: Fingerprint, from: u64) -> Result<Option<u64>, Error> {
        loop {
            let size = self.size()?;
            let mut found = None;
            for run in keys::runs(size).skip_while(|run| run.end <= from) {
                found = self.find_in_run(&run, Posting { key, entry: from })?;
                if found.is_some() {
                    break;
                }
            }
            // If the index has grown meanwhile, runs may have given way to longer ones unseen.
            if self.size()? == size {
                return Ok(found);
            }
        }
    }

    fn size(&self) -> Result<u64, Error> {
        Ok(self.extent()?.map_or(0, |extent| extent.head.size))
    }

    /// The entry of the first posting of the same key that is not before `wanted`.
    fn find_in_run(&self, run: &Range<u64>, wanted: Posting) -> Result<Option<u64>, Error> {
        let (first, last) = (posting_key(run, Posting::FIRST), posting_key(run, Posting::LAST));
        let at = posting_key(run, wanted);
        // The piece that begins at or before it has it, unless all in it come before: then the next
        // piece begins with it.
        let before = self.db.range(first..=at).next_back();
        for piece in before.into_iter().chain(self.db.range(at..=last).next()) {
            let (_, piece) = piece?;
            let (postings, _) = piece.as_chunks::<{ Posting::BYTES }>();
            let at = postings.partition_point(|posting| *posting < wanted.to_bytes());
            if let Some(posting) = postings.get(at).map(|bytes| Posting::from_bytes(*bytes)) {
                return Ok((posting.key == wanted.key).then_some(posting.entry));
            }
        }
        Ok(None)
    }

    /// Has a batch add the postings of the entries `from..upto`, both multiples of 256, to an index of
    /// those before.
    pub(crate) fn add_postings(
        &self,
        batch: &mut Batch,
        added: &[Posting],
        from: u64,
        upto: u64,
    ) -> Result<(), Error> {
        let mut gone = Vec::new();
        for run in keys::old_runs(from, upto) {
            let (first, last) =
                (posting_key(&run, Posting::FIRST), posting_key(&run, Posting::LAST));
            for piece in self.db.range(first..=last) {
                let (key, piece) = piece?;
                let (postings, _) = piece.as_chunks::<{ Posting::BYTES }>();
                gone.extend(postings.iter().map(|bytes| Posting::from_bytes(*bytes)));
                batch.0.remove(key);
            }
        }
        for run in keys::new_runs(from, upto) {
            // Only the first of the new runs holds what old ones have held.
            let mut postings = std::mem::take(&mut gone);
            postings.extend(added.iter().filter(|posting| run.contains(&posting.entry)));
            postings.sort();
            for piece in postings.chunks(PIECE_POSTINGS) {
                let bytes: Vec<u8> = piece.iter().flat_map(|posting| posting.to_bytes()).collect();
                batch.0.insert(posting_key(&run, piece[0]).to_vec(), bytes);
            }
        }
        Ok(())
    }
}

impl Batch {
    pub(crate) fn tile(&mut self, number: u64, tile: &Tile) {
        self.0.insert(key(b't', number).to_vec(), tile.to_bytes());
    }

    pub(crate) fn node(&mut self, level: u8, index: u64, hash: Hash) {
        self.0.insert(node_key(level, index), hash.0.to_vec());
    }

    pub(crate) fn positions(&mut self, block: u64, positions: &[Position]) {
        let bytes: Vec<u8> = positions.iter().flat_map(|position| position.to_bytes()).collect();
        self.0.insert(key(b'p', block).to_vec(), bytes);
    }

    /// In the batch that holds the entries' hashes and positions, so that the index never claims
    /// more than it has.
    pub(crate) fn extent(&mut self, extent: &Extent) {
        let mut bytes = Vec::with_capacity(57);
        bytes.extend(extent.head.size.to_be_bytes());
        bytes.extend(extent.head.leaf.0);
        bytes.extend(extent.head.time_ms.to_be_bytes());
        bytes.extend(extent.end.to_bytes());
        bytes.push(LAYOUT);
        self.0.insert(META, bytes);
    }
}

fn key(prefix: u8, number: u64) -> [u8; 9] {
    let mut key = [prefix; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn node_key(level: u8, index: u64) -> Vec<u8> {
    let mut key = vec![b'n', level];
    key.extend(index.to_be_bytes());
    key
}

/// With the run's length, since runs of several lengths begin with one entry, each in its time.
fn posting_key(run: &Range<u64>, posting: Posting) -> [u8; 41] {
    let mut key = [b'k'; 41];
    key[1..9].copy_from_slice(&run.start.to_be_bytes());
    key[9..17].copy_from_slice(&(run.end - run.start).to_be_bytes());
    key[17..].copy_from_slice(&posting.to_bytes());
    key
}

/// sled never opens again if it was killed while it wrote a snapshot, unless this file is removed.
fn remove_unfinished_snapshots(dir: &Path) {
    let Ok(files) = std::fs::read_dir(dir) else { return };
    for file in files.flatten() {
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            // If it cannot be removed, opening fails and the index is rebuilt.
            let _ = std::fs::remove_file(file.path());
        }
    }
}

/// Why sled cannot be used, in words that say something to who has never heard of it.
pub(crate) fn told(error: &sled::Error) -> String {
    match error {
        sled::Error::Corruption { .. } => DAMAGED.to_owned(),
        sled::Error::Unsupported(_) => "it is damaged, or of another program".to_owned(),
        sled::Error::Io(error) => error.to_string(),
        sled::Error::CollectionNotFound(_) | sled::Error::ReportableBug(_) => {
            "it cannot be read".to_owned()
        }
    }
}

/// sled gives a busy lock as an error of its own making, told apart by its text only.
fn is_lock(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock || error.to_string().contains("lock")
}
