//! How a CSV file is written: what stands between its columns, in its numbers, and for nothing. Found where it was
//! not said; what was found is told.

use std::io::{self, Cursor, Read};

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use encoding_rs_io::DecodeReaderBytesBuilder;

use super::dates::DateOrder;

/// How much of a file is looked at.
const HEAD_BYTES: u64 = 64 << 10;
/// How many rows of that.
const HEAD_ROWS: usize = 50;
/// What may stand between columns, the likeliest first.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// What a file is said to be like. What is not said is found.
#[derive(Clone, Debug, Default)]
pub struct DialectOptions {
    /// What stands between columns.
    pub delimiter: Option<u8>,
    /// What stands before the decimals of a number: `.` or `,`.
    pub decimal: Option<char>,
    /// The encoding, by one of the names that <https://encoding.spec.whatwg.org/#names-and-labels> lists.
    pub encoding: Option<String>,
    /// What stands for a value that is not known, besides nothing.
    pub missing: Vec<String>,
    /// In which order dates are written whose year is not first.
    pub dates: Option<DateOrder>,
}

/// How a file is written.
#[derive(Clone, Debug)]
pub(crate) struct Dialect {
    pub(super) delimiter: u8,
    decimal: char,
    missing: Vec<String>,
    /// In which order dates are, if that was said; else each column tells.
    pub(super) dates: Option<DateOrder>,
    /// What was found that people might not expect.
    pub(super) notes: Vec<String>,
}

/// A file's text, and how it is written.
type Opened<'a> = (Box<dyn Read + 'a>, Dialect);

impl Dialect {
    /// Looks at a file's beginning; what is read of it is its text.
    ///
    /// # Errors
    /// If it cannot be read, and what is wrong with what was said or found.
    pub(super) fn of<'a>(
        mut from: impl Read + 'a,
        options: &DialectOptions,
    ) -> io::Result<Result<Opened<'a>, String>> {
        let mut notes = Vec::new();
        let mut head = Vec::new();
        from.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
        let encoding = match options.encoding.as_deref().map(find) {
            Some(Err(unknown)) => return Ok(Err(unknown)),
            Some(Ok(encoding)) => Some(encoding),
            None if Encoding::for_bom(&head).is_some() || is_utf8(&head) => None,
            None => {
                notes.push("it is not UTF-8, and read as windows-1252 (--encoding)".to_owned());
                Some(WINDOWS_1252)
            }
        };
        let bytes = Cursor::new(head).chain(from);
        // UTF-8 is left to whoever reads it: what is none is refused there, and not replaced.
        let mut text = DecodeReaderBytesBuilder::new()
            .encoding(encoding.filter(|it| *it != UTF_8))
            .utf8_passthru(true)
            .strip_bom(true)
            .bom_override(true)
            .build(bytes);
        let mut head = Vec::new();
        text.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
        // The last line may be cut.
        let whole = match head.iter().rposition(|byte| *byte == b'\n') {
            Some(end) if head.len() as u64 == HEAD_BYTES => &head[..=end],
            _ => &head,
        };
        let delimiter = options.delimiter.unwrap_or_else(|| {
            let found = delimiter(whole);
            if found != b',' {
                let shown =
                    if found == b'\t' { "a tab".into() } else { char::from(found).to_string() };
                notes.push(format!("between its columns is {shown} (--delimiter)"));
            }
            found
        });
        let decimal = match options.decimal {
            Some(decimal) => decimal,
            None => match decimal(whole, delimiter) {
                Ok(',') => {
                    notes.push("in its numbers is a decimal comma (--decimal)".to_owned());
                    ','
                }
                Ok(decimal) => decimal,
                Err(mixed) => return Ok(Err(mixed)),
            },
        };
        let missing = options.missing.clone();
        let dialect = Self { delimiter, decimal, missing, dates: options.dates, notes };
        Ok(Ok((Box::new(Cursor::new(head).chain(text)), dialect)))
    }

    /// Of a file that has values of types that it names, and no way of its own to write them.
    ///
    /// # Errors
    /// If it was said how they are written.
    #[cfg(feature = "parquet")]
    pub(super) fn of_values(options: &DialectOptions) -> Result<Self, String> {
        let DialectOptions { delimiter, decimal, encoding, missing, dates } = options;
        if delimiter.is_some() || decimal.is_some() || encoding.is_some() {
            return Err(
                "a Parquet file says itself how it is written; leave out --delimiter, --decimal and --encoding"
                    .to_owned(),
            );
        }
        Ok(Self {
            delimiter: b',',
            decimal: '.',
            missing: missing.clone(),
            dates: *dates,
            notes: Vec::new(),
        })
    }

    /// Whether a value is not known.
    pub(super) fn is_missing(&self, text: &str) -> bool {
        text.is_empty() || self.missing.iter().any(|missing| missing == text)
    }

    /// Whether it would be a number with decimals if the other mark stood before them.
    pub(super) fn is_number_otherwise(&self, text: &str) -> bool {
        is_decimal(text.as_bytes(), if self.decimal == ',' { b'.' } else { b',' })
    }

    /// A finite number that an `f32` can hold, too: what does not fit would be infinite later.
    pub(super) fn number(&self, text: &str) -> Option<f64> {
        let number: f64 = match self.decimal {
            // With a point besides it is something else: thousands, or a date.
            ',' if text.contains('.') => return None,
            ',' => text.replacen(',', ".", 1).parse().ok()?,
            _ => text.parse().ok()?,
        };
        (number as f32).is_finite().then_some(number)
    }
}

fn find(name: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label(name.as_bytes()).ok_or_else(|| {
        format!("{name:?} is no encoding that is known; for example utf-8, windows-1252, utf-16le")
    })
}

/// Whether it is, but for a character that is cut at the end.
fn is_utf8(head: &[u8]) -> bool {
    match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

/// The rows of a text, as far as they can be read with this between their columns.
fn rows(head: &[u8], delimiter: u8) -> impl Iterator<Item = csv::ByteRecord> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(head);
    reader.into_byte_records().map_while(Result::ok).take(HEAD_ROWS)
}

/// What gives all rows the same number of columns, and the most.
fn delimiter(head: &[u8]) -> u8 {
    let columns = |delimiter: u8| {
        let mut counts = rows(head, delimiter).map(|row| row.len());
        let first = counts.next().unwrap_or(0);
        if counts.all(|count| count == first) { first } else { 0 }
    };
    let mut best = (1, b',');
    for delimiter in DELIMITERS {
        best = if columns(delimiter) > best.0 { (columns(delimiter), delimiter) } else { best };
    }
    best.1
}

/// What stands before the decimals, where a comma does not stand between columns.
fn decimal(head: &[u8], delimiter: u8) -> Result<char, String> {
    if delimiter == b',' {
        return Ok('.');
    }
    let has = |mark: u8| {
        rows(head, delimiter).skip(1).any(|row| row.iter().any(|field| is_decimal(field, mark)))
    };
    match (has(b'.'), has(b',')) {
        (true, true) => {
            Err("some of its numbers have a decimal point and some a decimal comma; say which is one: --decimal".into())
        }
        (_, false) => Ok('.'),
        (false, true) => Ok(','),
    }
}

/// Whether these are digits, with this mark between them once.
fn is_decimal(field: &[u8], mark: u8) -> bool {
    let field = field.trim_ascii();
    let digits = field.strip_prefix(b"-").or(field.strip_prefix(b"+")).unwrap_or(field);
    let mut parts = digits.split(|byte| *byte == mark);
    let are_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    matches!((parts.next(), parts.next(), parts.next()),
        (Some(whole), Some(rest), None) if are_digits(whole) && are_digits(rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], options: &DialectOptions) -> Result<(String, Dialect), String> {
        let (mut text, dialect) = Dialect::of(bytes, options).unwrap()?;
        let mut all = String::new();
        text.read_to_string(&mut all).unwrap();
        Ok((all, dialect))
    }

    #[test]
    fn what_a_file_is_like_is_found() {
        let utf16: Vec<u8> =
            "\u{feff}n\u{e4}me,y\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, text, delimiter, decimal, notes) in [
            (&b"a,y\n1,2\n"[..], "a,y\n1,2\n", b',', '.', 0),
            (b"\xef\xbb\xbfa,y\n1,2\n", "a,y\n1,2\n", b',', '.', 0),
            (b"a;y\n1,5;2\n", "a;y\n1,5;2\n", b';', ',', 2),
            (b"a;y\n1.5;2\n", "a;y\n1.5;2\n", b';', '.', 1),
            (b"a\ty\n\"x,y,z\"\t2\n", "a\ty\n\"x,y,z\"\t2\n", b'\t', '.', 1),
            (b"a|y|z\n1,5|2,5|3\n", "a|y|z\n1,5|2,5|3\n", b'|', ',', 2),
            (b"n\xe4me,y\n1,2\n", "n\u{e4}me,y\n1,2\n", b',', '.', 1),
            (&utf16, "n\u{e4}me,y\n1,2\n", b',', '.', 0),
            (b"one\n1\n", "one\n1\n", b',', '.', 0),
            (b"", "", b',', '.', 0),
        ] {
            let (read, dialect) = read(bytes, &DialectOptions::default()).unwrap();
            assert_eq!(read, text);
            let found = (dialect.delimiter, dialect.decimal, dialect.notes.len());
            assert_eq!(found, (delimiter, decimal, notes), "{text:?} {:?}", dialect.notes);
        }
        let mixed = read(b"a;y\n1,5;2.5\n", &DialectOptions::default()).unwrap_err();
        assert!(mixed.contains("--decimal"), "{mixed}");
        let long = format!("a;y\n{}", "1,5;2\n".repeat(20_000));
        let (all, dialect) = read(long.as_bytes(), &DialectOptions::default()).unwrap();
        assert_eq!((all.len(), dialect.delimiter), (long.len(), b';'));
    }

    #[test]
    fn what_is_said_is_not_looked_for() {
        let said = DialectOptions {
            delimiter: Some(b';'),
            decimal: Some(','),
            encoding: Some("latin1".to_owned()),
            missing: vec!["NA".to_owned()],
            dates: None,
        };
        let (text, dialect) = read(b"a;y\n\xe4;1,25\n", &said).unwrap();
        assert_eq!(text, "a;y\n\u{e4};1,25\n");
        assert!(dialect.notes.is_empty() && dialect.is_missing("NA") && dialect.is_missing(""));
        assert_eq!(dialect.number("-1,25"), Some(-1.25));
        for none in ["1.234,5", "1,2,3", "NaN", "inf", "1e300", "", "x"] {
            assert_eq!(dialect.number(none), None, "{none}");
        }
        let unknown = DialectOptions { encoding: Some("klingon".to_owned()), ..said };
        assert!(read(b"a", &unknown).unwrap_err().contains("klingon"));
    }
}
