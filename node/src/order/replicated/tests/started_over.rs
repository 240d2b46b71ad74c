//! A node that was started over signs nothing before it has again what it had signed, and does not go on with
//! anything else.

use colearn_comet::testing::Gone;
use colearn_ledger::{Checkpoint, Hash};
use tokio::runtime::Runtime;

use super::*;
use crate::resync::{self, Plan};
use crate::testing;

/// Has the last node start over after some blocks, when it had signed this root of all entries: with the root
/// itself, how many these are.
fn started_over(root: impl FnOnce(Hash) -> Hash) -> (Network, u64, Result<(), Gone>) {
    let mut network = Network::of(4);
    for round in 0..3 {
        network.clock.set(network.clock.now_ms() + 5_000);
        let create = network.sign(9, testing::create(&format!("x-{round}")));
        network.record(vec![create]);
    }
    let seen = network.seen();
    let node = &mut network.nodes[3];
    node.kill();
    let signer = crate::open::signer("test", key(node.number)).unwrap();
    let (size, root) = (seen.size, root(seen.root));
    let note = Checkpoint { origin: "test".to_owned(), size, root }.sign(&signer);
    let dir = node.dir.path();
    std::fs::rename(dir.join("ledger"), dir.join("aside")).unwrap();
    let plan = Plan { aside: "aside".to_owned(), note: Some(note), done: true };
    resync::write(dir, &plan).unwrap();
    node.start_on(TestDisk::failing_after(u64::MAX));
    assert_eq!(node.reader().size(), 1);
    let signatures = node.running().signatures.clone();
    let word = |size| Runtime::new().unwrap().block_on(signatures.note(size)).unwrap();
    assert_eq!(word(1), None, "it could contradict itself");
    let socket = node.dir.path().join("abci.sock");
    let connected = node.comet.connect(&socket);
    (network, size, connected)
}

#[test]
fn it_signs_again_when_all_is_here_again() {
    let (network, size, connected) = started_over(|root| root);
    connected.unwrap();
    let node = &network.nodes[3];
    assert_eq!(node.reader().size(), size);
    let signatures = node.running().signatures.clone();
    let word = Runtime::new().unwrap().block_on(signatures.note(size)).unwrap();
    assert!(word.is_some());
    assert_eq!(resync::read(node.dir.path()).unwrap(), None);
    network.entries();
}

#[test]
fn it_does_not_go_on_with_another_history_and_says_both_roots() {
    let (mut network, _, connected) = started_over(|_| Hash([7; 32]));
    let right = network.seen().root;
    let Err(Gone::Exception(why)) = connected else { panic!("{connected:?}") };
    for part in [Hash([7; 32]).to_string(), right.to_string(), "aside".to_owned()] {
        assert!(why.contains(&part), "{why}");
    }
    // And the next start is refused at once.
    let node = &mut network.nodes[3];
    node.kill();
    assert!(resync::read(node.dir.path()).unwrap().is_some());
}
