//! Arguments that several commands share.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::{Args, ValueEnum};
use colearn_dp::Accountant;
use colearn_learning::data::{
    Composition, CsvOptions, Dataset, Embedded, MNIST_SOURCE, Schema, Share, Split, Target,
};
use colearn_learning::metric::Metric;
use colearn_learning::model::{Activation, ModelSpec};
use colearn_learning::optimizer::Optimizer;
use colearn_learning::private::{Noise, Privacy};
use colearn_learning::{Training, Voting};

/// Where the node is.
#[derive(Args, Clone)]
pub(crate) struct NodeAddress {
    /// The node's address
    #[arg(long, env = "COLEARN_NODE", default_value = "http://127.0.0.1:7400", value_name = "URL")]
    pub(crate) node: String,
}

/// What to learn from.
#[derive(Args, Clone, Default)]
pub(crate) struct Data {
    /// The data [default: digits, or what --data is]
    #[arg(long, value_enum)]
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Task {
    /// 1,797 handwritten digits of 8x8 pixels.
    Digits,
    /// 150 flowers of three species.
    Iris,
    /// 569 tumours, malignant or benign.
    BreastCancer,
    /// 178 wines of three growers.
    Wine,
    /// 442 patients and how their diabetes progressed, a number.
    Diabetes,
    /// 70,000 handwritten digits of 28x28 pixels; needs --data DIR.
    Mnist,
    /// A CSV file of one's own; needs --data FILE and --label COLUMN.
    Csv,
}

impl Task {
    fn embedded(self) -> Option<Embedded> {
        match self {
            Self::Digits => Some(Embedded::Digits),
            Self::Iris => Some(Embedded::Iris),
            Self::BreastCancer => Some(Embedded::BreastCancer),
            Self::Wine => Some(Embedded::Wine),
            Self::Diabetes => Some(Embedded::Diabetes),
            Self::Mnist | Self::Csv => None,
        }
    }
}

impl Data {
    /// Loads it; with an agreed schema the data must follow that one.
    pub(crate) fn load(&self, agreed: Option<&Schema>) -> anyhow::Result<Arc<Dataset>> {
        let embedded = match (self.task, &self.data) {
            (Some(task), None) => match task.embedded() {
                Some(embedded) => Some(embedded),
                None if task == Task::Mnist => {
                    bail!(
                        "give the folder with MNIST's files as --data DIR; they are at {MNIST_SOURCE}"
                    )
                }
                None => bail!("give the file as --data FILE, and the column to predict as --label"),
            },
            (Some(task), Some(_)) if task.embedded().is_some() => {
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

/// How a data set is divided.
#[derive(Args, Clone)]
pub(crate) struct SplitArgs {
    /// How the rows are divided: iid, dirichlet:ALPHA, sorted, shards:K or unequal
    #[arg(long, default_value_t = Split::Iid, value_name = "SPLIT")]
    pub(crate) split: Split,
    /// Show who has what
    #[arg(long)]
    pub(crate) show_split: bool,
}

/// Which model.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// Linear regression: predicts a number.
    Linear,
    /// Softmax regression: predicts a class.
    Softmax,
    /// A multilayer perceptron; predicts either.
    Mlp,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ActivationArg {
    Relu,
    Tanh,
}

/// The model's shape.
#[derive(Args, Clone)]
pub(crate) struct ModelShape {
    /// The model
    #[arg(long, value_enum, default_value = "mlp")]
    model: Model,
    /// The widths of the MLP's hidden layers, such as 64,32 [default: 32, or 128 from 500 inputs on]
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    hidden: Vec<usize>,
    /// What is between the MLP's layers
    #[arg(long, value_enum, default_value = "relu")]
    activation: ActivationArg,
}

impl ModelShape {
    /// The model for some data.
    pub(crate) fn spec(&self, schema: &Schema) -> anyhow::Result<ModelSpec> {
        let classifier = matches!(schema.target, Target::Class { .. });
        match self.model {
            Model::Linear if classifier => {
                bail!(
                    "linear regression predicts a number, but {:?} is a class; use --model softmax or mlp, or --regression",
                    schema.target.name()
                )
            }
            Model::Softmax if !classifier => {
                bail!(
                    "softmax regression predicts a class, but {:?} is a number; use --model linear or mlp",
                    schema.target.name()
                )
            }
            Model::Linear | Model::Softmax if !self.hidden.is_empty() => {
                bail!("only --model mlp has hidden layers")
            }
            Model::Linear | Model::Softmax | Model::Mlp => {}
        }
        let hidden = match self.model {
            Model::Linear | Model::Softmax => Vec::new(),
            Model::Mlp if self.hidden.is_empty() => ModelSpec::usual_hidden(schema),
            Model::Mlp => self.hidden.clone(),
        };
        let activation = match self.activation {
            ActivationArg::Relu => Activation::Relu,
            ActivationArg::Tanh => Activation::Tanh,
        };
        Ok(ModelSpec::new(hidden, activation, schema.clone()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OptimizerArg {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam.
    Adam,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MetricArg {
    /// The share of rows whose class is right.
    Accuracy,
    /// Cross entropy, or squared error for a number; recorded as its negative.
    Loss,
    /// The area under the ROC curve.
    Auc,
}

/// How a learner trains and votes.
#[derive(Args, Clone)]
pub(crate) struct TrainingArgs {
    /// Passes over the training rows for one proposal
    #[arg(long, default_value_t = 5, value_name = "N")]
    epochs: usize,
    /// Rows in a mini-batch
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    batch: usize,
    /// The optimiser
    #[arg(long, value_enum, default_value = "sgd")]
    optimizer: OptimizerArg,
    /// The step size [default: for sgd 0.05, or 0.01 where a number is predicted; for adam 0.001]
    #[arg(long, value_name = "NUMBER")]
    learning_rate: Option<f32>,
    /// The momentum of gradient descent; 0 for none
    #[arg(long, default_value_t = 0.9, value_name = "NUMBER")]
    momentum: f32,
    /// What votes are decided on [default: accuracy, or loss for a number]
    #[arg(long, value_enum)]
    score: Option<MetricArg>,
    /// Approve what is not worse than the current model by more than this, in units of the score
    #[arg(long, default_value_t = 0.0, value_name = "NUMBER")]
    margin: f64,
    /// Judge on so many mini-batches of the voting rows [default: all of them]
    #[arg(long, value_name = "N")]
    vote_batches: Option<usize>,
    /// Record no scores, only votes: scores say something about private data
    #[arg(long)]
    hide_scores: bool,
    /// Train with differential privacy (DP-SGD) and this noise multiplier
    #[arg(long, value_name = "SIGMA")]
    noise: Option<f64>,
    /// The norm to which each example's gradient is clipped
    #[arg(long, default_value_t = 1.0, value_name = "NUMBER", requires = "noise")]
    clip: f64,
    /// The delta that epsilon is stated for
    #[arg(long, default_value_t = 1e-5, value_name = "DELTA", requires = "noise")]
    delta: f64,
    /// Propose no more once this epsilon would be exceeded
    #[arg(long, value_name = "EPSILON", requires = "noise")]
    epsilon: Option<f64>,
}

impl TrainingArgs {
    /// `noise` says where the noise of private training comes from.
    pub(crate) fn training(&self, spec: &ModelSpec, noise: Noise) -> anyhow::Result<Training> {
        let rate = self.learning_rate;
        let optimizer = match self.optimizer {
            OptimizerArg::Sgd => Optimizer::sgd(rate, self.momentum, spec.is_classifier()),
            OptimizerArg::Adam => Optimizer::adam(rate),
        };
        if !(self.clip > 0.0 && self.clip.is_finite()) {
            bail!("--clip must be a positive number");
        }
        let privacy = self.noise.map(|noise_multiplier| Privacy {
            noise_multiplier,
            clip: self.clip,
            delta: self.delta,
            accountant: Accountant::Pld,
            budget: self.epsilon,
            noise,
        });
        let metric = self.score.map(|score| match score {
            MetricArg::Accuracy => Metric::Accuracy,
            MetricArg::Loss => Metric::Loss,
            MetricArg::Auc => Metric::Auc,
        });
        Ok(Training {
            epochs: self.epochs,
            batch: self.batch,
            optimizer,
            privacy,
            voting: Voting {
                metric,
                margin: self.margin,
                batches: self.vote_batches,
                hide_scores: self.hide_scores,
            },
        })
    }
}

/// Who has what: a table.
pub(crate) fn split_table(shares: &[Share]) -> String {
    const MOST_CLASSES: usize = 12;
    let Some(first) = shares.first() else { return String::new() };
    let target = &first.data.schema.target;
    let mut text = "learner  train   vote   test  ".to_owned();
    let classes = target.classes();
    match target {
        Target::Class { .. } => {
            for class in classes.iter().take(MOST_CLASSES) {
                text += &format!("{class:>6.6}");
            }
            if classes.len() > MOST_CLASSES {
                text += "   ...";
            }
        }
        Target::Number { name, .. } => text += &format!("mean {name} (scaled)"),
    }
    text.push('\n');
    for (at, share) in shares.iter().enumerate() {
        let (train, vote, test) = (share.train.len(), share.vote.len(), share.test.len());
        text += &format!("{:>7}  {train:>5}  {vote:>5}  {test:>5}  ", at + 1);
        let own: Vec<usize> = share.train.iter().chain(&share.vote).copied().collect();
        match share.data.composition(&own) {
            Composition::Classes(counts) => {
                for count in counts.iter().take(MOST_CLASSES) {
                    text += &format!("{count:>6}");
                }
            }
            Composition::Mean(mean) => text += &format!("{mean:.3}"),
        }
        text.push('\n');
    }
    text
}

/// A duration such as `10m`, `30s` or `500ms`.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    u64::try_from(duration.as_millis()).map_err(|_| "too long".to_owned())
}
