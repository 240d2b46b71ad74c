//! Delivering on a real chain of one node, on this machine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Digest, Invitation, Model, Parameters, VERSION,
};
use colearn_ledger::Hash;
use colearn_light::{NotBelieved, NotEstablished, Trust, TrustLine, contract_key};
use colearn_records::keys::learner_id;
use colearn_records::on_chain::{Root, TREE_KEY, Tree};
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_relay::{Account, Deliverer, NOT_DELIVERED, NotDelivered, NotProven, Rpc, Settings};
use colearn_testkit::wasmd::{Wasmd, contract};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A chain with an account on it, and what `chain.toml` says of both.
struct Stage {
    node: Wasmd,
    folder: tempfile::TempDir,
    address: String,
}

impl Stage {
    fn start(gas_price: &str) -> Option<Self> {
        let node = Wasmd::start_with(gas_price)?;
        let folder = tempfile::tempdir().unwrap();
        let account = Account::generate().unwrap();
        account.save(&folder.path().join("relay.pem")).unwrap();
        let address = account.address(Wasmd::PREFIX).unwrap();
        Some(Self { node, folder, address })
    }

    fn rpc(&self) -> Rpc {
        // One that is away is passed over.
        Rpc::new(&["http://127.0.0.1:1".to_owned(), self.node.rpc_url()]).unwrap()
    }

    fn settings(&self, more: &str) -> Settings {
        let path = self.folder.path().join("chain.toml");
        let text = format!(
            "chain_id = \"{}\"\nrpc = [\"{}\"]\nprefix = \"wasm\"\ndenom = \"stake\"\n\
             account = \"relay.pem\"\n{more}",
            self.node.chain_id(),
            self.node.rpc_url()
        );
        std::fs::write(&path, text).unwrap();
        Settings::read(&path).unwrap()
    }

    fn deliverer(&self, more: &str) -> Deliverer {
        let settings = self.settings(more);
        Deliverer::new(self.rpc(), &settings, settings.open_account().unwrap())
    }
}

fn beginning() -> Value {
    json!({
        "max_members": 500, "block_gas": 100_000_000, "experiments_per_creator": 8, "expiry_ms": 3_600_000,
    })
}

/// What a learner signs to create an experiment.
fn creation(ledger: &LedgerId, seen: Seen, name: &str) -> Vec<u8> {
    creation_with(ledger, seen, name, Admission::Open)
}

fn creation_with(ledger: &LedgerId, seen: Seen, name: &str, admission: Admission) -> Vec<u8> {
    let model = Model {
        digest: Digest([9; 32]),
        size: 1_000,
        media_type: "application/x-safetensors".into(),
    };
    let create = Act::Create(CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters::default(),
        admission,
        model,
        plan: None,
    });
    let action = Action::new(name.parse().unwrap(), create);
    let key = SigningKey::from_bytes(&[7; 32]);
    record::transaction_payload(&Transaction::sign(&key, ledger, seen, action))
}

/// Where the contract says that its ledger stands.
async fn state(rpc: &Rpc, contract: &str) -> (LedgerId, Seen) {
    use base64::Engine as _;
    let state = rpc.smart(contract, &json!({ "ledger": {} })).await.unwrap();
    let bytes = |field: &str| -> [u8; 32] {
        let text = state[field].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        bytes.try_into().unwrap()
    };
    let root = Hash::try_from(&bytes("root")[..]).unwrap();
    (LedgerId(bytes("id")), Seen { size: state["size"].as_u64().unwrap(), root })
}

const FREE: &str = "gas_price = 0\nmax_fee = 0\nmax_fee_a_day = 0\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_is_recorded_and_proven() {
    let Some(wasm) = contract() else { return };
    let Some(stage) = Stage::start("0stake") else { return };
    let wasm = std::fs::read(wasm).unwrap();
    let rpc = stage.rpc();

    // Nobody has sent it anything.
    assert_eq!(rpc.account(&stage.address).await.unwrap(), None);
    let error = stage.deliverer(FREE).store(&wasm).await.unwrap_err();
    assert!(matches!(error, NotDelivered::NoAccount { .. }), "{error}");
    stage.node.fund(&stage.address, 1);
    assert_eq!(rpc.balance(&stage.address, "stake").await.unwrap(), 1);

    let code_id = stage.deliverer(FREE).store(&wasm).await.unwrap();
    assert_eq!(code_id, 1);
    let instantiated = stage.deliverer(FREE).instantiate(code_id, &beginning(), "test").await;
    let contract = instantiated.unwrap();
    let (id, seen) = state(&rpc, &contract).await;
    assert_eq!(seen.size, 1);

    let mut deliverer = stage.deliverer(&format!("contract = \"{contract}\"\n{FREE}"));
    let garbage = deliverer.submit(&[vec![1, 2, 3]]).await.unwrap();
    assert_eq!(garbage.codes, [200]);
    let payload = creation(&id, seen, "first");
    let created = deliverer.submit(std::slice::from_ref(&payload)).await.unwrap();
    assert_eq!(created.codes, [0]);
    assert!(created.height > garbage.height && created.gas_used > 100_000);
    // More than one call takes.
    let many = deliverer.submit(&vec![vec![7]; 65]).await.unwrap();
    assert_eq!(many.codes, vec![200; 65]);
    let ticked = deliverer.tick(&["first".to_owned(), "none".to_owned()]).await.unwrap();
    assert!(ticked.height > many.height && ticked.codes.is_empty());

    // Somebody else with the same key: it is found out, and asked for again.
    let mut other = stage.deliverer(&format!("contract = \"{contract}\"\n{FREE}"));
    other.submit(&[vec![1]]).await.unwrap();
    assert_eq!(deliverer.submit(&[vec![1]]).await.unwrap().codes, [200]);

    let entries = rpc.entries(&contract, 0).await.unwrap();
    assert_eq!(entries.len(), 2);
    assert!(entries[1].windows(payload.len()).any(|part| part == payload));
    assert!(rpc.entries(&contract, 2).await.unwrap().is_empty());

    // Proven from the newest header, as the server says what that is, and from an early one.
    assert_eq!(rpc.unbonding().await.unwrap(), Duration::from_secs(21 * 24 * 3_600));
    assert_eq!(rpc.block_gas().await.unwrap(), None);
    let newest = rpc.pin(&contract).await.unwrap();
    assert_eq!(newest.code, <[u8; 32]>::from(Sha256::digest(&wasm)));
    assert_eq!(newest.line.period, Duration::from_secs(14 * 24 * 3_600));
    let begun = rpc.block(2).await.unwrap();
    let answer: Value = serde_json::from_slice(&begun.commit).unwrap();
    let hash = &answer["result"]["signed_header"]["commit"]["block_id"]["hash"];
    let hash = hex::decode(hash.as_str().unwrap()).unwrap().try_into().unwrap();
    let early =
        Trust { line: TrustLine { height: 2, hash, ..newest.line.clone() }, ..newest.clone() };
    let (_, seen) = state(&rpc, &contract).await;
    for trust in [&early, &newest] {
        let shown = rpc.prove(trust, &contract, TREE_KEY).await.unwrap();
        let tree = Tree::from_bytes(&shown.established.value).unwrap();
        assert_eq!((tree.head().size, tree.root()), (2, seen.root));
        assert_eq!(shown.established.admin, None);
        assert!(shown.light.height() >= newest.line.height);
    }

    // Another header, another code, another chain, and what the contract does not keep.
    let other = Trust { line: TrustLine { hash: [1; 32], ..early.line.clone() }, ..early.clone() };
    let error = rpc.prove(&other, &contract, TREE_KEY).await.unwrap_err();
    assert!(matches!(error, NotProven::Header(NotBelieved::OtherHeader { height: 2 })), "{error}");
    let other = Trust { code: [1; 32], ..early.clone() };
    let error = rpc.prove(&other, &contract, TREE_KEY).await.unwrap_err();
    assert!(matches!(error, NotProven::Value(NotEstablished::OtherCode { .. })), "{error}");
    let other = TrustLine { chain: "other-1".to_owned(), ..early.line.clone() };
    let other = Trust { line: other, ..early.clone() };
    let error = rpc.prove(&other, &contract, TREE_KEY).await.unwrap_err();
    assert!(matches!(error, NotProven::OtherChain { .. }), "{error}");
    assert!(rpc.prove(&early, &contract, b"nothing").await.is_err());
    it_is_proven_what_is_not_there(&rpc, &newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_costs_is_bounded_and_told() {
    let Some(wasm) = contract() else { return };
    let Some(mut stage) = Stage::start("0.025stake") else { return };
    let wasm = std::fs::read(wasm).unwrap();
    stage.node.fund(&stage.address, 200_000);

    let cheap = "gas_price = \"0.001\"\nmax_fee = 1000000\nmax_fee_a_day = 1000000\n";
    let error = stage.deliverer(cheap).store(&wasm).await.unwrap_err();
    assert!(matches!(error, NotDelivered::PriceTooLow { .. }), "{error}");
    let bounded = "gas_price = \"0.025\"\nmax_fee = 100000\nmax_fee_a_day = 1000000\n";
    let error = stage.deliverer(bounded).store(&wasm).await.unwrap_err();
    assert!(matches!(error, NotDelivered::TooDear { .. }), "{error}");
    let some = "gas_price = \"0.025\"\nmax_fee = 180000\nmax_fee_a_day = 200000\n";
    assert_eq!(stage.deliverer(some).store(&wasm).await.unwrap(), 1);
    // Of another process, too.
    let error = stage.deliverer(some).store(&wasm).await.unwrap_err();
    assert!(matches!(error, NotDelivered::DaySpent { .. }), "{error}");
    let more = "gas_price = \"0.025\"\nmax_fee = 1000000\nmax_fee_a_day = 2000000\n";
    let error = stage.deliverer(more).store(&wasm).await.unwrap_err();
    let NotDelivered::NoMoney { account, has, fee, .. } = &error else { panic!("{error}") };
    assert!(*account == stage.address && has.0 < fee.0 && has.0 > 0, "{error}");

    another_pays(&stage, &wasm).await;

    // Another chain's settings, and nobody there.
    let settings = stage.settings(more);
    let other = Settings { chain_id: "other-1".to_owned(), ..settings.clone() };
    let account = settings.open_account().unwrap();
    let error = Deliverer::new(stage.rpc(), &other, account).store(&wasm).await.unwrap_err();
    assert!(matches!(error, NotDelivered::OtherChain { .. }), "{error}");
    stage.node.kill();
    let error = stage.deliverer(more).store(&wasm).await.unwrap_err();
    assert!(error.to_string().starts_with("no server of the chain answers: "), "{error}");
    stage.node.restart();
    assert_eq!(stage.rpc().account(&stage.address).await.unwrap().unwrap().sequence, 1);
    whatever_happens(&mut stage).await;
}

/// On the same chain: a batch of which one is not to be paid, fees that rise, and what a chain forgets.
async fn whatever_happens(stage: &mut Stage) {
    stage.node.fund(&stage.address, 10_000_000);
    let pays = |price: &str| {
        format!("gas_price = \"{price}\"\nmax_fee = 60000\nmax_fee_a_day = 20000000\n")
    };
    let contract =
        stage.deliverer(&pays("0.025")).instantiate(1, &beginning(), "test").await.unwrap();
    let to = |price: &str| format!("contract = \"{contract}\"\n{}", pays(price));
    let (id, seen) = state(&stage.rpc(), &contract).await;

    // One of 64 costs more than max_fee, whatever it is delivered with.
    let invited = (0..500_u16).map(|number| {
        let mut seed = [9; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        Invitation::new(learner_id(&SigningKey::from_bytes(&seed)), 1)
    });
    let mut invited: Vec<Invitation> = invited.collect();
    invited.sort_by_key(|it| it.learner);
    let mut batch = vec![vec![7]; 64];
    batch[20] = creation(&id, seen, "one");
    batch[40] = creation_with(&id, seen, "dear", Admission::Invited(invited));
    let delivered = stage.deliverer(&to("0.025")).submit(&batch).await.unwrap();
    let is = |code: u32| delivered.codes.iter().filter(|it| **it == code).count();
    assert_eq!((delivered.codes[20], is(200), is(NOT_DELIVERED)), (0, 62, 1));
    let not: Vec<(&usize, &String)> = delivered.not_delivered.iter().collect();
    assert!(matches!(&not[..], [(40, why)] if why.contains("more than max_fee")), "{not:?}");

    // It takes more for a unit of gas from now on: nothing is paid, and it is said.
    stage.node.kill();
    stage.node.ask_for("0.05stake");
    stage.node.restart();
    let (_, seen) = state(&stage.rpc(), &contract).await;
    let two = creation(&id, seen, "two");
    let balance = async || stage.rpc().balance(&stage.address, "stake").await.unwrap();
    let had = balance().await;
    let refused = stage.deliverer(&to("0.025")).submit(std::slice::from_ref(&two)).await;
    assert!(matches!(refused, Err(NotDelivered::PriceTooLow { .. })), "{refused:?}");
    assert_eq!(balance().await, had);
    assert_eq!(stage.deliverer(&to("0.05")).submit(&[two]).await.unwrap().codes, [0]);

    // What waits for its block is lost with the node: it is handed over again, and recorded once.
    for number in 0..5 {
        let (_, seen) = state(&stage.rpc(), &contract).await;
        let payload = creation(&id, seen, &format!("lost-{number}"));
        let sequence = sequence(stage).await;
        let mut deliverer = stage.deliverer(&to("0.05"));
        let delivering = tokio::spawn(async move { deliverer.submit(&[payload]).await });
        // A block comes every 200 ms.
        while !one_waits(&stage.node.rpc_url()).await {
            assert!(!delivering.is_finished(), "nothing was seen to wait");
        }
        stage.node.kill();
        stage.node.restart();
        let is_lost = self::sequence(stage).await == sequence;
        assert_eq!(delivering.await.unwrap().unwrap().codes, [0]);
        assert_eq!(state(&stage.rpc(), &contract).await.1.size, seen.size + 1);
        if is_lost {
            return;
        }
    }
    panic!("each had come into a block before the node was killed");
}

async fn sequence(stage: &Stage) -> u64 {
    stage.rpc().account(&stage.address).await.unwrap().unwrap().sequence
}

/// Whether something waits for its block at the node there.
async fn one_waits(url: &str) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /num_unconfirmed_txs HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.contains("\"total\":") && !answer.contains("\"total\":\"0\"")
}

/// A chain proves that a contract keeps nothing under a key, and nothing of that can be bent.
async fn it_is_proven_what_is_not_there(rpc: &Rpc, trust: &Trust) {
    let light = rpc.prove(trust, &trust.contract, TREE_KEY).await.unwrap().light;
    let address = colearn_light::address(&trust.contract).unwrap();
    let at = light.height() - 1;
    for (key, is_there) in [
        (Root::key(2), true),
        (Root::key(9), false),
        (b"a".to_vec(), false),
        (b"zzz".to_vec(), false),
        (TREE_KEY.to_vec(), true),
    ] {
        let key = contract_key(&address, &key);
        let answer = colearn_light::proven(&rpc.value(&key, at).await.unwrap()).unwrap();
        assert_eq!(light.value(&key, &answer).is_ok(), is_there);
        assert_eq!(light.absent(&key, &answer).is_ok(), !is_there);
        // It is said of this key alone.
        let other = contract_key(&address, b"r");
        assert!(light.absent(&other, &answer).is_err());
    }
}

/// An account that has nothing delivers what another pays, as far as the chain lets it.
async fn another_pays(stage: &Stage, wasm: &[u8]) {
    let poor = Account::generate().unwrap();
    let address = poor.address(Wasmd::PREFIX).unwrap();
    let path = stage.folder.path().join("poor.pem");
    poor.save(&path).unwrap();
    let granter = stage.node.grant(&address, 180_000);
    let more = "gas_price = \"0.025\"\nmax_fee = 180000\nmax_fee_a_day = 1000000\n";
    let own = Settings { account: path, ..stage.settings(more) };
    let granted = Settings { granter: Some(granter.clone()), ..own.clone() };
    let store = async |settings: &Settings| {
        let account = settings.open_account().unwrap();
        Deliverer::new(stage.rpc(), settings, account).store(wasm).await
    };
    let error = store(&own).await.unwrap_err();
    assert!(matches!(error, NotDelivered::NoMoney { has, .. } if has.0 == 0), "{error}");
    let rpc = stage.rpc();
    let balance = async |address: &str| rpc.balance(address, Wasmd::DENOM).await.unwrap();
    let had = balance(&granter).await;
    assert_eq!(store(&granted).await.unwrap(), 2);
    let paid = had - balance(&granter).await;
    assert!((100_000..=180_000).contains(&paid), "{paid}");
    assert_eq!(balance(&address).await, 0);
    // No more than was granted.
    let error = store(&granted).await.unwrap_err();
    let NotDelivered::NoGrant { granter: named, .. } = &error else { panic!("{error:?}") };
    assert!(*named == granter && error.to_string().contains("fee limit exceeded"), "{error}");
    assert_eq!(had - balance(&granter).await, paid);
    // And nobody pays who has granted nothing.
    let stranger = Settings { granter: Some(stage.address.clone()), ..granted };
    let error = store(&stranger).await.unwrap_err();
    assert!(matches!(error, NotDelivered::NoGrant { .. }), "{error:?}");
}
