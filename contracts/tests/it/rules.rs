//! One test a rule from R1 to R30, both sides of each boundary: under every version, where they agree.

use colearn_contracts::{
    Act, Action, Admission, Contract, CreateExperiment, Digest, ExperimentName, InvalidParameters,
    MAX_EXPERIMENTS, MAX_INVITED, MAX_MEMBERS, MAX_WEIGHTS_BYTES, MERGED_MEDIA_TYPE, Model,
    Parameters, Rejection, Threshold, Version,
};

use crate::script::{
    VERSIONS, at, check, check_with, created, defaults, invited, join, learner, model, name,
    proposal,
};

#[test]
fn r1_names() {
    let longest = "a".repeat(64);
    for good in ["a", "0", "digits-2026.v1_b", longest.as_str()] {
        assert!(good.parse::<ExperimentName>().is_ok(), "{good}");
    }
    let too_long = "a".repeat(65);
    for bad in ["", "A", "-a", ".a", "_a", "a b", "a/b", "é", too_long.as_str()] {
        assert!(bad.parse::<ExperimentName>().is_err(), "{bad}");
    }
}

#[test]
fn r2_parameters_keep_their_bounds() {
    let day = 24 * 3_600_000;
    let check = |change: &dyn Fn(&mut Parameters, &mut Model)| {
        let (mut parameters, mut model) = (defaults(), model(0));
        change(&mut parameters, &mut model);
        let [first, second] = VERSIONS.map(|version| parameters.check(version, &model));
        assert_eq!(first, second);
        first
    };
    let admit = |admission: Admission| {
        let [first, second] = VERSIONS.map(|version| admission.check(version, &defaults()));
        assert_eq!(first, second);
        first
    };
    let fraction = Threshold::at_least;
    let keys = |count: usize| {
        let key = |i: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(i as u64).to_be_bytes());
            colearn_contracts::LearnerId(key)
        };
        Admission::invite((0..count).map(key))
    };
    let ok = Ok(());

    assert_eq!(check(&|p, _| p.threshold = fraction(0, 1)), ok);
    assert_eq!(check(&|p, _| p.threshold = fraction(1, 1)), ok);
    assert_eq!(check(&|p, _| p.threshold = fraction(2, 1)), Err(InvalidParameters::Threshold));
    assert_eq!(check(&|p, _| p.threshold = fraction(0, 0)), Err(InvalidParameters::Threshold));

    assert_eq!(check(&|p, _| p.proposal_deadline_ms = 10), ok);
    assert_eq!(check(&|p, _| p.proposal_deadline_ms = 9), Err(InvalidParameters::Deadline));
    assert_eq!(check(&|p, _| p.vote_deadline_ms = 30 * day), ok);
    assert_eq!(check(&|p, _| p.vote_deadline_ms = 30 * day + 1), Err(InvalidParameters::Deadline));

    assert_eq!(admit(keys(MAX_INVITED)), ok);
    assert_eq!(admit(keys(MAX_INVITED + 1)), Err(InvalidParameters::Invited));
    assert_eq!(admit(keys(0)), Err(InvalidParameters::Invited));
    assert_eq!(admit(invited("BA")), Err(InvalidParameters::Invited));
    assert_eq!(admit(invited("AA")), Err(InvalidParameters::Invited));

    assert_eq!(check(&|p, _| p.min_learners = 1), ok);
    assert_eq!(check(&|p, _| p.min_learners = 0), Err(InvalidParameters::MinLearners));
    assert_eq!(check(&|p, _| p.min_learners = MAX_MEMBERS as u32), ok);
    assert_eq!(
        check(&|p, _| p.min_learners = MAX_MEMBERS as u32 + 1),
        Err(InvalidParameters::MinLearners)
    );
    assert_eq!(admit(invited("AB")), ok);
    assert_eq!(admit(invited("A")), Err(InvalidParameters::MinLearners));

    assert_eq!(check(&|p, _| p.max_rounds = Some(1)), ok);
    assert_eq!(check(&|p, _| p.max_rounds = Some(0)), Err(InvalidParameters::MaxRounds));

    assert_eq!(check(&|p, _| p.max_weights_bytes = MAX_WEIGHTS_BYTES), ok);
    assert_eq!(
        check(&|p, _| p.max_weights_bytes = MAX_WEIGHTS_BYTES + 1),
        Err(InvalidParameters::WeightsLimit)
    );
    assert_eq!(check(&|p, m| m.size = p.max_weights_bytes), ok);
    assert_eq!(check(&|p, m| m.size = p.max_weights_bytes + 1), Err(InvalidParameters::ModelSize));
    assert_eq!(check(&|_, m| m.size = 0), Err(InvalidParameters::ModelSize));

    assert_eq!(check(&|_, m| m.media_type = "x".repeat(100)), ok);
    for bad in [String::new(), "x".repeat(101), "a b".into(), "\u{e9}".into()] {
        assert_eq!(
            check(&|_, m| m.media_type = bad.clone()),
            Err(InvalidParameters::MediaType),
            "{bad}"
        );
    }
    // Precedence: the first bound in the order of the variants.
    assert_eq!(
        check(&|p, m| (p.threshold, m.size) = (fraction(2, 1), 0)),
        Err(InvalidParameters::Threshold)
    );
}

#[test]
fn r3_v1_a_name_is_used_once_and_experiments_are_bounded() {
    let create = |text: &str| {
        Action::new(
            text.parse().unwrap(),
            Act::Create(CreateExperiment {
                version: 1,
                parameters: defaults(),
                admission: Admission::Open,
                model: model(0),
                plan: None,
            }),
        )
    };
    let mut contract = Contract::new(Digest([0; 32]), Version::V1);
    for i in 0..MAX_EXPERIMENTS {
        contract.apply(at(0), learner("A"), &create(&format!("e{i}"))).unwrap();
    }
    let full = contract.apply(at(0), learner("A"), &create("one-more"));
    assert_eq!(full, Err(Rejection::TooManyExperiments));
    let taken = contract.apply(at(0), learner("B"), &create("e0"));
    assert_eq!(taken, Err(Rejection::ExperimentExists));
    let stop = Action::new("e0".parse().unwrap(), Act::Stop);
    contract.apply(at(0), learner("A"), &stop).unwrap();
    let taken = contract.apply(at(0), learner("A"), &create("e0"));
    assert_eq!(taken, Err(Rejection::ExperimentExists));
}

#[test]
fn r4_an_action_names_an_existing_experiment() {
    check(defaults(), "A joins nowhere: UnknownExperiment");
}

#[test]
fn r5_nothing_changes_a_finished_experiment() {
    check(
        defaults(),
        "A joins: ok
         Z stops: finished Stopped
         A joins: ExperimentFinished
         A leaves: ExperimentFinished
         A proposes 1 in 0 from 0: ExperimentFinished
         A passes 0: ExperimentFinished
         A approves 1 in 0: ExperimentFinished
         Z stops: ExperimentFinished
         at 1000000: ok",
    );
}

#[test]
fn r6_only_the_invited_join() {
    check_with(
        defaults(),
        invited("AB"),
        "C joins: NotInvited
         A joins: ok
         B joins: round 1 of A",
    );
    check(defaults(), "C joins: ok");
}

#[test]
fn r7_one_membership_at_a_time_and_no_replay_of_an_old_one() {
    check(
        defaults(),
        "A joins term 1: WrongTerm
         A joins: ok
         A joins: AlreadyMember
         A leaves term 1: WrongTerm
         A leaves: ok
         A joins: WrongTerm
         A leaves: NotMember
         A joins term 1: ok
         A leaves: WrongTerm
         A leaves term 1: ok
         A joins term 2: ok",
    );
}

#[test]
fn r8_members_are_bounded_but_who_was_one_may_return() {
    for version in VERSIONS {
        let parameters = Parameters { min_learners: MAX_MEMBERS as u32, ..defaults() };
        let mut contract = created(version, parameters, Admission::Open);
        let id = |i: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(i as u64).to_be_bytes());
            colearn_contracts::LearnerId(key)
        };
        let join = |term| join(&contract, term);
        let (first, again) = (join(0), join(1));
        for i in 0..MAX_MEMBERS - 1 {
            contract.apply(at(0), id(i), &first).unwrap();
        }
        let leave = Act::Leave { term: 0, renounce: false };
        contract.apply(at(0), id(0), &Action::new(name(), leave)).unwrap();
        contract.apply(at(0), id(MAX_MEMBERS - 1), &first).unwrap();
        let one_more = contract.apply(at(0), id(MAX_MEMBERS), &first);
        assert_eq!(one_more, Err(Rejection::TooManyMembers));
        assert_eq!(contract.apply(at(0), id(0), &again).unwrap().len(), 1);
    }
}

#[test]
fn r9_only_members_act() {
    check(
        defaults(),
        "A leaves: NotMember
         A joins: ok
         B joins: round 1 of A
         C leaves: NotMember
         C proposes 1 in 1 from 0: NotMember
         C passes 1: NotMember
         A proposes 1 in 1 from 0: 1 vote
         C approves 1 in 1: NotMember",
    );
}

#[test]
fn r10_nothing_happens_while_waiting() {
    check(
        defaults(),
        "A joins: ok
         A proposes 1 in 1 from 0: WaitingForMembers
         A passes 1: WaitingForMembers
         A approves 1 in 1: WaitingForMembers
         B joins: round 1 of A
         A proposes 1 in 1 from 0: 1 vote",
    );
}

#[test]
fn r11_only_the_current_round_is_open() {
    check(
        defaults(),
        "A joins: ok
         B joins: round 1 of A
         A proposes 1 in 0 from 0: WrongRound
         A proposes 1 in 2 from 0: WrongRound
         A passes 2: WrongRound
         A proposes 1 in 1 from 0: 1 vote
         B approves 1 in 2: WrongRound
         B approves 1 in 1: accepted 1-0, round 2 of B
         B approves 1 in 1: WrongRound",
    );
}

#[test]
fn r12_one_proposal_then_votes() {
    check(
        defaults(),
        "A joins: ok
         B joins: round 1 of A
         B approves 1 in 1: NothingProposed
         A proposes 1 in 1 from 0: 1 vote
         A proposes 2 in 1 from 0: AlreadyProposed
         A passes 1: AlreadyProposed",
    );
}

#[test]
fn r13_a_deadline_is_exclusive() {
    check(
        defaults(),
        "A joins: ok
         B joins: round 1 of A
         at 99: ok
         at 100: expired, round 2 of B
         at 199: ok
         B proposes 1 in 2 from 0: 1 vote
         at 248: ok
         at 249: rejected 0-0, round 3 of A",
    );
    // The rule holds even for a driver that forgot to advance first.
    let mut contract = check(defaults(), "A joins: ok\n B joins: round 1 of A");
    let pass = Action::new(name(), Act::Pass { round: 1, exhausted: false, reason: None });
    assert_eq!(contract.apply(at(100), learner("A"), &pass), Err(Rejection::DeadlinePassed));
    assert!(contract.apply(at(99), learner("A"), &pass).is_ok());
}

#[test]
fn r14_one_proposer_a_round() {
    check(
        defaults(),
        "A joins: ok
         B joins: round 1 of A
         B proposes 1 in 1 from 0: NotYourTurn
         B passes 1: NotYourTurn
         A passes 1: passed, round 2 of B",
    );
}

#[test]
fn r15_a_proposal_builds_on_the_global_model() {
    check(
        defaults(),
        "A joins: ok
         B joins: round 1 of A
         A proposes 1 in 1 from 9: WrongBase
         A proposes 1 in 1 from 0: 1 vote
         B approves 1 in 1: accepted 1-0, round 2 of B
         B proposes 2 in 2 from 0: WrongBase
         B proposes 2 in 2 from 1: 1 vote",
    );
}

#[test]
fn r16_weights_keep_their_size_and_type() {
    let mut contract = check(
        Parameters { max_weights_bytes: 20, ..defaults() },
        "A joins: ok
         B joins: round 1 of A",
    );
    let mut propose = |size, media_type: &str| {
        let weights = Model { size, media_type: media_type.into(), ..model(1) };
        let propose = Act::Propose(proposal(1, Digest([0; 32]), weights));
        contract.apply(at(1), learner("A"), &Action::new(name(), propose))
    };
    assert_eq!(propose(0, MERGED_MEDIA_TYPE), Err(Rejection::WeightsSize { limit: 20 }));
    assert_eq!(propose(21, MERGED_MEDIA_TYPE), Err(Rejection::WeightsSize { limit: 20 }));
    assert_eq!(propose(20, "n"), Err(Rejection::MediaTypeDiffers));
    assert!(propose(20, MERGED_MEDIA_TYPE).is_ok());
}

#[test]
fn r17_to_r20_who_votes_on_what_and_how_often() {
    check(
        defaults(),
        "A joins: ok
         B joins: round 1 of A
         C joins: ok
         A proposes 1 in 1 from 0: 1 vote
         B approves 2 in 1: WrongProposal
         A approves 1 in 1: ProposerCannotVote
         C approves 1 in 1: NotInElectorate
         B rejects 1 in 1: rejected 0-1, round 2 of B
         B proposes 1 in 2 from 0: 2 vote
         C approves 1 in 2: ok
         C approves 1 in 2: AlreadyVoted
         C rejects 1 in 2: AlreadyVoted
         A approves 1 in 2: accepted 2-0, round 3 of C",
    );
}

#[test]
fn r21_exactly_reaching_the_threshold_counts_and_silence_is_not_approval() {
    let rounds = |threshold: &str, script: &str| {
        check(
            Parameters { threshold: threshold.parse().unwrap(), min_learners: 5, ..defaults() },
            &format!(
                "A joins: ok
                 B joins: ok
                 C joins: ok
                 D joins: ok
                 E joins: round 1 of A
                 A proposes 1 in 1 from 0: 4 vote
                 {script}"
            ),
        )
    };
    rounds(
        "1/2",
        "B approves 1 in 1: ok
         C approves 1 in 1: ok
         D rejects 1 in 1: ok
         E rejects 1 in 1: accepted 2-2, round 2 of B",
    );
    rounds(
        "1/2",
        "B approves 1 in 1: ok
         C rejects 1 in 1: ok
         D rejects 1 in 1: ok
         E rejects 1 in 1: rejected 1-3, round 2 of B",
    );
    // Two of four approve, one short of 2/3, though nobody objects.
    rounds(
        "2/3",
        "B approves 1 in 1: ok
         C approves 1 in 1: ok
         at 50: rejected 2-0, round 2 of B",
    );
    rounds("0/1", "at 50: accepted 0-0, round 2 of B");
}

#[test]
fn r21_one_learner_and_two() {
    check(
        Parameters { min_learners: 1, threshold: "1/1".parse().unwrap(), ..defaults() },
        "A joins: round 1 of A
         A proposes 1 in 1 from 0: 0 vote, accepted 0-0, round 2 of A
         B joins: ok
         A proposes 2 in 2 from 1: 0 vote, accepted 0-0, round 3 of B
         B proposes 3 in 3 from 2: 1 vote
         A rejects 3 in 3: rejected 0-1, round 4 of A
         A proposes 3 in 4 from 2: 1 vote
         B approves 3 in 4: accepted 1-0, round 5 of B",
    );
}

#[test]
fn r22_voting_ends_with_the_last_vote_or_the_deadline() {
    check(
        Parameters { min_learners: 3, ..defaults() },
        "A joins: ok
         B joins: ok
         C joins: round 1 of A
         A proposes 1 in 1 from 0: 2 vote
         B approves 1 in 1: ok
         at 49: ok
         C rejects 1 in 1: accepted 1-1, round 2 of B
         B proposes 2 in 2 from 1: 2 vote
         at 98: ok
         at 99: rejected 0-0, round 3 of C",
    );
}

#[test]
fn r23_only_an_accepted_proposal_changes_the_model() {
    let contract = check(
        defaults(),
        "A joins: ok
         B joins: round 1 of A
         A proposes 1 in 1 from 0: 1 vote
         B approves 1 in 1: accepted 1-0, round 2 of B
         B proposes 2 in 2 from 1: 1 vote
         A rejects 2 in 2: rejected 0-1, round 3 of A
         A passes 3: passed, round 4 of B
         at 100: expired, round 5 of A",
    );
    assert_eq!(contract.experiment(&name()).unwrap().model(), &model(1));
}

#[test]
fn r24_r25_turns_follow_joining_order_and_seats_change_between_rounds() {
    check(
        defaults(),
        "C joins: ok
         A joins: round 1 of C
         B joins: ok
         C passes 1: passed, round 2 of A
         A passes 2: passed, round 3 of B
         C leaves: ok
         B proposes 1 in 3 from 0: 2 vote
         A approves 1 in 3: ok
         C approves 1 in 3: accepted 2-0, round 4 of A
         C approves 1 in 4: NotMember
         C joins term 1: ok
         A passes 4: passed, round 5 of B
         B passes 5: passed, round 6 of C",
    );
}

#[test]
fn r26_too_few_members_wait_and_resume() {
    check(
        defaults(),
        "A joins: ok
         B joins: round 1 of A
         B leaves: ok
         A proposes 1 in 1 from 0: 1 vote
         B approves 1 in 1: accepted 1-0, waiting with 1
         at 100000: ok
         C joins: round 2 of C",
    );
}

#[test]
fn r27_the_experiment_finishes_after_max_rounds() {
    check(
        Parameters { max_rounds: Some(2), ..defaults() },
        "A joins: ok
         B joins: round 1 of A
         A passes 1: passed, round 2 of B
         at 100: expired, finished MaxRounds
         A joins: ExperimentFinished",
    );
}

#[test]
fn r28_leaving_before_proposing_passes_the_turn() {
    check(
        Parameters { min_learners: 1, ..defaults() },
        "A joins: round 1 of A
         B joins: ok
         A leaves: passed, round 2 of B
         B leaves: passed, waiting with 0",
    );
}

#[test]
fn r29_only_the_creator_stops() {
    check(
        defaults(),
        "A joins: ok
         A stops: NotCreator
         B joins: round 1 of A
         A proposes 1 in 1 from 0: 1 vote
         Z stops: finished Stopped",
    );
}

#[test]
fn r30_time_never_runs_backwards() {
    check(
        defaults(),
        "at 500: ok
         A joins: ok
         at 3: ok
         B joins: round 1 of A
         at 599: ok
         at 600: expired, round 2 of B
         at 100: ok
         B passes 2: passed, round 3 of A
         at 699: ok
         at 700: expired, round 4 of B",
    );
    // Time that nothing happened at is not recorded, so a replay could not know of it.
    check(
        defaults(),
        "at 500: ok
         at 3: ok
         A joins: ok
         B joins: round 1 of A
         at 102: ok
         at 103: expired, round 2 of B",
    );
}

#[test]
fn rejections_keep_their_precedence() {
    check_with(
        defaults(),
        invited("AB"),
        // Not a member (R9) before waiting (R10) before the wrong round (R11).
        "C approves 1 in 7: NotMember
         A joins: ok
         A approves 1 in 7: WaitingForMembers
         B joins: round 1 of A
         B approves 1 in 7: WrongRound
         B proposes 1 in 1 from 9: NotYourTurn
         A proposes 1 in 1 from 0: 1 vote
         A approves 2 in 1: WrongProposal
         Z stops: finished Stopped
         C joins: ExperimentFinished",
    );
}

#[test]
fn every_message_names_its_rule() {
    let readme = include_str!("../../README.md");
    for rejection in [
        Rejection::InvalidParameters(InvalidParameters::Threshold),
        Rejection::UnknownExperiment,
        Rejection::NotCreator,
        Rejection::WrongRound { current: 3 },
        Rejection::AlreadyVoted,
    ] {
        let rule = format!("R{}", rejection.rule());
        assert!(rejection.to_string().starts_with(&format!("{rule}: ")));
        assert!(readme.contains(&format!("| {rule} |")));
    }
}
