//! How a node is started.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use colearn_contracts::Limits;
use colearn_records::network_file::NetworkFile;

use crate::access::Access;
use crate::mounted::Mount;
use crate::witness::WitnessAddress;

/// The largest artifact a node stores unless told otherwise: 2 GiB.
pub const DEFAULT_MAX_ARTIFACT_BYTES: u64 = 2 << 30;
/// What all artifacts together may take unless told otherwise: 100 GiB.
pub const DEFAULT_ARTIFACT_QUOTA_BYTES: u64 = 100 << 30;
/// The disk space a node keeps free unless told otherwise: 64 MiB.
pub const DEFAULT_RESERVE_BYTES: u64 = 64 << 20;

/// How many connections there may be unless told otherwise.
pub const DEFAULT_MAX_CONNECTIONS: usize = 4096;
/// How many of them one address may have unless told otherwise.
pub const DEFAULT_CONNECTIONS_PER_ADDRESS: usize = 1024;
/// How many may follow the ledger or watch experiments at a time unless told otherwise.
pub const DEFAULT_MAX_WATCHERS: usize = 1500;
/// How many of them may be one peer's unless told otherwise.
pub const DEFAULT_WATCHERS_PER_ADDRESS: usize = 500;
/// How many times a second one peer may ask for something unless told otherwise.
pub const DEFAULT_CALLS_PER_SECOND: u32 = 1_000;

/// How a node is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept; created if need be.
    pub data: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// What connections are secured with.
    pub tls: Security,
    /// How many connections there may be.
    pub max_connections: usize,
    /// How many of them one address may have, or one IPv6 network of 64 bits.
    pub connections_per_address: usize,
    /// Who may do what; `None` for what [`Access::by_default`] says.
    pub access: Option<Access>,
    /// How many may follow the ledger or watch experiments at a time.
    pub max_watchers: usize,
    /// How many of them may be of one address.
    pub watchers_per_address: usize,
    /// How many times a second one address may ask for something, on average; all may together 16 times as often.
    pub calls_per_second: u32,
    /// How many bytes of answers go out a second; `None` if that is not bounded. Where more are wanted, keys and sites take
    /// turns.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The ledger's name when it is created; `None` for one made from its key.
    pub origin: Option<String>,
    /// What the ledger limits when it is created.
    pub limits: Limits,
    /// Where weights are kept.
    pub artifacts: ArtifactsAt,
    /// Where they are kept in an object store: for how long whoever may have some can fetch them there, by an address that
    /// is handed out; `None` if none is.
    pub presigned: Option<Duration>,
    /// The largest artifact, in bytes.
    pub max_artifact_bytes: u64,
    /// What all artifacts together may take, in bytes.
    pub artifact_quota_bytes: u64,
    /// Transactions are refused while the disk has fewer bytes free, and weights while it has not twice as many.
    pub reserve_bytes: u64,
    /// Which artifacts of closed rounds are kept.
    pub keep: Keep,
    /// Who is asked to cosign checkpoints.
    pub witnesses: Vec<WitnessAddress>,
    /// How many cosignatures make a checkpoint witnessed.
    pub witness_quorum: usize,
    /// How the ledger is kept together with others; of no meaning for one that this node keeps alone.
    pub network: NetworkConfig,
    /// Where a contract on a public chain keeps the ledger: which, and how it is reached and paid.
    pub chain: Option<colearn_relay::Settings>,
    /// Where metrics and health are served.
    pub ops: OpsListen,
    /// What is served there besides.
    pub mount: Option<Mount>,
    /// Told how far the rebuilding of the index is, where opening the ledger needs that.
    pub progress: Option<Progress>,
}

impl Config {
    /// The defaults for a data folder: a free port on the loopback interface.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: Security::default(),
            max_connections: DEFAULT_MAX_CONNECTIONS,
            connections_per_address: DEFAULT_CONNECTIONS_PER_ADDRESS,
            access: None,
            max_watchers: DEFAULT_MAX_WATCHERS,
            watchers_per_address: DEFAULT_WATCHERS_PER_ADDRESS,
            calls_per_second: DEFAULT_CALLS_PER_SECOND,
            bytes_per_second: None,
            origin: None,
            limits: Limits::default(),
            artifacts: ArtifactsAt::default(),
            presigned: None,
            max_artifact_bytes: DEFAULT_MAX_ARTIFACT_BYTES,
            artifact_quota_bytes: DEFAULT_ARTIFACT_QUOTA_BYTES,
            reserve_bytes: DEFAULT_RESERVE_BYTES,
            keep: Keep::default(),
            witnesses: Vec::new(),
            witness_quorum: 0,
            network: NetworkConfig::default(),
            chain: None,
            ops: OpsListen::default(),
            mount: None,
            progress: None,
        }
    }
}

/// Where metrics and health are served, for whoever runs the node: in the clear, and to whoever asks there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum OpsListen {
    /// Nowhere.
    #[default]
    Off,
    /// On this machine, at the port after the node's own, or at any where the node's own may be any. If that is taken
    /// the node says so and goes on without.
    NextPort,
    /// There. If that is taken the node does not start.
    At(SocketAddr),
}

/// What is neither an address nor `off`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is neither an address with its port, such as 127.0.0.1:7401, nor off")]
pub struct BadOpsListen(String);

impl FromStr for OpsListen {
    type Err = BadOpsListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|_| BadOpsListen(text.to_owned())),
        }
    }
}

/// What connections are secured with.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Security {
    /// With nothing where nobody else can listen, which is on this machine; other addresses are refused.
    #[default]
    Loopback,
    /// With nothing, whoever can listen: a proxy in front of the node has TLS, or a network that is trusted.
    Insecure,
    /// With these.
    Tls(TlsConfig),
    /// With a certificate that the node makes once and keeps in its folder. Nobody vouches for it: clients are
    /// told its fingerprint.
    SelfSigned {
        /// Who vouches for clients; without them none is asked for a certificate.
        client_authorities: Option<PathBuf>,
    },
}

/// Files in PEM. They are read anew when they change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfig {
    /// The certificate, and those that vouch for it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who vouches for clients; without them none is asked for a certificate.
    pub client_authorities: Option<PathBuf>,
}

/// Where a node keeps weights. What has not come whole lies in its data folder in any case.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum ArtifactsAt {
    /// In the data folder.
    #[default]
    Data,
    /// In another folder: `file:PATH`.
    Folder(PathBuf),
    /// In an object store: `s3://BUCKET/PREFIX`, `gs://...` or `az://...`.
    Bucket(BucketAt),
}

/// Where in an object store weights are kept. The variables of the store's own tools say who the node is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketAt {
    /// Which store it is.
    pub kind: StoreKind,
    /// The bucket, or the container.
    pub bucket: String,
    /// What stands before each name, without slashes around it; may be empty.
    pub prefix: String,
}

/// What kind of object store there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreKind {
    /// Amazon S3, and what speaks as it does.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

impl StoreKind {
    const ALL: [Self; 3] = [Self::S3, Self::Google, Self::Azure];

    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

impl fmt::Display for ArtifactsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => f.write_str("the data folder"),
            Self::Folder(folder) => write!(f, "file:{}", folder.display()),
            Self::Bucket(BucketAt { kind, bucket, prefix }) => {
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "{}://{bucket}{slash}{prefix}", kind.scheme())
            }
        }
    }
}

/// What names no place for weights.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is no place for weights, such as s3://BUCKET/PREFIX, gs://..., az://... or file:/ABSOLUTE/PATH"
)]
pub struct BadArtifactsAt(String);

impl FromStr for ArtifactsAt {
    type Err = BadArtifactsAt;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadArtifactsAt(text.to_owned());
        if let Some(path) = text.strip_prefix("file:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() { Ok(Self::Folder(path)) } else { Err(bad()) };
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let kind = StoreKind::ALL.into_iter().find(|it| it.scheme() == scheme).ok_or_else(bad)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        // Neither a key nor a question belongs there, and nothing that only some stores take for the same.
        let is_plain =
            |it: &str| it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
        let is_part = |it: &str| !it.is_empty() && it != "." && it != ".." && is_plain(it);
        let is_prefix = prefix.is_empty() || prefix.split('/').all(is_part);
        match is_part(bucket) && is_prefix {
            true => {
                let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
                Ok(Self::Bucket(BucketAt { kind, bucket, prefix }))
            }
            false => Err(bad()),
        }
    }
}

/// Which artifacts of closed rounds a node keeps. What an experiment began with, its model and the one before,
/// and all of the open round are kept always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keep {
    /// Models and proposals.
    pub artifacts: KeepArtifacts,
    /// For how many rounds behind the open one the updates of merged rounds are kept, and the merges that became
    /// no model: for so long anybody can compute the merges again. `None` for as long as `artifacts` says.
    pub updates: Option<u64>,
}

/// Which models and proposals of closed rounds a node keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeepArtifacts {
    /// All.
    #[default]
    All,
    /// Those that became the experiment's model.
    Accepted,
    /// Those of so many rounds behind the open one.
    Last(u64),
}

impl fmt::Display for KeepArtifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Accepted => f.write_str("accepted"),
            Self::Last(rounds) => write!(f, "last:{rounds}"),
        }
    }
}

/// What says none of the ways to keep artifacts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not one of: all, accepted, last:ROUNDS")]
pub struct BadKeepArtifacts(String);

impl FromStr for KeepArtifacts {
    type Err = BadKeepArtifacts;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadKeepArtifacts(text.to_owned());
        match text {
            "all" => Ok(Self::All),
            "accepted" => Ok(Self::Accepted),
            _ => {
                let rounds = text.strip_prefix("last:").ok_or_else(bad)?;
                rounds.parse().map(Self::Last).map_err(|_| bad())
            }
        }
    }
}

/// How a ledger is kept together with others.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// How the nodes came to keep a ledger together; needed at the first start only.
    pub file: Option<NetworkFile>,
    /// The CometBFT program; otherwise `COLEARN_COMETBFT`, or the one in `PATH`.
    pub cometbft: Option<PathBuf>,
    /// Where to listen for the other nodes; otherwise at the port by which they know this one.
    pub p2p_listen: Option<SocketAddr>,
    /// Nodes to call besides those that the ledger names: `ID@HOST:PORT`.
    pub peers: Vec<String>,
    /// How long is waited after a block for late votes and more transactions.
    pub block_interval: Duration,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            file: None,
            cometbft: None,
            p2p_listen: None,
            peers: Vec::new(),
            block_interval: Duration::from_millis(200),
        }
    }
}

/// What is told how many bytes of the journal are read, and of how many, while the index is rebuilt.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(u64, u64) + Send + Sync>);

impl Progress {
    /// Has this told; it is called from the thread that reads.
    pub fn new(tell: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(crate) fn tell(&self, done_bytes: u64, total_bytes: u64) {
        (self.0)(done_bytes, total_bytes);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn places_for_weights_are_read_and_shown() {
        for text in ["s3://models", "s3://models/a/b-1_c.d", "gs://m/x", "az://m", "file:/srv/w"] {
            assert_eq!(text.parse::<ArtifactsAt>().unwrap().to_string(), text);
        }
        assert_eq!("s3://m/a/".parse::<ArtifactsAt>().unwrap().to_string(), "s3://m/a");
        for bad in [
            "",
            "models",
            "s3:",
            "s3://",
            "s3:///a",
            "s3://m//a",
            "s3://m/../a",
            "s3://key:secret@m",
            "s3://m/a?b",
            "http://m/a",
            "file:w",
            "file:",
        ] {
            assert!(bad.parse::<ArtifactsAt>().is_err(), "{bad}");
        }
    }
}
