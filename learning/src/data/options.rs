//! How a table is to be read, and what a schema that is made of it has columns be.

use super::dialect::DialectOptions;
use super::schema::Schema;

/// How a table, of CSV or Parquet, is to be read.
#[derive(Clone, Debug, Default)]
pub struct CsvOptions {
    /// The column to predict; not needed with a schema.
    pub label: Option<String>,
    /// Columns to leave out, such as identifiers.
    pub ignore: Vec<String>,
    /// What all learners agreed on; without it a schema is derived from the file.
    pub schema: Option<Schema>,
    /// Whether to predict a number rather than a class; decided by the column if `None`.
    pub regression: Option<bool>,
    /// How the file is written; of a Parquet file only what stands for nothing and the order of dates can be said.
    pub dialect: DialectOptions,
    /// What a derived schema has columns be; the others are what they look like.
    pub kinds: Vec<(String, Kind)>,
    /// What a derived schema has stand for numbers that are missing: of one column, or of all in which some are.
    pub missing: Vec<(Option<String>, Fill)>,
    /// Words that fewer rows have than this are one category of a derived schema, and are not told in a summary.
    pub rare: u64,
}

/// What a column is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A number.
    Number,
    /// One of some words, whatever they look like.
    Category,
    /// A date.
    Date,
    /// One of many words, in so many buckets.
    Hashed(usize),
}

/// What stands for numbers that are missing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fill {
    /// The mean of those that are there.
    Mean,
    /// Their median: of an even number the mean of the middle two.
    Median,
    /// This.
    Value(f64),
    /// Their mean, and another input that says so.
    Indicator,
}
