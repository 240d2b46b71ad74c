//! Audits across an upgrade, and of what this program does not know.

use colearn_audit::Kind;
use colearn_contracts::*;
use colearn_proto::v1;
use colearn_records::{record, upgrade};

use crate::book::{Book, key};

#[test]
fn a_ledger_goes_on_under_later_rules_and_passes() {
    let parameters = Parameters { min_learners: 1, ..Parameters::default() };
    let mut book = Book::with(Version::V1, parameters, Admission::Open);
    for who in 1..=3 {
        book.join(who);
    }
    book.propose(None);
    book.upgrade();
    book.pass(None);
    book.act(1, Act::Move { number: 1, motion: Motion::Adopt(Version::V2) });
    book.act(2, Act::MotionVote { number: 1, approve: true });
    book.wait(3_600_000);
    assert_eq!(book.experiment().version(), Version::V2);
    let report = book.audited();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.size, book.size());
}

#[test]
fn an_upgrade_must_be_one_that_can_be_followed() {
    let found = |change: &dyn Fn(&mut v1::Upgrade)| {
        let mut book = Book::new(Version::V1);
        let mut signed = upgrade::sign(&book.id, &key(100), Version::V2, Limits::default());
        change(&mut signed);
        book.append(record::upgrade_payload(&signed));
        let report = book.audited();
        assert!(report.findings.iter().all(|finding| finding.index == Some(1)), "{report:?}");
        report.findings
    };
    assert!(found(&|_| ()).is_empty());
    let unknown = found(&|it| it.contract_version = 77);
    let kinds: Vec<Kind> = unknown.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Signature, Kind::Contract]);
    assert!(unknown[1].got.contains("version 77 of the rules is needed here"), "{}", unknown[1]);
    let unlimited = found(&|it| it.limits = None);
    let kinds: Vec<Kind> = unlimited.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Signature, Kind::Contract]);
}

#[test]
fn a_genesis_must_be_one_that_can_be_followed() {
    let found = |change: &dyn Fn(&mut v1::Genesis)| {
        let mut genesis = v1::Genesis {
            origin: "example.org/log".to_owned(),
            log_public_key: key(100).verifying_key().to_bytes().to_vec().into(),
            nonce: vec![7; 32].into(),
            contract_version: 2,
            validators: Vec::new(),
            time_ms: 0,
            limits: Some(upgrade::limits_message(&Limits::default())),
            chain: None,
        };
        change(&mut genesis);
        let report = Book::of(record::genesis_payload(genesis)).audited();
        let [finding] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!((finding.kind, finding.index), (Kind::Genesis, Some(0)));
        finding.got.clone()
    };
    let unknown = found(&|it| it.contract_version = 77);
    assert!(unknown.contains("version 77 of the rules is needed here"), "{unknown}");
    for wrong in [
        found(&|it| it.limits = None),
        found(&|it| it.contract_version = 1),
        found(&|it| it.limits.as_mut().unwrap().expiry_ms = 1),
    ] {
        assert!(wrong.contains("limits"), "{wrong}");
    }
}
