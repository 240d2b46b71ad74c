//! What holds in every state, however it came about.

use std::collections::BTreeSet;

use colearn_contracts::{
    Admission, Contract, CreateExperiment, Experiment, ExperimentName, InvalidParameters,
    LearnerId, MAX_TIME_MS, MemberName, MergeStage, MergedRound, Outcome, Part, PauseReason, Phase,
    Rejection, Seat, Stage, Version, terms,
};

/// Checks a contract in which nothing is overdue.
pub(crate) fn check(contract: &Contract, now_ms: u64) {
    let deadlines = contract.experiments().filter_map(Experiment::deadline_ms);
    assert_eq!(contract.next_deadline_ms(), deadlines.min(), "deadlines are kept");
    // R93. On a chain nobody may have touched what is due.
    if let Some(deadline_ms) = contract.next_deadline_ms().filter(|_| contract.charter().is_none())
    {
        // A time beyond the last counts as that (R70).
        let now_ms = now_ms.min(MAX_TIME_MS);
        assert!(deadline_ms > now_ms, "a phase outlives its deadline");
    }
    contract.experiments().for_each(check_experiment);
}

fn check_experiment(experiment: &Experiment) {
    check_seats(experiment);
    check_rights(experiment);
    check_phase(experiment);
    let version = experiment.version();
    match experiment.parameters().check(version, experiment.model()) {
        // A larger one may have been accepted between a motion and its effect.
        Ok(()) | Err(InvalidParameters::ModelSize) => {}
        Err(which) => panic!("rules that break a bound: {which}"),
    }
    assert!(experiment.was_global(experiment.model().digest));
    for (_, member) in experiment.members() {
        assert!(member.keys_replaced <= 64 || version == Version::V1);
        assert!(member.evaluations <= 16 * (experiment.round() + 1));
        if let (Some(cap), Some(spent)) = (experiment.parameters().privacy, &member.privacy)
            && version > Version::V1
        {
            // Under another cap more may have been stated.
            assert!(spent.is_within(&cap) || experiment.last_motion() > 0);
        }
    }
    if experiment.version() == Version::V2 {
        for (number, open) in experiment.motions() {
            assert_eq!(open.version, Version::V2, "motion {number} has not lapsed");
        }
    }
}

/// Who sits, and what the kept sum of their weights is.
fn check_seats(experiment: &Experiment) {
    let seated: Vec<LearnerId> = experiment.seated().collect();
    let weight: u32 = seated.iter().map(|who| experiment.member(*who).unwrap().weight).sum();
    assert_eq!(weight, experiment.weight());
    let mut by_seat: Vec<(u64, LearnerId)> = experiment
        .members()
        .filter_map(|(learner, member)| match member.seat {
            Seat::Seated(seat) | Seat::Leaving(seat) => Some((seat, learner)),
            _ => None,
        })
        .collect();
    by_seat.sort_unstable();
    assert!(by_seat.iter().map(|(_, learner)| learner).eq(&seated), "seats are in joining order");
    let turns = by_seat.iter().filter(|(_, learner)| {
        let member = experiment.member(*learner).unwrap();
        !member.exhausted && !member.judge
    });
    assert!(turns.copied().eq(experiment.proposers()));
}

/// Who has a right to a seat, its weight, and who is called what.
fn check_rights(experiment: &Experiment) {
    let admission = experiment.admission();
    let weight: u32 = admission.invitations().iter().map(|it| it.weight).sum();
    let governing = if admission == Admission::Open { experiment.weight() } else { weight };
    assert_eq!(experiment.governing_weight(), governing);
    let (version, creator) = (experiment.version(), experiment.creator());
    assert_eq!(
        experiment.terms(),
        terms(version, creator, experiment.parameters(), &admission),
        "the terms are what is public"
    );
    let mut keys: BTreeSet<LearnerId> = experiment.members().map(|(learner, _)| learner).collect();
    keys.extend(admission.invitations().iter().map(|it| it.learner));
    let names: Vec<&MemberName> = keys.iter().filter_map(|it| experiment.name_of(*it)).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "two have one name");
    for invitation in admission.invitations() {
        let member = experiment.member(invitation.learner);
        let present = member
            .filter(|it| matches!(it.seat, Seat::Joining | Seat::Seated(_) | Seat::Leaving(_)));
        if let (Some(member), Version::V2) = (present, version) {
            assert_eq!((member.weight, member.judge), (invitation.weight, invitation.judge));
        }
    }
}

/// What the phase says of itself, recomputed from the members.
fn check_phase(experiment: &Experiment) {
    let member = |learner: LearnerId| experiment.member(learner).unwrap();
    let seated: Vec<LearnerId> = experiment.seated().collect();
    let round = experiment.round();
    match experiment.phase() {
        Phase::Voting { proposer, tally, stage, .. } => {
            assert!(seated.contains(proposer));
            assert_eq!(tally.electorate, experiment.weight() - member(*proposer).weight);
            assert!(tally.unavailable <= tally.abstentions && tally.cast() <= tally.electorate);
            let weigh = |may: &dyn Fn(LearnerId) -> bool| -> u32 {
                let them = seated.iter().filter(|it| *it != proposer && may(**it));
                them.map(|it| member(*it).weight).sum()
            };
            let voted = weigh(&|it| member(it).last_vote == round);
            let sealed = weigh(&|it| member(it).last_vote == round && member(it).has_unrevealed());
            match stage {
                Stage::Open => assert_eq!(voted, tally.cast()),
                Stage::Commit { committed } => {
                    assert_eq!((voted, sealed), (*committed, *committed))
                }
                Stage::Reveal { committed } => {
                    assert_eq!((voted, sealed), (*committed, *committed - tally.cast()));
                }
            }
        }
        Phase::Merged(open) => check_merged(experiment, open),
        Phase::Proposing { proposer, .. } => {
            assert!(seated.contains(proposer));
            assert!(!member(*proposer).exhausted && !member(*proposer).judge);
        }
        Phase::Waiting | Phase::Paused(_) => {
            let settled = |(_, it): (LearnerId, &colearn_contracts::Member)| {
                !matches!(it.seat, Seat::Leaving(_) | Seat::Joining)
            };
            assert!(experiment.members().all(settled), "seats wait while no round is open");
            let enough = seated.len() >= experiment.parameters().min_learners as usize;
            assert_eq!(enough, matches!(experiment.phase(), Phase::Paused(_)));
            if *experiment.phase() == Phase::Paused(PauseReason::OnlyJudges) {
                assert!(seated.iter().all(|it| member(*it).judge));
            }
        }
        Phase::Finished(_) => assert_eq!(experiment.deadline_ms(), None),
    }
}

/// What a merged round says of itself.
fn check_merged(experiment: &Experiment, open: &MergedRound) {
    let merging = experiment.parameters().merging.expect("merged rounds");
    let seated: Vec<LearnerId> = experiment.seated().collect();
    let round = experiment.round();
    let member = |learner: LearnerId| experiment.member(learner).unwrap();
    // In joining order, and each once.
    let in_order = |learners: Vec<LearnerId>| {
        let mut rest = seated.iter();
        learners.iter().all(|learner| rest.any(|it| it == learner))
    };
    let participants: Vec<LearnerId> = open.participants.iter().map(|it| it.learner).collect();
    let most = (merging.proposers as usize).min(seated.len());
    assert!((1..=most).contains(&participants.len()) && participants.len() <= 64);
    assert!(participants.iter().all(|it| !member(*it).judge));
    assert!(in_order(participants));
    assert_eq!(open.checkers.len(), (merging.checkers as usize).min(seated.len()));
    assert!(in_order(open.checkers.clone()));
    let count = |is: fn(&Part) -> bool| open.participants.iter().filter(|it| is(&it.part)).count();
    let due = count(|part| *part == Part::Due);
    let committed = count(|part| matches!(part, Part::Committed { .. }));
    let sent = open.updates().count();
    let dropped = count(|part| matches!(part, Part::Dropped { .. }));
    let weigh = |may: &dyn Fn(LearnerId) -> bool| -> u32 {
        seated.iter().filter(|it| may(**it)).map(|it| member(*it).weight).sum()
    };
    match &open.stage {
        MergeStage::Training => assert!(due > 0 && (sent == 0 || committed == 0) && dropped == 0),
        MergeStage::Revealing => assert!(committed > 0 && dropped == 0),
        MergeStage::Gathering { said, held } => {
            assert!(merging.gather_deadline_ms.is_some() && sent > 0 && dropped == 0);
            assert_eq!(*said, weigh(&|it| member(it).last_have == round));
            assert!(*said < experiment.weight());
            assert!(held.len() == sent && held.iter().all(|held| held <= said));
        }
        MergeStage::Voting { tally, stage } => {
            assert!(sent > 0 && tally.electorate == experiment.weight());
            assert_eq!(tally.checkers as usize, open.checkers.len());
            assert!(tally.unavailable <= tally.abstentions && tally.cast <= tally.electorate);
            let named: u32 = tally.named().map(|(_, votes)| votes.weight).sum();
            assert_eq!(named + tally.abstentions, tally.cast);
            let leading = tally.leading();
            for (pair, votes) in tally.named() {
                assert!(!pair.is_none() && votes.weight <= leading.weight);
                let most = votes.bear_open.max(votes.bear_guarded).max(votes.prefer_guarded);
                assert!(most <= votes.weight);
            }
            let voted = weigh(&|it| member(it).last_vote == round);
            let sealed = weigh(&|it| member(it).last_vote == round && member(it).has_unrevealed());
            match stage {
                Stage::Open => assert_eq!(voted, tally.cast),
                Stage::Commit { committed } => {
                    assert_eq!((voted, sealed), (*committed, *committed));
                }
                Stage::Reveal { committed } => {
                    assert_eq!((voted, sealed), (*committed, *committed - tally.cast));
                }
            }
        }
    }
}

/// R3, R52, R54: whether an experiment was created, by counting those there are.
pub(crate) fn check_creation(
    before: &Contract,
    sender: LearnerId,
    name: &ExperimentName,
    create: &CreateExperiment,
    result: &Result<Vec<Outcome>, Rejection>,
) {
    let unfinished = |of: &dyn Fn(&Experiment) -> bool| {
        let running = |it: &&Experiment| !matches!(it.phase(), Phase::Finished(_)) && of(it);
        before.experiments().filter(running).count() as u32
    };
    let limits = before.limits();
    let second = before.version() == Version::V2;
    let charter = before.charter();
    let expected = if create.version != before.version().number() {
        Some("OtherVersion")
    } else if create.parameters.needs().max(create.admission.needs()) > before.version() {
        Some("NotInVersion")
    } else if create.parameters.check(before.version(), &create.model).is_err()
        || create.admission.check(before.version(), &create.parameters).is_err()
    {
        Some("InvalidParameters")
    } else if charter.is_some_and(|it| it.check_creator(sender).is_err()) {
        Some("CreatorNotListed")
    } else if before.experiment(name).is_some() {
        Some("ExperimentExists")
    } else if second && charter.is_none() && unfinished(&|_| true) >= limits.experiments {
        Some("TooManyExperiments")
    } else if second && unfinished(&|it| it.created_by() == sender) >= limits.per_creator {
        Some("TooManyOfCreator")
    } else {
        None
    };
    assert_eq!(result.as_ref().err().map(|it| it.describe().name), expected);
}
