use std::collections::BTreeSet;

use bytes::Bytes;
use colearn_contracts::{Limits, VERSION};
use colearn_proto::v1;
use colearn_records::founded::Founded;
use colearn_records::record;
use colearn_records::validators;
use tempfile::TempDir;

use super::*;
use crate::open::open;

/// The folder of the first of so many nodes, whose ledger ends with a block, as if CometBFT had run there.
fn folder(nodes: usize) -> (TempDir, Checkpoint) {
    let dir = tempfile::tempdir().unwrap();
    let identity = |at: usize| {
        let (data, name) = (dir.path().join(format!("node-{at}")), format!("org-{at}"));
        super::super::identity(&data, &name, "127.0.0.1:1", "http://127.0.0.1:1").unwrap()
    };
    let them = (0..nodes).map(identity).collect();
    let genesis = validators::genesis(None, them, 1_000, VERSION, &Limits::default()).unwrap();
    let data = dir.path().join("node-0");
    let mut config = Config::new(&data);
    config.network.file = Some(NetworkFile::Begun(genesis));
    open(&config, None).unwrap().keeper.close().unwrap();
    let signed = record(&data, 5, 7);
    (dir, signed)
}

/// A block in a folder's ledger, with this hash, as if CometBFT had run there.
fn record(data: &Path, height: u64, hash: u8) -> Checkpoint {
    let mut keeper = open(&Config::new(data), None).unwrap().keeper;
    let (hash, proposer) = (Bytes::from(vec![hash; 32]), Bytes::from_static(&[7; 20]));
    let block = v1::Block { height, hash, proposer, ..v1::Block::default() };
    let time_ms = keeper.head().time_ms + 1_000;
    keeper.note(time_ms, record::block_payload(&block), Vec::new()).unwrap();
    let signed = keeper.seal().unwrap().wait().unwrap();
    keeper.close().unwrap();
    let stored = data.join("comet/data");
    std::fs::create_dir_all(stored.join("blockstore.db")).unwrap();
    for file in ["blockstore.db/000001.log", "cs.wal"] {
        std::fs::write(stored.join(file), "blocks").unwrap();
    }
    std::fs::write(data.join("height"), "9 root\n").unwrap();
    signed.checkpoint.clone()
}

/// The folders of four nodes, of which the first has begun the ledger alone; it and the second have it, with a
/// block.
fn founded() -> (TempDir, Founded) {
    let dir = tempfile::tempdir().unwrap();
    let data = |at: usize| dir.path().join(format!("node-{at}"));
    open(&Config::new(data(0)), None).unwrap().keeper.close().unwrap();
    let identity = |at: usize| {
        let name = format!("org-{at}");
        super::super::identity(&data(at), &name, "127.0.0.1:1", "http://127.0.0.1:1").unwrap()
    };
    let founded = super::super::found(&data(0), (0..4).map(identity).collect(), None).unwrap();
    let mut journal = JournalReader::open(&data(0).join("ledger")).unwrap();
    let mut next = |_, _| Ok(vec![journal.next_entry().unwrap().unwrap().bytes]);
    import(&data(1), &founded, &mut next, &mut |_| {}).unwrap();
    for at in 0..2 {
        record(&data(at), 5, 7);
    }
    (dir, founded)
}

fn resync(data: &Path) -> Result<Resynced, ResyncError> {
    super::resync(data, Signed::Known)
}

/// What there is in a folder.
fn names(dir: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(dir).unwrap();
    names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

fn assert_started_over(data: &Path, state: &[u8], done: &Resynced, vouched: &Checkpoint) {
    assert_eq!(names(&data.join("comet/data")), ["priv_validator_state.json".to_owned()].into());
    assert_eq!(std::fs::read(files::signed_last(&data.join("comet"))).unwrap(), state);
    assert!(!data.join("height").exists());
    let aside = data.join("ledger-before-1");
    // What proved something against others was about this ledger; nothing is lost.
    assert!(names(data).iter().all(|name| !name.starts_with("fork-")));
    for kept in ["fork-2-org-3.txt", "comet/blockstore.db/000001.log", "comet/cs.wal"] {
        assert!(aside.join(kept).exists(), "{kept}");
    }
    let expected =
        Resynced { aside: Some(aside), vouched: Some(vouched.clone()), needs: Needs::Nothing };
    assert_eq!(*done, expected);
    let opened = open(&Config::new(data), None).unwrap();
    assert_eq!((opened.report.size, opened.vouched.unwrap().size()), (1, vouched.size));
}

#[test]
fn interrupted_anywhere_it_comes_to_the_same() {
    for interrupted in 0..=STEPS.len() + 2 {
        let (dir, vouched) = folder(4);
        let data = dir.path().join("node-0");
        std::fs::write(data.join("fork-2-org-3.txt"), "evidence").unwrap();
        let state = std::fs::read(files::signed_last(&data.join("comet"))).unwrap();
        // Before the first step, after each, with the new ledger begun, and when all is done.
        let key = keys::load(&KeyFiles::of(&data).current).unwrap();
        if interrupted > 0 {
            let plan = plan(&data, &key, Signed::Known, None).unwrap();
            resync::write(&data, &plan).unwrap();
            for step in STEPS.iter().take(interrupted - 1) {
                step(&data, &plan).unwrap();
            }
            if interrupted == STEPS.len() + 2 {
                assert_eq!(begin(&data, &plan).unwrap(), Needs::Nothing);
            }
            let refused = open(&Config::new(&data), None).map(drop);
            assert!(matches!(refused, Err(NodeError::ResyncInterrupted)), "{interrupted}");
        }
        let done = resync(&data).unwrap();
        assert_started_over(&data, &state, &done, &vouched);
    }
}

#[test]
fn what_was_vouched_for_first_is_not_forgotten_by_a_second_try() {
    let (dir, vouched) = folder(4);
    let data = dir.path().join("node-0");
    resync(&data).unwrap();
    // It was started and had not caught up; now that one is set aside too.
    let again = resync(&data).unwrap();
    assert_eq!(again.vouched, Some(vouched));
    assert_eq!(again.aside, Some(data.join("ledger-before-2")));
}

#[test]
fn whoever_has_the_only_copy_or_no_state_of_its_key_is_refused() {
    let (dir, _) = folder(1);
    let data = dir.path().join("node-0");
    assert!(matches!(resync(&data), Err(ResyncError::Alone)));
    let (dir, _) = folder(4);
    let data = dir.path().join("node-0");
    let opened = open(&Config::new(&data), None).unwrap();
    assert!(matches!(
        resync(&data),
        Err(ResyncError::Node(NodeError::Ledger(colearn_ledger::Error::InUse { .. })))
    ));
    drop(opened);
    std::fs::remove_file(files::signed_last(&data.join("comet"))).unwrap();
    assert!(matches!(resync(&data), Err(ResyncError::NoState(_))));
    // A ledger of one's own, whose folder has the keys of a node to be.
    let solo = dir.path().join("solo");
    open(&Config::new(&solo), None).unwrap().keeper.close().unwrap();
    super::super::identity(&solo, "solo", "127.0.0.1:1", "http://127.0.0.1:1").unwrap();
    assert!(matches!(resync(&solo), Err(ResyncError::Alone)));
    let keys_only = dir.path().join("keys");
    super::super::identity(&keys_only, "keys", "127.0.0.1:1", "http://127.0.0.1:1").unwrap();
    assert!(matches!(resync(&keys_only), Err(ResyncError::Never)));
    assert_eq!(names(&solo).iter().filter(|name| name.contains("before")).count(), 0);
}

#[test]
fn damage_is_no_obstacle() {
    let (dir, vouched) = folder(4);
    let data = dir.path().join("node-0");
    // Its first entry, so that nothing can be read.
    let journal = data.join("ledger/journal/00000000.journal");
    std::fs::write(&journal, "damaged").unwrap();
    let done = resync(&data).unwrap();
    assert_eq!((done.vouched, done.needs), (Some(vouched), Needs::File));
    assert!(!data.join("ledger").exists());
    let refused = open(&Config::new(&data), None).map(drop);
    assert!(matches!(refused, Err(NodeError::KeysOnly(_))));
}

#[test]
fn what_came_since_vouches_for_nothing_until_it_is_what_was_vouched_for() {
    let (dir, vouched) = folder(4);
    let data = dir.path().join("node-0");
    resync(&data).unwrap();
    // Something else comes, and more of it.
    record(&data, 5, 8);
    record(&data, 6, 8);
    assert_eq!(resync(&data).unwrap().vouched, Some(vouched.clone()));
    // It comes again, and more.
    assert_eq!(record(&data, 5, 7), vouched);
    let more = record(&data, 6, 7);
    assert_eq!(resync(&data).unwrap().vouched, Some(more));
}

#[test]
fn a_ledger_that_one_has_begun_is_not_begun_anew_without_its_file() {
    let (dir, _) = founded();
    for name in ["node-0", "node-1"] {
        let data = dir.path().join(name);
        let file = data.join("network.json");
        std::fs::rename(&file, data.join("lost")).unwrap();
        let before = names(&data);
        let refused = resync(&data);
        assert!(matches!(&refused, Err(ResyncError::NoFile(path)) if *path == file), "{refused:?}");
        // What says that there are several cannot be read: then it is not known that there is one.
        let journal = data.join("ledger/journal/00000000.journal");
        let whole = std::fs::read(&journal).unwrap();
        std::fs::write(&journal, &whole[..whole.len() - 1_000]).unwrap();
        let refused = resync(&data);
        assert!(matches!(refused, Err(ResyncError::NoFile(_))), "{refused:?}");
        assert_eq!(names(&data), before);
        std::fs::write(&journal, whole).unwrap();

        std::fs::rename(data.join("lost"), &file).unwrap();
        let done = resync(&data).unwrap();
        assert_eq!(done.needs, Needs::Nothing);
        let opened = open(&Config::new(&data), None).unwrap();
        assert_eq!(opened.keys.validators().unwrap().count(), 4);
        assert_eq!(opened.vouched.unwrap().size(), done.vouched.unwrap().size);
    }
}

#[test]
fn whoever_was_started_over_never_goes_on_alone() {
    let (dir, _) = founded();
    let data = dir.path().join("node-0");
    let key = keys::load(&KeyFiles::of(&data).current).unwrap();
    let plan = plan(&data, &key, Signed::Known, None).unwrap();
    for step in STEPS {
        step(&data, &plan).unwrap();
    }
    // The file is lost between the steps.
    std::fs::remove_file(data.join("network.json")).unwrap();
    assert_eq!(begin(&data, &plan).unwrap(), Needs::File);
    assert!(!data.join("ledger").exists());

    let solo = dir.path().join("solo");
    open(&Config::new(&solo), None).unwrap().keeper.close().unwrap();
    resync::write(&solo, &Plan { done: true, ..plan }).unwrap();
    let refused = open(&Config::new(&solo), None).map(drop);
    assert!(matches!(refused, Err(NodeError::StartedOverAlone)));
}

#[test]
fn what_cannot_be_read_does_not_tell_that_nobody_else_has_it() {
    let (dir, _) = folder(1);
    let data = dir.path().join("node-0");
    let journal = data.join("ledger/journal/00000000.journal");
    let whole = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &whole[..whole.len() - 10]).unwrap();
    let done = resync(&data).unwrap();
    // If nobody has it, all is there still.
    assert!(done.aside.unwrap().join("comet/blockstore.db/000001.log").exists());
}

#[test]
fn what_this_node_has_signed_must_be_known() {
    let (dir, vouched) = folder(4);
    let data = dir.path().join("node-0");
    let ledger = data.join("ledger");
    let anchors = colearn_ledger::anchor_files(&ledger).unwrap();
    let note = anchors
        .iter()
        .filter_map(|file| file.note())
        .find(|note| founding::stated(note).unwrap() == vouched);
    for anchor in ["anchor-a", "anchor-b"] {
        std::fs::write(ledger.join(anchor), "damaged").unwrap();
    }
    let refused = resync(&data);
    assert!(matches!(refused, Err(ResyncError::NothingKnown(_))), "{refused:?}");
    // Of others only: it says nothing of what this one has signed.
    let (other, own) = (SigningKey::from_bytes(&[9; 32]), note.unwrap());
    let other = crate::open::signer(&vouched.origin, other).unwrap();
    colearn_ledger::publish(&ledger, &vouched.sign(&other)).unwrap();
    assert!(matches!(resync(&data), Err(ResyncError::NothingKnown(_))));
    colearn_ledger::publish(&ledger, own).unwrap();
    assert_eq!(resync(&data).unwrap().vouched, Some(vouched));

    let (dir, _) = folder(4);
    let data = dir.path().join("node-0");
    for anchor in ["anchor-a", "anchor-b"] {
        std::fs::write(data.join("ledger").join(anchor), "damaged").unwrap();
    }
    assert_eq!(super::resync(&data, Signed::Any).unwrap().vouched, None);
}

#[test]
fn what_no_block_of_the_others_may_hold_is_dropped_though_the_file_is_lost() {
    for given in [false, true] {
        let (dir, founded) = founded();
        let data = dir.path().join("node-0");
        let ledger = data.join("ledger");
        let anchors = ["anchor-a", "anchor-b"].map(|name| ledger.join(name));
        let before = anchors.each_ref().map(|anchor| std::fs::read(anchor).unwrap());
        let size = record(&data, 6, 9).size;
        for (anchor, bytes) in anchors.iter().zip(before) {
            std::fs::write(anchor, bytes).unwrap();
        }
        std::fs::remove_file(data.join("network.json")).unwrap();
        let mut config = Config::new(&data);
        config.network.file = given.then(|| NetworkFile::Founded(Box::new(founded)));
        assert_eq!(open(&config, None).unwrap().report.size, size - 1);
    }
}
