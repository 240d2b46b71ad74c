//! What a real chain of one validator has answered (`data/`, written by the contract's test on such a chain), and
//! the same with something wrong in it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use colearn_light::{
    BadAnswer, BadProof, Block, Light, MAX_ANSWER_BYTES, NotBelieved, Proven, TrustLine, Way,
    address, block, contract_key, proven,
};
use serde_json::Value;

const PERIOD: Duration = Duration::from_secs(14 * 24 * 3_600);

fn data(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::read(folder.join(name)).unwrap()
}

fn read(name: &str, change: impl Fn(&mut Value)) -> Result<Block, BadAnswer> {
    let mut commit = serde_json::from_slice(&data(&format!("{name}-commit.json"))).unwrap();
    change(&mut commit);
    let validators = [data(&format!("{name}-validators.json"))];
    let next = [data(&format!("{name}-next-validators.json"))];
    block(commit.to_string().as_bytes(), &validators, &next)
}

fn whole(name: &str) -> Block {
    read(name, |_| {}).unwrap()
}

/// The contract's key of the ledger's end, the trust line, and when all this was.
fn told() -> (Vec<u8>, TrustLine, u64) {
    let text = String::from_utf8(data("told.txt")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let [contract, hash, now_ms] = lines[..] else { panic!("{text}") };
    let byte = |at: usize| u8::from_str_radix(&hash[at * 2..at * 2 + 2], 16).unwrap();
    let hash = std::array::from_fn(byte);
    let line = TrustLine { chain: "colearn-test-1".to_owned(), height: 2, hash, period: PERIOD };
    (contract_key(&address(contract).unwrap(), b"t"), line, now_ms.parse().unwrap())
}

fn light() -> Light {
    let (_, line, now_ms) = told();
    let mut light = Light::begin(&line, whole("early")).unwrap();
    light.advance(whole("late"), now_ms).unwrap();
    light
}

fn value(change: impl Fn(&mut Value)) -> Result<Proven, BadAnswer> {
    let mut answer: Value = serde_json::from_slice(&data("value.json")).unwrap();
    change(&mut answer["result"]["response"]);
    proven(answer.to_string().as_bytes())
}

#[test]
fn a_value_is_proven_from_a_trusted_header() {
    let (key, _, now_ms) = told();
    let light = light();
    assert!(light.height() > 3 && light.time_ms() <= now_ms);
    let answer = value(|_| {}).unwrap();
    // Size and time, the last entry's hash, and a root for each bit of the size.
    let tree = light.value(&key, &answer).unwrap();
    let size = u64::from_be_bytes(tree[..8].try_into().unwrap());
    assert_eq!(tree.len(), 48 + 32 * size.count_ones() as usize);
}

#[test]
fn a_proof_with_any_byte_changed_proves_nothing() {
    let (key, ..) = told();
    let light = light();
    let check = |change: &dyn Fn(&mut Value)| match value(change) {
        Ok(answer) => light.value(&key, &answer).err(),
        // Some bytes make it no proof at all.
        Err(_) => Some(BadProof::Wrong),
    };
    let bend = |text: &mut Value, place: usize| {
        let mut letters = text.as_str().unwrap().as_bytes().to_vec();
        letters[place] = if letters[place] == b'A' { b'B' } else { b'A' };
        *text = String::from_utf8(letters).unwrap().into();
    };
    let length = |text: &Value| text.as_str().unwrap().trim_end_matches('=').len();
    let answer: Value = serde_json::from_slice(&data("value.json")).unwrap();
    let response = &answer["result"]["response"];
    for op in 0..2 {
        // The last letter has bits that mean nothing.
        for place in (0..length(&response["proofOps"]["ops"][op]["data"]) - 1).step_by(7) {
            let wrong = check(&|it| bend(&mut it["proofOps"]["ops"][op]["data"], place));
            assert_eq!(wrong, Some(BadProof::Wrong), "{op} {place}");
        }
    }
    for place in (0..length(&response["value"]) - 1).step_by(5) {
        assert_eq!(check(&|it| bend(&mut it["value"], place)), Some(BadProof::Wrong));
    }
    let swap = |it: &mut Value| it["proofOps"]["ops"].as_array_mut().unwrap().swap(0, 1);
    assert_eq!(check(&swap), Some(BadProof::Wrong));
    assert_eq!(check(&|it| bend(&mut it["key"], 4)), Some(BadProof::OtherKey));
    let other_height = check(&|it| it["height"] = "3".into());
    assert!(matches!(other_height, Some(BadProof::OtherHeight { found: 3, .. })));
}

#[test]
fn a_header_that_does_not_follow_is_not_believed() {
    let (_, line, now_ms) = told();
    let other = TrustLine { hash: [1; 32], ..line.clone() };
    let begun = Light::begin(&other, whole("early"));
    assert_eq!(begun.err(), Some(NotBelieved::OtherHeader { height: 2 }));
    let other = TrustLine { chain: "colearn-test-2".to_owned(), ..line.clone() };
    assert!(Light::begin(&other, whole("early")).is_err());

    let begin = || Light::begin(&line, whole("early")).unwrap();
    let header = |field: &'static str, value: &'static str| {
        read("late", move |it| it["result"]["signed_header"]["header"][field] = value.into())
    };
    for (field, value) in [
        ("app_hash", "1111111111111111111111111111111111111111111111111111111111111111"),
        ("chain_id", "colearn-test-2"),
        ("time", "2026-01-01T00:00:00Z"),
        ("validators_hash", "1111111111111111111111111111111111111111111111111111111111111111"),
        ("height", "4"),
    ] {
        // Another height than the votes' is no header at all.
        let Ok(block) = header(field, value) else { continue };
        let mut light = begin();
        let believed = light.advance(block, now_ms);
        assert!(matches!(believed, Err(NotBelieved::Wrong(_))), "{field}: {believed:?}");
        assert_eq!(light.height(), 2);
    }
    let forged = read("late", |it| {
        let signature = &mut it["result"]["signed_header"]["commit"]["signatures"][0]["signature"];
        let mut letters = signature.as_str().unwrap().as_bytes().to_vec();
        letters[9] = if letters[9] == b'A' { b'B' } else { b'A' };
        *signature = String::from_utf8(letters).unwrap().into();
    });
    assert!(begin().advance(forged.unwrap(), now_ms).is_err());
    // In the future, after the trusting period, and what is no newer.
    let late_ms = light().time_ms();
    assert!(begin().advance(whole("late"), late_ms - 11_000).is_err());
    let too_late_ms = now_ms + PERIOD.as_millis() as u64;
    assert_eq!(begin().advance(whole("late"), too_late_ms), Err(NotBelieved::TooOld));
    let mut light = light();
    let height = light.height();
    assert_eq!(light.advance(whole("late"), now_ms), Err(NotBelieved::NotNewer { height }));
    let early = NotBelieved::NotNewer { height: 2 };
    assert_eq!(light.advance(whole("early"), now_ms), Err(early));
}

/// The early block, with another only next validator.
fn next(change: impl Fn(&mut Value)) -> Result<Block, BadAnswer> {
    let mut next: Value = serde_json::from_slice(&data("early-next-validators.json")).unwrap();
    change(&mut next["result"]["validators"][0]);
    let validators = [data("early-validators.json")];
    block(&data("early-commit.json"), &validators, &[next.to_string().into_bytes()])
}

#[test]
fn a_way_takes_the_blocks_that_were_asked_for_and_not_for_ever() {
    let (_, line, now_ms) = told();
    let begin = || Light::begin(&line, whole("early")).unwrap();
    let late = light().height();
    let (mut light, mut way) = (begin(), Way::to(late));
    assert_eq!(way.next(&light), Some(late));
    let took = light.advance(whole("late"), now_ms);
    assert_eq!(way.took(&light, took), Ok(()));
    assert_eq!(way.next(&light), None);

    // A block of the chain, but not the one that was asked for.
    let (mut light, mut way) = (begin(), Way::to(1 << 60));
    let took = light.advance(whole("late"), now_ms);
    let other = NotBelieved::NotAsked { asked: 1 << 60, found: late };
    assert_eq!(way.took(&light, took), Err(other));

    // Made up: too far by its own height, whatever is asked for.
    let too_far = |height| Err(NotBelieved::TooFar { height });
    let (light, mut way) = (begin(), Way::to(10));
    assert_eq!(
        way.took(&light, too_far(1 << 60)),
        Err(NotBelieved::NotAsked { asked: 10, found: 1 << 60 })
    );
    let mut way = Way::to(u64::MAX);
    let mut asked = Vec::new();
    let error = loop {
        let next = way.next(&light).unwrap();
        assert!(asked.last().is_none_or(|last| next < *last) && next > 2);
        asked.push(next);
        match way.took(&light, too_far(next)) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error, NotBelieved::TooFar { height: 3 });
}

#[test]
fn power_that_no_chain_has_is_no_answer() {
    let power = |power: &'static str| next(move |it| it["voting_power"] = power.into());
    assert!(power("1152921504606846975").is_ok());
    for wrong in ["1152921504606846976", "2000000000000000000", "9223372036854775807", "0", "-1"] {
        assert!(matches!(power(wrong), Err(BadAnswer::Malformed { .. })), "{wrong}");
    }
    // And of several together.
    let page = |it: &Value| it.to_string().into_bytes();
    let mut most: Value = serde_json::from_slice(&data("early-validators.json")).unwrap();
    most["result"]["validators"][0]["voting_power"] = "1152921504606846975".into();
    let pages = [page(&most), data("early-validators.json")];
    let read = block(&data("early-commit.json"), &pages, &pages[1..]);
    assert!(matches!(read, Err(BadAnswer::Malformed { .. })));
}

#[test]
fn an_address_that_a_server_says_is_not_the_keys_means_nothing() {
    let (_, line, now_ms) = told();
    let bent = next(|it| it["address"] = "00".repeat(20).into()).unwrap();
    let mut light = Light::begin(&line, bent).unwrap();
    light.advance(whole("late"), now_ms).unwrap();
}

#[test]
fn what_is_no_answer_is_refused() {
    for nothing in ["", "{}", "{\"result\":{}}", "{\"error\":{\"code\":1}}", "[1]"] {
        assert!(proven(nothing.as_bytes()).is_err());
        assert!(block(nothing.as_bytes(), &[], &[]).is_err());
    }
    let long = vec![b' '; MAX_ANSWER_BYTES + 1];
    assert_eq!(proven(&long).err(), Some(BadAnswer::TooLong(long.len())));
    assert!(value(|it| it["proofOps"] = Value::Null).is_err());
    assert!(value(|it| drop(it["proofOps"]["ops"].as_array_mut().unwrap().pop())).is_err());
}
