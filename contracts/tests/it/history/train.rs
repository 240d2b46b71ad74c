//! What somebody may try in a merged round.

use colearn_contracts::{
    CommitUpdate, Digest, Experiment, LearnerId, MergeStage, MergeVote, MergedRound, Merges,
    Merging, Part, Phase, Proposal, Reason, RevealMergeVote, RevealUpdate, Scores, SealedMergeVote,
    SealedUpdate, Selection, Update,
};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::LEDGER;
use super::aim::{id, next_link, pick, proposal, reason};

/// The merged round that is open.
pub(crate) fn open(experiment: &Experiment) -> Option<&MergedRound> {
    match experiment.phase() {
        Phase::Merged(round) => Some(round),
        _ => None,
    }
}

/// Whoever trains and stands like this.
pub(crate) fn participants(
    experiment: &Experiment,
    may: impl Fn(&Part) -> bool,
) -> impl Iterator<Item = LearnerId> {
    let all = open(experiment).map_or(&[][..], |round| &round.participants);
    all.iter().filter(move |it| may(&it.part)).map(|it| it.learner)
}

pub(crate) fn merging(rng: &mut ChaCha8Rng, checkers: bool) -> Merging {
    Merging {
        proposers: *pick(rng, &[1, 2, 3, 64]),
        checkers: if checkers && rng.random_bool(0.6) { rng.random_range(1..4) } else { 0 },
        gather_deadline_ms: rng.random_bool(0.5).then_some(40),
        ..Merging::default()
    }
}

pub(crate) fn update(rng: &mut ChaCha8Rng, who: LearnerId, experiment: &Experiment) -> Update {
    let Proposal { round, base, weights, scores, privacy } = proposal(rng, who, experiment);
    Update { round, base, weights, scores, privacy }
}

/// A commitment to an update, and what will reveal it.
pub(crate) fn commit_update(
    rng: &mut ChaCha8Rng,
    who: LearnerId,
    experiment: &Experiment,
) -> (CommitUpdate, RevealUpdate) {
    let update = update(rng, who, experiment);
    let salt = [rng.random_range(0..=255); 32];
    // Who copies another's commitment cannot open it.
    let sender = if rng.random_bool(0.03) { id(1) } else { who };
    let name = experiment.name();
    let sealed =
        SealedUpdate { ledger: LEDGER, experiment: name, sender, update: &update, salt: &salt };
    let commitment = sealed.commitment();
    let commit = CommitUpdate { round: update.round, base: update.base, commitment };
    (commit, RevealUpdate { update, salt })
}

/// Which updates somebody holds: mostly all.
pub(crate) fn held(rng: &mut ChaCha8Rng, experiment: &Experiment) -> u64 {
    let count = match open(experiment).map(|round| &round.stage) {
        Some(MergeStage::Gathering { held, .. }) => held.len(),
        _ => 1,
    };
    // Whole rounds in which one update is with hardly anybody.
    let hidden = experiment.round() % 4 == 1;
    let mut held = (1 << count) - 1;
    for bit in 0..count {
        let lacks = if hidden && bit == 0 { 0.8 } else { 0.1 };
        held &= !(u64::from(rng.random_bool(lacks)) << bit);
    }
    if rng.random_bool(0.02) { held | 1 << count } else { held }
}

/// A merge of this round: what everybody who computes it gets, or what a liar names.
fn merge(rng: &mut ChaCha8Rng, experiment: &Experiment, tag: u8) -> Digest {
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&experiment.round().to_be_bytes());
    digest[8] = tag;
    match rng.random_bool(0.02) {
        // A merge may well be the model that there is.
        true => experiment.model().digest,
        false => Digest(digest),
    }
}

pub(crate) fn merge_vote(
    rng: &mut ChaCha8Rng,
    who: LearnerId,
    experiment: &Experiment,
) -> MergeVote {
    let round = experiment.round();
    let lying = rng.random_bool(if round % 7 == 3 { 0.6 } else { 0.1 });
    let tag = if lying { rng.random_range(10..14) } else { 0 };
    let open = merge(rng, experiment, tag);
    let guarded = merge(rng, experiment, tag + 100);
    let merges = match round % 3 {
        0 => Merges { open: Some(open), guarded: None },
        _ => Merges { open: Some(open), guarded: Some(guarded) },
    };
    let lacking = round % 11 == 5;
    let merges = match rng.random_bool(if lacking { 0.7 } else { 0.08 }) {
        true => Merges::default(),
        false => merges,
    };
    let bears = |rng: &mut ChaCha8Rng| rng.random_bool(if round % 5 == 4 { 0.3 } else { 0.8 });
    let bear_open = merges.open.is_some() && bears(rng);
    let bear_guarded = merges.guarded.is_some() && bears(rng);
    let fits = match (merges.is_none(), bear_open || bear_guarded) {
        (true, _) => reason(rng),
        (false, true) => None,
        (false, false) => reason(rng).filter(|it| *it != Reason::Unavailable),
    };
    let score = |rng: &mut ChaCha8Rng| Scores {
        vote: rng.random_bool(0.5).then_some(-5),
        test: rng.random_bool(0.1).then_some(5),
    };
    let drawn = experiment.parameters().selection == Selection::Sortition;
    MergeVote {
        round,
        merges,
        bear_open,
        bear_guarded,
        prefer_guarded: merges.guarded.is_some() && rng.random_bool(0.6),
        reason: fits,
        scores_open: score(rng),
        scores_guarded: score(rng),
        link: drawn.then(|| next_link(who, experiment.member(who))),
    }
}

/// A commitment to a vote on merges, and what will reveal it.
pub(crate) fn commit_vote(
    rng: &mut ChaCha8Rng,
    who: LearnerId,
    experiment: &Experiment,
) -> (Digest, Option<Digest>, RevealMergeVote) {
    let mut vote = merge_vote(rng, who, experiment);
    // What is wrong with a sealed vote is seen when it is revealed.
    vote.prefer_guarded |= rng.random_bool(0.02);
    let link = vote.link.take();
    let salt = [rng.random_range(0..=255); 32];
    let voter = if rng.random_bool(0.03) { id(1) } else { who };
    let name = experiment.name();
    let sealed =
        SealedMergeVote { ledger: LEDGER, experiment: name, voter, vote: &vote, salt: &salt };
    (sealed.commitment(), link, RevealMergeVote { vote, salt })
}
