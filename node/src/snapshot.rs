//! Snapshots of the contract's state, so that opening a long ledger does not replay all of it.

use colearn_contracts::Contract;

/// Changes whenever the contract's state is laid out differently; older snapshots are ignored then.
const FORMAT: &[u8] = b"colearn contract state 2\n";

/// After how many entries a running node takes the next one.
pub(super) const EVERY: u64 = 65_536;

/// A contract's state as bytes; empty if it cannot be written, which no reader takes for one.
pub(super) fn encode(contract: &Contract) -> Vec<u8> {
    postcard::to_extend(contract, FORMAT.to_vec()).unwrap_or_default()
}

/// The state, if the bytes are one of this format.
pub(super) fn decode(bytes: &[u8]) -> Option<Contract> {
    postcard::from_bytes(bytes.strip_prefix(FORMAT)?).ok()
}
