//! What is bounded from version 2 on, of a ledger and of a member: R3, R8, R54, R61, R70, R71.

use colearn_contracts::{
    Act, Action, Admission, Context, Contract, CreateExperiment, Decision, Digest, Experiment,
    InvalidLimits, LearnerId, Limits, MAX_MEMBERS, MAX_TIME_MS, Moment, Parameters, Rejection,
    VERSION, Version,
};

use crate::script::{
    VERSIONS, at, check, check_v1, check_v2, created, defaults, invited, join, joined, learner,
    model, name,
};

fn id(number: usize) -> LearnerId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    LearnerId(key)
}

fn limited(per_creator: u32, experiments: u32) -> Contract {
    let limits = Limits { per_creator, experiments, ..Limits::default() };
    Contract::with_limits(Digest([0; 32]), VERSION, limits)
}

fn create(contract: &mut Contract, creator: &str, name: &str) -> Result<(), Rejection> {
    let create = CreateExperiment {
        version: contract.version().number(),
        parameters: Parameters { max_rounds: Some(1), min_learners: 1, ..defaults() },
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    let create = Action::new(name.parse().unwrap(), Act::Create(create));
    contract.apply(at(0), learner(creator), &create).map(|_| ())
}

fn stop(contract: &mut Contract, creator: &str, name: &str) {
    let stop = Action::new(name.parse().unwrap(), Act::Stop);
    contract.apply(at(0), learner(creator), &stop).unwrap();
}

#[test]
fn r3_unfinished_experiments_are_bounded_and_a_name_is_used_once() {
    let mut contract = limited(9, 3);
    for name in ["a", "b", "c"] {
        assert_eq!(create(&mut contract, "A", name), Ok(()));
    }
    // R3 before R54, and a name that is taken before both.
    assert_eq!(create(&mut contract, "B", "d"), Err(Rejection::TooManyExperiments));
    assert_eq!(create(&mut contract, "B", "a"), Err(Rejection::ExperimentExists));
    stop(&mut contract, "A", "a");
    assert_eq!(create(&mut contract, "B", "a"), Err(Rejection::ExperimentExists));
    assert_eq!(create(&mut contract, "B", "d"), Ok(()));
    assert_eq!(create(&mut contract, "B", "e"), Err(Rejection::TooManyExperiments));
}

#[test]
fn r54_a_key_has_so_many_unfinished_experiments() {
    let mut contract = limited(2, 100);
    let full = Err(Rejection::TooManyOfCreator { limit: 2 });
    assert_eq!(create(&mut contract, "A", "a"), Ok(()));
    assert_eq!(create(&mut contract, "A", "b"), Ok(()));
    assert_eq!(create(&mut contract, "A", "c"), full);
    // Others are not concerned.
    assert_eq!(create(&mut contract, "B", "c"), Ok(()));
    // One that ends by itself makes room as one that is stopped does, and nothing makes room twice.
    let run = "C joins: round 1 of C\n C passes 1: passed, finished MaxRounds";
    crate::script::play(&mut contract, &"a".parse().unwrap(), run);
    assert_eq!(create(&mut contract, "A", "d"), Ok(()));
    assert_eq!(create(&mut contract, "A", "e"), full);
    let run = "C joins: round 1 of C\n at 100: expired, finished MaxRounds";
    crate::script::play(&mut contract, &"b".parse().unwrap(), run);
    contract.advance(at(1_000_000));
    assert_eq!(create(&mut contract, "A", "e"), Ok(()));
    assert_eq!(create(&mut contract, "A", "f"), full);
    // It counts for the key that created it, whichever its creator has now.
    let replace = Action::new("d".parse().unwrap(), Act::ReplaceKey { to: learner("X") });
    contract.apply(at(0), learner("A"), &replace).unwrap();
    assert_eq!(create(&mut contract, "A", "f"), full);
    assert_eq!(create(&mut contract, "X", "f"), Ok(()));
    stop(&mut contract, "X", "d");
    assert_eq!(create(&mut contract, "A", "g"), Ok(()));
}

#[test]
fn r54_what_was_created_under_version_1_counts_after_an_upgrade() {
    let mut contract = Contract::new(Digest([0; 32]), Version::V1);
    for i in 0..3 {
        assert_eq!(create(&mut contract, "A", &format!("a{i}")), Ok(()));
    }
    let limits = Limits { per_creator: 2, ..Limits::default() };
    contract.upgrade(0, Version::V2, limits).unwrap();
    let full = Err(Rejection::TooManyOfCreator { limit: 2 });
    assert_eq!(create(&mut contract, "A", "b"), full);
    stop(&mut contract, "A", "a0");
    assert_eq!(create(&mut contract, "A", "b"), full);
    stop(&mut contract, "A", "a1");
    assert_eq!(create(&mut contract, "A", "b"), Ok(()));
}

#[test]
fn r8_so_many_are_members_or_admitted() {
    // One less than there can be, with a key that was replaced: version 1 counts it twice.
    for (version, one_more) in
        [(Version::V1, Err(Rejection::TooManyMembers)), (Version::V2, Ok(()))]
    {
        let parameters = Parameters { min_learners: MAX_MEMBERS as u32, ..defaults() };
        let mut contract = created(version, parameters, Admission::Open);
        let join = join(&contract, 0);
        for i in 0..MAX_MEMBERS - 1 {
            contract.apply(at(0), id(i), &join).unwrap();
        }
        let replace = Action::new(name(), Act::ReplaceKey { to: id(500_000) });
        contract.apply(at(0), id(0), &replace).unwrap();
        let joined = contract.apply(at(0), id(MAX_MEMBERS), &join).map(|_| ());
        assert_eq!(joined, one_more, "{version}");
        let full = contract.apply(at(0), id(MAX_MEMBERS + 1), &join);
        assert_eq!(full, Err(Rejection::TooManyMembers));
    }
}

#[test]
fn r61_a_key_is_changed_64_times() {
    // Of a member, of who is only invited, of the creator; also where it has left or is suspended.
    let changes = |contract: &mut Contract, from: &str| {
        let mut key = learner(from);
        let mut changed = 0;
        loop {
            let to = LearnerId([100 + changed; 32]);
            let replace = Action::new(name(), Act::ReplaceKey { to });
            match contract.apply(at(0), key, &replace) {
                Ok(_) => (key, changed) = (to, changed + 1),
                Err(rejection) => {
                    assert_eq!(rejection, Rejection::TooManyKeys);
                    return changed;
                }
            }
            if changed == 90 {
                return changed;
            }
        }
    };
    let script = joined("AB") + "B leaves: ok\n A passes 1: passed, waiting with 1";
    for who in ["A", "B", "C", "Z"] {
        let mut contract = check_v2(defaults(), invited("ABC"), &script);
        assert_eq!(changes(&mut contract, who), 64, "{who}");
    }
    let mut contract = check_v1(defaults(), invited("ABC"), &script);
    assert_eq!(changes(&mut contract, "A"), 90);
    // In order: a key that is in use is told before.
    let mut contract = check_v2(defaults(), invited("ABC"), &script);
    changes(&mut contract, "A");
    let replace = Action::new(name(), Act::ReplaceKey { to: learner("C") });
    assert_eq!(contract.apply(at(0), LearnerId([163; 32]), &replace), Err(Rejection::KeyInUse));
}

#[test]
fn r70_time_ends_with_the_year_9999() {
    check(
        defaults(),
        &(joined("AB")
            + &format!(
                "at {}: expired, round 2 of B
                 B passes 2: passed, round 3 of A
                 at {}: ok
                 A passes 3: passed, round 4 of B",
                MAX_TIME_MS + 1,
                u64::MAX
            )),
    );
    for version in VERSIONS {
        let mut contract = created(version, defaults(), Admission::Open);
        let join = join(&contract, 0);
        let end = at(u64::MAX);
        contract.apply(end, learner("A"), &join).unwrap();
        let opened = contract.apply(end, learner("B"), &join).unwrap();
        let Decision::RoundOpened { deadline_ms, .. } = opened[0].what else { panic!() };
        assert_eq!(deadline_ms, MAX_TIME_MS + 100);
        assert_eq!(contract.advance(end), []);
        // The last time there is comes as it is.
        assert_eq!(contract.advance(at(MAX_TIME_MS)), []);
    }
    // So it is for an experiment that is kept alone.
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters { min_learners: 1, ..defaults() },
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    let ledger = Digest([0; 32]);
    let context = |now_ms| Context {
        ledger,
        version: VERSION,
        at: Moment::without_ledger(now_ms),
        max_members: u32::MAX,
    };
    let mut alone = Experiment::create(context(u64::MAX), name(), learner("A"), &create).unwrap();
    assert_eq!(alone.created_ms(), MAX_TIME_MS);
    let join = Act::Join(colearn_contracts::Join::new(0, Some(alone.terms())));
    alone.apply(context(u64::MAX), learner("A"), &join).unwrap();
    assert_eq!(alone.deadline_ms(), Some(MAX_TIME_MS + 100));
    assert_eq!(alone.advance(context(u64::MAX)), []);
}

#[test]
fn r71_a_transaction_is_too_old_a_week_after_the_first_entry_that_its_signer_had_not_seen() {
    let limits = Limits { expiry_ms: 1000, ..Limits::default() };
    let contract = Contract::with_limits(Digest([0; 32]), VERSION, limits);
    let expired = Err(Rejection::TransactionExpired);
    assert_eq!(contract.check_fresh(1500, Some(500)), Ok(()));
    assert_eq!(contract.check_fresh(1501, Some(500)), expired);
    // Who has seen everything is never too late, and time does not run backwards.
    assert_eq!(contract.check_fresh(u64::MAX, None), Ok(()));
    assert_eq!(contract.check_fresh(0, Some(500)), Ok(()));
    assert_eq!(Limits::default().expiry_ms, 604_800_000);
    // Version 1 knows nothing of it; what was there at an upgrade counts as recorded with it.
    let mut contract = Contract::new(Digest([0; 32]), Version::V1);
    assert_eq!(contract.check_fresh(u64::MAX, Some(0)), Ok(()));
    contract.upgrade(5000, Version::V2, limits).unwrap();
    assert_eq!(contract.check_fresh(6000, Some(0)), Ok(()));
    assert_eq!(contract.check_fresh(6001, Some(0)), expired);
    assert_eq!(contract.check_fresh(6001, Some(5001)), Ok(()));
}

#[test]
fn limits_keep_their_bounds() {
    let usual = Limits::default();
    let day_ms = 24 * 3_600_000;
    for good in [
        usual,
        Limits { per_creator: 1, ..usual },
        Limits { experiments: 1, ..usual },
        Limits { expiry_ms: 10, ..usual },
        Limits { expiry_ms: 366 * day_ms, ..usual },
    ] {
        assert_eq!(good.check(), Ok(()), "{good:?}");
    }
    for bad in [
        Limits { per_creator: 0, ..usual },
        Limits { experiments: 0, ..usual },
        Limits { expiry_ms: 9, ..usual },
        Limits { expiry_ms: 366 * day_ms + 1, ..usual },
    ] {
        assert_eq!(bad.check(), Err(InvalidLimits), "{bad:?}");
    }
}
