//! What a liar can do to a learner: be silent, and nothing else.

use std::sync::{Arc, Mutex};

use colearn_contracts::{
    Act, Action, Admission, BallotKind, CreateExperiment, FinishReason, Parameters, VERSION,
};
use colearn_proto::v1::{self, transaction::Action as Signed};
use colearn_sdk::client::{self, Options, Summary};
use colearn_sdk::learner::{Learner, Proposed, Result, SAFETENSORS, Score, Weights};
use colearn_sdk::participant::Event;

use crate::proxy::{FALSE_VALUE, Lie, Proxy};
use crate::support::{Counter, NodeProcess, Speaker, key, name, run};

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
    fn propose(&mut self) -> Result<Proposed> {
        self.counter.propose()
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        self.note(weights);
        self.counter.test(weights)
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.note(weights);
        self.counter.accept(weights)
    }

    fn current(&self) -> Weights {
        self.counter.current()
    }
}

/// An experiment with sealed ballots, and two learners that take part in it directly.
async fn begin(node: &NodeProcess) -> Vec<tokio::task::JoinHandle<Summary>> {
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
    speaker.act(&key(200), Action::new(name("x"), Act::Create(create))).await.unwrap();
    [1, 2]
        .map(|seed| {
            let options = Options::new(&node.url, name("x"), key(seed));
            tokio::spawn(async move { client::run(Counter { value: 0 }, options).await.unwrap().1 })
        })
        .into()
}

/// What one lie did.
#[derive(Debug)]
struct Told {
    distrusted: Vec<String>,
    unanswered: Vec<String>,
    evidence: Vec<String>,
    shown: Vec<u64>,
}

/// Lets a learner take part through a liar until it notices; from then on that tells the truth.
async fn survive(lie: Lie) -> Told {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let others = begin(&node).await;
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
        // Stalling is noticed soon.
        patience: lie.is_a_silence().then_some(std::time::Duration::from_secs(2)),
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
    ($($test:ident: $lie:ident, $said:literal, $evidence:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let told = survive(Lie::$lie).await;
            let reasons = if Lie::$lie.is_a_silence() { &told.unanswered } else { &told.distrusted };
            assert!(reasons.iter().any(|reason| reason.contains($said)), "{told:?}");
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
    weights_that_stop_coming: StalledModel, "no answer for", None;
    no_answer_to_anything: Stall, "no answer for", None;
    entries_that_are_held_back: Silence, "no answer for", None;
}
