//! A table in memory, as files have them: texts in columns, and what they are read as.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use super::cells::{Cells, Places};
use super::dates::{self, DateOrder};
use super::dialect::{Dialect, DialectOptions};
use super::options::CsvOptions;
use super::schema::{Column, Schema};
use super::{DataError, csv, parquet, unpacked};

/// A table in memory: what all errors about it need to say.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// Of each column its texts, or why there are none.
    pub(super) cells: Vec<Result<Cells, String>>,
    pub(super) rows: usize,
    pub(super) places: Places,
    pub(super) dialect: Dialect,
}

/// Which columns are needed of a file that has each for itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    All,
    /// All but those that are to be left out.
    But(&'a CsvOptions),
    /// Those that a schema names.
    Of(&'a Schema),
}

impl<'a> Wanted<'a> {
    pub(super) fn by(options: &'a CsvOptions) -> Self {
        options.schema.as_ref().map_or(Self::But(options), Self::Of)
    }

    /// Tells of a column whether it is one of them.
    #[cfg_attr(not(feature = "parquet"), allow(dead_code))]
    pub(super) fn filter(self) -> Box<dyn Fn(&str) -> bool + 'a> {
        match self {
            Self::All => Box::new(|_| true),
            Self::But(CsvOptions { label, ignore, .. }) => Box::new(|column| {
                label.as_deref() == Some(column) || !ignore.iter().any(|it| it == column)
            }),
            // The inputs of a block have no names: they are all columns.
            Self::Of(Schema { features, .. })
                if features.iter().any(|it| matches!(it, Column::Block { .. })) =>
            {
                Box::new(|_| true)
            }
            Self::Of(Schema { features, target }) => {
                let names = features.iter().map(Column::name).chain([target.name()]);
                let names: HashSet<&str> = names.collect();
                Box::new(move |column| names.contains(column))
            }
        }
    }
}

impl Table {
    /// Reads a file: Parquet if it begins as that does, CSV otherwise, plain or gzip.
    pub(super) fn open(
        path: &Path,
        options: &DialectOptions,
        wanted: Wanted<'_>,
    ) -> Result<Self, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let name = path.display().to_string();
        let mut file = File::open(path).map_err(io)?;
        let head = head(&mut file).map_err(io)?;
        match Container::of(&head) {
            Container::Parquet => parquet::read(&name, file, options, wanted),
            other => other.read(&name, Cursor::new(head).chain(file), options),
        }
    }

    /// Reads what comes as a stream, which cannot be Parquet.
    pub(super) fn read(
        name: &str,
        from: &mut dyn Read,
        options: &DialectOptions,
    ) -> Result<Self, DataError> {
        let head = head(from).map_err(|source| DataError::Io { path: name.into(), source })?;
        Container::of(&head).read(name, Cursor::new(head).chain(from), options)
    }

    /// A column that has texts.
    pub(super) fn at(&self, column: &str) -> Result<usize, DataError> {
        let at = self.position(column)?;
        self.is_there(at).map(|()| at)
    }

    /// A column, whether its texts were read or not.
    pub(super) fn position(&self, column: &str) -> Result<usize, DataError> {
        self.columns.iter().position(|known| known == column).ok_or_else(|| {
            let mut known: Vec<&str> = self.columns.iter().take(20).map(String::as_str).collect();
            if self.columns.len() > known.len() {
                known.push("...");
            }
            DataError::NoSuchColumn {
                name: self.name.clone(),
                column: column.to_owned(),
                columns: known.join(", "),
            }
        })
    }

    /// Whether a column's texts were read.
    pub(super) fn is_there(&self, at: usize) -> Result<(), DataError> {
        match (self.cells.get(at), self.columns.get(at)) {
            (Some(Err(why)), Some(column)) => Err(DataError::Format {
                name: self.name.clone(),
                message: format!(
                    "column {column:?} cannot be learned from ({why}); leave it out: --ignore {column}"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// The values of a column, each with the line or the number of its row.
    pub(super) fn values(&self, at: usize) -> impl Iterator<Item = (u64, &str)> {
        let cells = self.cells.get(at).and_then(|cells| cells.as_ref().ok());
        let texts = cells.into_iter().flat_map(Cells::iter);
        texts.enumerate().map(|(row, text)| (self.places.of(row), text))
    }

    pub(super) fn fail(&self, place: u64, message: String) -> DataError {
        self.places.fail(&self.name, place, message)
    }

    /// What is missing is a word of its own, the empty one.
    pub(super) fn word<'b>(&self, text: &'b str) -> &'b str {
        if self.dialect.is_missing(text) { "" } else { text }
    }

    pub(super) fn number(&self, column: &str, (line, text): (u64, &str)) -> Result<f64, DataError> {
        // First: what stands for nothing may be a number, such as -999.
        let number = self.dialect.number(text).filter(|_| !self.dialect.is_missing(text));
        match number {
            Some(number) => Ok(number),
            None if self.dialect.is_missing(text) => Err(self.empty(column, line)),
            None => {
                let message = format!("column {column:?}: {text:?} is not a finite number");
                let hint = match text {
                    "NA" | "N/A" | "NaN" | "nan" | "NULL" | "null" | "None" | "?" | "-" | "." => {
                        format!("; if it stands for nothing: --na {text}")
                    }
                    _ if text.contains(',') => "; see --decimal and --delimiter".to_owned(),
                    _ => format!("; if these are words: --category {column}"),
                };
                Err(self.fail(line, message + &hint))
            }
        }
    }

    fn empty(&self, column: &str, line: u64) -> DataError {
        let message = format!(
            "column {column:?} is empty; fill it in, leave the row out, or have the schema say what stands for it \
             (colearn data schema --missing)"
        );
        self.fail(line, message)
    }

    /// Days since 1970-01-01.
    pub(super) fn date(
        &self,
        column: &str,
        (line, text): (u64, &str),
        order: DateOrder,
    ) -> Result<f64, DataError> {
        if self.dialect.is_missing(text) {
            return Err(self.empty(column, line));
        }
        dates::days(text, order).ok_or_else(|| {
            let message = format!(
                "column {column:?}: {text:?} is not a date such as 1999-12-31, 31.12.1999 or 31/12/1999 (--dates); if \
                 these are words: --category {column}"
            );
            self.fail(line, message)
        })
    }

    /// In which order the dates of a column are written.
    pub(super) fn date_order(&self, column: &str, at: usize) -> Result<DateOrder, DataError> {
        let found = || dates::Look::of(self.values(at).map(|(_, text)| text)).order();
        self.dialect.dates.or_else(found).ok_or_else(|| {
            let message = format!(
                "in the dates of column {column:?} the day may stand first, or the month; say which: --dates day-first \
                 or --dates month-first"
            );
            DataError::Format { name: self.name.clone(), message }
        })
    }
}

/// What a file's first bytes say that it is.
#[derive(Clone, Copy, Debug)]
enum Container {
    Parquet,
    Arrow,
    Text,
}

const PARQUET: &[u8] = b"PAR1";
const ARROW: &[u8] = b"ARROW1";

fn head(from: &mut dyn Read) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    from.take(ARROW.len() as u64).read_to_end(&mut head)?;
    Ok(head)
}

impl Container {
    fn of(head: &[u8]) -> Self {
        match head {
            _ if head.starts_with(PARQUET) => Self::Parquet,
            _ if head.starts_with(ARROW) => Self::Arrow,
            _ => Self::Text,
        }
    }

    /// Reads it from its beginning to its end.
    fn read(
        self,
        name: &str,
        from: impl Read,
        options: &DialectOptions,
    ) -> Result<Table, DataError> {
        let refused = |message: &str| {
            Err(DataError::Format { name: name.to_owned(), message: message.to_owned() })
        };
        match self {
            Self::Text => {
                let text =
                    unpacked(from).map_err(|source| DataError::Io { path: name.into(), source })?;
                csv::read(name, text, options)
            }
            Self::Parquet => refused(
                "a Parquet file is read from its end; name the file instead of handing on its bytes",
            ),
            Self::Arrow => refused(
                "an Arrow file (IPC, Feather) is not read here; write the table as Parquet or CSV",
            ),
        }
    }
}

/// That two columns have one name, if they do.
pub(super) fn twice(columns: &[String]) -> Result<(), String> {
    let mut names: Vec<&str> = columns.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.retain(|name| !name.is_empty());
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(format!("two columns are called {:?}; rename one", twice[0])),
        None => Ok(()),
    }
}
