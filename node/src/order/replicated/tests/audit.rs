//! What an audit of a ledger that several nodes keep finds.

use colearn_audit::{AuditOptions, AuditReport, Kind};
use colearn_ledger::{Checkpoint, Hash};
use colearn_records::log_keys;
use prost::Message as _;
use v1::validator_change::Change;

use super::*;
use crate::testing;

/// A ledger as it is written: when each entry is recorded, and what.
struct Book {
    ledger: LedgerId,
    entries: Vec<(u64, Vec<u8>)>,
    /// Who signs the checkpoint.
    signers: Vec<u8>,
    /// How many entries it counts.
    size: usize,
}

impl Book {
    /// What nodes have recorded: three blocks, of which the second admits a fifth.
    fn of_nodes() -> Self {
        let mut network = Network::of(4);
        let ledger = network.ledger();
        // Of nothing that was before: so no learner's word is broken by what is changed there.
        let seen = Seen { size: 0, root: Hash::empty_root() };
        let sign = |learner, act| tx(&Transaction::sign(&key(learner), &ledger, seen, act));
        let create = sign(1, testing::create("a"));
        assert_eq!(network.record(vec![create]), [code::RECORDED]);
        network.clock.set(BEGIN_MS + 50);
        let admit = change(&ledger, 1, Change::Admit(validator(5)), [1, 2, 3]);
        let join = sign(2, testing::join("a", 1, 0));
        assert_eq!(network.record(vec![join, admit]), [code::RECORDED; 2]);
        network.clock.set(BEGIN_MS + 90);
        let create = sign(2, testing::create("b"));
        assert_eq!(network.record(vec![create]), [code::RECORDED]);
        let entries = network.entries();
        let entries = entries.iter().map(|entry| Entry::decode(entry).unwrap());
        let entries: Vec<_> = entries.map(|entry| (entry.time_ms, entry.payload)).collect();
        Self { ledger, size: entries.len(), entries, signers: vec![1, 2, 3, 4] }
    }

    /// The entries that say what this tells of them.
    fn places(&self, is: impl Fn(&v1::entry::Payload) -> bool) -> Vec<usize> {
        let payload = |at: &usize| v1::Entry::decode(&self.entries[*at].1[..]).unwrap().payload;
        (0..self.entries.len()).filter(|at| is(&payload(at).unwrap())).collect()
    }

    fn blocks(&self) -> Vec<usize> {
        self.places(|it| matches!(it, v1::entry::Payload::Block(_)))
    }

    fn transactions(&self) -> Vec<usize> {
        self.places(|it| matches!(it, v1::entry::Payload::Transaction(_)))
    }

    fn change(&self) -> usize {
        self.places(|it| matches!(it, v1::entry::Payload::ValidatorChange(_)))[0]
    }

    fn insert(&mut self, at: usize, payload: Vec<u8>) {
        let time_ms = self.entries[at].0;
        self.entries.insert(at, (time_ms, payload));
        self.size += 1;
    }

    fn remove(&mut self, at: usize) {
        self.entries.remove(at);
        self.size -= 1;
    }

    /// Changes a block's end.
    fn block(&mut self, at: usize, change: impl Fn(&mut v1::Block)) {
        let entry = v1::Entry::decode(&self.entries[at].1[..]).unwrap();
        let Some(v1::entry::Payload::Block(mut block)) = entry.payload else { panic!("no block") };
        change(&mut block);
        self.entries[at].1 = record::block_payload(&block);
    }

    /// Writes it down, with the chain and the tree that it has.
    fn written(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let own = crate::open::signer("test", key(1)).unwrap();
        let disk = TestDisk::failing_after(u64::MAX);
        let options = Options { keys_of: record::keys_of, disk, ..Options::new(own) };
        let path = dir.path().join("ledger");
        let (mut ledger, _) = Ledger::open(&path, options).unwrap();
        for (time_ms, payload) in &self.entries {
            let keys = record::keys_of(payload);
            ledger.append(*time_ms, payload.clone(), keys).unwrap();
        }
        ledger.commit().unwrap();
        let size = self.size as u64;
        let root = ledger.reader().root(size).unwrap();
        let text = Checkpoint { origin: "test".to_owned(), size, root }.text();
        let line = |number: &u8| crate::open::signer("test", key(*number)).unwrap().sign(&text, 0);
        let lines: String = self.signers.iter().map(line).collect();
        colearn_ledger::publish(&path, &format!("{text}\n{lines}")).unwrap();
        dir
    }

    /// The root over the first so many entries.
    fn seen(&self, size: usize) -> Seen {
        let book = Self { entries: self.entries[..size].to_vec(), ..Self::of_nodes() };
        let dir = Self { size, ..book }.written();
        let note = colearn_ledger::published(&dir.path().join("ledger")).unwrap().unwrap();
        let note = colearn_ledger::SignedNote::parse(&note).unwrap();
        let root = Checkpoint::parse(note.text()).unwrap().root;
        Seen { size: size as u64, root }
    }
}

fn audit(dir: &Path) -> AuditReport {
    let mut source = colearn_audit::open(dir.to_str().unwrap()).unwrap();
    colearn_audit::audit(&mut *source, AuditOptions::default()).unwrap()
}

/// What is found first where a ledger is spoilt so.
#[track_caller]
fn found(expected: Kind, spoil: impl FnOnce(&mut Book)) {
    let mut book = Book::of_nodes();
    spoil(&mut book);
    let report = audit(book.written().path());
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds.first(), Some(&expected), "{:#?}", report.findings);
}

#[test]
fn what_nodes_have_recorded_is_as_it_should_be() {
    let report = audit(Book::of_nodes().written().path());
    assert!(report.ok, "{:#?}", report.findings);
    let network = report.network.unwrap();
    assert_eq!((network.validators, network.signed, network.blocks), (5, 4, 3));
}

#[test]
fn a_checkpoint_that_too_few_have_signed_is_found() {
    found(Kind::Checkpoint, |book| book.signers = vec![1, 2, 3]);
    // By who was none of them, however many there are.
    found(Kind::Checkpoint, |book| book.signers = vec![1, 2, 3, 6, 7, 8]);
    found(Kind::Checkpoint, |book| book.signers = vec![1, 1, 1, 1, 2, 3]);
    found(Kind::Checkpoint, |book| book.signers.clear());
}

#[test]
fn a_checkpoint_within_a_block_is_found() {
    found(Kind::Network, |book| book.size -= 1);
}

#[test]
fn blocks_that_nobody_made_are_found() {
    // The same height twice, one that was before, none at all.
    found(Kind::Network, |book| book.block(book.blocks()[1], |it| it.height = 1));
    found(Kind::Network, |book| book.block(book.blocks()[0], |it| it.height = 9));
    found(Kind::Network, |book| book.block(book.blocks()[0], |it| it.height = 0));
    // Two that were made one.
    found(Kind::Network, |book| book.remove(book.blocks()[1]));
    // Two times in one.
    found(Kind::Network, |book| {
        let last = book.blocks()[1];
        book.entries[last].0 += 1;
    });
    // What is no block's end.
    found(Kind::Encoding, |book| book.block(book.blocks()[0], |it| it.hash = Bytes::new()));
    found(Kind::Encoding, |book| book.block(book.blocks()[0], |it| it.proposer = Bytes::new()));
}

#[test]
fn who_says_to_have_seen_its_own_block_is_found() {
    found(Kind::Network, |book| {
        let last = *book.transactions().last().unwrap();
        let seen = book.seen(last + 1);
        let it = Transaction::sign(&key(3), &book.ledger, seen, testing::create("c"));
        book.insert(last + 1, record::transaction_payload(&it));
    });
}

#[test]
fn changes_that_nobody_has_approved_are_found() {
    found(Kind::Network, |book| {
        let at = book.change();
        let admit = change(&book.ledger, 1, Change::Admit(validator(5)), [1, 2]);
        book.entries[at].1 = admit.to_vec();
    });
    // A second in one block, though all are for it.
    found(Kind::Network, |book| {
        let remove = change(&book.ledger, 2, Change::Remove("org-5".to_owned()), 1..=5);
        book.insert(book.change() + 1, remove.to_vec());
    });
    // One node's own key, changed as a ledger's that one node keeps.
    found(Kind::Network, |book| {
        let rotation = log_keys::sign(&book.ledger, &key(1), &key(9));
        book.insert(book.change() + 1, record::rotation_payload(&rotation));
    });
}

#[test]
fn what_is_left_out_or_changed_is_found() {
    // An action that others rest on, and one that is there twice.
    found(Kind::Contract, |book| book.remove(book.transactions()[0]));
    found(Kind::Contract, |book| {
        let first = book.entries[book.transactions()[0]].1.clone();
        book.insert(book.blocks()[2], first);
    });
    // Any byte of the files.
    let dir = Book::of_nodes().written();
    let journal = dir.path().join("ledger/journal/00000000.journal");
    let whole = std::fs::read(&journal).unwrap();
    for at in (0..whole.len()).step_by(397) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&journal, changed).unwrap();
        assert!(!audit(dir.path()).ok, "byte {at}");
    }
    std::fs::write(&journal, whole).unwrap();
    assert!(audit(dir.path()).ok);
}
