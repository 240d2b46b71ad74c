//! What holds where a contract on a public chain keeps the ledger: R91, R92, R93.

use colearn_contracts::{
    Act, Action, Admission, Charter, Contract, CreateExperiment, Creators, Decision, Digest,
    InvalidCharter, Limits, Parameters, Rejection, VERSION,
};

use crate::script::{at, defaults, join, learner, model, name};

fn contract(creators: Creators, max_members: u32) -> Contract {
    let limits = Limits { per_creator: 3, experiments: 1, ..Limits::default() };
    Contract::on_chain(Digest([0; 32]), VERSION, limits, Charter { creators, max_members })
}

fn create(contract: &mut Contract, creator: &str, name: &str) -> Result<(), Rejection> {
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters { min_learners: 1, ..defaults() },
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    let create = Action::new(name.parse().unwrap(), Act::Create(create));
    contract.apply(at(0), learner(creator), &create).map(|_| ())
}

#[test]
fn r91_who_is_listed_creates_as_many_as_its_limit_says() {
    let mut keys = vec![learner("A"), learner("B")];
    keys.sort_unstable();
    let mut listed = contract(Creators::Listed(keys), 9);
    assert_eq!(create(&mut listed, "C", "c"), Err(Rejection::CreatorNotListed));
    // The most experiments of all, here 1, do not count.
    for name in ["a", "b", "c"] {
        assert_eq!(create(&mut listed, "A", name), Ok(()));
    }
    assert_eq!(create(&mut listed, "A", "d"), Err(Rejection::TooManyOfCreator { limit: 3 }));
    assert_eq!(create(&mut listed, "B", "a"), Err(Rejection::ExperimentExists));
    // Whether a name is taken is not told to who may not create.
    assert_eq!(create(&mut listed, "C", "a"), Err(Rejection::CreatorNotListed));
    assert_eq!(create(&mut contract(Creators::Anybody, 9), "C", "c"), Ok(()));
}

#[test]
fn r91_a_list_has_an_order_and_an_end() {
    let charter = |creators, max_members| Charter { creators, max_members }.check();
    let key = |number: u16| {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        colearn_contracts::LearnerId(key)
    };
    let listed = |count: u16| Creators::Listed((0..count).map(key).collect());
    for (creators, max_members, is_good) in [
        (Creators::Anybody, 1, true),
        (Creators::Anybody, 0, false),
        (Creators::Anybody, 100_000, true),
        (Creators::Anybody, 100_001, false),
        (listed(0), 5, false),
        (listed(1), 5, true),
        (listed(256), 5, true),
        (listed(257), 5, false),
        (Creators::Listed(vec![key(1), key(1)]), 5, false),
        (Creators::Listed(vec![key(2), key(1)]), 5, false),
    ] {
        let expected = if is_good { Ok(()) } else { Err(InvalidCharter) };
        assert_eq!(charter(creators.clone(), max_members), expected, "{creators:?} {max_members}");
    }
}

#[test]
fn r92_so_many_take_part_or_wait_to_and_who_left_makes_room() {
    let mut contract = contract(Creators::Anybody, 2);
    create(&mut contract, "Z", name().as_str()).unwrap();
    let joins = |contract: &mut Contract, who: &str, term: u32| {
        let join = join(contract, term);
        contract.apply(at(0), learner(who), &join).map(|_| ())
    };
    // A takes part, for a round opens; B waits for the next one.
    assert_eq!(joins(&mut contract, "A", 0), Ok(()));
    assert_eq!(joins(&mut contract, "B", 0), Ok(()));
    let full = Err(Rejection::MembersFull { most: 2 });
    assert_eq!(joins(&mut contract, "C", 0), full);
    let leave = Action::new(name(), Act::Leave { term: 0, renounce: false });
    contract.apply(at(0), learner("B"), &leave).unwrap();
    assert_eq!(joins(&mut contract, "C", 0), Ok(()));
    assert_eq!(joins(&mut contract, "B", 1), full);
}

#[test]
fn r93_a_deadline_waits_until_its_own_experiment_is_touched() {
    let mut contract = contract(Creators::Anybody, 9);
    let other = "other".parse().unwrap();
    for experiment in [name(), other] {
        create(&mut contract, "Z", experiment.as_str()).unwrap();
        let terms = contract.experiment(&experiment).unwrap().terms();
        let join = Act::Join(colearn_contracts::Join::new(0, Some(terms)));
        contract.apply(at(0), learner("A"), &Action::new(experiment, join)).unwrap();
    }
    let deadline_ms = contract.next_deadline_ms().unwrap();
    let other = "other".parse().unwrap();
    assert_eq!(contract.touch(at(deadline_ms - 1), &name()), []);
    assert_eq!(contract.touch(at(deadline_ms), &"none".parse().unwrap()), []);
    let of_one = contract.touch(at(deadline_ms), &name());
    assert!(matches!(of_one[0].what, Decision::RoundClosed { .. }));
    assert!(of_one.iter().all(|outcome| outcome.experiment == name()));
    assert_eq!(contract.touch(at(deadline_ms), &name()), [], "once");
    // The other is overdue, and says so as late as it is asked.
    assert_eq!(contract.next_deadline_ms(), Some(deadline_ms));
    let late = contract.touch(at(deadline_ms + 500_000), &other);
    assert!(matches!(late[0].what, Decision::RoundClosed { .. }));
    assert!(contract.next_deadline_ms() > Some(deadline_ms));
}
