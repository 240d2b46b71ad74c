//! A ledger that four organisations keep together: real nodes, a real CometBFT beside each, and all that
//! happens to them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, FinishReason, Parameters, VERSION, Verdict,
};
use colearn_sdk::client::{self, Options, Suspicion, Trust};
use colearn_sdk::learner::SAFETENSORS;
use colearn_sdk::participant::Event;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{
    Counter, NodeProcess, Speaker, fail, http, key, name, run, succeed, wait_for,
};

/// Addresses that nobody listens on: CometBFT cannot be given a listener.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|it| it.local_addr().unwrap()).collect()
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A network in a folder, with a node for each organisation.
pub(crate) struct Network {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) comet: PathBuf,
    pub(crate) urls: Vec<SocketAddr>,
    pub(crate) nodes: Vec<Option<NodeProcess>>,
}

impl Network {
    /// Made with the commands of the runbook; `None` where there is no CometBFT.
    pub(crate) fn start(count: usize) -> Option<Self> {
        let comet = colearn_testkit::cometbft()?;
        let addresses = free_addresses(2 * count);
        let (urls, p2p) = addresses.split_at(count);
        let mut network = Self {
            dir: tempfile::tempdir().unwrap(),
            comet,
            urls: urls.to_vec(),
            nodes: Vec::new(),
        };
        let mut identities = Vec::new();
        for (at, p2p) in p2p.iter().enumerate() {
            identities.push(network.identity(at, *p2p));
        }
        let mut genesis = vec!["network", "genesis", "--time", "2026-01-01T00:00:00Z"];
        // In whatever order: everybody makes the same.
        identities.reverse();
        genesis.extend(identities.iter().map(|it| path(it)));
        let made = succeed(&genesis);
        genesis[4..].reverse();
        assert_eq!(succeed(&genesis), made);
        std::fs::write(network.file(), made).unwrap();
        network.nodes = (0..count).map(|at| Some(network.start_node(at))).collect();
        Some(network)
    }

    pub(crate) fn identity(&self, at: usize, p2p: SocketAddr) -> PathBuf {
        let (url, p2p) = (format!("http://{}", self.urls[at]), p2p.to_string());
        let name = format!("org-{at}");
        let data = self.data(at);
        let told = succeed(&[
            "network",
            "identity",
            "--data",
            path(&data),
            "--name",
            &name,
            "--p2p",
            &p2p,
            "--url",
            &url,
        ]);
        let file = self.dir.path().join(format!("{name}.json"));
        std::fs::write(&file, told).unwrap();
        file
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("network.json")
    }

    pub(crate) fn data(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("node-{at}"))
    }

    pub(crate) fn start_node(&self, at: usize) -> NodeProcess {
        self.start_node_with(at, &[])
    }

    pub(crate) fn start_node_with(&self, at: usize, more: &[&str]) -> NodeProcess {
        let (listen, file) = (self.urls[at].to_string(), self.file());
        let comet = path(&self.comet);
        let arguments = ["--listen", &listen, "--network", path(&file), "--cometbft", comet];
        NodeProcess::start_with(&self.data(at), &[&arguments[..], more].concat())
    }

    pub(crate) fn url(&self, at: usize) -> String {
        format!("http://{}", self.urls[at])
    }

    /// All addresses, this one first.
    pub(crate) fn urls_from(&self, at: usize) -> String {
        let mut urls: Vec<_> = self.urls.iter().map(|it| format!("http://{it}")).collect();
        let count = urls.len();
        urls.rotate_left(at % count);
        urls.join(",")
    }

    /// kill -9. CometBFT beside it ends by itself.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].take().unwrap().process.kill();
    }

    /// Without the network's file.
    pub(crate) fn restart_bare(&mut self, at: usize) {
        let arguments = ["--listen", &self.urls[at].to_string(), "--cometbft", path(&self.comet)];
        self.nodes[at] = Some(NodeProcess::start_with(&self.data(at), &arguments));
    }

    pub(crate) fn restart(&mut self, at: usize) {
        self.nodes[at] = Some(self.start_node(at));
    }

    /// The CometBFT beside a node.
    pub(crate) fn comet_of(&self, at: usize) -> Option<Pid> {
        let node = self.nodes[at].as_ref().unwrap().process.id();
        children(node).into_iter().next()
    }

    /// The root and size that a node shows.
    pub(crate) fn shown(&self, at: usize) -> Option<String> {
        let (status, note) = http(&format!("{}/checkpoint", self.url(at)));
        let note = String::from_utf8(note).unwrap();
        (status == 200).then(|| note.lines().take(3).collect::<Vec<_>>().join("\n"))
    }

    /// Waits until all nodes show the same, stops them, and audits each folder.
    pub(crate) fn finish(&mut self) -> Vec<Value> {
        let count = self.urls.len();
        wait_for("all nodes show the same", || {
            let shown: Vec<_> = (0..count).map(|at| self.shown(at)).collect();
            shown.iter().all(|it| it.is_some() && *it == shown[0]).then_some(())
        });
        for node in self.nodes.drain(..).flatten() {
            node.stop();
        }
        let audit = |at| {
            let told = succeed(&["audit", path(&self.data(at)), "--json"]);
            serde_json::from_str::<Value>(&told).unwrap()
        };
        let audits: Vec<Value> = (0..count).map(audit).collect();
        for audit in &audits {
            assert_eq!(audit["ok"], true, "{audit}");
            assert_eq!((&audit["root"], &audit["size"]), (&audits[0]["root"], &audits[0]["size"]));
            let quorum = 2 * audit["network"]["validators"].as_u64().unwrap() / 3 + 1;
            assert!(audit["network"]["signed"].as_u64().unwrap() >= quorum, "{audit}");
        }
        audits
    }
}

/// The processes that a process has started.
pub(crate) fn children(process: u32) -> Vec<Pid> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let list = std::fs::read_to_string(thread.unwrap().path().join("children"));
        let list = list.unwrap_or_default();
        found.extend(list.split_whitespace().map(|it| it.parse::<i32>().unwrap()));
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}

pub(crate) const LEARNERS: [u8; 3] = [1, 2, 3];

/// Less patience than in the field, so that a test takes seconds.
pub(crate) const SUSPICION: Suspicion = Suspicion {
    unanswered: Duration::from_secs(8),
    asked_every: Duration::from_secs(2),
    reached_within: Duration::from_secs(4),
};

pub(crate) async fn create(nodes: &str, rounds: u64) {
    let mut speaker = Speaker::connect(nodes).await;
    let weights = Counter::weights(0);
    speaker.client.upload(&weights).await.unwrap();
    let parameters = Parameters {
        max_rounds: Some(rounds),
        min_learners: LEARNERS.len() as u32,
        missed_turns: None,
        ..Parameters::default()
    };
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission: Admission::Open,
        model: weights.model(SAFETENSORS),
        plan: None,
    };
    speaker.act(&key(200), Action::new(name("x"), Act::Create(create))).await.unwrap();
}

pub(crate) struct Running {
    pub(crate) ended: JoinHandle<(Counter, client::Summary)>,
    pub(crate) closed: watch::Receiver<u64>,
    accepted: watch::Receiver<u64>,
    /// All that happened to it.
    pub(crate) told: Arc<Mutex<Vec<Event>>>,
}

/// A learner that begins at this node, and knows all.
pub(crate) fn take_part(network: &Network, seed: u8) -> Running {
    let nodes = network.urls_from(usize::from(seed) - 1);
    take_part_at(network, nodes, seed, Trust::default())
}

/// A learner that knows these nodes, and believes no other ledger.
pub(crate) fn take_part_at(network: &Network, nodes: String, seed: u8, trust: Trust) -> Running {
    let (closed, closed_rounds) = watch::channel(0);
    let (accepted, accepted_rounds) = watch::channel(0);
    let told = Arc::<Mutex<Vec<Event>>>::default();
    let telling = told.clone();
    let options = Options {
        data: Some(network.dir.path().join(format!("learner-{seed}"))),
        suspicion: SUSPICION,
        trust,
        watch: Box::new(move |event| {
            telling.lock().unwrap().push(event.clone());
            if let Event::RoundClosed { round, verdict, .. } = event {
                closed.send_replace(*round);
                if *verdict == Verdict::Accepted {
                    accepted.send_modify(|count| *count += 1);
                }
            }
        }),
        ..Options::new(nodes, name("x"), key(seed))
    };
    let run = client::run(Counter { value: 0 }, options);
    let ended = tokio::spawn(async move { run.await.unwrap() });
    Running { ended, closed: closed_rounds, accepted: accepted_rounds, told }
}

/// All ended after so many rounds; whatever was promised is in the ledger of each node.
async fn all_ended(network: Network, learners: Vec<Running>, rounds: u64) -> Vec<Value> {
    all_ended_and(network, learners, rounds, || {}).await
}

/// The same, and something done before the network's folder goes.
pub(crate) async fn all_ended_and(
    mut network: Network,
    learners: Vec<Running>,
    rounds: u64,
    then: impl FnOnce(),
) -> Vec<Value> {
    for Running { ended, told, .. } in learners {
        let (learner, summary) = ended.await.unwrap();
        let told = told.lock().unwrap().clone();
        assert_eq!((summary.reason, summary.rounds), (Some(FinishReason::MaxRounds), rounds));
        // No vote was lost, so none of the rounds was.
        // Counted by the model: of a round that closes while it moves a learner is not told apart.
        assert_eq!(learner.value, rounds, "{told:#?}");
    }
    let audits = network.finish();
    for at in 0..network.urls.len() {
        for seed in LEARNERS {
            let receipts = network.dir.path().join(format!("learner-{seed}/receipts"));
            let told = succeed(&["audit", path(&network.data(at)), "--receipts", path(&receipts)]);
            let last = told.lines().last().unwrap();
            let count = last.split("promises=").nth(1).unwrap().split(' ').next().unwrap();
            assert!(count.parse::<u64>().unwrap() >= rounds, "{last}");
        }
    }
    then();
    audits
}

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
async fn one_node_after_another_dies_and_no_vote_is_lost() {
    const ROUNDS: u64 = 24;
    let Some(mut network) = tokio::task::spawn_blocking(|| Network::start(4)).await.unwrap() else {
        return;
    };
    create(&network.urls_from(0), ROUNDS).await;
    let learners: Vec<_> = LEARNERS.iter().map(|seed| take_part(&network, *seed)).collect();
    let mut closed = learners[0].closed.clone();
    let at_round = async |closed: &mut watch::Receiver<u64>, round: u64| {
        closed.wait_for(|closed| *closed >= round).await.unwrap();
    };
    for (turn, round) in (2..ROUNDS - 3).step_by(3).enumerate() {
        at_round(&mut closed, round).await;
        let at = turn % 4;
        match turn % 3 {
            // The node, and with it CometBFT.
            0 => {
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
            1 => {
                let comet = network.comet_of(at).expect("it runs");
                kill_process(comet, Signal::KILL).unwrap();
            }
            // Neither dies, but neither is heard of.
            _ => {
                let node = network.nodes[at].as_ref().unwrap().process.id();
                let node = Pid::from_raw(node as i32).unwrap();
                kill_process(node, Signal::STOP).unwrap();
                at_round(&mut closed, round + 1).await;
                kill_process(node, Signal::CONT).unwrap();
            }
        }
    }
    let audits = all_ended(network, learners, ROUNDS).await;
    assert_eq!(audits[0]["rounds"], ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_two_thirds_nothing_is_recorded_and_then_it_goes_on() {
    const ROUNDS: u64 = 8;
    let Some(mut network) = tokio::task::spawn_blocking(|| Network::start(4)).await.unwrap() else {
        return;
    };
    create(&network.urls_from(0), ROUNDS).await;
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
        let lost = network.data(3);
        std::fs::remove_dir_all(lost.join("ledger")).unwrap();
        std::fs::remove_file(lost.join("height")).ok();
        for file in std::fs::read_dir(lost.join("comet/data")).unwrap() {
            let file = file.unwrap();
            if file.file_name() != "priv_validator_state.json" && file.path().is_dir() {
                std::fs::remove_dir_all(file.path()).unwrap();
            }
        }
        network.restart(2);
        network.restart(3);
        network
    });
    let network = two.await.unwrap();
    all_ended(network, learners, ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_comes_and_another_goes_while_learners_go_on() {
    const ROUNDS: u64 = 10;
    let Some(mut network) = tokio::task::spawn_blocking(|| Network::start(4)).await.unwrap() else {
        return;
    };
    create(&network.urls_from(0), ROUNDS).await;
    let learners: Vec<_> = LEARNERS.iter().map(|seed| take_part(&network, *seed)).collect();
    let mut closed = learners[0].closed.clone();
    closed.wait_for(|closed| *closed >= 2).await.unwrap();
    let changed = tokio::task::spawn_blocking(move || {
        // The fifth may look before it has a say.
        let fresh = free_addresses(2);
        network.urls.push(fresh[0]);
        let identity = network.identity(4, fresh[1]);
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
    let gone = network.urls.remove(3);
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
