//! Reading a ledger while it grows: entries, tiles, roots and proofs of what is committed.

use std::sync::Arc;

use crate::log::frontier::Frontier;
use crate::log::hash::Hash;
use crate::log::note::SignedCheckpoint;
use crate::log::tile::{Resource, TILE_HEIGHT, TILE_WIDTH};
use crate::log::tree::{self, Subtrees as _};
use crate::store::error::Error;
use crate::store::journal::Position;
use crate::store::shared::Shared;

/// A handle for reading what is committed; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Reader(pub(crate) Arc<Shared>);

impl Reader {
    /// The last signed checkpoint; `None` only while the ledger is being opened.
    pub fn checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        self.0.state().committed.clone()
    }

    /// The number of committed entries.
    pub fn size(&self) -> u64 {
        self.0.state().committed.as_ref().map_or(0, |signed| signed.checkpoint.size)
    }

    /// The bytes of one entry.
    ///
    /// # Errors
    /// If it is not committed, or the journal or index is damaged.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, Error> {
        Ok(self.entries(index, index + 1, 0)?.swap_remove(0))
    }

    /// The entries `start..end`, at least one, and no more after their sizes exceed `max_bytes`.
    ///
    /// # Errors
    /// If the first is not committed, or the journal or index is damaged.
    pub fn entries(&self, start: u64, end: u64, max_bytes: usize) -> Result<Vec<Vec<u8>>, Error> {
        let size = self.size();
        if start >= size || start >= end {
            return Err(Error::NoSuchEntry { index: start, size });
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut next: Option<Position> = None;
        for index in start..end.min(size) {
            // Most follow one another; at a segment's end the position is looked up. Also where the
            // frame cannot be read: the second try says what is wrong.
            let followed = next.and_then(|at| self.0.segments.read(at).ok());
            let (entry, after) = match followed {
                Some(read) => read,
                None => self.read_at(index)?,
            };
            bytes += entry.len();
            entries.push(entry);
            next = Some(after);
            if bytes > max_bytes {
                break;
            }
        }
        Ok(entries)
    }

    fn read_at(&self, index: u64) -> Result<(Vec<u8>, Position), Error> {
        let at = self.0.position(index)?;
        let lost = |error| Error::Index(format!("entry {index} is not at {at:?}: {error}"));
        self.0.segments.read(at).map_err(lost)
    }

    /// The leaf hash of an entry.
    ///
    /// # Errors
    /// If it is not committed, or the index is damaged.
    pub fn leaf(&self, index: u64) -> Result<Hash, Error> {
        self.check(index, self.size())?;
        self.0.subtree(0, index)
    }

    /// The root over the first `size` entries.
    ///
    /// # Errors
    /// If there are not that many, or the index is damaged.
    pub fn root(&self, size: u64) -> Result<Hash, Error> {
        if size > 0 {
            self.check(size - 1, self.size())?;
        }
        tree::root(&*self.0, size)
    }

    /// What the tree over the first `size` entries goes on from.
    ///
    /// # Errors
    /// If there are not that many, or the index is damaged.
    pub fn frontier(&self, size: u64) -> Result<Frontier, Error> {
        if size > 0 {
            self.check(size - 1, self.size())?;
        }
        Frontier::of(&*self.0, size)
    }

    /// The proof that the tree of `size` entries holds entry `index`.
    ///
    /// # Errors
    /// If there is no such entry or size, or the index is damaged.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
        self.check(index, size)?;
        self.check(size - 1, self.size())?;
        tree::inclusion(&*self.0, index, size)
    }

    /// The proof that the tree of `old` entries is a prefix of the tree of `new`.
    ///
    /// # Errors
    /// If there are not that many entries, or the index is damaged.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
        if old > new || new > self.size() {
            return Err(Error::NoSuchEntry { index: old.max(new), size: self.size() });
        }
        tree::consistency(&*self.0, old, new)
    }

    /// The content of a tile or entry bundle; `None` if the committed tree does not have it.
    ///
    /// # Errors
    /// If the journal or index is damaged.
    pub fn resource(&self, resource: Resource) -> Result<Option<Vec<u8>>, Error> {
        let size = self.size();
        // Whether `width` items of tile `number` exist among `count` of them.
        let exists = |number: u64, width: u16, count: u64| {
            number
                .checked_mul(TILE_WIDTH)
                .and_then(|n| n.checked_add(u64::from(width)))
                .is_some_and(|end| end <= count)
        };
        match resource {
            Resource::Hashes { level, number, width } => {
                // Of the committed size only. The tree has hashes of appended entries too, which a
                // crash could still take back.
                if !exists(number, width, size >> (level * TILE_HEIGHT)) {
                    return Ok(None);
                }
                let mut bytes = Vec::with_capacity(usize::from(width) * 32);
                for offset in 0..u64::from(width) {
                    let hash = self.0.subtree(level * TILE_HEIGHT, number * TILE_WIDTH + offset)?;
                    bytes.extend_from_slice(&hash.0);
                }
                Ok(Some(bytes))
            }
            Resource::Entries { number, width } => {
                if !exists(number, width, size) {
                    return Ok(None);
                }
                let start = number * TILE_WIDTH;
                let (bytes, _) = self.bundle(start, start + u64::from(width), usize::MAX)?;
                Ok(Some(bytes))
            }
        }
    }

    /// The entries `start..end` as a bundle of entries has them, at least one, and no more after their sizes exceed
    /// `max_bytes`; and the first that is left out, or `end`.
    ///
    /// # Errors
    /// If the first is not committed, or the journal or index is damaged.
    pub fn bundle(&self, start: u64, end: u64, max_bytes: usize) -> Result<(Vec<u8>, u64), Error> {
        let entries = self.entries(start, end, max_bytes)?;
        let next = start + entries.len() as u64;
        let mut bytes = Vec::with_capacity(entries.iter().map(|entry| 2 + entry.len()).sum());
        for entry in entries {
            // MAX_ENTRY_BYTES is what 16 bits can say.
            bytes.extend((entry.len() as u16).to_be_bytes());
            bytes.extend(entry);
        }
        Ok((bytes, next))
    }

    /// The first committed entry from `from` on that was appended under `key`.
    ///
    /// # Errors
    /// If the index is damaged.
    pub fn find(&self, key: &[u8], from: u64) -> Result<Option<u64>, Error> {
        let size = self.size();
        // The size was taken first: more may be committed since, and more is appended.
        Ok(self.0.find(key, from)?.filter(|index| *index < size))
    }

    fn check(&self, index: u64, size: u64) -> Result<(), Error> {
        if index < size { Ok(()) } else { Err(Error::NoSuchEntry { index, size }) }
    }
}
