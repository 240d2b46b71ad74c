//! What is written, and what is to be done then.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use colearn_contracts::LearnerId;
use colearn_records::keys::{self, Place};
use colearn_records::plan::{Plan, quoted};

use super::template::Template;
use super::{Rules, Settled};
use crate::cli::key_file;

/// What an organisation's folder has.
const KEY: &str = "key.pem";
const MEMBER: &str = "member.toml";
const PLAN: &str = "plan.toml";
const SCHEMA: &str = "schema.json";
const UNIT: &str = "colearn-learner@.service";
/// What the members are handed, once the experiment is created.
const AGREED: &str = "agreed.toml";

/// Where it is written.
pub(super) struct Folder<'a>(&'a Path);

/// What became of it.
pub(super) struct Written {
    pub(super) public_key: LearnerId,
    pub(super) written: Vec<String>,
    /// What was there already.
    pub(super) kept: Vec<String>,
}

/// Something to do.
pub(super) struct Step {
    pub(super) text: String,
    pub(super) command: Option<String>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(dir: &'a Path) -> Self {
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes what is not there yet. Each file is there whole or not at all, so that an interrupted run is gone on
    /// with by another one.
    pub(super) fn write(&self, settled: &Settled, passphrase: bool) -> anyhow::Result<Written> {
        let environment = self.environment(settled)?;
        std::fs::create_dir_all(self.0)
            .with_context(|| format!("cannot make {}", self.0.display()))?;
        let (public_key, is_new) = self.key(passphrase)?;
        let (mut written, mut kept) = (Vec::new(), Vec::new());
        if is_new { &mut written } else { &mut kept }.push(KEY.to_owned());
        let member = member(public_key, settled);
        let mut files = vec![(MEMBER.to_owned(), member.clone())];
        if let Some(rules) = &settled.rules {
            files.push((PLAN.to_owned(), plan(rules, settled, &member)?));
        }
        if let Some(schema) = &settled.rows.schema {
            files.push((SCHEMA.to_owned(), serde_json::to_string_pretty(schema)? + "\n"));
        }
        let source = settled.colearn_source.as_ref().map(|source| source.to_string_lossy());
        let own = settled.learner.files(source.as_deref());
        files.extend(own.into_iter().map(|(name, text)| (name.to_owned(), text)));
        files.push((UNIT.to_owned(), settled.learner.unit()));
        files.push((format!("learner-{}.env", settled.experiment), environment));
        let there = std::fs::read_to_string(self.path(MEMBER)).unwrap_or(member);
        if !there.contains(&public_key.to_string()) {
            bail!(
                "{} is of another key than {}: move it away, and what else was written with it",
                self.path(MEMBER).display(),
                self.path(KEY).display()
            );
        }
        for (name, text) in files {
            let path = self.path(&name);
            if path.exists() {
                kept.push(name);
                continue;
            }
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
            }
            colearn_files::replace(&path, text.as_bytes())?;
            written.push(name);
        }
        Ok(Written { public_key, written, kept })
    }

    /// The key's public half, and whether it was made now.
    fn key(&self, passphrase: bool) -> anyhow::Result<(LearnerId, bool)> {
        let path = self.path(KEY);
        if path.exists() {
            return Ok((keys::learner_id(&key_file::load(&Place::File(path))?), false));
        }
        let key = keys::generate()?;
        match passphrase.then(|| key_file::new_passphrase(&path)).transpose()? {
            Some(passphrase) => keys::save_new_locked(&key, &path, &passphrase)?,
            None => keys::save_new(&key, &path)?,
        }
        Ok((keys::learner_id(&key), true))
    }

    /// What a learner is told of its data, with what it takes part by or not.
    fn of_data(&self, settled: &Settled) -> Vec<String> {
        let file = settled.rows.file.as_ref().map(|file| file.display().to_string());
        let schema = self.path(SCHEMA).display().to_string();
        match settled.learner {
            Template::BuiltIn => {
                let data = file.map(|file| ["--data".to_owned(), file]);
                data.into_iter().flatten().chain(settled.rows.words.clone()).collect()
            }
            Template::Sklearn | Template::Pytorch => {
                vec!["--data".to_owned(), file.unwrap_or_default(), "--schema".to_owned(), schema]
            }
            Template::Images => {
                let classes = settled.classes.unwrap_or_default().to_string();
                vec!["--data".to_owned(), file.unwrap_or_default(), "--classes".to_owned(), classes]
            }
            Template::Rust => vec![file.unwrap_or_default(), schema],
        }
    }

    /// What starts the learner.
    fn program(&self, settled: &Settled) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        match settled.learner {
            Template::BuiltIn => words(&["colearn", "learner"]),
            Template::Sklearn | Template::Pytorch | Template::Images => {
                words(&["python", &path("learner.py")])
            }
            Template::Rust => {
                let manifest = path("learner/Cargo.toml");
                words(&["cargo", "run", "--release", "--manifest-path", &manifest, "--"])
            }
        }
    }

    /// The command that takes part.
    fn takes_part(&self, settled: &Settled) -> Vec<String> {
        let (key, plan) = (self.path(KEY), self.path(AGREED));
        let (key, plan) = (key.display().to_string(), plan.display().to_string());
        let (node, experiment) = (settled.node.as_str(), settled.experiment.as_str());
        let mut command = self.program(settled);
        if settled.learner == Template::Rust {
            command.extend(self.of_data(settled));
            command.extend(words(&["join", node, experiment, &key, &plan]));
            return command;
        }
        command.extend(words(&["--node", node, "--experiment", experiment, "--key", &key]));
        command.extend(self.of_data(settled));
        command.extend(words(&["--plan", &plan]));
        command
    }

    /// The settings of the unit: paths as they are from everywhere.
    fn environment(&self, settled: &Settled) -> anyhow::Result<String> {
        let Settled { node, experiment, learner, rows, .. } = settled;
        let absolute = |path: &Path| {
            std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
        };
        let dir = absolute(self.0)?;
        let mut rows_there = rows.clone();
        rows_there.file = rows.file.as_deref().map(absolute).transpose()?;
        let there = Settled { rows: rows_there, ..settled.clone() };
        let mut options = Folder(&dir).of_data(&there);
        let plan = dir.join(AGREED).display().to_string();
        let own = match learner {
            Template::Rust => format!("PLAN={plan}\n"),
            _ => {
                options.extend(words(&["--plan", &plan]));
                String::new()
            }
        };
        // As systemd takes what it puts between spaces apart again.
        let is_split = |word: &&String| {
            let splits = |it: char| it.is_whitespace() || matches!(it, '\'' | '"' | '\\' | '$');
            word.is_empty() || word.contains(splits)
        };
        if let Some(word) = options.iter().find(is_split) {
            bail!(
                "a service is told what it takes with spaces between, and {word:?} is nothing, or has a space, a quote, \
                 a backslash or $ in it: give it another name"
            );
        }
        let options = options.join(" ");
        Ok(format!(
            "# What colearn-learner@{experiment} takes, as /etc/colearn/learner-{experiment}.env; its key is \
             /etc/colearn/{experiment}.pem.\n# A service sees nothing below /home: put elsewhere what is named here.\n\
             NODE={node}\nEXPERIMENT={experiment}\n{own}OPTIONS={options}\n"
        ))
    }
}

/// What there is to do, in order.
pub(super) fn steps(folder: &Folder<'_>, settled: &Settled) -> anyhow::Result<Vec<Step>> {
    let path = |name: &str| folder.path(name).display().to_string();
    let (key, schema, agreed) = (path(KEY), path(SCHEMA), path(AGREED));
    let (node, experiment) = (settled.node.as_str(), settled.experiment.as_str());
    let own_data = settled.learner != Template::BuiltIn && settled.learner.is_of_columns();
    let with_schema = if own_data { format!(" and {SCHEMA}") } else { String::new() };
    let mut steps = Vec::new();
    let mut step = |text: String, command: Option<Vec<String>>| {
        let command = command.map(|command| shlex::try_join(command.iter().map(String::as_str)));
        let command = command.transpose().context("a name has a zero in it")?;
        steps.push(Step { text, command });
        anyhow::Ok(())
    };
    if settled.rules.is_some() {
        let mut create = words(&["colearn", "experiment", "create", experiment, "--node", node]);
        create.extend(words(&["--key", &key, "--plan", &path(PLAN), "--agreed", &agreed]));
        match settled.learner.initial() {
            None => create.extend(words(&["--schema", &schema])),
            Some((media_type, name)) => {
                let initial = path(name);
                let mut command = folder.program(settled);
                command.extend(folder.of_data(settled));
                let flag = if settled.learner == Template::Rust { "initial" } else { "--initial" };
                command.extend(words(&[flag, &initial]));
                step("write the model that all begin with".to_owned(), Some(command))?;
                create.extend(words(&["--weights", &initial, "--media-type", media_type]));
            }
        }
        step(
            format!("append what the others give you ({MEMBER}) to {}, and read it", path(PLAN)),
            None,
        )?;
        step("create the experiment".to_owned(), Some(create))?;
        step(
            format!("give {agreed}{with_schema} to the others, and take part"),
            Some(folder.takes_part(settled)),
        )?;
    } else {
        step(format!("give {} to whoever creates the experiment", path(MEMBER)), None)?;
        step(
            format!(
                "put {AGREED}{with_schema} into {}, which you are given when it is created, and read it",
                folder.0.display()
            ),
            None,
        )?;
        let mut doctor = words(&["colearn", "doctor", "--node", node, "--experiment", experiment]);
        doctor.extend(words(&["--key", &key, "--plan", &agreed]));
        if settled.learner == Template::BuiltIn {
            doctor.extend(folder.of_data(settled));
        }
        step("see whether something is in the way".to_owned(), Some(doctor))?;
        step("take part".to_owned(), Some(folder.takes_part(settled)))?;
    }
    step(
        "watch it in a browser".to_owned(),
        Some(words(&["colearn", "ui", "--node", node, "--key", &key])),
    )?;
    Ok(steps)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A member's line of a plan.
fn member(key: LearnerId, settled: &Settled) -> String {
    let named = settled.name.as_ref().map(|name| format!("{{ name = {} }}", quoted(name.as_str())));
    format!("{key} = {}\n", named.unwrap_or_else(|| "1".to_owned()))
}

/// A plan with what was settled, to be read by people.
fn plan(rules: &Rules, settled: &Settled, member: &str) -> anyhow::Result<String> {
    let Rules { min_learners, max_rounds, threshold, merging } = rules;
    let threshold = quoted(&threshold.to_string());
    let merging =
        if *merging { "merging = {}                 # all train in each round\n" } else { "" };
    let text = format!(
        "# The rules of the experiment, and who may join: docs/rules.md says what else can be said here.\n\
         name = {name}\n\
         threshold = {threshold}             # what share of the votes accepts a proposal\n\
         min_learners = {min_learners}              # it waits for so many\n\
         max_rounds = {max_rounds}               # and ends after so many\n\
         proposal_deadline = \"1h\"      # how long one may train\n\
         vote_deadline = \"1h\"          # and the others may take to vote\n\
         {merging}\
         admission = \"by_vote\"         # the members may let others in, later\n\
         \n\
         [members]                    # below, a line for each: what the others' {MEMBER} says\n\
         {member}",
        name = quoted(settled.experiment.as_str()),
    );
    // What is written can be read.
    Plan::parse(&text).map_err(|told| anyhow::anyhow!("the plan: {told}"))?;
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_contracts::{Admission, Threshold};

    use super::*;
    use crate::cli::init::Rows;

    fn settled(learner: Template, file: &str) -> Settled {
        Settled {
            experiment: "credit".parse().unwrap(),
            name: Some("Bank \"A\", north".parse().unwrap()),
            node: "https://127.0.0.1:7400#sha256:ab".to_owned(),
            learner,
            rows: Rows { file: Some(file.into()), words: words(&["--na", "NA"]), schema: None },
            classes: Some(10),
            colearn_source: None,
            rules: Some(Rules {
                min_learners: 4.try_into().unwrap(),
                max_rounds: 9.try_into().unwrap(),
                threshold: "2/3".parse::<Threshold>().unwrap(),
                merging: true,
            }),
        }
    }

    #[test]
    fn a_plan_says_what_was_settled_and_others_are_appended_to_it() {
        let settled = settled(Template::BuiltIn, "a.csv");
        let (own, other) = (LearnerId([1; 32]), LearnerId([2; 32]));
        let text = plan(settled.rules.as_ref().unwrap(), &settled, &member(own, &settled)).unwrap();
        let joins = Settled { name: None, rules: None, ..settled.clone() };
        let plan = Plan::parse(&(text + &member(other, &joins))).unwrap();
        let rules = &plan.parameters;
        assert_eq!((rules.min_learners, rules.max_rounds), (4, Some(9)));
        assert!(rules.merging.is_some() && rules.threshold == "2/3".parse().unwrap());
        let Some(Admission::ByVote(members)) = plan.admission else { panic!("{plan:?}") };
        let named = |at: usize| members[at].name.as_ref().map(|name| name.as_str());
        assert_eq!((named(0), named(1)), (Some("Bank \"A\", north"), None));
    }

    #[test]
    fn what_is_told_to_be_run_is_what_was_settled_whatever_names_are_like() {
        let here = Path::new("my folder");
        for learner in [Template::BuiltIn, Template::Sklearn, Template::Images, Template::Rust] {
            let settled = settled(learner, "it's mine.csv");
            let steps = steps(&Folder(here), &settled).unwrap();
            let last = steps[steps.len() - 2].command.as_ref().unwrap();
            let read = shlex::split(last).unwrap();
            assert!(read.contains(&"it's mine.csv".to_owned()), "{last}");
            assert!(read.contains(&"https://127.0.0.1:7400#sha256:ab".to_owned()), "{last}");
            assert!(read.contains(&"my folder/agreed.toml".to_owned()), "{last}");
            assert!(Folder(here).environment(&settled).is_err(), "it has spaces in it");
        }
    }
}
