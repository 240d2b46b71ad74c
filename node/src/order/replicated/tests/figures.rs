//! What recording costs beside what verifying does. The numbers are those of the profile it is built in:
//! `cargo test --release -p colearn-node --lib figures -- --nocapture`.

use std::time::{Duration, Instant};

use colearn_records::transaction::Unverified;

use super::*;
use crate::order::replicated::bundle::join;
use crate::testing;

const BLOCKS: u8 = 8;
const BUNDLES: usize = 4;
const EACH: usize = 100;

#[test]
fn recording_a_transaction_costs_less_than_its_signature() {
    let mut network = Network::of(1);
    network.record(vec![network.sign(1, testing::create("x"))]);
    let join_it = testing::join("x", 1, 0);
    let seen = network.seen();
    let ledger = network.ledger();
    let [mut verifying, mut proposing, mut finalizing, mut committing] = [Duration::ZERO; 4];
    for block in 0..BLOCKS {
        let sign = |number: usize| {
            let mut seed = [block; 32];
            seed[..8].copy_from_slice(&(number as u64 + 1000).to_le_bytes());
            let key = SigningKey::from_bytes(&seed);
            Transaction::sign(&key, &ledger, seen, join_it.clone())
        };
        let signed: Vec<_> = (0..BUNDLES * EACH).map(sign).collect();
        let unverified: Vec<_> =
            signed.iter().map(|it| Unverified::decode(it.message().clone()).unwrap()).collect();
        let started = Instant::now();
        for transaction in unverified {
            assert!(transaction.verify(&ledger).is_ok());
        }
        verifying += started.elapsed();
        let txs: Vec<_> = signed.iter().map(tx).collect();
        let bundles: Vec<_> = txs.chunks(EACH).map(join).collect();
        let now_ms = network.clock.now_ms() + 1_000;
        network.clock.set(now_ms);
        let comet = &mut network.nodes[0].comet;
        for bundle in &bundles {
            assert_eq!(comet.check_tx(bundle.clone()).unwrap(), Broadcast::Taken);
        }
        let decided = comet.block_of(bundles, now_ms, now_ms);
        // The signatures are known: from here on they cost nothing.
        let started = Instant::now();
        assert!(comet.process(&decided).unwrap());
        proposing += started.elapsed();
        comet.decide(decided);
        let started = Instant::now();
        let codes = codes(&comet.finalize().unwrap());
        finalizing += started.elapsed();
        assert!(codes.iter().all(|code| *code == code::RECORDED), "{codes:?}");
        let started = Instant::now();
        comet.commit().unwrap();
        committing += started.elapsed();
    }
    let count = u32::from(BLOCKS) * u32::try_from(BUNDLES * EACH).unwrap();
    let members = network.contract().experiment(&testing::name("x")).unwrap().members().count();
    assert_eq!(u32::try_from(members).unwrap(), count);
    println!(
        "a transaction: its signature {:?}; ProcessProposal {:?}, FinalizeBlock {:?}; a Commit of {} without the disk's \
         sync {:?}",
        verifying / count,
        proposing / count,
        finalizing / count,
        BUNDLES * EACH,
        committing / u32::from(BLOCKS),
    );
    // Built for tests it is slower than it will be, and its neighbours share the machine: still not more.
    assert!(proposing + finalizing < 2 * verifying, "{proposing:?} {finalizing:?} {verifying:?}");
}
