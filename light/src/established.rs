//! What a chain says of a contract: a value that it keeps, and which code has written it.

use crate::answer::{BadAnswer, Block, Proven, block, proven};
use crate::code;
use crate::line::Light;
use crate::proof::{BadProof, contract_key};

/// A block as servers answer: JSON, of which nothing is read yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawBlock {
    /// The answer to `commit`.
    pub commit: Vec<u8>,
    /// Those to `validators` of its height, page by page.
    pub validators: Vec<Vec<u8>>,
    /// The same of the next height.
    pub next_validators: Vec<Vec<u8>>,
}

impl RawBlock {
    /// Reads it.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(&self) -> Result<Block, BadAnswer> {
        block(&self.commit, &self.validators, &self.next_validators)
    }
}

/// The answers about a contract's value at one height: JSON, of which nothing is read yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawValue {
    /// The value.
    pub value: Vec<u8>,
    /// What the contract is.
    pub contract: Vec<u8>,
    /// What its code is.
    pub code: Vec<u8>,
}

/// A value that is proven, and who may have another code write it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Established {
    /// The value.
    pub value: Vec<u8>,
    /// Who may give the contract another code, beside the chain's governance; `None` if nobody.
    pub admin: Option<String>,
}

/// Why a value is not what the chain's contract keeps.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotEstablished {
    /// An answer cannot be read.
    #[error(transparent)]
    Answer(#[from] BadAnswer),
    /// One proves nothing.
    #[error(transparent)]
    Proof(#[from] BadProof),
    /// The contract runs other code.
    #[error(
        "the contract runs the code {}, and {} is the one that is trusted: nothing that it says since is to be believed; ask those you take part with",
        hex(found),
        hex(expected)
    )]
    OtherCode {
        /// Its SHA-256.
        found: [u8; 32],
        /// That of the trusted one.
        expected: [u8; 32],
    },
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Light {
    /// The value that this contract keeps under this key, by the newest header that is believed, if the contract runs
    /// this code.
    ///
    /// # Errors
    /// If that is not proven.
    pub fn established(
        &self,
        contract: &[u8; 32],
        key: &[u8],
        expected: &[u8; 32],
        answers: &RawValue,
    ) -> Result<Established, NotEstablished> {
        let value = |key: &[u8], answer: &[u8]| -> Result<Vec<u8>, NotEstablished> {
            let answer: Proven = proven(answer)?;
            Ok(self.value(key, &answer)?.to_vec())
        };
        let info = code::info(&value(&code::info_key(contract), &answers.contract)?)?;
        let found = code::checksum(&value(&code::code_key(info.code), &answers.code)?)?;
        if found != *expected {
            return Err(NotEstablished::OtherCode { found, expected: *expected });
        }
        let value = value(&contract_key(contract, key), &answers.value)?;
        Ok(Established { value, admin: info.admin })
    }
}
