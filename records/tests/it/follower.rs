//! A follower ends in the same state however it is fed, and refuses what is not the ledger.

use bytes::Bytes;
use colearn_contracts::{
    Act, Action, Contract, Decision, Digest, Join, Limits, Outcome, UnknownVersion, VERSION,
};
use colearn_ledger::{Entry, Hash, Head};
use colearn_proto::v1;
use colearn_records::follower::{
    BadGenesis, Depth, Fault, Follower, FollowerState, ReadEntry, Unconfirmed,
};
use colearn_records::record::{self, Record};
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use proptest::prelude::*;
use prost::Message as _;

use crate::scribe::{Scribe, begin, genesis, key, state, steps};

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn entry_by_entry_in_chunks_and_resumed_anywhere_it_ends_in_the_same_state(
        begin in begin(), steps in steps(),
    ) {
        let scribe = Scribe::written(&begin, &steps);
        let entries = scribe.read();
        let whole = scribe.follow_all(&entries).unwrap();
        prop_assert_eq!(whole.contract(), Some(&scribe.contract));
        prop_assert_eq!(whole.head(), scribe.head);
        prop_assert_eq!(whole.keys().current().one().unwrap().key(), &key(scribe.log_key).verifying_key());
        prop_assert_eq!(whole.replay().unwrap().due().len(), 0);
        let confirmed = whole.confirm(&scribe.checkpoint(scribe.log_key)).unwrap();
        prop_assert_eq!(confirmed.size, entries.len() as u64);
        if scribe.log_key > 100 {
            let old = whole.confirm(&scribe.checkpoint(100));
            prop_assert!(matches!(old, Err(Unconfirmed::Note(_))));
        }

        // Resumed at every place, that of an outcome that is still due included.
        let mut follower = scribe.follower(Depth::Full);
        for (place, entry) in entries.iter().enumerate() {
            follower.follow(entry).unwrap();
            let mut resumed = Follower::resume(Depth::Full, state(&follower)).unwrap();
            prop_assert_eq!(state(&resumed), state(&follower));
            // As bytes it is kept where nothing is due.
            let kept = follower.to_bytes(Vec::new());
            prop_assert_eq!(kept.is_some(), follower.replay().unwrap().due().len() == 0);
            if let Some(bytes) = kept {
                prop_assert_eq!(FollowerState::from_bytes(&bytes), Some(state(&follower)));
                let damaged = [&bytes[..place], &[bytes[place] ^ 1], &bytes[place + 1..]].concat();
                prop_assert_eq!(FollowerState::from_bytes(&damaged), None);
                prop_assert_eq!(FollowerState::from_bytes(&bytes[..place]), None);
            }
            // A checkpoint is begun by what was followed and what comes next, and by nothing else.
            let checkpoint = whole.confirm(&scribe.checkpoint(scribe.log_key)).unwrap();
            let next: Vec<Hash> = entries[place + 1..].iter().map(ReadEntry::leaf).collect();
            prop_assert!(follower.is_begun_by(&checkpoint, next.iter().copied(), &[]));
            if let Some((_, fewer)) = next.split_last() {
                prop_assert!(!follower.is_begun_by(&checkpoint, fewer.iter().copied(), &[]));
            }
            for entry in &entries[place + 1..] {
                scribe.follow(&mut resumed, entry).unwrap();
            }
            prop_assert_eq!(state(&resumed), state(&whole));
        }

        // A node's way: from the contract of some moment on, without signatures and tree.
        let mut own = scribe.follower(Depth::Replay);
        let reader = own.reader();
        for bytes in &scribe.entries {
            own.follow(&reader.read(bytes.clone())).unwrap();
            own = Follower::resume(Depth::Replay, state(&own)).unwrap();
        }
        prop_assert_eq!(own.contract(), whole.contract());
        prop_assert_eq!(own.keys(), whole.keys());
    }

    #[test]
    fn a_changed_byte_is_refused_where_it_is_or_by_what_follows(
        begin in begin(), steps in steps(), at in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let scribe = Scribe::written(&begin, &steps);
        let mut entries = scribe.read();
        let at = at.index(entries.len());
        let mut bytes = entries[at].bytes().to_vec();
        let byte = byte.index(bytes.len());
        bytes[byte] ^= flip;
        let reader = scribe.follower(Depth::Full).reader();
        let right = std::mem::replace(&mut entries[at], reader.read(bytes));
        match scribe.follow_all(&entries) {
            Ok(follower) => {
                prop_assert_eq!(at, entries.len() - 1, "nothing follows it");
                let unconfirmed = follower.confirm(&scribe.checkpoint(scribe.log_key));
                prop_assert!(unconfirmed.is_err());
            }
            // The time of a transaction is nobody's but the chain's: it fits if it comes later.
            Err((place, Fault::Broken(_))) if place == at + 1 => {}
            Err((place, fault)) => prop_assert_eq!(place, at, "{}", fault),
        }

        // What was refused, but for a departure, leaves the follower as it was.
        let wrong = std::mem::replace(&mut entries[at], right);
        let mut follower = scribe.follower(Depth::Full);
        for entry in &entries[..at] {
            follower.follow(entry).unwrap();
        }
        let before = follower.state();
        if follower.follow(&wrong).is_err() && (at == 0 || follower.state().is_some()) {
            prop_assert_eq!(follower.state(), before);
            for entry in &entries[at..] {
                follower.follow(entry).unwrap();
            }
        }
    }

    #[test]
    fn a_dropped_repeated_or_swapped_entry_is_refused_at_once(
        begin in begin(), steps in steps(), at in any::<prop::sample::Index>(),
    ) {
        let scribe = Scribe::written(&begin, &steps);
        let at = at.index(scribe.entries.len() - 1);
        let refused = |entries: &[ReadEntry]| {
            let (place, fault) = scribe.follow_all(entries).unwrap_err();
            (place, matches!(fault, Fault::Broken(_)))
        };
        let mut dropped = scribe.read();
        dropped.remove(at);
        prop_assert_eq!(refused(&dropped), (at, true));
        let mut repeated = scribe.read();
        repeated.insert(at, repeated[at].clone());
        prop_assert_eq!(refused(&repeated), (at + 1, true));
        let mut swapped = scribe.read();
        swapped.swap(at, at + 1);
        prop_assert_eq!(refused(&swapped), (at, true));

        // One that is missing at the end shows in the checkpoint only.
        let mut short = scribe.read();
        short.pop();
        let follower = scribe.follow_all(&short).unwrap();
        let checkpoint = scribe.checkpoint(scribe.log_key);
        let ahead = follower.confirm(&checkpoint).unwrap_err();
        let (stated, followed) = (scribe.head.size, scribe.head.size - 1);
        if follower.keys().current().one().unwrap().key() == &key(scribe.log_key).verifying_key() {
            prop_assert_eq!(ahead, Unconfirmed::Ahead { stated, followed });
        } else {
            prop_assert!(matches!(ahead, Unconfirmed::Note(_)), "its key is not known yet");
        }
    }
}

/// A ledger of 600 entries, in which every signer vouches for another moment.
fn long() -> Scribe {
    let mut scribe = Scribe::new();
    let mut learner = 1;
    while scribe.head.size < 600 {
        let seen = scribe.head.size * 7 % 590;
        for what in [1, 2, 40, 70, 71, 27, 25] {
            scribe.step(learner, what, seen);
        }
        learner = learner % 4 + 1;
    }
    scribe
}

#[test]
fn old_histories_are_looked_up_in_leaves_that_are_handed_back() {
    let scribe = long();
    let entries = scribe.read();
    let whole = scribe.follow_all(&entries).unwrap();
    let mut follower = scribe.follower(Depth::Full);
    entries[..520].iter().for_each(|entry| follower.follow(entry).unwrap());
    let mut resumed = Follower::resume(Depth::Full, state(&follower)).unwrap();
    let mut forgotten = 0;
    for entry in &entries[520..] {
        // Asking for leaves accuses nobody, and changes nothing.
        if let Err(fault) = resumed.follow(entry) {
            assert!(matches!(fault, Fault::Forgotten(_)), "{fault}");
            assert!(!resumed.recall(0, scribe.leaves[1..257].iter().copied()));
            scribe.follow(&mut resumed, entry).unwrap();
            forgotten += 1;
        }
    }
    assert!(forgotten > 0);
    assert_eq!(state(&resumed), state(&whole));
}

#[test]
fn old_leaves_are_told_from_others_in_full_tiles_and_in_the_last_one() {
    let scribe = long();
    let mut follower = scribe.follow_all(&scribe.read()).unwrap();
    let leaves = &scribe.leaves;
    let size = leaves.len();
    assert!(follower.has_leaves(0, &leaves[..256]) && follower.has_leaves(1, &leaves[256..512]));
    assert!(follower.has_leaves(2, &leaves[512..]));
    // Others, too few, of another place, none.
    let mut other = leaves.clone();
    (other[100], other[size - 1]) = (other[size - 1], other[100]);
    assert!(!follower.has_leaves(0, &other[..256]) && !follower.has_leaves(2, &other[512..]));
    assert!(
        !follower.has_leaves(0, &leaves[..255]) && !follower.has_leaves(2, &leaves[512..size - 1])
    );
    assert!(!follower.has_leaves(1, &leaves[..256]) && !follower.has_leaves(3, &leaves[512..]));
    assert!(!follower.has_leaves(3, &[]) && !follower.has_leaves(2, &[]));
}

#[test]
fn what_another_reader_has_passed_over_is_checked() {
    let mut scribe = Scribe::new();
    let seen = Seen { size: 0, root: Hash::empty_root() };
    let join = Action::new(scribe.name.clone(), Act::Join(Join::new(0, None)));
    let elsewhere = Transaction::sign(&key(2), &LedgerId([9; 32]), seen, join);
    scribe.append(record::transaction_payload(&elsewhere));
    for depth in [Depth::Chain, Depth::Replay] {
        let careless = scribe.follower(depth).reader();
        let mut follower = scribe.follower(Depth::Full);
        let mut refused = None;
        for bytes in &scribe.entries {
            refused = follower.follow(&careless.read(bytes.clone())).err();
        }
        assert!(matches!(refused, Some(Fault::Signature(_))), "{refused:?}");
    }
}

#[test]
fn up_to_what_is_trusted_signatures_are_believed() {
    let scribe = long();
    let checkpoint = |follower: &Follower| follower.confirm(&scribe.checkpoint(scribe.log_key));
    let size = scribe.entries.len() as u64;
    // The last transaction, with a signature that is none.
    let forged = scribe
        .entries
        .iter()
        .rposition(|bytes| matches!(Record::decode(bytes).unwrap().record, Record::Transaction(_)));
    let forged = forged.unwrap();
    let mut entries = scribe.entries.clone();
    let mut entry = v1::Entry::decode(&entries[forged][..]).unwrap();
    let Some(v1::entry::Payload::Transaction(signed)) = &mut entry.payload else { panic!() };
    signed.signature = vec![0; 64].into();
    entries[forged] = entry.encode_to_vec();
    entries.truncate(forged + 1);
    let follow = |trusted: u64| {
        let mut follower = scribe.follower(Depth::Full);
        follower.trust(trusted);
        let reader = follower.reader();
        for bytes in &entries {
            scribe.follow(&mut follower, &reader.read(bytes.clone()))?;
        }
        Ok::<_, Fault>(follower)
    };
    assert!(matches!(follow(0), Err(Fault::Signature(_))));
    assert!(matches!(follow(forged as u64), Err(Fault::Signature(_))));
    // It is followed, and the tree tells that it is another one.
    let follower = follow(size).unwrap();
    assert_eq!(follower.head().size, forged as u64 + 1);
    assert!(checkpoint(&follower).is_err());
}

#[test]
fn after_a_departure_nothing_is_followed() {
    let mut scribe = Scribe::new();
    let name = scribe.name.clone();
    let waiting = |members| {
        let outcome = Outcome::new(name.clone(), Decision::Waiting { members, min_learners: 9 });
        record::outcome_payload(&outcome)
    };
    scribe.append(waiting(9));
    let entries = scribe.read();
    let mut follower = scribe.follower(Depth::Full);
    entries[..2].iter().for_each(|entry| follower.follow(entry).unwrap());
    assert!(matches!(follower.follow(&entries[2]), Err(Fault::Departure(_))));
    assert_eq!(follower.follow(&entries[2]), Err(Fault::Departed));
    assert_eq!((follower.state(), follower.contract()), (None, None));

    // Who lists all that is wrong goes on, and is told of it once.
    let mut follower = scribe.follower(Depth::Full);
    scribe.append(waiting(8));
    let mut faults = Vec::new();
    for entry in &scribe.read() {
        let past = follower.follow_past(entry, |fault| {
            faults.push(fault);
            Ok(())
        });
        assert_eq!(past, Ok(()));
    }
    assert!(matches!(faults[..], [Fault::Departure(_)]), "{faults:?}");
    assert_eq!(follower.head().size, 4);
}

#[test]
fn only_a_genesis_of_these_rules_begins_a_ledger() {
    let scribe = Scribe::new();
    let begin = |bytes: &[u8]| Follower::new(Depth::Full, bytes).map(|_| ()).unwrap_err();
    assert_eq!(begin(&scribe.entries[1]), BadGenesis::OtherRecord);
    assert!(matches!(begin(b"?"), BadGenesis::Record(_)));
    let entry = |contract_version, key: &'static [u8]| {
        let genesis = v1::Genesis {
            log_public_key: Bytes::from_static(key),
            contract_version,
            ..genesis(VERSION, Some(Limits::default()))
        };
        let payload = record::genesis_payload(genesis);
        Entry { index: 0, parent: Hash::ZERO, time_ms: 0, payload }.encode()
    };
    assert_eq!(begin(&entry(999, &[1; 32])), BadGenesis::Version(UnknownVersion(999)));
    assert_eq!(begin(&entry(VERSION.number(), &[1; 3])), BadGenesis::Key);

    // Another ledger's genesis does not begin this one.
    let mut follower = scribe.follower(Depth::Full);
    let other = follower.reader().read(entry(VERSION.number(), &[1; 32]));
    assert_eq!(follower.follow(&other), Err(Fault::OtherGenesis));
}

#[test]
fn a_state_that_does_not_fit_is_not_resumed() {
    let scribe = long();
    let follower = scribe.follow_all(&scribe.read()).unwrap();
    assert_eq!(scribe.follower(Depth::Full).state(), None, "nothing was followed yet");
    let resume = |change: &dyn Fn(&mut FollowerState), depth| {
        let mut changed = state(&follower);
        change(&mut changed);
        Follower::resume(depth, changed).is_some()
    };
    assert!(resume(&|_| (), Depth::Full));
    assert!(!resume(&|state| state.tree = None, Depth::Chain));
    assert!(resume(&|state| state.tree = None, Depth::Replay));
    assert!(!resume(&|state| state.replay = None, Depth::Replay));
    assert!(resume(&|state| state.replay = None, Depth::Signatures));
    // Without the times of the last entries nothing would ever be too old.
    assert!(!resume(&|state| state.times = None, Depth::Full));
    assert!(!resume(&|state| state.times = None, Depth::Signatures));
    assert!(resume(&|state| state.times = None, Depth::Chain));
    assert!(resume(&|state| state.times = None, Depth::Replay));
    assert!(!resume(&|state| state.head.size -= 1, Depth::Full));
    assert!(!resume(&|state| state.head = Head::EMPTY, Depth::Replay));
    let other = scribe.contract.ledger();
    let other = Digest(other.0.map(|byte| !byte));
    let replay = colearn_records::replay::Replay::resume(Contract::new(other, VERSION));
    assert!(!resume(&|state| state.replay = Some(replay.clone()), Depth::Full));
}
