//! Snapshots of the contract's state, so that opening a long ledger does not replay all of it.

use colearn_contracts::{Contract, LAYOUT};

/// After how many entries a running node takes the next one.
pub(super) const EVERY: u64 = 65_536;

/// What stands before a state of this layout. A state of another layout could decode as something
/// that nobody decided, so what begins otherwise is not a snapshot, and the ledger is replayed.
fn prefix() -> String {
    format!("colearn contract state {LAYOUT}\n")
}

/// A contract's state as bytes; empty if it cannot be written, which no reader takes for one.
pub(super) fn encode(contract: &Contract) -> Vec<u8> {
    postcard::to_extend(contract, prefix().into_bytes()).unwrap_or_default()
}

/// The state, if the bytes are one of this layout, all of them.
pub(super) fn decode(bytes: &[u8]) -> Option<Contract> {
    let state = bytes.strip_prefix(prefix().as_bytes())?;
    let (contract, rest) = postcard::take_from_bytes(state).ok()?;
    rest.is_empty().then_some(contract)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use colearn_contracts::{Digest, VERSION};

    use super::*;

    #[test]
    fn a_snapshot_of_another_layout_is_none() {
        let contract = Contract::new(Digest([7; 32]), VERSION);
        let bytes = encode(&contract);
        assert_eq!(decode(&bytes), Some(contract));

        let state = bytes.strip_prefix(prefix().as_bytes()).unwrap();
        let with = |prefix: &str| [prefix.as_bytes(), state].concat();
        for other in [LAYOUT - 1, LAYOUT + 1, LAYOUT * 10] {
            assert_eq!(decode(&with(&format!("colearn contract state {other}\n"))), None);
        }
        assert_eq!(decode(&with(&format!("colearn contract state {LAYOUT}"))), None);
        assert_eq!(decode(state), None, "no prefix at all");
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None, "cut short");
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), None, "something behind it");
    }
}
