//! Times that are none, and transactions that come too late.

use std::time::{Duration, Instant};

use colearn_audit::{Kind, Level};
use colearn_contracts::*;
use colearn_records::record;

use crate::book::{Book, learner};

/// A ledger of five entries in which nobody is ever suspended and nothing ever pauses.
fn tireless(version: Version) -> Book {
    let parameters = Parameters {
        min_learners: 1,
        proposal_deadline_ms: 10,
        missed_turns: None,
        idle_rotations: None,
        ..Parameters::default()
    };
    let mut book = Book::with(version, parameters, Admission::Open);
    book.join(1);
    book.join(2);
    assert_eq!(book.size(), 5);
    book
}

#[test]
fn the_end_of_the_numbers_is_found_and_not_waited_for() {
    for version in [Version::V1, Version::V2] {
        let mut book = tireless(version);
        book.now_ms = u64::MAX;
        let (round, base) = (2, Digest([0; 32]));
        let what =
            Decision::RoundOpened { round, proposer: learner(1), base, deadline_ms: u64::MAX };
        book.append(record::outcome_payload(&Outcome::new(book.name.clone(), what)));
        for level in [Level::Tree, Level::Signatures, Level::Contract] {
            let began = Instant::now();
            let report = book.audited_to(level);
            let first = report.findings.first().unwrap_or_else(|| panic!("{report:?}"));
            assert_eq!((first.kind, first.index), (Kind::Chain, Some(5)), "{report:?}");
            assert!(first.got.contains("beyond the year 9999 (R70)"), "{first}");
            assert_eq!(report.exit_code(), 14);
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        }
    }
}

#[test]
fn the_last_millisecond_is_a_time() {
    let mut book = tireless(Version::V2);
    book.wait(MAX_TIME_MS - book.now_ms);
    let report = book.audited();
    assert!(report.ok, "{report:?}");
}

#[test]
fn a_transaction_that_was_held_back_is_found() {
    let week_ms = Limits::default().expiry_ms;
    for (late_ms, expired) in [(0, false), (1, true)] {
        let mut book = Book::new(Version::V2);
        let create = CreateExperiment {
            version: 2,
            parameters: Parameters::default(),
            admission: Admission::Open,
            model: crate::book::model(0),
            plan: None,
        };
        let held = book.signed(1, Act::Create(create));
        // Its signer had seen nothing; the genesis was recorded a week ago.
        book.wait(week_ms + late_ms);
        book.transact(&held);
        for level in [Level::Signatures, Level::Contract] {
            let report = book.audited_to(level);
            let found: Vec<_> = report.findings.iter().map(|it| (it.kind, it.index)).collect();
            let expected: &[_] = if expired { &[(Kind::Expired, Some(1))] } else { &[] };
            assert_eq!(found, expected, "{report:?}");
            assert_eq!(report.exit_code(), if expired { 27 } else { 0 });
            if let Some(finding) = report.findings.first() {
                assert!(finding.got.contains("had seen 0 entries only (R71)"), "{finding}");
                let line = report.verdict_line();
                assert!(line.starts_with("AUDIT FAIL code=27 name=expired index=1 "), "{line}");
            }
        }
        // Whether it is too old is nothing that the tree tells.
        assert!(book.audited_to(Level::Tree).ok);
    }
}
