//! Accounting for differential privacy.

use colearn_dp::{Accountant, DpError, Segment, epsilon_of};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

fn refused(error: DpError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The epsilon of all these steps together, each `(noise_multiplier, sampling_rate, steps)`.
#[pyfunction]
pub(crate) fn epsilon(py: Python<'_>, segments: Vec<(f64, f64, u64)>, delta: f64) -> PyResult<f64> {
    let segments: Vec<Segment> = segments
        .into_iter()
        .map(|(noise, sampling, steps)| Segment { noise, sampling, steps })
        .collect();
    py.detach(|| epsilon_of(&segments, delta)).map_err(refused)
}

/// The least noise multiplier that keeps some steps within an epsilon.
#[pyfunction]
pub(crate) fn noise_multiplier(
    py: Python<'_>,
    epsilon: f64,
    delta: f64,
    sampling_rate: f64,
    steps: u64,
) -> PyResult<f64> {
    let accountant = Accountant::default();
    py.detach(|| accountant.noise_multiplier(epsilon, delta, sampling_rate, steps)).map_err(refused)
}
