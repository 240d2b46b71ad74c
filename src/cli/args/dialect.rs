//! How a table is written.

use clap::{Args, ValueEnum as _};
use colearn_learning::data::{DateOrder, DialectOptions};

/// How a CSV file is written; what is not said is found, and told. Of a Parquet file what is not known and the order of
/// dates can be said.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "CSV")]
pub(crate) struct DialectArgs {
    /// What stands between columns: a character, or tab [default: found]
    #[arg(long, value_parser = delimiter, value_name = "CHARACTER")]
    delimiter: Option<u8>,
    /// What stands before the decimals of numbers [default: found]
    #[arg(long, value_parser = decimal, value_name = "MARK")]
    decimal: Option<char>,
    /// The encoding, such as utf-8, windows-1252 or utf-16le [default: found]
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// What stands for a value that is not known, besides nothing, such as NA; may be repeated
    #[arg(long, value_name = "TEXT")]
    na: Vec<String>,
    /// What stands first in dates such as 1/2/2000 [default: found]
    #[arg(long, value_enum, value_name = "ORDER")]
    dates: Option<Dates>,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum Dates {
    /// The day: 31/12/1999
    DayFirst,
    /// The month: 12/31/1999
    MonthFirst,
}

impl Dates {
    fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() => Ok(*byte),
        _ => Err("it is one character that is neither a letter nor a digit, or tab".to_owned()),
    }
}

fn decimal(text: &str) -> Result<char, String> {
    match text {
        "." => Ok('.'),
        "," => Ok(','),
        _ => Err("it is . or ,".to_owned()),
    }
}

impl DialectArgs {
    /// As they were written, for another command.
    pub(crate) fn words(&self) -> Vec<String> {
        let delimiter = self.delimiter.map(|byte| match byte {
            b'\t' => "tab".to_owned(),
            byte => char::from(byte).to_string(),
        });
        let decimal = self.decimal.map(String::from);
        let mut words = Vec::new();
        for (flag, value) in [
            ("--delimiter", delimiter),
            ("--decimal", decimal),
            ("--encoding", self.encoding.clone()),
            ("--dates", self.dates.map(Dates::word)),
        ] {
            words.extend(value.map(|value| [flag.to_owned(), value]).into_iter().flatten());
        }
        for text in &self.na {
            words.extend(["--na".to_owned(), text.clone()]);
        }
        words
    }

    pub(crate) fn options(&self) -> DialectOptions {
        DialectOptions {
            delimiter: self.delimiter,
            decimal: self.decimal,
            encoding: self.encoding.clone(),
            missing: self.na.clone(),
            dates: self.dates.map(|dates| match dates {
                Dates::DayFirst => DateOrder::DayFirst,
                Dates::MonthFirst => DateOrder::MonthFirst,
            }),
        }
    }
}
