//! Reading ledgers, and auditing them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use colearn::place::Place;
use colearn::proving::Proving;
use colearn_audit::{self as audit_crate, AuditOptions, AuditReport, Level, Promise};
use colearn_contracts::{Act, Choice, Decision, LearnerId};
use colearn_records::history::{History, MergedRound, Round, unit};
use colearn_records::pins::Pins;
use colearn_records::record::{DecodedEntry, Record};
use colearn_records::words::Word as _;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde_json::{Map, Value, json};

use crate::calls::{self, Desk};
use crate::errors::Failed;
use crate::pins::Reach;
use crate::{learner, pins, values};

/// What happened in an experiment, and where in the ledger that stands.
struct Story {
    creator: LearnerId,
    model: String,
    history: History,
    /// When each round was opened, and closed.
    times: BTreeMap<u64, (u64, Option<u64>)>,
    /// The entries of votes, by round and voter.
    votes: BTreeMap<(u64, LearnerId), u64>,
    /// The entries of evaluations.
    evaluations: Vec<u64>,
}

impl Story {
    fn record(&mut self, entry: &DecodedEntry) {
        self.history.record(entry);
        match &entry.record {
            Record::Transaction(transaction) => {
                let round = self.history.rounds.last().map_or(0, |round| round.number);
                match &transaction.action.what {
                    Act::Vote(_) | Act::Reveal(_) | Act::MergeVote(_) | Act::RevealMergeVote(_) => {
                        self.votes.insert((round, transaction.sender), entry.index);
                    }
                    Act::Evaluate(_) => self.evaluations.push(entry.index),
                    // Votes that were cast under the old key are found under the new one.
                    Act::ReplaceKey { to, .. } => {
                        let (old, kept) = std::mem::take(&mut self.votes)
                            .into_iter()
                            .partition(|((_, voter), _)| *voter == transaction.sender);
                        let old: BTreeMap<(u64, LearnerId), u64> = old;
                        self.votes = kept;
                        self.votes.extend(old.into_iter().map(|((at, _), it)| ((at, *to), it)));
                    }
                    _ => {}
                }
            }
            Record::Outcome(outcome) => match outcome.what {
                Decision::RoundOpened { round, .. } | Decision::TrainingOpened { round, .. } => {
                    self.times.insert(round, (entry.time_ms, None));
                }
                Decision::RoundClosed { round, model, .. } => {
                    self.model = model.to_string();
                    if let Some((_, closed)) = self.times.get_mut(&round) {
                        *closed = Some(entry.time_ms);
                    }
                }
                _ => {}
            },
            Record::Genesis(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => {}
        }
    }

    fn told(&self) -> Value {
        let mut told = told(&self.history);
        told["creator"] = self.creator.to_string().into();
        told["model"] = self.model.clone().into();
        if let Some(rounds) = told["rounds"].as_array_mut() {
            for (round, told) in self.history.rounds.iter().zip(rounds) {
                if let Some((opened, closed)) = self.times.get(&round.number) {
                    told["opened_ms"] = (*opened).into();
                    told["closed_ms"] = (*closed).into();
                }
                let voters = round.ballots.keys();
                let entries = voters.map(|voter| self.votes.get(&(round.number, *voter)));
                if let Some(votes) = told["votes"].as_array_mut() {
                    for (vote, entry) in votes.iter_mut().zip(entries) {
                        vote["entry"] = entry.copied().into();
                    }
                }
            }
        }
        if let Some(evaluations) = told["evaluations"].as_array_mut() {
            for (told, entry) in evaluations.iter_mut().zip(&self.evaluations) {
                told["entry"] = (*entry).into();
            }
        }
        told
    }
}

/// What happened in an experiment, in the fields of the package's classes.
pub(crate) fn told(history: &History) -> Value {
    let last = history.rounds.last();
    let model = last.map(|round| round.result.map_or(round.base, |result| result.model));
    let names: Map<String, Value> = history
        .names
        .iter()
        .map(|(learner, name)| (learner.to_string(), name.as_str().into()))
        .collect();
    let evaluations = history.evaluations.iter().map(|it| {
        let measures = it.evaluation.measures.iter();
        let measures: Map<String, Value> = measures
            .map(|it| (it.name.as_str().to_owned(), unit(it.value_micros).into()))
            .collect();
        json!({
            "learner": it.learner.to_string(),
            "round": it.round,
            "model": it.evaluation.model.to_string(),
            "measures": measures,
            "entry": null,
        })
    });
    json!({
        "name": history.experiment.as_str(),
        "creator": history.learners.first().map(ToString::to_string),
        "model": model.map(|model| model.to_string()),
        "learners": history.learners.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "names": names,
        "evaluations": evaluations.collect::<Vec<_>>(),
        "finished": history.finished.map(|reason| reason.word()),
        "rounds": history.rounds.iter().map(told_round).collect::<Vec<_>>(),
    })
}

fn told_round(round: &Round) -> Value {
    let result = round.result;
    let (weights, own) = round.proposal.map_or((None, None), |(it, own)| (Some(it), Some(own)));
    let votes = round.ballots.iter().map(|(voter, cast)| {
        json!({
            "voter": voter.to_string(),
            "approve": match cast.choice {
                Choice::Approve => Some(true),
                Choice::Reject => Some(false),
                Choice::Abstain => None,
            },
            "reason": learner::word(cast.reason),
            "vote_score": cast.scores.vote.map(unit),
            "test_score": cast.scores.test.map(unit),
            "entry": null,
        })
    });
    json!({
        "number": round.number,
        "proposer": round.proposer.map(|it| it.to_string()),
        "merged": round.merged.as_ref().map(MergedRound::to_json),
        "base": round.base.to_string(),
        "weights": weights.map(|digest| digest.to_string()),
        "vote_score": own.and_then(|own| own.vote).map(unit),
        "test_score": own.and_then(|own| own.test).map(unit),
        "votes": votes.collect::<Vec<_>>(),
        "verdict": result.map(|it| it.verdict.word()),
        "approvals": result.map_or(0, |it| it.approvals),
        "rejections": result.map_or(0, |it| it.rejections),
        "abstentions": result.map_or(0, |it| it.abstentions),
        "unavailable": result.map_or(0, |it| it.unavailable),
        "electorate": result.map_or(0, |it| it.electorate),
        "reason": learner::word(round.passed),
        "opened_ms": null,
        "closed_ms": null,
    })
}

/// The newest checkpoint that is signed by the ledger's key of its time: its size, and the note.
fn signed(source: &mut dyn audit_crate::Source) -> Result<(u64, String), Failed> {
    let signed = audit_crate::signed_checkpoint(source);
    let (checkpoint, note) = signed.map_err(|error| Failed::of("MalformedError")(&error))?;
    Ok((checkpoint.size, note))
}

/// Opens a place, reached so.
fn opened(place: &str, reach: &Reach) -> Result<Box<dyn audit_crate::Source>, String> {
    let trust = reach.reading(place)?;
    audit_crate::open_trusting(place, &trust).map_err(|error| error.to_string())
}

/// Gives all entries that a place's checkpoint counts to `each`.
fn all(
    place: &str,
    reach: &Reach,
    mut each: impl FnMut(u64, Vec<u8>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let open = || opened(place, reach).map_err(|error| Failed::of("MalformedError")(&error));
    let (size, _) = signed(&mut *open()?)?;
    let mut source = open()?;
    for entry in audit_crate::entries(&mut *source, size) {
        let (index, bytes) = entry.map_err(|trouble| match trouble {
            audit_crate::Trouble::Damaged { index, what } => {
                Failed::of("MalformedError")(&format_args!("entry {index}: {what}"))
            }
            audit_crate::Trouble::Unreadable(error) => Failed::of("MalformedError")(&error),
        })?;
        each(index, bytes)?;
    }
    Ok(())
}

/// Runs something that reads files or a network, and calls nobody.
fn read<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> PyResult<T> {
    calls::serve(py, move |desk, _| {
        let done = work();
        drop(desk);
        done
    })?
    .map_err(|error| error.raise(py))
}

/// What happened in every experiment of a ledger. Nothing is verified but the checkpoint.
#[pyfunction]
#[pyo3(signature = (place, *, reach))]
pub(crate) fn experiments<'py>(
    py: Python<'py>,
    place: String,
    reach: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let reach = Reach::read(Some(reach))?;
    let stories = read(py, move || {
        let mut stories: BTreeMap<String, Story> = BTreeMap::new();
        all(&place, &reach, |index, bytes| {
            let entry = Record::decode(&bytes).map_err(|error| {
                Failed::of("MalformedError")(&format_args!("entry {index}: {error}"))
            })?;
            let name = match &entry.record {
                Record::Transaction(transaction) => &transaction.action.experiment,
                Record::Outcome(outcome) => &outcome.experiment,
                Record::Genesis(_)
                | Record::KeyRotation(_)
                | Record::Upgrade(_)
                | Record::Block(_)
                | Record::ValidatorChange(_) => return Ok(()),
            };
            if let Record::Transaction(transaction) = &entry.record
                && let Act::Create(create) = &transaction.action.what
            {
                let story = Story {
                    creator: transaction.sender,
                    model: create.model.digest.to_string(),
                    history: History::new(name.clone()),
                    times: BTreeMap::new(),
                    votes: BTreeMap::new(),
                    evaluations: Vec::new(),
                };
                stories.insert(name.to_string(), story);
            }
            if let Some(story) = stories.get_mut(name.as_str()) {
                story.record(&entry);
            }
            Ok(())
        })?;
        Ok(stories.iter().map(|(name, story)| (name.clone(), story.told())).collect())
    })?;
    values::object(py, &Value::Object(stories))
}

/// All entries up to the checkpoint, verbatim.
#[pyfunction]
#[pyo3(signature = (place, *, reach))]
pub(crate) fn entries<'py>(
    py: Python<'py>,
    place: String,
    reach: &Bound<'py, PyDict>,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let reach = Reach::read(Some(reach))?;
    let found = read(py, move || {
        let mut found = Vec::new();
        all(&place, &reach, |_, bytes| {
            found.push(bytes);
            Ok(())
        })?;
        Ok(found)
    })?;
    Ok(found.iter().map(|bytes| PyBytes::new(py, bytes)).collect())
}

/// The newest signed checkpoint, verbatim.
#[pyfunction]
#[pyo3(signature = (place, *, reach))]
pub(crate) fn checkpoint(
    py: Python<'_>,
    place: String,
    reach: &Bound<'_, PyDict>,
) -> PyResult<String> {
    let reach = Reach::read(Some(reach))?;
    read(py, move || {
        let mut source =
            opened(&place, &reach).map_err(|error| Failed::of("MalformedError")(&error))?;
        Ok(signed(&mut *source)?.1)
    })
}

/// Audits a ledger: the report, its verdict in a line, and the exit code of the command.
#[pyfunction]
#[pyo3(signature = (place, *, pins, receipts, since, level, tell))]
pub(crate) fn audit<'py>(
    py: Python<'py>,
    place: String,
    pins: &Bound<'py, PyDict>,
    receipts: Option<PathBuf>,
    since: Vec<PathBuf>,
    level: &str,
    tell: Option<Py<PyAny>>,
) -> PyResult<(Bound<'py, PyAny>, String, u8)> {
    let (pins, reach) = pins::pins(Some(pins))?;
    let level = match level {
        "tree" => Level::Tree,
        "signatures" => Level::Signatures,
        "contract" => Level::Contract,
        other => {
            let why = format!("level is tree, signatures or contract, not {other:?}");
            return Err(PyValueError::new_err(why));
        }
    };
    let audited = calls::serve(py, move |desk, _| {
        let promises = (|| {
            let mut promises = match &receipts {
                Some(folder) => Promise::receipts(folder)?,
                None => Vec::new(),
            };
            for path in &since {
                promises.push(Promise::checkpoint(path)?);
            }
            Ok(promises)
        })();
        let promises = promises.map_err(|error: audit_crate::PromiseError| Failed::other(error))?;
        let proving = proving(&place, &reach, &pins)?;
        let prover = proving.as_ref().map(Proving::prover);
        let options = AuditOptions { pins, prover, level, promises, ..AuditOptions::default() };
        in_pool(|| audit_place((&place, &reach), options, &desk, tell.map(Arc::new)))?
    })?;
    let report: AuditReport = audited.map_err(|error| error.raise(py))?;
    let told = serde_json::to_value(&report).map_err(|error| Failed::other(error).raise(py))?;
    Ok((values::object(py, &told)?, report.verdict_line(), report.exit_code()))
}

/// Whoever is asked what a public chain proves of the ledger of a place.
fn proving(place: &str, reach: &Reach, pins: &Pins) -> Result<Option<Proving>, Failed> {
    let place = Place::new(place).trusting(reach.reading(place).map_err(Failed::other)?);
    Proving::of(&place, pins).map_err(Failed::other)
}

fn audit_place(
    (place, reach): (&str, &Reach),
    options: AuditOptions<'_>,
    desk: &Desk,
    tell: Option<Arc<Py<PyAny>>>,
) -> Result<AuditReport, Failed> {
    let mut source = opened(place, reach).map_err(Failed::other)?;
    let progress =
        |done: u64, total: u64| {
            // Also where nobody is told: whether anybody still waits shows by it.
            let tell = tell.clone();
            give_up(desk.call(move |py| {
                tell.map_or(Ok(()), |tell| tell.call1(py, (done, total)).map(drop))
            }));
        };
    let options = AuditOptions { progress: Some(&progress), ..options };
    audit_crate::audit(&mut *source, options).map_err(Failed::other)
}

/// Ends a computation that nobody waits for any more: what computes knows of no interruption.
pub(crate) fn give_up<T>(told: Result<T, calls::Gone>) -> T {
    // No panic, so that none is reported: the thread that waited has raised what interrupted it.
    told.unwrap_or_else(|gone| std::panic::resume_unwind(Box::new(gone)))
}

/// Runs what computes on all cores, on threads that end with it.
pub(crate) fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Failed> {
    let pool = rayon::ThreadPoolBuilder::new().build().map_err(Failed::other)?;
    Ok(pool.install(work))
}
