//! Arguments that several commands share.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use colearn::learning::Training;
use colearn::learning::data::{DataError, Dataset};
use colearn::learning::network::Sgd;

/// Where the node is.
#[derive(Args, Clone)]
pub(crate) struct NodeAddress {
    /// The node's address
    #[arg(long, env = "COLEARN_NODE", default_value = "http://127.0.0.1:7400", value_name = "URL")]
    pub(crate) node: String,
}

/// What to learn from.
#[derive(Args, Clone)]
pub(crate) struct Data {
    /// A CSV file with a header, plain or gzip, all columns numeric but the label's [default: the
    /// embedded digits]
    #[arg(long, value_name = "FILE", requires = "label")]
    pub(crate) csv: Option<PathBuf>,
    /// The CSV column to predict
    #[arg(long, value_name = "COLUMN", requires = "csv")]
    pub(crate) label: Option<String>,
    /// Divide every CSV feature by this; the same for all learners
    #[arg(long, default_value_t = 1.0, value_name = "NUMBER")]
    pub(crate) scale: f32,
}

impl Data {
    pub(crate) fn load(&self) -> Result<Arc<Dataset>, DataError> {
        let data = match (&self.csv, &self.label) {
            (Some(path), Some(label)) => Dataset::csv(path, label, self.scale)?,
            _ => Dataset::digits()?,
        };
        Ok(Arc::new(data))
    }
}

/// Which model.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// Softmax regression.
    Softmax,
    /// A multilayer perceptron with one hidden layer.
    Mlp,
}

/// The model's shape.
#[derive(Args, Clone)]
pub(crate) struct ModelShape {
    /// The model
    #[arg(long, value_enum, default_value = "mlp")]
    pub(crate) model: Model,
    /// The width of the MLP's hidden layer
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub(crate) hidden: usize,
}

impl ModelShape {
    /// The hidden width, 0 for softmax regression.
    pub(crate) fn hidden(&self) -> usize {
        match self.model {
            Model::Softmax => 0,
            Model::Mlp => self.hidden,
        }
    }
}

/// How a learner trains and votes.
#[derive(Args, Clone)]
pub(crate) struct TrainingArgs {
    #[command(flatten)]
    pub(crate) shape: ModelShape,
    /// Passes over the training rows for one proposal
    #[arg(long, default_value_t = 5, value_name = "N")]
    epochs: usize,
    /// Rows in a mini-batch
    #[arg(long, default_value_t = 32, value_name = "N")]
    batch: usize,
    /// The step size of gradient descent
    #[arg(long, default_value_t = 0.05, value_name = "NUMBER")]
    learning_rate: f32,
    /// The momentum of gradient descent; 0 for none
    #[arg(long, default_value_t = 0.9, value_name = "NUMBER")]
    momentum: f32,
    /// Approve what is not worse than the current model by more than this, in accuracy
    #[arg(long, default_value_t = 0.0, value_name = "NUMBER")]
    margin: f64,
}

impl TrainingArgs {
    pub(crate) fn training(&self) -> Training {
        Training {
            hidden: self.shape.hidden(),
            epochs: self.epochs,
            batch: self.batch,
            sgd: Sgd { learning_rate: self.learning_rate, momentum: self.momentum },
            margin: self.margin,
        }
    }
}

/// The seed of what learner `number` of a group draws at random.
pub(crate) fn learner_seed(seed: u64, number: usize) -> u64 {
    seed.wrapping_mul(1_000_003).wrapping_add(number as u64)
}

/// A duration such as `10m`, `30s` or `500ms`.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    u64::try_from(duration.as_millis()).map_err(|_| "too long".to_owned())
}
