//! A ledger's own folder.

use std::path::{Path, PathBuf};

use colearn_ledger::{
    AnchorFile, Error as LedgerError, Hash, IndexCheck, JournalReader, Mark, TILE_WIDTH,
};

use super::{Source, SourceError, Stated, Trouble};

/// A ledger's own folder. The journal is only read, so the node may be running; the index is looked
/// into only where no node has the folder open.
pub(super) struct Folder {
    dir: PathBuf,
    journal: JournalReader,
    /// Where each tile's first entry lies.
    marks: Vec<Mark>,
    /// Compares the index with the journal. Waited for when the source is closed: whoever has closed it
    /// may rely on the folder's lock being free.
    index_check: Option<IndexCheck>,
}

impl Folder {
    pub(super) fn open(dir: &Path) -> Result<Self, SourceError> {
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
    fn checkpoints(&mut self) -> Result<Vec<Result<Stated, String>>, SourceError> {
        // An anchor has only one of the signatures, where several nodes keep the ledger.
        match colearn_ledger::published(&self.dir) {
            Ok(None) => {}
            Ok(Some(note)) => return Ok(vec![Ok(Stated { file: "published".to_owned(), note })]),
            Err(error) => return Ok(vec![Err(format!("published: {error}"))]),
        }
        let stated = |file: AnchorFile| match file.note() {
            Some(note) => Ok(Stated { file: file.name.to_owned(), note: note.to_owned() }),
            None => Err(file.to_string()),
        };
        Ok(colearn_ledger::anchor_files(&self.dir)?.map(stated).into())
    }

    fn begin(&mut self) -> Result<(), SourceError> {
        self.journal = JournalReader::open(&self.dir)?;
        self.marks.clear();
        // Beside the entries, or it would keep one core busy alone at the end.
        self.index_check = Some(IndexCheck::begin(&self.dir)?);
        Ok(())
    }

    fn skip(&mut self, entries: u64) -> Result<(), Trouble> {
        while self.journal.index() < entries && next_entry(&mut self.journal)?.is_some() {}
        Ok(())
    }

    fn next_entries(&mut self, size: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        // Three times that are in memory: read, decoded, followed.
        const CHUNK: usize = 1024;
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
        let check = self.index_check.take().map(IndexCheck::finish);
        Ok(check.transpose()?.flatten())
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
