//! Learners whose work a command does: `colearn learner --exec`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{NodeProcess, Process, fail, succeed, wait_for};

/// An experiment of commands.
struct Place {
    dir: TempDir,
    node: NodeProcess,
    python: String,
}

/// The interpreter that runs the commands, where there is one.
fn python() -> Option<String> {
    let python = std::env::var("COLEARN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let runs = Command::new(&python).arg("--version").output().is_ok_and(|it| it.status.success());
    if !runs {
        colearn_testkit::skip("python3", &format!("{python} does not run"));
    }
    runs.then_some(python)
}

impl Place {
    /// Keys of a, b and c, and an experiment with a first model that a command has made.
    fn new(rules: &[&str]) -> Option<Self> {
        Some(Self::of(python()?, None, rules))
    }

    /// The same, by this command and not the usual one.
    fn of(python: String, command: Option<&str>, rules: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeProcess::start(&dir.path().join("node"));
        let place = Self { dir, node, python };
        for name in ["a", "b", "c"] {
            succeed(&["key", "new", &place.key(name)]);
        }
        let first = place.path("first.safetensors");
        let command = command.map_or_else(|| place.command("0"), ToOwned::to_owned);
        let told = succeed(&["learner", "--exec", &command, "--exec-start", &first]);
        assert!(told.ends_with("first.safetensors\n"), "{told}");
        let create = ["experiment", "create", "x", "--node", &place.node.url, "--open"];
        let begin = ["--key", &place.key("a"), "--weights", &first];
        succeed(&[&create[..], &begin, rules].concat());
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn key(&self, name: &str) -> String {
        self.path(&format!("{name}.pem"))
    }

    /// The command of somebody who has this number.
    fn command(&self, mine: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/exec/work.py");
        format!("exec '{}' '{}' {mine}", self.python, script.display())
    }

    fn start_with(&self, name: &str, command: &str, more: &[&str]) -> Process {
        let learner = ["learner", "--json", "--node", &self.node.url, "--experiment", "x"];
        let own = ["--key", &self.key(name), "--exec", command];
        Process::start(&[&learner[..], &own, more].concat())
    }

    fn start(&self, name: &str, mine: &str) -> Process {
        self.start_with(name, &self.command(mine), &[])
    }

    /// One that is a member when this returns.
    fn start_first(&self, name: &str, mine: &str) -> Process {
        let mut learner = self.start(name, mine);
        wait_for("joining", || {
            let told = learner.line().expect("it joins");
            let told: Value = serde_json::from_str(&told).unwrap();
            (told["event"] == "joined").then_some(())
        });
        learner
    }

    /// What a learner keeps for its commands.
    fn exec(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.pem.data/experiments/x/exec"))
    }

    /// What its commands have begun, a line each.
    fn begun(&self, name: &str) -> Vec<String> {
        let begun = std::fs::read_to_string(self.exec(name).join("state/begun"));
        begun.unwrap_or_default().lines().map(ToOwned::to_owned).collect()
    }

    fn wait_until_begun(&self, name: &str, task: &str) {
        let has_begun = || self.begun(name).iter().any(|begun| begun.ends_with(task));
        wait_for("a task's beginning", || has_begun().then_some(()));
    }

    /// Has a learner's commands wait at a task.
    fn hold(&self, name: &str, task: &str) -> PathBuf {
        let state = self.exec(name).join("state");
        std::fs::create_dir_all(&state).unwrap();
        let hold = state.join(format!("wait-{task}"));
        std::fs::write(&hold, "").unwrap();
        hold
    }

    /// The folder of a task that has begun.
    fn folder(&self, name: &str, task: &str) -> PathBuf {
        wait_for("the task", || {
            let listed = std::fs::read_dir(self.exec(name).join("tasks")).ok()?;
            let mut folders = listed.map(|entry| entry.unwrap().path());
            let named = format!("-{task}-");
            folders.find(|folder| folder.to_str().unwrap().contains(&named))
        })
    }

    fn rounds(&self) -> Vec<Value> {
        let shown = succeed(&["experiment", "show", "x", "--node", &self.node.url, "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["history"]["rounds"].as_array().unwrap().clone()
    }
}

/// Everything that it tells, to its end, which has to be a good one.
fn finish(mut learner: Process) -> Vec<Value> {
    let lines: Vec<String> = std::iter::from_fn(|| learner.line()).collect();
    assert_eq!(learner.wait(), Some(0), "{lines:?}");
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn commands_take_part_and_find_what_they_have_in_common() {
    for merging in [&[][..], &["--merging"]] {
        let rules = [&["--min-learners", "3", "--max-rounds", "6"][..], merging].concat();
        let Some(place) = Place::new(&rules) else { return };
        let saved = place.path("saved.safetensors");
        let [a, b] = [("a", "1"), ("b", "2")].map(|(name, mine)| place.start(name, mine));
        let c = place.start_with("c", &place.command("3"), &["--save", &saved]);
        for learner in [a, b, c] {
            finish(learner);
        }
        let model = std::fs::read(saved).unwrap();
        let value = f32::from_le_bytes(*model.last_chunk().unwrap());
        assert!((value - 2.0).abs() < 0.8, "{merging:?}: {value}");
        // The scores that decided are recorded, and no more folders are left than were asked for.
        for round in place.rounds() {
            let votes = round["votes"].as_object().unwrap();
            assert!(votes.values().all(|vote| vote["vote_score"].is_number()), "{round}");
        }
        let folders = std::fs::read_dir(place.exec("a").join("tasks")).unwrap();
        let named = |folder: std::io::Result<std::fs::DirEntry>| folder.unwrap().file_name();
        let old = folders.map(named).filter(|name| name.to_str().unwrap() < "00000004");
        assert_eq!(old.count(), 0);
        place.node.stop();
    }
}

#[test]
fn a_command_outlives_its_learner_and_is_begun_once() {
    for end in [Process::kill, Process::terminate] {
        let rules = ["--min-learners", "2", "--max-rounds", "2"];
        let Some(place) = Place::new(&rules) else { return };
        let hold = place.hold("a", "propose");
        let mut a = place.start("a", "1");
        let b = place.start("b", "3");
        place.wait_until_begun("a", "propose");
        end(&mut a);
        a.wait();
        let a = place.start("a", "1");
        std::fs::remove_file(hold).unwrap();
        for learner in [a, b] {
            finish(learner);
        }
        assert_eq!(place.begun("a").iter().filter(|it| it.ends_with("propose")).count(), 1);
        assert!(place.rounds().iter().all(|round| round["weights"].is_string()));
        place.node.stop();
    }
}

#[test]
fn after_a_requeue_the_command_is_run_again_in_its_folder() {
    let Some(place) = Place::new(&["--min-learners", "2", "--max-rounds", "2"]) else { return };
    let hold = place.hold("a", "propose");
    let mut a = place.start("a", "1");
    let b = place.start("b", "3");
    wait_for("a's turn", || {
        place.begun("a").iter().any(|it| it.ends_with("propose")).then_some(())
    });
    let folder = place.folder("a", "propose");
    std::fs::write(folder.join("checkpoint"), "half way").unwrap();
    // All of an allocation ends together.
    a.kill();
    let group = format!("{}.group", folder.file_name().unwrap().to_str().unwrap());
    let group = std::fs::read_to_string(place.exec("a").join("running").join(group)).unwrap();
    let group = group.rsplit(' ').next().unwrap();
    assert!(Command::new("kill").args(["-9", group]).status().unwrap().success());
    std::fs::remove_file(hold).unwrap();
    let a = place.start_with("a", &place.command("1"), &["--exec-keep", "9"]);
    for learner in [a, b] {
        finish(learner);
    }
    assert_eq!(place.begun("a").iter().filter(|it| it.ends_with("propose")).count(), 2);
    assert_eq!(std::fs::read(folder.join("checkpoint")).unwrap(), b"half way");
    assert!(place.rounds().iter().all(|round| round["weights"].is_string()));
    place.node.stop();
}

#[test]
fn a_command_is_ended_when_others_have_decided_though_the_node_was_away() {
    for away in [false, true] {
        let rules = ["--close", "early", "--min-learners", "3", "--max-rounds", "1"];
        let Some(mut place) = Place::new(&rules) else { return };
        let hold = place.hold("b", "vote");
        place.hold("c", "vote");
        let asked = place.path("asked");
        // The shell is asked to end, and so is what it has started.
        let trap = format!("trap 'echo >> {asked}; exit 1' TERM; {} & wait", place.command("2"));
        // Who joins first has the first turn.
        let a = place.start_first("a", "1");
        let b = place.start("b", "1");
        let c = place.start_with("c", &trap, &[]);
        for voter in ["b", "c"] {
            place.wait_until_begun(voter, "vote");
        }
        if away {
            let data = place.dir.path().join("node");
            place.node.kill_and_restart(&data);
        }
        std::fs::remove_file(hold).unwrap();
        // Those that agree go on without it.
        for learner in [a, b, c] {
            finish(learner);
        }
        assert_eq!(std::fs::read_to_string(asked).unwrap().lines().count(), 1);
        assert!(place.folder("c", "vote").join("over").exists());
        assert_eq!(place.rounds()[0]["verdict"], "accepted");
        place.node.stop();
    }
}

#[test]
fn a_command_that_fails_ends_no_learner() {
    let Some(place) = Place::new(&["--min-learners", "3", "--max-rounds", "4"]) else { return };
    let a = place.start("a", "1");
    let b = place.start("b", "2");
    let c = place.start_with("c", "echo x > result.json; exit 3", &[]);
    for learner in [a, b, c] {
        finish(learner);
    }
    // It gives up its turns, and has nothing against the others'.
    let rounds = place.rounds();
    assert!(rounds.iter().any(|round| round["verdict"] == "passed"), "{rounds:?}");
    assert!(rounds.iter().any(|round| round["accepted"] == true || round["verdict"] == "accepted"));
    place.node.stop();
}

#[test]
fn what_a_private_command_takes_is_counted_before_it_is_proposed() {
    let rules = ["--min-learners", "2", "--max-rounds", "2", "--privacy-cap", "50", "1e-5"];
    let Some(place) = Place::new(&rules) else { return };
    let private = ["--noise", "1", "--sampling-rate", "0.1", "--steps", "5"];
    let learners = [("a", "1"), ("b", "3")]
        .map(|(name, mine)| place.start_with(name, &place.command(mine), &private));
    for learner in learners {
        finish(learner);
    }
    for name in ["a", "b"] {
        let spent = place.dir.path().join(format!("{name}.pem.data/experiments/x/spent.jsonl"));
        assert_eq!(std::fs::read_to_string(spent).unwrap().lines().count(), 1, "one turn each");
    }
    // Under a cap nothing is taken of which it is not stated.
    assert!(place.rounds().iter().all(|round| round["weights"].is_string()));
    place.node.stop();
}

#[test]
fn two_processes_of_torch_train_together() {
    let Some(python) = python() else { return };
    let imports = Command::new(&python).args(["-c", "import torch, safetensors.torch"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        colearn_testkit::skip("torch", &format!("{python} has no torch and safetensors"));
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/examples/exec_torchrun.py");
    let command = |seed: u32| {
        // On this machine only, whatever its name stands for.
        let environment = format!("SEED={seed} OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=lo");
        let torchrun = "-m torch.distributed.run --standalone --nproc-per-node 2";
        format!("{environment} exec '{python}' {torchrun} '{}'", script.display())
    };
    let rules = ["--min-learners", "2", "--max-rounds", "1"];
    let place = Place::of(python.clone(), Some(&command(0)), &rules);
    let learners = [("a", 1), ("b", 2)];
    for learner in learners.map(|(name, seed)| place.start_with(name, &command(seed), &[])) {
        finish(learner);
    }
    let rounds = place.rounds();
    assert_eq!(rounds[0]["verdict"], "accepted", "{rounds:?}");
    assert!(rounds[0]["mean_vote_score"].as_f64().unwrap() > 0.8, "{rounds:?}");
    place.node.stop();
}

#[test]
fn what_does_not_go_together_is_told_at_once() {
    let told = |more: &[&str]| {
        let output = crate::support::run(&[&["learner", "--exec", "true"][..], more].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(told(&["--experiment", "x"]).contains("--key"));
    assert!(told(&["--key", "a.pem"]).contains("--experiment"));
    assert!(told(&["--experiment", "x", "--key", "a.pem", "--data", "x.csv"]).contains("--data"));
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("first.safetensors");
    let first = first.to_str().unwrap();
    let told = fail(&["learner", "--exec", "exit 7", "--exec-start", first]);
    assert!(told.contains("exit status: 7") && told.contains("output.log"), "{told}");
    // Of each file its own, so that two can be made at once.
    let shared = ["--exec-dir", dir.path().to_str().unwrap()];
    let start = ["learner", "--exec", "exit 7", "--exec-start", first];
    let told = fail(&[&start[..], &shared].concat());
    assert!(told.contains("start-first.safetensors/tasks"), "{told}");
    let told = fail(&["learner", "--exec", "true", "--exec-start", first, "--noise", "1"]);
    assert!(told.contains("--sampling-rate and --steps"), "{told}");
}
