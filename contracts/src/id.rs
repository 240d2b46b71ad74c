//! Names the contract works with: learners, digests and experiments.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// Formats 32 bytes as 64 lowercase hex digits.
fn write_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in bytes {
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// A learner, known by the 32 bytes of its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LearnerId(pub [u8; 32]);

impl Ord for LearnerId {
    /// In the order of the bytes.
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        // Keys differ at once, nearly always, and looking one up in a map of many is most of what a
        // vote costs: comparing eight bytes as a number is twice as fast there as comparing 32.
        let (Some((first, _)), Some((others, _))) =
            (self.0.split_first_chunk(), other.0.split_first_chunk())
        else {
            return self.0.cmp(&other.0);
        };
        let (first, others) = (u64::from_be_bytes(*first), u64::from_be_bytes(*others));
        first.cmp(&others).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for LearnerId {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for LearnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for LearnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A SHA-256 digest. The contract compares digests, it never computes one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of an experiment: 1 to 64 of `a-z 0-9 . _ -`, beginning with a letter or digit (R1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExperimentName(String);

impl ExperimentName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExperimentName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let begins_well =
            text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if begins_well && text.len() <= Self::MAX_BYTES && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }
}

impl TryFrom<String> for ExperimentName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ExperimentName> for String {
    fn from(name: ExperimentName) -> Self {
        name.0
    }
}

impl fmt::Display for ExperimentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// R1. The text is not a valid experiment name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidName;

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "R1: an experiment's name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit",
        )
    }
}

impl core::error::Error for InvalidName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_bytes() {
        let with = |places: &[(usize, u8)]| {
            let mut key = [7; 32];
            places.iter().for_each(|(place, byte)| key[*place] = *byte);
            LearnerId(key)
        };
        let mut keys = vec![with(&[])];
        for place in 0..32 {
            keys.extend([with(&[(place, 0)]), with(&[(place, 255)]), with(&[(place, 8), (31, 1)])]);
        }
        for one in &keys {
            for other in &keys {
                assert_eq!(one.cmp(other), one.0.cmp(&other.0));
                assert_eq!(one == other, one.cmp(other).is_eq());
            }
        }
    }
}
