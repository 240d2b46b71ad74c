//! Beginning a ledger on a public chain, by commands, on a real chain of one node.

use std::path::PathBuf;

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Digest, Model, Parameters, VERSION,
};
use colearn_ledger::Hash;
use colearn_records::keys::learner_id;
use colearn_records::record;
use colearn_records::transaction::{Seen, Transaction};
use colearn_sdk::learner::SAFETENSORS;
use colearn_testkit::wasmd::{Wasmd, contract};
use ed25519_dalek::SigningKey;
use serde_json::Value;

use crate::support::{Process, fail, run, succeed, wait_for};

/// A chain, and a folder with `chain.toml` and an account that has something.
struct Stage {
    node: Wasmd,
    folder: tempfile::TempDir,
    address: String,
}

impl Stage {
    fn start(gas_price: &str) -> Option<Self> {
        let node = Wasmd::start_with(gas_price)?;
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("relay.pem");
        let out = out.to_str().unwrap();
        let address = succeed(&["chain", "account", "--prefix", Wasmd::PREFIX, "--out", out]);
        let stage = Self { node, folder, address: address.trim().to_owned() };
        let text = format!(
            "chain_id = \"{}\"\nrpc = [\"http://127.0.0.1:1\", \"{}\"]\nprefix = \"{}\"\ndenom = \"{}\"\n\
             gas_price = \"{}\"\naccount = \"relay.pem\"\nmax_fee = 1_000_000\nmax_fee_a_day = 10_000_000\n",
            stage.node.chain_id(),
            stage.node.rpc_url(),
            Wasmd::PREFIX,
            Wasmd::DENOM,
            gas_price.trim_end_matches(Wasmd::DENOM),
        );
        stage.write("chain.toml", text.as_bytes());
        Some(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn settings(&self) -> String {
        std::fs::read_to_string(self.path("chain.toml")).unwrap()
    }

    /// The arguments of a command with this chain's settings.
    fn with<'a>(&self, file: &'a str, command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["chain", command, "--chain", file], more].concat()
    }
}

#[test]
fn a_ledger_is_begun_shown_and_delivered_to() {
    let Some(wasm) = contract() else { return };
    let Some(stage) = Stage::start("0.025stake") else { return };
    let (wasm, file) = (wasm.to_str().unwrap(), stage.path("chain.toml"));
    let file = file.to_str().unwrap();

    // Nobody has sent the account anything.
    let deploy = stage.with(file, "deploy", &["--wasm", wasm]);
    let error = fail(&deploy);
    assert!(error.contains(&format!("the chain has no account {}", stage.address)), "{error}");
    stage.node.fund(&stage.address, 5_000_000);
    let status = succeed(&stage.with(file, "status", &[]));
    assert!(
        status.contains("contract      none yet") && status.contains("5000000stake"),
        "{status}"
    );
    let error = fail(&stage.with(file, "trust", &[]));
    assert!(error.contains("colearn chain deploy"), "{error}");

    // What is printed is pasted.
    let creator = SigningKey::from_bytes(&[7; 32]);
    let key = learner_id(&creator).to_string();
    let creators = stage.write("creators.txt", format!("# us\n\n{key}\n{key}\n").as_bytes());
    let printed = succeed(&[&deploy[..], &["--creators", &creators]].concat());
    assert!(printed.starts_with("# code 1\ncontract = \"wasm1"), "{printed}");
    stage.write("chain.toml", (stage.settings() + &printed).as_bytes());
    let error = fail(&deploy);
    assert!(error.contains("take it out to begin another ledger"), "{error}");
    let ledger = printed.lines().find_map(|line| line.strip_prefix("# ledger id ")).unwrap();

    let status = || -> Value {
        let told = succeed(&stage.with(file, "status", &["--json"]));
        serde_json::from_str(&told).unwrap()
    };
    let begun = status();
    assert_eq!((&begun["ledger"]["size"], &begun["halted"]), (&1.into(), &false.into()));
    assert!(begun["ledger"]["proven_by"].as_u64() > Some(2), "{begun}");
    assert_eq!(begun["account"], stage.address);
    let (left, spent): (u64, u64) = (
        begun["balance"].as_str().unwrap().parse().unwrap(),
        begun["spent_today"].as_str().unwrap().parse().unwrap(),
    );
    assert_eq!(left + spent, 5_000_000);

    // What a learner has signed.
    let seen = Seen { size: 1, root: root(&begun) };
    let create = Act::Create(CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters::default(),
        admission: Admission::Open,
        model: Model { digest: Digest([9; 32]), size: 1_000, media_type: SAFETENSORS.to_owned() },
        plan: None,
    });
    let action = Action::new("first".parse().unwrap(), create);
    let signed = Transaction::sign(&creator, &ledger.parse().unwrap(), seen, action);
    let well = stage.write("create.bin", &record::transaction_payload(&signed));
    let garbage = stage.write("garbage.bin", &[1, 2, 3]);
    let told = succeed(&stage.with(file, "submit", &[&well]));
    assert!(told.contains("create.bin  recorded\nblock "), "{told}");
    assert!(told.contains("what is recorded is proven by block "), "{told}");
    let output = run(&stage.with(file, "submit", &[&garbage, &well, "--json"]));
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["codes"][0], 200);
    assert_ne!(told["codes"][1], 0, "an experiment of this name is there already");
    assert!(told["proven_by"].as_u64() > told["height"].as_u64(), "{told}");
    let grown = status();
    assert_eq!(grown["ledger"]["size"], 2);
    assert_ne!(grown["ledger"]["root"], begun["ledger"]["root"]);
    // Nobody has joined yet: a proposal, and the vote that closes.
    assert_eq!(begun["prices"], serde_json::json!([]));
    assert_eq!(
        (&grown["prices"][0]["experiment"], &grown["prices"][0]["members"]),
        (&"first".into(), &0.into())
    );
    assert_eq!(grown["prices"][0]["round"], "11343");

    // Each server is told of, and one of another chain stops nothing.
    let away = &begun["servers"][0];
    assert!(away["height"].is_null() && away["error"].as_str().is_some(), "{away}");
    assert_eq!(begun["servers"][1]["chain_id"], stage.node.chain_id());
    let other = format!("[\"{}\",", other_chain());
    let strange = stage.settings().replace("[\"http://127.0.0.1:1\",", &other);
    let strange = stage.write("strange.toml", strange.as_bytes());
    let told = succeed(&stage.with(&strange, "status", &[]));
    assert!(told.contains(": of another chain, other-1: take it out of rpc"), "{told}");
    assert!(told.contains("proven        by block "), "{told}");

    // Another header is trusted, or nothing; a newer one may take the old one's place.
    let settings = stage.settings();
    let told = succeed(&stage.with(file, "trust", &["--json"]));
    let newer: Value = serde_json::from_str(&told).unwrap();
    let lines = settings.lines().filter(|line| !line.starts_with("trust"));
    let bare: String = lines.map(|line| format!("{line}\n")).collect();
    let trusting = |trust: &str| stage.write("other.toml", format!("{bare}{trust}").as_bytes());
    let trust = newer["trust"].as_str().unwrap();
    let other = trusting(&format!("trust = \"{trust}\"\n"));
    assert!(succeed(&stage.with(&other, "status", &[])).contains("proven        by block "));
    let none = succeed(&stage.with(&trusting(""), "status", &[]));
    assert!(none.contains("proven        no: chain.toml has no line `trust`"), "{none}");
    let parts: Vec<&str> = trust.split('/').collect();
    let forged = trust.replace(parts[2], &"ab".repeat(32));
    let forged = trusting(&format!("trust = \"{forged}\"\n"));
    let output = run(&stage.with(&forged, "status", &[]));
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("is another than the one that is trusted"), "{told}");
    let upgraded = trust.replace(parts[4], &"ab".repeat(32));
    let upgraded = trusting(&format!("trust = \"{upgraded}\"\n"));
    let output = run(&stage.with(&upgraded, "status", &["--json"]));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["ledger"]["proven_by"]), (Some(1), &Value::Null));
    assert!(told["ledger"]["unproven"].as_str().unwrap().contains("the contract runs the code"));
}

/// A server that says it is one of another chain, whatever it is asked.
fn other_chain() -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = r#"{"result":{"node_info":{"network":"other-1"},"sync_info":{"latest_block_height":"7",
        "latest_block_time":"2026-01-02T03:04:05Z","catching_up":false}}}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut asked, mut more) = (Vec::new(), [0; 4_096]);
            // A question is one object; who asks may go.
            while !asked.ends_with(b"}") {
                match stream.read(&mut more) {
                    Ok(count) if count > 0 => asked.extend_from_slice(&more[..count]),
                    _ => break,
                }
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

fn root(status: &Value) -> Hash {
    let bytes = hex::decode(status["ledger"]["root"].as_str().unwrap()).unwrap();
    Hash::try_from(&bytes[..]).unwrap()
}

#[test]
fn an_interrupted_deployment_goes_on_with_the_code_that_is_there() {
    let Some(wasm) = contract() else { return };
    let Some(stage) = Stage::start("0stake") else { return };
    let file = stage.path("chain.toml");
    let file = file.to_str().unwrap();
    stage.node.fund(&stage.address, 1);
    // The contract refuses what it is begun with: the code is stored, and its number told.
    let wasm = wasm.to_str().unwrap();
    let output = run(&stage.with(file, "deploy", &["--wasm", wasm, "--max-members", "0"]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "# code 1\n");
    let told = succeed(&stage.with(file, "deploy", &["--code-id", "1", "--json"]));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["code_id"], 1);
    assert!(told["trust"].as_str().unwrap().starts_with("colearn-test-1/"));
}

#[test]
fn a_node_that_waits_for_its_chain_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    succeed(&["chain", "account", "--prefix", "wasm", "--out", &path("relay.pem")]);
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let contract = "wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d";
    let (hash, code) = ("07".repeat(32), "09".repeat(32));
    let text = format!(
        "chain_id = \"c-1\"\nrpc = [\"http://{}\"]\nprefix = \"wasm\"\ndenom = \"stake\"\ngas_price = \"0\"\n\
         account = \"relay.pem\"\nmax_fee = 1\nmax_fee_a_day = 1\n\
         trust = \"c-1/5/{hash}/1209600s/{code}/{contract}\"\n",
        silent.local_addr().unwrap(),
    );
    std::fs::write(path("chain.toml"), text).unwrap();
    let (data, chain) = (path("data"), path("chain.toml"));
    let at = ["--listen", "127.0.0.1:0", "--ops-listen", "off"];
    let mut node =
        Process::start(&[&["node", "--data", &data, "--chain", &chain][..], &at].concat());
    silent.set_nonblocking(true).unwrap();
    let asked = wait_for("the node asks the chain", || silent.accept().ok());
    node.terminate();
    // Its server is as silent as ever.
    assert_eq!(node.wait(), Some(0));
    drop(asked);
}

#[test]
fn accounts_and_settings_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let pem = path("relay.pem");
    let account = ["chain", "account", "--prefix", "fetch", "--out", &pem];
    assert!(succeed(&account).starts_with("fetch1"));
    assert!(fail(&account).contains("exists and is not overwritten"));
    let other = path("other.pem");
    assert!(
        fail(&["chain", "account", "--prefix", "F!", "--out", &other]).contains("is no prefix of")
    );
    assert!(!folder.path().join("other.pem").exists());

    let toml = path("chain.toml");
    let status = ["chain", "status", "--chain", &toml];
    assert!(fail(&status).contains("cannot read "));
    let text = "chain_id = \"c-1\"\nrpc = [\"http://127.0.0.1:1\"]\nprefix = \"fetch\"\ndenom = \"afet\"\n\
        gas_price = 1\naccount = \"relay.pem\"\nmax_fee = 5\nmax_fee_a_day = 9\n";
    std::fs::write(&toml, text.replace("c-1", "c 1")).unwrap();
    assert!(fail(&status).contains("chain.toml: chain_id: "));
    std::fs::write(&toml, format!("{text}tip = 1\n")).unwrap();
    assert!(fail(&status).contains("unknown field `tip`"));
    std::fs::write(&toml, text).unwrap();
    assert!(fail(&status).contains("no server of the chain answers: "));
}
