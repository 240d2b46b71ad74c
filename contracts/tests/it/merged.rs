//! Merged rounds: R72 to R90, one test a rule, as scenarios.

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Close, Contract, Decision, Digest, InvalidParameters,
    Merge, MergeTally, MergeVerdict, MergeVote, Merges, Merging, Model, Parameters, PrivacyCap,
    Rejection, RevealUpdate, Scores, Selection, Threshold, Update, Version,
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::script::{
    at, check_v1, check_v2, create, create_under, created, defaults, invited, learner, model, name,
    new_contract, play,
};

/// Rules of merged rounds that begin with so many.
fn merged(min_learners: u32) -> Parameters {
    Parameters { min_learners, merging: Some(Merging::default()), ..defaults() }
}

fn gathering(min_learners: u32) -> Parameters {
    let merging = Merging { gather_deadline_ms: Some(30), ..Merging::default() };
    Parameters { merging: Some(merging), ..merged(min_learners) }
}

fn sealed(min_learners: u32) -> Parameters {
    Parameters { ballot: BallotKind::Sealed, ..merged(min_learners) }
}

/// The steps by which these come, all of them before round 1.
fn come(letters: &str) -> String {
    let last = letters.len() - 1;
    let line = |(i, who): (usize, char)| match i {
        i if i < last => format!("{who} joins: ok\n"),
        _ => format!("{who} joins: round 1 trains {letters}\n"),
    };
    letters.chars().enumerate().map(line).collect()
}

/// Plays this with these learners, who are all there when it begins.
fn run(parameters: Parameters, letters: &str, script: &str) -> Contract {
    check_v2(parameters, Admission::Open, &(come(letters) + script))
}

#[test]
fn r72_merging_is_a_rule_of_version_2_with_bounds() {
    let attempt = |version, change: &dyn Fn(&mut Parameters)| {
        let mut parameters = merged(2);
        change(&mut parameters);
        let action = create_under(version, parameters, Admission::Open);
        Contract::new(Digest([0; 32]), version).apply(at(0), learner("Z"), &action).err()
    };
    let with = |change: &dyn Fn(&mut Merging)| {
        attempt(Version::V2, &|parameters| change(parameters.merging.as_mut().unwrap()))
    };
    assert_eq!(attempt(Version::V2, &|_| {}), None);
    assert_eq!(attempt(Version::V1, &|_| {}), Some(Rejection::NotInVersion { needed: 2 }));
    let bounds = Some(Rejection::InvalidParameters(InvalidParameters::Merging));
    for proposers in [0, 65] {
        assert_eq!(with(&|it| it.proposers = proposers), bounds);
    }
    for clip in [999, 10_001] {
        assert_eq!(with(&|it| it.clip_permille = clip), bounds);
    }
    assert_eq!(with(&|it| it.momentum_permille = 901), bounds);
    assert_eq!(with(&|it| it.checkers = 65), bounds);
    let least = Merging {
        proposers: 1,
        clip_permille: 1000,
        momentum_permille: 0,
        checkers: 0,
        gather_deadline_ms: Some(10),
    };
    let most = Merging {
        proposers: 64,
        clip_permille: 10_000,
        momentum_permille: 900,
        ..Merging::default()
    };
    for fits in [least, most] {
        assert_eq!(with(&|it| *it = fits), None);
    }
    let deadline = Some(Rejection::InvalidParameters(InvalidParameters::Deadline));
    assert_eq!(with(&|it| it.gather_deadline_ms = Some(9)), deadline);

    // What cannot be averaged.
    let mut action = create(merged(2), Admission::Open);
    let Act::Create(pickle) = &mut action.what else { panic!() };
    pickle.model = Model { media_type: "application/x-pickle".into(), ..model(0) };
    let refused = new_contract().apply(at(0), learner("Z"), &action).err();
    assert_eq!(refused, Some(Rejection::InvalidParameters(InvalidParameters::NotMergeable)));
}

#[test]
fn r72_a_round_is_merged_or_has_one_proposer() {
    check_v2(
        defaults(),
        Admission::Open,
        "A joins: ok
         B joins: round 1 of A
         A trains 1 in 1 from 0: RoundIsSingle
         A seals 1 in 1 from 0: RoundIsSingle
         A unseals 1 in 1 from 0: RoundIsSingle
         A holds 1 in 1: RoundIsSingle
         A judges 1 2 in 1: RoundIsSingle
         A discloses 1 2 in 1: RoundIsSingle
         A moves 1 set merging on: motion 1: 2 vote
         B seconds 1: motion 1 adopted 2-0
         A proposes 1 in 1 from 0: 1 vote
         B approves 1 in 1: accepted 1-0, motion 1 in effect, round 2 trains AB
         A proposes 2 in 2 from 1: RoundIsMerged
         A approves 2 in 2: RoundIsMerged
         A reveals yes on 2 in 2: RoundIsMerged
         A moves 2 set max_rounds 4: motion 2: 2 vote
         B seconds 2: motion 2 adopted 2-0
         A passes 2: ok
         B passes 2: passed, motion 2 in effect, round 3 of B",
    );
    check_v1(
        defaults(),
        Admission::Open,
        "A joins: ok
         B joins: round 1 of A
         A trains 1 in 1 from 0: NotInVersion
         A judges 1 2 in 1: NotInVersion
         A moves 1 set merging on: NotInVersion",
    );
}

#[test]
fn r73_participants_are_frozen_and_everybody_votes() {
    // A judge votes and never trains; who joins meanwhile does neither.
    let parameters = merged(3);
    check_v2(
        parameters,
        invited("ABCjD"),
        "A joins: ok
         B joins: ok
         C joins: round 1 trains AB
         D joins: ok
         C trains 1 in 1 from 0: NotParticipant
         D trains 1 in 1 from 0: NotParticipant
         C passes 1: NotParticipant
         A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: 3 judge AB
         D judges 8 9 in 1 +o: NotInElectorate
         C judges 8 9 in 1 +o: ok
         A judges 8 9 in 1 +o: ok
         B judges 8 9 in 1: open of 3: 2 0 0, accepted 2-1, round 2 trains ABD",
    );
    // By turns, so many at a time, from the one whose turn is next.
    let merging = Some(Merging { proposers: 2, ..Merging::default() });
    check_v2(
        Parameters { merging, ..merged(3) },
        Admission::Open,
        "A joins: ok
         B joins: ok
         C joins: round 1 trains AB
         A passes 1: ok
         B passes 1: passed, round 2 trains AC
         C passes 2: ok
         A passes 2: passed, round 3 trains BC",
    );
}

#[test]
fn r74_a_movement_goes_on_after_an_accepted_round_only() {
    let contract = run(
        merged(1),
        "A",
        "A trains 1 in 1 from 0: 1 judge A
         A judges 8 - in 1 +o: open of 1: 1 0 0, accepted 1-0, round 2 trains A
         A trains 2 in 2 from 8: 1 judge A",
    );
    let experiment = contract.experiment(&name()).unwrap();
    assert_eq!((experiment.model().clone(), experiment.previous().clone()), (model(8), model(0)));
    let contract = run(
        merged(1),
        "A",
        "A trains 1 in 1 from 0: 1 judge A
         A judges 8 - in 1 +o: open of 1: 1 0 0, accepted 1-0, round 2 trains A
         A trains 2 in 2 from 8: 1 judge A
         A judges 9 - in 2: neither of 1: 0 0 0, rejected 0-1, round 3 trains A",
    );
    let experiment = contract.experiment(&name()).unwrap();
    assert_eq!(experiment.previous(), experiment.model());
}

#[test]
fn r75_an_update_is_sent_once_and_as_a_proposal_would_be() {
    run(
        merged(3),
        "ABC",
        "A trains 1 in 2 from 0: WrongRound
         A trains 1 in 1 from 9: WrongBase
         A trains 0 in 1 from 0: NotNew
         D trains 1 in 1 from 0: NotMember
         A trains 1 in 1 from 0: ok
         A trains 2 in 1 from 0: AlreadySent
         A passes 1: AlreadySent
         B trains 1 in 1 from 0: ok
         C trains 1 in 1 from 0: 3 judge ABC
         A trains 2 in 1 from 0: TrainingOver",
    );
    let cap = PrivacyCap { epsilon_micros: 100, delta_picos: 10 };
    run(
        Parameters { privacy: Some(cap), ..merged(2) },
        "AB",
        "A trains 1 in 1 from 0: PrivacyMissing
         A trains 1 in 1 from 0 spending 101: PrivacyOverCap
         A trains 1 in 1 from 0 spending 60: ok
         B trains 2 in 1 from 0 spending 60: 2 judge AB
         A judges 8 - in 1 +o: ok
         B judges 8 - in 1 +o: open of 2: 2 0 0, accepted 2-0, round 2 trains AB
         A trains 3 in 2 from 8 spending 59: PrivacyInvalid
         A trains 3 in 2 from 8 spending 70 as 100x1: PrivacyInvalid
         A trains 3 in 2 from 8 spending 70: ok",
    );
}

#[test]
fn r76_sealed_updates_are_committed_to_and_then_revealed() {
    run(
        sealed(3),
        "ABC",
        "A trains 1 in 1 from 0: BallotSealed
         A unseals 1 in 1 from 0: NotRevealing
         A seals 1 in 1 from 9: WrongBase
         A seals 1 in 1 from 0: ok
         A seals 2 in 1 from 0: AlreadySent
         A passes 1: AlreadySent
         B seals 2 in 1 from 0: ok
         C passes 1: reveal 2
         C seals 3 in 1 from 0: DeadlinePassed
         C unseals 3 in 1 from 0: NothingCommitted
         A unseals 2 in 1 from 0: RevealMismatch
         A becomes E: ok
         A unseals 1 in 1 from 0: NotMember
         E unseals 1 in 1 from 0: RevealMismatch
         at 20: expired, round 2 trains EBC",
    );
    // Who does not reveal is left out, and has missed its turn.
    let contract = run(
        Parameters { missed_turns: Some(1), ..sealed(2) },
        "AB",
        "A seals 1 in 1 from 0: ok
         at 100: reveal 1
         B seals 2 in 1 from 0: DeadlinePassed
         A unseals 1 in 1 from 0: 2 judge A
         A unseals 1 in 1 from 0: TrainingOver
         A encloses 8 9 in 1 from 0 +o +g +p: ok
         B encloses 8 9 in 1 from 0 +g +p: reveal 2
         B discloses 8 9 in 1 +g +p: ok
         A discloses 8 9 in 1 +o +g +p: guarded of 2: 1 2 2, accepted 2-0, B suspended MissedTurns, waiting with 1",
    );
    assert_eq!(contract.experiment(&name()).unwrap().model(), &model(9));
    run(
        merged(2),
        "AB",
        "A seals 1 in 1 from 0: BallotOpen
         A unseals 1 in 1 from 0: BallotOpen",
    );
    // The key that has committed is part of what was hashed, also when its holder has another.
    let mut contract = run(sealed(1), "A", "A seals 1 in 1 from 0: reveal 1\nA becomes B: ok");
    let update = Update {
        round: 1,
        base: Digest([0; 32]),
        weights: model(1),
        scores: Scores::default(),
        privacy: None,
    };
    let reveal = RevealUpdate { update, salt: learner("A").0 };
    let reveal = Action::new(name(), Act::RevealUpdate(reveal));
    assert!(contract.apply(at(1), learner("B"), &reveal).is_ok());
}

#[test]
fn r77_a_participant_passes_or_leaves() {
    let cap = PrivacyCap { epsilon_micros: 100, delta_picos: 10 };
    run(
        Parameters { privacy: Some(cap), ..merged(3) },
        "ABC",
        "A passes 1 exhausted because cap_reached: ok
         B leaves: ok
         B trains 1 in 1 from 0 spending 1: AlreadySent
         C trains 1 in 1 from 0 spending 1: 3 judge C
         A judges 8 - in 1 +o: ok
         B judges 8 - in 1 +o: ok
         C judges 8 - in 1 +o: open of 3: 3 0 0, accepted 3-0, waiting with 2
         D joins: round 2 trains CD",
    );
    run(merged(2), "AB", "A passes 1 exhausted: NoPrivacyCap");
    // The last to leave ends training.
    run(
        merged(2),
        "AB",
        "A trains 1 in 1 from 0: ok
         B leaves: 2 judge A",
    );
}

#[test]
fn r78_training_ends_when_all_have_sent_or_at_its_deadline() {
    let rules = Parameters { idle_rotations: Some(1), ..merged(3) };
    run(
        rules.clone(),
        "ABC",
        "A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: ok
         at 100: 3 judge AB
         C trains 3 in 1 from 0: TrainingOver
         at 150: none of 0, no agreement 0-0, round 2 trains ABC
         A passes 2: ok
         at 250: expired, paused NobodyProposes
         A resumes 2: round 3 trains ABC
         A passes 3: ok
         B passes 3: ok
         C passes 3: passed, paused NobodyProposes",
    );
    run(
        Parameters { idle_rotations: Some(2), ..rules },
        "ABC",
        "at 100: expired, round 2 trains ABC
         at 200: expired, paused NobodyProposes",
    );
}

#[test]
fn r79_updates_are_merged_in_joining_order() {
    run(
        merged(3),
        "ABC",
        "C trains 3 in 1 from 0: ok
         A judges 8 - in 1 +o: NothingProposed
         A holds 1 in 1: NotGathering
         A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: 3 judge ABC",
    );
}

#[test]
fn r80_what_most_do_not_hold_is_not_merged() {
    run(
        Parameters { missed_turns: Some(1), ..gathering(3) },
        "ABC",
        "A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: ok
         A holds 1 in 1: NotGathering
         C trains 3 in 1 from 0: who holds ABC
         A judges 8 - in 1 +o: NothingProposed
         D holds 111 in 1: NotMember
         A holds 1111 in 1: NoSuchUpdate
         A holds 101 in 1: ok
         A holds 111 in 1: AlreadyTold
         B holds 111 in 1: ok
         C holds 101 in 1: 3 judge AC
         C holds 101 in 1: NotGathering
         A judges 8 - in 1 +o: ok
         B judges 8 - in 1 +o: ok
         C judges 8 - in 1 +o: open of 3: 3 0 0, accepted 3-0, B suspended MissedTurns, waiting with 2",
    );
    // More than half of those who have spoken, who are more than half.
    run(
        Parameters { missed_turns: Some(1), ..gathering(5) },
        "ABCDE",
        "A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: ok
         at 100: who holds AB
         A holds 11 in 1: ok
         B holds 11 in 1: ok
         C holds 10 in 1: ok
         at 130: 5 judge AB
         at 180: none of 0, no agreement 0-0, A suspended MissedTurns, B suspended MissedTurns, C suspended MissedTurns, D suspended MissedTurns, E suspended MissedTurns, waiting with 0",
    );
    run(
        Parameters { missed_turns: Some(1), ..gathering(4) },
        "ABCD",
        "A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: ok
         C passes 1: ok
         D passes 1: who holds AB
         A holds 11 in 1: ok
         B holds 11 in 1: ok
         at 30: expired, C suspended MissedTurns, D suspended MissedTurns, waiting with 2",
    );
    // A weight counts.
    check_v2(
        gathering(3),
        invited("A2BC"),
        "A joins: ok
         B joins: ok
         C joins: round 1 trains ABC
         A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: ok
         C trains 3 in 1 from 0: who holds ABC
         A holds 100 in 1: ok
         B holds 111 in 1: ok
         C holds 111 in 1: 4 judge A",
    );
}

#[test]
fn r81_a_vote_judges_what_it_names_and_nothing_else() {
    run(
        merged(3),
        "ABC",
        "A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: ok
         C passes 1: 3 judge AB
         A judges - 9 in 1 +o: MergeVoteInvalid
         A judges 8 - in 1 +g: MergeVoteInvalid
         A judges 8 - in 1 +p: MergeVoteInvalid
         A judges - - in 1 +p: MergeVoteInvalid
         A judges 8 9 in 1 +o because worse: ReasonMisplaced
         A judges 8 9 in 1 because unavailable: ReasonMisplaced
         A judges 8 9 in 1 linking junk: WrongLink
         A encloses 8 9 in 1 from 0: BallotOpen
         A discloses 8 9 in 1: BallotOpen
         A judges 8 9 in 1 because worse: ok
         A judges 8 9 in 1 +o: AlreadyVoted
         B judges - - in 1 because unavailable: ok
         at 50: none of 1, no agreement 0-1-1, round 2 trains ABC",
    );
    run(
        sealed(2),
        "AB",
        "A seals 1 in 1 from 0: ok
         B seals 2 in 1 from 0: reveal 2
         A unseals 1 in 1 from 0: ok
         A encloses 8 9 in 1 from 0 +o: NothingProposed
         B unseals 2 in 1 from 0: 2 judge AB
         A judges 8 9 in 1 +o: BallotSealed
         A encloses 8 9 in 1 from 1 +o: WrongBase
         A discloses 8 9 in 1 +o: NotRevealing
         A encloses 8 9 in 1 from 0 +o: ok
         A encloses 8 9 in 1 from 0 +g: AlreadyVoted
         B encloses 8 - in 1 from 0 +g: reveal 2
         B encloses 8 9 in 1 from 0: DeadlinePassed
         A discloses 8 9 in 1 +g: RevealMismatch
         B discloses 8 - in 1 +g: MergeVoteInvalid
         A discloses 8 9 in 1 +o: ok
         A discloses 8 9 in 1 +o: NothingCommitted
         at 20: none of 1, no agreement 0-1, round 2 trains AB",
    );
    // Where proposers are drawn links go with votes and with commitments.
    run(
        Parameters { selection: Selection::Sortition, ..merged(2) },
        "AB",
        "A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: 2 judge AB
         A judges 8 9 in 1 +o linking nothing: WrongLink
         A judges 8 9 in 1 +o: ok",
    );
}

#[test]
fn r82_a_pair_is_agreed_on_by_more_than_half() {
    // Exactly half is not enough, and colluders below half change nothing.
    run(
        merged(4),
        "ABCD",
        "A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: ok
         C trains 3 in 1 from 0: ok
         D trains 4 in 1 from 0: 4 judge ABCD
         A judges 8 9 in 1 +o +g: ok
         B judges 8 9 in 1 +o +g: ok
         C judges 7 9 in 1 +o +g: ok
         D judges 7 9 in 1 +o +g: none of 2, no agreement 0-4, round 2 trains ABCD
         at 100: expired, round 3 trains ABCD
         A trains 5 in 3 from 0: ok
         B passes 3: ok
         C passes 3: ok
         D passes 3: 4 judge A
         A judges 8 9 in 3 +o: ok
         B judges 8 9 in 3 +o: ok
         C judges 8 9 in 3: ok
         D judges 7 7 in 3 +o +g +p: open of 3: 2 0 0, accepted 2-2, round 4 trains ABCD",
    );
}

#[test]
fn r83_votes_for_another_pair_are_as_silence() {
    // Four of five could bear a guarded merge, but two of them speak of another.
    run(
        Parameters { threshold: Threshold::at_least(2, 3), ..merged(5) },
        "ABCDE",
        "A trains 1 in 1 from 0: ok
         at 100: 5 judge A
         A judges 8 9 in 1 +g: ok
         B judges 8 9 in 1 +g: ok
         C judges 8 9 in 1: ok
         D judges 8 7 in 1 +g: ok
         E judges 8 7 in 1 +g: neither of 3: 0 2 0, rejected 2-3, round 2 trains ABCDE",
    );
}

#[test]
fn r84_guarded_needs_more_than_half_or_nothing_else_to_bear() {
    let vote = |says: [&str; 4]| {
        let votes = "ABCD".chars().zip(says);
        let votes = votes.map(|(who, says)| format!("{who} judges 8 9 in 1 {says}: ok"));
        votes.collect::<Vec<_>>().join("\n")
    };
    for (says, outcome) in [
        // Half prefer it: that is not more than half.
        (["+o +g +p", "+o +g +p", "+o +g", "+o +g"], "open of 4: 4 4 2, accepted 4-0"),
        (["+o +g +p", "+o +g +p", "+o +g +p", "+o"], "guarded of 4: 4 3 3, accepted 3-1"),
        (["+g", "+g", "+o", ""], "guarded of 4: 1 2 0, accepted 2-2"),
        (["+p", "+p", "+p", "+o"], "neither of 4: 1 0 3, rejected 1-3"),
        // Exactly reaching the threshold counts.
        (["+o", "+o", "", ""], "open of 4: 2 0 0, accepted 2-2"),
    ] {
        let votes = vote(says);
        let (first, last) = votes.rsplit_once(": ok").unwrap();
        assert_eq!(last, "");
        let script = format!(
            "A trains 1 in 1 from 0: ok\nat 100: 4 judge A\n{first}: {outcome}, round 2 trains ABCD"
        );
        run(merged(4), "ABCD", &script);
    }
    // What is not there is not borne, be it by nobody at all.
    run(
        Parameters { threshold: Threshold::at_least(0, 1), ..merged(2) },
        "AB",
        "A trains 1 in 1 from 0: ok
         B passes 1: 2 judge A
         A judges - 9 in 1: ok
         B judges - 9 in 1: guarded of 2: 0 0 0, accepted 0-2, round 2 trains AB",
    );
}

#[test]
fn r85_a_merge_may_be_a_model_that_there_was() {
    let contract = run(
        merged(2),
        "AB",
        "A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: 2 judge AB
         A judges 0 0 in 1 +o: ok
         B judges 0 0 in 1 +o: open of 2: 2 0 0, accepted 2-0, round 2 trains AB
         A trains 3 in 2 from 0: ok
         B trains 4 in 2 from 0: 2 judge AB
         A judges 8 - in 2 +o: ok
         B judges 8 - in 2 +o: open of 2: 2 0 0, accepted 2-0, round 3 trains AB
         A trains 0 in 3 from 8: NotNew
         A trains 5 in 3 from 8: ok
         B trains 6 in 3 from 8: 2 judge AB
         A judges 0 - in 3 +o: ok
         B judges 0 - in 3 +o: open of 2: 2 0 0, accepted 2-0, round 4 trains AB
         A trains 7 in 4 from 0: ok",
    );
    let experiment = contract.experiment(&name()).unwrap();
    assert_eq!((experiment.model(), experiment.previous()), (&model(0), &model(8)));
}

fn checked(min_learners: u32, checkers: u32) -> Parameters {
    let merging = Merging { checkers, ..Merging::default() };
    Parameters { selection: Selection::Sortition, merging: Some(merging), ..merged(min_learners) }
}

#[test]
fn r86_two_thirds_of_the_checkers_have_to_name_it_too() {
    let refused = |parameters| {
        let action = create(parameters, Admission::Open);
        new_contract().apply(at(0), learner("Z"), &action).err()
    };
    let checkers = Some(Rejection::InvalidParameters(InvalidParameters::Checkers));
    assert_eq!(refused(checked(2, 3)), None);
    assert_eq!(refused(Parameters { selection: Selection::RoundRobin, ..checked(2, 3) }), checkers);
    assert_eq!(refused(Parameters { ballot: BallotKind::Sealed, ..checked(2, 3) }), checkers);

    let begin = "A joins: ok
         B joins: ok
         C joins: ok
         D joins: ok
         E joins: round 1 trains ABCDE checked by BCE
         A trains 1 in 1 from 0: ok
         at 100: 5 judge A\n";
    let play =
        |script: &str| check_v2(checked(5, 3), Admission::Open, &(begin.to_owned() + script));
    // Four of five name it, and two of three checkers.
    play(
        "A judges 8 - in 1 +o: ok
         B judges 7 - in 1 +o: ok
         C judges 8 - in 1 +o: ok
         D judges 8 - in 1 +o: ok
         E judges 8 - in 1 +o: open of 4: 4 0 0, accepted 4-1, round 2 trains ABCDE checked by BCE",
    );
    // Three of five, and only one of the checkers.
    play(
        "A judges 8 - in 1 +o: ok
         B judges 7 - in 1 +o: ok
         C judges 7 - in 1 +o: ok
         D judges 8 - in 1 +o: ok
         E judges 8 - in 1 +o: none of 3, no agreement 0-5, round 2 trains ABCDE checked by BCE",
    );
    // Checkers who agree, and most do not follow them.
    play(
        "A judges 7 - in 1 +o: ok
         B judges 8 - in 1 +o: ok
         C judges 8 - in 1 +o: ok
         D judges - - in 1: ok
         E judges - - in 1: none of 2, no agreement 0-3-2, round 2 trains ABCDE checked by BCE",
    );
}

#[test]
fn r87_a_turn_is_missed_by_who_did_not_do_all() {
    let rules = Parameters { missed_turns: Some(2), ..merged(4) };
    let missed = |contract: &Contract| {
        let experiment = contract.experiment(&name()).unwrap();
        ["A", "B", "C", "D"].map(|who| experiment.member(learner(who)).unwrap().missed)
    };
    // Not to train, to name another pair, not to vote: each is one turn, though it was all of them.
    let round = |round: u64| {
        format!(
            "A trains {0} in {round} from 0: ok
             B trains {1} in {round} from 0: ok
             D passes {round}: ok
             at {2}: 4 judge AB
             A judges 8 9 in {round}: ok
             B judges 7 9 in {round}: ok
             C judges 8 9 in {round}: ok\n",
            10 * round,
            10 * round + 1,
            round * 150 - 50
        )
    };
    let first =
        round(1) + "D judges 8 9 in 1: neither of 3: 0 0 0, rejected 0-4, round 2 trains ABCD";
    assert_eq!(missed(&run(rules.clone(), "ABCD", &first)), [0, 1, 1, 0]);
    // A vote does not make up for a missing update; silence is one, too.
    let first = round(1) + "at 150: neither of 2: 0 0 0, rejected 0-3, round 2 trains ABCD\n";
    let first = first.replace("neither of 2: 0 0 0, rejected 0-3", "none of 2, no agreement 0-3");
    let contract = run(rules.clone(), "ABCD", &first);
    // Without agreement nobody has named a false one. Silence is silence.
    assert_eq!(missed(&contract), [0, 0, 1, 1]);
    let second = first
        + "A trains 20 in 2 from 0: ok
           B trains 21 in 2 from 0: ok
           C trains 22 in 2 from 0: ok
           at 250: 4 judge ABC
           A judges 8 9 in 2: ok
           B judges 8 9 in 2: ok
           C judges - - in 2 because too_little_data: ok
           D judges 8 9 in 2: neither of 3: 0 0 0, rejected 0-3-1, D suspended MissedTurns, waiting with 3";
    assert_eq!(missed(&run(rules.clone(), "ABCD", &second)), [0, 0, 0, 2]);
    // Closing early nobody has missed a vote, but who sent no update has missed its turn.
    let early = Parameters { close: Close::Early, ..rules };
    let contract = run(
        early,
        "ABCD",
        "A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: ok
         D trains 3 in 1 from 0: ok
         at 100: 4 judge ABD
         A judges 8 - in 1 +o: ok
         B judges 8 - in 1 +o: ok
         C judges 8 - in 1 +o: open of 3: 3 0 0, accepted 3-0, round 2 trains ABCD",
    );
    assert_eq!(missed(&contract), [0, 0, 1, 0]);
}

#[test]
fn r88_voting_ends_early_only_when_nothing_can_change() {
    let early = Parameters { close: Close::Early, ..merged(5) };
    run(
        early.clone(),
        "ABCDE",
        "A trains 1 in 1 from 0: ok
         at 100: 5 judge A
         A judges 8 9 in 1 +o: ok
         B judges 8 9 in 1 +o +g +p: ok
         C judges 8 9 in 1 +o +g +p: ok
         D judges 8 9 in 1 +o +g +p: guarded of 4: 4 3 3, accepted 3-1, round 2 trains ABCDE",
    );
    // The guarded one could be borne yet, but not preferred by more than half.
    run(
        early.clone(),
        "ABCDE",
        "A trains 1 in 1 from 0: ok
         at 100: 5 judge A
         A judges 8 9 in 1 +o: ok
         B judges 8 9 in 1 +o +g: ok
         C judges 8 9 in 1 +o +g: open of 3: 3 2 0, accepted 3-0, round 2 trains ABCDE",
    );
    // Two pairs that none of them can agree on any more.
    run(
        early,
        "ABCDE",
        "A trains 1 in 1 from 0: ok
         at 100: 5 judge A
         A judges 8 9 in 1 +o: ok
         B judges 7 9 in 1 +o: ok
         C judges 6 9 in 1 +o: ok
         D judges 5 9 in 1 +o: none of 1, no agreement 0-4, round 2 trains ABCDE",
    );
    // Sealed, when too few have committed.
    run(
        Parameters { close: Close::Early, ..sealed(3) },
        "ABC",
        "A seals 1 in 1 from 0: ok
         B passes 1: ok
         C passes 1: reveal 1
         A unseals 1 in 1 from 0: 3 judge A
         A encloses 8 - in 1 from 0 +o: ok
         at 50: reveal 1, none of 0, no agreement 0-0, round 2 trains ABC",
    );
}

#[test]
fn r89_all_else_goes_on_as_in_other_rounds() {
    // A key changes between what it has sent and its vote; somebody joins; the members stop it.
    let contract = run(
        gathering(3),
        "ABC",
        "A trains 1 in 1 from 0: ok
         A becomes E: ok
         A trains 1 in 1 from 0: NotMember
         E trains 1 in 1 from 0: AlreadySent
         D joins: ok
         B trains 2 in 1 from 0: ok
         C leaves: who holds EB
         B holds 11 in 1: ok
         B becomes F: ok
         F holds 11 in 1: AlreadyTold
         E holds 11 in 1: ok
         C holds 11 in 1: 3 judge EF
         F judges 8 - in 1 +o: ok
         F becomes G: ok
         G judges 8 - in 1 +o: AlreadyVoted
         C judges 7 - in 1: ok
         E judges 8 - in 1 +o: open of 2: 2 0 0, accepted 2-1, round 2 trains EGD
         E moves 1 stop: motion 1: 3 vote
         G seconds 1: motion 1 adopted 2-0, motion 1 in effect, finished Stopped",
    );
    assert_eq!(contract.experiment(&name()).unwrap().model(), &model(8));
    // In each of its stages.
    let stages = [
        "A seals 1 in 1 from 0: ok\n",
        "B seals 2 in 1 from 0: reveal 2\n",
        "A unseals 1 in 1 from 0: ok\nB unseals 2 in 1 from 0: who holds AB\n",
        "A holds 11 in 1: ok\nB holds 11 in 1: 2 judge AB\n",
        "A encloses 8 - in 1 from 0 +o: ok\nB encloses 8 - in 1 from 0 +o: reveal 2\n",
        "A discloses 8 - in 1 +o: ok\n",
    ];
    for count in 0..=stages.len() {
        let script = stages[..count].concat() + "Z stops: finished Stopped";
        let contract =
            run(Parameters { ballot: BallotKind::Sealed, ..gathering(2) }, "AB", &script);
        assert_eq!(contract.next_deadline_ms(), None);
    }
    // What is moved takes effect between rounds.
    run(
        merged(2),
        "AB",
        "A moves 1 set threshold 2/3: motion 1: 2 vote
         B seconds 1: motion 1 adopted 2-0
         A passes 1: ok
         B passes 1: passed, motion 1 in effect, round 2 of A",
    );
}

#[test]
fn r90_weights_weigh_votes_and_each_update_counts_once() {
    check_v2(
        merged(3),
        invited("A5BC"),
        "A joins: ok
         B joins: ok
         C joins: round 1 trains ABC
         A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: ok
         C trains 3 in 1 from 0: 7 judge ABC
         B judges 8 9 in 1 +o: ok
         C judges 8 9 in 1 +o: ok
         A judges 7 6 in 1 +g: guarded of 5: 0 5 0, accepted 5-2, round 2 trains ABC",
    );
}

#[test]
fn patience_counts_rejected_merges_only() {
    run(
        Parameters { patience: Some(2), ..merged(1) },
        "A",
        "A trains 1 in 1 from 0: 1 judge A
         A judges 8 - in 1: neither of 1: 0 0 0, rejected 0-1, round 2 trains A
         A trains 2 in 2 from 0: 1 judge A
         A judges - - in 2: none of 0, no agreement 0-0-1, round 3 trains A
         A trains 3 in 3 from 0: 1 judge A
         A judges 8 - in 3: neither of 1: 0 0 0, rejected 0-1, finished Patience",
    );
}

#[test]
fn what_opens_tells_all_that_a_follower_needs() {
    let mut contract = created(Version::V2, gathering(2), Admission::Open);
    let mut decided = Vec::new();
    play(&mut contract, &name(), "A joins: ok");
    let join = crate::script::join(&contract, 0);
    decided.extend(contract.apply(at(5), learner("B"), &join).unwrap());
    let Decision::TrainingOpened { round, participants, checkers, base, previous, deadline_ms } =
        &decided[0].what
    else {
        panic!("{decided:?}")
    };
    assert_eq!((*round, *deadline_ms, checkers.len()), (1, 105, 0));
    assert_eq!(participants, &[learner("A"), learner("B")]);
    assert_eq!((base, previous), (&Digest([0; 32]), &Digest([0; 32])));
    play(
        &mut contract,
        &name(),
        "at 5: ok
         A trains 1 in 1 from 0: ok
         B trains 2 in 1 from 0: who holds AB
         A holds 11 in 1: ok
         B holds 11 in 1: 2 judge AB
         A judges 8 9 in 1 +o +g +p: ok",
    );
    let vote = MergeVote {
        round: 1,
        merges: Merges { open: Some(Digest([8; 32])), guarded: Some(Digest([9; 32])) },
        bear_open: true,
        bear_guarded: true,
        prefer_guarded: true,
        reason: None,
        scores_open: Scores::default(),
        scores_guarded: Scores::default(),
        link: None,
    };
    let vote = Action::new(name(), Act::MergeVote(vote));
    let decided = contract.apply(at(6), learner("B"), &vote).unwrap();
    let expected = Decision::MergeDecided {
        round: 1,
        agreed: Some(Merges { open: Some(Digest([8; 32])), guarded: Some(Digest([9; 32])) }),
        named: 2,
        bear_open: 2,
        bear_guarded: 2,
        prefer_guarded: 2,
        accepted: Some(Merge::Guarded),
    };
    assert_eq!(decided[0].what, expected);
    assert!(
        matches!(decided[1].what, Decision::RoundClosed { model: Digest(it), .. } if it == [9; 32])
    );
    assert!(
        matches!(decided[2].what, Decision::TrainingOpened { previous: Digest(it), .. } if it == [0; 32])
    );
}

/// Somebody who votes on merges: its weight, and whether it is a checker.
type Voter = (u32, bool);

/// All that one voter may say of some pairs: each with all that fits, or nothing.
fn sayings() -> Vec<MergeVote> {
    let digest = |byte: u8| Some(Digest([byte; 32]));
    let pairs = [(digest(1), digest(2)), (digest(1), digest(3)), (digest(4), None)];
    let vote = |merges: Merges, bits: u8| MergeVote {
        round: 1,
        merges,
        bear_open: bits & 1 > 0,
        bear_guarded: bits & 2 > 0,
        prefer_guarded: bits & 4 > 0,
        reason: None,
        scores_open: Scores::default(),
        scores_guarded: Scores::default(),
        link: None,
    };
    let mut all = vec![vote(Merges::default(), 0)];
    for (open, guarded) in pairs {
        let fitting = (0..8).filter(|bits| guarded.is_some() || bits & 6 == 0);
        all.extend(fitting.map(|bits| vote(Merges { open, guarded }, bits)));
    }
    all
}

/// Every verdict to which what these voters may still say leads.
fn reachable(
    tally: &MergeTally,
    missing: &[Voter],
    threshold: Threshold,
    sayings: &[MergeVote],
    into: &mut Vec<MergeVerdict>,
) {
    let Some(((weight, checks), rest)) = missing.split_first() else {
        let verdict = tally.verdict(threshold);
        if !into.contains(&verdict) {
            into.push(verdict);
        }
        return;
    };
    for vote in sayings {
        let mut then = tally.clone();
        then.add(vote, *weight, *checks);
        reachable(&then, rest, threshold, sayings, into);
        if into.len() > 1 {
            return;
        }
    }
}

/// R88. What is settled is what no completion changes, and what is not settled some completion does.
#[test]
fn r88_is_exact_over_small_electorates() {
    let mut rng = ChaCha8Rng::seed_from_u64(88);
    let sayings = sayings();
    let mut settled = [0; 2];
    for _ in 0..4000 {
        let voters: Vec<Voter> = (0..rng.random_range(1..7))
            .map(|_| (rng.random_range(1..4), rng.random_bool(0.3)))
            .collect();
        let electorate = voters.iter().map(|(weight, _)| weight).sum();
        let checkers = voters.iter().filter(|(_, checks)| *checks).count() as u32;
        let denominator = rng.random_range(1..5);
        let numerator = rng.random_range(0..=denominator);
        let strict = numerator < denominator && rng.random_bool(0.3);
        let threshold = Threshold { numerator, denominator, strict };
        let missing = rng.random_range(0..=voters.len().min(3));
        let (missing, voted) = voters.split_at(missing);
        let mut tally = MergeTally::of(electorate, checkers);
        // Mostly of one mind, or hardly anything would ever be agreed on.
        let usual = rng.random_range(0..sayings.len());
        for (weight, checks) in voted {
            let other = rng.random_range(0..sayings.len());
            let says = if rng.random_bool(0.6) { usual } else { other };
            tally.add(&sayings[says], *weight, *checks);
        }
        let to_come = missing.iter().map(|(weight, _)| weight).sum();
        let checks = missing.iter().filter(|(_, checks)| *checks).count() as u32;
        let mut verdicts = Vec::new();
        reachable(&tally, missing, threshold, &sayings, &mut verdicts);
        let expected = (verdicts.len() == 1).then(|| verdicts[0]);
        let found = tally.settled(to_come, checks, threshold);
        assert_eq!(found, expected, "{tally:?}, missing {missing:?}, threshold {threshold}");
        settled[usize::from(found.is_some() && to_come > 0)] += 1;
    }
    assert!(settled[1] > 300, "too few were certain early: {settled:?}");
}
