//! Data folders of earlier versions.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use colearn_contracts::{
    Act, Action, Admission, BallotKind, CreateExperiment, Join, Merging, Motion, Parameters, Phase,
    Selection, VERSION,
};
use colearn_sdk::client::{self, Options, Summary};
use colearn_sdk::learner::{Learner, SAFETENSORS, Weights};
use colearn_testkit::Near;
use serde_json::Value;

use crate::support::{Counter, NodeProcess, Speaker, copy, copy_frozen, id, key, name, succeed};

fn frozen(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen").join(version)
}

#[test]
fn the_first_versions_folder_opens_and_is_audited() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    copy_frozen(&data);
    let receipts = frozen("v1/receipts");
    let audit = || {
        let arguments = ["audit", data.to_str().unwrap(), "--receipts", receipts.to_str().unwrap()];
        succeed(&arguments).lines().last().unwrap().to_owned()
    };
    let before = audit();
    assert!(before.starts_with("AUDIT OK "), "{before}");
    assert!(before.contains("experiments=1 rounds=3 transactions=13"), "{before}");
    let node = NodeProcess::start(&data);
    let shown = succeed(&["experiment", "show", "demo", "--node", &node.url]);
    assert!(shown.contains("experiment  demo (finished)"), "{shown}");
    node.stop();
    assert_eq!(audit(), before);
}

/// Runs learners of one weight to the end of an experiment.
async fn learn<L: Learner + Send + 'static>(
    node: &NodeProcess,
    experiment: &str,
    memory: Option<&Path>,
    learner: impl Fn(u8) -> L,
) -> Summary {
    let all = [1, 2, 3].map(|seed| {
        let data = memory.map(|memory| memory.join(seed.to_string()));
        let options = Options { data, ..Options::new(&node.url, name(experiment), key(seed)) };
        tokio::spawn(client::run(learner(seed), options))
    });
    let mut summaries = Vec::new();
    for learner in all {
        summaries.push(learner.await.unwrap().unwrap().1);
    }
    assert!(summaries.iter().all(|summary| summary.model == summaries[0].model));
    summaries.swap_remove(0)
}

/// Single and merged rounds, sealed ballots, draws, an absence, a suspension, and a motion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_versions_folder_opens_is_audited_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    copy(&frozen("v2"), &data);
    // git does not keep this mode.
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(data.join("node.pem"), private).unwrap();
    let receipts = frozen("v2/receipts");
    let place = data.to_str().unwrap();
    let audit = || {
        let receipts = ["--receipts", receipts.to_str().unwrap()];
        let told = succeed(&[&["audit", place, "--merges", place][..], &receipts].concat());
        told.lines().last().unwrap().to_owned()
    };
    let before = audit();
    assert!(before.starts_with("AUDIT OK "), "{before}");
    assert!(before.contains("experiments=5 rounds=8 "), "{before}");
    assert!(before.contains(" merges=4 not_computed=0"), "{before}");
    let explained = succeed(&["round", "1", "--experiment", "drawn", "--from", place, "--explain"]);
    assert!(explained.contains("checkers    2 (as recorded)"), "{explained}");
    assert!(explained.contains(": as agreed"), "{explained}");

    let node = NodeProcess::start(&data);
    let show = |experiment: &str| {
        let shown = ["experiment", "show", experiment, "--node", &node.url, "--json"];
        serde_json::from_str::<Value>(&succeed(&shown)).unwrap()
    };
    for (experiment, verdicts) in [
        ("single", &["accepted", "accepted", "accepted"][..]),
        ("merged", &["accepted", "accepted"]),
        ("drawn", &["accepted", "accepted"]),
        ("absent", &["expired"]),
        ("kept", &[]),
    ] {
        let shown = show(experiment);
        let rounds = shown["history"]["rounds"].as_array().unwrap();
        assert!(rounds.iter().map(|round| &round["verdict"]).eq(verdicts), "{shown}");
    }
    // Two had joined, and agreed to merge rounds. Now there is a third.
    let summary = learn(&node, "kept", None, |seed| Near::new(f32::from(seed))).await;
    assert_eq!(summary.rounds, 2);
    assert!(show("kept")["history"]["rounds"][1]["merged"]["accepted"].is_string());
    node.stop();
    let after = audit();
    assert!(after.contains("experiments=5 rounds=10 "), "{after}");
    assert!(after.contains(" merges=6 not_computed=0"), "{after}");
}

/// Recorded `tests/frozen/v2`, and is kept to show how. A folder that was recorded is never changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "records a folder that is there"]
async fn record_the_second_versions_folder() {
    assert!(!frozen("v2").exists(), "what was recorded is never changed");
    let dir = tempfile::tempdir().unwrap();
    let (data, memory) = (dir.path().join("data"), dir.path().join("memory"));
    let node = NodeProcess::start(&data);
    let mut speaker = Speaker::connect(&node.url).await;
    let rules = Parameters { min_learners: 3, max_rounds: Some(2), ..Parameters::default() };
    let sealed = Parameters { ballot: BallotKind::Sealed, ..rules.clone() };
    let gathers = Merging { gather_deadline_ms: Some(60_000), ..Merging::default() };
    let checked = Merging { checkers: 2, ..Merging::default() };

    let single = Parameters { max_rounds: Some(3), ..sealed.clone() };
    create(&mut speaker, "single", single, Admission::Open, &Counter::weights(0)).await;
    learn(&node, "single", Some(&memory), |_| Counter { value: 0 }).await;
    let near = |seed: u8| Near::new(f32::from(seed));
    let merged = Parameters { merging: Some(gathers), ..sealed };
    create(&mut speaker, "merged", merged, Admission::Open, &Near::weights(0.0)).await;
    learn(&node, "merged", Some(&memory), near).await;
    let drawn =
        Parameters { merging: Some(checked), selection: Selection::Sortition, ..rules.clone() };
    create(&mut speaker, "drawn", drawn, Admission::Open, &Near::weights(0.0)).await;
    learn(&node, "drawn", Some(&memory), near).await;

    // The first turn runs out, and its learner loses its seat.
    let hasty = Parameters {
        min_learners: 2,
        proposal_deadline_ms: 50,
        missed_turns: Some(1),
        ..rules.clone()
    };
    create(&mut speaker, "absent", hasty, Admission::Open, &Counter::weights(0)).await;
    for who in [4, 5] {
        act(&mut speaker, "absent", who, Act::Join(Join::new(0, None))).await;
    }
    loop {
        speaker.followed.catch_up(&mut |_| {}).await.unwrap();
        let absent = speaker.followed.described(&name("absent"), id(&key(4)), 0).unwrap();
        if absent.experiment.round == 1 && absent.experiment.phase == Phase::Waiting {
            break;
        }
        tokio::task::yield_now().await;
    }

    let invited = Admission::invite([1, 2, 3].map(|who| id(&key(who))));
    create(&mut speaker, "kept", rules.clone(), invited, &Near::weights(0.0)).await;
    for who in [1, 2] {
        act(&mut speaker, "kept", who, Act::Join(Join::new(0, None))).await;
    }
    let merges = Parameters { merging: Some(Merging::default()), ..rules };
    let motion = Motion::SetParameters(Box::new(merges));
    act(&mut speaker, "kept", 1, Act::Move { number: 1, motion }).await;
    act(&mut speaker, "kept", 2, Act::MotionVote { number: 1, approve: true }).await;
    node.stop();

    let to = frozen("v2");
    copy(&data.join("artifacts"), &to.join("artifacts"));
    std::fs::remove_dir(to.join("artifacts/partial")).unwrap();
    copy(&data.join("ledger/journal"), &to.join("ledger/journal"));
    for file in ["node.pem", "ledger/anchor-a", "ledger/anchor-b"] {
        std::fs::copy(data.join(file), to.join(file)).unwrap();
    }
    copy(&memory.join("1/receipts"), &to.join("receipts"));
}

async fn create(
    speaker: &mut Speaker,
    experiment: &str,
    parameters: Parameters,
    admission: Admission,
    weights: &Weights,
) {
    speaker.client.upload(weights).await.unwrap();
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission,
        model: weights.model(SAFETENSORS),
        plan: None,
    };
    act(speaker, experiment, 200, Act::Create(create)).await;
}

async fn act(speaker: &mut Speaker, experiment: &str, who: u8, what: Act) {
    speaker.act(&key(who), Action::new(name(experiment), what)).await.unwrap();
}
