//! That a chain's state has a value under a key: two proofs (ICS 23), one in the contracts' own tree and one that
//! this is a part of the state.

use ics23::commitment_proof::Proof;
use ics23::{CommitmentProof, HostFunctionsProvider};
use sha2::{Digest as _, Sha256};

/// The part of the state in which contracts' values lie.
const STORE: &[u8] = b"wasm";
/// What the keys there begin with that contracts write.
const OF_A_CONTRACT: u8 = 3;

/// Why a value is not proven.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadProof {
    /// It is of another key.
    #[error("the answer is about another key than was asked for")]
    OtherKey,
    /// It is of another height.
    #[error(
        "the answer is about the state after block {found}, and the header at hand proves that after {expected}"
    )]
    OtherHeight {
        /// The height that it is of.
        found: u64,
        /// The one before the header.
        expected: u64,
    },
    /// It does not hold.
    #[error(
        "the chain's state, as the header has it, has no such value there: the proof does not hold"
    )]
    Wrong,
}

/// The key under which the chain's state has what a contract keeps under this one.
pub fn contract_key(contract: &[u8; 32], key: &[u8]) -> Vec<u8> {
    [&[OF_A_CONTRACT], &contract[..], key].concat()
}

/// Whether a state with this hash has that value under that key, by these two proofs.
pub(crate) fn verify(
    app_hash: &[u8],
    key: &[u8],
    value: &[u8],
    [inner, outer]: &[CommitmentProof; 2],
) -> Result<(), BadProof> {
    let Some(Proof::Exist(exists)) = &inner.proof else { return Err(BadProof::Wrong) };
    // Of whatever form: whether that is right is said next.
    let store = ics23::calculate_existence_root::<Hashes>(exists).map_err(|_| BadProof::Wrong)?;
    let is_in_store =
        ics23::verify_membership::<Hashes>(inner, &ics23::iavl_spec(), &store, key, value);
    if is_in_store && is_store(app_hash, &store, outer) { Ok(()) } else { Err(BadProof::Wrong) }
}

/// Whether a state with this hash has nothing under that key, by these two proofs.
pub(crate) fn verify_absent(
    app_hash: &[u8],
    key: &[u8],
    [inner, outer]: &[CommitmentProof; 2],
) -> Result<(), BadProof> {
    let Some(Proof::Nonexist(absent)) = &inner.proof else { return Err(BadProof::Wrong) };
    // What lies beside it; a store in which nothing does has nothing at all.
    let beside = absent.left.as_ref().or(absent.right.as_ref()).ok_or(BadProof::Wrong)?;
    let store = ics23::calculate_existence_root::<Hashes>(beside).map_err(|_| BadProof::Wrong)?;
    // First that it is the store: of one that is made up what lies beside one another can be what no tree has, on which
    // ics23 panics.
    let is_absent =
        || ics23::verify_non_membership::<Hashes>(inner, &ics23::iavl_spec(), &store, key);
    if is_store(app_hash, &store, outer) && is_absent() { Ok(()) } else { Err(BadProof::Wrong) }
}

/// Whether a state with this hash has contracts' values under that one.
fn is_store(app_hash: &[u8], store: &[u8], outer: &CommitmentProof) -> bool {
    let root = app_hash.to_vec();
    ics23::verify_membership::<Hashes>(outer, &ics23::tendermint_spec(), &root, STORE, store)
}

/// The hashes that a proof may be made of. Both forms that are looked for have SHA-256 alone, and a proof that names
/// another has another form, whatever that gives.
struct Hashes;

impl HostFunctionsProvider for Hashes {
    fn sha2_256(message: &[u8]) -> [u8; 32] {
        Sha256::digest(message).into()
    }

    fn sha2_512(_: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn sha2_512_truncated(_: &[u8]) -> [u8; 32] {
        [0; 32]
    }

    fn keccak_256(_: &[u8]) -> [u8; 32] {
        [0; 32]
    }

    fn ripemd160(_: &[u8]) -> [u8; 20] {
        [0; 20]
    }

    fn blake2b_512(_: &[u8]) -> [u8; 64] {
        [0; 64]
    }

    fn blake2s_256(_: &[u8]) -> [u8; 32] {
        [0; 32]
    }

    fn blake3(_: &[u8]) -> [u8; 32] {
        [0; 32]
    }
}
