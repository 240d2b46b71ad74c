//! Amounts of a denomination, and what a unit of gas costs in it.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected, Visitor};

/// The digits after the point of a gas price.
const DIGITS: usize = 18;
/// What they are parts of.
const UNIT: u128 = 10_u128.pow(DIGITS as u32);

/// An amount in units of a denomination. In TOML a number, or a text of digits: numbers there end at 2^63.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Amount(pub u128);

/// What a unit of gas costs, in units of a denomination: with up to 18 digits after the point. In TOML a number, or a
/// text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct GasPrice(u128);

impl GasPrice {
    /// What so much gas costs, rounded up; `None` if that is more than there can be.
    pub fn fee(self, gas: u64) -> Option<u128> {
        Some(self.0.checked_mul(u128::from(gas))?.div_ceil(UNIT))
    }
}

impl FromStr for GasPrice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > DIGITS {
            return Err(());
        }
        let number = |text: &str| text.parse::<u128>().ok();
        let whole = number(whole).and_then(|whole| whole.checked_mul(UNIT));
        let part = number(&format!("{part:0<DIGITS$}"));
        let sum = whole.zip(part).and_then(|(whole, part)| whole.checked_add(part));
        sum.map(Self).ok_or(())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for GasPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:0DIGITS$}", self.0 % UNIT);
        match part.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / UNIT),
            part => write!(f, "{}.{part}", self.0 / UNIT),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(Decimal("an amount: a whole number"))?;
        let digits = text.bytes().all(|it| it.is_ascii_digit());
        let amount = text.parse().ok().filter(|_| digits).map(Self);
        amount.ok_or_else(|| D::Error::custom(format!("{text:?} is no whole number")))
    }
}

impl<'de> Deserialize<'de> for GasPrice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(Decimal("a price: a decimal number"))?;
        text.parse().map_err(|()| {
            D::Error::custom(format!(
                "{text:?} is no price of a unit of gas: digits, with at most {DIGITS} after the point"
            ))
        })
    }
}

/// A number as it is written, or nearly so.
struct Decimal(&'static str);

impl Visitor<'_> for Decimal {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<String, E> {
        match u64::try_from(number) {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    // The shortest text that means this number, which is what was written if that had not too many digits.
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_decimal_number_and_fees_are_rounded_up() {
        let price = |text: &str| text.parse::<GasPrice>();
        for text in ["0", "0.025", "5000000000", "1.5", "0.000000000000000001"] {
            assert_eq!(price(text).unwrap().to_string(), text);
        }
        for none in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000000000000000001", "1.2.3"] {
            assert!(price(none).is_err(), "{none}");
        }
        assert!(price(&u128::MAX.to_string()).is_err());
        assert_eq!(price("0.025").unwrap().fee(100_001), Some(2_501));
        assert_eq!(price("0.025").unwrap().fee(100_000), Some(2_500));
        assert_eq!(price("0").unwrap().fee(u64::MAX), Some(0));
        assert_eq!(price("100000000000000000000").unwrap().fee(u64::MAX), None);
    }
}
