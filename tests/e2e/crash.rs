//! Killing processes in the middle of an experiment.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use colearn_contracts::{Act, Action, Join};
use colearn_sdk::client::{self, Event, Options};

use crate::support::{Counter, NodeProcess, Process, Speaker, id, key, name, succeed, wait_for};

fn audit_passes(data: &Path) {
    let audited = succeed(&["audit", data.to_str().unwrap()]);
    assert!(audited.lines().last().unwrap().starts_with("AUDIT OK"), "{audited}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_again_and_again_lets_the_same_learners_finish() {
    const ROUNDS: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node");
    let mut node = NodeProcess::start(&data);
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), ROUNDS).await;
    let learners: Vec<_> = (0..3_u8)
        .map(|i| {
            let options = Options {
                data: Some(dir.path().join(format!("{i}"))),
                ..Options::new(&node.url, name("x"), key(i))
            };
            tokio::spawn(client::run(Counter { value: 0 }, options))
        })
        .collect();
    for round in [5, 20, 35, 50] {
        loop {
            let known = match client::Client::connect(&node.url).await {
                Ok(client) => client.experiment(&name("x"), None).await,
                Err(error) => Err(error),
            };
            if known.is_ok_and(|known| known.experiment.round >= round) {
                break;
            }
            tokio::task::yield_now().await;
        }
        node.kill_and_restart(&data);
    }
    let mut finals = Vec::new();
    for learner in learners {
        let (counter, summary) = learner.await.unwrap().unwrap();
        assert_eq!(summary.rounds, ROUNDS);
        finals.push(counter.value);
    }
    // Everybody holds the same model, and no turn was lost: every proposal was accepted.
    assert_eq!(finals, [ROUNDS; 3]);
    node.stop();
    audit_passes(&data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_for_good_is_tried_ever_more_rarely_and_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("node"));
    let mut speaker = Speaker::connect(&node.url).await;
    // It waits for a second learner.
    speaker.create("x", &Counter::weights(0), 10).await;
    let url = node.url.clone();
    let (node, pauses) = (Mutex::new(Some(node)), Arc::new(Mutex::new(Vec::new())));
    let watched = Arc::clone(&pauses);
    let options = Options {
        patience: Some(Duration::from_secs(1)),
        watch: Box::new(move |event| match event {
            // Only now does it take part.
            Event::Joined => drop(node.lock().unwrap().take()),
            Event::Reconnecting { pause, .. } => watched.lock().unwrap().push(*pause),
            _ => {}
        }),
        ..Options::new(&url, name("x"), key(1))
    };
    let ended = client::run(Counter { value: 0 }, options);
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    assert!(matches!(ended, Err(client::ClientError::Unreachable { .. })));
    let pauses = pauses.lock().unwrap();
    assert!(pauses.len() > 2 && pauses.is_sorted_by(|a, b| 2 * *a == *b), "{pauses:?}");
}

#[test]
fn a_learner_killed_in_the_middle_goes_on_without_voting_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let data = dir.path().join("node");
    let node = NodeProcess::start(&data);
    let keys = ["a.pem", "b.pem", "c.pem"].map(path);
    for key in &keys {
        succeed(&["key", "new", key]);
    }
    let create = ["experiment", "create", "x", "--node", &node.url, "--key", &keys[0], "--open"];
    succeed(&[&create[..], &["--min-learners", "3", "--max-rounds", "30"]].concat());
    let start = |at: usize| {
        let share = format!("{}/3", at + 1);
        let arguments = ["learner", "--json", "--node", &node.url, "--experiment", "x", "--key"];
        Process::start(&[&arguments[..], &[&keys[at], "--share", &share]].concat())
    };
    let mut learners: Vec<Process> = (0..3).map(start).collect();
    for (at, until) in [(0, 4), (1, 10), (2, 16), (0, 22)] {
        // Until a little way on; then kill -9 at whatever it is doing.
        wait_for("the round", || {
            let line = learners[at].line().expect("the experiment goes on");
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            event["round"].as_u64().filter(|round| *round >= until)
        });
        learners[at].kill();
        learners[at] = start(at);
    }
    for learner in &mut learners {
        let events: Vec<String> = std::iter::from_fn(|| learner.line()).collect();
        assert_eq!(learner.wait(), Some(0), "{events:?}");
    }
    let shown = succeed(&["experiment", "show", "x", "--node", &node.url, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    for round in shown["history"]["rounds"].as_array().unwrap() {
        // Within the deadlines nobody is absent and no turn is lost, in spite of it all.
        assert_eq!(round["votes"].as_object().unwrap().len(), 2, "{round}");
        assert!(round["weights"].is_string(), "{round}");
    }
    node.stop();
    audit_passes(&data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_write_is_completed_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let join = || Action::new(name("x"), Act::Join(Join::new(0, None)));
    speaker.act(&key(1), join()).await.unwrap();
    let before = speaker.followed.size();
    node.stop();
    let journal = dir.path().join("ledger/journal/00000000.journal");
    let (anchors, whole) = (["a", "b"], std::fs::read(&journal).unwrap());
    let saved =
        anchors.map(|a| std::fs::read(dir.path().join(format!("ledger/anchor-{a}"))).unwrap());

    // The second join opens round 1: two entries in one write.
    let node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.act(&key(2), join()).await.unwrap();
    speaker.followed.catch_up(&mut |_| {}).await.unwrap();
    assert_eq!(speaker.followed.size(), before + 3);
    node.stop();

    // As if power had failed after the first of the two entries was on disk, before the anchor.
    let longer = std::fs::read(&journal).unwrap();
    let join_frame =
        8 + u32::from_le_bytes(longer[whole.len()..][..4].try_into().unwrap()) as usize;
    std::fs::write(&journal, &longer[..whole.len() + join_frame]).unwrap();
    for (a, bytes) in anchors.iter().zip(&saved) {
        std::fs::write(dir.path().join(format!("ledger/anchor-{a}")), bytes).unwrap();
    }
    let node = NodeProcess::start(dir.path());
    let speaker = Speaker::connect(&node.url).await;
    let known = speaker.client.experiment(&name("x"), Some(id(&key(2)))).await.unwrap();
    assert_eq!(known.experiment.round, 1);
    assert_eq!(known.size, before + 3);
    node.stop();
    audit_passes(dir.path());
    assert_eq!(std::fs::read(&journal).unwrap(), longer, "the same entries, bit for bit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_used_only_if_it_fits() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let join = || Action::new(name("x"), Act::Join(Join::new(0, None)));
    speaker.act(&key(1), join()).await.unwrap();
    node.stop();
    // A clean stop leaves a snapshot of all of it.
    let mut node = NodeProcess::start(dir.path());
    assert_eq!(node.started["replayed_from"], 3);
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.act(&key(2), join()).await.unwrap();
    // After a kill the older one serves, and the rest is replayed.
    node.kill_and_restart(dir.path());
    assert_eq!((&node.started["replayed_from"], &node.started["entries"]), (&3.into(), &5.into()));
    let speaker = Speaker::connect(&node.url).await;
    let known = speaker.client.experiment(&name("x"), Some(id(&key(2)))).await.unwrap();
    assert_eq!((known.experiment.round, known.size), (1, 5));
    node.stop();
    // Without an index everything is replayed, and the state is the same.
    std::fs::remove_dir_all(dir.path().join("ledger/index")).unwrap();
    let node = NodeProcess::start(dir.path());
    assert_eq!(node.started["replayed_from"], 1);
    assert_eq!(node.started["index_rebuilt"], "there was none");
    let speaker = Speaker::connect(&node.url).await;
    let known = speaker.client.experiment(&name("x"), Some(id(&key(2)))).await.unwrap();
    assert_eq!((known.experiment.round, known.size), (1, 5));
    node.stop();
    audit_passes(dir.path());
}
