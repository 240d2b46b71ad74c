//! Recovery: what a ledger's state is, from its files.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use crate::log::edge::Edge;
use crate::log::entry::Head;
use crate::log::note::{Checkpoint, SignedCheckpoint};
use crate::log::tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
use crate::log::tree;
use crate::store::error::{Damage, Error};
use crate::store::index::{Batch, Extent, Index};
use crate::store::journal::{JournalReader, Position, Segments};
use crate::store::options::Options;
use crate::store::shared::{Shared, State};

/// Why recovery did not succeed at once.
pub(crate) enum Setback {
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
pub(crate) struct Recovery {
    pub(crate) index: Index,
    pub(crate) state: State,
    pub(crate) head: Head,
    pub(crate) end: Position,
    pub(crate) torn_bytes: u64,
    pub(crate) keys: VecDeque<(Vec<u8>, u64)>,
    pub(crate) used_up_to: u64,
}

impl Recovery {
    /// Reads the journal from where the index ends, or from the start, and checks the result
    /// against the anchor.
    pub(crate) fn run(
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
        let shared = Shared::new(index, Segments::default(), state);
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
