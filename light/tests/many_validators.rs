//! Votes that are verified together, as those of many validators are.

#![allow(clippy::unwrap_used)]

use colearn_light::{Light, NotBelieved, RawBlock};
use colearn_testkit::chain::Chain;
use serde_json::Value;

const TIME_MS: u64 = 1_790_000_000_000;
const VALIDATORS: u8 = 60;

/// A light client that believes the first block, and the tenth of these blocks.
fn begun() -> (Light, RawBlock) {
    let mut chain = Chain::begin_with((1..=VALIDATORS).collect(), TIME_MS);
    (1..10).for_each(|number| chain.block(TIME_MS + number * 1_000));
    let first = chain.blocks[0].raw.read().unwrap();
    let light = Light::begin(&chain.trust(1).line, first).unwrap();
    (light, chain.blocks[9].raw.clone())
}

/// Goes on to the block, once its votes were changed.
fn advance(change: impl Fn(&mut Vec<Value>)) -> Result<(), NotBelieved> {
    let (mut light, mut raw) = begun();
    let mut commit: Value = serde_json::from_slice(&raw.commit).unwrap();
    change(commit["result"]["signed_header"]["commit"]["signatures"].as_array_mut().unwrap());
    raw.commit = commit.to_string().into_bytes();
    light.advance(raw.read().unwrap(), TIME_MS + 10_000)
}

fn absent(vote: &mut Value) {
    let time = "0001-01-01T00:00:00Z";
    *vote = serde_json::json!({
        "block_id_flag": 1, "validator_address": "", "timestamp": time, "signature": null,
    });
}

/// The votes of those who are looked at first are first in the list here: all have the same power, and then it goes by
/// address.
fn by_address(votes: &[Value]) -> Vec<usize> {
    let address = |place: &usize| votes[*place]["validator_address"].as_str().unwrap().to_owned();
    let mut places: Vec<usize> = (0..votes.len()).collect();
    places.sort_by_key(address);
    places
}

#[test]
fn more_than_two_thirds_must_have_voted_and_each_vote_be_right() {
    assert_eq!(advance(|_| {}), Ok(()));
    // 41 of 60 are more than two thirds, 40 are not.
    for (absentees, believed) in [(19, true), (20, false)] {
        let took = advance(|votes| votes.iter_mut().take(absentees).for_each(absent));
        assert_eq!(took.is_ok(), believed, "{absentees}: {took:?}");
    }
    // Whichever it is of those that are needed: a signature of another vote, or of nothing.
    for place in [0, 1, 20, 40] {
        let took = advance(|votes| {
            let places = by_address(votes);
            votes[places[place]]["signature"] = votes[places[41]]["signature"].clone();
        });
        assert!(matches!(took, Err(NotBelieved::Wrong(_))), "{place}: {took:?}");
        let took = advance(|votes| {
            let place = by_address(votes)[place];
            votes[place]["timestamp"] = "2026-09-21T14:13:29.001Z".into();
        });
        assert!(matches!(took, Err(NotBelieved::Wrong(_))), "{place}: {took:?}");
    }
}
