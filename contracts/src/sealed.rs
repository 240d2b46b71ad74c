//! What commitments are to: sealed ballots (R34), and sealed updates (R76).

use sha2::{Digest as _, Sha256};

use crate::ballot::{Choice, MergeVote, Reason, Scores, Vote};
use crate::id::{Digest, ExperimentName, LearnerId};
use crate::proposal::Update;
use crate::version::Version;

/// What a commitment to a vote is to.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// The version of the rules that the experiment follows.
    pub version: Version,
    /// The ledger's id.
    pub ledger: Digest,
    /// The experiment.
    pub experiment: &'a ExperimentName,
    /// Who votes. Part of what is hashed, so that nobody can copy another's commitment.
    pub voter: LearnerId,
    /// The vote, of which the link is no part.
    pub vote: &'a Vote,
    /// 32 random bytes.
    pub salt: &'a [u8; 32],
}

impl Sealed<'_> {
    /// SHA-256 over "colearn/v1/ballot\n", the ledger's id, the voter's key, the length of the
    /// experiment's name in one byte, the name, the round in 8 bytes, the digest of the proposed
    /// weights, 0 against, 1 for, 2 for neither, from version 2 on the number of the reason in one byte,
    /// 0 for none, each of the two scores as 0 or as 1 and 8 bytes, and the salt. Numbers are
    /// big-endian. From version 2 on it begins with "colearn/v2/ballot\n".
    pub fn commitment(&self) -> Digest {
        let Self { version, ledger, experiment, voter, vote, salt } = self;
        let rules = version.rules();
        let choice = match vote.choice {
            Choice::Reject => 0,
            Choice::Approve => 1,
            Choice::Abstain => 2,
        };
        let mut hash = begin(rules.ballot_domain, ledger, *voter, experiment, vote.round)
            .chain_update(vote.weights.0)
            .chain_update([choice]);
        if rules.reasons {
            hash.update([vote.reason.map_or(0, Reason::number)]);
        }
        scores(&mut hash, vote.scores);
        end(hash, salt)
    }
}

/// What a commitment to an update is to.
#[derive(Clone, Copy, Debug)]
pub struct SealedUpdate<'a> {
    /// The ledger's id.
    pub ledger: Digest,
    /// The experiment.
    pub experiment: &'a ExperimentName,
    /// Who trains. Part of what is hashed, so that nobody can copy another's commitment.
    pub sender: LearnerId,
    /// The update, of which scores and statement of privacy are no part.
    pub update: &'a Update,
    /// 32 random bytes.
    pub salt: &'a [u8; 32],
}

impl SealedUpdate<'_> {
    /// SHA-256 over "colearn/v2/update\n", the ledger's id, the sender's key, the length of the
    /// experiment's name in one byte, the name, the round in 8 bytes, the digest of the base, the digest
    /// of the weights, their size in 8 bytes, and the salt. Numbers are big-endian.
    pub fn commitment(&self) -> Digest {
        let Self { ledger, experiment, sender, update, salt } = self;
        let hash = begin(b"colearn/v2/update\n", ledger, *sender, experiment, update.round)
            .chain_update(update.base.0)
            .chain_update(update.weights.digest.0)
            .chain_update(update.weights.size.to_be_bytes());
        end(hash, salt)
    }
}

/// What a commitment to a vote on merges is to.
#[derive(Clone, Copy, Debug)]
pub struct SealedMergeVote<'a> {
    /// The ledger's id.
    pub ledger: Digest,
    /// The experiment.
    pub experiment: &'a ExperimentName,
    /// Who votes. Part of what is hashed, so that nobody can copy another's commitment.
    pub voter: LearnerId,
    /// The vote, of which the link is no part.
    pub vote: &'a MergeVote,
    /// 32 random bytes.
    pub salt: &'a [u8; 32],
}

impl SealedMergeVote<'_> {
    /// SHA-256 over "colearn/v2/merge-ballot\n", the ledger's id, the voter's key, the length of the
    /// experiment's name in one byte, the name, the round in 8 bytes, a byte with bit 0 if the open merge
    /// is there and bit 1 if the guarded one is, the digest of each that is, a byte with bit 0 if the
    /// voter bears the open one, bit 1 if it bears the guarded one, and bit 2 if it prefers that, the
    /// number of the reason in one byte, 0 for none, each of the four scores as 0 or as 1 and 8 bytes,
    /// those of the open merge first, and the salt. Numbers are big-endian.
    pub fn commitment(&self) -> Digest {
        let Self { ledger, experiment, voter, vote, salt } = self;
        let merges = [vote.merges.open, vote.merges.guarded];
        let there = bits(merges.map(|merge| merge.is_some()));
        let judged = bits([vote.bear_open, vote.bear_guarded, vote.prefer_guarded]);
        let mut hash = begin(b"colearn/v2/merge-ballot\n", ledger, *voter, experiment, vote.round)
            .chain_update([there]);
        merges.into_iter().flatten().for_each(|merge| hash.update(merge.0));
        hash.update([judged, vote.reason.map_or(0, Reason::number)]);
        scores(&mut hash, vote.scores_open);
        scores(&mut hash, vote.scores_guarded);
        end(hash, salt)
    }
}

/// What all of them begin with.
fn begin(
    domain: &[u8],
    ledger: &Digest,
    sender: LearnerId,
    experiment: &ExperimentName,
    round: u64,
) -> Sha256 {
    let name = experiment.as_str().as_bytes();
    Sha256::new()
        .chain_update(domain)
        .chain_update(ledger.0)
        .chain_update(sender.0)
        .chain_update([name.len() as u8])
        .chain_update(name)
        .chain_update(round.to_be_bytes())
}

/// What all of them end with.
fn end(hash: Sha256, salt: &[u8; 32]) -> Digest {
    Digest(hash.chain_update(salt).finalize().into())
}

fn scores(hash: &mut Sha256, scores: Scores) {
    for score in [scores.vote, scores.test] {
        match score {
            Some(score) => {
                hash.update([1]);
                hash.update(score.to_be_bytes());
            }
            None => hash.update([0]),
        }
    }
}

/// These in one byte, the first lowest.
fn bits<const N: usize>(bits: [bool; N]) -> u8 {
    bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))
}
