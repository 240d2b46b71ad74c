//! The entries of a ledger, as they were verified, in a temporary file without a name: so that a round is
//! explained, and an entry shown, from what was verified and not from what somebody says again.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use colearn_audit::{Source, SourceError, Stated, Trouble};
use colearn_ledger::{Frontier, Hash, TILE_WIDTH};

/// How many entries are read at once.
const AT_ONCE: usize = 4096;

/// Verified entries, in order. Each costs 40 bytes of memory, and its own bytes of disk.
pub(crate) struct Book {
    file: Arc<Mutex<File>>,
    /// Where each entry ends in the file.
    ends: Vec<u64>,
    leaves: Vec<Hash>,
    frontier: Frontier,
}

impl Book {
    /// An empty one.
    ///
    /// # Errors
    /// If there is no room for temporary files.
    pub(crate) fn new() -> io::Result<Self> {
        let file = Arc::new(Mutex::new(tempfile::tempfile()?));
        Ok(Self { file, ends: Vec::new(), leaves: Vec::new(), frontier: Frontier::default() })
    }

    /// How many entries there are.
    pub(crate) fn size(&self) -> u64 {
        self.ends.len() as u64
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
        let mut end = self.ends.last().copied().unwrap_or(0);
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(end))?;
            let mut out = BufWriter::new(&mut *file);
            for entry in entries {
                out.write_all(&(entry.len() as u32).to_be_bytes())?;
                out.write_all(entry)?;
            }
            out.flush()?;
        }
        for entry in entries {
            end += 4 + entry.len() as u64;
            self.ends.push(end);
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
        let Ok(at) = usize::try_from(index) else { return Ok(None) };
        if at >= self.ends.len() {
            return Ok(None);
        }
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        let (read, _) = read(&self.file, begin, 1)?;
        Ok(read.into_iter().next())
    }

    /// All entries that there are now, for whoever replays them.
    pub(crate) fn source(&self) -> Replayed {
        Replayed { file: self.file.clone(), size: self.size(), index: 0, at: 0 }
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
    file: Arc<Mutex<File>>,
    size: u64,
    /// The index of the next entry, and where it begins.
    index: u64,
    at: u64,
}

impl Replayed {
    fn take(&mut self, count: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        let count = count.min(self.size - self.index);
        let (entries, at) = read(&self.file, self.at, count as usize).map_err(|source| {
            SourceError::Io { path: "the temporary file of verified entries".into(), source }
        })?;
        (self.index, self.at) = (self.index + count, at);
        Ok(entries)
    }
}

impl Source for Replayed {
    fn checkpoints(&mut self) -> Result<Vec<Result<Stated, String>>, SourceError> {
        // Whoever has filled the book has verified one.
        Ok(Vec::new())
    }

    fn begin(&mut self) -> Result<(), SourceError> {
        (self.index, self.at) = (0, 0);
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
        let mut again = Self { file: self.file.clone(), index: 0, at: 0, ..*self };
        again.skip(tile * TILE_WIDTH)?;
        Ok(again.take(TILE_WIDTH)?.iter().map(|entry| Hash::leaf(entry)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_read_by_number_and_in_order() {
        let mut book = Book::new().unwrap();
        let entries: Vec<Bytes> =
            (0..1000_u32).map(|at| Bytes::from(vec![at as u8; at as usize % 7])).collect();
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
