//! The node: orders transactions, runs the contract, keeps the ledger, serves gRPC and HTTP.

mod artifacts;
mod clock;
mod core;
mod http;
mod open;
mod refusal;
mod serve;
mod services;
mod snapshot;
pub mod witness;
mod witnesses;
mod writer;

use std::net::SocketAddr;
use std::path::PathBuf;

use colearn_ledger::{Opened, Verifier};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::open::{Rotated, rotate_key};
pub use self::witnesses::{BadWitness, WitnessAddress};
use colearn_records::follower::Fault;
use colearn_records::keys::KeyError;
use colearn_records::log_keys::{BadRotation, LogKeys};
use colearn_records::record::NotARecord;
use colearn_records::replay::Departure;
use colearn_records::transaction::LedgerId;

/// The largest artifact a node stores unless told otherwise: 2 GiB.
pub const DEFAULT_MAX_ARTIFACT_BYTES: u64 = 2 << 30;
/// What all artifacts together may take unless told otherwise: 100 GiB.
pub const DEFAULT_ARTIFACT_QUOTA_BYTES: u64 = 100 << 30;

/// The disk space a node keeps free unless told otherwise: 64 MiB.
pub const DEFAULT_RESERVE_BYTES: u64 = 64 << 20;

/// How a node is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept; created if need be.
    pub data: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The ledger's name when it is created; `None` for one made from its key.
    pub origin: Option<String>,
    /// The largest artifact, in bytes.
    pub max_artifact_bytes: u64,
    /// What all artifacts together may take, in bytes.
    pub artifact_quota_bytes: u64,
    /// Transactions are refused while the disk has fewer bytes free.
    pub reserve_bytes: u64,
    /// Who is asked to cosign checkpoints.
    pub witnesses: Vec<WitnessAddress>,
    /// How many cosignatures make a checkpoint witnessed.
    pub witness_quorum: usize,
}

impl Config {
    /// The defaults for a data folder: a free port on the loopback interface.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            origin: None,
            max_artifact_bytes: DEFAULT_MAX_ARTIFACT_BYTES,
            artifact_quota_bytes: DEFAULT_ARTIFACT_QUOTA_BYTES,
            reserve_bytes: DEFAULT_RESERVE_BYTES,
            witnesses: Vec::new(),
            witness_quorum: 0,
        }
    }
}

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] colearn_ledger::Error),
    /// The node's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The ledger's name.
    #[error("the origin {0:?} cannot be used: {1}")]
    Origin(String, colearn_ledger::NoteError),
    /// The first entry is not a genesis of this program.
    #[error("entry 0 of {} is not a genesis this version understands", .0.display())]
    Genesis(PathBuf),
    /// An entry cannot be read.
    #[error("entry {index} is not a record: {source}; run `colearn audit` on the data folder")]
    Record {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        source: NotARecord,
    },
    /// An entry changes the key but may not.
    #[error(
        "entry {index} does not change the ledger's key: {source}; run `colearn audit` on the data \
         folder"
    )]
    Rotation {
        /// The entry.
        index: u64,
        /// Why not.
        source: BadRotation,
    },
    /// The key file holds another key than the ledger's.
    #[error("{} is not the ledger's key, which is {expected}; restore it from a copy", path.display())]
    OtherKey {
        /// The key file.
        path: PathBuf,
        /// The ledger's key.
        expected: String,
    },
    /// An entry breaks the rules.
    #[error(
        "entry {index} departs from the contract: {source}; run `colearn audit` on the data folder"
    )]
    Departure {
        /// The entry.
        index: u64,
        /// How.
        source: Departure,
    },
    /// An entry is otherwise not what the ledger must go on with.
    #[error("entry {index} cannot be followed: {source}; run `colearn audit` on the data folder")]
    Fault {
        /// The entry.
        index: u64,
        /// Why.
        source: Fault,
    },
    /// A folder or the socket.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was attempted.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The writer stopped.
    #[error("the node has stopped taking transactions: {0}")]
    Stopped(String),
}

/// A running node.
pub struct Node {
    address: SocketAddr,
    keys: LogKeys,
    opened: Opened,
    replayed_from: u64,
    stopping: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    writer: writer::WriterThread,
}

impl Node {
    /// Starts a node: opens the data folder, replays the ledger, listens.
    ///
    /// # Errors
    /// If the data folder is broken or in use, or the address cannot be listened on.
    pub async fn start(config: Config) -> Result<Self, NodeError> {
        let listener = TcpListener::bind(config.listen).await.map_err(|source| NodeError::Io {
            doing: format!("listen on {}", config.listen),
            source,
        })?;
        let address = listener
            .local_addr()
            .map_err(|source| NodeError::Io { doing: "find the address".to_owned(), source })?;
        let store = artifacts::ArtifactStore::open(
            &config.data.join("artifacts"),
            config.max_artifact_bytes,
            config.artifact_quota_bytes,
        )?;
        let room = writer::Room { dir: config.data.clone(), reserve_bytes: config.reserve_bytes };
        let (witnesses, quorum) = (config.witnesses.clone(), config.witness_quorum);
        let opening = tokio::task::spawn_blocking(move || open::open(&config));
        let opened = opening.await.map_err(|error| NodeError::Stopped(error.to_string()))??;
        let open::OpenLedger { ledger, contract, keys, report, replayed_from } = opened;
        let stopping = CancellationToken::new();
        let reader = ledger.reader();
        let writer = writer::WriterThread::start(ledger, contract, room, stopping.clone());
        let cosignatures = witnesses::Cosignatures::new(witnesses.len(), quorum);
        for witness in witnesses {
            tokio::spawn(witnesses::ask(
                witness,
                reader.clone(),
                writer.handle().size(),
                cosignatures.clone(),
                stopping.clone(),
            ));
        }
        let core = core::Core::new(
            keys.clone(),
            reader,
            writer.handle(),
            store,
            cosignatures,
            stopping.clone(),
        );
        let serving = tokio::spawn(serve::serve(listener, core, stopping.clone()));
        Ok(Self { address, keys, opened: report, replayed_from, stopping, serving, writer })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Which ledger it keeps.
    pub fn ledger_id(&self) -> LedgerId {
        self.keys.ledger()
    }

    /// The key that verifies its checkpoints.
    pub fn verifier(&self) -> &Verifier {
        self.keys.current()
    }

    /// What opening the ledger found and did.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// From which entry on the contract was replayed; what lies before came from a snapshot.
    pub fn replayed_from(&self) -> u64 {
        self.replayed_from
    }

    /// Resolves when the node has stopped taking transactions by itself.
    pub async fn stopped(&self) {
        self.stopping.cancelled().await;
    }

    /// Stops: no new connections, open streams end, what was taken is answered, all is synced.
    ///
    /// # Errors
    /// If the node had stopped by itself before, and why.
    pub async fn shutdown(self) -> Result<(), NodeError> {
        self.stopping.cancel();
        // A panic while serving has been reported by the runtime; the ledger is closed all the same.
        let _ = self.serving.await;
        let joined = tokio::task::spawn_blocking(move || self.writer.join()).await;
        match joined {
            Ok(result) => result,
            Err(error) => Err(NodeError::Stopped(error.to_string())),
        }
    }
}
