//! Nodes that are given the same blocks record the same bytes.

use super::history::History;
use super::*;

/// Has each node decide a block, before something happens to it; what each has answered.
fn decide(
    network: &mut Network,
    block: &Block,
    mut then: impl FnMut(u64, &mut Node),
) -> Vec<ResponseFinalizeBlock> {
    let decide = |(at, node): (u64, &mut Node)| {
        node.comet.decide(block.clone());
        let answer = node.comet.finalize().unwrap();
        then(at, node);
        answer
    };
    (0..).zip(&mut network.nodes).map(decide).collect()
}

/// One node dies, or its CometBFT does, between deciding a block and making it durable.
#[test]
fn nodes_record_the_same_bytes_whatever_happens_to_one() {
    let mut network = Network::of(4);
    let mut history = History::with_bundles(7);
    for height in 1..=150_u64 {
        let block = history.next(&network);
        let answers = decide(&mut network, &block, |at, node| {
            if height % 7 == at {
                // It finds its own candidate again.
                node.connect();
            } else if height % 11 == at {
                // It drops what is not durable, and comes to the same.
                node.kill();
                node.start();
            } else {
                node.comet.commit().unwrap();
            }
        });
        assert_same(&answers, height);
        history.done(&block, codes(&answers[0]));
    }
    let entries = network.entries();
    let outcomes = entries.len() as u64 - 1 - history.blocks.len() as u64;
    assert!(outcomes > 200, "{outcomes} entries besides blocks");
    let codes = history.codes();
    for code in [code::RECORDED, code::SEEN, code::INVALID, code::CHANGE] {
        assert!(codes.contains(&code), "{code} of {codes:?}");
    }
    assert!(codes.len() > 10, "{codes:?}");
    // All that may happen did.
    let decided = network.contract();
    let sealed = decided.experiment(&crate::testing::name("s")).unwrap();
    assert!(sealed.round() > 3, "{} rounds of sealed ballots", sealed.round());
    assert!(network.nodes[0].application().keys.borrow().changes().len() > 3);
    // What is recorded is a ledger that anybody can follow.
    follow(&entries);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 12, failure_persistence: None, ..Default::default()
    })]

    /// Whatever is drawn, with one of two nodes killed after each block that it has decided and not made durable.
    #[test]
    fn drawn_histories_are_recorded_as_the_same_bytes(seed: u64, dies in 1..6_u64) {
        let mut network = Network::begun_with(&genesis(4), 2);
        let mut history = History::with_bundles(seed);
        for height in 1..=25 {
            let block = history.next(&network);
            let answers = decide(&mut network, &block, |at, node| {
                if at == 1 && height % dies == 0 {
                    node.kill();
                    node.start();
                } else {
                    node.comet.commit().unwrap();
                }
            });
            assert_same(&answers, height);
            history.done(&block, codes(&answers[0]));
        }
        follow(&network.entries());
    }
}
