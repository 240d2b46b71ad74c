//! What is in a file's columns, for people.

use std::collections::BTreeMap;
use std::path::Path;

use super::DataError;
use super::cells::Places;
use super::dates;
use super::dialect::DialectOptions;
use super::moments::Moments;
use super::table::{Table, Wanted};

/// What is in a file's columns, for people.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Each column's name, and its kind and some of its values.
    pub columns: Vec<(String, String)>,
    /// What was found of how the file is written.
    pub notes: Vec<String>,
    /// Whether it is a text with lines, and not Parquet.
    pub is_text: bool,
}

/// What is in a file's columns, for people: each column's kind and some of its values.
///
/// # Errors
/// If the file cannot be read as a table.
pub fn outline(path: &Path, options: &DialectOptions) -> Result<Outline, DataError> {
    let table = Table::open(path, options, Wanted::All)?;
    let columns = table.columns.iter().enumerate();
    let columns = columns.map(|(at, column)| (column.clone(), describe(&table, at))).collect();
    let is_text = matches!(table.places, Places::Lines(_));
    Ok(Outline { columns, notes: table.dialect.notes, is_text })
}

fn describe(table: &Table, at: usize) -> String {
    if let Some(Err(why)) = table.cells.get(at) {
        return why.clone();
    }
    let there = table.values(at).map(|(_, text)| text);
    let there: Vec<&str> = there.filter(|text| !table.dialect.is_missing(text)).collect();
    let count = there.len();
    let numbers: Vec<f64> = there.iter().filter_map(|text| table.dialect.number(text)).collect();
    let empty = match table.rows - count {
        0 => String::new(),
        empty => format!(", {empty} empty"),
    };
    if count > 0 && numbers.len() == count {
        let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mean, scale) = Moments::of(numbers.into_iter()).mean_and_scale();
        return format!("number, {low} to {high}, mean {mean}, deviation {scale}{empty}");
    }
    if let Some(first) = there.first()
        && dates::Look::of(there.iter().copied()).dates == count
    {
        return format!("{count} dates, such as {first:?}{empty}");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    table.values(at).for_each(|(_, text)| *counts.entry(text).or_default() += 1);
    let few: Vec<String> =
        counts.iter().take(5).map(|(word, count)| format!("{word:?} {count}x")).collect();
    let more = if counts.len() > few.len() { ", ..." } else { "" };
    format!("{} different values: {}{more}", counts.len(), few.join(", "))
}
