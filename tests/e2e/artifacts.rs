//! Models that a stopped node keeps, and what of them can go.

use std::path::Path;
use std::time::{Duration, SystemTime};

use colearn_sdk::learner::SAFETENSORS;
use serde_json::Value;

use crate::merges;
use crate::support::{Counter, NodeProcess, Speaker, fail, succeed};

fn told(data: &Path, arguments: &[&str]) -> Value {
    let arguments = [&["artifacts"], arguments, &["--data", data.to_str().unwrap(), "--json"]];
    serde_json::from_str(&succeed(&arguments.concat())).unwrap()
}

fn files(told: &Value, kind: &str) -> u64 {
    told["kinds"][kind]["files"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_needed_is_listed_and_goes_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    let model = merges::two_rounds(&node, dir.path()).await;
    // What nobody proposes: one came long ago, and one a moment ago.
    let speaker = Speaker::connect(&node.url).await;
    for value in [71, 72] {
        speaker.client.upload(&Counter::weights(value)).await.unwrap();
    }
    // A node that runs says the same.
    let asked = ["artifacts", "list", "--node", &node.url, "--json"];
    let by_node: Value = serde_json::from_str(&succeed(&asked)).unwrap();
    // The folder is the node's as long as that runs.
    let place = data.to_str().unwrap();
    let refused = fail(&["artifacts", "list", "--data", place]);
    assert!(refused.contains("another process"), "{refused}");
    let both = colearn_refuses(&["artifacts", "list", "--node", &node.url, "--data", place]);
    assert!(both.contains("cannot be used with"), "{both}");
    node.stop();
    let in_folder = told(&data, &["list"]);
    assert_eq!(named(&by_node), named(&in_folder));
    assert_eq!((&by_node["kinds"], &by_node["lost"]), (&in_folder["kinds"], &in_folder["lost"]));
    let artifacts = data.join("artifacts");
    let old = artifacts.join(Counter::weights(71).digest().to_string());
    let long_ago = SystemTime::now() - Duration::from_secs(7 * 3600);
    std::fs::File::options().append(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    std::fs::write(artifacts.join("partial/made-7"), b"cut short").unwrap();

    let all = told(&data, &["list"]);
    let [models, updates] = ["model", "update"].map(|kind| files(&all, kind));
    assert!(models >= 2 && updates >= 3, "{all}");
    assert_eq!((files(&all, "unnamed"), files(&all, "unfinished")), (2, 1));
    assert_eq!(all["lost"], Value::Array(Vec::new()));
    let text = succeed(&["artifacts", "list", "--data", place]);
    assert!(text.contains("  x round 1"), "{text}");
    assert!(text.contains("unnamed            2 files"), "{text}");

    // By default nothing that the ledger names.
    let gone = told(&data, &["prune"]);
    assert_eq!(gone["removed"], false);
    let by_kind = ["model", "update", "unnamed", "unfinished"].map(|kind| files(&gone, kind));
    assert_eq!(by_kind, [0, 0, 1, 1]);
    // And nothing at all before it is told to.
    let accepted = ["prune", "--keep-artifacts", "accepted"];
    let would = told(&data, &accepted);
    let said = succeed(&[&["artifacts"], &accepted[..], &["--data", place]].concat());
    assert!(said.contains("nothing was removed; do it with --yes"), "{said}");
    assert_eq!(told(&data, &["list"]), all);

    let done = told(&data, &[&accepted[..], &["--yes"]].concat());
    assert_eq!((&done["removed"], &done["kinds"]), (&true.into(), &would["kinds"]));
    let left = told(&data, &["list"]);
    let by_kind = ["model", "update", "unnamed", "unfinished"].map(|kind| files(&left, kind));
    assert_eq!(by_kind, [models, 0, 1, 0], "{left}");
    assert!(!old.exists());
    let again = succeed(&[&["artifacts"], &accepted[..], &["--yes", "--data", place]].concat());
    assert_eq!(again, "nothing to remove\n");

    // The node has what the experiment came to, and whoever has lost it can bring it back.
    let node = NodeProcess::start(&data);
    let speaker = Speaker::connect(&node.url).await;
    let found = speaker.client.download(&model).await.unwrap();
    assert_eq!(found.model(SAFETENSORS).digest, model.digest);
    node.stop();
    let audited = succeed(&["audit", place]);
    assert!(audited.lines().last().unwrap().starts_with("AUDIT OK"), "{audited}");
    let refused = fail(&["artifacts", "list", "--data", dir.path().to_str().unwrap()]);
    assert!(refused.contains("entry 0 of"), "{refused}");
    let refused =
        colearn_refuses(&["artifacts", "prune", "--data", place, "--keep-artifacts", "some"]);
    assert!(refused.contains("all, accepted, last:ROUNDS"), "{refused}");
}

/// What is listed, but for when it came: that it was submitted with is known to the node only.
fn named(told: &Value) -> Vec<Value> {
    let mut listed = told["artifacts"].as_array().unwrap().clone();
    listed.iter_mut().for_each(|it| drop(it.as_object_mut().unwrap().remove("since_ms")));
    listed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_experiment_needs_and_the_node_has_not_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    let weights = Counter::weights(5);
    Speaker::connect(&node.url).await.create("x", &weights, 3).await;
    node.stop();
    let file = data.join("artifacts").join(weights.digest().to_string());
    std::fs::remove_file(file).unwrap();
    let node = NodeProcess::start(&data);
    let text = succeed(&["artifacts", "list", "--node", &node.url]);
    let lost = format!("lost: {}, which x needs", weights.digest());
    assert!(text.contains(&lost) && text.contains("in all             0 files"), "{text}");
    Speaker::connect(&node.url).await.client.upload(&weights).await.unwrap();
    let text = succeed(&["artifacts", "list", "--node", &node.url]);
    assert!(!text.contains("lost") && text.contains("  x round 0"), "{text}");
}

/// What is said to arguments that cannot be.
fn colearn_refuses(arguments: &[&str]) -> String {
    let output = crate::support::run(arguments);
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}
