//! What a table's columns look like, and a schema that fits it.

use std::collections::BTreeMap;

use super::agree::merge;
use super::dates::Look;
use super::moments::Moments;
use super::options::{CsvOptions, Fill, Kind};
use super::schema::Schema;
use super::summary::{ColumnSummary, Summary};
use super::table::Table;
use super::{DataError, in_order};

/// More different numbers than this, or one that is not whole, and the target is a number.
const MAX_DERIVED_CLASSES: usize = 20;

impl Table {
    /// A schema that fits this file.
    pub(super) fn derive(&self, options: &CsvOptions) -> Result<Schema, DataError> {
        let summary = self.summary(options)?.told(options.rare);
        if self.rows < 2 {
            return Err(DataError::Degenerate { name: self.name.clone() });
        }
        merge(&[(self.name.clone(), summary)], options)
    }

    /// What its columns are like, whole: it tells every word.
    pub(super) fn summary(&self, options: &CsvOptions) -> Result<Summary, DataError> {
        let Some(label) = &options.label else {
            let message =
                format!("say which column to predict; it has: {}", self.columns.join(", "));
            return Err(DataError::Format { name: self.name.clone(), message });
        };
        let label_at = self.at(label)?;
        let named = options.ignore.iter().chain(options.kinds.iter().map(|(column, _)| column));
        let named = named.chain(options.missing.iter().filter_map(|(column, _)| column.as_ref()));
        for column in named {
            self.position(column)?;
        }
        let mut columns = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            if at != label_at && !options.ignore.contains(column) && !column.is_empty() {
                self.is_there(at)?;
                columns.push(self.summarise(column, at, options)?);
            }
        }
        let target = self.summarise_target(label, label_at, options.regression)?;
        Ok(Summary::new(columns, target))
    }

    fn summarise(
        &self,
        column: &str,
        at: usize,
        options: &CsvOptions,
    ) -> Result<ColumnSummary, DataError> {
        let name = column.to_owned();
        let said = options.kinds.iter().find(|(known, _)| known == column).map(|(_, kind)| *kind);
        let there: Vec<(u64, &str)> =
            self.values(at).filter(|(_, text)| !self.dialect.is_missing(text)).collect();
        let missing = (self.rows - there.len()) as u64;
        let median = |values: &[f64]| {
            let of_it = |it: &(Option<String>, Fill)| matches!(it, (of, Fill::Median) if of.as_deref().is_none_or(|of| of == column));
            options.missing.iter().any(of_it).then(|| median(values.to_vec()))
        };
        match said.unwrap_or_else(|| self.looks_like(&there)) {
            Kind::Number => {
                let values = there.iter().map(|value| self.number(column, *value));
                let values = values.collect::<Result<Vec<f64>, _>>()?;
                let (moments, median) = (Moments::of(values.iter().copied()), median(&values));
                let moments = moments.rounded();
                return Ok(ColumnSummary::Number { name, missing, moments, median });
            }
            Kind::Date => {
                let order = self.date_order(column, at)?;
                let values = there.iter().map(|value| self.date(column, *value, order));
                let values = values.collect::<Result<Vec<f64>, _>>()?;
                let (moments, median) = (Moments::of(values.iter().copied()), median(&values));
                let moments = moments.rounded();
                return Ok(ColumnSummary::Date { name, missing, moments, median });
            }
            Kind::Hashed(buckets) => return Ok(ColumnSummary::Hashed { name, buckets }),
            Kind::Category => {}
        }
        let otherwise = there.iter().filter(|(_, text)| self.dialect.is_number_otherwise(text));
        if said.is_none() && 2 * otherwise.count() > there.len() {
            let message = format!(
                "column {column:?} has numbers with another decimal mark; say which: --decimal, or that they are words: \
                 --category {column}"
            );
            return Err(DataError::Format { name: self.name.clone(), message });
        }
        Ok(ColumnSummary::Category { name, words: self.counts(at), untold: 0 })
    }

    /// What most of these values are. A column of numbers with something else in it is a fault, not a category.
    fn looks_like(&self, there: &[(u64, &str)]) -> Kind {
        let numbers = there.iter().filter(|(_, text)| self.dialect.number(text).is_some()).count();
        if 2 * numbers >= there.len() {
            return Kind::Number;
        }
        let dates = Look::of(there.iter().map(|(_, text)| *text)).dates;
        if 2 * dates >= there.len() { Kind::Date } else { Kind::Category }
    }

    /// In how many rows each word is; what is missing is the empty one.
    fn counts(&self, at: usize) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::<&str, u64>::new();
        for (_, text) in self.values(at) {
            *counts.entry(self.word(text)).or_default() += 1;
        }
        counts.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
    }

    fn summarise_target(
        &self,
        label: &str,
        at: usize,
        regression: Option<bool>,
    ) -> Result<ColumnSummary, DataError> {
        let name = label.to_owned();
        let classes = in_order(self.values(at).map(|(_, text)| text.to_owned()).collect());
        let whole = |class: &String| self.dialect.number(class).is_some_and(|x| x.fract() == 0.0);
        let number = |class: &String| self.dialect.number(class).is_some();
        let regression = regression.unwrap_or_else(|| {
            classes.iter().all(number)
                && (classes.len() > MAX_DERIVED_CLASSES || !classes.iter().all(whole))
        });
        if regression {
            let values = self.values(at).map(|value| self.number(label, value));
            let values = values.collect::<Result<Vec<f64>, _>>()?;
            let moments = Moments::of(values.into_iter()).rounded();
            return Ok(ColumnSummary::Number { name, missing: 0, moments, median: None });
        }
        if let Some((line, _)) = self.values(at).find(|(_, text)| self.dialect.is_missing(text)) {
            return Err(self.fail(line, format!("column {label:?} is empty")));
        }
        Ok(ColumnSummary::Category { name, words: self.counts(at), untold: 0 })
    }
}

/// Of an even number of values the mean of the middle two; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle.saturating_sub(1)), values.get(middle)) {
        (Some(lower), Some(upper)) if values.len().is_multiple_of(2) => {
            f64::midpoint(*lower, *upper)
        }
        (_, Some(middle)) => *middle,
        (_, None) => 0.0,
    }
}
