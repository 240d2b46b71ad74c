//! Opening again after everything that may happen to a ledger's folder.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use colearn_ledger::note::KeyKind;
use colearn_ledger::{
    Error, Hash, Head, IndexCheck, IndexUse, JournalReader, Ledger, Opened, Options, Resource,
    Signer, tree,
};
use ed25519_dalek::SigningKey;
use tempfile::TempDir;

use crate::memory::mth;

pub(crate) fn options(seed: u8) -> Options {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let signer = Signer::new("example.org/ledger", KeyKind::Log, key).unwrap();
    Options { segment_bytes: 20_000, keys_of, ..Options::new(signer) }
}

/// The payload's last byte is its key.
pub(crate) fn keys_of(payload: &[u8]) -> Vec<Vec<u8>> {
    vec![vec![*payload.last().unwrap()]]
}

/// A payload must not look like the envelope's fields, so it is protobuf field 4.
pub(crate) fn payload(i: u64) -> Vec<u8> {
    let mut bytes = vec![0x22, 9];
    bytes.extend(i.to_be_bytes());
    bytes.push((i % 7) as u8);
    bytes
}

fn open(dir: &Path) -> Result<(Ledger, Opened), Error> {
    Ledger::open(dir, options(1))
}

/// A closed ledger of `size` entries, committed every 10.
fn ledger_of(size: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(dir.path()).unwrap();
    grow(&mut ledger, size);
    dir
}

fn grow(ledger: &mut Ledger, to: u64) {
    for i in ledger.head().size..to {
        ledger.append(1000 + i, payload(i), keys_of(&payload(i))).unwrap();
        if i % 10 == 9 {
            ledger.commit().unwrap();
            ledger.update_index().unwrap();
        }
    }
    ledger.commit().unwrap();
    ledger.update_index().unwrap();
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir.join("journal")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Puts the anchors back that were there at `size`, as if the process had died before it wrote later ones.
fn grow_without_anchors(dir: &Path, to: u64) {
    let anchors = ["anchor-a", "anchor-b"].map(|name| dir.join(name));
    let held = anchors.each_ref().map(|path| std::fs::read(path).unwrap());
    grow(&mut open(dir).unwrap().0, to);
    for (path, bytes) in anchors.iter().zip(held) {
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn entries_behind_the_anchor_are_kept_or_dropped_as_was_asked() {
    // In the same segment, in later ones, and across the end of the index.
    for (size, to) in [(1, 2), (40, 41), (40, 300), (250, 700), (256, 257), (300, 1200)] {
        for drop_unanchored in [false, true] {
            let dir = ledger_of(size);
            let root = open(dir.path()).unwrap().0.root().unwrap();
            grow_without_anchors(dir.path(), to);
            let options = || Options { drop_unanchored, ..options(1) };
            let (ledger, opened) = Ledger::open(dir.path(), options()).unwrap();
            let left = if drop_unanchored { size } else { to };
            assert_eq!((opened.size, opened.torn_bytes > 0), (left, drop_unanchored));
            assert_eq!(ledger.root().unwrap() == root, drop_unanchored);
            check_whole(dir.path(), &ledger);
            drop(ledger);
            // What is appended in their place stays, however it is opened next.
            let (mut ledger, opened) = Ledger::open(dir.path(), options()).unwrap();
            assert_eq!((opened.size, opened.torn_bytes), (left, 0));
            grow(&mut ledger, left + 300);
            drop(ledger);
            check_whole(dir.path(), &open(dir.path()).unwrap().0);
        }
    }
    // A lost anchor is no reason to drop everything.
    let dir = ledger_of(20);
    for name in ["anchor-a", "anchor-b"] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let opened = Ledger::open(dir.path(), Options { drop_unanchored: true, ..options(1) });
    assert!(matches!(opened, Err(Error::AnchorMissing { .. })));
}

/// Everything the ledger serves must agree with its journal read from the start.
fn check_whole(dir: &Path, ledger: &Ledger) {
    let reader = ledger.reader();
    let mut journal = JournalReader::open(dir).unwrap();
    let (mut head, mut leaves, mut entries) = (Head::EMPTY, Vec::new(), Vec::new());
    while let Some(entry) = journal.next_entry().unwrap() {
        head = head.follow(&entry.bytes).unwrap().1;
        leaves.push(head.leaf);
        entries.push(entry.bytes);
    }
    assert_eq!(head, ledger.head());
    let size = head.size;
    assert_eq!(reader.checkpoint().unwrap().checkpoint.root, mth(&leaves));
    for i in (0..size).step_by(37) {
        assert_eq!(reader.entry(i).unwrap(), entries[i as usize]);
        assert_eq!(reader.leaf(i).unwrap(), leaves[i as usize]);
        let proof = reader.inclusion(i, size).unwrap();
        assert!(tree::verify_inclusion(leaves[i as usize], i, size, &proof, mth(&leaves)));
        let proof = reader.consistency(i, size).unwrap();
        let old = mth(&leaves[..i as usize]);
        assert_eq!(reader.root(i).unwrap(), old);
        assert!(tree::verify_consistency(i, old, size, mth(&leaves), &proof));
        assert_eq!(reader.find(&[(i % 7) as u8], i).unwrap(), Some(i));
    }
    assert_eq!(reader.entries(0, size, usize::MAX).unwrap(), entries);
    if size >= 256 {
        let tile = reader.resource(Resource::Hashes { level: 0, number: 0, width: 256 });
        let expected: Vec<u8> = leaves[..256].iter().flat_map(|hash| hash.0).collect();
        assert_eq!(tile.unwrap().unwrap(), expected);
    }
    assert!(reader.entry(size).is_err());
}

#[test]
fn a_ledger_grows_and_reopens() {
    let dir = tempfile::tempdir().unwrap();
    for size in [0, 1, 9, 255, 256, 257, 600, 1500] {
        let (mut ledger, _) = open(dir.path()).unwrap();
        grow(&mut ledger, size);
        if size > 0 {
            check_whole(dir.path(), &ledger);
        }
    }
    assert!(segments(dir.path()).len() > 2, "the test should cross segments");
    let (ledger, opened) = open(dir.path()).unwrap();
    assert_eq!(
        opened,
        Opened {
            size: 1500,
            torn_bytes: 0,
            index: IndexUse::UpTo(1500 / 256 * 256),
            lost_anchor: None
        }
    );
    check_whole(dir.path(), &ledger);
}

#[test]
fn a_second_opening_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_ledger, _) = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::InUse { .. })));
}

#[test]
fn a_deleted_or_damaged_index_is_rebuilt() {
    let dir = ledger_of(900);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (ledger, opened) = open(dir.path()).unwrap();
    assert!(matches!(opened.index, IndexUse::Rebuilt(_)));
    check_whole(dir.path(), &ledger);
    drop(ledger);

    for file in std::fs::read_dir(dir.path().join("index")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let size = std::fs::metadata(&path).unwrap().len();
            std::fs::write(&path, vec![0xa5; size as usize]).unwrap();
        }
    }
    let (ledger, _) = open(dir.path()).unwrap();
    check_whole(dir.path(), &ledger);
    drop(ledger);

    // What a kill during a snapshot leaves behind.
    File::create(dir.path().join("index/snap.000000001.generating")).unwrap();
    let (ledger, opened) = open(dir.path()).unwrap();
    assert!(matches!(opened.index, IndexUse::UpTo(_)));
    check_whole(dir.path(), &ledger);
}

#[test]
fn a_torn_tail_is_cut_and_nothing_acknowledged_with_it() {
    for cut in [1, 7, 8, 9, 30] {
        let dir = ledger_of(300);
        let last = segments(dir.path()).pop().unwrap();
        // An interrupted write: the beginning of a frame.
        let frame = [20, 0, 0, 0, 1, 2, 3, 4, 8, 172, 2, 18, 32].iter().copied().cycle().take(cut);
        let frame: Vec<u8> = frame.collect();
        let mut file = OpenOptions::new().append(true).open(&last).unwrap();
        file.write_all(&frame).unwrap();
        drop(file);
        let (mut ledger, opened) = open(dir.path()).unwrap();
        // Zeros at the end are room for frames to come, not torn.
        let torn = frame.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        assert_eq!((opened.size, opened.torn_bytes), (300, torn as u64));
        grow(&mut ledger, 320);
        check_whole(dir.path(), &ledger);
    }
}

#[test]
fn a_whole_frame_that_does_not_follow_is_cut_like_a_torn_one() {
    for index_is_lost in [false, true] {
        let dir = ledger_of(300);
        // The last frame once more: its checksum is right, its index is not.
        let last = segments(dir.path()).pop().unwrap();
        let bytes = std::fs::read(&last).unwrap();
        let mut at = 32;
        let mut frame = 0..0;
        while at < bytes.len() {
            let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
            frame = at..at + 8 + length;
            at = frame.end;
        }
        let mut file = OpenOptions::new().append(true).open(&last).unwrap();
        file.write_all(&bytes[frame.clone()]).unwrap();
        drop(file);
        if index_is_lost {
            std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        }
        let (mut ledger, opened) = open(dir.path()).unwrap();
        assert_eq!((opened.size, opened.torn_bytes), (300, frame.len() as u64));
        grow(&mut ledger, 320);
        drop(ledger);
        let (ledger, _) = open(dir.path()).unwrap();
        check_whole(dir.path(), &ledger);
    }
}

/// A copy of a folder as a killed process leaves it.
fn as_if_killed(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("journal")).unwrap();
    let names = ["anchor-a", "anchor-b"].map(|name| dir.join(name));
    for path in names.into_iter().chain(segments(dir)) {
        std::fs::copy(&path, copy.path().join(path.strip_prefix(dir).unwrap())).unwrap();
    }
    copy
}

#[test]
fn room_for_frames_to_come_is_no_entry_nothing_torn_and_gone_once_it_is_closed() {
    let dir = ledger_of(300);
    let (mut ledger, _) = open(dir.path()).unwrap();
    grow(&mut ledger, 310);
    let length = |path: &Path| std::fs::metadata(path).unwrap().len();
    let open_length = length(&segments(dir.path()).pop().unwrap());
    let killed = as_if_killed(dir.path());
    drop(ledger);
    let closed = segments(dir.path()).pop().unwrap();
    assert!(length(&closed) + 10_000 < open_length, "room was made, and given back");
    // Segments that are full have none, and those of the killed one are read over it.
    assert!(segments(dir.path()).iter().all(|path| length(path) < 25_000));
    let (mut ledger, opened) = open(killed.path()).unwrap();
    assert_eq!((opened.size, opened.torn_bytes), (310, 0));
    // Over the end of the segment.
    grow(&mut ledger, 1000);
    check_whole(killed.path(), &ledger);

    // What lies in the room, or is missing before it, is damage if it was acknowledged.
    let killed = as_if_killed(dir.path());
    let last = segments(killed.path()).pop().unwrap();
    let end = length(&last);
    let file = OpenOptions::new().write(true).open(&last).unwrap();
    file.set_len(end + 16_384).unwrap();
    file.write_all_at(&[1], end + 10_000).unwrap();
    let (ledger, opened) = open(killed.path()).unwrap();
    assert_eq!((opened.size, opened.torn_bytes), (310, 10_001));
    drop(ledger);
    let last_frame = 8 + u64::from(u32::from_le_bytes({
        let (mut at, bytes) = (32, std::fs::read(&last).unwrap());
        let mut header = [0; 4];
        while at < bytes.len() {
            header.copy_from_slice(&bytes[at..at + 4]);
            at += 8 + u32::from_le_bytes(header) as usize;
        }
        header
    }));
    for (from, to) in [(end - last_frame, end), (end - last_frame, end - 1)] {
        let file = OpenOptions::new().write(true).open(&last).unwrap();
        let whole = std::fs::read(&last).unwrap();
        file.write_all_at(&vec![0; (to - from) as usize], from).unwrap();
        let refused = open(killed.path()).map(|_| ());
        assert!(
            matches!(
                refused,
                Err(Error::RolledBack { size: 309, .. } | Error::Corrupt { index: 309, .. })
            ),
            "{refused:?}"
        );
        file.write_all_at(&whole, 0).unwrap();
    }
    open(killed.path()).unwrap();
}

#[test]
fn a_reader_that_has_read_ahead_finds_what_was_written_since() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(dir.path()).unwrap();
    grow(&mut ledger, 10);
    let mut journal = JournalReader::open(dir.path()).unwrap();
    // With 300 there is room behind the segment's end to be, and then that segment is full.
    for size in [10, 11, 200, 300, 1_500] {
        grow(&mut ledger, size);
        while journal.index() < size {
            let entry = journal.next_entry().unwrap().unwrap();
            assert_eq!(entry.bytes, ledger.reader().entry(journal.index() - 1).unwrap());
            // The end is not met: what was read ahead is kept.
        }
    }
    assert!(journal.next_entry().unwrap().is_none());
}

#[test]
fn a_torn_new_segment_is_made_anew() {
    let dir = ledger_of(300);
    let last = segments(dir.path()).len();
    std::fs::write(dir.path().join(format!("journal/{last:08}.journal")), b"colearn jou").unwrap();
    let (mut ledger, opened) = open(dir.path()).unwrap();
    assert_eq!((opened.size, opened.torn_bytes), (300, 11));
    grow(&mut ledger, 1000);
    check_whole(dir.path(), &ledger);
}

#[test]
fn a_journal_shorter_than_the_anchor_is_a_rollback() {
    let dir = ledger_of(300);
    let old = tempfile::tempdir().unwrap();
    for file in segments(dir.path()) {
        std::fs::copy(&file, old.path().join(file.file_name().unwrap())).unwrap();
    }
    let (mut ledger, _) = open(dir.path()).unwrap();
    grow(&mut ledger, 310);
    drop(ledger);
    for file in segments(dir.path()) {
        std::fs::copy(old.path().join(file.file_name().unwrap()), &file).unwrap();
    }
    let refused = open(dir.path()).err();
    assert!(
        matches!(refused, Some(Error::RolledBack { size: 300, anchored: 310, .. })),
        "{refused:?}"
    );
}

#[test]
fn another_history_of_the_same_length_is_refused() {
    let dir = ledger_of(300);
    let other = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(other.path()).unwrap();
    for i in 0..300 {
        ledger.append(2000 + i, payload(i), keys_of(&payload(i))).unwrap();
    }
    ledger.commit().unwrap();
    drop(ledger);
    for file in segments(other.path()) {
        std::fs::copy(&file, dir.path().join("journal").join(file.file_name().unwrap())).unwrap();
    }
    let refused = open(dir.path()).err();
    assert!(matches!(refused, Some(Error::Rewritten { size: 300, .. })), "{refused:?}");
}

#[test]
fn damage_to_an_acknowledged_entry_is_named() {
    let dir = ledger_of(300);
    // The entry's index is found by reading; its first payload byte is flipped.
    let mut offset = 32;
    let file = OpenOptions::new().read(true).write(true).open(&segments(dir.path())[0]).unwrap();
    for _ in 0..123 {
        let mut length = [0; 4];
        file.read_exact_at(&mut length, offset).unwrap();
        offset += 8 + u64::from(u32::from_le_bytes(length));
    }
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset + 20).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset + 20).unwrap();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let refused = open(dir.path()).err();
    assert!(matches!(refused, Some(Error::Corrupt { index: 123, .. })), "{refused:?}");
}

#[test]
fn a_lost_anchor_and_a_foreign_key_are_refused() {
    let dir = ledger_of(20);
    assert!(matches!(Ledger::open(dir.path(), options(2)), Err(Error::Foreign { .. })));
    std::fs::remove_file(dir.path().join("anchor-a")).unwrap();
    let (ledger, opened) = open(dir.path()).unwrap();
    assert_eq!(opened.size, 20);
    assert_eq!(opened.lost_anchor.as_deref(), Some("anchor-a: it is missing"));
    drop(ledger);
    let (ledger, opened) = open(dir.path()).unwrap();
    assert_eq!(opened.lost_anchor, None);
    drop(ledger);
    std::fs::remove_file(dir.path().join("anchor-a")).unwrap();
    std::fs::remove_file(dir.path().join("anchor-b")).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::AnchorMissing { .. })));
}

#[test]
fn what_is_no_folder_in_the_index_s_place_is_named_and_left_alone() {
    let dir = ledger_of(20);
    let index = dir.path().join("index");
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::write(&index, "somebody's").unwrap();
    let refused = open(dir.path()).err();
    assert!(matches!(refused, Some(Error::NotAFolder { .. })), "{refused:?}");
    let found = IndexCheck::begin(dir.path()).and_then(IndexCheck::finish).unwrap();
    let (first, what) = found.unwrap();
    assert_eq!(first, 0);
    assert!(what.contains("index is no folder") && what.contains("move it away"), "{what}");
    assert_eq!(std::fs::read(&index).unwrap(), b"somebody's");
    std::fs::remove_file(&index).unwrap();
    assert_eq!(open(dir.path()).unwrap().1.size, 20);
}

#[test]
fn readers_see_only_what_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(dir.path()).unwrap();
    let reader = ledger.reader();
    assert_eq!(reader.size(), 0);
    assert_eq!(reader.checkpoint().unwrap().checkpoint.root, Hash::empty_root());
    assert_eq!(reader.root(0).unwrap(), Hash::empty_root());
    ledger.append(5, payload(0), keys_of(&payload(0))).unwrap();
    assert_eq!(reader.size(), 0);
    assert!(reader.entry(0).is_err());
    let signed = ledger.commit().unwrap();
    assert_eq!(signed.checkpoint.size, 1);
    assert!(reader.entry(0).is_ok());
    assert!(reader.inclusion(0, 2).is_err());
    assert!(reader.consistency(0, 2).is_err());
    let tile = |width| reader.resource(Resource::Entries { number: 0, width }).unwrap();
    assert!(tile(1).is_some());
    assert!(tile(2).is_none());
}

#[test]
fn an_entry_over_the_limit_is_refused_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(dir.path()).unwrap();
    assert!(matches!(
        ledger.append(0, vec![0x22; 65_536], vec![vec![0x22]]),
        Err(Error::TooLarge { .. })
    ));
    grow(&mut ledger, 10);
    check_whole(dir.path(), &ledger);
}

#[test]
fn time_never_runs_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(dir.path()).unwrap();
    ledger.append(500, payload(0), keys_of(&payload(0))).unwrap();
    ledger.append(400, payload(1), keys_of(&payload(1))).unwrap();
    ledger.commit().unwrap();
    ledger.update_index().unwrap();
    assert_eq!(ledger.head().time_ms, 500);
    check_whole(dir.path(), &ledger);
}
