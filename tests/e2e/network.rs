//! A ledger that four organisations keep together: real nodes, a real CometBFT beside each, and all that
//! happens to them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use colearn_testkit::{free_addresses, script};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::watch;

use crate::support::network::{
    LEARNERS, Network, Place, Running, all_ended, create, path, take_part,
};
use crate::support::{NodeProcess, fail, run, succeed, wait_for};

#[test]
fn a_demo_of_four_organisations_ends_with_four_audits_that_agree() {
    let Some(comet) = colearn_testkit::cometbft() else { return };
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("d");
    let mut command = crate::support::colearn(&[
        "demo",
        "--json",
        "--nodes",
        "4",
        "--rounds",
        "8",
        "--learners",
        "4",
        "--keep",
        path(&keep),
    ]);
    let output = command.env("COLEARN_COMETBFT", comet).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let audits = report["audits"].as_array().unwrap();
    assert_eq!(audits.len(), 4);
    for audit in audits {
        assert_eq!((&audit["ok"], &audit["root"]), (&Value::Bool(true), &audits[0]["root"]));
        assert_eq!(audit["rounds"], 8);
    }
    assert_eq!(report["history"]["rounds"].as_array().unwrap().len(), 8);
    // A ledger of several has no page of its own among those of one.
    let told = fail(&["node", "rotate-key", "--data", path(&keep.join("node-1"))]);
    assert!(told.contains("several nodes keep this ledger"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_submitted_while_cometbft_starts_is_recorded() {
    let Some(mut places) = Place::here(4) else { return };
    let dir = tempfile::tempdir().unwrap();
    let slow = dir.path().join("cometbft");
    let text = "#!/bin/sh\n[ \"$1\" = start ] && sleep 2\nexec ";
    script(&slow, &format!("{text}{} \"$@\"\n", path(&places[0].comet)));
    places.iter_mut().for_each(|place| place.comet = slow.clone());
    let network = tokio::task::spawn_blocking(|| Network::at(places)).await.unwrap();
    create(&network, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_node_after_another_dies_and_no_vote_is_lost() {
    const ROUNDS: u64 = 60;
    let Some(mut network) = tokio::task::spawn_blocking(|| Network::start(4)).await.unwrap() else {
        return;
    };
    create(&network, ROUNDS).await;
    let learners: Vec<_> = LEARNERS.iter().map(|seed| take_part(&network, *seed)).collect();
    let mut closed = learners[0].closed.clone();
    let at_round = async |closed: &mut watch::Receiver<u64>, round: u64| {
        closed.wait_for(|closed| *closed >= round).await.unwrap();
    };
    for (turn, round) in (2..ROUNDS - 1).step_by(3).take(20).enumerate() {
        at_round(&mut closed, round).await;
        // Each of the nodes, with each of what happens.
        let at = (turn + turn / 2) % 4;
        match turn % 10 {
            // The node, and with it CometBFT.
            0 | 2 | 4 | 6 | 8 => {
                network.kill(at);
                at_round(&mut closed, round + 1).await;
                network = tokio::task::spawn_blocking(move || {
                    network.restart(at);
                    network
                })
                .await
                .unwrap();
            }
            // CometBFT alone: it is started again.
            1 | 3 | 5 | 9 => {
                let comet = network.comet_of(at).expect("it runs");
                kill_process(comet, Signal::KILL).unwrap();
            }
            // Neither dies, but neither is heard of: its learners wait, and go on elsewhere.
            _ => {
                let node = network.nodes[at].as_ref().unwrap().process.id();
                let node = Pid::from_raw(node as i32).unwrap();
                kill_process(node, Signal::STOP).unwrap();
                at_round(&mut closed, round + 1).await;
                kill_process(node, Signal::CONT).unwrap();
            }
        }
    }
    let audits = all_ended(&mut network, learners, ROUNDS).await;
    assert_eq!(audits[0]["rounds"], ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_two_thirds_nothing_is_recorded_and_then_it_goes_on() {
    const ROUNDS: u64 = 8;
    let Some(mut network) = tokio::task::spawn_blocking(|| Network::start(4)).await.unwrap() else {
        return;
    };
    create(&network, ROUNDS).await;
    let learners: Vec<_> = LEARNERS.iter().map(|seed| take_part(&network, *seed)).collect();
    let mut closed = learners[0].closed.clone();
    closed.wait_for(|closed| *closed >= 3).await.unwrap();
    network.kill(2);
    network.kill(3);
    // What the others show afterwards stays as it is: they may have been about to show what was signed.
    let two = tokio::task::spawn_blocking(move || {
        let settled = std::time::Instant::now();
        let mut last = (network.shown(0), network.shown(1));
        while settled.elapsed() < Duration::from_secs(4) {
            last = (network.shown(0), network.shown(1));
            std::thread::sleep(Duration::from_millis(200));
        }
        for _ in 0..10 {
            assert_eq!((network.shown(0), network.shown(1)), last);
            std::thread::sleep(Duration::from_millis(200));
        }
        // One that has lost everything but its keys fetches the blocks again.
        network.forget_blocks(3);
        network.restart(2);
        network.restart(3);
        network
    });
    let mut network = two.await.unwrap();
    all_ended(&mut network, learners, ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_comes_and_another_goes_while_learners_go_on() {
    const ROUNDS: u64 = 10;
    let Some(mut network) = tokio::task::spawn_blocking(|| Network::start(4)).await.unwrap() else {
        return;
    };
    create(&network, ROUNDS).await;
    let learners: Vec<_> = LEARNERS.iter().map(|seed| take_part(&network, *seed)).collect();
    let mut closed = learners[0].closed.clone();
    closed.wait_for(|closed| *closed >= 2).await.unwrap();
    let changed = tokio::task::spawn_blocking(move || {
        // The fifth may look before it has a say.
        let fresh = free_addresses(2);
        let [url, p2p] = fresh[..] else { unreachable!() };
        let place = Place { url, p2p, listen: url, reached: url, ..network.places[0].clone() };
        network.places.push(place);
        let identity = network.identity(4);
        let told: Value = serde_json::from_slice(&std::fs::read(&identity).unwrap()).unwrap();
        let id = told["p2p"].as_str().unwrap().split('@').next().unwrap().to_owned();
        for at in 0..4 {
            std::fs::write(network.data(at).join("observers"), format!("{id}\n")).unwrap();
        }
        let first: Value =
            serde_json::from_slice(&std::fs::read(network.dir.path().join("org-0.json")).unwrap())
                .unwrap();
        let peer = first["p2p"].as_str().unwrap().to_owned();
        network.nodes.push(Some(network.start_node_with(4, &["--peer", &peer])));
        wait_for("the fifth shows the ledger", || network.shown(4));

        let url = network.url(0);
        let draft = network.dir.path().join("change.json");
        let by = |at: usize| network.data(at);
        let admit = |by: &Path| {
            let arguments =
                ["network", "admit", path(&identity), "--data", path(by), "--node", &url];
            std::fs::write(&draft, succeed(&arguments)).unwrap();
        };
        let approve =
            |by: &Path| succeed(&["network", "approve", path(&draft), "--data", path(by)]);
        let submit = || run(&["network", "submit", path(&draft), "--node", &url]);
        let told =
            |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
        admit(&by(0));
        approve(&by(1));
        let refused = submit();
        assert!(told(&refused).contains("2 of 4 nodes approve, and 3 must"), "{}", told(&refused));
        // Who is to come has no say in that.
        let stranger =
            fail(&["network", "admit", path(&identity), "--data", path(&by(4)), "--node", &url]);
        assert!(stranger.contains("none of the nodes that keep this ledger"), "{stranger}");
        approve(&by(2));
        let output = submit();
        assert!(output.status.success(), "{}", told(&output));
        let shown = succeed(&["network", "show", "--node", &url]);
        assert!(shown.contains("org-4") && shown.contains("nodes         5"), "{shown}");
        // The same once more is change 1 again.
        assert!(told(&submit()).contains("change 1"), "{}", told(&submit()));

        let draft_removal =
            succeed(&["network", "remove", "org-3", "--data", path(&by(4)), "--node", &url]);
        std::fs::write(&draft, draft_removal).unwrap();
        for at in [0, 1, 2] {
            approve(&by(at));
        }
        let output = submit();
        assert!(output.status.success(), "{}", told(&output));
        network.nodes[3].take().unwrap().stop();
        let told = network.status(0);
        assert!(told.contains("model at\n") && told.contains("org-0, org-1"), "{told}");
        let status = succeed(&["network", "status", "--node", &url, "--json"]);
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(
            (status["nodes"].as_array().unwrap().len(), &status["enough"]),
            (4, &true.into())
        );
        network
    });
    let mut network = changed.await.unwrap();
    for Running { ended, accepted, told, .. } in learners {
        let (_, summary) = ended.await.unwrap();
        let told = told.lock().unwrap();
        assert_eq!(summary.rounds, ROUNDS, "{told:#?}");
        assert!(*accepted.borrow() > ROUNDS / 2, "{told:#?}");
    }
    // Who has gone has no part in the end.
    network.nodes.remove(3);
    let gone = network.places.remove(3).url;
    let ends = tokio::task::spawn_blocking(move || {
        let shown = |network: &Network| -> Vec<Option<String>> {
            (0..4).map(|at| network.shown(at)).collect()
        };
        wait_for("all nodes show the same", || {
            let shown = shown(&network);
            shown.iter().all(|it| it.is_some() && *it == shown[0]).then_some(())
        });
        for node in network.nodes.drain(..).flatten() {
            node.stop();
        }
        [0, 1, 2, 4].map(|at| {
            let told = succeed(&["audit", path(&network.data(at)), "--json"]);
            serde_json::from_str::<Value>(&told).unwrap()
        })
    });
    let audits = ends.await.unwrap();
    assert!(audits.iter().all(|it| it["ok"] == true && it["root"] == audits[0]["root"]), "{gone}");
    assert_eq!(audits[0]["network"]["validators"], 4);
}

#[test]
fn what_cannot_be_a_network_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let identity = |name: &str, p2p: &str, url: &str| {
        run(&[
            "network",
            "identity",
            "--data",
            path(&at(name)),
            "--name",
            name,
            "--p2p",
            p2p,
            "--url",
            url,
        ])
    };
    let said = |output: std::process::Output| String::from_utf8(output.stderr).unwrap();
    assert!(said(identity("A", "a:1", "http://a:1")).contains("a-z 0-9"));
    assert!(said(identity("a", "a", "http://a:1")).contains("<host>:<port>"));
    assert!(said(identity("a", "a:1", "a:1")).contains("http://<host>:<port>"));
    let mut files = BTreeMap::new();
    for name in ["a", "b"] {
        let made = identity(name, &format!("{name}.example:26656"), "http://127.0.0.1:1");
        let file = at(&format!("{name}.json"));
        std::fs::write(&file, made.stdout).unwrap();
        files.insert(name, file);
    }
    let genesis = |files: &[&Path]| {
        let mut arguments = vec!["network", "genesis", "--time", "2026-01-01T00:00:00Z"];
        arguments.extend(files.iter().map(|it| path(it)));
        run(&arguments)
    };
    let (a, b) = (&files["a"], &files["b"]);
    assert!(said(genesis(&[a, a])).contains("each once"));
    // Somebody has another node's connections come to itself.
    let text = std::fs::read_to_string(b).unwrap();
    std::fs::write(b, text.replace("b.example", "evil.example")).unwrap();
    assert!(said(genesis(&[a, b])).contains("not signed by both its keys"));
    std::fs::write(b, text).unwrap();
    let network = at("network.json");
    std::fs::write(&network, genesis(&[a, b]).stdout).unwrap();
    assert!(succeed(&["network", "show", path(&network)]).contains("none may be down"));
    // Another program than CometBFT, or one of another version.
    let node = |data: &str, more: &[&str]| {
        let data = at(data);
        let arguments = ["node", "--listen", "127.0.0.1:0", "--data", path(&data)];
        fail(&[&arguments[..], more].concat())
    };
    let stub = at("cometbft");
    std::fs::write(&stub, "#!/bin/sh\necho 0.38.20\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&stub, mode).unwrap();
    let file = path(&network);
    let told = node("a", &["--network", file, "--cometbft", path(&stub)]);
    assert!(told.contains("0.38.20") && told.contains("0.38.21"), "{told}");
    // A folder of another ledger.
    let solo = NodeProcess::start(&at("solo"));
    solo.stop();
    let told = node("solo", &["--network", file]);
    assert!(told.contains("this folder holds the ledger"), "{told}");
    // Somebody has changed the time.
    let changed =
        std::fs::read_to_string(&network).unwrap().replace("\"time_ms\": ", "\"time_ms\": 1");
    std::fs::write(&network, changed).unwrap();
    let told = node("a", &["--network", file]);
    assert!(told.contains("somebody has changed it"), "{told}");
}
