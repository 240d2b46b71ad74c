//! A server of a chain that is made up: CometBFT's JSON-RPC over HTTP, as far as mirrors ask.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};

use super::{Chain, ID};

/// What is answered to a method and its parameters: the JSON, or what an error says.
pub type Answer = Result<Vec<u8>, String>;
/// How many bytes of entries one answer has, as the contract's have.
const MAX_ENTRIES_BYTES: usize = 256 << 10;

/// A server on this machine. It ends with this.
pub struct Server {
    address: SocketAddr,
    served: Arc<Mutex<Served>>,
    ended: Arc<AtomicBool>,
}

/// What it answers otherwise than the chain does; `None` where it does as the chain does.
type Bent = dyn FnMut(&str, &Value) -> Option<Answer> + Send;

struct Served {
    chain: Chain,
    entries: Vec<Vec<u8>>,
    bent: Box<Bent>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // It waits for somebody who asks.
        let _ = TcpStream::connect(self.address);
    }
}

impl Server {
    /// Serves a chain, and the entries that its contract has.
    ///
    /// # Panics
    /// If nothing can be listened on.
    pub fn start(chain: Chain, entries: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
        let address = listener.local_addr().expect("what listens has an address");
        let served = Served { chain, entries, bent: Box::new(|_, _| None) };
        let served = Arc::new(Mutex::new(served));
        let ended = Arc::new(AtomicBool::new(false));
        let (answers, ends) = (served.clone(), ended.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                let answers = answers.clone();
                // Who asks may go at any time.
                std::thread::spawn(move || serve(stream, &answers));
            }
        });
        Self { address, served, ended }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the chain, and the entries.
    pub fn change(&self, change: impl FnOnce(&mut Chain, &mut Vec<Vec<u8>>)) {
        let Served { chain, entries, .. } = &mut *lock(&self.served);
        change(chain, entries);
    }

    /// Lets the chain go on by so many blocks. Gives its height then.
    pub fn grow(&self, blocks: u64) -> u64 {
        let Served { chain, .. } = &mut *lock(&self.served);
        (0..blocks).for_each(|_| chain.block(chain.time_ms() + 1_000));
        chain.height()
    }

    /// Has it answer something else from now on, where this gives something.
    pub fn bend(&self, bent: impl FnMut(&str, &Value) -> Option<Answer> + Send + 'static) {
        lock(&self.served).bent = Box::new(bent);
    }
}

fn lock(served: &Mutex<Served>) -> MutexGuard<'_, Served> {
    served.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers what comes over a connection, until it ends.
fn serve(stream: TcpStream, served: &Mutex<Served>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let question = question(&mut reader)?;
        let method = question["method"].as_str()?;
        let answer = lock(served).answer(method, &question["params"]);
        let (status, body) = match answer {
            Ok(body) => (200, body),
            Err(data) => {
                let error = json!({ "code": -32603, "message": "Internal error", "data": data });
                (500, json!({ "error": error }).to_string().into_bytes())
            }
        };
        let head = format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\n\r\n", body.len());
        writer.write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}

fn question(reader: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

impl Served {
    fn answer(&mut self, method: &str, asked: &Value) -> Answer {
        if let Some(answer) = (self.bent)(method, asked) {
            return answer;
        }
        let number = |name: &str| asked[name].as_str().and_then(|it| it.parse::<u64>().ok());
        let height = number("height").unwrap_or(0);
        let block = |height: u64| self.chain.at(height).ok_or(format!("no block {height}"));
        let one = |pages: &[Vec<u8>]| pages.first().cloned().ok_or("no page".to_owned());
        match (method, asked["path"].as_str()) {
            ("status", _) => {
                let time = UNIX_EPOCH + Duration::from_millis(self.chain.time_ms());
                let info = json!({
                    "latest_block_height": self.chain.height().to_string(),
                    "latest_block_time": humantime::format_rfc3339_millis(time).to_string(),
                    "catching_up": false,
                });
                let result = json!({ "node_info": { "network": ID }, "sync_info": info });
                Ok(json!({ "result": result }).to_string().into_bytes())
            }
            ("commit", _) => Ok(block(height)?.raw.commit.clone()),
            ("validators", _) => match self.chain.at(height) {
                Some(block) => one(&block.raw.validators),
                None => one(&block(height.saturating_sub(1))?.raw.next_validators),
            },
            ("abci_query", Some("/store/wasm/key")) => {
                let key = hex::decode(asked["data"].as_str().unwrap_or_default());
                let key = key.map_err(|error| error.to_string())?;
                Ok(block(height + 1)?.answer(&key, height))
            }
            ("abci_query", Some("/cosmwasm.wasm.v1.Query/SmartContractState")) => {
                let data = hex::decode(asked["data"].as_str().unwrap_or_default());
                let data = data.map_err(|error| error.to_string())?;
                let smart = Smart::decode(&data[..]).map_err(|error| error.to_string())?;
                let asked: Value =
                    serde_json::from_slice(&smart.query).map_err(|error| error.to_string())?;
                Ok(entries_answer(&self.entries, asked["entries"]["from"].as_u64().unwrap_or(0)))
            }
            (method, path) => Err(format!("nothing is known here of {method} {path:?}")),
        }
    }
}

/// `cosmwasm.wasm.v1.QuerySmartContractStateRequest`.
#[derive(Clone, PartialEq, Message)]
struct Smart {
    #[prost(bytes = "vec", tag = "2")]
    query: Vec<u8>,
}

/// `cosmwasm.wasm.v1.QuerySmartContractStateResponse`.
#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

/// The answer with the entries from this one on, as many as one holds.
pub fn entries_answer(entries: &[Vec<u8>], from: u64) -> Vec<u8> {
    let mut left = MAX_ENTRIES_BYTES;
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let told = entries.iter().skip(from).take_while(|entry| {
        let before = left;
        left = left.saturating_sub(entry.len());
        before == MAX_ENTRIES_BYTES || left > 0
    });
    let told: Vec<String> = told.map(|entry| STANDARD.encode(entry)).collect();
    let data = json!({ "entries": told }).to_string().into_bytes();
    let value = STANDARD.encode(Told { data }.encode_to_vec());
    json!({ "result": { "response": { "value": value } } }).to_string().into_bytes()
}
