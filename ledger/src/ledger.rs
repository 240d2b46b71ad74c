//! The writing end of a ledger: opening and recovery, appending, committing.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::anchor::{self, Anchor};
use crate::disk::{Disk, RealDisk};
use crate::edge::Edge;
use crate::entry::{Entry, Head, MAX_ENTRY_BYTES};
use crate::error::{Damage, Error};
use crate::hash::Hash;
use crate::index::{Batch, Extent, Index};
use crate::journal::{self, Frames, Journal, JournalReader, Position};
use crate::note::{Checkpoint, Signer};
use crate::reader::{Reader, Shared, SignedCheckpoint, State};
use crate::syncer::{Job, Sealed, Syncer};
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::tree;

/// Gives the keys an entry is to be found under, each at most 255 bytes, from its payload.
pub type KeysOf = fn(&[u8]) -> Vec<Vec<u8>>;

/// How a ledger is opened.
pub struct Options {
    /// Signs the checkpoints; its name is the ledger's origin.
    pub signer: Signer,
    /// Sign the checkpoints too, for readers that do not know `signer` yet.
    pub cosigners: Vec<Signer>,
    /// What the index can look entries up by.
    pub keys_of: KeysOf,
    /// A segment that has reached this size is followed by a new one.
    pub segment_bytes: u64,
    /// What durability rests on.
    pub disk: Arc<dyn Disk>,
    /// Told how many bytes of the journal are read, and of how many, while the index is rebuilt.
    pub progress: Option<Box<dyn Fn(u64, u64)>>,
}

impl Options {
    /// The defaults with this signer: no keys, segments of 64 MiB.
    pub fn new(signer: Signer) -> Self {
        Self {
            signer,
            cosigners: Vec::new(),
            keys_of: |_| Vec::new(),
            segment_bytes: 64 << 20,
            disk: Arc::new(RealDisk),
            progress: None,
        }
    }
}

/// What opening found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The number of entries.
    pub size: u64,
    /// Bytes of an interrupted write that were cut off. No acknowledged entry was in them.
    pub torn_bytes: u64,
    /// Whether the index could be used.
    pub index: IndexUse,
}

/// Whether the index could be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IndexUse {
    /// It was whole up to this many entries; the rest was read from the journal.
    UpTo(u64),
    /// It was made anew, for this reason.
    Rebuilt(String),
}

/// What became of an appended entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The entry's index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
    /// The entry, encoded.
    pub bytes: Vec<u8>,
}

/// A ledger, open for appending. One process at a time.
pub struct Ledger {
    shared: Arc<Shared>,
    frames: Frames,
    syncer: Syncer,
    signer: Signer,
    cosigners: Vec<Signer>,
    segment_bytes: u64,
    keys_of: KeysOf,
    head: Head,
    /// Keys of entries that are not in the index yet.
    keys: VecDeque<(Vec<u8>, u64)>,
    /// The last sealed checkpoint, durable or on its way.
    sealed: Option<Arc<SignedCheckpoint>>,
    _lock: File,
}

impl Ledger {
    /// Opens the ledger in a folder, or begins an empty one, and recovers from whatever stopped
    /// it: cuts off an unfinished write, brings the index up to date or rebuilds it.
    ///
    /// # Errors
    /// If another process has it open, if the journal is damaged, shorter than or different from
    /// what the ledger has vouched for, or belongs to another key.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Opened), Error> {
        create_dir(dir)?;
        create_dir(&journal::journal_dir(dir))?;
        let lock = lock(dir)?;
        let anchored = match anchor::read(dir, options.signer.verifier()) {
            // Power may have failed while the very first anchor was written.
            Err(Error::Foreign { .. }) if !JournalReader::from_start(dir).has_entry() => None,
            read => read?,
        };
        let index_dir = dir.join("index");
        let mut attempt = match Index::open(&index_dir) {
            Ok(index) => match index.extent() {
                Ok(Some(extent)) => Recovery::run(dir, &options, &anchored, index, Some(extent)),
                Ok(None) => Err(Setback::Rebuild("there was none".to_owned())),
                Err(error) => Err(Setback::Rebuild(error.to_string())),
            },
            Err(reason) => Err(Setback::Rebuild(reason)),
        };
        let mut used = None;
        if let Err(Setback::Rebuild(reason)) = attempt {
            used = Some(IndexUse::Rebuilt(reason));
            remove_dir(&index_dir)?;
            let index = Index::open(&index_dir).map_err(Error::Index)?;
            let mut batch = Batch::default();
            batch.extent(&Extent::NOTHING);
            index.apply(batch)?;
            attempt = Recovery::run(dir, &options, &anchored, index, None);
        }
        let recovery = match attempt {
            Ok(recovery) => recovery,
            Err(Setback::Refuse(error)) => return Err(error),
            Err(Setback::Rebuild(reason)) => return Err(Error::Index(reason)),
        };

        let Recovery { index, state, head, end, torn_bytes, keys, used_up_to } = recovery;
        let disk = options.disk;
        let journal = Journal::open(&journal::journal_dir(dir), end, head.size, disk.clone())?;
        let anchor = Anchor::open(dir, anchored.as_ref(), disk)?;
        let shared = Arc::new(Shared::new(index, journal.segments(), state));
        let syncer = Syncer::start(journal, anchor, shared.clone());
        let mut ledger = Self {
            shared,
            frames: Frames::new(end),
            syncer,
            signer: options.signer,
            cosigners: options.cosigners,
            segment_bytes: options.segment_bytes,
            keys_of: options.keys_of,
            head,
            keys,
            sealed: None,
            _lock: lock,
        };
        // Entries that were written but never acknowledged count from here on. An empty ledger is
        // anchored too, so that there is never an entry without an anchor.
        ledger.commit()?;
        ledger.update_index()?;
        let index = used.unwrap_or(IndexUse::UpTo(used_up_to));
        Ok((ledger, Opened { size: head.size, torn_bytes, index }))
    }

    /// A handle for reading.
    pub fn reader(&self) -> Reader {
        Reader(self.shared.clone())
    }

    /// What the next entry will follow.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Appends an entry. It is neither durable nor visible to readers before it is committed.
    /// A time before the last entry's is raised to that. `keys` are what [`Options::keys_of`] gives
    /// for the payload; the caller knows them without decoding it.
    ///
    /// # Errors
    /// If it is too large.
    pub fn append(
        &mut self,
        time_ms: u64,
        payload: Vec<u8>,
        keys: Vec<Vec<u8>>,
    ) -> Result<Appended, Error> {
        debug_assert_eq!(keys, (self.keys_of)(&payload), "a rebuilt index would differ");
        let entry = Entry {
            index: self.head.size,
            parent: self.head.leaf,
            time_ms: time_ms.max(self.head.time_ms),
            payload,
        };
        let bytes = entry.encode();
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(Error::TooLarge { size: bytes.len() });
        }
        let leaf = Hash::leaf(&bytes);
        let at = self.frames.push(&bytes);
        self.head = Head { size: entry.index + 1, leaf, time_ms: entry.time_ms };
        self.keys.extend(keys.into_iter().map(|key| (key, entry.index)));
        self.shared.state_mut().push(self.head, at, self.frames.end());
        Ok(Appended { index: entry.index, leaf, bytes })
    }

    /// Signs the checkpoint over everything appended and sends both on their way to the disk. The
    /// next batch can be appended meanwhile; acknowledge nothing before [`Sealed::wait`] returns.
    ///
    /// # Errors
    /// If a write or sync failed before: nothing more is taken then.
    pub fn seal(&mut self) -> Result<Sealed, Error> {
        let size = self.head.size;
        if let Some(sealed) = &self.sealed
            && sealed.checkpoint.size == size
        {
            return Ok(Sealed::done(sealed.clone()));
        }
        let root = tree::root(&*self.shared, size)?;
        let origin = self.signer.verifier().name().to_owned();
        let checkpoint = Checkpoint { origin, size, root };
        let text = checkpoint.text();
        let cosignatures = self.cosigners.iter().map(|cosigner| cosigner.sign(&text, 0));
        let note = checkpoint.sign(&self.signer) + &cosignatures.collect::<String>();
        let signed = Arc::new(SignedCheckpoint { checkpoint, note });
        let full = u64::from(self.frames.end().offset) >= self.segment_bytes;
        let job = Job {
            frames: self.frames.take(full),
            roll: full.then_some(size),
            signed: signed.clone(),
        };
        self.sealed = Some(signed);
        self.syncer.seal(job)
    }

    /// Has the checkpoints signed by another key from the next seal on, which signs even where
    /// nothing was appended.
    pub fn set_signers(&mut self, signer: Signer, cosigners: Vec<Signer>) {
        (self.signer, self.cosigners, self.sealed) = (signer, cosigners, None);
    }

    /// Makes everything appended durable, signs the new checkpoint and makes that durable too.
    ///
    /// # Errors
    /// If a write or sync failed, now or before. Nothing may be acknowledged then.
    pub fn commit(&mut self) -> Result<Arc<SignedCheckpoint>, Error> {
        self.seal()?.wait()
    }

    /// Brings the index up to date with what is durable. Not needed for durability itself, so it
    /// can wait until the acknowledgements are out.
    ///
    /// # Errors
    /// If sled fails; nothing is lost, the next open rebuilds the index.
    pub fn update_index(&mut self) -> Result<(), Error> {
        let mut batch = Batch::default();
        let moved = {
            let state = self.shared.state();
            let committed = state.committed.as_ref().map_or(0, |signed| signed.checkpoint.size);
            while let Some((key, index)) = self.keys.pop_front_if(|(_, index)| *index < committed) {
                batch.key(&key, index);
            }
            state.copy_to(&mut batch, committed)
        };
        self.shared.index.apply(batch)?;
        // Only now may readers stop finding these in memory.
        self.shared.state_mut().forget(&moved);
        Ok(())
    }
}

/// Compares the index in a ledger's folder with its journal: the first entry it is wrong about, and
/// how. An index that cannot be opened now, because the ledger is in use or there is none, is not
/// compared.
///
/// # Errors
/// If the journal cannot be read.
pub fn check_index(dir: &Path) -> Result<Option<(u64, String)>, Error> {
    let index_dir = dir.join("index");
    if !index_dir.is_dir() {
        return Ok(None);
    }
    let Ok(_lock) = lock(dir) else { return Ok(None) };
    let Ok(index) = Index::open_once(&index_dir) else { return Ok(None) };
    let Some(extent) = index.extent()? else { return Ok(None) };
    let mut journal = JournalReader::open(dir)?;
    let (mut leaves, mut positions) = (Vec::new(), Vec::new());
    while journal.index() < extent.head.size {
        let at = journal.index();
        let Some(entry) = journal.next_entry()? else {
            return Ok(Some((at, "the index goes beyond the journal".to_owned())));
        };
        leaves.push(Hash::leaf(&entry.bytes));
        positions.push(entry.at);
        if positions.len() as u64 == TILE_WIDTH {
            let first = at + 1 - TILE_WIDTH;
            let mut tile = Tile::new();
            let root = leaves.drain(..).fold(None, |_, leaf| tile.push(leaf));
            let stored = index.tile(first / TILE_WIDTH)?.map(|stored| stored.to_bytes());
            let node = index.nodes(TILE_HEIGHT, first / TILE_WIDTH)?.first().copied();
            if stored != Some(tile.to_bytes()) || node != root {
                return Ok(Some((first, "the index has other hashes".to_owned())));
            }
            let stored = index.positions(first / TILE_WIDTH)?.unwrap_or_default();
            let wrong = (0..positions.len()).find(|at| stored.get(*at) != positions.get(*at));
            if let Some(at) = wrong {
                let what = "the index has another position".to_owned();
                return Ok(Some((first + at as u64, what)));
            }
            positions.clear();
        }
    }
    Ok(None)
}

impl Ledger {
    /// Keeps bytes that describe the caller's state after the entries of `head`, which must be
    /// committed, so that the next open need not replay them. Derived, like the rest of the index.
    ///
    /// # Errors
    /// If sled fails.
    pub fn save_snapshot(&self, head: Head, bytes: &[u8]) -> Result<(), Error> {
        debug_assert!(head.size <= self.reader().size());
        self.shared.index.save_snapshot(head.size, head.leaf, bytes)
    }

    /// The last kept snapshot and the number of entries it covers, if it is whole and of this
    /// history.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn snapshot(&self) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let reader = self.reader();
        match self.shared.index.snapshot()? {
            Some((size, leaf, bytes))
                if size > 0 && size <= reader.size() && reader.leaf(size - 1)? == leaf =>
            {
                Ok(Some((size, bytes)))
            }
            _ => Ok(None),
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // The index is only a convenience; what fails here is rebuilt.
        if self.update_index().is_ok() {
            let _ = self.shared.index.flush();
        }
    }
}

/// Why recovery did not succeed at once.
enum Setback {
    /// The index is not what it should be; try again without it.
    Rebuild(String),
    /// The journal is not what it should be.
    Refuse(Error),
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        match error {
            Error::Index(reason) => Self::Rebuild(reason),
            error => Self::Refuse(error),
        }
    }
}

/// The state of a ledger as recovered from its files.
struct Recovery {
    index: Index,
    state: State,
    head: Head,
    end: Position,
    torn_bytes: u64,
    keys: VecDeque<(Vec<u8>, u64)>,
    used_up_to: u64,
}

impl Recovery {
    /// Reads the journal from where the index ends, or from the start, and checks the result
    /// against the anchor.
    fn run(
        dir: &Path,
        options: &Options,
        anchored: &Option<SignedCheckpoint>,
        index: Index,
        extent: Option<Extent>,
    ) -> Result<Self, Setback> {
        let from = extent.unwrap_or(Extent::NOTHING);
        let anchored_size = anchored.as_ref().map_or(0, |signed| signed.checkpoint.size);
        if from.head.size > anchored_size {
            return Err(Setback::Rebuild("it is ahead of the anchor".to_owned()));
        }
        let edge = right_edge(&index, from.head.size)?;
        let mut state = State {
            committed: None,
            edge,
            full: BTreeMap::new(),
            nodes: BTreeMap::new(),
            positions: VecDeque::new(),
            extents: VecDeque::new(),
            indexed: from.head.size,
        };
        let mut reader = JournalReader::from(dir, from.end, from.head.size);
        let total_bytes = reader.bytes_behind();
        let mut read_bytes = 0;
        let mut head = from.head;
        let mut keys = VecDeque::new();
        let mut torn_bytes = 0;
        loop {
            let step = reader.next_entry().and_then(|entry| {
                let Some(entry) = entry else { return Ok(None) };
                let broken = |broken| Error::Corrupt {
                    index: head.size,
                    what: Damage::Chain(broken),
                    file: dir.to_owned(),
                };
                let (decoded, next) = head.follow(&entry.bytes).map_err(broken)?;
                Ok(Some((entry, decoded, next)))
            });
            match step {
                Ok(Some((entry, decoded, next))) => {
                    head = next;
                    keys.extend(
                        (options.keys_of)(&decoded.payload)
                            .into_iter()
                            .map(|key| (key, decoded.index)),
                    );
                    state.push(head, entry.at, reader.position());
                    read_bytes += entry.bytes.len() as u64;
                    if head.size.is_multiple_of(65_536) {
                        // Bounds the memory of a rebuild.
                        let mut batch = Batch::default();
                        for (key, entry) in keys.drain(..) {
                            batch.key(&key, entry);
                        }
                        let moved = state.copy_to(&mut batch, head.size);
                        index.apply(batch)?;
                        state.forget(&moved);
                        if let Some(progress) = &options.progress {
                            progress(read_bytes, total_bytes);
                        }
                    }
                }
                Ok(None) => break,
                Err(Error::Corrupt { index: _, what, file })
                    if head.size < anchored_size
                        // A header is synced before its first frame is written: no torn write.
                        || (what == Damage::Header
                            && reader.position().offset != Position::START.offset) =>
                {
                    return if extent.is_some() && head.size == from.head.size {
                        // Perhaps only the index's idea of where to begin is wrong.
                        Err(Setback::Rebuild("it does not fit the journal".to_owned()))
                    } else {
                        Err(Setback::Refuse(Error::Corrupt { index: head.size, what, file }))
                    };
                }
                // Nothing from here on was ever acknowledged.
                Err(Error::Corrupt { .. }) => {
                    torn_bytes = reader.bytes_behind();
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let end = reader.position();
        if head.size < anchored_size {
            let dir = dir.to_owned();
            let error = Error::RolledBack { size: head.size, anchored: anchored_size, dir };
            return if extent.is_some() && from.head.size > 0 && head.size == from.head.size {
                Err(Setback::Rebuild("it ends where the journal ends early".to_owned()))
            } else {
                Err(Setback::Refuse(error))
            };
        }
        if anchored.is_none() && head.size > 0 {
            return Err(Setback::Refuse(Error::AnchorMissing { dir: dir.to_owned() }));
        }
        let recovery =
            Self { index, state, head, end, torn_bytes, keys, used_up_to: from.head.size };
        match anchored {
            Some(anchored) => recovery.check_root(dir, &anchored.checkpoint, extent.is_some()),
            None => Ok(recovery),
        }
    }

    /// Checks that the journal's first entries have the root the ledger has vouched for.
    fn check_root(
        self,
        dir: &Path,
        anchored: &Checkpoint,
        by_index: bool,
    ) -> Result<Self, Setback> {
        let Self { index, state, head, end, torn_bytes, keys, used_up_to } = self;
        let shared = Shared::new(index, journal::Segments::default(), state);
        let root = tree::root(&shared, anchored.size)?;
        if root != anchored.root {
            return Err(if by_index {
                Setback::Rebuild("its hashes do not lead to the last checkpoint".to_owned())
            } else {
                Setback::Refuse(Error::Rewritten { size: anchored.size, dir: dir.to_owned() })
            });
        }
        let (index, state) = shared.into_parts();
        Ok(Self { index, state, head, end, torn_bytes, keys, used_up_to })
    }
}

/// The unfinished tiles of a tree whose size is a multiple of 256, from the index.
fn right_edge(index: &Index, size: u64) -> Result<Edge, Setback> {
    let mut upper = Vec::new();
    for level in 1..=64 / TILE_HEIGHT {
        let hashes = size.checked_shr(u32::from(level * TILE_HEIGHT)).unwrap_or(0);
        if hashes == 0 {
            break;
        }
        let first = hashes / TILE_WIDTH * TILE_WIDTH;
        let mut nodes = index.nodes(level * TILE_HEIGHT, first)?;
        nodes.truncate((hashes - first) as usize);
        if nodes.len() as u64 != hashes - first {
            return Err(Setback::Rebuild(format!("nodes of level {level} are missing")));
        }
        upper.push(Tile::of(nodes));
    }
    Ok(Edge::of(size, upper))
}

fn create_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(Error::storage("create", dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            RealDisk.sync_dir(parent).map_err(Error::storage("sync", parent))
        }
        _ => Ok(()),
    }
}

fn remove_dir(dir: &PathBuf) -> Result<(), Error> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::storage("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("LOCK");
    let file = File::create(&path).map_err(Error::storage("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(Error::storage("lock", &path)(error)),
    }
}
