//! The votes for a header, all at once: with a hundred validators one after the other takes as long as everything else of
//! a block ten times.

use std::collections::{HashMap, HashSet};

use ed25519_dalek::{Signature, VerifyingKey};
use tendermint::block::CommitSig;
use tendermint::block::signed_header::SignedHeader;
use tendermint::crypto::default::signature::Verifier as OneByOne;
use tendermint::crypto::signature::{Error, Verifier};
use tendermint::vote::{Type, Vote};
use tendermint::{PublicKey, validator};

/// Fewer than this are as quick one after the other.
const WORTH_IT: usize = 8;

/// Votes that were found to be right. Of any other it is looked whether it is.
///
/// Together they are verified by a rule that accepts no vote that is refused alone (but for a chance of 2^-128): a sum of
/// their equations holds only if each holds, up to what the chain's own rule (ZIP 215) disregards. What it does not
/// accept is asked by that rule, so that in the end it is that which decides.
#[derive(Default)]
pub(crate) struct Votes(HashSet<(Vec<u8>, Vec<u8>, Vec<u8>)>);

impl Votes {
    /// Verifies as many as it takes for two thirds of the power, those of most power first, as they are looked at later.
    pub(crate) fn of(signed: &SignedHeader, validators: &validator::Set) -> Self {
        let votes = needed(signed, validators);
        if votes.len() < WORTH_IT {
            return Self::default();
        }
        let read = |(key, _, signature): &(Vec<u8>, Vec<u8>, Vec<u8>)| {
            let key = VerifyingKey::from_bytes(key[..].try_into().ok()?).ok()?;
            Some((key, Signature::from_slice(signature).ok()?))
        };
        let parts: Option<(Vec<VerifyingKey>, Vec<Signature>)> = votes.iter().map(read).collect();
        let Some((keys, signatures)) = parts else { return Self::default() };
        let messages: Vec<&[u8]> = votes.iter().map(|(_, message, _)| &message[..]).collect();
        match ed25519_dalek::verify_batch(&messages, &signatures, &keys) {
            Ok(()) => Self(votes.into_iter().collect()),
            Err(_) => Self::default(),
        }
    }
}

impl Verifier for Votes {
    fn verify(
        &self,
        key: PublicKey,
        message: &[u8],
        signature: &tendermint::Signature,
    ) -> Result<(), Error> {
        let vote = (key.to_bytes(), message.to_vec(), signature.as_bytes().to_vec());
        match self.0.contains(&vote) {
            true => Ok(()),
            false => OneByOne.verify(key, message, signature),
        }
    }
}

/// Keys, what was signed, and the signatures.
fn needed(signed: &SignedHeader, validators: &validator::Set) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let SignedHeader { header, commit, .. } = signed;
    let all = u128::from(validators.total_voting_power().value());
    let mut power = 0;
    let mut votes = Vec::new();
    let places: HashMap<_, _> = commit
        .signatures
        .iter()
        .enumerate()
        .filter_map(|(place, vote)| match vote {
            CommitSig::BlockIdFlagCommit { validator_address, timestamp, signature } => {
                Some((*validator_address, (place, *timestamp, signature.clone()?)))
            }
            CommitSig::BlockIdFlagAbsent | CommitSig::BlockIdFlagNil { .. } => None,
        })
        .collect();
    for validator in validators.validators() {
        if power * 3 > all * 2 {
            break;
        }
        let Some((place, timestamp, signature)) = places.get(&validator.address) else { continue };
        let Ok(validator_index) = i32::try_from(*place).unwrap_or(-1).try_into() else { continue };
        let vote = Vote {
            vote_type: Type::Precommit,
            height: commit.height,
            round: commit.round,
            block_id: Some(commit.block_id),
            timestamp: Some(*timestamp),
            validator_address: validator.address,
            validator_index,
            signature: None,
            extension: Vec::new(),
            extension_signature: None,
        };
        power += u128::from(validator.power());
        let message = vote.into_signable_vec(header.chain_id.clone());
        votes.push((validator.pub_key.to_bytes(), message, signature.as_bytes().to_vec()));
    }
    votes
}
