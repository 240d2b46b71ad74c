//! What version 2 brought to rounds: strict thresholds, models that are new, judges, abstentions and
//! reasons, proposals that nobody can get; and what is recorded beside them: names and evaluations.

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Choice, Close, Commit, Contract, Decision, Digest,
    Evaluation, InvalidParameters, Invitation, MAX_MEASURES, Measure, Parameters, Phase,
    PrivacyCap, Reason, Rejection, Reveal, Scores, Sealed, Version, Vote,
};
use sha2::{Digest as _, Sha256};

use crate::script::{
    VERSIONS, at, by_vote, check, check_v1, check_v2, created, defaults, invited, joined, learner,
    name, vote,
};

fn patient() -> Parameters {
    Parameters { proposal_deadline_ms: 50_000_000, creator_may_stop: false, ..defaults() }
}

fn sealed() -> Parameters {
    Parameters { ballot: BallotKind::Sealed, ..defaults() }
}

/// Plays under version 2 once these have joined.
fn with(letters: &str, parameters: Parameters, script: &str) -> Contract {
    let parameters = Parameters { min_learners: letters.len() as u32, ..parameters };
    check_v2(parameters, Admission::Open, &(joined(letters) + script))
}

#[test]
fn r21_a_strict_threshold_is_exceeded() {
    let strict =
        |threshold: &str| Parameters { threshold: threshold.parse().unwrap(), ..defaults() };
    with(
        "ABCDE",
        strict(">1/2"),
        "A proposes 1 in 1 from 0: 4 vote
         B approves 1 in 1: ok
         C approves 1 in 1: ok
         D rejects 1 in 1: ok
         E rejects 1 in 1: rejected 2-2, round 2 of B
         B proposes 1 in 2 from 0: 4 vote
         A approves 1 in 2: ok
         C approves 1 in 2: ok
         D approves 1 in 2: ok
         E rejects 1 in 2: accepted 3-1, round 3 of C",
    );
    // More than nothing is somebody.
    with(
        "ABC",
        strict(">0/1"),
        "A proposes 1 in 1 from 0: 2 vote
         at 50: rejected 0-0, round 2 of B
         B proposes 1 in 2 from 0: 2 vote
         A approves 1 in 2: ok
         C rejects 1 in 2: accepted 1-1, round 3 of C",
    );
    // A lone learner has nobody to object.
    with("A", strict(">1/2"), "A proposes 1 in 1 from 0: 0 vote, accepted 0-0, round 2 of A");
    // Early: certain as soon as it is exceeded, or no longer can be.
    with(
        "ABCDE",
        Parameters { close: Close::Early, ..strict(">1/2") },
        "A proposes 1 in 1 from 0: 4 vote
         B rejects 1 in 1: ok
         C rejects 1 in 1: rejected 0-2, round 2 of B",
    );
}

#[test]
fn r60_proposed_weights_were_never_the_global_model() {
    let script = |again: &str| {
        joined("AB")
            + &format!(
                "A proposes 1 in 1 from 0: 1 vote
                 B approves 1 in 1: accepted 1-0, round 2 of B
                 B proposes 2 in 2 from 1: 1 vote
                 A approves 2 in 2: accepted 1-0, round 3 of A
                 {again}"
            )
    };
    for weights in [0, 1, 2] {
        let again = format!("A proposes {weights} in 3 from 2: NotNew");
        let contract = check_v2(defaults(), Admission::Open, &script(&again));
        assert!(contract.experiment(&name()).unwrap().was_global(Digest([weights; 32])));
        let again = format!("A proposes {weights} in 3 from 2: 1 vote");
        check_v1(defaults(), Admission::Open, &script(&again));
    }
    let contract =
        check_v2(defaults(), Admission::Open, &script("A proposes 3 in 3 from 2: 1 vote"));
    assert!(!contract.experiment(&name()).unwrap().was_global(Digest([3; 32])));
}

#[test]
fn r64_names_are_of_one_each_and_decide_nothing() {
    let contract = check_v2(
        patient(),
        Admission::Open,
        "A joins as Clinic: ok
         B joins as Clinic: NameTaken
         B joins as Lab: round 1 of A
         A leaves: passed, waiting with 1
         C joins as Clinic: NameTaken
         A joins term 1 as Hospital: round 2 of B
         C joins as Clinic: NameTaken
         C joins as Hospital: NameTaken
         A becomes D: ok
         C joins as Hospital: NameTaken
         C joins: ok
         D leaves term 1: ok
         B passes 2: passed, round 3 of C
         B becomes E: ok
         C moves 1 suspend C: motion 1: 2 vote
         D joins term 2 as Hospital: ok",
    );
    let experiment = contract.experiment(&name()).unwrap();
    let called = |who: &str| experiment.name_of(learner(who)).map(|name| name.as_str().to_owned());
    let called = ["A", "B", "C", "D"].map(called);
    assert_eq!(called, [None, None, None, Some("Hospital".into())]);
    assert_eq!(experiment.name_of(learner("E")).unwrap().as_str(), "Lab");

    // Of the invited, what the invitation says; where it says nothing, what they say themselves.
    let named = |letter: &str, name: &str| Invitation {
        name: Some(name.parse().unwrap()),
        ..Invitation::new(learner(letter), 1)
    };
    let other = |letter: &str| Invitation::new(learner(letter), 1);
    let listed = vec![named("A", "Clinic"), other("B"), other("C")];
    let contract = check_v2(
        patient(),
        Admission::ByVote(listed.clone()),
        "B joins as Clinic: NameTaken
         A joins as Other: NameTaken
         A joins: ok
         B joins as Lab: round 1 of A
         A moves 1 admit D as Lab: NameTaken
         A moves 1 admit D as Clinic: NameTaken
         A moves 1 admit D as Office: motion 1: 3 vote
         B seconds 1: motion 1 adopted 2-0
         C joins as Office: ok
         A passes 1: passed, motion 1 in effect, round 2 of B
         D joins: ok
         B moves 2 admit B as Works: motion 2: 4 vote
         A seconds 2: ok
         D seconds 2: motion 2 adopted 3-0
         B passes 2: passed, motion 2 in effect, round 3 of C
         A moves 3 expel A: motion 3: 4 vote
         B seconds 3: ok
         C seconds 3: motion 3 adopted 3-0
         C passes 3: passed, A suspended Expelled, motion 3 in effect, round 4 of D
         B moves 4 admit E as Clinic: NameTaken",
    );
    let experiment = contract.experiment(&name()).unwrap();
    let called = |who: &str| experiment.name_of(learner(who)).map(|name| name.as_str().to_owned());
    // Who came first has the name that two were to have. An admission names anew, and what it says
    // goes before what its learner said.
    assert_eq!(["B", "C", "D"].map(called), [Some("Works".into()), Some("Office".into()), None]);

    // Two invitations never have the same name.
    let twice = Admission::Invited(vec![named("A", "Clinic"), named("B", "Clinic")]);
    assert_eq!(twice.check(Version::V2, &defaults()), Err(InvalidParameters::Names));
    let listed = Admission::Invited(listed);
    assert_eq!(listed.check(Version::V2, &defaults()), Ok(()));
}

#[test]
fn r65_a_judge_votes_and_never_has_a_turn() {
    for selection in
        [colearn_contracts::Selection::RoundRobin, colearn_contracts::Selection::Sortition]
    {
        let mut contract =
            check_v2(Parameters { selection, ..patient() }, invited("AjBCj"), "A joins: ok");
        let rounds = "B joins: round 1 of B
             C joins: ok
             B passes 1: passed, round 2 of B
             A proposes 1 in 2 from 0: NotYourTurn
             B proposes 1 in 2 from 0: 2 vote
             B moves 1 suspend B: motion 1: 3 vote
             A approves 1 in 2: ok
             C rejects 1 in 2: accepted 1-1, round 3 of B
             C evaluates 1 as 1: ok
             A seconds 1: motion 1 adopted 2-0
             B passes 3: passed, B suspended Decided, motion 1 in effect, paused OnlyJudges
             A resumes 3: WaitingForMembers
             B joins term 1: round 4 of B";
        crate::script::play(&mut contract, &name(), rounds);
    }
    // An admission makes a judge of a member, and a member of a judge, between rounds.
    check_v2(
        patient(),
        by_vote("ABC"),
        &(joined("AB")
            + "C joins: ok
         A moves 1 admit A2 judge: motion 1: 3 vote
         B seconds 1: motion 1 adopted 2-0
         A proposes 1 in 1 from 0: 1 vote
         B approves 1 in 1: accepted 1-0, motion 1 in effect, round 2 of B
         B passes 2: passed, round 3 of C
         C proposes 2 in 3 from 1: 3 vote
         A rejects 2 in 3: ok
         B approves 2 in 3: rejected 1-2, round 4 of B
         B moves 2 admit A: motion 2: 4 vote
         C seconds 2: ok
         A seconds 2: motion 2 adopted 4-0
         B passes 4: passed, motion 2 in effect, round 5 of C
         C passes 5: passed, round 6 of A"),
    );
    // Not all of the invited are judges, but one more of them may be.
    for (admission, expected) in [
        (invited("AjBj"), Err(InvalidParameters::Judges)),
        (by_vote("AjBj"), Err(InvalidParameters::Judges)),
        (invited("AjB"), Ok(())),
    ] {
        assert_eq!(admission.check(Version::V2, &defaults()), expected);
    }
    // Only judges, and a budget that is spent, are different reasons to pause.
    let cap = PrivacyCap { epsilon_micros: 1, delta_picos: 1 };
    check_v2(
        Parameters { privacy: Some(cap), ..patient() },
        invited("AjB"),
        "A joins: ok
         B joins: round 1 of B
         B passes 1 exhausted: passed, paused BudgetsSpent",
    );
}

fn evaluate(contract: &mut Contract, evaluation: Evaluation) -> Result<(), Rejection> {
    let evaluate = Action::new(name(), Act::Evaluate(evaluation));
    contract.apply(at(0), learner("A"), &evaluate).map(|_| ())
}

#[test]
fn r66_a_member_records_what_models_are_worth_to_it() {
    check_v2(
        patient(),
        Admission::Open,
        &(joined("AB")
            + "C evaluates 0 as 1: NotMember
         C joins: ok
         C evaluates 0 as 1: ok
         A evaluates 0 as 2: WrongEvaluation
         A evaluates 0 as 1 naming loss accuracy: EvaluationInvalid
         A evaluates 0 as 1 naming loss loss: EvaluationInvalid
         A evaluates 0 as 1 naming: EvaluationInvalid
         A evaluates 0 as 1 naming accuracy loss: ok
         A evaluates 0 as 1: WrongEvaluation
         A evaluates 99 as 2: ok
         B leaves: ok
         A passes 1: passed, round 2 of C
         B evaluates 0 as 1: NotMember
         A becomes D: ok
         D evaluates 0 as 3: ok
         Z stops: NotCreator
         D moves 1 stop: motion 1: 2 vote
         C seconds 1: motion 1 adopted 2-0, motion 1 in effect, finished Stopped
         D evaluates 0 as 4: ok
         D leaves: ExperimentFinished
         B evaluates 0 as 1: NotMember"),
    );
    let measure =
        |i: usize| Measure { name: format!("m{i:02}").parse().unwrap(), value_micros: i64::MIN };
    let evaluation = |number, measures: usize| Evaluation {
        number,
        model: Digest([7; 32]),
        measures: (0..measures).map(measure).collect(),
    };
    let mut contract = check_v2(patient(), Admission::Open, &joined("AB"));
    assert_eq!(
        evaluate(&mut contract, evaluation(1, MAX_MEASURES + 1)),
        Err(Rejection::EvaluationInvalid)
    );
    // Sixteen before the first round, and sixteen for each.
    let mut contract = check_v2(patient(), Admission::Open, "A joins: ok");
    for (rounds, script) in
        [(0, ""), (1, "B joins: round 1 of A"), (2, "A passes 1: passed, round 2 of B")]
    {
        crate::script::play(&mut contract, &name(), script);
        let most = 16 * (rounds + 1);
        for number in most - 15..=most {
            assert_eq!(evaluate(&mut contract, evaluation(number, MAX_MEASURES)), Ok(()));
        }
        let one_more = evaluate(&mut contract, evaluation(most + 1, 1));
        assert_eq!(one_more, Err(Rejection::TooManyEvaluations));
    }
}

#[test]
fn r67_reasons_go_with_what_is_not_for() {
    let reasons = [
        "worse",
        "not_finite",
        "too_little_data",
        "cap_reached",
        "policy",
        "failed",
        "unavailable",
    ];
    for reason in reasons {
        let against = if reason == "unavailable" { "ReasonMisplaced" } else { "ok" };
        let script = format!(
            "A passes 1 because {reason}: passed, round 2 of B
             B proposes 1 in 2 from 0: 2 vote
             A approves 1 in 2 because {reason}: ReasonMisplaced
             A rejects 1 in 2 because {reason}: {against}
             C abstains 1 in 2 because {reason}: {}",
            if reason == "unavailable" { "ok" } else { "rejected 0-1-1, round 3 of C" },
        );
        with("ABC", defaults(), &script);
        // And in a sealed ballot, when it is opened.
        let script = format!(
            "A proposes 1 in 1 from 0: 2 vote
             B commits yes on 1 in 1 because {reason}: ok
             C commits neither on 1 in 1 because {reason}: reveal 2
             B reveals yes on 1 in 1 because {reason}: ReasonMisplaced
             C reveals neither on 1 in 1: RevealMismatch
             C reveals neither on 1 in 1 because {reason}: ok",
        );
        with("ABC", sealed(), &script);
    }
    let numbers: Vec<u8> = [
        Reason::Worse,
        Reason::NotFinite,
        Reason::TooLittleData,
        Reason::CapReached,
        Reason::Policy,
        Reason::Failed,
        Reason::Unavailable,
    ]
    .map(Reason::number)
    .into();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    // What a vote is refused for otherwise is told first.
    with(
        "ABC",
        sealed(),
        "A proposes 1 in 1 from 0: 2 vote
         B approves 1 in 1 because worse: BallotSealed",
    );
    with(
        "ABC",
        defaults(),
        "A proposes 1 in 1 from 0: 2 vote
         A approves 1 in 1 because worse: ProposerCannotVote
         B approves 2 in 1 because worse: WrongProposal
         B approves 1 in 1 because worse linking junk: ReasonMisplaced
         B approves 1 in 1 linking junk: WrongLink",
    );
}

#[test]
fn r67_abstaining_is_a_vote_for_neither_side() {
    // Its weight stays in the electorate: two of four would be enough, two of five are not.
    with(
        "ABCDEF",
        defaults(),
        "A proposes 1 in 1 from 0: 5 vote
         B approves 1 in 1: ok
         C approves 1 in 1: ok
         D abstains 1 in 1: ok
         D approves 1 in 1: AlreadyVoted
         E rejects 1 in 1: ok
         F rejects 1 in 1: rejected 2-2-1, round 2 of B
         B proposes 1 in 2 from 0: 5 vote
         A abstains 1 in 2: ok
         C approves 1 in 2: ok
         D approves 1 in 2: ok
         E approves 1 in 2: ok
         F abstains 1 in 2: accepted 3-0-2, round 3 of C",
    );
    // Who abstains was there, who is silent was not.
    with(
        "ABC",
        Parameters { missed_turns: Some(1), ..defaults() },
        "A proposes 1 in 1 from 0: 2 vote
         B abstains 1 in 1: ok
         at 50: rejected 0-0-1, C suspended MissedTurns, waiting with 2",
    );
    // It counts against patience as any rejection does, and not as idleness.
    with(
        "AB",
        Parameters { patience: Some(1), idle_rotations: Some(1), ..defaults() },
        "A proposes 1 in 1 from 0: 1 vote
         B abstains 1 in 1: rejected 0-0-1, finished Patience",
    );
}

#[test]
fn r68_a_proposal_that_most_cannot_get_has_expired() {
    // Half is not most.
    with(
        "ABCDE",
        defaults(),
        "A proposes 1 in 1 from 0: 4 vote
         B abstains 1 in 1 because unavailable: ok
         C abstains 1 in 1 because unavailable: ok
         D approves 1 in 1: ok
         E approves 1 in 1: accepted 2-0-2, round 2 of B
         B proposes 2 in 2 from 1: 4 vote
         A abstains 2 in 2 because unavailable: ok
         C abstains 2 in 2 because unavailable: ok
         D abstains 2 in 2 because unavailable: ok
         E approves 2 in 2: expired 1-0-3, round 3 of C",
    );
    // It is the share of the electorate, not of who came; and other abstentions are not it.
    with(
        "ABCD",
        Parameters { threshold: "0/1".parse().unwrap(), ..defaults() },
        "A proposes 1 in 1 from 0: 3 vote
         B abstains 1 in 1 because unavailable: ok
         at 50: accepted 0-0-1, round 2 of B
         B proposes 2 in 2 from 1: 3 vote
         A abstains 2 in 2 because unavailable: ok
         C abstains 2 in 2 because failed: ok
         D abstains 2 in 2: accepted 0-0-3, round 3 of C",
    );
    // Early: a round that could still expire is not certain.
    let none = Parameters { threshold: "0/1".parse().unwrap(), close: Close::Early, ..defaults() };
    with(
        "ABCDE",
        none,
        "A proposes 1 in 1 from 0: 4 vote
         B abstains 1 in 1 because unavailable: ok
         C abstains 1 in 1 because unavailable: ok
         D abstains 1 in 1 because unavailable: expired 0-0-3, round 2 of B
         B proposes 1 in 2 from 0: 4 vote
         A approves 1 in 2: ok
         C rejects 1 in 2: accepted 1-1, round 3 of C",
    );
    // Weights, in a motion's manner, are of no matter to motions; in sealed ballots it is the same.
    with(
        "ABCD",
        sealed(),
        "A proposes 1 in 1 from 0: 3 vote
         B commits neither on 1 in 1 because unavailable: ok
         C commits neither on 1 in 1 because unavailable: ok
         D commits yes on 1 in 1: reveal 3
         D reveals yes on 1 in 1: ok
         B reveals neither on 1 in 1 because unavailable: ok
         C reveals neither on 1 in 1 because unavailable: expired 1-0-2, round 2 of B",
    );
}

#[test]
fn r68_it_is_a_missed_turn_of_a_count_of_its_own() {
    let rules = Parameters { missed_turns: Some(2), ..defaults() };
    let lacking = |round: u64| {
        format!(
            "A proposes {round} in {round} from 0: 2 vote
             B abstains {round} in {round} because unavailable: ok\n"
        )
    };
    // A vote and a pass between do not begin it anew.
    let begin = "A joins: ok\n B joins: round 1 of A\n A passes 1: passed, round 2 of B
         C joins: ok\n B passes 2: passed, round 3 of C\n C passes 3: passed, round 4 of A\n";
    let served = "B proposes 5 in 5 from 0: 2 vote
         A approves 5 in 5: ok
         C rejects 5 in 5: accepted 1-1, round 6 of C
         C passes 6: passed, round 7 of A\n";
    let first = lacking(4) + "C abstains 4 in 4 because unavailable: expired 0-0-2, round 5 of B\n";
    check_v2(
        rules.clone(),
        Admission::Open,
        &(begin.to_owned()
            + &first
            + served
            + "A passes 7: passed, round 8 of B
         B passes 8: passed, round 9 of C
         C passes 9: passed, round 10 of A
         A proposes 10 in 10 from 5: 2 vote
         B abstains 10 in 10 because unavailable: ok
         C abstains 10 in 10 because unavailable: expired 0-0-2, A suspended MissedTurns, round 11 of B
         A joins term 1: ok"),
    );
    // A proposal that can be had does.
    let contract = check_v2(
        rules,
        Admission::Open,
        &(begin.to_owned()
            + &first
            + served
            + "A proposes 7 in 7 from 5: 2 vote
         B rejects 7 in 7: ok
         C rejects 7 in 7: rejected 0-2, round 8 of B
         B passes 8: passed, round 9 of C
         C passes 9: passed, round 10 of A
         A proposes 10 in 10 from 5: 2 vote
         B abstains 10 in 10 because unavailable: ok
         C abstains 10 in 10 because unavailable: expired 0-0-2, round 11 of B"),
    );
    let member = contract.experiment(&name()).unwrap().member(learner("A")).unwrap();
    assert_eq!((member.unavailable, member.missed), (1, 0));
}

#[test]
fn r68_the_count_of_who_could_not_get_it_is_told() {
    let mut contract = with(
        "ABC",
        defaults(),
        "A proposes 1 in 1 from 0: 2 vote
         B abstains 1 in 1 because unavailable: ok",
    );
    let approves = vote(1, Digest([1; 32]), Choice::Approve);
    let approves = Action::new(name(), Act::Vote(approves));
    let outcomes = contract.apply(at(1), learner("C"), &approves).unwrap();
    let Decision::RoundClosed {
        approvals, rejections, abstentions, unavailable, electorate, ..
    } = outcomes[0].what
    else {
        panic!()
    };
    assert_eq!((approvals, rejections, abstentions, unavailable, electorate), (1, 0, 1, 1, 2));
}

#[test]
fn r34_a_commitment_is_laid_out_as_described() {
    let all = Scores { vote: Some(-2), test: Some(1) };
    for version in VERSIONS {
        for (choice, reason, scores) in [
            (Choice::Approve, None, Scores::default()),
            (Choice::Reject, None, all),
            (Choice::Abstain, Some(Reason::Policy), Scores { vote: None, test: Some(7) }),
            (Choice::Reject, Some(Reason::Worse), Scores { vote: Some(i64::MAX), test: None }),
        ] {
            let vote = Vote { reason, scores, ..vote(258, Digest([5; 32]), choice) };
            let (voter, salt, ledger) = (learner("V"), [9; 32], Digest([3; 32]));
            let experiment = &"digits".parse().unwrap();
            let sealed = Sealed { version, ledger, experiment, voter, vote: &vote, salt: &salt };
            let mut laid = format!("colearn/v{version}/ballot\n").into_bytes();
            laid.extend([3; 32]);
            laid.extend([86; 32]);
            laid.extend(b"\x06digits");
            laid.extend([0, 0, 0, 0, 0, 0, 1, 2]);
            laid.extend([5; 32]);
            laid.push(match choice {
                Choice::Reject => 0,
                Choice::Approve => 1,
                Choice::Abstain => 2,
            });
            if version == Version::V2 {
                laid.push(reason.map_or(0, Reason::number));
            }
            for score in [scores.vote, scores.test] {
                laid.push(u8::from(score.is_some()));
                laid.extend(score.iter().flat_map(|score| score.to_be_bytes()));
            }
            laid.extend([9; 32]);
            assert_eq!(sealed.commitment(), Digest(Sha256::digest(&laid).into()));
        }
    }
}

#[test]
fn r34_a_commitment_of_one_version_opens_nothing_in_another() {
    // Made by a program that takes the experiment for one of the other version.
    for (plays, means) in [(Version::V1, Version::V2), (Version::V2, Version::V1)] {
        let mut contract = created(plays, sealed(), Admission::Open);
        let begin = joined("AB") + "A proposes 1 in 1 from 0: 1 vote";
        crate::script::play(&mut contract, &name(), &begin);
        let vote = vote(1, Digest([1; 32]), Choice::Approve);
        let (round, weights) = (vote.round, vote.weights);
        let (ledger, voter) = (Digest([0; 32]), learner("B"));
        let (experiment, salt) = (&name(), [1; 32]);
        let sealed = Sealed { version: means, ledger, experiment, voter, vote: &vote, salt: &salt };
        let commit = Commit { round, weights, commitment: sealed.commitment(), link: None };
        let commit = Action::new(name(), Act::Commit(commit));
        contract.apply(at(1), voter, &commit).unwrap();
        let reveal = Action::new(name(), Act::Reveal(Reveal { vote, salt }));
        assert_eq!(contract.apply(at(1), voter, &reveal), Err(Rejection::RevealMismatch));
    }
}

#[test]
fn r31_who_has_left_or_is_suspended_changes_its_key_and_comes_back() {
    check(
        Parameters { missed_turns: Some(1), ..defaults() },
        &(joined("AB")
            + "C joins: ok
         at 100: expired, A suspended MissedTurns, round 2 of B
         A becomes D: ok
         A joins term 1: KeyReplaced
         D joins: WrongTerm
         D joins term 1: ok
         B leaves: passed, round 3 of C
         B becomes E: ok
         E joins: WrongTerm
         E joins term 1: ok
         C passes 3: passed, round 4 of D"),
    );
    // Its name goes with it, whichever it is.
    let listed = vec![
        Invitation { name: Some("Clinic".parse().unwrap()), ..Invitation::new(learner("A"), 1) },
        Invitation::new(learner("B"), 1),
    ];
    let contract = check_v2(
        patient(),
        Admission::Invited(listed),
        "A becomes C: ok
         B joins as Lab: ok
         B becomes D: ok
         C joins: round 1 of D",
    );
    let experiment = contract.experiment(&name()).unwrap();
    let called = |who: &str| experiment.name_of(learner(who)).map(|name| name.as_str().to_owned());
    let called = ["A", "B", "C", "D"].map(called);
    assert_eq!(called, [None, None, Some("Clinic".into()), Some("Lab".into())]);
    assert!(matches!(experiment.phase(), Phase::Proposing { .. }));
}
