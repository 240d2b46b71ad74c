//! Whom to believe, as it is said in Python: the keyword arguments of the package's `Pins` and `Trust`.

use std::path::PathBuf;

use colearn_records::pins::Pins;
use colearn_records::plan::Plan;
use colearn_sdk::client::Trust;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::Failed;
use crate::run::parsed;

/// What is insisted on, and the file of a checkpoint that is trusted.
#[derive(Default)]
struct Said {
    ledger: Option<String>,
    verifier_key: Option<String>,
    witnesses: Vec<String>,
    witness_quorum: Option<usize>,
    trust: Option<PathBuf>,
}

impl Said {
    fn read(arguments: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut said = Self::default();
        for (name, value) in arguments {
            match name.extract::<String>()?.as_str() {
                "ledger" => said.ledger = value.extract()?,
                "verifier_key" => said.verifier_key = value.extract()?,
                "witnesses" => said.witnesses = value.extract()?,
                "witness_quorum" => said.witness_quorum = value.extract()?,
                "trust" => said.trust = value.extract()?,
                // In the words of the interpreter, which would say so itself if they were named there.
                other => {
                    let why = format!("got an unexpected keyword argument '{other}'");
                    return Err(PyTypeError::new_err(why));
                }
            }
        }
        Ok(said)
    }

    fn over(&self, planned: &Pins) -> PyResult<Pins> {
        let ledger = self.ledger.as_deref().map(parsed).transpose()?;
        let key = self.verifier_key.as_deref().map(parsed).transpose()?;
        let witnesses = self.witnesses.iter().map(|it| parsed(it)).collect::<PyResult<_>>()?;
        let pins = planned.with(ledger, key, witnesses, self.witness_quorum);
        pins.map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

/// What is insisted on of a ledger that is read.
pub(crate) fn pins(arguments: Option<&Bound<'_, PyDict>>) -> PyResult<Pins> {
    let said = arguments.map(Said::read).transpose()?.unwrap_or_default();
    if said.trust.is_some() {
        return Err(PyTypeError::new_err("an audit trusts no checkpoint: leave out 'trust'"));
    }
    said.over(&Pins::default())
}

/// What is believed of a ledger that is followed; where it is not said, as is planned.
pub(crate) fn trust(
    py: Python<'_>,
    arguments: Option<&Bound<'_, PyDict>>,
    plan: Option<&Plan>,
) -> PyResult<Trust> {
    let said = arguments.map(Said::read).transpose()?.unwrap_or_default();
    let pins = said.over(&plan.map(|plan| plan.pins.clone()).unwrap_or_default())?;
    let checkpoint = said.trust.map(|path| {
        std::fs::read_to_string(&path).map_err(|error| {
            let what = format_args!("cannot read the checkpoint {}: {error}", path.display());
            Failed::of("NoteError")(&what).raise(py)
        })
    });
    Ok(Trust { pins, checkpoint: checkpoint.transpose()? })
}
