//! The texts of a table, column by column, and where its rows are.

use super::DataError;

/// What the texts of a table may take: a small file can unpack to any number of them.
const MAX_BYTES: u64 = 16 << 30;

/// The texts of a column, one after another.
#[derive(Debug, Default)]
pub(super) struct Cells {
    text: String,
    /// In bytes.
    lengths: Vec<u32>,
}

impl Cells {
    /// Adds what `write` writes.
    ///
    /// # Errors
    /// In a sentence: if there is no room for it.
    pub(super) fn add(
        &mut self,
        room: &mut Room,
        write: impl FnOnce(&mut String),
    ) -> Result<(), String> {
        let before = self.text.len();
        write(&mut self.text);
        let length = self.text.len().saturating_sub(before);
        room.take(length)?;
        let length = u32::try_from(length).map_err(|_| "a value has 4 GiB or more".to_owned())?;
        self.lengths.push(length);
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.text.as_str();
        self.lengths.iter().map(move |length| {
            let (text, after) = rest.split_at(*length as usize);
            rest = after;
            text
        })
    }
}

/// How much more a table's texts may take.
#[derive(Debug)]
pub(super) struct Room(u64);

impl Room {
    pub(super) fn of_a_table() -> Self {
        Self(MAX_BYTES)
    }

    fn take(&mut self, text: usize) -> Result<(), String> {
        let bytes = (text as u64).saturating_add(size_of::<u32>() as u64);
        let left = self.0.checked_sub(bytes);
        self.0 = left.ok_or_else(|| format!("it has more than {} GiB of text", MAX_BYTES >> 30))?;
        Ok(())
    }
}

/// Where rows are, for people.
#[derive(Clone, Debug)]
pub(crate) enum Places {
    /// In these lines of a text.
    Lines(Vec<u64>),
    /// They have no other place than their number.
    #[cfg_attr(not(feature = "parquet"), allow(dead_code))]
    Rows,
}

impl Places {
    /// The line or the number of a row, counted from 1.
    pub(super) fn of(&self, row: usize) -> u64 {
        match self {
            Self::Lines(lines) => lines.get(row).copied().unwrap_or_default(),
            Self::Rows => row as u64 + 1,
        }
    }

    /// That something is wrong at such a place.
    pub(super) fn fail(&self, name: &str, place: u64, message: String) -> DataError {
        let name = name.to_owned();
        match self {
            Self::Lines(_) => DataError::Csv { name, line: place, message },
            Self::Rows => DataError::Row { name, row: place, message },
        }
    }

    /// That something is wrong in a row, counted from 0.
    pub(crate) fn fail_in(&self, name: &str, row: usize, message: String) -> DataError {
        self.fail(name, self.of(row), message)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_were_and_have_a_limit() {
        let (mut cells, mut room) = (Cells::default(), Room(30));
        for text in ["a", "", "gr\u{f6}\u{df}e"] {
            cells.add(&mut room, |all| all.push_str(text)).unwrap();
        }
        assert_eq!(cells.iter().collect::<Vec<_>>(), ["a", "", "gr\u{f6}\u{df}e"]);
        assert_eq!((cells.lengths.len(), room.0), (3, 30 - 3 * 4 - 1 - 7));
        let full = cells.add(&mut room, |all| all.push_str("1234567")).unwrap_err();
        assert!(full.contains("GiB of text"), "{full}");
    }
}
