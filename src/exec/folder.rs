//! The folder of files that a command is given: what is asked, and what it is asked about.
//!
//! A folder that has its name is whole: it is written beside and renamed. So one that is found again after a restart is
//! the same question, and whatever lies in it is the answer to that.

use std::fmt;
use std::path::{Path, PathBuf};

use colearn_contracts::Digest;
use colearn_sdk::learner::Weights;
use serde::{Deserialize, Serialize};

use super::ExecError;
use super::answer::read_at_most;

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
/// Locked as long as the command runs.
pub(super) const RUNNING: &str = "running";
/// Its process group.
pub(super) const GROUP: &str = "group";

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

/// Where a learner's folders are.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    tasks: PathBuf,
    state: PathBuf,
}

impl Folders {
    /// Below this one, of which the path holds from everywhere.
    pub(super) fn below(dir: &Path) -> Result<Self, ExecError> {
        let dir = std::path::absolute(dir).map_err(file(dir))?;
        let folders = Self { tasks: dir.join("tasks"), state: dir.join("state") };
        for folder in [&folders.tasks, &folders.state] {
            colearn_files::create_folder(folder).map_err(|error| file(folder)(error.into()))?;
            private(folder)?;
        }
        Ok(folders)
    }

    /// What is kept from round to round.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// The folder of a question: as it was left, or a new one.
    pub(super) fn open(
        &self,
        question: &Question,
        base: Option<&Weights>,
        model: Option<&Weights>,
    ) -> Result<PathBuf, ExecError> {
        let folder = self.tasks.join(question.name());
        let asked = read_at_most(&folder.join(ROUND), MAX_QUESTION_BYTES).ok().flatten();
        let asked = asked.and_then(|bytes| serde_json::from_slice::<Question>(&bytes).ok());
        if asked.is_some_and(|asked| asked.asks_like(question)) {
            return Ok(folder);
        }
        remove(&folder)?;
        let new = self.tasks.join("new");
        remove(&new)?;
        std::fs::create_dir(&new).map_err(file(&new))?;
        private(&new)?;
        for (name, weights) in [(BASE, base), (MODEL, model)] {
            let path = new.join(name);
            weights.map_or(Ok(()), |it| std::fs::write(&path, it.bytes())).map_err(file(&path))?;
        }
        let path = new.join(ROUND);
        let json =
            serde_json::to_vec_pretty(question).map_err(|error| file(&path)(error.into()))?;
        std::fs::write(&path, json).map_err(file(&path))?;
        std::fs::rename(&new, &folder).map_err(file(&folder))?;
        Ok(folder)
    }

    /// The folders of all other questions.
    pub(super) fn others(&self, folder: &Path) -> Result<Vec<PathBuf>, ExecError> {
        let listed = std::fs::read_dir(&self.tasks).map_err(file(&self.tasks))?;
        let paths = listed.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(paths.filter(|path| path != folder && path.is_dir()).collect())
    }

    /// Removes the folders of all but so many rounds before this one.
    pub(super) fn prune(&self, round: u64, keep: u64) -> Result<(), ExecError> {
        let listed = std::fs::read_dir(&self.tasks).map_err(file(&self.tasks))?;
        let names = listed.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for name in names {
            let number = name.split_once('-').and_then(|(number, _)| number.parse::<u64>().ok());
            if number.is_some_and(|number| number.saturating_add(keep) < round) {
                remove(&self.tasks.join(name))?;
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
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file(folder)(error)),
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

    #[test]
    fn the_same_question_has_the_folder_that_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path()).unwrap();
        let base = Weights::new("base");
        let first = folders.open(&question(3, &base), Some(&base), None).unwrap();
        assert_eq!(std::fs::read(first.join(BASE)).unwrap(), b"base");
        std::fs::write(first.join(RESULT), "{}").unwrap();
        // Of another deadline, it is the same.
        let again = Question { deadline_ms: None, ..question(3, &base) };
        assert_eq!(folders.open(&again, Some(&base), None).unwrap(), first);
        assert!(first.join(RESULT).exists());
        // Of another experiment it is not, and nothing of the old one answers it.
        let other = Question { experiment: Some("y".to_owned()), ..question(3, &base) };
        assert_eq!(folders.open(&other, Some(&base), None).unwrap(), first);
        assert!(!first.join(RESULT).exists());
        // What is not whole is none.
        std::fs::write(first.join(RESULT), "{}").unwrap();
        std::fs::write(first.join(ROUND), "{").unwrap();
        folders.open(&other, Some(&base), None).unwrap();
        assert!(!first.join(RESULT).exists());
    }

    #[test]
    fn old_rounds_are_removed_and_as_many_stay_as_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path()).unwrap();
        let base = Weights::new("base");
        let open = |round| folders.open(&question(round, &base), Some(&base), None).unwrap();
        let all: Vec<PathBuf> = (1..=4).map(open).collect();
        folders.prune(4, 1).unwrap();
        assert_eq!(
            all.iter().map(|it| it.exists()).collect::<Vec<_>>(),
            [false, false, true, true]
        );
        folders.prune(4, 0).unwrap();
        assert_eq!(all.iter().filter(|it| it.exists()).count(), 1);
    }
}
