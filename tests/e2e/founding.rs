//! A ledger that one organisation has kept alone, and that four go on with; and a node of theirs that starts
//! over.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use colearn_contracts::{Act, Action, Admission, CreateExperiment, Parameters, VERSION};
use colearn_records::pins::Pins;
use colearn_sdk::client::{ClientError, Followed, Memory, Trust};
use colearn_sdk::learner::SAFETENSORS;
use serde_json::Value;

use crate::support::network::{LEARNERS, Network, Place, all_ended, create_at, path, take_part_at};
use crate::support::{
    Counter, NodeProcess, Process, Speaker, copy, fail, http, id, key, name, run, succeed, wait_for,
};

/// Describes a node whose keys are made in a folder.
fn identity(dir: &Path, who: &str, url: &str, p2p: &str) -> PathBuf {
    let data = dir.join(who);
    let arguments = ["--data", path(&data), "--name", who, "--p2p", p2p, "--url", url];
    let told = succeed(&[&["network", "identity"][..], &arguments].concat());
    let file = dir.join(format!("{who}.json"));
    std::fs::write(&file, told).unwrap();
    file
}

/// Has these keep the ledger of a folder; what is printed.
fn found(data: &Path, identities: &[PathBuf]) -> String {
    succeed(&found_command(data, identities))
}

fn found_command<'a>(data: &'a Path, identities: &'a [PathBuf]) -> Vec<&'a str> {
    let files = identities.iter().map(|it| path(it));
    ["network", "genesis", "--continue", path(data)].into_iter().chain(files).collect()
}

fn import_command<'a>(file: &'a Path, from: &'a str, data: &'a Path) -> [&'a str; 7] {
    ["network", "import", path(file), "--from", from, "--data", path(data)]
}

/// Serves an exported ledger until its second bundle is asked for: that is told, and never answered.
fn stalling(dir: PathBuf) -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, stalled) = mpsc::channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let mut asked = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            lines.read_line(&mut asked).unwrap();
            while lines.read_line(&mut String::new()).is_ok_and(|read| read > 2) {}
            let file = asked.split(' ').nth(1).unwrap().trim_start_matches('/');
            if file.starts_with("tile/entries/001") {
                held.push(stream);
                // The test may be over.
                let _ = tell.send(());
                continue;
            }
            let answer = std::fs::read(dir.join(file));
            let status = if answer.is_ok() { "200 OK" } else { "404 Not Found" };
            let body = answer.unwrap_or_default();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        }
    });
    (url, stalled)
}

/// Waits until a node has again what it had vouched for.
pub(crate) fn started_over(network: &Network, at: usize) {
    let resync = network.data(at).join("resync.json");
    wait_for("all is here again", || (!resync.exists()).then_some(()));
    wait_for("the node is well", || {
        let (status, _) = http(&format!("{}/healthz", network.url(at)));
        (status == 200).then_some(())
    });
}

/// A network whose first node keeps a ledger alone; `None` where there is no CometBFT.
fn alone(count: usize) -> Option<Network> {
    let places = Place::here(count)?;
    let dir = tempfile::tempdir().unwrap();
    let first = NodeProcess::start_at(&dir.path().join("node-0"), &places[0].listen.to_string());
    let mut nodes = vec![Some(first)];
    nodes.resize_with(count, || None);
    Some(Network { dir, places, nodes })
}

/// Has all of a network's nodes go on with the ledger of the first, with the commands of the runbook.
fn found_and_start(network: &mut Network) {
    let count = network.places.len();
    let identities: Vec<_> = (0..count).map(|at| network.identity(at)).collect();
    network.nodes[0].take().unwrap().stop();
    let file = found(&network.data(0), &identities);
    assert_eq!(found(&network.data(0), &identities), file, "the same again");
    std::fs::write(network.file(), &file).unwrap();
    // The first waits for the others, and serves what there is meanwhile.
    network.restart(0);
    let url = network.url(0);
    // It has not gone on alone.
    let (_, report) = http(&format!("{url}/network"));
    let report: Value = serde_json::from_slice(&report).unwrap();
    let number = |key: &str| report[key].as_u64().unwrap();
    assert_eq!((number("published_size") + 1, number("height")), (number("size"), 0), "{report}");
    let from =
        |at: usize| if at % 2 == 1 { url.clone() } else { path(&network.data(0)).to_owned() };
    for at in 1..count {
        let (data, from) = (network.data(at), from(at));
        let file = network.file();
        let arguments = import_command(&file, &from, &data);
        succeed(&arguments);
        // Once more: it is there.
        succeed(&arguments);
    }
    for at in 1..count {
        network.restart(at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_organisations_go_on_with_the_ledger_of_one() {
    const ROUNDS: u64 = 10;
    let Some(mut network) = tokio::task::spawn_blocking(|| alone(4)).await.unwrap() else { return };
    let started = network.nodes[0].as_ref().unwrap().started.clone();
    let text = |key: &str| started[key].as_str().unwrap().to_owned();
    let (ledger, solo_key) = (text("ledger_id"), text("verifier_key"));
    create_at(&network.url(0), ROUNDS).await;
    // The first knows the one node only, and its key; the others know where there will be more.
    let pins = Pins::new(
        Some(ledger.parse().unwrap()),
        Some(colearn_ledger::Verifier::parse(&solo_key).unwrap()),
        Vec::new(),
        None,
    );
    let trust = Trust { pins: pins.unwrap(), ..Trust::default() };
    let learners: Vec<_> = LEARNERS
        .iter()
        .map(|seed| match seed {
            1 => take_part_at(&network, network.url(0), 1, trust.clone()),
            seed => take_part_at(&network, network.urls_from(0), *seed, trust.clone()),
        })
        .collect();
    let mut closed = learners[0].closed.clone();
    closed.wait_for(|closed| *closed >= 3).await.unwrap();
    let founded = tokio::task::spawn_blocking(move || {
        let old = network.dir.path().join("old");
        copy(&network.data(0), &old);
        found_and_start(&mut network);
        (network, old)
    });
    let (mut network, old) = founded.await.unwrap();
    closed.wait_for(|closed| *closed >= 5).await.unwrap();

    // Learners go on wherever they are: here at the last two, as the first dies for a while.
    let there = tokio::task::spawn_blocking(move || {
        let url = network.url(3);
        let shown = succeed(&["network", "show", "--node", &url, "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["ledger_id"], ledger.as_str());
        assert_eq!(shown["validators"].as_array().unwrap().len(), 4);
        network.kill(1);
        network.restart(1);
        // Another starts over: what was recorded before there were blocks it has from what it set aside.
        network.nodes[2].take().unwrap().stop();
        let told = succeed(&["network", "resync", "--data", path(&network.data(2))]);
        assert!(told.contains("ledger-before-1") && told.contains("colearn node --data"), "{told}");
        network.restart(2);
        started_over(&network, 2);
        // Whoever comes later has the past from any of them.
        let fifth = network.dir.path().join("fifth");
        identity(network.dir.path(), "fifth", "http://127.0.0.1:1", "127.0.0.1:1");
        succeed(&import_command(&network.file(), &network.url(3), &fifth));
        network
    });
    let mut network = there.await.unwrap();
    let data = network.data(0);
    // What a node of one's own may do is refused.
    for command in [["node", "rotate-key"], ["node", "upgrade"]] {
        let told = fail(&[&command[..], &["--data", path(&data), "--json"]].concat());
        assert!(told.contains("in use"), "{told}");
    }
    network.nodes[0].take().unwrap().stop();
    for command in [["node", "rotate-key"], ["node", "upgrade"]] {
        let told = fail(&[&command[..], &["--data", path(&data), "--json"]].concat());
        assert!(told.contains("several nodes keep this ledger"), "{told}");
    }
    network.restart(0);
    let audits = all_ended(&mut network, learners, ROUNDS).await;
    let validators = &audits[0]["network"]["validators"];
    assert_eq!((&audits[0]["rounds"], validators), (&ROUNDS.into(), &4.into()));
    let kept = network.dir.path().join("learner-1");

    // An old copy of the folder, started elsewhere, goes on alone: whoever has seen the founding is not taken in.
    let fork = NodeProcess::start(&old);
    let memory = || Memory::open(&kept, id(&key(1))).unwrap();
    let behind = Followed::connect(&fork.url, memory()).await;
    assert!(matches!(behind, Err(ClientError::Behind { .. })), "{:?}", behind.err());
    let mut speaker = Speaker::connect(&fork.url).await;
    for number in 0..200 {
        speaker.client.upload(&Counter::weights(0)).await.unwrap();
        let create = empty_experiment();
        let action = Action::new(name(&format!("y-{number}")), Act::Create(create));
        speaker.act(&key(number / 30 + 50), action).await.unwrap();
    }
    let longer = Followed::connect(&fork.url, memory()).await;
    assert!(matches!(longer, Err(ClientError::Checkpoint(..))), "{:?}", longer.err());
    fork.stop();
    // By itself it is a ledger; before the receipts of the others it is none.
    succeed(&["audit", path(&old)]);
    let receipts = kept.join("receipts");
    let held = run(&["audit", path(&old), "--receipts", path(&receipts)]);
    assert!(!held.status.success(), "{}", String::from_utf8_lossy(&held.stdout));
}

/// An experiment that nobody takes part in.
fn empty_experiment() -> CreateExperiment {
    CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters { max_rounds: Some(1), ..Parameters::default() },
        admission: Admission::Open,
        model: Counter::weights(0).model(SAFETENSORS),
        plan: None,
    }
}

#[test]
fn what_is_no_founding_of_this_ledger_is_refused_and_what_was_interrupted_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let identity = |who: &str, port: u16| {
        identity(dir.path(), who, &format!("http://127.0.0.1:{port}"), &format!("{who}.example:1"))
    };
    // Long enough for more than one bundle of entries.
    let solo = NodeProcess::start(&at("a"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let record = |node: &NodeProcess, from: u8, to: u8| {
        runtime.block_on(async {
            let mut speaker = Speaker::connect(&node.url).await;
            speaker.client.upload(&Counter::weights(0)).await.unwrap();
            for seed in from..to {
                for number in 0..30 {
                    let create = empty_experiment();
                    let name = name(&format!("x-{seed}-{number}"));
                    let action = Action::new(name, Act::Create(create));
                    speaker.act(&key(seed), action).await.unwrap();
                }
            }
        });
    };
    record(&solo, 1, 6);
    solo.stop();
    copy(&at("a"), &at("earlier"));
    let solo = NodeProcess::start(&at("a"));
    record(&solo, 6, 11);
    let told = fail(&found_command(&at("a"), &[identity("b", 1)]));
    assert!(told.contains("in use"), "{told}");
    solo.stop();

    // Who keeps it must be one of them.
    let others = [identity("b", 1), identity("c", 2), identity("d", 3)];
    let told = fail(&found_command(&at("a"), &others));
    assert!(told.contains("none of these nodes has the keys of this folder"), "{told}");
    let four = [&others[..], &[identity("a", 4)]].concat();
    copy(&at("a"), &at("before"));
    let file = found(&at("a"), &four);
    std::fs::write(at("network.json"), &file).unwrap();
    let shown = succeed(&["network", "show", path(&at("network.json"))]);
    assert!(shown.contains("nodes         4"), "{shown}");
    let told = fail(&found_command(&at("a"), &four[..2]));
    assert!(told.contains("several nodes keep this ledger already"), "{told}");

    // Interrupted between the intention and the entry: no node goes on alone, and the next try makes the same.
    let node = |data: &str, more: &[&str]| {
        let data = at(data);
        let arguments = ["node", "--listen", "127.0.0.1:0", "--data", path(&data)];
        fail(&[&arguments[..], more].concat())
    };
    copy(&at("before"), &at("intended"));
    std::fs::copy(at("a/network.json"), at("intended/network.json")).unwrap();
    assert!(node("intended", &[]).contains("the founding of a network was interrupted"));
    assert_eq!(found(&at("intended"), &four), file);
    // And between the entry and its anchor.
    copy(&at("a"), &at("unanchored"));
    for anchor in ["anchor-a", "anchor-b"] {
        let (from, to) = (at("before/ledger").join(anchor), at("unanchored/ledger").join(anchor));
        std::fs::copy(from, to).unwrap();
    }
    assert!(node("unanchored", &[]).contains("the founding of a network was interrupted"));
    assert_eq!(found(&at("unanchored"), &four), file);
    // The file is lost, and follows from the rest.
    std::fs::remove_file(at("unanchored/network.json")).unwrap();
    assert_eq!(found(&at("unanchored"), &four), file);

    // Keys alone begin no ledger of one's own, and neither does a part of one.
    let network = at("network.json");
    let given = ["--network", path(&network)];
    assert!(node("b", &[]).contains("the keys of a node of several, and no ledger"));
    assert!(node("b", &given).contains("is not in this folder yet"));
    assert!(!at("b/ledger").exists());
    let b = at("b");
    let import = |from: &str| {
        let output = run(&import_command(&network, from, &b));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), told)
    };
    NodeProcess::start(&at("other")).stop();
    assert!(import(path(&at("other"))).1.contains("that is the ledger"));
    // A copy from before has the first half, which is kept.
    let (done, told) = import(path(&at("earlier")));
    assert!(!done && told.contains("there are 151 entries"), "{told}");
    // Damaged since, it comes again.
    let journal = b.join("ledger.import/journal/00000000.journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let (done, told) = import(path(&at("earlier")));
    assert!(!done && told.contains("there are 151 entries"), "{told}");
    assert!(node("b", &given).contains("is not in this folder yet"));
    assert!(node("b", &[]).contains("the keys of a node of several, and no ledger"));
    // Another history of this ledger, and this one founded by others. Nothing of either is kept.
    copy(&at("earlier"), &at("fork"));
    let fork = NodeProcess::start(&at("fork"));
    record(&fork, 20, 26);
    let (done, told) = import(&fork.url);
    assert!(!done && told.contains("it is another history"), "{told}");
    fork.stop();
    copy(&at("before"), &at("liar"));
    found(&at("liar"), &four[1..]);
    let (done, told) = import(path(&at("liar")));
    assert!(!done && told.contains("founds another network"), "{told}");
    // The same file with who keeps it changed, or approved by somebody else.
    let forged = file.replace("c.example", "evil.example");
    std::fs::write(at("forged.json"), forged).unwrap();
    let told = fail(&import_command(&at("forged.json"), path(&at("a")), &b));
    assert!(told.contains("not signed by both its keys"), "{told}");

    // Killed between two bundles of a server that has stopped to answer: the first is kept.
    succeed(&["ledger", "export", path(&at("export")), "--from", path(&at("before"))]);
    let (url, stalled) = stalling(at("export"));
    let mut killed = Process::start(&import_command(&network, &url, &b));
    stalled.recv().unwrap();
    killed.kill();
    let (done, told) = import(path(&at("earlier")));
    assert!(!done && told.contains("there are 256 entries"), "{told}");
    assert!(node("b", &given).contains("is not in this folder yet"));
    let (done, told) = import(path(&at("export")));
    assert!(done && told.contains("resumed       with 256 entries"), "{told}");
    assert!(told.contains("founded       with entry 301"), "{told}");
    let (done, told) = import(path(&at("export")));
    assert!(done && told.contains("it is there already"), "{told}");
    // The whole past, to the root that all have.
    for (place, size) in [("a", 301), ("b", 301)] {
        let audit = succeed(&["audit", path(&at(place)), "--json"]);
        let audit: Value = serde_json::from_str(&audit).unwrap();
        assert_eq!(
            (&audit["ok"], &audit["size"]),
            (&true.into(), &size.into()),
            "{place}: {audit}"
        );
    }
    // An old copy, started with the network's file, is no part of it.
    let told = node("before", &given);
    assert!(told.contains("it is a copy from before entry 301"), "{told}");
}
