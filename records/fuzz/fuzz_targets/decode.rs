//! Whatever bytes come, reading them does not panic; and what is read is written as it was.
//!
//! cargo +nightly fuzz run decode --fuzz-dir records/fuzz -- -max_total_time=900
#![no_main]

use colearn_ledger::Entry;
use colearn_proto::v1;
use colearn_records::convert::{self, ExperimentState, MemberState};
use colearn_records::follower::{Depth, Follower};
use colearn_records::plan::Plan;
use colearn_records::record::{self, Record};
use colearn_records::transaction::{LedgerId, Unverified};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

/// A record has one encoding: that which it was read from.
fn entry(bytes: &[u8]) {
    let _ = Entry::decode(bytes);
    let _ = record::keys_of(bytes);
    let _ = record::key_change(bytes);
    let Ok(decoded) = Record::decode(bytes) else { return };
    use v1::entry::Payload;
    let payload = match decoded.record {
        Record::Genesis(genesis) => Payload::Genesis(genesis),
        Record::Transaction(transaction) => {
            let _ = transaction.check(&LedgerId([1; 32]));
            acted(&transaction);
            Payload::Transaction(transaction.message().clone())
        }
        Record::Outcome(outcome) => Payload::Outcome(convert::outcome_message(&outcome)),
        Record::KeyRotation(rotation) => Payload::KeyRotation(rotation),
        Record::Upgrade(upgrade) => Payload::Upgrade(upgrade),
        Record::Block(block) => Payload::Block(block),
        Record::ValidatorChange(change) => Payload::ValidatorChange(change),
    };
    let parent = v1::Entry::decode(bytes).map(|entry| entry.parent).unwrap_or_default();
    let (index, time_ms) = (decoded.index, decoded.time_ms);
    let again = v1::Entry { index, parent, time_ms, payload: Some(payload) };
    assert_eq!(again.encode_to_vec(), bytes);
    for depth in [Depth::Chain, Depth::Replay, Depth::Signatures, Depth::Full] {
        if let Ok(mut follower) = Follower::new(depth, bytes) {
            let read = follower.reader().read(bytes.to_vec());
            let _ = follower.follow(&read);
        }
    }
}

/// What was asked is the same when it is written and read again.
fn acted(transaction: &Unverified) {
    let message = convert::action_message(&transaction.action);
    assert_eq!(convert::action(message).as_ref(), Ok(&transaction.action));
}

/// A transaction's body by itself, without the entry around it, which is hard to hit.
fn body(bytes: &[u8]) {
    let message = v1::SignedTransaction {
        body: bytes.to_vec().into(),
        public_key: vec![1; 32].into(),
        signature: vec![1; 64].into(),
    };
    if let Ok(transaction) = Unverified::decode(message) {
        acted(&transaction);
        assert_eq!(&transaction.message().body[..], bytes);
    }
}

/// What a node describes.
fn described(bytes: &[u8]) {
    if let Ok(message) = v1::Experiment::decode(bytes)
        && let Ok(state) = ExperimentState::read(message)
    {
        assert_eq!(ExperimentState::read(state.message()), Ok(state));
    }
    if let Ok(message) = v1::Member::decode(bytes)
        && let Ok(state) = MemberState::read(message)
    {
        assert_eq!(MemberState::read(state.message()), Ok(state));
    }
}

/// A plan in its one form is the same plan.
fn plan(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(plan) = Plan::parse(text) {
        let again = Plan::parse(&plan.to_text()).expect("what was written reads back");
        assert_eq!(again.to_text(), plan.to_text());
        assert_eq!(again.digest(), plan.digest());
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (what, bytes) = input;
    match what % 8 {
        0 => plan(bytes),
        1 => described(bytes),
        2..=4 => body(bytes),
        _ => entry(bytes),
    }
});
