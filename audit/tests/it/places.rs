//! What a folder or an export may hold beside a whole ledger, and what is said of it.

use std::path::Path;

use colearn_audit::{
    AuditOptions, AuditReport, Kind, Level, Promise, audit, open, signed_checkpoint,
};
use colearn_contracts::{Decision, Outcome, Version};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Exporter, Hash, Ledger, Options, Receipt, Signer, TreeBuilder, tree};
use colearn_records::receipts::{self, KeptReceipt};
use colearn_records::record;
use tempfile::TempDir;

use crate::book::{Book, key};

/// A ledger of this many entries that no contract has decided.
fn book(entries: u64) -> Book {
    let mut book = Book::new(Version::V2);
    for number in 1..entries {
        let what = Decision::MotionOpened { number, electorate: 1, deadline_ms: 1 };
        book.append(record::outcome_payload(&Outcome::new(book.name.clone(), what)));
    }
    book
}

fn report(dir: &Path) -> AuditReport {
    let options = AuditOptions { level: Level::Tree, ..AuditOptions::default() };
    audit(&mut *open(dir.to_str().unwrap()).unwrap(), options).unwrap()
}

/// The first finding: its kind, its entry, and what was there.
fn found(dir: &Path) -> (Kind, Option<u64>, String) {
    let report = report(dir);
    let first = report.findings.first().unwrap_or_else(|| panic!("nothing: {report:?}"));
    (first.kind, first.index, first.got.clone())
}

/// The same as static files.
fn export(folder: &Path) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let place = folder.to_str().unwrap();
    let (checkpoint, note) = signed_checkpoint(&mut *open(place).unwrap()).unwrap();
    let mut exporter = Exporter::new(dir.path());
    let mut source = open(place).unwrap();
    for entry in colearn_audit::entries(&mut *source, checkpoint.size) {
        exporter.push(&entry.unwrap().1).unwrap();
    }
    exporter.finish(&note).unwrap();
    assert!(report(dir.path()).ok);
    dir
}

/// What is found where one file of an export is changed.
fn with(dir: &Path, file: &str, change: impl Fn(&mut Vec<u8>)) -> (Kind, Option<u64>, String) {
    let path = dir.join(file);
    let whole = std::fs::read(&path).unwrap();
    let mut changed = whole.clone();
    change(&mut changed);
    std::fs::write(&path, changed).unwrap();
    let found = found(dir);
    std::fs::write(&path, whole).unwrap();
    found
}

#[test]
fn bytes_behind_the_last_entry_of_a_bundle_are_found() {
    let dir = export(book(258).folder().path());
    for (bundle, last) in [("tile/entries/000", 255), ("tile/entries/001.p/2", 257)] {
        // Among them a whole entry more.
        for more in [&[0][..], &[0, 0], &[0, 1, 7], &[9; 500]] {
            let found = with(dir.path(), bundle, |bytes| bytes.extend_from_slice(more));
            let what =
                format!("the bundle {bundle} has {} bytes behind its last entry", more.len());
            assert_eq!(found, (Kind::Damaged, Some(last), what));
        }
    }
    // A ledger that has grown since serves the full bundle only, whose beginning is what was asked for.
    let grown = export(book(512).folder().path());
    std::fs::remove_dir_all(dir.path().join("tile/entries/001.p")).unwrap();
    let full = dir.path().join("tile/entries/001");
    std::fs::copy(grown.path().join("tile/entries/001"), &full).unwrap();
    assert!(report(dir.path()).ok);
    let (kind, index, _) = with(dir.path(), "tile/entries/001", |bytes| bytes.push(0));
    assert_eq!((kind, index), (Kind::Damaged, Some(511)));
}

#[test]
fn a_malformed_checkpoint_is_what_is_wrong() {
    // Of a ledger whose bundles are named by the size that it states, and of one whose are not.
    for entries in [3, 256] {
        let dir = export(book(entries).folder().path());
        let note = std::fs::read_to_string(dir.path().join("checkpoint")).unwrap();
        let replaced = |from: &str, to: &str| note.replacen(from, to, 1).into_bytes();
        let size = format!("\n{entries}\n");
        for bad in [
            Vec::new(),
            b"nonsense".to_vec(),
            note.as_bytes()[..note.len() - 1].to_vec(),
            replaced(&size, &format!("\n+{entries}\n")),
            replaced(&size, &format!("\n0{entries}\n")),
            replaced(&size, "\n9223372036854775808\n"),
            replaced("\u{2014}", "-"),
            [note.as_bytes(), &[0xff]].concat(),
            // A line that is no UTF-8 makes the whole none, whoever signed the others.
            [note.as_bytes(), b"\xe2\x80\x94 a\xff AAAAAAAA\n"].concat(),
        ] {
            let (kind, index, got) = with(dir.path(), "checkpoint", |bytes| *bytes = bad.clone());
            assert_eq!((kind, index), (Kind::Checkpoint, None), "{got}");
            assert!(got.starts_with("checkpoint: not a well-formed checkpoint: "), "{got}");
        }
    }
}

#[test]
fn a_hash_tile_that_is_missing_is_not_called_wrong() {
    let dir = export(book(258).folder().path());
    for (tile, first) in [("tile/0/000", 0), ("tile/0/001.p/2", 256), ("tile/1/000.p/1", 0)] {
        let (kind, index, got) = with(dir.path(), tile, |bytes| bytes[3] ^= 1);
        assert_eq!((kind, index), (Kind::Index, Some(first)));
        assert_eq!(got, format!("{tile} is not what its entries hash to"));
        for length in [0, 31, 33] {
            let (kind, index, got) = with(dir.path(), tile, |bytes| bytes.resize(length, 0));
            assert_eq!((kind, index), (Kind::Index, Some(first)));
            assert_eq!(got, format!("{tile} has another length than its hashes"));
        }
        let path = dir.path().join(tile);
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let missing = format!("{tile} is missing");
        assert_eq!(found(dir.path()), (Kind::Index, Some(first), missing));
        std::fs::write(&path, whole).unwrap();
    }
    assert!(report(dir.path()).ok);
}

#[test]
fn an_anchor_that_cannot_be_read_may_have_counted_more() {
    let dir = book(5).folder();
    let (newest, older) = (dir.path().join("anchor-b"), dir.path().join("anchor-a"));
    assert!(report(dir.path()).ok);
    let anchors = [&newest, &older].map(|path| (path, std::fs::read(path).unwrap()));
    let restore = || {
        for (path, bytes) in &anchors {
            std::fs::write(path, bytes).unwrap();
        }
    };
    for (path, whole) in &anchors {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut flipped = whole.clone();
        flipped[40] ^= 1;
        let mut unsigned = whole.clone();
        let end = whole.iter().position(|byte| *byte == 0).unwrap();
        unsigned[end - 3] ^= 1;
        // What a crash can leave: the beginning of a new note on an old one.
        let mut torn = whole.clone();
        torn[..30].fill(b'x');
        for bad in
            [Some(vec![0; 2048]), Some(Vec::new()), Some(flipped), Some(unsigned), Some(torn), None]
        {
            match &bad {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
            let (kind, index, got) = found(dir.path());
            assert_eq!((kind, index), (Kind::Checkpoint, None), "{got}");
            assert!(got.starts_with(&format!("{name}: ")), "{got}");
            restore();
        }
    }
    // Cut off behind the older one, the journal shows nothing; the anchor does.
    std::fs::remove_file(&newest).unwrap();
    let missing = "anchor-b: it is missing".to_owned();
    assert_eq!(found(dir.path()), (Kind::Checkpoint, None, missing));
    // What cannot be vouched for is not passed on either.
    let place = dir.path().to_str().unwrap();
    let refused = signed_checkpoint(&mut *open(place).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("anchor-b"), "{refused}");

    // Opening the ledger makes both whole again, and keeps what lies behind.
    let signer = Signer::new("example.org/log", KeyKind::Log, key(100)).unwrap();
    let (ledger, opened) = Ledger::open(dir.path(), Options::new(signer)).unwrap();
    assert_eq!(opened.size, 5);
    assert_eq!(opened.lost_anchor.as_deref(), Some("anchor-b: it is missing"));
    drop(ledger);
    let report = report(dir.path());
    assert!(report.ok, "{report:?}");
    assert_eq!(report.size, 5);
}

/// A receipt for the entry of a ledger, in a folder.
fn receipt(folder: &Path, index: u64, dir: &Path) -> std::path::PathBuf {
    let place = folder.to_str().unwrap();
    let (checkpoint, note) = signed_checkpoint(&mut *open(place).unwrap()).unwrap();
    let mut tree = TreeBuilder::new();
    let mut entries = Vec::new();
    let mut source = open(place).unwrap();
    for entry in colearn_audit::entries(&mut *source, checkpoint.size) {
        entries.push(entry.unwrap().1);
        tree.push(Hash::leaf(entries.last().unwrap()));
    }
    let path = tree::inclusion(&tree, index, checkpoint.size).unwrap();
    let text = Receipt { index, path, checkpoint: note }.to_text();
    let file = dir.join(format!("{index}.tlog-proof"));
    std::fs::write(&file, text).unwrap();
    std::fs::write(file.with_extension("entry"), &entries[index as usize]).unwrap();
    file
}

/// Beside receipts in files of their own.
#[test]
fn receipts_in_files_of_many_are_held_to_as_far_as_they_can_be_read() {
    let (dir, kept) = (book(7).folder(), tempfile::tempdir().unwrap());
    let held = || {
        let promises = Promise::receipts(kept.path()).unwrap();
        let options = AuditOptions { level: Level::Tree, promises, ..AuditOptions::default() };
        audit(&mut *open(dir.path().to_str().unwrap()).unwrap(), options).unwrap()
    };
    let [one, two] = [1, 3].map(|index| {
        let file = receipt(dir.path(), index, kept.path());
        let proof = Receipt::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let entry = std::fs::read(file.with_extension("entry")).unwrap();
        std::fs::remove_file(file).unwrap();
        KeptReceipt { receipt: proof, entry }
    });
    receipt(dir.path(), 5, kept.path());
    let file = kept.path().join(receipts::file_name(1));
    let whole = [one.to_bytes(), two.to_bytes()].concat();
    std::fs::write(&file, &whole).unwrap();
    let report = held();
    assert!(report.ok && report.verdict_line().ends_with(" promises=3"), "{report:?}");
    for (bytes, what) in [
        (&whole[..whole.len() - 2], "its last receipt is cut short"),
        (&whole[..one.to_bytes().len() + 7], "its last receipt is cut short"),
        (&[&one.to_bytes()[..], b"something else, of some length\n"].concat(), "is no receipt"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let report = held();
        assert_eq!((report.promises, report.findings.len()), (2, 1), "{report:?}");
        let found = &report.findings[0];
        assert_eq!(found.kind, Kind::Receipt);
        assert!(
            found.got.contains("000000000000.receipts ") && found.got.contains(what),
            "{found}"
        );
    }
    // One with the entry of another.
    let other = KeptReceipt { entry: two.entry, ..one };
    std::fs::write(&file, other.to_bytes()).unwrap();
    let found = &held().findings[0];
    assert!(found.got.contains("is not for the entry beside it"), "{found}");
}

#[test]
fn receipts_that_cannot_be_read_accuse_nobody_and_end_nothing() {
    let (dir, kept) = (book(5).folder(), tempfile::tempdir().unwrap());
    let held = || {
        let promises = Promise::receipts(kept.path()).unwrap();
        let options = AuditOptions { level: Level::Tree, promises, ..AuditOptions::default() };
        audit(&mut *open(dir.path().to_str().unwrap()).unwrap(), options).unwrap()
    };
    let first = |report: &AuditReport| {
        let first = report.findings.first().unwrap_or_else(|| panic!("nothing: {report:?}"));
        (first.kind, first.got.clone())
    };
    // Who asks for receipts means some.
    let none = first(&held());
    assert_eq!(none.0, Kind::Receipt);
    assert!(
        none.1.ends_with("holds no receipts: no file there ends in .receipts or .tlog-proof"),
        "{none:?}"
    );

    let files = [1, 3].map(|index| receipt(dir.path(), index, kept.path()));
    let report = held();
    assert!(report.ok && report.verdict_line().ends_with(" promises=2"), "{report:?}");

    let entry = files[0].with_extension("entry");
    let whole = std::fs::read(&files[0]).unwrap();
    let cut = |length: usize| whole[..length].to_vec();
    let lengths = [whole.len(), whole.len() - 1, whole.len() / 2, 40, 1, 0];
    for (length, what) in lengths.into_iter().zip([
        None,
        Some("cannot be read: not a well-formed checkpoint: no newline at the end"),
        Some("cannot be read: "),
        Some("cannot be read: "),
        Some("cannot be read: not a well-formed checkpoint: not a receipt"),
        Some("is empty"),
    ]) {
        std::fs::write(&files[0], cut(length)).unwrap();
        let report = held();
        match what {
            None => assert!(report.ok),
            Some(what) => {
                let (kind, got) = first(&report);
                assert_eq!(kind, Kind::Receipt, "{length}");
                assert!(got.contains("1.tlog-proof ") && got.contains(what), "{length}: {got}");
                // The other one is held to all the same.
                assert_eq!((report.promises, report.size, report.findings.len()), (1, 5, 1));
            }
        }
    }
    std::fs::write(&files[0], &whole).unwrap();
    // The entry beside it was cut, or is another.
    for (bytes, what) in [(&[][..], "1.entry is empty"), (b"other", "is not for the entry beside")]
    {
        std::fs::write(&entry, bytes).unwrap();
        let (kind, got) = first(&held());
        assert_eq!(kind, Kind::Receipt);
        assert!(got.contains(what), "{got}");
    }
    std::fs::remove_file(&entry).unwrap();
    assert_eq!(held().promises, 2);
    // A folder in a receipt's place is no receipt either.
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::create_dir(&files[0]).unwrap();
    let (kind, got) = first(&held());
    assert_eq!(kind, Kind::Receipt);
    assert!(got.contains("1.tlog-proof cannot be read: "), "{got}");
    std::fs::remove_dir(&files[0]).unwrap();

    // Broken is another thing: signed by the ledger's key, of another history.
    let mut other = book(4);
    other.now_ms += 1;
    let what = Decision::MotionOpened { number: 9, electorate: 1, deadline_ms: 1 };
    other.append(record::outcome_payload(&Outcome::new(other.name.clone(), what)));
    receipt(other.folder().path(), 1, kept.path());
    assert_eq!(first(&held()).0, Kind::BrokenPromise);
}
