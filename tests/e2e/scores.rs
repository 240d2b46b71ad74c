//! Scores: whether they are what others call by the same names, what is told of each class, and who cannot judge.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{NodeProcess, Process, fail, run, succeed};

/// What scikit-learn makes of predictions and of the column that was predicted, as JSON. Where two classes are as
/// likely this program takes neither, and scikit-learn the first: there are none such here.
const SKLEARN: &str = r#"
import csv, json, sys
import numpy as np
from sklearn import metrics

truth = [row[sys.argv[3]] for row in csv.DictReader(open(sys.argv[1]))]
rows = list(csv.DictReader(open(sys.argv[2])))
predicted = [row["prediction"] for row in rows]
if len(rows[0]) == 1:
    truth, predicted = np.array(truth, float), np.array(predicted, float)
    print(json.dumps({"R2": metrics.r2_score(truth, predicted)}))
    raise SystemExit
classes = [name[2:] for name in rows[0] if name.startswith("p_")]
p = np.array([[row["p_" + name] for name in classes] for row in rows], float)
auc = metrics.roc_auc_score(truth, p / p.sum(1, keepdims=True), multi_class="ovr", labels=classes)
told = {
    "accuracy": metrics.accuracy_score(truth, predicted),
    "AUC": auc,
    "balanced accuracy": metrics.balanced_accuracy_score(truth, predicted),
    "macro F1": metrics.f1_score(truth, predicted, average="macro"),
    "negative loss": -metrics.log_loss(truth, p, labels=classes),
}
each = metrics.precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
told["classes"] = {name: [column[at] for column in each] for at, name in enumerate(classes)}
print(json.dumps(told, default=float))
"#;

/// A CSV of three classes that overlap, the last of them rare; all of one class where that is named.
fn write_classes(path: &Path, only: Option<&str>) -> String {
    let mut text = "x,y,class\n".to_owned();
    for row in 0..300_u32 {
        let class = ["red", "red", "red", "red", "blue", "blue", "blue", "red", "red", "rare"];
        let class = class[row as usize % 10];
        let noise = |by: u32| f64::from(row * by % 101) / 50.0 - 1.0;
        let (x, y) = match class {
            "red" => (0.0, 0.0),
            "blue" => (0.8, 0.4),
            _ => (0.3, -0.9),
        };
        let (x, y) = (x + noise(7919), y + noise(104_729));
        text += &format!("{x:.4},{y:.4},{}\n", only.unwrap_or(class));
    }
    std::fs::write(path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A node with an experiment on a file, and a key that has created it.
struct Place {
    dir: tempfile::TempDir,
    node: NodeProcess,
}

impl Place {
    fn new(data: impl FnOnce(&Path) -> String, label: &str, more: &[&str]) -> (Self, String) {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeProcess::start(&dir.path().join("node"));
        let place = Self { dir, node };
        let data = data(place.dir.path());
        for key in ["a.pem", "b.pem"] {
            succeed(&["key", "new", &place.path(key)]);
        }
        let key = place.path("a.pem");
        let create = ["experiment", "create", "x", "--node", &place.node.url, "--key", &key];
        let rules = ["--open", "--data", &data, "--label", label];
        succeed(&[&create[..], &rules, more].concat());
        (place, data)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn learner(&self, key: &str, data: &str, more: &[&str]) -> Vec<String> {
        let (key, node) = (self.path(key), &self.node.url);
        let place = ["learner", "--node", node, "--experiment", "x", "--key", &key, "--data", data];
        [&place[..], more].concat().into_iter().map(str::to_owned).collect()
    }

    fn start(&self, key: &str, data: &str, more: &[&str]) -> Process {
        let arguments = self.learner(key, data, more);
        Process::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Has the model of the experiment predict the file: what is said of it.
    fn predict(&self, data: &str) -> String {
        let (model, out) = (self.path("x.safetensors"), self.path("predicted.csv"));
        succeed(&["model", "get", "x", "--from", &self.node.url, "--out", &model]);
        let output = run(&["predict", "--model", &model, "--data", data, "--out", &out]);
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    /// The same by scikit-learn, where that is there.
    fn sklearn(&self, data: &str, label: &str) -> Option<Value> {
        let python = std::env::var("COLEARN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let there = Command::new(&python).args(["-c", "import sklearn"]).output();
        if !there.is_ok_and(|output| output.status.success()) {
            colearn_testkit::skip("scikit-learn", &format!("{python} has no scikit-learn"));
            return None;
        }
        let arguments = ["-c", SKLEARN, data, &self.path("predicted.csv"), label];
        let output = Command::new(&python).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(serde_json::from_slice(&output.stdout).unwrap())
    }
}

/// The scores that are said of a whole file: name and number.
fn overall(told: &str) -> BTreeMap<String, f64> {
    let line = told.lines().find_map(|line| line.split_once("whose target is there: "));
    let scores = line.expect(told).1.split(", ");
    let score = |text: &str| {
        let (name, number) = text.rsplit_once(' ').unwrap();
        (name.to_owned(), number.parse().unwrap())
    };
    scores.map(score).collect()
}

fn is_close(ours: f64, theirs: &Value) -> bool {
    // Three digits are told.
    (ours - theirs.as_f64().unwrap()).abs() < 6e-4
}

fn lines(learner: &mut Process) -> Vec<String> {
    std::iter::from_fn(|| learner.line()).collect()
}

#[test]
fn scores_of_classes_are_those_of_scikit_learn() {
    let rules = ["--min-learners", "1", "--max-rounds", "4"];
    let (place, data) =
        Place::new(|dir| write_classes(&dir.join("all.csv"), None), "class", &rules);
    let how = ["--metric", "balanced_accuracy", "--class-weights", "balanced"];
    let mut learner = place.start("a.pem", &data, &how);
    let said = lines(&mut learner);
    assert_eq!(learner.wait(), Some(0), "{said:?}");
    assert!(said.last().unwrap().contains("balanced accuracy 0."), "{said:?}");
    let told = place.predict(&data);
    let scores = overall(&told);
    let names: Vec<&str> = scores.keys().map(String::as_str).collect();
    assert_eq!(names, ["AUC", "accuracy", "balanced accuracy", "macro F1", "negative loss"]);
    // A class a line: rows, precision, recall, F1.
    let table = told.lines().skip_while(|line| !line.starts_with("class ")).skip(1);
    let table: BTreeMap<&str, Vec<&str>> = table
        .map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap(), words.collect())
        })
        .collect();
    assert_eq!(table["rare"][0], "30", "{told}");
    if let Some(theirs) = place.sklearn(&data, "class") {
        for (name, ours) in &scores {
            assert!(is_close(*ours, &theirs[name]), "{name} {ours} {theirs}");
        }
        for (class, columns) in &table {
            let theirs = &theirs["classes"][class];
            for (at, column) in columns[1..].iter().enumerate() {
                // Where nothing was taken for the class there is no precision, and they say 0.
                let ours = column.parse().unwrap_or(0.0);
                assert!(is_close(ours, &theirs[at]), "{class} {columns:?} {theirs}");
            }
            assert_eq!(columns[0].parse::<f64>().unwrap(), theirs[3].as_f64().unwrap());
        }
    }
    place.node.stop();
}

#[test]
fn r2_is_that_of_scikit_learn() {
    let sample = |dir: &Path| {
        let path = dir.join("diabetes.csv");
        std::fs::write(&path, succeed(&["data", "sample", "diabetes"])).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (place, data) = Place::new(sample, "target", &["--min-learners", "1", "--max-rounds", "3"]);
    let mut learner = place.start("a.pem", &data, &["--score", "r2"]);
    let said = lines(&mut learner);
    assert_eq!(learner.wait(), Some(0), "{said:?}");
    let told = place.predict(&data);
    let scores = overall(&told);
    assert_eq!(scores.keys().collect::<Vec<_>>(), ["R2", "negative loss"]);
    assert!(!told.contains("precision"), "{told}");
    if let Some(theirs) = place.sklearn(&data, "target") {
        assert!(is_close(scores["R2"], &theirs["R2"]), "{scores:?} {theirs}");
    }
    place.node.stop();
}

#[test]
fn who_cannot_judge_says_so_at_the_start_and_abstains() {
    let rules = ["--min-learners", "2", "--max-rounds", "4", "--threshold", "1/2"];
    let (place, data) =
        Place::new(|dir| write_classes(&dir.join("all.csv"), None), "class", &rules);
    let one = write_classes(&place.dir.path().join("one.csv"), Some("blue"));
    let told = fail_of(&place, &data, &["--metric", "r2"]);
    assert!(told.contains("predicts a class") && told.contains("balanced_accuracy"), "{told}");
    let both = place.learner("a.pem", &data, &["--class-weights", "balanced", "--noise", "1"]);
    let refused = run(&both.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(refused.status.code(), Some(2), "one of them would be known of the classes");
    let mut able = place.start("a.pem", &data, &["--metric", "auc", "--margin", "1"]);
    let mut unable = place.start("b.pem", &one, &["--metric", "auc"]);
    let said = lines(&mut unable);
    assert!(able.wait() == Some(0) && unable.wait() == Some(0), "{said:?}");
    let told = said.iter().find(|line| line.contains("will abstain")).expect("it says so");
    assert!(told.contains("all of them are of one class") && told.contains("by AUC"), "{told}");
    let joined = said.iter().position(|line| line == "joined").unwrap();
    assert!(said.iter().position(|line| line == told).unwrap() < joined, "{said:?}");
    let show = ["experiment", "show", "x", "--node", &place.node.url, "--json"];
    let history: Value = serde_json::from_str(&succeed(&show)).unwrap();
    let id = succeed(&["key", "show", &place.path("b.pem")]);
    let rounds = history["history"]["rounds"].as_array().unwrap();
    let votes: Vec<&Value> = rounds
        .iter()
        .filter_map(|round| round["votes"].as_object()?.iter().find(|(who, _)| id.contains(*who)))
        .map(|(_, vote)| &vote["choice"])
        .collect();
    assert!(!votes.is_empty() && votes.iter().all(|choice| *choice == "abstain"), "{votes:?}");
    place.node.stop();
}

/// What a learner that does not start says.
fn fail_of(place: &Place, data: &str, more: &[&str]) -> String {
    let arguments = place.learner("a.pem", data, more);
    fail(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn how_many_rows_each_class_has_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let data = write_classes(&dir.path().join("all.csv"), None);
    let shown = succeed(&["data", "show", &data, "--label", "class"]);
    assert!(shown.contains("rare               30  10.0 %"), "{shown}");
    let shown = succeed(&["data", "show", &data, "--label", "class", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["classes"], serde_json::json!({ "blue": 90, "rare": 30, "red": 180 }));
}
