//! One test a rule from R31 to R50: what institutions that depend on each other need. Under every version,
//! where they agree; what version 2 says otherwise is in the files beside this one.

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Close, Contract, Decision, Digest, FinishReason,
    InvalidParameters, Invitation, MAX_OPEN_MOTIONS, MAX_WEIGHT, Moment, Motion, Parameters, Phase,
    PrivacyCap, PrivacySegment, PrivacySpent, PrivateTraining, Proposal, Rejection, Selection,
    Threshold, Version, draw,
};

use crate::script::{
    VERSIONS, at, by_vote, check, check_v1, check_with, created, defaults, invited, join, joined,
    learner, model, name, proposal,
};

/// Runs a script once `letters` have joined, under each version.
fn with(letters: &str, parameters: Parameters, script: &str) -> Contract {
    let parameters = Parameters { min_learners: letters.len() as u32, ..parameters };
    check(parameters, &(joined(letters) + script))
}

/// The same under version 1 only.
fn with_v1(letters: &str, parameters: Parameters, script: &str) -> Contract {
    let parameters = Parameters { min_learners: letters.len() as u32, ..parameters };
    check_v1(parameters, Admission::Open, &(joined(letters) + script))
}

fn sealed() -> Parameters {
    Parameters { ballot: BallotKind::Sealed, ..defaults() }
}

#[test]
fn r2_the_other_parameters_keep_their_bounds() {
    let check = |change: &dyn Fn(&mut Parameters)| {
        let mut parameters = defaults();
        change(&mut parameters);
        let [first, second] = VERSIONS.map(|version| parameters.check(version, &model(0)));
        assert_eq!(first, second);
        first
    };
    assert_eq!(check(&|p| p.reveal_deadline_ms = 10), Ok(()));
    assert_eq!(check(&|p| p.reveal_deadline_ms = 9), Err(InvalidParameters::Deadline));
    assert_eq!(check(&|p| p.motion_deadline_ms = 9), Err(InvalidParameters::Deadline));
    let too_much = Threshold::at_least(3, 2);
    assert_eq!(
        check(&|p| p.governance_threshold = Some(too_much)),
        Err(InvalidParameters::Threshold)
    );
    for change in [
        |p: &mut Parameters, n: u32| p.patience = Some(n.into()),
        |p: &mut Parameters, n: u32| p.missed_turns = Some(n),
        |p: &mut Parameters, n: u32| p.idle_rotations = Some(n),
    ] {
        assert_eq!(check(&|p| change(p, 1)), Ok(()));
        assert_eq!(check(&|p| change(p, 0)), Err(InvalidParameters::Patience));
    }
    let cap = |epsilon_micros, delta_picos| Some(PrivacyCap { epsilon_micros, delta_picos });
    assert_eq!(check(&|p| p.privacy = cap(1, 1)), Ok(()));
    assert_eq!(check(&|p| p.privacy = cap(1, 1_000_000_000_000)), Ok(()));
    for bad in [cap(0, 1), cap(1, 0), cap(1, 1_000_000_000_001)] {
        assert_eq!(check(&|p| p.privacy = bad), Err(InvalidParameters::Privacy));
    }
    let alone = Parameters { min_learners: 1, ..defaults() };
    for version in VERSIONS {
        let weigh = |weight| {
            let founders = vec![Invitation::new(learner("A"), weight)];
            Admission::ByVote(founders).check(version, &alone)
        };
        assert_eq!(weigh(MAX_WEIGHT), Ok(()));
        assert_eq!(weigh(0), Err(InvalidParameters::Weight));
        assert_eq!(weigh(MAX_WEIGHT + 1), Err(InvalidParameters::Weight));
    }
}

#[test]
fn r31_a_member_goes_on_under_another_key_in_the_same_place() {
    with(
        "ABC",
        defaults(),
        "A becomes X: ok
         A proposes 1 in 1 from 0: NotMember
         A joins: KeyReplaced
         A becomes Y: KeyReplaced
         B becomes C: KeyInUse
         B becomes A: KeyInUse
         B becomes B: KeyInUse
         D becomes E: NotMember
         X proposes 1 in 1 from 0: 2 vote
         B approves 1 in 1: ok
         B becomes V: ok
         V approves 1 in 1: AlreadyVoted
         X approves 1 in 1: ProposerCannotVote
         C rejects 1 in 1: accepted 1-1, round 2 of V",
    );
    // Its invitation goes with it, its creatorship too, and what it was about to do.
    check_with(
        defaults(),
        invited("A3BC"),
        "A becomes X: ok
         A joins: NotInvited
         X joins: ok
         B joins: round 1 of X
         X passes 1: passed, round 2 of B
         B proposes 1 in 2 from 0: 3 vote
         B leaves: ok
         B becomes Y: ok
         X approves 1 in 2: accepted 3-0, waiting with 1
         Y joins term 1: round 3 of Y
         Z becomes W: ok
         Z stops: NotCreator
         W stops: finished Stopped",
    );
    // Between a commitment and its revelation.
    with(
        "AB",
        sealed(),
        "A proposes 1 in 1 from 0: 1 vote
         B commits yes on 1 in 1: reveal 1
         B becomes X: ok
         X reveals yes on 1 in 1: RevealMismatch",
    );
}

#[test]
fn r32_v1_sortition_is_drawn_from_the_ledgers_last_entry() {
    let parameters = Parameters { selection: Selection::Sortition, min_learners: 4, ..defaults() };
    let mut contract = created(Version::V1, parameters, Admission::Open);
    let mut counts = [0; 4];
    let mut last: Option<usize> = None;
    let moment = |number: u64| {
        let mut head = [0; 32];
        head[..8].copy_from_slice(&number.to_be_bytes());
        Moment { now_ms: number, head: Digest(head) }
    };
    let letters = ["A", "B", "C", "D"];
    let mut outcomes = Vec::new();
    for (number, who) in letters.iter().enumerate() {
        let join = join(&contract, 0);
        outcomes = contract.apply(moment(number as u64), learner(who), &join).unwrap();
    }
    let mut at = moment(3);
    for round in 1..=3000 {
        let Some(Decision::RoundOpened { proposer, .. }) = outcomes.last().map(|it| &it.what)
        else {
            panic!("{outcomes:?}")
        };
        // What anyone can draw again: from those who did not propose last, in joining order.
        let candidates: Vec<usize> = (0..4).filter(|i| Some(*i) != last).collect();
        let zeros = Digest([0; 32]);
        let drawn = candidates[draw(&zeros, &at.head, &name(), round, candidates.len())];
        assert_eq!(*proposer, learner(letters[drawn]));
        counts[drawn] += 1;
        last = Some(drawn);
        at = moment(round + 3);
        let pass = Action::new(name(), Act::Pass { round, exhausted: false, reason: None });
        outcomes = contract.apply(at, learner(letters[drawn]), &pass).unwrap();
    }
    assert!(counts.iter().all(|count| (650..=850).contains(count)), "{counts:?}");
    // Alone, the last proposer proposes again.
    check_v1(
        Parameters { selection: Selection::Sortition, min_learners: 1, ..defaults() },
        Admission::Open,
        "A joins: round 1 of A
         A passes 1: passed, round 2 of A",
    );
    // The vector in the README.
    let name: colearn_contracts::ExperimentName = "digits".parse().unwrap();
    assert_eq!(draw(&Digest([1; 32]), &Digest([2; 32]), &name, 7, 1000), 346);
}

#[test]
fn r33_early_closing_ends_a_round_as_soon_as_the_verdict_is_certain() {
    let early = Parameters { close: Close::Early, ..defaults() };
    with(
        "ABCDE",
        early.clone(),
        "A proposes 1 in 1 from 0: 4 vote
         B approves 1 in 1: ok
         C approves 1 in 1: accepted 2-0, round 2 of B
         D rejects 1 in 1: WrongRound
         B proposes 2 in 2 from 1: 4 vote
         A rejects 2 in 2: ok
         C rejects 2 in 2: ok
         D approves 2 in 2: ok
         E rejects 2 in 2: rejected 1-3, round 3 of C
         C proposes 3 in 3 from 1: 4 vote
         A rejects 3 in 3: ok
         B rejects 3 in 3: ok
         D rejects 3 in 3: rejected 0-3, round 4 of D",
    );
    let all = Parameters { threshold: "1/1".parse().unwrap(), ..early.clone() };
    with(
        "ABC",
        all,
        "A proposes 1 in 1 from 0: 2 vote
         B rejects 1 in 1: rejected 0-1, round 2 of B",
    );
    let none = Parameters { threshold: "0/1".parse().unwrap(), ..early.clone() };
    with_v1("ABC", none, "A proposes 1 in 1 from 0: 2 vote, accepted 0-0, round 2 of B");
    // Whom an early end left no time has missed nothing.
    with(
        "ABC",
        Parameters { missed_turns: Some(1), ..early },
        "A proposes 1 in 1 from 0: 2 vote
         B approves 1 in 1: accepted 1-0, round 2 of B",
    );
}

#[test]
fn r34_r35_sealed_ballots_are_committed_then_revealed() {
    with(
        "ABC",
        sealed(),
        "A proposes 1 in 1 from 0: 2 vote
         B approves 1 in 1: BallotSealed
         B reveals yes on 1 in 1: NotRevealing
         B commits yes on 2 in 1: WrongProposal
         B commits yes on 1 in 2: WrongRound
         A commits yes on 1 in 1: ProposerCannotVote
         D commits yes on 1 in 1: NotMember
         B commits yes on 1 in 1: ok
         B commits no on 1 in 1: AlreadyVoted
         C commits no on 1 in 1: reveal 2
         C commits no on 1 in 1: DeadlinePassed
         C approves 1 in 1: BallotSealed
         B reveals no on 1 in 1: RevealMismatch
         B reveals yes on 1 in 1: ok
         B reveals yes on 1 in 1: NothingCommitted
         C reveals no on 1 in 1: accepted 1-1, round 2 of B
         C reveals no on 1 in 1: WrongRound",
    );
    with(
        "AB",
        defaults(),
        "A proposes 1 in 1 from 0: 1 vote
         B commits yes on 1 in 1: BallotOpen
         B reveals yes on 1 in 1: BallotOpen",
    );
    // Nobody can take another's commitment for its own and reveal what that reveals.
    with(
        "ABC",
        sealed(),
        "A proposes 1 in 1 from 0: 2 vote
         B commits yes on 1 in 1: ok
         C copies B yes on 1 in 1: reveal 2
         B reveals yes on 1 in 1: ok
         C reveals yes on 1 in 1: RevealMismatch
         at 20: accepted 1-0, round 2 of B",
    );
    // Both deadlines are exclusive.
    with(
        "ABC",
        sealed(),
        "A proposes 1 in 1 from 0: 2 vote
         B commits yes on 1 in 1: ok
         at 49: ok
         at 50: reveal 1
         C commits yes on 1 in 1: DeadlinePassed
         C reveals yes on 1 in 1: NothingCommitted
         at 69: ok
         at 70: rejected 0-0, round 2 of B",
    );
}

#[test]
fn r36_what_is_not_revealed_is_silence() {
    with(
        "ABC",
        Parameters { missed_turns: Some(1), ..sealed() },
        "A proposes 1 in 1 from 0: 2 vote
         B commits yes on 1 in 1: ok
         C commits yes on 1 in 1: reveal 2
         B reveals yes on 1 in 1: ok
         at 20: accepted 1-0, C suspended MissedTurns, waiting with 2",
    );
    // Nobody commits: there is nothing to wait for.
    with(
        "ABC",
        sealed(),
        "A proposes 1 in 1 from 0: 2 vote
         at 50: rejected 0-0, round 2 of B",
    );
    // Early: too few have committed for the threshold to be reached.
    with(
        "ABCDE",
        Parameters { close: Close::Early, ..sealed() },
        "A proposes 1 in 1 from 0: 4 vote
         B commits yes on 1 in 1: ok
         at 50: reveal 1, rejected 0-0, round 2 of B
         B proposes 1 in 2 from 0: 4 vote
         A commits yes on 1 in 2: ok
         C commits yes on 1 in 2: ok
         D commits yes on 1 in 2: ok
         E commits no on 1 in 2: reveal 4
         A reveals yes on 1 in 2: ok
         C reveals yes on 1 in 2: accepted 2-0, round 3 of C",
    );
    // A lone learner has nobody to wait for.
    with("A", sealed(), "A proposes 1 in 1 from 0: 0 vote, accepted 0-0, round 2 of A");
    // Not having committed is missing a turn, even when all that is committed is revealed.
    with(
        "ABC",
        Parameters { missed_turns: Some(1), ..sealed() },
        "A proposes 1 in 1 from 0: 2 vote
         B commits yes on 1 in 1: ok
         at 50: reveal 1
         B reveals yes on 1 in 1: accepted 1-0, C suspended MissedTurns, waiting with 2",
    );
}

#[test]
fn r37_votes_weigh_what_the_invitation_says() {
    check_with(
        defaults(),
        invited("A5B3C2"),
        "A joins: ok
         B joins: round 1 of A
         C joins: ok
         A proposes 1 in 1 from 0: 3 vote
         B approves 1 in 1: accepted 3-0, round 2 of B
         B proposes 2 in 2 from 1: 7 vote
         C approves 2 in 2: ok
         A rejects 2 in 2: rejected 2-5, round 3 of C
         C proposes 3 in 3 from 1: 8 vote
         B rejects 3 in 3: ok
         A approves 3 in 3: accepted 5-3, round 4 of A",
    );
}

#[test]
fn r38_patience_ends_a_run_that_gets_no_better() {
    with(
        "AB",
        Parameters { patience: Some(2), ..defaults() },
        "A proposes 1 in 1 from 0: 1 vote
         B rejects 1 in 1: rejected 0-1, round 2 of B
         B proposes 2 in 2 from 0: 1 vote
         A approves 2 in 2: accepted 1-0, round 3 of A
         A proposes 3 in 3 from 2: 1 vote
         B rejects 3 in 3: rejected 0-1, round 4 of B
         B passes 4: passed, round 5 of A
         A proposes 3 in 5 from 2: 1 vote
         B rejects 3 in 5: rejected 0-1, finished Patience",
    );
}

#[test]
fn r39_who_misses_too_many_turns_is_suspended_and_may_rejoin() {
    let parameters = Parameters { missed_turns: Some(2), ..defaults() };
    let contract = check(
        Parameters { min_learners: 2, ..parameters.clone() },
        "A joins: ok
         B joins: round 1 of A
         C joins: ok
         A proposes 1 in 1 from 0: 1 vote
         B approves 1 in 1: accepted 1-0, round 2 of B
         B proposes 2 in 2 from 1: 2 vote
         A approves 2 in 2: ok
         at 50: accepted 1-0, round 3 of C
         at 150: expired, C suspended MissedTurns, round 4 of A
         C passes 4: NotMember
         C joins: WrongTerm
         C joins term 1: ok
         A passes 4: passed, round 5 of B
         B passes 5: passed, round 6 of C
         at 250: expired, round 7 of A
         A proposes 3 in 7 from 2: 2 vote
         B approves 3 in 7: ok
         C approves 3 in 7: accepted 2-0, round 8 of B",
    );
    // A vote makes up for what was missed before.
    let member = contract.experiment(&name()).unwrap().member(learner("C")).unwrap().clone();
    assert_eq!((member.missed, member.term), (0, 1));
    // Too few are left: it waits, says so, and goes on when one returns.
    with(
        "AB",
        Parameters { missed_turns: Some(1), ..defaults() },
        "at 100: expired, A suspended MissedTurns, waiting with 1
         at 999: ok
         A joins term 1: round 2 of B",
    );
    // Passing is not missing.
    with(
        "AB",
        Parameters { missed_turns: Some(1), ..defaults() },
        "A passes 1: passed, round 2 of B",
    );
}

#[test]
fn r40_r41_an_experiment_in_which_nobody_proposes_pauses_until_somebody_returns() {
    let parameters = Parameters { idle_rotations: Some(1), ..defaults() };
    with(
        "ABC",
        parameters.clone(),
        "at 100: expired, round 2 of B
         B passes 2: passed, round 3 of C
         at 200: expired, paused NobodyProposes
         at 99999: ok
         C proposes 1 in 3 from 0: Paused
         C passes 3: Paused
         C approves 1 in 3: Paused
         D resumes 3: NotMember
         C resumes 2: WrongRound
         C resumes 3: round 4 of A
         C resumes 3: NotPaused
         A proposes 1 in 4 from 0: 2 vote",
    );
    // A proposal begins the count anew, also a rejected one.
    with(
        "AB",
        parameters.clone(),
        "A passes 1: passed, round 2 of B
         B proposes 1 in 2 from 0: 1 vote
         A rejects 1 in 2: rejected 0-1, round 3 of A
         A passes 3: passed, round 4 of B
         B passes 4: passed, paused NobodyProposes
         C joins: round 5 of C",
    );
    // Who leaves while it pauses may leave too few.
    with(
        "AB",
        Parameters { idle_rotations: Some(2), ..parameters },
        "at 100: expired, round 2 of B
         at 200: expired, round 3 of A
         at 300: expired, round 4 of B
         at 400: expired, paused NobodyProposes
         A leaves: waiting with 1
         B resumes 4: NotPaused
         C joins: round 5 of C",
    );
}

#[test]
fn r42_under_a_cap_a_proposal_says_what_it_reveals() {
    let capped = Parameters {
        privacy: Some(PrivacyCap { epsilon_micros: 1_000_000, delta_picos: 10 }),
        ..defaults()
    };
    let contract = with(
        "AB",
        capped.clone(),
        "A proposes 1 in 1 from 0: PrivacyMissing
         A proposes 1 in 1 from 0 spending 1000001: PrivacyOverCap
         A proposes 1 in 1 from 0 spending 600000: 1 vote
         B rejects 1 in 1: rejected 0-1, round 2 of B
         B proposes 1 in 2 from 0 spending 1000000: 1 vote
         A approves 1 in 2: accepted 1-0, round 3 of A
         A proposes 2 in 3 from 1 spending 599999: PrivacyInvalid
         A proposes 2 in 3 from 1 spending 600000: 1 vote",
    );
    let member = contract.experiment(&name()).unwrap().member(learner("A")).unwrap();
    assert_eq!(member.privacy.as_ref().unwrap().epsilon_micros, 600_000);

    // What cannot be is refused, with a cap or without; without one nothing need be said.
    let spent = |delta_picos, sampling_nanos, steps| PrivacySpent {
        epsilon_micros: 5,
        delta_picos,
        training: PrivateTraining::Last(PrivacySegment {
            noise_micros: 1,
            clip_micros: 1,
            sampling_nanos,
            steps,
        }),
    };
    let bad = [
        spent(1_000_000_000_001, 1_000_000_000, 1),
        spent(10, 0, 1),
        spent(10, 1_000_000_001, 1),
        spent(10, 1_000_000_000, 0),
    ];
    let mut contract = with_v1("AB", defaults(), "");
    let mut propose = |privacy| {
        let proposal = Proposal { privacy, ..proposal(1, Digest([0; 32]), model(1)) };
        contract.apply(at(1), learner("A"), &Action::new(name(), Act::Propose(proposal)))
    };
    for bad in bad {
        assert_eq!(propose(Some(bad)), Err(Rejection::PrivacyInvalid));
    }
    assert!(propose(Some(spent(10, 1_000_000_000, 1))).is_ok());
    with("AB", defaults(), "A proposes 1 in 1 from 0: 1 vote");
    // Coming back does not restore a budget.
    with(
        "AB",
        capped,
        "A proposes 1 in 1 from 0 spending 900000: 1 vote
         A leaves: ok
         B approves 1 in 1: accepted 1-0, waiting with 1
         A joins term 1: round 2 of B
         B passes 2: passed, round 3 of A
         A proposes 2 in 3 from 1 spending 100: PrivacyInvalid",
    );
}

#[test]
fn r43_v1_who_has_spent_its_budget_has_no_turns_but_votes() {
    with_v1(
        "ABC",
        defaults(),
        "A passes 1 exhausted: passed, round 2 of B
         B proposes 1 in 2 from 0: 2 vote
         A approves 1 in 2: ok
         C approves 1 in 2: accepted 2-0, round 3 of C
         C passes 3: passed, round 4 of B
         B passes 4 exhausted: passed, round 5 of C
         C passes 5 exhausted: passed, paused BudgetsSpent
         A resumes 5: BudgetsSpent
         D joins: round 6 of D",
    );
    check_v1(
        Parameters { selection: Selection::Sortition, ..defaults() },
        Admission::Open,
        "A joins: ok
         B joins: round 1 of B
         B passes 1 exhausted: passed, round 2 of A
         A passes 2: passed, round 3 of A",
    );
}

#[test]
fn r44_to_r48_v1_members_decide_together() {
    let contract = with_v1(
        "ABC",
        Parameters { creator_may_stop: false, ..defaults() },
        "Z stops: NotCreator
         D moves 1 stop: NotMember
         D joins: ok
         D moves 1 stop: NotInElectorate
         A moves 2 stop: WrongMotion
         A moves 1 set max_rounds 0: MotionInvalid
         A moves 1 admit E0: MotionInvalid
         A moves 1 expel E: NoSuchMember
         A moves 1 set threshold 1/1: motion 1: 2 vote
         A moves 2 stop: MotionsOpen
         A seconds 1: ProposerCannotVote
         D seconds 1: NotInElectorate
         E seconds 1: NotMember
         B seconds 2: NoSuchMotion
         B seconds 1: motion 1 adopted 1-0
         C seconds 1: NoSuchMotion
         A proposes 1 in 1 from 0: 2 vote
         B approves 1 in 1: ok
         C rejects 1 in 1: accepted 1-1, motion 1 in effect, round 2 of B
         B proposes 2 in 2 from 1: 3 vote
         A approves 2 in 2: ok
         C approves 2 in 2: ok
         D rejects 2 in 2: rejected 2-1, round 3 of C
         D moves 2 stop: motion 2: 3 vote
         A opposes 2: motion 2 rejected 0-1
         D moves 3 stop: motion 3: 3 vote
         A seconds 3: ok
         A seconds 3: AlreadyVoted
         B seconds 3: ok
         C seconds 3: motion 3 adopted 3-0, motion 3 in effect, finished Stopped
         A moves 4 stop: ExperimentFinished
         A seconds 3: ExperimentFinished",
    );
    assert_eq!(
        *contract.experiment(&name()).unwrap().phase(),
        Phase::Finished(FinishReason::Stopped)
    );
}

#[test]
fn r44_v1_those_who_come_first_do_not_decide_for_the_others() {
    check_v1(
        Parameters { min_learners: 3, ..defaults() },
        Admission::Open,
        "A joins: ok
         A moves 1 stop: WaitingForMembers
         B joins: ok
         A moves 1 stop: WaitingForMembers
         C joins: round 1 of A
         B leaves: ok
         C leaves: ok
         A passes 1: passed, waiting with 1
         A moves 1 set min_learners 1: WaitingForMembers
         B joins term 1: ok
         A moves 1 set min_learners 2: motion 1: 1 vote
         B seconds 1: motion 1 adopted 1-0, motion 1 in effect, round 2 of B",
    );
    // Where one is enough, one may decide.
    check_v1(
        Parameters { min_learners: 1, ..defaults() },
        Admission::Open,
        "A joins: round 1 of A
         A moves 1 stop: motion 1: 0 vote, motion 1 adopted 0-0, motion 1 in effect, finished Stopped",
    );
}

#[test]
fn r45_motions_are_bounded() {
    for version in VERSIONS {
        let parameters =
            Parameters { min_learners: 200, proposal_deadline_ms: 99_999, ..defaults() };
        let mut contract = created(version, parameters, Admission::Open);
        let id = |i: u8| colearn_contracts::LearnerId([i; 32]);
        let join = join(&contract, 0);
        for i in 0..200 {
            contract.apply(at(0), id(i), &join).unwrap();
        }
        for i in 0..=MAX_OPEN_MOTIONS {
            let number = i as u64 + 1;
            let stop = Action::new(name(), Act::Move { number, motion: Motion::Stop });
            let moved = contract.apply(at(0), id(i as u8), &stop);
            assert_eq!(moved.is_ok(), i < MAX_OPEN_MOTIONS, "{moved:?}");
        }
        // All lapse at their deadline.
        assert_eq!(contract.advance(at(1000)).len(), MAX_OPEN_MOTIONS);
    }
}

#[test]
fn r47_v1_a_motion_lapses_at_its_deadline_and_has_a_threshold_of_its_own() {
    let parameters = Parameters {
        governance_threshold: Some("2/3".parse().unwrap()),
        proposal_deadline_ms: 5000,
        ..defaults()
    };
    with_v1(
        "ABCD",
        parameters,
        "A moves 1 suspend D: motion 1: 3 vote
         B seconds 1: ok
         at 999: ok
         at 1000: motion 1 rejected 1-0
         C seconds 1: NoSuchMotion
         A moves 2 suspend D: motion 2: 3 vote
         B seconds 2: ok
         D opposes 2: ok
         C seconds 2: motion 2 adopted 2-1
         A passes 1: passed, D suspended Decided, motion 2 in effect, waiting with 3
         D joins term 1: round 2 of B",
    );
    // Even for a driver that forgot to advance.
    let mut contract = with_v1("ABCD", defaults(), "A moves 1 stop: motion 1: 3 vote");
    let second = Action::new(name(), Act::MotionVote { number: 1, approve: true });
    assert_eq!(contract.apply(at(1000), learner("B"), &second), Err(Rejection::DeadlinePassed));
}

#[test]
fn r48_r49_v1_whom_the_members_admit_may_join() {
    check_v1(
        defaults(),
        by_vote("AB"),
        "C joins: NotInvited
         A joins: ok
         B joins: round 1 of A
         A moves 1 admit C2: motion 1: 1 vote
         C joins: NotInvited
         B seconds 1: motion 1 adopted 1-0, motion 1 in effect
         C joins: ok
         A passes 1: passed, round 2 of B
         B proposes 1 in 2 from 0: 3 vote
         C approves 1 in 2: ok
         A approves 1 in 2: accepted 3-0, round 3 of C",
    );
}

#[test]
fn r50_v1_who_is_expelled_may_not_return_until_it_is_admitted_again() {
    for admission in [Admission::Open, invited("ABC")] {
        check_v1(
            Parameters { proposal_deadline_ms: 5000, ..defaults() },
            admission,
            "A joins: ok
             B joins: round 1 of A
             C joins: ok
             A passes 1: passed, round 2 of B
             A moves 1 expel C: motion 1: 2 vote
             B seconds 1: motion 1 adopted 1-0
             C becomes D: ok
             B passes 2: passed, D suspended Expelled, motion 1 in effect, round 3 of A
             D joins term 1: Expelled
             D becomes E: Expelled
             C joins: KeyReplaced
             A moves 2 admit D: motion 2: 1 vote
             B seconds 2: motion 2 adopted 1-0, motion 2 in effect
             D joins term 1: ok
             A passes 3: passed, round 4 of B",
        );
    }
}

#[test]
fn r29_v1_the_creator_stops_alone_only_where_nobody_takes_part_or_the_rules_say_so() {
    let governed = Parameters { creator_may_stop: false, ..defaults() };
    let check = |parameters, script| check_v1(parameters, Admission::Open, script);
    check(governed.clone(), "A stops: NotCreator\n Z stops: finished Stopped");
    check(governed, "A joins: ok\n Z stops: NotCreator\n A leaves: ok\n Z stops: finished Stopped");
    check(defaults(), "A joins: ok\n A stops: NotCreator\n Z stops: finished Stopped");
}

#[test]
fn rejections_keep_their_precedence_from_r31_on_v1() {
    check_v1(
        Parameters {
            privacy: Some(PrivacyCap { epsilon_micros: 100, delta_picos: 10 }),
            ballot: BallotKind::Sealed,
            ..defaults()
        },
        invited("ABC"),
        // Not a member, waiting, the wrong round, the wrong turn, the wrong base, then privacy.
        "A moves 7 expel Q: NotMember
         A joins: ok
         A moves 7 expel Q: WaitingForMembers
         A commits yes on 9 in 9: WaitingForMembers
         B joins: round 1 of A
         C joins: ok
         C moves 7 expel Q: NotInElectorate
         A moves 7 expel Q: WrongMotion
         A moves 1 expel Q: NoSuchMember
         A commits yes on 9 in 9: WrongRound
         B commits yes on 9 in 1: NothingProposed
         A proposes 1 in 1 from 9: WrongBase
         A proposes 1 in 1 from 0: PrivacyMissing
         A proposes 1 in 1 from 0 spending 100: 1 vote
         A approves 9 in 1: BallotSealed
         A commits yes on 9 in 1: WrongProposal
         C commits yes on 1 in 1: NotInElectorate
         B commits yes on 1 in 1: reveal 1
         B reveals no on 9 in 1: WrongProposal
         A reveals no on 1 in 1: ProposerCannotVote
         C reveals no on 1 in 1: NotInElectorate
         B reveals no on 1 in 1: RevealMismatch",
    );
}
