//! Asking the servers of a chain: CometBFT's JSON-RPC over HTTP. What they say is read and bounded here, and believed
//! nowhere.

mod answer;
mod error;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use colearn_light::{MAX_ANSWER_BYTES, RawBlock};
use colearn_net::{Address, Http, Trust};
use prost::Message;
use serde_json::{Value, json};

use self::answer::{
    BlockAnswer, Broadcast, Consensus, Found, JsonRpc, Queried, Results, Simulated, StatusAnswer,
    Total, TxResult,
};
pub use self::error::{BadServer, Refusal, RpcError};
use crate::wire;

/// How long a server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many validators are asked for at once, which is the most that servers give.
const PAGE: u64 = 100;
/// The most pages: of 10,000 validators.
const MAX_PAGES: u64 = 100;

/// Servers of a chain. They are asked one after the other, until one answers; whoever did is asked first the next time.
/// Cheap to clone: clones know together who is asked first.
#[derive(Clone)]
pub struct Rpc {
    servers: Arc<[Server]>,
    first: Arc<AtomicUsize>,
}

/// One of them.
#[derive(Clone)]
struct Server {
    http: Http,
    /// What is told of its address: without a path, in which keys stand that those who rent out servers give.
    shown: String,
}

impl Server {
    fn new(address: &Address, trust: &Trust) -> Result<Self, BadServer> {
        let authority = address.uri().authority().map(|it| it.as_str()).unwrap_or_default();
        let scheme = address.uri().scheme_str().unwrap_or("http");
        let shown = format!("{scheme}://{authority}");
        Ok(Self { http: Http::new(address, trust, PATIENCE)?, shown })
    }

    /// A text without the path of its address, whoever wrote it.
    fn hide(&self, text: &str) -> String {
        let address = self.http.address();
        let path = address.uri().path().trim_end_matches('/');
        match path.is_empty() {
            true => text.to_owned(),
            false => text.replace(address.url(), &self.shown).replace(path, "/..."),
        }
    }
}

/// How a chain is, as a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The chain's id.
    pub chain_id: String,
    /// The height of the newest block.
    pub height: u64,
    /// Its time, in ms since 1970.
    pub time_ms: u64,
    /// Whether the server does not have the newest block yet.
    pub catching_up: bool,
}

/// What a chain keeps of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountState {
    /// Its number.
    pub number: u64,
    /// How many transactions it has signed: what the next one says.
    pub sequence: u64,
}

/// What has become of a transaction that is in a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// The block.
    pub height: u64,
    /// 0 if it did what it was to do.
    pub code: u32,
    /// The part of the chain whose code that is.
    pub codespace: String,
    /// Why it did not, in the chain's words.
    pub log: String,
    /// The gas that it took.
    pub gas_used: u64,
    /// What came of its first message: the bytes of that message's response, such as `MsgExecuteContractResponse`.
    pub data: Vec<u8>,
}

impl Done {
    /// Of which nobody says what came of it.
    pub(crate) fn untold(height: u64) -> Self {
        let (codespace, log, data) = (String::new(), String::new(), Vec::new());
        Self { height, code: 0, codespace, log, gas_used: 0, data }
    }
}

impl Rpc {
    /// Servers at these addresses, such as `https://rpc.example.org`: one at least.
    ///
    /// # Errors
    /// If one is no address, or there is none.
    pub fn new(servers: &[String]) -> Result<Self, BadServer> {
        // Who asks is nobody's business there.
        let mut trust = Trust::of_process();
        trust.credential = None;
        let server = |text: &String| {
            let address: Address = text.parse()?;
            Server::new(&address, &trust)
        };
        let servers: Vec<Server> = servers.iter().map(server).collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(BadServer::None);
        }
        Ok(Self { servers: servers.into(), first: Arc::default() })
    }

    /// The server that is asked first: its address without the path, in which there may be a key.
    pub fn server(&self) -> &str {
        &self.first_server().shown
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Asks the next server first from now on: for callers to whom what this one says proves nothing.
    pub fn go_on(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// One of the servers that are not asked first, alone: another each turn. `None` if there is only one.
    pub fn another(&self, turn: usize) -> Option<Self> {
        let others = self.servers.len().checked_sub(1).filter(|others| *others > 0)?;
        let place = self.first.load(Ordering::Relaxed).wrapping_add(1 + turn % others);
        let server = self.servers[place % self.servers.len()].clone();
        Some(Self { servers: [server].into(), first: Arc::default() })
    }

    /// Each of the servers, alone, in their order.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        let servers = self.servers.iter().cloned();
        servers.map(|server| Self { servers: [server].into(), first: Arc::default() })
    }

    fn first_server(&self) -> &Server {
        // There is one at least.
        &self.servers[self.first.load(Ordering::Relaxed) % self.servers.len()]
    }

    /// How the chain is.
    ///
    /// # Errors
    /// If no server answers.
    pub async fn status(&self) -> Result<Status, RpcError> {
        let StatusAnswer { node_info, sync_info } = self.read("status", json!({})).await?;
        let malformed = |what: &str| self.malformed("status", what);
        let time = humantime::parse_rfc3339(&sync_info.latest_block_time);
        let time = time.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let time_ms = time.and_then(|time| u64::try_from(time.as_millis()).ok());
        Ok(Status {
            chain_id: node_info.network,
            height: sync_info.latest_block_height.parse().map_err(|_| malformed("no height"))?,
            time_ms: time_ms.ok_or_else(|| malformed("no time"))?,
            catching_up: sync_info.catching_up,
        })
    }

    /// The block of this height as a light client needs it: the answers verbatim, of one server.
    ///
    /// # Errors
    /// If no server has it.
    pub async fn block(&self, height: u64) -> Result<RawBlock, RpcError> {
        let commit = self.ask("commit", json!({ "height": height.to_string() })).await?.to_vec();
        let validators = self.validators(height).await?;
        let next_validators = self.validators(height.saturating_add(1)).await?;
        Ok(RawBlock { commit, validators, next_validators })
    }

    /// All pages of who could vote at this height.
    async fn validators(&self, height: u64) -> Result<Vec<Vec<u8>>, RpcError> {
        const ASKED: &str = "validators";
        let mut pages = Vec::new();
        let mut bytes = 0;
        for page in 1..=MAX_PAGES {
            let question = json!({
                "height": height.to_string(), "page": page.to_string(), "per_page": PAGE.to_string(),
            });
            let answer = self.ask(ASKED, question).await?;
            let Total { total } = self.parse(ASKED, &answer)?;
            let total: u64 = total.parse().map_err(|_| self.malformed(ASKED, "no total"))?;
            bytes += answer.len();
            pages.push(answer.to_vec());
            if bytes > MAX_ANSWER_BYTES {
                return Err(self.malformed(ASKED, "more validators than any chain has"));
            }
            if total <= page * PAGE {
                return Ok(pages);
            }
        }
        Err(self.malformed(ASKED, "more validators than any chain has"))
    }

    /// What the chain's contracts keep under a key of `colearn_light`, after the block of this height, with the proof:
    /// the answer verbatim. Nothing of it is checked here.
    ///
    /// # Errors
    /// If no server has it.
    pub async fn value(&self, key: &[u8], height: u64) -> Result<Vec<u8>, RpcError> {
        const ASKED: &str = "abci_query";
        let question = json!({
            "path": "/store/wasm/key", "data": hex::encode(key), "height": height.to_string(), "prove": true,
        });
        let answer = self.ask(ASKED, question).await?;
        let Queried { response } = self.parse(ASKED, &answer)?;
        match response.code {
            0 => Ok(answer.to_vec()),
            code => Err(RpcError::refused(code, response.codespace, response.log)),
        }
    }

    /// Asks a contract.
    ///
    /// # Errors
    /// If no server answers, or the contract does not.
    pub async fn smart(&self, contract: &str, question: &Value) -> Result<Value, RpcError> {
        let request = wire::QuerySmartContractStateRequest {
            address: contract.to_owned(),
            query_data: question.to_string().into_bytes(),
        };
        let path = "/cosmwasm.wasm.v1.Query/SmartContractState";
        let response: wire::QuerySmartContractStateResponse = self.query(path, &request).await?;
        self.plain("a contract's answer", &response.data)
    }

    /// Entries of the ledger that a contract keeps, in order from this one on: at least one if there is one, and not
    /// always all. Nothing of them is checked here.
    ///
    /// # Errors
    /// If no server answers, or the contract does not.
    pub async fn entries(&self, contract: &str, from: u64) -> Result<Vec<Vec<u8>>, RpcError> {
        #[derive(serde::Deserialize)]
        struct Entries {
            entries: Vec<String>,
        }

        let answer = self.smart(contract, &json!({ "entries": { "from": from } })).await?;
        let malformed = || self.malformed("entries", "they are none");
        let Entries { entries } = serde_json::from_value(answer).map_err(|_| malformed())?;
        entries.iter().map(|it| STANDARD.decode(it).map_err(|_| malformed())).collect()
    }

    /// What the chain keeps of an account; `None` if it has none of this address: nobody has ever sent it anything.
    ///
    /// # Errors
    /// If no server answers.
    pub async fn account(&self, address: &str) -> Result<Option<AccountState>, RpcError> {
        let request = wire::QueryAccountInfoRequest { address: address.to_owned() };
        let path = "/cosmos.auth.v1beta1.Query/AccountInfo";
        let answer: Result<wire::QueryAccountInfoResponse, _> = self.query(path, &request).await;
        match answer {
            Ok(answer) => Ok(answer
                .info
                .map(|it| AccountState { number: it.account_number, sequence: it.sequence })),
            Err(RpcError::Refused { why: Refusal::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How much an account has, in units of the denomination.
    ///
    /// # Errors
    /// If no server answers.
    pub async fn balance(&self, address: &str, denom: &str) -> Result<u128, RpcError> {
        let request =
            wire::QueryBalanceRequest { address: address.to_owned(), denom: denom.to_owned() };
        let path = "/cosmos.bank.v1beta1.Query/Balance";
        let answer: wire::QueryBalanceResponse = self.query(path, &request).await?;
        let amount = answer.balance.map(|coin| coin.amount).unwrap_or_default();
        match amount.is_empty() {
            true => Ok(0),
            false => amount.parse().map_err(|_| self.malformed(path, "no amount")),
        }
    }

    /// How long it takes validators of the chain to get their stake back.
    ///
    /// # Errors
    /// If no server answers.
    pub async fn unbonding(&self) -> Result<Duration, RpcError> {
        let path = "/cosmos.staking.v1beta1.Query/Params";
        let answer: wire::QueryStakingParamsResponse = self.query(path, &()).await?;
        let time = answer.params.and_then(|params| params.unbonding_time);
        let seconds = time.and_then(|time| u64::try_from(time.seconds).ok());
        let seconds = seconds.filter(|seconds| *seconds > 0);
        let seconds = seconds.ok_or_else(|| self.malformed(path, "no unbonding time"))?;
        Ok(Duration::from_secs(seconds))
    }

    /// The most gas that the transactions of a block may take; `None` if there is no limit.
    ///
    /// # Errors
    /// If no server answers.
    pub async fn block_gas(&self) -> Result<Option<u64>, RpcError> {
        const ASKED: &str = "consensus_params";
        // Of the newest block: what holds for the next one may not be written yet, which is what is told otherwise.
        let height = self.status().await?.height.to_string();
        let answer: Consensus = self.read(ASKED, json!({ "height": height })).await?;
        let gas = answer.consensus_params.block.max_gas.parse::<i64>();
        let gas = gas.map_err(|_| self.malformed(ASKED, "no gas of a block"))?;
        // -1 says that there is none.
        Ok(u64::try_from(gas).ok())
    }

    /// The gas that a transaction would take; its signature may be empty.
    ///
    /// # Errors
    /// If no server answers, or the transaction would fail.
    pub async fn simulate(&self, tx: &[u8]) -> Result<u64, RpcError> {
        // Not `cosmos.tx.v1beta1.Service/Simulate`: servers without gRPC have no such service, and it loses codes.
        let path = "/app/simulate";
        let answer = self.application(path, tx).await?;
        let Simulated { gas_info } = self.plain(path, &answer)?;
        gas_info.gas_used.parse().map_err(|_| self.malformed(path, "no gas"))
    }

    /// Hands a signed transaction to the chain, and gives its hash. It is in no block yet, and may never be.
    ///
    /// # Errors
    /// If no server answers, or it is refused at once.
    pub async fn broadcast(&self, tx: &[u8]) -> Result<[u8; 32], RpcError> {
        const ASKED: &str = "broadcast_tx_sync";
        let answer: Broadcast = self.read(ASKED, json!({ "tx": STANDARD.encode(tx) })).await?;
        match answer.code {
            // Not what the server says, of which there would be nothing to hold it to.
            0 => Ok(crate::transaction::hash(tx)),
            code => Err(RpcError::refused(code, answer.codespace, answer.log)),
        }
    }

    /// What has become of the transaction with this hash; `None` while it is in no block.
    ///
    /// # Errors
    /// If no server answers.
    pub async fn tx(&self, hash: &[u8; 32]) -> Result<Option<Done>, RpcError> {
        const ASKED: &str = "tx";
        let question = json!({ "hash": STANDARD.encode(hash), "prove": false });
        let found: Found = match self.read(ASKED, question).await {
            Ok(found) => found,
            Err(error) if is_in_no_block(ASKED, &error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let height = found.height.parse().map_err(|_| self.malformed(ASKED, "no height"))?;
        self.done(ASKED, height, found.tx_result).map(Some)
    }

    /// The place of the transaction with this hash in the block of this height; `None` if it is not there.
    ///
    /// # Errors
    /// If no server has the block.
    pub async fn place_in(&self, height: u64, hash: &[u8; 32]) -> Result<Option<usize>, RpcError> {
        const ASKED: &str = "block";
        let BlockAnswer { block } =
            self.read(ASKED, json!({ "height": height.to_string() })).await?;
        let is_it = |tx: &String| {
            STANDARD.decode(tx).is_ok_and(|tx| crate::transaction::hash(&tx) == *hash)
        };
        Ok(block.data.txs.unwrap_or_default().iter().position(is_it))
    }

    /// What has become of the transaction of this place in the block of this height.
    ///
    /// # Errors
    /// If no server has kept it.
    pub async fn result_in(&self, height: u64, place: usize) -> Result<Done, RpcError> {
        const ASKED: &str = "block_results";
        let results: Results = self.read(ASKED, json!({ "height": height.to_string() })).await?;
        let result = results.txs_results.unwrap_or_default().into_iter().nth(place);
        let result = result.ok_or_else(|| self.malformed(ASKED, "too few results"))?;
        self.done(ASKED, height, result)
    }

    fn done(&self, asked: &str, height: u64, result: TxResult) -> Result<Done, RpcError> {
        let malformed = |what: &str| self.malformed(asked, what);
        let data = STANDARD.decode(result.data.unwrap_or_default());
        let data = data.map_err(|_| malformed("no data"))?;
        let data = wire::TxMsgData::decode(&data[..]).map_err(|_| malformed("no data"))?;
        Ok(Done {
            height,
            code: result.code,
            codespace: error::told(&result.codespace),
            log: error::told(&result.log),
            gas_used: result.gas_used.parse().map_err(|_| malformed("no gas"))?,
            data: data.msg_responses.into_iter().next().map(|it| it.value).unwrap_or_default(),
        })
    }

    /// Asks a method of the services of the chain's application.
    async fn query<T: Message + Default>(
        &self,
        path: &str,
        request: &impl Message,
    ) -> Result<T, RpcError> {
        let value = self.application(path, &request.encode_to_vec()).await?;
        let malformed = || self.malformed(path, "no message of the kind that was asked for");
        T::decode(&value[..]).map_err(|_| malformed())
    }

    async fn application(&self, path: &str, data: &[u8]) -> Result<Vec<u8>, RpcError> {
        let question = json!({ "path": path, "data": hex::encode(data), "prove": false });
        let Queried { response } = self.read("abci_query", question).await?;
        if response.code != 0 {
            return Err(RpcError::refused(response.code, response.codespace, response.log));
        }
        let value = STANDARD.decode(response.value.unwrap_or_default());
        value.map_err(|_| self.malformed(path, "not in base64"))
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        asked: &str,
        question: Value,
    ) -> Result<T, RpcError> {
        let answer = self.ask(asked, question).await?;
        self.parse(asked, &answer)
    }

    /// The result in an answer that [`Rpc::ask`] gave.
    fn parse<T: serde::de::DeserializeOwned>(
        &self,
        asked: &str,
        answer: &[u8],
    ) -> Result<T, RpcError> {
        #[derive(serde::Deserialize)]
        struct Answer<T> {
            result: T,
        }

        let Answer { result } = self.plain(asked, answer)?;
        Ok(result)
    }

    fn plain<T: serde::de::DeserializeOwned>(
        &self,
        asked: &str,
        json: &[u8],
    ) -> Result<T, RpcError> {
        serde_json::from_slice(json).map_err(|error| self.malformed(asked, &error.to_string()))
    }

    fn malformed(&self, asked: &str, text: &str) -> RpcError {
        let server = self.server().to_owned();
        RpcError::Malformed { server, asked: asked.to_owned(), text: error::told(text) }
    }

    /// The answer of the first server that has one, verbatim; what is under `result` in it is not read yet.
    async fn ask(&self, asked: &str, question: Value) -> Result<Bytes, RpcError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": asked, "params": question });
        let request = Bytes::from(request.to_string());
        let mut last = None;
        for _ in 0..self.servers.len() {
            match self.ask_one(self.first_server(), asked, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) if is_in_no_block(asked, &error) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "the next server of the chain is asked");
                    // A server that says something is more to tell than one that is away.
                    match (&last, &error) {
                        (Some(RpcError::Failed { .. }), RpcError::Away(_)) => {}
                        _ => last = Some(error),
                    }
                    self.go_on();
                }
            }
        }
        Err(last.unwrap_or_else(|| self.malformed(asked, "no answer")))
    }

    async fn ask_one(
        &self,
        server: &Server,
        asked: &str,
        request: Bytes,
    ) -> Result<Bytes, RpcError> {
        let answer = server.http.post("", request, MAX_ANSWER_BYTES).await;
        let answer = answer.map_err(|error| RpcError::Away(server.hide(&error.to_string())))?;
        let failed = |text: &str| RpcError::Failed {
            server: server.shown.clone(),
            asked: asked.to_owned(),
            text: error::told(&server.hide(text)),
        };
        // It says with 500 what is no error of its own.
        let read: Result<JsonRpc, _> = serde_json::from_slice(&answer.body);
        match read {
            Ok(JsonRpc { error: Some(error), .. }) => {
                Err(failed(&format!("{} {}", error.message, error.data.unwrap_or_default())))
            }
            Ok(JsonRpc { result: Some(_), .. }) => Ok(answer.body),
            _ => Err(failed(&match answer.text() {
                Ok(_) => "no answer of a chain's server".to_owned(),
                Err(text) => text,
            })),
        }
    }
}

/// Whether a server says of a transaction that it is in no block, which is an answer.
fn is_in_no_block(asked: &str, error: &RpcError) -> bool {
    matches!(error, RpcError::Failed { text, .. } if asked == "tx" && text.contains("not found"))
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.servers.iter().map(|it| &it.shown)).finish()
    }
}

#[cfg(test)]
mod tests;
