//! The file in which a learner keeps what its model alone was worth beside the shared one: a line of JSON for each
//! shared model, and the weights alone, so that a restart goes on from there. For its own user only.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use colearn_contracts::Digest;
use colearn_learning::metric::Metric;
use colearn_learning::paired::{CONFIDENCE, Comparison};
use colearn_records::words::Word as _;
use colearn_sdk::learner::Weights;
use serde::{Deserialize, Serialize};

const LINES: &str = "alone.jsonl";
const WEIGHTS: &str = "alone.safetensors";
/// The most bytes of lines, which is some 100,000 of them, and
const MAX_LINES: u64 = 64 << 20;
/// of weights.
const MAX_WEIGHTS: u64 = 16 << 30;

/// Why a record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: {message}; move it and {WEIGHTS} away to begin anew", path.display())]
    Line { path: PathBuf, line: usize, message: String },
    #[error("{} has more than {most} bytes", path.display())]
    TooLong { path: PathBuf, most: u64 },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: colearn_files::Error },
}

/// Two models on one learner's test rows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The last round that was closed.
    pub(crate) round: u64,
    /// SHA-256 of the shared model, in hexadecimal.
    pub(crate) model: String,
    /// How often the model alone was trained so far.
    pub(crate) trainings: u64,
    /// What the scores are; higher is better.
    pub(crate) metric: String,
    pub(crate) rows: usize,
    pub(crate) alone: Option<f64>,
    pub(crate) together: Option<f64>,
    /// Together less alone,
    pub(crate) difference: Option<f64>,
    /// and where it lies,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    /// at this confidence.
    pub(crate) confidence: f64,
    /// Rows that only one of them gets right; absent where a number is predicted.
    pub(crate) only_alone: Option<u64>,
    pub(crate) only_together: Option<u64>,
    /// McNemar's exact test of these.
    pub(crate) p_value: Option<f64>,
}

impl Line {
    pub(crate) fn new(
        round: u64,
        model: Digest,
        trainings: u64,
        metric: Metric,
        comparison: &Comparison,
    ) -> Self {
        let Comparison { rows, first: alone, second: together, interval, only } = *comparison;
        // JSON has no other numbers.
        let finite = |number: f64| number.is_finite().then_some(number);
        Self {
            round,
            model: model.to_string(),
            trainings,
            metric: metric.word().to_owned(),
            rows,
            alone: finite(alone),
            together: finite(together),
            difference: finite(together - alone),
            low: finite(interval[0]),
            high: finite(interval[1]),
            confidence: CONFIDENCE,
            only_alone: only.map(|only| only.first),
            only_together: only.map(|only| only.second),
            p_value: only.map(|only| only.p_value()),
        }
    }

    /// For people, without the round.
    pub(crate) fn text(&self) -> String {
        let Self { rows, .. } = self;
        let metric = self.metric.replace('_', " ");
        let (alone, together) = (number(self.alone), number(self.together));
        let (low, high) = (signed(self.low), signed(self.high));
        format!(
            "together {together}, alone {alone} ({metric} on {rows} test rows): {}, with {:.0} % from {low} to {high}",
            signed(self.difference),
            self.confidence * 100.0
        )
    }
}

pub(crate) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

pub(crate) fn signed(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:+.3}"))
}

/// All lines, and where they are.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    lines: Vec<Line>,
    text: String,
}

impl Record {
    /// What is in a learner's folder; nothing, where there is no such file.
    pub(crate) fn open(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(LINES);
        match Self::read(&path) {
            Err(RecordError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path, lines: Vec::new(), text: String::new() })
            }
            read => read,
        }
    }

    /// A file of lines.
    pub(crate) fn read(path: &Path) -> Result<Self, RecordError> {
        let bytes = bounded(path, MAX_LINES)?;
        let malformed = |line, message| {
            let path = path.to_owned();
            RecordError::Line { path, line, message }
        };
        let text = String::from_utf8(bytes).map_err(|error| malformed(0, error.to_string()))?;
        let parse = |(at, line)| {
            serde_json::from_str(line).map_err(|error| malformed(at + 1, error.to_string()))
        };
        let lines = text.lines().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_owned(), lines, text })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The model alone, if there is one.
    pub(crate) fn weights(&self) -> Result<Option<Weights>, RecordError> {
        match bounded(&self.path.with_file_name(WEIGHTS), MAX_WEIGHTS) {
            Ok(bytes) => Ok(Some(Weights::new(bytes))),
            Err(RecordError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Adds a line, and keeps the model that it is about.
    pub(crate) fn add(&mut self, line: Line, alone: &Weights) -> Result<(), RecordError> {
        // The weights first: what a crash leaves between the two is a training that no line counts.
        self.write(&self.path.with_file_name(WEIGHTS), alone.bytes())?;
        let json = serde_json::to_string(&line).unwrap_or_default();
        self.text += &json;
        self.text.push('\n');
        self.lines.push(line);
        self.write(&self.path, self.text.as_bytes())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
        let failed = |source| RecordError::Write { path: path.to_owned(), source };
        colearn_files::create_folder(colearn_files::folder_of(path)).map_err(failed)?;
        colearn_files::replace_secret(path, bytes).map_err(failed)
    }
}

fn bounded(path: &Path, most: u64) -> Result<Vec<u8>, RecordError> {
    let failed = |source| RecordError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(RecordError::TooLong { path: path.to_owned(), most });
    }
    Ok(bytes)
}
