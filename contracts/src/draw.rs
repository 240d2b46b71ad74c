//! Sortition: drawing the next proposer so that anyone can draw again.

use sha2::{Digest as _, Sha256};

use crate::id::{Digest, ExperimentName};

/// Draws a number below `among` (R32): the first 16 bytes, big-endian, of SHA-256 over
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
