//! Which code a contract runs: a chain's governance, or an administrator, can give it another, and nothing that it
//! keeps need show that.

use prost::Message;

use crate::answer::BadAnswer;

/// What the keys begin with under which the state has code.
const CODE: u8 = 1;
/// What they begin with under which it has what each contract is.
const CONTRACT: u8 = 2;

/// What a contract is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contract {
    /// The number of the code that it runs.
    pub code: u64,
    /// Who may give it another, beside the chain's governance; `None` if nobody.
    pub admin: Option<String>,
}

/// The key under which the chain's state says what this contract is.
pub fn info_key(contract: &[u8; 32]) -> Vec<u8> {
    [&[CONTRACT], &contract[..]].concat()
}

/// The key under which it says what this code is.
pub fn code_key(code: u64) -> Vec<u8> {
    [&[CODE], &code.to_be_bytes()[..]].concat()
}

/// Reads the value under [`info_key`].
///
/// # Errors
/// If it is none.
pub fn info(value: &[u8]) -> Result<Contract, BadAnswer> {
    #[derive(Message)]
    struct Info {
        #[prost(uint64, tag = "1")]
        code_id: u64,
        #[prost(string, tag = "3")]
        admin: String,
    }

    let Info { code_id, admin } = Info::decode(value).map_err(|error| malformed(&error))?;
    Ok(Contract { code: code_id, admin: Some(admin).filter(|admin| !admin.is_empty()) })
}

/// Reads the value under [`code_key`]: the SHA-256 of the code.
///
/// # Errors
/// If it is none.
pub fn checksum(value: &[u8]) -> Result<[u8; 32], BadAnswer> {
    #[derive(Message)]
    struct Code {
        #[prost(bytes = "vec", tag = "1")]
        code_hash: Vec<u8>,
    }

    let Code { code_hash } = Code::decode(value).map_err(|error| malformed(&error))?;
    code_hash.try_into().map_err(|_| malformed(&"no checksum of 32 bytes"))
}

fn malformed(why: &dyn std::fmt::Display) -> BadAnswer {
    BadAnswer::Malformed { asked: "abci_query", text: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_contract_is_read() {
        // As a real chain has it: number, creator, label and more; then with an administrator.
        let without = [0x08, 7, 0x12, 1, b'c', 0x22, 1, b'l'];
        assert_eq!(info(&without), Ok(Contract { code: 7, admin: None }));
        let with = [&without[..4], &[b'c', 0x1a, 2, b'a', b'd']].concat();
        assert_eq!(info(&with), Ok(Contract { code: 7, admin: Some("ad".to_owned()) }));
        assert!(info(&[0x08]).is_err());
        let hash = [&[0x0a, 32], &[5; 32][..], &[0x12, 1, b'c']].concat();
        assert_eq!(checksum(&hash), Ok([5; 32]));
        assert!(checksum(&[]).is_err() && checksum(&hash[..20]).is_err());
    }
}
