//! Simulations: scenarios as `colearn simulate` runs them, with learners, an attack and a rule in Python.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use colearn::simulate::{
    Aggregation, Own, OwnAttack, OwnLearner, OwnRule, Scenario, ScenarioError, Seen, Sent,
    Simulation, SimulationError, Varied, settings,
};
use colearn_learning::data::{Share, Targets};
use colearn_learning::learner_seed;
use colearn_records::words::Word as _;
use colearn_sdk::local::LocalError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::calls::Desk;
use crate::errors::Failed;
use crate::learner::{Known, PyLearner, check_together};
use crate::ledger::{give_up, in_pool, told};
use crate::weights::Weights;
use crate::{calls, values};

/// A learner that was handed in, and what is known of it; `None` for a built-in one.
type Handed = Option<(Py<PyAny>, Known)>;

/// Runs a scenario (TOML), of a file in `folder` if it is of one: its report, with what happened where there was a vote.
///
/// `learners` are the learners, or `make` makes them of their shares; `attack` and `merge` are asked where the scenario says
/// `own`. `tell` hears of rounds, and `failed` what a learner raised that costs a turn or a vote only.
#[pyfunction]
#[pyo3(signature = (scenario, *, folder, learners, make, attack, merge, tell, failed))]
#[allow(clippy::too_many_arguments, reason = "each is one of Python's named arguments")]
pub(crate) fn simulate<'py>(
    py: Python<'py>,
    scenario: String,
    folder: Option<PathBuf>,
    learners: Option<Vec<Py<PyAny>>>,
    make: Option<Py<PyAny>>,
    attack: Option<Py<PyAny>>,
    merge: Option<Py<PyAny>>,
    tell: Option<Py<PyAny>>,
    failed: Py<PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (count, merges) = (learners.as_ref().map(Vec::len), merge.is_some());
    let read = py.detach(|| in_pool(|| read(&scenario, folder.as_deref(), count, merges)));
    let read = read.and_then(|read| read.map_err(Failed::other));
    let (scenario, shares) = read.map_err(|error| error.raise(py))?;
    let handed: Vec<Handed> = match (learners, make) {
        (Some(learners), _) => {
            let known = |it: Py<PyAny>| Ok(Some((it.clone_ref(py), Known::of(it.bind(py))?)));
            learners.into_iter().map(known).collect::<PyResult<_>>()?
        }
        (None, Some(make)) => made(py, &scenario, &shares, make.bind(py))?,
        (None, None) => Vec::new(),
    };
    let known: Vec<Option<&Known>> =
        handed.iter().map(|it| it.as_ref().map(|(_, known)| known)).collect();
    let is_merged = scenario.is_merged().map_err(|error| Failed::other(error).raise(py))?;
    check_together(py, &known, is_merged)?;
    let (tell, failed) = (tell.map(Arc::new), Arc::new(failed));
    // Where all are in Python they are called one after the other in any case: on one thread it is in their order.
    let threads = usize::from(!known.is_empty() && known.iter().all(Option::is_some));
    let done = calls::serve(py, move |desk, _| {
        let say = |round: u64, verdict: Option<&'static str>, score: Option<f64>| {
            let tell = tell.clone();
            give_up(desk.call(move |py| {
                tell.map_or(Ok(()), |tell| tell.call1(py, (round, verdict, score)).map(drop))
            }));
        };
        let learner = |(at, handed): (usize, Handed)| -> Option<OwnLearner> {
            let (object, known) = handed?;
            let (failed, desk) = (Arc::clone(&failed), desk.clone());
            Some(Box::new(PyLearner::new(object, failed, desk, known.current, Some(at + 1))))
        };
        let own = Own {
            learners: handed.into_iter().enumerate().map(learner).collect(),
            attack: attack.map(|attack| own_attack(desk.clone(), attack)),
            rule: merge.map(|merge| own_rule(desk.clone(), merge)),
        };
        let run = || -> Result<serde_json::Value, SimulationError> {
            let simulation = Simulation::with(&scenario, &shares, own)?;
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
        // Its threads end with the run. None at all means one a core.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_err(Failed::other)?.install(run).map_err(|error| match error {
            SimulationError::Run(LocalError::Accept { source, .. })
            | SimulationError::Failed(source) => Failed::of_learner("ModelError", source),
            error => Failed::other(error),
        })
    })?;
    values::object(py, &done.map_err(|error| error.raise(py))?)
}

/// One setting of a sweep: whether an attack and a rule that are handed in have a place in it, and its scenarios (TOML),
/// one for each seed.
type Setting = (bool, bool, Vec<String>);

/// What a sweep runs, in the order of `colearn simulate --vary`, as which `varied` are written.
#[pyfunction]
pub(crate) fn sweep(
    py: Python<'_>,
    scenario: &str,
    varied: Vec<String>,
    seeds: u64,
) -> PyResult<Vec<Setting>> {
    let all = || -> Result<Vec<Setting>, ScenarioError> {
        let read = |text: &String| {
            text.parse().map_err(|why| ScenarioError::Malformed(format!("{text}: {why}")))
        };
        let varied = varied.iter().map(read).collect::<Result<Vec<Varied>, _>>()?;
        let seeded = |text: &str, seed: u64| {
            let seed = toml::Value::try_from(seed)
                .map_err(|error| ScenarioError::Malformed(format!("seed {seed}: {error}")))?;
            Scenario::with(text, &vec![("seed".to_owned(), Some(seed))])
        };
        let settings = settings(&varied).map_err(ScenarioError::Malformed)?;
        let settings = settings.iter().map(|setting| {
            let text = Scenario::with(scenario, setting)?;
            let read = Scenario::parse(&text)?;
            let seeds = read.seed..read.seed.saturating_add(seeds);
            let texts = seeds.map(|seed| seeded(&text, seed)).collect::<Result<_, _>>()?;
            Ok((read.takes_attack()?, read.takes_rule(), texts))
        });
        settings.collect()
    };
    all().map_err(|error| Failed::other(error).raise(py))
}

/// The scenario, and the shares of its data, which lies in the folder unless that is said in full; none where so many
/// learners bring their own. `merges` says whether there is a rule in Python.
fn read(
    text: &str,
    folder: Option<&Path>,
    learners: Option<usize>,
    merges: bool,
) -> Result<(Scenario, Vec<Share>), SimulationError> {
    let mut scenario = match learners {
        Some(learners) => Scenario::parse_for(text, learners)?,
        None => Scenario::parse(text)?,
    };
    if let (Some(data), Some(folder)) = (&scenario.data, folder) {
        scenario.data = Some(folder.join(data));
    }
    if merges {
        scenario.rule = scenario.rule.or(Some(Aggregation::Own));
    }
    let shares = match learners {
        Some(_) => Vec::new(),
        None => scenario.split(&scenario.load()?)?,
    };
    Ok((scenario, shares))
}

/// What a function in Python makes of each share.
fn made(
    py: Python<'_>,
    scenario: &Scenario,
    shares: &[Share],
    make: &Bound<'_, PyAny>,
) -> PyResult<Vec<Handed>> {
    let raise = |error: &dyn std::fmt::Display| Failed::other(error).raise(py);
    let Some(first) = shares.first() else { return Ok(Vec::new()) };
    let initial = scenario.initial(&first.data.schema).map_err(|error| raise(&error))?;
    let shares = scenario.poisoned(shares).map_err(|error| raise(&error))?;
    let make_one = |(at, share): (usize, &Share)| -> PyResult<Handed> {
        let schema = &share.data.schema;
        let rows = [&share.train, &share.vote, &share.test];
        let [train, vote, test] = rows.map(|rows| table(py, share, rows));
        let made = make.call1((
            at + 1,
            learner_seed(scenario.seed, at + 1),
            schema.width(),
            schema.target.classes(),
            (train?, vote?, test?),
            Weights::from(initial.clone()),
        ))?;
        match made.is_none() {
            true => Ok(None),
            false => Ok(Some((made.clone().unbind(), Known::of(&made)?))),
        }
    };
    shares.iter().enumerate().map(make_one).collect()
}

/// Some rows of a share: inputs, as floats of 32 bits, and targets, as such or as class numbers of 32 bits.
fn table<'py>(
    py: Python<'py>,
    share: &Share,
    rows: &[usize],
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (inputs, targets) = share.select(rows);
    let targets = match targets {
        Targets::Classes(classes) => {
            words(py, classes.len(), classes.into_iter().map(u32::to_le_bytes))?
        }
        Targets::Numbers(numbers) => floats(py, &[numbers])?,
    };
    Ok((words(py, inputs.len(), inputs.iter().map(|value| value.to_le_bytes()))?, targets))
}

/// Rows of numbers, one after the other.
fn floats<'py>(py: Python<'py>, rows: &[Vec<f32>]) -> PyResult<Bound<'py, PyBytes>> {
    let count = rows.iter().map(Vec::len).sum();
    words(py, count, rows.iter().flatten().map(|value| value.to_le_bytes()))
}

/// So many words of 32 bits, the lowest byte first.
fn words(
    py: Python<'_>,
    count: usize,
    words: impl Iterator<Item = [u8; 4]>,
) -> PyResult<Bound<'_, PyBytes>> {
    PyBytes::new_with(py, 4 * count, |bytes| {
        let (places, _) = bytes.as_chunks_mut::<4>();
        places.iter_mut().zip(words).for_each(|(place, word)| *place = word);
        Ok(())
    })
}

/// An attack in Python: what it raises ends the run.
fn own_attack(desk: Desk, attack: Py<PyAny>) -> OwnAttack {
    let attack = Arc::new(attack);
    Arc::new(move |seen: Seen| {
        let attack = Arc::clone(&attack);
        Ok(give_up(desk.demand(move |py| {
            let arrays = (
                floats(py, &[seen.base])?,
                floats(py, &[seen.trained])?,
                floats(py, &seen.honest)?,
            );
            let who = (seen.round, seen.learner, seen.member, seen.members);
            let sent = attack.call1(py, (who, (*seen.layout).clone(), arrays, seen.seed))?;
            Ok(numbers(sent.bind(py).cast::<PyBytes>()?))
        })))
    })
}

/// A rule in Python: what it raises ends the run.
fn own_rule(desk: Desk, merge: Py<PyAny>) -> OwnRule {
    let merge = Arc::new(merge);
    Arc::new(move |sent: Sent| {
        let merge = Arc::clone(&merge);
        Ok(give_up(desk.demand(move |py| {
            let arrays = (floats(py, &[sent.base])?, floats(py, &sent.updates)?);
            let who = (sent.round, sent.learners, sent.weights);
            let next = merge.call1(py, (who, (*sent.layout).clone(), arrays, sent.seed))?;
            let next: Option<Bound<'_, PyBytes>> = next.extract(py)?;
            Ok(next.map(|next| numbers(&next)))
        })))
    })
}

/// Floats of 32 bits, as Python has written them.
fn numbers(bytes: &Bound<'_, PyBytes>) -> Vec<f32> {
    let (words, _) = bytes.as_bytes().as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}
