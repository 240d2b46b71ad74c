//! The store, and what strangers would do to it.

use std::fs::File;
use std::io::{Read as _, Write as _};

use sha2::{Digest as _, Sha256};

use super::uses::Role;
use super::*;

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn peer(number: u8) -> Bringer {
    Bringer::Peer(Peer::at([10, 0, 0, number].into()))
}

/// A store with a quota of 150 bytes, on a disk with room.
fn open(dir: &Path) -> ArtifactStore {
    ArtifactStore::open(dir, 100, 150, DiskReserve::new(dir, 0)).unwrap()
}

fn begin(store: &ArtifactStore, by: u8, whole: &[u8], brings: usize) -> Upload {
    let begun = store.upload(peer(by), digest(whole), whole.len() as u64, 0);
    let mut upload = begun.unwrap().unwrap();
    upload.write(&whole[..brings]).unwrap();
    upload
}

fn put(store: &ArtifactStore, by: u8, whole: &[u8]) {
    begin(store, by, whole, whole.len()).finish().unwrap();
}

/// Makes a file as old as that.
fn age_by(path: &Path, age: Duration) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

fn used(store: &ArtifactStore) -> (u64, u64) {
    let state = store.state();
    (state.used, state.promised)
}

/// What the files take, which is what is counted.
fn on_disk(dir: &Path) -> u64 {
    let of = |dir: &Path| files(dir).unwrap().iter().map(|(_, size, _)| size).sum::<u64>();
    of(dir) + of(&dir.join(PARTS))
}

/// What is stored, from an offset on.
fn read_from(store: &ArtifactStore, digest: &Digest, offset: u64) -> Vec<u8> {
    let Opened::File(mut file) = store.download(Bringer::Node, digest, offset).unwrap() else {
        panic!("a file")
    };
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    read
}

fn path(store: &ArtifactStore, digest: &Digest) -> PathBuf {
    store.0.storage.file(digest).unwrap()
}

/// An entry of the experiment `a` that proposes this.
fn of_a(digest: Digest) -> Naming {
    let named = vec![(digest, Role::Proposal)];
    Naming { experiment: "a".parse().unwrap(), round: 1, is_own: true, named }
}

#[test]
fn an_upload_resumes_and_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = b"twenty bytes of model";
    let (name, size) = (digest(bytes), bytes.len() as u64);
    let mut upload = store.upload(peer(1), name, size, 0).unwrap().unwrap();
    upload.write(&bytes[..8]).unwrap();
    assert!(matches!(upload.finish(), Err(ArtifactError::Incomplete)));
    assert_eq!(store.part_size_of(&name, peer(1)), 8);
    assert!(matches!(store.upload(peer(1), name, size, 9), Err(ArtifactError::WrongOffset { .. })));
    let mut upload = store.upload(peer(1), name, size, 8).unwrap().unwrap();
    upload.write(&bytes[8..]).unwrap();
    assert!(matches!(upload.write(b"x"), Err(ArtifactError::TooLong(_))));
    assert_eq!(upload.finish().unwrap(), size);
    assert_eq!((store.size_of(&name), store.part_size_of(&name, peer(1))), (Some(size), 0));
    assert!(store.upload(peer(1), name, size, 0).unwrap().is_none());

    assert_eq!(read_from(&store, &name, 7), &bytes[7..]);
    store.remove(&name).unwrap();
    store.remove(&name).unwrap();
    assert_eq!((store.size_of(&name), store.room_bytes()), (None, 100));
    assert!(matches!(
        store.download(Bringer::Node, &digest(b""), 0),
        Err(ArtifactError::Missing(_))
    ));
}

#[test]
fn what_is_made_here_is_there_once_it_is_kept_and_takes_no_room_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = b"a model";
    let make = || {
        let mut made = store.make(bytes.len() as u64).unwrap();
        made.write_all(bytes).unwrap();
        made
    };
    drop(make());
    assert_eq!((store.size_of(&digest(bytes)), store.room_bytes()), (None, 100));
    make().keep(digest(bytes)).unwrap();
    // It is there already.
    make().keep(digest(bytes)).unwrap();
    assert_eq!(store.size_of(&digest(bytes)), Some(7));
    assert_eq!(std::fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
    // And so it is when it comes from elsewhere while it is made.
    let other = b"another model";
    let mut upload = store.upload(peer(1), digest(other), 13, 0).unwrap().unwrap();
    upload.write(other).unwrap();
    let mut made = store.make(13).unwrap();
    made.write_all(other).unwrap();
    made.keep(digest(other)).unwrap();
    assert_eq!(upload.finish().unwrap(), 13);
    assert_eq!(used(&store).0, 20);
    store.remove(&digest(other)).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("partial")).unwrap().count(), 0);
    let rest = store.make(100).unwrap();
    assert!(matches!(store.make(44), Err(ArtifactError::Full { .. })));
    drop(rest);
    assert!(store.make(44).is_ok());
    assert!(matches!(store.make(101), Err(ArtifactError::TooLarge { .. })));
}

#[test]
fn wrong_large_and_too_many_bytes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut upload = store.upload(peer(1), digest(b"right"), 5, 0).unwrap().unwrap();
    upload.write(b"wrong").unwrap();
    assert!(matches!(upload.finish(), Err(ArtifactError::WrongDigest { .. })));
    assert_eq!(store.part_size_of(&digest(b"right"), peer(1)), 0);
    for size in [0, 101, u64::MAX] {
        let refused = store.upload(peer(1), digest(b""), size, 0);
        assert!(matches!(refused, Err(ArtifactError::TooLarge { .. })), "{size}");
    }
    put(&store, 1, &[1; 100]);
    let b = digest(b"b");
    assert!(matches!(store.upload(peer(1), b, 51, 0), Err(ArtifactError::Full { .. })));
    assert!(store.upload(peer(1), b, 50, 0).is_ok());
}

#[test]
fn a_header_without_a_byte_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let headers: Vec<_> = (1..=60)
        .map(|number| store.upload(peer(number), digest(&[number]), 100, 0).unwrap().unwrap())
        .collect();
    assert_eq!((used(&store), store.room_bytes()), ((0, 0), 100));
    put(&store, 61, &[1; 100]);
    drop(headers);
    assert_eq!(files(&dir.path().join(PARTS)).unwrap(), []);
    // Nor does it cut off what is kept.
    let whole = [2; 40];
    drop(begin(&store, 1, &whole, 30));
    drop(store.upload(peer(1), digest(&whole), 40, 0).unwrap());
    assert_eq!(store.part_size_of(&digest(&whole), peer(1)), 30);
}

#[test]
fn uploads_are_bounded_for_each_peer_and_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let header = |by, number: u8| store.upload(by, digest(&[number]), 100, 0);
    let of_one: Vec<_> =
        (0..UPLOADS_OF_PEER as u8).map(|it| header(peer(1), it).unwrap()).collect();
    assert!(matches!(header(peer(1), 99), Err(ArtifactError::Busy)));
    let mut others = Vec::new();
    for number in UPLOADS_OF_PEER as u8..UPLOADS as u8 {
        others.push(header(peer(2 + number % 8), number).unwrap());
    }
    assert!(matches!(header(peer(99), 99), Err(ArtifactError::Busy)));
    // The node itself needs no place among them.
    assert!(header(Bringer::Node, 99).is_ok());
    drop(of_one);
    assert!(header(peer(99), 99).is_ok());
    drop(others);
    assert!(store.state().running.is_empty());
}

#[test]
fn five_unfinished_uploads_fill_no_quota() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let parts: Vec<_> = (1..=5_u8).map(|number| [number; 100]).collect();
    for whole in &parts {
        drop(begin(&store, 1, whole, 29));
        assert_eq!(used(&store), (on_disk(dir.path()), 0));
    }
    assert_eq!(used(&store).0, 145);
    // They make room, the oldest first, and not more of them than need be.
    put(&store, 2, &[9; 40]);
    let kept = |whole: &[u8; 100]| store.part_size_of(&digest(whole), peer(1));
    assert_eq!(parts.iter().map(kept).collect::<Vec<_>>(), [0, 0, 29, 29, 29]);
    assert_eq!(used(&store), (127, 0));
    // What is kept is counted at the next start, too, and can be gone on with.
    drop(store);
    let store = open(dir.path());
    assert_eq!(used(&store), (127, 0));
    let mut upload = store.upload(peer(1), digest(&parts[4]), 100, 29).unwrap().unwrap();
    upload.write(&parts[4][29..]).unwrap();
    upload.finish().unwrap();
    // Too old ones are gone then.
    drop(begin(&store, 1, &[7; 10], 5));
    let left = dir.path().join(PARTS).join(format!("{}.0a000001", digest(&[7; 10])));
    age_by(&left, PART_LIFE + Duration::from_secs(1));
    std::fs::write(dir.path().join(PARTS).join("made-0"), b"cut short").unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(files(&dir.path().join(PARTS)).unwrap().len(), 0);
    assert_eq!(used(&store), (on_disk(dir.path()), 0));
}

/// However slowly, as long as they go on.
#[test]
fn who_brings_most_makes_room_for_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut slow: Vec<_> = (1..=5_u8).map(|number| begin(&store, 1, &[number; 100], 30)).collect();
    let honest = [9; 70];
    let mut upload = begin(&store, 2, &honest, 20);
    assert!(matches!(slow[0].write(&[1]), Err(ArtifactError::InProgress(_))), "it has made room");
    upload.write(&honest[20..]).unwrap();
    upload.finish().unwrap();
    assert_eq!(used(&store), (on_disk(dir.path()), 0));
    // But not for one who would have more than they.
    let greedy = store.upload(peer(3), digest(&[8; 75]), 75, 0).unwrap();
    let refused = greedy.unwrap().write(&[8; 75]);
    assert!(matches!(refused, Err(ArtifactError::Full { .. })));
}

#[test]
fn nobody_stands_in_anothers_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let whole = [1; 50];
    // Somebody begins with false bytes and goes silent; nobody goes on with those.
    let mut silent = store.upload(peer(1), digest(&whole), 50, 0).unwrap().unwrap();
    silent.write(&[9; 40]).unwrap();
    assert_eq!(store.part_size_of(&digest(&whole), peer(2)), 0);
    let other = begin(&store, 2, &whole, 50);
    let third = begin(&store, 3, &whole, 50);
    assert_eq!(other.finish().unwrap(), 50);
    assert_eq!(third.finish().unwrap(), 50);
    silent.write(&[9; 10]).unwrap();
    assert!(matches!(silent.finish(), Err(ArtifactError::WrongDigest { .. })));
    assert_eq!((used(&store), on_disk(dir.path())), ((50, 0), 50));

    // The same one, connected anew: it goes on when what it began before has been silent for a moment.
    let whole = [2; 50];
    let mut before = begin(&store, 1, &whole, 20);
    let again = || store.upload(peer(1), digest(&whole), 50, 10);
    assert!(matches!(again(), Err(ArtifactError::InProgress(_))));
    let silence = || {
        let name = PartName { digest: digest(&whole), bringer: peer(1) };
        store.state().parts.get_mut(&name).unwrap().touched -= TAKEN_OVER_AFTER;
    };
    silence();
    let mut again = again().unwrap().unwrap();
    before.write(&whole[20..25]).unwrap();
    assert!(matches!(again.write(&whole[10..30]), Err(ArtifactError::InProgress(_))));
    silence();
    again.write(&whole[10..30]).unwrap();
    assert!(matches!(before.write(&whole[25..]), Err(ArtifactError::InProgress(_))));
    assert_eq!(used(&store), (80, 0));
    drop(before);
    again.write(&whole[30..]).unwrap();
    again.finish().unwrap();
    assert_eq!((used(&store), on_disk(dir.path())), ((100, 0), 100));
}

#[test]
fn what_the_ledger_does_not_name_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (old, named, fresh) = ([1; 40], [2; 40], [3; 40]);
    for whole in [old, named, fresh] {
        put(&store, 1, &whole);
    }
    for whole in [old, named] {
        age_by(&path(&store, &digest(&whole)), UNNAMED_LIFE + Duration::from_secs(1));
    }
    drop(store);
    let store = open(dir.path());
    drop(begin(&store, 1, &[4; 30], 20));
    let there = || [old, named, fresh].map(|whole| store.size_of(&digest(&whole)).is_some());
    // Before the ledger was looked at nothing is known not to be named.
    assert_eq!(store.room_bytes(), 30);
    assert!(store.upload(peer(2), digest(&[5; 50]), 50, 0).is_err());
    store.are_named([of_a(digest(&named))], 1);
    put(&store, 2, &[5; 50]);
    assert_eq!(there(), [false, true, true]);
    assert_eq!(store.part_size_of(&digest(&[4; 30]), peer(1)), 20);
    // Then unfinished ones; and nothing that came a moment ago, or is submitted with just now.
    put(&store, 2, &[6; 20]);
    assert_eq!(store.part_size_of(&digest(&[4; 30]), peer(1)), 0);
    assert!(matches!(
        store.upload(peer(2), digest(&[7; 40]), 40, 0),
        Err(ArtifactError::Full { .. })
    ));
    for whole in [&fresh[..], &[5; 50]] {
        age_by(&path(&store, &digest(whole)), UNNAMED_GRACE + Duration::from_secs(60));
    }
    drop(store);
    let store = open(dir.path());
    store.are_named([of_a(digest(&named))], 1);
    assert_eq!(store.hold(&digest(&fresh)), Some(40));
    put(&store, 2, &[7; 40]);
    assert_eq!(store.size_of(&digest(&fresh)), Some(40), "it was about to be named");
    assert_eq!(store.size_of(&digest(&[5; 50])), None);
    assert_eq!(used(&store), (on_disk(dir.path()), 0));
}

#[test]
fn a_full_disk_cuts_uploads_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(100));
    let disk = DiskReserve::pretended(20, free.clone());
    let store = ArtifactStore::open(dir.path(), 1000, 1000, disk).unwrap();
    // The ledger has its reserve twice: once to grow in.
    assert_eq!(store.room_bytes(), 60);
    let whole = [1; 61];
    assert!(matches!(store.upload(peer(1), digest(&whole), 61, 0), Err(ArtifactError::DiskFull)));
    assert!(matches!(store.make(61), Err(ArtifactError::DiskFull)));
    let whole = [1; 50];
    let mut upload = begin(&store, 1, &whole, 30);
    free.store(45, Ordering::Relaxed);
    assert!(matches!(upload.write(&whole[30..]), Err(ArtifactError::DiskFull)));
    drop(upload);
    assert_eq!(store.part_size_of(&digest(&whole), peer(1)), 30);
    assert_eq!(used(&store), (30, 0));
    // When there is room it goes on.
    free.store(70, Ordering::Relaxed);
    let mut upload = store.upload(peer(1), digest(&whole), 50, 30).unwrap().unwrap();
    upload.write(&whole[30..]).unwrap();
    upload.finish().unwrap();
    assert_eq!(read_from(&store, &digest(&whole), 0), whole);
    // Where the ledger lacks room itself, what is unfinished goes.
    drop(begin(&store, 1, &[2; 30], 5));
    store.tidy();
    assert_eq!(store.part_size_of(&digest(&[2; 30]), peer(1)), 5);
    free.store(19, Ordering::Relaxed);
    store.tidy();
    assert_eq!((store.part_size_of(&digest(&[2; 30]), peer(1)), used(&store)), (0, (50, 0)));
}

/// What is promised and not written yet is not promised again.
#[test]
fn what_is_made_is_set_aside_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let disk = DiskReserve::pretended(0, Arc::new(AtomicU64::new(100)));
    let store = ArtifactStore::open(dir.path(), 1000, 1000, disk).unwrap();
    let made = store.make(60).unwrap();
    assert_eq!((used(&store), store.room_bytes()), ((60, 60), 40));
    assert!(store.make(41).is_err());
    drop(made);
    assert_eq!((used(&store), store.room_bytes()), ((0, 0), 100));
}

/// It is looked what can go before it goes, and a store may take its time.
#[test]
fn what_is_wanted_meanwhile_is_not_let_go_of_and_what_cannot_be_removed_is_still_there() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        ArtifactStore::open(dir.path(), 100, 1000, DiskReserve::new(dir.path(), 0)).unwrap();
    let wholes = [[1; 10], [2; 10], [3; 10], [4; 10], [5; 10]];
    wholes.iter().for_each(|whole| put(&store, 1, whole));
    let [held, named, brought, stuck, free] = wholes.each_ref().map(|whole| digest(whole));
    let begun = store.begin_letting_go();
    store.hold(&held);
    store.are_named([of_a(named)], 1);
    let mut made = store.make(10).unwrap();
    made.write_all(&wholes[2]).unwrap();
    made.keep(brought).unwrap();
    // What is no file cannot be removed as one.
    std::fs::remove_file(path(&store, &stuck)).unwrap();
    std::fs::create_dir(path(&store, &stuck)).unwrap();
    for digest in [held, named, brought] {
        assert!(matches!(store.remove(&digest), Ok(None)));
    }
    assert!(store.remove(&stuck).is_err());
    assert!(store.stored().contains(&stuck));
    assert_eq!(used(&store), (50, 0));
    assert!(matches!(store.remove(&free), Ok(Some(10))));
    assert_eq!(used(&store), (40, 0));
    drop(begun);
    assert!(matches!(store.remove(&held), Ok(Some(10))));
}

/// What this node makes for its convenience pushes nothing out that somebody goes on with later.
#[test]
fn what_is_made_here_cuts_off_no_upload() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, &[1; 40]);
    let path = path(&store, &digest(&[1; 40]));
    age_by(&path, UNNAMED_LIFE + Duration::from_secs(1));
    drop(store);
    let store = open(dir.path());
    store.are_named([], 1);
    let theirs = [2; 60];
    drop(begin(&store, 2, &theirs, 55));
    assert!(matches!(store.make(100), Err(ArtifactError::Full { .. })));
    // Nor does anything go in vain.
    assert_eq!(store.size_of(&digest(&[1; 40])), Some(40));
    let made = store.make(80).unwrap();
    assert_eq!(store.size_of(&digest(&[1; 40])), None);
    assert_eq!(store.part_size_of(&digest(&theirs), peer(2)), 55);
    assert!(matches!(store.make(21), Err(ArtifactError::Full { .. })));
    // What members bring may need that room, and has it.
    drop(made);
    put(&store, 3, &[3; 90]);
    assert_eq!(store.part_size_of(&digest(&theirs), peer(2)), 55);
    put(&store, 3, &[4; 50]);
    assert_eq!(store.part_size_of(&digest(&theirs), peer(2)), 0);
}

/// A removal that began meanwhile could come last, and what is said to be stored would be gone.
#[test]
fn what_is_being_put_in_its_place_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let whole = [1; 60];
    put(&store, 1, &whole);
    age_by(&path(&store, &digest(&whole)), UNNAMED_LIFE + Duration::from_secs(1));
    drop(store);
    let store = open(dir.path());
    store.are_named([], 1);
    // Another brings the same, and so does a third.
    store.state().begin_placing(digest(&whole));
    store.state().begin_placing(digest(&whole));
    for _ in 0..2 {
        assert!(matches!(store.remove(&digest(&whole)), Ok(None)));
        let other = store.upload(peer(2), digest(&[2; 95]), 95, 0);
        assert!(matches!(other, Err(ArtifactError::Full { .. })));
        assert_eq!(store.room_bytes(), 90);
        assert_eq!(store.size_of(&digest(&whole)), Some(60));
        store.state().end_placing(&digest(&whole));
    }
    assert!(store.state().placing.is_empty());
    put(&store, 2, &[2; 95]);
    assert_eq!(store.size_of(&digest(&whole)), None);
}

#[test]
fn what_ended_experiments_have_left_makes_room_where_not_all_is_to_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (left, again, model) = ([1; 40], [2; 40], [3; 40]);
    for whole in [left, again, model] {
        put(&store, 1, &whole);
        age_by(&path(&store, &digest(&whole)), UNNAMED_GRACE + Duration::from_secs(60));
    }
    drop(store);
    let store = open(dir.path());
    store.are_named([left, again, model].map(|whole| of_a(digest(&whole))), 3);
    let new = |number: u8| store.upload(peer(2), digest(&[number; 60]), 60, 0);
    assert!(matches!(new(4), Err(ArtifactError::Full { .. })));
    store.are_spare([left, again].map(|whole| digest(&whole)).into());
    // One is named once more, by an experiment that goes on.
    store.are_named([of_a(digest(&again))], 4);
    assert_eq!(store.room_bytes(), 70);
    put(&store, 2, &[4; 60]);
    let there = [left, again, model].map(|whole| store.size_of(&digest(&whole)).is_some());
    assert_eq!(there, [false, true, true]);
    assert!(matches!(new(5), Err(ArtifactError::Full { .. })));
    assert_eq!(used(&store), (on_disk(dir.path()), 0));
}
