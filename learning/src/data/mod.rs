//! Data sets: embedded ones, CSV, Parquet, IDX and NumPy files, and their split among learners.

mod agree;
mod cells;
mod csv;
mod dates;
mod derive;
pub(crate) mod dialect;
mod embedded;
mod encode;
mod idx;
mod moments;
pub(crate) mod noise;
mod npy;
mod npz;
mod options;
mod outline;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "no_parquet.rs"]
mod parquet;
pub mod schema;
mod split;
mod summary;
mod table;
pub(crate) mod unlabelled;

use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ndarray::{ArcArray2, Array2, ArrayView2, Axis};

pub use self::agree::agree;
pub use self::dates::DateOrder;
pub use self::dialect::DialectOptions;
pub use embedded::Embedded;
pub use idx::MNIST_SOURCE;
pub use moments::Moments;
pub use options::{CsvOptions, Fill, Kind};
pub use outline::{Outline, outline};
pub use schema::{Column, Missing, Schema, SchemaError, Target};
pub use split::{Composition, Share, Split};
pub use summary::{ColumnSummary, CountNoise, Summary};
use table::{Table, Wanted};

/// More rows than this are refused rather than half read.
const MAX_ROWS: usize = 10_000_000;
/// More values than this are refused: 8 GiB.
const MAX_VALUES: usize = 1 << 31;

/// Why data could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{name}: {message}")]
    Format {
        /// The file.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Not CSV, or not as the schema says.
    #[error("{name}, line {line}: {message}")]
    Csv {
        /// The file.
        name: String,
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// Not as the schema says, in a file that has no lines.
    #[error("{name}, row {row}: {message}")]
    Row {
        /// The file.
        name: String,
        /// Counted from 1.
        row: u64,
        /// What is wrong.
        message: String,
    },
    /// There is no such column.
    #[error("{name} has no column {column:?}; it has: {columns}")]
    NoSuchColumn {
        /// The file.
        name: String,
        /// The asked column.
        column: String,
        /// The file's columns.
        columns: String,
    },
    /// Too little data.
    #[error("{name} has {rows} rows, too few for {learners} learners with 5 each")]
    TooFew {
        /// The file.
        name: String,
        /// Its rows.
        rows: usize,
        /// Among whom they are to be divided.
        learners: usize,
    },
    /// Nothing to learn.
    #[error("{name} needs at least one feature column and two different labels")]
    Degenerate {
        /// The file.
        name: String,
    },
    /// The data does not fit the agreed schema.
    #[error("{name} does not fit the schema: {message}")]
    Schema {
        /// The file.
        name: String,
        /// What differs.
        message: String,
    },
}

/// What the rows' targets are.
#[derive(Clone, PartialEq, Debug)]
pub enum Targets {
    /// Class numbers, indices into the schema's classes.
    Classes(Vec<u32>),
    /// Numbers, shifted and scaled as the schema says.
    Numbers(Vec<f32>),
}

impl Targets {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the rows.
    pub fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(rows.iter().map(|row| classes[*row]).collect()),
            Self::Numbers(numbers) => Self::Numbers(rows.iter().map(|row| numbers[*row]).collect()),
        }
    }
}

/// A table, ready to be learned from.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What it is called in messages.
    pub name: String,
    /// What its columns mean.
    pub schema: Schema,
    /// Rows of inputs: `[rows, inputs]`; shared, so that a copy with other targets costs little.
    pub features: ArcArray2<f32>,
    /// The rows' targets.
    pub targets: Targets,
    /// Rows from this one on are for testing only, as its makers decided; if there are none, a part
    /// is set aside at random.
    pub test_from: usize,
    /// What was found of how its file is written, that people might not expect.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Loads a file or folder: CSV (plain or gzip), Parquet (with the feature `parquet`; found by its
    /// first bytes), NumPy (`.npz`), or a folder of IDX files (the MNIST family). With a schema the
    /// data must follow it, otherwise one is derived from the data.
    ///
    /// # Errors
    /// Says what is wrong in which file, and where in it.
    pub fn load(path: &Path, options: &CsvOptions) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path)
            .map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        let data = if metadata.is_dir() {
            idx::load(path)?
        } else if path.extension().is_some_and(|ending| ending == "npz") {
            npz::load(path)?
        } else {
            return Table::open(path, &options.dialect, Wanted::by(options))?.dataset(options);
        };
        match &options.schema {
            Some(schema) => data.follow(schema),
            None => Ok(data),
        }
    }

    /// Reads a table in the form of a CSV file, called `name` in messages.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn read_csv(
        name: &str,
        mut table: impl std::io::Read,
        options: &CsvOptions,
    ) -> Result<Self, DataError> {
        Table::read(name, &mut table, &options.dialect)?.dataset(options)
    }

    /// One of the embedded data sets.
    ///
    /// # Errors
    /// Never, unless the program itself is damaged.
    pub fn embedded(which: Embedded) -> Result<Self, DataError> {
        embedded::load(which)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.targets.len()
    }

    /// The number of inputs.
    pub fn width(&self) -> usize {
        self.features.ncols()
    }

    /// The inputs and targets of some rows, copied.
    pub fn select(&self, rows: &[usize]) -> (Array2<f32>, Targets) {
        (self.features.select(Axis(0), rows), self.targets.select(rows))
    }

    /// All inputs.
    pub fn view(&self) -> ArrayView2<'_, f32> {
        self.features.view()
    }

    /// The same data under an agreed schema, for files whose own is one block: it must have the same
    /// shape and classes, and is scaled anew.
    fn follow(mut self, schema: &Schema) -> Result<Self, DataError> {
        if self.schema == *schema {
            return Ok(self);
        }
        let fail = |message: String| DataError::Schema { name: self.name.clone(), message };
        let (own, agreed) = (self.schema.width(), schema.width());
        if own != agreed {
            return Err(fail(format!("it has {own} inputs a row, not {agreed}")));
        }
        let (
            [Column::Block { mean: own_mean, scale: own_scale, .. }],
            [Column::Block { mean, scale, .. }],
        ) = (self.schema.features.as_slice(), schema.features.as_slice())
        else {
            return Err(fail("it has one block of inputs, the schema has columns".to_owned()));
        };
        // Undo one scaling and apply the other.
        let (factor, offset) = (own_scale / scale, (own_mean - mean) / scale);
        let same = |a: &Target, b: &Target| a.classes() == b.classes();
        match (&self.schema.target, &schema.target, &mut self.targets) {
            (
                Target::Number { mean: from, scale: by, .. },
                Target::Number { mean, scale, .. },
                Targets::Numbers(numbers),
            ) => {
                for number in numbers {
                    *number = ((f64::from(*number) * by + from - mean) / scale) as f32;
                }
            }
            (own @ Target::Class { .. }, agreed @ Target::Class { .. }, _) if same(own, agreed) => {
            }
            (own, agreed, _) => {
                let names = |target: &Target| match target {
                    Target::Class { classes, .. } => format!("the classes {}", classes.join(", ")),
                    Target::Number { .. } => "a number".to_owned(),
                };
                return Err(fail(format!("it predicts {}, not {}", names(own), names(agreed))));
            }
        }
        self.features.mapv_inplace(|x| (f64::from(x) * factor + offset) as f32);
        self.schema = schema.clone();
        Ok(self)
    }
}

/// A file, unpacked if it is gzip.
pub(crate) fn open(path: &Path) -> Result<Box<dyn std::io::Read>, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    unpacked(std::fs::File::open(path).map_err(io)?).map_err(io)
}

/// What somebody sends, unpacked if it is gzip.
pub(crate) fn unpacked<'a>(
    from: impl std::io::Read + 'a,
) -> std::io::Result<Box<dyn std::io::Read + 'a>> {
    use std::io::Read as _;
    let mut from = std::io::BufReader::new(from);
    let mut magic = Vec::new();
    from.by_ref().take(2).read_to_end(&mut magic)?;
    let gzip = magic == [0x1f, 0x8b];
    let from = std::io::Cursor::new(magic).chain(from);
    Ok(if gzip { Box::new(MultiGzDecoder::new(from)) } else { Box::new(from) })
}

/// Classes in the order that people expect: numbers by value, then words.
fn in_order(mut names: Vec<String>) -> Vec<String> {
    names.sort_by(|a, b| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) => x.total_cmp(&y).then_with(|| a.cmp(b)),
        (Ok(_), Err(_)) => std::cmp::Ordering::Less,
        (Err(_), Ok(_)) => std::cmp::Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    });
    names.dedup();
    names
}
