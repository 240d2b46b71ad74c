//! Asking CometBFT: JSON-RPC over HTTP over its unix socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The longest answer that is read: that of a network of 64 has some 100 kB.
const MAX_ANSWER: u64 = 4 << 20;

/// How long CometBFT may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client. Each call is a connection of its own, which costs little on a unix socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client of a socket, which need not be there yet. CometBFT may take 10 s to answer.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, patience: PATIENCE }
    }

    /// A client that waits for an answer for as long as that.
    pub fn with_patience(socket: PathBuf, patience: Duration) -> Self {
        Self { socket, patience }
    }

    /// Where it asks.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Offers a transaction, and waits until the application has looked at it.
    ///
    /// # Errors
    /// If it was not looked at, or nobody can know.
    pub fn broadcast_tx_sync(&self, tx: &[u8]) -> Result<Broadcast, RpcError> {
        #[derive(Deserialize)]
        struct Result {
            code: u32,
        }
        let answer = self.call("broadcast_tx_sync", &json!({ "tx": BASE64.encode(tx) }));
        match answer {
            Ok(Result { code: 0 }) => Ok(Broadcast::Taken),
            Ok(Result { code }) => Ok(Broadcast::Refused { code }),
            // CometBFT has no codes for these; its words are all there is.
            Err(RpcError::Refused(why)) if why.contains("tx already exists in cache") => {
                Ok(Broadcast::InCache)
            }
            Err(RpcError::Refused(why)) if why.contains("mempool is") => Err(RpcError::MempoolFull),
            Err(error) => Err(error),
        }
    }

    /// How far it is.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn status(&self) -> Result<Status, RpcError> {
        #[derive(Deserialize)]
        struct Result {
            node_info: NodeInfo,
            sync_info: SyncInfo,
        }
        #[derive(Deserialize)]
        struct SyncInfo {
            latest_block_height: String,
            latest_app_hash: String,
            catching_up: bool,
        }
        let Result { node_info, sync_info } = self.call("status", &json!({}))?;
        let height = sync_info.latest_block_height.parse();
        Ok(Status {
            id: node_info.id,
            p2p_listen: node_info.listen_addr,
            height: height.map_err(|_| RpcError::Invalid("a height that is none".to_owned()))?,
            app_hash: hex::decode(sync_info.latest_app_hash)
                .map_err(|_| RpcError::Invalid("an app hash that is none".to_owned()))?,
            catching_up: sync_info.catching_up,
        })
    }

    /// Whom it is connected to.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn net_info(&self) -> Result<Vec<Peer>, RpcError> {
        #[derive(Deserialize)]
        struct Result {
            peers: Vec<Found>,
        }
        #[derive(Deserialize)]
        struct Found {
            node_info: NodeInfo,
            is_outbound: bool,
            remote_ip: String,
        }
        let Result { peers } = self.call("net_info", &json!({}))?;
        let peer = |Found { node_info, is_outbound, remote_ip }| Peer {
            id: node_info.id,
            remote_ip,
            called: is_outbound,
        };
        Ok(peers.into_iter().map(peer).collect())
    }

    fn call<T: DeserializeOwned>(&self, method: &str, params: &Value) -> Result<T, RpcError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let body = self.post(&request.to_string()).map_err(RpcError::Unreachable)?;
        #[derive(Deserialize)]
        struct Answer {
            result: Option<Value>,
            error: Option<Failure>,
        }
        #[derive(Deserialize)]
        struct Failure {
            message: String,
            #[serde(default)]
            data: String,
        }
        let invalid = |error: serde_json::Error| RpcError::Invalid(error.to_string());
        match serde_json::from_slice(&body).map_err(invalid)? {
            Answer { error: Some(Failure { message, data }), .. } => {
                Err(RpcError::Refused(if data.is_empty() { message } else { data }))
            }
            Answer { result: Some(result), error: None } => {
                serde_json::from_value(result).map_err(invalid)
            }
            Answer { result: None, error: None } => {
                Err(RpcError::Invalid("neither a result nor an error".to_owned()))
            }
        }
    }

    /// Posts JSON, in the version of HTTP in which an answer is simply what comes until the end.
    fn post(&self, body: &str) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        let end = b"\r\n\r\n";
        let head = answer.windows(end.len()).position(|window| window == end);
        // One that was cut off in the body is found where it is read as JSON.
        let head = head.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(answer.split_off(head + end.len()))
    }
}

/// What becomes of an offered transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broadcast {
    /// It is in the mempool, and on its way to the others.
    Taken,
    /// The application refused it in `CheckTx`.
    Refused {
        /// With this code, which is not 0.
        code: u32,
    },
    /// It was offered before: it is in the mempool, or was lately in a block.
    InCache,
}

/// How far CometBFT is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Its node id.
    pub id: String,
    /// Where it listens for its peers, as it was told.
    pub p2p_listen: String,
    /// The last block.
    pub height: u64,
    /// What the application came to before that block.
    pub app_hash: Vec<u8>,
    /// Whether it is fetching blocks that others have made, and takes no part meanwhile.
    pub catching_up: bool,
}

/// Somebody it is connected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its node id.
    pub id: String,
    /// The address from or to which the connection is.
    pub remote_ip: String,
    /// Whether it was called, and has not called itself.
    pub called: bool,
}

#[derive(Deserialize)]
struct NodeInfo {
    id: String,
    listen_addr: String,
}

/// Why CometBFT did not answer what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// It cannot be reached: it does not run, or not yet; or it did not answer in time.
    #[error("cometbft cannot be reached: {0}")]
    Unreachable(io::Error),
    /// Its mempool is full.
    #[error("cometbft's mempool is full: try again")]
    MempoolFull,
    /// It answered something else than it should.
    #[error("what cometbft answers cannot be read: {0}")]
    Invalid(String),
    /// It refused.
    #[error("cometbft refuses: {0}")]
    Refused(String),
}
