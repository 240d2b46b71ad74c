//! The tutorials that say so at their beginning are run, command by command, as they are printed: what stands behind
//! `$` is run by a shell, and prints what stands below it, where `...` is anything.
//!
//! Of the words behind `console`, `not-run` says that a block needs another machine; `terminal` that its command goes on
//! in a terminal of its own, and `ends` that it ends by itself, well, before the tutorial does.

use std::path::Path;
use std::process::{Command, Stdio};

use colearn::supervise;

use crate::support::Process;

/// A command of a tutorial, with the words of its block and what it prints.
#[derive(Debug)]
struct Step {
    words: Vec<String>,
    command: String,
    printed: Vec<String>,
}

impl Step {
    fn is(&self, word: &str) -> bool {
        self.words.iter().any(|it| it == word)
    }
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block: Option<Vec<String>> = None;
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("```console") {
            block = Some(words.split_whitespace().map(str::to_owned).collect());
        } else if line == "```" {
            block = None;
        } else if let Some(words) = &block {
            match line.strip_prefix("$ ") {
                Some(command) => {
                    let (words, command) = (words.clone(), command.to_owned());
                    steps.push(Step { words, command, printed: Vec::new() });
                }
                None => steps.last_mut().unwrap().printed.push(line.to_owned()),
            }
        }
    }
    steps
}

/// Whether a line is as printed, where `...` is anything.
fn is_like(line: &str, printed: &str) -> bool {
    let parts: Vec<&str> = printed.split("...").collect();
    let [first, rest @ ..] = parts.as_slice() else { return false };
    let Some(mut left) = line.strip_prefix(first) else { return false };
    for (at, part) in rest.iter().enumerate() {
        if at + 1 == rest.len() {
            return left.ends_with(part);
        }
        let Some(found) = left.find(part) else { return false };
        left = &left[found + part.len()..];
    }
    left.is_empty()
}

/// Looks for all that is printed, in this order; a line of dots stands for any lines.
fn check(step: &Step, lines: &[String]) {
    let mut left = lines.iter();
    let mut any = false;
    for printed in &step.printed {
        if printed == "..." {
            any = true;
            continue;
        }
        let found = match any {
            true => left.any(|line| is_like(line, printed)),
            false => left.next().is_some_and(|line| is_like(line, printed)),
        };
        assert!(found, "{}: {printed:?} is not in {lines:#?}", step.command);
        any = false;
    }
    assert!(any || left.next().is_none(), "{}: it prints more: {lines:#?}", step.command);
}

/// Runs a tutorial in an empty folder, on a port that is free.
struct Run {
    dir: tempfile::TempDir,
    /// What a tutorial shows, and what it is here.
    shown: Vec<(String, String)>,
    /// What was exported.
    environment: Vec<(String, String)>,
    /// What goes on, and whether it ends by itself.
    terminals: Vec<(String, Process, bool)>,
}

impl Run {
    fn shell(&self, command: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_colearn")).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        // A process that is stopped is the command, not a shell around it.
        shell.arg("-c").arg(command).current_dir(self.dir.path());
        shell
            .env("PATH", format!("{}:{path}", program.display()))
            .env("COLEARN_LOG", "warn,sled=off");
        shell.env_remove("COLEARN_NODE").envs(self.environment.iter().cloned());
        shell.stdin(Stdio::null());
        shell
    }

    /// The command as it is here.
    fn command(&self, step: &Step) -> String {
        let mut command = step.command.clone();
        for (shown, here) in &self.shown {
            command = command.replace(shown, here);
        }
        for (word, free) in [
            ("colearn node ", "colearn node --listen 127.0.0.1:0 --ops-listen off "),
            ("colearn ui ", "colearn ui --listen 127.0.0.1:0 "),
        ] {
            command = command.replace(word, free);
        }
        command
    }

    fn run(&mut self, step: &Step) {
        let command = self.command(step);
        if step.is("not-run") {
            return;
        }
        if let Some(exported) = command.strip_prefix("export ") {
            let (name, value) = exported.split_once('=').unwrap();
            self.environment.push((name.to_owned(), value.trim_matches('\'').to_owned()));
            return;
        }
        if step.is("terminal") {
            let shell = self.shell(&format!("exec {command}"));
            let mut process = Process::of(supervise::Process::start(shell).unwrap());
            let lines: Vec<String> = (0..step.printed.len())
                .map(|_| process.line().unwrap_or_else(|| panic!("{command} has ended")))
                .collect();
            for (line, printed) in lines.iter().zip(&step.printed) {
                let printed = self.here(printed);
                assert!(is_like(line, &printed), "{command}: {line:?} is not {printed:?}");
                self.learn(&printed, line);
            }
            self.terminals.push((command, process, step.is("ends")));
            return;
        }
        let ended = self.shell(&command).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let told = text(&ended.stderr);
        assert!(ended.status.success(), "{command}: {}{told}", text(&ended.stdout));
        let lines: Vec<String> = text(&ended.stdout).lines().map(str::to_owned).collect();
        check(step, &lines);
    }

    /// What is shown of a port that another is here.
    fn here(&self, printed: &str) -> String {
        printed
            .replace("127.0.0.1:7400", "127.0.0.1:...")
            .replace("127.0.0.1:7480", "127.0.0.1:...")
    }

    /// The node's address is another on each machine: what a tutorial shows of it stands for what was printed.
    fn learn(&mut self, printed: &str, line: &str) {
        if printed.starts_with("address ") {
            let here = line.split_whitespace().last().unwrap().to_owned();
            self.shown.push(("https://127.0.0.1:7400#sha256:...".to_owned(), here));
        }
    }

    fn end(mut self) {
        for (command, process, ends) in self.terminals.iter_mut().rev() {
            if !*ends {
                process.terminate();
            }
            while process.line().is_some() {}
            let code = process.wait();
            assert!(matches!(code, Some(0 | 143)), "{command} ended with {code:?}");
            assert!(!*ends || code == Some(0), "{command} ended with {code:?}");
        }
    }
}

#[test]
fn three_hospitals_learn_together_by_no_more_than_the_tutorial_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/tutorials/three-hospitals.md")).unwrap();
    let steps = steps(&text);
    assert!((20..=25).contains(&steps.len()), "{} commands", steps.len());
    let mut run = Run {
        dir: tempfile::tempdir().unwrap(),
        shown: Vec::new(),
        environment: Vec::new(),
        terminals: Vec::new(),
    };
    for step in &steps {
        run.run(step);
    }
    let predicted = std::fs::read_to_string(run.dir.path().join("predicted.csv")).unwrap();
    assert!(predicted.lines().count() > 150, "{predicted}");
    run.end();
}

#[test]
fn what_is_printed_is_looked_for() {
    assert!(is_like("round 7: accepted with 2", "round ...: accepted ..."));
    assert!(is_like("joined", "joined") && !is_like("joined twice", "joined"));
    assert!(!is_like("a b", "a ... b c") && is_like("x", "...") && !is_like("", "x..."));
    let step = |printed: &[&str]| Step {
        words: Vec::new(),
        command: "test".to_owned(),
        printed: printed.iter().map(|line| (*line).to_owned()).collect(),
    };
    let lines: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
    let holds =
        |printed: &[&str]| std::panic::catch_unwind(|| check(&step(printed), &lines)).is_ok();
    assert!(holds(&["a", "...", "c"]) && holds(&["...", "b", "..."]) && holds(&["a", "b", "c"]));
    assert!(!holds(&["a", "c"]) && !holds(&["a", "b"]) && !holds(&["...", "d", "..."]));
}
