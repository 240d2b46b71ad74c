//! Simulations: scenarios as `colearn simulate` runs them.

use std::sync::Arc;

use colearn::simulate::{Scenario, Simulation, SimulationError};
use colearn_records::words::Word as _;
use pyo3::prelude::*;

use crate::errors::Failed;
use crate::ledger::{give_up, in_pool, told};
use crate::{calls, values};

/// Runs a scenario (TOML): its report, with what happened where there was a vote.
#[pyfunction]
#[pyo3(signature = (scenario, *, tell))]
pub(crate) fn simulate<'py>(
    py: Python<'py>,
    scenario: String,
    tell: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let tell = tell.map(Arc::new);
    let done = calls::serve(py, move |desk, _| {
        let say = |round: u64, verdict: Option<&'static str>, score: Option<f64>| {
            let tell = tell.clone();
            give_up(desk.call(move |py| {
                tell.map_or(Ok(()), |tell| tell.call1(py, (round, verdict, score)).map(drop))
            }));
        };
        let run = || -> Result<serde_json::Value, SimulationError> {
            let scenario = Scenario::parse(&scenario)?;
            let shares = scenario.split(&scenario.load()?)?;
            let simulation = Simulation::new(&scenario, &shares)?;
            let (report, run) = simulation.run(
                |_, round| {
                    let verdict = round.result.map(|result| result.verdict.word());
                    say(round.number, verdict, round.mean_scores().1);
                },
                |round, score| say(round, None, Some(score)),
            )?;
            let history = run.map(|run| told(&run.history));
            let mut told = serde_json::to_value(&report).unwrap_or_default();
            told["history"] = history.into();
            Ok(told)
        };
        in_pool(run)?.map_err(Failed::other)
    })?;
    values::object(py, &done.map_err(|error| error.raise(py))?)
}
