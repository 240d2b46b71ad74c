//! Recovery: brings a ledger's state back from its index and its journal, whatever stopped the
//! process that wrote them.
//!
//! The journal alone is the ledger; the index only says where reading may begin. So whenever
//! something does not fit and the index had a say in it, recovery begins again without the index,
//! and only what does not fit then is held against the journal.

use std::path::{Path, PathBuf};

use crate::log::edge::Edge;
use crate::log::entry::Head;
use crate::log::note::Checkpoint;
use crate::log::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::log::tree;
use crate::store::error::{Damage, Error};
use crate::store::folder;
use crate::store::index::{Batch, Extent, Index};
use crate::store::journal::{JournalReader, Position, Segments};
use crate::store::options::Options;
use crate::store::shared::{Shared, State};

/// After how many entries a rebuild moves what it has in memory to the index, which bounds the
/// memory that it takes.
const REBUILD_BATCH: u64 = 65_536;

/// Whether the index could be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IndexUse {
    /// It was whole up to this many entries; the rest was read from the journal.
    UpTo(u64),
    /// It was made anew, for this reason.
    Rebuilt(String),
}

/// The state of a ledger as recovered from its files.
pub(crate) struct Recovery {
    pub(crate) index: Index,
    pub(crate) state: State,
    pub(crate) head: Head,
    /// Where the next frame goes. What lies behind is to be cut off.
    pub(crate) end: Position,
    /// The bytes that lie behind.
    pub(crate) torn_bytes: u64,
    pub(crate) index_use: IndexUse,
}

/// Why recovery did not succeed at once.
enum RecoveryError {
    /// The index is not what it should be; try again without it.
    UnusableIndex(String),
    /// The journal is not what it should be, or cannot be read.
    Refused(Error),
}

impl From<Error> for RecoveryError {
    fn from(error: Error) -> Self {
        match error {
            Error::Index(reason) => Self::UnusableIndex(reason),
            error => Self::Refused(error),
        }
    }
}

/// Recovers the ledger in a folder, of which `anchored` is the last checkpoint it has vouched for:
/// from where the index ends, or, if that leads nowhere, from the first entry on, into a new index.
///
/// # Errors
/// If the journal is damaged among the anchored entries, shorter than the anchor, has another root
/// or no anchor.
pub(crate) fn recover(
    dir: &Path,
    options: &Options,
    anchored: Option<&Checkpoint>,
) -> Result<Recovery, Error> {
    folder::index_is_there(dir)?;
    let reason = match recover_by_index(dir, options, anchored) {
        Ok(recovery) => return Ok(recovery),
        Err(RecoveryError::Refused(error)) => return Err(error),
        Err(RecoveryError::UnusableIndex(reason)) => reason,
    };
    let index_dir = folder::index(dir);
    folder::remove(&index_dir)?;
    let index = Index::open(&index_dir).map_err(Error::Index)?;
    // An index without an extent counts as none. A ledger of fewer than 256 entries would rebuild
    // it at each opening, and lose the caller's snapshot with it.
    let mut batch = Batch::default();
    batch.extent(&Extent::NOTHING);
    index.apply(batch)?;
    let recovered = Replay::begin(dir, options, anchored, index, None).and_then(Replay::run_to_end);
    match recovered {
        Ok(recovery) => Ok(Recovery { index_use: IndexUse::Rebuilt(reason), ..recovery }),
        Err(RecoveryError::Refused(error)) => Err(error),
        // A new index that does not give back what was just put in: sled or the disk fails.
        Err(RecoveryError::UnusableIndex(reason)) => Err(Error::Index(reason)),
    }
}

fn recover_by_index(
    dir: &Path,
    options: &Options,
    anchored: Option<&Checkpoint>,
) -> Result<Recovery, RecoveryError> {
    let unusable = RecoveryError::UnusableIndex;
    let index = Index::open(&folder::index(dir)).map_err(unusable)?;
    // Not `?`: whatever goes wrong in the index, the journal can do without it.
    let extent = index.extent().map_err(|error| unusable(error.to_string()))?;
    let extent = extent.ok_or_else(|| unusable("there was none".to_owned()))?;
    Replay::begin(dir, options, anchored, index, Some(extent))?.run_to_end()
}

/// Reads the journal from where the index ends, or from the start, and builds up the state.
struct Replay<'a> {
    dir: &'a Path,
    options: &'a Options,
    anchored: Option<&'a Checkpoint>,
    index: Index,
    /// The number of entries before the first that is read.
    start: u64,
    /// Whether the index said where to begin: then it may be what is wrong.
    by_index: bool,
    journal: JournalReader,
    total_bytes: u64,
    read_bytes: u64,
    state: State,
    head: Head,
}

impl<'a> Replay<'a> {
    /// Begins behind the entries that are in the index; with `extent` `None`, at the first.
    fn begin(
        dir: &'a Path,
        options: &'a Options,
        anchored: Option<&'a Checkpoint>,
        index: Index,
        extent: Option<Extent>,
    ) -> Result<Self, RecoveryError> {
        let from = extent.unwrap_or(Extent::NOTHING);
        // The index is told of entries only when they are durable and anchored. One that knows
        // more is of another history, or of this one before a copy was restored.
        if from.head.size > anchored.map_or(0, |checkpoint| checkpoint.size) {
            return Err(RecoveryError::UnusableIndex("it is ahead of the anchor".to_owned()));
        }
        let edge = right_edge(&index, from.head.size)?;
        let journal = JournalReader::from(dir, from.end, from.head.size);
        Ok(Self {
            dir,
            options,
            anchored,
            index,
            start: from.head.size,
            by_index: extent.is_some(),
            total_bytes: journal.bytes_behind(),
            read_bytes: 0,
            journal,
            state: State::new(edge),
            head: from.head,
        })
    }

    fn run_to_end(mut self) -> Result<Recovery, RecoveryError> {
        let torn_bytes = self.read_to_end()?;
        self.check_length()?;
        self.check_root_and_finish(torn_bytes)
    }

    /// Takes every entry that is there and counts. Gives the bytes behind the last: of an unfinished write, or
    /// of what was never acknowledged.
    fn read_to_end(&mut self) -> Result<u64, RecoveryError> {
        // Without an anchor the journal is read, so that its loss is found.
        let enough = self.anchored.filter(|_| self.options.drop_unanchored).map(|it| it.size);
        loop {
            if enough == Some(self.head.size) {
                return Ok(self.journal.bytes_behind());
            }
            match self.take_next() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(Error::Corrupt { index: _, what, file }) => {
                    return if self.was_never_acknowledged(&what) {
                        Ok(self.journal.bytes_behind())
                    } else {
                        Err(self.damaged(what, file))
                    };
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the next entry into the state; `false` at the journal's end.
    fn take_next(&mut self) -> Result<bool, Error> {
        let Some(stored) = self.journal.next_entry()? else { return Ok(false) };
        let (entry, head) = match self.head.follow(&stored.bytes) {
            Ok(followed) => followed,
            Err(broken) => {
                // Back before it: if it was never acknowledged, it is cut off with what lies behind.
                // Kept, it would stand between this history and what is appended next.
                self.journal = JournalReader::from(self.dir, stored.at, self.head.size);
                let (index, file) = (self.head.size, self.dir.to_owned());
                return Err(Error::Corrupt { index, what: Damage::Chain(broken), file });
            }
        };
        self.head = head;
        let keys = (self.options.keys_of)(&entry.payload);
        self.state.push(head, &keys, stored.at, self.journal.position());
        self.read_bytes += stored.bytes.len() as u64;
        if head.size.is_multiple_of(REBUILD_BATCH) {
            // The index may go beyond the anchor for a moment; if the process ends in that moment, the
            // next opening rebuilds it.
            self.state.move_to(&self.index, head.size)?;
            if let Some(progress) = &self.options.progress {
                progress(self.read_bytes, self.total_bytes);
            }
        }
        Ok(true)
    }

    /// Whether damage to the next frame can be a write that was interrupted: it lies behind the
    /// anchor, and so does everything after it.
    fn was_never_acknowledged(&self, what: &Damage) -> bool {
        let anchored = self.anchored.map_or(0, |checkpoint| checkpoint.size);
        // A segment's header is synced before its first frame is written. So a bad header is a torn
        // write only at the segment's start; before frames it is damage, even if those that are
        // left to read were never acknowledged.
        let header_before_frames =
            *what == Damage::Header && self.journal.position().offset != Position::START.offset;
        self.head.size >= anchored && !header_before_frames
    }

    fn damaged(&self, what: Damage, file: PathBuf) -> RecoveryError {
        // If already the first frame is wrong, perhaps only the index's idea of where it is.
        if self.by_index && self.head.size == self.start {
            return RecoveryError::UnusableIndex("it does not fit the journal".to_owned());
        }
        RecoveryError::Refused(Error::Corrupt { index: self.head.size, what, file })
    }

    /// Checks that the journal has all entries that the ledger has vouched for, and that there is
    /// an anchor if there are entries.
    fn check_length(&self) -> Result<(), RecoveryError> {
        let (size, dir) = (self.head.size, self.dir.to_owned());
        match self.anchored {
            // An empty ledger is anchored before its first entry is written. A journal without an
            // anchor has lost it, and with it the proof that the journal is whole.
            None if size > 0 => Err(RecoveryError::Refused(Error::AnchorMissing { dir })),
            None => Ok(()),
            Some(anchored) if size >= anchored.size => Ok(()),
            // Nothing was read, so perhaps the index pointed behind the journal's end.
            Some(_) if self.by_index && self.start > 0 && size == self.start => {
                let reason = "it ends where the journal ends early".to_owned();
                Err(RecoveryError::UnusableIndex(reason))
            }
            Some(anchored) => {
                let error = Error::RolledBack { size, anchored: anchored.size, dir };
                Err(RecoveryError::Refused(error))
            }
        }
    }

    /// Checks that the journal's first entries have the root that the ledger has vouched for.
    /// Checksums only show accidents; this shows that the entries are the same ones.
    fn check_root_and_finish(self, torn_bytes: u64) -> Result<Recovery, RecoveryError> {
        let shared = Shared::new(self.index, Segments::default(), self.state);
        if let Some(anchored) = self.anchored
            && tree::root(&shared, anchored.size)? != anchored.root
        {
            // Hashes that were taken from the index are not the journal's word.
            return Err(if self.by_index {
                let reason = "its hashes do not lead to the last checkpoint".to_owned();
                RecoveryError::UnusableIndex(reason)
            } else {
                let (size, dir) = (anchored.size, self.dir.to_owned());
                RecoveryError::Refused(Error::Rewritten { size, dir })
            });
        }
        let (index, state) = shared.into_parts();
        Ok(Recovery {
            index,
            state,
            head: self.head,
            end: self.journal.position(),
            torn_bytes,
            index_use: IndexUse::UpTo(self.start),
        })
    }
}

/// The unfinished tiles of a tree whose size is a multiple of 256, from the index.
fn right_edge(index: &Index, size: u64) -> Result<Edge, RecoveryError> {
    let mut upper = Vec::new();
    for level in 1..=64 / TILE_HEIGHT {
        let hashes = size.checked_shr(u32::from(level * TILE_HEIGHT)).unwrap_or(0);
        if hashes == 0 {
            break;
        }
        let first = hashes / TILE_WIDTH * TILE_WIDTH;
        let mut nodes = index.nodes(level * TILE_HEIGHT, first)?;
        // What the extent does not cover is of no use here. Whether the rest is right, the root
        // tells.
        nodes.truncate((hashes - first) as usize);
        if nodes.len() as u64 != hashes - first {
            let reason = format!("nodes of level {level} are missing");
            return Err(RecoveryError::UnusableIndex(reason));
        }
        upper.push(Tile::of(nodes));
    }
    Ok(Edge::of(size, upper))
}
