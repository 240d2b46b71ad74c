//! What a key remembers: one folder, for one key and ledger, where it goes on.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::{NodeProcess, Process, fail, succeed, write_csv};

/// A node, an experiment for any two, and two keys.
struct Place {
    dir: tempfile::TempDir,
    node: NodeProcess,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeProcess::start(&dir.path().join("data"));
        let place = Self { dir, node };
        let csv = write_csv(place.dir.path());
        for key in ["a.pem", "b.pem"] {
            succeed(&["key", "new", &place.path(key)]);
        }
        for name in ["x", "y"] {
            let create = ["experiment", "create", name, "--node", &place.node.url, "--open"];
            let more = [
                "--data",
                csv.to_str().unwrap(),
                "--label",
                "class",
                "--key",
                &place.path("a.pem"),
            ];
            succeed(&[&create[..], &more, &["--min-learners", "2", "--max-rounds", "3"]].concat());
        }
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn learner(&self, experiment: &str, key: &str) -> Vec<String> {
        self.learner_at(&self.node.url, experiment, key)
    }

    fn learner_at(&self, url: &str, experiment: &str, key: &str) -> Vec<String> {
        let csv = self.path("points.csv");
        let key = self.path(key);
        ["learner", "--node", url, "--experiment", experiment, "--data", &csv, "--key"]
            .map(str::to_owned)
            .into_iter()
            .chain([key])
            .collect()
    }

    fn start(&self, experiment: &str, key: &str) -> Process {
        let arguments = self.learner(experiment, key);
        Process::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn refused(&self, experiment: &str, key: &str, more: &[&str]) -> String {
        let arguments = self.learner(experiment, key);
        let arguments = arguments.iter().map(String::as_str).chain(more.iter().copied());
        fail(&arguments.collect::<Vec<_>>())
    }
}

fn until(learner: &mut Process, what: &str) {
    while !learner.line().expect("the learner goes on").contains(what) {}
}

fn rest(learner: &mut Process) -> String {
    std::iter::from_fn(|| learner.line()).collect::<Vec<_>>().join("\n")
}

#[test]
fn one_key_takes_part_in_several_experiments_at_once_and_in_each_once() {
    let place = Place::new();
    let mut in_x = place.start("x", "a.pem");
    until(&mut in_x, "joined");
    // The same again would sign beside it.
    let refused = place.refused("x", "a.pem", &[]);
    assert!(refused.contains("another process takes part in this experiment"), "{refused}");
    assert!(refused.contains("a.pem.data/experiments/x"), "{refused}");
    let mut in_y = place.start("y", "a.pem");
    until(&mut in_y, "joined");
    // Killed, its lock is gone with it.
    in_x.kill();
    let mut in_x = place.start("x", "a.pem");
    let mut others = ["x", "y"].map(|experiment| place.start(experiment, "b.pem"));
    for learner in others.iter_mut().chain([&mut in_x, &mut in_y]) {
        let said = rest(learner);
        assert!(said.contains("finished: max_rounds"), "{said}");
        assert_eq!(learner.wait(), Some(0));
    }
    // What is secret is for its owner only, and so is what is signed.
    let mut checked = 0;
    let mut folders = vec![place.dir.path().join("a.pem.data")];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if ["memory.json", "followed", "signed.json"].contains(&name) {
                let mode = path.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{}", path.display());
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 4, "the key's, what was followed, and what was signed in each experiment");
}

#[test]
fn the_folder_of_another_key_or_ledger_is_refused() {
    let place = Place::new();
    let mut learner = place.start("x", "a.pem");
    until(&mut learner, "joined");
    learner.terminate();
    learner.wait();
    let folder = place.path("a.pem.data");
    let refused = place.refused("x", "b.pem", &["--memory", &folder]);
    assert!(refused.contains("is the memory of"), "{refused}");
    // Another ledger at the same address, or a wrong address.
    let other = NodeProcess::start(&place.dir.path().join("other"));
    let elsewhere = place.learner_at(&other.url, "x", "a.pem");
    let refused = fail(&elsewhere.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(refused.contains("keeps ledger"), "{refused}");
    // Damage is told, and nothing is overwritten.
    let file = place.dir.path().join("a.pem.data/experiments/x/signed.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "{\"turn\":").unwrap();
    let refused = place.refused("x", "a.pem", &[]);
    assert!(refused.contains("signed.json"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"turn\":");
}

/// A newcomer to a long ledger may believe who has signed what a checkpoint counts.
#[test]
fn a_newcomer_follows_from_a_checkpoint_that_it_trusts() {
    let place = Place::new();
    let checkpoint = place.path("checkpoint");
    let note = crate::support::http(&format!("{}/checkpoint", place.node.url)).1;
    std::fs::write(&checkpoint, &note).unwrap();
    let mut other = place.start("x", "a.pem");
    until(&mut other, "joined");
    let arguments = place.learner("x", "b.pem");
    let arguments = arguments.iter().map(String::as_str).chain(["--trust", &checkpoint, "--json"]);
    let mut trusting = Process::start(&arguments.collect::<Vec<_>>());
    let said = rest(&mut trusting);
    assert_eq!(trusting.wait(), Some(0), "{said}");
    let trusted = |line: &str| -> Option<u64> {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["event"] == "trusting").then(|| event["size"].as_u64().unwrap())
    };
    assert_eq!(said.lines().find_map(trusted), Some(3), "{said}");
    assert!(said.contains("\"finished\""), "{said}");
    assert_eq!(other.wait(), Some(0));

    // A checkpoint of another ledger, or of none, is not one that this goes on from.
    let stranger = NodeProcess::start(&place.dir.path().join("stranger"));
    let note = crate::support::http(&format!("{}/checkpoint", stranger.url)).1;
    std::fs::write(&checkpoint, &note).unwrap();
    succeed(&["key", "new", &place.path("c.pem")]);
    let refused = place.refused("y", "c.pem", &["--trust", &checkpoint]);
    assert!(
        refused.contains("is not proven to go on from the trusted checkpoint of 1"),
        "{refused}"
    );
    std::fs::write(&checkpoint, "no checkpoint").unwrap();
    let refused = place.refused("y", "c.pem", &["--trust", &checkpoint]);
    assert!(refused.contains("is no signed checkpoint"), "{refused}");
}
