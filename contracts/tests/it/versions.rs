//! Versions of the rules: which one an experiment follows, and that an upgrade changes nobody's.

use colearn_contracts::{
    Act, Action, Admission, Contract, CreateExperiment, Digest, ExperimentName, NotAnUpgrade,
    UnknownVersion, VERSION, Version,
};

use crate::script::{at, defaults, learner, model, play};

/// Creates an experiment of this name and has two members move something. The first version lets
/// both motions be open at once, the version of the tests only one.
fn create(contract: &mut Contract, name: &ExperimentName) {
    let create = CreateExperiment {
        parameters: defaults(),
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    let action = Action::new(name.clone(), Act::Create(create));
    contract.apply(at(0), learner("Z"), &action).unwrap();
}

const JOIN: &str = "A joins: ok
    B joins: round 1 of A
    C joins: ok
    A passes 1: passed, round 2 of B
    A moves 1 suspend B: motion 1: 2 vote";
const AS_BEFORE: &str = "B moves 2 suspend A: motion 2: 2 vote";
const AS_UPGRADED: &str = "B moves 2 suspend A: MotionsOpen";

/// The same contract, written and read again.
fn reread(contract: Contract) -> Contract {
    let bytes = postcard::to_allocvec(&contract).unwrap();
    let again = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(contract, again);
    again
}

#[test]
fn an_upgrade_is_for_experiments_that_are_created_after_it() {
    for through in [|contract| contract, reread] {
        let [running, untouched, later] =
            ["running", "untouched", "later"].map(|name| name.parse().unwrap());
        let mut contract = Contract::new(Digest([0; 32]), Version::V1);
        create(&mut contract, &running);
        create(&mut contract, &untouched);
        play(&mut contract, &running, JOIN);
        contract = through(contract);

        contract.upgrade(Version::Test).unwrap();
        contract = through(contract);
        assert_eq!(contract.version(), Version::Test);
        create(&mut contract, &later);
        contract = through(contract);

        play(&mut contract, &running, AS_BEFORE);
        play(&mut contract, &untouched, JOIN);
        play(&mut contract, &untouched, AS_BEFORE);
        play(&mut contract, &later, JOIN);
        play(&mut contract, &later, AS_UPGRADED);
        let versions = contract.experiments().map(|it| (it.name().as_str(), it.version()));
        let expected =
            [("later", Version::Test), ("running", Version::V1), ("untouched", Version::V1)];
        assert_eq!(versions.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_ledger_may_begin_with_any_version() {
    let mut contract = Contract::new(Digest([0; 32]), Version::Test);
    let name = "x".parse().unwrap();
    create(&mut contract, &name);
    play(&mut contract, &name, JOIN);
    play(&mut contract, &name, AS_UPGRADED);
}

#[test]
fn versions_only_go_up() {
    let mut contract = Contract::new(Digest([0; 32]), Version::V1);
    let no = |from, to| Err(NotAnUpgrade { from, to });
    assert_eq!(contract.upgrade(Version::V1), no(Version::V1, Version::V1));
    assert_eq!(contract.upgrade(Version::Test), Ok(()));
    assert_eq!(contract.upgrade(Version::Test), no(Version::Test, Version::Test));
    assert_eq!(contract.upgrade(Version::V1), no(Version::Test, Version::V1));
    assert_eq!(contract.version(), Version::Test);
}

#[test]
fn an_unknown_version_is_not_taken_for_another() {
    for version in [Version::V1, Version::Test] {
        assert_eq!(Version::try_from(version.number()), Ok(version));
    }
    for number in [0, 2, 99] {
        assert_eq!(Version::try_from(number), Err(UnknownVersion(number)));
    }
    assert_eq!(
        UnknownVersion(2).to_string(),
        "version 2 of the rules is not known here (the latest is 1)"
    );
    // Nor in a state: the version stands behind the ledger's id.
    let mut bytes = postcard::to_allocvec(&Contract::new(Digest([0; 32]), VERSION)).unwrap();
    assert_eq!(bytes[32], 1);
    bytes[32] = 2;
    assert!(postcard::from_bytes::<Contract>(&bytes).is_err());
}
