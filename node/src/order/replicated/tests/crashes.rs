//! A node that dies anywhere in a block has it again, and comes to the same bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use colearn_comet::abci::{RequestFinalizeBlock, RequestInitChain, request, response};

use super::history::History;
use super::*;
use crate::testing;

/// All files of a folder, by their names in it.
type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files_of(dir: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for found in std::fs::read_dir(folder).unwrap() {
            let found = found.unwrap();
            let kind = found.file_type().unwrap();
            let path = found.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    files
}

fn put(dir: &Path, files: &Files) {
    std::fs::remove_dir_all(dir).unwrap();
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// A network of which one node runs, after a history that ends with a block that records something.
fn network() -> Network {
    let mut network = Network::begun_with(&genesis(4), 1);
    let mut history = History::new(3);
    for _ in 0..12 {
        let block = history.next(&network);
        network.apply(&block);
    }
    network
}

/// A small block that records something, not decided yet.
fn small(network: &Network) -> Block {
    network.clock.set(network.clock.now_ms() + 5_000);
    let create = network.sign(9, testing::create("small"));
    network.block(vec![create, Bytes::from_static(b"junk")], network.clock.now_ms())
}

fn finalize(height: i64, hash: &'static [u8]) -> request::Value {
    let hash = Bytes::from_static(hash);
    request::Value::FinalizeBlock(RequestFinalizeBlock {
        height,
        hash,
        ..RequestFinalizeBlock::default()
    })
}

/// Where these bytes end in others.
fn end_of(bytes: &[u8], all: &[u8]) -> Option<usize> {
    let at = all.windows(bytes.len()).position(|it| it == bytes);
    at.map(|at| at + bytes.len())
}

#[test]
fn whatever_of_a_block_is_on_the_disk_is_dropped_and_comes_again() {
    let mut network = network();
    let block = small(&network);
    let node = &mut network.nodes[0];
    node.kill();
    let before = files_of(node.dir.path());
    node.start();
    node.comet.apply(block).unwrap();
    let whole = node.entries();
    let (height, app_hash) = (node.comet.height(), node.comet.info().unwrap().last_block_app_hash);
    node.kill();
    let after = files_of(node.dir.path());
    let journal = Path::new("ledger/journal/00000000.journal");
    let (from, to) = (before[journal].len(), after[journal].len());
    assert!(from < to && to - from < 2_000, "{from} {to}");
    // Around where each entry ends, and a sample of what is between.
    let ends: Vec<usize> =
        whole.iter().filter_map(|entry| end_of(entry, &after[journal])).collect();
    let near = |length: &usize| ends.iter().any(|end| end.abs_diff(*length) < 6);
    for length in (from..=to).filter(|it| it % 11 == 0 || near(it) || to - it < 12) {
        // Cut off there, or of the right length with nothing behind it.
        for zeros in [0, to - length].into_iter().take(1 + usize::from(length % 7 == 0)) {
            let mut files = before.clone();
            let mut bytes = after[journal][..length].to_vec();
            bytes.resize(length + zeros, 0);
            files.insert(journal.to_owned(), bytes);
            put(node.dir.path(), &files);
            node.start_on(TestDisk::failing_after(u64::MAX));
            // Nothing of it counts, though all of it may be there.
            assert_eq!(node.application().blocks().height(), height - 1, "{length}");
            node.connect();
            assert!(node.entries() == whole, "{length} of {from} to {to}");
            assert_eq!(node.comet.info().unwrap().last_block_app_hash, app_hash);
            node.kill();
        }
    }
}

#[test]
fn a_disk_that_fails_within_a_commit_loses_nothing() {
    let mut network = network();
    network.nodes[0].kill();
    let before = files_of(network.nodes[0].dir.path());
    network.nodes[0].start();
    let block = small(&network);
    network.apply(&block);
    let whole = network.entries();
    let node = &mut network.nodes[0];
    for changes in 0.. {
        node.kill();
        put(node.dir.path(), &before);
        let disk = TestDisk::failing_after(u64::MAX);
        node.start_on(disk.clone());
        disk.left.store(changes, Atomic::SeqCst);
        let committed = node.comet.connect(&node.dir.path().join("abci.sock")).is_ok();
        node.kill();
        node.start();
        assert!(node.entries() == whole, "after {changes} changes");
        if committed {
            assert!(changes > 2, "{changes} changes");
            return;
        }
    }
}

#[test]
fn the_height_of_empty_blocks_is_believed_of_this_ledger_only() {
    // Another ledger, as long as this one and further on.
    let mut other = Network::begun_with(&genesis(3), 1);
    let create = other.sign(1, testing::create("a"));
    other.record(vec![create]);
    for _ in 0..5 {
        other.record(Vec::new());
    }
    let mut network = Network::begun_with(&genesis(4), 1);
    let create = network.sign(1, testing::create("a"));
    network.record(vec![create]);
    let stale = network.nodes[0].dir.path().join("height");
    assert!(!stale.exists());
    network.record(Vec::new());
    let old = std::fs::read(&stale).unwrap();
    network.record(Vec::new());
    let foreign = std::fs::read(other.nodes[0].dir.path().join("height")).unwrap();
    assert_eq!(other.entries().len(), network.entries().len());
    let entries = network.entries();
    let node = &mut network.nodes[0];
    let starts = [
        (None, 1),
        (Some(old.clone()), 2),
        (Some(foreign), 1),
        (Some(Vec::new()), 1),
        (Some(b"7".to_vec()), 1),
        (Some(old[..old.len() - 9].to_vec()), 1),
        (Some(b"7 3\n".to_vec()), 1),
        (Some(vec![0xff; 40]), 1),
    ];
    for (hint, height) in starts {
        node.kill();
        match &hint {
            Some(hint) => std::fs::write(&stale, hint).unwrap(),
            None => std::fs::remove_file(&stale).unwrap(),
        }
        node.start_on(TestDisk::failing_after(u64::MAX));
        assert_eq!(node.application().blocks().height(), height, "{hint:?}");
        node.connect();
        assert_eq!(node.application().blocks().height(), 3);
        assert!(node.entries() == entries);
    }
    // With it nothing comes again.
    node.kill();
    node.start_on(TestDisk::failing_after(u64::MAX));
    assert_eq!(node.application().blocks().height(), 3);
}

#[test]
fn a_chain_begins_as_often_as_it_is_told_to() {
    let mut network = Network::of(1);
    let node = &mut network.nodes[0];
    node.connect();
    node.kill();
    node.start();
    let block = node.comet.block_of(Vec::new(), BEGIN_MS, BEGIN_MS + 1);
    node.comet.decide(block);
    node.comet.finalize().unwrap();
    node.kill();
    node.start();
    assert_eq!(node.comet.info().unwrap().last_block_height, 1);
    // Of another chain it wants nothing.
    let other = RequestInitChain { chain_id: "other".to_owned(), ..RequestInitChain::default() };
    assert!(node.application().answer(request::Value::InitChain(other)).is_err());
}

#[test]
fn blocks_that_cannot_be_are_the_end() {
    let network = network();
    let application = network.nodes[0].application();
    let next = network.nodes[0].comet.height() as i64 + 1;
    for height in [-1, 0, next - 1, next + 1] {
        assert!(application.answer(finalize(height, b"a")).is_err(), "{height}");
    }
    // Nothing was decided.
    assert!(application.answer(request::Value::Commit(Default::default())).is_err());
    let first = application.answer(finalize(next, b"a")).unwrap();
    let again = application.answer(finalize(next, b"a")).unwrap();
    let hash = |answer| match answer {
        response::Value::FinalizeBlock(answer) => answer.app_hash,
        other => panic!("{other:?}"),
    };
    assert_eq!(hash(first), hash(again));
    assert!(application.answer(finalize(next, b"b")).is_err());
}

#[test]
fn a_node_that_cannot_index_stops() {
    let mut network = Network::of(1);
    let (landings, gone) = std::sync::mpsc::channel();
    drop(gone);
    *network.nodes[0].application().landing.lock().unwrap() = Some(landings);
    let create = network.sign(1, testing::create("a"));
    let block = network.block(vec![create], BEGIN_MS);
    assert!(network.nodes[0].comet.apply(block).is_err());
}
