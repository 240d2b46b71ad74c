//! What a column's values are, and how a CSV file would have them.

use std::fmt::{Debug, Write as _};

use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::Type;
use time::Date;

/// 1970-01-01, counted in days from 1 January 4713 before our era.
const JULIAN_1970: i32 = 2_440_588;
const SECONDS_A_DAY: i64 = 86_400;
const NANOS_A_SECOND: i64 = 1_000_000_000;

/// What a column's values are, where their bytes alone do not say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// As they are: truth values, numbers with a sign or a point.
    Plain,
    /// A number without a sign, of 32 bits.
    Unsigned32,
    /// A number without a sign, of 64 bits.
    Unsigned64,
    /// Days since 1970-01-01.
    Date,
    /// So many of these a second since midnight.
    Time(i64),
    /// So many of these a second since 1970, and whether that is UTC's.
    Instant(i64, bool),
    /// A whole number, and how many of its digits stand behind the point.
    Decimal(u32),
    /// UTF-8.
    Text,
    /// 16 bytes of an identifier.
    Uuid,
}

impl Form {
    /// What a field of a table is.
    ///
    /// # Errors
    /// Says in a few words what it has, if a CSV file could not have it.
    pub(super) fn of(field: &Type) -> Result<Self, String> {
        let info = field.get_basic_info();
        let (logical, converted) = (info.logical_type_ref(), info.converted_type());
        let no = |what: &str| Err(what.to_owned());
        if field.is_group() {
            return match (logical, converted) {
                (Some(LogicalType::List), _) | (_, ConvertedType::LIST) => no("it has lists"),
                (Some(LogicalType::Map), _) | (_, ConvertedType::MAP) => no("it has maps"),
                _ => no("it has several fields itself"),
            };
        }
        if info.has_repetition() && info.repetition() == Repetition::REPEATED {
            return no("it has lists");
        }
        let physical = field.get_physical_type();
        let form = match logical {
            Some(LogicalType::String | LogicalType::Enum | LogicalType::Json) => Self::Text,
            Some(LogicalType::Integer(integer)) => match (integer.is_signed, physical) {
                (false, Physical::INT32) => Self::Unsigned32,
                (false, _) => Self::Unsigned64,
                (true, _) => Self::Plain,
            },
            Some(LogicalType::Date) => Self::Date,
            Some(LogicalType::Time(time)) => Self::Time(a_second(&time.unit)),
            Some(LogicalType::Timestamp(time)) => {
                Self::Instant(a_second(&time.unit), time.is_adjusted_to_u_t_c)
            }
            Some(LogicalType::Decimal(decimal)) => Self::decimal(decimal.scale)?,
            Some(LogicalType::Uuid) => Self::Uuid,
            // Nothing but missing values.
            Some(LogicalType::Unknown) => Self::Plain,
            Some(other) => return Err(format!("it has values of type {other:?}")),
            None => Self::of_converted(converted, field)?,
        };
        let fits = match physical {
            Physical::BOOLEAN | Physical::INT96 | Physical::FLOAT | Physical::DOUBLE => {
                form == Self::Plain
            }
            Physical::INT32 | Physical::INT64 => !matches!(form, Self::Text | Self::Uuid),
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => {
                matches!(form, Self::Text | Self::Uuid | Self::Decimal(_))
                    || logical == Some(&LogicalType::Unknown)
            }
        };
        if fits { Ok(form) } else { no("it has bytes, and does not say that they are text") }
    }

    /// As older writers say it.
    fn of_converted(converted: ConvertedType, field: &Type) -> Result<Self, String> {
        Ok(match converted {
            ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON => Self::Text,
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 => {
                Self::Unsigned32
            }
            ConvertedType::UINT_64 => Self::Unsigned64,
            ConvertedType::DATE => Self::Date,
            ConvertedType::TIME_MILLIS => Self::Time(1_000),
            ConvertedType::TIME_MICROS => Self::Time(1_000_000),
            ConvertedType::TIMESTAMP_MILLIS => Self::Instant(1_000, true),
            ConvertedType::TIMESTAMP_MICROS => Self::Instant(1_000_000, true),
            ConvertedType::DECIMAL => Self::decimal(field.get_scale())?,
            ConvertedType::NONE
            | ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::INT_64 => Self::Plain,
            other => return Err(format!("it has values of type {other:?}")),
        })
    }

    fn decimal(scale: i32) -> Result<Self, String> {
        // Of 16 bytes no number has more digits.
        let scale = u32::try_from(scale).ok().filter(|scale| *scale <= 38);
        scale.map(Self::Decimal).ok_or_else(|| "it has decimals of more than 38 digits".to_owned())
    }

    /// Writes a value of a column of whole numbers.
    pub(super) fn write_integer(self, value: i64, text: &mut String) -> Result<(), String> {
        match self {
            Self::Unsigned32 => write_shown(&(value as u32), text),
            Self::Unsigned64 => write_shown(&(value as u64), text),
            Self::Date => {
                write_day(value, text);
                Ok(())
            }
            Self::Time(unit) => {
                write_time(
                    value.div_euclid(unit),
                    value.rem_euclid(unit) * (NANOS_A_SECOND / unit),
                    text,
                );
                Ok(())
            }
            Self::Instant(unit, is_utc) => {
                let nanos = value.rem_euclid(unit) * (NANOS_A_SECOND / unit);
                write_instant(value.div_euclid(unit), nanos, text);
                if is_utc {
                    text.push('Z');
                }
                Ok(())
            }
            Self::Decimal(scale) => {
                write_decimal(i128::from(value), scale, text);
                Ok(())
            }
            Self::Plain | Self::Text | Self::Uuid => write_shown(&value, text),
        }
    }

    /// Writes a value of a column of bytes.
    pub(super) fn write_bytes(self, bytes: &[u8], text: &mut String) -> Result<(), String> {
        match (self, bytes) {
            (Self::Decimal(scale), [first, ..]) if bytes.len() <= size_of::<i128>() => {
                // The highest byte first; the sign fills what is not there.
                let mut wide = [if *first >= 0x80 { 0xff } else { 0 }; size_of::<i128>()];
                let start = wide.len() - bytes.len();
                wide[start..].copy_from_slice(bytes);
                write_decimal(i128::from_be_bytes(wide), scale, text);
                Ok(())
            }
            (Self::Decimal(_), _) => {
                Err("it has decimals of more than 16 bytes, or of none".to_owned())
            }
            (Self::Uuid, _) => {
                for (at, byte) in bytes.iter().enumerate() {
                    let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(text, "{dash}{byte:02x}").map_err(|error| error.to_string())?;
                }
                Ok(())
            }
            (_, bytes) => {
                let word = std::str::from_utf8(bytes);
                // As of CSV: spaces around a value mean nothing.
                text.push_str(
                    word.map_err(|error| format!("its text is no UTF-8: {error}"))?.trim(),
                );
                Ok(())
            }
        }
    }
}

fn a_second(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::MILLIS => 1_000,
        TimeUnit::MICROS => 1_000_000,
        TimeUnit::NANOS => NANOS_A_SECOND,
    }
}

/// A number in as few digits as give it back, whole ones of type float with `.0`.
pub(super) fn write_shown(value: &impl Debug, text: &mut String) -> Result<(), String> {
    write!(text, "{value:?}").map_err(|error| error.to_string())
}

/// A time as old writers have it: nanoseconds of a day, the lower half first, and the day, counted as [`JULIAN_1970`] is.
pub(super) fn write_julian(value: &[u32], text: &mut String) -> Result<(), String> {
    let [low, high, day] = value else { return Err("a time is cut off".to_owned()) };
    let nanos = i64::from(*low) | i64::from(*high) << 32;
    let days = i64::from(*day) - i64::from(JULIAN_1970);
    let seconds = days * SECONDS_A_DAY + nanos.div_euclid(NANOS_A_SECOND);
    write_instant(seconds, nanos.rem_euclid(NANOS_A_SECOND), text);
    Ok(())
}

fn write_instant(seconds: i64, nanos: i64, text: &mut String) {
    write_day(seconds.div_euclid(SECONDS_A_DAY), text);
    text.push(' ');
    write_time(seconds.rem_euclid(SECONDS_A_DAY), nanos, text);
}

/// `YYYY-MM-DD`; a day that no date stands for as something that is none.
fn write_day(days: i64, text: &mut String) {
    let julian = i32::try_from(days).ok().and_then(|days| days.checked_add(JULIAN_1970));
    let _ = match julian.and_then(|day| Date::from_julian_day(day).ok()) {
        Some(date) => {
            let (year, month, day) = date.to_calendar_date();
            write!(text, "{year:04}-{:02}-{day:02}", u8::from(month))
        }
        None => write!(text, "day {days}"),
    };
}

/// `HH:MM:SS`, and what is left of a second if there is something.
fn write_time(seconds: i64, nanos: i64, text: &mut String) {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(text, "{hours:02}:{minutes:02}:{seconds:02}");
    if nanos > 0 {
        let _ = write!(text, ".{nanos:09}");
        text.truncate(text.trim_end_matches('0').len());
    }
}

fn write_decimal(value: i128, scale: u32, text: &mut String) {
    let sign = if value < 0 { "-" } else { "" };
    let mut digits = value.unsigned_abs().to_string();
    let scale = scale as usize;
    if digits.len() <= scale {
        digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
    }
    let (whole, rest) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    let _ = write!(text, "{sign}{whole}{point}{rest}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn integer(form: Form, value: i64) -> String {
        let mut text = String::new();
        form.write_integer(value, &mut text).unwrap();
        text
    }

    #[test]
    fn whole_numbers_are_written_as_what_they_are() {
        for (form, value, expected) in [
            (Form::Plain, i64::MIN, "-9223372036854775808"),
            (Form::Unsigned32, -1, "4294967295"),
            (Form::Unsigned64, -1, "18446744073709551615"),
            (Form::Date, 0, "1970-01-01"),
            (Form::Date, -1, "1969-12-31"),
            (Form::Date, 11_016, "2000-02-29"),
            (Form::Date, i64::MAX, "day 9223372036854775807"),
            (Form::Time(1_000), 86_399_500, "23:59:59.5"),
            (Form::Instant(1_000_000, true), -1, "1969-12-31 23:59:59.999999Z"),
            (
                Form::Instant(1_000_000_000, false),
                86_400_000_000_001,
                "1970-01-02 00:00:00.000000001",
            ),
            (Form::Instant(1_000, false), 43_200_000, "1970-01-01 12:00:00"),
            (Form::Decimal(2), -5, "-0.05"),
            (Form::Decimal(0), 12, "12"),
            (Form::Decimal(1), 120, "12.0"),
        ] {
            assert_eq!(integer(form, value), expected);
        }
    }

    #[test]
    fn numbers_give_themselves_back() {
        for value in [0.1, 1.0, -0.0, 1e-300, 123_456_789.123_456_78, f64::MAX, 5e-324] {
            let mut text = String::new();
            write_shown(&value, &mut text).unwrap();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), f64::to_bits(value), "{text}");
        }
        let mut text = String::new();
        write_shown(&0.1_f32, &mut text).unwrap();
        assert_eq!(text, "0.1");
    }

    #[test]
    fn bytes_are_text_decimals_or_identifiers() {
        let bytes = |form: Form, bytes: &[u8]| {
            let mut text = String::new();
            form.write_bytes(bytes, &mut text).map(|()| text)
        };
        assert_eq!(bytes(Form::Decimal(2), &[0xff, 0x85]).unwrap(), "-1.23");
        assert_eq!(bytes(Form::Decimal(3), &[0x7b]).unwrap(), "0.123");
        assert!(
            bytes(Form::Decimal(3), &[1; 17]).is_err() && bytes(Form::Decimal(3), &[]).is_err()
        );
        assert_eq!(bytes(Form::Text, b" a b ").unwrap(), "a b");
        assert!(bytes(Form::Text, b"\xff").unwrap_err().contains("no UTF-8"));
        let uuid = bytes(Form::Uuid, &[0x12; 16]).unwrap();
        assert_eq!(uuid, "12121212-1212-1212-1212-121212121212");
    }
}
