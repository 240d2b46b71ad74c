//! Learners that know several nodes of one ledger, of which some die, censor or lie. A node that is reached
//! through several addresses is the same ledger behind each of them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, FinishReason, Join, Parameters, Threshold, VERSION,
    Verdict,
};
use colearn_records::plan::Plan;
use colearn_sdk::client::{
    self, Client, ClientError, Followed, Memory, Options, Summary, Suspicion, Trust,
};
use colearn_sdk::learner::SAFETENSORS;
use colearn_sdk::participant::Event;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::proxy::Proxy;
use crate::support::{Counter, NodeProcess, Speaker, copy, id, key, name, run, succeed};

const LEARNERS: [u8; 3] = [1, 2, 3];
const ROUNDS: u64 = 5;
/// Small, so that what takes a minute takes a moment.
const SUSPICION: Suspicion = Suspicion {
    unanswered: Duration::from_secs(2),
    asked_every: Duration::from_millis(100),
    reached_within: Duration::from_secs(1),
};
/// Far above what SUSPICION adds up to, and below each of the defaults: so it was that what made them move.
const BOUND: Duration = Duration::from_secs(9);

/// An experiment in which each round needs the votes of all.
async fn create(url: &str) {
    let mut speaker = Speaker::connect(url).await;
    let weights = Counter::weights(0);
    speaker.client.upload(&weights).await.unwrap();
    let parameters = Parameters {
        max_rounds: Some(ROUNDS),
        min_learners: LEARNERS.len() as u32,
        threshold: Threshold { numerator: 1, denominator: 1, strict: false },
        ..Parameters::default()
    };
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission: Admission::Open,
        model: weights.model(SAFETENSORS),
        plan: None,
    };
    speaker.act(&key(200), Action::new(name("x"), Act::Create(create))).await.unwrap();
}

/// What a learner was told, and when it moved.
type Told = Arc<Mutex<Vec<(Instant, Event)>>>;

struct Running {
    seed: u8,
    told: Told,
    ended: JoinHandle<(Counter, Summary)>,
}

/// A learner that knows these addresses; `at` is called with whatever happens to it.
fn take_part(
    nodes: &str,
    seed: u8,
    memory: &Path,
    mut at: impl FnMut(u8, &Event) + Send + 'static,
) -> Running {
    let told = Told::default();
    let telling = told.clone();
    let options = Options {
        data: Some(memory.join(seed.to_string())),
        suspicion: SUSPICION,
        watch: Box::new(move |event| {
            telling.lock().unwrap().push((Instant::now(), event.clone()));
            at(seed, event);
        }),
        ..Options::new(nodes, name("x"), key(seed))
    };
    let run = client::run(Counter { value: 0 }, options);
    Running { seed, told, ended: tokio::spawn(async move { run.await.unwrap() }) }
}

/// Every round was accepted by the votes of all, nobody came too late or passed, and all have the same model
/// in the end. Gives where each learner moved, why, and how long after that began.
async fn all_went_on(
    learners: Vec<Running>,
    began: impl Fn() -> Instant,
) -> Vec<Vec<(String, String, Duration)>> {
    let mut moves = Vec::new();
    for Running { seed, told, ended } in learners {
        let (learner, summary) = ended.await.unwrap();
        let told = told.lock().unwrap().clone();
        let of = (summary.reason, summary.rounds, learner.value);
        assert_eq!(of, (Some(FinishReason::MaxRounds), ROUNDS, ROUNDS), "{seed}: {told:#?}");
        let mut closed = 0;
        let mut moved = Vec::new();
        for (when, event) in &told {
            match event {
                Event::RoundClosed { verdict, approvals, electorate, .. } => {
                    closed += 1;
                    let of = (*verdict, approvals, electorate);
                    assert_eq!(of, (Verdict::Accepted, &2, &2), "{seed}: {told:#?}");
                }
                Event::Passed { .. } | Event::TooLate { .. } | Event::Distrusted { .. } => {
                    panic!("{seed}: {told:#?}")
                }
                Event::Moved { to, reason, .. } => {
                    let took = when.saturating_duration_since(began());
                    moved.push((to.clone(), reason.clone(), took));
                }
                _ => {}
            }
        }
        assert!(closed > 0, "{seed}: {told:#?}");
        moves.push(moved);
    }
    moves
}

/// Passes bytes on until it dies, with all connections.
struct Forwarder {
    url: String,
    alive: watch::Sender<bool>,
}

impl Forwarder {
    async fn start(node: &NodeProcess) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (alive, target) = (watch::Sender::new(true), node.address());
        let mut lives = alive.subscribe();
        tokio::spawn(async move {
            loop {
                let (mut from, _) = tokio::select! {
                    biased;
                    _ = lives.wait_for(|alive| !alive) => return,
                    accepted = listener.accept() => accepted.unwrap(),
                };
                let (mut lives, target) = (lives.clone(), target.clone());
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        biased;
                        _ = lives.wait_for(|alive| !alive) => {}
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                    }
                });
            }
        });
        Self { url, alive }
    }
}

/// Does something once, and remembers when.
#[derive(Clone)]
struct Once(Arc<Mutex<Option<Instant>>>, Arc<dyn Fn() + Send + Sync>);

impl Once {
    fn new(what: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::default(), Arc::new(what))
    }

    fn happen(&self) {
        let mut happened = self.0.lock().unwrap();
        if happened.is_none() {
            *happened = Some(Instant::now());
            (self.1)();
        }
    }

    fn when(&self) -> Instant {
        self.0.lock().unwrap().expect("it happened")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_in_the_middle_of_a_round_costs_no_vote_and_no_weights() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    create(&node.url).await;
    let forwarder = Forwarder::start(&node).await;
    // The other one has not got what is proposed at the first.
    let (other, other_url) = Proxy::start(&node.url, None).await;
    let proposed = Counter::weights(2).digest();
    other.lack(proposed);
    let nodes = format!("{},{other_url}", forwarder.url);
    let alive = forwarder.alive.clone();
    let dies = Once::new(move || {
        alive.send_replace(false);
    });
    let learners = LEARNERS.map(|seed| {
        let dies = dies.clone();
        take_part(&nodes, seed, dir.path(), move |_, event| {
            if let Event::Proposed { round: 2, .. } = event {
                dies.happen();
            }
        })
    });
    for moved in all_went_on(learners.into(), || dies.when()).await {
        assert_eq!(moved.len(), 1, "{moved:?}");
        let (to, _, took) = &moved[0];
        assert!(*to == other_url && *took < BOUND, "{moved:?}");
    }
    assert!(other.brought().contains(&proposed), "who has them brings them");
    // Commands ask the first that answers.
    let nodes = format!("{},{}", forwarder.url, node.url);
    assert!(succeed(&["experiment", "list", "--node", &nodes]).contains("x "));
    succeed(&["round", "2", "--from", &nodes]);
    let nodes = format!("{},127.0.0.1:1", forwarder.url);
    let output = run(&["experiment", "list", "--node", &nodes]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("error: none of the 2 nodes will do: "), "{error}");
    assert!(error.contains("; http://127.0.0.1:1: "), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_swallows_goes_to_the_next_one_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    create(&node.url).await;
    let (first, first_url) = Proxy::start(&node.url, None).await;
    let (second, second_url) = Proxy::start(&node.url, None).await;
    let nodes = format!("{first_url},{second_url}");
    let swallows = Once::new({
        let first = first.clone();
        move || first.swallow()
    });
    let learners = LEARNERS.map(|seed| {
        let swallows = swallows.clone();
        take_part(&nodes, seed, dir.path(), move |_, event| {
            if let Event::RoundClosed { .. } = event {
                swallows.happen();
            }
        })
    });
    for moved in all_went_on(learners.into(), || swallows.when()).await {
        assert_eq!(moved.len(), 1, "{moved:?}");
        let (to, reason, took) = &moved[0];
        assert!(*to == second_url && *took < BOUND, "{moved:?}");
        assert!(reason.contains("no answer for 2s"), "{moved:?}");
    }
    let (_, swallowed) = first.sent();
    let (sent, _) = second.sent();
    assert_eq!(swallowed.len(), LEARNERS.len());
    for signed in &swallowed {
        assert!(sent.contains(signed), "the same bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_shows_an_old_picture_is_left_for_one_that_shows_more() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    create(&node.url).await;
    // The same key, and less of the ledger.
    copy(&data, &dir.path().join("old"));
    let old = NodeProcess::start(&dir.path().join("old"));
    let (first, first_url) = Proxy::start(&node.url, None).await;
    let (_second, second_url) = Proxy::start(&node.url, None).await;
    let nodes = format!("{first_url},{second_url}");
    let freezes = Once::new({
        let (first, old) = (first.clone(), old.url.clone());
        move || first.freeze_at(&old)
    });
    let learners = LEARNERS.map(|seed| {
        let freezes = freezes.clone();
        take_part(&nodes, seed, dir.path(), move |_, event| {
            if let Event::RoundClosed { .. } = event {
                freezes.happen();
            }
        })
    });
    let moves = all_went_on(learners.into(), || freezes.when()).await;
    for moved in &moves {
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert!(moved[0].0 == second_url && moved[0].2 < BOUND, "{moved:?}");
    }
    let reasons = moves.iter().flatten().map(|(_, reason, _)| reason);
    assert!(reasons.clone().any(|reason| reason.contains("is behind: it shows")), "{moves:?}");

    // Whoever has seen more goes on at another node from the start; with one, it was put back.
    let memory = || Memory::open(&dir.path().join("1"), id(&key(1))).unwrap();
    let followed = Followed::connect(format!("{},{second_url}", old.url), memory()).await.unwrap();
    assert_eq!(followed.client().url(), second_url);
    let error = Followed::connect(&old.url, memory()).await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::RolledBack { .. }), "{error}");
    // Where none will do it is said of each.
    let error = Followed::connect(format!("{},{first_url}", old.url), memory()).await;
    let error = error.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::NoNode(_)), "{error}");
    let message = error.to_string();
    for url in [&old.url, &first_url] {
        let behind = format!("{url}: the node at {url} is behind: it shows 2 entries");
        assert!(message.contains(&behind), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_history_that_the_same_key_has_signed_is_a_fork_wherever_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    create(&node.url).await;
    copy(&data, &dir.path().join("other"));
    let other = NodeProcess::start(&dir.path().join("other"));
    // Longer than what the learner follows.
    let mut speaker = Speaker::connect(&other.url).await;
    for seed in LEARNERS {
        let join = Action::new(name("x"), Act::Join(Join::new(0, None)));
        speaker.act(&key(seed), join).await.unwrap();
    }
    let options = Options {
        suspicion: SUSPICION,
        ..Options::new(format!("{},{}", node.url, other.url), name("x"), key(9))
    };
    let error = client::run(Counter { value: 0 }, options).await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::Fork(..)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_signed_by_hand_and_what_one_node_lacks_is_had_from_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    create(&node.url).await;
    let (first, first_url) = Proxy::start(&node.url, None).await;
    let (second, second_url) = Proxy::start(&node.url, None).await;
    let weights = Counter::weights(0);
    first.lack(weights.digest());
    let nodes = format!("{first_url},{second_url}");
    let client = Client::connect_suspecting(nodes, SUSPICION).await.unwrap();
    let downloaded = client.download(&weights.model(SAFETENSORS)).await.unwrap();
    assert_eq!((downloaded, client.url()), (weights, first_url.as_str()));

    let (memory, trust) = (Memory::default(), Trust::default());
    let mut followed = Followed::open(client, memory, trust).await.unwrap();
    first.swallow();
    followed.catch_up(&mut |_| {}).await.unwrap();
    let known = followed.described(&name("x"), id(&key(1)), 0).unwrap();
    let join = Act::Join(Join::new(0, Some(known.experiment.terms)));
    let joined = followed.act(key(1), Action::new(name("x"), join)).await.unwrap();
    assert_eq!((joined.receipt.index, followed.client().url()), (2, second_url.as_str()));
    assert_eq!(first.sent().1, second.sent().0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_experiment_whose_node_is_gone_before_it_is_recorded_is_created_at_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let (first, first_url) = Proxy::start(&node.url, None).await;
    let (second, second_url) = Proxy::start(&node.url, None).await;
    let weights = Counter::weights(7);
    // What was uploaded at the first is gone with it.
    first.lack(weights.digest());
    second.lack(weights.digest());
    first.swallow();
    let nodes = format!("127.0.0.1:1,{first_url},{second_url}");
    let client = Client::connect_suspecting(nodes, SUSPICION).await.unwrap();
    let mut followed = Followed::open(client, Memory::default(), Trust::default()).await.unwrap();
    let plan = Plan { admission: Some(Admission::Open), ..Plan::default() };
    let (creator, with) = (key(1), (&weights, SAFETENSORS));
    followed.create(creator, name("x"), plan, false, with).await.unwrap();
    assert_eq!(followed.client().url(), second_url);
    for node in [first, second] {
        assert!(node.brought().contains(&weights.digest()));
    }
}
