//! `colearn data`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use colearn_learning::data::{
    ColumnSummary, Composition, Dataset, Embedded, Outline, Schema, Share, Summary, Target, agree,
    outline,
};
use serde_json::json;

use super::args::{Data as Source, SplitArgs, share, word};
use super::tell::text;

/// Words that fewer rows have are not told of unless it is said: so few may be known by them.
const RARE: u64 = 5;
/// How probable it may be that noise has a word told which only one row has.
const DELTA: f64 = 1e-6;
/// Columns that are listed; more are counted.
const SHOWN_COLUMNS: usize = 40;

#[derive(Subcommand)]
pub(crate) enum Data {
    /// Describe what would be loaded.
    #[command(after_help = "Examples:
  colearn data show customers.csv --label default
  colearn data show customers.parquet
  colearn data show mnist/ --learners 5 --split dirichlet:0.5")]
    Show {
        /// A CSV or Parquet file, a NumPy archive or a folder of IDX files [default: an embedded --task]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        source: Source,
        /// Also show how it would be divided among so many learners
        #[arg(long, value_name = "N")]
        learners: Option<usize>,
        #[command(flatten)]
        split: SplitArgs,
        /// Decides the split
        #[arg(long, default_value_t = 1, value_name = "N")]
        seed: u64,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Tell what a data file's columns are like (JSON), and none of its rows: for a schema that fits everybody's.
    #[command(after_help = "Examples:
  colearn data summary customers.csv --label default --ignore id > a.json
  colearn data summary kunden.csv --label default --na NA --rare 20 --epsilon 1 > b.json
  colearn data schema --from a.json b.json c.json --missing mean > credit.json

It tells how many rows have a value, the means and deviations of numbers, in how many rows each word is that at
least 5 have (--rare), and all classes of the column to predict. Read it before you send it. With --epsilon there is
noise in all counts, and words are left out that it cannot hide; means and deviations remain as they are.")]
    Summary {
        /// The data file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        source: Source,
        /// Have all counts together be differentially private: what a row can add to the chance of any outcome
        #[arg(long, value_parser = epsilon, value_name = "EPSILON")]
        epsilon: Option<u32>,
    },
    /// Derive from a data file, or from summaries of several, what columns mean (JSON), for all learners to agree on.
    #[command(after_help = "Examples:
  colearn data schema customers.csv --label default --ignore id > credit.json
  colearn data schema --from a.json b.json c.json --missing mean > credit.json
  colearn data schema kunden.csv --label ausfall --na NA --missing median --missing alter=indicator \\
      --category plz --hash beruf=128 > credit.json

Means and scales are those of this file, categories those that occur in it; or those of all who have sent a summary
(colearn data summary). Read it before you share it, and change what others' data needs: it is part of the model,
which everybody sees.")]
    Schema {
        /// The data file
        #[arg(required_unless_present = "from", value_name = "FILE")]
        file: Option<PathBuf>,
        /// Summaries of everybody's data, from: colearn data summary
        #[arg(long, num_args = 1.., conflicts_with = "file", value_name = "FILE")]
        from: Vec<PathBuf>,
        #[command(flatten)]
        source: Source,
    },
    /// Print one of the data sets that come with the program, or a part of it, as a CSV file to try things with.
    #[command(after_help = "Examples:
  colearn data sample breast_cancer > patients.csv
  colearn data sample breast_cancer --share 2/3 > hospital-b.csv

The column to predict is called target.")]
    Sample {
        /// Which one
        #[arg(value_parser = word::<Embedded>(), value_name = "TASK")]
        task: Embedded,
        /// Only one of so many parts of even size, such as 2/3: the second of three
        #[arg(long, default_value = "1/1", value_parser = share, value_name = "I/N")]
        share: (usize, usize),
    },
}

impl Data {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Sample { task, share: (part, of) } => {
                let text = task.csv()?;
                let mut lines = text.lines();
                if let Some(header) = lines.next() {
                    println!("{header}");
                }
                // By turns: some of these files are sorted.
                for line in lines.skip(part - 1).step_by(of) {
                    println!("{line}");
                }
            }
            Self::Summary { file, source, epsilon } => {
                let source = with_file(source, Some(file))?;
                let summary = summarised(&source, epsilon)?;
                println!("{}", serde_json::to_string_pretty(&summary)?);
            }
            Self::Schema { file, from, source } => {
                let schema = if from.is_empty() {
                    with_file(source, file)?.load(None)?.schema.clone()
                } else {
                    agreed(&from, &source)?
                };
                println!("{}", serde_json::to_string_pretty(&schema)?);
            }
            Self::Show { file, source, learners, split, seed, json } => {
                let source = with_file(source, file)?;
                // Without a column to predict a table can still be looked at.
                if let (Some(path), None, None) = (source.table(), &source.label, &source.schema) {
                    let Outline { columns, notes, .. } = outline(path, &source.dialect.options())?;
                    for note in &notes {
                        eprintln!("{}: {note}", path.display());
                    }
                    show_outline(&columns, json);
                    return Ok(ExitCode::SUCCESS);
                }
                let data = source.load(None)?;
                let shares =
                    learners.map(|count| data.split(split.split, count, seed)).transpose()?;
                if json {
                    let report = data_json(&data, shares.as_deref());
                    println!("{}", serde_json::to_string_pretty(&report)?);
                    return Ok(ExitCode::SUCCESS);
                }
                describe(&data);
                if let Some(shares) = shares {
                    println!("\nsplit {}", split.split);
                    print!("{}", text::split_table(&shares));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An epsilon in thousandths.
fn epsilon(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        Ok(epsilon) if (0.001..=1000.0).contains(&epsilon) => Ok((epsilon * 1000.0).round() as u32),
        _ => Err("it is a number from 0.001 to 1000, such as 1".to_owned()),
    }
}

fn summarised(source: &Source, epsilon: Option<u32>) -> anyhow::Result<Summary> {
    let Some(path) = source.table() else {
        bail!(
            "a summary is made of a CSV or Parquet file; what a block of numbers is like, its shape says"
        )
    };
    let rare = source.rare.unwrap_or(RARE);
    let (summary, notes) = Summary::of(path, &source.csv_options())?;
    for note in &notes {
        eprintln!("{}: {note}", path.display());
    }
    match epsilon {
        None => Ok(summary.told(rare)),
        Some(epsilon) => Ok(summary.noised(&path.display().to_string(), epsilon, DELTA, rare)?),
    }
}

/// The schema that fits everybody's data.
fn agreed(from: &[PathBuf], source: &Source) -> anyhow::Result<Schema> {
    if source.is_given() || source.label.is_some() || source.schema.is_some() {
        bail!(
            "the summaries say what is predicted, and of which data they are; leave out the flags that say it"
        );
    }
    let mut summaries = Vec::new();
    for path in from {
        summaries.push((path.display().to_string(), Summary::read(path)?));
    }
    let (schema, notes) = agree(&summaries, &source.csv_options())?;
    let targets: Vec<&ColumnSummary> =
        summaries.iter().map(|(_, summary)| &summary.target).collect();
    let rows = targets.iter().fold(0_u64, |all, target| all.saturating_add(target.rows()));
    eprintln!("{rows} rows in {} files", targets.len());
    for class in schema.target.classes() {
        let counts = targets.iter().filter_map(|target| match target {
            ColumnSummary::Category { words, .. } => words.get(class),
            _ => None,
        });
        let count = counts.fold(0_u64, |all, count| all.saturating_add(*count));
        eprintln!("  {class:<12} {count:>8}  {:.1} %", 100.0 * count as f64 / rows.max(1) as f64);
    }
    for note in notes {
        eprintln!("{note}");
    }
    Ok(schema)
}

fn show_outline(columns: &[(String, String)], as_json: bool) {
    if as_json {
        let columns = columns.iter().map(|(name, what)| json!({ "name": name, "what": what }));
        println!("{}", json!({ "columns": columns.collect::<Vec<_>>() }));
        return;
    }
    for (name, what) in columns {
        println!("{name:<28} {what}");
    }
    println!("\nchoose the column to predict with --label");
}

fn data_json(data: &Dataset, shares: Option<&[Share]>) -> serde_json::Value {
    let size = |share: &Share| json!({ "train": share.train.len(), "vote": share.vote.len(), "test": share.test.len() });
    let rows: Vec<usize> = (0..data.rows()).collect();
    let classes = match data.composition(&rows) {
        Composition::Classes(counts) => {
            let names = data.schema.target.classes().iter().cloned();
            let counts = names.zip(counts.into_iter().map(serde_json::Value::from));
            counts.collect::<serde_json::Map<_, _>>().into()
        }
        Composition::Mean(_) => serde_json::Value::Null,
    };
    json!({
        "name": data.name,
        "classes": classes,
        "rows": data.rows(),
        "test_rows": data.rows() - data.test_from,
        "inputs": data.width(),
        "schema": data.schema,
        "shares": shares.map(|shares| shares.iter().map(size).collect::<Vec<_>>()),
    })
}

fn with_file(mut source: Source, file: Option<PathBuf>) -> anyhow::Result<Source> {
    if file.is_some() && source.data.is_some() {
        bail!("give the file once");
    }
    source.data = source.data.or(file);
    Ok(source)
}

fn describe(data: &Dataset) {
    let Schema { features, target } = &data.schema;
    println!("{}", data.name);
    println!("{} rows, {} inputs from {} columns", data.rows(), data.width(), features.len());
    if data.test_from < data.rows() {
        println!("{} of the rows are for testing only", data.rows() - data.test_from);
    }
    for column in features.iter().take(SHOWN_COLUMNS) {
        println!("  {column}");
    }
    if features.len() > SHOWN_COLUMNS {
        println!("  and {} more", features.len() - SHOWN_COLUMNS);
    }
    match target {
        Target::Class { name, classes } => {
            println!("predicts {name}, one of {} classes:", classes.len());
            let all: Vec<usize> = (0..data.rows()).collect();
            if let Composition::Classes(counts) = data.composition(&all) {
                for (class, count) in classes.iter().zip(counts).take(SHOWN_COLUMNS) {
                    println!(
                        "  {class:<12} {count:>8}  {:.1} %",
                        100.0 * count as f64 / data.rows() as f64
                    );
                }
            }
        }
        Target::Number { name, mean, scale } => {
            println!("predicts {name}, a number, as (x - {mean}) / {scale}");
        }
    }
}
