//! The commands by hand, as in several terminals.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{NodeProcess, Process, closed_port, colearn, fail, run, succeed};

#[test]
fn the_same_by_hand_in_several_terminals() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("data"));
    let keys = ["a.pem", "b.pem", "c.pem"].map(path);
    let ids = keys.clone().map(|key| succeed(&["key", "new", &key]).trim().to_owned());
    assert_eq!(succeed(&["key", "show", &keys[0]]).trim(), ids[0]);

    let list = succeed(&["experiment", "list", "--node", &node.url]);
    assert!(list.contains("no experiments yet"), "{list}");
    let invite: Vec<&str> = ids.iter().flat_map(|id| ["--invite", id.as_str()]).collect();
    let create = ["experiment", "create", "digits", "--node", &node.url, "--key", &keys[0]];
    let rules = ["--min-learners", "3", "--max-rounds", "4", "--threshold", "1/2"];
    let created = succeed(&[&create[..], &invite, &rules].concat());
    assert!(created.starts_with("created digits, entry 1, initial model "), "{created}");

    let mut learners: Vec<Process> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| {
            let share = format!("{}/3", at + 1);
            let arguments = ["learner", "--node", &node.url, "--experiment", "digits"];
            Process::start(&[&arguments[..], &["--key", key, "--share", &share]].concat())
        })
        .collect();
    let watched = succeed(&["experiment", "watch", "digits", "--node", &node.url]);
    assert_eq!(watched.lines().last(), Some("finished: max_rounds"), "{watched}");
    assert_eq!(watched.lines().count(), 1 + 4 + 1, "{watched}");
    for learner in &mut learners {
        let lines: Vec<String> = std::iter::from_fn(|| learner.line()).collect();
        assert_eq!(learner.wait(), Some(0), "{lines:?}");
        assert!(
            lines.iter().any(|line| line.contains("voted")
                || line.contains("approved")
                || line.contains("rejected")),
            "{lines:?}"
        );
        assert!(lines.last().unwrap().starts_with("final model "), "{lines:?}");
    }

    let shown = succeed(&["experiment", "show", "digits", "--node", &node.url]);
    assert!(shown.contains("experiment  digits (finished)"), "{shown}");
    let plot = path("rounds.html");
    let json = ["experiment", "show", "digits", "--node", &node.url, "--json", "--plot", &plot];
    let json: Value = serde_json::from_str(&succeed(&json)).unwrap();
    assert_eq!(json["history"]["rounds"].as_array().unwrap().len(), 4);
    assert!(std::fs::read_to_string(&plot).unwrap().contains("<svg"));
    let list: Value =
        serde_json::from_str(&succeed(&["experiment", "list", "--node", &node.url, "--json"]))
            .unwrap();
    assert_eq!(list[0]["name"], "digits");

    // The folder of the running node and its URL tell the same.
    let data = path("data");
    let from_folder = succeed(&["ledger", "show", &data]);
    assert_eq!(from_folder, succeed(&["ledger", "show", &node.url]));
    assert_eq!(from_folder.lines().count(), 1 + 4 + 4 * 6 + 1);
    let one = succeed(&["ledger", "show", &data, "--start", "3", "--count", "1", "--json"]);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["index"], 3);
    let audited = succeed(&["audit", &data]);
    let verdict = audited.lines().last().unwrap().to_owned();
    assert!(verdict.starts_with("AUDIT OK"), "{audited}");
    let key = node.started["verifier_key"].as_str().unwrap();
    let pinned = succeed(&["audit", &node.url, "--key", key]);
    assert_eq!(pinned.trim_end(), verdict);
    let json: Value = serde_json::from_str(&succeed(&["audit", &data, "--json"])).unwrap();
    assert_eq!(json["ok"], true);

    let error = fail(&["experiment", "stop", "digits", "--node", &node.url, "--key", &keys[1]]);
    assert!(error.contains("R5: the experiment has finished"), "{error}");
    let again = fail(&[&create[..], &invite].concat());
    assert!(again.contains("R3: an experiment of this name exists"), "{again}");
}

#[test]
fn what_goes_wrong_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("data"));
    let (mine, other) = (path("mine.pem"), path("other.pem"));
    let my_id = succeed(&["key", "new", &mine]).trim().to_owned();
    succeed(&["key", "new", &other]);
    let create = ["experiment", "create", "x", "--node", &node.url, "--key", &mine];
    succeed(
        &[&create[..], &["--invite", &my_id, "--min-learners", "1", "--max-rounds", "2"]].concat(),
    );
    let learner = |key: &str, experiment: &str, more: &[&str]| {
        let arguments = ["learner", "--node", &node.url, "--experiment", experiment, "--key", key];
        fail(&[&arguments[..], more].concat())
    };

    // The wrong key.
    let error = learner(&other, "x", &[]);
    assert!(error.contains("R6: this learner is not invited"), "{error}");
    // An unknown experiment.
    let error = learner(&mine, "y", &[]);
    assert!(error.contains("there is no experiment y"), "{error}");
    // Data that the model is not for.
    let error = learner(&mine, "x", &["--task", "iris"]);
    assert!(error.contains("the embedded iris data is not what the model is for"), "{error}");
    assert!(error.contains("its layers are 4-32-3, not 64-32-10"), "{error}");
    let error = learner(&mine, "x", &["--task", "mnist"]);
    assert!(error.contains("--data DIR; they are at https://"), "{error}");
    let error = learner(&mine, "x", &["--noise", "0.001"]);
    assert!(error.contains("noise multiplier 0.001 is not between"), "{error}");
    // A key that others can read.
    std::fs::set_permissions(&mine, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = learner(&mine, "x", &[]);
    assert!(error.contains(&format!("chmod 600 {mine}")), "{error}");
    std::fs::set_permissions(&mine, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = fail(&["key", "new", &mine]);
    assert!(error.contains("is not overwritten"), "{error}");
    let error = fail(&["key", "show", &path("none.pem")]);
    assert!(error.contains("make one with: colearn key new"), "{error}");

    // Nobody answers.
    let nowhere = format!("http://{}", closed_port());
    let error = fail(&["experiment", "list", "--node", &nowhere]);
    assert!(error.contains("no node answers") && error.contains("refused"), "{error}");
    let patient = ["--patience", "0s"];
    let arguments = ["learner", "--node", &nowhere, "--experiment", "x", "--key", &mine];
    let output = run(&[&arguments[..], &patient].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = fail(&["experiment", "list", "--node", "not a url"]);
    assert!(error.contains("it looks like http://HOST:PORT"), "{error}");
    // A learner that belongs to another ledger.
    let elsewhere = NodeProcess::start(&dir.path().join("elsewhere"));
    let arguments = ["learner", "--node", &elsewhere.url, "--experiment", "x", "--key", &mine];
    let error = fail(&arguments);
    assert!(error.contains("this learner belongs to"), "{error}");

    let error = fail(&["audit", dir.path().to_str().unwrap()]);
    assert!(error.contains("holds no ledger"), "{error}");
    let error = fail(&["experiment", "create", "z", "--key", &mine]);
    assert!(error.contains("say who may join: --open, --invite, --founder"), "{error}");
    let big = path("big.safetensors");
    std::fs::write(&big, vec![0; 2000]).unwrap();
    let create = ["experiment", "create", "z", "--node", &node.url, "--key", &mine, "--open"];
    let error = fail(&[&create[..], &["--weights", &big, "--max-weights-bytes", "1000"]].concat());
    assert!(error.contains("the initial model has 1 to max_weights_bytes bytes"), "{error}");
}

/// What a command says before nobody reads on, its exit code, and what it complained about.
fn read_one_line(arguments: &[&str]) -> (String, Option<i32>, String) {
    use std::io::{BufRead as _, BufReader, Read as _};
    let mut command = colearn(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(1, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    (line, child.wait().unwrap().code(), complaint)
}

#[test]
fn where_nobody_reads_on_a_command_ends_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("demo");
    let place = place.to_str().unwrap();
    succeed(&["demo", "--keep", place, "--rounds", "60", "--task", "iris", "--learners", "3"]);
    let data = format!("{place}/node");
    // Enough lines that they do not fit in the pipe before it is closed.
    let (line, code, complaint) = read_one_line(&["ledger", "show", &data, "--json"]);
    assert!(line.contains("genesis"), "{line}");
    assert_eq!((code, complaint.as_str()), (Some(141), ""));

    // A demo ends its node first.
    let (line, code, complaint) = read_one_line(&["demo", "--rounds", "1000", "--task", "iris"]);
    assert!(line.starts_with("5 learners"), "{line}");
    assert_eq!((code, complaint.as_str()), (Some(141), ""));
    let (_, code, complaint) = read_one_line(&["demo", "--backend", "local", "--rounds", "200"]);
    assert_eq!((code, complaint.as_str()), (Some(141), ""));
}

/// A node that goes away is waited for, and nothing is told twice.
#[test]
fn watching_survives_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let data = dir.path().join("data");
    let mut node = NodeProcess::start(&data);
    let key = path("a.pem");
    succeed(&["key", "new", &key]);
    let create = ["experiment", "create", "x", "--node", &node.url, "--key", &key, "--open"];
    let rules = ["--task", "iris", "--min-learners", "1", "--max-rounds", "6"];
    succeed(&[&create[..], &rules, &["--selection", "round-robin"]].concat());
    let mut watching = Process::start(&["experiment", "watch", "x", "--node", &node.url]);
    assert!(watching.line().unwrap().starts_with("round "));
    node.kill_and_restart(&data);
    let arguments = ["learner", "--node", &node.url, "--experiment", "x", "--key", &key];
    succeed(&[&arguments[..], &["--task", "iris"]].concat());
    let lines: Vec<String> = std::iter::from_fn(|| watching.line()).collect();
    assert_eq!(watching.wait(), Some(0), "{lines:?}");
    let rounds = lines.iter().filter(|line| line.contains("learner 1")).count();
    assert_eq!(rounds, 6, "{lines:?}");
    assert_eq!(lines.last().unwrap(), "finished: max_rounds");

    // Programs read words, in ledgers and lists alike.
    let list = succeed(&["experiment", "list", "--node", &node.url, "--json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&list[0]["phase"], &list[0]["pause_reason"]), (&"finished".into(), &Value::Null));
    assert_eq!(list[0]["finish_reason"], "max_rounds");
    let entries = succeed(&["ledger", "show", &node.url, "--json"]);
    let entries: Vec<Value> =
        entries.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let created = &entries[1]["record"]["transaction"]["action"]["create"];
    assert_eq!(created["parameters"]["selection"], "round_robin");
    assert_eq!((&created["admission"], &created["experiment"]), (&"open".into(), &"x".into()));
    let last = &entries.last().unwrap()["record"]["outcome"]["finished"];
    assert_eq!((&last["reason"], &last["rounds"]), (&"max_rounds".into(), &6.into()));
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        &["demo"][..],
        &["node"],
        &["key", "new"],
        &["key", "show"],
        &["experiment", "create"],
        &["experiment", "list"],
        &["experiment", "show"],
        &["experiment", "watch"],
        &["experiment", "stop"],
        &["experiment", "plan"],
        &["experiment", "privacy"],
        &["experiment", "move"],
        &["experiment", "ballot"],
        &["experiment", "leave"],
        &["experiment", "resume"],
        &["key", "rotate"],
        &["node", "rotate-key"],
        &["round"],
        &["learner"],
        &["bridge"],
        &["simulate"],
        &["attacks"],
        &["data", "show"],
        &["data", "schema"],
        &["dp", "epsilon"],
        &["dp", "noise"],
        &["witness"],
        &["ledger", "export"],
        &["ledger", "proof"],
        &["ledger", "verify-receipt"],
        &["audit"],
        &["top"],
        &["ui"],
        &["ledger", "show"],
    ] {
        let help = succeed(&[command, &["--help"]].concat());
        assert!(help.contains("Example"), "{command:?}");
        assert!(help.contains(&format!("  colearn {}", command.join(" "))), "{command:?}");
    }
}

#[test]
fn the_tutorial_shows_the_example_as_it_is() {
    let at = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::read_to_string(path).unwrap()
    };
    assert!(at("docs/own-learner.md").contains(&at("sdk/examples/own_learner.rs")));
}

/// The README's second terminal session ends where this example begins.
#[test]
fn a_learner_of_ones_own_runs_on_both_backends() {
    let example = std::path::Path::new(env!("CARGO_BIN_EXE_colearn"))
        .with_file_name("examples")
        .join("own_learner");
    let local = std::process::Command::new(&example).output();
    let local = local.expect("plain `cargo test` builds the examples first");
    let local = String::from_utf8(local.stdout).unwrap();
    assert!(local.contains("the learners' shared mean: "), "{local}");

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("data"));
    let initial = path("initial");
    std::fs::write(&initial, "0").unwrap();
    let keys = ["a.pem", "b.pem"].map(path);
    for key in &keys {
        succeed(&["key", "new", key]);
    }
    let create = ["experiment", "create", "mean", "--node", &node.url, "--key", &keys[0]];
    let rules = ["--open", "--weights", &initial, "--max-rounds", "6"];
    succeed(&[&create[..], &rules].concat());
    let learners: Vec<_> = keys
        .iter()
        .map(|key| {
            std::process::Command::new(&example)
                .args([&node.url, "mean", key, "3", "4", "8"])
                .output_in_background()
        })
        .collect();
    for learner in learners {
        let text = learner.join().unwrap();
        assert!(text.starts_with("after 6 rounds: 4.9"), "{text}");
    }
}

trait InBackground {
    fn output_in_background(&mut self) -> std::thread::JoinHandle<String>;
}

impl InBackground for std::process::Command {
    fn output_in_background(&mut self) -> std::thread::JoinHandle<String> {
        let child = self.stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::thread::spawn(move || {
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
        })
    }
}
