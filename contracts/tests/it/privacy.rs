//! What is stated of privacy, from version 2 on: R42, R43, R62.

use colearn_contracts::{
    Act, Action, Admission, Contract, Digest, MAX_SEGMENTS, Parameters, PrivacyCap, PrivacySegment,
    PrivacySpent, PrivateTraining, Proposal, Rejection, Version,
};

use crate::script::{
    at, check_v1, check_v2, defaults, joined, learner, model, name, play, proposal, segments,
};

fn capped() -> Parameters {
    let cap = PrivacyCap { epsilon_micros: 1000, delta_picos: 10 };
    Parameters { privacy: Some(cap), ..defaults() }
}

fn stated(epsilon_micros: u64, delta_picos: u64, text: &str) -> PrivacySpent {
    let training = PrivateTraining::All(segments(text));
    PrivacySpent { epsilon_micros, delta_picos, training }
}

/// The state in which A may propose in round 3, having stated this in round 1.
fn after(first: PrivacySpent) -> Contract {
    let mut contract = check_v2(capped(), Admission::Open, &joined("AB"));
    assert_eq!(propose(&mut contract, 1, first), Ok(()));
    play(
        &mut contract,
        &name(),
        "B rejects 1 in 1: rejected 0-1, round 2 of B
         B passes 2: passed, round 3 of A",
    );
    contract
}

fn propose(contract: &mut Contract, round: u64, spent: PrivacySpent) -> Result<(), Rejection> {
    let proposal =
        Proposal { privacy: Some(spent), ..proposal(round, Digest([0; 32]), model(round as u8)) };
    contract.apply(at(1), learner("A"), &Action::new(name(), Act::Propose(proposal))).map(|_| ())
}

#[test]
fn r62_a_statement_can_be() {
    let invalid = Err(Rejection::PrivacyInvalid);
    let first = |spent| {
        let mut contract = check_v2(capped(), Admission::Open, &joined("AB"));
        propose(&mut contract, 1, spent)
    };
    // Epsilon, delta, and each setting: nothing is for nothing.
    assert_eq!(first(stated(1, 1, "1x1")), Ok(()));
    assert_eq!(first(stated(0, 1, "1x1")), invalid);
    assert_eq!(first(stated(1, 0, "1x1")), invalid);
    assert_eq!(first(stated(1, 1_000_000_000_001, "1x1")), invalid);
    let whole = PrivacySegment { noise_micros: 1, clip_micros: 1, sampling_nanos: 1, steps: 1 };
    let one = |segment| {
        let training = PrivateTraining::All(vec![segment]);
        PrivacySpent { epsilon_micros: 1, delta_picos: 1, training }
    };
    assert_eq!(first(one(whole)), Ok(()));
    assert_eq!(first(one(PrivacySegment { sampling_nanos: 1_000_000_000, ..whole })), Ok(()));
    for bad in [
        PrivacySegment { noise_micros: 0, ..whole },
        PrivacySegment { clip_micros: 0, ..whole },
        PrivacySegment { sampling_nanos: 0, ..whole },
        PrivacySegment { sampling_nanos: 1_000_000_001, ..whole },
        PrivacySegment { steps: 0, ..whole },
        PrivacySegment { steps: u64::MAX, ..whole },
    ] {
        assert_eq!(first(one(bad)), invalid, "{bad:?}");
    }
    // 1 to 64 segments, each with other settings than the one before.
    let alternating = |count: usize| {
        let each: Vec<String> = (0..count).map(|i| format!("1x{}", 1 + i % 2)).collect();
        stated(1, 1, &each.join(","))
    };
    assert_eq!(first(alternating(MAX_SEGMENTS)), Ok(()));
    assert_eq!(first(alternating(MAX_SEGMENTS + 1)), invalid);
    let training = PrivateTraining::All(Vec::new());
    assert_eq!(first(PrivacySpent { training, ..stated(1, 1, "1x1") }), invalid);
    assert_eq!(first(stated(1, 1, "1x1,1x1")), invalid);
    assert_eq!(first(stated(1, 1, "1x1,1x2,1x1")), Ok(()));
    // Steps that cannot be counted are none.
    assert_eq!(first(stated(1, 1, &format!("{}x1,1x2", u64::MAX - 1))), invalid);
    assert_eq!(first(stated(1, 1, &format!("{}x1,1x2", u64::MAX - 2))), Ok(()));
    // In version 1's words it is none either.
    let training = PrivateTraining::Last(whole);
    assert_eq!(first(PrivacySpent { training, ..stated(1, 1, "1x1") }), invalid);
}

#[test]
fn r62_each_statement_goes_on_from_the_last() {
    let first = || stated(500, 5, "100x1,50x2");
    let invalid = Err(Rejection::PrivacyInvalid);
    for (next, expected) in [
        // More of the last, more after it, both.
        (stated(500, 5, "100x1,51x2"), Ok(())),
        (stated(500, 5, "100x1,50x2,1x1"), Ok(())),
        (stated(600, 6, "100x1,60x2,1x3"), Ok(())),
        // Not the same again, nor less.
        (stated(500, 5, "100x1,50x2"), invalid.clone()),
        (stated(600, 5, "100x1,49x2"), invalid.clone()),
        (stated(600, 5, "100x1,49x2,9x1"), invalid.clone()),
        (stated(600, 5, "200x1"), invalid.clone()),
        // What is done is done, in its order and with its settings.
        (stated(600, 5, "101x1,50x2"), invalid.clone()),
        (stated(600, 5, "99x1,60x2"), invalid.clone()),
        (stated(600, 5, "100x1,60x3"), invalid.clone()),
        (stated(600, 5, "50x2,100x1,9x2"), invalid.clone()),
        // Epsilon and delta never shrink.
        (stated(499, 5, "100x1,60x2"), invalid.clone()),
        (stated(500, 4, "100x1,60x2"), invalid.clone()),
        // Within the cap.
        (stated(1000, 10, "100x1,60x2"), Ok(())),
        (stated(1001, 10, "100x1,60x2"), Err(Rejection::PrivacyOverCap)),
        (stated(1000, 11, "100x1,60x2"), Err(Rejection::PrivacyOverCap)),
    ] {
        assert_eq!(propose(&mut after(first()), 3, next.clone()), expected, "{next:?}");
    }
    // Also after leaving and coming back, and under another key.
    check_v2(
        capped(),
        Admission::Open,
        &(joined("AB")
            + "C joins: ok
         A proposes 1 in 1 from 0 spending 500 as 100x1: 1 vote
         A leaves: ok
         B rejects 1 in 1: rejected 0-1, round 2 of B
         A becomes D: ok
         D joins term 1: ok
         B passes 2: passed, round 3 of C
         C passes 3: passed, round 4 of D
         D proposes 1 in 4 from 0 spending 500 as 100x1: PrivacyInvalid
         D proposes 1 in 4 from 0: PrivacyMissing
         D proposes 1 in 4 from 0 spending 600 as 101x1: 2 vote"),
    );
}

#[test]
fn r42_what_is_stated_without_a_cap_counts_when_there_is_one() {
    let mut contract = check_v2(
        defaults(),
        Admission::Open,
        &(joined("AB")
            + "A proposes 1 in 1 from 0 spending 900 as 100x1: 1 vote
         B rejects 1 in 1: rejected 0-1, round 2 of B
         B passes 2: passed, round 3 of A
         A proposes 1 in 3 from 0 spending 800 as 200x1: PrivacyInvalid
         A proposes 1 in 3 from 0: 1 vote
         B rejects 1 in 3: rejected 0-1, round 4 of B"),
    );
    let capped = colearn_contracts::Motion::SetParameters(Box::new(capped()));
    let moved = Action::new(name(), Act::Move { number: 1, motion: capped });
    contract.apply(at(0), learner("A"), &moved).unwrap();
    play(
        &mut contract,
        &name(),
        "B seconds 1: motion 1 adopted 2-0
         B passes 4: passed, motion 1 in effect, round 5 of A
         A proposes 2 in 5 from 0: PrivacyMissing
         A proposes 2 in 5 from 0 spending 900 as 100x1: PrivacyInvalid
         A proposes 2 in 5 from 0 spending 900 as 101x1: 1 vote",
    );
}

#[test]
fn r62_what_version_1_stated_is_gone_on_from() {
    let mut contract = check_v1(
        capped(),
        Admission::Open,
        &(joined("AB")
            + "A proposes 1 in 1 from 0 spending 500: 1 vote
         B rejects 1 in 1: rejected 0-1, round 2 of B"),
    );
    contract.upgrade(0, Version::V2, colearn_contracts::Limits::default()).unwrap();
    play(
        &mut contract,
        &name(),
        "A moves 1 adopt 2: motion 1: 2 vote
         B seconds 1: motion 1 adopted 2-0
         B passes 2: passed, motion 1 in effect, round 3 of A",
    );
    // It has stated 100 steps, at a delta of 10.
    let invalid = Err(Rejection::PrivacyInvalid);
    for (next, expected) in [
        (stated(500, 10, "100x7"), invalid.clone()),
        (stated(499, 10, "101x7"), invalid.clone()),
        (stated(500, 9, "101x7"), invalid),
        (stated(500, 10, "60x7,41x8"), Ok(())),
    ] {
        assert_eq!(propose(&mut contract.clone(), 3, next.clone()), expected, "{next:?}");
    }
}

#[test]
fn r43_only_where_there_is_a_cap_a_budget_is_spent() {
    check_v2(
        defaults(),
        Admission::Open,
        &(joined("AB")
            + "B passes 1 exhausted: NotYourTurn
         A passes 1 exhausted because cap_reached: NoPrivacyCap
         A passes 1 because cap_reached: passed, round 2 of B"),
    );
    let mut contract = check_v2(
        capped(),
        Admission::Open,
        &(joined("AB")
            + "C joins: ok
         A passes 1 exhausted because cap_reached: passed, round 2 of B
         B proposes 1 in 2 from 0 spending 1000: 2 vote
         A approves 1 in 2: ok
         C approves 1 in 2: accepted 2-0, round 3 of C
         C passes 3 exhausted: passed, round 4 of B
         B passes 4 exhausted: passed, paused BudgetsSpent
         A resumes 4: BudgetsSpent
         D joins: round 5 of D
         D passes 5 exhausted: passed, paused BudgetsSpent"),
    );
    // Another cap gives everybody turns again; also none.
    let moved = |contract: &mut Contract, number, parameters| {
        let motion = colearn_contracts::Motion::SetParameters(Box::new(parameters));
        let moved = Action::new(name(), Act::Move { number, motion });
        contract.apply(at(0), learner("A"), &moved).unwrap();
    };
    moved(&mut contract, 1, capped());
    let without = "B seconds 1: ok
         C seconds 1: motion 1 adopted 3-0, motion 1 in effect, paused BudgetsSpent";
    play(&mut contract, &name(), without);
    moved(&mut contract, 2, defaults());
    let anew = "B seconds 2: ok
         C seconds 2: motion 2 adopted 3-0, motion 2 in effect, round 6 of A";
    play(&mut contract, &name(), anew);
}
