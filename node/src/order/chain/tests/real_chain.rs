//! Two nodes that mirror one contract on a real chain, on this machine.

use std::path::Path;
use std::time::Duration;

use colearn_contracts::{Act, Action, Admission, CreateExperiment, Join, Parameters, VERSION};
use colearn_light::{Light, RawBlock, RawValue, Trust, TrustLine};
use colearn_proto::v1;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_proto::v1::ledger_service_client::LedgerServiceClient;
use colearn_records::keys::learner_id;
use colearn_records::on_chain::{TREE_KEY, Tree};
use colearn_records::record::Record;
use colearn_records::transaction::{Seen, Transaction};
use colearn_relay::{Account, Deliverer, Rpc, Settings};
use colearn_sdk::client::{self, Client, Followed, Memory};
use colearn_sdk::learner::Weights;
use colearn_testkit::wasmd::{Wasmd, contract};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::two_headers::{at_any, told};
use crate::testing::key;
use crate::{ChainError, Config, Node, NodeError};

/// A chain with a contract, and what is to be trusted of both.
struct Stage {
    chain: Wasmd,
    folder: tempfile::TempDir,
    contract: String,
    trust: Trust,
}

impl Stage {
    async fn start() -> Option<Self> {
        let wasm = std::fs::read(contract()?).unwrap();
        let chain = Wasmd::start()?;
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&chain, folder.path(), "deployer", "");
        let rpc = settings.servers().unwrap();
        let account = settings.open_account().unwrap();
        let mut deployer = Deliverer::new(rpc.clone(), &settings, account);
        let code = deployer.store(&wasm).await.unwrap();
        let begin = json!({
            "max_members": 500, "block_gas": 100_000_000, "experiments_per_creator": 8, "expiry_ms": 3_600_000,
        });
        let contract = deployer.instantiate(code, &begin, "test").await.unwrap();
        let line = trusted(&rpc, chain.chain_id()).await;
        let code = Sha256::digest(&wasm).into();
        let trust = Trust { line, code, contract: contract.clone() };
        Some(Self { chain, folder, contract, trust })
    }

    /// How a mirror is started, with an account and a folder of its own.
    fn config(&self, name: &str) -> Config {
        let more = format!("contract = \"{}\"\ntrust = \"{}\"\n", self.contract, self.trust);
        let settings = settings(&self.chain, self.folder.path(), name, &more);
        Config {
            chain: Some(settings),
            ops: at_any(),
            ..Config::new(self.folder.path().join(name))
        }
    }
}

/// What `chain.toml` says for an account that has some money.
fn settings(chain: &Wasmd, folder: &Path, name: &str, more: &str) -> Settings {
    let account = folder.join(format!("{name}.pem"));
    if !account.exists() {
        let made = Account::generate().unwrap();
        made.save(&account).unwrap();
        chain.fund(&made.address(Wasmd::PREFIX).unwrap(), 1_000);
    }
    let path = folder.join(format!("{name}.toml"));
    let text = format!(
        "chain_id = \"{}\"\nrpc = [\"{}\"]\nprefix = \"wasm\"\ndenom = \"stake\"\ngas_price = 0\n\
         max_fee = 0\nmax_fee_a_day = 0\naccount = \"{name}.pem\"\n{more}",
        chain.chain_id(),
        chain.rpc_url()
    );
    std::fs::write(&path, text).unwrap();
    Settings::read(&path).unwrap()
}

/// The newest header, as its server says.
async fn trusted(rpc: &Rpc, chain: &str) -> TrustLine {
    let height = rpc.status().await.unwrap().height;
    let block = rpc.block(height).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&block.commit).unwrap();
    let hash = &answer["result"]["signed_header"]["commit"]["block_id"]["hash"];
    let hash = hex::decode(hash.as_str().unwrap()).unwrap().try_into().unwrap();
    let period = Duration::from_secs(14 * 24 * 3_600);
    TrustLine { chain: chain.to_owned(), height, hash, period }
}

async fn channel(node: &Node) -> Channel {
    Channel::from_shared(node.url()).unwrap().connect().await.unwrap()
}

async fn ledger(node: &Node) -> LedgerServiceClient<Channel> {
    LedgerServiceClient::new(channel(node).await)
}

async fn submit(node: &Node, signed: &Transaction) -> Result<v1::Receipt, Status> {
    let mut client = CoordinatorServiceClient::new(channel(node).await);
    let request = v1::SubmitRequest { transaction: Some(signed.message().clone()) };
    client.submit(request).await.map(|answer| answer.into_inner().receipt.unwrap())
}

/// All entries, once there are so many; with what is proven of them.
async fn entries(node: &Node, count: usize) -> Vec<Vec<u8>> {
    let mut stream = loop {
        match ledger(node).await.subscribe(v1::SubscribeRequest { start: 0 }).await {
            Ok(stream) => break stream.into_inner(),
            // Until the chain has proven something.
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    };
    let mut entries: Vec<Vec<u8>> = Vec::new();
    while entries.len() < count {
        let message = stream.message().await.unwrap().unwrap();
        entries.extend(message.entries.iter().map(|it| it.to_vec()));
    }
    entries.truncate(count);
    entries
}

/// What the newest checkpoint says.
async fn seen(node: &Node) -> Seen {
    let request = v1::GetCheckpointRequest { old_size: 0, cosigned: false };
    let note = loop {
        match ledger(node).await.get_checkpoint(request).await {
            Ok(answer) => break answer.into_inner().checkpoint,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    };
    let text = colearn_ledger::SignedNote::parse(&note).unwrap().text().to_owned();
    let checkpoint = colearn_ledger::Checkpoint::parse(&text).unwrap();
    Seen { size: checkpoint.size, root: checkpoint.root }
}

/// What the chain proves by a node's word of a ledger of so many entries.
async fn proven(stage: &Stage, node: &Node, size: u64) -> Tree {
    let mut client = ledger(node).await;
    let proof = client.get_chain_proof(v1::GetChainProofRequest { size }).await;
    let proof = proof.unwrap().into_inner();
    let block = |block: v1::ChainBlock| RawBlock {
        commit: block.commit.to_vec(),
        validators: block.validators.iter().map(|it| it.to_vec()).collect(),
        next_validators: block.next_validators.iter().map(|it| it.to_vec()).collect(),
    };
    let begin = v1::GetChainBlockRequest { height: stage.trust.line.height };
    let begin = client.get_chain_block(begin).await.unwrap().into_inner().block.unwrap();
    let mut light = Light::begin(&stage.trust.line, block(begin).read().unwrap()).unwrap();
    let newest = block(proof.block.unwrap()).read().unwrap();
    light.advance(newest, crate::clock::now_ms()).unwrap();
    let value = RawValue {
        value: proof.tree.to_vec(),
        contract: proof.contract.to_vec(),
        code: proof.code.to_vec(),
    };
    let address = colearn_light::address(&stage.contract).unwrap();
    let established = light.established(&address, TREE_KEY, &stage.trust.code, &value).unwrap();
    Tree::from_bytes(&established.value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mirrors_have_what_the_chain_proves() {
    let Some(mut stage) = Stage::start().await else { return };
    let [a, b] = ["a", "b"].map(|name| stage.config(name));
    let (a, mut b) = (Node::start(a).await.unwrap(), Node::start(b.clone()).await.unwrap());
    let id = a.ledger_id();
    assert_eq!(b.ledger_id(), id);

    // Short deadlines: what time decides comes by itself.
    let weights = Weights::new(vec![7; 100]);
    for node in [&a, &b] {
        Client::connect(node.url()).await.unwrap().upload(&weights).await.unwrap();
    }
    let parameters = Parameters {
        min_learners: 2,
        proposal_deadline_ms: 1_000,
        max_rounds: Some(1),
        ..Parameters::default()
    };
    let name: colearn_contracts::ExperimentName = "one".parse().unwrap();
    let create = |who: u8, seen| {
        let create = Act::Create(CreateExperiment {
            version: VERSION.number(),
            parameters: parameters.clone(),
            admission: Admission::Open,
            model: weights.model("m"),
            plan: None,
        });
        Transaction::sign(&key(who), &id, seen, Action::new(name.clone(), create))
    };
    let created = create(1, seen(&a).await);
    let receipt = submit(&a, &created).await.unwrap();
    assert_eq!(receipt.index, 1);
    assert_eq!(entries(&b, 2).await, entries(&a, 2).await);
    // Not what the checkpoint of the moment is, but one that was shown.
    let tree = proven(&stage, &b, 2).await;
    assert_eq!(Seen { size: 2, root: tree.root() }, seen(&a).await);
    assert_eq!(tree.head().size, 2);

    // Handed to another: it is the same. And what the rules refuse costs nobody anything.
    assert_eq!(submit(&b, &created).await.unwrap().index, 1);
    let rpc = stage.config("b").chain.unwrap().servers().unwrap();
    let payer = Account::open(&stage.folder.path().join("b.pem")).unwrap();
    let payer = payer.address(Wasmd::PREFIX).unwrap();
    let paid = rpc.account(&payer).await.unwrap().map(|it| it.sequence);
    let refused = submit(&b, &create(2, seen(&b).await)).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    assert_eq!(rpc.account(&payer).await.unwrap().map(|it| it.sequence), paid);

    // Both deliver at the same time.
    let seen_now = seen(&b).await;
    let terms =
        colearn_contracts::terms(VERSION, learner_id(&key(1)), &parameters, &Admission::Open);
    let join = |who: u8| {
        let join = Action::new(name.clone(), Act::Join(Join::new(0, Some(terms))));
        Transaction::sign(&key(who), &id, seen_now, join)
    };
    let (first, second) = (join(1), join(2));
    let (at_a, at_b) = tokio::join!(submit(&a, &first), submit(&b, &second));
    let mut indices = [at_a.unwrap().index, at_b.unwrap().index];
    indices.sort_unstable();
    assert_eq!(indices, [2, 3]);

    // The chain is killed, and comes back; a mirror, too.
    stage.chain.kill();
    b.shutdown().await.unwrap();
    stage.chain.restart();
    b = Node::start(stage.config("b")).await.unwrap();
    // Nobody proposes in time: a mirror says so to the chain, and the round is closed.
    let mut count = 5;
    let both = loop {
        let both = entries(&a, count).await;
        let Record::Outcome(outcome) = Record::decode(&both[count - 1]).unwrap().record else {
            panic!("entry {count} is no outcome");
        };
        if matches!(outcome.what, colearn_contracts::Decision::RoundClosed { .. }) {
            break both;
        }
        count += 1;
    };
    assert_eq!(entries(&b, count).await, both);
    assert_eq!(proven(&stage, &b, 0).await.root(), proven(&stage, &a, 0).await.root());

    followed(&stage, [&a, &b], &weights).await;

    // The chain's governance gives the contract other code: nothing is believed, or delivered there.
    stage.chain.migrate(&stage.contract);
    assert!(told(&a, "healthz", 503).await.contains("the contract runs the code "));
    let paid = rpc.account(&payer).await.unwrap().map(|it| it.sequence);
    assert!(told(&b, "healthz", 503).await.contains("the contract runs the code "));
    let refused = submit(&b, &create(5, seen(&b).await)).await.unwrap_err();
    assert!(refused.message().contains("the contract runs the code "), "{refused}");
    assert_eq!(rpc.account(&payer).await.unwrap().map(|it| it.sequence), paid);

    a.shutdown().await.unwrap();
    b.shutdown().await.unwrap();
    folders(&stage).await;
}

/// A learner believes a mirror because the chain proves what it shows, and goes on at the other.
async fn followed(stage: &Stage, nodes: [&Node; 2], weights: &Weights) {
    let memory = stage.folder.path().join("memory");
    let learner = learner_id(&key(3));
    let trust = || client::Trust { chain: Some(stage.trust.clone()), ..client::Trust::default() };
    let mut known = 0;
    for (node, experiment) in nodes.into_iter().zip(["two", "three"]) {
        // A learner passes over a mirror that is a block behind what it knows.
        entries(node, known).await;
        let client = Client::connect(node.url()).await.unwrap();
        let memory = Memory::open(&memory, learner).unwrap();
        let mut followed = Followed::open(client.clone(), memory, trust()).await.unwrap();
        followed.catch_up(&mut |_| {}).await.unwrap();
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters: Parameters::default(),
            admission: Admission::Open,
            model: weights.model("m"),
            plan: None,
        };
        let create = Action::new(experiment.parse().unwrap(), Act::Create(create));
        let submitted = followed.act(key(3), create).await.unwrap();
        followed.catch_up(&mut |_| {}).await.unwrap();
        assert!(followed.size() > submitted.receipt.index);
        assert!(followed.seen().unwrap().size > submitted.receipt.index);
        followed.keep().unwrap();
        known = usize::try_from(followed.size()).unwrap();
        let proven = client.proven_end(&stage.trust, 0).await.unwrap();
        assert!(proven.seen.size > submitted.receipt.index && proven.height > 1);
    }
    let mut other = trust();
    other.chain.as_mut().unwrap().code[0] ^= 1;
    let client = Client::connect(nodes[0].url()).await.unwrap();
    let refused = Followed::open(client, Memory::default(), other).await.err().unwrap();
    assert!(refused.to_string().contains("runs the code"), "{refused}");
}

/// What a folder holds is not taken for something else.
async fn folders(stage: &Stage) {
    let error = |config: Config| async move {
        match Node::start(config).await {
            Ok(_) => panic!("started"),
            Err(error) => error,
        }
    };
    let alone = Config { chain: None, ..stage.config("a") };
    assert!(matches!(error(alone).await, NodeError::OnChain));
    let mut other = stage.config("a");
    if let Some(settings) = &mut other.chain {
        settings.contract =
            Some("wasm1nc5tatafv6eyq7llkr2gv50ff9e22mnf70qgjlv737ktmt4eswrqr5j2ht".to_owned());
    }
    assert!(matches!(error(other).await, NodeError::Chain(ChainError::OtherFolder)));
    let solo = Config::new(stage.folder.path().join("solo"));
    Node::start(solo.clone()).await.unwrap().shutdown().await.unwrap();
    let solo = Config { chain: stage.config("a").chain, ..solo };
    assert!(matches!(error(solo).await, NodeError::Chain(ChainError::OtherFolder)));
    // Another code than the one that is trusted.
    let mut bent = Config { data: stage.folder.path().join("new"), ..stage.config("a") };
    if let Some(trust) = bent.chain.as_mut().and_then(|it| it.trust.as_mut()) {
        trust.code[0] ^= 1;
    }
    let refused = error(bent).await;
    assert!(matches!(refused, NodeError::Chain(ChainError::NotEstablished(_))), "{refused}");
    let mut none = Config { data: stage.folder.path().join("new"), ..stage.config("a") };
    if let Some(settings) = &mut none.chain {
        settings.trust = None;
    }
    assert!(matches!(error(none).await, NodeError::Chain(ChainError::NoTrust)));
}
