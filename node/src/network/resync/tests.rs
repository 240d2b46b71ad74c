use std::collections::BTreeSet;

use bytes::Bytes;
use colearn_contracts::{Limits, VERSION};
use colearn_proto::v1;
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
    let mut keeper = open(&config).unwrap().keeper;
    let (hash, proposer) = (Bytes::from_static(&[7; 32]), Bytes::from_static(&[7; 20]));
    let block = v1::Block { height: 5, hash, proposer, ..v1::Block::default() };
    keeper.note(2_000, record::block_payload(&block), Vec::new()).unwrap();
    let signed = keeper.seal().unwrap().wait().unwrap();
    keeper.close().unwrap();
    let stored = data.join("comet/data");
    std::fs::create_dir_all(stored.join("blockstore.db")).unwrap();
    for file in ["blockstore.db/000001.log", "cs.wal"] {
        std::fs::write(stored.join(file), "blocks").unwrap();
    }
    std::fs::write(data.join("height"), "9 root\n").unwrap();
    (dir, signed.checkpoint.clone())
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
    let expected =
        Resynced { aside: Some(aside), vouched: Some(vouched.clone()), needs: Needs::Nothing };
    assert_eq!(*done, expected);
    let opened = open(&Config::new(data)).unwrap();
    assert_eq!((opened.report.size, opened.vouched.unwrap().size()), (1, vouched.size));
}

#[test]
fn interrupted_anywhere_it_comes_to_the_same() {
    for interrupted in 0..=STEPS.len() + 2 {
        let (dir, vouched) = folder(4);
        let data = dir.path().join("node-0");
        let state = std::fs::read(files::signed_last(&data.join("comet"))).unwrap();
        // Before the first step, after each, with the new ledger begun, and when all is done.
        let key = keys::load(&KeyFiles::of(&data).current).unwrap();
        if interrupted > 0 {
            let plan = plan(&data, &key, None).unwrap();
            resync::write(&data, &plan).unwrap();
            for step in STEPS.iter().take(interrupted - 1) {
                step(&data, &plan).unwrap();
            }
            if interrupted == STEPS.len() + 2 {
                assert_eq!(begin(&data, &plan).unwrap(), Needs::Nothing);
            }
            let refused = open(&Config::new(&data)).map(drop);
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
    let opened = open(&Config::new(&data)).unwrap();
    assert!(matches!(
        resync(&data),
        Err(ResyncError::Node(NodeError::Ledger(colearn_ledger::Error::InUse { .. })))
    ));
    drop(opened);
    std::fs::remove_file(files::signed_last(&data.join("comet"))).unwrap();
    assert!(matches!(resync(&data), Err(ResyncError::NoState(_))));
    // A ledger of one's own, whose folder has the keys of a node to be.
    let solo = dir.path().join("solo");
    open(&Config::new(&solo)).unwrap().keeper.close().unwrap();
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
    let refused = open(&Config::new(&data)).map(drop);
    assert!(matches!(refused, Err(NodeError::KeysOnly(_))));
}
