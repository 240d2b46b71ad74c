//! A ledger that organisations keep together: real nodes, each with a real CometBFT, and learners that take
//! part.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, FinishReason, Parameters, VERSION, Verdict,
};
use colearn_sdk::client::{self, ClientError, Memory, Options, Suspicion, Trust};
use colearn_sdk::learner::SAFETENSORS;
use colearn_sdk::participant::Event;
use colearn_testkit::free_addresses;
use ed25519_dalek::SigningKey;
use rustix::process::Pid;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Counter, NodeProcess, Speaker, http, id, key, name, run, succeed, wait_for};

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Where a node is, and how it is run.
#[derive(Clone)]
pub(crate) struct Place {
    /// Where the others' CometBFT reaches its own, as it tells them.
    pub(crate) p2p: SocketAddr,
    /// Where everybody reaches it, as it tells them.
    pub(crate) url: SocketAddr,
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Where the test reaches it.
    pub(crate) reached: SocketAddr,
    /// The network namespace that it runs in.
    pub(crate) namespace: Option<String>,
    /// What it takes for CometBFT.
    pub(crate) comet: PathBuf,
}

impl Place {
    /// So many on this machine, at addresses that are free; `None` where there is no CometBFT.
    #[track_caller]
    pub(crate) fn here(count: usize) -> Option<Vec<Self>> {
        let comet = colearn_testkit::cometbft()?;
        let addresses = free_addresses(2 * count);
        let place = |url: SocketAddr, p2p: SocketAddr| Self {
            p2p,
            url,
            listen: url,
            reached: url,
            namespace: None,
            comet: comet.clone(),
        };
        let (urls, p2p) = addresses.split_at(count);
        Some(urls.iter().zip(p2p).map(|(url, p2p)| place(*url, *p2p)).collect())
    }
}

/// A network in a folder, with a node for each organisation.
pub(crate) struct Network {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) places: Vec<Place>,
    pub(crate) nodes: Vec<Option<NodeProcess>>,
}

impl Network {
    /// Made with the commands of the runbook; `None` where there is no CometBFT.
    #[track_caller]
    pub(crate) fn start(count: usize) -> Option<Self> {
        Some(Self::at(Place::here(count)?))
    }

    /// Nodes in these places.
    pub(crate) fn at(places: Vec<Place>) -> Self {
        let count = places.len();
        let dir = tempfile::tempdir().unwrap();
        let mut network = Self { dir, places, nodes: Vec::new() };
        let mut identities: Vec<_> = (0..count).map(|at| network.identity(at)).collect();
        let mut genesis = vec!["network", "genesis", "--time", "2026-01-01T00:00:00Z"];
        // In whatever order: everybody makes the same.
        identities.reverse();
        genesis.extend(identities.iter().map(|it| path(it)));
        let made = succeed(&genesis);
        genesis[4..].reverse();
        assert_eq!(succeed(&genesis), made);
        std::fs::write(network.file(), made).unwrap();
        network.nodes = (0..count).map(|at| Some(network.start_node(at))).collect();
        network
    }

    pub(crate) fn identity(&self, at: usize) -> PathBuf {
        let Place { url, p2p, .. } = &self.places[at];
        let (url, p2p) = (format!("http://{url}"), p2p.to_string());
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
        self.start_in(&self.places[at], &self.data(at), &self.log_file(at), more)
    }

    /// Starts a node of this network in a place, on a folder.
    pub(crate) fn start_in(
        &self,
        place: &Place,
        data: &Path,
        log: &Path,
        more: &[&str],
    ) -> NodeProcess {
        let (listen, file) = (place.listen.to_string(), self.file());
        let comet = path(&place.comet);
        let mut arguments =
            vec!["--listen", &listen, "--network", path(&file), "--cometbft", comet];
        if !place.listen.ip().is_loopback() {
            // Nobody else is there.
            arguments.extend(["--insecure", "--read=public", "--write=public", "--create=public"]);
        }
        let mut command = NodeProcess::command(data, &[&arguments[..], more].concat());
        if let Some(namespace) = &place.namespace {
            let mut inside = std::process::Command::new("ip");
            inside.args(["netns", "exec", namespace]).arg(command.get_program());
            inside
                .args(command.get_args())
                .env_remove("COLEARN_NODE")
                .env("COLEARN_LOG", "warn,sled=off");
            command = inside;
        }
        let log = std::fs::File::options().append(true).create(true).open(log).unwrap();
        command.stderr(Stdio::from(log));
        NodeProcess::start_command(command)
    }

    fn log_file(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("log-{at}"))
    }

    /// What a node has said so far.
    pub(crate) fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.log_file(at)).unwrap()
    }

    pub(crate) fn url(&self, at: usize) -> String {
        format!("http://{}", self.places[at].reached)
    }

    /// All addresses, this one first.
    pub(crate) fn urls_from(&self, at: usize) -> String {
        let count = self.places.len();
        let mut urls: Vec<_> = (0..count).map(|it| self.url(it)).collect();
        urls.rotate_left(at % count);
        urls.join(",")
    }

    /// kill -9. CometBFT beside it ends by itself.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].take().unwrap().process.kill();
    }

    pub(crate) fn stop(&mut self, at: usize) {
        self.nodes[at].take().unwrap().stop();
    }

    /// Without the network's file.
    pub(crate) fn restart_bare(&mut self, at: usize) {
        let Place { listen, comet, .. } = &self.places[at];
        let arguments = ["--listen", &listen.to_string(), "--cometbft", path(comet)];
        self.nodes[at] = Some(NodeProcess::start_with(&self.data(at), &arguments));
    }

    pub(crate) fn restart(&mut self, at: usize) {
        self.nodes[at] = Some(self.start_node(at));
    }

    /// Removes all that a node can have from the others.
    pub(crate) fn forget_blocks(&self, at: usize) {
        let data = self.data(at);
        std::fs::remove_dir_all(data.join("ledger")).unwrap();
        std::fs::remove_file(data.join("height")).ok();
        for file in std::fs::read_dir(data.join("comet/data")).unwrap() {
            let file = file.unwrap().path();
            if file.is_dir() {
                std::fs::remove_dir_all(file).unwrap();
            }
        }
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

    /// How many entries it shows.
    pub(crate) fn size(&self, at: usize) -> usize {
        self.shown(at).unwrap().lines().nth(1).unwrap().parse().unwrap()
    }

    /// Whether a node is well, and if not, why.
    pub(crate) fn health(&self, at: usize) -> Result<(), String> {
        match http(&format!("{}/healthz", self.url(at))) {
            (200, _) => Ok(()),
            (_, why) => Err(String::from_utf8(why).unwrap()),
        }
    }

    /// What `colearn network status` tells people.
    pub(crate) fn status(&self, at: usize) -> String {
        let output = run(&["network", "status", "--node", &self.url(at)]);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until all nodes show the same.
    pub(crate) fn agree(&self) {
        let count = self.places.len();
        wait_for("all nodes show the same", || {
            let shown: Vec<_> = (0..count).map(|at| self.shown(at)).collect();
            shown.iter().all(|it| it.is_some() && *it == shown[0]).then_some(())
        });
    }

    /// Waits until all nodes show the same, stops them, and audits each folder.
    pub(crate) fn finish(&mut self) -> Vec<Value> {
        self.agree();
        for node in self.nodes.drain(..).flatten() {
            node.stop();
        }
        let audits: Vec<Value> = (0..self.places.len()).map(|at| self.audit(at)).collect();
        for audit in &audits {
            assert_eq!(audit["ok"], true, "{audit}");
            assert_eq!((&audit["root"], &audit["size"]), (&audits[0]["root"], &audits[0]["size"]));
            let quorum = 2 * audit["network"]["validators"].as_u64().unwrap() / 3 + 1;
            assert!(audit["network"]["signed"].as_u64().unwrap() >= quorum, "{audit}");
        }
        audits
    }

    /// What an audit finds in a node's folder.
    pub(crate) fn audit(&self, at: usize) -> Value {
        let told = succeed(&["audit", path(&self.data(at)), "--json"]);
        serde_json::from_str(&told).unwrap()
    }

    /// How many receipts there are in a learner's folder. Each node's ledger honours all.
    pub(crate) fn honoured(&self, learner: &Path) -> u64 {
        let receipts = learner.join("receipts");
        let counts = (0..self.places.len()).map(|at| {
            let told = succeed(&["audit", path(&self.data(at)), "--receipts", path(&receipts)]);
            let last = told.lines().last().unwrap();
            let count = last.split("promises=").nth(1).unwrap().split(' ').next().unwrap();
            count.parse::<u64>().unwrap()
        });
        counts.min().unwrap()
    }

    /// Every entry of a node's ledger, as `colearn ledger` tells them; the node must be stopped.
    pub(crate) fn entries(&self, at: usize) -> Vec<Value> {
        let told = succeed(&["ledger", "show", path(&self.data(at)), "--json"]);
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for at in 0..self.places.len() {
                let log = std::fs::read_to_string(self.log_file(at)).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(15).collect();
                let last: Vec<_> = last.into_iter().rev().collect();
                eprintln!("node {at} said at last:\n{}", last.join("\n"));
            }
        }
    }
}

/// The processes that a process has started.
fn children(process: u32) -> Vec<Pid> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let list = std::fs::read_to_string(thread.unwrap().path().join("children"));
        let list = list.unwrap_or_default();
        found.extend(list.split_whitespace().map(|it| it.parse::<i32>().unwrap()));
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// Somebody who has one thing after another recorded at one node, and keeps the receipts.
pub(crate) struct Sender {
    speaker: Speaker,
    key: SigningKey,
    seed: u8,
    sent: u64,
    pub(crate) memory: PathBuf,
}

impl Sender {
    pub(crate) async fn at(network: &Network, at: usize) -> Self {
        let seed = 100 + u8::try_from(at).unwrap();
        let (key, memory) = (key(seed), network.dir.path().join(format!("sender-{at}")));
        let remembers = Memory::open(&memory, id(&key)).unwrap();
        wait_for("the node shows its ledger", || network.shown(at));
        let speaker = Speaker::remembering(&network.url(at), remembers).await;
        speaker.client.clone().upload(&Counter::weights(0)).await.unwrap();
        Self { speaker, key, seed, sent: 0, memory }
    }

    /// Has something recorded; how long the receipt took.
    pub(crate) async fn send(&mut self) -> Result<Duration, ClientError> {
        let began = Instant::now();
        let action = self.next();
        self.speaker.act(&self.key, action).await?;
        Ok(began.elapsed())
    }

    /// What comes next: always something that is recorded.
    fn next(&mut self) -> Action {
        self.sent += 1;
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters: Parameters::default(),
            admission: Admission::Open,
            model: Counter::weights(0).model(SAFETENSORS),
            plan: None,
        };
        Action::new(name(&format!("s{}-{}", self.seed, self.sent)), Act::Create(create))
    }

    /// What comes next, signed and not sent: the bytes that a block would hold.
    pub(crate) fn keep_back(&mut self) -> Vec<u8> {
        let action = self.next();
        let signed = self.speaker.followed.sign(&self.key, action).unwrap();
        colearn_records::record::transaction_payload(&signed)
    }
}

pub(crate) const LEARNERS: [u8; 3] = [1, 2, 3];

/// Less patience than in the field, so that a test takes seconds.
const SUSPICION: Suspicion = Suspicion {
    unanswered: Duration::from_secs(8),
    asked_every: Duration::from_secs(2),
    reached_within: Duration::from_secs(4),
};

/// Creates an experiment, and waits until every node shows it.
pub(crate) async fn create(network: &Network, rounds: u64) {
    create_at(&network.urls_from(0), rounds).await;
    network.agree();
}

/// Creates an experiment at one of these nodes.
pub(crate) async fn create_at(nodes: &str, rounds: u64) {
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
    pub(crate) accepted: watch::Receiver<u64>,
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
pub(crate) async fn all_ended(
    network: &mut Network,
    learners: Vec<Running>,
    rounds: u64,
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
    for seed in LEARNERS {
        // Of a round that closes while a learner moves it has none.
        let count = network.honoured(&network.dir.path().join(format!("learner-{seed}")));
        assert!(2 * count >= rounds, "{count}");
    }
    audits
}
