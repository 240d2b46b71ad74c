//! What to learn from.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use clap::builder::PossibleValue;
use colearn_learning::data::{CsvOptions, Dataset, Embedded, MNIST_SOURCE, Schema};
use colearn_records::words::Words as _;

use super::word::{OneOf, values};

/// What to learn from.
#[derive(Args, Clone, Default)]
pub(crate) struct Data {
    /// The data [default: digits, or what --data is]
    #[arg(long, value_parser = task())]
    pub(crate) task: Option<Task>,
    /// A CSV file (plain or gzip), a NumPy archive (.npz) or a folder of IDX files (MNIST)
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// The CSV column to predict
    #[arg(long, value_name = "COLUMN")]
    pub(crate) label: Option<String>,
    /// A CSV column to leave out, such as an identifier; may be repeated
    #[arg(long, value_name = "COLUMN")]
    pub(crate) ignore: Vec<String>,
    /// Predict a number, whatever the column looks like
    #[arg(long)]
    pub(crate) regression: bool,
    /// What the columns mean, as all learners agreed (JSON, from: colearn data schema)
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
}

/// What can be learned from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// What comes with the program.
    Embedded(Embedded),
    /// 70,000 handwritten digits of 28x28 pixels.
    Mnist,
    /// A CSV file of one's own.
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
                PossibleValue::new(CSV)
                    .help("A CSV file of one's own; needs --data FILE and --label COLUMN"),
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
                let options = CsvOptions {
                    label: self.label.clone(),
                    ignore: self.ignore.clone(),
                    schema: agreed.cloned().or(own),
                    regression: self.regression.then_some(true),
                };
                Dataset::load(path, &options)?
            }
            (None, None) => bail!("give --task or --data"),
        };
        Ok(Arc::new(data))
    }
}
