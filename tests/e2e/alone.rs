//! A learner beside a model of its own.

use std::path::Path;

use serde_json::Value;

use crate::support::{NodeProcess, Process, fail, run, succeed};

/// A learner's own folder for the experiment.
fn folder(key: &Path) -> std::path::PathBuf {
    let mut data = key.as_os_str().to_owned();
    data.push(".data");
    Path::new(&data).join("experiments/x")
}

fn lines(learner: &mut Process) -> Vec<String> {
    std::iter::from_fn(|| learner.line()).collect()
}

#[test]
fn a_learner_tells_what_its_data_is_worth_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("node"));
    let keys = ["a.pem", "b.pem"].map(|name| dir.path().join(name));
    let [a, b] = keys.each_ref().map(|key| key.to_str().unwrap());
    for key in [a, b] {
        succeed(&["key", "new", key]);
    }
    let rules = ["--min-learners", "2", "--max-rounds", "4", "--open"];
    let create = ["experiment", "create", "x", "--node", &node.url, "--key", a];
    succeed(&[&create[..], &rules].concat());
    let start = |key: &str, share: &str, more: &[&str]| {
        let place = ["learner", "--node", &node.url, "--experiment", "x", "--key", key];
        Process::start(&[&place[..], &["--share", share, "--epochs", "1"], more].concat())
    };
    let mut first = start(a, "1/2", &["--alone", "each"]);
    let mut second = start(b, "2/2", &["--alone", "own", "--hide-scores", "--json"]);
    let (said, told) = (lines(&mut first), lines(&mut second));
    assert_eq!((first.wait(), second.wait()), (Some(0), Some(0)), "{said:?} {told:?}");
    // Of each round that changed the model, and once more at the end.
    let show = ["experiment", "show", "x", "--node", &node.url, "--json"];
    let history: Value = serde_json::from_str(&succeed(&show)).unwrap();
    let rounds = history["history"]["rounds"].as_array().unwrap();
    let accepted: Vec<u64> = rounds
        .iter()
        .filter(|round| round["verdict"] == "accepted")
        .map(|round| round["round"].as_u64().unwrap())
        .collect();
    assert!(!accepted.is_empty(), "{history}");
    let compared: Vec<&String> = said.iter().filter(|line| line.contains("together 0.")).collect();
    assert_eq!(compared.len(), accepted.len() + 1, "{said:?}");
    assert!(compared[0].starts_with(&format!("round {}: ", accepted[0])), "{said:?}");
    let file = folder(&keys[0]).join("alone.jsonl");
    let file = file.to_str().unwrap();
    assert!(said.iter().any(|line| line.contains(&format!("colearn model compare {file}"))));
    // The file tells the same, as a table and as a document.
    let table = succeed(&["model", "compare", file]);
    assert_eq!(table.lines().count(), accepted.len() + 2, "{table}");
    assert!(table.contains("accuracy on the same 179 test rows"), "{table}");
    let document = |file: &str| -> Vec<Value> {
        let told: Value =
            serde_json::from_str(&succeed(&["model", "compare", file, "--json"])).unwrap();
        told["rounds"].as_array().unwrap().clone()
    };
    let each = document(file);
    for (at, line) in each.iter().enumerate() {
        assert_eq!((&line["round"], &line["trainings"]), (&accepted[at].into(), &(at + 1).into()));
        let number = |name: &str| line[name].as_f64().unwrap();
        let rows = number("only_together") - number("only_alone");
        assert!((number("difference") * 179.0 - rows).abs() < 1e-6, "{line}");
        assert!(number("low") <= number("difference") && number("difference") <= number("high"));
        assert!(number("alone") > 0.5, "it has learned something: {line}");
    }
    // The other trains in its own turns alone; hidden scores stay hidden from the others, not from itself.
    let events: Vec<Value> = told.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| events.iter().filter(|it| it["event"] == name).collect::<Vec<_>>();
    let own = document(folder(&keys[1]).join("alone.jsonl").to_str().unwrap());
    assert_eq!(of("alone").len(), own.len());
    let trainings: Vec<u64> = own.iter().map(|line| line["trainings"].as_u64().unwrap()).collect();
    assert!(trainings.is_sorted() && trainings[own.len() - 1] <= of("my_turn").len() as u64);
    assert!(own.iter().all(|line| line["together"].is_number()));
    // Nothing of it is in the ledger or at the node.
    node.stop();
    let uploaded =
        succeed(&["artifacts", "list", "--data", dir.path().join("node").to_str().unwrap()]);
    let alone = std::fs::read(folder(&keys[0]).join("alone.safetensors")).unwrap();
    assert!(!uploaded.contains(&colearn_sdk::learner::Weights::new(alone).digest().to_string()));
    let broken = dir.path().join("broken.jsonl");
    std::fs::write(&broken, "{}\n").unwrap();
    assert!(fail(&["model", "compare", broken.to_str().unwrap()]).contains("line 1"));
    let command = ["learner", "--experiment", "x", "--key", a, "--exec", "true", "--alone", "each"];
    assert_eq!(run(&command).status.code(), Some(2), "a command has its own data");
}
