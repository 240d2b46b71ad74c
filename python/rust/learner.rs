//! A learner in Python as one of the SDK's, called on the thread that runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use colearn_contracts::{InvalidParameters, MERGED_MEDIA_TYPE, Reason};
use colearn_records::words::{Word as _, Words as _};
use colearn_sdk::learner::{
    self, Failure, Judgement, Learner, LearnerError, Privacy, Proposed, Result, SAFETENSORS, Score,
    Task,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::calls::Desk;
use crate::errors::{self, Raised};
use crate::spending::{Segment, Settings};
use crate::weights::Weights;

/// A learner in Python.
pub(crate) struct PyLearner {
    object: Arc<Py<PyAny>>,
    /// Told what a learner raised that is no end of the run: in what, and the exception.
    failed: Arc<Py<PyAny>>,
    desk: Desk,
    /// Which of several it is, counted from 1.
    number: Option<usize>,
    /// The round that it has been told of.
    round: u64,
    /// What it has accepted last.
    current: learner::Weights,
    /// Whether it could not say what its training takes. Nothing is trained then.
    unsaid: AtomicBool,
}

/// What is known of a learner before it takes part.
pub(crate) struct Known {
    /// What it begins with, if it has anything yet.
    pub(crate) current: Option<learner::Weights>,
    /// What kind of weights it has.
    pub(crate) media_type: String,
}

impl Known {
    /// Asks a learner, on the thread that it lives on.
    pub(crate) fn of(learner: &Bound<'_, PyAny>) -> PyResult<Self> {
        let media_type = match learner.getattr_opt("media_type")? {
            Some(said) => said.extract()?,
            None => SAFETENSORS.to_owned(),
        };
        let current = match learner.call_method0("current") {
            Ok(current) => Some(current.extract::<Weights>()?.inner),
            Err(error) if errors::is(learner.py(), &error, "ModelError") => None,
            Err(error) => return Err(error),
        };
        Ok(Self { current, media_type })
    }
}

/// Sees that learners can learn together; `None` is a built-in one.
pub(crate) fn check_together(
    py: Python<'_>,
    learners: &[Option<&Known>],
    is_merged: bool,
) -> PyResult<()> {
    let Some(first) = learners.first() else { return Ok(()) };
    let media_type = |it: &Option<&Known>| it.map_or(SAFETENSORS, |it| &it.media_type).to_owned();
    let own = media_type(first);
    if first.is_some_and(|it| it.current.is_none()) {
        let why = "the first learner has no weights yet, and there are no others' to begin with";
        return Err(errors::raise(py, "ModelError", why));
    }
    if let Some(other) = learners.iter().map(media_type).find(|other| *other != own) {
        return Err(errors::raise(py, "ModelError", format_args!("weights are {own} and {other}")));
    }
    if is_merged && own != MERGED_MEDIA_TYPE {
        return Err(errors::raise(py, "PlanError", InvalidParameters::NotMergeable));
    }
    Ok(())
}

/// What a learner says that its next training takes of its privacy budget, if it has such a method.
fn settings(learner: &Bound<'_, PyAny>) -> PyResult<Option<Settings>> {
    match learner.getattr_opt("privacy")? {
        Some(method) => method.call0()?.extract(),
        None => Ok(None),
    }
}

/// A score as the package's class has it.
#[derive(FromPyObject)]
struct Scored {
    vote: f64,
    approve: Option<bool>,
    test: Option<f64>,
    reason: Option<String>,
}

impl Scored {
    fn score(self) -> PyResult<Score> {
        let reason = self.reason.as_deref().map(reason).transpose()?;
        let judgement = match self.approve {
            Some(true) => Judgement::Approve,
            Some(false) => Judgement::Reject(reason),
            None => Judgement::Abstain(reason),
        };
        Ok(Score { vote: self.vote, test: self.test, judgement })
    }
}

/// Weights and their score, on their way to the learner.
struct Given {
    weights: learner::Weights,
    score: Score,
}

impl Given {
    fn of(scored: learner::Scored<'_>) -> Self {
        Self { weights: scored.weights.clone(), score: scored.score }
    }

    /// As the package's class.
    fn scored<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let classes = py.import("colearn_client.learner")?;
        let Score { vote, test, judgement } = self.score;
        let approve = match judgement {
            Judgement::Approve => Some(true),
            Judgement::Reject(_) => Some(false),
            Judgement::Abstain(_) => None,
        };
        let score =
            classes.getattr("Score")?.call1((vote, approve, test, word(judgement.reason())))?;
        let weights = Weights::from(self.weights.clone());
        classes.getattr("Scored")?.call1((weights, score))
    }
}

fn reason(word: &str) -> PyResult<Reason> {
    Reason::parse(word).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// What a learner answers when it is its turn.
enum Answer {
    Weights(learner::Weights),
    Private(learner::Weights, Segment),
    Pass { exhausted: bool, reason: Option<Reason> },
}

impl Answer {
    fn of(answer: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Some(weights) = answer.getattr_opt("weights")? else {
            let word: Option<String> = answer.getattr("reason")?.extract()?;
            let reason = word.as_deref().map(reason).transpose()?;
            return Ok(Self::Pass { exhausted: answer.getattr("exhausted")?.extract()?, reason });
        };
        let weights = weights.extract::<Weights>()?.inner;
        Ok(match answer.getattr_opt("segment")? {
            Some(segment) => Self::Private(weights, segment.extract()?),
            None => Self::Weights(weights),
        })
    }
}

impl PyLearner {
    pub(crate) fn new(
        object: Py<PyAny>,
        failed: Arc<Py<PyAny>>,
        desk: Desk,
        current: Option<learner::Weights>,
        number: Option<usize>,
    ) -> Self {
        // Nobody's model: the experiment's is taken first of all.
        let current = current.unwrap_or_else(|| learner::Weights::new(Vec::new()));
        let (object, unsaid) = (Arc::new(object), AtomicBool::new(false));
        Self { object, failed, desk, number, round: 0, current, unsaid }
    }

    /// What it does, for people.
    fn doing(&self, what: &str) -> String {
        match self.number {
            Some(number) => format!("learner {number}, round {}: {what}", self.round),
            None => what.to_owned(),
        }
    }

    /// Calls the learner on the thread that it lives on. What it raises is passed on.
    fn call<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> Result<T> {
        let object = Arc::clone(&self.object);
        let done = self.desk.ask(move |py| task(object.bind(py)))?;
        done.map_err(|error| Box::new(Raised(error)) as LearnerError)
    }

    /// As [`PyLearner::call`], where a failure costs a turn or a vote only: it is told, with its reason.
    fn try_to<T: Send + 'static>(
        &self,
        what: &'static str,
        task: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> Result<T> {
        let failed = Arc::clone(&self.failed);
        let what = self.doing(what);
        let done = self.call(move |learner| match task(learner) {
            Ok(done) => Ok(Ok(done)),
            Err(error) => {
                let py = learner.py();
                if error.is_instance_of::<pyo3::exceptions::PyException>(py) {
                    failed.call1(py, (what, error.clone_ref(py)))?;
                    let of_numbers = errors::is(py, &error, "NotFiniteError");
                    let reason = if of_numbers { Reason::NotFinite } else { Reason::Failed };
                    return Ok(Err(Failure { reason, source: Box::new(Raised(error)) }));
                }
                Err(error)
            }
        })?;
        Ok(done?)
    }
}

impl Learner for PyLearner {
    fn begin(&mut self, task: &Task) -> bool {
        self.round = task.round;
        false
    }

    fn propose(&mut self) -> Result<Proposed> {
        if self.unsaid.load(Ordering::Relaxed) {
            return Err("it could not say what its training takes of its privacy".into());
        }
        Ok(match self.try_to("training", |it| Answer::of(&it.call_method0("propose")?))? {
            Answer::Weights(weights) => Proposed::Weights(weights),
            Answer::Private(weights, segment) => Proposed::Private(weights, segment.stated()),
            Answer::Pass { exhausted: true, .. } => Proposed::Exhausted,
            Answer::Pass { exhausted: false, reason } => Proposed::Pass(reason),
        })
    }

    fn privacy(&self) -> Option<Privacy> {
        let said = self.try_to("saying what it reveals", settings);
        self.unsaid.store(said.is_err(), Ordering::Relaxed);
        said.ok().flatten().map(Settings::stated)
    }

    fn test(&mut self, weights: &learner::Weights) -> Result<Score> {
        let weights = Weights::from(weights.clone());
        self.try_to("judging", move |it| {
            it.call_method1("test", (weights,))?.extract::<Scored>()?.score()
        })
    }

    fn measure(&mut self, scored: learner::Scored<'_>) -> Result<f64> {
        let given = Given::of(scored);
        self.try_to("measuring", move |it| match it.getattr_opt("measure")? {
            Some(method) => method.call1((given.scored(it.py())?,))?.extract(),
            None => Ok(given.score.vote),
        })
    }

    fn prefer(&mut self, guarded: learner::Scored<'_>, open: learner::Scored<'_>) -> Result<bool> {
        let (guarded, open) = (Given::of(guarded), Given::of(open));
        self.try_to("comparing", move |it| match it.getattr_opt("prefer")? {
            Some(method) => {
                let py = it.py();
                method.call1((guarded.scored(py)?, open.scored(py)?))?.extract()
            }
            None => Ok(guarded.score.vote > open.score.vote),
        })
    }

    fn accept(&mut self, weights: &learner::Weights) -> Result<()> {
        let taken = Weights::from(weights.clone());
        self.call(move |it| it.call_method1("accept", (taken,)).map(drop))?;
        self.current = weights.clone();
        Ok(())
    }

    fn current(&self) -> learner::Weights {
        self.current.clone()
    }
}

/// The word of a reason, as Python has it.
pub(crate) fn word(reason: Option<Reason>) -> Option<&'static str> {
    reason.map(|reason| reason.word())
}
