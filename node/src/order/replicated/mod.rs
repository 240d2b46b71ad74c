//! What orders together with others: CometBFT beside this process decides in what order, and the keeper
//! records what it decided.

mod application;
mod before;
mod blocks;
mod bundle;
mod condition;
mod ordered;
mod peers;
mod shown;
mod signatures;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use colearn_comet::abci::{self, Stopping};
use colearn_comet::files::{self, Genesis, Settings};
use colearn_comet::keys::{ConsensusKey, NodeKey};
use colearn_comet::process::{Health, Process, Sockets};
use colearn_comet::program::Program;
use colearn_comet::rpc::{Broadcast, Client, RpcError};
use colearn_ledger::{Entry, SignedCheckpoint};
use colearn_records::log_keys::LogKeys;
use colearn_records::record;
use colearn_records::transaction::Transaction;
use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::application::{Application, Landing, Pace, VERSION};
use self::before::Before;
use self::blocks::{Blocks, code};
use self::bundle::{Offer, Offers};
pub(crate) use self::condition::{MAX_CHANGE_BYTES, Network};
use self::ordered::Verified;
use self::shown::Shown;
pub(crate) use self::signatures::{Signatures, evidence_of};

use super::waiting::{Waiter, Waiting};
use super::{Answers, Beginning};
use crate::clock::{self, Clock};
use crate::error::{CometError, NodeError};
use crate::keeper::Keeper;
use crate::refusal::Refusal;
use crate::view::Views;
use colearn_proto::v1;

/// How often it is looked whether something is due, and whether somebody waits in vain.
const BEAT: Duration = Duration::from_millis(250);
/// How long what is submitted waits for a CometBFT that starts, and how often that is asked.
const COMETBFT_STARTS: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The running order.
pub(crate) struct Replicated {
    application: Arc<Application>,
    submissions: Submissions,
    views: Views,
    signatures: Arc<Signatures>,
    comet: Option<Process>,
    server: Stopping,
    serving: JoinHandle<()>,
    landing: JoinHandle<Result<(), colearn_ledger::Error>>,
}

impl Replicated {
    /// Starts CometBFT and serves it. When it cannot go on it cancels `stopping`.
    pub(crate) fn start(
        beginning: Beginning,
        stopping: &CancellationToken,
        runtime: &Handle,
    ) -> Result<Self, NodeError> {
        let home = beginning.data.join("comet");
        let program =
            Program::find(beginning.config.cometbft.as_deref()).map_err(CometError::from)?;
        let consensus = ConsensusKey::create_or_open(&home).map_err(CometError::from)?;
        let node = NodeKey::create_or_open(&home).map_err(CometError::from)?;
        let chain = chain(&beginning)?;
        if let Some(ahead) = clock::ahead(chain.time_ms) {
            tracing::warn!(
                ?ahead,
                "the ledger's time is ahead of this machine's clock: CometBFT makes no block until then"
            );
        }
        let settings = settings(&beginning, &node.id())?;
        let sockets = Sockets::create().map_err(CometError::from)?;
        files::write(&home, &chain, &settings, &sockets).map_err(CometError::from)?;
        // Killed in its first moments it would not start again.
        if beginning.height == 0 {
            files::clear_unmade(&home).map_err(CometError::from)?;
        }
        warn_of_other_keys(&beginning, &consensus, &node);
        let listener = sockets.listen().map_err(CometError::from)?;

        let (application, views, signatures) =
            prepare(beginning, chain.chain_id, Clock::default())?;
        let (landings, landed) = std::sync::mpsc::channel::<Landing>();
        *application.landing.lock().unwrap_or_else(PoisonError::into_inner) = Some(landings);
        let lands = application.clone();
        let landing = std::thread::spawn(move || {
            for landing in landed {
                lands.land(landing).inspect_err(|error| {
                    tracing::error!(%error, "what is durable cannot be indexed");
                })?;
            }
            Ok(())
        });
        let server = Stopping::new();
        let answers = application.clone();
        let serving = abci::serve(listener, move |request| answers.answer(request), server.clone())
            .map_err(|source| NodeError::Io { doing: "serve CometBFT".to_owned(), source })?;
        let (ended, cancel) = (server.clone(), stopping.clone());
        std::thread::spawn(move || {
            if let Some(reason) = ended.wait() {
                tracing::error!(%reason, "blocks cannot be recorded; stopping");
            }
            cancel.cancel();
        });
        let comet = Process::start(&program, &home, &sockets).map_err(CometError::from)?;
        tracing::info!(version = program.version(), id = node.id(), "cometbft started");

        let rpc = Client::new(sockets.rpc());
        let submissions = Submissions::new(
            application.clone(),
            signatures.clone(),
            rpc,
            comet.health(),
            stopping.clone(),
        );
        let gathering =
            signatures::gather(application.clone(), signatures.clone(), stopping.clone());
        let beating = beat(submissions.clone(), stopping.clone());
        // If one panics the node stops: nobody would get a receipt any more, and all would look well.
        for task in [gathering.boxed(), beating.boxed()] {
            let ends = stopping.clone().drop_guard();
            runtime.spawn(async move {
                task.await;
                drop(ends);
            });
        }
        Ok(Self {
            application,
            submissions,
            views,
            signatures,
            comet: Some(comet),
            server,
            serving,
            landing,
        })
    }

    pub(crate) fn submissions(&self) -> Submissions {
        self.submissions.clone()
    }

    pub(crate) fn views(&self) -> Views {
        self.views.clone()
    }

    /// The newest checkpoint that enough nodes have signed.
    pub(crate) fn published(&self) -> watch::Receiver<Option<Arc<SignedCheckpoint>>> {
        self.application.shown.published()
    }

    /// Who keeps the ledger.
    pub(crate) fn keys(&self) -> watch::Receiver<Arc<LogKeys>> {
        self.application.keys.subscribe()
    }

    pub(crate) fn signatures(&self) -> Arc<Signatures> {
        self.signatures.clone()
    }

    /// What this node says of itself and the others.
    pub(crate) fn network(&self) -> Network {
        Network::new(self.submissions.clone())
    }

    /// Stops CometBFT, tells whoever waits, and closes the ledger.
    pub(crate) fn join(mut self) -> Result<(), NodeError> {
        if let Some(comet) = self.comet.take() {
            comet.stop();
        }
        self.server.stop();
        let served = self.serving.join();
        self.application.waiting.stop();
        *self.application.landing.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let landed = self.landing.join();
        if let Some(reason) = self.server.reason() {
            return Err(NodeError::Stopped(reason.to_string()));
        }
        match (served, landed) {
            (Ok(()), Ok(landed)) => landed?,
            _ => return Err(NodeError::Stopped("what records blocks panicked".to_owned())),
        }
        // Others hold the application until their tasks have ended; the ledger is closed when the last does.
        // Everything is durable: a snapshot only saves the next start a replay.
        Ok(self.application.blocks().keeper_mut().snapshot_now()?)
    }
}

/// Everything but the processes.
fn prepare(
    beginning: Beginning,
    chain_id: String,
    clock: Clock,
) -> Result<(Arc<Application>, Views, Arc<Signatures>), NodeError> {
    let begins_ms = begins_ms(&beginning)?;
    let Beginning { keeper, keys, height, signer, vouched, data, counts, .. } = beginning;
    let reader = keeper.reader();
    let size = reader.size();
    let before = Arc::new(Before::new(vouched));
    before.look(&reader)?;
    let dir = data.join("ledger");
    let published = published(&keeper, &keys, &dir);
    let (shown, views) = Shown::new(keeper.contract(), size, published, dir);
    let due_ms = AtomicU64::new(keeper.contract().next_deadline_ms().unwrap_or(u64::MAX));
    let started_ms = clock.now_ms();
    let application = Arc::new(Application {
        chain_id,
        clock,
        verified: Verified::new(keys.ledger()),
        keys: watch::Sender::new(Arc::new(keys.clone())),
        blocks: Mutex::new(Blocks::new(keeper, keys, height, &data)?),
        waiting: Waiting::default(),
        before: before.clone(),
        shown,
        committed: watch::Sender::new(size),
        due_ms,
        pace: Mutex::new(Pace::default()),
        started_ms,
        begins_ms,
        observers: data.join("observers"),
        landing: Mutex::new(None),
        counts,
    });
    let signatures = Arc::new(Signatures::new(
        signer,
        reader,
        application.committed.subscribe(),
        application.keys.subscribe(),
        before,
        data,
    ));
    Ok((application, views, signatures))
}

/// The checkpoint that was shown last, if it is one of this ledger's.
fn published(keeper: &Keeper, keys: &LogKeys, dir: &Path) -> Option<Arc<SignedCheckpoint>> {
    let note = colearn_ledger::published(dir).ok()??;
    let checkpoint = keys.open(&note).ok()?;
    let root = keeper.reader().root(checkpoint.size).ok()?;
    (root == checkpoint.root).then(|| Arc::new(SignedCheckpoint { checkpoint, note }))
}

/// How the chain began: with those who kept the ledger first, whoever keeps it now.
fn chain(beginning: &Beginning) -> Result<Genesis, NodeError> {
    let ledger = beginning.keys.ledger().to_string();
    let (_, founders) = beginning.keys.founders().ok_or(NodeError::NoNetwork)?;
    Ok(Genesis {
        chain_id: format!("colearn-{}", &ledger[..32]),
        time_ms: begins_ms(beginning)?,
        app_version: VERSION,
        validators: founders
            .iter()
            .map(|it| (it.name().to_owned(), it.consensus_key().to_bytes()))
            .collect(),
    })
}

/// When the chain begins.
fn begins_ms(beginning: &Beginning) -> Result<u64, NodeError> {
    let (at, _) = beginning.keys.founders().ok_or(NodeError::NoNetwork)?;
    // Every node has this entry, whatever the time was that it was made at.
    let first = beginning.keeper.reader().entry(at)?;
    let first = Entry::decode(&first).map_err(|_| NodeError::Genesis(beginning.data.clone()))?;
    Ok(first.time_ms)
}

fn settings(beginning: &Beginning, id: &str) -> Result<Settings, NodeError> {
    let them = beginning.keys.validators().ok_or(NodeError::NoNetwork)?;
    let own = them.iter().find(|it| it.node_id() == id);
    let listen = match (beginning.config.p2p_listen, own) {
        (Some(listen), _) => listen,
        (None, Some(own)) => listen_for(own.p2p()),
        // It only calls others.
        (None, None) => std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
    };
    let others = them.iter().filter(|it| it.node_id() != id).map(|it| it.p2p().to_owned());
    Ok(Settings {
        external_address: own.and_then(|own| Some(own.p2p().split_once('@')?.1.to_owned())),
        persistent_peers: others.chain(beginning.config.peers.iter().cloned()).collect(),
        block_interval: beginning.config.block_interval,
        ..Settings::new(listen)
    })
}

/// Where to listen for a node that the others reach at this address: there, if that is this machine alone,
/// and otherwise wherever they come from.
fn listen_for(p2p: &str) -> std::net::SocketAddr {
    let address = p2p.split_once('@').map_or(p2p, |(_, address)| address);
    if let Ok(address) = address.parse::<std::net::SocketAddr>()
        && address.ip().is_loopback()
    {
        return address;
    }
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
    std::net::SocketAddr::from(([0, 0, 0, 0], port))
}

/// A node that signs with other keys than the ledger knows is none of those that keep it.
fn warn_of_other_keys(beginning: &Beginning, consensus: &ConsensusKey, node: &NodeKey) {
    let Some(them) = beginning.keys.validators() else { return };
    let own = beginning.signer.verifier().key();
    match them.iter().find(|it| it.log_key() == own) {
        None => {
            tracing::info!("this node keeps a copy of the ledger: it is none of those that sign")
        }
        Some(me) => {
            if me.consensus_key().to_bytes() != consensus.public_key() || me.node_id() != node.id()
            {
                tracing::error!(
                    name = me.name(),
                    "the keys in comet/config are not those that the ledger has for this node; restore \
                     them, or announce them with `colearn network update`"
                );
            }
        }
    }
}

/// Takes transactions to CometBFT; cheap to clone.
#[derive(Clone)]
pub(crate) struct Submissions {
    application: Arc<Application>,
    signatures: Arc<Signatures>,
    offers: Offers,
    rpc: Client,
    /// How CometBFT is.
    health: Health,
}

impl Submissions {
    fn new(
        application: Arc<Application>,
        signatures: Arc<Signatures>,
        rpc: Client,
        health: Health,
        stopping: CancellationToken,
    ) -> Self {
        let (offers, queue) = Offers::new();
        let (offering, calls) = (application.clone(), rpc.clone());
        // It ends with the last of those who can offer something. If it panics the node stops: nothing would be
        // ordered any more, and all would look well.
        std::thread::spawn(move || {
            let _ends = stopping.clone().drop_guard();
            let started = Instant::now() + COMETBFT_STARTS;
            let may_start = || Instant::now() < started && !stopping.is_cancelled();
            for offer in bundle::bundles(queue) {
                hand_over(&calls, &offering.waiting, &offer, may_start);
            }
        });
        Self { application, signatures, offers, rpc, health }
    }

    /// Has transactions recorded; each for itself, and offered in this order.
    pub(crate) fn submit(&self, transactions: Vec<Transaction>) -> Result<Answers, Refusal> {
        let (waiters, answers) = Waiter::of(transactions.len());
        for (transaction, waiter) in transactions.iter().zip(waiters) {
            let tx = Bytes::from(record::transaction_payload(transaction));
            let key = ordered::key(&tx);
            // It was verified when it was admitted.
            self.application.verified.remember(key);
            // Held meanwhile, or a commit could come between looking and waiting, and nobody would tell.
            let blocks = self.application.blocks();
            match blocks.keeper().find(transaction) {
                Ok(Some(index)) => {
                    self.application.waiting.wait_for_entry(index, waiter);
                    self.application.look_again();
                }
                Ok(None) => self.wait(key, tx, true, waiter),
                Err(error) => waiter.answer(Err(error.into())),
            }
        }
        Ok(answers)
    }

    /// Has a change of who keeps the ledger recorded.
    pub(super) fn submit_change(&self, change: &v1::ValidatorChange) -> Result<Answers, Refusal> {
        let (waiters, answers) = Waiter::of(1);
        let tx = Bytes::from(record::validator_change_payload(change));
        let key = ordered::key(&tx);
        for waiter in waiters {
            self.wait(key, tx.clone(), false, waiter);
        }
        Ok(answers)
    }

    /// Has it offered, alone or with others, unless somebody has already.
    fn wait(&self, key: ordered::Key, tx: Bytes, joins: bool, waiter: Waiter) {
        // What this node takes to be the ledger's state is not what the others do: it would tell whoever submits
        // something that is not so.
        let published = self.application.shown.published_size();
        if let Some((by, of)) = self.signatures.contradiction(published) {
            return waiter.answer(Err(Refusal::Contradicted { by, of }));
        }
        // The others may well record it, but nothing of that would come here.
        if let Some(ailment) = self.health.ailment() {
            return waiter.answer(Err(Refusal::NoOrder(ailment.to_string())));
        }
        match self.application.waiting.wait_for(key, &tx, waiter.clone()) {
            Ok(true) => self.offer(Offer { keys: vec![key], tx, joins, again: false }),
            // Somebody else has offered it.
            Ok(false) => {}
            Err(refusal) => waiter.answer(Err(refusal)),
        }
    }

    fn offer(&self, offer: Offer) {
        if let Err(offer) = self.offers.push(offer) {
            refuse_busy(&self.application.waiting, &offer);
        }
    }
}

/// Tells whoever waits for it that there is no room; what was offered before may be recorded all the same, and has its
/// next turn.
fn refuse_busy(waiting: &Waiting, offer: &Offer) {
    for key in offer.keys.iter().filter(|_| !offer.again) {
        waiting.refuse(key, || Refusal::Busy);
    }
}

/// Hands one to CometBFT, and tells whoever waits if that is the end of it. As long as CometBFT may be starting, it is
/// waited for: a node serves sooner.
fn hand_over(rpc: &Client, waiting: &Waiting, offer: &Offer, may_start: impl Fn() -> bool) {
    waiting.offered(&offer.keys, &offer.tx);
    let refuse = |refusal: &dyn Fn() -> Refusal| {
        for key in &offer.keys {
            waiting.refuse(key, refusal);
        }
    };
    let mut taken = rpc.broadcast_tx_sync(&offer.tx);
    while matches!(taken, Err(RpcError::Unreachable(_))) && may_start() {
        std::thread::sleep(LOOK_AGAIN);
        taken = rpc.broadcast_tx_sync(&offer.tx);
    }
    match taken {
        Ok(Broadcast::Taken | Broadcast::InCache) => {}
        Ok(Broadcast::Refused { code: code::INVALID }) => {
            refuse(&|| Refusal::NoOrder("it is refused as malformed".to_owned()));
        }
        Ok(Broadcast::Refused { code }) => {
            refuse(&|| Refusal::NoOrder(format!("refused with code {code}")));
        }
        Err(RpcError::MempoolFull) => refuse_busy(waiting, offer),
        Err(error @ (RpcError::Unreachable(_) | RpcError::Invalid(_) | RpcError::Refused(_))) => {
            refuse(&|| Refusal::NoOrder(error.to_string()));
        }
    }
}

/// Has blocks made for what is due, and offers again what was not heard of.
async fn beat(submissions: Submissions, stopping: CancellationToken) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last_tick_s = 0;
    let mut said_stuck = false;
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = beat.tick() => {}
        }
        let application = &submissions.application;
        if let Some(tick) = application.tick(&mut last_tick_s) {
            submissions.offer(Offer { keys: Vec::new(), tx: tick, joins: false, again: false });
        }
        for (keys, tx) in application.waiting.unheard() {
            submissions.offer(Offer { keys, tx, joins: false, again: true });
        }
        let stuck = application.stuck().is_some();
        if stuck && !said_stuck {
            tracing::error!(
                height = application.blocks().height(),
                "no block comes: fewer than two thirds of the nodes are there, or this one does not reach them"
            );
        }
        said_stuck = stuck;
    }
}
