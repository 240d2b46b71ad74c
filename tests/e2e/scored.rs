//! How votes are decided, what noise scores leave with, and whether private training is what it is said to be.

use serde_json::Value;

use crate::support::{NodeProcess, Process, fail, run, succeed};

/// A node with an experiment on the embedded digits for two learners, and their keys.
struct Place {
    dir: tempfile::TempDir,
    node: NodeProcess,
}

impl Place {
    fn new(rounds: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeProcess::start(&dir.path().join("node"));
        let place = Self { dir, node };
        for key in ["a.pem", "b.pem"] {
            succeed(&["key", "new", &place.path(key)]);
        }
        let key = place.path("a.pem");
        let create = ["experiment", "create", "x", "--node", &place.node.url, "--key", &key];
        let rules = ["--open", "--min-learners", "2", "--max-rounds", rounds];
        succeed(&[&create[..], &rules].concat());
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn learner(&self, key: &str, share: &str, more: &[&str]) -> Vec<String> {
        let key = self.path(key);
        let place = ["learner", "--node", &self.node.url, "--experiment", "x", "--key", &key];
        let all = [&place[..], &["--share", share, "--epochs", "1", "--json"], more].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    /// Both take part to the end: what each tells.
    fn run(&self, more: [&[&str]; 2]) -> [Vec<Value>; 2] {
        let start = |key, share, more| {
            let arguments = self.learner(key, share, more);
            Process::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let mut learners = [start("a.pem", "1/2", more[0]), start("b.pem", "2/2", more[1])];
        let told = learners.each_mut().map(|learner| {
            let lines = std::iter::from_fn(|| learner.line());
            lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
        });
        assert_eq!(learners.each_mut().map(Process::wait), [Some(0), Some(0)], "{told:?}");
        told
    }

    fn refused(&self, more: &[&str]) -> String {
        let arguments = self.learner("a.pem", "1/2", more);
        fail(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn of<'a>(told: &'a [Value], event: &str) -> Vec<&'a Value> {
    told.iter().filter(|it| it["event"] == event).collect()
}

#[test]
fn votes_by_paired_comparison_decide_rounds() {
    let place = Place::new("6");
    let better: &[&str] = &["--vote", "better", "--confidence", "0.8"];
    let not_worse: &[&str] = &["--vote", "not_worse", "--score", "loss"];
    let told = place.run([better, not_worse]);
    for told in &told {
        let voted = of(told, "voted");
        assert!(voted.len() >= 2, "{told:?}");
        // An untrained model is not as good as one that has learned, by any rule.
        assert_eq!(voted[0]["choice"], "approve", "{voted:?}");
    }
    assert!(place.refused(&["--vote", "better", "--margin", "0.1"]).contains("margin"));
    assert!(place.refused(&["--vote", "better", "--confidence", "1"]).contains("confidence"));
    let alone = place.learner("a.pem", "1/2", &["--confidence", "0.9"]);
    let alone: Vec<&str> = alone.iter().map(String::as_str).collect();
    assert_eq!(run(&alone).status.code(), Some(2), "of what?");
    place.node.stop();
}

#[test]
fn scores_leave_with_noise_that_is_counted_or_not_at_all() {
    let place = Place::new("6");
    let policy = place.path("site.toml");
    // Enough for two scores and not for three; what was trained without noise would leave no budget.
    let text = "data = 'd'\nscores = true\nscore_epsilon = 0.5\nunprotected = true\n";
    std::fs::write(&policy, text).unwrap();
    let noised: &[&str] = &["--score-epsilon", "0.5", "--policy", &policy];
    // What has no noise stays: the policy says so, whatever the learner does.
    let plain: &[&str] = &["--policy", &policy];
    let told = place.run([noised, plain]);
    let scores = |told: &[Value]| -> Vec<Value> {
        let all = told.iter().filter(|it| it["event"] == "voted" || it["event"] == "proposed");
        all.map(|it| it["vote_score"].clone()).collect()
    };
    let [noised, plain] = told.each_ref().map(|told| scores(told));
    assert!(noised.len() >= 5 && noised.iter().all(Value::is_number), "{noised:?}");
    assert!(plain.len() >= 5 && plain.iter().all(Value::is_null), "{plain:?}");
    // Whatever they are, they are of so many rows: a count over their number.
    let rows = 143.0;
    for score in &noised {
        let count = score.as_f64().unwrap() * rows;
        assert!((count - count.round()).abs() < 1e-3, "{score}");
    }
    // Counted: a line for each, beside the key and in the site's file.
    let journal = std::fs::read_to_string(place.path("a.pem.data/experiments/x/spent.jsonl"));
    let took = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["training"].clone()).collect()
    };
    let counted = took(&journal.unwrap());
    assert_eq!(counted.len(), noised.len());
    assert!(counted.iter().all(|it| it["took"]["clip_micros"] == 0 && it["took"]["steps"] == 1));
    assert!(!std::path::Path::new(&place.path("b.pem.data/experiments/x/spent.jsonl")).exists());
    let told: Value = serde_json::from_str(&succeed(&["dp", "policy", &policy, "--json"])).unwrap();
    assert_eq!(told["score_epsilon"], 0.5);
    for score in ["loss", "auc", "balanced_accuracy", "f1"] {
        let refused = place.refused(&["--score-epsilon", "1", "--score", score]);
        assert!(refused.contains("for accuracies"), "{refused}");
    }
    assert!(place.refused(&["--score-epsilon", "0"]).contains("score_epsilon"));
    place.node.stop();
}

#[test]
fn an_audit_of_private_training_finds_less_noise_than_is_claimed_and_nothing_else() {
    let audit = |noise: &str, more: &[&str]| {
        let usual = ["dp", "audit", "--task", "digits", "--noise", noise, "--batch", "256"];
        let rest = ["--epochs", "6", "--canaries", "400", "--seed", "1"];
        let output = run(&[&usual[..], &rest, more].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = audit("1", &["--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["refuted"]), (Some(0), &false.into()), "{told}");
    let number = |name: &str| told[name].as_f64().unwrap();
    assert!(number("epsilon_proven") > 0.0 && number("epsilon_proven") < number("epsilon_claimed"));
    assert_eq!((number("rows"), number("canaries")), (1797.0, 400.0));
    let (code, told) = audit("3", &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("nothing speaks against what is claimed"), "{told}");
    let (code, told) = audit("0.3", &["--claim", "3"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("REFUTED: "), "{told}");
    assert!(told.contains("for a noise multiplier of 3.0000"), "{told}");
    let (code, told) = audit("0.3", &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(fail(&["dp", "audit", "--noise", "0"]).contains("noise multiplier"));
}
