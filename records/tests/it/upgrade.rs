//! An upgrade changes the rules of what is created after it, and nobody else's.

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, ExperimentName, Limits, Motion, Parameters,
    Rejection, Version,
};
use colearn_ledger::{Entry, Hash};
use colearn_proto::v1;
use colearn_records::follower::{BadGenesis, Depth, Fault, Follower};
use colearn_records::replay::Departure;
use colearn_records::transaction::{LedgerId, Transaction};
use colearn_records::{record, upgrade};

use crate::scribe::{Scribe, founders, genesis, key, model, state};

/// Creates an experiment of this name, made for this version; whether that is accepted.
fn create(scribe: &mut Scribe, name: &str, version: Version) -> bool {
    scribe.wait(1);
    let create = CreateExperiment {
        version: version.number(),
        parameters: Parameters::default(),
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    let action = Action::new(name.parse().unwrap(), Act::Create(create));
    let signed = Transaction::sign(&key(1), &scribe.id, scribe.seen(0), action);
    scribe.transact(&signed)
}

#[test]
fn experiments_keep_the_version_that_they_were_created_under() {
    let mut scribe = Scribe::empty(Version::V1, Limits::default());
    assert!(create(&mut scribe, "before", Version::V1));
    assert!(!create(&mut scribe, "too-early", Version::V2));
    scribe.upgrade();
    assert!(!create(&mut scribe, "too-late", Version::V1), "R52");
    assert!(create(&mut scribe, "after", Version::V2));
    let entries = scribe.read();
    for depth in [Depth::Full, Depth::Replay] {
        let follower = scribe.follow_to(depth, &entries).unwrap();
        let contract = follower.contract().unwrap();
        let version = |name: &str| {
            let name: ExperimentName = name.parse().unwrap();
            contract.experiment(&name).unwrap().version()
        };
        assert_eq!((version("before"), version("after")), (Version::V1, Version::V2));
        assert_eq!((contract.version(), contract.limits()), (Version::V2, Limits::default()));
    }
}

#[test]
fn members_adopt_the_rules_that_they_want() {
    let mut scribe = Scribe::begin(Version::V1, Limits::default(), founders(Version::V1));
    for who in 1..=4 {
        let join = scribe.join(who);
        assert!(scribe.act(who, 0, join));
    }
    let adopt = || Act::Move { number: 1, motion: Motion::Adopt(Version::V2) };
    assert!(!scribe.act(1, 0, adopt()), "the ledger has no such rules yet");
    scribe.upgrade();
    assert!(scribe.act(1, 0, adopt()));
    for who in 2..=3 {
        assert!(scribe.act(who, 0, Act::MotionVote { number: 1, approve: true }));
    }
    // It takes effect when no round is open.
    assert_eq!(scribe.experiment().version(), Version::V1);
    scribe.wait(3_600_000);
    assert_eq!(scribe.experiment().version(), Version::V2);
    let follower = scribe.follow_all(&scribe.read()).unwrap();
    assert_eq!(follower.contract(), Some(&scribe.contract));
}

/// Where it is refused, and why, if this upgrade follows the genesis of a ledger of version 1.
fn refused(upgrade: v1::Upgrade, depth: Depth) -> Fault {
    let mut scribe = Scribe::empty(Version::V1, Limits::default());
    scribe.append(record::upgrade_payload(&upgrade));
    let (place, fault) = scribe.follow_to(depth, &scribe.read()).map(drop).unwrap_err();
    assert_eq!(place, 1);
    fault
}

/// The upgrade of such a ledger, signed as it should be.
fn good(limits: Limits) -> v1::Upgrade {
    let id = Scribe::empty(Version::V1, Limits::default()).id;
    upgrade::sign(&id, &key(100), Version::V2, limits)
}

#[test]
fn an_upgrade_is_signed_by_the_ledger_and_to_a_later_version_that_is_known() {
    let id = Scribe::empty(Version::V1, Limits::default()).id;
    let limits = Limits::default();
    for depth in [Depth::Full, Depth::Signatures] {
        let stranger = upgrade::sign(&id, &key(3), Version::V2, limits);
        assert!(matches!(refused(stranger, depth), Fault::Upgrade(_)));
        let other = upgrade::sign(&LedgerId([9; 32]), &key(100), Version::V2, limits);
        assert!(matches!(refused(other, depth), Fault::Upgrade(_)));
        // All that it says is signed.
        for change in [
            |it: &mut v1::Limits| it.experiments_per_creator += 1,
            |it: &mut v1::Limits| it.experiments += 1,
            |it: &mut v1::Limits| it.expiry_ms += 1,
        ] {
            let mut changed = good(limits);
            change(changed.limits.as_mut().unwrap());
            assert!(matches!(refused(changed, depth), Fault::Upgrade(_)));
        }
    }
    let same = upgrade::sign(&id, &key(100), Version::V1, limits);
    let fault = refused(same, Depth::Full);
    assert!(matches!(fault, Fault::Departure(Departure::NotAnUpgrade(_))), "{fault}");
    // A node that opens its own ledger looks at no signature, but knows which rules it can follow.
    let unknown = v1::Upgrade { contract_version: 77, ..good(limits) };
    let fault = refused(unknown, Depth::Replay);
    assert!(matches!(fault, Fault::Departure(Departure::UnknownVersion(_))), "{fault}");
    assert!(fault.to_string().contains("version 77"), "{fault}");
}

#[test]
fn an_upgrade_says_limits_within_their_bounds() {
    let limits = Limits::default();
    let bad = [
        Limits { per_creator: 0, ..limits },
        Limits { experiments: 0, ..limits },
        Limits { expiry_ms: 9, ..limits },
        Limits { expiry_ms: 366 * 24 * 3_600_000 + 1, ..limits },
    ];
    for limits in bad {
        assert!(matches!(refused(good(limits), Depth::Full), Fault::Upgrade(_)), "{limits:?}");
        let fault = refused(good(limits), Depth::Replay);
        assert!(matches!(fault, Fault::Departure(Departure::Limits(_))), "{fault}");
    }
    let without = v1::Upgrade { limits: None, ..good(limits) };
    assert!(matches!(refused(without.clone(), Depth::Full), Fault::Upgrade(_)));
    let fault = refused(without, Depth::Replay);
    assert!(matches!(fault, Fault::Departure(Departure::Limits(_))), "{fault}");
    for limits in [
        Limits { per_creator: 1, experiments: 1, expiry_ms: 10 },
        Limits { expiry_ms: 366 * 24 * 3_600_000, ..limits },
    ] {
        let mut scribe = Scribe::empty(Version::V1, Limits::default());
        scribe.append(record::upgrade_payload(&good(limits)));
        let follower = scribe.follow_all(&scribe.read()).unwrap();
        assert_eq!(follower.contract().unwrap().limits(), limits);
    }
}

#[test]
fn a_genesis_has_the_limits_of_its_version() {
    let begin = |version, limits| {
        let payload = record::genesis_payload(genesis(version, limits));
        let entry = Entry { index: 0, parent: Hash::ZERO, time_ms: 0, payload }.encode();
        Follower::new(Depth::Full, &entry).map(drop)
    };
    let limits = Limits::default();
    assert_eq!(begin(Version::V1, None), Ok(()));
    assert_eq!(begin(Version::V1, Some(limits)), Err(BadGenesis::Limits));
    assert_eq!(begin(Version::V2, Some(limits)), Ok(()));
    assert_eq!(begin(Version::V2, None), Err(BadGenesis::Limits));
    for bad in [
        Limits { per_creator: 0, ..limits },
        Limits { experiments: 0, ..limits },
        Limits { expiry_ms: 9, ..limits },
        Limits { expiry_ms: 366 * 24 * 3_600_000 + 1, ..limits },
    ] {
        assert_eq!(begin(Version::V2, Some(bad)), Err(BadGenesis::Limits), "{bad:?}");
    }
}

#[test]
fn limits_hold_from_the_upgrade_on() {
    let limits = Limits { per_creator: 2, ..Limits::default() };
    let mut scribe = Scribe::empty(Version::V1, limits);
    for name in ["a", "b", "c"] {
        assert!(create(&mut scribe, name, Version::V1));
    }
    scribe.upgrade();
    assert!(!create(&mut scribe, "d", Version::V2));
    // A node that accepts it nevertheless departs from the contract.
    let action = Action::new(
        "d".parse().unwrap(),
        Act::Create(CreateExperiment {
            version: 2,
            parameters: Parameters::default(),
            admission: Admission::Open,
            model: model(0),
            plan: None,
        }),
    );
    let signed = Transaction::sign(&key(1), &scribe.id, scribe.seen(0), action);
    scribe.append(record::transaction_payload(&signed));
    let entries = scribe.read();
    let (place, fault) = scribe.follow_all(&entries).map(drop).unwrap_err();
    assert_eq!(place, entries.len() - 1);
    let refused = Departure::Refused(Rejection::TooManyOfCreator { limit: 2 });
    assert_eq!(fault, Fault::Departure(refused));
}

#[test]
fn a_follower_goes_on_across_an_upgrade() {
    let mut scribe = Scribe::empty(Version::V1, Limits::default());
    assert!(create(&mut scribe, "before", Version::V1));
    scribe.upgrade();
    assert!(create(&mut scribe, "after", Version::V2));
    let entries = scribe.read();
    let whole = scribe.follow_all(&entries).unwrap();
    for place in 1..entries.len() {
        let half = scribe.follow_all(&entries[..place]).unwrap();
        let mut resumed = Follower::resume(Depth::Full, state(&half)).unwrap();
        entries[place..].iter().for_each(|entry| scribe.follow(&mut resumed, entry).unwrap());
        assert_eq!(state(&resumed), state(&whole));
    }
}
