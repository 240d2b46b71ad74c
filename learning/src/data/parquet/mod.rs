//! Parquet files: of each value the text that a CSV file would have, so that one schema serves members who have either.

mod form;
mod pages;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};

use self::form::Form;
use self::pages::{Pages, is_within};
use super::cells::{Cells, Places, Room};
use super::csv::NAMELESS;
use super::dialect::{Dialect, DialectOptions};
use super::table::{Table, Wanted, twice};
use super::{DataError, MAX_ROWS};

/// So many values are decoded at once.
const BATCH: usize = 8192;

/// Reads a file's columns, as many as are wanted.
pub(super) fn read(
    name: &str,
    file: File,
    options: &DialectOptions,
    wanted: Wanted<'_>,
) -> Result<Table, DataError> {
    let fail = |message| DataError::Format { name: name.to_owned(), message };
    let mut dialect = Dialect::of_values(options).map_err(fail)?;
    let Columns { columns, cells, rows } = guarded(file, wanted).map_err(fail)?;
    if columns.len() > 1 && columns.iter().any(String::is_empty) {
        dialect.notes.push(NAMELESS.to_owned());
    }
    Ok(Table { name: name.to_owned(), columns, cells, rows, places: Places::Rows, dialect })
}

#[derive(Default)]
struct Columns {
    columns: Vec<String>,
    cells: Vec<Result<Cells, String>>,
    rows: usize,
}

/// As [`columns`]. The crate believes more of what a file says of itself than `pages` sees to, and panics where some of
/// that is a lie.
fn guarded(file: impl ChunkReader + 'static, wanted: Wanted<'_>) -> Result<Columns, String> {
    let read = catch_unwind(AssertUnwindSafe(|| columns(file, wanted)));
    read.unwrap_or_else(|_| Err("it is damaged".to_owned()))
}

fn columns(file: impl ChunkReader + 'static, wanted: Wanted<'_>) -> Result<Columns, String> {
    let bytes = file.len();
    let file = SerializedFileReader::new(file).map_err(damaged)?;
    let metadata = file.metadata();
    let schema = metadata.file_metadata().schema_descr();
    let mut all = Columns { rows: rows(metadata)?, ..Columns::default() };
    let fields = schema.root_schema().get_fields();
    all.columns.extend(fields.iter().map(|field| name_of(field.name())));
    twice(&all.columns)?;
    // A field has many leaves if it is nested; one that is not has its own.
    let mut leaves = vec![None; fields.len()];
    for leaf in 0..schema.num_columns() {
        if let Some(first) = leaves.get_mut(schema.get_column_root_idx(leaf)) {
            first.get_or_insert(leaf);
        }
    }
    let (mut room, is_wanted) = (Room::of_a_table(), wanted.filter());
    for ((name, field), leaf) in all.columns.iter().zip(fields).zip(leaves) {
        let cells = match (Form::of(field), leaf) {
            _ if name.is_empty() => Err("it has no name".to_owned()),
            _ if !is_wanted(name) => Err("it was not asked for".to_owned()),
            (Err(why), _) => Err(why),
            (Ok(_), None) => Err("it has no values".to_owned()),
            (Ok(form), Some(leaf)) => {
                let leaf = Leaf { file: &file, bytes, leaf, form };
                let read = leaf.cells(&mut room);
                Ok(read.map_err(|error| format!("column {name:?}: {error}"))?)
            }
        };
        all.cells.push(cells);
    }
    Ok(all)
}

/// The rows of all row groups.
fn rows(metadata: &ParquetMetaData) -> Result<usize, String> {
    let mut rows = 0_usize;
    for group in metadata.row_groups() {
        let more = usize::try_from(group.num_rows()).map_err(|_| damaged("rows below zero"))?;
        rows = rows.saturating_add(more);
    }
    if rows > MAX_ROWS {
        Err(format!("it has {rows} rows, more than {MAX_ROWS}"))
    } else {
        Ok(rows)
    }
}

/// A column's name, as in CSV. What pandas numbers rows with has none there.
fn name_of(field: &str) -> String {
    let index = field.strip_prefix("__index_level_").and_then(|rest| rest.strip_suffix("__"));
    match index.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
        true => String::new(),
        false => field.trim().to_owned(),
    }
}

fn damaged(error: impl std::fmt::Display) -> String {
    format!("it is damaged, or written in a way that is not known here ({error})")
}

/// A column of plain values in all row groups.
struct Leaf<'a> {
    file: &'a dyn FileReader,
    /// The file's length.
    bytes: u64,
    leaf: usize,
    form: Form,
}

impl Leaf<'_> {
    fn cells(&self, room: &mut Room) -> Result<Cells, String> {
        let mut cells = Cells::default();
        for number in 0..self.file.num_row_groups() {
            let group = self.file.get_row_group(number).map_err(damaged)?;
            let rows = usize::try_from(group.metadata().num_rows()).map_err(damaged)?;
            let chunk = group
                .metadata()
                .columns()
                .get(self.leaf)
                .ok_or_else(|| damaged("a column lacks"))?;
            if !is_within(chunk, self.bytes) {
                return Err(damaged("a column lies outside of the file"));
            }
            let descriptor = chunk.column_descr_ptr();
            let optional = descriptor.max_def_level() > 0;
            let pages = group.get_column_page_reader(self.leaf).map_err(damaged)?;
            let pages = Box::new(Pages::new(pages, &descriptor));
            let mut taking = Taking { rows, optional, cells: &mut cells, room };
            let form = self.form;
            match get_column_reader(descriptor, pages) {
                ColumnReader::BoolColumnReader(reader) => taking.all(reader, |value, text| {
                    text.push_str(if *value { "true" } else { "false" });
                    Ok(())
                }),
                ColumnReader::Int32ColumnReader(reader) => {
                    taking.all(reader, |value, text| form.write_integer(i64::from(*value), text))
                }
                ColumnReader::Int64ColumnReader(reader) => {
                    taking.all(reader, |value, text| form.write_integer(*value, text))
                }
                ColumnReader::Int96ColumnReader(reader) => {
                    taking.all(reader, |value, text| form::write_julian(value.data(), text))
                }
                ColumnReader::FloatColumnReader(reader) => taking.all(reader, form::write_shown),
                ColumnReader::DoubleColumnReader(reader) => taking.all(reader, form::write_shown),
                ColumnReader::ByteArrayColumnReader(reader) => {
                    taking.all(reader, |value, text| form.write_bytes(value.data(), text))
                }
                ColumnReader::FixedLenByteArrayColumnReader(reader) => {
                    taking.all(reader, |value, text| form.write_bytes(value.data(), text))
                }
            }?;
        }
        Ok(cells)
    }
}

/// What is taken of a column in one row group.
struct Taking<'a> {
    rows: usize,
    /// Whether values may be missing.
    optional: bool,
    cells: &'a mut Cells,
    room: &'a mut Room,
}

impl Taking<'_> {
    fn all<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        write: impl Fn(&T::T, &mut String) -> Result<(), String>,
    ) -> Result<(), String> {
        let too_few = || damaged("there are fewer values than rows");
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let mut left = self.rows;
        while left > 0 {
            levels.clear();
            values.clear();
            let read = reader.read_records(left.min(BATCH), Some(&mut levels), None, &mut values);
            let (rows, ..) = read.map_err(damaged)?;
            left = left.checked_sub(rows).filter(|_| rows > 0).ok_or_else(too_few)?;
            let mut values = values.iter();
            for row in 0..rows {
                let is_there = !self.optional || levels.get(row).is_some_and(|level| *level > 0);
                let value = if is_there { Some(values.next().ok_or_else(too_few)?) } else { None };
                let mut written = Ok(());
                self.cells.add(self.room, |text| {
                    written = value.map_or(Ok(()), |value| write(value, text));
                })?;
                written?;
            }
        }
        Ok(())
    }
}
