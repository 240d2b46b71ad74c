//! What somebody insists on, in one line that can be handed over: a header of the chain, the contract there, and its code.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::address::address;
use crate::line::TrustLine;

/// A header that is trusted to begin with, the contract that keeps the ledger, and the code that it must run.
///
/// Written `CHAIN/HEIGHT/HASH/SECONDSs/CODE/CONTRACT`: the chain's id, the header's height and hash in hex, the trusting
/// period in seconds, the SHA-256 of the contract's code in hex, and its address in bech32. The address is what names the
/// ledger: anybody can have the same code keep another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trust {
    /// The header.
    pub line: TrustLine,
    /// The SHA-256 of the code.
    pub code: [u8; 32],
    /// The contract's address.
    pub contract: String,
}

/// A text is no [`Trust`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoTrust {
    /// It has another form.
    #[error(
        "{0:?} says not what to trust; that is CHAIN/HEIGHT/HASH/SECONDSs/CODE/CONTRACT, as `colearn chain deploy` and \
         `colearn chain trust` print it"
    )]
    Malformed(String),
    /// It says which chain and which code, and not which ledger: so older versions have printed it.
    #[error(
        "{0:?} names no contract, so any ledger that has the same code on that chain would be believed; put / and the \
         contract's address behind it, as `colearn chain trust` prints it now"
    )]
    NoContract(String),
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line: TrustLine { chain, height, hash, period }, code, contract } = self;
        write!(f, "{chain}/{height}/")?;
        hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "/{}s/", period.as_secs())?;
        code.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "/{contract}")
    }
}

impl FromStr for Trust {
    type Err = NoTrust;

    fn from_str(text: &str) -> Result<Self, NoTrust> {
        let malformed = || NoTrust::Malformed(text.to_owned());
        let (rest, contract) = text.rsplit_once('/').ok_or_else(malformed)?;
        if read(text).is_some() {
            return Err(NoTrust::NoContract(text.to_owned()));
        }
        let (line, code) = read(rest).ok_or_else(malformed)?;
        address(contract).map_err(|_| malformed())?;
        Ok(Self { line, code, contract: contract.to_owned() })
    }
}

/// All but the contract.
fn read(text: &str) -> Option<(TrustLine, [u8; 32])> {
    let [chain, height, hash, period, code] =
        text.split('/').collect::<Vec<_>>().try_into().ok()?;
    let seconds: u64 = period.strip_suffix('s')?.parse().ok()?;
    let height = height.parse().ok().filter(|height| *height > 0)?;
    let (hash, code) = (digest(hash)?, digest(code)?);
    let line =
        TrustLine { chain: chain.to_owned(), height, hash, period: Duration::from_secs(seconds) };
    (!chain.is_empty() && seconds > 0).then_some((line, code))
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| Some((digit(*high)? * 16 + digit(*low)?) as u8);
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_nothing_else_does() {
        let line = TrustLine {
            chain: "chain-1.test".to_owned(),
            height: 12,
            hash: [0xab; 32],
            period: Duration::from_secs(1_209_600),
        };
        let contract = "wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d";
        let trust = Trust { line, code: [7; 32], contract: contract.to_owned() };
        let text = trust.to_string();
        let older = format!("chain-1.test/12/{}/1209600s/{}", "ab".repeat(32), "07".repeat(32));
        assert_eq!(text, format!("{older}/{contract}"));
        assert_eq!(text.parse(), Ok(trust));
        for (from, to) in [
            ("/12/", "/0/"),
            ("/12/", "/x/"),
            ("600s", "600"),
            ("ab/", "a/"),
            ("07", "0g"),
            ("phg4d", "phg4e"),
        ] {
            let bent = text.replacen(from, to, 1);
            assert_eq!(bent.parse::<Trust>(), Err(NoTrust::Malformed(bent)));
        }
        assert!("".parse::<Trust>().is_err() && format!("{text}/").parse::<Trust>().is_err());
        assert!(format!("{older}/").parse::<Trust>().is_err());
        // It would leave open which ledger is meant.
        assert_eq!(older.parse::<Trust>(), Err(NoTrust::NoContract(older)));
    }
}
