//! The keys of pieces: of those of one experiment all begin with the same bytes.

use crate::id::{Digest, ExperimentName, LearnerId};
use crate::merging::Merges;

/// What nearly everything reads.
pub(super) const CORE: &[u8] = b"c";
/// What is read where seats may change, or rounds end.
pub(super) const ASIDE: &[u8] = b"x";
/// Who is a member, with its seat.
pub(super) const PRESENT: u8 = b'm';
/// Who was one.
pub(super) const GONE: u8 = b'l';
/// Changes of seat that wait, by their place.
pub(super) const PENDING: u8 = b'y';
/// What members call themselves.
pub(super) const CALLED: u8 = b'i';
/// Statements of privacy.
pub(super) const PRIVACY: u8 = b'p';
/// Who bears a name.
pub(super) const NAME: u8 = b'n';
/// The names that somebody bears.
pub(super) const BORNE: u8 = b'b';
/// Rights to a seat.
pub(super) const RIGHT: u8 = b'a';
/// Models that were the global one.
pub(super) const MODEL: u8 = b'g';
/// How often who is no member has changed its key.
pub(super) const KEYS_REPLACED: u8 = b'k';
/// Open motions, by number.
pub(super) const MOTION: u8 = b'q';
/// Who has voted on a motion, by its number. It stays when that has ended: there will be no other of the
/// number, and forgetting many at once could take more than a block.
pub(super) const VOTER: u8 = b'v';
/// Adopted motions that wait, by their place.
pub(super) const ADOPTED: u8 = b'd';
/// Who trains in a merged round, by its place.
pub(super) const PARTICIPANT: u8 = b'u';
/// Who must compute its merges.
pub(super) const CHECKERS: &[u8] = b"h";
/// What is held of its updates.
pub(super) const HELD: &[u8] = b"o";
/// The votes for a pair of merges that a checker names.
pub(super) const CHECKED_PAIR: u8 = b'z';
/// Those for another pair.
pub(super) const PAIR: u8 = b'w';

/// What the keys of an experiment begin with. With the length, so that no name begins another's keys.
pub(super) fn of_experiment(name: &ExperimentName) -> Vec<u8> {
    let name = name.as_str().as_bytes();
    [b"x", &[name.len() as u8][..], name].concat()
}

/// Under which an experiment is listed.
pub(super) fn listed(name: &str) -> Vec<u8> {
    [b"n", name.as_bytes()].concat()
}

/// Under which it is counted how many unfinished experiments a key has created (R54).
pub(super) fn unfinished(creator: LearnerId) -> Vec<u8> {
    [b"u", &creator.0[..]].concat()
}

/// One of a kind, by 32 bytes.
pub(super) fn by_key(kind: u8, key: &[u8; 32]) -> Vec<u8> {
    [&[kind], &key[..]].concat()
}

pub(super) fn of_learner(kind: u8, learner: LearnerId) -> Vec<u8> {
    by_key(kind, &learner.0)
}

pub(super) fn of_model(digest: Digest) -> Vec<u8> {
    by_key(MODEL, &digest.0)
}

/// One of a kind, by its place in a list.
pub(super) fn by_place(kind: u8, place: usize) -> Vec<u8> {
    // No list is as long as that: of members there are at most 100,000 (R8).
    [&[kind], &(place as u32).to_be_bytes()[..]].concat()
}

/// One of a kind, by its number.
pub(super) fn by_number(kind: u8, number: u64) -> Vec<u8> {
    [&[kind], &number.to_be_bytes()[..]].concat()
}

pub(super) fn of_name(name: &str) -> Vec<u8> {
    [&[NAME], name.as_bytes()].concat()
}

/// All names of one bearer.
pub(super) fn of_bearer(bearer: LearnerId) -> Vec<u8> {
    of_learner(BORNE, bearer)
}

pub(super) fn of_borne(bearer: LearnerId, name: &str) -> Vec<u8> {
    [&of_bearer(bearer)[..], name.as_bytes()].concat()
}

pub(super) fn of_voter(number: u64, voter: LearnerId) -> Vec<u8> {
    [&by_number(VOTER, number)[..], &voter.0].concat()
}

/// Of a pair: for each of the two 0, or 1 and the digest.
pub(super) fn of_pair(kind: u8, pair: &Merges) -> Vec<u8> {
    let mut key = vec![kind];
    for merge in [pair.open, pair.guarded] {
        match merge {
            Some(digest) => {
                key.push(1);
                key.extend(digest.0);
            }
            None => key.push(0),
        }
    }
    key
}

/// The 32 bytes behind the first `begun` of a key.
pub(super) fn tail(key: &[u8], begun: usize) -> Option<[u8; 32]> {
    key.get(begun..)?.try_into().ok()
}

/// The pair that a key is of.
pub(super) fn pair(key: &[u8]) -> Option<Merges> {
    let (_, mut rest) = key.split_first()?;
    let mut next = || {
        let (there, after) = rest.split_first()?;
        rest = after;
        match there {
            0 => Some(None),
            1 => {
                let (digest, after) = rest.split_first_chunk::<32>()?;
                rest = after;
                Some(Some(Digest(*digest)))
            }
            _ => None,
        }
    };
    let pair = Merges { open: next()?, guarded: next()? };
    rest.is_empty().then_some(pair)
}
