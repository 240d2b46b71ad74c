//! What a server of the chain answers, read. None of it is believed here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ics23::CommitmentProof;
use prost::Message as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tendermint::Hash;
use tendermint::block::signed_header::SignedHeader;
use tendermint::validator::{self, Info};

/// The longest answer that is read, in bytes. A set of 10,000 validators has some 2 MB in JSON.
pub const MAX_ANSWER_BYTES: usize = 4 << 20;

/// An answer cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadAnswer {
    /// It is too long.
    #[error("an answer of {0} bytes is longer than any that makes sense")]
    TooLong(usize),
    /// It is something else.
    #[error("the server's answer to {asked} is none: {text}")]
    Malformed {
        /// What was asked.
        asked: &'static str,
        /// What is wrong with it.
        text: String,
    },
}

/// A header with the votes for it, and who could vote on it and can on the next.
#[derive(Clone, Debug)]
pub struct Block {
    pub(crate) signed: SignedHeader,
    pub(crate) validators: validator::Set,
    pub(crate) next_validators: validator::Set,
}

impl Block {
    /// The height that its header names. Nothing says yet that it is the chain's.
    pub fn height(&self) -> u64 {
        self.signed.header.height.value()
    }

    /// Its header's hash.
    pub fn hash(&self) -> [u8; 32] {
        let Hash::Sha256(hash) = self.signed.header.hash() else { return [0; 32] };
        hash
    }
}

/// A value of the chain's state, and the proofs of it.
#[derive(Clone, Debug)]
pub struct Proven {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) height: u64,
    pub(crate) proofs: [CommitmentProof; 2],
}

/// Reads a block from the answers, in JSON, to `commit` of its height, and to `validators` of its height and of the
/// next: each may have come in several pages.
///
/// # Errors
/// If one is none.
pub fn block(
    commit: &[u8],
    validators: &[Vec<u8>],
    next_validators: &[Vec<u8>],
) -> Result<Block, BadAnswer> {
    #[derive(Deserialize)]
    struct Commit {
        signed_header: SignedHeader,
    }

    let Commit { signed_header } = read("commit", commit)?;
    Ok(Block {
        signed: signed_header,
        validators: set(validators)?,
        next_validators: set(next_validators)?,
    })
}

fn set(pages: &[Vec<u8>]) -> Result<validator::Set, BadAnswer> {
    #[derive(Deserialize)]
    struct Page {
        validators: Vec<Info>,
    }

    const ASKED: &str = "validators";
    let bad = |text: &str| BadAnswer::Malformed { asked: ASKED, text: text.to_owned() };
    let mut all: Vec<Info> = Vec::new();
    for page in pages {
        let Page { validators } = read(ASKED, page)?;
        // A set's hash is over keys and power alone: an address that a server says may be anybody's.
        all.extend(validators.into_iter().map(|it| Info::new(it.pub_key, it.power)));
    }
    if all.iter().any(|it| it.power.is_zero()) {
        return Err(bad("a validator without power"));
    }
    // A set of more power panics.
    let power = all.iter().fold(0_u64, |sum, it| sum.saturating_add(it.power()));
    if power > validator::Set::MAX_TOTAL_VOTING_POWER {
        return Err(bad("validators of more power than a chain's may have"));
    }
    Ok(validator::Set::without_proposer(all))
}

/// Reads the answer to `abci_query` with a proof.
///
/// # Errors
/// If it is none, or has no proof of two parts.
pub fn proven(answer: &[u8]) -> Result<Proven, BadAnswer> {
    #[derive(Deserialize)]
    struct Query {
        response: Response,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        #[serde(default)]
        key: Option<String>,
        #[serde(default)]
        value: Option<String>,
        #[serde(default)]
        proof_ops: Option<Ops>,
        height: String,
    }

    #[derive(Deserialize)]
    struct Ops {
        ops: Vec<Op>,
    }

    #[derive(Deserialize)]
    struct Op {
        data: String,
    }

    const ASKED: &str = "abci_query";
    let bad = |text: &str| BadAnswer::Malformed { asked: ASKED, text: text.to_owned() };
    let bytes = |text: Option<String>| {
        STANDARD.decode(text.unwrap_or_default()).map_err(|_| bad("not in base64"))
    };
    let Query { response } = read(ASKED, answer)?;
    let ops = response.proof_ops.map(|it| it.ops).unwrap_or_default();
    let proofs = ops.into_iter().map(|Op { data }| {
        CommitmentProof::decode(&bytes(Some(data))?[..]).map_err(|_| bad("no proof of ICS 23"))
    });
    let proofs: Vec<CommitmentProof> = proofs.collect::<Result<_, _>>()?;
    Ok(Proven {
        key: bytes(response.key)?,
        value: bytes(response.value)?,
        height: response.height.parse().map_err(|_| bad("no height"))?,
        proofs: proofs.try_into().map_err(|_| bad("not a proof of two parts"))?,
    })
}

/// What a server has as the result of this question.
fn read<T: DeserializeOwned>(asked: &'static str, answer: &[u8]) -> Result<T, BadAnswer> {
    #[derive(Deserialize)]
    struct Answer<T> {
        result: T,
    }

    if answer.len() > MAX_ANSWER_BYTES {
        return Err(BadAnswer::TooLong(answer.len()));
    }
    let read: Result<Answer<T>, _> = serde_json::from_slice(answer);
    let Answer { result } =
        read.map_err(|error| BadAnswer::Malformed { asked, text: error.to_string() })?;
    Ok(result)
}
