//! The file that a learner's trainings in one experiment are written to before anything of them leaves
//! the process: one line each.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use colearn_contracts::{Digest, ExperimentName, PrivacySegment};
use colearn_files::Lock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::SpendingError;
use super::account::Training;
use super::lines::{Disk, Entry, Hex, Lines};

/// Where the memory of each experiment lies, in a key's folder.
const EXPERIMENTS: &str = "experiments";
const FILE: &str = "spent.jsonl";
/// Held while something is written: two processes with one key spend one after the other.
const LOCK: &str = "spent.lock";

/// Where a key's folder has what belongs to an experiment. Its name is a folder's: it has no other
/// characters than a-z 0-9 . _ - and begins with a letter or digit.
pub(crate) fn experiment_folder(folder: &Path, experiment: &ExperimentName) -> PathBuf {
    folder.join(EXPERIMENTS).join(experiment.as_str())
}

/// What a folder remembers of one experiment, as far as it was read.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    experiment: ExperimentName,
    disk: Arc<dyn Disk>,
    lines: Lines<Written>,
}

impl Journal {
    pub(super) fn new(folder: &Path, experiment: ExperimentName, disk: Arc<dyn Disk>) -> Self {
        let path = experiment_folder(folder, &experiment).join(FILE);
        let name = experiment.as_str();
        let begins = Sha256::new()
            .chain_update(b"colearn/v1/spent\n")
            .chain_update((name.len() as u64).to_be_bytes())
            .chain_update(name);
        let lines = Lines::new(path, folder, begins, disk.clone());
        Self { folder: folder.to_owned(), experiment, disk, lines }
    }

    /// Keeps other processes from spending until what is returned is dropped.
    pub(super) fn lock(&self) -> Result<Lock, SpendingError> {
        let path = self.folder.join(LOCK);
        let failed = |source| SpendingError::disk(&path, source);
        colearn_files::create_folder(&self.folder).map_err(|error| failed(error.into()))?;
        Lock::wait(&path).map_err(failed)
    }

    /// All trainings, if there is something in the file that was not read yet.
    pub(super) fn news(&mut self) -> Result<Option<Vec<Training>>, SpendingError> {
        let written = self.lines.news()?;
        Ok(written.map(|written| written.iter().map(Written::training).collect()))
    }

    /// Adds a training, durably. All before it must have been read, under the same lock.
    pub(super) fn append(&mut self, training: &Training) -> Result<(), SpendingError> {
        self.lines.append(Written::of(training))
    }

    /// The journals of the key's other experiments.
    pub(super) fn others(&self) -> Result<Vec<Self>, SpendingError> {
        let folder = self.folder.join(EXPERIMENTS);
        let failed = |source| SpendingError::disk(&folder, source);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(source)),
        };
        let mut others = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_str().and_then(|name| name.parse::<ExperimentName>().ok());
            if let Some(name) = name.filter(|name| *name != self.experiment) {
                others.push(Self::new(&self.folder, name, self.disk.clone()));
            }
        }
        Ok(others)
    }

    pub(super) fn experiment(&self) -> &ExperimentName {
        &self.experiment
    }
}

/// A training as it is written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Written {
    round: u64,
    weights: Hex,
    took: Settings,
    unrecorded: usize,
    epsilon_micros: u64,
    delta_picos: u64,
    all: Vec<Settings>,
}

/// Settings and steps, as they are written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    noise_micros: u64,
    clip_micros: u64,
    sampling_nanos: u64,
    steps: u64,
}

impl Written {
    pub(super) fn of(training: &Training) -> Self {
        let Training { round, weights, took, unrecorded, epsilon_micros, delta_picos, all } =
            training;
        Self {
            round: *round,
            weights: Hex(weights.0),
            took: Settings::of(took),
            unrecorded: *unrecorded,
            epsilon_micros: *epsilon_micros,
            delta_picos: *delta_picos,
            all: all.iter().map(Settings::of).collect(),
        }
    }

    pub(super) fn training(&self) -> Training {
        Training {
            round: self.round,
            weights: Digest(self.weights.0),
            took: self.took.segment(),
            unrecorded: self.unrecorded,
            epsilon_micros: self.epsilon_micros,
            delta_picos: self.delta_picos,
            all: self.all.iter().map(Settings::segment).collect(),
        }
    }
}

impl Entry for Written {
    fn add_to(&self, check: &mut Sha256) {
        check.update(self.weights.0);
        let counts = [self.round, self.unrecorded as u64, self.epsilon_micros, self.delta_picos];
        counts.iter().for_each(|count| check.update(count.to_be_bytes()));
        for it in std::iter::once(&self.took).chain(&self.all) {
            let settings = [it.noise_micros, it.clip_micros, it.sampling_nanos, it.steps];
            settings.iter().for_each(|setting| check.update(setting.to_be_bytes()));
        }
    }
}

impl Settings {
    pub(crate) fn of(segment: &PrivacySegment) -> Self {
        let PrivacySegment { noise_micros, clip_micros, sampling_nanos, steps } = *segment;
        Self { noise_micros, clip_micros, sampling_nanos, steps }
    }

    pub(crate) fn segment(&self) -> PrivacySegment {
        let Self { noise_micros, clip_micros, sampling_nanos, steps } = *self;
        PrivacySegment { noise_micros, clip_micros, sampling_nanos, steps }
    }
}
