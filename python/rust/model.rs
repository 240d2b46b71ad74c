//! The model out, as `colearn model` does it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use colearn::model::{self, FetchError, GetError, Progress, VerifyError};
use colearn::place::Place;
use colearn::proving::Proving;
use colearn_audit::models::Which;
use colearn_audit::{AuditOptions, SourceError};
use colearn_learning::Predictor;
use colearn_learning::data::DialectOptions;
use colearn_sdk::learner::Weights;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::json;

use crate::calls::{self, Desk};
use crate::errors::Failed;
use crate::ledger::{give_up, in_pool};
use crate::{pins, schema, values};

/// Looks into a model's file.
#[pyfunction]
pub(crate) fn model_show(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    let shown = py.detach(|| model::show(&path))?;
    values::object(py, &shown.to_json())
}

/// Audits a ledger, and writes a model to a file.
#[pyfunction]
#[pyo3(signature = (experiment, place, out, *, round, best, pins, tell))]
#[allow(clippy::too_many_arguments)]
pub(crate) fn model_get<'py>(
    py: Python<'py>,
    experiment: String,
    place: String,
    out: PathBuf,
    round: Option<u64>,
    best: bool,
    pins: &Bound<'py, PyDict>,
    tell: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (pins, reach) = pins::pins(Some(pins))?;
    let which = match (round, best) {
        (Some(round), _) => Which::After(round),
        (None, true) => Which::Best,
        (None, false) => Which::Current,
    };
    let got = calls::serve(py, move |desk, _| {
        let name = experiment.parse().map_err(Failed::other)?;
        let progress = telling(&desk, tell);
        // Whether anybody still waits shows here, too.
        let bytes = |_, _| give_up(desk.call(|_| Ok(())));
        let place = Place::new(&place).trusting(reach.reading(&place).map_err(Failed::other)?);
        let progress = Progress { entries: &progress, bytes: &bytes };
        let proving = Proving::of(&place, &pins).map_err(Failed::other)?;
        let known = (pins, proving.as_ref().map(Proving::prover));
        let get = || model::get(&place, Some(&name), which, &out, known, progress);
        in_pool(get)?.map_err(|error| failed(&error))?.to_json().map_err(Failed::other)
    })?;
    values::object(py, &got.map_err(|error| error.raise(py))?)
}

fn failed(error: &GetError) -> Failed {
    let class = match error {
        GetError::Ledger(_) | GetError::Source(SourceError::NotProven(_)) => "VerificationError",
        GetError::Fetch(
            FetchError::Missing { .. }
            | FetchError::NoWeights(_)
            | FetchError::WrongBytes { .. }
            | FetchError::Unreadable { .. },
        ) => "ArtifactError",
        GetError::NoNode(_) | GetError::Fetch(FetchError::Net(_) | FetchError::Slow(_)) => {
            "UnreachableError"
        }
        GetError::Source(_) => "MalformedError",
        GetError::NoModel(_)
        | GetError::Fetch(
            FetchError::Answer { .. } | FetchError::Busy(_) | FetchError::Io { .. },
        ) => "ColearnError",
    };
    Failed::of(class)(error)
}

/// Audits a ledger, and looks a model's file up in it.
#[pyfunction]
#[pyo3(signature = (path, place, experiment, *, pins, tell))]
pub(crate) fn model_verify<'py>(
    py: Python<'py>,
    path: PathBuf,
    place: String,
    experiment: Option<String>,
    pins: &Bound<'py, PyDict>,
    tell: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (pins, reach) = pins::pins(Some(pins))?;
    let verified = calls::serve(py, move |desk, _| {
        let name = experiment.map(|name| name.parse()).transpose().map_err(Failed::other)?;
        let progress = telling(&desk, tell);
        let place = Place::new(&place).trusting(reach.reading(&place).map_err(Failed::other)?);
        let proving = Proving::of(&place, &pins).map_err(Failed::other)?;
        let prover = proving.as_ref().map(Proving::prover);
        let progress = Some(&progress as _);
        let options = AuditOptions { pins, prover, progress, ..AuditOptions::default() };
        let look = |path: &Path| model::verify(path, &place, name.as_ref(), options);
        let verified = in_pool(|| look(&path))?;
        verified
            .map(|verified| verified.to_json())
            .map_err(|error: VerifyError| Failed::other(error))
    })?;
    values::object(py, &verified.map_err(|error| error.raise(py))?)
}

/// Has a built-in model predict the rows of a CSV or Parquet file, or of a table that the package has written: what
/// `colearn predict` writes, and what it tells besides.
#[pyfunction]
#[pyo3(signature = (path, *, file, table))]
pub(crate) fn model_predict<'py>(
    py: Python<'py>,
    path: PathBuf,
    file: Option<PathBuf>,
    table: Option<String>,
) -> PyResult<Bound<'py, PyAny>> {
    let predicted = py.detach(|| {
        let cannot = |error: &dyn std::fmt::Display| {
            Failed::of("ModelError")(&format_args!("{} cannot be used: {error}", path.display()))
        };
        let weights = Weights::open(&path).map_err(|error| cannot(&error))?;
        let model = Predictor::new(&weights).map_err(|error| cannot(&error))?;
        let predictions = match (file, table) {
            (Some(file), _) => model.predict_file(&file, &DialectOptions::default()),
            (None, table) => {
                let table = table.unwrap_or_default();
                model.predict("the table", &mut table.as_bytes(), &schema::written().dialect)
            }
        };
        let predictions = predictions.map_err(|error| Failed::of("SchemaError")(&error))?;
        let mut csv = Vec::new();
        predictions.write(&mut csv).map_err(Failed::other)?;
        let scores = predictions.scores().map(|(rows, scores)| {
            let scores = scores.into_iter().map(|(metric, score)| (metric.name(), score));
            json!({ "rows": rows, "scores": scores.collect::<BTreeMap<_, _>>() })
        });
        Ok(json!({
            "csv": String::from_utf8_lossy(&csv),
            "classes": model.spec().schema.target.classes(),
            "scored": scores,
            "passed_over": predictions.passed_over,
            "notes": predictions.notes,
        }))
    });
    values::object(py, &predicted.map_err(|error: Failed| error.raise(py))?)
}

/// Tells how many entries are audited; and ends the audit when nobody waits for it any more.
fn telling(desk: &Desk, tell: Option<Py<PyAny>>) -> impl Fn(u64, u64) + Sync {
    let (desk, tell) = (desk.clone(), tell.map(Arc::new));
    move |done, all| {
        let tell = tell.clone();
        give_up(
            desk.call(move |py| tell.map_or(Ok(()), |tell| tell.call1(py, (done, all)).map(drop))),
        );
    }
}
