//! A learner beside a model of its own: what its data is worth alone, and together with the others'. Nothing of that
//! leaves the machine.

mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use colearn_contracts::Reason;
use colearn_learning::data::Share;
use colearn_learning::{BuiltinError, BuiltinLearner, Training};
use colearn_records::words;
use colearn_sdk::learner::{Learner, Privacy, Proposed, Result, Score, Scored, Task, Weights};

pub(crate) use record::{Line, Record, RecordError, number, signed};

/// How often the model of its own is trained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effort {
    /// As often as the shared model was.
    Each,
    /// As often as this learner trains for the experiment.
    Own,
}

words! {
    Effort {
        Each = "each", "train it once for each model that the experiment accepts, whoever trained that";
        Own = "own", "train it once for each training of this learner's for the experiment";
    }
}

/// What it takes to have a model of one's own besides.
pub(crate) struct Setup {
    /// Where its record and its weights are kept.
    pub(crate) folder: PathBuf,
    /// How often it is trained.
    pub(crate) effort: Effort,
    /// The learner's part of the data, and how it trains; without noise, since nothing of this leaves.
    pub(crate) share: Share,
    pub(crate) training: Training,
    pub(crate) seed: u64,
    /// The last round that was closed.
    pub(crate) round: Arc<AtomicU64>,
    /// What is told of each line.
    pub(crate) tell: Box<dyn FnMut(&Line) + Send>,
}

/// A learner, and a model that it has trained by itself.
pub(crate) struct BesideAlone {
    together: BuiltinLearner,
    alone: BuiltinLearner,
    effort: Effort,
    round: Arc<AtomicU64>,
    /// The shared model that was looked at last.
    seen: String,
    trainings: u64,
    record: Record,
    tell: Box<dyn FnMut(&Line) + Send>,
}

/// Why a learner cannot have a model of its own besides.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AloneError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Learner(#[from] BuiltinError),
    #[error("there are no test rows to compare the models on; leave --alone out")]
    NoTestRows,
}

impl BesideAlone {
    /// Goes on from what is in the folder. What is not there begins with an untrained model of the same shape.
    pub(crate) fn new(
        together: BuiltinLearner,
        setup: Setup,
    ) -> std::result::Result<Self, AloneError> {
        let Setup { folder, effort, share, training, seed, round, tell } = setup;
        if share.test.is_empty() {
            return Err(AloneError::NoTestRows);
        }
        let record = Record::open(&folder)?;
        let spec = together.spec();
        let weights = match record.weights()? {
            Some(weights) => weights,
            None => spec.write(&spec.untrained(seed)).map_err(BuiltinError::from)?,
        };
        let training = Training { noise: None, epsilon: None, score_epsilon: None, ..training };
        let alone = BuiltinLearner::new(share, training, weights, seed)?;
        let last = record.lines().last();
        let seen = last.map_or(together.current().digest().to_string(), |last| last.model.clone());
        let trainings = last.map_or(0, |last| last.trainings);
        Ok(Self { together, alone, effort, round, seen, trainings, record, tell })
    }

    /// The file of its lines.
    pub(crate) fn path(&self) -> &Path {
        self.record.path()
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Option<&Line> {
        self.record.lines().last()
    }

    /// The learner itself.
    pub(crate) fn into_inner(self) -> BuiltinLearner {
        self.together
    }

    /// What goes wrong here must not keep the learner from taking part.
    fn train(&mut self) {
        match self.alone.improve_alone() {
            Ok(_) => self.trainings += 1,
            Err(error) => tracing::warn!(%error, "the model alone is not trained"),
        }
    }

    fn look(&mut self, model: &Weights) -> Result<()> {
        let alone = self.alone.current();
        let Some(comparison) = self.together.compare(&alone, model)? else { return Ok(()) };
        let line = Line::new(
            self.round.load(Ordering::Relaxed),
            model.digest(),
            self.trainings,
            self.together.test_metric(),
            &comparison,
        );
        (self.tell)(&line);
        Ok(self.record.add(line, &alone)?)
    }
}

impl Learner for BesideAlone {
    fn begin(&mut self, task: &Task) -> bool {
        self.together.begin(task)
    }

    fn propose(&mut self) -> Result<Proposed> {
        let proposed = self.together.propose()?;
        let trained = !matches!(proposed, Proposed::Pass(Some(Reason::TooLittleData)));
        if self.effort == Effort::Own && trained {
            self.train();
        }
        Ok(proposed)
    }

    fn privacy(&self) -> Option<Privacy> {
        self.together.privacy()
    }

    fn score_privacy(&self) -> Option<Privacy> {
        self.together.score_privacy()
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        self.together.test(weights)
    }

    fn measure(&mut self, scored: Scored<'_>) -> Result<f64> {
        self.together.measure(scored)
    }

    fn prefer(&mut self, guarded: Scored<'_>, open: Scored<'_>) -> Result<bool> {
        self.together.prefer(guarded, open)
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.together.accept(weights)?;
        let model = weights.digest().to_string();
        if model == self.seen {
            return Ok(());
        }
        self.seen = model;
        if self.effort == Effort::Each {
            self.train();
        }
        if let Err(error) = self.look(weights) {
            tracing::warn!(%error, "alone against together is not recorded");
        }
        Ok(())
    }

    fn current(&self) -> Weights {
        self.together.current()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use colearn_learning::data::{Dataset, Embedded, Split};
    use colearn_learning::model::{Activation, ModelSpec};

    use super::*;

    /// A learner on some of the irises, the shared model it begins with, and the lines that are told.
    fn beside(folder: &Path, effort: Effort) -> (BesideAlone, Arc<Mutex<Vec<Line>>>) {
        let data = Arc::new(Dataset::embedded(Embedded::Iris).unwrap());
        let share = data.split(Split::Iid, 2, 1).unwrap().swap_remove(0);
        let spec = ModelSpec::new(vec![8], Activation::Relu, data.schema.clone());
        let first = spec.write(&spec.untrained(1)).unwrap();
        let training = Training { noise: Some(1.0), ..Training::default() };
        let together = BuiltinLearner::new(share.clone(), training, first, 1).unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = lines.clone();
        let tell = Box::new(move |line: &Line| told.lock().unwrap().push(line.clone()));
        let (folder, round) = (folder.to_owned(), Arc::new(AtomicU64::new(3)));
        let setup = Setup { folder, effort, share, training, seed: 1, round, tell };
        (BesideAlone::new(together, setup).unwrap(), lines)
    }

    fn proposed(learner: &mut BesideAlone) -> Weights {
        learner.propose().unwrap().weights().unwrap().clone()
    }

    #[test]
    fn each_shared_model_is_compared_once_and_a_restart_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mut learner, lines) = beside(dir.path(), Effort::Each);
        let first = learner.current();
        learner.accept(&first).unwrap();
        assert!(lines.lock().unwrap().is_empty(), "what it begins with is nobody's work");
        let better = proposed(&mut learner);
        learner.accept(&better).unwrap();
        learner.accept(&better).unwrap();
        let told = lines.lock().unwrap().clone();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].round, told[0].trainings, told[0].rows), (3, 1, 15));
        assert_eq!(told[0].model, better.digest().to_string());
        assert!(told[0].alone.is_some() && told[0].together.is_some(), "{told:?}");
        assert!(learner.privacy().is_some() && learner.alone.privacy().is_none());
        let alone = learner.alone.current();
        drop(learner);
        let (mut learner, lines) = beside(dir.path(), Effort::Each);
        assert_eq!(learner.alone.current(), alone);
        learner.accept(&better).unwrap();
        assert!(lines.lock().unwrap().is_empty());
        learner.accept(&first).unwrap();
        let told = lines.lock().unwrap().clone();
        assert_eq!(told[0].trainings, 2);
        let record = Record::read(learner.path()).unwrap();
        assert_eq!(record.lines().len(), 2);
        assert_eq!((&record.lines()[1].model, record.lines()[1].trainings), (&told[0].model, 2));
    }

    #[test]
    fn who_trains_as_often_as_itself_does_not_when_others_do() {
        let dir = tempfile::tempdir().unwrap();
        let (mut learner, lines) = beside(dir.path(), Effort::Own);
        let first = proposed(&mut learner);
        let second = proposed(&mut learner);
        learner.accept(&first).unwrap();
        learner.accept(&second).unwrap();
        let trainings: Vec<u64> = lines.lock().unwrap().iter().map(|line| line.trainings).collect();
        assert_eq!(trainings, [2, 2]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_kept_is_for_its_user_and_what_is_damaged_is_told() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let (mut learner, _) = beside(dir.path(), Effort::Each);
        let model = proposed(&mut learner);
        learner.accept(&model).unwrap();
        for name in ["alone.jsonl", "alone.safetensors"] {
            let mode = dir.path().join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let path = learner.path().to_owned();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"round\": 4");
        std::fs::write(&path, text).unwrap();
        let error = Record::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(Record::open(&dir.path().join("nowhere")).unwrap().lines().is_empty());
    }
}
