//! What a site's policy keeps from leaving, by the real program.

use std::path::Path;

use serde_json::Value;

use crate::support::{NodeProcess, Process, fail, succeed, write_csv};

/// A node with experiments, and a site with a policy.
struct Site {
    dir: tempfile::TempDir,
    node: NodeProcess,
}

impl Site {
    fn new(experiments: &[&str], rounds: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeProcess::start(&dir.path().join("node"));
        let site = Self { dir, node };
        let csv = write_csv(site.dir.path());
        for key in ["a.pem", "b.pem"] {
            succeed(&["key", "new", &site.path(key)]);
        }
        for name in experiments {
            let key = site.path("a.pem");
            let create = ["experiment", "create", name, "--node", &site.node.url, "--key", &key];
            let rules = ["--open", "--data", csv.to_str().unwrap(), "--label", "class"];
            let more = ["--min-learners", "1", "--max-rounds", rounds];
            succeed(&[&create[..], &rules, &more].concat());
        }
        site
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn policy(&self, more: &str) -> String {
        let path = self.path("site.toml");
        std::fs::write(&path, format!("data = \"points\"\n{more}\n")).unwrap();
        path
    }

    /// The arguments of a learner under the policy.
    fn learner(&self, key: &str, experiment: &str, more: &[&str]) -> Vec<String> {
        let (key, csv, policy) = (self.path(key), self.path("points.csv"), self.path("site.toml"));
        let place = ["learner", "--node", &self.node.url, "--experiment", experiment];
        let site = ["--key", &key, "--data", &csv, "--policy", &policy];
        let train = ["--epochs", "1", "--batch", "35", "--margin", "1"];
        [&place[..], &site, &train, more].concat().into_iter().map(str::to_owned).collect()
    }

    /// What a learner that does not start says.
    fn refuses(&self, more: &[&str]) -> String {
        let learner = self.learner("a.pem", "x", more);
        fail(&learner.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn start(&self, key: &str, experiment: &str, more: &[&str]) -> Process {
        let learner = self.learner(key, experiment, more);
        Process::start(&learner.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn entries(&self) -> Vec<Value> {
        let told = succeed(&["ledger", "show", &self.node.url, "--json"]);
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn spent(&self) -> Value {
        let told = succeed(&["dp", "policy", &self.path("site.toml"), "--json"]);
        serde_json::from_str::<Value>(&told).unwrap()["spent"].clone()
    }
}

/// A private training that any of the policies here allows.
const PRIVATE: [&str; 4] = ["--noise", "2", "--delta", "1e-5"];

fn lines(learner: &mut Process) -> Vec<String> {
    std::iter::from_fn(|| learner.line()).collect()
}

#[test]
fn what_a_policy_does_not_allow_or_does_not_say_starts_no_learner() {
    let site = Site::new(&["x"], "2");
    let before = site.entries().len();
    let ledger = site.node.started["ledger_id"].as_str().unwrap().to_owned();
    let plain = "scores = true\nunprotected = false\n";
    for (policy, more, told) in [
        ("scores = true\nunprotected = false\nmax_epsilonn = 1.0", &PRIVATE[..], "unknown field"),
        ("scores = true", &PRIVATE, "unprotected"),
        ("unprotected = false", &PRIVATE, "scores"),
        ("scores = true\nunprotected = false\nmax_epsilon = 1.0", &PRIVATE, "delta"),
        ("scores = true\nunprotected = false\nleast_noise = -1.0", &PRIVATE, "least_noise"),
        ("scores = true\nunprotected = true\nleast_noise = 1.0", &PRIVATE, "hold nothing back"),
        (
            &format!("{plain}ledgers = ['{}']", "ab".repeat(32)),
            &PRIVATE,
            "does not allow the ledger",
        ),
        (&format!("{plain}experiments = ['y']"), &PRIVATE, "does not allow the experiment x"),
        (&format!("{plain}least_noise = 2.5"), &PRIVATE, "at least 2.5, and the training has 2"),
        (&format!("{plain}largest_clip = 0.5"), &PRIVATE, "at most 0.5, and the training has 1"),
        (plain, &[], "without differential privacy"),
    ] {
        site.policy(policy);
        let refused = site.refuses(more);
        assert!(refused.contains(told), "{policy}: {refused}");
    }
    // Without a name for the data, without a file, and with one that is no text.
    std::fs::write(site.path("site.toml"), plain).unwrap();
    assert!(site.refuses(&PRIVATE).contains("data"));
    assert!(fail(&["dp", "policy", &site.path("site.toml")]).contains("data"));
    std::fs::write(site.path("site.toml"), b"data = \"\xff\"").unwrap();
    assert!(site.refuses(&PRIVATE).contains("no text"));
    std::fs::remove_file(site.path("site.toml")).unwrap();
    assert!(site.refuses(&PRIVATE).contains("cannot read the policy"));
    assert_eq!(site.entries().len(), before, "nothing was signed");
    assert!(!Path::new(&site.path("spent")).exists());
    // What allows all of that is kept to, and said.
    let lists = format!("ledgers = ['{ledger}']\nexperiments = ['x']\nleast_noise = 2.0");
    site.policy(&format!("{plain}{lists}"));
    let mut learner = site.start("a.pem", "x", &PRIVATE);
    let said = lines(&mut learner);
    assert_eq!(learner.wait(), Some(0), "{said:?}");
    let shown = succeed(&["dp", "policy", &site.path("site.toml"), "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let digest = shown["digest"].as_str().unwrap();
    assert!(said[0].contains(digest) && said[0].contains("points"), "{said:?}");
    assert_eq!(shown["ledgers"][0], ledger);
    site.node.stop();
}

#[test]
fn scores_that_may_not_leave_are_in_no_entry() {
    let site = Site::new(&["x", "y"], "3");
    let scored = || {
        let entries = site.entries();
        let action = |entry: &Value| entry["record"]["transaction"]["action"].clone();
        let acts = entries.iter().map(action).filter(|it| it.get("propose").is_some());
        acts.map(|it| !it["propose"]["scores"]["vote"].is_null()).collect::<Vec<bool>>()
    };
    site.policy("scores = false\nunprotected = true");
    let mut learners = ["a.pem", "b.pem"].map(|key| site.start(key, "x", &[]));
    for learner in &mut learners {
        let said = lines(learner);
        assert_eq!(learner.wait(), Some(0), "{said:?}");
        assert!(said.iter().all(|line| !line.contains("vote score 0")), "{said:?}");
    }
    let entries = site.entries().iter().map(Value::to_string).collect::<String>();
    let hidden = scored();
    assert!(!hidden.is_empty() && !hidden.contains(&true), "{hidden:?} {entries}");
    let history = succeed(&["experiment", "show", "x", "--node", &site.node.url, "--json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    for round in history["history"]["rounds"].as_array().unwrap() {
        assert!(round["mean_vote_score"].is_null(), "{round}");
    }
    // The same learners say them where they may.
    site.policy("scores = true\nunprotected = true");
    let mut learner = site.start("a.pem", "y", &[]);
    let said = lines(&mut learner);
    assert_eq!(learner.wait(), Some(0), "{said:?}");
    assert!(scored().contains(&true), "{said:?}");
    // All of it was counted, and of the data no budget is left.
    let spent = site.spent();
    let proposed = scored().len() as u64;
    assert!(spent["unprotected"].as_u64().unwrap() >= proposed, "{spent}");
    assert!(spent["epsilon"].is_null(), "{spent}");
    site.policy("scores = true\nunprotected = false\nmax_epsilon = 300.0\ndelta = 1e-5");
    let spent = site.spent();
    assert!(spent["epsilon"].is_null() && spent["left"] == 0.0, "{spent}");
    let told = succeed(&["dp", "policy", &site.path("site.toml")]);
    assert!(told.contains("no epsilon bounds it") && told.contains("unbounded"), "{told}");
    site.node.stop();
}

/// Two processes with a key each, in an experiment each, one of them killed over and over: together they
/// spend what the site may, and not a training more.
#[test]
fn all_learners_of_a_site_share_its_epsilon_through_crashes() {
    const MOST: f64 = 3.0;
    let site = Site::new(&["x", "y"], "5");
    site.policy("scores = true\nunprotected = false\nmax_epsilon = 3.0\ndelta = 1e-5");
    let until = |learner: &mut Process, said: &str| {
        while !learner.line().expect("it goes on").contains(said) {}
    };
    let mut crashing = site.start("b.pem", "y", &PRIVATE);
    for said in ["my turn", "my turn", "proposed"] {
        until(&mut crashing, said);
        crashing.kill();
        crashing = site.start("b.pem", "y", &PRIVATE);
    }
    crashing.kill();
    let mut steady = site.start("a.pem", "x", &PRIVATE);
    until(&mut steady, "proposed");
    let mut crashing = site.start("b.pem", "y", &PRIVATE);
    let said = [&mut steady, &mut crashing].map(|learner| {
        let said = lines(learner);
        assert_eq!(learner.wait(), Some(0), "{said:?}");
        said
    });
    let all = said.concat();
    assert!(all.iter().any(|line| line.contains("in all experiments on points")), "{all:?}");
    let spent = site.spent();
    let epsilon = spent["epsilon"].as_f64().unwrap();
    assert!(epsilon > MOST / 2.0 && epsilon <= MOST, "{spent}");
    assert_eq!(spent["learners"].as_array().unwrap().len(), 2, "{spent}");
    // All that the ledger has was counted before.
    let steps: u64 = ["x", "y"]
        .iter()
        .map(|name| {
            let told =
                succeed(&["experiment", "privacy", name, "--node", &site.node.url, "--json"]);
            let told: Value = serde_json::from_str(&told).unwrap();
            let learners = told["learners"].as_array().unwrap().clone();
            learners.iter().filter_map(|it| it["spent"]["steps"].as_u64()).sum::<u64>()
        })
        .sum();
    let learners = spent["learners"].as_array().unwrap();
    let counted: u64 = learners.iter().map(|it| it["steps"].as_u64().unwrap()).sum();
    assert!(steps > 0 && steps <= counted, "{steps} {spent}");

    // A looser policy brings nothing back, and a garbled file starts nobody.
    site.policy("scores = true\nunprotected = false\nmax_epsilon = 300.0\ndelta = 1e-5");
    assert_eq!(site.spent()["epsilon"].as_f64().unwrap(), epsilon);
    let file = site.path("spent/points.jsonl");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, whole.replacen("\"steps\":", "\"steps\":1", 1)).unwrap();
    let told = site.refuses(&PRIVATE);
    assert!(told.contains("line 1 is damaged"), "{told}");
    assert!(fail(&["dp", "policy", &site.path("site.toml")]).contains("damaged"));
    site.node.stop();
}

#[test]
fn the_example_is_a_policy() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/site-policy.toml");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("site-policy.toml");
    std::fs::copy(example, &file).unwrap();
    let told = succeed(&["dp", "policy", file.to_str().unwrap()]);
    assert!(told.contains("at most 3 at delta 1e-5"), "{told}");
    assert!(told.contains("spent         epsilon 0.0000"), "{told}");
}
