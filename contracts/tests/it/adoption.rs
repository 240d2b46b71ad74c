//! Which rules an experiment follows, and what who joins has agreed to: R51 to R53, R69.

use colearn_contracts::{
    Act, Action, Admission, Choice, Close, Commit, Contract, Digest, Evaluation, ExperimentName,
    Invitation, Join, Limits, Merging, Motion, Parameters, PrivacyCap, PrivacySpent,
    PrivateTraining, Proposal, Reason, Rejection, Reveal, Selection, Threshold, Version, Vote,
    terms,
};
use sha2::{Digest as _, Sha256};

use crate::script::{
    VERSIONS, at, by_vote, check_v1, check_v2, create_under, created, defaults, invited, joined,
    learner, model, name, play, proposal, segments, vote,
};

fn upgraded(mut contract: Contract) -> Contract {
    contract.upgrade(0, Version::V2, Limits::default()).unwrap();
    contract
}

/// Plays under version 1, upgrades the ledger, and plays on.
fn check_upgraded(parameters: Parameters, admission: Admission, v1: &str, then: &str) -> Contract {
    let mut contract = upgraded(check_v1(parameters, admission, v1));
    play(&mut contract, &name(), then);
    contract
}

fn patient() -> Parameters {
    Parameters { proposal_deadline_ms: 50_000_000, creator_may_stop: false, ..defaults() }
}

/// Everything that can be said only from version 2 on.
fn said_later() -> Vec<Act> {
    let zeros = Digest([0; 32]);
    let for_it = vote(1, zeros, Choice::Approve);
    let strict = Parameters { threshold: Threshold::MORE_THAN_HALF, ..defaults() };
    let strict_governance =
        Parameters { governance_threshold: Some(Threshold::MORE_THAN_HALF), ..defaults() };
    let someone = || Invitation::new(learner("D"), 1);
    let moved = |motion| Act::Move { number: 1, motion };
    let training = PrivateTraining::All(segments("1x1"));
    let spent = PrivacySpent { epsilon_micros: 1, delta_picos: 1, training };
    let reveal = |vote| Act::Reveal(Reveal { vote, salt: [0; 32] });
    let (round, weights, commitment, link) = (1, zeros, zeros, Some(zeros));
    vec![
        Act::Join(Join::new(0, Some(zeros))),
        Act::Join(Join { name: Some("Clinic".parse().unwrap()), ..Join::new(0, None) }),
        Act::Leave { term: 0, renounce: true },
        Act::Propose(Proposal { privacy: Some(spent), ..proposal(1, zeros, model(1)) }),
        Act::Pass { round: 1, exhausted: false, reason: Some(Reason::Failed) },
        Act::Vote(vote(1, zeros, Choice::Abstain)),
        Act::Vote(Vote { reason: Some(Reason::Worse), ..vote(1, zeros, Choice::Reject) }),
        Act::Vote(Vote { link, ..for_it.clone() }),
        Act::Commit(Commit { round, weights, commitment, link }),
        reveal(vote(1, zeros, Choice::Abstain)),
        reveal(Vote { reason: Some(Reason::Worse), ..vote(1, zeros, Choice::Reject) }),
        reveal(Vote { link, ..for_it }),
        moved(Motion::SetParameters(Box::new(strict))),
        moved(Motion::SetParameters(Box::new(strict_governance))),
        moved(Motion::Admit(Invitation { judge: true, ..someone() })),
        moved(Motion::Admit(Invitation { name: Some("D".parse().unwrap()), ..someone() })),
        Act::Evaluate(Evaluation { number: 1, model: zeros, measures: Vec::new() }),
    ]
}

#[test]
fn r51_what_a_later_version_brought_is_refused_in_an_earlier_experiment() {
    let refused = Err(Rejection::NotInVersion { needed: 2 });
    let finished = "Z stops: finished Stopped";
    let contracts = [
        created(Version::V1, defaults(), Admission::Open),
        // Whatever the ledger follows since, and before all else, also that it has finished.
        upgraded(created(Version::V1, defaults(), Admission::Open)),
        check_v1(defaults(), Admission::Open, finished),
    ];
    for mut contract in contracts {
        for act in said_later() {
            assert_eq!(act.needs(), Version::V2);
            let action = Action::new(name(), act);
            assert_eq!(contract.apply(at(0), learner("A"), &action), refused, "{action:?}");
        }
    }
    // In version 2 it is refused by its own rule, if at all.
    let mut contract = created(Version::V2, defaults(), Admission::Open);
    for act in said_later() {
        let action = Action::new(name(), act);
        assert_ne!(contract.apply(at(0), learner("A"), &action), refused, "{action:?}");
    }
}

#[test]
fn r51_r52_an_experiment_is_created_for_the_version_in_force() {
    let strict = Parameters { threshold: Threshold::MORE_THAN_HALF, ..defaults() };
    let named = |judge, name: Option<&str>| {
        let more = Invitation {
            judge,
            name: name.map(|name| name.parse().unwrap()),
            ..Invitation::new(learner("A"), 1)
        };
        Admission::Invited(vec![more, Invitation::new(learner("B"), 1)])
    };
    for (parameters, admission) in [
        (strict, Admission::Open),
        (defaults(), named(true, None)),
        (defaults(), named(false, Some("Clinic"))),
    ] {
        let [mut first, mut second] =
            VERSIONS.map(|version| Contract::new(Digest([0; 32]), version));
        let create = |version| create_under(version, parameters.clone(), admission.clone());
        let [for_1, for_2] = VERSIONS.map(create);
        let told = first.apply(at(0), learner("Z"), &for_1);
        assert_eq!(told, Err(Rejection::NotInVersion { needed: 2 }));
        // R52 before R51: it was made for the wrong version altogether.
        let told = first.apply(at(0), learner("Z"), &for_2);
        assert_eq!(told, Err(Rejection::OtherVersion { current: 1 }));
        let told = second.apply(at(0), learner("Z"), &for_1);
        assert_eq!(told, Err(Rejection::OtherVersion { current: 2 }));
        assert_eq!(second.apply(at(0), learner("Z"), &for_2), Ok(vec![]));
    }
    // An unknown one is another one.
    let mut create = create_under(Version::V2, defaults(), Admission::Open);
    let Act::Create(it) = &mut create.what else { panic!() };
    it.version = 3;
    let told = Contract::new(Digest([0; 32]), Version::V2).apply(at(0), learner("Z"), &create);
    assert_eq!(told, Err(Rejection::OtherVersion { current: 2 }));
}

#[test]
fn r53_who_joins_names_the_terms_that_it_has_seen() {
    check_v2(
        defaults(),
        invited("ABC"),
        "A joins blindly: OtherTerms
         D joins blindly: NotInvited
         A joins blindly term 1: WrongTerm
         A joins: ok
         A joins blindly: AlreadyMember
         B joins: round 1 of A",
    );
    // Naming none is naming others.
    let mut contract = created(Version::V2, defaults(), Admission::Open);
    let current = contract.experiment(&name()).unwrap().terms();
    let join = Action::new(name(), Act::Join(Join::new(0, None)));
    let told = contract.apply(at(0), learner("A"), &join);
    assert_eq!(told, Err(Rejection::OtherTerms { current }));
}

#[test]
fn r53_terms_change_with_what_is_agreed_to_and_with_nothing_else() {
    let terms = |contract: &Contract| contract.experiment(&name()).unwrap().terms();
    let mut contract = check_v2(patient(), by_vote("ABCD"), "");
    let mut seen = vec![terms(&contract)];
    let mut step = |script: &str, changes: bool| {
        play(&mut contract, &name(), script);
        let (now, before) = (terms(&contract), *seen.last().unwrap());
        assert_eq!(now != before, changes, "{script}");
        // It is what the experiment is, whichever way it came there.
        let it = contract.experiment(&name()).unwrap();
        let again =
            colearn_contracts::terms(it.version(), it.creator(), it.parameters(), &it.admission());
        assert_eq!(now, again, "{script}");
        if changes {
            assert!(!seen.contains(&now), "{script}");
            seen.push(now);
        }
    };
    step("A joins as Clinic: ok\n B joins: round 1 of A", false);
    step("A proposes 1 in 1 from 0: 1 vote\n B approves 1 in 1: accepted 1-0, round 2 of B", false);
    step("A moves 1 set max_rounds 9: motion 1: 4 vote\n C seconds 1: ok", false);
    // Adopted, but not in effect.
    step("D seconds 1: motion 1 adopted 3-0", false);
    step("B passes 2: passed, motion 1 in effect, round 3 of A", true);
    step("A becomes E: ok", true);
    step("Z becomes Y: ok", true);
    step("D renounces: ok", true);
    step(
        "E moves 2 admit F3 judge as Lab: motion 2: 3 vote\n B seconds 2: motion 2 adopted 2-0",
        false,
    );
    step("E passes 3: passed, motion 2 in effect, round 4 of B", true);
    step("F moves 3 expel C: motion 3: 6 vote\n B seconds 3: motion 3 adopted 4-0", false);
    step("B passes 4: passed, C suspended Expelled, motion 3 in effect, round 5 of E", true);
    step("F joins: ok\n E leaves: passed, round 6 of B", false);
}

/// The bytes of the terms, as `terms` describes them, written anew.
#[derive(Default)]
struct Laid(Vec<u8>);

impl Laid {
    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn maybe(self, bytes: Option<Vec<u8>>) -> Self {
        match bytes {
            Some(bytes) => self.put(&[1]).put(&bytes),
            None => self.put(&[0]),
        }
    }
}

#[test]
fn r53_terms_are_laid_out_as_described() {
    let threshold = |it: Threshold| {
        let laid = Laid::default().put(&it.numerator.to_be_bytes());
        laid.put(&it.denominator.to_be_bytes()).put(&[it.strict.into()]).0
    };
    let lay = |version: u32, p: &Parameters, kind: u8, invited: &[(u8, u32, u8, &str)]| {
        let mut laid = Laid::default()
            .put(b"colearn/v2/terms\n")
            .put(&version.to_be_bytes())
            .put(&[90; 32])
            .put(&threshold(p.threshold))
            .put(&[u8::from(p.selection == Selection::Sortition)])
            .put(&p.proposal_deadline_ms.to_be_bytes())
            .put(&p.vote_deadline_ms.to_be_bytes())
            .put(&p.reveal_deadline_ms.to_be_bytes())
            .put(&[u8::from(p.close == Close::Early)])
            .put(&[u8::from(p.ballot == colearn_contracts::BallotKind::Sealed)])
            .put(&p.min_learners.to_be_bytes())
            .maybe(p.max_rounds.map(|it| it.to_be_bytes().into()))
            .maybe(p.patience.map(|it| it.to_be_bytes().into()))
            .maybe(p.missed_turns.map(|it| it.to_be_bytes().into()))
            .maybe(p.idle_rotations.map(|it| it.to_be_bytes().into()))
            .maybe(p.privacy.map(|cap| {
                [cap.epsilon_micros.to_be_bytes(), cap.delta_picos.to_be_bytes()].concat()
            }))
            .put(&p.max_weights_bytes.to_be_bytes())
            .maybe(p.governance_threshold.map(threshold))
            .put(&p.motion_deadline_ms.to_be_bytes())
            .put(&[u8::from(p.creator_may_stop)])
            .maybe(p.merging.map(|it| {
                let numbers = [it.proposers, it.clip_permille, it.momentum_permille, it.checkers];
                let numbers = numbers.map(u32::to_be_bytes).concat();
                let gathers = it.gather_deadline_ms.map(|it| it.to_be_bytes().into());
                Laid(numbers).maybe(gathers).0
            }))
            .put(&[kind])
            .put(&(invited.len() as u32).to_be_bytes());
        for (key, weight, judge, name) in invited {
            laid = laid.put(&[*key; 32]).put(&weight.to_be_bytes()).put(&[*judge]);
            laid = laid.put(&(name.len() as u16).to_be_bytes()).put(name.as_bytes());
        }
        Digest(Sha256::digest(&laid.0).into())
    };
    let all = Parameters {
        threshold: Threshold::MORE_THAN_HALF,
        selection: Selection::Sortition,
        close: Close::Early,
        ballot: colearn_contracts::BallotKind::Sealed,
        min_learners: 2,
        max_rounds: Some(7),
        patience: Some(6),
        missed_turns: Some(5),
        idle_rotations: Some(4),
        privacy: Some(PrivacyCap { epsilon_micros: 3, delta_picos: 2 }),
        governance_threshold: Some(Threshold::at_least(2, 3)),
        creator_may_stop: true,
        merging: Some(Merging { proposers: 9, gather_deadline_ms: Some(99), ..Merging::default() }),
        ..Parameters::default()
    };
    let none = Parameters { missed_turns: None, idle_rotations: None, ..Parameters::default() };
    let listed = vec![
        Invitation { name: Some("Zürich".parse().unwrap()), ..Invitation::new(learner("A"), 5) },
        Invitation { judge: true, ..Invitation::new(learner("B"), 1) },
    ];
    let laid = [(65, 5, 0, "Zürich"), (66, 1, 1, "")];
    for (parameters, version) in [(&all, Version::V2), (&none, Version::V2), (&none, Version::V1)] {
        for (admission, kind, laid) in [
            (Admission::Open, 0, &laid[..0]),
            (Admission::Invited(listed.clone()), 1, &laid),
            (Admission::ByVote(listed.clone()), 2, &laid),
        ] {
            let expected = lay(version.number(), parameters, kind, laid);
            assert_eq!(terms(version, learner("Z"), parameters, &admission), expected);
            if version == Version::V2 {
                let contract = created(version, parameters.clone(), admission);
                assert_eq!(contract.experiment(&name()).unwrap().terms(), expected);
            }
        }
    }
}

#[test]
fn r69_members_adopt_the_ledgers_version() {
    // Not before the ledger follows it, and not what is followed already. Who may move is told first.
    let not_yet = "F moves 1 adopt 2: NotMember
         A moves 2 adopt 2: WrongMotion
         A moves 1 adopt 2: CannotAdopt";
    check_v1(patient(), Admission::Open, &(joined("AB") + not_yet));
    check_v2(
        patient(),
        invited("AB"),
        "C moves 1 adopt 2: NotInvited\n A moves 1 adopt 2: CannotAdopt",
    );
    let contract = check_upgraded(
        patient(),
        invited("ABCDE"),
        &joined("AB"),
        // Counted over all who are admitted, and by more than half, though rules of version 1 count the
        // other motion over who sits.
        "C moves 1 stop: NotMember
         A moves 1 adopt 1: CannotAdopt
         C moves 1 adopt 2: motion 1: 5 vote
         F seconds 1: NotInvited
         D seconds 1: ok
         B seconds 1: motion 1 adopted 3-0
         A joins: AlreadyMember
         A moves 2 adopt 2: motion 2: 5 vote
         A passes 1: passed, motion 1 in effect, round 2 of B
         C moves 3 adopt 2: CannotAdopt
         C seconds 2: ok
         E seconds 2: motion 2 adopted 3-0
         B moves 3 stop: motion 3: 5 vote
         D joins blindly: OtherTerms
         D joins: ok
         D evaluates 0 as 1: ok
         B passes 2 because policy: passed, motion 2 in effect, round 3 of D",
    );
    assert_eq!(contract.experiment(&name()).unwrap().version(), Version::V2);
    // Where anyone may join, over who takes part; the mover approves.
    check_upgraded(
        patient(),
        Admission::Open,
        &(joined("AB") + "C joins: ok\n A passes 1: passed, round 2 of B"),
        "A moves 1 adopt 2: motion 1: 3 vote
         B seconds 1: motion 1 adopted 2-0
         B passes 2: passed, motion 1 in effect, round 3 of C",
    );
    // Also one that has never begun, by who is invited.
    check_upgraded(
        patient(),
        invited("ABC"),
        "",
        "A moves 1 adopt 2: motion 1: 3 vote
         C seconds 1: motion 1 adopted 2-0, motion 1 in effect
         A joins: ok",
    );
}

#[test]
fn r69_what_the_version_would_refuse_is_left_out_and_motions_lapse() {
    let low = Some(Threshold::at_least(1, 4));
    let rules = Parameters { governance_threshold: low, ..patient() };
    let mut contract = check_upgraded(
        rules,
        by_vote("ABCD"),
        &(joined("AB")
            + "C joins: ok
         A passes 1: passed, round 2 of B
         A moves 1 admit B3: motion 1: 2 vote
         C seconds 1: motion 1 adopted 1-0, motion 1 in effect"),
        // The share of version 1 would be a quarter of two.
        "B moves 2 adopt 2: motion 2: 6 vote
         A seconds 2: motion 2 adopted 4-0
         A moves 3 suspend B: motion 3: 2 vote
         C moves 4 expel B: motion 4: 2 vote
         B proposes 1 in 2 from 0: 2 vote
         A approves 1 in 2: ok
         C approves 1 in 2: accepted 2-0, motion 3 rejected 0-0, motion 4 rejected 0-0, \
         motion 2 in effect, round 3 of C
         C proposes 2 in 3 from 1: 4 vote",
    );
    let experiment = contract.experiment(&name()).unwrap();
    assert_eq!(experiment.parameters().governance_threshold, None);
    assert_eq!((experiment.weight(), experiment.governing_weight()), (5, 6));
    play(&mut contract, &name(), "A moves 5 stop: motion 5: 6 vote\n D seconds 5: ok");
    // One that is enough stays.
    let half = Some(Threshold::HALF);
    let contract = check_upgraded(
        Parameters { governance_threshold: half, ..patient() },
        invited("AB"),
        "",
        "A moves 1 adopt 2: motion 1: 2 vote, motion 1 adopted 1-0, motion 1 in effect",
    );
    assert_eq!(contract.experiment(&name()).unwrap().parameters().governance_threshold, half);
}

#[test]
fn r69_what_was_adopted_before_takes_effect_by_the_rules_that_are_in_force_then() {
    // Adopted by two who sit, in version 1: rules that version 2 refuses, and the expulsion of all others.
    let low = Parameters { governance_threshold: Some(Threshold::at_least(1, 4)), ..patient() };
    let mut contract = upgraded(check_v1(patient(), by_vote("AB"), &joined("AB")));
    let name: ExperimentName = name();
    play(
        &mut contract,
        &name,
        "A moves 1 adopt 2: motion 1: 2 vote
         B seconds 1: motion 1 adopted 2-0",
    );
    let set = Motion::SetParameters(Box::new(low));
    let set = Action::new(name.clone(), Act::Move { number: 2, motion: set });
    contract.apply(at(0), learner("A"), &set).unwrap();
    play(
        &mut contract,
        &name,
        "B seconds 2: motion 2 adopted 1-0
         A moves 3 expel B: motion 3: 1 vote
         B seconds 3: motion 3 adopted 1-0
         B moves 4 expel A: motion 4: 1 vote
         A seconds 4: motion 4 adopted 1-0
         A passes 1: passed, motion 1 in effect, motion 2 in effect, B suspended Expelled, \
         motion 3 in effect, motion 4 in effect, waiting with 1",
    );
    // The last who is admitted is still there, and decides.
    let experiment = contract.experiment(&name).unwrap();
    assert_eq!(experiment.parameters().governance_threshold, None);
    play(
        &mut contract,
        &name,
        "A moves 5 stop: motion 5: 1 vote, motion 5 adopted 1-0, motion 5 in effect, finished Stopped",
    );
}

#[test]
fn r69_members_of_version_1_are_counted_as_its_own_rules_say_until_they_adopt() {
    // The same motions before and after the ledger is upgraded.
    for upgrade in [false, true] {
        let mut contract = check_v1(patient(), by_vote("ABCDE"), &joined("AB"));
        if upgrade {
            contract = upgraded(contract);
        }
        play(
            &mut contract,
            &name(),
            "A moves 1 admit F9: motion 1: 1 vote
             B seconds 1: motion 1 adopted 1-0, motion 1 in effect
             C moves 2 stop: NotMember
             A proposes 0 in 1 from 0: 1 vote
             B abstains 0 in 1: NotInVersion
             B approves 0 in 1: accepted 1-0, round 2 of B",
        );
    }
}
