//! `colearn init`: what an organisation needs to take part, in a folder, and what to do next.

mod asking;
mod template;
mod writing;

use std::io::BufRead;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use colearn_contracts::{ExperimentName, MemberName, Threshold};
use colearn_learning::data::{Outline, Schema, Target, outline};
use serde_json::json;

use self::asking::{Asking, Question};
use self::template::Template;
use self::writing::Folder;
use super::args::{Data, NodeAddress};

#[derive(Args)]
#[command(after_help = "Examples:
  colearn init credit
  colearn init hospital-a --create --experiment tumours --name 'Hospital A' --data a.csv --label diagnosis
  colearn init hospital-b --join --experiment tumours --name 'Hospital B' --data b.csv
  colearn init bank --create --experiment credit --data loans.csv --label default --learner pytorch

At a terminal it asks for what is not said. What is in the folder already is kept, so it can be run again.")]
pub(crate) struct Init {
    /// The folder to write to, made if there is none
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Create the experiment: write its plan too, and what the columns mean
    #[arg(long, conflicts_with = "join")]
    create: bool,
    /// Take part in an experiment that another organisation creates
    #[arg(long)]
    join: bool,
    /// The experiment's name
    #[arg(long, value_name = "NAME")]
    experiment: Option<ExperimentName>,
    /// What this organisation is called, for people
    #[arg(long, value_name = "NAME")]
    name: Option<MemberName>,
    #[command(flatten)]
    node: NodeAddress,
    #[command(flatten)]
    source: Data,
    /// What learns [default: built-in]
    #[arg(long, value_enum, value_name = "LEARNER")]
    learner: Option<Template>,
    /// How many classes the images have
    #[arg(long, value_name = "N")]
    classes: Option<u32>,
    /// Where colearn's source is, for a learner in Rust
    #[arg(long, value_name = "DIR")]
    colearn_source: Option<PathBuf>,
    /// Rounds open only while there are at least this many members [default: 3]
    #[arg(long, value_name = "N", conflicts_with = "join")]
    min_learners: Option<NonZeroU32>,
    /// Finish after this many rounds [default: 30]
    #[arg(long, value_name = "N", conflicts_with = "join")]
    max_rounds: Option<NonZeroU64>,
    /// The share of the votes that accepts a proposal: at least 2/3, or more than >1/2 [default: 1/2]
    #[arg(long, value_name = "[>]N/D", conflicts_with = "join")]
    threshold: Option<Threshold>,
    /// Have all train in each round, instead of one (docs/rounds.md)
    #[arg(long, conflicts_with = "join")]
    merging: bool,
    /// Encrypt the key with a passphrase, from COLEARN_KEY_PASSPHRASE or asked for
    #[arg(long)]
    passphrase: bool,
    /// Ask nothing: what is not said is as usual
    #[arg(long, short)]
    yes: bool,
    /// Print JSON, and ask nothing
    #[arg(long)]
    json: bool,
}

/// Whether an organisation creates the experiment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Creates,
    Joins,
}

/// What there is to learn from.
#[derive(Clone)]
struct Rows {
    /// The file; `None` for what comes with the program.
    file: Option<PathBuf>,
    /// How it is read, as flags.
    words: Vec<String>,
    /// What its columns mean, where this organisation says that.
    schema: Option<Schema>,
}

/// The rules that are asked for; a plan has more of them.
#[derive(Clone)]
struct Rules {
    min_learners: NonZeroU32,
    max_rounds: NonZeroU64,
    threshold: Threshold,
    merging: bool,
}

/// All that was said and answered.
#[derive(Clone)]
struct Settled {
    experiment: ExperimentName,
    name: Option<MemberName>,
    node: String,
    learner: Template,
    rows: Rows,
    classes: Option<u32>,
    colearn_source: Option<PathBuf>,
    /// Of whoever creates the experiment.
    rules: Option<Rules>,
}

impl Init {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut asking = Asking::at_the_terminal(!self.yes && !self.json);
        let folder = Folder::new(&self.dir);
        // Before anything is written.
        let settled = self.settle(&mut asking)?;
        // It holds the terminal, at which a passphrase may be asked for.
        drop(asking);
        let written = folder.write(&settled, self.passphrase)?;
        let steps = writing::steps(&folder, &settled)?;
        if self.json {
            let report = json!({
                "folder": self.dir,
                "public_key": written.public_key.to_string(),
                "written": written.written,
                "kept": written.kept,
                "next": steps.iter().filter_map(|step| step.command.as_ref()).collect::<Vec<_>>(),
            });
            println!("{report:#}");
            return Ok(ExitCode::SUCCESS);
        }
        for (word, files) in [("wrote", &written.written), ("kept", &written.kept)] {
            for file in files {
                println!("{word} {}", self.dir.join(file).display());
            }
        }
        println!("\nnext:");
        for (at, step) in steps.iter().enumerate() {
            println!("{}. {}", at + 1, step.text);
            if let Some(command) = &step.command {
                println!("   {command}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn settle<R: BufRead>(&self, asking: &mut Asking<R>) -> anyhow::Result<Settled> {
        let said = match (self.create, self.join) {
            (true, _) => Some(Role::Creates),
            (_, true) => Some(Role::Joins),
            _ => None,
        };
        let question = Question {
            text: "Does this organisation create the experiment, or join one that another creates? (create, join)",
            usual: None,
            flag: "--create or --join",
        };
        let role = asking.ask(said, &question, |text| match text {
            "create" | "c" => Ok(Role::Creates),
            "join" | "j" => Ok(Role::Joins),
            _ => Err("write create, or join"),
        })?;
        let question = Question {
            text: "What is the experiment called? (1 to 64 of a-z 0-9 . _ -)",
            usual: None,
            flag: "--experiment NAME",
        };
        let experiment = asking.ask(self.experiment.clone(), &question, str::parse)?;
        let question = Question {
            text: "What is this organisation called, for people? (nothing for no name)",
            usual: Some(""),
            flag: "--name NAME",
        };
        let name = asking.ask(self.name.clone().map(Some), &question, |text| match text {
            "" => Ok(None),
            name => name.parse().map(Some),
        })?;
        let question = Question {
            text: "What learns? (built-in, sklearn, pytorch, images, rust)",
            usual: Some("built-in"),
            flag: "--learner LEARNER",
        };
        let learner = asking.ask(self.learner, &question, |text| {
            clap::ValueEnum::from_str(text, true).map_err(|_: String| "it is none of these")
        })?;
        let rows = self.rows(asking, role, learner)?;
        let is_of_images = learner == Template::Images;
        let question = Question {
            text: "How many classes do all members' images have?",
            usual: None,
            flag: "--classes N",
        };
        let classes = is_of_images.then(|| asking.ask(self.classes, &question, str::parse));
        let question = Question {
            text: "In which folder is colearn's source?",
            usual: None,
            flag: "--colearn-source DIR",
        };
        let source = |text: &str| match Path::new(text).join("sdk/Cargo.toml").is_file() {
            true => std::path::absolute(text).map_err(|error| error.to_string()),
            false => Err(format!("{text} has no sdk/Cargo.toml")),
        };
        // What was said is looked at as what is answered.
        let said = self.colearn_source.as_ref().map(|said| source(&said.to_string_lossy()));
        let said = said.transpose().map_err(anyhow::Error::msg)?;
        let is_in_rust = learner == Template::Rust;
        let colearn_source = is_in_rust.then(|| asking.ask(said, &question, source));
        let rules = (role == Role::Creates).then(|| self.rules(asking));
        Ok(Settled {
            experiment,
            name,
            node: self.node.node.clone(),
            learner,
            rows,
            classes: classes.transpose()?,
            colearn_source: colearn_source.transpose()?,
            rules: rules.transpose()?,
        })
    }

    /// Looks for the data, and what is to be predicted.
    fn rows<R: BufRead>(
        &self,
        asking: &mut Asking<R>,
        role: Role,
        learner: Template,
    ) -> anyhow::Result<Rows> {
        let mut source = self.source.clone();
        let is_built_in = learner == Template::BuiltIn;
        if source.data.is_none() && source.task.is_none() {
            let question = match is_built_in {
                true => Question {
                    text: "Which file has the data? (CSV or .npz; nothing for the embedded digits)",
                    usual: Some(""),
                    flag: "--data FILE",
                },
                false => {
                    Question { text: "Which file has the data?", usual: None, flag: "--data FILE" }
                }
            };
            source.data = asking.ask(None, &question, |text| match Path::new(text) {
                _ if text.is_empty() => Ok(None),
                path if path.exists() => Ok(Some(path.to_owned())),
                _ => Err(format!("there is no {text}")),
            })?;
        }
        if let Some(path) = &source.data
            && !path.exists()
        {
            bail!("there is no {}", path.display());
        }
        let mut words = source.dialect.words();
        if let Some(task) = self.source.task_word() {
            words.extend(["--task".to_owned(), task]);
        }
        let file = source.data.clone();
        if file.is_none() && !is_built_in {
            bail!(
                "the learner that is written for {} reads a file: say --data FILE",
                learner.word()
            );
        }
        if !learner.is_of_columns() {
            return Ok(Rows { file, words, schema: None });
        }
        let chooses = role == Role::Creates && source.label.is_none() && source.schema.is_none();
        // Also of whoever joins, who learns from the experiment what the columns mean: that it can be read is seen now.
        let is_looked_at = chooses || role == Role::Joins || !is_built_in;
        let found = source.table().filter(|_| is_looked_at);
        let found = found.map(|path| outline(path, &source.dialect.options())).transpose()?;
        if !is_built_in {
            is_plain(learner, &words, found.as_ref())?;
        }
        if role == Role::Joins {
            return Ok(Rows { file, words, schema: None });
        }
        if let Some(Outline { columns, .. }) = found.filter(|_| chooses) {
            choose(asking, &columns, &mut source)?;
        }
        let schema = source.load(None).context("the data")?.schema.clone();
        match (&schema.target, learner) {
            (_, Template::BuiltIn)
            | (Target::Class { .. }, Template::Sklearn | Template::Pytorch) => {}
            (Target::Class { classes, .. }, Template::Rust) if classes.len() == 2 => {}
            (target, learner) => bail!(
                "the learner that is written for {} predicts {}, which {:?} is not; begin with --learner built-in",
                learner.word(),
                if learner == Template::Rust { "one of two classes" } else { "a class" },
                target.name()
            ),
        }
        Ok(Rows { file, words, schema: Some(schema) })
    }

    fn rules<R: BufRead>(&self, asking: &mut Asking<R>) -> anyhow::Result<Rules> {
        let question = Question {
            text: "How many members must there be at least?",
            usual: Some("3"),
            flag: "--min-learners N",
        };
        let min_learners = asking.ask(self.min_learners, &question, str::parse)?;
        let question = Question {
            text: "After how many rounds does it end?",
            usual: Some("30"),
            flag: "--max-rounds N",
        };
        let max_rounds = asking.ask(self.max_rounds, &question, str::parse)?;
        let question = Question {
            text: "Which share of the votes accepts a proposal? (2/3 for at least that, >1/2 for more)",
            usual: Some("1/2"),
            flag: "--threshold N/D",
        };
        let threshold = asking.ask(self.threshold, &question, str::parse)?;
        let question = Question {
            text: "Who trains in a round? (one, all)",
            usual: Some("one"),
            flag: "--merging",
        };
        let merging = asking.ask(self.merging.then_some(true), &question, |text| match text {
            "one" => Ok(false),
            "all" => Ok(true),
            _ => Err("write one, or all"),
        })?;
        Ok(Rules { min_learners, max_rounds, threshold, merging })
    }
}

/// Whether what is written for a learner can read a file: it knows a plain one, and no more.
fn is_plain(learner: Template, words: &[String], found: Option<&Outline>) -> anyhow::Result<()> {
    let note = found.and_then(|found| found.notes.first());
    if found.is_some_and(|found| found.is_text) && note.is_none() && words.is_empty() {
        return Ok(());
    }
    let told = note.map(|note| format!(" ({note})")).unwrap_or_default();
    bail!(
        "the learner that is written for {} reads a plain CSV file, with commas and points, in UTF-8{told}; write the \
         file so, or begin with --learner built-in",
        learner.word()
    )
}

/// Asks which column is predicted, and which are left out.
fn choose<R: BufRead>(
    asking: &mut Asking<R>,
    columns: &[(String, String)],
    source: &mut Data,
) -> anyhow::Result<()> {
    let known = |text: &str| match columns.iter().any(|(column, _)| column == text) {
        true => Ok(text.to_owned()),
        false => Err(format!("there is no column {text:?}")),
    };
    if asking.is_asking() {
        for (column, what) in columns {
            eprintln!("  {column:<28} {what}");
        }
    }
    let question =
        Question { text: "Which column is to be predicted?", usual: None, flag: "--label COLUMN" };
    source.label = Some(asking.ask(None, &question, known)?);
    let question = Question {
        text: "Which columns are left out, such as numbers of patients? (with commas between; nothing for none)",
        usual: Some(""),
        flag: "--ignore COLUMN",
    };
    let said = Some(source.ignore.clone()).filter(|said| !said.is_empty());
    source.ignore = asking.ask(said, &question, |text| {
        let named = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        named.map(known).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(())
}
