//! `colearn predict`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use colearn_learning::metric::Metric;
use colearn_learning::{Predictions, Predictor};
use colearn_sdk::learner::Weights;

/// What stands for standard input and output.
const STANDARD: &str = "-";

#[derive(Args)]
#[command(after_help = "Examples:
  colearn predict --model credit.safetensors --data new.csv --out predicted.csv
  cat new.csv | colearn predict --model credit.safetensors --data - | head

The model's header says which columns it needs, and what they mean. Other columns are passed over; one
that is missing, or a value that the model knows nothing about, is an error. Of each row a line is written,
in the same order: the prediction, and of a class the probability of each. Where the column that is
predicted is there, too, stderr says how good the predictions are. Where the inputs have no names, as
pixels, they are all columns but that one, in their order.")]
pub(crate) struct Predict {
    /// A built-in model's file, as from: colearn model get
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// A CSV file (plain or gzip); - for standard input
    #[arg(long, value_name = "CSV")]
    data: PathBuf,
    /// Where the predictions are written; - for standard output
    #[arg(long, value_name = "FILE", default_value = STANDARD)]
    out: PathBuf,
}

impl Predict {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let cannot = || format!("{} cannot be used", self.model.display());
        let weights = Weights::new(std::fs::read(&self.model).with_context(cannot)?);
        let model = Predictor::new(&weights).with_context(cannot)?;
        let predictions = if self.data == Path::new(STANDARD) {
            let mut table = Vec::new();
            std::io::stdin().read_to_end(&mut table).context("cannot read standard input")?;
            model.predict("standard input", &mut &table[..])?
        } else {
            model.predict_file(&self.data)?
        };
        if !predictions.passed_over.is_empty() {
            eprintln!("passed over: {}", predictions.passed_over.join(", "));
        }
        let mut written = Vec::new();
        predictions.write(&mut written)?;
        if self.out == Path::new(STANDARD) {
            print!("{}", String::from_utf8_lossy(&written));
        } else {
            colearn_files::replace(&self.out, &written)?;
            eprintln!("{} predictions written to {}", predictions.rows(), self.out.display());
        }
        tell_scores(&predictions);
        Ok(ExitCode::SUCCESS)
    }
}

fn tell_scores(predictions: &Predictions) {
    let Some((rows, scores)) = predictions.scores() else { return };
    let told = |(metric, score): &(Metric, f64)| format!("{} {score:.3}", metric.name());
    let told: Vec<String> = scores.iter().map(told).collect();
    eprintln!("on the {rows} rows whose target is there: {}", told.join(", "));
}
