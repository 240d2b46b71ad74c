//! A learner's hash chains, which it reveals with its votes where proposers are drawn (R63).
//!
//! Their secrets follow from the learner's key, or from its signature where it is kept elsewhere, so there is nothing
//! more to keep, and whoever goes on with the key in another program reveals the same, as long as it is kept there. Used wherever a key signs; the participant, which
//! has no key, only says which link is due.

use colearn_contracts::{Act, Digest, ExperimentName, LINKS, link};
use colearn_keys::{Key, SignerError};
use colearn_records::convert::ChainState;

use crate::participant::Statement;

/// The chain is none that this learner's key would have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "what is said to be this learner's hash chain is not the one that its key gives; nothing was \
     revealed of it"
)]
pub struct WrongChain;

/// Why there is no link to reveal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoLink {
    /// The chain is another one.
    #[error(transparent)]
    WrongChain(#[from] WrongChain),
    /// The key gives no secret.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// The link that a vote or commitment has to carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextLink {
    /// The round that is voted in.
    pub round: u64,
    /// The voter's chain as the ledger has it, if it has one.
    pub chain: Option<ChainState>,
}

impl NextLink {
    /// The link: the next one of the chain, or the anchor of a new one.
    ///
    /// # Errors
    /// If the chain is another than this key would have. A link that is revealed before its turn would
    /// let others choose what to draw with it. And if a key that is kept elsewhere does not sign.
    pub fn of(
        &self,
        key: &Key,
        ledger: Digest,
        experiment: &ExperimentName,
    ) -> Result<Digest, NoLink> {
        let Some(chain) = self.chain.filter(|chain| chain.left > 0) else {
            return Ok(link(secret(key, ledger, experiment, self.round)?, LINKS));
        };
        // Beyond it there are none, and counting there would take a while.
        if chain.left > LINKS {
            return Err(WrongChain.into());
        }
        let next = link(secret(key, ledger, experiment, chain.anchored)?, chain.left - 1);
        if link(next.0, 1) == chain.link { Ok(next) } else { Err(WrongChain.into()) }
    }
}

/// Begins what the secrets of chains are derived from. Nothing else that is signed begins so.
const DOMAIN: &[u8] = b"colearn/v2/chain\n";

/// The secret of the chain whose anchor is stated in a round: SHA-256 over "colearn/v2/chain\n", the
/// Ed25519 secret key, the ledger's id, the length of the experiment's name in one byte, the name, and
/// the round in 8 bytes, big-endian. Where the secret key is not here, a signature takes its place: [`Key::secret`].
fn secret(
    key: &Key,
    ledger: Digest,
    experiment: &ExperimentName,
    anchored: u64,
) -> Result<[u8; 32], SignerError> {
    let name = experiment.as_str().as_bytes();
    let context = [&ledger.0[..], &[name.len() as u8], name, &anchored.to_be_bytes()].concat();
    key.secret(DOMAIN, &context)
}

impl Statement {
    /// What is to be signed with this key: what is said, with the link that it has to carry.
    ///
    /// # Errors
    /// If the ledger has another chain than this key would have, or a key that is kept elsewhere does not sign.
    pub fn act_of(
        &self,
        key: &Key,
        ledger: Digest,
        experiment: &ExperimentName,
    ) -> Result<Act, NoLink> {
        let mut act = self.act.clone();
        if let Some(due) = self.link
            && let Act::Vote(colearn_contracts::Vote { link, .. })
            | Act::MergeVote(colearn_contracts::MergeVote { link, .. })
            | Act::Commit(colearn_contracts::Commit { link, .. }) = &mut act
        {
            *link = Some(due.of(key, ledger, experiment)?);
        }
        Ok(act)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    const LEDGER: Digest = Digest([3; 32]);

    fn key(seed: u8) -> Key {
        SigningKey::from_bytes(&[seed; 32]).into()
    }

    fn next(key: &Key, round: u64, chain: Option<ChainState>) -> Result<Digest, NoLink> {
        NextLink { round, chain }.of(key, LEDGER, &"digits".parse().unwrap())
    }

    /// What the Python client derives too: a golden value.
    #[test]
    fn the_anchor_follows_from_the_key() {
        let anchor = next(&key(7), 4, None).unwrap();
        let golden = "9e9b6c8ca1b8169fa9a9ebca1243f8fe2d9dfcdcc0277f1c775f2f803e83382a";
        assert_eq!(anchor.to_string(), golden);
        assert_ne!(next(&key(7), 5, None), Ok(anchor), "each chain has a secret of its own");
        assert_ne!(next(&key(8), 4, None), Ok(anchor));
    }

    #[test]
    fn links_are_revealed_one_by_one_and_then_a_new_anchor_is_stated() {
        let key = key(7);
        let mut chain = ChainState { link: next(&key, 1, None).unwrap(), left: LINKS, anchored: 1 };
        for round in 2..2 + u64::from(LINKS) {
            let revealed = next(&key, round, Some(chain)).unwrap();
            assert_eq!(link(revealed.0, 1), chain.link);
            chain = ChainState { link: revealed, left: chain.left - 1, ..chain };
        }
        assert_eq!(next(&key, 2000, Some(chain)), next(&key, 2000, None));
    }

    #[test]
    fn of_another_chain_nothing_is_revealed() {
        let key = key(7);
        let chain = ChainState { link: next(&key, 1, None).unwrap(), left: LINKS, anchored: 1 };
        for wrong in [
            ChainState { anchored: 2, ..chain },
            ChainState { left: LINKS - 1, ..chain },
            ChainState { left: u32::MAX, ..chain },
            ChainState { link: Digest([0; 32]), ..chain },
        ] {
            assert_eq!(next(&key, 9, Some(wrong)), Err(WrongChain.into()), "{wrong:?}");
        }
    }
}
