//! What is stated of privacy is held to what is said to have been done.

use colearn_audit::{Kind, Level};
use colearn_contracts::*;
use colearn_dp::{Segment, epsilon_of};

use crate::book::Book;

const DELTA_PICOS: u64 = 10_000_000;

fn segment(noise_micros: u64, steps: u64) -> PrivacySegment {
    PrivacySegment { noise_micros, clip_micros: 1_000_000, sampling_nanos: 100_000_000, steps }
}

/// What these steps come to.
fn figure(segments: &[PrivacySegment]) -> f64 {
    let segments: Vec<Segment> = segments
        .iter()
        .map(|it| Segment {
            noise: it.noise_micros as f64 / 1e6,
            sampling: it.sampling_nanos as f64 / 1e9,
            steps: it.steps,
        })
        .collect();
    epsilon_of(&segments, 1e-5).unwrap()
}

fn stated(epsilon: f64, segments: &[PrivacySegment]) -> PrivacySpent {
    PrivacySpent {
        epsilon_micros: (epsilon * 1e6).ceil() as u64,
        delta_picos: DELTA_PICOS,
        training: PrivateTraining::All(segments.to_vec()),
    }
}

/// A ledger of one learner, each of whose proposals states this.
fn proposing(statements: impl IntoIterator<Item = PrivacySpent>) -> (Book, Vec<u64>) {
    let parameters = Parameters { min_learners: 1, ..Parameters::default() };
    let mut book = Book::with(Version::V2, parameters, Admission::Open);
    book.join(1);
    let mut places = Vec::new();
    for statement in statements {
        places.push(book.size());
        book.propose(Some(statement));
    }
    (book, places)
}

#[test]
fn honest_statements_are_recomputed_and_pass() {
    let lists = [
        vec![segment(1_000_000, 10)],
        vec![segment(1_000_000, 20)],
        vec![segment(1_000_000, 20), segment(600_000, 10)],
    ];
    let (book, _) = proposing(lists.iter().map(|list| stated(figure(list), list)));
    let report = book.audited();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.statements, 3);
    assert!(report.verdict_line().contains(" statements=3 "), "{}", report.verdict_line());
    // Where the contract is not looked at, nothing says that they are statements.
    assert_eq!(book.audited_to(Level::Signatures).statements, 0);
}

#[test]
fn one_that_is_too_low_is_named_and_ends_nothing() {
    let lists = [1, 2, 3, 4].map(|turn| [segment(1_000_000, 10 * turn)]);
    let right = lists.map(|list| figure(&list));
    // The second within what accountants may differ by, the third not.
    let epsilons = [right[0], right[1] * 0.992, right[2] * 0.988, right[3]];
    let statements = lists.iter().zip(epsilons).map(|(list, epsilon)| stated(epsilon, list));
    let (book, places) = proposing(statements);
    let report = book.audited();
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    assert_eq!((finding.kind, finding.index), (Kind::Privacy, Some(places[2])));
    assert!(finding.expected.contains(&format!("{:.6} at delta 1e-5", right[2])), "{finding}");
    assert!(finding.got.contains(&format!("epsilon {:.5}", epsilons[2])[..10]), "{finding}");
    assert_eq!((report.exit_code(), report.statements), (24, 4));
    // It says nothing of the models.
    assert!(report.is_sound() && !report.ok);
    assert!(report.verdict_line().starts_with("AUDIT FAIL code=24 name=privacy index="));
    // All the rest was looked at.
    assert_eq!((report.size, report.rounds), (book.size(), 4));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["kind"], "privacy");
    assert_eq!(json["statements"], 4);
}

#[test]
fn what_was_done_before_with_other_settings_counts() {
    // Much with little noise, then a little with much: what the last settings alone would give is not it.
    let list = [segment(600_000, 100), segment(4_000_000, 10)];
    let last = figure(&[segment(4_000_000, 110)]);
    let first = [segment(600_000, 100)];
    // The contract wants no shrinking epsilon, so both are too low.
    let (book, places) = proposing([stated(last, &first), stated(last, &list)]);
    let report = book.audited();
    let found: Vec<_> = report.findings.iter().map(|it| (it.kind, it.index.unwrap())).collect();
    assert_eq!(found, places.iter().map(|place| (Kind::Privacy, *place)).collect::<Vec<_>>());
}

#[test]
fn statements_of_version_1_cannot_be_recomputed() {
    let parameters = Parameters { min_learners: 1, ..Parameters::default() };
    let mut book = Book::with(Version::V1, parameters, Admission::Open);
    book.join(1);
    let training = PrivateTraining::Last(segment(1_000_000, 1_000));
    book.propose(Some(PrivacySpent { epsilon_micros: 1, delta_picos: DELTA_PICOS, training }));
    let report = book.audited();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.statements, 0);
}

#[test]
fn updates_are_held_to_account_as_proposals_are() {
    let segments = [10, 20, 30].map(|steps| [segment(1_000_000, steps)]);
    // The second is too low, and what is sealed is looked at when it is revealed.
    for ballot in [BallotKind::Open, BallotKind::Sealed] {
        let parameters = Parameters {
            min_learners: 2,
            ballot,
            merging: Some(Merging::default()),
            ..Parameters::default()
        };
        let mut book = Book::with(Version::V2, parameters, Admission::Open);
        book.join(1);
        book.join(2);
        let mut places = Vec::new();
        for (turn, list) in segments.iter().enumerate() {
            let epsilon = figure(list) * if turn == 1 { 0.9 } else { 1.0 };
            let updates = [(1, Some(stated(epsilon, list))), (2, None)];
            let updates = updates.map(|(who, privacy)| (who, book.trained(privacy)));
            places.push(book.train(updates)[0]);
            // Nobody votes.
            book.wait(Parameters::default().vote_deadline_ms);
        }
        let report = book.audited();
        let found: Vec<_> = report.findings.iter().map(|it| (it.kind, it.index)).collect();
        assert_eq!(found, [(Kind::Privacy, Some(places[1]))], "{report:?}");
        assert_eq!(report.statements, 3);
    }
}
