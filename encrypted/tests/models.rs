//! Models that are encrypted and opened, and what somebody could do to them in between.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use colearn_encrypted::{Encryptor, ModelKeys, NotOpened, Opened, Round, is_encrypted};
use colearn_merge::Source as _;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const CHUNK: usize = 1 << 16;
const HEADER: usize = 64;

fn keys(lines: &[(u32, u8)]) -> ModelKeys {
    let line = |(number, byte): &(u32, u8)| format!("{number} {}\n", hex::encode([*byte; 32]));
    ModelKeys::parse(&lines.iter().map(line).collect::<String>()).unwrap()
}

fn encrypt(keys: &ModelKeys, plain: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(plain).into();
    let mut encryptor = Encryptor::new(Vec::new(), keys.newest(), &digest).unwrap();
    encryptor.write_all(plain).unwrap();
    encryptor.finish().unwrap()
}

fn open(keys: &ModelKeys, encrypted: &[u8]) -> Result<Vec<u8>, NotOpened> {
    let opened = Opened::new(&encrypted, keys)?;
    let mut plain = Vec::new();
    opened.copy_to(&mut plain).unwrap();
    assert_eq!(opened.digest(), <[u8; 32]>::from(Sha256::digest(&plain)));
    Ok(plain)
}

fn some(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn models_of_any_length_are_opened_and_grow_by_little() {
    let keys = keys(&[(1, 7)]);
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
        let plain = some(length);
        let encrypted = encrypt(&keys, &plain);
        assert_eq!(encrypted.len(), HEADER + length + 16 * length.div_ceil(CHUNK).max(1));
        assert!(is_encrypted(&encrypted).unwrap() && !is_encrypted(&plain).unwrap());
        assert_eq!(open(&keys, &encrypted).unwrap(), plain);
        // Nothing of it is seen, and it is the same wherever it is made.
        assert!(length < 64 || !encrypted.windows(32).any(|window| window == &plain[..32]));
        assert_eq!(encrypt(&keys, &plain), encrypted);
    }
}

/// Written by another implementation (HMAC and ChaCha20-Poly1305 of Python): what was encrypted can be read for ever.
#[test]
fn the_bytes_are_those_of_the_first_version() {
    let keys = keys(&[(3, 9)]);
    let encrypted = encrypt(&keys, b"a model");
    assert_eq!(hex::encode(&encrypted), include_str!("vector.hex").trim());
}

#[test]
fn two_models_under_one_key_and_one_under_two_have_nothing_in_common() {
    let (first, second) = (keys(&[(1, 7)]), keys(&[(1, 8)]));
    let plain = some(100);
    let mut other = plain.clone();
    other[99] ^= 1;
    let a = encrypt(&first, &plain);
    for b in [encrypt(&first, &other), encrypt(&second, &plain)] {
        let same = a[HEADER..].iter().zip(&b[HEADER..]).filter(|(a, b)| a == b).count();
        assert!(same < 20, "{same}");
        assert_ne!(a[32..HEADER], b[32..HEADER]);
    }
    // The same secret under another number is another key, too.
    assert_ne!(keys(&[(2, 7)]).newest().id(), first.newest().id());
}

#[test]
fn what_was_changed_cut_moved_or_is_not_encrypted_is_not_opened() {
    let keys = keys(&[(1, 7), (2, 8)]);
    let plain = some(2 * CHUNK + 100);
    let encrypted = encrypt(&keys, &plain);
    let forged = |bytes: &[u8]| {
        let error = open(&keys, bytes).unwrap_err();
        assert!(!matches!(error, NotOpened::Io(_)), "{error}");
    };
    for at in [0, 24, 32, 63, 64, 70, HEADER + CHUNK, encrypted.len() - 1] {
        let mut changed = encrypted.clone();
        changed[at] ^= 1;
        forged(&changed);
    }
    let whole = CHUNK + 16;
    for length in [0, 10, 24, 63, 64, 70, HEADER + whole, HEADER + 2 * whole, encrypted.len() - 1] {
        forged(&encrypted[..length]);
    }
    let mut longer = encrypted.clone();
    longer.push(0);
    forged(&longer);
    let mut swapped = encrypted.clone();
    swapped[HEADER..HEADER + 2 * whole].rotate_left(whole);
    forged(&swapped);
    // Another's header before these chunks.
    let mut mixed = encrypt(&keys, &some(2 * CHUNK + 99));
    mixed.truncate(HEADER);
    mixed.extend_from_slice(&encrypted[HEADER..]);
    forged(&mixed);
    assert!(matches!(open(&keys, &plain), Err(NotOpened::NotEncrypted)));
    // A member can encrypt what it likes, but not under a tag that is not that model's.
    let digest = Sha256::digest(b"another").into();
    let mut liar = Encryptor::new(Vec::new(), keys.newest(), &digest).unwrap();
    liar.write_all(&plain).unwrap();
    assert!(matches!(open(&keys, &liar.finish().unwrap()), Err(NotOpened::Forged)));
}

#[test]
fn who_left_opens_what_it_had_and_nothing_that_came_after() {
    let before = keys(&[(1, 7)]);
    let after = keys(&[(1, 7), (2, 8)]);
    let newcomer = keys(&[(2, 8)]);
    let (old, new) = (encrypt(&before, b"old"), encrypt(&after, b"new"));
    assert_eq!(open(&after, &old).unwrap(), b"old");
    assert_eq!(open(&newcomer, &new).unwrap(), b"new");
    assert!(matches!(open(&before, &new), Err(NotOpened::UnknownKey(_))));
    assert!(matches!(open(&newcomer, &old), Err(NotOpened::UnknownKey(_))));
}

#[test]
fn a_round_is_merged_under_its_newest_key_and_what_cannot_be_opened_is_void() {
    let (first, both) = (keys(&[(1, 7)]), keys(&[(1, 7), (2, 8)]));
    let base = encrypt(&first, b"base");
    let updates = [encrypt(&first, b"one"), encrypt(&both, b"two"), b"clear".to_vec()];
    let updates: Vec<&dyn colearn_merge::Source> =
        updates.iter().map(|it| it as &dyn colearn_merge::Source).collect();
    let sizes = |round: &Round<'_>| -> Vec<u64> {
        round.updates().iter().map(|update| update.size().unwrap()).collect()
    };
    let round = Round::open(&both, &base, None, &updates).unwrap();
    assert_eq!((round.key().number(), sizes(&round)), (2, vec![3, 3, 0]));
    let round = Round::open(&first, &base, None, &updates).unwrap();
    assert_eq!((round.key().number(), sizes(&round)), (1, vec![3, 0, 0]));
    let clear = b"base".to_vec();
    assert!(matches!(Round::open(&both, &clear, None, &updates), Err(NotOpened::NotEncrypted)));
}

proptest! {
    #[test]
    fn any_part_of_an_opened_model_is_that_of_the_model(
        length in 1_usize..200_000,
        from in 0.0..1.0_f64,
        to in 0.0..1.0_f64,
    ) {
        let (plain, keys) = (some(length), keys(&[(1, 7)]));
        let encrypted = encrypt(&keys, &plain);
        let opened = Opened::new(&encrypted, &keys).unwrap();
        let place = |share: f64| (length as f64 * share) as usize;
        let (from, to) = (place(from.min(to)), place(from.max(to)));
        let mut part = vec![0; to - from];
        opened.read_at(from as u64, &mut part).unwrap();
        prop_assert_eq!(&part[..], &plain[from..to]);
        prop_assert!(opened.read_at(length as u64, &mut [0]).is_err());
    }
}
