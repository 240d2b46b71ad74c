//! All entries of a source, one by one.

use crate::source::{Source, Trouble};

/// Reads a source's entries in order, up to entry `end`. Nothing is verified.
pub fn entries(source: &mut dyn Source, end: u64) -> Entries<'_> {
    Entries { source, end, next: 0, read: Vec::new().into_iter(), over: false }
}

/// The entries of a source with their indices, in order; the last item is what stops reading, if
/// anything does.
pub struct Entries<'a> {
    source: &'a mut dyn Source,
    end: u64,
    /// The index of the next entry.
    next: u64,
    /// Read, but not given yet.
    read: std::vec::IntoIter<Vec<u8>>,
    over: bool,
}

impl Iterator for Entries<'_> {
    type Item = Result<(u64, Vec<u8>), Trouble>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.len() == 0 && self.next < self.end && !self.over {
            match self.source.next_entries(self.end) {
                Ok(entries) => self.read = entries.into_iter(),
                Err(trouble) => {
                    self.over = true;
                    return Some(Err(trouble));
                }
            }
        }
        let Some(bytes) = self.read.next() else {
            self.over = true;
            return None;
        };
        let index = self.next;
        self.next += 1;
        Some(Ok((index, bytes)))
    }
}
