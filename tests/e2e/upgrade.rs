//! From one version of the rules to the next: a ledger of version 1 is upgraded, and the members of an
//! experiment that was running adopt the new rules.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Invitation, Join, Parameters, Version,
};
use colearn_records::keys;
use colearn_sdk::client::ClientError;
use colearn_sdk::learner::SAFETENSORS;
use serde_json::Value;

use crate::support::{
    Counter, NodeProcess, Speaker, colearn, copy_frozen, fail, id, key, name, run, succeed,
};

/// Creates an invited experiment of these learners, each with one vote, under the ledger's version.
async fn create(speaker: &mut Speaker, experiment: &str, learners: std::ops::RangeInclusive<u8>) {
    let weights = Counter::weights(0);
    speaker.client.upload(&weights).await.unwrap();
    let create = CreateExperiment {
        version: speaker.followed.contract_version().unwrap().number(),
        parameters: Parameters { min_learners: 2, ..Parameters::default() },
        admission: Admission::invite(learners.map(|seed| id(&key(seed)))),
        model: weights.model(SAFETENSORS),
        plan: None,
    };
    speaker.act(&key(200), Action::new(name(experiment), Act::Create(create))).await.unwrap();
}

fn key_file(dir: &Path, seed: u8) -> PathBuf {
    let file = dir.join(format!("{seed}.pem"));
    keys::save_new(&key(seed), &file).unwrap();
    file
}

fn say(node: &NodeProcess, words: &[&str], key: &Path) -> Output {
    let more = ["--key", key.to_str().unwrap(), "--node", &node.url];
    run(&[&["experiment"], &words[..1], &more, &words[1..]].concat())
}

fn shown(node: &NodeProcess, experiment: &str) -> Value {
    let text = succeed(&["experiment", "show", experiment, "--json", "--node", &node.url]);
    serde_json::from_str(&text).unwrap()
}

/// Upgrades a folder, having answered its question.
fn upgrade(data: &Path, answer: &str) -> (Option<i32>, String) {
    let mut command = colearn(&["node", "upgrade", "--data", data.to_str().unwrap()]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_is_upgraded_and_its_members_adopt_the_new_rules() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    copy_frozen(&data);
    let node = NodeProcess::start(&data);
    let mut speaker = Speaker::connect(&node.url).await;
    assert_eq!(speaker.followed.contract_version().unwrap(), Version::V1);
    create(&mut speaker, "before", 1..=5).await;
    let join = |experiment: &str| Action::new(name(experiment), Act::Join(Join::new(0, None)));
    for seed in 1..=2 {
        // In version 1 nobody names terms.
        speaker.followed.act(key(seed), join("before")).await.unwrap();
    }
    // What version 2 brought is refused, and says what it needs.
    let files: Vec<PathBuf> = (1..=4).map(|seed| key_file(dir.path(), seed)).collect();
    let refused = say(&node, &["leave", "before", "--renounce"], &files[0]);
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(stderr.contains("R51: ") && stderr.contains("adopt version 2"), "{stderr}");
    let status = succeed(&["node", "status", "--node", &node.url]);
    assert!(status.contains("version 1; this node can upgrade to 2"), "{status}");
    // Our own clients know version 2; of the three who have not come nothing is known.
    assert!(
        status.lines().any(|line| line.contains("  2  ") && line.contains("before")),
        "{status}"
    );
    let locked = fail(&["node", "upgrade", "--data", data.to_str().unwrap()]);
    assert!(locked.contains("in use"), "{locked}");
    node.stop();

    let before = succeed(&["audit", data.to_str().unwrap()]);
    let (code, said) = upgrade(&data, "n\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("before: these keep version 1"), "{said}");
    assert!(said.ends_with("nothing was changed\n"), "{said}");
    assert_eq!(succeed(&["audit", data.to_str().unwrap()]), before);
    let (code, said) = upgrade(&data, "y\n");
    assert_eq!(code, Some(0), "{said}");
    let again = fail(&["node", "upgrade", "--data", data.to_str().unwrap(), "--yes"]);
    assert!(again.contains("nothing to upgrade to"), "{again}");

    let node = NodeProcess::start(&data);
    let mut speaker = Speaker::connect(&node.url).await;
    assert_eq!(speaker.followed.contract_version().unwrap(), Version::V2);
    create(&mut speaker, "after", 1..=5).await;
    let versions = |experiment| shown(&node, experiment)["version"].as_u64().unwrap();
    assert_eq!((versions("before"), versions("after")), (1, 2));
    // Who would join what it has not seen is told to look again.
    let blind = speaker.followed.act(key(1), join("after")).await.unwrap_err();
    assert!(matches!(blind, ClientError::Refused { .. }) && blind.to_string().contains("R53: "));
    speaker.act(&key(1), join("after")).await.unwrap();

    // Two are there of five: under version 1 they could decide anything. They cannot adopt alone.
    let moved = say(&node, &["move", "before", "adopt", "2"], &files[0]);
    assert!(moved.status.success(), "{moved:?}");
    for file in &files[1..2] {
        assert!(say(&node, &["ballot", "before", "1", "approve"], file).status.success());
    }
    assert_eq!(versions("before"), 1);
    // The third of five has not come, and has a vote all the same.
    assert!(say(&node, &["ballot", "before", "1", "approve"], &files[2]).status.success());
    let adopted = shown(&node, "before");
    // A round is open; the new rules begin with the next.
    assert_eq!(adopted["version"], 1);
    let pass = |round| Act::Pass { round, exhausted: false, reason: None };
    speaker.act(&key(1), Action::new(name("before"), pass(1))).await.unwrap();
    let adopted = shown(&node, "before");
    assert_eq!(adopted["version"], 2);
    assert_eq!(adopted["governing_weight"], 5);
    assert_eq!(adopted["governance_threshold"], ">1/2");

    // FAULTS of version 1 that it had: two of five would take it over.
    let stranger = Invitation::new(id(&key(99)), 10_000);
    let admit = format!("{}={}", stranger.learner, stranger.weight);
    assert!(say(&node, &["move", "before", "admit", &admit], &files[0]).status.success());
    assert!(say(&node, &["ballot", "before", "2", "approve"], &files[1]).status.success());
    let open = shown(&node, "before");
    assert_eq!(open["motions"][0]["approvals"], 2);
    assert_eq!(open["motions"][0]["electorate"], 5);

    let entries = succeed(&["ledger", "show", &node.url]);
    assert!(entries.contains("has new experiments follow version 2 of the rules"), "{entries}");
    let report = succeed(&["audit", &node.url]);
    assert!(report.contains("AUDIT OK "), "{report}");
    node.stop();
    // Opened again, without a snapshot too.
    std::fs::remove_dir_all(data.join("ledger/index")).unwrap();
    let node = NodeProcess::start(&data);
    assert_eq!(shown(&node, "before")["version"], 2);
    node.stop();
}

#[test]
fn an_upgrade_asks_for_a_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = fail(&["node", "upgrade", "--data", dir.path().to_str().unwrap(), "--yes"]);
    assert!(nothing.contains("genesis"), "{nothing}");
    let data = dir.path().join("data");
    NodeProcess::start(&data).stop();
    let current = fail(&["node", "upgrade", "--data", data.to_str().unwrap(), "--yes"]);
    assert!(current.contains("follows version 2 of the rules"), "{current}");
}
