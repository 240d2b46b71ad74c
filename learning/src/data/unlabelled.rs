//! Rows whose targets a model is to say.

use std::io::Read;
use std::path::Path;

use ndarray::Array2;

use super::cells::Places;
use super::dialect::DialectOptions;
use super::schema::{Column, Schema};
use super::table::{Table, Wanted};
use super::{DataError, Targets};

/// Rows whose targets are to be said by a model.
pub(crate) struct Unlabelled {
    /// Rows of inputs.
    pub(crate) features: Array2<f32>,
    /// The rows whose targets the file has, and these.
    pub(crate) known: Option<(Vec<usize>, Targets)>,
    /// The columns that mean nothing to the schema.
    pub(crate) passed_over: Vec<String>,
    /// Where each row is.
    pub(crate) places: Places,
    /// What was found of how the file is written.
    pub(crate) notes: Vec<String>,
}

impl Unlabelled {
    /// Reads a file.
    pub(crate) fn open(
        path: &Path,
        schema: &Schema,
        options: &DialectOptions,
    ) -> Result<Self, DataError> {
        Table::open(path, options, Wanted::Of(schema))?.unlabelled(schema)
    }

    /// Reads what comes as a stream.
    pub(crate) fn read(
        name: &str,
        from: &mut dyn Read,
        schema: &Schema,
        options: &DialectOptions,
    ) -> Result<Self, DataError> {
        Table::read(name, from, options)?.unlabelled(schema)
    }
}

impl Table {
    /// The rows for a model that is to say what their targets are.
    fn unlabelled(self, schema: &Schema) -> Result<Unlabelled, DataError> {
        let schema = &self.with_columns(schema)?;
        let needed: Vec<&str> = schema.features.iter().map(Column::name).collect();
        let target = schema.target.name();
        let missing: Vec<&str> =
            needed.iter().copied().filter(|it| !self.columns.iter().any(|has| has == it)).collect();
        if !missing.is_empty() {
            let (missing, has) = (missing.join(", "), self.columns.join(", "));
            let message =
                format!("it has no column {missing}, which the model needs; it has: {has}");
            return Err(DataError::Schema { name: self.name.clone(), message });
        }
        let passed_over = self.columns.iter();
        let passed_over = passed_over
            .filter(|it| *it != target && !it.is_empty() && !needed.contains(&it.as_str()));
        let passed_over = passed_over.cloned().collect();
        let known = self.columns.iter().position(|column| column == target).map(|at| {
            self.is_there(at)?;
            // What is not filled in is what somebody wants to know.
            let filled =
                self.values(at).enumerate().filter(|(_, (_, text))| !self.dialect.is_missing(text));
            let (rows, values): (Vec<usize>, Vec<(u64, &str)>) = filled.unzip();
            self.targets(&schema.target, values.into_iter()).map(|targets| (rows, targets))
        });
        let (known, features) = (known.transpose()?, self.features(schema)?);
        Ok(Unlabelled {
            features,
            known,
            passed_over,
            places: self.places,
            notes: self.dialect.notes,
        })
    }

    /// The schema with a column for each input of its block. A block's inputs have no names: they are all of the
    /// file's columns but the target, in their order, and must be as many.
    fn with_columns(&self, schema: &Schema) -> Result<Schema, DataError> {
        let [Column::Block { name, width, mean, scale }] = &schema.features[..] else {
            return Ok(schema.clone());
        };
        let target = schema.target.name();
        // One without a name, such as a row's number, is left out here, too: it would shift all the others.
        let columns = self.columns.iter().filter(|it| *it != target && !it.is_empty());
        let features: Vec<Column> = columns
            .map(|name| Column::Number {
                name: name.clone(),
                mean: *mean,
                scale: *scale,
                missing: None,
            })
            .collect();
        if features.len() != *width {
            let found = features.len();
            let message = format!(
                "the model needs the {width} columns of {name} in their order, and it has {found}"
            );
            return Err(DataError::Schema { name: self.name.clone(), message });
        }
        Ok(Schema { features, target: schema.target.clone() })
    }
}
