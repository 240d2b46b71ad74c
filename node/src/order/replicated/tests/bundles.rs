//! Transactions that are ordered together.

use colearn_contracts::Rejection;
use v1::validator_change::Change;

use super::*;
use crate::order::replicated::bundle::join;
use crate::testing;

fn create(network: &Network, learner: u8, name: &str) -> Bytes {
    network.sign(learner, testing::create(name))
}

/// The payloads of what learners did.
fn of_learners(network: &Network) -> Vec<Vec<u8>> {
    let entries = network.entries().into_iter();
    let payloads = entries.map(|entry| colearn_ledger::Entry::decode(&entry).unwrap().payload);
    payloads.filter(|payload| ordered::read_bundled(payload).is_some()).collect()
}

#[test]
fn a_bundle_records_what_each_of_it_would_alone() {
    let (mut alone, mut together) = (Network::of(4), Network::of(4));
    let txs = [(1, "a"), (2, "b"), (3, "a"), (1, "c")];
    let txs = txs.map(|(learner, name)| create(&alone, learner, name));
    let exists = u32::from(Rejection::ExperimentExists.rule());
    let each = [code::RECORDED, code::RECORDED, exists, code::RECORDED];
    assert_eq!(alone.record(txs.to_vec()), each);
    let (waiters, answers) = Waiter::of(txs.len());
    let application = together.nodes[0].running().application.clone();
    for (tx, waiter) in txs.iter().zip(waiters) {
        assert!(application.waiting.wait_for(ordered::key(tx), tx, waiter).unwrap());
    }
    assert_eq!(together.record(vec![join(&txs)]), [code::RECORDED]);
    assert_eq!(of_learners(&alone), of_learners(&together));
    // Whoever waits is told of each for itself; of what is recorded once it is signed.
    assert_eq!(application.waiting.count(), 3);
    application.waiting.stop();
    let told = answers.blocking_recv().unwrap();
    assert!(matches!(told[2], Err(Refusal::Rejected(Rejection::ExperimentExists))), "{told:?}");
    assert!([0, 1, 3].iter().all(|at| matches!(told[*at], Err(Refusal::Stopped))), "{told:?}");
    follow(&together.entries());
}

#[test]
fn what_no_bundle_may_hold_is_not_accepted_and_does_no_harm() {
    let mut network = Network::of(4);
    let [one, two, three] = [(1, "a"), (2, "b"), (3, "c")].map(|it| create(&network, it.0, it.1));
    let mut forged = one.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = Bytes::from(forged);
    let admit = change(&network.ledger(), 1, Change::Admit(validator(5)), [1, 2, 3]);
    let pair = join(&[one.clone(), two.clone()]);
    let bad: Vec<Vec<Bytes>> = vec![
        vec![join(&[])],
        vec![join(std::slice::from_ref(&one))],
        vec![join(&[one.clone(), one.clone()]).slice(..one.len())],
        vec![join(&[two.clone(), forged])],
        vec![join(&[two.clone(), Bytes::new()])],
        vec![join(&[two.clone(), Bytes::from(ordered::tick(0))])],
        vec![join(&[two.clone(), admit.clone()])],
        vec![join(&[two.clone(), pair.clone()])],
        // Nothing new.
        vec![pair.clone(), pair.clone()],
        vec![pair.clone(), two.clone()],
        vec![one.clone(), two.clone(), pair.clone()],
    ];
    let good: [Vec<Bytes>; 3] = [
        vec![pair.clone(), three.clone(), admit.clone()],
        // Somebody has put one of them into another one before.
        vec![join(&[two.clone(), three.clone()]), pair.clone()],
        vec![two.clone(), join(&[two.clone(), one.clone()])],
    ];
    for node in &mut network.nodes {
        for txs in &bad {
            let block = node.comet.block_of(txs.clone(), 1, 1);
            assert!(!node.comet.process(&block).unwrap(), "{txs:?}");
        }
        for txs in &good {
            let block = node.comet.block_of(txs.clone(), 1, 1);
            assert!(node.comet.process(&block).unwrap(), "{txs:?}");
        }
        for tx in bad.iter().filter(|txs| txs.len() == 1).flatten() {
            let told = node.comet.check_tx(tx.clone()).unwrap();
            assert_eq!(told, Broadcast::Refused { code: code::INVALID }, "{tx:?}");
        }
        // A proposer leaves out what holds nothing new.
        let kept = [join(&[two.clone(), three.clone()]), pair.clone()];
        for tx in [&kept[0], &pair, &two] {
            assert_eq!(node.comet.check_tx(tx.clone()).unwrap(), Broadcast::Taken);
        }
        assert_eq!(node.comet.propose(BEGIN_MS).unwrap().txs, kept);
    }
    // Blocks that are caught up with were decided, whatever they hold: what is good in them is recorded.
    for txs in &bad {
        network.record(txs.clone());
    }
    let expected = [two, one].map(|it| it.to_vec());
    assert_eq!(of_learners(&network), expected);
    follow(&network.entries());
}

#[test]
fn what_was_offered_together_is_offered_again_as_the_same_bytes() {
    let network = Network::of(1);
    let txs = [create(&network, 1, "a"), create(&network, 2, "b"), create(&network, 3, "c")];
    let keys = txs.each_ref().map(|tx| ordered::key(tx));
    let waiting = Waiting::default();
    let (waiters, _answers) = Waiter::of(txs.len());
    for ((tx, key), waiter) in txs.iter().zip(keys).zip(waiters) {
        assert!(waiting.wait_for(key, tx, waiter).unwrap());
    }
    let pair = join(&txs[..2]);
    waiting.offered(&keys[..2], &pair);
    waiting.make_old();
    let mut again = waiting.unheard();
    again.sort_by_key(|(keys, _)| keys.len());
    assert_eq!(again.len(), 2);
    assert_eq!(again[0], (vec![keys[2]], txs[2].clone()));
    assert_eq!(again[1].1, pair);
    assert!(waiting.unheard().is_empty());
    // One of them was recorded, and the other is still waited for.
    waiting.refuse(&keys[0], || Refusal::Busy);
    waiting.make_old();
    let again = waiting.unheard();
    assert!(again.contains(&(vec![keys[1]], pair)), "{again:?}");
}

#[test]
fn what_may_be_recorded_by_now_is_not_told_to_be_too_much() {
    let network = Network::of(1);
    let tx = create(&network, 1, "a");
    let key = ordered::key(&tx);
    let waiting = Waiting::default();
    let (waiters, mut answers) = Waiter::of(1);
    assert!(waiting.wait_for(key, &tx, waiters[0].clone()).unwrap());
    let offer = |again: bool| Offer { keys: vec![key], tx: tx.clone(), joins: !again, again };
    refuse_busy(&waiting, &offer(true));
    assert!(waiting.is_waited_for(&key));
    refuse_busy(&waiting, &offer(false));
    assert!(matches!(answers.try_recv().unwrap()[..], [Err(Refusal::Busy)]));
}
