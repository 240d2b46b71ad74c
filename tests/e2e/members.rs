//! What version 2 of the rules brought to members, by the commands: names, judges, evaluations,
//! renouncing, limits of a ledger, transactions that expire.

use std::path::{Path, PathBuf};

use colearn_contracts::{Act, Action, Join};
use colearn_records::keys;
use serde_json::Value;

use crate::support::{Counter, NodeProcess, Speaker, fail, id, key, name, run, succeed, wait_for};

fn key_file(dir: &Path, seed: u8) -> PathBuf {
    let file = dir.join(format!("{seed}.pem"));
    keys::save_new(&key(seed), &file).unwrap();
    file
}

/// Runs `colearn experiment`, which must succeed.
fn say(node: &NodeProcess, words: &[&str]) -> String {
    succeed(&[&["experiment"], words, &["--node", &node.url]].concat())
}

/// The same, which must fail; why.
fn refuse(node: &NodeProcess, words: &[&str]) -> String {
    fail(&[&["experiment"], words, &["--node", &node.url]].concat())
}

fn shown(node: &NodeProcess, experiment: &str) -> Value {
    serde_json::from_str(&say(node, &["show", experiment, "--json"])).unwrap()
}

fn weights_file(dir: &Path) -> PathBuf {
    let file = dir.join("initial.safetensors");
    std::fs::write(&file, Counter::weights(0).bytes()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_judges_and_evaluations_are_shown_and_decide_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let files: Vec<PathBuf> = (1..=4).map(|seed| key_file(dir.path(), seed)).collect();
    let file = |at: usize| files[at].to_str().unwrap();
    let weights = weights_file(dir.path());
    let [ann, bob, judge, dora] = [1, 2, 3, 4].map(|seed| id(&key(seed)));
    let invite = [
        format!("{ann}=2:City Hospital"),
        bob.to_string(),
        format!("{judge}:judge:The regulator"),
        dora.to_string(),
    ];
    let mut words = vec!["create", "x", "--key", file(0), "--weights", weights.to_str().unwrap()];
    invite.iter().for_each(|it| words.extend(["--invite", it]));
    let created = say(&node, &words);
    let terms = created.lines().find_map(|line| line.strip_prefix("terms = \"")).unwrap();
    let terms = terms.strip_suffix('"').unwrap();

    // The digest is everywhere, and it is what is joined.
    let state = shown(&node, "x");
    assert_eq!(state["terms"], terms);
    assert_eq!(state["governing_weight"], 5);
    let plan = say(&node, &["plan", "x"]);
    // Behind the first line it is to be pasted into the plan.
    let pasted: Vec<&str> = created.lines().skip(1).collect();
    let keys = pasted.iter().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key);
    assert_eq!(keys.collect::<Vec<_>>(), ["terms", "ledger", "verifier_key"]);
    assert!(plan.contains(&pasted.join("\n")), "{plan}");
    assert!(plan.contains("{ weight = 2, name = \"City Hospital\" }"), "{plan}");
    assert!(plan.contains("{ weight = 1, name = \"The regulator\", judge = true }"), "{plan}");

    let mut speaker = Speaker::connect(&node.url).await;
    let join = |called: Option<&str>| {
        let name_of = called.map(|it| it.parse().unwrap());
        Action::new(name("x"), Act::Join(Join { name: name_of, ..Join::new(0, None) }))
    };
    speaker.act(&key(3), join(None)).await.unwrap();
    let taken = speaker.act(&key(2), join(Some("City Hospital"))).await.unwrap_err();
    assert!(taken.to_string().contains("R64: "), "{taken}");
    speaker.act(&key(2), join(Some("Bob's clinic"))).await.unwrap();
    // Two are there, and one of them trains: the judge, who came first, is passed over.
    let state = shown(&node, "x");
    assert_eq!(state["phase"], "proposing");
    assert_eq!(state["names"][bob.to_string()], "Bob's clinic");
    assert_eq!(state["names"][judge.to_string()], "The regulator");
    let pass = Act::Pass { round: 1, exhausted: false, reason: None };
    let not_judge = speaker.act(&key(3), Action::new(name("x"), pass)).await.unwrap_err();
    assert!(not_judge.to_string().contains("R14: "), "{not_judge}");

    say(&node, &["evaluate", "x", "--key", file(1), "accuracy=0.913", "accuracy.alone=0.871"]);
    let own = ["--model", weights.to_str().unwrap()];
    say(&node, &[&["evaluate", "x", "--key", file(1)][..], &own, &["auc=0.5"]].concat());
    let stranger = refuse(&node, &["evaluate", "x", "--key", file(3), "accuracy=1"]);
    assert!(stranger.contains("only members evaluate"), "{stranger}");
    for bad in ["Accuracy=1", "accuracy=one", "accuracy"] {
        let output = run(&["experiment", "evaluate", "x", "--key", file(1), bad]);
        assert_eq!(output.status.code(), Some(2), "{bad}");
    }
    let state = shown(&node, "x");
    let evaluations = &state["history"]["evaluations"];
    assert_eq!(evaluations[0]["measures"]["accuracy.alone"], 0.871);
    assert_eq!(evaluations[1]["number"], 2);
    let text = say(&node, &["show", "x"]);
    assert!(text.contains("Bob's clinic") && text.contains("accuracy 0.913"), "{text}");

    // Who gives up its say is not counted any more.
    say(&node, &["leave", "x", "--key", file(3), "--renounce"]);
    let state = shown(&node, "x");
    assert_eq!(state["governing_weight"], 4);
    assert_ne!(state["terms"], terms);
    assert!(succeed(&["audit", &node.url]).contains("AUDIT OK "));
    node.stop();
}

#[test]
fn a_creator_has_so_many_experiments_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start_with(
        &data,
        &["--listen", "127.0.0.1:0", "--experiments-per-creator", "2"],
    );
    let file = key_file(dir.path(), 1);
    let weights = weights_file(dir.path());
    let (file, weights) = (file.to_str().unwrap(), weights.to_str().unwrap());
    let create = |name| ["create", name, "--key", file, "--weights", weights, "--open"];
    say(&node, &create("a"));
    say(&node, &create("b"));
    let third = refuse(&node, &create("c"));
    assert!(third.contains("R54: "), "{third}");
    // Before the first round its creator may end it, whoever has joined.
    say(&node, &["stop", "a", "--key", file]);
    say(&node, &create("c"));
    // The name is gone for good.
    let used = refuse(&node, &create("a"));
    assert!(used.contains("R3: "), "{used}");
    node.stop();
    // The limits are the ledger's, whatever the node is started with.
    let node = NodeProcess::start(&data);
    let more = refuse(&node, &create("d"));
    assert!(more.contains("R54: "), "{more}");
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_held_back_comes_too_late_and_is_signed_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start_with(
        &dir.path().join("data"),
        &["--listen", "127.0.0.1:0", "--transaction-expiry", "20ms"],
    );
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 5).await;
    let join = || Action::new(name("x"), Act::Join(Join::new(0, None)));
    let action = speaker.agree(join()).await;
    let held_back = speaker.followed.sign(key(1), action).unwrap();
    // As long as nothing happens nothing is old, however long that is.
    speaker.create("y", &Counter::weights(0), 5).await;
    wait_for("the expiry", || {
        let again = succeed(&["ledger", "show", &node.url, "--json"]);
        let last: Value = serde_json::from_str(again.lines().last().unwrap()).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (now.as_millis() as u64 > last["time_ms"].as_u64().unwrap() + 21).then_some(())
    });
    let refused = speaker.followed.submit(&held_back).await.unwrap_err();
    assert!(refused.to_string().contains("R71: "), "{refused}");
    // What the learner signs anew, having seen what there is, is taken.
    speaker.act(&key(1), join()).await.unwrap();
    assert!(succeed(&["audit", &node.url]).contains("AUDIT OK "));
    node.stop();
}
