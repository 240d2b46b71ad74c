//! The node under load: votes to durable receipts, and rounds of a trivial learner.
//!
//! Run with `cargo bench --bench node`, or a part of it with `-- acknowledgements`, `votes`, `members` (a round of
//! 1,000 and of 10,000), `rounds` or `scrapes` (what metrics cost, and the votes once more while they are collected
//! each second). The votes are compared with `verify_strict` of the same signatures on all cores, and merged rounds
//! with those of one proposer, measured in the same run; clients and node share the machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use colearn_contracts::{
    Act, Action, Admission, Choice, CreateExperiment, ExperimentName, Join, Merging, Model,
    Parameters, Phase, Proposal, Scores, VERSION, Vote, terms,
};
use colearn_node::{Config, Node, OpsListen};
use colearn_proto::v1;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_records::keys::learner_id;
use colearn_records::transaction::{LedgerId, Seen, Transaction, signed_bytes};
use colearn_sdk::client::{self, Event, Followed, Memory, Options};
use colearn_sdk::learner::{Learner, Proposed, Result, SAFETENSORS, Score, Weights};
use colearn_testkit::{Figures, Near};
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use rayon::prelude::*;
use tonic::transport::Channel;

/// As in the `colearn` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MEMBERS: usize = 20_000;
const CONNECTIONS: usize = 64;

fn key(number: usize) -> SigningKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SigningKey::from_bytes(&seed)
}

fn name(text: &str) -> ExperimentName {
    text.parse().unwrap()
}

fn weights(value: u64) -> Weights {
    Weights::new(value.to_be_bytes().to_vec())
}

fn create(name: ExperimentName, parameters: Parameters, model: Model) -> Action {
    let admission = Admission::Open;
    let version = VERSION.number();
    let create = CreateExperiment { version, parameters, admission, model, plan: None };
    Action::new(name, Act::Create(create))
}

/// Joins what the first learner creates so.
fn join(create: &Action) -> Action {
    let Act::Create(rules) = &create.what else { panic!("it creates") };
    let CreateExperiment { parameters, admission, .. } = rules;
    let terms = terms(VERSION, learner_id(&key(0)), parameters, admission);
    Action::new(create.experiment.clone(), Act::Join(Join::new(0, Some(terms))))
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let node = Node::start(Config::new(dir.path())).await.unwrap();
        let url = format!("http://{}", node.address());
        let asked: Vec<String> =
            std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
        let is_asked = |what: &str| asked.is_empty() || asked.iter().any(|it| it == what);
        let mut figures = Figures::of("node", env!("CARGO_TARGET_TMPDIR"));
        if is_asked("acknowledgements") {
            acknowledgements(&url, dir.path(), &mut figures).await;
        }
        if is_asked("votes") {
            votes(&url, &mut figures).await;
        }
        if is_asked("members") {
            members(&url, &mut figures).await;
        }
        if is_asked("rounds") {
            rounds(&url, &mut figures).await;
        }
        node.shutdown().await.unwrap();
        if is_asked("scrapes") {
            scrapes(&mut figures).await;
        }
        figures.end();
    });
}

/// What it takes to collect the metrics of many members, and what that does to those who vote.
async fn scrapes(figures: &mut Figures) {
    const EXPERIMENTS: usize = 100;
    const EACH: usize = 20;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = Config { ops: OpsListen::NextPort, ..Config::new(dir.path()) };
    let node = Node::start(config).await.unwrap();
    let url = format!("http://{}", node.address());
    let metrics = format!("http://{}/metrics", node.ops_address().unwrap());
    let mut followed = Followed::connect(&*url, Memory::default()).await.unwrap();
    followed.client().upload(&weights(0)).await.unwrap();
    for number in 0..EXPERIMENTS {
        let parameters = Parameters { min_learners: EACH as u32, ..Parameters::default() };
        let model = weights(0).model(SAFETENSORS);
        let create = create(name(&format!("scraped-{number}")), parameters.clone(), model);
        // Fewer than one key may create: the first creates another to vote in.
        let creator = number / 25;
        let signed = followed.sign(key(creator), create.clone()).unwrap();
        followed.submit(&signed).await.unwrap();
        followed.catch_up(&mut |_| {}).await.unwrap();
        let terms = terms(VERSION, learner_id(&key(creator)), &parameters, &Admission::Open);
        let join = Act::Join(Join::new(0, Some(terms)));
        for member in 0..EACH {
            let action = Action::new(create.experiment.clone(), join.clone());
            let signed = followed.sign(key(member), action).unwrap();
            followed.submit(&signed).await.unwrap();
        }
    }
    let scrape = move || ureq::get(&metrics).call().unwrap().body_mut().read_to_vec().unwrap();
    let (scrape, bytes, times) = tokio::task::spawn_blocking(move || {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..200 {
            let started = Instant::now();
            bytes = scrape().len();
            times.push(started.elapsed());
        }
        times.sort_unstable();
        (scrape, bytes, times)
    })
    .await
    .unwrap();
    let figure = format!("a scrape of {EXPERIMENTS} experiments of {EACH} members");
    let told = format!("p50 {:.2?} p99 {:.2?}, {bytes} bytes", times[100], times[198]);
    figures.told(&figure, &told);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let scraping = std::thread::spawn(move || {
        let mut count = 0;
        while stopped.recv_timeout(Duration::from_secs(1)).is_err() {
            scrape();
            count += 1;
        }
        count
    });
    figures.told("while metrics are collected each second:", "");
    votes(&url, figures).await;
    stop.send(()).unwrap();
    println!("{} scrapes", scraping.join().unwrap());
    node.shutdown().await.unwrap();
}

/// The signed action of so many, in the given history.
fn sign_all(
    ledger: LedgerId,
    seen: Seen,
    members: usize,
    skip: Option<usize>,
    action: impl Fn() -> Action + Sync,
) -> Vec<v1::SignedTransaction> {
    (0..members)
        .into_par_iter()
        .filter(|number| Some(*number) != skip)
        .map(|number| Transaction::sign(&key(number), &ledger, seen, action()).message().clone())
        .collect()
}

async fn connections(url: &str, count: usize) -> Vec<CoordinatorServiceClient<Channel>> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let channel = Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        connections.push(CoordinatorServiceClient::new(channel));
    }
    connections
}

fn shares(all: Vec<v1::SignedTransaction>, count: usize) -> Vec<Vec<v1::SignedTransaction>> {
    let size = all.len().div_ceil(count);
    all.chunks(size).map(<[_]>::to_vec).collect()
}

/// One call after another on each connection. Gives the time for all and the sorted latencies.
async fn unary(
    url: &str,
    all: Vec<v1::SignedTransaction>,
    count: usize,
) -> (Duration, Vec<Duration>) {
    let connections = connections(url, count).await;
    let started = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .zip(shares(all, count))
        .map(|(mut connection, share)| {
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(share.len());
                for transaction in share {
                    let sent = Instant::now();
                    let request = v1::SubmitRequest { transaction: Some(transaction) };
                    connection.submit(request).await.unwrap();
                    latencies.push(sent.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    (elapsed, latencies)
}

/// One stream on each connection.
async fn streamed(url: &str, all: Vec<v1::SignedTransaction>) -> Duration {
    use v1::submit_stream_response::Result as Wire;
    let connections = connections(url, CONNECTIONS).await;
    let started = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .zip(shares(all, CONNECTIONS))
        .map(|(mut connection, share)| {
            tokio::spawn(async move {
                let count = share.len();
                let requests = share
                    .into_iter()
                    .map(|transaction| v1::SubmitStreamRequest { transaction: Some(transaction) });
                let requests = tokio_stream::iter(requests);
                let mut answers = connection.submit_stream(requests).await.unwrap().into_inner();
                let mut receipts = 0;
                while let Some(answer) = answers.message().await.unwrap() {
                    match answer.result.unwrap() {
                        Wire::Receipt(_) => receipts += 1,
                        Wire::Refusal(refusal) => panic!("{}", refusal.message),
                    }
                }
                assert_eq!(receipts, count);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    started.elapsed()
}

/// How long a durable receipt takes with few and many submitters, each waiting for its own, beside
/// what a synced write of the same size takes.
async fn acknowledgements(url: &str, dir: &std::path::Path, figures: &mut Figures) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(dir.join("raw")).unwrap();
    let mut raw: Vec<Duration> = (0..1000)
        .map(|_| {
            let started = Instant::now();
            file.write_all(&[1; 300]).unwrap();
            file.sync_data().unwrap();
            started.elapsed()
        })
        .collect();
    raw.sort_unstable();
    let told = format!("p50 {:.2?} p99 {:.2?}", raw[500], raw[990]);
    figures.told("a write and fdatasync", &told);

    let mut followed = Followed::connect(url, Memory::default()).await.unwrap();
    let client = followed.client().clone();
    client.upload(&weights(0)).await.unwrap();
    for (count, each) in [(1, 2000), (16, 500), (256, 78)] {
        let experiment = name(&format!("acknowledgements-{count}"));
        let parameters = Parameters { min_learners: 100_000, ..Parameters::default() };
        let model = weights(0).model(SAFETENSORS);
        let create = create(experiment.clone(), parameters, model);
        let joining = join(&create);
        let signed = followed.sign(key(0), create).unwrap();
        followed.submit(&signed).await.unwrap();
        followed.catch_up(&mut |_| {}).await.unwrap();
        let seen = followed.seen().unwrap();
        let ledger = followed.ledger_id();
        let joins = sign_all(ledger, seen, count * each, None, || joining.clone());
        let (elapsed, latencies) = unary(url, joins, count).await;
        let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize];
        let rate = latencies.len() as f64 / elapsed.as_secs_f64();
        let told = format!("p50 {:.2?} p99 {:.2?}, {rate:.0}/s", at(0.5), at(0.99));
        let figure = format!("durable receipts, {count} submitters");
        match count {
            1 => {
                let times = at(0.5).as_secs_f64() / raw[500].as_secs_f64();
                let told = format!("{told}, {times:.1} times a sync");
                figures.at_most(&figure, &told, times, 2.0);
            }
            _ => figures.told(&figure, &told),
        }
    }
}

/// An experiment with so many members, who vote in one round after the other.
struct Voting {
    followed: Followed,
    name: ExperimentName,
    members: usize,
    round: u64,
    base: Weights,
}

impl Voting {
    async fn begin(url: &str, experiment: &str, members: usize) -> Self {
        let mut followed = Followed::connect(url, Memory::default()).await.unwrap();
        followed.client().upload(&weights(0)).await.unwrap();
        let parameters = Parameters {
            min_learners: members as u32,
            max_rounds: Some(2),
            ..Parameters::default()
        };
        let name = name(experiment);
        let create = create(name.clone(), parameters, weights(0).model(SAFETENSORS));
        let joining = join(&create);
        let signed = followed.sign(key(0), create).unwrap();
        followed.submit(&signed).await.unwrap();
        followed.catch_up(&mut |_| {}).await.unwrap();
        let mut voting = Self { followed, name, members, round: 0, base: weights(0) };
        streamed(url, voting.sign_all(None, || joining.clone())).await;
        voting.followed.catch_up(&mut |_| {}).await.unwrap();
        voting
    }

    /// Everybody's signed action but one's, over what was followed.
    fn sign_all(
        &self,
        skip: Option<usize>,
        action: impl Fn() -> Action + Sync,
    ) -> Vec<v1::SignedTransaction> {
        let (ledger, seen) = (self.followed.ledger_id(), self.followed.seen().unwrap());
        sign_all(ledger, seen, self.members, skip, action)
    }

    /// Proposes in the next round, and gives everybody's vote for it. Once they are submitted, it is accepted.
    async fn ballots(&mut self) -> Vec<v1::SignedTransaction> {
        self.round += 1;
        let (name, round) = (self.name.clone(), self.round);
        let client = self.followed.client().clone();
        // The turn of whoever joined in that place.
        let known = client.experiment(&name, None).await.unwrap().experiment;
        let Phase::Proposing { proposer: turn, .. } = known.phase else { panic!() };
        let proposer = (0..self.members)
            .into_par_iter()
            .find_any(|number| learner_id(&key(*number)) == turn)
            .unwrap();
        let proposed = weights(round);
        client.upload(&proposed).await.unwrap();
        let proposal = Act::Propose(Proposal {
            round,
            base: self.base.digest(),
            weights: proposed.model(SAFETENSORS),
            scores: Scores::default(),
            privacy: None,
        });
        let signed =
            self.followed.sign(key(proposer), Action::new(name.clone(), proposal)).unwrap();
        self.followed.submit(&signed).await.unwrap();
        self.followed.catch_up(&mut |_| {}).await.unwrap();
        let digest = proposed.digest();
        self.base = proposed;
        self.sign_all(Some(proposer), || {
            let scores = Scores { vote: Some(950_000), test: Some(940_000) };
            let choice = Choice::Approve;
            let vote = Vote { round, weights: digest, choice, reason: None, scores, link: None };
            Action::new(name.clone(), Act::Vote(vote))
        })
    }
}

async fn votes(url: &str, figures: &mut Figures) {
    let mut voting = Voting::begin(url, "votes", MEMBERS).await;
    let ballots = voting.ballots().await;
    let limit = verified_each_second(&voting.followed.ledger_id(), &ballots);
    figures.told("verify_strict on all cores", &format!("{limit:.0}/s"));
    let (elapsed, latencies) = unary(url, ballots, CONNECTIONS).await;
    let rate = MEMBERS as f64 / elapsed.as_secs_f64();
    let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize];
    let ratio = rate / limit;
    let (p50, p99) = (at(0.5), at(0.99));
    let told = format!("{rate:.0}/s, {ratio:.2}, latency p50 {p50:.1?} p99 {p99:.1?}");
    figures.at_least(&format!("votes, {CONNECTIONS} connections, to that"), &told, ratio, 0.3);

    let ballots = voting.ballots().await;
    let limit = verified_each_second(&voting.followed.ledger_id(), &ballots);
    figures.told("verify_strict on all cores", &format!("{limit:.0}/s"));
    let rate = MEMBERS as f64 / streamed(url, ballots).await.as_secs_f64();
    let ratio = rate / limit;
    let told = format!("{rate:.0}/s, {ratio:.2}");
    figures.at_least("the same streamed", &told, ratio, 0.7);
}

/// Nothing but `verify_strict`: keys, signatures and messages are ready.
fn verified_each_second(ledger: &LedgerId, ballots: &[v1::SignedTransaction]) -> f64 {
    let ready: Vec<_> = ballots
        .iter()
        .map(|ballot| {
            let key = VerifyingKey::try_from(&ballot.public_key[..]).unwrap();
            let signature = Signature::from_slice(&ballot.signature).unwrap();
            (key, signature, signed_bytes(ledger, &ballot.body))
        })
        .collect();
    let started = Instant::now();
    ready.par_iter().for_each(|(key, signature, message)| {
        key.verify_strict(message, signature).unwrap();
    });
    ready.len() as f64 / started.elapsed().as_secs_f64()
}

/// How long a round's votes take from the first that is sent to the last receipt, where many have one. All send at
/// once, each by a call of its own, and wait for a receipt.
async fn members(url: &str, figures: &mut Figures) {
    let mut each_us = Vec::new();
    for (members, most_s) in [(1_000, 1.0), (10_000, 5.0)] {
        let mut voting = Voting::begin(url, &format!("members-{members}"), members).await;
        let mut best = f64::INFINITY;
        for _ in 1..=2 {
            let ballots = voting.ballots().await;
            best = best.min(unary(url, ballots, CONNECTIONS).await.0.as_secs_f64());
        }
        let each = best / members as f64 * 1e6;
        let told = format!("{best:.2} s, {each:.0} us each");
        figures.at_most(&format!("a round's votes of {members} members"), &told, best, most_s);
        each_us.push(each);
    }
    let ratio = each_us[1] / each_us[0];
    figures.at_most("a vote of 10,000 to one of 1,000", &format!("{ratio:.2}"), ratio, 1.3);
}

/// Goes on from a number by a step of its own; approves everything.
struct Trivial {
    step: f32,
    current: Weights,
}

impl Learner for Trivial {
    fn propose(&mut self) -> Result<Proposed> {
        Ok(Proposed::Weights(Near::weights(Near::value(&self.current)? + self.step)))
    }

    fn test(&mut self, _: &Weights) -> Result<Score> {
        Ok(Score::new(1.0, true))
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.current = weights.clone();
        Ok(())
    }

    fn current(&self) -> Weights {
        self.current.clone()
    }
}

const LEARNERS: usize = 5;
const ROUNDS: u64 = 200;
/// How often rounds of both kinds are run: whatever else the machine does makes them slower only.
const TRIES: usize = 5;

/// Rounds of both kinds, one after the other.
async fn rounds(url: &str, figures: &mut Figures) {
    let mut best = [Duration::MAX; 2];
    for run in 0..TRIES {
        for (at, merging) in [None, Some(Merging::default())].into_iter().enumerate() {
            let median = run_rounds(url, &format!("rounds-{run}-{at}"), merging).await;
            best[at] = best[at].min(median);
        }
    }
    let [single, merged] = best;
    let single_ms = single.as_secs_f64() * 1e3;
    let figure = format!("a round of {LEARNERS} trivial learners, p50, best of {TRIES}, ms");
    figures.at_most(&figure, &format!("{single_ms:.2}"), single_ms, 4.8);
    let ratio = merged.as_secs_f64() / single.as_secs_f64();
    figures.at_most("a merged one, to that", &format!("{merged:.2?}, {ratio:.2}"), ratio, 3.0);
}

/// Runs them, and gives how long they take in the middle.
async fn run_rounds(url: &str, experiment: &str, merging: Option<Merging>) -> Duration {
    let mut followed = Followed::connect(url, Memory::default()).await.unwrap();
    let client = followed.client().clone();
    client.upload(&Near::weights(0.0)).await.unwrap();
    let parameters = Parameters {
        min_learners: LEARNERS as u32,
        max_rounds: Some(ROUNDS),
        merging,
        ..Parameters::default()
    };
    let model = Near::weights(0.0).model(SAFETENSORS);
    let create = create(name(experiment), parameters, model);
    let signed = followed.sign(key(0), create).unwrap();
    followed.submit(&signed).await.unwrap();
    let (closed, times) = std::sync::mpsc::channel();
    let tasks: Vec<_> = (0..LEARNERS)
        .map(|number| {
            let closed = closed.clone();
            let watch = move |event: &Event| {
                if let (Event::RoundClosed { .. }, 0) = (event, number) {
                    closed.send(Instant::now()).unwrap();
                }
            };
            let options = Options {
                watch: Box::new(watch),
                ..Options::new(url, name(experiment), key(number))
            };
            // So far apart that no two send the same.
            let step = 1.0 + number as f32 / 8.0;
            let learner = Trivial { step, current: Near::weights(0.0) };
            tokio::spawn(client::run(learner, options))
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    drop(closed);
    let times: Vec<Instant> = times.iter().collect();
    let mut rounds: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    rounds.sort_unstable();
    let median = rounds[rounds.len() / 2];
    println!("  {experiment}: p50 {median:.2?} p99 {:.2?}", rounds[rounds.len() * 99 / 100]);
    median
}
