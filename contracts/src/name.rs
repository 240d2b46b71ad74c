//! Names for people: what an organisation is called, and what a measure is (R64, R66). They decide
//! nothing.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a member is called: 1 to 64 printable characters without spaces at the ends (R64).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberName(Box<str>);

impl MemberName {
    /// The longest name, in characters.
    pub const MAX_CHARS: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character may stand in a name: none that a screen does not show, or that changes how
/// others are shown. A fixed list and not the language's own tables, which grow with its releases:
/// a history must be read the same for ever.
fn is_printable(c: char) -> bool {
    !matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{a0}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{1680}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2000}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{205f}'..='\u{206f}'
            | '\u{3000}'
            | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{ffff}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{10ffff}'
    )
}

impl FromStr for MemberName {
    type Err = InvalidMemberName;

    fn from_str(text: &str) -> Result<Self, InvalidMemberName> {
        let fits = (1..=Self::MAX_CHARS).contains(&text.chars().count());
        if fits && text.trim_matches(' ') == text && text.chars().all(is_printable) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidMemberName)
        }
    }
}

impl TryFrom<String> for MemberName {
    type Error = InvalidMemberName;

    fn try_from(text: String) -> Result<Self, InvalidMemberName> {
        text.parse()
    }
}

impl From<MemberName> for String {
    fn from(name: MemberName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// R64. The text is not a valid name of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidMemberName;

impl fmt::Display for InvalidMemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "R64: a member's name is 1 to 64 printable characters, without spaces at its ends",
        )
    }
}

impl core::error::Error for InvalidMemberName {}

/// What a measured number is called: 1 to 32 of `a-z 0-9 . _ -`, beginning with a letter (R66).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MeasureName(Box<str>);

impl MeasureName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 32;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MeasureName {
    type Err = InvalidMeasureName;

    fn from_str(text: &str) -> Result<Self, InvalidMeasureName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let begins_well = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if begins_well && text.len() <= Self::MAX_BYTES && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidMeasureName)
        }
    }
}

impl TryFrom<String> for MeasureName {
    type Error = InvalidMeasureName;

    fn try_from(text: String) -> Result<Self, InvalidMeasureName> {
        text.parse()
    }
}

impl From<MeasureName> for String {
    fn from(name: MeasureName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for MeasureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// R66. The text is not a valid name of a measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidMeasureName;

impl fmt::Display for InvalidMeasureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("R66: a measure's name is 1 to 32 of a-z 0-9 . _ - and begins with a letter")
    }
}

impl core::error::Error for InvalidMeasureName {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_screen_shows() {
        for good in
            ["St. Mary's", "Universitätsklinikum Zürich", "東京大学病院", "a", &"x".repeat(64)]
        {
            assert_eq!(good.parse::<MemberName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            " a",
            "a ",
            "a\nb",
            "a\u{1b}[31m",
            "a\u{202e}b",
            "\u{200b}",
            "a\u{a0}",
            &"x".repeat(65),
        ] {
            assert_eq!(bad.parse::<MemberName>(), Err(InvalidMemberName), "{bad:?}");
        }
    }

    #[test]
    fn measures_are_words() {
        for good in ["accuracy", "accuracy.alone", "f1", &"x".repeat(32)] {
            assert_eq!(good.parse::<MeasureName>().unwrap().as_str(), good);
        }
        for bad in ["", "1f", "Accuracy", "a b", &"x".repeat(33)] {
            assert_eq!(bad.parse::<MeasureName>(), Err(InvalidMeasureName), "{bad:?}");
        }
    }
}
