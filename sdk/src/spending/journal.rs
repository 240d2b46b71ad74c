//! The file that a learner's trainings in one experiment are written to before anything of them leaves
//! the process: one line each, only ever appended to.
//!
//! A line that a crash has cut off has no end, and nothing had left: it is passed over, and cut off
//! before the next is written. Each whole line carries a check value over itself and all before it, so
//! that damage is not taken for that.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use colearn_contracts::{Digest, ExperimentName, PrivacySegment};
use colearn_files::Lock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::SpendingError;
use super::account::Training;

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

/// Changes the file and makes changes durable. A seam, so that tests can end the process at each step.
pub(super) trait Disk: std::fmt::Debug + Send + Sync {
    /// Opens the file for writing, creating it if it is not there.
    fn open(&self, path: &Path) -> io::Result<File>;
    /// Cuts off what is behind the last whole line.
    fn cut(&self, file: &File, length: u64) -> io::Result<()>;
    /// Writes at the file's end.
    fn append(&self, file: &mut File, line: &[u8]) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        // What was spent on private data is nobody else's.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn append(&self, file: &mut File, line: &[u8]) -> io::Result<()> {
        file.seek(SeekFrom::End(0))?;
        file.write_all(line)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        Ok(colearn_files::sync_folder(folder)?)
    }
}

/// What a folder remembers of one experiment, as far as it was read.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    experiment: ExperimentName,
    disk: Arc<dyn Disk>,
    /// How long the whole lines are that were read or written, and the check value of the last. `None`
    /// where what is there is not known.
    read: Option<(u64, Check)>,
    /// Whether the file's name is known to be durable.
    named: bool,
}

type Check = [u8; 32];

impl Journal {
    pub(super) fn new(folder: &Path, experiment: ExperimentName, disk: Arc<dyn Disk>) -> Self {
        Self { folder: folder.to_owned(), experiment, disk, read: None, named: false }
    }

    fn path(&self) -> PathBuf {
        experiment_folder(&self.folder, &self.experiment).join(FILE)
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
        let path = self.path();
        if let Some((length, _)) = self.read
            && std::fs::metadata(&path).map_or(0, |file| file.len()) == length
        {
            return Ok(None);
        }
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(SpendingError::disk(&path, source)),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut check = Check::default();
        let mut trainings = Vec::new();
        for (at, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let damaged = || SpendingError::Damaged { path: path.clone(), line: at + 1 };
            let line: Line = serde_json::from_slice(line).map_err(|_| damaged())?;
            check = line.training.check(&self.experiment, &check);
            if line.check != hex::encode(check) {
                return Err(damaged());
            }
            trainings.push(line.training.read().ok_or_else(damaged)?);
        }
        self.read = Some((whole as u64, check));
        Ok(Some(trainings))
    }

    /// Adds a training, durably. All before it must have been read, under the same lock.
    pub(super) fn append(&mut self, training: &Training) -> Result<(), SpendingError> {
        let path = self.path();
        let failed = |source: io::Error| SpendingError::disk(&path, source);
        // Whatever fails from here on, what is there then is to be read again.
        let (length, before) = self.read.take().unwrap_or_default();
        let folder = path.parent().unwrap_or(&path);
        colearn_files::create_folder(folder).map_err(|error| failed(error.into()))?;
        let mut file = self.disk.open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > length {
            self.disk.cut(&file, length).map_err(failed)?;
        }
        let written = Written::of(training);
        let check = written.check(&self.experiment, &before);
        let line = Line { training: written, check: hex::encode(check) };
        let mut line = serde_json::to_vec(&line).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let written = self.write(&mut file, folder, &line);
        if written.is_err() {
            // What could not be made durable must not look as if it had been.
            let _ = self.disk.cut(&file, length);
        }
        written.map_err(failed)?;
        self.read = Some((length + line.len() as u64, check));
        Ok(())
    }

    fn write(&mut self, file: &mut File, folder: &Path, line: &[u8]) -> io::Result<()> {
        self.disk.append(file, line)?;
        self.disk.sync(file)?;
        if !self.named {
            // Also where the file was there before: who created it may have ended before it got this
            // far.
            for folder in folder.ancestors().take_while(|it| it.starts_with(&self.folder)) {
                self.disk.sync_folder(folder)?;
            }
            self.named = true;
        }
        Ok(())
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

#[derive(Serialize, Deserialize)]
struct Line {
    training: Written,
    /// Hex.
    check: String,
}

/// A training as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    round: u64,
    /// Hex.
    weights: String,
    took: Settings,
    unrecorded: usize,
    epsilon_micros: u64,
    delta_picos: u64,
    all: Vec<Settings>,
}

/// Settings and steps, as they are written.
#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    noise_micros: u64,
    clip_micros: u64,
    sampling_nanos: u64,
    steps: u64,
}

impl Written {
    fn of(training: &Training) -> Self {
        let Training { round, weights, took, unrecorded, epsilon_micros, delta_picos, all } =
            training;
        Self {
            round: *round,
            weights: hex::encode(weights.0),
            took: Settings::of(took),
            unrecorded: *unrecorded,
            epsilon_micros: *epsilon_micros,
            delta_picos: *delta_picos,
            all: all.iter().map(Settings::of).collect(),
        }
    }

    fn read(&self) -> Option<Training> {
        let mut weights = [0; 32];
        hex::decode_to_slice(&self.weights, &mut weights).ok()?;
        Some(Training {
            round: self.round,
            weights: Digest(weights),
            took: self.took.segment(),
            unrecorded: self.unrecorded,
            epsilon_micros: self.epsilon_micros,
            delta_picos: self.delta_picos,
            all: self.all.iter().map(Settings::segment).collect(),
        })
    }

    /// The check value of its line, which follows one with another.
    fn check(&self, experiment: &ExperimentName, before: &Check) -> Check {
        let name = experiment.as_str();
        let mut hash = Sha256::new()
            .chain_update(b"colearn/v1/spent\n")
            .chain_update((name.len() as u64).to_be_bytes())
            .chain_update(name)
            .chain_update(before)
            .chain_update(hex::decode(&self.weights).unwrap_or_default());
        let counts = [self.round, self.unrecorded as u64, self.epsilon_micros, self.delta_picos];
        counts.iter().for_each(|count| hash.update(count.to_be_bytes()));
        for it in std::iter::once(&self.took).chain(&self.all) {
            let settings = [it.noise_micros, it.clip_micros, it.sampling_nanos, it.steps];
            settings.iter().for_each(|setting| hash.update(setting.to_be_bytes()));
        }
        hash.finalize().into()
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
