//! Rounds on a ledger that a contract on a real chain keeps. The chain and the mirrors are killed on the way.

use std::net::SocketAddr;
use std::path::PathBuf;

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, FinishReason, Join, Parameters, Threshold, VERSION,
};
use colearn_records::keys;
use colearn_sdk::client::{self, Client, Followed, Memory, Options, Summary, Trust};
use colearn_sdk::learner::SAFETENSORS;
use colearn_sdk::participant::Event;
use colearn_testkit::free_addresses;
use colearn_testkit::wasmd::{Wasmd, contract, program};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{Counter, NodeProcess, fail, key, name, run, succeed, wait_for};

const LEARNERS: [u8; 3] = [1, 2, 3];
const ROUNDS: u64 = 20;
/// The address of a contract that nobody has made.
const OTHER: &str = "wasm1nc5tatafv6eyq7llkr2gv50ff9e22mnf70qgjlv737ktmt4eswrqr5j2ht";

/// A chain with a contract, and two nodes that mirror it.
struct Stage {
    chain: Wasmd,
    folder: tempfile::TempDir,
    /// The lines of `chain.toml` that `deploy` has printed.
    deployed: String,
    trust: String,
    addresses: Vec<SocketAddr>,
}

impl Stage {
    fn start() -> Option<Self> {
        let wasm = contract()?;
        let chain = Wasmd::start()?;
        let folder = tempfile::tempdir().unwrap();
        let addresses = free_addresses(2);
        let (deployed, trust) = (String::new(), String::new());
        let mut stage = Self { chain, folder, deployed, trust, addresses };
        for at in 0..2 {
            let out = stage.path(&format!("relay-{at}.pem"));
            let account = ["chain", "account", "--prefix", Wasmd::PREFIX, "--out", &out];
            stage.chain.fund(succeed(&account).trim(), 1_000_000);
        }
        let file = stage.settings(0);
        let wasm = wasm.to_str().unwrap();
        stage.deployed = succeed(&["chain", "deploy", "--chain", &file, "--wasm", wasm]);
        let trust = stage.deployed.lines().find_map(|line| line.strip_prefix("trust = "));
        stage.trust = trust.unwrap().trim_matches('"').to_owned();
        Some(stage)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn data(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("node-{at}"))
    }

    /// What a mirror is told of the chain.
    fn settings(&self, at: usize) -> String {
        let path = self.path(&format!("chain-{at}.toml"));
        let text = format!(
            "chain_id = \"{}\"\nrpc = [\"{}\"]\nprefix = \"{}\"\ndenom = \"{}\"\ngas_price = 0\nmax_fee = 0\n\
             max_fee_a_day = 0\naccount = \"relay-{at}.pem\"\npeers = [\"http://{}\"]\n{}",
            self.chain.chain_id(),
            self.chain.rpc_url(),
            Wasmd::PREFIX,
            Wasmd::DENOM,
            self.addresses[1 - at],
            self.deployed,
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    fn node(&self, at: usize) -> NodeProcess {
        let (file, listen) = (self.settings(at), self.addresses[at].to_string());
        NodeProcess::start_with(&self.data(at), &["--listen", &listen, "--chain", &file])
    }

    /// The nodes, this one first.
    fn urls_from(&self, at: usize) -> String {
        let url = |at: usize| format!("http://{}", self.addresses[at % 2]);
        format!("{},{}", url(at), url(at + 1))
    }

    fn trusting(&self) -> Trust {
        Trust { chain: Some(self.trust.parse().unwrap()), ..Trust::default() }
    }

    async fn create(&self) {
        let client = Client::connect(self.urls_from(0)).await.unwrap();
        let mut creator = Followed::open(client, Memory::default(), self.trusting()).await.unwrap();
        creator.catch_up(&mut |_| {}).await.unwrap();
        let weights = Counter::weights(0);
        creator.client().upload(&weights).await.unwrap();
        let parameters = Parameters {
            max_rounds: Some(ROUNDS),
            min_learners: LEARNERS.len() as u32,
            threshold: Threshold { numerator: 1, denominator: 1, strict: false },
            ..Parameters::default()
        };
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters,
            admission: Admission::Open,
            model: weights.model(SAFETENSORS),
            plan: None,
        };
        creator.act(key(200), Action::new(name("x"), Act::Create(create))).await.unwrap();
        for seed in LEARNERS {
            creator.catch_up(&mut |_| {}).await.unwrap();
            let terms = creator.experiment(&name("x")).unwrap().terms();
            let join = Act::Join(Join::new(0, Some(terms)));
            creator.act(key(seed), Action::new(name("x"), join)).await.unwrap();
        }
    }

    /// A learner that begins at one of the nodes, and believes what the chain proves.
    fn learner(&self, seed: u8, trust: Trust) -> Learner {
        let (closed, rounds) = watch::channel(0);
        let options = Options {
            data: Some(self.folder.path().join(format!("learner-{seed}"))),
            trust,
            watch: Box::new(move |event| {
                if let Event::RoundClosed { round, .. } = event {
                    closed.send_replace(*round);
                }
            }),
            ..Options::new(self.urls_from(seed.into()), name("x"), key(seed))
        };
        let run = client::run(Counter { value: 0 }, options);
        Learner { ended: tokio::spawn(async move { run.await.unwrap() }), closed: rounds }
    }

    /// What is signed and not submitted is delivered from a file, and what a learner has signed from beside its key.
    fn what_is_signed_anybody_delivers(&self) {
        let (pem, out) = (self.path("one.pem"), self.path("evaluation.bin"));
        keys::save_new(&key(1), pem.as_ref()).unwrap();
        let (memory, file) = (self.path("learner-1"), self.settings(0));
        let url = format!("http://{}", self.addresses[1]);
        let signs = ["--key", &pem, "--memory", &memory];
        let evaluate = ["experiment", "evaluate", "x", "--node", &url, "--trust", &self.trust];
        let told = succeed(&[&evaluate[..], &signs, &["--out", &out, "accuracy=0.9"]].concat());
        assert!(told.contains("nothing is submitted yet"), "{told}");
        let submit = ["chain", "submit", "--chain", &file, "--json"];
        let told = succeed(&[&submit[..], &[&out]].concat());
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["codes"], serde_json::json!([0]));
        assert!(told["proven_by"].as_u64() > told["height"].as_u64(), "{told}");
        // What it has signed last is recorded: by the contract's rules not again.
        let again = run(&[&submit[..], &signs, &["--experiment", "x"]].concat());
        assert_eq!(again.status.code(), Some(1));
        let told: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert!(told["codes"][0].as_u64().is_some_and(|code| (1..200).contains(&code)), "{told}");
        assert!(
            fail(&[&submit[..], &signs, &["--experiment", "y"]].concat()).contains("has nothing")
        );
    }

    /// A learner in Python, beside one in Rust, follows the chain's ledger by a mirror, and signs nothing without what to trust.
    async fn a_learner_in_python_takes_part(&self) {
        let python = std::env::var("COLEARN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let command = || {
            let mut command = tokio::process::Command::new(&python);
            command.env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
            command
        };
        let installed = command().args(["-c", "import colearn_client"]).output().await;
        if !installed.is_ok_and(|output| output.status.success()) {
            colearn_testkit::skip("colearn_client", &format!("{python} has no colearn_client"));
            return;
        }
        let rounds = 2;
        let parameters =
            Parameters { max_rounds: Some(rounds), min_learners: 2, ..Parameters::default() };
        let client = Client::connect(self.urls_from(0)).await.unwrap();
        let mut creator = Followed::open(client, Memory::default(), self.trusting()).await.unwrap();
        let weights = Counter::weights(0);
        creator.client().upload(&weights).await.unwrap();
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters,
            admission: Admission::Open,
            model: weights.model(SAFETENSORS),
            plan: None,
        };
        creator.act(key(200), Action::new(name("z"), Act::Create(create))).await.unwrap();
        let options = Options {
            trust: self.trusting(),
            ..Options::new(self.urls_from(0), name("z"), key(4))
        };
        let other = tokio::spawn(client::run(Counter { value: 0 }, options));
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/support/counter.py");
        let at = [script, &self.urls_from(1), "z", &self.path("python.pem")];
        let without = command().args(at).output().await.unwrap();
        let told = String::from_utf8_lossy(&without.stderr).into_owned();
        assert!(!without.status.success() && told.contains("nothing is signed for it"), "{told}");
        let with = command().args(at).arg(&self.trust).output().await.unwrap();
        let told = String::from_utf8_lossy(&with.stderr).into_owned();
        assert!(with.status.success(), "{told}");
        assert_eq!(String::from_utf8_lossy(&with.stdout).trim(), rounds.to_string());
        let (learner, summary) = other.await.unwrap().unwrap();
        assert_eq!((learner.value, summary.rounds), (rounds, rounds));
    }

    /// Who shows an experiment names contract and chain, and says whether it is a node's word.
    fn it_is_told_whose_word_it_is(&self, at: usize) {
        let url = format!("http://{}", self.addresses[at]);
        let contract = self.trust.rsplit_once('/').unwrap().1;
        let shown = succeed(&["experiment", "show", "x", "--from", &url]);
        assert!(
            shown.contains(&format!("kept by the contract {contract} on the chain")),
            "{shown}"
        );
        assert!(shown.contains("\n            not proven: "), "{shown}");
        let show = ["experiment", "show", "x", "--from", &url, "--trust", &self.trust];
        let proven = succeed(&show);
        assert!(proven.contains(" entries proven by the chain "), "{proven}");
        let proven: Value =
            serde_json::from_str(&succeed(&[&show[..], &["--json"]].concat())).unwrap();
        assert_eq!(proven["chain"]["contract"], contract);
        assert!(proven["chain"]["proven"].as_u64() > Some(ROUNDS), "{proven}");
        let explained = succeed(&["round", "1", "--experiment", "x", "--from", &url, "--explain"]);
        assert!(explained.contains(contract), "{explained}");
        let exported = succeed(&["ledger", "export", &self.path("exported"), "--from", &url]);
        assert!(exported.contains(contract), "{exported}");
    }

    /// The chain itself proves what the folder of the first node has, which is stopped.
    async fn a_folder_is_proven_though_the_ledger_goes_on(&self) {
        let (folder, file) = (self.data(0), self.settings(0));
        let audit = || -> Value {
            let told = succeed(&["audit", folder.to_str().unwrap(), "--chain", &file, "--json"]);
            serde_json::from_str(&told).unwrap()
        };
        let whole = audit();
        assert_eq!((&whole["ok"], &whole["chain"]["proven"]), (&true.into(), &whole["size"]));
        assert_eq!(whole["chain"]["total"], whole["size"]);
        let url = format!("http://{}", self.addresses[1]);
        let client = Client::connect(url).await.unwrap();
        let mut other = Followed::open(client, Memory::default(), self.trusting()).await.unwrap();
        let weights = Counter::weights(0);
        other.client().upload(&weights).await.unwrap();
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters: Parameters::default(),
            admission: Admission::Open,
            model: weights.model(SAFETENSORS),
            plan: None,
        };
        other.act(key(200), Action::new(name("y"), Act::Create(create))).await.unwrap();
        let older = audit();
        assert_eq!((&older["ok"], &older["size"]), (&true.into(), &whole["size"]));
        assert_eq!(older["chain"]["proven"], whole["size"]);
        assert_eq!(older["chain"]["total"].as_u64(), whole["size"].as_u64().map(|size| size + 1));
        let export = self.path("exported");
        succeed(&["audit", &export, "--chain", &file]);
        let told = fail(&["audit", folder.to_str().unwrap(), "--trust", &self.trust]);
        assert!(told.contains("audit --chain chain.toml"), "{told}");
    }

    fn audit(&self, at: usize) -> Value {
        let url = format!("http://{}", self.addresses[at]);
        let told = succeed(&["audit", &url, "--trust", &self.trust, "--json"]);
        serde_json::from_str(&told).unwrap()
    }
}

struct Learner {
    ended: JoinHandle<(Counter, Summary)>,
    closed: watch::Receiver<u64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_vote_is_lost_whatever_is_killed() {
    let Some(mut stage) = tokio::task::block_in_place(Stage::start) else { return };
    let mut nodes = [0, 1].map(|at| Some(stage.node(at)));
    stage.create().await;
    let mut learners: Vec<Learner> =
        LEARNERS.iter().map(|seed| stage.learner(*seed, stage.trusting())).collect();
    // A mirror, the chain, and both at once.
    for (round, at, chain) in [
        (3, Some(0), false),
        (6, Some(1), false),
        (9, None, true),
        (12, Some(1), false),
        (15, Some(0), false),
        (17, Some(1), true),
    ] {
        learners[0].closed.wait_for(|closed| *closed >= round).await.unwrap();
        tokio::task::block_in_place(|| {
            if chain {
                stage.chain.kill();
            }
            if let Some(mut node) = at.and_then(|at: usize| nodes[at].take()) {
                node.process.kill();
            }
            if chain {
                stage.chain.restart();
            }
            if let Some(at) = at {
                nodes[at] = Some(stage.node(at));
            }
        });
    }
    for Learner { ended, .. } in learners {
        let (learner, summary) = ended.await.unwrap();
        assert_eq!((summary.reason, summary.rounds), (Some(FinishReason::MaxRounds), ROUNDS));
        // Each round needs all votes.
        assert_eq!(learner.value, ROUNDS);
    }
    // One of them may be a block behind the other.
    let audits = [0, 1].map(|at| {
        wait_for("a mirror has all rounds", || {
            Some(stage.audit(at)).filter(|audit| audit["rounds"] == ROUNDS)
        })
    });
    for audit in &audits {
        assert_eq!((&audit["ok"], &audit["rounds"]), (&true.into(), &ROUNDS.into()), "{audit}");
        assert_eq!(audit["chain"]["proven"], audit["size"], "{audit}");
        assert_eq!((&audit["size"], &audit["root"]), (&audits[0]["size"], &audits[0]["root"]));
    }
    // Another code than the chain runs: what it keeps is not believed. Nor is what another contract keeps.
    let url = format!("http://{}", stage.addresses[0]);
    let (line, contract) = stage.trust.rsplit_once('/').unwrap();
    for (bent, told) in [
        (format!("{}00/{contract}", &line[..line.len() - 2]), "the contract runs the code"),
        (format!("{line}/{OTHER}"), "keeps this ledger; check --trust"),
        (line.to_owned(), "names no contract"),
    ] {
        let error = fail(&["audit", &url, "--trust", &bent]);
        assert!(error.contains(told), "{error}");
    }
    stage.it_is_told_whose_word_it_is(1);
    stage.a_learner_in_python_takes_part().await;
    tokio::task::block_in_place(|| stage.what_is_signed_anybody_delivers());
    let [first, second] = nodes.map(Option::unwrap);
    first.stop();
    stage.a_folder_is_proven_though_the_ledger_goes_on().await;
    second.stop();
}

#[test]
fn a_demo_has_a_chain_keep_the_ledger() {
    let (Some(wasmd), Some(wasm)) = (program(), contract()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("demo");
    let (keep, wasmd) = (keep.to_str().unwrap(), wasmd.to_str().unwrap());
    let wasm = wasm.to_str().unwrap();
    let demo = ["demo", "--chain", "--json", "--learners", "3", "--rounds", "4", "--keep", keep];
    let told = succeed(&[&demo[..], &["--wasmd", wasmd, "--contract", wasm]].concat());
    let report: Value = serde_json::from_str(&told).unwrap();
    let audits = report["audits"].as_array().unwrap();
    assert_eq!(audits.len(), 2);
    for audit in audits {
        assert_eq!((&audit["ok"], &audit["rounds"]), (&true.into(), &4.into()), "{audit}");
        assert_eq!(audit["root"], audits[0]["root"]);
    }
    let missing = ["--wasmd", "no-such-program", "--contract", wasm, "--keep"];
    let other = dir.path().join("other");
    let missing = [&demo[..2], &missing, &[other.to_str().unwrap()]].concat();
    assert!(fail(&missing).contains("say where it is: --wasmd FILE"));
}
