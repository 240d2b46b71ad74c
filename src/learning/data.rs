//! Data sets: the embedded digits, CSV files, and their split among learners.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::GzDecoder;
use ndarray::{Array2, Axis};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

/// 1,797 images of handwritten digits, 8x8 pixels of 0 to 16: E. Alpaydin and C. Kaynak, Optical
/// Recognition of Handwritten Digits (test part), UCI Machine Learning Repository, CC BY 4.0.
const DIGITS: &[u8] = include_bytes!("../../data/digits.csv.gz");
/// The largest value of a digit's pixel.
const DIGITS_SCALE: f32 = 16.0;
/// More rows than this are refused rather than half read.
const MAX_ROWS: usize = 10_000_000;

/// Why data could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Not CSV.
    #[error("{name}, line {line}: {message}")]
    Csv {
        /// The file.
        name: String,
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// A value is not a finite number.
    #[error(
        "{name}, line {line}, column {column:?}: {value:?} is not a finite number; only numeric columns can be used"
    )]
    NotANumber {
        /// The file.
        name: String,
        /// Counted from 1, the header included.
        line: u64,
        /// The column's name.
        column: String,
        /// What stands there.
        value: String,
    },
    /// There is no such column.
    #[error("{name} has no column {column:?}; it has: {columns}")]
    NoSuchColumn {
        /// The file.
        name: String,
        /// The asked column.
        column: String,
        /// The file's columns.
        columns: String,
    },
    /// Too little data.
    #[error("{name} has {rows} rows, too few for {learners} learners with 5 each")]
    TooFew {
        /// The file.
        name: String,
        /// Its rows.
        rows: usize,
        /// Among whom they are to be divided.
        learners: usize,
    },
    /// Nothing to learn.
    #[error("{name} needs at least one feature column and two different labels")]
    Degenerate {
        /// The file.
        name: String,
    },
}

/// A table for classification.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What it is called in messages.
    pub name: String,
    /// Rows of features: `[rows, features]`.
    pub features: Array2<f32>,
    /// The class of each row, an index into `classes`.
    pub labels: Vec<usize>,
    /// The classes' names, numbers in numeric order, then text.
    pub classes: Vec<String>,
}

impl Dataset {
    /// The embedded digits, scaled to 0..1.
    ///
    /// # Errors
    /// Never, unless the program itself is damaged.
    pub fn digits() -> Result<Self, DataError> {
        let mut data = read_csv("the embedded digits", GzDecoder::new(DIGITS), "target")?;
        data.features /= DIGITS_SCALE;
        Ok(data)
    }

    /// A CSV file with a header line, plain or gzip, all columns numeric but the label's. Features
    /// are divided by `scale`.
    ///
    /// # Errors
    /// Names the line and column of what cannot be used.
    pub fn csv(path: &Path, label: &str, scale: f32) -> Result<Self, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        let mut magic = [0; 2];
        let read = file.read(&mut magic).map_err(io)?;
        let file = magic[..read].chain(file);
        let name = path.display().to_string();
        let mut data = if magic == [0x1f, 0x8b] {
            read_csv(&name, GzDecoder::new(file), label)?
        } else {
            read_csv(&name, file, label)?
        };
        data.features /= scale;
        Ok(data)
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// The number of features.
    pub fn width(&self) -> usize {
        self.features.ncols()
    }

    /// Divides the rows evenly and at random among learners. First a fifth of all is set aside for
    /// testing; of each learner's share of the rest a fifth is for voting.
    ///
    /// # Errors
    /// If that would leave a learner with too little.
    pub fn split_iid(
        self: &Arc<Self>,
        learners: usize,
        seed: u64,
    ) -> Result<Vec<Share>, DataError> {
        let rows = self.rows();
        if learners == 0 || rows < 5 * learners {
            return Err(DataError::TooFew { name: self.name.clone(), rows, learners });
        }
        let mut order: Vec<usize> = (0..rows).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (test, rest) = order.split_at((rows / 5).max(learners));
        let part = |rows: &[usize], i: usize| {
            rows[i * rows.len() / learners..(i + 1) * rows.len() / learners].to_vec()
        };
        let shares = (0..learners).map(|i| {
            let mut train = part(rest, i);
            let vote = train.split_off(train.len() - (train.len() / 5).max(1));
            Share { data: self.clone(), train, vote, test: part(test, i) }
        });
        Ok(shares.collect())
    }
}

/// One learner's part of a data set: row numbers, no copies.
#[derive(Clone, Debug)]
pub struct Share {
    /// The whole.
    pub data: Arc<Dataset>,
    /// Rows to train on.
    pub train: Vec<usize>,
    /// Rows to vote on.
    pub vote: Vec<usize>,
    /// Rows that decide nothing.
    pub test: Vec<usize>,
}

impl Share {
    /// The features and labels of some rows.
    pub fn select(&self, rows: &[usize]) -> (Array2<f32>, Vec<usize>) {
        let features = self.data.features.select(Axis(0), rows);
        (features, rows.iter().map(|row| self.data.labels[*row]).collect())
    }

    /// All shares together, as one learner's.
    pub fn merge(shares: &[Self]) -> Option<Self> {
        let (first, rest) = shares.split_first()?;
        let mut merged = first.clone();
        for share in rest {
            merged.train.extend(&share.train);
            merged.vote.extend(&share.vote);
            merged.test.extend(&share.test);
        }
        Some(merged)
    }
}

fn read_csv(name: &str, reader: impl Read, label: &str) -> Result<Dataset, DataError> {
    let fail = |line, message: String| DataError::Csv { name: name.to_owned(), line, message };
    let csv_error = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        fail(line, error.to_string())
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
    let columns = reader.headers().map_err(csv_error)?.clone();
    let label_at = columns.iter().position(|column| column == label).ok_or_else(|| {
        let mut known: Vec<&str> = columns.iter().take(20).collect();
        if columns.len() > known.len() {
            known.push("...");
        }
        DataError::NoSuchColumn {
            name: name.to_owned(),
            column: label.to_owned(),
            columns: known.join(", "),
        }
    })?;
    let mut features: Vec<f32> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(csv_error)?;
        let line = record.position().map_or(0, csv::Position::line);
        if texts.len() == MAX_ROWS {
            return Err(fail(line, format!("more than {MAX_ROWS} rows")));
        }
        for (at, value) in record.iter().enumerate() {
            if at == label_at {
                texts.push(value.to_owned());
                continue;
            }
            match value.parse::<f32>() {
                Ok(number) if number.is_finite() => features.push(number),
                _ => {
                    return Err(DataError::NotANumber {
                        name: name.to_owned(),
                        line,
                        column: columns.get(at).unwrap_or_default().to_owned(),
                        value: value.to_owned(),
                    });
                }
            }
        }
    }
    let mut classes = texts.clone();
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::INFINITY);
    classes.sort_by(|a, b| number(a).total_cmp(&number(b)).then_with(|| a.cmp(b)));
    classes.dedup();
    let width = columns.len() - 1;
    if width == 0 || classes.len() < 2 {
        return Err(DataError::Degenerate { name: name.to_owned() });
    }
    let class_of: std::collections::HashMap<&str, usize> =
        classes.iter().enumerate().map(|(at, class)| (class.as_str(), at)).collect();
    let labels: Vec<usize> = texts.iter().map(|text| class_of[text.as_str()]).collect();
    let features = Array2::from_shape_vec((labels.len(), width), features)
        .map_err(|error| fail(0, error.to_string()))?;
    Ok(Dataset { name: name.to_owned(), features, labels, classes })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write as _;

    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn the_digits_are_whole() {
        let digits = Dataset::digits().unwrap();
        assert_eq!((digits.rows(), digits.width(), digits.classes.len()), (1797, 64, 10));
        assert!(digits.features.iter().all(|x| (0.0..=1.0).contains(x)));
        assert_eq!(digits.classes[9], "9");
    }

    #[test]
    fn a_split_uses_every_row_once_and_follows_its_seed() {
        let digits = Arc::new(Dataset::digits().unwrap());
        let shares = digits.split_iid(5, 1).unwrap();
        let all: Vec<usize> = shares
            .iter()
            .flat_map(|share| share.train.iter().chain(&share.vote).chain(&share.test))
            .copied()
            .collect();
        assert_eq!(all.len(), 1797);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 1797);
        assert_eq!(digits.split_iid(5, 1).unwrap()[3].train, shares[3].train);
        assert_ne!(digits.split_iid(5, 2).unwrap()[3].train, shares[3].train);
        assert!(matches!(digits.split_iid(400, 1), Err(DataError::TooFew { .. })));
    }

    #[test]
    fn csv_plain_and_gzip_give_the_same() {
        let text = b"a,label,b\n1,yes,2.5\n3,no,-4\n";
        let plain = Dataset::csv(file(text).path(), "label", 2.0).unwrap();
        assert_eq!(plain.features, ndarray::array![[0.5, 1.25], [1.5, -2.0]]);
        assert_eq!((plain.classes.join(" "), &plain.labels[..]), ("no yes".into(), &[1, 0][..]));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let gzip = Dataset::csv(file(&gzip.finish().unwrap()).path(), "label", 2.0).unwrap();
        assert_eq!(gzip.features, plain.features);
    }

    #[test]
    fn errors_name_the_line_and_the_column() {
        let message = |text: &[u8], label: &str| {
            Dataset::csv(file(text).path(), label, 1.0).unwrap_err().to_string()
        };
        let error = message(b"a,y\n1,0\nx,1\n", "y");
        assert!(error.contains("line 3, column \"a\": \"x\" is not a finite number"), "{error}");
        assert!(message(b"a,y\nNaN,0\n2,1\n", "y").contains("line 2"));
        assert!(message(b"a,y\n1,0\n2\n", "y").contains("line 3"));
        assert!(message(b"a,y\n1,0\n", "z").contains("has no column \"z\"; it has: a, y"));
        assert!(message(b"a,y\n1,0\n2,0\n", "y").contains("two different labels"));
        assert!(message(b"", "y").contains("has no column"));
        assert!(message(b"\x1f\x8bgarbage", "y").contains("line 1"));
    }
}
