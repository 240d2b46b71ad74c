//! R71. A transaction whose signer had not seen an entry for too long is no part of a ledger.

use colearn_contracts::{Act, Admission, CreateExperiment, Limits, Parameters, Version};
use colearn_records::follower::{Depth, Fault, Follower};
use colearn_records::record;

use crate::scribe::{Scribe, expiring, model, state};

const EXPIRY_MS: u64 = 100;

fn create(version: Version) -> Act {
    Act::Create(CreateExperiment {
        version: version.number(),
        parameters: Parameters::default(),
        admission: Admission::Open,
        model: model(0),
        plan: None,
    })
}

/// Has the node record a transaction at this time, whatever its age, whose signer had seen so many
/// entries.
fn record_at(scribe: &mut Scribe, now_ms: u64, seen: u64, what: Act) {
    scribe.now_ms = now_ms;
    let signed = scribe.sign(1, seen, what);
    scribe.append(record::transaction_payload(&signed));
}

/// A ledger with entries at 1,000, 1,000 and 1,050 ms, and then a transaction of this time and age.
fn ledger(now_ms: u64, seen: u64) -> Scribe {
    let mut scribe = Scribe::empty(Version::V2, expiring(EXPIRY_MS));
    scribe.change_key();
    scribe.now_ms = 1_050;
    scribe.change_key();
    record_at(&mut scribe, now_ms, seen, create(Version::V2));
    scribe
}

#[test]
fn it_is_fresh_up_to_the_very_millisecond() {
    for (seen, now_ms, fresh) in [
        // The first entry not seen is of 1,000.
        (0, 1_100, true),
        (0, 1_101, false),
        (1, 1_100, true),
        (1, 1_101, false),
        // Of 1,050.
        (2, 1_150, true),
        (2, 1_151, false),
        // Where nothing has happened since, nothing is old.
        (3, 1_000_000_000, true),
    ] {
        let scribe = ledger(now_ms, seen);
        let entries = scribe.read();
        for depth in [Depth::Signatures, Depth::Full] {
            let followed = scribe.follow_to(depth, &entries).map(drop);
            let expired = Fault::Expired { vouched: scribe.seen(seen) };
            let expected = if fresh { Ok(()) } else { Err((3, expired)) };
            assert_eq!(followed, expected, "{seen} at {now_ms}");
        }
        // These trust who was asked before.
        for depth in [Depth::Chain, Depth::Replay] {
            assert!(scribe.follow_to(depth, &entries).is_ok(), "{seen} at {now_ms}");
        }
        let unseen_ms = [1_000, 1_000, 1_050].get(seen as usize).copied();
        assert_eq!(scribe.contract.check_fresh(now_ms, unseen_ms).is_ok(), fresh);
    }
}

#[test]
fn who_lists_all_that_is_wrong_goes_on_after_it() {
    let mut scribe = ledger(1_101, 0);
    scribe.change_key();
    let mut follower = scribe.follower(Depth::Full);
    let mut faults = Vec::new();
    for entry in &scribe.read() {
        let past = follower.follow_past(entry, |fault| {
            faults.push(fault);
            Ok(())
        });
        assert_eq!(past, Ok(()));
    }
    assert_eq!(faults, [Fault::Expired { vouched: scribe.seen(0) }]);
    assert_eq!(follower.contract().unwrap().experiments().len(), 1);
}

#[test]
fn a_refused_one_leaves_no_trace() {
    let mut scribe = ledger(1_101, 0);
    let entries = scribe.read();
    let mut follower = scribe.follower(Depth::Full);
    entries[..3].iter().for_each(|entry| follower.follow(entry).unwrap());
    let before = state(&follower);
    assert!(follower.follow(&entries[3]).is_err());
    assert_eq!(state(&follower), before);
    // The same act, signed again by who has looked.
    let head = follower.head();
    scribe.entries.truncate(3);
    scribe.head = head;
    record_at(&mut scribe, 1_101, 3, create(Version::V2));
    assert_eq!(scribe.follow(&mut follower, &scribe.read()[3]), Ok(()));
}

#[test]
fn what_came_before_an_upgrade_counts_as_recorded_with_it() {
    for (seen, after_ms, fresh) in [
        // The genesis, and the upgrade itself, not seen.
        (0, EXPIRY_MS, true),
        (0, EXPIRY_MS + 1, false),
        (2, EXPIRY_MS, true),
        (2, EXPIRY_MS + 1, false),
        (3, EXPIRY_MS + 1, true),
    ] {
        let mut scribe = Scribe::empty(Version::V1, expiring(EXPIRY_MS));
        // Before it nothing is ever too old.
        record_at(&mut scribe, 1_000_000_000, 0, create(Version::V1));
        scribe.contract.upgrade(0, Version::V2, Limits::default()).unwrap();
        let upgrade = colearn_records::upgrade::sign(
            &scribe.id,
            &crate::scribe::key(100),
            Version::V2,
            expiring(EXPIRY_MS),
        );
        scribe.now_ms = 2_000_000_000;
        scribe.append(record::upgrade_payload(&upgrade));
        let now_ms = scribe.now_ms + after_ms;
        scribe.name = "y".parse().unwrap();
        record_at(&mut scribe, now_ms, seen, create(Version::V2));

        let entries = scribe.read();
        for depth in [Depth::Signatures, Depth::Full] {
            let followed = scribe.follow_to(depth, &entries).map(drop);
            let expired = Fault::Expired { vouched: scribe.seen(seen) };
            let expected = if fresh { Ok(()) } else { Err((3, expired)) };
            assert_eq!(followed, expected, "{seen} after {after_ms}");

            // However often it is stopped and goes on.
            let mut follower = scribe.follower(depth);
            for (place, entry) in entries.iter().enumerate() {
                let followed = scribe.follow(&mut follower, entry);
                assert_eq!(followed.is_ok(), place < 3 || fresh);
                follower = Follower::resume(depth, state(&follower)).unwrap();
            }
        }
        for depth in [Depth::Chain, Depth::Replay] {
            assert!(scribe.follow_to(depth, &entries).is_ok());
        }
    }
}
