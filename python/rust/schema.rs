//! What a table's columns mean, and its rows as a model's inputs.

use colearn_learning::data::{CsvOptions, Dataset, DialectOptions, Schema, Targets};
use colearn_learning::model::ModelSpec;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{self, Failed};
use crate::weights::Weights;

/// Rows as inputs: how many inputs a row has, the inputs and the targets as 32-bit numbers; the last are classes
/// if there are any, and numbers otherwise.
type Encoded<'py> = (usize, Bound<'py, PyBytes>, Bound<'py, PyBytes>, bool);

fn schema_of(py: Python<'_>, text: &str) -> PyResult<Schema> {
    let schema: Schema = serde_json::from_str(text)
        .map_err(|error| errors::raise(py, "SchemaError", format_args!("the schema: {error}")))?;
    let checked = schema.check();
    checked.map_err(|why| errors::raise(py, "SchemaError", format_args!("the schema: {why}")))?;
    Ok(schema)
}

fn read(py: Python<'_>, table: &str, options: &CsvOptions) -> PyResult<Dataset> {
    py.detach(|| Dataset::read_csv("the table", table.as_bytes(), options))
        .map_err(|error| errors::raise(py, "SchemaError", error))
}

fn text_of(py: Python<'_>, schema: &Schema) -> PyResult<String> {
    serde_json::to_string_pretty(schema).map_err(|error| Failed::other(error).raise(py))
}

/// The package writes the tables itself: nothing is to be found.
pub(crate) fn written() -> CsvOptions {
    let dialect = DialectOptions {
        delimiter: Some(b','),
        decimal: Some('.'),
        encoding: Some("utf-8".to_owned()),
        missing: Vec::new(),
        dates: None,
    };
    CsvOptions { dialect, ..CsvOptions::default() }
}

/// The schema (JSON) that fits a table (CSV).
#[pyfunction]
pub(crate) fn derive(
    py: Python<'_>,
    table: &str,
    label: String,
    ignore: Vec<String>,
    regression: Option<bool>,
) -> PyResult<String> {
    let options = CsvOptions { label: Some(label), ignore, regression, ..written() };
    text_of(py, &read(py, table, &options)?.schema)
}

/// A table's (CSV) rows, as a schema (JSON) says.
#[pyfunction]
pub(crate) fn encode<'py>(py: Python<'py>, schema: &str, table: &str) -> PyResult<Encoded<'py>> {
    let schema = Some(schema_of(py, schema)?);
    let data = read(py, table, &CsvOptions { schema, ..written() })?;
    let inputs: Vec<u8> = data.view().iter().flat_map(|it| it.to_ne_bytes()).collect();
    let (targets, classes) = match &data.targets {
        Targets::Classes(all) => (all.iter().flat_map(|it| it.to_ne_bytes()).collect(), true),
        Targets::Numbers(all) => (all.iter().flat_map(|it| it.to_ne_bytes()).collect(), false),
    };
    let targets: Vec<u8> = targets;
    Ok((data.width(), PyBytes::new(py, &inputs), PyBytes::new(py, &targets), classes))
}

/// The schema (JSON) in the header of a built-in model.
#[pyfunction]
pub(crate) fn model_schema(py: Python<'_>, weights: &Weights) -> PyResult<String> {
    let spec = ModelSpec::of(&weights.inner);
    text_of(py, &spec.map_err(|error| errors::raise(py, "ModelError", error))?.schema)
}
