//! What somebody insists on, in one line that can be handed over: a header of the chain, and the code of the contract.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::line::TrustLine;

/// A header that is trusted to begin with, and the code that the contract must run.
///
/// Written `CHAIN/HEIGHT/HASH/SECONDSs/CODE`: the chain's id, the header's height and hash in hex, the trusting period in
/// seconds, and the SHA-256 of the contract's code in hex.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trust {
    /// The header.
    pub line: TrustLine,
    /// The SHA-256 of the code.
    pub code: [u8; 32],
}

/// A text is no [`Trust`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} says not what to trust; that is CHAIN/HEIGHT/HASH/SECONDSs/CODE, as `colearn chain deploy` and `colearn chain \
     trust` print it"
)]
pub struct NoTrust(pub String);

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TrustLine { chain, height, hash, period } = &self.line;
        write!(f, "{chain}/{height}/")?;
        hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "/{}s/", period.as_secs())?;
        self.code.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Trust {
    type Err = NoTrust;

    fn from_str(text: &str) -> Result<Self, NoTrust> {
        read(text).ok_or_else(|| NoTrust(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Trust> {
    let [chain, height, hash, period, code] =
        text.split('/').collect::<Vec<_>>().try_into().ok()?;
    let seconds: u64 = period.strip_suffix('s')?.parse().ok()?;
    let height = height.parse().ok().filter(|height| *height > 0)?;
    let (hash, code) = (digest(hash)?, digest(code)?);
    let line =
        TrustLine { chain: chain.to_owned(), height, hash, period: Duration::from_secs(seconds) };
    (!chain.is_empty() && seconds > 0).then_some(Trust { line, code })
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
        let trust = Trust { line, code: [7; 32] };
        let text = trust.to_string();
        assert_eq!(
            text,
            format!("chain-1.test/12/{}/1209600s/{}", "ab".repeat(32), "07".repeat(32))
        );
        assert_eq!(text.parse(), Ok(trust));
        for (from, to) in
            [("/12/", "/0/"), ("/12/", "/x/"), ("600s", "600"), ("ab/", "a/"), ("07", "0g")]
        {
            let bent = text.replacen(from, to, 1);
            assert!(bent.parse::<Trust>().is_err(), "{bent}");
        }
        assert!("".parse::<Trust>().is_err() && format!("{text}/").parse::<Trust>().is_err());
    }
}
