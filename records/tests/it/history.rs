//! The story of an experiment: what was said, by whom, and what they are called.

use colearn_contracts::{
    Act, Action, Choice, Decision, Digest, Evaluation, Join, Limits, Measure, Merge, MergeVote,
    Merges, Motion, Outcome, Reason, Scores, Seat, Sent, Update, Verdict, Version,
};
use colearn_records::history::{Evaluated, History};
use colearn_records::record::Record;
use colearn_records::transaction::Transaction;
use proptest::prelude::*;

use crate::scribe::{Scribe, begin, founders, key, learner, model, named, steps};

/// The story that a ledger tells.
fn told(scribe: &Scribe) -> History {
    let mut history = History::new(scribe.name.clone());
    for bytes in &scribe.entries {
        history.record(&Record::decode(bytes).unwrap());
    }
    history
}

fn joined(version: Version) -> Scribe {
    let mut scribe = Scribe::begin(version, Limits::default(), founders(version));
    for who in 1..=4 {
        let join = scribe.join(who);
        assert!(scribe.act(who, 0, join));
    }
    scribe
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_tells_what_the_contract_knows(begin in begin(), steps in steps()) {
        let scribe = Scribe::written(&begin, &steps);
        let (history, experiment) = (told(&scribe), scribe.experiment());
        prop_assert_eq!(history.rounds.len() as u64, experiment.round());
        for who in (1..=6).map(learner) {
            if let Some(name) = experiment.name_of(who) {
                prop_assert_eq!(history.names.get(&who), Some(name));
            }
            let recorded = experiment.member(who).map_or(0, |member| member.evaluations);
            let told = history.evaluations.iter().filter(|it| it.learner == who).count();
            prop_assert_eq!(told as u64, recorded);
        }
        // Who is a member now was one in the last round or will be in the next, and nobody else.
        for who in (1..=6).map(learner) {
            let seat = experiment.member(who).map(|member| member.seat);
            let (now, next) = (experiment.round(), experiment.round() + 1);
            let is_member = |round| history.is_member(who, round);
            match seat {
                Some(Seat::Seated(_)) => prop_assert!(is_member(next)),
                Some(Seat::Joining) => prop_assert!(is_member(next)),
                Some(Seat::Leaving(_)) => prop_assert!(is_member(now) && !is_member(next)),
                _ => prop_assert!(!is_member(next), "{:?}", seat),
            }
        }
        for round in &history.rounds {
            for who in (1..=6).map(learner).filter(|who| !history.is_member(*who, round.number)) {
                let mut alone = history.clone();
                alone.rounds = vec![round.clone()];
                prop_assert_eq!(alone.totals_of(who).missed_votes, 0, "who is no member is not absent");
            }
            let took_part = round.ballots.keys().chain(&round.proposer).chain(round.voted_ms.keys());
            for who in took_part {
                prop_assert!(history.is_member(*who, round.number), "{} {:?}", who, round);
            }
            let times = [Some(round.opened_ms), round.voting_ms, round.closed_ms];
            prop_assert!(times.iter().flatten().is_sorted(), "{:?}", round);
        }
        for round in history.closed() {
            let result = round.result.unwrap();
            // Everybody's vote weighs the same here, but for one founder's.
            let counted = |choice| round.ballots.values().filter(|it| it.choice == choice).count();
            if begin.1.invitations().is_empty() {
                prop_assert_eq!(counted(Choice::Approve), result.approvals as usize);
                prop_assert_eq!(counted(Choice::Reject), result.rejections as usize);
                prop_assert_eq!(counted(Choice::Abstain), result.abstentions as usize);
            }
            if let Some(reason) = round.passed {
                prop_assert_eq!((reason, result.verdict), (Reason::TooLittleData, Verdict::Passed));
            }
        }
        let json = history.to_json();
        prop_assert_eq!(json["rounds"].as_array().unwrap().len(), history.rounds.len());
        // The last rounds are the end of all of them, and the rest is the same.
        let mut last = history.to_json_since(2);
        let rest = json["rounds"].as_array().unwrap().iter().skip(1);
        prop_assert!(last["rounds"].as_array().unwrap().iter().eq(rest));
        last["rounds"] = json["rounds"].clone();
        prop_assert_eq!(last, json);
    }
}

#[test]
fn votes_passes_and_evaluations_are_told_with_their_reasons() {
    let mut scribe = joined(Version::V2);
    assert!(scribe.act(
        1,
        0,
        Act::Pass { round: 1, exhausted: false, reason: Some(Reason::Policy) }
    ));
    scribe.propose(0, 900_000);
    let round = scribe.experiment().round();
    assert_eq!(round, 2, "Bob's turn");
    let vote = |scribe: &Scribe, choice, reason| Act::Vote(scribe.vote(choice, reason, 500_000));
    let against = vote(&scribe, Choice::Reject, Some(Reason::Worse));
    assert!(scribe.act(1, 0, against));
    let neither = vote(&scribe, Choice::Abstain, Some(Reason::Unavailable));
    assert!(scribe.act(3, 0, neither));
    let measure = |name: &str, value_micros| Measure { name: name.parse().unwrap(), value_micros };
    let evaluation = Evaluation {
        number: 1,
        model: model(0).digest,
        measures: vec![measure("accuracy", 910_000), measure("accuracy.alone", 850_000)],
    };
    assert!(scribe.act(4, 0, Act::Evaluate(evaluation.clone())));
    let neither = vote(&scribe, Choice::Abstain, None);
    assert!(scribe.act(4, 0, neither));

    let history = told(&scribe);
    let [first, second, ..] = &history.rounds[..] else { panic!("two rounds at least") };
    assert_eq!(first.passed, Some(Reason::Policy));
    assert_eq!(first.result.unwrap().verdict, Verdict::Passed);
    let ballot = |who| {
        let ballot = second.ballots[&learner(who)];
        (ballot.choice, ballot.reason)
    };
    assert_eq!(ballot(1), (Choice::Reject, Some(Reason::Worse)));
    assert_eq!(ballot(3), (Choice::Abstain, Some(Reason::Unavailable)));
    assert_eq!(ballot(4), (Choice::Abstain, None));
    let result = second.result.unwrap();
    // The third founder has two votes.
    assert_eq!((result.approvals, result.rejections, result.abstentions), (0, 1, 3));
    assert_eq!((result.unavailable, result.electorate, result.absent()), (2, 4, 0));
    assert_eq!(history.totals_of(learner(4)).abstentions, 1);
    let evaluated = Evaluated { learner: learner(4), round: 2, evaluation };
    assert_eq!(history.evaluations, [evaluated]);

    let json = history.to_json();
    assert_eq!(json["rounds"][0]["pass_reason"], "policy");
    let [one, three] = [1, 3].map(|who| &json["rounds"][1]["votes"][learner(who).to_string()]);
    assert_eq!((&one["choice"], &one["reason"]), (&"reject".into(), &"worse".into()));
    assert_eq!((&three["choice"], &three["reason"]), (&"abstain".into(), &"unavailable".into()));
    assert_eq!(json["rounds"][1]["unavailable"], 2);
    assert_eq!(json["names"][learner(1).to_string()], "Hospital 1");
    let told = &json["evaluations"][0];
    assert_eq!(told["learner"], learner(4).to_string());
    assert_eq!(told["measures"]["accuracy.alone"], 0.85);
}

#[test]
fn most_who_could_not_get_a_proposal_make_its_round_expire() {
    let mut scribe = joined(Version::V2);
    // Those who joined after the first take part from the second round on.
    assert!(scribe.act(1, 0, Act::Pass { round: 1, exhausted: false, reason: None }));
    scribe.propose(0, 900_000);
    for who in [1, 3] {
        let vote = scribe.vote(Choice::Abstain, Some(Reason::Unavailable), 0);
        assert!(scribe.act(who, 0, Act::Vote(vote)));
    }
    scribe.wait(3_600_000);
    let history = told(&scribe);
    let result = history.rounds[1].result.unwrap();
    assert_eq!((result.verdict, result.unavailable), (Verdict::Expired, 3));
}

#[test]
fn names_go_with_their_bearers_and_are_nobody_elses() {
    let mut scribe = joined(Version::V2);
    let called =
        |scribe: &Scribe, who| told(scribe).names.get(&learner(who)).map(ToString::to_string);
    assert_eq!(called(&scribe, 1).as_deref(), Some("Hospital 1"));
    assert_eq!(called(&scribe, 3), None);

    // Two are to have one name: who gets it first has it.
    let decide = |scribe: &mut Scribe, mover: u8, invitation| {
        let number = scribe.experiment().last_motion() + 1;
        assert!(scribe.act(mover, 0, Act::Move { number, motion: Motion::Admit(invitation) }));
        number
    };
    let first = decide(&mut scribe, 1, named(5, "St. Mary's"));
    let second = decide(&mut scribe, 2, named(6, "St. Mary's"));
    for number in [first, second] {
        assert!(scribe.act(3, 0, Act::MotionVote { number, approve: true }));
    }
    scribe.wait(3_600_000);
    assert_eq!(called(&scribe, 5).as_deref(), Some("St. Mary's"));
    assert_eq!(called(&scribe, 6), None);

    // One without a name from its invitation states its own.
    let terms = Some(scribe.experiment().terms());
    let name = Some("Own".parse().unwrap());
    assert!(scribe.act(6, 0, Act::Join(Join { term: 0, terms, name })));
    assert_eq!(called(&scribe, 6).as_deref(), Some("Own"));

    // And it goes with the key.
    let name = scribe.name.clone();
    let seen = scribe.seen(0);
    scribe.wait(1);
    let replaced = Transaction::replace_key(&key(6), &key(7), &scribe.id, seen, name);
    assert!(scribe.transact(&replaced));
    assert_eq!(called(&scribe, 6), None);
    assert_eq!(called(&scribe, 7).as_deref(), Some("Own"));
    assert_eq!(scribe.experiment().name_of(learner(7)).unwrap().as_str(), "Own");
}

#[test]
fn version_1_has_no_names_and_no_reasons() {
    let mut scribe = joined(Version::V1);
    let pass = |reason| Act::Pass { round: 1, exhausted: false, reason };
    assert!(!scribe.act(1, 0, pass(Some(Reason::Policy))));
    assert!(scribe.act(1, 0, pass(None)));
    let history = told(&scribe);
    assert!(history.names.is_empty());
    assert_eq!(history.rounds[0].passed, None);
}

#[test]
fn a_merged_round_is_told_whatever_keys_its_learners_go_on_under() {
    let (round, deadline_ms, digest) = (1, 9, |byte| Digest([byte; 32]));
    let mut history = History::new("x".parse().unwrap());
    let decide = |history: &mut History, what| {
        history.outcome(&Outcome::new("x".parse().unwrap(), what));
    };
    let act = |history: &mut History, who, what| {
        history.action(learner(who), &Action::new("x".parse().unwrap(), what));
    };
    decide(
        &mut history,
        Decision::TrainingOpened {
            round,
            participants: [1, 2, 3].map(learner).to_vec(),
            checkers: vec![learner(3)],
            base: digest(0),
            previous: digest(0),
            deadline_ms,
        },
    );
    let updates: Vec<Sent> =
        [1, 3].map(|who| Sent { learner: learner(who), weights: digest(who) }).to_vec();
    for who in [1, 3] {
        let (weights, scores) = (model(who), Scores::default());
        let update = Update { round, base: digest(0), weights, scores, privacy: None };
        act(&mut history, who, Act::Update(update));
    }
    act(&mut history, 2, Act::Pass { round, exhausted: false, reason: Some(Reason::Policy) });
    decide(
        &mut history,
        Decision::GatheringOpened { round, updates: updates.clone(), deadline_ms },
    );
    act(&mut history, 3, Act::Have { round, held: 0b11 });
    decide(
        &mut history,
        Decision::MergeVotingOpened { round, updates, electorate: 3, deadline_ms },
    );
    let agreed = Merges { open: Some(digest(7)), guarded: Some(digest(8)) };
    for (who, merges, score) in
        [(1, agreed, 4), (2, agreed, 6), (3, Merges { guarded: None, ..agreed }, 9)]
    {
        act(
            &mut history,
            who,
            Act::MergeVote(MergeVote {
                round,
                merges,
                bear_open: true,
                bear_guarded: false,
                prefer_guarded: false,
                reason: None,
                scores_open: Scores { vote: Some(score * 100_000), test: None },
                scores_guarded: Scores::default(),
                link: None,
            }),
        );
    }
    act(&mut history, 3, Act::ReplaceKey { to: learner(6) });
    decide(
        &mut history,
        Decision::MergeDecided {
            round,
            agreed: Some(agreed),
            named: 2,
            bear_open: 2,
            bear_guarded: 0,
            prefer_guarded: 0,
            accepted: Some(Merge::Open),
        },
    );

    let told = &history.rounds[0];
    let merged = told.merged.as_ref().unwrap();
    let keys = [&merged.participants[2], &merged.checkers[0], &merged.named_another()[0]];
    assert_eq!(keys, [&learner(6); 3]);
    assert!(merged.merges(learner(6)) && merged.updates.contains_key(&learner(6)));
    assert_eq!(merged.gathering.as_ref().unwrap()[1].learner, learner(6));
    assert_eq!(merged.held, [(learner(6), 0b11)].into());
    assert_eq!(merged.passed, [(learner(2), Some(Reason::Policy))].into());
    // What was measured of another model does not count.
    assert_eq!(merged.mean_scores(Merge::Open), (Some(0.5), None));
    assert_eq!(told.mean_scores(), (Some(0.5), None));
    assert_eq!(told.ballots[&learner(6)].choice, Choice::Reject);
    let json = merged.to_json();
    assert_eq!(json["named_another"], serde_json::json!([learner(6).to_string()]));
    assert_eq!(json["held"][learner(6).to_string()].as_array().unwrap().len(), 2);
}
