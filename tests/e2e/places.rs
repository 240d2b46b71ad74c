//! What reads a ledger reads it at a node, in a node's folder and in an export alike.

use std::path::Path;

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, FinishReason, Parameters, VERSION,
};
use colearn_records::keys;
use colearn_sdk::client::{self, Options};
use colearn_sdk::learner::SAFETENSORS;
use serde_json::Value;

use crate::support::{Counter, NodeProcess, Speaker, fail, id, key, name, run, succeed};

const ROUNDS: u64 = 3;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// An experiment that nobody takes part in.
pub(crate) async fn create(speaker: &mut Speaker, experiment: &str, seed: u8) {
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters { max_rounds: Some(ROUNDS), ..Parameters::default() },
        admission: Admission::invite([1, 2].map(|seed| id(&key(seed)))),
        model: Counter::weights(0).model(SAFETENSORS),
        plan: None,
    };
    speaker.act(&key(seed), Action::new(name(experiment), Act::Create(create))).await.unwrap();
}

/// Two learners have counted to three together, by invitation.
pub(crate) async fn counted(node: &NodeProcess, dir: &Path) {
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.client.upload(&Counter::weights(0)).await.unwrap();
    create(&mut speaker, "x", 200).await;
    learn(node, dir).await;
}

/// Two learners count to three.
async fn learn(node: &NodeProcess, dir: &Path) {
    let learners = [1, 2].map(|seed| {
        let options = Options {
            data: Some(dir.join(format!("memory-{seed}"))),
            name: (seed == 2).then(|| "City Hospital".parse().unwrap()),
            ..Options::new(&node.url, name("x"), key(seed))
        };
        tokio::spawn(client::run(Counter { value: 0 }, options))
    });
    for learner in learners {
        let (_, summary) = learner.await.unwrap().unwrap();
        assert_eq!(summary.reason, Some(FinishReason::MaxRounds));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_experiment_is_read_anywhere_and_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    counted(&node, dir.path()).await;
    let path = |file: &str| dir.path().join(file).to_str().unwrap().to_owned();
    let (export, data) = (path("export"), data.to_str().unwrap().to_owned());
    let made = parsed(&succeed(&["ledger", "export", &export, "--from", &node.url, "--json"]));
    assert_eq!(made["weights"], Value::Null);
    for words in [
        &["experiment", "list"][..],
        &["experiment", "list", "--json", "--mine", &id(&key(1)).to_string()],
        &["experiment", "show", "x"],
        &["experiment", "plan", "x"],
        &["experiment", "plan", "x", "--json"],
        &["experiment", "privacy", "x"],
        &["round", "2"],
    ] {
        // A folder of a running node, too; and whichever name the flag has.
        let [at_node, in_folder, in_export] =
            [("--node", &node.url), ("--from", &data), ("--node", &export)]
                .map(|(flag, place)| succeed(&[words, &[flag, place]].concat()));
        assert!(
            at_node == in_folder && in_folder == in_export,
            "{words:?}: {at_node}\n{in_folder}"
        );
    }
    let show =
        |place: &str| parsed(&succeed(&["experiment", "show", "x", "--json", "--from", place]));
    let (at_node, in_export) = (show(&node.url), show(&export));
    assert_eq!(at_node, in_export);
    let address = node.url.strip_prefix("http://").unwrap();
    assert_eq!(show(address), in_export, "an address needs no scheme");
    assert_eq!(show(&format!("127.0.0.1:1,{address}")), in_export, "the first that answers");
    assert_eq!(in_export["history"]["rounds"].as_array().unwrap().len() as u64, ROUNDS);
    let second = id(&key(2)).to_string();
    let totals = &in_export["history"]["totals"][&second];
    assert_eq!((&totals["missed_votes"], totals["last_seen_ms"].is_u64()), (&0.into(), true));
    let text = succeed(&["experiment", "show", "x", "--from", &export]);
    assert!(text.contains("City Hospital") && text.contains("votes in"), "{text}");

    // Whose they are.
    keys::save_new(&key(2), &dir.path().join("2.pem")).unwrap();
    keys::save_new(&key(7), &dir.path().join("7.pem")).unwrap();
    let mine =
        |file: &str| succeed(&["experiment", "list", "--from", &node.url, "--mine", &path(file)]);
    assert!(mine("2.pem").contains("\nx "), "{}", mine("2.pem"));
    assert!(mine("7.pem").contains("has created none, is a member of none"), "{}", mine("7.pem"));

    // What is no ledger, and one that was altered.
    let none = fail(&["experiment", "list", "--from", &path("nothing")]);
    assert!(none.contains("nothing") && none.contains("no ledger"), "{none}");
    let watched = fail(&["experiment", "watch", "x", "--node", &data]);
    assert!(watched.contains("watch follows a running node"), "{watched}");
    let none = fail(&["experiment", "show", "y", "--from", &export]);
    assert!(none.contains("no experiment y; it has: x"), "{none}");
    node.stop();
    let entries = dir.path().join("export/tile/entries");
    let tile = std::fs::read_dir(entries).unwrap().next().unwrap().unwrap().path();
    let tile = match tile.is_dir() {
        true => std::fs::read_dir(tile).unwrap().next().unwrap().unwrap().path(),
        false => tile,
    };
    let mut bytes = std::fs::read(&tile).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    let altered = fail(&["experiment", "show", "x", "--from", &export]);
    assert!(
        altered.contains("is not as it should be") && altered.contains("colearn audit"),
        "{altered}"
    );
    // A program reads there what a person would.
    let output = run(&["experiment", "show", "x", "--json", "--from", &export]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let told = parsed(&String::from_utf8(output.stderr).unwrap());
    assert!(told["error"].as_str().unwrap().contains("is not as it should be"), "{told}");
}
