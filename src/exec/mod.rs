//! A learner whose work a command does, in a process of its own, or on a machine of its own: training for Slurm,
//! torchrun, R, containers.
//!
//! For each thing that the learner is asked there is a [`folder`] with files, in which the command is run
//! ([`running`]) until there is an [`answer`]. What survives a crash is in the files, and nothing else.

mod answer;
mod folder;
mod running;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use colearn_contracts::{Digest, PrivacySegment, Reason};
use colearn_merge::{Unlike, check_alike, largest_update};
use colearn_sdk::learner::{
    Judgement, Learner, Privacy, Proposed, Result, Score, Scored, Task, Weights, Work,
};

use self::answer::{Answer, weights_at_most};
use self::folder::{Asked, Folders, Kind, Planned, Question, UPDATE, names};
use self::running::{Ended, Running};

/// The most bytes that a first model may have, of which no base says how large it is.
const MAX_START_BYTES: u64 = 8 << 30;

/// What is run, and where.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The command, for the shell.
    pub(crate) command: String,
    /// Where its folders are, and nobody else's.
    pub(crate) dir: PathBuf,
    /// The experiment, and whose command it is; neither where there is none yet.
    pub(crate) experiment: Option<String>,
    /// The learner's public key.
    pub(crate) learner: Option<String>,
    /// What is to be scored, for the command to know.
    pub(crate) metric: Option<String>,
    /// Approve what scores no less than the current model by more than this.
    pub(crate) margin: f64,
    /// Record no scores.
    pub(crate) hide_scores: bool,
    /// What each training takes, if it is private.
    pub(crate) privacy: Option<Private>,
    /// Of how many rounds before the present one the folders stay.
    pub(crate) keep: u64,
    /// How long a command that is asked to end may take.
    pub(crate) grace: Duration,
}

/// What each training takes of the privacy of its data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Private {
    pub(crate) noise_multiplier: f64,
    pub(crate) clip: f64,
    pub(crate) sampling_rate: f64,
    pub(crate) steps: u64,
    pub(crate) delta: f64,
    pub(crate) epsilon: Option<f64>,
}

impl Private {
    /// As it is accounted for.
    ///
    /// # Errors
    /// What is wrong with a number.
    pub(crate) fn privacy(&self) -> std::result::Result<Privacy, String> {
        let Self { noise_multiplier, clip, sampling_rate, steps, delta, epsilon } = *self;
        if !(delta > 0.0 && delta < 1.0) {
            return Err(format!("delta is {delta}, and has to be between 0 and 1"));
        }
        if epsilon.is_some_and(|epsilon| !epsilon.is_finite() || epsilon <= 0.0) {
            return Err("epsilon has to be above 0".to_owned());
        }
        Ok(Privacy {
            segment: answer::segment(noise_multiplier, clip, sampling_rate, steps)?,
            delta_picos: (delta * 1e12).ceil() as u64,
            max_epsilon_micros: epsilon.map(|epsilon| (epsilon * 1e6).floor() as u64),
        })
    }
}

/// Why a command's work is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// A file or folder cannot be used.
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// There is no command like this.
    #[error("{command}: cannot be run: {source}")]
    Run { command: String, source: std::io::Error },
    /// It has answered nothing.
    #[error(
        "the command ended with {ended} and without {result}; {output} has what it printed",
        result = result.display(), output = output.display()
    )]
    NoAnswer { ended: String, result: PathBuf, output: PathBuf },
    /// It has answered what cannot be taken.
    #[error("{path}: {what}; see docs/how-to/exec.md", path = path.display())]
    Answer { path: PathBuf, what: String },
}

impl ExecError {
    fn answer(path: &Path, what: impl Into<String>) -> Self {
        Self::Answer { path: path.to_owned(), what: what.into() }
    }
}

/// A learner whose work a command does.
pub(crate) struct ExecLearner {
    setup: Setup,
    folders: Folders,
    privacy: Option<Privacy>,
    current: Weights,
    /// What is asked at present.
    task: Option<Task>,
    /// What models have scored, by their digest: the current one, and those of this round.
    known: HashMap<Digest, Known>,
}

/// What a command has found a model to be worth.
#[derive(Clone, Copy, Debug)]
struct Known {
    score: f64,
    test: Option<f64>,
    measure: Option<f64>,
}

impl Known {
    /// What an answer says, if it has a score.
    fn of(answer: &Answer) -> Option<Self> {
        let Answer { score, test, measure, .. } = *answer;
        Some(Self { score: score?, test, measure })
    }
}

/// Has a command make the first model of an experiment, and writes it to this file.
///
/// # Errors
/// If it does not, what it makes is no model, or the model cannot be written.
pub(crate) fn start(setup: Setup, to: &Path) -> std::result::Result<Weights, ExecError> {
    let folders = Folders::below(&setup.dir)?;
    let question = question(&setup, &folders, Kind::Start, None);
    let asked = Asked { question: &question, base: None, model: None };
    let place = folders.open(&asked)?;
    let folder = &place.folder;
    let variables = variables(&setup, &folders, folder, &question);
    let running = Running {
        command: &setup.command,
        place: &place,
        asked,
        variables: &variables,
        grace: setup.grace,
        is_over: &|| false,
    };
    let Ended::Answered(answer) = running.answer()? else {
        return Err(ExecError::answer(folder, "there is no model"));
    };
    let made = update(folder, &answer, MAX_START_BYTES, folders.running()).and_then(|weights| {
        let path = folder.join(UPDATE);
        alike(&weights, &weights).map_err(|unlike| unlike_base(&path, &unlike))?;
        Ok(weights)
    });
    // Only then is what the command has made not needed any more.
    let written = made.as_ref().ok().map(|weights| colearn_files::replace(to, weights.bytes()));
    if let Some(Err(error)) = written {
        return Err(folder::file(to)(error.into()));
    }
    // The next start is another one, be it of a command that was corrected.
    folder::remove_file(&folder.join(folder::RESULT))?;
    if made.is_ok()
        && let Err(error) = std::fs::remove_dir_all(&setup.dir)
    {
        tracing::warn!("{}; it stays", folder::file(&setup.dir)(error));
    }
    made
}

impl ExecLearner {
    /// A learner that begins with this model.
    ///
    /// # Errors
    /// If the folders cannot be used, or the model is none that can be compared with others.
    pub(crate) fn new(setup: Setup, initial: Weights) -> Result<Self> {
        let privacy = setup.privacy.map(|private| private.privacy()).transpose()?;
        let folders = Folders::below(&setup.dir)?;
        let known = HashMap::new();
        let mut learner = Self { setup, folders, privacy, current: initial, task: None, known };
        let initial = learner.current.clone();
        learner.accept(&initial)?;
        Ok(learner)
    }

    fn is_over(&self) -> bool {
        self.task.as_ref().is_some_and(Task::is_over)
    }

    /// Asks the command, in the question's folder; `None` if the answer is not needed any more.
    fn ask(
        &self,
        kind: Kind,
        model: Option<&Weights>,
    ) -> std::result::Result<Option<(PathBuf, Answer)>, ExecError> {
        let Self { setup, folders, current, .. } = self;
        let mut question = question(setup, folders, kind, self.task.as_ref());
        question.base = Some(current.digest().to_string());
        question.model = model.map(|model| model.digest().to_string());
        if kind == Kind::Propose {
            question.max_update_bytes = Some(self.max_update_bytes());
        }
        // Of a test that is all: a model is scored, whichever it is.
        let base = Some(current).filter(|_| kind != Kind::Test);
        let asked = Asked { question: &question, base, model };
        let place = folders.open(&asked)?;
        self.tidy(question.round);
        let variables = variables(setup, folders, &place.folder, &question);
        let running = Running {
            command: &setup.command,
            place: &place,
            asked,
            variables: &variables,
            grace: setup.grace,
            is_over: &|| self.is_over(),
        };
        let Ended::Answered(answer) = running.answer()? else { return Ok(None) };
        let folder = place.folder;
        if !names(current.digest(), answer.base.as_ref()) {
            let what = format!("its base is not {}, which was asked about", current.digest());
            return Err(ExecError::answer(&folder.join(folder::RESULT), what));
        }
        Ok(Some((folder, answer)))
    }

    /// Ends what was begun in other rounds, and removes what is old; what cannot be done keeps nobody from work.
    fn tidy(&self, round: u64) {
        let Self { setup, folders, .. } = self;
        match folders.others(round) {
            Ok(others) => others.iter().for_each(|it| running::end_or_warn(it, setup.grace)),
            Err(error) => tracing::warn!("{error}"),
        }
        if let Err(error) = folders.prune(round, setup.keep) {
            tracing::warn!("{error}");
        }
    }

    fn max_update_bytes(&self) -> u64 {
        largest_update(self.current.bytes().len() as u64)
    }

    /// Trains. What comes of it is checked like a stranger's.
    fn train(&mut self) -> std::result::Result<Proposed, ExecError> {
        let Some((folder, answer)) = self.ask(Kind::Propose, None)? else {
            return Ok(Proposed::Pass(None));
        };
        if let Some(reason) = answer.abstain {
            return Ok(Proposed::Pass(Some(reason)));
        }
        let path = folder.join(UPDATE);
        let weights = update(&folder, &answer, self.max_update_bytes(), self.folders.running())?;
        match alike(&self.current, &weights) {
            Ok(()) => {}
            Err(Unlike::NotFinite { tensor, element }) => {
                let path = path.display();
                tracing::warn!("{path}: element {element} of {tensor:?} is not finite; passing");
                return Ok(Proposed::Pass(Some(Reason::NotFinite)));
            }
            Err(unlike) => return Err(unlike_base(&path, &unlike)),
        }
        if let Some(known) = Known::of(&answer) {
            self.known.insert(weights.digest(), known);
        }
        let result = folder.join(folder::RESULT);
        match (answer.privacy, self.privacy) {
            (None, None) => Ok(Proposed::Weights(weights)),
            (Some(took), Some(planned)) => {
                let took = took.segment().map_err(|what| ExecError::answer(&result, what))?;
                check_plan(&took, &planned.segment)
                    .map_err(|what| ExecError::answer(&result, what))?;
                Ok(Proposed::Private(weights, took))
            }
            (None, Some(_)) => Err(ExecError::answer(
                &result,
                "without \"privacy\", and the learner was started with --noise",
            )),
            (Some(_), None) => Err(ExecError::answer(
                &result,
                "it states \"privacy\"; start the learner with --noise, --sampling-rate and --steps",
            )),
        }
    }

    /// What a model scores, of which nobody asks whether it is approved of; `None` if the command cannot tell, or it
    /// is not needed any more.
    fn score(&mut self, model: &Weights) -> std::result::Result<Option<Known>, ExecError> {
        if let Some(known) = self.known.get(&model.digest()) {
            return Ok(Some(*known));
        }
        let Some((_, answer)) = self.ask(Kind::Test, Some(model))? else { return Ok(None) };
        let known = Known::of(&answer);
        if let Some(known) = known {
            self.known.insert(model.digest(), known);
        }
        Ok(known)
    }

    /// Scores a model, and says whether it should become the global one.
    fn vote(&mut self, model: &Weights) -> std::result::Result<Score, ExecError> {
        let Some((folder, answer)) = self.ask(Kind::Vote, Some(model))? else {
            return Ok(Score::none(Judgement::Abstain(None)));
        };
        let known = Known::of(&answer);
        if let Some(known) = known {
            self.known.insert(model.digest(), known);
        }
        let judgement = match (answer.abstain, answer.approve, known) {
            (Some(reason), ..) => Judgement::Abstain(Some(reason)),
            (None, Some(true), _) => Judgement::Approve,
            (None, Some(false), _) => Judgement::Reject(answer.reason),
            (None, None, Some(known)) => {
                let base = match answer.base_score {
                    Some(base) => Some(base),
                    None => self.score(&self.current.clone())?.map(|base| base.score),
                };
                match base {
                    Some(base) if known.score >= base - self.setup.margin => Judgement::Approve,
                    Some(_) => Judgement::Reject(Some(Reason::Worse)),
                    None => Judgement::Abstain(Some(Reason::Failed)),
                }
            }
            (None, None, None) => {
                let what = "it has neither \"score\" nor \"approve\" nor \"abstain\"";
                return Err(ExecError::answer(&folder.join(folder::RESULT), what));
            }
        };
        Ok(self.shown(known, judgement))
    }

    fn shown(&self, known: Option<Known>, judgement: Judgement) -> Score {
        match known.filter(|_| !self.setup.hide_scores) {
            Some(Known { score, test, .. }) => Score { vote: score, test, judgement },
            None => Score::none(judgement),
        }
    }

    /// Whether a model is only scored: the learner's own, or the one that is there.
    fn decides_nothing(&self, model: &Weights) -> bool {
        let proposes = self.task.as_ref().is_none_or(|task| match task.work {
            Work::Propose | Work::Update => true,
            Work::Vote | Work::Merge => false,
        });
        proposes || model.digest() == self.current.digest()
    }

    /// The score as finely as it is known.
    fn fine(&self, model: &Weights) -> Option<f64> {
        self.known.get(&model.digest()).map(|known| known.measure.unwrap_or(known.score))
    }
}

impl Learner for ExecLearner {
    fn begin(&mut self, task: &Task) -> bool {
        self.task = Some(task.clone());
        true
    }

    fn privacy(&self) -> Option<Privacy> {
        self.privacy
    }

    fn propose(&mut self) -> Result<Proposed> {
        Ok(self.train()?)
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        match alike(&self.current, weights) {
            Ok(()) => {}
            Err(Unlike::NotFinite { .. }) => {
                return Ok(Score::none(Judgement::Reject(Some(Reason::NotFinite))));
            }
            Err(unlike) => return Err(unlike.into()),
        }
        let scored = match self.decides_nothing(weights) {
            true => self.score(weights).map(|known| self.shown(known, Judgement::Approve)),
            false => self.vote(weights),
        };
        // The weights are not to blame for it.
        Ok(scored.unwrap_or_else(|error| {
            tracing::warn!("{error}");
            Score::none(Judgement::Abstain(Some(Reason::Failed)))
        }))
    }

    fn measure(&mut self, scored: Scored<'_>) -> Result<f64> {
        Ok(self.fine(scored.weights).unwrap_or(f64::NAN))
    }

    fn prefer(&mut self, guarded: Scored<'_>, open: Scored<'_>) -> Result<bool> {
        let (fine, coarse) = (self.fine(guarded.weights), guarded.score.vote);
        let finer = fine.zip(self.fine(open.weights)).is_some_and(|(guarded, open)| guarded > open);
        // What is hidden compares with nothing.
        let is_worse = coarse < open.score.vote;
        Ok(finer && !is_worse)
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        alike(weights, weights)?;
        self.known.retain(|model, _| *model == weights.digest());
        self.current = weights.clone();
        Ok(())
    }

    fn current(&self) -> Weights {
        self.current.clone()
    }
}

/// A private training takes no more than was looked at before it: caps were compared with that.
fn check_plan(took: &PrivacySegment, planned: &PrivacySegment) -> std::result::Result<(), String> {
    let more = [
        ("noise_multiplier is less", took.noise_micros < planned.noise_micros),
        ("clip is more", took.clip_micros > planned.clip_micros),
        ("sampling_rate is more", took.sampling_nanos > planned.sampling_nanos),
        ("steps are more", took.steps > planned.steps),
    ];
    match more.iter().find(|(_, is_more)| *is_more) {
        Some((what, _)) => Err(format!("privacy: {what} than the learner was started with")),
        None => Ok(()),
    }
}

fn question(setup: &Setup, folders: &Folders, task: Kind, asked: Option<&Task>) -> Question {
    let role = asked.map(|asked| match asked.work {
        Work::Propose => "proposer",
        Work::Update => "participant",
        Work::Vote | Work::Merge => "voter",
    });
    let planned = setup.privacy.filter(|_| task == Kind::Propose);
    Question {
        format: 1,
        task,
        experiment: setup.experiment.clone(),
        learner: setup.learner.clone(),
        round: asked.map_or(0, |asked| asked.round),
        role: role.map(ToOwned::to_owned),
        metric: setup.metric.clone(),
        base: None,
        model: None,
        deadline_ms: asked.and_then(|asked| asked.deadline_ms),
        max_update_bytes: None,
        privacy: planned.map(|planned| Planned {
            noise_multiplier: planned.noise_multiplier,
            clip: planned.clip,
            sampling_rate: planned.sampling_rate,
            steps: planned.steps,
        }),
        state: folders.state().to_owned(),
    }
}

/// What the command finds in its environment.
fn variables(
    setup: &Setup,
    folders: &Folders,
    folder: &Path,
    question: &Question,
) -> Vec<(&'static str, String)> {
    let here = std::env::current_dir().unwrap_or_default();
    vec![
        ("COLEARN_TASK", question.task.to_string()),
        ("COLEARN_EXPERIMENT", setup.experiment.clone().unwrap_or_default()),
        ("COLEARN_ROUND", question.round.to_string()),
        ("COLEARN_DIR", folder.display().to_string()),
        ("COLEARN_STATE", folders.state().display().to_string()),
        ("COLEARN_FROM", here.display().to_string()),
    ]
}

/// What was trained, if it is no larger than it can be.
fn update(
    folder: &Path,
    answer: &Answer,
    most: u64,
    beside: &Path,
) -> std::result::Result<Weights, ExecError> {
    let path = folder.join(UPDATE);
    let weights = weights_at_most(&path, most, beside)?;
    let weights = weights.ok_or_else(|| ExecError::answer(&path, "it is not there"))?;
    if !names(weights.digest(), answer.update.as_ref()) {
        let what = "it is not what result.json names: write it first, and result.json last";
        return Err(ExecError::answer(&path, what));
    }
    Ok(weights)
}

/// Whether two models are of one kind, and the second one's values numbers.
fn alike(base: &Weights, model: &Weights) -> std::result::Result<(), Unlike> {
    check_alike(base, model)
}

fn unlike_base(path: &Path, unlike: &Unlike) -> ExecError {
    ExecError::answer(path, unlike.to_string())
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
