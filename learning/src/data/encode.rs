//! A table's rows as numbers, as a schema says.

use std::collections::HashMap;

use ndarray::Array2;
use sha2::{Digest as _, Sha256};

use super::options::CsvOptions;
use super::schema::{Column, Missing, Schema, Target};
use super::table::Table;
use super::{DataError, Dataset, MAX_VALUES, Targets};

impl Table {
    /// The rows as the agreed schema says, or one that fits them.
    pub(super) fn dataset(&self, options: &CsvOptions) -> Result<Dataset, DataError> {
        let schema = match &options.schema {
            Some(schema) => schema.clone(),
            None => self.derive(options)?,
        };
        self.encode(schema)
    }

    /// The rows as a schema says.
    fn encode(&self, schema: Schema) -> Result<Dataset, DataError> {
        let features = self.features(&schema)?.into_shared();
        let at = self.at(schema.target.name())?;
        let targets = self.targets(&schema.target, self.values(at))?;
        let (name, rows) = (self.name.clone(), self.rows);
        let notes = self.dialect.notes.clone();
        Ok(Dataset { name, schema, features, targets, test_from: rows, notes })
    }

    /// The rows' inputs.
    pub(super) fn features(&self, schema: &Schema) -> Result<Array2<f32>, DataError> {
        let (rows, width) = (self.rows, schema.width());
        let mismatch = |message: String| DataError::Schema { name: self.name.clone(), message };
        if rows.saturating_mul(width) > MAX_VALUES {
            return Err(mismatch(format!("{rows} rows of {width} inputs are too many")));
        }
        let mut features = Array2::<f32>::zeros((rows, width));
        let mut input = 0;
        for column in &schema.features {
            let name = column.name();
            match column {
                Column::Number { mean, scale, missing, .. }
                | Column::Date { mean, scale, missing, .. } => {
                    let at = self.at(name)?;
                    let order = match column {
                        Column::Date { .. } => Some(self.date_order(name, at)?),
                        _ => None,
                    };
                    for (row, value) in self.values(at).enumerate() {
                        let number = match missing {
                            Some(missing) if self.dialect.is_missing(value.1) => {
                                if let Missing::Indicator(_) = missing {
                                    features[[row, input + 1]] = 1.0;
                                }
                                missing.value()
                            }
                            Some(_) | None => match order {
                                Some(order) => self.date(name, value, order)?,
                                None => self.number(name, value)?,
                            },
                        };
                        features[[row, input]] = ((number - mean) / scale) as f32;
                    }
                }
                Column::Hashed { buckets, .. } => {
                    let at = self.at(name)?;
                    for (row, (_, text)) in self.values(at).enumerate() {
                        features[[row, input + bucket(name, self.word(text), *buckets)]] = 1.0;
                    }
                }
                Column::Category { categories, other, .. } => {
                    let at = self.at(name)?;
                    let position = positions(categories);
                    let rest = other.then_some(categories.len());
                    for (row, (line, text)) in self.values(at).enumerate() {
                        let found = position.get(self.word(text)).copied().or(rest);
                        let category = found
                            .ok_or_else(|| self.fail(line, unknown(name, text, categories)))?;
                        features[[row, input + category]] = 1.0;
                    }
                }
                Column::Block { .. } => {
                    return Err(mismatch(format!("{name:?} is a block of inputs, not a column")));
                }
            }
            input += column.width();
        }
        Ok(features)
    }

    /// What is to be predicted of some rows.
    pub(super) fn targets<'b>(
        &self,
        target: &Target,
        values: impl Iterator<Item = (u64, &'b str)>,
    ) -> Result<Targets, DataError> {
        Ok(match target {
            Target::Class { name, classes } => {
                let position = positions(classes);
                let class = |(line, text): (u64, &str)| {
                    let found = position.get(text).map(|at| *at as u32);
                    found.ok_or_else(|| self.fail(line, unknown(name, text, classes)))
                };
                Targets::Classes(values.map(class).collect::<Result<_, _>>()?)
            }
            Target::Number { name, mean, scale } => {
                let number = |value| Ok(((self.number(name, value)? - mean) / scale) as f32);
                Targets::Numbers(values.map(number).collect::<Result<_, DataError>>()?)
            }
        })
    }
}

/// The bucket of a word (see [`Column::Hashed`]).
fn bucket(column: &str, word: &str, buckets: usize) -> usize {
    let digest = Sha256::new().chain_update(column).chain_update([0]).chain_update(word).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    (u64::from_be_bytes(first) % buckets as u64) as usize
}

fn positions(words: &[String]) -> HashMap<&str, usize> {
    words.iter().enumerate().map(|(at, word)| (word.as_str(), at)).collect()
}

fn unknown(column: &str, text: &str, known: &[String]) -> String {
    let known: Vec<&str> = known.iter().take(10).map(String::as_str).collect();
    format!(
        "column {column:?}: {text:?} is not one of the agreed values ({}{}); all learners must agree on a schema that has it \
         (colearn data summary), or has a place for others (--rare)",
        known.join(", "),
        if known.len() == 10 { ", ..." } else { "" }
    )
}
