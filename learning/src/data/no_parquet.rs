//! What is said of Parquet files where the program was built without a reader of them.

use std::fs::File;

use super::DataError;
use super::dialect::DialectOptions;
use super::table::{Table, Wanted};

pub(super) fn read(
    name: &str,
    _file: File,
    _options: &DialectOptions,
    _wanted: Wanted<'_>,
) -> Result<Table, DataError> {
    let message = "it is a Parquet file, and this program was built without a reader of them; build it with cargo build \
         --release --features parquet, or write the table as CSV";
    Err(DataError::Format { name: name.to_owned(), message: message.to_owned() })
}
