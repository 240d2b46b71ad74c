//! Ledgers that a contract on a public chain keeps: what their first entry says of it.
//!
//! No key signs for such a ledger. What its root is, the chain's state proves; here is only what the
//! entries say.

mod between;
mod tree;

use bytes::Bytes;
use colearn_contracts::{Charter, Creators, Limits, Version};
use colearn_proto::v1;

pub use self::between::{Between, OutOfTime};
pub use self::tree::{Root, TREE_KEY, Tree};
use crate::convert;
use crate::upgrade;

/// The longest name of a chain.
const MAX_ID: usize = 48;
/// The longest address, in characters.
const MAX_ADDRESS: usize = 90;

/// A contract on a public chain that keeps a ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicChain {
    id: String,
    contract: String,
    charter: Charter,
    block_gas: u64,
}

/// Why a first entry is not one that a contract on a public chain has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadChain {
    /// The chain's name is none.
    #[error("a chain's id is 1 to {MAX_ID} of a-z A-Z 0-9 . - _")]
    Id,
    /// The contract's address is none.
    #[error(
        "a contract's address is in bech32 and lower case, with at most {MAX_ADDRESS} characters"
    )]
    Contract,
    /// Who may create experiments, or how many members there may be, is not within its bounds.
    #[error(
        "it lists 1 to 256 creators, their keys ascending, or lets anybody create, and allows 1 to \
        100,000 members"
    )]
    Charter,
    /// It has a key, a nonce, nodes or a name that a contract does not give it, or no time.
    #[error(
        "it has a key, a nonce or nodes beside the chain, another name than the chain gives, or no time"
    )]
    Mixed,
    /// On a chain version 2 is the first.
    #[error("a ledger on a public chain begins with version 2 of the rules or a later one")]
    Version,
}

impl PublicChain {
    /// The contract at this address of this chain, whose blocks may use so much gas.
    ///
    /// # Errors
    /// What of it is out of bounds.
    pub fn new(
        id: String,
        contract: String,
        charter: Charter,
        block_gas: u64,
    ) -> Result<Self, BadChain> {
        let of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !(1..=MAX_ID).contains(&id.len()) || !id.bytes().all(of_id) {
            return Err(BadChain::Id);
        }
        if !is_address(&contract) {
            return Err(BadChain::Contract);
        }
        charter.check().map_err(|_| BadChain::Charter)?;
        Ok(Self { id, contract, charter, block_gas })
    }

    /// What a first entry says of the chain that keeps its ledger; `None` if none does.
    ///
    /// # Errors
    /// If no contract would have written it.
    pub fn of_genesis(genesis: &v1::Genesis) -> Result<Option<Self>, BadChain> {
        let Some(message) = &genesis.chain else { return Ok(None) };
        let chain = Self::read(message)?;
        let alone = genesis.log_public_key.is_empty()
            && genesis.nonce.is_empty()
            && genesis.validators.is_empty();
        if !alone || genesis.time_ms == 0 || genesis.origin != chain.origin() {
            return Err(BadChain::Mixed);
        }
        if genesis.contract_version <= Version::V1.number() {
            return Err(BadChain::Version);
        }
        Ok(Some(chain))
    }

    fn read(message: &v1::PublicChain) -> Result<Self, BadChain> {
        let keys = message.creators.iter().map(|key| convert::learner(key, "creators"));
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(|_| BadChain::Charter)?;
        let creators = match (message.open, keys.is_empty()) {
            (true, true) => Creators::Anybody,
            (false, _) => Creators::Listed(keys),
            // One of the two would mean nothing, and two first entries say the same.
            (true, false) => return Err(BadChain::Charter),
        };
        let charter = Charter { creators, max_members: message.max_members };
        Self::new(message.id.clone(), message.contract.clone(), charter, message.block_gas)
    }

    /// The first entry that the contract writes, at the time of the block, in ms since 1970.
    pub fn genesis(&self, version: Version, limits: &Limits, time_ms: u64) -> v1::Genesis {
        let (open, creators) = match &self.charter.creators {
            Creators::Anybody => (true, Vec::new()),
            Creators::Listed(keys) => {
                (false, keys.iter().map(|key| Bytes::copy_from_slice(&key.0)).collect())
            }
        };
        v1::Genesis {
            origin: self.origin(),
            contract_version: version.number(),
            time_ms,
            limits: Some(upgrade::limits_message(limits)),
            chain: Some(v1::PublicChain {
                id: self.id.clone(),
                contract: self.contract.clone(),
                open,
                creators,
                max_members: self.charter.max_members,
                block_gas: self.block_gas,
            }),
            ..v1::Genesis::default()
        }
    }

    /// The ledger's name in checkpoints that mirrors sign: "colearn/", the chain's id, "/", the address.
    pub fn origin(&self) -> String {
        format!("colearn/{}/{}", self.id, self.contract)
    }

    /// The chain's id and the contract's address, of an [`origin`](Self::origin) that a first entry has.
    pub fn of_origin(origin: &str) -> Option<(&str, &str)> {
        origin.strip_prefix("colearn/")?.split_once('/')
    }

    /// Which chain.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The contract's address, in bech32. Whether its checksum is right is not looked at: an address that
    /// is none names nothing, and nothing is proven there.
    pub fn contract(&self) -> &str {
        &self.contract
    }

    /// Who may create experiments, and how many may take part.
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The gas that a block of the chain could use when the contract was made.
    pub fn block_gas(&self) -> u64 {
        self.block_gas
    }
}

/// Whether this has the form of a bech32 address: a prefix, "1", and at least an empty content's checksum.
fn is_address(text: &str) -> bool {
    const DIGITS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let Some((prefix, data)) = text.rsplit_once('1') else { return false };
    let of_prefix = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_ADDRESS
        && !prefix.is_empty()
        && prefix.bytes().all(of_prefix)
        && data.len() >= 6
        && data.chars().all(|digit| DIGITS.contains(digit))
}
