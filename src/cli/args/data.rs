//! What to learn from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use clap::builder::PossibleValue;
use colearn_learning::data::schema::MAX_CATEGORIES;
use colearn_learning::data::{CsvOptions, Dataset, Embedded, Fill, Kind, MNIST_SOURCE, Schema};
use colearn_records::words::{Word as _, Words as _};

use super::DialectArgs;
use super::word::{OneOf, values};

/// What to learn from.
#[derive(Args, Clone, Default)]
pub(crate) struct Data {
    /// The data [default: digits, or what --data is]
    #[arg(long, value_parser = task())]
    pub(crate) task: Option<Task>,
    /// A CSV file (plain or gzip), a Parquet file, a NumPy archive (.npz) or a folder of IDX files (MNIST)
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// The column of a table to predict
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label: Option<String>,
    /// A column to leave out, such as an identifier; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) ignore: Vec<String>,
    /// Predict a number, whatever the column looks like
    #[arg(long)]
    pub(crate) regression: bool,
    /// A column of words, though they look like numbers, such as a code; may be repeated
    #[arg(long, value_name = "COLUMN")]
    category: Vec<String>,
    /// A column of numbers, though most of it looks like words; may be repeated
    #[arg(long, value_name = "COLUMN")]
    number: Vec<String>,
    /// A column of dates, though most of it looks like something else; may be repeated
    #[arg(long, value_name = "COLUMN")]
    date: Vec<String>,
    /// A column of many different words, which are hashed into 64 inputs, or so many; may be repeated
    #[arg(long, value_parser = hashed, value_name = "COLUMN[=INPUTS]")]
    hash: Vec<(String, usize)>,
    /// What stands for numbers that are missing: mean, median, a number, or indicator (the mean, and one more
    /// input that tells); of one column, or of all in which some are; may be repeated
    #[arg(long, value_parser = missing, value_name = "[COLUMN=]RULE")]
    missing: Vec<(Option<String>, Fill)>,
    /// Have words that fewer rows have than this stand for one category, and any other word
    #[arg(long, value_name = "ROWS")]
    pub(crate) rare: Option<u64>,
    #[command(flatten)]
    pub(crate) dialect: DialectArgs,
    /// What the columns mean, as all learners agreed (JSON, from: colearn data schema)
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
}

/// Into how many inputs words are hashed unless it is said.
const BUCKETS: usize = 64;

fn hashed(text: &str) -> Result<(String, usize), String> {
    let Some((column, buckets)) = text.rsplit_once('=') else {
        return Ok((text.to_owned(), BUCKETS));
    };
    match buckets.parse() {
        Ok(buckets) if (2..=MAX_CATEGORIES).contains(&buckets) => Ok((column.to_owned(), buckets)),
        _ => Err(format!("write it as COLUMN, or COLUMN=INPUTS with 2 to {MAX_CATEGORIES}")),
    }
}

fn missing(text: &str) -> Result<(Option<String>, Fill), String> {
    let (column, rule) = match text.rsplit_once('=') {
        Some((column, rule)) => (Some(column.to_owned()), rule),
        None => (None, text),
    };
    let fill = match rule {
        "mean" => Fill::Mean,
        "median" => Fill::Median,
        "indicator" => Fill::Indicator,
        number => match number.parse::<f64>() {
            Ok(number) if (number as f32).is_finite() => Fill::Value(number),
            _ => {
                return Err(
                    "it is mean, median, indicator or a number, after COLUMN= or not".into()
                );
            }
        },
    };
    Ok((column, fill))
}

/// What can be learned from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// What comes with the program.
    Embedded(Embedded),
    /// 70,000 handwritten digits of 28x28 pixels.
    Mnist,
    /// A CSV or Parquet file of one's own.
    Csv,
}

const MNIST: &str = "mnist";
const CSV: &str = "csv";

fn task() -> OneOf<Task> {
    OneOf {
        values: || {
            let mut values = values::<Embedded>();
            values.extend([
                PossibleValue::new(MNIST)
                    .help("70,000 handwritten digits of 28x28 pixels; needs --data DIR"),
                PossibleValue::new(CSV).help(
                    "A CSV or Parquet file of one's own; needs --data FILE and --label COLUMN",
                ),
            ]);
            values
        },
        find: |text| match text {
            MNIST => Some(Task::Mnist),
            CSV => Some(Task::Csv),
            embedded => Embedded::parse(embedded).ok().map(Task::Embedded),
        },
    }
}

impl Data {
    /// Whether it was said what to learn from.
    pub(crate) fn is_given(&self) -> bool {
        self.task.is_some() || self.data.is_some()
    }

    /// The file, if it is a table: CSV or Parquet.
    pub(crate) fn table(&self) -> Option<&Path> {
        let is_table =
            |path: &&Path| path.is_file() && path.extension().is_none_or(|ending| ending != "npz");
        self.data.as_deref().filter(is_table)
    }

    /// The task, as it is written.
    pub(crate) fn task_word(&self) -> Option<String> {
        self.task.map(|task| {
            let word = match task {
                Task::Embedded(embedded) => embedded.word(),
                Task::Mnist => MNIST,
                Task::Csv => CSV,
            };
            word.to_owned()
        })
    }

    fn kinds(&self) -> Vec<(String, Kind)> {
        let category = self.category.iter().map(|column| (column.clone(), Kind::Category));
        let number = self.number.iter().map(|column| (column.clone(), Kind::Number));
        let date = self.date.iter().map(|column| (column.clone(), Kind::Date));
        let hashed = self.hash.iter().map(|(column, into)| (column.clone(), Kind::Hashed(*into)));
        category.chain(number).chain(date).chain(hashed).collect()
    }

    /// How a table is to be read, but for an agreed schema.
    pub(crate) fn csv_options(&self) -> CsvOptions {
        CsvOptions {
            label: self.label.clone(),
            ignore: self.ignore.clone(),
            schema: None,
            regression: self.regression.then_some(true),
            dialect: self.dialect.options(),
            kinds: self.kinds(),
            missing: self.missing.clone(),
            rare: self.rare.unwrap_or(0),
        }
    }

    /// Loads it; with an agreed schema the data must follow that one.
    pub(crate) fn load(&self, agreed: Option<&Schema>) -> anyhow::Result<Arc<Dataset>> {
        let embedded = match (self.task, &self.data) {
            (Some(Task::Embedded(embedded)), None) => Some(embedded),
            (Some(Task::Mnist), None) => {
                bail!(
                    "give the folder with MNIST's files as --data DIR; they are at {MNIST_SOURCE}"
                )
            }
            (Some(Task::Csv), None) => {
                bail!("give the file as --data FILE, and the column to predict as --label")
            }
            (Some(Task::Embedded(_)), Some(_)) => {
                bail!("this task comes with its data; leave out --data, or choose csv or mnist")
            }
            (None, None) => Some(Embedded::Digits),
            (_, Some(_)) => None,
        };
        let own = self.schema.as_deref().map(Schema::read).transpose()?;
        if let (Some(own), Some(agreed)) = (&own, agreed)
            && own != agreed
        {
            bail!("the given schema is not the experiment's");
        }
        let data = match (embedded, &self.data) {
            (Some(embedded), _) => Dataset::embedded(embedded)?,
            (None, Some(path)) => {
                let options = CsvOptions { schema: agreed.cloned().or(own), ..self.csv_options() };
                let data = Dataset::load(path, &options)?;
                for note in &data.notes {
                    eprintln!("{}: {note}", path.display());
                }
                data
            }
            (None, None) => bail!("give --task or --data"),
        };
        Ok(Arc::new(data))
    }
}
