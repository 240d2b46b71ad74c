//! Clients that submit what is always accepted: everybody joins.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Join, Parameters, VERSION, terms,
};
use colearn_proto::v1;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_proto::v1::submit_stream_response::Result as Answer;
use colearn_records::keys::learner_id;
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_sdk::client::Followed;
use colearn_sdk::learner::{SAFETENSORS, Weights};
use ed25519_dalek::SigningKey;
use futures_util::StreamExt as _;
use rayon::prelude::*;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use super::{CLIENTS, EACH};

fn key(number: usize) -> SigningKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SigningKey::from_bytes(&seed)
}

/// Joins of an experiment that never begins.
pub(crate) struct Joins {
    ledger: LedgerId,
    seen: Seen,
    action: Action,
}

impl Joins {
    /// What such a transaction has in a block, give or take some.
    pub(crate) const BYTES: usize = 187;

    /// Creates the experiment.
    pub(crate) async fn create(followed: &mut Followed, name: &str) -> Self {
        let weights = Weights::new(vec![0; 8]);
        followed.client().clone().upload(&weights).await.unwrap();
        let parameters = Parameters { min_learners: 100_000, ..Parameters::default() };
        let admission = Admission::Open;
        let creator = key(usize::MAX);
        let terms = terms(VERSION, learner_id(&creator), &parameters, &admission);
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters,
            admission,
            model: weights.model(SAFETENSORS),
            plan: None,
        };
        let create = Action::new(name.parse().unwrap(), Act::Create(create));
        followed.act(&creator, create).await.unwrap();
        followed.catch_up(&mut |_| {}).await.unwrap();
        let action = Action::new(name.parse().unwrap(), Act::Join(Join::new(0, Some(terms))));
        Self { ledger: followed.ledger_id(), seen: followed.seen().unwrap(), action }
    }

    /// Of these learners.
    pub(crate) fn sign(&self, numbers: Range<usize>) -> Vec<Transaction> {
        let sign =
            |number| Transaction::sign(&key(number), &self.ledger, self.seen, self.action.clone());
        numbers.into_par_iter().map(sign).collect()
    }
}

/// Clients that submit, each in a stream of its own.
pub(crate) struct Load {
    going: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(Vec<Instant>, Vec<String>)>>,
}

impl Load {
    /// Each client has at most so many on their way; the nodes have as many clients each.
    pub(crate) async fn start(urls: &[String], joins: &Joins, in_flight: usize) -> Self {
        let signed = joins.sign(0..CLIENTS * EACH);
        let lengths = signed.iter().map(|it| record::transaction_payload(it).len());
        let differ = lengths.map(|length| length.abs_diff(Joins::BYTES)).max();
        assert!(differ < Some(8), "the bare ones are offered others: {differ:?}");
        let going = Arc::new(AtomicBool::new(true));
        let mut clients = Vec::new();
        for (at, signed) in signed.chunks(EACH).enumerate() {
            let url = urls[at % urls.len()].clone();
            let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
            let connection = CoordinatorServiceClient::new(channel);
            let signed = signed.iter().map(|it| it.message().clone()).collect();
            clients.push(tokio::spawn(submit(connection, signed, in_flight, going.clone())));
        }
        Self { going, clients }
    }

    /// When receipts came, in order.
    pub(crate) async fn stop(self) -> Vec<Instant> {
        self.going.store(false, Ordering::Relaxed);
        let (mut receipts, mut refusals) = (Vec::new(), Vec::new());
        for client in self.clients {
            let (came, refused) = client.await.unwrap();
            receipts.extend(came);
            refusals.extend(refused);
        }
        if let Some(first) = refusals.first() {
            println!("  {} refusals, the first: {first}", refusals.len());
        }
        receipts.sort_unstable();
        receipts
    }
}

async fn submit(
    mut connection: CoordinatorServiceClient<Channel>,
    signed: Vec<v1::SignedTransaction>,
    in_flight: usize,
    going: Arc<AtomicBool>,
) -> (Vec<Instant>, Vec<String>) {
    let room = Arc::new(Semaphore::new(in_flight));
    let sent_when = room.clone();
    let requests = futures_util::stream::iter(signed)
        .then(move |transaction| {
            let room = sent_when.clone();
            async move {
                room.acquire().await.unwrap().forget();
                v1::SubmitStreamRequest { transaction: Some(transaction) }
            }
        })
        .take_while(move |_| std::future::ready(going.load(Ordering::Relaxed)));
    let mut answers = connection.submit_stream(requests).await.unwrap().into_inner();
    let (mut receipts, mut refusals) = (Vec::new(), Vec::new());
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.result.unwrap() {
            Answer::Receipt(_) => receipts.push(Instant::now()),
            Answer::Refusal(refusal) => refusals.push(refusal.message),
        }
        room.add_permits(1);
    }
    (receipts, refusals)
}
