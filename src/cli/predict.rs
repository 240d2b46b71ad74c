//! `colearn predict`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use colearn_learning::metric::Metric;
use colearn_learning::{Predictions, Predictor};
use colearn_sdk::learner::Weights;

use super::args::DialectArgs;

/// What stands for standard input and output.
const STANDARD: &str = "-";

/// Classes that are told of one by one.
const SHOWN_CLASSES: usize = 40;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn predict --model credit.safetensors --data new.csv --out predicted.csv
  colearn predict --model credit.safetensors --data new.parquet --out predicted.csv
  cat new.csv | colearn predict --model credit.safetensors --data - | head

The model's header says which columns it needs, and what they mean. Other columns are passed over; one
that is missing, or a value that the model knows nothing about, is an error. Of each row a line is written,
in the same order: the prediction, and of a class the probability of each. Where the column that is
predicted is there, too, stderr says how good the predictions are, of each class as well. Where the inputs have no names, as
pixels, they are all columns but that one, in their order.")]
pub(crate) struct Predict {
    /// A built-in model's file, as from: colearn model get
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// A CSV file (plain or gzip) or a Parquet file; - for CSV on standard input
    #[arg(long, value_name = "TABLE")]
    data: PathBuf,
    /// Where the predictions are written; - for standard output
    #[arg(long, value_name = "FILE", default_value = STANDARD)]
    out: PathBuf,
    #[command(flatten)]
    dialect: DialectArgs,
}

impl Predict {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let cannot = || format!("{} cannot be used", self.model.display());
        let weights = Weights::open(&self.model).with_context(cannot)?;
        anyhow::ensure!(
            !colearn_encrypted::is_encrypted(&weights)?,
            "{} is encrypted; first, with its keys: colearn model decrypt",
            self.model.display()
        );
        let model = Predictor::new(&weights).with_context(cannot)?;
        let dialect = self.dialect.options();
        let predictions = if self.data == Path::new(STANDARD) {
            model.predict("standard input", &mut io::stdin().lock(), &dialect)?
        } else {
            model.predict_file(&self.data, &dialect)?
        };
        for note in &predictions.notes {
            eprintln!("{}: {note}", self.data.display());
        }
        if !predictions.passed_over.is_empty() {
            eprintln!("passed over: {}", predictions.passed_over.join(", "));
        }
        if self.out == Path::new(STANDARD) {
            predictions.write(&mut Printed::default())?;
        } else {
            // All at once: nobody is to find half of it.
            let mut written = Vec::new();
            predictions.write(&mut written)?;
            colearn_files::replace(&self.out, &written)?;
            eprintln!("{} predictions written to {}", predictions.rows(), self.out.display());
        }
        tell_scores(&predictions);
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints whole lines as they are made.
#[derive(Default)]
struct Printed(Vec<u8>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.0.split_off(end + 1);
            print!("{}", String::from_utf8_lossy(&self.0));
            self.0 = rest;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        print!("{}", String::from_utf8_lossy(&std::mem::take(&mut self.0)));
        Ok(())
    }
}

fn tell_scores(predictions: &Predictions) {
    let Some((rows, scores)) = predictions.scores() else { return };
    let told = |(metric, score): &(Metric, f64)| format!("{} {score:.3}", metric.name());
    let told: Vec<String> = scores.iter().map(told).collect();
    eprintln!("on the {rows} rows whose target is there: {}", told.join(", "));
    let classes = predictions.classes().unwrap_or_default();
    if classes.is_empty() {
        return;
    }
    eprintln!("{:<24} {:>9} {:>9} {:>9} {:>9}", "class", "rows", "precision", "recall", "F1");
    let share = |share: Option<f64>| share.map_or("-".to_owned(), |it| format!("{it:.3}"));
    for (class, scores) in classes.iter().take(SHOWN_CLASSES) {
        eprintln!(
            "{class:<24} {:>9} {:>9} {:>9} {:>9}",
            scores.rows,
            share(scores.precision()),
            share(scores.recall()),
            share(scores.f1())
        );
    }
    if classes.len() > SHOWN_CLASSES {
        eprintln!("and {} more", classes.len() - SHOWN_CLASSES);
    }
}
