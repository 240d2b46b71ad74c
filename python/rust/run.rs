//! Running learners: on a ledger, and on this machine without one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use colearn_contracts::{Digest, ExperimentName, MemberName, Parameters};
use colearn_records::plan::Plan;
use colearn_records::words::Word as _;
use colearn_sdk::client::{self, Event, Nodes, Options, Prepared, Trust};
use colearn_sdk::encrypted::ModelKeys;
use colearn_sdk::local::{self, LocalError};
use colearn_sdk::policy::Policy;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::calls::{self, Desk, Gone};
use crate::client::Addresses;
use crate::errors::{self, Failed};
use crate::keys::Key;
use crate::learner::{self, Known, PyLearner};
use crate::{ledger, pins, values, weights};

/// Where and as whom a learner takes part, and who is told.
struct Taking {
    node: Nodes,
    experiment: ExperimentName,
    key: colearn_records::keys::Key,
    name: Option<MemberName>,
    /// The terms that were agreed on.
    terms: Option<Digest>,
    plan: Option<Plan>,
    policy: Option<Policy>,
    model_keys: Option<ModelKeys>,
    data: Option<PathBuf>,
    patience: Option<Duration>,
    trust: Trust,
    /// Told how many rounds there will be at most, before it joins.
    begin: Py<PyAny>,
    /// Told what happens: its kind, the same for people, and the round.
    tell: Arc<Py<PyAny>>,
}

/// Runs a learner in an experiment until that finishes: why it ended, the final model, and how many rounds there were.
#[pyfunction]
#[pyo3(signature = (learner, *, node, experiment, key, name, terms, plan, policy, model_keys, data, patience, pins, begin, tell, failed))]
#[allow(clippy::too_many_arguments, reason = "each is one of Python's named arguments")]
pub(crate) fn run(
    py: Python<'_>,
    learner: Py<PyAny>,
    node: Addresses,
    experiment: &str,
    key: &Key,
    name: Option<&str>,
    terms: Option<&str>,
    plan: Option<&str>,
    policy: Option<PathBuf>,
    model_keys: Option<PathBuf>,
    data: Option<PathBuf>,
    patience: Option<f64>,
    pins: &Bound<'_, PyDict>,
    begin: Py<PyAny>,
    tell: Py<PyAny>,
    failed: Py<PyAny>,
) -> PyResult<(String, String, u64)> {
    let plan = plan.map(|text| plan_of(py, text)).transpose()?;
    let (trust, reach) = pins::trust(py, Some(pins), plan.as_ref())?;
    let taking = Taking {
        node: Nodes::from(node).trusting(reach),
        experiment: parsed(experiment)?,
        key: key.inner.clone(),
        name: name.map(parsed).transpose()?,
        terms: terms.map(weights::digest).transpose()?,
        trust,
        plan,
        policy: policy.as_deref().map(|file| policy_of(py, file)).transpose()?,
        model_keys: model_keys.as_deref().map(|file| model_keys_of(py, file)).transpose()?,
        data,
        patience: patience.map(seconds).transpose()?,
        begin,
        tell: Arc::new(tell),
    };
    let known = Known::of(learner.bind(py))?;
    let failed = Arc::new(failed);
    let ended = calls::serve(py, move |desk, interrupted| {
        let learner = PyLearner::new(learner, failed, desk.clone(), known.current.clone(), None);
        interrupted.unless(take_part(learner, known, taking, desk))
    })?;
    match ended? {
        Some(Ok(summary)) => {
            let model = summary.model.digest.to_string();
            Ok((
                summary.reason.map_or("left", |reason| reason.word()).to_owned(),
                model,
                summary.rounds,
            ))
        }
        Some(Err(error)) => Err(error.raise(py)),
        None => Err(Failed::other(Gone).raise(py)),
    }
}

async fn take_part(
    learner: PyLearner,
    known: Known,
    taking: Taking,
    desk: Desk,
) -> Result<client::Summary, Failed> {
    let Taking {
        node,
        experiment,
        key,
        name,
        terms,
        plan,
        policy,
        model_keys,
        data,
        patience,
        trust,
        begin,
        tell: told,
    } = taking;
    let telling = desk.clone();
    let watch = Box::new(move |event: &Event| tell(&telling, &told, event));
    let options = Options {
        name,
        plan,
        policy,
        model_keys,
        data,
        trust,
        patience,
        watch,
        ..Options::new(node, experiment, key)
    };
    let prepared = client::prepare(options).await?;
    look(&prepared, &known, terms)?;
    let most = prepared.described()?.experiment.parameters.max_rounds;
    // Where nobody listens any more the run is about to end, here as below.
    let _ = desk.call(move |py| begin.call1(py, (most,)).map(drop));
    Ok(prepared.run(learner).await?.1)
}

/// Sees that the experiment is one for this learner, before it joins.
fn look(prepared: &Prepared, known: &Known, agreed: Option<Digest>) -> Result<(), Failed> {
    let shown = prepared.described()?;
    let media_type = &shown.experiment.model.media_type;
    if *media_type != known.media_type {
        return Err(Failed::of("ModelError")(&format_args!(
            "the experiment's weights are {media_type}, this learner's {}; learners of the original package take part \
             through: colearn bridge",
            known.media_type
        )));
    }
    let terms = shown.experiment.terms;
    let is_member = shown.member.as_ref().is_some_and(|member| member.seat.is_member());
    match agreed.filter(|agreed| *agreed != terms && !is_member) {
        None => Ok(()),
        Some(agreed) => Err(Failed::of("TermsError")(&format_args!(
            "the terms of {} are {terms}, not the {agreed} that were agreed on; nothing was joined",
            shown.experiment.name
        ))),
    }
}

/// Tells what happens.
fn tell(desk: &Desk, told: &Arc<Py<PyAny>>, event: &Event) {
    let (kind, text, round) = (event.word(), colearn::event_text(event), event.round());
    let told = Arc::clone(told);
    let _ = desk.call(move |py| told.call1(py, (kind, text, round)).map(drop));
}

/// Runs learners without a network: what happened, as `ledger.experiments` has it.
#[pyfunction]
#[pyo3(signature = (learners, *, plan, rounds, begin, tell, failed))]
pub(crate) fn run_local<'py>(
    py: Python<'py>,
    learners: Vec<Py<PyAny>>,
    plan: Option<&str>,
    rounds: Option<u64>,
    begin: &Bound<'py, PyAny>,
    tell: Py<PyAny>,
    failed: Py<PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let plan = plan.map(|text| plan_of(py, text)).transpose()?.unwrap_or_default();
    let max_rounds = rounds.or(plan.parameters.max_rounds).or(Some(DEFAULT_ROUNDS));
    let parameters = Parameters { max_rounds, ..plan.parameters };
    let known: Vec<Known> =
        learners.iter().map(|it| Known::of(it.bind(py))).collect::<PyResult<_>>()?;
    let all: Vec<Option<&Known>> = known.iter().map(Some).collect();
    learner::check_together(py, &all, parameters.merging.is_some())?;
    begin.call1((max_rounds,))?;
    let (failed, told) = (Arc::new(failed), Arc::new(tell));
    let ended = calls::serve(py, move |desk, _| {
        let make = |(at, (object, known)): (usize, (Py<PyAny>, Known))| {
            PyLearner::new(object, Arc::clone(&failed), desk.clone(), known.current, Some(at + 1))
        };
        let all = learners.into_iter().zip(known).enumerate();
        let mut learners: Vec<PyLearner> = all.map(make).collect();
        // Its threads end with the run: all they do is to wait for the one that was called on.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(learners.len().clamp(1, 64)).build();
        let pool = pool.map_err(Failed::other)?;
        let watch = |_: &_, round: &colearn_records::history::Round| {
            let (number, verdict) = (round.number, round.result.map(|it| it.verdict.word()));
            let told = Arc::clone(&told);
            let _ = desk.call(move |py| told.call1(py, (number, verdict)).map(drop));
        };
        let ran = pool.install(|| local::run(&mut learners, parameters, watch));
        ran.map_err(|error| match error {
            LocalError::Accept { source, .. } => Failed::of_learner("ModelError", source),
            error => Failed::other(error),
        })
    })?;
    let ran = ended.map_err(|error| error.raise(py))?;
    values::object(py, &ledger::told(&ran.history))
}

/// How many rounds a local run has where nobody says it.
const DEFAULT_ROUNDS: u64 = 15;

/// Reads a word, such as a name.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> PyResult<T> {
    text.parse().map_err(|error| PyValueError::new_err(format!("{text:?}: {error}")))
}

/// Reads a plan's text.
pub(crate) fn plan_of(py: Python<'_>, text: &str) -> PyResult<Plan> {
    Plan::parse(text)
        .map_err(|error| errors::raise(py, "PlanError", format_args!("the plan: {error}")))
}

/// Reads a site's policy.
fn policy_of(py: Python<'_>, file: &Path) -> PyResult<Policy> {
    Policy::read(file).map_err(|error| errors::raise(py, "PolicyError", error))
}

/// Reads the keys of encrypted models.
pub(crate) fn model_keys_of(py: Python<'_>, file: &Path) -> PyResult<ModelKeys> {
    ModelKeys::read(file).map_err(|error| errors::raise(py, "ModelError", error))
}

/// A time that was given in seconds.
fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        PyValueError::new_err(format!("patience is a number of seconds, not {seconds}"))
    })
}
