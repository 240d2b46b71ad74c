//! The contract on a real chain of one node, on this machine.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use colearn_chain::contract::{CLOSING_GAS, CLOSING_GAS_A_MEMBER};
use colearn_chain::messages::{Entries, ExperimentState, LedgerState};
use colearn_contracts::{Decision, Phase, Verdict};
use colearn_ledger::Hash;
use colearn_records::convert;
use colearn_records::record::Record;
use colearn_records::transaction::{LedgerId, Seen};
use colearn_testkit::skip;
use cosmwasm_std::{Binary, from_json};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::light;
use crate::people::model;
use crate::reference::{Reference, follow};
use crate::round::{Keeps, keep_silent, play, play_merged};

pub(crate) const CHAIN: &str = "colearn-test-1";
/// How long the node, and each transaction, may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node, which ends with this.
pub(crate) struct Wasmd {
    program: PathBuf,
    home: tempfile::TempDir,
    port: u16,
    url: String,
    child: Child,
}

impl Drop for Wasmd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file that an environment variable names, or that a script has built; a skip where there is none.
#[track_caller]
fn built(what: &str, variable: &str, path: &str, script: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).filter(|named| !named.is_empty()).map(PathBuf::from);
    let there = || {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(path);
        path.exists().then_some(path)
    };
    let found = named.or_else(there);
    if found.is_none() {
        skip(what, &format!("neither {variable} nor target/{path}; {script} builds it"));
    }
    found
}

impl Wasmd {
    fn start(program: PathBuf) -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = colearn_testkit::free_address().port();
        let url = format!("tcp://127.0.0.1:{port}");
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&program);
            let output = command.args(arguments).arg("--home").arg(home.path()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {text}");
        };
        let test = ["--keyring-backend", "test"];
        run(&["init", "one", "--chain-id", CHAIN, "--default-denom", "stake"]);
        run(&[&["keys", "add", "payer"], &test[..]].concat());
        let all = "1000000000000stake";
        run(&[&["genesis", "add-genesis-account", "payer", all], &test[..]].concat());
        let staked = ["genesis", "gentx", "payer", "1000000stake", "--chain-id", CHAIN];
        run(&[&staked, &test[..]].concat());
        run(&["genesis", "collect-gentxs"]);
        let config = home.path().join("config/config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let quick = text.replace("timeout_commit = \"5s\"", "timeout_commit = \"200ms\"");
        assert_ne!(quick, text);
        std::fs::write(&config, quick).unwrap();
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let child = Command::new(&program)
            .args(["start", "--rpc.laddr", &url, "--p2p.laddr", "tcp://127.0.0.1:0"])
            .args(["--grpc.enable=false", "--minimum-gas-prices", "0stake", "--home"])
            .arg(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut node = Self { program, home, port, url, child };
        let begun = Instant::now();
        loop {
            let status = node.command(&["status"]).output().unwrap();
            let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            let height = status["sync_info"]["latest_block_height"].as_str();
            if height.is_some_and(|height| height != "0") {
                return node;
            }
            let ended = node.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(node.home.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "no first block: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// How many blocks there are.
    pub(crate) fn height(&self) -> u64 {
        let status: Value = serde_json::from_slice(&self.rpc("status")).unwrap();
        let height = &status["result"]["sync_info"]["latest_block_height"];
        height.as_str().unwrap().parse().unwrap()
    }

    /// Until there are so many blocks.
    pub(crate) fn wait_for(&self, height: u64) {
        let begun = Instant::now();
        while self.height() < height {
            assert!(begun.elapsed() < PATIENCE, "no block {height}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the node answers to this question, in JSON.
    pub(crate) fn rpc(&self, question: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // Without parts: the end of the answer is that of the connection.
        write!(stream, "GET /{question} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let body = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
        answer.split_off(body)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--node", &self.url, "--output", "json", "--home"]);
        command.arg(self.home.path());
        command
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.command(&[&["query"], arguments].concat()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {text}"))
    }

    /// Has a transaction of the chain carried out, and gives what came of it.
    fn send(&self, arguments: &[&str]) -> Value {
        let pays = ["--from", "payer", "--keyring-backend", "test", "--chain-id", CHAIN];
        let gas = ["--gas", "400000000", "--yes", "--broadcast-mode", "sync"];
        let mut command = self.command(&[&["tx", "wasm"], arguments, &pays, &gas].concat());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let sent: Value = serde_json::from_slice(&output.stdout).expect(&text);
        assert_eq!(sent["code"], 0, "{sent}");
        let hash = sent["txhash"].as_str().unwrap();
        let begun = Instant::now();
        loop {
            let output = self.command(&["query", "tx", hash]).output().unwrap();
            if let Ok(done) = serde_json::from_slice::<Value>(&output.stdout)
                && done["txhash"] == hash
            {
                return done;
            }
            assert!(begun.elapsed() < PATIENCE, "{hash} is in no block");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn send_well(&self, arguments: &[&str]) -> Value {
        let done = self.send(arguments);
        assert_eq!(done["code"], 0, "{}", done["raw_log"]);
        done
    }
}

fn gas(done: &Value) -> u64 {
    done["gas_used"].as_str().unwrap().parse().unwrap()
}

/// The contract, there.
struct There<'a> {
    node: &'a Wasmd,
    address: String,
}

impl There<'_> {
    fn ask<T: serde::de::DeserializeOwned>(&self, question: Value) -> T {
        let question = question.to_string();
        let mut answer =
            self.node.ask(&["wasm", "contract-state", "smart", &self.address, &question]);
        from_json(answer["data"].take().to_string()).unwrap()
    }

    fn entries(&self) -> Vec<Vec<u8>> {
        let mut entries: Vec<Vec<u8>> = Vec::new();
        loop {
            let more: Entries = self.ask(json!({ "entries": { "from": entries.len() } }));
            if more.entries.is_empty() {
                return entries;
            }
            entries.extend(more.entries.into_iter().map(|it| it.to_vec()));
        }
    }
}

impl Keeps for There<'_> {
    fn id(&self) -> LedgerId {
        let state: LedgerState = self.ask(json!({ "ledger": {} }));
        LedgerId(state.id.as_slice().try_into().unwrap())
    }

    fn seen(&self) -> Seen {
        let state: LedgerState = self.ask(json!({ "ledger": {} }));
        Seen { size: state.size, root: Hash::try_from(state.root.as_slice()).unwrap() }
    }

    fn submit(&mut self, payloads: &[Vec<u8>]) -> (Vec<u32>, u64) {
        let transactions: Vec<String> =
            payloads.iter().map(|it| Binary::from(it.as_slice()).to_base64()).collect();
        let message = json!({ "submit": { "transactions": transactions } }).to_string();
        let done = self.node.send_well(&["execute", &self.address, &message]);
        // In the chain's own message, in hex.
        let digits = done["data"].as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let data: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let text = String::from_utf8_lossy(&data);
        let json = &text[text.find("{\"codes\"").unwrap()..=text.rfind('}').unwrap()];
        let codes: colearn_chain::messages::Submitted = from_json(json).unwrap();
        (codes.codes, gas(&done))
    }

    fn tick(&mut self, name: &str) -> u64 {
        let message = json!({ "tick": { "experiments": [name] } }).to_string();
        let (begun, before) = (Instant::now(), self.seen());
        loop {
            // Nothing is due before the time of a block says so.
            let done = self.node.send_well(&["execute", &self.address, &message]);
            if self.seen() != before {
                return gas(&done);
            }
            assert!(begun.elapsed() < PATIENCE, "nothing is due of {name}");
        }
    }
}

/// Stores the contract, and begins a ledger.
fn deploy<'a>(node: &'a Wasmd, wasm: &Path) -> There<'a> {
    let stored = node.send_well(&["store", wasm.to_str().unwrap()]);
    println!("store: {} gas", gas(&stored));
    let begin = json!({
        "max_members": 1_000, "block_gas": 100_000_000, "experiments_per_creator": 8, "expiry_ms": 3_600_000,
    });
    let begin = begin.to_string();
    let arguments = ["instantiate", "1", &begin, "--label", "test", "--no-admin"];
    println!("instantiate: {} gas", gas(&node.send_well(&arguments)));
    let there = node.ask(&["wasm", "list-contract-by-code", "1"]);
    There { node, address: there["contracts"][0].as_str().unwrap().to_owned() }
}

#[test]
fn a_round_is_decided_on_a_real_chain() {
    let Some(program) = built("wasmd", "COLEARN_WASMD", "tools/wasmd", ".ci/wasmd") else { return };
    let script = ".ci/chain-wasm";
    let path = "chain/colearn-chain.wasm";
    let Some(wasm) = built("chain-wasm", "COLEARN_CHAIN_WASM", path, script) else { return };
    // Chains take 800 KB.
    let size = std::fs::metadata(&wasm).unwrap().len();
    assert!(size <= 700_000, "{size} bytes");
    let node = Wasmd::start(program);
    let mut there = deploy(&node, &wasm);
    let gas = play(&mut there, "five", 5, 2);
    gas.tell(5);
    // It is the same on every machine.
    assert!(gas.votes.iter().all(|vote| *vote <= 185_000), "{:?}", gas.votes);
    assert!(gas.create <= 210_000 && gas.propose <= 172_000 && gas.closing <= 197_000);
    assert!(gas.joins[0] <= 175_000 && gas.joins[2] <= 186_000, "{:?}", gas.joins);

    let state: ExperimentState = there.ask(json!({ "experiment": { "name": "five" } }));
    let state = prost::Message::decode(state.experiment.as_slice()).unwrap();
    let state = convert::ExperimentState::read(state).unwrap();
    assert_eq!(state.model.digest, model(1).digest);
    assert!(matches!(state.phase, Phase::Proposing { .. }) && state.round == 2);

    // What everybody else would have written.
    let entries = there.entries();
    let mut reference = Reference::of(&entries[0]);
    let mut closed = 0;
    for bytes in &entries[1..] {
        let decoded = Record::decode(bytes).unwrap();
        match decoded.record {
            Record::Transaction(unverified) => {
                let signed = unverified.verify(&there.id()).unwrap();
                assert_eq!(reference.submit(decoded.time_ms, &[signed]), [0]);
            }
            Record::Outcome(outcome) => {
                let accepted = Verdict::Accepted;
                closed += i32::from(matches!(
                    outcome.what,
                    Decision::RoundClosed { verdict, .. } if verdict == accepted
                ));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(closed, 1);
    assert_eq!(reference.entries, entries);
    assert_eq!(follow(&entries), reference.contract);
    assert_eq!(there.seen(), Seen { size: reference.head.size, root: reference.root() });

    let sha256 = Sha256::digest(std::fs::read(&wasm).unwrap()).into();
    light::prove(&node, &there.address, &there.seen(), sha256);

    // What is nothing is refused, and nothing is written.
    assert_eq!(there.submit(&[vec![1, 2, 3]]).0, [200]);
    assert_eq!(there.entries(), entries);
    let unknown = json!({ "stop": {} }).to_string();
    assert_ne!(node.send(&["execute", &there.address, &unknown])["code"], 0);

    // A merged round is dearer in the end, and its votes are not.
    let merged = play_merged(&mut there, "merged", 5);
    merged.tell(5);
    assert!(merged.updates[0] <= 166_000 && merged.updates[2] <= 193_000, "{:?}", merged.updates);
    assert!(merged.votes.iter().all(|vote| *vote <= 181_000) && merged.closing <= 247_000);

    // `COLEARN_CHAIN_MEMBERS=50` measures what it costs with so many.
    let members = std::env::var("COLEARN_CHAIN_MEMBERS").ok().and_then(|it| it.parse().ok());
    if let Some(members) = members {
        play(&mut there, "many", members, 3).tell(members);
        // No more train in a round.
        let training = members.min(64);
        play_merged(&mut there, "merged-many", training).tell(training);
        let _: ExperimentState = there.ask(json!({ "experiment": { "name": "many" } }));
        let gas = keep_silent(&mut there, "silent", members);
        println!("    closing a round of silent members {gas}");
        assert!(gas <= CLOSING_GAS + CLOSING_GAS_A_MEMBER * u64::from(members));
    }
}
