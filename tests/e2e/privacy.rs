//! What is stated of privacy, whenever a learner is killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use serde_json::Value;

use crate::support::{NodeProcess, Process, fail, succeed, write_csv};

/// How often a learner is killed.
const KILLS: usize = 200;
/// The longest it lives after what it was waited for to say.
const LONGEST_MS: u64 = 60;

/// What a learner's journal says: weights, and how many steps led to them.
fn journal(key: &str, experiment: &str) -> Vec<(String, u64)> {
    let path = format!("{key}.data/experiments/{experiment}/spent.jsonl");
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    // A line that was cut off has no end.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let training = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let training = &line["training"];
        let weights = training["weights"].as_str().unwrap().to_owned();
        (weights, training["took"]["steps"].as_u64().unwrap())
    };
    whole.map(training).collect()
}

/// The weights of which the node has something.
fn weights_at(node: &Path) -> BTreeSet<String> {
    let folders = [node.join("artifacts"), node.join("artifacts/partial")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    // What is named otherwise is the store's own.
    names.filter(|name| name.len() == 64).collect()
}

/// What a learner states with which weights, as it is recorded.
fn statements(node: &NodeProcess, learner: &str) -> Vec<(String, u64)> {
    let entries = succeed(&["ledger", "show", &node.url, "--json"]);
    let stated = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap();
        let transaction = &entry["record"]["transaction"];
        let proposal = &transaction["action"]["propose"];
        let weights = proposal["weights"]["digest"].as_str()?;
        let steps = proposal["privacy"]["steps"].as_u64()?;
        (transaction["sender"] == learner).then(|| (weights.to_owned(), steps))
    };
    entries.lines().filter_map(stated).collect()
}

/// Other settings: with more noise or less, larger batches or smaller, more data or less.
fn settings(random: &mut ChaCha12Rng) -> [&'static str; 6] {
    let mut any = |words: [&'static str; 2]| words[random.next_u32() as usize % 2];
    let (noise, batch, share) = (any(["2", "3"]), any(["40", "60"]), any(["1/1", "1/2"]));
    ["--noise", noise, "--batch", batch, "--share", share]
}

#[test]
fn however_often_it_is_killed_a_learner_states_every_step_it_took_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let data = dir.path().join("node");
    let node = NodeProcess::start(&data);
    let csv = write_csv(dir.path());
    let keys = ["a.pem", "b.pem"].map(path);
    let ids = keys.each_ref().map(|key| succeed(&["key", "new", key]).trim().to_owned());
    let create = ["experiment", "create", "x", "--node", &node.url, "--key", &keys[0], "--open"];
    let rules = ["--min-learners", "2", "--label", "class", "--data", csv.to_str().unwrap()];
    succeed(&[&create[..], &rules].concat());
    let initial = weights_at(&data);
    let all_are_counted = || {
        // In this order: what has left since was counted before.
        let there = weights_at(&data);
        let counted = keys.iter().flat_map(|key| journal(key, "x")).map(|(weights, _)| weights);
        let counted: BTreeSet<String> = counted.chain(initial.iter().cloned()).collect();
        assert!(there.is_subset(&counted), "{there:?} {counted:?}");
    };
    let start = |at: usize, settings: &[&str]| {
        let place = ["learner", "--json", "--node", &node.url, "--experiment", "x"];
        let data = ["--key", &keys[at], "--data", csv.to_str().unwrap(), "--epochs", "1"];
        // Whatever is proposed is taken.
        let more = ["--delta", "1e-5", "--margin", "1"];
        Process::start(&[&place[..], &data, &more, settings].concat())
    };
    let mut random = ChaCha12Rng::seed_from_u64(1);
    let mut set = [0; 2].map(|_| settings(&mut random));
    let mut learners = [0, 1].map(|at| start(at, &set[at]));
    for _ in 0..KILLS {
        let at = random.next_u32() as usize % 2;
        // It is killed soon after it says one of these.
        let until = ["connected", "my_turn", "proposed"][random.next_u32() as usize % 3];
        let event = |line: String| serde_json::from_str::<Value>(&line).unwrap()["event"].clone();
        while event(learners[at].line().expect("the experiment goes on")) != until {}
        std::thread::sleep(Duration::from_micros(random.next_u64() % (1000 * LONGEST_MS)));
        learners[at].kill();
        all_are_counted();
        if random.next_u32() % 4 == 0 {
            set[at] = settings(&mut random);
        }
        learners[at] = start(at, &set[at]);
    }
    // Each has another turn, in which it tells what it took.
    for learner in &mut learners {
        while learner.line().is_some_and(|line| !line.contains("\"proposed\"")) {}
    }
    learners.iter_mut().for_each(Process::kill);

    for at in [0, 1] {
        let took = journal(&keys[at], "x");
        let stated = statements(&node, &ids[at]);
        assert!(stated.len() > KILLS / 10, "{stated:?}");
        assert!(stated.is_sorted_by(|(_, before), (_, after)| before < after), "{stated:?}");
        // What was spent before a kill was kept, and proposed after it: nothing is counted twice.
        let mut sum = 0;
        let sums = took.iter().map(|(weights, steps)| {
            sum += steps;
            (weights.clone(), sum)
        });
        let sums: Vec<(String, u64)> = sums.collect();
        assert_eq!(sums[..stated.len()], stated);
    }
    node.stop();
    let audited = succeed(&["audit", data.to_str().unwrap()]);
    assert!(audited.lines().last().unwrap().starts_with("AUDIT OK"), "{audited}");
}

#[test]
fn without_noise_it_is_told_before_it_joins_what_it_could_never_propose_in() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("a.pem");
    let key = key.to_str().unwrap();
    succeed(&["key", "new", key]);
    let node = NodeProcess::start(&dir.path().join("node"));
    let csv = write_csv(dir.path());
    let csv = csv.to_str().unwrap();
    let create = ["experiment", "create", "x", "--node", &node.url, "--key", key, "--open"];
    succeed(
        &[&create[..], &["--data", csv, "--label", "class", "--privacy-cap", "3", "1e-5"]].concat(),
    );
    let entries = || succeed(&["ledger", "show", &node.url, "--json"]).lines().count();
    let before = entries();
    let learner =
        ["learner", "--node", &node.url, "--experiment", "x", "--key", key, "--data", csv];
    let told = fail(&learner);
    assert!(told.contains("does not train privately") && told.contains("--noise"), "{told}");
    let told = fail(&[&learner[..], &["--noise", "1", "--delta", "1e-4"]].concat());
    assert!(told.contains("--delta"), "{told}");
    assert_eq!(entries(), before, "nothing is joined");
    assert!(!Path::new(&format!("{key}.data/experiments/x/spent.jsonl")).exists());
    node.stop();
}

/// Two processes with one key, in an experiment each: they share what the key may spend.
#[test]
fn the_own_cap_holds_over_all_experiments_of_a_key() {
    const ROUNDS: &str = "6";
    const CAP: &str = "3";
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("a.pem").to_str().unwrap().to_owned();
    succeed(&["key", "new", &key]);
    let node = NodeProcess::start(&dir.path().join("node"));
    let csv = write_csv(dir.path());
    let csv = csv.to_str().unwrap();
    for name in ["x", "y"] {
        let create = ["experiment", "create", name, "--node", &node.url, "--key", &key, "--open"];
        let rules = ["--data", csv, "--label", "class", "--min-learners", "1"];
        succeed(&[&create[..], &rules, &["--max-rounds", ROUNDS]].concat());
    }
    let epsilon_of = |steps: u64, sampling: f64| -> f64 {
        let (steps, sampling) = (steps.to_string(), sampling.to_string());
        let dp = ["dp", "epsilon", "--noise", "2", "--sampling", &sampling, "--steps", &steps];
        let told = succeed(&[&dp[..], &["--delta", "1e-5", "--json"]].concat());
        let told: Value = serde_json::from_str(&told).unwrap();
        let bound = |name: &str| told[name].as_f64().unwrap();
        bound("epsilon_pld").min(bound("epsilon_rdp"))
    };
    let start = |name: &str| {
        let place = ["learner", "--node", &node.url, "--experiment", name, "--key", &key];
        let train =
            ["--data", csv, "--epochs", "1", "--batch", "35", "--noise", "2", "--delta", "1e-5"];
        Process::start(&[&place[..], &train, &["--epsilon", CAP, "--margin", "1"]].concat())
    };
    let mut learners = ["x", "y"].map(start);
    let said = learners.each_mut().map(|learner| {
        let lines: Vec<String> = std::iter::from_fn(|| learner.line()).collect();
        assert_eq!(learner.wait(), Some(0), "{lines:?}");
        lines
    });
    // Together they have taken as many steps as they may, and not a training more.
    let path = format!("{key}.data/experiments/x/spent.jsonl");
    let first = std::fs::read_to_string(path).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    let sampling = first["training"]["took"]["sampling_nanos"].as_f64().unwrap() / 1e9;
    let spent = ["x", "y"].map(|name| journal(&key, name));
    let steps: u64 = spent.iter().flatten().map(|(_, steps)| steps).sum();
    let next = spent[0][0].1;
    let cap: f64 = CAP.parse().unwrap();
    assert!(epsilon_of(steps, sampling) <= cap, "{spent:?} {said:?}");
    assert!(epsilon_of(steps + next, sampling) > cap, "{spent:?} {said:?}");
    let told = |lines: &Vec<String>| lines.iter().any(|line| line.contains("in all experiments"));
    assert!(said.iter().any(told), "{said:?}");
    node.stop();
}
