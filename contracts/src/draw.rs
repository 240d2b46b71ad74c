//! Sortition: drawing the next proposer so that anyone can draw again.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::{Digest, ExperimentName};

/// Draws a number below `among` in version 1 (R32): the first 16 bytes, big-endian, of SHA-256 over
/// "colearn/v1/sortition\n", the ledger's id, the leaf hash of the ledger's last entry before the
/// round opened, the length of the experiment's name in one byte, the name, and the round in 8
/// bytes, big-endian; modulo `among`.
///
/// With 128 bits against at most 100,000 members the bias of the modulo is below 2^-111.
pub fn draw(
    ledger: &Digest,
    head: &Digest,
    experiment: &ExperimentName,
    round: u64,
    among: usize,
) -> usize {
    let name = experiment.as_str().as_bytes();
    let hash: [u8; 32] = Sha256::new()
        .chain_update(b"colearn/v1/sortition\n")
        .chain_update(ledger.0)
        .chain_update(head.0)
        .chain_update([name.len() as u8])
        .chain_update(name)
        .chain_update(round.to_be_bytes())
        .finalize()
        .into();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    (u128::from_be_bytes(first) % (among.max(1) as u128)) as usize
}

/// What something is drawn from, and for what, from version 2 on (R63).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seed(pub Digest);

impl Seed {
    /// That of an experiment's first two rounds: SHA-256 over "colearn/v2/seed\n", the ledger's id,
    /// the length of the experiment's name in one byte, and the name.
    pub fn first(ledger: &Digest, experiment: &ExperimentName) -> Self {
        let name = experiment.as_str().as_bytes();
        let hash = Sha256::new()
            .chain_update(b"colearn/v2/seed\n")
            .chain_update(ledger.0)
            .chain_update([name.len() as u8])
            .chain_update(name);
        Self(Digest(hash.finalize().into()))
    }

    /// That of round r + 1, from this one of round r and the links that were revealed in round r - 1,
    /// in joining order: SHA-256 over "colearn/v2/next-seed\n", this seed, and the links.
    pub fn next(self, links: impl IntoIterator<Item = Digest>) -> Self {
        let mut hash = Sha256::new().chain_update(b"colearn/v2/next-seed\n").chain_update(self.0.0);
        links.into_iter().for_each(|link| hash.update(link.0));
        Self(Digest(hash.finalize().into()))
    }

    /// The place of a seat in the order in which this seed draws for one purpose: SHA-256 over
    /// "colearn/v2/draw\n", the length of the purpose in one byte, the purpose, the seed, and the
    /// seat's number in 8 bytes, big-endian. The smallest is drawn first.
    ///
    /// Each seat has its place whoever else there is. So who is gone, or may not, is passed over, and
    /// the order of the others stays: nobody gains anything by leaving but its own absence.
    pub fn rank(&self, purpose: &str, seat: u64) -> Digest {
        let hash = Sha256::new()
            .chain_update(b"colearn/v2/draw\n")
            .chain_update([purpose.len() as u8])
            .chain_update(purpose)
            .chain_update(self.0.0)
            .chain_update(seat.to_be_bytes());
        Digest(hash.finalize().into())
    }
}

/// The purpose of the draw of a proposer, or of the participants of a merged round (R73).
pub const PROPOSER: &str = "proposer";
/// The purpose of the draw of a merged round's checkers (R86).
pub const CHECKER: &str = "checker";

/// What one proposer is drawn from (R63).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Draw {
    /// The seed.
    pub seed: Seed,
    /// When the seed became known; `None` for the one that was known from the beginning.
    pub fixed: Option<Fixed>,
}

/// When a seed became known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fixed {
    /// When this round closed, in which its last links were revealed.
    pub round: u64,
    /// All seats that there had been lay below this.
    pub seats_below: u64,
}

impl Draw {
    /// Whether who has this seat, and kept a link back in this round last (0 for never), is drawn as long
    /// as there are others.
    ///
    /// Not who came when the seed was known: it could have chosen its place. Nor who could have revealed
    /// a link then, or since, and did not: by keeping one back one chooses between two seeds, and is not
    /// to be drawn by the one that suits it.
    pub fn is_for(&self, seat: u64, silent: u64) -> bool {
        self.fixed.is_none_or(|fixed| seat < fixed.seats_below && silent < fixed.round)
    }
}

/// Where the draws of one experiment stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Draws {
    /// That of the next round to open.
    pub(crate) next: Draw,
    /// That of the round after it, while no round is open: known since the last one closed.
    pub(crate) following: Draw,
}

impl Draws {
    /// Those of a new experiment.
    pub(crate) fn new(seed: Seed) -> Self {
        let draw = Draw { seed, fixed: None };
        Self { next: draw, following: draw }
    }
}
