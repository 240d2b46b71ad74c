//! What a liar can do to a learner: be silent, and nothing else.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use colearn_contracts::{
    Act, Action, Admission, BallotKind, CreateExperiment, FinishReason, Join, Parameters, VERSION,
};
use colearn_proto::v1::{self, transaction::Action as Signed};
use colearn_sdk::client::{self, ClientError, Options, Summary, Trust};
use colearn_sdk::learner::{self, Learner, Proposed, SAFETENSORS, Score, Weights};
use colearn_sdk::participant::Event;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::proxy::{FALSE_VALUE, Lie, Proxy};
use crate::support::{Counter, NodeProcess, Speaker, copy, fail, id, key, name, run, succeed};

const ROUNDS: u64 = 4;

/// A learner that remembers every model it was shown.
struct Watched {
    counter: Counter,
    shown: Arc<Mutex<Vec<u64>>>,
}

impl Watched {
    fn note(&self, weights: &Weights) {
        let value = u64::from_be_bytes(weights.bytes()[..].try_into().unwrap());
        self.shown.lock().unwrap().push(value);
    }
}

impl Learner for Watched {
    fn propose(&mut self) -> learner::Result<Proposed> {
        self.counter.propose()
    }

    fn test(&mut self, weights: &Weights) -> learner::Result<Score> {
        self.note(weights);
        self.counter.test(weights)
    }

    fn accept(&mut self, weights: &Weights) -> learner::Result<()> {
        self.note(weights);
        self.counter.accept(weights)
    }

    fn current(&self) -> Weights {
        self.counter.current()
    }
}

/// Creates an experiment with sealed ballots.
async fn create(node: &NodeProcess) {
    create_named(node, "x").await;
}

async fn create_named(node: &NodeProcess, experiment: &str) {
    let mut speaker = Speaker::connect(&node.url).await;
    let weights = Counter::weights(0);
    speaker.client.upload(&weights).await.unwrap();
    let parameters = Parameters {
        max_rounds: Some(ROUNDS),
        ballot: BallotKind::Sealed,
        min_learners: 3,
        ..Parameters::default()
    };
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission: Admission::Open,
        model: weights.model(SAFETENSORS),
        plan: None,
    };
    speaker.act(&key(200), Action::new(name(experiment), Act::Create(create))).await.unwrap();
}

/// Two learners that take part in it directly.
fn take_part(node: &NodeProcess) -> [JoinHandle<Summary>; 2] {
    [1, 2].map(|seed| {
        let options = Options::new(&node.url, name("x"), key(seed));
        let run = client::run(Counter { value: 0 }, options);
        tokio::spawn(async move { run.await.unwrap().1 })
    })
}

/// What one lie did.
#[derive(Debug)]
struct Told {
    distrusted: Vec<String>,
    unanswered: Vec<String>,
    evidence: Vec<String>,
    shown: Vec<u64>,
}

/// Lets a learner take part through a liar until it notices; from then on that tells the truth. One that
/// is trusting was given a checkpoint that counts what there was before it came.
async fn survive(lie: Lie, trusting: bool) -> Told {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    create(&node).await;
    let checkpoint = Speaker::connect(&node.url).await.followed.checkpoint().to_owned();
    let trust = Trust { checkpoint: trusting.then_some(checkpoint), ..Trust::default() };
    let others = take_part(&node);
    let (proxy, url) = Proxy::start(&node.url, Some(lie)).await;
    let (shown, told) = (Arc::default(), Arc::new(Mutex::new((Vec::new(), Vec::new()))));
    // It holds another model: the first one is downloaded.
    let learner = Watched { counter: Counter { value: 77 }, shown: Arc::clone(&shown) };
    let noticed = {
        let (proxy, told) = (proxy.clone(), told.clone());
        move |event: &Event| {
            let (distrusted, unanswered) = &mut *told.lock().unwrap();
            match event {
                Event::Distrusted { reason, .. } => distrusted.push(reason.clone()),
                Event::Reconnecting { reason, .. } => unanswered.push(reason.clone()),
                _ => return,
            }
            let noticed = matches!(event, Event::Distrusted { .. }) || lie.is_a_silence();
            if noticed && proxy.has_lied() {
                proxy.turn_honest();
            }
        }
    };
    let options = Options {
        data: Some(dir.path().join("memory")),
        trust,
        // Stalling is noticed soon.
        patience: lie.is_a_silence().then_some(Duration::from_secs(2)),
        watch: Box::new(noticed),
        ..Options::new(url, name("x"), key(9))
    };
    let (learner, summary) = client::run(learner, options).await.unwrap();
    assert!(proxy.has_lied(), "{lie:?} was told");
    for other in others {
        assert_eq!(other.await.unwrap().model, summary.model, "{lie:?}");
    }
    // It ended with the experiment, and not before.
    assert_eq!((summary.reason, summary.rounds), (Some(FinishReason::MaxRounds), ROUNDS));
    assert_eq!(learner.current().digest(), summary.model.digest);
    assert!(!shown.lock().unwrap().contains(&FALSE_VALUE), "{lie:?}");

    // For every round one proposal and one commitment were signed, and only one ballot revealed.
    let (signed, while_lying) = proxy.signed();
    let round = |reveal: &v1::Reveal| reveal.vote.as_ref().map(|vote| vote.round);
    for (at, one) in signed.iter().enumerate() {
        for other in &signed[at + 1..] {
            let same_turn = match (one, other) {
                (Signed::Propose(a), Signed::Propose(b)) => a.round == b.round,
                (Signed::Commit(a), Signed::Commit(b)) => a.round == b.round,
                (Signed::Reveal(a), Signed::Reveal(b)) => round(a) == round(b),
                _ => false,
            };
            assert!(!same_turn || one == other, "{lie:?}: {one:?} and {other:?}");
            assert!(!matches!(other, Signed::Pass(_)), "{lie:?}: {other:?}");
        }
    }
    // Nothing was revealed on a liar's word.
    assert!(!while_lying.iter().any(|it| matches!(it, Signed::Reveal(_))), "{while_lying:?}");
    node.stop();
    let audit = run(&["audit", dir.path().join("data").to_str().unwrap()]);
    assert!(audit.status.success());
    let evidence = std::fs::read_dir(dir.path().join("memory/evidence"));
    let evidence = evidence.into_iter().flatten();
    let mut evidence: Vec<_> =
        evidence.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    evidence.sort();
    let (distrusted, unanswered) = told.lock().unwrap().clone();
    let shown = shown.lock().unwrap().clone();
    Told { distrusted, unanswered, evidence, shown }
}

/// For every lie: what the learner says of it, and what it keeps.
macro_rules! lies {
    ($($test:ident: $lie:ident $($trusting:ident)?, $said:literal, $evidence:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let told = survive(Lie::$lie, false $(|| stringify!($trusting) == "trusting")?).await;
            let mut reasons = told.distrusted.iter().chain(&told.unanswered);
            assert!(reasons.any(|reason| reason.contains($said)), "{told:?}");
            let evidence: Option<&str> = $evidence;
            let kept = |what: &str| told.evidence.iter().any(|file| file.ends_with(what));
            assert!(evidence.is_none_or(kept), "{told:?}");
            // Every true model, and no other.
            assert!((0..=ROUNDS).all(|value| told.shown.contains(&value)), "{told:?}");
            assert!(told.shown.iter().all(|value| *value <= ROUNDS), "{told:?}");
        }
    )*};
}

lies! {
    a_proposal_that_nobody_signed: Proposal, "are not proven to be", Some("unproven.txt");
    a_verdict_that_was_not_recorded: Verdict, "are not proven to be", Some("unproven.txt");
    an_end_that_was_not_recorded: Finish, "are not proven to be", Some("unproven.txt");
    an_expulsion_that_was_not_recorded: Expulsion, "are not proven to be", Some("unproven.txt");
    a_reveal_before_its_time: Reveal, "are not proven to be", Some("unproven.txt");
    a_motion_that_was_not_recorded: Motion, "are not proven to be", Some("unproven.txt");
    other_rules_than_those_recorded: Rules, "are not proven to be", Some("unproven.txt");
    a_checkpoint_that_nobody_signed: Checkpoint, "does not verify", Some("checkpoint.txt");
    a_receipt_of_a_tree_of_one: Receipt, "receipt does not prove", Some("receipt.txt");
    a_receipt_for_something_else: OldReceipt, "the entry is another one", Some("receipt.txt");
    a_refusal_of_what_is_allowed: Refusal, "R6: ", Some("unproven.txt");
    a_checkpoint_of_before: OldCheckpoint, "ROLLED BACK", Some("rolled-back.txt");
    another_ledgers_name: OtherLedger, "keeps ledger 0707", None;
    a_flood_of_entries: Flood, "are not proven to be", Some("unproven.txt");
    other_weights: OtherModel, "other bytes than the weights", None;
    weights_without_end: EndlessModel, "other bytes than the weights", None;
    a_refusal_without_a_rule: Denial, "refused: no", None;
    an_entry_larger_than_any: Huge, "too large", None;
    weights_that_stop_coming: StalledModel, "other bytes than the weights", None;
    no_answer_to_anything: Stall, "no answer for", None;
    entries_that_are_held_back: Silence, "no answer for", None;
    other_rules_told_to_who_trusts_a_checkpoint: Rules trusting, "are not proven to be", Some("unproven.txt");
    a_verdict_told_to_who_trusts_a_checkpoint: Verdict trusting, "are not proven to be", Some("unproven.txt");
}

/// Takes part through a proxy, in the folder of a key of its own.
fn options(url: String, memory: &Path) -> Options {
    Options { data: Some(memory.to_owned()), ..Options::new(url, name("x"), key(9)) }
}

/// A learner that takes part through a proxy, as far as having committed to a ballot, and what it says.
async fn committed(
    dir: &Path,
    proxied: String,
) -> (JoinHandle<Result<Summary, ClientError>>, mpsc::UnboundedReceiver<Event>) {
    let (tell, mut events) = mpsc::unbounded_channel();
    let watch = move |event: &Event| drop(tell.send(event.clone()));
    let options = Options { watch: Box::new(watch), ..options(proxied, &dir.join("memory")) };
    let run = client::run(Counter { value: 0 }, options);
    let running = tokio::spawn(async move { run.await.map(|(_, summary)| summary) });
    while !matches!(events.recv().await.unwrap(), Event::Voted { .. } | Event::Committed { .. }) {}
    (running, events)
}

/// What holds the ledger's key shows this learner another history from now on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_ends_a_learner_with_both_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    let node = NodeProcess::start(&one);
    create(&node).await;
    node.stop();
    copy(&one, &other);
    let (node, forked) = (NodeProcess::start(&one), NodeProcess::start(&other));
    take_part(&node);
    let (proxy, url) = Proxy::start(&node.url, None).await;
    let (running, _events) = committed(dir.path(), url).await;

    // Other members, and more of them: it is as long as what was followed, and longer.
    let mut speaker = Speaker::connect(&forked.url).await;
    for seed in 20..50 {
        speaker
            .act(&key(seed), Action::new(name("x"), Act::Join(Join::new(0, None))))
            .await
            .unwrap();
    }
    proxy.turn_to(&forked.url);
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Fork(..)), "{error}");
    let evidence = dir.path().join("memory/evidence/00-fork.txt");
    let evidence = std::fs::read_to_string(evidence).unwrap();
    assert_eq!(evidence.matches("\u{2014} colearn/").count(), 2, "{evidence}");
    // Started again, it remembers.
    let options = options(forked.url.clone(), &dir.path().join("memory"));
    let error = client::run(Counter { value: 0 }, options).await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::Fork(..)), "{error}");
}

/// Put back to an older copy, a node is waited for until it shows what it once showed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_rolled_back_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (data, older) = (dir.path().join("data"), dir.path().join("older"));
    let node = NodeProcess::start(&data);
    create(&node).await;
    node.stop();
    copy(&data, &older);
    let (node, rolled_back) = (NodeProcess::start(&data), NodeProcess::start(&older));
    let others = take_part(&node);
    let (proxy, url) = Proxy::start(&node.url, None).await;
    let (running, mut events) = committed(dir.path(), url).await;
    proxy.turn_to(&rolled_back.url);
    let reason = loop {
        if let Event::Distrusted { reason, .. } = events.recv().await.unwrap() {
            break reason;
        }
    };
    assert!(reason.starts_with("ROLLED BACK: the node shows 2 entries"), "{reason}");
    proxy.turn_to(&node.url);
    let summary = running.await.unwrap().unwrap();
    assert_eq!(summary.rounds, ROUNDS);
    for other in others {
        assert_eq!(other.await.unwrap().model, summary.model);
    }
}

/// At first contact nothing is known but what is pinned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_key_or_ledger_than_was_pinned_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (node, other) = (
        NodeProcess::start(&dir.path().join("data")),
        NodeProcess::start(&dir.path().join("other")),
    );
    create(&node).await;
    create(&other).await;
    let text = |node: &NodeProcess, field: &str| node.started[field].as_str().unwrap().to_owned();
    let path = |file: &str| dir.path().join(file).to_str().unwrap().to_owned();
    succeed(&["key", "new", &path("me.pem")]);
    let learner = |pin: &[&str]| {
        let learner =
            ["learner", "--experiment", "x", "--node", &node.url, "--key", &path("me.pem")];
        fail(&[&learner[..], pin].concat())
    };
    let refused = learner(&["--verifier-key", &text(&other, "verifier_key")]);
    assert!(refused.contains("and never was by colearn/"), "{refused}");
    let refused = learner(&["--ledger", &text(&other, "ledger_id")]);
    assert!(refused.contains("keeps ledger"), "{refused}");
    // Nothing was joined.
    let shown = Speaker::connect(&node.url).await.followed.described(&name("x"), id(&key(9)), 0);
    assert_eq!(shown.unwrap().experiment.member_count, 0);
}

/// What was signed too long ago when it comes is refused (R71): the very same is signed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_back_until_it_is_too_old_is_signed_again() {
    const EXPIRY: Duration = Duration::from_millis(400);
    let dir = tempfile::tempdir().unwrap();
    let expiry = ["--listen", "127.0.0.1:0", "--transaction-expiry", "400ms"];
    let node = NodeProcess::start_with(&dir.path().join("data"), &expiry);
    create(&node).await;
    let others = take_part(&node);
    let (proxy, url) = Proxy::start(&node.url, Some(Lie::Late)).await;
    let running =
        tokio::spawn(client::run(Counter { value: 0 }, options(url, &dir.path().join("memory"))));
    proxy.begins_to_lie().await;
    // Something that its signer has not seen grows too old.
    create_named(&node, "y").await;
    tokio::time::sleep(2 * EXPIRY).await;
    proxy.turn_honest();
    let (_, summary) = running.await.unwrap().unwrap();
    for other in others {
        assert_eq!(other.await.unwrap().model, summary.model);
    }
    let (signed, _) = proxy.signed();
    let first = signed.iter().find(|action| matches!(action, Signed::Commit(_)));
    assert_eq!(signed.iter().filter(|action| Some(*action) == first).count(), 2, "{signed:?}");
    assert!(!signed.iter().any(|action| matches!(action, Signed::Pass(_))), "{signed:?}");
}
