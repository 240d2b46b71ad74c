//! What an audit must find.

use std::path::Path;

use bytes::Bytes;
use colearn_audit::{self as audit, AuditOptions, AuditReport, Kind};
use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Decision, Digest, Join, Limits, Model, Outcome,
    Parameters, VERSION, Verdict, terms,
};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Hash, Ledger, Signer, Verifier};
use colearn_proto::v1;
use colearn_records::keys::learner_id;
use colearn_records::pins::Pins;
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_records::upgrade;
use prost::Message as _;
use tempfile::TempDir;

use crate::support::{NodeProcess, fail, key, name, run};

fn signer() -> Signer {
    Signer::new("example.org/log", KeyKind::Log, key(9)).unwrap()
}

fn genesis() -> v1::Genesis {
    v1::Genesis {
        origin: "example.org/log".to_owned(),
        log_public_key: Bytes::copy_from_slice(key(9).verifying_key().as_bytes()),
        nonce: Bytes::from_static(&[7; 32]),
        contract_version: VERSION.number(),
        validators: Vec::new(),
        time_ms: 0,
        limits: Some(upgrade::limits_message(&Limits::default())),
        chain: None,
    }
}

fn report(dir: &Path) -> AuditReport {
    let mut source = audit::open(dir.to_str().unwrap()).unwrap();
    audit::audit(&mut *source, AuditOptions::default()).unwrap()
}

fn first(report: &AuditReport) -> (Kind, Option<u64>) {
    let finding = report.findings.first().unwrap_or_else(|| panic!("no finding: {report:?}"));
    (finding.kind, finding.index)
}

/// A ledger written by a dishonest or broken node: whatever payloads, one commit each.
fn forge(payloads: Vec<Vec<u8>>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(dir.path(), colearn_ledger::Options::new(signer())).unwrap();
    for (at, payload) in payloads.into_iter().enumerate() {
        ledger.append(at as u64, payload, Vec::new()).unwrap();
        ledger.commit().unwrap();
    }
    dir
}

fn nothing_seen() -> Seen {
    Seen { size: 0, root: Hash::empty_root() }
}

fn signed(seed: u8, seen: Seen, action: Action) -> Vec<u8> {
    let id = LedgerId::of(&genesis());
    record::transaction_payload(&Transaction::sign(&key(seed), &id, seen, action))
}

fn model(byte: u8) -> Model {
    Model { digest: Digest([byte; 32]), size: 1, media_type: "m".to_owned() }
}

fn create() -> Action {
    let parameters = Parameters { min_learners: 1, ..Parameters::default() };
    Action::new(
        name("x"),
        Act::Create(CreateExperiment {
            version: VERSION.number(),
            parameters,
            admission: Admission::Open,
            model: model(0),
            plan: None,
        }),
    )
}

fn join() -> Action {
    let Act::Create(CreateExperiment { parameters, admission, .. }) = create().what else {
        unreachable!()
    };
    let terms = terms(VERSION, learner_id(&key(1)), &parameters, &admission);
    Action::new(name("x"), Act::Join(Join::new(0, Some(terms))))
}

fn opened(round: u64) -> Outcome {
    Outcome::new(
        name("x"),
        Decision::RoundOpened {
            round,
            proposer: learner_id(&key(1)),
            base: Digest([0; 32]),
            deadline_ms: 2 + 600_000,
        },
    )
}

/// Genesis, create, join, round opened.
fn honest() -> Vec<Vec<u8>> {
    vec![
        record::genesis_payload(genesis()),
        signed(1, nothing_seen(), create()),
        signed(1, nothing_seen(), join()),
        // The outcome has the time of what caused it.
        record::outcome_payload(&opened(1)),
    ]
}

/// Like [`forge`], but outcomes take the time of the entry before them.
fn ledger_of(payloads: Vec<Vec<u8>>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = Ledger::open(dir.path(), colearn_ledger::Options::new(signer())).unwrap();
    let mut time = 0;
    for payload in payloads {
        let entry = v1::Entry::decode(&payload[..]).unwrap();
        if matches!(entry.payload, Some(v1::entry::Payload::Transaction(_))) {
            time += 1;
        }
        ledger.append(time, payload, Vec::new()).unwrap();
    }
    ledger.commit().unwrap();
    dir
}

#[test]
fn an_honest_ledger_passes_and_is_described() {
    let report = report(ledger_of(honest()).path());
    assert!(report.ok, "{report:?}");
    assert_eq!((report.size, report.transactions, report.signatures), (4, 2, 3));
    assert_eq!((report.experiments, report.rounds), (1, 0));
}

#[test]
fn flipping_any_byte_of_the_journal_fails_and_names_the_entry() {
    let dir = ledger_of(honest());
    let journal = dir.path().join("journal/00000000.journal");
    let whole = std::fs::read(&journal).unwrap();
    // Which entry each byte belongs to; the segment's header to the first.
    let mut owner = vec![0; 32];
    while owner.len() < whole.len() {
        let length = u32::from_le_bytes(whole[owner.len()..][..4].try_into().unwrap());
        let index = if owner.len() == 32 { 0 } else { owner[owner.len() - 1] + 1 };
        owner.extend(std::iter::repeat_n(index, 8 + length as usize));
    }
    assert_eq!(owner.last(), Some(&3));
    for (at, index) in owner.iter().enumerate() {
        for bit in [0, 7] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            std::fs::write(&journal, &damaged).unwrap();
            let report = report(dir.path());
            assert_eq!(first(&report), (Kind::Damaged, Some(*index)), "byte {at} bit {bit}");
        }
    }
    std::fs::write(&journal, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(first(&report(dir.path())), (Kind::Damaged, Some(3)));
    std::fs::write(&journal, &whole[..whole.len() - owner.iter().filter(|i| **i == 3).count()])
        .unwrap();
    assert_eq!(first(&report(dir.path())), (Kind::Incomplete, Some(3)));

    // The command's exit code and last line say it too.
    let mut damaged = whole.clone();
    damaged[owner.iter().position(|index| *index == 2).unwrap() + 20] ^= 4;
    std::fs::write(&journal, &damaged).unwrap();
    let output = run(&["audit", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(13));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.lines().last().unwrap().starts_with("AUDIT FAIL code=13 name=damaged index=2 "),
        "{text}"
    );
}

#[test]
fn a_false_record_is_found_for_what_it_is() {
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut payloads = honest();
        change(&mut payloads);
        first(&report(ledger_of(payloads).path()))
    };

    // A transaction that nobody signed, or that was signed for another ledger.
    let forged = with(&|payloads| {
        let mut entry = v1::Entry::decode(&payloads[2][..]).unwrap();
        if let Some(v1::entry::Payload::Transaction(signed)) = &mut entry.payload {
            let mut signature = signed.signature.to_vec();
            signature[5] ^= 1;
            signed.signature = signature.into();
        }
        payloads[2] = entry.encode_to_vec();
    });
    assert_eq!(forged, (Kind::Signature, Some(2)));
    let elsewhere = with(&|payloads| {
        let transaction = Transaction::sign(&key(1), &LedgerId([1; 32]), nothing_seen(), join());
        payloads[2] = record::transaction_payload(&transaction);
    });
    assert_eq!(elsewhere, (Kind::Signature, Some(2)));

    // A history that its signer did not see.
    let fork = with(&|payloads| {
        let seen = Seen { size: 1, root: Hash([3; 32]) };
        payloads[2] = signed(1, seen, join());
    });
    assert_eq!(fork, (Kind::Seen, Some(2)));
    let future = with(&|payloads| {
        let seen = Seen { size: 3, root: Hash::empty_root() };
        payloads[2] = signed(1, seen, join());
    });
    assert_eq!(future, (Kind::Seen, Some(2)));

    // An outcome the contract did not decide, one left out, one too many, a refused transaction.
    let other = with(&|payloads| payloads[3] = record::outcome_payload(&opened(2)));
    assert_eq!(other, (Kind::Contract, Some(3)));
    let missing = with(&|payloads| {
        payloads.truncate(3);
    });
    assert_eq!(missing, (Kind::Contract, Some(3)));
    let extra = with(&|payloads| {
        payloads.push(record::outcome_payload(&Outcome::new(
            name("x"),
            Decision::RoundClosed {
                round: 1,
                verdict: Verdict::Accepted,
                approvals: 0,
                rejections: 0,
                abstentions: 0,
                unavailable: 0,
                electorate: 0,
                model: Digest([0; 32]),
            },
        )));
    });
    assert_eq!(extra, (Kind::Contract, Some(4)));
    let refused = with(&|payloads| payloads.push(signed(1, nothing_seen(), join())));
    assert_eq!(refused, (Kind::Contract, Some(4)));

    // Not the one encoding: an unknown field behind the payload.
    let unknown = with(&|payloads| payloads[3].extend([0x7a, 0x01, 0x00]));
    assert_eq!(unknown, (Kind::Encoding, Some(3)));
    let genesis_again = with(&|payloads| payloads[3] = record::genesis_payload(genesis()));
    assert_eq!(genesis_again, (Kind::Encoding, Some(3)));
    let no_genesis = with(&|payloads| {
        payloads.remove(0);
    });
    assert_eq!(no_genesis, (Kind::Genesis, Some(0)));
}

#[test]
fn a_false_checkpoint_or_key_is_found() {
    let dir = ledger_of(honest());
    // The anchors of a ledger with other entries.
    let mut payloads = honest();
    payloads.truncate(3);
    payloads[2] = signed(2, nothing_seen(), join());
    payloads.push(record::outcome_payload(&opened(1)));
    let other = forge(payloads);
    for anchor in ["anchor-a", "anchor-b"] {
        std::fs::copy(other.path().join(anchor), dir.path().join(anchor)).unwrap();
    }
    assert_eq!(first(&report(dir.path())), (Kind::Root, None));
    for anchor in ["anchor-a", "anchor-b"] {
        std::fs::write(dir.path().join(anchor), "nonsense").unwrap();
    }
    assert_eq!(first(&report(dir.path())), (Kind::Checkpoint, None));

    let dir = ledger_of(honest());
    let other_key = Verifier::new("example.org/log", KeyKind::Log, key(8).verifying_key()).unwrap();
    let mut source = audit::open(dir.path().to_str().unwrap()).unwrap();
    let pins = Pins::new(None, Some(other_key), Vec::new(), None).unwrap();
    let options = AuditOptions { pins, ..AuditOptions::default() };
    assert_eq!(first(&audit::audit(&mut *source, options).unwrap()), (Kind::Genesis, Some(0)));
}

/// Its library has words of its own, which nobody needs.
#[test]
fn a_damaged_index_is_told_in_one_line_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    NodeProcess::start(&data).stop();
    let conf = data.join("ledger/index/conf");
    std::fs::write(&conf, [0xff; 64]).unwrap();
    let output = run(&["audit", data.to_str().unwrap()]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    let node = NodeProcess::start(&data);
    let reason = node.started["index_rebuilt"].as_str().unwrap().to_owned();
    assert_eq!(reason, "it is damaged, or of another program");
    node.stop();

    // A file in its place is somebody's mistake, and says so.
    let index = data.join("ledger/index");
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::write(&index, "").unwrap();
    let output = run(&["audit", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(22));
    let error = fail(&["node", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(error.contains("ledger/index is no folder"), "{error}");
    assert!(error.contains("move it away"), "{error}");
}
