//! Whatever is sent to it, the contract records what the rules say, byte for byte.

use colearn_contracts::{
    Act, Admission, BallotKind, Choice, CreateExperiment, Evaluation, Experiment, Invitation, Join,
    LINKS, Measure, Motion, Parameters, Phase, Proposal, Scores, Selection, VERSION, Vote, link,
};
use colearn_records::transaction::{Seen, Transaction};
use proptest::prelude::*;

use crate::native::{Native, usual};
use crate::people::{learner, model, payload, signed};
use crate::reference::{Reference, follow};

const NAMES: [&str; 3] = ["a", "ab", "b.long-name_1"];
const PEOPLE: u16 = 5;

/// One thing that is done: which experiment, by whom, what, and with what it has seen.
type Step = (usize, u16, u8, u8);

fn parameters(what: u8) -> Parameters {
    Parameters {
        selection: if what & 1 == 0 { Selection::RoundRobin } else { Selection::Sortition },
        ballot: BallotKind::Open,
        min_learners: 2,
        missed_turns: Some(2),
        max_rounds: Some(6),
        proposal_deadline_ms: 1_000,
        vote_deadline_ms: 1_000,
        motion_deadline_ms: 3_000,
        ..Parameters::default()
    }
}

fn create(what: u8) -> Act {
    let mut listed: Vec<Invitation> = (0..PEOPLE)
        .map(|number| Invitation::new(learner(number), 1 + u32::from(number % 2)))
        .collect();
    listed.sort_by_key(|it| it.learner);
    Act::Create(CreateExperiment {
        version: VERSION.number(),
        parameters: parameters(what),
        admission: if what & 2 == 0 { Admission::Open } else { Admission::ByVote(listed) },
        model: model(0),
        plan: None,
    })
}

/// What this learner does next, mostly something that makes sense.
fn act(experiment: Option<&Experiment>, who: u16, what: u8, number: u32) -> Act {
    let Some(experiment) = experiment else { return create(what) };
    let member = experiment.member(learner(who));
    let term = member.map_or(0, |it| if it.seat_is_taken() { it.term } else { it.term + 1 });
    let round = experiment.round();
    match what {
        0..12 => Act::Leave { term, renounce: what == 0 },
        12..16 => Act::Pass { round, exhausted: false, reason: None },
        16..20 => create(what),
        20..24 => Act::Stop,
        24..34 => Act::Move {
            number: experiment.last_motion() + 1,
            motion: match what {
                24 => Motion::Stop,
                25..28 => Motion::Suspend(learner(who % 2)),
                28..30 => Motion::Expel(learner(3)),
                30..32 => Motion::Admit(Invitation::new(learner(3), 2)),
                _ => Motion::SetParameters(Box::new(parameters(what))),
            },
        },
        34..60 => {
            Act::MotionVote { number: experiment.last_motion(), approve: !what.is_multiple_of(4) }
        }
        60..70 => Act::Evaluate(Evaluation {
            number: member.map_or(0, |it| it.evaluations) + 1,
            model: experiment.model().digest,
            measures: vec![Measure {
                name: "accuracy".parse().unwrap(),
                value_micros: what.into(),
            }],
        }),
        70..120 => Act::Join(Join::new(term, Some(experiment.terms()))),
        _ => match experiment.phase() {
            Phase::Proposing { .. } => Act::Propose(Proposal {
                round,
                base: experiment.model().digest,
                weights: model(number),
                scores: Scores::default(),
                privacy: None,
            }),
            Phase::Voting { weights, .. } => {
                let drawn = experiment.parameters().selection == Selection::Sortition;
                let left = member.and_then(|it| it.chain.as_ref()).map_or(LINKS, |it| it.left - 1);
                Act::Vote(Vote {
                    round,
                    weights: weights.digest,
                    choice: if what.is_multiple_of(5) { Choice::Reject } else { Choice::Approve },
                    reason: None,
                    scores: Scores::default(),
                    link: drawn.then(|| link([who as u8; 32], left)),
                })
            }
            _ => Act::Join(Join::new(term, Some(experiment.terms()))),
        },
    }
}

trait Seated {
    fn seat_is_taken(&self) -> bool;
}

impl Seated for colearn_contracts::Member {
    fn seat_is_taken(&self) -> bool {
        use colearn_contracts::Seat;
        matches!(self.seat, Seat::Joining | Seat::Seated(_) | Seat::Leaving(_))
    }
}

/// Does all that to both, a call after the other.
fn both(calls: &[(u16, Vec<Step>)]) -> (Native, Reference) {
    let mut now_ms = 1_700_000_000_000;
    let mut native = Native::begin(now_ms, usual()).unwrap();
    let mut reference = Reference::of(&native.entries()[0]);
    assert_eq!(reference.entries, native.entries());
    let id = native.id;
    let mut number = 0;
    for (wait, steps) in calls {
        // Now and then a long time, after which what was signed before is too old.
        now_ms += if *wait == 0 { 7_200_000 } else { u64::from(*wait) };
        if wait % 9 == 0 {
            let names = ["b.long-name_1", "nobody", "A b", "a", "a"];
            native.tick(now_ms, &names);
            reference.tick(now_ms, &names);
        }
        let roots: Vec<(u64, _)> = reference.roots.iter().map(|it| (*it.0, *it.1)).collect();
        let transactions: Vec<Transaction> = steps
            .iter()
            .map(|(place, who, what, seen)| {
                number += 1;
                let name = NAMES[*place];
                let experiment = reference.contract.experiment(&name.parse().unwrap());
                let what = act(experiment, *who, *what, number);
                // Mostly the last; seldom one of long ago, or none.
                let (size, root) = match seen {
                    0..4 => roots[usize::from(*seen) % roots.len()],
                    4 => (roots.len() as u64, colearn_ledger::Hash::ZERO),
                    _ => *roots.last().unwrap(),
                };
                signed(&id, Seen { size, root }, *who, name, what)
            })
            .collect();
        let payloads: Vec<Vec<u8>> = transactions.iter().map(payload).collect();
        let codes = native.submit(now_ms, &payloads);
        assert_eq!(codes, reference.submit(now_ms, &transactions), "{steps:?}");
        assert_eq!(native.seen(), Seen { size: reference.head.size, root: reference.root() });
    }
    (native, reference)
}

fn calls() -> impl Strategy<Value = Vec<(u16, Vec<Step>)>> {
    let step = (0..NAMES.len(), 0..PEOPLE, any::<u8>(), any::<u8>());
    prop::collection::vec(
        (prop_oneof![9 => 1_u16..400, 1 => 0_u16..2_000], prop::collection::vec(step, 1..6)),
        1..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_contract_records_what_the_rules_say(calls in calls()) {
        let (native, reference) = both(&calls);
        let entries = native.entries();
        prop_assert_eq!(&entries, &reference.entries);
        prop_assert_eq!(*native.tree().head(), reference.head);
        // And whoever audits it finds nothing.
        prop_assert_eq!(&follow(&entries), &reference.contract);
        let mut names: Vec<String> =
            reference.contract.experiments().map(|it| it.name().to_string()).collect();
        names.sort();
        prop_assert_eq!(native.names(None), names.clone());
        prop_assert_eq!(native.names(names.first().map(String::as_str)), names.get(1..).unwrap_or_default());
    }
}

/// One experiment, its rounds one after the other: those histories do come to something.
#[test]
fn rounds_are_decided() {
    let join = |who| (0, who, 100, 255);
    let mut calls = vec![(5, vec![(0, 0, 4, 255)])];
    calls.extend((0..PEOPLE).map(|who| (5, vec![join(who)])));
    for _ in 0..30 {
        calls.push((50, (0..PEOPLE).map(|who| (0, who, 201, 255)).collect()));
    }
    let (native, reference) = both(&calls);
    let experiment = reference.contract.experiment(&"a".parse().unwrap()).unwrap();
    assert!(matches!(experiment.phase(), Phase::Finished(_)) && experiment.round() == 6);
    assert!(native.entries() == reference.entries && reference.entries.len() > 40);
    assert_eq!(follow(&reference.entries), reference.contract);
}

/// A history of one experiment and what the contract has made of it, which the keeper of a node that orders alone is held to
/// (`node`, `order/chain/tests/solo.rs`): deadlines pass, motions are voted on, members leave, things are refused.
///
/// `COLEARN_BLESS=1` writes it anew.
#[test]
fn the_history_that_a_node_alone_is_held_to_is_what_the_contract_makes() {
    let mut now_ms = 1_700_000_000_000;
    let mut native = Native::begin(now_ms, usual()).unwrap();
    let mut reference = Reference::of(&native.entries()[0]);
    let id = native.id;
    let mut calls = Vec::new();
    for number in 0..420_u32 {
        // Each seventh comes after a deadline, which it has fire.
        now_ms += if number % 7 == 6 { 1_150 } else { 40 };
        let experiment = reference.contract.experiment(&"a".parse().unwrap());
        let who = (number % u32::from(PEOPLE)) as u16;
        let what = match number {
            0 => 4,
            1..=5 => 100,
            // Of all that can be done something, but mostly proposals and votes, and what comes of models.
            _ if number.is_multiple_of(4) => (number * 37 % 256) as u8,
            _ if number.is_multiple_of(3) => 65,
            _ => 201,
        };
        // It would end what is to go on.
        let what = if (20..24).contains(&what) && number < 400 { 201 } else { what };
        let seen = Seen { size: reference.head.size, root: reference.root() };
        let transaction = signed(&id, seen, who, "a", act(experiment, who, what, number));
        let bytes = payload(&transaction);
        let code = native.submit(now_ms, std::slice::from_ref(&bytes));
        assert_eq!(code, reference.submit(now_ms, &[transaction]));
        calls.push(serde_json::json!({
            "now_ms": now_ms, "transaction": hex(&bytes), "recorded": code == [0],
        }));
    }
    let entries = native.entries();
    let recorded = calls.iter().filter(|call| call["recorded"] == true).count();
    let (refused, decided) = (calls.len() - recorded, entries.len() - recorded - 1);
    assert!(recorded > 80 && refused > 20 && decided > 10, "{recorded} {refused} {decided}");
    let history = serde_json::json!({
        "first": hex(&entries[0]), "end": hex(&native.tree().to_bytes()), "calls": calls,
    });
    let history = serde_json::to_string_pretty(&history).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/history.json");
    if std::env::var_os("COLEARN_BLESS").is_some() {
        std::fs::write(path, &history).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == history, "COLEARN_BLESS=1 writes it anew");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
