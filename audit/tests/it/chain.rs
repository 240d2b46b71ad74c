//! A ledger that a contract on a public chain keeps: nobody signs for it, and what the chain proves is held against its
//! entries.

use std::sync::Mutex;

use colearn_audit::{
    AuditOptions, AuditReport, Kind, Promise, Proven, Prover, SourceError, audit, open,
};
use colearn_contracts::*;
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Hash, Signer};
use colearn_records::on_chain::PublicChain;
use colearn_records::pins::Pins;
use colearn_records::record;
use tempfile::TempDir;

use crate::book::{Book, key, model};

const CHAIN: &str = "fetchhub-4";
const CONTRACT: &str = "fetch1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ujv7k8";

/// The copy that a mirror has of three entries, signed by a key of its own.
fn mirrored() -> TempDir {
    mirrored_with(&["a", "b"])
}

/// The same of these experiments.
fn mirrored_with(names: &[&str]) -> TempDir {
    let (chain, book) = book(names);
    book.folder_of(&chain.origin())
}

fn book(names: &[&str]) -> (PublicChain, Book) {
    let charter = Charter { creators: Creators::Anybody, max_members: 50 };
    let chain = PublicChain::new(CHAIN.to_owned(), CONTRACT.to_owned(), charter, 50_000_000);
    let chain = chain.unwrap();
    let genesis = chain.genesis(Version::V2, &Limits::default(), 1_000);
    let mut book = Book::of(record::genesis_payload(genesis));
    names.iter().for_each(|name| create(&mut book, name));
    (chain, book)
}

fn create(book: &mut Book, name: &str) {
    book.name = name.parse().unwrap();
    let create = Act::Create(CreateExperiment {
        version: Version::V2.number(),
        parameters: Parameters { min_learners: 1, ..Parameters::default() },
        admission: Admission::Open,
        model: model(0),
        plan: None,
    });
    book.append(record::transaction_payload(&book.signed(1, create)));
}

/// Has always the same answer.
struct Answer(Proven);

impl Prover for Answer {
    fn prove(&self, _: u64) -> Result<Proven, SourceError> {
        Ok(self.0.clone())
    }
}

fn audited(dir: &TempDir, proven: Option<Proven>, pins: Pins) -> AuditReport {
    let mut source = open(dir.path().to_str().unwrap()).unwrap();
    let answer = proven.map(Answer);
    let prover = answer.as_ref().map(|it| it as &dyn Prover);
    audit(&mut *source, AuditOptions { pins, prover, ..AuditOptions::default() }).unwrap()
}

fn proven(size: u64, root: &str) -> Option<Proven> {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&root[2 * at..2 * at + 2], 16).unwrap();
    }
    Some(Proven {
        size,
        root: Hash(bytes),
        total: 7,
        chain: CHAIN.to_owned(),
        contract: CONTRACT.to_owned(),
        height: 87,
        time_ms: 5_000,
    })
}

#[test]
fn a_root_is_proven_or_it_is_said_that_it_is_not() {
    let dir = mirrored();
    let report = audited(&dir, None, Pins::default());
    assert!(report.ok, "{}", report.verdict_line());
    assert_eq!((report.size, report.transactions, report.signatures), (3, 2, 2));
    assert!(report.verdict_line().ends_with(" chain=fetchhub-4 proven=no"));
    let chain = report.chain.unwrap();
    assert_eq!((&*chain.contract, chain.proven, chain.height), (CONTRACT, 0, 0));

    let insisting = Pins::default().trusting(Some("a line".to_owned()));
    let report = audited(&dir, proven(3, &report.root), insisting.clone());
    assert!(report.verdict_line().ends_with(" chain=fetchhub-4 proven=3 height=87"));
    let chain = report.chain.as_ref().unwrap();
    assert_eq!((chain.total, chain.time_ms), (7, 5_000));
    let kind = |report: AuditReport| report.findings.first().map(|finding| finding.kind);
    assert_eq!(kind(audited(&dir, None, insisting)), Some(Kind::Checkpoint));
    let found = |proven| kind(audited(&dir, proven, Pins::default()));
    // Nothing behind the end that is proven is passed over.
    let two = audited(&mirrored_with(&["a"]), None, Pins::default()).root;
    let partly = audited(&dir, proven(2, &two), Pins::default());
    assert_eq!((partly.chain.as_ref().unwrap().proven, partly.size), (2, 3));
    assert_eq!((partly.ok, kind(partly)), (false, Some(Kind::Checkpoint)));
    assert_eq!(found(proven(3, &"09".repeat(32))), Some(Kind::Root));
    assert_eq!(found(proven(2, &report.root)), Some(Kind::Root));
    assert_eq!(found(proven(4, &report.root)), Some(Kind::Incomplete));
    let other = proven(3, &report.root).map(|it| Proven { chain: "other-1".to_owned(), ..it });
    assert_eq!(found(other), Some(Kind::Root));
    let contract = CONTRACT.replace("fetch1q", "fetch1p");
    let other = proven(3, &report.root).map(|it| Proven { contract, ..it });
    assert_eq!(found(other), Some(Kind::Root));
}

#[test]
fn no_entry_is_later_than_the_header_that_proves_it() {
    let (chain, mut ledger) = book(&["a"]);
    ledger.now_ms = 6_000;
    create(&mut ledger, "b");
    let dir = ledger.folder_of(&chain.origin());
    let report = audited(&dir, None, Pins::default());
    let two = audited(&mirrored_with(&["a"]), None, Pins::default()).root;
    let found = |size, root: &str, time_ms| {
        let proven = proven(size, root).map(|it| Proven { time_ms, ..it });
        let report = audited(&dir, proven, Pins::default());
        report.findings.iter().map(|it| (it.kind, it.index)).collect::<Vec<_>>()
    };
    assert_eq!(found(3, &report.root, 6_000), []);
    assert_eq!(found(3, &report.root, 5_999), [(Kind::OnChain, Some(2))]);
    assert_eq!(found(3, &report.root, 999), [(Kind::OnChain, Some(0))]);
    // The header of another ledger says nothing of this one, nor one that proves less of what lies behind.
    assert_eq!(found(3, &"09".repeat(32), 5_999), [(Kind::Root, None)]);
    assert_eq!(found(2, &two, 1_000), [(Kind::Checkpoint, Some(2))]);
}

/// A chain whose ledger grows before it answers; what it was asked for.
struct Growing<'a> {
    grow: &'a (dyn Fn() + Sync),
    proven: Proven,
    asked: Mutex<Vec<u64>>,
}

impl Prover for Growing<'_> {
    fn prove(&self, size: u64) -> Result<Proven, SourceError> {
        self.asked.lock().unwrap().push(size);
        (self.grow)();
        Ok(self.proven.clone())
    }
}

#[test]
fn a_ledger_that_grows_meanwhile_is_audited_as_far_as_it_was_proven() {
    let dir = mirrored();
    let proven = proven(3, &audited(&dir, None, Pins::default()).root).unwrap();
    let (chain, longer) = book(&["a", "b", "c"]);
    let grow = || longer.write_to(dir.path(), &chain.origin());
    let growing = Growing { grow: &grow, proven, asked: Mutex::default() };
    let pins = Pins::default().trusting(Some("a line".to_owned()));
    let options =
        AuditOptions { pins: pins.clone(), prover: Some(&growing), ..AuditOptions::default() };
    let report = audit(&mut *open(dir.path().to_str().unwrap()).unwrap(), options).unwrap();
    assert!(report.ok, "{}", report.verdict_line());
    assert_eq!((report.size, report.chain.unwrap().proven), (3, 3));
    assert_eq!(*growing.asked.lock().unwrap(), [3]);
    assert_eq!(audited(&dir, None, Pins::default()).size, 4);
}

/// A chain that proves nothing.
struct Silent;

impl Prover for Silent {
    fn prove(&self, _: u64) -> Result<Proven, SourceError> {
        Err(SourceError::NotProven("no server answers".into()))
    }
}

#[test]
fn without_the_proof_that_is_asked_for_there_is_no_audit() {
    let dir = mirrored();
    let options = AuditOptions { prover: Some(&Silent), ..AuditOptions::default() };
    let error = audit(&mut *open(dir.path().to_str().unwrap()).unwrap(), options).unwrap_err();
    assert_eq!(error.to_string(), "no server answers");
}

#[test]
fn what_nodes_keep_no_chain_proves() {
    let dir = Book::new(Version::V2).folder();
    let report = audited(&dir, None, Pins::default());
    assert!(report.ok && report.chain.is_none());
    let report = audited(&dir, proven(1, &report.root), Pins::default());
    assert_eq!(report.findings[0].kind, Kind::Genesis);
}

#[test]
fn what_nobody_has_signed_proves_nothing_against_a_ledger() {
    let dir = mirrored();
    let report = audited(&dir, None, Pins::default());
    // Anybody can write such a file, and sign it with any key.
    let kept = |root: &str| {
        let root = proven(3, root).unwrap().root;
        let text = Checkpoint { origin: report.origin.clone(), size: 3, root }.text();
        let signer = Signer::new(&report.origin, KeyKind::Log, key(77)).unwrap();
        vec![Promise::stated("kept".as_ref(), format!("{text}\n{}", signer.sign(&text, 0)))]
    };
    let audited = |promises| {
        let mut source = open(dir.path().to_str().unwrap()).unwrap();
        audit(&mut *source, AuditOptions { promises, ..AuditOptions::default() }).unwrap()
    };
    let own = audited(kept(&report.root));
    assert_eq!((own.promises, own.signatures, own.ok), (1, report.signatures, true), "{own:#?}");
    let forged = audited(kept(&"09".repeat(32)));
    let [finding] = &forged.findings[..] else { panic!("{forged:#?}") };
    assert_eq!((finding.kind, forged.signatures), (Kind::Receipt, report.signatures));
    assert!(finding.expected.contains("proves nothing against the ledger"), "{finding:?}");
}
