//! Versions of the rules: which one an experiment follows, and that an upgrade changes nobody's.

use colearn_contracts::{
    Act, Action, Admission, Contract, CreateExperiment, Digest, ExperimentName, Limits,
    NotAnUpgrade, UnknownVersion, VERSION, Version,
};

use crate::script::{VERSIONS, at, defaults, learner, model, play};

/// Creates an experiment of this name, under the version that the contract is at.
fn create(contract: &mut Contract, name: &ExperimentName) {
    let create = CreateExperiment {
        version: contract.version().number(),
        parameters: defaults(),
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    let action = Action::new(name.clone(), Act::Create(create));
    contract.apply(at(0), learner("Z"), &action).unwrap();
}

// In version 1 the mover's vote is none, in version 2 it approves (R46, R55).
const JOIN: &str = "A joins: ok
    B joins: round 1 of A
    C joins: ok
    A passes 1: passed, round 2 of B";
const AS_BEFORE: &str = "A moves 1 stop: motion 1: 2 vote
    B opposes 1: ok
    C seconds 1: motion 1 adopted 1-1, motion 1 in effect, finished Stopped";
const AS_UPGRADED: &str = "A moves 1 stop: motion 1: 3 vote
    B opposes 1: ok
    C seconds 1: motion 1 adopted 2-1, motion 1 in effect, finished Stopped";

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

        let limits = Limits { per_creator: 4, ..Limits::default() };
        contract.upgrade(0, Version::V2, limits).unwrap();
        contract = through(contract);
        assert_eq!((contract.version(), contract.limits()), (Version::V2, limits));
        create(&mut contract, &later);
        contract = through(contract);

        play(&mut contract, &running, AS_BEFORE);
        play(&mut contract, &untouched, JOIN);
        play(&mut contract, &untouched, AS_BEFORE);
        play(&mut contract, &later, JOIN);
        play(&mut contract, &later, AS_UPGRADED);
        let versions = contract.experiments().map(|it| (it.name().as_str(), it.version()));
        let expected =
            [("later", Version::V2), ("running", Version::V1), ("untouched", Version::V1)];
        assert_eq!(versions.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_ledger_may_begin_with_any_version() {
    for (version, as_it_is) in [(Version::V1, AS_BEFORE), (Version::V2, AS_UPGRADED)] {
        let mut contract = Contract::new(Digest([0; 32]), version);
        let name = "x".parse().unwrap();
        create(&mut contract, &name);
        play(&mut contract, &name, JOIN);
        play(&mut contract, &name, as_it_is);
    }
}

#[test]
fn versions_only_go_up() {
    let mut contract = Contract::new(Digest([0; 32]), Version::V1);
    let mut upgrade = |version| contract.upgrade(0, version, Limits::default());
    let no = |from, to| Err(NotAnUpgrade { from, to });
    assert_eq!(upgrade(Version::V1), no(Version::V1, Version::V1));
    assert_eq!(upgrade(Version::V2), Ok(()));
    assert_eq!(upgrade(Version::V2), no(Version::V2, Version::V2));
    assert_eq!(upgrade(Version::V1), no(Version::V2, Version::V1));
    assert_eq!(contract.version(), Version::V2);
}

#[test]
fn an_unknown_version_is_not_taken_for_another() {
    for version in VERSIONS {
        assert_eq!(Version::try_from(version.number()), Ok(version));
    }
    for number in [0, 3, 99] {
        assert_eq!(Version::try_from(number), Err(UnknownVersion(number)));
    }
    assert_eq!(
        UnknownVersion(3).to_string(),
        "version 3 of the rules is needed here, and this program knows 1 to 2: use a later colearn"
    );
    // Nor in a state: the version stands behind the ledger's id.
    let mut bytes = postcard::to_allocvec(&Contract::new(Digest([0; 32]), VERSION)).unwrap();
    assert_eq!(bytes[32], 2);
    bytes[32] = 3;
    assert!(postcard::from_bytes::<Contract>(&bytes).is_err());
}
