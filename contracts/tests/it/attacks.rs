//! What has been tried against the rules of version 1, or could be: each as it would be played, and that
//! version 2 withstands it. How the draw withstands it is in `draw`.

use colearn_contracts::{
    Act, Action, Admission, Close, Contract, CreateExperiment, Digest, LearnerId, Limits,
    MAX_MEMBERS, MAX_TIME_MS, Parameters, PrivacyCap, Rejection, VERSION, Version,
};

use crate::script::{
    at, by_vote, check, check_under, check_v1, check_v2, created, defaults, invited, join, joined,
    learner, model, name, new_contract, play,
};

fn governed() -> Parameters {
    Parameters { creator_may_stop: false, ..defaults() }
}

fn id(number: usize) -> LearnerId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    LearnerId(key)
}

/// Creates an experiment of this name for this learner.
fn create(contract: &mut Contract, creator: LearnerId, name: &str) -> Result<(), Rejection> {
    let create = CreateExperiment {
        version: contract.version().number(),
        parameters: governed(),
        admission: Admission::Open,
        model: model(0),
        plan: None,
    };
    let create = Action::new(name.parse().unwrap(), Act::Create(create));
    contract.apply(at(0), creator, &create).map(|_| ())
}

/// Three of five are silent until they are suspended, and two are left.
fn three_silent(then: &str) -> String {
    "A joins: ok
     B joins: ok
     C joins: round 1 of A
     D joins: ok
     E joins: ok
     A passes 1: passed, round 2 of B
     B proposes 1 in 2 from 0: 4 vote
     A approves 1 in 2: ok
     at 50: rejected 1-0, round 3 of C
     at 150: expired, round 4 of D
     at 250: expired, round 5 of E
     at 350: expired, round 6 of A
     A proposes 1 in 6 from 0: 4 vote
     B approves 1 in 6: ok
     at 400: rejected 1-0, C suspended MissedTurns, D suspended MissedTurns, E suspended MissedTurns, \
     waiting with 2\n"
        .to_owned()
        + then
}

#[test]
fn two_of_five_cannot_take_over_while_three_are_suspended() {
    let rules = Parameters { min_learners: 3, missed_turns: Some(3), ..governed() };
    // In version 1 they let in a key with a weight that outvotes all others, for ever.
    check_v1(
        rules.clone(),
        invited("ABCDE"),
        &three_silent(
            "A moves 1 admit N10000: motion 1: 1 vote
             B seconds 1: motion 1 adopted 1-0, motion 1 in effect
             N joins: round 7 of B",
        ),
    );
    check_v2(
        rules,
        invited("ABCDE"),
        &three_silent(
            "A moves 1 admit N10000: motion 1: 5 vote
             B seconds 1: ok
             N joins: NotInvited
             N seconds 1: NotInvited
             B moves 2 expel C: motion 2: 5 vote
             A seconds 2: ok
             at 1400: motion 1 rejected 2-0, motion 2 rejected 2-0
             A moves 3 set min_learners 2: motion 3: 5 vote
             B seconds 3: ok
             A becomes X: ok
             A seconds 3: KeyReplaced
             X seconds 3: ProposerCannotVote
             B leaves: ok
             B seconds 3: AlreadyVoted
             B joins term 1: ok
             B seconds 3: AlreadyVoted
             C joins term 1: round 7 of B
             D opposes 3: ok
             E opposes 3: ok
             C opposes 3: motion 3 rejected 2-3",
        ),
    );
}

#[test]
fn two_of_five_cannot_take_over_by_being_first() {
    let script = |electorate, decided: &str| {
        joined("AB")
            + &format!(
                "A moves 1 admit N10000: motion 1: {electorate} vote
                 B seconds 1: {decided}
                 C joins: ok"
            )
    };
    let rules = || Parameters { proposal_deadline_ms: 5_000, ..governed() };
    let taken = script(1, "motion 1 adopted 1-0, motion 1 in effect");
    check_v1(rules(), invited("ABCDE"), &taken);
    let held = script(5, "ok")
        + "
         B moves 2 expel C: motion 2: 5 vote
         A seconds 2: ok
         at 1000: motion 1 rejected 2-0, motion 2 rejected 2-0
         A moves 3 stop: motion 3: 5 vote
         B seconds 3: ok
         at 2000: motion 3 rejected 2-0";
    check_v2(rules(), invited("ABCDE"), &held);
}

#[test]
fn one_member_cannot_stop_what_takes_any_model() {
    let any = Parameters { threshold: "0/1".parse().unwrap(), ..governed() };
    for admission in [Admission::Open, invited("ABC")] {
        let joined = joined("AB") + "C joins: ok\n A passes 1: passed, round 2 of B\n";
        check_v1(
            any.clone(),
            admission.clone(),
            &(joined.clone()
                + "A moves 1 stop: motion 1: 2 vote, motion 1 adopted 0-0, motion 1 in effect, \
                 finished Stopped"),
        );
        check_v2(
            any.clone(),
            admission,
            &(joined
                + "A moves 1 stop: motion 1: 3 vote
                 B opposes 1: ok
                 C opposes 1: motion 1 rejected 1-2"),
        );
    }
}

#[test]
fn one_key_cannot_use_up_a_ledger() {
    let limits = Limits { per_creator: 32, experiments: 100, ..Limits::default() };
    let mut contract = Contract::with_limits(Digest([0; 32]), VERSION, limits);
    let full = Err(Rejection::TooManyOfCreator { limit: 32 });
    for i in 0..32 {
        assert_eq!(create(&mut contract, id(0), &format!("a{i}")), Ok(()));
    }
    assert_eq!(create(&mut contract, id(0), "one-more"), full);
    // Going on under other keys does not make room: they were created by this one.
    for i in 0..32 {
        let replace = Action::new(format!("a{i}").parse().unwrap(), Act::ReplaceKey { to: id(1) });
        contract.apply(at(0), id(0), &replace).unwrap();
    }
    assert_eq!(create(&mut contract, id(0), "one-more"), full);
    assert_eq!(create(&mut contract, id(1), "of-another"), Ok(()));
    // The creator that it is now stops one, and the first has room for one.
    let stop = Action::new("a0".parse().unwrap(), Act::Stop);
    assert_eq!(contract.apply(at(0), id(0), &stop), Err(Rejection::NotCreator));
    contract.apply(at(0), id(1), &stop).unwrap();
    assert_eq!(create(&mut contract, id(0), "one-more"), Ok(()));
    assert_eq!(create(&mut contract, id(0), "one-too-many"), full);
    // A name stays used.
    assert_eq!(create(&mut contract, id(0), "a0"), Err(Rejection::ExperimentExists));
}

#[test]
fn what_many_keys_have_squatted_is_cleared_after_a_week_by_anybody() {
    let limits = Limits { per_creator: 1, experiments: 5, ..Limits::default() };
    let mut contract = Contract::with_limits(Digest([0; 32]), VERSION, limits);
    for i in 0..5 {
        assert_eq!(create(&mut contract, id(i), &format!("squatted-{i}")), Ok(()));
    }
    assert_eq!(create(&mut contract, id(9), "useful"), Err(Rejection::TooManyExperiments));
    let stop = |i: usize| Action::new(format!("squatted-{i}").parse().unwrap(), Act::Stop);
    let week_ms = 604_800_000;
    let early = contract.apply(at(week_ms - 1), id(9), &stop(3));
    assert_eq!(early, Err(Rejection::NotCreator));
    contract.apply(at(week_ms), id(9), &stop(3)).unwrap();
    assert_eq!(create(&mut contract, id(9), "useful"), Ok(()));
    assert_eq!(create(&mut contract, id(8), "too"), Err(Rejection::TooManyExperiments));
}

#[test]
fn the_end_of_time_is_no_endless_loop() {
    for version in [Version::V1, Version::V2] {
        // Neither absence nor idleness ends anything here, and motions are open, too.
        let mut contract = check_under(
            version,
            Parameters { missed_turns: None, idle_rotations: None, ..governed() },
            Admission::Open,
            &(joined("AB") + "A moves 1 suspend B: motion 1: 1 vote").replace(
                "1: 1 vote",
                if version == Version::V1 { "1: 1 vote" } else { "1: 2 vote" },
            ),
        );
        for now_ms in [u64::MAX, u64::MAX - 1, u64::MAX] {
            contract.advance(at(now_ms));
            let next_ms = contract.next_deadline_ms().unwrap();
            assert!((MAX_TIME_MS..MAX_TIME_MS + 1000).contains(&next_ms), "{next_ms}");
        }
        // At the end of time rounds still follow each other by what is done, and by nothing else.
        let script = format!(
            "at {max}: ok
             B passes 2: passed, round 3 of A
             A proposes 1 in 3 from 0: 1 vote
             at {max}: ok
             B approves 1 in 3: accepted 1-0, round 4 of B
             A moves 2 suspend A: motion 2: {electorate} vote
             at {max}: ok",
            max = u64::MAX,
            electorate = if version == Version::V1 { 1 } else { 2 },
        );
        play(&mut contract, &name(), &script);
    }
}

#[test]
fn a_model_that_was_the_global_one_earns_no_turn() {
    // Base and earlier ones, and with patience: in version 1 that would go on for ever.
    let rules = Parameters { patience: Some(1), ..governed() };
    check_v1(
        rules.clone(),
        Admission::Open,
        &(joined("AB")
            + "A proposes 0 in 1 from 0: 1 vote
             B approves 0 in 1: accepted 1-0, round 2 of B
             B proposes 0 in 2 from 0: 1 vote"),
    );
    check_v2(
        rules,
        Admission::Open,
        &(joined("AB")
            + "A proposes 0 in 1 from 0: NotNew
             A proposes 1 in 1 from 0: 1 vote
             B approves 1 in 1: accepted 1-0, round 2 of B
             B proposes 1 in 2 from 1: NotNew
             B proposes 0 in 2 from 1: NotNew
             B passes 2: passed, round 3 of A
             A proposes 2 in 3 from 1: 1 vote
             B rejects 2 in 3: rejected 0-1, finished Patience"),
    );
    // What was only proposed may be proposed again: it never was the global model.
    check_v2(
        governed(),
        Admission::Open,
        &(joined("AB")
            + "A proposes 1 in 1 from 0: 1 vote
             B rejects 1 in 1: rejected 0-1, round 2 of B
             B proposes 1 in 2 from 0: 1 vote"),
    );
}

#[test]
fn changing_keys_locks_nobody_out() {
    let everybody = Parameters { min_learners: MAX_MEMBERS as u32, ..governed() };
    let mut contract = created(VERSION, everybody, Admission::Open);
    let (term_0, mut key) = (join(&contract, 0), id(0));
    for i in 0..MAX_MEMBERS - 1 {
        contract.apply(at(0), id(i), &term_0).unwrap();
    }
    // One of them goes on under another key as often as it may.
    let replace = |to| Action::new(name(), Act::ReplaceKey { to });
    for i in 0..64 {
        let to = id(200_000 + i);
        contract.apply(at(0), key, &replace(to)).unwrap();
        key = to;
    }
    let again = contract.apply(at(0), key, &replace(id(300_000)));
    assert_eq!(again, Err(Rejection::TooManyKeys));
    // R8 counts members, not keys: there is room for one more, and then for none.
    let opens = contract.apply(at(0), id(100_000), &term_0).unwrap();
    assert_eq!(opens.len(), 1);
    let one_more = contract.apply(at(0), id(100_001), &term_0);
    assert_eq!(one_more, Err(Rejection::TooManyMembers));
}

#[test]
fn changing_keys_does_not_keep_others_from_joining() {
    // Who is only invited, and the creator, make other terms with each new key: 64 times, not for ever.
    let mut contract = created(VERSION, governed(), invited("ABC"));
    for who in ["A", "Z"] {
        let mut key = learner(who);
        for i in 0..64 {
            let to = LearnerId([100 + i + who.as_bytes()[0] % 2 * 64; 32]);
            let replace = Action::new(name(), Act::ReplaceKey { to });
            contract.apply(at(0), key, &replace).unwrap();
            key = to;
        }
        let replace = Action::new(name(), Act::ReplaceKey { to: learner("X") });
        assert_eq!(contract.apply(at(0), key, &replace), Err(Rejection::TooManyKeys));
    }
    play(&mut contract, &name(), "B joins: ok\n C joins: round 1 of B");
}

#[test]
fn a_motion_is_not_judged_by_what_is_decided_after_it() {
    // In version 1 two of four bring down the threshold that a third motion is then judged by.
    let rules = Parameters {
        governance_threshold: Some("1/1".parse().unwrap()),
        proposal_deadline_ms: 5000,
        ..governed()
    };
    let begin = joined("AB") + "C joins: ok\n A passes 1: passed, round 2 of B\n";
    check_v1(
        rules.clone(),
        Admission::Open,
        &(begin.clone()
            + "C moves 1 stop: motion 1: 2 vote
             A moves 2 set governance_threshold 1/2: motion 2: 2 vote
             B seconds 2: ok
             C seconds 2: motion 2 adopted 2-0
             B passes 2: passed, motion 2 in effect, round 3 of C
             B seconds 1: motion 1 adopted 1-0, motion 1 in effect, finished Stopped"),
    );
    check_v2(
        rules,
        Admission::Open,
        &(begin
            + "C moves 1 stop: motion 1: 3 vote
             A moves 2 set governance_threshold 1/2: motion 2: 3 vote
             B seconds 2: ok
             C seconds 2: motion 2 adopted 3-0
             B passes 2: passed, motion 2 in effect, round 3 of C
             B seconds 1: ok
             A opposes 1: motion 1 rejected 2-1"),
    );
}

#[test]
fn nothing_is_created_that_could_never_begin_or_end() {
    let too_few =
        crate::script::create(Parameters { min_learners: 5, ..governed() }, by_vote("AB"));
    let refused = new_contract().apply(at(0), learner("Z"), &too_few);
    assert!(matches!(refused, Err(Rejection::InvalidParameters(_))), "{refused:?}");

    // One of several who are invited has come.
    let three = Parameters { min_learners: 3, ..governed() };
    check_v2(three, invited("ABC"), "A joins: ok\n Z stops: finished Stopped");

    // Three crossing expulsions leave somebody, who can end it, and the creator can.
    let crossing = "A moves 1 expel B: motion 1: 3 vote
         B moves 2 expel C: motion 2: 3 vote
         C moves 3 expel A: motion 3: 3 vote
         B seconds 3: motion 3 adopted 2-0
         C seconds 1: motion 1 adopted 2-0
         A seconds 2: motion 2 adopted 2-0
         A passes 1: passed, A suspended Expelled, motion 3 in effect, B suspended Expelled, \
         motion 1 in effect, motion 2 in effect, waiting with 1
         A moves 4 stop: Expelled
         B moves 4 stop: Expelled\n";
    let rules = Parameters { min_learners: 3, proposal_deadline_ms: 5000, ..governed() };
    let ends = "C moves 4 stop: motion 4: 1 vote, motion 4 adopted 1-0, motion 4 in effect, \
                finished Stopped";
    check_v2(rules.clone(), by_vote("ABC"), &(joined("ABC") + crossing + ends));
    let later = format!("at 604799999: ok\n Z stops: NotCreator\n at {}: ok\n", 604_800_000);
    let ends = later + "Z stops: finished Stopped";
    check_v2(rules, by_vote("ABC"), &(joined("ABC") + crossing + &ends));
}

#[test]
fn without_a_cap_no_budget_is_ever_spent() {
    check_v1(
        governed(),
        Admission::Open,
        &(joined("AB")
            + "A passes 1 exhausted: passed, round 2 of B
             B passes 2 exhausted: passed, paused BudgetsSpent
             A resumes 2: BudgetsSpent"),
    );
    check_v2(
        governed(),
        Admission::Open,
        &(joined("AB")
            + "A passes 1 exhausted: NoPrivacyCap
             A passes 1: passed, round 2 of B
             B passes 2 exhausted: NoPrivacyCap"),
    );
}

#[test]
fn a_statement_that_cannot_be_is_none() {
    let cap = PrivacyCap { epsilon_micros: 1000, delta_picos: 10 };
    let capped = Parameters { privacy: Some(cap), ..governed() };
    check_v2(
        capped,
        Admission::Open,
        &(joined("AB")
            + "A proposes 1 in 1 from 0 spending 0 as 100x1: PrivacyInvalid
             A proposes 1 in 1 from 0 spending 500 as 100x0: PrivacyInvalid
             A proposes 1 in 1 from 0 spending 500 as 0x1: PrivacyInvalid
             A proposes 1 in 1 from 0 spending 500 as 100x1: 1 vote
             B rejects 1 in 1: rejected 0-1, round 2 of B
             B passes 2: passed, round 3 of A
             A proposes 1 in 3 from 0 spending 500 as 100x1: PrivacyInvalid
             A proposes 1 in 3 from 0 spending 499 as 200x1: PrivacyInvalid
             A proposes 1 in 3 from 0 spending 500 as 200x2: PrivacyInvalid
             A proposes 1 in 3 from 0 spending 500 as 101x1: 1 vote"),
    );
}

#[test]
fn the_last_to_reveal_can_be_silent_and_it_costs_a_turn() {
    // C sees that its vote decides, and does not reveal it. It is silence, and C has missed a turn.
    let sealed = Parameters {
        ballot: colearn_contracts::BallotKind::Sealed,
        missed_turns: Some(1),
        min_learners: 2,
        ..governed()
    };
    check(
        sealed,
        "A joins: ok
         B joins: round 1 of A
         C joins: ok
         D joins: ok
         A passes 1: passed, round 2 of B
         B proposes 1 in 2 from 0: 3 vote
         A commits yes on 1 in 2: ok
         C commits yes on 1 in 2: ok
         D commits no on 1 in 2: reveal 3
         A reveals yes on 1 in 2: ok
         D reveals no on 1 in 2: ok
         at 20: rejected 1-1, C suspended MissedTurns, round 3 of D",
    );
}

#[test]
fn who_never_votes_is_not_seen_where_rounds_close_early_but_can_be_suspended() {
    let early = Parameters { close: Close::Early, missed_turns: Some(1), ..governed() };
    check_v2(
        early,
        Admission::Open,
        "A joins: ok
         B joins: round 1 of A
         C joins: ok
         A proposes 1 in 1 from 0: 1 vote
         B approves 1 in 1: accepted 1-0, round 2 of B
         B proposes 2 in 2 from 1: 2 vote
         A approves 2 in 2: accepted 1-0, round 3 of C
         A moves 1 suspend C: motion 1: 3 vote
         B seconds 1: motion 1 adopted 2-0
         C passes 3: passed, C suspended Decided, motion 1 in effect, round 4 of A",
    );
}
