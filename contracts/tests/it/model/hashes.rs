//! What is hashed, written once more from what is said of it: terms, ballots, draws.

use colearn_contracts::{
    BallotKind, Choice, Close, Digest, LearnerId, MergeVote, Merging, Parameters, Reason, Scores,
    Selection, Threshold, Update, Version, Vote,
};
use sha2::{Digest as _, Sha256};

pub(super) fn sha(parts: &[&[u8]]) -> Digest {
    Digest(Sha256::digest(parts.concat()).into())
}

fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn maybe(value: Option<Vec<u8>>) -> Vec<u8> {
    value.map_or(vec![0], |bytes| [vec![1], bytes].concat())
}

fn fraction(it: Threshold) -> Vec<u8> {
    let numbers = [it.numerator.to_be_bytes(), it.denominator.to_be_bytes()].concat();
    [numbers, vec![u8::from(it.strict)]].concat()
}

/// Who may join, as the terms have it: key, weight, judge, name.
pub(super) type Listed = (LearnerId, u32, bool, String);

/// R53. The digest of the terms.
pub(super) fn terms(
    version: Version,
    creator: LearnerId,
    rules: &Parameters,
    admission: u8,
    listed: &[Listed],
) -> Digest {
    let u64s = |it: Option<u64>| maybe(it.map(|it| it.to_be_bytes().to_vec()));
    let u32s = |it: Option<u32>| maybe(it.map(|it| it.to_be_bytes().to_vec()));
    let cap = rules
        .privacy
        .map(|cap| [cap.epsilon_micros.to_be_bytes(), cap.delta_picos.to_be_bytes()].concat());
    let mut bytes = [
        b"colearn/v2/terms\n".to_vec(),
        version.number().to_be_bytes().to_vec(),
        creator.0.to_vec(),
        fraction(rules.threshold),
        vec![u8::from(rules.selection == Selection::Sortition)],
        rules.proposal_deadline_ms.to_be_bytes().to_vec(),
        rules.vote_deadline_ms.to_be_bytes().to_vec(),
        rules.reveal_deadline_ms.to_be_bytes().to_vec(),
        vec![u8::from(rules.close == Close::Early), u8::from(rules.ballot == BallotKind::Sealed)],
        rules.min_learners.to_be_bytes().to_vec(),
        u64s(rules.max_rounds),
        u64s(rules.patience),
        u32s(rules.missed_turns),
        u32s(rules.idle_rotations),
        maybe(cap),
        rules.max_weights_bytes.to_be_bytes().to_vec(),
        maybe(rules.governance_threshold.map(fraction)),
        rules.motion_deadline_ms.to_be_bytes().to_vec(),
        vec![u8::from(rules.creator_may_stop)],
        maybe(rules.merging.map(merging)),
        vec![admission],
        (listed.len() as u32).to_be_bytes().to_vec(),
    ]
    .concat();
    for (key, weight, judge, name) in listed {
        bytes.extend(key.0);
        bytes.extend(weight.to_be_bytes());
        bytes.push(u8::from(*judge));
        bytes.extend((name.len() as u16).to_be_bytes());
        bytes.extend(name.as_bytes());
    }
    sha(&[&bytes])
}

/// R72. The rules of merged rounds.
fn merging(it: Merging) -> Vec<u8> {
    let numbers = [it.proposers, it.clip_permille, it.momentum_permille, it.checkers];
    let numbers = numbers.iter().flat_map(|it| it.to_be_bytes()).collect::<Vec<u8>>();
    let gathers = maybe(it.gather_deadline_ms.map(|it| it.to_be_bytes().to_vec()));
    [numbers, gathers].concat()
}

fn number(reason: Option<Reason>) -> u8 {
    match reason {
        None => 0,
        Some(Reason::Worse) => 1,
        Some(Reason::NotFinite) => 2,
        Some(Reason::TooLittleData) => 3,
        Some(Reason::CapReached) => 4,
        Some(Reason::Policy) => 5,
        Some(Reason::Failed) => 6,
        Some(Reason::Unavailable) => 7,
    }
}

fn measured(scores: Scores) -> Vec<u8> {
    let score = |it: Option<i64>| maybe(it.map(|it| it.to_be_bytes().to_vec()));
    [score(scores.vote), score(scores.test)].concat()
}

/// R76. What a sealed update is committed to by.
pub(super) fn update(
    ledger: Digest,
    sender: LearnerId,
    experiment: &str,
    update: &Update,
    salt: [u8; 32],
) -> Digest {
    sha(&[
        b"colearn/v2/update\n",
        &ledger.0,
        &sender.0,
        &short(experiment),
        &update.round.to_be_bytes(),
        &update.base.0,
        &update.weights.digest.0,
        &update.weights.size.to_be_bytes(),
        &salt,
    ])
}

/// R81. What a sealed vote on merges is committed to by.
pub(super) fn merge_ballot(
    ledger: Digest,
    voter: LearnerId,
    experiment: &str,
    vote: &MergeVote,
    salt: [u8; 32],
) -> Digest {
    let merge = |it: Option<Digest>| it.map_or(vec![], |it| it.0.to_vec());
    let bit = |it: bool, bit: u8| u8::from(it) << bit;
    sha(&[
        b"colearn/v2/merge-ballot\n",
        &ledger.0,
        &voter.0,
        &short(experiment),
        &vote.round.to_be_bytes(),
        &[bit(vote.merges.open.is_some(), 0) + bit(vote.merges.guarded.is_some(), 1)],
        &merge(vote.merges.open),
        &merge(vote.merges.guarded),
        &[bit(vote.bear_open, 0) + bit(vote.bear_guarded, 1) + bit(vote.prefer_guarded, 2)],
        &[number(vote.reason)],
        &measured(vote.scores_open),
        &measured(vote.scores_guarded),
        &salt,
    ])
}

/// R34. What a sealed vote is committed to by.
pub(super) fn ballot(
    version: Version,
    ledger: Digest,
    voter: LearnerId,
    experiment: &str,
    vote: &Vote,
    salt: [u8; 32],
) -> Digest {
    let second = version > Version::V1;
    let choice = match vote.choice {
        Choice::Approve => 1,
        Choice::Reject => 0,
        Choice::Abstain => 2,
    };
    sha(&[
        if second { b"colearn/v2/ballot\n" } else { b"colearn/v1/ballot\n" },
        &ledger.0,
        &voter.0,
        &short(experiment),
        &vote.round.to_be_bytes(),
        &vote.weights.0,
        &[choice],
        &[number(vote.reason)][..usize::from(second)],
        &measured(vote.scores),
        &salt,
    ])
}

/// R32. Version 1's draw: a place among so many.
pub(super) fn place(
    ledger: Digest,
    head: Digest,
    experiment: &str,
    round: u64,
    among: usize,
) -> usize {
    let name = short(experiment);
    let hash = sha(&[b"colearn/v1/sortition\n", &ledger.0, &head.0, &name, &round.to_be_bytes()]);
    let number = hash.0[..16].iter().fold(0, |all, byte| (all << 8) | u128::from(*byte));
    usize::try_from(number % among as u128).unwrap()
}

/// R63. The seed of the first two rounds.
pub(super) fn first_seed(ledger: Digest, experiment: &str) -> Digest {
    sha(&[b"colearn/v2/seed\n", &ledger.0, &short(experiment)])
}

/// R63. A seed from the one before and the links that were revealed.
pub(super) fn next_seed(seed: Digest, links: &[Digest]) -> Digest {
    let links: Vec<u8> = links.iter().flat_map(|link| link.0).collect();
    sha(&[b"colearn/v2/next-seed\n", &seed.0, &links])
}

/// R63. A seat's place in the order of a seed.
pub(super) fn rank(seed: Digest, purpose: &str, seat: u64) -> Digest {
    sha(&[b"colearn/v2/draw\n", &short(purpose), &seed.0, &seat.to_be_bytes()])
}

/// R63. What was revealed before this link.
pub(super) fn before_link(link: Digest) -> Digest {
    sha(&[b"colearn/v2/link\n", &link.0])
}
