//! Who decides, from version 2 on, where admission is by invitation or vote: R55 to R59, and what they
//! change in the rules before. Where anyone may join, the last tests.

use colearn_contracts::{
    Act, Action, Admission, Contract, Digest, FinishReason, InvalidParameters, Parameters, Phase,
    PrivacyCap, Rejection, Threshold, Version,
};

use crate::script::{
    VERSIONS, at, by_vote, check_v1, check_v2, create, defaults, invited, joined, learner, model,
    name, play,
};

/// A week, in ms: R59.
const WEEK_MS: u64 = 604_800_000;

/// Nobody's turn ends by itself.
fn patient() -> Parameters {
    Parameters { proposal_deadline_ms: 50_000_000, ..governed() }
}

/// The creator has no say.
fn governed() -> Parameters {
    Parameters { creator_may_stop: false, ..defaults() }
}

#[test]
fn r55_motions_are_counted_over_all_who_are_admitted_wherever_they_are() {
    check_v2(
        patient(),
        invited("ABCDE"),
        "A joins: ok
         B joins: round 1 of A
         A moves 1 stop: motion 1: 5 vote
         A seconds 1: ProposerCannotVote
         B seconds 1: ok
         B seconds 1: AlreadyVoted
         F seconds 1: NotInvited
         F moves 2 stop: NotInvited
         C seconds 1: motion 1 adopted 3-0, motion 1 in effect, finished Stopped",
    );
    // Seated A and B, C who joins, D suspended, E who has left, F who has never come.
    check_v2(
        Parameters { missed_turns: Some(1), ..governed() },
        invited("ABCDEF"),
        "A joins: ok
         B joins: round 1 of A
         D joins: ok
         E joins: ok
         A passes 1: passed, round 2 of B
         B passes 2: passed, round 3 of D
         at 100: expired, D suspended MissedTurns, round 4 of E
         E leaves: passed, round 5 of A
         C joins: ok
         D moves 1 expel A: motion 1: 6 vote
         E seconds 1: ok
         F seconds 1: ok
         C seconds 1: motion 1 adopted 4-0
         A passes 5: passed, A suspended Expelled, motion 1 in effect, round 6 of B
         A moves 2 stop: Expelled
         B moves 2 stop: motion 2: 5 vote
         A seconds 2: Expelled
         D opposes 2: ok
         E opposes 2: ok
         F opposes 2: motion 2 rejected 1-3",
    );
}

#[test]
fn r55_moving_approves() {
    // Where its mover has enough for it, a motion is adopted at once, also before anybody has joined.
    for (admission, moved) in [
        (invited("A"), "motion 1: 1 vote, motion 1 adopted 1-0"),
        (invited("A3BC"), "motion 1: 5 vote, motion 1 adopted 3-0"),
    ] {
        let one = Parameters { min_learners: 1, ..governed() };
        let script = format!("A moves 1 stop: {moved}, motion 1 in effect, finished Stopped");
        check_v2(one, admission, &script);
    }
    // Half is not more than half.
    check_v2(governed(), invited("A2BC"), "A moves 1 stop: motion 1: 4 vote");
}

#[test]
fn r55_who_is_admitted_after_a_motion_was_moved_has_no_vote_on_it() {
    check_v2(
        patient(),
        by_vote("ABCD"),
        &(joined("AB")
            + "A moves 1 stop: motion 1: 4 vote
         B moves 2 admit E: motion 2: 4 vote
         C seconds 2: ok
         D seconds 2: motion 2 adopted 3-0
         E seconds 1: NotInvited
         A passes 1: passed, motion 2 in effect, round 2 of B
         E seconds 1: NotInElectorate
         E joins: ok
         B passes 2: passed, round 3 of E
         E seconds 1: NotInElectorate
         B moves 3 admit C9: motion 3: 5 vote
         D seconds 3: ok
         E seconds 3: motion 3 adopted 3-0
         E passes 3: passed, motion 3 in effect, round 4 of A
         C seconds 1: NotInElectorate
         B moves 4 suspend A: motion 4: 13 vote
         C seconds 4: motion 4 adopted 10-0
         B seconds 1: ok
         D seconds 1: motion 1 adopted 3-0, motion 1 in effect, finished Stopped"),
    );
}

#[test]
fn r55_a_key_that_is_replaced_keeps_its_vote_and_has_one() {
    check_v2(
        patient(),
        invited("ABCDE"),
        "A joins: ok
         B joins: round 1 of A
         A moves 1 expel E: motion 1: 5 vote
         B seconds 1: ok
         B becomes F: ok
         F seconds 1: AlreadyVoted
         B seconds 1: KeyReplaced
         A becomes G: ok
         G seconds 1: ProposerCannotVote
         A moves 2 stop: KeyReplaced
         D becomes H: ok
         D seconds 1: NotInvited
         E becomes I: ok
         H seconds 1: motion 1 adopted 3-0
         G passes 1: passed, I suspended Expelled, motion 1 in effect, round 2 of F
         I joins: NotInvited",
    );
}

#[test]
fn r31_an_admission_goes_with_the_key_that_it_is_for() {
    // The creator, who is nobody here yet, and a member whose weight is to change.
    check_v2(
        patient(),
        by_vote("ABC"),
        &(joined("AB")
            + "A moves 1 admit Z: motion 1: 3 vote
         B moves 2 admit C5: motion 2: 3 vote
         Z becomes Y: ok
         B seconds 1: motion 1 adopted 2-0
         Y becomes X: ok
         A seconds 2: motion 2 adopted 2-0
         C becomes D: ok
         A passes 1: passed, motion 1 in effect, motion 2 in effect, round 2 of B
         Z joins: NotInvited
         Y joins: NotInvited
         C joins: NotInvited
         X joins: ok
         D moves 3 stop: motion 3: 8 vote, motion 3 adopted 5-0, motion 3 in effect, finished Stopped"),
    );
}

#[test]
fn r55_the_last_who_is_admitted_cannot_be_expelled() {
    let contract = check_v2(
        Parameters { min_learners: 1, ..patient() },
        by_vote("AB"),
        "A joins: round 1 of A
         B joins: ok
         A moves 1 expel B: motion 1: 2 vote
         B moves 2 expel A: motion 2: 2 vote
         B seconds 1: motion 1 adopted 2-0
         A seconds 2: motion 2 adopted 2-0
         A passes 1: passed, B suspended Expelled, motion 1 in effect, motion 2 in effect, round 2 of A
         A moves 3 expel A: motion 3: 1 vote, motion 3 adopted 1-0
         A passes 2: passed, motion 3 in effect, round 3 of A",
    );
    assert_eq!(contract.experiment(&name()).unwrap().governing_weight(), 1);
}

#[test]
fn r55_what_may_be_moved_is_about_somebody_whom_it_can_be_about() {
    check_v2(
        patient(),
        by_vote("ABC"),
        "D moves 1 stop: NotInvited
         A moves 2 stop: WrongMotion
         A moves 1 set max_rounds 0: MotionInvalid
         A moves 1 set min_learners 4: MotionInvalid
         A moves 1 set governance_threshold 1/3: MotionInvalid
         A moves 1 admit D0: MotionInvalid
         A moves 1 expel D: NoSuchMember
         A moves 1 suspend B: NoSuchMember
         A joins: ok
         B joins: round 1 of A
         B becomes E: ok
         A moves 1 admit B: NoSuchMember
         A moves 1 expel B: NoSuchMember
         A moves 1 set min_learners 3: motion 1: 3 vote
         A moves 2 stop: MotionsOpen
         C moves 2 suspend E: motion 2: 3 vote
         E seconds 7: NoSuchMotion
         D seconds 7: NotInvited",
    );
}

#[test]
fn r57_the_threshold_is_more_than_half_or_what_the_rules_said_when_it_was_moved() {
    let with = |governance: &str| Parameters {
        governance_threshold: Some(governance.parse().unwrap()),
        ..patient()
    };
    // Left out: more than half, whatever a proposal needs.
    for threshold in ["0/1", "1/1"] {
        let parameters = Parameters { threshold: threshold.parse().unwrap(), ..patient() };
        check_v2(
            parameters,
            invited("ABCD"),
            "A moves 1 stop: motion 1: 4 vote
             B seconds 1: ok
             C seconds 1: motion 1 adopted 3-0, motion 1 in effect, finished Stopped",
        );
    }
    check_v2(
        with("1/2"),
        invited("ABCD"),
        "A moves 1 stop: motion 1: 4 vote
         B seconds 1: motion 1 adopted 2-0, motion 1 in effect, finished Stopped",
    );
    check_v2(
        with("3/4"),
        invited("ABCD"),
        "A moves 1 stop: motion 1: 4 vote
         B seconds 1: ok
         C opposes 1: ok
         D seconds 1: motion 1 adopted 3-1, motion 1 in effect, finished Stopped",
    );
    // Half against is enough against more than half, and rejects at once.
    check_v2(
        patient(),
        invited("ABCD"),
        "A moves 1 stop: motion 1: 4 vote
         B opposes 1: ok
         C opposes 1: motion 1 rejected 1-2",
    );
    // Rules that are changed meanwhile judge what is moved from then on.
    check_v2(
        Parameters { min_learners: 4, ..patient() },
        invited("ABCD"),
        "A moves 1 stop: motion 1: 4 vote
         B moves 2 set governance_threshold 1/1: motion 2: 4 vote
         C seconds 2: ok
         D seconds 2: motion 2 adopted 3-0, motion 2 in effect
         B moves 3 stop: motion 3: 4 vote
         A seconds 3: ok
         C seconds 3: ok
         B seconds 1: ok
         D opposes 3: motion 3 rejected 3-1
         C seconds 1: motion 1 adopted 3-0, motion 1 in effect, finished Stopped",
    );
    // A motion that nobody decides lapses.
    check_v2(
        patient(),
        invited("ABC"),
        "A moves 1 stop: motion 1: 3 vote
         at 999: ok
         at 1000: motion 1 rejected 1-0
         B seconds 1: NoSuchMotion",
    );
}

#[test]
fn r2_r57_a_governance_threshold_below_one_half_is_none_in_version_2() {
    let check = |governance: Option<&str>, version| {
        let governance_threshold = governance.map(|text| text.parse().unwrap());
        Parameters { governance_threshold, ..defaults() }.check(version, &model(0))
    };
    for good in [None, Some("1/2"), Some(">1/2"), Some("2/3"), Some("1/1"), Some(">2/3")] {
        assert_eq!(check(good, Version::V2), Ok(()), "{good:?}");
    }
    for bad in ["0/1", "1/3", "49/99", ">1/3"] {
        assert_eq!(check(Some(bad), Version::V1), Ok(()));
        let refused = check(Some(bad), Version::V2);
        assert_eq!(refused, Err(InvalidParameters::GovernanceThreshold), "{bad}");
    }
    // A strict threshold exists as far as something can exceed it.
    assert_eq!(">1/1".parse::<Threshold>(), Err(InvalidParameters::Threshold));
    assert_eq!(">0/1".parse::<Threshold>().unwrap().to_string(), ">0/1");
}

#[test]
fn r2_founders_are_enough_to_begin() {
    for (admission, second) in
        [(by_vote("AB"), Ok(())), (by_vote("A"), Err(InvalidParameters::MinLearners))]
    {
        let [v1, v2] = VERSIONS.map(|version| admission.check(version, &defaults()));
        assert_eq!((v1, v2), (Ok(()), second));
    }
}

#[test]
fn r48_r56_a_seat_an_admission_and_an_expulsion_change_between_rounds() {
    // At once while no round is open.
    check_v2(
        patient(),
        by_vote("AB"),
        "A moves 1 admit C: motion 1: 2 vote
         C joins: NotInvited
         B seconds 1: motion 1 adopted 2-0, motion 1 in effect
         C joins: ok
         A joins: round 1 of C",
    );
    // A seat's weight: from the next round on, and the weight of a seat that there is.
    check_v2(
        patient(),
        by_vote("ABC"),
        &(joined("AB")
            + "C joins: ok
         A passes 1: passed, round 2 of B
         A moves 1 admit C4: motion 1: 3 vote
         B seconds 1: motion 1 adopted 2-0
         B proposes 1 in 2 from 0: 2 vote
         A rejects 1 in 2: ok
         C approves 1 in 2: accepted 1-1, motion 1 in effect, round 3 of C
         C passes 3: passed, round 4 of A
         A proposes 2 in 4 from 1: 5 vote
         C approves 2 in 4: ok
         B moves 2 expel A: motion 2: 6 vote
         C seconds 2: motion 2 adopted 5-0
         A leaves: ok
         B rejects 2 in 4: accepted 4-1, A suspended Expelled, motion 2 in effect, round 5 of B
         B moves 3 admit A2: motion 3: 5 vote
         C seconds 3: motion 3 adopted 5-0
         A joins term 1: Expelled
         B passes 5: passed, motion 3 in effect, round 6 of C
         A joins term 1: ok
         C passes 6: passed, round 7 of A
         A proposes 3 in 7 from 2: 5 vote"),
    );
    // In version 1 an admission takes effect at once, and a seat keeps its weight.
    check_v1(
        patient(),
        by_vote("ABC"),
        &(joined("AB")
            + "C joins: ok
         A passes 1: passed, round 2 of B
         A moves 1 admit C4: motion 1: 2 vote
         B seconds 1: motion 1 adopted 1-0, motion 1 in effect
         B proposes 1 in 2 from 0: 2 vote"),
    );
}

#[test]
fn r50_who_is_only_invited_or_has_gone_can_be_expelled() {
    check_v2(
        patient(),
        by_vote("ABCD"),
        &(joined("AB")
            + "C joins: ok
         A passes 1: passed, round 2 of B
         C leaves: ok
         B passes 2: passed, round 3 of A
         A moves 1 expel D: motion 1: 4 vote
         B seconds 1: ok
         C seconds 1: motion 1 adopted 3-0
         D joins: ok
         D leaves: ok
         A passes 3: passed, D suspended Expelled, motion 1 in effect, round 4 of B
         D joins term 1: Expelled
         D becomes E: Expelled
         A moves 2 expel C: motion 2: 3 vote
         B seconds 2: motion 2 adopted 2-0
         B passes 4: passed, C suspended Expelled, motion 2 in effect, round 5 of A
         C joins term 1: Expelled
         A moves 3 expel C: NoSuchMember"),
    );
    // One that has never come has nothing that would remember it: it is not invited.
    let contract = check_v2(
        governed(),
        by_vote("ABC"),
        "A moves 1 expel C: motion 1: 3 vote
         B seconds 1: motion 1 adopted 2-0, C suspended Expelled, motion 1 in effect
         C joins: NotInvited
         C becomes D: NotMember
         A moves 2 admit C: motion 2: 2 vote
         B seconds 2: motion 2 adopted 2-0, motion 2 in effect
         C joins: ok",
    );
    assert!(contract.experiment(&name()).unwrap().member(learner("C")).is_some());
    // Version 1 expels members only.
    check_v1(patient(), by_vote("ABC"), &(joined("AB") + "A moves 1 expel C: NoSuchMember"));
}

#[test]
fn r58_who_renounces_gives_up_its_right_for_good() {
    check_v2(
        patient(),
        by_vote("ABCDE"),
        &(joined("AB")
            + "C joins: ok
         A passes 1: passed, round 2 of B
         A moves 1 stop: motion 1: 5 vote
         E renounces term 1: WrongTerm
         E renounces: ok
         E renounces: NotMember
         E joins: NotInvited
         E seconds 1: NotInvited
         F renounces: NotMember
         C renounces: ok
         C renounces: NotMember
         B moves 2 suspend A: motion 2: 3 vote
         C seconds 2: NotInvited
         B proposes 1 in 2 from 0: 2 vote
         C approves 1 in 2: ok
         A approves 1 in 2: accepted 2-0, round 3 of A
         C joins term 1: NotInvited
         D seconds 1: ok
         B seconds 1: motion 1 adopted 3-0, motion 1 in effect, finished Stopped"),
    );
    // Who is admitted again is not taken out again by what it signed before.
    check_v2(
        patient(),
        by_vote("ABC"),
        "C renounces: ok
         A moves 1 admit C: motion 1: 2 vote
         B seconds 1: motion 1 adopted 2-0, motion 1 in effect
         C renounces: WrongTerm
         C joins: WrongTerm
         C joins term 1: ok
         C leaves term 1: ok
         C renounces term 1: WrongTerm
         C renounces term 2: ok",
    );
    // The last one ends it.
    let contract = check_v2(
        Parameters { min_learners: 1, ..governed() },
        by_vote("AB"),
        "A joins: round 1 of A
         B renounces: ok
         A renounces: finished Abandoned",
    );
    let experiment = contract.experiment(&name()).unwrap();
    assert_eq!(*experiment.phase(), Phase::Finished(FinishReason::Abandoned));
    // Where anyone may join there is nothing to give up.
    check_v2(
        governed(),
        Admission::Open,
        "A joins: ok
         A renounces: ok
         A renounces: NotMember
         A joins term 1: ok",
    );
}

#[test]
fn r29_the_creator_stops_alone_before_the_first_round() {
    let three = Parameters { min_learners: 3, ..governed() };
    check_v2(three.clone(), Admission::Open, "Z stops: finished Stopped");
    // Also if some are there already, which in version 1 nobody could end.
    let two_came = "A joins: ok\n B joins: ok\n A stops: NotCreator\n";
    for admission in [Admission::Open, invited("ABC")] {
        let script = format!("{two_came} Z stops: finished Stopped");
        check_v2(three.clone(), admission.clone(), &script);
        check_v1(three.clone(), admission, &format!("{two_came} Z stops: NotCreator"));
    }
    let begun = joined("AB") + "Z stops: NotCreator";
    check_v2(governed(), Admission::Open, &begun);
}

#[test]
fn r59_what_was_never_begun_is_ended_by_anybody_after_a_week() {
    let just_before = format!("at {}: ok\n Q stops: NotCreator", WEEK_MS - 1);
    let then = format!("at {WEEK_MS}: ok\n Q stops: finished Stopped");
    for admission in [Admission::Open, invited("ABC")] {
        let script = format!("A joins: ok\n {just_before}\n {then}");
        check_v2(governed(), admission.clone(), &script);
        let never = format!("at {}: ok\n Q stops: NotCreator", 100 * WEEK_MS);
        check_v1(governed(), admission, &never);
    }
}

#[test]
fn r59_what_has_no_open_round_for_a_week_is_ended_by_who_has_a_part_in_it() {
    // The last round closes at 100, and three are too few: the week is since then.
    let missed = Parameters { min_learners: 3, missed_turns: Some(1), ..governed() };
    let before = joined("ABC") + "at 100: expired, A suspended MissedTurns, waiting with 2\n";
    let steps = |who: &str| {
        format!(
            "{before}
             at {}: ok
             {who} stops: NotCreator
             at {}: ok
             Q stops: NotCreator
             {who} stops: finished Stopped",
            WEEK_MS + 99,
            WEEK_MS + 100
        )
    };
    // A is suspended, B seated, D invited and has never come, Z the creator.
    for who in ["A", "B", "D", "Z"] {
        check_v2(missed.clone(), invited("ABCD"), &steps(who));
    }
    // Where anyone may join, who was a member.
    for who in ["A", "B", "Z"] {
        check_v2(missed.clone(), Admission::Open, &steps(who));
    }
    // Not who has given up its part, or lost it.
    check_v2(
        Parameters { min_learners: 3, ..patient() },
        invited("ABCD"),
        &format!(
            "{}D renounces: ok
             A moves 1 expel B: motion 1: 3 vote
             C seconds 1: motion 1 adopted 2-0
             A passes 1: passed, B suspended Expelled, motion 1 in effect, waiting with 2
             at {WEEK_MS}: ok
             B stops: NotCreator
             D stops: NotCreator
             C becomes E: ok
             C stops: NotCreator
             E stops: finished Stopped",
            joined("ABC")
        ),
    );
    // One that was created a week after the ledger is not idle since the ledger was.
    let mut contract = Contract::new(Digest([0; 32]), Version::V2);
    contract.apply(at(WEEK_MS), learner("Z"), &create(governed(), invited("ABC"))).unwrap();
    play(&mut contract, &name(), "A stops: NotCreator\n A joins: ok\n A stops: NotCreator");
    // An open round is use.
    let busy = joined("AB") + &format!("at {}: ok", WEEK_MS - 1);
    let long = Parameters { proposal_deadline_ms: WEEK_MS, ..governed() };
    let mut contract = check_v2(long, invited("AB"), &busy);
    contract.advance(at(WEEK_MS));
    let script = format!("at {}: ok\n Z stops: NotCreator", 2 * WEEK_MS - 1);
    play(&mut contract, &name(), &script);
}

#[test]
fn rejections_keep_their_precedence_from_r51_on() {
    check_v2(
        Parameters {
            privacy: Some(PrivacyCap { epsilon_micros: 100, delta_picos: 10 }),
            ..patient()
        },
        by_vote("ABCD"),
        "Q joins blindly as Clinic: NotInvited
         A joins blindly term 1: WrongTerm
         A joins as Clinic: ok
         B joins blindly as Clinic: OtherTerms
         B joins as Clinic: NameTaken
         B joins: round 1 of A
         A proposes 0 in 1 from 9: WrongBase
         A proposes 0 in 1 from 0: NotNew
         A proposes 1 in 1 from 0: PrivacyMissing
         A proposes 1 in 1 from 0 spending 900 as 0x1: PrivacyInvalid
         A proposes 1 in 1 from 0 spending 900: PrivacyOverCap
         Q evaluates 0 as 7 naming b a: NotMember
         A evaluates 0 as 7 naming b a: EvaluationInvalid
         A evaluates 0 as 7: WrongEvaluation
         Q moves 7 adopt 2: NotInvited
         A moves 7 adopt 2: WrongMotion
         A moves 1 adopt 2: CannotAdopt
         B becomes E: ok
         A moves 7 admit B as Clinic: NameTaken
         A moves 7 admit B: WrongMotion
         A moves 1 admit B0: MotionInvalid
         A moves 1 admit B: NoSuchMember
         A moves 1 suspend E: motion 1: 4 vote
         A moves 2 admit B: MotionsOpen
         Q seconds 9: NotInvited
         B seconds 1: KeyReplaced
         A seconds 1: ProposerCannotVote
         A seconds 9: NoSuchMotion",
    );
    // Even for a driver that forgot to advance, the deadline is before all that concerns the voter.
    let mut contract = check_v2(patient(), invited("AB"), "A moves 1 stop: motion 1: 2 vote");
    let second = Act::MotionVote { number: 1, approve: true };
    let late = contract.apply(at(1000), learner("A"), &Action::new(name(), second.clone()));
    assert_eq!(late, Err(Rejection::DeadlinePassed));
    let in_time = contract.apply(at(999), learner("B"), &Action::new(name(), second));
    assert_eq!(in_time.unwrap().len(), 3);
}

#[test]
fn r44_r46_where_anyone_may_join_those_who_take_part_decide() {
    check_v2(
        patient(),
        Admission::Open,
        "A joins: ok
         A moves 1 stop: WaitingForMembers
         B joins: round 1 of A
         C joins: ok
         C moves 1 stop: NotInElectorate
         A passes 1: passed, round 2 of B
         D joins: ok
         A moves 1 stop: motion 1: 3 vote
         A seconds 1: ProposerCannotVote
         D seconds 1: NotInElectorate
         E seconds 1: NotMember
         C leaves: ok
         B passes 2: passed, round 3 of D
         C seconds 1: NotMember
         C joins term 1: ok
         D passes 3: passed, round 4 of C
         C seconds 1: NotInElectorate
         D seconds 1: NotInElectorate
         B seconds 1: motion 1 adopted 2-0, motion 1 in effect, finished Stopped",
    );
    // Not alone, unless one is enough.
    check_v2(
        patient(),
        Admission::Open,
        &(joined("AB")
            + "B leaves: ok
         A passes 1: passed, waiting with 1
         A moves 1 set min_learners 1: WaitingForMembers"),
    );
    check_v2(
        Parameters { min_learners: 1, ..patient() },
        Admission::Open,
        "A joins: round 1 of A
         A moves 1 stop: motion 1: 1 vote, motion 1 adopted 1-0, motion 1 in effect, finished Stopped",
    );
}

#[test]
fn r49_where_anyone_may_join_an_admission_weighs_one() {
    let before = joined("AB");
    check_v2(
        patient(),
        Admission::Open,
        &(before.clone()
            + "A moves 1 admit C2: MotionInvalid
         A moves 1 admit C judge: MotionInvalid
         A moves 1 admit C as Clinic: MotionInvalid
         A moves 1 expel B: motion 1: 2 vote
         B seconds 1: motion 1 adopted 2-0
         A passes 1: passed, B suspended Expelled, motion 1 in effect, waiting with 1
         B joins term 1: Expelled
         C joins: round 2 of C
         A moves 2 admit B: motion 2: 2 vote
         C seconds 2: motion 2 adopted 2-0
         C passes 2: passed, motion 2 in effect, round 3 of A
         B joins term 1: ok"),
    );
    // Version 1 takes the weight and ignores it.
    check_v1(patient(), Admission::Open, &(before + "A moves 1 admit C2: motion 1: 1 vote"));
}
