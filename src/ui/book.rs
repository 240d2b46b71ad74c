//! The entries of a ledger, as they were verified, in a temporary file without a name: so that a round is
//! explained, and an entry shown, from what was verified and not from what somebody says again. Of a ledger that
//! is this process's own they are read where they lie.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use colearn_audit::{Source, SourceError, Stated, Trouble};
use colearn_ledger::{Frontier, Hash, TILE_WIDTH};

/// How many entries are read at once.
const AT_ONCE: usize = 4096;

/// Entries that lie somewhere for as long as they are asked for.
pub(crate) trait Kept: Send + Sync {
    /// The entries from `start` on, at least one and at most `count`, all of which there are.
    ///
    /// # Errors
    /// If they cannot be read.
    fn entries(&self, start: u64, count: u64) -> io::Result<Vec<Vec<u8>>>;
}

/// Verified entries, in order. Each costs 40 bytes of memory, and in a temporary file its own bytes of disk.
pub(crate) struct Book {
    place: Place,
    leaves: Vec<Hash>,
    frontier: Frontier,
}

/// Where the entries lie.
enum Place {
    /// In a file, and where each ends there.
    File(Arc<Mutex<File>>, Vec<u64>),
    /// Where they were read.
    Elsewhere(Arc<dyn Kept>),
}

impl Book {
    /// An empty one.
    ///
    /// # Errors
    /// If there is no room for temporary files.
    pub(crate) fn new() -> io::Result<Self> {
        let file = Arc::new(Mutex::new(tempfile::tempfile()?));
        let place = Place::File(file, Vec::new());
        Ok(Self { place, leaves: Vec::new(), frontier: Frontier::default() })
    }

    /// An empty one of what is kept elsewhere.
    pub(crate) fn of(kept: Arc<dyn Kept>) -> Self {
        let place = Place::Elsewhere(kept);
        Self { place, leaves: Vec::new(), frontier: Frontier::default() }
    }

    /// How many entries there are.
    pub(crate) fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The hashes of the entries, in order.
    pub(crate) fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// The root over all of them.
    pub(crate) fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Adds entries. Where that fails nothing is added.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn push(&mut self, entries: &[Bytes]) -> io::Result<()> {
        if let Place::File(file, ends) = &mut self.place {
            let mut end = ends.last().copied().unwrap_or(0);
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(end))?;
            let mut out = BufWriter::new(&mut *file);
            for entry in entries {
                out.write_all(&(entry.len() as u32).to_be_bytes())?;
                out.write_all(entry)?;
            }
            out.flush()?;
            ends.extend(entries.iter().map(|entry| {
                end += 4 + entry.len() as u64;
                end
            }));
        }
        for entry in entries {
            let leaf = Hash::leaf(entry);
            self.leaves.push(leaf);
            self.frontier.push(leaf);
        }
        Ok(())
    }

    /// An entry; `None` if there are not as many.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn entry(&self, index: u64) -> io::Result<Option<Vec<u8>>> {
        if index >= self.size() {
            return Ok(None);
        }
        let read = match &self.place {
            Place::File(file, ends) => {
                let before = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
                let begin = before.and_then(|before| ends.get(before)).copied();
                read(file, begin.unwrap_or(0), 1)?.0
            }
            Place::Elsewhere(kept) => kept.entries(index, 1)?,
        };
        Ok(read.into_iter().next())
    }

    /// All entries that there are now, for whoever replays them.
    pub(crate) fn source(&self) -> Replayed {
        let place = match &self.place {
            Place::File(file, _) => Replaying::File(file.clone(), 0),
            Place::Elsewhere(kept) => Replaying::Elsewhere(kept.clone()),
        };
        Replayed { place, size: self.size(), index: 0 }
    }
}

/// Reads so many entries from a place in the file on, and gives where the next one begins.
fn read(file: &Mutex<File>, begin: u64, count: usize) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(begin))?;
    let mut input = BufReader::with_capacity(1 << 16, &mut *file);
    let (mut entries, mut at) = (Vec::new(), begin);
    for _ in 0..count {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let mut entry = vec![0; u32::from_be_bytes(length) as usize];
        input.read_exact(&mut entry)?;
        at += 4 + entry.len() as u64;
        entries.push(entry);
    }
    Ok((entries, at))
}

/// A ledger as it stood when this was made.
pub(crate) struct Replayed {
    place: Replaying,
    size: u64,
    /// The index of the next entry.
    index: u64,
}

/// Where entries are replayed from.
#[derive(Clone)]
enum Replaying {
    /// A file, and where the next entry begins there.
    File(Arc<Mutex<File>>, u64),
    Elsewhere(Arc<dyn Kept>),
}

impl Replayed {
    fn take(&mut self, count: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        let count = count.min(self.size - self.index);
        let failed = |path: &str, source| SourceError::Io { path: path.into(), source };
        let entries = match &mut self.place {
            Replaying::File(file, at) => {
                let (entries, end) = read(file, *at, count as usize)
                    .map_err(|source| failed("the temporary file of verified entries", source))?;
                *at = end;
                entries
            }
            Replaying::Elsewhere(kept) => {
                let mut entries = Vec::new();
                while (entries.len() as u64) < count {
                    let next = self.index + entries.len() as u64;
                    let more = kept.entries(next, count - entries.len() as u64);
                    entries.extend(more.map_err(|source| failed("the node's ledger", source))?);
                }
                entries
            }
        };
        self.index += count;
        Ok(entries)
    }
}

impl Source for Replayed {
    fn checkpoints(&mut self) -> Result<Vec<Result<Stated, String>>, SourceError> {
        // Whoever has filled the book has verified one.
        Ok(Vec::new())
    }

    fn begin(&mut self) -> Result<(), SourceError> {
        self.index = 0;
        if let Replaying::File(_, at) = &mut self.place {
            *at = 0;
        }
        Ok(())
    }

    fn skip(&mut self, entries: u64) -> Result<(), Trouble> {
        while self.index < entries.min(self.size) {
            self.take((entries - self.index).min(AT_ONCE as u64))?;
        }
        Ok(())
    }

    fn next_entries(&mut self, size: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        self.take(size.min(self.size).saturating_sub(self.index).min(AT_ONCE as u64))
    }

    fn check_derived(&mut self) -> Result<Option<(u64, String)>, SourceError> {
        Ok(None)
    }

    fn leaves(&mut self, tile: u64) -> Result<Vec<Hash>, Trouble> {
        let mut again = Self { place: self.place.clone(), ..*self };
        again.begin()?;
        again.skip(tile * TILE_WIDTH)?;
        Ok(again.take(TILE_WIDTH)?.iter().map(|entry| Hash::leaf(entry)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Few(Vec<Bytes>);

    impl Kept for Few {
        fn entries(&self, start: u64, count: u64) -> io::Result<Vec<Vec<u8>>> {
            let some = self.0[start as usize..].iter().take(count.min(3) as usize);
            Ok(some.map(|entry| entry.to_vec()).collect())
        }
    }

    #[test]
    fn what_was_put_in_is_read_by_number_and_in_order() {
        let entries: Vec<Bytes> =
            (0..1000_u32).map(|at| Bytes::from(vec![at as u8; at as usize % 7])).collect();
        holds(Book::new().unwrap(), &entries);
        holds(Book::of(Arc::new(Few(entries.clone()))), &entries);
    }

    fn holds(mut book: Book, entries: &[Bytes]) {
        book.push(&entries[..10]).unwrap();
        let early = book.source();
        book.push(&entries[10..]).unwrap();
        assert_eq!(book.entry(999).unwrap().unwrap(), entries[999]);
        assert_eq!(book.entry(0).unwrap().unwrap(), entries[0]);
        assert_eq!(book.entry(1000).unwrap(), None);
        let all = |mut source: Replayed| -> Vec<Vec<u8>> {
            colearn_audit::entries(&mut source, u64::MAX).map(|it| it.unwrap().1).collect()
        };
        assert_eq!(all(book.source()), entries);
        assert_eq!(all(early), entries[..10], "what comes later is not in it");
        let mut source = book.source();
        source.skip(500).unwrap();
        assert_eq!(source.next_entries(501).unwrap(), [entries[500].to_vec()]);
        assert_eq!(source.leaves(1).unwrap(), book.leaves()[256..512]);
    }
}
