//! Dates as files have them, as days since 1970-01-01.

use time::{Date, Month};

/// In which order a date's day, month and year stand where the year is not first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DateOrder {
    /// The day first: 31/12/1999.
    DayFirst,
    /// The month first: 12/31/1999.
    MonthFirst,
}

/// How a date was read.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Found {
    /// Days since 1970-01-01.
    Certain(f64),
    /// Two numbers, either of which may be the month if it is one, the year, and the part of the day.
    Either(u8, u8, i32, f64),
}

/// What the dates of a column look like; none of them needs to be one.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(super) struct Look {
    /// How many dates there are.
    pub(super) dates: usize,
    day_first: bool,
    month_first: bool,
    either: bool,
}

impl Look {
    pub(super) fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut look = Self::default();
        for text in texts {
            match find(text) {
                Some(Found::Certain(_)) => {}
                Some(Found::Either(first, second, ..)) => match (first > 12, second > 12) {
                    (true, true) => continue,
                    (true, false) => look.day_first = true,
                    (false, true) => look.month_first = true,
                    (false, false) => look.either |= first != second,
                },
                None => continue,
            }
            look.dates += 1;
        }
        look
    }

    /// The order in which they are all dates. Where that cannot be told, [`None`]; where it makes no difference,
    /// either.
    pub(super) fn order(self) -> Option<DateOrder> {
        match (self.day_first, self.month_first) {
            (true, false) => Some(DateOrder::DayFirst),
            (false, true) => Some(DateOrder::MonthFirst),
            (false, false) if !self.either => Some(DateOrder::DayFirst),
            _ => None,
        }
    }
}

/// A date, with or without a time, as days since 1970-01-01 in UTC or wherever all are.
///
/// The year first (`1999-12-31`, `1999/12/31`), the day before it with points (`31.12.1999`), or as `order` says
/// with slashes or dashes. Then, after a space or a T, `HH:MM`, `HH:MM:SS` or `HH:MM:SS.SSS`, and Z or an offset.
pub(super) fn days(text: &str, order: DateOrder) -> Option<f64> {
    match find(text)? {
        Found::Certain(days) => Some(days),
        Found::Either(first, second, year, part) => {
            let (day, month) = match order {
                DateOrder::DayFirst => (first, second),
                DateOrder::MonthFirst => (second, first),
            };
            Some(since_1970(year, month, day)? + part)
        }
    }
}

fn find(text: &str) -> Option<Found> {
    // A date with a time and an offset has 35 bytes at most.
    if !(8..=40).contains(&text.len()) || !text.is_ascii() {
        return None;
    }
    let (date, part) = match text.split_once([' ', 'T']) {
        Some((date, time)) => (date, part_of_a_day(time)?),
        None => (text, 0.0),
    };
    let mark = date.chars().find(|it| !it.is_ascii_digit())?;
    let mut parts = date.split(mark);
    let (Some(first), Some(second), Some(third), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    match (first.len(), mark, third.len()) {
        (4, '-' | '/', _) => {
            let (month, day) = (small(second)?, small(third)?);
            Some(Found::Certain(since_1970(year(first)?, month, day)? + part))
        }
        (_, '.', 4) => {
            let (day, month) = (small(first)?, small(second)?);
            Some(Found::Certain(since_1970(year(third)?, month, day)? + part))
        }
        (_, '-' | '/', 4) => {
            let (first, second, year) = (small(first)?, small(second)?, year(third)?);
            let possible = since_1970(year, second, first).or(since_1970(year, first, second));
            possible.map(|_| Found::Either(first, second, year, part))
        }
        _ => None,
    }
}

/// A number of one or two digits.
fn small(text: &str) -> Option<u8> {
    let digits = matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

fn year(text: &str) -> Option<i32> {
    let digits = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

fn since_1970(year: i32, month: u8, day: u8) -> Option<f64> {
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    // Whole days from 1 January 4713 before our era, of which 1970 began as the 2,440,588th.
    Some(f64::from(date.to_julian_day() - 2_440_588))
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.SSS`, then nothing, Z, or how far the clock is before UTC's.
fn part_of_a_day(text: &str) -> Option<f64> {
    let (time, offset) = match text.find(['Z', '+', '-']) {
        None => (text, 0.0),
        Some(at) if &text[at..] == "Z" => (&text[..at], 0.0),
        Some(at) => {
            let minutes = match text[at + 1..].split_once(':') {
                Some((hours, minutes)) => 60.0 * below(hours, 24.0)? + below(minutes, 60.0)?,
                None => 60.0 * below(&text[at + 1..], 24.0)?,
            };
            (&text[..at], if text.as_bytes()[at] == b'-' { -minutes } else { minutes })
        }
    };
    let mut parts = time.splitn(3, ':');
    let hours = below(parts.next()?, 24.0)?;
    let minutes = below(parts.next()?, 60.0)?;
    let seconds = match parts.next() {
        None => 0.0,
        // A leap second, which no calendar knows beforehand, is the next minute's first.
        Some(text) => {
            let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
            let digits = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
            below(whole, 61.0)? + digits.then(|| format!("0.{rest}").parse::<f64>().ok())??
        }
    };
    Some((3600.0 * hours + 60.0 * (minutes - offset) + seconds) / 86_400.0)
}

fn below(text: &str, limit: f64) -> Option<f64> {
    small(text).map(f64::from).filter(|number| *number < limit)
}

#[cfg(test)]
mod tests {
    use super::DateOrder::{DayFirst, MonthFirst};
    use super::*;

    #[test]
    fn dates_are_days_since_1970() {
        for (text, expected) in [
            ("1970-01-01", 0.0),
            ("1970/1/2", 1.0),
            ("1969-12-31", -1.0),
            ("2000-02-29", 11_016.0),
            ("29.2.2000", 11_016.0),
            ("29/02/2000", 11_016.0),
            ("29-2-2000", 11_016.0),
            ("1970-01-02 12:00", 1.5),
            ("1970-01-02T06:00:00", 1.25),
            ("1970-01-02T06:00:00.000Z", 1.25),
            ("1970-01-02T06:00:00+06:00", 1.0),
            ("1970-01-02T18:00-06", 2.0),
            ("01.01.1970 00:00:01.5", 1.5 / 86_400.0),
        ] {
            assert_eq!(days(text, DayFirst), Some(expected), "{text}");
        }
        assert_eq!(days("3/4/1970", DayFirst), Some(92.0));
        assert_eq!(days("3/4/1970", MonthFirst), Some(62.0));
        assert_eq!(days("31/12/1999", MonthFirst), None);
        for none in [
            "",
            "1970",
            "19700101",
            "1.5",
            "70-01-01",
            "2001-02-29",
            "31.4.2001",
            "1970-13-01",
            "1970-01-01T",
            "1970-01-01 24:00",
            "1970-01-01 12",
            "1970-01-01 12:00:00.x",
            "1-2-3-4",
            "1970.01.01",
            "+970-01-01",
            "1970-01-01 -1:00",
            "a1/01/1970",
            "\u{661}970-01-01",
        ] {
            assert_eq!(days(none, DayFirst), None, "{none}");
        }
    }

    #[test]
    fn the_order_is_told_by_what_cannot_be_a_month() {
        let order = |texts: &[&str]| Look::of(texts.iter().copied()).order();
        assert_eq!(order(&["1/2/2000", "31/2/2001", "13/2/2000"]), Some(DayFirst));
        assert_eq!(order(&["1/2/2000", "2/13/2000"]), Some(MonthFirst));
        assert_eq!(order(&["1/2/2000", "3/4/2000"]), None);
        assert_eq!(order(&["13/2/2000", "2/13/2000"]), None);
        assert_eq!(order(&["2000-01-02", "3/3/2000", "x"]), Some(DayFirst));
        assert_eq!(Look::of(["2000-01-02", "x", "31.4.2001", "1/2/2000"].into_iter()).dates, 2);
    }
}
