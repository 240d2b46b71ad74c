//! Why a round had the proposer it had, and what was done in it.

use std::collections::BTreeSet;

use colearn_audit::explain::{ChosenFrom, Explanation, explain};
use colearn_audit::open;
use colearn_contracts::*;
use colearn_ledger::Hash;
use colearn_records::record::Record;
use colearn_records::transaction::{Seen, Transaction};

use crate::book::{Book, key, learner, model};

fn explained(book: &Book, round: u64) -> Explanation {
    let dir = book.folder();
    let mut source = open(dir.path().to_str().unwrap()).unwrap();
    explain(&mut *source, &book.name, round).unwrap()
}

/// Ann, Bob, a learner without a name, and a judge.
fn founders() -> Admission {
    let mut invitations = vec![
        Invitation { name: Some("Ann".parse().unwrap()), ..Invitation::new(learner(1), 1) },
        Invitation { name: Some("Bob".parse().unwrap()), ..Invitation::new(learner(2), 1) },
        Invitation::new(learner(3), 1),
        Invitation {
            name: Some("Regulator".parse().unwrap()),
            judge: true,
            ..Invitation::new(learner(4), 1)
        },
    ];
    invitations.sort_by_key(|invitation| invitation.learner);
    Admission::ByVote(invitations)
}

fn by(selection: Selection) -> Parameters {
    Parameters { min_learners: 1, selection, ..Parameters::default() }
}

#[test]
fn every_draw_of_version_2_is_drawn_again() {
    let mut book = Book::with(Version::V2, by(Selection::Sortition), founders());
    for who in 1..=4 {
        book.join(who);
    }
    let mut proposers = BTreeSet::new();
    for round in 1..=12 {
        assert_eq!(book.experiment().round(), round);
        proposers.insert(book.proposer());
        // A key changes, and its seat stays.
        if round == 6 && book.proposer() == 3 || round == 7 && !proposers.contains(&5) {
            let seen = Seen { size: 0, root: Hash::empty_root() };
            book.wait(1);
            let name = book.name.clone();
            let replaced = Transaction::replace_key(&key(3), &key(5), &book.id, seen, name);
            book.transact(&replaced);
            proposers.insert(5);
        }
        book.propose(None);
        book.accept(1..=5);
    }
    assert!(proposers.is_superset(&[1, 2].into()), "{proposers:?}");
    let report = book.audited();
    assert!(report.ok, "{report:?}");
    for round in 1..=12 {
        let explained = explained(&book, round);
        assert!(explained.is_as_recorded(), "{explained:?}");
        assert_eq!(explained.version, Version::V2);
        let ChosenFrom::Seed { seed, seats, ranks, .. } = &explained.trains.from else {
            panic!("a seed")
        };
        assert_eq!((seats.len(), ranks.len()), (explained.trains.candidates.len(), ranks.len()));
        for (seat, rank) in seats.iter().zip(ranks) {
            assert_eq!(seed.rank(PROPOSER, *seat), *rank);
            assert!(ranks[explained.trains.drawn[0]] <= *rank);
        }
        // Neither a judge nor, where there are others, who proposed last. The seed of the third round was
        // known when the first ended, in which one sat.
        assert!(!explained.trains.candidates.contains(&learner(4)));
        let candidates = explained.trains.candidates.len();
        match round {
            1 | 3 => assert_eq!(candidates, 1, "{explained:?}"),
            // Another key has begun another chain, and is passed over where it would be drawn by that.
            8..=10 => assert!((1..=2).contains(&candidates), "{explained:?}"),
            _ => assert_eq!(candidates, 2, "{explained:?}"),
        }
        if round <= 2 {
            assert_eq!(*seed, Seed::first(&Digest(book.id.0), &book.name));
        }
    }
}

#[test]
fn who_came_when_the_seed_was_known_is_no_candidate() {
    let mut book = Book::with(Version::V2, by(Selection::Sortition), Admission::Open);
    for who in 1..=3 {
        book.join(who);
    }
    for _ in 1..=3 {
        book.propose(None);
        book.accept(1..=3);
    }
    // They sit from the fifth round on. The seed of the sixth was known when the fourth ended.
    for who in 10..=19 {
        book.join(who);
    }
    for _ in 4..=8 {
        book.propose(None);
        book.accept(1..=19);
    }
    let candidates = |round| {
        let explained = explained(&book, round);
        assert!(explained.is_as_recorded(), "{explained:?}");
        explained.trains.candidates.len()
    };
    assert_eq!([4, 5, 6, 7].map(candidates), [2, 2, 2, 12]);
}

#[test]
fn turns_and_draws_of_version_1_are_explained_as_ever() {
    for selection in [Selection::RoundRobin, Selection::Sortition] {
        let mut book = Book::with(Version::V1, by(selection), Admission::Open);
        for who in 1..=4 {
            book.join(who);
        }
        for _ in 1..=6 {
            book.propose(None);
            book.accept(1..=4);
        }
        for round in 1..=6 {
            let explained = explained(&book, round);
            assert!(explained.is_as_recorded(), "{explained:?}");
            assert_eq!((explained.version, explained.selection), (Version::V1, selection));
            match (selection, &explained.trains.from) {
                (Selection::RoundRobin, ChosenFrom::Turns(last)) => {
                    assert_eq!(*last, (round > 1).then(|| (round - 2) % 4));
                }
                (Selection::Sortition, ChosenFrom::Head { index, .. }) => {
                    assert!(*index < explained.index);
                }
                (_, from) => panic!("{from:?}"),
            }
        }
    }
}

#[test]
fn an_experiment_that_adopts_version_2_is_drawn_by_it() {
    let mut book = Book::with(Version::V1, by(Selection::Sortition), Admission::Open);
    for who in 1..=3 {
        book.join(who);
    }
    book.propose(None);
    book.upgrade();
    book.act(1, Act::Move { number: 1, motion: Motion::Adopt(Version::V2) });
    book.act(2, Act::MotionVote { number: 1, approve: true });
    for _ in 2..=6 {
        book.propose(None);
        book.accept(1..=3);
    }
    let told = |round| {
        let explained = explained(&book, round);
        assert!(explained.is_as_recorded(), "{explained:?}");
        let adopted = explained.entries.iter().any(|entry| {
            matches!(
                &entry.record,
                Record::Outcome(Outcome { what: Decision::MotionTookEffect { number: 1 }, .. })
            )
        });
        (explained.version.number(), adopted)
    };
    // It takes effect with the end of the second round, and is told there.
    let told: Vec<(u32, bool)> = (1..=5).map(told).collect();
    assert_eq!(told, [(1, false), (1, true), (2, false), (2, false), (2, false)]);
}

#[test]
fn what_was_done_in_a_round_is_told_with_names() {
    let mut book = Book::with(Version::V2, by(Selection::RoundRobin), founders());
    for who in 1..=4 {
        book.join(who);
    }
    book.pass(Some(Reason::Policy));
    book.propose(None);
    book.vote(1, Choice::Reject, Some(Reason::Worse));
    book.vote(3, Choice::Abstain, Some(Reason::Unavailable));
    let measure = Measure { name: "accuracy".parse().unwrap(), value_micros: 910_000 };
    let evaluation = Evaluation { number: 1, model: model(0).digest, measures: vec![measure] };
    book.act(4, Act::Evaluate(evaluation.clone()));
    book.act(3, Act::Leave { term: 0, renounce: true });
    book.vote(4, Choice::Abstain, None);
    // The third, which has left, has no turn.
    book.pass(None);

    let acts = |round| -> Vec<Act> {
        let record = |entry: colearn_records::record::DecodedEntry| match entry.record {
            Record::Transaction(transaction) => Some(transaction.action.what),
            _ => None,
        };
        explained(&book, round).entries.into_iter().filter_map(record).collect()
    };
    let first = acts(1);
    assert!(
        matches!(
            first[..],
            [
                Act::Join(_),
                Act::Join(_),
                Act::Join(_),
                Act::Pass { reason: Some(Reason::Policy), .. }
            ]
        ),
        "{first:?}"
    );
    let second = acts(2);
    let [Act::Propose(_), Act::Vote(against), Act::Vote(neither), evaluated, left, Act::Vote(_)] =
        &second[..]
    else {
        panic!("{second:?}")
    };
    assert_eq!((against.choice, against.reason), (Choice::Reject, Some(Reason::Worse)));
    assert_eq!((neither.choice, neither.reason), (Choice::Abstain, Some(Reason::Unavailable)));
    assert_eq!(*evaluated, Act::Evaluate(evaluation));
    assert_eq!(*left, Act::Leave { term: 0, renounce: true });

    let explained = explained(&book, 2);
    let entries = &explained.entries;
    assert_eq!(entries[0].index, explained.index);
    assert!(entries.windows(2).all(|pair| pair[0].index < pair[1].index));
    assert!(matches!(
        entries.last().unwrap().record,
        Record::Outcome(Outcome {
            what: Decision::RoundClosed { abstentions: 2, unavailable: 1, .. },
            ..
        })
    ));
    let name = |who| explained.names.get(&learner(who)).map(|name| name.as_str());
    assert_eq!([1, 2, 3, 4].map(name), [Some("Ann"), Some("Bob"), None, Some("Regulator")]);
    assert_eq!(explained.trains.recorded, [learner(2)]);
    assert!(explained.merged.is_none());
}

/// The merges as everybody has them who computes them.
const PAIR: Merges = Merges { open: Some(Digest([71; 32])), guarded: Some(Digest([72; 32])) };

fn merged(merging: Merging, selection: Selection) -> Parameters {
    Parameters { merging: Some(merging), ..by(selection) }
}

/// Who trains in the open round.
fn participants(book: &Book) -> Vec<u8> {
    let Phase::Merged(round) = book.experiment().phase() else { panic!("no merged round") };
    let trains = |who: &u8| round.participants.iter().any(|it| it.learner == learner(*who));
    (1..100).filter(trains).collect()
}

/// All who are to train do.
fn train(book: &mut Book) {
    for who in participants(book) {
        let update = book.trained(None);
        book.act(who, Act::Update(update));
    }
}

#[test]
fn who_trains_in_a_merged_round_is_explained_by_turns_and_by_draws() {
    for (selection, checkers) in [(Selection::RoundRobin, 0), (Selection::Sortition, 3)] {
        let merging = Merging { proposers: 2, checkers, ..Merging::default() };
        let mut book = Book::with(Version::V2, merged(merging, selection), Admission::Open);
        for who in 1..=5 {
            book.join(who);
        }
        let mut trained = Vec::new();
        for round in 1..=8 {
            if round == 4 {
                let seen = Seen { size: 0, root: Hash::empty_root() };
                book.wait(1);
                let name = book.name.clone();
                let replaced = Transaction::replace_key(&key(3), &key(6), &book.id, seen, name);
                book.transact(&replaced);
            }
            trained.push(participants(&book));
            train(&mut book);
            for who in 1..=6 {
                let seated = book.experiment().seated().any(|seated| seated == learner(who));
                if seated && book.experiment().round() == round {
                    book.judge(who, PAIR, [true, false, false]);
                }
            }
        }
        for round in 1..=8 {
            let explained = explained(&book, round);
            assert!(explained.is_as_recorded(), "{explained:?}");
            let told = explained.merged.as_ref().unwrap();
            assert!(told.is_as_recorded(), "{told:?}");
            assert_eq!(told.verdict(), Some(MergeVerdict::Accepted(Merge::Open)));
            let checks = told.checks.as_ref().map(|checks| checks.recorded.len());
            match (&explained.trains.from, round) {
                // One sits when the first round opens.
                (ChosenFrom::All, 1) => assert_eq!(explained.trains.candidates.len(), 1),
                (ChosenFrom::Turns(last), _) => {
                    assert_eq!((selection, checks), (Selection::RoundRobin, None));
                    let last = usize::try_from(last.unwrap()).unwrap();
                    let next: BTreeSet<usize> = [(last + 1) % 5, (last + 2) % 5].into();
                    assert!(explained.trains.drawn.iter().eq(&next), "{explained:?}");
                }
                (ChosenFrom::Seed { ranks, after, .. }, _) => {
                    assert_eq!((selection, checks), (Selection::Sortition, Some(3)));
                    let order = |at: &usize| (after[*at], ranks[*at]);
                    let worst = explained.trains.drawn.iter().map(order).max().unwrap();
                    let passed_over = (0..5).filter(|at| !explained.trains.drawn.contains(at));
                    assert!(passed_over.map(|at| order(&at)).all(|it| it > worst));
                }
                (from, _) => panic!("{from:?}"),
            }
        }
        assert!(trained.iter().flatten().any(|who| *who == 6), "{trained:?}");
        assert!(book.audited().ok);
    }
}

#[test]
fn the_votes_of_a_merged_round_are_counted_again() {
    let merging = Merging { gather_deadline_ms: Some(1_000), ..Merging::default() };
    let rules = Parameters { min_learners: 4, ..merged(merging, Selection::RoundRobin) };
    let mut book = Book::with(Version::V2, rules, founders());
    for who in 1..=4 {
        book.join(who);
    }
    let round = 1;
    // Not the judge.
    assert_eq!(participants(&book), [1, 2, 3]);
    let pass = Act::Pass { round, exhausted: false, reason: Some(Reason::TooLittleData) };
    book.act(2, pass);
    for who in [1, 3] {
        let update = book.trained(None);
        book.act(who, Act::Update(update));
    }
    // The first learner's update is held by all, the other's by its sender alone.
    for (who, held) in [(1, 0b01), (2, 0b01), (3, 0b11), (4, 0b01)] {
        book.act(who, Act::Have { round, held });
    }
    let false_pair = Merges { guarded: Some(Digest([9; 32])), ..PAIR };
    book.judge(1, PAIR, [true, true, true]);
    book.judge(2, PAIR, [false, true, true]);
    book.judge(3, false_pair, [true, true, true]);
    book.judge(4, PAIR, [true, false, true]);

    let explained = explained(&book, round);
    let told = explained.merged.as_ref().unwrap();
    assert!(explained.is_as_recorded() && told.is_as_recorded(), "{explained:?}");
    assert!(told.checks.is_none());
    assert_eq!(told.weights.values().sum::<u32>(), 4);
    let (pair, named) = told.tally.as_ref().unwrap().agreed().unwrap();
    assert_eq!(*pair, PAIR);
    let Named { weight, bear_open, bear_guarded, prefer_guarded, .. } = *named;
    assert_eq!((weight, bear_open, bear_guarded, prefer_guarded), (3, 2, 2, 3));
    assert_eq!(told.verdict(), Some(MergeVerdict::Accepted(Merge::Guarded)));

    let told = &told.round;
    assert_eq!(told.named_another(), [learner(3)]);
    assert_eq!(told.passed, [(learner(2), Some(Reason::TooLittleData))].into());
    assert_eq!(told.held[&learner(3)], 0b11);
    let merged: Vec<LearnerId> = told.merging.iter().flatten().map(|sent| sent.learner).collect();
    assert_eq!(merged, [learner(1)]);
    assert_eq!(told.gathering.as_ref().unwrap().len(), 2);
    assert_eq!(told.mean_scores(Merge::Guarded), (Some(0.8), None));
}
