//! What reads a ledger reads it at a node, in a node's folder and in an export alike; what stands in a learner's way
//! is told before it begins.

use std::io::{BufRead as _, BufReader, Read as _};
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

/// What the doctor has found, by what was looked at.
fn found(words: &[&str], healthy: bool) -> Value {
    let output = run(&[&["doctor", "--json"], words].concat());
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.success(), healthy, "{words:?}: {told}");
    let checks = parsed(&told);
    let by_name = checks.as_array().unwrap().iter();
    by_name.map(|it| (it["check"].as_str().unwrap().to_owned(), it.clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_says_what_is_in_a_learners_way() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let path = |file: &str| dir.path().join(file).to_str().unwrap().to_owned();
    for seed in [1, 2] {
        keys::save_new(&key(seed), &dir.path().join(format!("{seed}.pem"))).unwrap();
    }
    let (one, two) = (path("1.pem"), path("2.pem"));
    let url = node.url.clone();
    let at = ["--node", url.as_str()];
    let public = id(&key(1)).to_string();
    let create = [
        "experiment",
        "create",
        "x",
        "--key",
        &one,
        "--invite",
        &public,
        "--task",
        "iris",
        "--min-learners",
        "1",
    ];
    let created = parsed(&succeed(&[&create[..], &at, &["--json"]].concat()));
    assert_eq!(created["experiment"], "x");
    let asked = ["--experiment", "x", "--key"];
    let with = |key: &str, more: &[&str], healthy| {
        found(&[&at[..], &asked, &[key], more].concat(), healthy)
    };

    let written = || {
        let all = std::fs::read_dir(dir.path().join("1.pem.data")).unwrap();
        let all = all
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap()));
        all.collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = written();
    let well = with(&one, &["--task", "iris"], true);
    for check in ["key", "memory", "clock", "node", "ledger", "experiment", "membership", "data"] {
        let found = well[check]["found"].as_str().unwrap();
        assert!(found == "good" || (check, found) == ("data", "warning"), "{check}: {well:#}");
    }
    assert!(well["data"]["told"].as_str().unwrap().starts_with("150 rows"), "{well:#}");
    assert_eq!(written(), before, "nothing is written");
    let stranger = with(&two, &[], false);
    assert_eq!(stranger["membership"]["found"], "bad");
    let remedy = stranger["membership"]["remedy"].as_str().unwrap();
    assert!(remedy.contains(&format!("admit {}", id(&key(2)))), "{remedy}");
    assert_eq!(with(&one, &["--task", "wine"], false)["data"]["found"], "bad");
    std::fs::write(dir.path().join("other.toml"), "threshold = \"9/10\"\n").unwrap();
    let planned = with(&one, &["--plan", &path("other.toml")], false);
    let told = planned["plan"]["told"].as_str().unwrap();
    assert!(told.contains("- threshold = \"9/10\""), "{told}");
    let other = ["--ledger", &"00".repeat(32)];
    assert_eq!(with(&one, &other, false)["ledger"]["found"], "bad");
    let none = found(&[&at[..], &["--key", &path("none.pem")]].concat(), false);
    assert_eq!(none["key"]["found"], "bad");
    let gone = found(&[&at[..], &["--key", &one, "--experiment", "y"]].concat(), false);
    assert!(gone["experiment"]["remedy"].as_str().unwrap().contains("experiment list"), "{gone:#}");
    // For people, and where there is no node.
    let told = succeed(&[&["doctor"], &at[..]].concat());
    assert!(told.contains("experiment  -     1 go on: --experiment NAME"), "{told}");
    node.stop();
    let output = run(&[&["doctor"], &at[..]].concat());
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && told.contains("node        BAD"), "{told}");
    assert!(told.contains("is it running there"), "{told}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_run_for_what_happens() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.client.upload(&Counter::weights(0)).await.unwrap();
    create(&mut speaker, "x", 200).await;
    let (told, mine) = (dir.path().join("told"), id(&key(2)).to_string());
    let command = format!(
        "echo $COLEARN_EVENT $COLEARN_EXPERIMENT $COLEARN_ROUND $(cat) >> {}; [ $COLEARN_EVENT != my-vote ]",
        told.display()
    );
    let watch =
        ["experiment", "watch", "x", "--node", &node.url, "--mine", &mine, "--exec", &command];
    let (mut watching, mut errors) = caught_up(&[&watch[..], &["--json"]].concat());
    learn(&node, dir.path()).await;
    let ended = tokio::task::spawn_blocking(move || {
        let status = watching.wait().unwrap();
        let (mut told, mut lines) = (String::new(), String::new());
        errors.read_to_string(&mut told).unwrap();
        watching.stdout.take().unwrap().read_to_string(&mut lines).unwrap();
        (status, told, lines)
    });
    let (status, errors, lines) = ended.await.unwrap();
    assert!(status.success(), "{errors}");
    assert!(errors.contains("ended with exit status: 1"), "{errors}");
    assert_eq!(lines.lines().map(parsed).filter(|it| it["verdict"] == "accepted").count(), 3);
    let told = std::fs::read_to_string(told).unwrap();
    let events: Vec<&str> = told.lines().filter_map(|line| line.split(' ').next()).collect();
    // Of two learners each has its turn, and votes in the other's.
    assert_eq!(events.iter().filter(|it| **it == "round").count() as u64, ROUNDS, "{told}");
    let mine = events.iter().filter(|it| it.starts_with("my-")).count() as u64;
    assert_eq!(mine, ROUNDS, "{told}");
    assert!(events.contains(&"my-vote") && events.contains(&"my-turn"), "{told}");
    assert_eq!(events.last(), Some(&"finished"), "{told}");
    let round = told.lines().find(|line| line.starts_with("round x 1 ")).unwrap();
    assert_eq!(parsed(round.strip_prefix("round x 1 ").unwrap())["verdict"], "accepted");
}

/// Somebody who watches, and has seen all that there is; with what else it logs.
#[cfg(unix)]
fn caught_up(arguments: &[&str]) -> (std::process::Child, BufReader<std::process::ChildStderr>) {
    let mut watching = crate::support::colearn(arguments)
        .env("COLEARN_LOG", "info")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(watching.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("caught up") {
        assert!(errors.read_line(&mut line).unwrap() > 0, "{line}");
    }
    (watching, errors)
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_run_where_the_node_shows_another_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let other = NodeProcess::start(&dir.path().join("other"));
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.client.upload(&Counter::weights(0)).await.unwrap();
    create(&mut speaker, "x", 200).await;
    let (proxy, url) = crate::proxy::Proxy::start(&node.url, None).await;
    let told = dir.path().join("told");
    let command = format!("echo $COLEARN_EVENT $COLEARN_EXPERIMENT $(cat) >> {}", told.display());
    let watch = ["experiment", "watch", "x", "--node", &url, "--exec", &command];
    let (mut watching, mut errors) = caught_up(&watch);
    proxy.turn_to(&other.url);
    let ended = tokio::task::spawn_blocking(move || {
        let mut told = String::new();
        errors.read_to_string(&mut told).unwrap();
        (watching.wait().unwrap(), told)
    });
    let (status, errors) = ended.await.unwrap();
    assert_eq!(status.code(), Some(1), "{errors}");
    let told = std::fs::read_to_string(told).unwrap();
    let alarm = told.strip_prefix("alarm x ").unwrap_or_else(|| panic!("{told}"));
    assert_eq!(parsed(alarm)["kind"], "other_ledger", "{told}");
    // An experiment that there is none of is said at once.
    let none = fail(&["experiment", "watch", "none", "--node", &node.url]);
    assert!(none.contains("there is no experiment none"), "{none}");
}
