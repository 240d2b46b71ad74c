//! `chain.toml`: which chain, where its servers are, who pays and how much.

mod amount;

use std::path::{Path, PathBuf};

use colearn_light::{Trust, address};
use colearn_net::Address;
use serde::Deserialize;

pub use self::amount::{Amount, GasPrice};
use crate::{Account, BadAccount, BadServer, Rpc};

/// A file of settings has a few hundred bytes.
const MAX_FILE_BYTES: u64 = 65_536;
/// The longest name of a chain, as ledgers have it.
const MAX_CHAIN_ID: usize = 48;
/// The most servers, and the most peers.
const MAX_LIST: usize = 64;

/// What `chain.toml` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The chain's id.
    pub chain_id: String,
    /// Its servers, in the order in which they are asked: addresses.
    pub rpc: Vec<String>,
    /// The contract's address, which `trust` names, too; `None` until there is one.
    pub contract: Option<String>,
    /// Other mirrors: addresses.
    pub peers: Vec<Address>,
    /// What the chain's addresses begin with.
    pub prefix: String,
    /// The denomination in which fees are paid.
    pub denom: String,
    /// What a unit of gas costs in it.
    pub gas_price: GasPrice,
    /// The file with the account's key.
    pub account: PathBuf,
    /// The account that pays in its place, by a grant of the chain's.
    pub granter: Option<String>,
    /// The most that a transaction may cost, in units of the denomination.
    pub max_fee: Amount,
    /// The most that a day (UTC) may cost.
    pub max_fee_a_day: Amount,
    /// The header that is trusted, the contract and its code.
    pub trust: Option<Trust>,
}

/// Why a file of settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is no such file, or a field is missing, unknown, or of another kind.
    #[error("{}: {text}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        text: String,
    },
    /// A field has a value that is none.
    #[error("{}: {field}: {text}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        text: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    chain_id: String,
    rpc: Vec<String>,
    contract: Option<String>,
    #[serde(default)]
    peers: Vec<String>,
    prefix: String,
    denom: String,
    gas_price: GasPrice,
    account: PathBuf,
    granter: Option<String>,
    max_fee: Amount,
    max_fee_a_day: Amount,
    trust: Option<String>,
}

impl Settings {
    /// Reads a file. A relative path in it is relative to its folder.
    ///
    /// # Errors
    /// If it cannot be read, or something in it makes no sense: which.
    pub fn read(path: &Path) -> Result<Self, BadSettings> {
        use std::io::Read as _;
        let io = |source| BadSettings::Io { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(io)?;
        let file: File = toml::from_str(&text).map_err(|error| BadSettings::Toml {
            path: path.to_owned(),
            text: told(&error, &text),
        })?;
        file.check(colearn_files::folder_of(path)).map_err(|(field, text)| BadSettings::Field {
            path: path.to_owned(),
            field,
            text,
        })
    }

    /// The chain's servers.
    ///
    /// # Errors
    /// None with settings that were read: they were looked at then.
    pub fn servers(&self) -> Result<Rpc, BadServer> {
        Rpc::new(&self.rpc)
    }

    /// The account that delivers.
    ///
    /// # Errors
    /// If its file cannot be used.
    pub fn open_account(&self) -> Result<Account, BadAccount> {
        Account::open(&self.account)
    }
}

impl File {
    fn check(self, folder: &Path) -> Result<Settings, (&'static str, String)> {
        let of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !(1..=MAX_CHAIN_ID).contains(&self.chain_id.len()) || !self.chain_id.bytes().all(of_id) {
            let text = format!("a chain's id is 1 to {MAX_CHAIN_ID} of a-z A-Z 0-9 . - _");
            return Err(("chain_id", text));
        }
        if self.rpc.len() > MAX_LIST {
            return Err(("rpc", format!("{MAX_LIST} servers are enough")));
        }
        Rpc::new(&self.rpc).map_err(|error| ("rpc", error.to_string()))?;
        let of_prefix = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(1..=48).contains(&self.prefix.len()) || !self.prefix.bytes().all(of_prefix) {
            return Err(("prefix", "what addresses begin with, such as cosmos".to_owned()));
        }
        let trust = self.trust.map(|text| text.parse::<Trust>()).transpose();
        let trust = trust.map_err(|error| ("trust", error.to_string()))?;
        let contract = self.contract.or_else(|| trust.as_ref().map(|trust| trust.contract.clone()));
        if let Some(contract) = &contract {
            address(contract).map_err(|error| ("contract", error.to_string()))?;
            if !contract.starts_with(&format!("{}1", self.prefix)) {
                return Err(("contract", format!("it does not begin with {}1", self.prefix)));
            }
        }
        if let Some(granter) = &self.granter
            && (bech32::decode(granter).is_err()
                || !granter.starts_with(&format!("{}1", self.prefix)))
        {
            return Err(("granter", format!("no address of this chain: {}1...", self.prefix)));
        }
        if self.peers.len() > MAX_LIST {
            return Err(("peers", format!("{MAX_LIST} are enough")));
        }
        let peers = self.peers.iter().map(|peer| peer.parse()).collect::<Result<_, _>>();
        // As cosmos-sdk has it: /, :, ., _ and - may be inside.
        let of_denom = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-".contains(&byte);
        if !(3..=128).contains(&self.denom.len()) || !self.denom.bytes().all(of_denom) {
            return Err((
                "denom",
                "the chain's name of its smallest unit, such as uatom".to_owned(),
            ));
        }
        if self.max_fee_a_day < self.max_fee {
            return Err(("max_fee_a_day", "it is less than max_fee, one transaction".to_owned()));
        }
        if let Some(trust) = &trust {
            if trust.line.chain != self.chain_id {
                return Err(("trust", format!("it is of another chain than {}", self.chain_id)));
            }
            if Some(&trust.contract) != contract.as_ref() {
                let text = format!("it is of {}, and `contract` is another", trust.contract);
                return Err(("trust", text));
            }
        }
        Ok(Settings {
            peers: peers.map_err(|error: colearn_net::NetError| ("peers", error.to_string()))?,
            account: folder.join(self.account),
            chain_id: self.chain_id,
            rpc: self.rpc,
            contract,
            prefix: self.prefix,
            denom: self.denom,
            gas_price: self.gas_price,
            granter: self.granter,
            max_fee: self.max_fee,
            max_fee_a_day: self.max_fee_a_day,
            trust,
        })
    }
}

/// What is wrong with a file, and in which line if it is in one, on one line.
fn told(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().trim_end().replace('\n', " ");
    // What lacks a field is all of the file.
    let start = error.span().map(|span| span.start).filter(|start| *start > 0);
    let Some(before) = start.and_then(|start| text.get(..start)) else { return message };
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default().trim();
    format!("line {}, {line:?}: {message}", number + 1)
}

#[cfg(test)]
mod tests;
