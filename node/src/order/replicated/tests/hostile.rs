//! Blocks that nobody honest proposes.

use colearn_comet::abci::{Misbehavior, MisbehaviorType, Validator as Power};
use colearn_contracts::{Act, Parameters};
use colearn_records::record::Record;
use prost::Message as _;
use v1::validator_change::Change;

use super::*;
use crate::testing;

/// A transaction whose signature is another's.
fn forged(network: &Network) -> Bytes {
    let good = network.sign(1, testing::create("forged"));
    let mut entry = v1::Entry::decode(&good[..]).unwrap();
    if let Some(v1::entry::Payload::Transaction(transaction)) = &mut entry.payload {
        transaction.signature = vec![1; 64].into();
    }
    entry.encode_to_vec().into()
}

fn create(network: &Network, learner: u8, name: &str) -> Bytes {
    network.sign(learner, testing::create(name))
}

/// A change that nobody has approved, as long as it may be or longer.
fn long_change(bytes: usize) -> Bytes {
    let approval = v1::Approval { key: vec![7; 32].into(), signature: vec![7; 64].into() };
    let mut change = v1::ValidatorChange {
        number: 1,
        change: Some(Change::Remove("org-1".to_owned())),
        approvals: vec![approval; bytes / 110],
    };
    loop {
        let tx = Bytes::from(record::validator_change_payload(&change));
        match bytes.checked_sub(tx.len()) {
            None => panic!("too long"),
            Some(0) => return tx,
            Some(left) if left >= 120 => change
                .approvals
                .push(v1::Approval { key: vec![7; 32].into(), signature: vec![7; 64].into() }),
            Some(_) => {
                let last = change.approvals.last_mut().unwrap();
                last.signature = vec![7; last.signature.len() + 1].into();
            }
        }
    }
}

#[test]
fn what_no_block_may_hold_is_not_accepted_and_does_no_harm() {
    let mut network = Network::of(4);
    let ledger = network.ledger();
    let admit = |it| change(&ledger, 1, Change::Admit(validator(it)), [1, 2, 3]);
    let (one, two) = (create(&network, 1, "a"), create(&network, 2, "b"));
    let tick = |ms| Bytes::from(ordered::tick(ms));
    let bad: [Vec<Bytes>; 10] = [
        vec![Bytes::new()],
        vec![Bytes::from_static(b"junk")],
        vec![one.clone(), Bytes::from_static(b"\x2a\x00")],
        vec![one.clone(), one.clone()],
        vec![tick(1_000), tick(2_000)],
        vec![tick(1_000), tick(1_000)],
        vec![Bytes::from_static(&[0, 1])],
        vec![admit(5), admit(6)],
        vec![forged(&network)],
        vec![long_change(65_401)],
    ];
    for node in &mut network.nodes {
        let good = node.comet.block_of(vec![tick(0), one.clone(), admit(5), two.clone()], 1, 1);
        assert!(node.comet.process(&good).unwrap());
        let empty = node.comet.block_of(Vec::new(), 1, 1);
        assert!(node.comet.process(&empty).unwrap());
        for txs in &bad {
            let block = node.comet.block_of(txs.clone(), 1, 1);
            assert!(!node.comet.process(&block).unwrap(), "{txs:?}");
        }
    }
    // Blocks that are caught up with were decided, whatever they hold.
    let got: Vec<_> = bad.iter().map(|txs| network.record(txs.clone())).collect();
    let exists = u32::from(colearn_contracts::Rejection::ExperimentExists.rule());
    let expected: [&[u32]; 10] = [
        &[code::INVALID],
        &[code::INVALID],
        &[code::RECORDED, code::INVALID],
        &[exists, exists],
        &[code::RECORDED, code::RECORDED],
        &[code::RECORDED, code::RECORDED],
        &[code::INVALID],
        &[code::RECORDED, code::CHANGE],
        &[code::INVALID],
        &[code::INVALID],
    ];
    assert_eq!(got, expected);
    assert_eq!(network.record(vec![two]), [code::RECORDED]);
    // The longest that is read at all.
    assert_eq!(network.record(vec![long_change(65_400)]), [code::CHANGE]);
    follow(&network.entries());
}

#[test]
fn faults_without_number_are_recorded_once_each_validator() {
    let mut network = Network::of(1);
    let mut block = network.block(Vec::new(), BEGIN_MS);
    // One can commit as many as it likes; those that were validators once, too.
    let fault = |number: u16| Misbehavior {
        r#type: MisbehaviorType::DuplicateVote.into(),
        validator: Some(Power { address: [(number % 70) as u8; 20].to_vec().into(), power: 1 }),
        height: number.into(),
        time: None,
        total_voting_power: 4,
    };
    block.misbehavior = (0..5_000).map(fault).collect();
    network.apply(&block);
    let entries = network.entries();
    let Record::Block(block) = Record::decode(entries.last().unwrap()).unwrap().record else {
        panic!("no block");
    };
    let heights: Vec<u64> = block.misbehavior.iter().map(|it| it.height).collect();
    assert_eq!(heights, (0..64).collect::<Vec<u64>>());
    follow(&entries);
    // It opens again.
    network.nodes[0].kill();
    network.nodes[0].start();
}

#[test]
fn new_rules_within_a_block_let_those_after_them_be_decided() {
    let genesis = genesis_of((1..=4).map(validator).collect(), Version::V1);
    let genesis = v1::Genesis { limits: None, ..genesis };
    let mut network = Network::begun_with(&genesis, 4);
    let mut first = testing::create("a");
    if let Act::Create(create) = &mut first.what {
        create.version = Version::V1.number();
        create.parameters = Parameters { min_learners: 2, ..Parameters::default() };
    }
    let rules = v1::Rules {
        contract_version: Version::V2.number(),
        limits: Some(colearn_records::upgrade::limits_message(&Limits::default())),
    };
    let rules = change(&network.ledger(), 1, Change::Rules(rules), [1, 2, 3]);
    // Signed when the first entry of this block was the first that its signer had not seen.
    let txs = vec![network.sign(1, first), rules, create(&network, 2, "b")];
    assert_eq!(network.record(txs), [code::RECORDED; 3]);
    follow(&network.entries());
}

#[test]
fn a_good_change_is_not_held_up_by_any_number_of_others() {
    let mut network = Network::of(4);
    network.record(Vec::new());
    let ledger = network.ledger();
    let node = &mut network.nodes[0];
    for name in 0..40 {
        let remove = Change::Remove(format!("nobody-{name}"));
        let _ = node.comet.check_tx(change(&ledger, 1, remove, [1])).unwrap();
    }
    let good = change(&ledger, 1, Change::Admit(validator(5)), [1, 2, 3]);
    let _ = node.comet.check_tx(good.clone()).unwrap();
    let block = node.comet.propose(BEGIN_MS).unwrap();
    assert_eq!(block.txs, [good]);
    // Whoever offers a bad one alone is told so.
    network.apply(&block);
    let node = &mut network.nodes[0];
    let block = node.comet.propose(BEGIN_MS).unwrap();
    assert_eq!(block.txs.len(), 1);
    assert_eq!(codes(&network.apply(&block)), [code::CHANGE]);
}

#[test]
fn as_many_as_may_keep_a_ledger_do() {
    let genesis = genesis_of((1..=64).map(validator).collect(), VERSION);
    let mut network = Network::begun_with(&genesis, 1);
    let ledger = network.ledger();
    let more = change(&ledger, 1, Change::Admit(validator(65)), 1..=64);
    let few = change(&ledger, 1, Change::Remove("org-9".to_owned()), 1..=42);
    let good = change(&ledger, 1, Change::Remove("org-9".to_owned()), 1..=43);
    assert_eq!(network.record(vec![more, few]), [code::CHANGE, code::CHANGE]);
    let block = network.block(vec![good], BEGIN_MS);
    let answer = network.apply(&block);
    assert_eq!(codes(&answer), [code::RECORDED]);
    assert_eq!(answer.validator_updates.len(), 1);
    follow(&network.entries());
}
