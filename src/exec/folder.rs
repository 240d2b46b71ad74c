//! The folder of files that a command is given: what is asked, and what it is asked about.
//!
//! A folder that has its name is whole: it is written beside, synced and renamed. So one that is found again after a
//! restart is the same question, and whatever lies in it is the answer to that. A command may do with the folder what it
//! likes, so what its learner relies on is kept beside it, where containers are shown nothing.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use colearn_contracts::Digest;
use colearn_sdk::learner::Weights;
use serde::{Deserialize, Serialize};

use super::ExecError;
use super::answer::{open_file, read_at_most};

/// What is asked.
pub(super) const ROUND: &str = "round.json";
/// The global model.
const BASE: &str = "base.safetensors";
/// The model that is to be scored.
const MODEL: &str = "model.safetensors";
/// What was trained.
pub(super) const UPDATE: &str = "update.safetensors";
/// The answer.
pub(super) const RESULT: &str = "result.json";
/// There will be an answer, though the command has ended.
pub(super) const PENDING: &str = "pending";
/// Nobody needs the answer any more.
pub(super) const OVER: &str = "over";
/// What the command prints.
pub(super) const OUTPUT: &str = "output.log";

/// A question has no more bytes.
const MAX_QUESTION_BYTES: u64 = 64 << 10;

/// What a command is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Make the first model of an experiment.
    Start,
    /// Train from the base.
    Propose,
    /// Score a model, and say whether it should become the global one.
    Vote,
    /// Score a model, which decides nothing.
    Test,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Propose => "propose",
            Self::Vote => "vote",
            Self::Test => "test",
        })
    }
}

/// `round.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Question {
    /// The format's version: 1.
    pub(super) format: u32,
    pub(super) task: Kind,
    pub(super) experiment: Option<String>,
    /// The public key of whose command it is, in hex.
    pub(super) learner: Option<String>,
    pub(super) round: u64,
    /// Why: proposer, participant (of a merged round) or voter.
    pub(super) role: Option<String>,
    /// What is to be scored, if that was said.
    pub(super) metric: Option<String>,
    /// SHA-256 of `base.safetensors`.
    pub(super) base: Option<String>,
    /// SHA-256 of `model.safetensors`.
    pub(super) model: Option<String>,
    /// Ledger time at which it is too late.
    pub(super) deadline_ms: Option<u64>,
    /// The most bytes that `update.safetensors` may have.
    pub(super) max_update_bytes: Option<u64>,
    /// What the training may take, where it is to be private.
    pub(super) privacy: Option<Planned>,
    /// A folder that stays from round to round.
    pub(super) state: PathBuf,
}

/// What a private training may take.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Planned {
    pub(super) noise_multiplier: f64,
    pub(super) clip: f64,
    pub(super) sampling_rate: f64,
    pub(super) steps: u64,
}

impl Question {
    /// Whether another one asks the same. Rules and flags may have changed since; what was asked has not.
    fn asks_like(&self, other: &Self) -> bool {
        let of = |it: &Self| {
            let Self { format, task, experiment, learner, round, base, model, .. } = it.clone();
            (format, task, experiment, learner, round, base, model)
        };
        of(self) == of(other)
    }

    /// The folder's name: one for each thing that can be asked in an experiment.
    fn name(&self) -> String {
        let about = self.model.as_ref().or(self.base.as_ref());
        let about: String = about.map_or("new", String::as_str).chars().take(16).collect();
        format!("{:08}-{}-{about}", self.round, self.task)
    }
}

/// What a command is asked, with the models that it is asked about.
pub(super) struct Asked<'a> {
    pub(super) question: &'a Question,
    pub(super) base: Option<&'a Weights>,
    pub(super) model: Option<&'a Weights>,
}

impl Asked<'_> {
    /// Has a folder hold what is asked by now, whatever a command that was begun before, or a crash, has made of it.
    pub(super) fn write(&self, folder: &Path) -> Result<(), ExecError> {
        for (name, weights) in [(BASE, self.base), (MODEL, self.model)] {
            let Some(weights) = weights else { continue };
            let path = folder.join(name);
            if !holds(&path, weights) {
                replace(&path, weights.bytes())?;
            }
        }
        let path = folder.join(ROUND);
        let json = serde_json::to_vec_pretty(self.question);
        replace(&path, &json.map_err(|error| file(&path)(error.into()))?)
    }
}

/// Whether a file has the bytes of weights, of which a part at a time is looked at.
fn holds(path: &Path, weights: &Weights) -> bool {
    let Ok(file) = open_file(path, File::options().read(true)) else { return false };
    let is_as_long = file.metadata().is_ok_and(|it| it.len() == weights.bytes().len() as u64);
    is_as_long && colearn_merge::digest(&file).is_ok_and(|digest| digest == weights.digest().0)
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), ExecError> {
    colearn_files::replace(path, bytes).map_err(|error| file(path)(error.into()))
}

/// Where a command works, and what its learner knows of it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Place {
    /// The command's folder.
    pub(super) folder: PathBuf,
    /// A file that is locked as long as the command runs.
    pub(super) lock: PathBuf,
    /// A file with its process group.
    pub(super) group: PathBuf,
}

/// Where a learner's folders are.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    tasks: PathBuf,
    running: PathBuf,
    state: PathBuf,
}

impl Folders {
    /// Below this one, of which the path holds from everywhere.
    pub(super) fn below(dir: &Path) -> Result<Self, ExecError> {
        let dir = std::path::absolute(dir).map_err(file(dir))?;
        let [tasks, running, state] = ["tasks", "running", "state"].map(|name| dir.join(name));
        let folders = Self { tasks, running, state };
        for folder in [&folders.tasks, &folders.running, &folders.state] {
            colearn_files::create_folder(folder).map_err(|error| file(folder)(error.into()))?;
            private(folder)?;
        }
        Ok(folders)
    }

    /// What is kept from round to round.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// What commands are not shown.
    pub(super) fn running(&self) -> &Path {
        &self.running
    }

    fn place(&self, name: &str) -> Place {
        Place {
            folder: self.tasks.join(name),
            lock: self.running.join(name),
            group: self.running.join(format!("{name}.group")),
        }
    }

    /// The folder of a question: as it was left, or a new one.
    pub(super) fn open(&self, ask: &Asked<'_>) -> Result<Place, ExecError> {
        let place = self.place(&ask.question.name());
        let folder = &place.folder;
        let asked = read_at_most(&folder.join(ROUND), MAX_QUESTION_BYTES).ok().flatten();
        let asked = asked.and_then(|bytes| serde_json::from_slice::<Question>(&bytes).ok());
        if asked.is_some_and(|asked| asked.asks_like(ask.question)) {
            return Ok(place);
        }
        remove(folder)?;
        let new = self.tasks.join("new");
        remove(&new)?;
        std::fs::create_dir(&new).map_err(file(&new))?;
        private(&new)?;
        ask.write(&new)?;
        colearn_files::rename(&new, folder).map_err(|error| file(folder)(error.into()))?;
        Ok(place)
    }

    /// The places of all rounds that have been asked about, by the round.
    fn places(&self) -> Result<Vec<(u64, Place)>, ExecError> {
        let listed = std::fs::read_dir(&self.tasks).map_err(file(&self.tasks))?;
        let names = listed.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let place = |name: String| Some((name.split_once('-')?.0.parse().ok()?, self.place(&name)));
        Ok(names.filter_map(place).collect())
    }

    /// The places of all other rounds. Those of this one may still be asked about: after a restart it begins again.
    pub(super) fn others(&self, round: u64) -> Result<Vec<Place>, ExecError> {
        let others = self.places()?.into_iter().filter(|(number, _)| *number != round);
        Ok(others.map(|(_, place)| place).collect())
    }

    /// Removes the folders of all but so many rounds before this one, as far as that can be done.
    pub(super) fn prune(&self, round: u64, keep: u64) -> Result<(), ExecError> {
        for (number, place) in self.places()? {
            if number.saturating_add(keep) >= round {
                continue;
            }
            // What containers have written may be another user's. The next round tries it again.
            let removed = remove(&place.folder)
                .and_then(|()| remove_file(&place.lock))
                .and_then(|()| remove_file(&place.group));
            if let Err(error) = removed {
                tracing::warn!("{error}; it stays");
            }
        }
        Ok(())
    }
}

/// What is trained from private data is nobody else's.
fn private(folder: &Path) -> Result<(), ExecError> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(folder, mode).map_err(file(folder))?;
    }
    let _ = folder;
    Ok(())
}

fn remove(folder: &Path) -> Result<(), ExecError> {
    gone(std::fs::remove_dir_all(folder)).map_err(file(folder))
}

/// Removes a file, if it is there.
pub(super) fn remove_file(path: &Path) -> Result<(), ExecError> {
    gone(std::fs::remove_file(path)).map_err(file(path))
}

/// What was not there is gone, too.
fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What went wrong with a file or folder.
pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> ExecError {
    move |source| ExecError::File { path: path.to_owned(), source }
}

/// A digest that a command names, if it does, which has to be this one.
pub(super) fn names(digest: Digest, named: Option<&String>) -> bool {
    named.is_none_or(|named| *named == digest.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn question(round: u64, base: &Weights) -> Question {
        Question {
            format: 1,
            task: Kind::Propose,
            experiment: Some("x".to_owned()),
            learner: None,
            round,
            role: None,
            metric: None,
            base: Some(base.digest().to_string()),
            model: None,
            deadline_ms: Some(7),
            max_update_bytes: None,
            privacy: None,
            state: PathBuf::new(),
        }
    }

    fn open(folders: &Folders, question: &Question, base: &Weights) -> Result<PathBuf, ExecError> {
        let asked = Asked { question, base: Some(base), model: None };
        folders.open(&asked).map(|place| place.folder)
    }

    #[test]
    fn the_same_question_has_the_folder_that_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path()).unwrap();
        let base = Weights::new("base");
        let first = open(&folders, &question(3, &base), &base).unwrap();
        assert_eq!(std::fs::read(first.join(BASE)).unwrap(), b"base");
        std::fs::write(first.join(RESULT), "{}").unwrap();
        // Of another deadline, it is the same.
        let again = Question { deadline_ms: None, ..question(3, &base) };
        assert_eq!(open(&folders, &again, &base).unwrap(), first);
        assert!(first.join(RESULT).exists());
        // Of another experiment it is not, and nothing of the old one answers it.
        let other = Question { experiment: Some("y".to_owned()), ..question(3, &base) };
        assert_eq!(open(&folders, &other, &base).unwrap(), first);
        assert!(!first.join(RESULT).exists());
        // What is not whole is none.
        std::fs::write(first.join(RESULT), "{}").unwrap();
        std::fs::write(first.join(ROUND), "{").unwrap();
        open(&folders, &other, &base).unwrap();
        assert!(!first.join(RESULT).exists());
    }

    #[test]
    fn old_rounds_are_removed_and_as_many_stay_as_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path()).unwrap();
        let base = Weights::new("base");
        let open = |round| open(&folders, &question(round, &base), &base).unwrap();
        let all: Vec<PathBuf> = (1..=4).map(open).collect();
        folders.prune(4, 1).unwrap();
        assert_eq!(
            all.iter().map(|it| it.exists()).collect::<Vec<_>>(),
            [false, false, true, true]
        );
        folders.prune(4, 0).unwrap();
        assert_eq!(all.iter().filter(|it| it.exists()).count(), 1);
    }

    #[test]
    fn what_is_asked_is_as_it_is_by_now_whatever_a_folder_has() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path()).unwrap();
        let base = Weights::new("base");
        let folder = open(&folders, &question(3, &base), &base).unwrap();
        std::fs::write(folder.join(BASE), "trained").unwrap();
        let later = Question { deadline_ms: Some(8), ..question(3, &base) };
        let asked = Asked { question: &later, base: Some(&base), model: None };
        asked.write(&folder).unwrap();
        assert_eq!(std::fs::read(folder.join(BASE)).unwrap(), b"base");
        let found = std::fs::read(folder.join(ROUND)).unwrap();
        assert_eq!(serde_json::from_slice::<Question>(&found).unwrap(), later);
    }

    #[test]
    fn only_other_rounds_are_over() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path()).unwrap();
        let base = Weights::new("base");
        let [old, _] = [2, 3].map(|round| open(&folders, &question(round, &base), &base).unwrap());
        let test = Question { task: Kind::Test, ..question(3, &base) };
        open(&folders, &test, &base).unwrap();
        let others = folders.others(3).unwrap();
        assert_eq!(others.iter().map(|it| &it.folder).collect::<Vec<_>>(), [&old]);
    }

    #[test]
    fn a_folder_that_cannot_be_removed_stays_and_the_others_go() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path()).unwrap();
        let base = Weights::new("base");
        let [first, second] = [1, 2].map(|it| open(&folders, &question(it, &base), &base).unwrap());
        // A file is no folder that could be removed, whoever tries it.
        let stays = first.with_file_name("00000000-propose-file");
        std::fs::write(&stays, "").unwrap();
        folders.prune(9, 1).unwrap();
        assert!(stays.exists() && !first.exists() && !second.exists());
    }
}
