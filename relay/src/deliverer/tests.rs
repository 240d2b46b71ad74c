#![allow(clippy::unwrap_used)]

use std::io::Read as _;
use std::sync::{Arc, Mutex};

use super::*;
use crate::fake::serve;

#[test]
fn a_call_has_at_most_64_transactions_and_so_many_bytes() {
    let of = |lengths: &[usize]| {
        let transactions: Vec<Vec<u8>> = lengths.iter().map(|it| vec![0; *it]).collect();
        batches(&transactions).iter().map(|it| it.len()).collect::<Vec<_>>()
    };
    assert!(of(&[]).is_empty());
    assert_eq!(of(&[1; 64]), [64]);
    assert_eq!(of(&[1; 130]), [64, 64, 2]);
    assert_eq!(of(&[MAX_BATCH_BYTES, 1, MAX_BATCH_BYTES - 1, 1]), [1, 2, 1]);
}

#[test]
fn code_is_packed_once() {
    let wasm = [b"\0asm", &[7; 100_000][..]].concat();
    let packed = packed(&wasm).unwrap();
    assert!(packed.len() < 1_000);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, wasm);
    assert_eq!(super::packed(&packed).unwrap(), packed);
    // A chain names it by what it is unpacked.
    assert_eq!(code_checksum(&packed).unwrap(), code_checksum(&wasm).unwrap());
    assert_ne!(code_checksum(&wasm[1..]).unwrap(), code_checksum(&wasm).unwrap());
    assert!(code_checksum(&packed[..packed.len() - 9]).is_err());
    let bomb = super::packed(&vec![0; MAX_CODE_BYTES + 1]).unwrap();
    assert!(matches!(code_checksum(&bomb), Err(NotDelivered::TooLong { .. })));
}

/// In base64: what costs far more than max_fee, and what a chain undoes. Names of experiments of which the same is so are
/// the same.
const DEAR: &str = "dear";
const UNDONE: &str = "gone";

/// What a transaction of the chain calls the contract with.
fn call(tx: &wire::TxRaw) -> String {
    let body = wire::TxBody::decode(&tx.body_bytes[..]).unwrap();
    let message = wire::MsgExecuteContract::decode(&body.messages[0].value[..]).unwrap();
    String::from_utf8(message.msg).unwrap()
}

/// A chain of one server, whose time is now and whose transactions are in a block at once, as far as a test does not
/// want it otherwise.
#[derive(Clone)]
struct Chain {
    height: u64,
    /// How many blocks there are more each time that is asked.
    grows: u64,
    age: Duration,
    simulated: u64,
    /// What comes of transactions, the next one last, and then code 0.
    codes: Vec<u32>,
    /// What is said when one is handed over.
    taken: u32,
    /// Until this height another one of the account's waits for its block.
    waits_until: u64,
    is_included: bool,
    /// Whether transactions can be asked for by their hash, and what came of blocks is kept.
    keeps: (bool, bool),
    /// In which blocks they are.
    included: Vec<(u64, String)>,
    /// What the account's next transaction is to say.
    sequence: u64,
    /// What the contract says; where it is empty, code 0 of each.
    answer: &'static str,
    /// How many transactions the last call had.
    together: usize,
    /// The gas and the fee of those that were handed over.
    sent: Vec<(u64, String)>,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            height: 100,
            grows: 1,
            age: Duration::ZERO,
            simulated: 100_000,
            codes: Vec::new(),
            taken: 0,
            waits_until: 0,
            is_included: true,
            keeps: (true, true),
            included: Vec::new(),
            sequence: 4,
            answer: "",
            together: 0,
            sent: Vec::new(),
        }
    }
}

impl Chain {
    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        let time = |age: Duration| {
            let now = std::time::SystemTime::now() - age;
            humantime::format_rfc3339_nanos(now).to_string()
        };
        let value =
            |bytes: &[u8]| json!({ "response": { "code": 0, "value": STANDARD.encode(bytes) } });
        match method {
            "status" => {
                self.height += self.grows;
                Ok(json!({
                    "node_info": { "network": "c-1" },
                    "sync_info": {
                        "latest_block_height": self.height.to_string(),
                        "latest_block_time": time(self.age), "catching_up": false,
                    },
                }))
            }
            "abci_query" => match params["path"].as_str() {
                Some("/app/simulate") => {
                    let tx = hex::decode(params["data"].as_str().unwrap()).unwrap();
                    let call = call(&wire::TxRaw::decode(&tx[..]).unwrap());
                    if call.contains(UNDONE) {
                        let response = json!({ "code": 5, "codespace": "wasm", "log": "bad" });
                        return Ok(json!({ "response": response }));
                    }
                    let dear = call.matches(DEAR).count() as u64 * 10_000_000;
                    let used = self.simulated.saturating_add(dear).to_string();
                    Ok(value(json!({ "gas_info": { "gas_used": used } }).to_string().as_bytes()))
                }
                Some("/cosmos.auth.v1beta1.Query/AccountInfo") => {
                    let info =
                        Some(wire::BaseAccount { account_number: 1, sequence: self.sequence });
                    Ok(value(&wire::QueryAccountInfoResponse { info }.encode_to_vec()))
                }
                Some("/cosmos.bank.v1beta1.Query/Balance") => {
                    let coin = wire::Coin { denom: "stake".into(), amount: "7".into() };
                    let balance = wire::QueryBalanceResponse { balance: Some(coin) };
                    Ok(value(&balance.encode_to_vec()))
                }
                other => panic!("{other:?}"),
            },
            "broadcast_tx_sync" => {
                let text = params["tx"].as_str().unwrap();
                self.included.push((self.height + 2, text.to_owned()));
                let tx = STANDARD.decode(text).unwrap();
                let tx = wire::TxRaw::decode(&tx[..]).unwrap();
                let call: Value = serde_json::from_str(&call(&tx)).unwrap();
                let count = call["submit"]["transactions"].as_array().map_or(0, Vec::len);
                self.together = count;
                let auth = wire::AuthInfo::decode(&tx.auth_info_bytes[..]).unwrap();
                let fee = auth.fee.unwrap();
                self.sent.push((fee.gas_limit, fee.amount[0].amount.clone()));
                let taken = if self.height < self.waits_until { 32 } else { self.taken };
                Ok(json!({ "code": taken, "codespace": "sdk", "log": "no" }))
            }
            "tx" if !self.keeps.0 => Err("transaction indexing is disabled".to_owned()),
            "tx" if !self.is_included => Err("tx (00) not found".to_owned()),
            "tx" => Ok(json!({ "height": self.height.to_string(), "tx_result": self.result() })),
            "block" => {
                let height: u64 = params["height"].as_str().unwrap().parse().unwrap();
                let own = self.included.iter().filter(|(at, _)| self.is_included && *at == height);
                let others = std::iter::once(STANDARD.encode("somebody's"));
                let txs: Vec<String> = others.chain(own.map(|(_, tx)| tx.clone())).collect();
                Ok(json!({ "block": { "data": { "txs": txs } } }))
            }
            "block_results" if !self.keeps.1 => {
                Err("node is not persisting finalize block responses".to_owned())
            }
            "block_results" => Ok(json!({ "txs_results": [{ "gas_used": "7" }, self.result()] })),
            other => panic!("{other}"),
        }
    }

    /// What has come of the last one.
    fn result(&mut self) -> Value {
        let code = self.codes.pop().unwrap_or(0);
        self.sequence += 1;
        let answer = match self.answer {
            "" => json!({ "codes": vec![0; self.together] }).to_string(),
            answer => answer.to_owned(),
        };
        let response = wire::MsgExecuteContractResponse { data: answer.into_bytes() };
        let any = Any::of("", &response);
        let data = wire::TxMsgData { msg_responses: vec![any] }.encode_to_vec();
        json!({
            "code": code, "codespace": "sdk", "log": "out", "gas_used": "99",
            "data": STANDARD.encode(data),
        })
    }
}

/// Delivers garbage, so many transactions, on such a chain; and what was sent, and what the day has cost.
async fn deliver(
    chain: Chain,
    count: usize,
) -> (Result<Delivered, NotDelivered>, Vec<(u64, String)>, u128) {
    let (chain, mut deliverer, _folder) = begin(chain).await;
    let delivered = deliverer.submit(&vec![vec![1]; count]).await;
    let sent = chain.lock().unwrap().sent.clone();
    (delivered, sent, deliverer.spent_today().unwrap())
}

/// Such a chain, and who delivers there.
async fn begin(chain: Chain) -> (Arc<Mutex<Chain>>, Deliverer, tempfile::TempDir) {
    let chain = Arc::new(Mutex::new(chain));
    let server = served(&chain).await;
    let (deliverer, folder) = deliverer(vec![server]);
    (chain, deliverer, folder)
}

async fn served(chain: &Arc<Mutex<Chain>>) -> String {
    let chain = Arc::clone(chain);
    serve(move |method, params| chain.lock().unwrap().answer(method, params)).await
}

/// Who delivers by these servers.
fn deliverer(rpc: Vec<String>) -> (Deliverer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        chain_id: "c-1".to_owned(),
        rpc,
        contract: Some("wasm1".to_owned()),
        peers: Vec::new(),
        prefix: "wasm".to_owned(),
        denom: "stake".to_owned(),
        gas_price: "0.01".parse().unwrap(),
        account: folder.path().join("relay.pem"),
        granter: None,
        max_fee: Amount(10_000),
        max_fee_a_day: Amount(15_000),
        trust: None,
    };
    let account = Account::generate().unwrap();
    (Deliverer::new(settings.servers().unwrap(), &settings, account), folder)
}

#[tokio::test]
async fn what_is_paid_is_what_was_tried_out_and_a_third_more() {
    let (delivered, sent, spent) = deliver(Chain::default(), 1).await;
    let delivered = delivered.unwrap();
    assert_eq!((delivered.codes, delivered.fee, delivered.gas_used), (vec![0], 1_300, 99));
    assert_eq!(sent, [(130_000, "1300".to_owned())]);
    assert_eq!(spent, 1_300);
}

#[tokio::test]
async fn without_an_index_of_transactions_they_are_found_in_their_blocks() {
    let chain = Chain { keeps: (false, true), ..Chain::default() };
    let (chain, mut deliverer, _folder) = begin(chain).await;
    for at in 0..2 {
        let delivered = deliverer.submit(&[vec![1], vec![2]]).await.unwrap();
        let height = chain.lock().unwrap().included[at].0;
        assert_eq!((delivered.codes, delivered.gas_used), (vec![0; 2], 99));
        assert_eq!(delivered.height, height);
    }
    // Undone there; in no block; and where nobody keeps what came of it.
    let chain = Chain { keeps: (false, true), codes: vec![5], ..Chain::default() };
    let (undone, ..) = deliver(chain, 1).await;
    assert!(matches!(undone, Err(NotDelivered::Failed { code: 5, .. })), "{undone:?}");
    let chain = Chain { keeps: (false, true), is_included: false, grows: 9, ..Chain::default() };
    let (nowhere, sent, _) = deliver(chain, 1).await;
    assert!(matches!(nowhere, Err(NotDelivered::NotIncluded { .. })), "{nowhere:?}");
    assert_eq!(sent.len(), TRIES);
    let (untold, ..) = deliver(Chain { keeps: (false, false), ..Chain::default() }, 1).await;
    assert!(matches!(untold, Err(NotDelivered::NoAnswer { .. })), "{untold:?}");
}

#[tokio::test]
async fn a_liar_costs_no_more_than_max_fee() {
    for simulated in [u64::MAX, 1_000_000] {
        let (delivered, sent, spent) = deliver(Chain { simulated, ..Chain::default() }, 2).await;
        assert!(matches!(delivered, Err(NotDelivered::TooDear { .. })));
        assert_eq!((sent, spent), (vec![], 0));
    }
    // It says that each time it was too little.
    let codes = vec![11; 9];
    let chain = Chain { simulated: 300_000, codes, ..Chain::default() };
    let (delivered, sent, spent) = deliver(chain, 1).await;
    assert!(matches!(delivered, Err(NotDelivered::OutOfGas { .. })));
    let fees: Vec<&str> = sent.iter().map(|it| it.1.as_str()).collect();
    assert_eq!((fees, spent), (vec!["3900", "7800"], 11_700));
    // And the day has its end.
    let codes = vec![11; 9];
    let chain = Chain { simulated: 600_000, codes, ..Chain::default() };
    let (delivered, _, spent) = deliver(chain, 3).await;
    assert!(matches!(delivered, Err(NotDelivered::DaySpent { .. })), "{delivered:?}");
    assert_eq!(spent, 7_800);
}

#[tokio::test]
async fn one_server_that_lies_keeps_nothing_back() {
    type Lie = fn(&str, &Value) -> Option<Value>;
    let lies: [Lie; 5] = [
        // It would fail; it costs what nobody pays; nobody knows the account.
        |_, params| {
            let response = json!({ "code": 5, "codespace": "wasm", "log": "no" });
            (params["path"] == "/app/simulate").then(|| json!({ "response": response }))
        },
        |_, params| {
            let used = json!({ "gas_info": { "gas_used": "900000000" } }).to_string();
            let response = json!({ "code": 0, "value": STANDARD.encode(used) });
            (params["path"] == "/app/simulate").then(|| json!({ "response": response }))
        },
        |_, params| {
            let response = json!({ "code": 22, "codespace": "sdk", "log": "account not found" });
            let asked = params["path"] == "/cosmos.auth.v1beta1.Query/AccountInfo";
            asked.then(|| json!({ "response": response }))
        },
        // It is another chain.
        |method, _| {
            let info = json!({
                "latest_block_height": "7", "latest_block_time": "2026-01-01T00:00:00Z", "catching_up": false,
            });
            let answer = json!({ "node_info": { "network": "c-2" }, "sync_info": info });
            (method == "status").then_some(answer)
        },
        // It takes it, and drops it.
        |method, _| {
            let answer = json!({ "code": 0, "codespace": "", "log": "" });
            (method == "broadcast_tx_sync").then_some(answer)
        },
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let chain = Arc::new(Mutex::new(Chain { grows: 30, ..Chain::default() }));
        let honest = served(&chain).await;
        let shared = Arc::clone(&chain);
        let liar = serve(move |method, params| {
            let mut chain = shared.lock().unwrap();
            match lie(method, params) {
                Some(answer) => Ok(answer),
                // What was dropped is nowhere.
                None if method == "tx" && chain.sent.is_empty() => {
                    Err("tx (00) not found".to_owned())
                }
                None => chain.answer(method, params),
            }
        });
        let (mut deliverer, _folder) = deliverer(vec![liar.await, honest]);
        let delivered = deliverer.submit(&[vec![1]]).await;
        assert_eq!(delivered.unwrap().codes, [0], "{number}");
        assert_eq!(chain.lock().unwrap().sent.len(), 1, "{number}");
    }
}

#[tokio::test]
async fn what_runs_out_of_gas_is_halved() {
    let chain = Chain { codes: vec![0, 0, 11], ..Chain::default() };
    let (delivered, sent, spent) = deliver(chain, 2).await;
    assert_eq!(delivered.unwrap().codes, [0, 0]);
    assert_eq!((sent.len(), spent), (3, 3_900));
}

#[tokio::test]
async fn what_comes_into_no_block_is_built_again_and_then_given_up() {
    let chain = Chain { is_included: false, grows: 30, ..Chain::default() };
    let (delivered, sent, spent) = deliver(chain, 1).await;
    assert!(matches!(delivered, Err(NotDelivered::NotIncluded { .. })), "{delivered:?}");
    // All said the same sequence: one of them can be carried out, whatever a server says of them.
    assert_eq!((sent.len(), spent), (TRIES, 1_300));
}

#[tokio::test]
async fn one_that_cannot_be_delivered_keeps_none_of_the_others_back() {
    let (_chain, mut deliverer, _folder) = begin(Chain::default()).await;
    let bytes = |text: &str| STANDARD.decode(text).unwrap();
    let (good, dear, undone) = (vec![1], bytes(DEAR), bytes(UNDONE));
    let long = vec![0; MAX_BATCH_BYTES + 1];
    let all = [good.clone(), dear.clone(), good.clone(), long, good.clone(), undone.clone(), good];
    let delivered = deliverer.submit(&all).await.unwrap();
    let no = NOT_DELIVERED;
    assert_eq!(delivered.codes, [0, no, 0, no, 0, no, 0]);
    let why: Vec<(&usize, &String)> = delivered.not_delivered.iter().collect();
    assert!(
        matches!(&why[..], [(1, dear), (3, long), (5, undone)]
        if dear.contains("max_fee") && long.contains("bytes") && undone.contains("bad")),
        "{why:?}"
    );
    // Where it is none at all there is only the error.
    let none = deliverer.submit(&[dear, undone]).await;
    assert!(matches!(none, Err(NotDelivered::TooDear { .. })), "{none:?}");
    // What concerns all ends it, and what was delivered before is told.
    let (_chain, mut deliverer, _folder) =
        begin(Chain { simulated: 600_000, ..Chain::default() }).await;
    let delivered = deliverer.submit(&vec![vec![1]; 128]).await.unwrap();
    assert_eq!(delivered.codes, [vec![0; 64], vec![no; 64]].concat());
    assert_eq!(delivered.not_delivered.len(), 64);
    assert!(delivered.not_delivered[&64].contains("max_fee_a_day"));
}

#[tokio::test]
async fn ticks_are_halved_too() {
    let (chain, mut deliverer, _folder) = begin(Chain::default()).await;
    let names = ["a", DEAR, "b", "c"].map(str::to_owned);
    let ticked = deliverer.tick(&names).await;
    assert!(matches!(ticked, Err(NotDelivered::TooDear { .. })), "{ticked:?}");
    assert_eq!(chain.lock().unwrap().sent.len(), 2);
    assert_eq!(deliverer.tick(&[]).await.unwrap(), Delivered::default());
    // Alone it gets more.
    chain.lock().unwrap().codes = vec![0, 11];
    assert_eq!(deliverer.tick(&names[..1]).await.unwrap().fee, 2_600);
}

#[tokio::test]
async fn what_was_signed_before_a_crash_is_waited_for() {
    let (delivered, sent, spent) = deliver(Chain { waits_until: 118, ..Chain::default() }, 1).await;
    assert_eq!(delivered.unwrap().codes, [0]);
    assert!(sent.len() > TRIES);
    assert_eq!(spent, 1_300);
    let (delivered, ..) = deliver(Chain { waits_until: 150, ..Chain::default() }, 1).await;
    assert!(matches!(delivered, Err(NotDelivered::Shared { .. })), "{delivered:?}");
}

#[tokio::test]
async fn each_refusal_has_its_words() {
    let words = [
        (5, "has 7stake, and about 1300stake are needed"),
        (13, "gas_price is 0.01stake, and the chain takes more"),
        (20, "too many transactions wait"),
        (32, "others sign for account wasm1"),
        (77, "the chain refuses (sdk 77): no"),
    ];
    for (taken, words) in words {
        let (delivered, _, spent) = deliver(Chain { taken, ..Chain::default() }, 1).await;
        let error = delivered.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        // It may have been handed on.
        assert_eq!(spent, 1_300, "{words}");
    }
    // That it is there already is no refusal.
    assert!(deliver(Chain { taken: 19, ..Chain::default() }, 1).await.0.is_ok());
    let halted = Chain { age: HALTED * 2, ..Chain::default() };
    assert!(matches!(deliver(halted, 1).await.0, Err(NotDelivered::Halted { .. })));
    for answer in ["-", "{}", "{\"codes\":[]}", "{\"codes\":[0,0]}", "{\"codes\":[-1]}"] {
        let (delivered, ..) = deliver(Chain { answer, ..Chain::default() }, 1).await;
        assert!(matches!(delivered, Err(NotDelivered::NoAnswer { .. })), "{answer}");
    }
    let failed = Chain { codes: vec![9], ..Chain::default() };
    let error = deliver(failed, 1).await.0.unwrap_err().to_string();
    assert_eq!(error, "the chain has undone it (sdk 9): out");
}
