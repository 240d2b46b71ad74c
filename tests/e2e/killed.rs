//! Killing learners and their node at every stage of merged rounds.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use colearn_proto::v1::{self, transaction::Action as Signed};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use serde_json::Value;

use crate::proxy::Proxy;
use crate::support::{NodeProcess, Process, succeed, write_csv};

/// How often somebody is killed.
const KILLS: usize = 40;
/// The longest that it lives after what it was waited for to say: what is signed, sent and kept then is cut off in
/// any place.
const LONGEST_MS: u64 = 40;
/// What a learner says in a round.
const SAYS: [&str; 6] = ["connected", "my_turn", "updated", "judged", "merged", "round_closed"];
/// The same where ballots are sealed.
const SAYS_SEALED: [&str; 7] =
    ["connected", "my_turn", "update_committed", "updated", "committed", "merged", "round_closed"];

/// What is signed once: what it is for, and what it says.
fn once(action: &Signed) -> Option<((&'static str, u64), Signed)> {
    let of = match action {
        Signed::Update(update) => ("update", update.round),
        Signed::RevealUpdate(reveal) => ("update revealed", reveal.update.as_ref()?.round),
        Signed::CommitUpdate(commit) => ("update committed", commit.round),
        Signed::Commit(commit) => ("vote committed", commit.round),
        Signed::MergeVote(vote) => ("vote", vote.round),
        Signed::RevealMergeVote(reveal) => ("vote revealed", reveal.vote.as_ref()?.round),
        Signed::Have(have) => ("have", have.round),
        _ => return None,
    };
    Some((of, action.clone()))
}

/// What was trained: its weights, and how many steps are said to have led to all of it.
fn stated(action: &Signed) -> Option<(String, u64)> {
    let update = match action {
        Signed::Update(update) => update,
        Signed::RevealUpdate(reveal) => reveal.update.as_ref()?,
        _ => return None,
    };
    let steps = |spent: &v1::PrivacySpent| spent.segments.iter().map(|it| it.steps).sum();
    let weights = hex::encode(&update.weights.as_ref()?.digest);
    Some((weights, update.privacy.as_ref().map_or(0, steps)))
}

/// What a learner's journal says: weights, and how many steps there were up to these.
fn journal(key: &str) -> Vec<(String, u64)> {
    let path = format!("{key}.data/experiments/x/spent.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let mut sum = 0;
    let training = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        sum += line["training"]["took"]["steps"].as_u64().unwrap();
        (line["training"]["weights"].as_str().unwrap().to_owned(), sum)
    };
    whole.map(training).collect()
}

async fn survive(ballot: &str, says: &[&str], seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let data = dir.path().join("node");
    let mut node = NodeProcess::start(&data);
    let csv = write_csv(dir.path());
    let csv = csv.to_str().unwrap();
    let keys = ["a.pem", "b.pem"].map(path);
    for key in &keys {
        succeed(&["key", "new", key]);
    }
    let create = ["experiment", "create", "x", "--node", &node.url, "--key", &keys[0], "--open"];
    let rules = ["--min-learners", "2", "--label", "class", "--data", csv, "--ballot", ballot];
    let merging = ["--merging", "--gather-deadline", "10m"];
    succeed(&[&create[..], &rules, &merging].concat());
    let proxies = [Proxy::start(&node.url, None).await, Proxy::start(&node.url, None).await];
    let start = |at: usize| {
        let place = ["learner", "--json", "--node", &proxies[at].1, "--experiment", "x"];
        let data = ["--key", &keys[at], "--data", csv, "--epochs", "1", "--batch", "40"];
        Process::start(&[&place[..], &data, &["--noise", "2", "--delta", "1e-5"]].concat())
    };
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let mut learners = [0, 1].map(start);
    for _ in 0..KILLS {
        let at = random.next_u32() as usize % 2;
        let until = says[random.next_u32() as usize % says.len()];
        let event = |line: String| serde_json::from_str::<Value>(&line).unwrap()["event"].clone();
        while event(learners[at].line().expect("the experiment goes on")) != until {}
        std::thread::sleep(Duration::from_micros(random.next_u64() % (1000 * LONGEST_MS)));
        if random.next_u32().is_multiple_of(4) {
            node.kill_and_restart(&data);
        } else {
            learners[at].kill();
            learners[at] = start(at);
        }
    }
    // Everybody has another round.
    for learner in &mut learners {
        while learner.line().is_some_and(|line| !line.contains("\"round_closed\"")) {}
    }
    learners.iter_mut().for_each(Process::kill);

    for (at, (proxy, _)) in proxies.iter().enumerate() {
        let (signed, _) = proxy.signed();
        assert!(!signed.iter().any(|it| matches!(it, Signed::Pass(_))), "a turn was lost");
        let mut first = BTreeMap::new();
        for (of, action) in signed.iter().filter_map(once) {
            let before = first.entry(of).or_insert_with(|| action.clone());
            assert_eq!(*before, action, "{of:?} was signed twice");
        }
        let mut statements: Vec<(String, u64)> = signed.iter().filter_map(stated).collect();
        statements.dedup();
        assert!(statements.len() > KILLS / 10, "{statements:?}");
        // Every step is stated with what it led to, and no other.
        assert_eq!(journal(&keys[at])[..statements.len()], statements);
    }
    // Whoever was killed has missed nothing: the deadlines are longer than anything here.
    let shown = succeed(&["experiment", "show", "x", "--node", &node.url, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let rounds = shown["history"]["rounds"].as_array().unwrap();
    for round in rounds.iter().filter(|round| !round["verdict"].is_null()) {
        let merged = &round["merged"];
        let count = |what: &str| merged[what].as_object().unwrap().len();
        assert_eq!((count("updates"), count("held"), count("votes")), (2, 2, 2), "{round}");
        assert_eq!(merged["named"], 2, "{round}");
    }
    node.stop();
    audit_passes(&data);
}

fn audit_passes(data: &Path) {
    let data = data.to_str().unwrap();
    let audited = succeed(&["audit", data, "--merges", data]);
    assert!(audited.lines().last().unwrap().starts_with("AUDIT OK"), "{audited}");
    assert!(audited.trim_end().ends_with(" not_computed=0"), "{audited}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_in_a_merged_round_signs_nothing_twice_and_misses_nothing() {
    survive("open", &SAYS, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_in_a_sealed_merged_round_signs_nothing_twice_and_misses_nothing() {
    survive("sealed", &SAYS_SEALED, 2).await;
}
