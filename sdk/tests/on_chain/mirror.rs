//! A node that mirrors a contract's ledger, and delivers to it; and lies where it is to.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use colearn_contracts::{
    Charter, Contract, Creators, Digest, ExperimentName, Limits, Moment, Version,
};
use colearn_ledger::note::KeyKind;
use colearn_ledger::tree::{self, Subtrees};
use colearn_ledger::{Checkpoint, Hash, Signer};
use colearn_proto::v1;
use colearn_proto::v1::coordinator_service_server::{CoordinatorService, CoordinatorServiceServer};
use colearn_proto::v1::ledger_service_server::{LedgerService, LedgerServiceServer};
use colearn_records::on_chain::{PublicChain, Tree};
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Seen, Unverified};
use colearn_sdk::ed25519_dalek::SigningKey;
use colearn_testkit::chain::{Block, CONTRACT, Chain, ID};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// A mirror, the chain behind it, and what it does with what that says.
#[derive(Clone)]
pub(crate) struct Mirror(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) chain: Chain,
    contract: Contract,
    pub(crate) ledger: LedgerId,
    origin: String,
    pub(crate) tree: Tree,
    pub(crate) entries: Vec<Vec<u8>>,
    /// Where calls have ended, and the height of the first header that proves it.
    pub(crate) ends: Vec<(Seen, u64)>,
    /// What learners have vouched for.
    pub(crate) vouched: Vec<Seen>,
    /// Changes the checkpoints that are shown.
    pub(crate) note: fn(&mut Checkpoint),
    /// Changes what the chain is said to prove.
    pub(crate) proof: fn(&State, &mut Block),
    /// How much later than its block an entry is.
    pub(crate) clock_ms: i64,
    /// Of ends of so many entries and fewer no proof is kept.
    pub(crate) gone: u64,
    /// How many messages were sent on streams.
    pub(crate) streamed: watch::Sender<u64>,
    /// Told of calls.
    news: watch::Sender<()>,
}

impl State {
    /// The chain goes on for so long.
    pub(crate) fn wait(&mut self, ms: u64) {
        let time_ms = self.chain.time_ms() + ms;
        self.chain.block(time_ms);
    }

    /// A call of the contract in a block of its own, and the header that proves what it did.
    fn call(&mut self, payloads: impl FnOnce(&mut Contract, Moment) -> Vec<Vec<u8>>) {
        self.wait(100);
        let now_ms = self.chain.time_ms().saturating_add_signed(self.clock_ms);
        let head = Digest(self.tree.head().leaf.0);
        for payload in payloads(&mut self.contract, Moment { now_ms, head }) {
            self.entries.push(self.tree.push(now_ms, payload).unwrap());
        }
        self.chain.keep(self.tree.to_bytes());
        self.wait(100);
        let seen = Seen { size: self.tree.head().size, root: self.tree.root() };
        self.ends.push((seen, self.chain.height()));
        self.news.send_replace(());
    }

    /// Shows a ledger that it keeps alone, with a key of its own.
    pub(crate) fn show_its_own(&mut self) {
        let key = SigningKey::from_bytes(&[99; 32]).verifying_key();
        let genesis = v1::Genesis {
            origin: self.origin.clone(),
            log_public_key: Bytes::copy_from_slice(key.as_bytes()),
            nonce: Bytes::from_static(&[7; 32]),
            contract_version: Version::V1.number(),
            ..v1::Genesis::default()
        };
        self.ledger = LedgerId::of(&genesis);
        let first = Tree::empty().push(1_000, record::genesis_payload(genesis));
        self.entries[0] = first.unwrap();
    }

    fn copy(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            contract: self.contract.clone(),
            origin: self.origin.clone(),
            tree: self.tree.clone(),
            entries: self.entries.clone(),
            ends: self.ends.clone(),
            vouched: Vec::new(),
            streamed: watch::Sender::new(0),
            news: watch::Sender::new(()),
            ..*self
        }
    }

    fn leaves(&self) -> Leaves {
        Leaves(self.entries.iter().map(|entry| Hash::leaf(entry)).collect())
    }

    fn note(&self) -> (u64, String) {
        let key = SigningKey::from_bytes(&[99; 32]);
        let signer = Signer::new(&self.origin, KeyKind::Log, key).unwrap();
        let (Seen { size, root }, _) = self.ends[self.ends.len() - 1];
        let mut checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        (self.note)(&mut checkpoint);
        (size, checkpoint.sign(&signer))
    }

    fn proof(&self, size: u64) -> Result<Block, Status> {
        let height = match size {
            0 => self.chain.height(),
            size if size <= self.gone => return Err(Status::not_found("no longer")),
            size => {
                let end = self.ends.iter().find(|(seen, _)| seen.size == size);
                end.map(|(_, height)| *height).ok_or_else(|| Status::not_found("not shown"))?
            }
        };
        let mut block = self.chain.at(height).unwrap().clone();
        (self.proof)(self, &mut block);
        Ok(block)
    }

    fn submit(&mut self, message: v1::SignedTransaction) -> Result<v1::Receipt, Status> {
        let signed = Unverified::decode(message).unwrap().verify(&self.ledger).unwrap();
        self.vouched.push(signed.seen());
        assert!(self.ends.iter().any(|(seen, _)| *seen == signed.seen()), "no end of a call");
        let index = self.tree.head().size;
        self.call(|contract, at| {
            let outcomes = contract.apply(at, signed.sender(), signed.action()).unwrap();
            let payloads = outcomes.iter().map(record::outcome_payload);
            [record::transaction_payload(&signed)].into_iter().chain(payloads).collect()
        });
        let (size, checkpoint) = self.note();
        let leaves = self.leaves();
        let entry = self.entries[index as usize].clone();
        Ok(v1::Receipt {
            index,
            leaf_hash: wire(&[Hash::leaf(&entry)]).remove(0),
            inclusion_proof: wire(&tree::inclusion(&leaves, index, size).unwrap()),
            checkpoint,
            entry: entry.into(),
        })
    }
}

impl Mirror {
    /// Of a new contract, on a chain whose first block is so old; and its address.
    pub(crate) async fn start(age: Duration) -> (Self, String) {
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - age;
        let chain = Chain::begin(begun.as_millis() as u64);
        let charter = Charter { creators: Creators::Anybody, max_members: 50 };
        let public =
            PublicChain::new(ID.to_owned(), CONTRACT.to_owned(), charter.clone(), 50_000_000)
                .unwrap();
        let limits = Limits { expiry_ms: 3_600_000, ..Limits::default() };
        let genesis = public.genesis(Version::V2, &limits, chain.time_ms() + 100);
        let ledger = LedgerId::of(&genesis);
        let contract = Contract::on_chain(Digest(ledger.0), Version::V2, limits, charter);
        let mut state = State {
            chain,
            contract,
            ledger,
            origin: public.origin(),
            tree: Tree::empty(),
            entries: Vec::new(),
            ends: Vec::new(),
            vouched: Vec::new(),
            note: |_| {},
            proof: |_, _| {},
            clock_ms: 0,
            gone: 0,
            streamed: watch::Sender::new(0),
            news: watch::Sender::new(()),
        };
        state.call(|_, _| vec![record::genesis_payload(genesis)]);
        let mirror = Self(Arc::new(Mutex::new(state)));
        let url = mirror.serve().await;
        (mirror, url)
    }

    /// Another mirror of the same chain as it is now.
    pub(crate) async fn second(&self) -> (Self, String) {
        let mirror = Self(Arc::new(Mutex::new(self.state().copy())));
        let url = mirror.serve().await;
        (mirror, url)
    }

    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tonic::transport::Server::builder()
            .add_service(LedgerServiceServer::new(self.clone()))
            .add_service(CoordinatorServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        url
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// Leaf hashes, and the tree over them.
struct Leaves(Vec<Hash>);

impl Subtrees for Leaves {
    type Error = std::convert::Infallible;

    fn subtree(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        if level == 0 {
            return Ok(self.0[index as usize]);
        }
        let child = |at| self.subtree(level - 1, 2 * index + at);
        Ok(Hash::node(&child(0)?, &child(1)?))
    }
}

fn wire(hashes: &[Hash]) -> Vec<Bytes> {
    hashes.iter().map(|hash| Bytes::copy_from_slice(&hash.0)).collect()
}

fn block(block: &Block) -> Option<v1::ChainBlock> {
    let pages = |pages: &[Vec<u8>]| pages.iter().cloned().map(Bytes::from).collect();
    Some(v1::ChainBlock {
        commit: block.raw.commit.clone().into(),
        validators: pages(&block.raw.validators),
        next_validators: pages(&block.raw.next_validators),
    })
}

#[tonic::async_trait]
impl LedgerService for Mirror {
    type SubscribeStream = BoxStream<'static, Result<v1::SubscribeResponse, Status>>;

    async fn get_ledger(
        &self,
        _: Request<v1::GetLedgerRequest>,
    ) -> Result<Response<v1::GetLedgerResponse>, Status> {
        let state = self.state();
        Ok(Response::new(v1::GetLedgerResponse {
            ledger_id: Bytes::copy_from_slice(&state.ledger.0),
            origin: state.origin.clone(),
            contract_version: 2,
            ..v1::GetLedgerResponse::default()
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        let (state, old) = (self.state(), request.into_inner().old_size);
        let (size, checkpoint) = state.note();
        if old > size {
            return Err(Status::out_of_range("not yet"));
        }
        let consistency_proof = match old {
            0 => Vec::new(),
            old => wire(&tree::consistency(&state.leaves(), old, size).unwrap()),
        };
        let cosigned = Vec::new();
        Ok(Response::new(v1::GetCheckpointResponse { checkpoint, consistency_proof, cosigned }))
    }

    async fn get_entries(
        &self,
        request: Request<v1::GetEntriesRequest>,
    ) -> Result<Response<v1::GetEntriesResponse>, Status> {
        let v1::GetEntriesRequest { start, count } = request.into_inner();
        let state = self.state();
        let entries = state.entries.iter().skip(start as usize).take(count as usize);
        let entries = entries.cloned().map(Bytes::from).collect();
        Ok(Response::new(v1::GetEntriesResponse { entries }))
    }

    async fn get_inclusion_proof(
        &self,
        _: Request<v1::GetInclusionProofRequest>,
    ) -> Result<Response<v1::GetInclusionProofResponse>, Status> {
        Err(Status::unimplemented("nobody asks this"))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<v1::GetConsistencyProofRequest>,
    ) -> Result<Response<v1::GetConsistencyProofResponse>, Status> {
        let v1::GetConsistencyProofRequest { old_size, new_size } = request.into_inner();
        let proof = wire(&tree::consistency(&self.state().leaves(), old_size, new_size).unwrap());
        Ok(Response::new(v1::GetConsistencyProofResponse { proof }))
    }

    async fn get_chain_proof(
        &self,
        request: Request<v1::GetChainProofRequest>,
    ) -> Result<Response<v1::GetChainProofResponse>, Status> {
        let proven = self.state().proof(request.into_inner().size)?;
        Ok(Response::new(v1::GetChainProofResponse {
            block: block(&proven),
            tree: proven.value.value.into(),
            contract: proven.value.contract.into(),
            code: proven.value.code.into(),
        }))
    }

    async fn get_chain_block(
        &self,
        request: Request<v1::GetChainBlockRequest>,
    ) -> Result<Response<v1::GetChainBlockResponse>, Status> {
        let state = self.state();
        let found = state.chain.at(request.into_inner().height);
        let found = found.ok_or_else(|| Status::not_found("no such block"))?;
        Ok(Response::new(v1::GetChainBlockResponse { block: block(found) }))
    }

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let news = self.state().news.subscribe();
        let sending = Sending { mirror: self.clone(), next: request.into_inner().start, news };
        Ok(Response::new(stream::unfold(sending, Sending::next).boxed()))
    }
}

/// Entries as they come, at most two at a time: some messages end within a call.
struct Sending {
    mirror: Mirror,
    next: u64,
    news: watch::Receiver<()>,
}

impl Sending {
    async fn next(mut self) -> Option<(Result<v1::SubscribeResponse, Status>, Self)> {
        loop {
            if let Some(message) = self.message() {
                self.next += message.entries.len() as u64;
                self.mirror.state().streamed.send_modify(|count| *count += 1);
                return Some((Ok(message), self));
            }
            self.news.changed().await.ok()?;
        }
    }

    fn message(&self) -> Option<v1::SubscribeResponse> {
        let state = self.mirror.state();
        let (size, checkpoint) = state.note();
        let to = size.min(self.next + 2);
        let entries = state.entries.get(self.next as usize..to as usize)?.iter().cloned();
        let entries: Vec<Bytes> = entries.map(Bytes::from).collect();
        let consistency_proof = match to < size {
            true => wire(&tree::consistency(&state.leaves(), to, size).unwrap()),
            false => Vec::new(),
        };
        let message = v1::SubscribeResponse { entries, checkpoint, consistency_proof };
        (to > self.next).then_some(message)
    }
}

#[tonic::async_trait]
impl CoordinatorService for Mirror {
    type SubmitStreamStream = BoxStream<'static, Result<v1::SubmitStreamResponse, Status>>;
    type WatchExperimentStream = BoxStream<'static, Result<v1::WatchExperimentResponse, Status>>;

    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let receipt = self.state().submit(request.into_inner().transaction.unwrap_or_default())?;
        Ok(Response::new(v1::SubmitResponse { receipt: Some(receipt) }))
    }

    async fn submit_stream(
        &self,
        _: Request<Streaming<v1::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        Err(Status::unimplemented("nobody asks this"))
    }

    async fn get_experiment(
        &self,
        _: Request<v1::GetExperimentRequest>,
    ) -> Result<Response<v1::GetExperimentResponse>, Status> {
        Err(Status::unimplemented("nobody asks this"))
    }

    async fn list_experiments(
        &self,
        _: Request<v1::ListExperimentsRequest>,
    ) -> Result<Response<v1::ListExperimentsResponse>, Status> {
        Err(Status::unimplemented("nobody asks this"))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Err(Status::unimplemented("nobody asks this"))
    }

    async fn watch_experiment(
        &self,
        _: Request<v1::WatchExperimentRequest>,
    ) -> Result<Response<Self::WatchExperimentStream>, Status> {
        Err(Status::unimplemented("nobody asks this"))
    }
}

/// The name of an experiment.
pub(crate) fn name(text: &str) -> ExperimentName {
    text.parse().unwrap()
}
