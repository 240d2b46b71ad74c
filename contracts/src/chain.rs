//! Hash chains, by which members draw together what none of them can steer (R63).
//!
//! A member fixes a chain with its first vote by stating its end, the *anchor*, and reveals one link
//! with each vote after that, from the end towards the secret. What it will reveal is fixed before
//! anybody, itself included, can know what it will be drawn with; and nobody can compute a link that
//! is not revealed.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::Digest;

/// How many links a chain has, its anchor not counted. Who has revealed them all states the anchor of
/// another.
pub const LINKS: u32 = 1024;

/// A member's chain, as far as it is revealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// What was revealed last: the anchor at first.
    pub link: Digest,
    /// How many links are left.
    pub left: u32,
    /// The round in which the anchor was stated.
    pub anchored: u64,
    /// The round in which `link` was revealed; 0 for the anchor, which is no link.
    pub(crate) revealed: u64,
}

impl Chain {
    /// A new chain, stated in this round.
    pub(crate) fn anchored(anchor: Digest, round: u64) -> Self {
        Self { link: anchor, left: LINKS, anchored: round, revealed: 0 }
    }

    /// Whether this link is the next one.
    pub(crate) fn is_next(&self, link: Digest) -> bool {
        next(link) == self.link
    }

    /// Takes the next link, revealed in this round.
    pub(crate) fn reveal(&mut self, link: Digest, round: u64) {
        (self.link, self.left, self.revealed) = (link, self.left - 1, round);
    }

    /// R31. Another key has another secret. What was revealed already stays, or changing one's key
    /// would be a way to take it back.
    pub(crate) fn end(&mut self) {
        self.left = 0;
    }
}

/// The link that is revealed before this one: SHA-256 over "colearn/v2/link\n" and the link.
fn next(link: Digest) -> Digest {
    Digest(Sha256::new().chain_update(b"colearn/v2/link\n").chain_update(link.0).finalize().into())
}

/// The link that has `left` links left after it, of the chain with this secret; the anchor for
/// [`LINKS`]. For who holds the secret: at most [`LINKS`] hashes.
///
/// The secret is to be one of 32 random bytes, or derived from a key, and another for each chain.
///
/// ```
/// use colearn_contracts::{LINKS, link};
/// let secret = [7; 32];
/// assert_eq!(link(secret, 0).0, secret);
/// assert_ne!(link(secret, LINKS), link(secret, LINKS - 1));
/// ```
pub fn link(secret: [u8; 32], left: u32) -> Digest {
    (0..left).fold(Digest(secret), |link, _| next(link))
}
