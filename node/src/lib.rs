#![doc = include_str!("../README.md")]
// Several nodes keep a ledger together on Unix only; what they alone use has no use elsewhere.
#![cfg_attr(not(unix), allow(dead_code))]

mod access;
mod admission;
mod artifacts;
mod clock;
mod config;
mod disk;
mod door;
mod error;
mod events;
mod founding;
mod genesis;
mod grpc;
mod http;
mod https;
mod in_flight;
mod keeper;
mod key_files;
mod limits;
mod merging;
mod metrics;
mod mounted;
#[cfg(unix)]
pub mod network;
mod open;
mod ops;
mod order;
mod peer;
mod pulling;
mod rates;
mod reads;
mod refusal;
mod replay;
mod resync;
mod rotation;
mod snapshot;
mod status;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
mod upgrade;
mod view;
mod watched;
pub mod witness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use colearn_ledger::{Opened, Verifiers};
use colearn_net::Credential;
use colearn_records::log_keys::LogKeys;
use colearn_records::transaction::LedgerId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::admission::Admission;
use self::artifacts::ArtifactStore;
use self::disk::DiskReserve;
use self::door::calls::Calls;
use self::door::connections::{Slots, within_files};
use self::door::rights::{Files, Rights};
use self::door::serve::{Door, Services, router, serve};
use self::door::tls::{self, Tls};
use self::door::who::Who;
use self::grpc::artifact::Artifacts;
use self::grpc::coordinator::Coordinator;
use self::grpc::ledger::Ledger;
use self::http::health::Health;
#[cfg(unix)]
use self::http::network::Networks;
use self::http::tiles::Tiles;
use self::limits::OPS_CONNECTIONS;
use self::metrics::{Chronicle, Class, Counts, Metrics};
use self::open::OpenLedger;
use self::ops::Listening;
use self::order::Beginning;
use self::order::Order;
use self::order::chain::{self, OnChain};
#[cfg(unix)]
use self::order::replicated::Replicated;
use self::order::solo::SoloThread;
use self::pulling::{Others, Patience, Pulling};
use self::rates::Rates;
use self::reads::Reads;
use self::status::Programs;
use self::view::View;
use self::witness::Cosignatures;

pub use self::access::{Access, BadGrant, CREATORS, Grant};
pub use self::artifacts::{ArtifactKind, Lost, Shelf, Shelved};
pub use self::config::{
    ArtifactsAt, BadArtifactsAt, BadKeepArtifacts, BadOpsListen, BucketAt, Config,
    DEFAULT_ARTIFACT_QUOTA_BYTES, DEFAULT_CALLS_PER_SECOND, DEFAULT_CONNECTIONS_PER_ADDRESS,
    DEFAULT_MAX_ARTIFACT_BYTES, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_WATCHERS,
    DEFAULT_RESERVE_BYTES, DEFAULT_WATCHERS_PER_ADDRESS, Keep, KeepArtifacts, NetworkConfig,
    OpsListen, Progress, Security, StoreKind, TlsConfig,
};
#[cfg(unix)]
pub use self::error::CometError;
pub use self::error::{ChainError, NodeError};
pub use self::mounted::{Mount, Shown};
pub use self::resync::Diverged;
pub use self::rotation::{Rotated, rotate_key};
pub use self::upgrade::{Upgrade, plan_upgrade, upgrade};
pub use self::witness::{BadWitness, WitnessAddress};

/// What a node's methods return. Boxed, so that all of a node is compiled here: the state machine of an
/// `async fn` is compiled again in each crate that awaits it.
pub type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// A running node.
pub struct Node {
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    /// The files that list who may do what.
    files: Files,
    access: Access,
    keys: LogKeys,
    verifiers: Verifiers,
    opened: Opened,
    replayed_from: u64,
    stopping: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    ops: Option<Ops>,
    order: Order,
}

/// What serves metrics and health.
struct Ops {
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Node {
    /// Starts a node: opens the data folder, replays the ledger, listens.
    ///
    /// # Errors
    /// If the data folder is broken or in use, or the address cannot be listened on.
    pub fn start(config: Config) -> BoxFuture<Result<Self, NodeError>> {
        Box::pin(async move {
            let tls = tls::secured(&config.tls, config.listen, &config.data)?;
            let slots =
                Slots::new(within_files(config.max_connections), config.connections_per_address);
            let counts = Counts::default();
            let calls = Calls::new(&config, counts.clone());
            let listener = TcpListener::bind(config.listen).await.map_err(|source| {
                NodeError::Io { doing: format!("listen on {}", config.listen), source }
            })?;
            let address = listener
                .local_addr()
                .map_err(|source| NodeError::Io { doing: "find the address".to_owned(), source })?;
            // Before the ledger is opened, which may take its time: what cannot be had is told at once.
            let ops = ops::listen(&config.ops, config.listen, address).await?;
            let reserve = DiskReserve::new(&config.data, config.reserve_bytes);
            let (max, quota) = (config.max_artifact_bytes, config.artifact_quota_bytes);
            let (witnesses, quorum) = (config.witnesses.clone(), config.witness_quorum);
            let (keep, artifacts_at) = (config.keep, config.artifacts.clone());
            let (presigned, bytes_per_second) = (config.presigned, config.bytes_per_second);
            if presigned.is_some() && !matches!(artifacts_at, ArtifactsAt::Bucket(_)) {
                let reason = format!("{artifacts_at} has no addresses to hand out (--presigned)");
                return Err(NodeError::ArtifactStore(reason));
            }
            let (data, network) = (config.data.clone(), config.network.clone());
            let mount = config.mount.clone();
            let access = config.access.clone();
            let access = access.unwrap_or_else(|| Access::by_default(config.listen.ip(), &data));
            let chain = config.chain.clone();
            let first = match (&chain, genesis::read(&data.join("ledger"))?) {
                (Some(settings), None) => Some(chain::first_entry(settings, &data).await?),
                (chain, Some(genesis)) => {
                    chain::check_folder(chain.as_ref(), &genesis)?;
                    None
                }
                (None, None) => None,
            };
            let opening = tokio::task::spawn_blocking(move || open::open(&config, first));
            let opened = opening.await.map_err(|error| NodeError::Stopped(error.to_string()))??;
            let OpenLedger { keeper, keys, report, replayed_from, signer, height, vouched } =
                opened;
            // Only now: nobody else has the folder.
            let (folder, disk) = (data.join("artifacts"), reserve.clone());
            let opening = tokio::task::spawn_blocking(move || {
                let kept = artifacts::kept_at(&folder, &artifacts_at)?;
                let disk = match &artifacts_at {
                    ArtifactsAt::Folder(folder) => disk.on(folder),
                    ArtifactsAt::Data | ArtifactsAt::Bucket(_) => disk,
                };
                let storage = kept.storage.clone();
                let store = ArtifactStore::open_with(kept, max, quota, disk)?;
                artifacts::note_place(&folder, &artifacts_at, &storage)?;
                Ok::<_, NodeError>(store)
            });
            let artifacts =
                opening.await.map_err(|error| NodeError::Stopped(error.to_string()))??;
            let stopping = CancellationToken::new();
            let verifiers = match keys.is_on_chain() {
                true => signer.verifier().clone().into(),
                false => keys.current().clone(),
            };
            let own = Credential::new(signer.signing_key()).for_ledger(keys.ledger().0);
            let reader = keeper.reader();
            let peers = chain.as_ref().map(|chain| chain.peers.clone());
            let order = match (chain, keys.validators()) {
                (Some(settings), _) => {
                    let (ledger, data) = (keys.ledger(), data.clone());
                    let beginning = chain::Beginning { keeper, ledger, settings, data };
                    Order::OnChain(OnChain::start(beginning, &stopping).await?)
                }
                (None, None) => {
                    let (reserve, counts) = (reserve.clone(), counts.clone());
                    Order::Alone(SoloThread::start(keeper, reserve, counts, stopping.clone()))
                }
                (None, Some(_)) => {
                    let keys = keys.clone();
                    let (data, config, counts) = (data.clone(), network, counts.clone());
                    let beginning =
                        Beginning { keeper, keys, height, signer, vouched, data, config, counts };
                    start_together(beginning, &stopping).await?
                }
            };
            let reads = Reads::new(reader.clone(), order.published());
            if keys.validators().is_none() {
                warn_of_lost_models(&order.views().latest(), &artifacts);
            }
            warn_of_large_models(&order.views().latest(), artifacts.max_bytes());
            let cosignatures = Cosignatures::new(witnesses.len(), quorum);
            for witness in witnesses {
                tokio::spawn(witness::ask(
                    witness,
                    reads.clone(),
                    order.views().size(),
                    cosignatures.clone(),
                    stopping.clone(),
                ));
            }
            let others = match peers {
                Some(peers) => Some(Others::Named(peers.iter().map(ToString::to_string).collect())),
                None => keys.validators().map(|_| Others::Keepers(order.keys(&keys))),
            };
            let pulling = others.map(|others| {
                let (artifacts, own) = (artifacts.clone(), own.clone());
                Pulling::new(artifacts, others, own, Patience::default(), &stopping)
            });
            if let Some(pulling) = &pulling {
                tokio::spawn(pulling.clone().follow(order.views()));
            }
            tokio::spawn(merging::merge_rounds(order.views(), artifacts.clone(), stopping.clone()));
            let chronicle = Chronicle::new(reader.size());
            tokio::spawn(artifacts::keep(
                keep,
                reads.clone(),
                order.views(),
                artifacts.clone(),
                chronicle.clone(),
                stopping.clone(),
            ));
            let rights = Rights::new(&access, order.views(), order.keys(&keys), artifacts.clone())?;
            if let Some(chain) = order.chain() {
                chain.pays_for(rights.clone());
            }
            let (ledger, own, is_bound) = (keys.ledger().0, own.public_key(), tls.is_some());
            let who = Who::new(ledger, own, is_bound, rights.clone(), counts.clone())
                .map_err(|refusal| NodeError::Stopped(refusal.to_string()))?;
            let files = rights.files();
            let health = Health::new(
                stopping.clone(),
                reserve.clone(),
                #[cfg(unix)]
                order.network(),
                order.chain().map(OnChain::condition),
            );
            let metrics = Metrics {
                counts: counts.clone(),
                chronicle,
                views: order.views(),
                reads: reads.clone(),
                artifacts: artifacts.clone(),
                cosignatures: cosignatures.clone(),
                slots: slots.clone(),
                calls: calls.clone(),
                disk: reserve,
                health: health.clone(),
                journal: data.join("ledger/journal"),
                #[cfg(unix)]
                network: order.network(),
            };
            let mounted = mount.map(|mount| {
                // Nobody is asked there who it is.
                let shown = access.read.is_public().then(|| Shown {
                    origin: keys.current().name().to_owned(),
                    reads: reads.clone(),
                    size: order.views().size(),
                    stopping: stopping.clone(),
                });
                (mount.about, mount.routes(shown))
            });
            let ops = serve_ops(ops, metrics, mounted, &stopping)?;
            let shared = Shared {
                reads,
                artifacts,
                presigned,
                pulling,
                cosignatures,
                rights,
                who,
                health,
                counts: counts.clone(),
                verifiers: verifiers.clone(),
            };
            let rates = bytes_per_second.map(Rates::new);
            let router = router(services(&keys, &order, shared, &stopping), calls, rates);
            let (tls_of, full) = (tls.clone(), Class::Door("connections"));
            let door = Door { listener, slots, tls: tls_of, counts: counts.clone(), full };
            let serving = tokio::spawn(serve(door, router, stopping.clone()));
            let watched = (tls.clone(), files.clone());
            let look = move || {
                watched.0.iter().for_each(|tls| tls.look());
                watched.1.look();
                counts.tell();
            };
            tokio::spawn(watched::every_now_and_then(look, stopping.clone()));
            let opened = report;
            let node = Self {
                address,
                tls,
                files,
                access,
                keys,
                verifiers,
                opened,
                replayed_from,
                stopping,
                serving,
                ops,
                order,
            };
            Ok(node)
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are served, if they are.
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops.as_ref().map(|ops| ops.address)
    }

    /// Its address for clients; with the fingerprint of its certificate where nobody else vouches for that. (One
    /// that is renewed is not to be pinned.)
    pub fn url(&self) -> String {
        tls::url(self.tls.as_deref(), self.address)
    }

    /// The fingerprint of the certificate that it shows, if it shows one.
    pub fn fingerprint(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| tls.fingerprint().to_string())
    }

    /// Reads the files of its certificate and of keys anew, which it does by itself when they change. `false` if it
    /// has none.
    pub fn reload(&self) -> bool {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
        self.files.look();
        self.tls.is_some() || !self.files.are_none()
    }

    /// Who may do what.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Which ledger it keeps.
    pub fn ledger_id(&self) -> LedgerId {
        self.keys.ledger()
    }

    /// The keys that verify its checkpoints: this node's own where a contract on a public chain keeps the ledger, in
    /// whose place it says no more than what it has seen there.
    pub fn verifiers(&self) -> &Verifiers {
        &self.verifiers
    }

    /// The keys that its checkpoints were signed with, from the first on.
    pub fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// What opening the ledger found and did.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// From which entry on the contract was replayed; what lies before came from a snapshot.
    pub fn replayed_from(&self) -> u64 {
        self.replayed_from
    }

    /// Moves the ledger's clock to a time; from then on only this moves it. For tests that replay what
    /// was recorded: no user can reach it. Resolves when what the time alone decides is durable; what
    /// is submitted then is decided at this time.
    ///
    /// # Errors
    /// If the node has stopped.
    #[doc(hidden)]
    pub fn set_time(&self, time_ms: u64) -> BoxFuture<Result<(), NodeError>> {
        let answers = self.order.submissions().set_time(time_ms);
        Box::pin(async move {
            let answers = answers.map_err(|refusal| NodeError::Stopped(refusal.to_string()))?;
            answers.await.map(drop).map_err(|error| NodeError::Stopped(error.to_string()))
        })
    }

    /// Resolves when the node has stopped taking transactions by itself.
    pub async fn stopped(&self) {
        self.stopping.cancelled().await;
    }

    /// Stops: no new connections, open streams end, what was taken is answered, all is synced.
    ///
    /// # Errors
    /// If the node had stopped by itself before, and why.
    pub fn shutdown(self) -> BoxFuture<Result<(), NodeError>> {
        Box::pin(async move {
            self.stopping.cancel();
            // A panic while serving has been reported by the runtime; the ledger is closed all the same.
            let _ = self.serving.await;
            if let Some(ops) = self.ops {
                let _ = ops.serving.await;
            }
            let joined = tokio::task::spawn_blocking(move || self.order.join()).await;
            match joined {
                Ok(result) => result,
                Err(error) => Err(NodeError::Stopped(error.to_string())),
            }
        })
    }
}

/// Serves metrics and health, where that can be done.
fn serve_ops(
    listening: Listening,
    metrics: Metrics,
    mounted: Option<(&'static str, axum::Router)>,
    stopping: &CancellationToken,
) -> Result<Option<Ops>, NodeError> {
    let listener = match listening {
        Listening::Off => return Ok(None),
        Listening::At(listener) => listener,
        Listening::Not { address, why } => {
            tracing::warn!(
                %address, %why,
                "metrics and health are not served: give --ops-listen another address, or off"
            );
            return Ok(None);
        }
    };
    let address = listener.local_addr();
    let address =
        address.map_err(|source| NodeError::Io { doing: "find the address".to_owned(), source })?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "--ops-listen can be reached from other machines, has no TLS, and shows whoever asks the names of \
             experiments, who takes part and how much"
        );
    }
    let counts = metrics.counts.clone();
    // One more than there are: where all are taken, whoever comes next has the one that was idle longest.
    let slots = Slots::new(OPS_CONNECTIONS, OPS_CONNECTIONS + 1);
    let door = Door { listener, slots, tls: None, counts, full: Class::Door("ops_connections") };
    let serving =
        tokio::spawn(serve(door, ops::router(address, metrics, mounted), stopping.clone()));
    Ok(Some(Ops { address, serving }))
}

/// Starts to order together with others.
#[cfg(unix)]
async fn start_together(
    beginning: Beginning,
    stopping: &CancellationToken,
) -> Result<Order, NodeError> {
    let (stopping, runtime) = (stopping.clone(), tokio::runtime::Handle::current());
    let starting =
        tokio::task::spawn_blocking(move || Replicated::start(beginning, &stopping, &runtime));
    let started = starting.await.map_err(|error| NodeError::Stopped(error.to_string()))?;
    Ok(Order::Together(started?))
}

#[cfg(not(unix))]
async fn start_together(_: Beginning, _: &CancellationToken) -> Result<Order, NodeError> {
    Err(NodeError::NotHere)
}

/// Says which models are lost, before learners ask for them in vain.
fn warn_of_lost_models(view: &View, artifacts: &ArtifactStore) {
    for experiment in view.unfinished() {
        let digest = experiment.state().model.digest;
        if artifacts.size_of(&digest).is_none() {
            tracing::warn!(
                experiment = %experiment.state().name,
                model = %digest,
                "the model's weights are lost here; a learner that holds them brings them back"
            );
        }
    }
}

/// Says which experiments allow models that this node does not take, before one is refused.
fn warn_of_large_models(view: &View, max_bytes: u64) {
    for experiment in view.unfinished() {
        let allowed = experiment.state().parameters.max_weights_bytes;
        if allowed > max_bytes {
            tracing::warn!(
                experiment = %experiment.state().name,
                max_weights_bytes = allowed,
                max_artifact_bytes = max_bytes,
                "the experiment allows larger models than this node takes; start it with a larger --max-artifact-bytes"
            );
        }
    }
}

/// What several services need.
struct Shared {
    reads: Reads,
    artifacts: ArtifactStore,
    presigned: Option<Duration>,
    pulling: Option<Pulling>,
    cosignatures: Cosignatures,
    rights: Rights,
    who: Who,
    health: Health,
    counts: Counts,
    verifiers: Verifiers,
}

/// Gives each service what it needs, and no more.
fn services(
    keys: &LogKeys,
    order: &Order,
    shared: Shared,
    stopping: &CancellationToken,
) -> Services {
    let Shared { reads, artifacts, presigned, pulling, cosignatures, rights, who, .. } = shared;
    let Shared { health, counts, verifiers, .. } = shared;
    let (views, stopping) = (order.views(), stopping.clone());
    #[cfg(unix)]
    let network = order.network();
    Services {
        #[cfg(unix)]
        networks: Networks {
            network,
            views: views.clone(),
            artifacts: artifacts.clone(),
            stopping: stopping.clone(),
        },
        coordinator: Coordinator {
            admission: Admission::new(
                keys.ledger(),
                reads.clone(),
                order.submissions(),
                artifacts.clone(),
                rights.clone(),
                pulling.clone(),
                counts.clone(),
            ),
            reads: reads.clone(),
            views: views.clone(),
            stopping: stopping.clone(),
            programs: Programs::new(clock::now_ms()),
        },
        ledger: Ledger {
            keys: order.keys(keys),
            verifiers,
            reads: reads.clone(),
            views,
            cosignatures: cosignatures.clone(),
            stopping: stopping.clone(),
            max_artifact_bytes: artifacts.max_bytes(),
            chain: order.chain().map(OnChain::shows),
        },
        artifacts: Artifacts {
            lists: Artifacts::lists(),
            store: artifacts,
            pulling,
            rights,
            presigned,
            pace: limits::UPLOAD_PACE,
            counts,
        },
        health,
        who,
        tiles: Tiles {
            reads,
            cosignatures,
            stopping,
            #[cfg(unix)]
            signatures: order.signatures(),
        },
    }
}
