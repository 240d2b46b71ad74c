//! What a learner verifies with each block: the header with its validators' votes, and the proofs of what the contract
//! keeps, as often as the client does.
//!
//! Run with `cargo bench -p colearn-light`. The goal is 2 ms a block, on one core, of JSON as servers answer it. The
//! proofs are of a state of some million values.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use colearn_light::{Light, address};
use colearn_testkit::Figures;
use colearn_testkit::chain::{CODE, CONTRACT, Chain, KEY};

/// In ms a block.
const GOAL: f64 = 2.0;
/// How many blocks, for each number of validators. Since others may use the machine, the quickest is told.
const BLOCKS: u64 = 101;
const TIME_MS: u64 = 1_790_000_000_000;

fn main() {
    let contract = address(CONTRACT).unwrap();
    let mut figures = Figures::of("light", env!("CARGO_TARGET_TMPDIR"));
    for count in [1, 4, 50, 100] {
        let mut chain = Chain::begin_with((1..=count).collect(), TIME_MS);
        chain.keep(vec![7; 500]);
        (1..=BLOCKS).for_each(|number| chain.block(TIME_MS + number * 1_000));
        let begun = chain.blocks[0].raw.read().unwrap();
        let mut light = Light::begin(&chain.trust(1).line, begun).unwrap();
        let mut parts: [Vec<Duration>; 4] = Default::default();
        for block in &chain.blocks[1..] {
            let started = Instant::now();
            // The client looks which block it is before it goes there.
            let looked = block.raw.read().unwrap();
            assert!(looked.height() > light.height());
            let read = block.raw.read().unwrap();
            let read_by = started.elapsed();
            light.advance(read, block.time_ms).unwrap();
            let advanced_by = started.elapsed();
            light.established(&contract, KEY, &CODE, &block.value).unwrap();
            let all = started.elapsed();
            let each = [read_by, advanced_by - read_by, all - advanced_by, all];
            parts.iter_mut().zip(each).for_each(|(part, took)| part.push(took));
        }
        let [read, votes, proofs, all] =
            parts.map(|part| part.into_iter().min().unwrap_or_default());
        let told = format!(
            "{:.2} (reading {:.2}, votes {:.2}, proofs {:.2})",
            ms(all),
            ms(read),
            ms(votes),
            ms(proofs),
        );
        figures.at_most(&format!("a block of {count} validators, ms"), &told, ms(all), GOAL);
    }
    figures.end();
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
