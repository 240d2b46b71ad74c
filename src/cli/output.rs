//! What is printed, until nobody reads it any more: `colearn ledger show data | head` ends quietly.

use std::borrow::Cow;
use std::fmt::Arguments;
use std::io::{self, Write as _};

/// The exit code of a program that a closed pipe has ended, as a shell says it.
pub(crate) const CLOSED_EXIT_CODE: u8 = 128 + 13;

// These stand for the standard ones in every command, so that none of them panics where its output
// is closed. A command that must clean up first uses `try_print` and passes the error on.

/// Prints a line.
macro_rules! println {
    () => { $crate::cli::output::print(format_args!("\n")) };
    ($($argument:tt)+) => {
        $crate::cli::output::print(format_args!("{}\n", format_args!($($argument)+)))
    };
}

/// Prints.
macro_rules! print {
    ($($argument:tt)+) => { $crate::cli::output::print(format_args!($($argument)+)) };
}

/// Tells a person something beside the output.
macro_rules! eprintln {
    ($($argument:tt)+) => { $crate::cli::output::tell(format_args!($($argument)+)) };
}

/// Why something could not be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Nobody reads it any more, which is nobody's fault.
    #[error("nobody reads the output")]
    Closed,
    /// For example a full disk behind it.
    #[error("cannot write the output: {0}")]
    Io(io::Error),
}

/// Prints; where that is not possible, the process ends.
pub(crate) fn print(text: Arguments<'_>) {
    match try_print(text) {
        Ok(()) => {}
        Err(OutputError::Closed) => std::process::exit(i32::from(CLOSED_EXIT_CODE)),
        Err(error @ OutputError::Io(_)) => {
            tell(format_args!("error: {error}"));
            std::process::exit(1);
        }
    }
}

/// Prints.
///
/// # Errors
/// If that is not possible.
pub(crate) fn try_print(text: Arguments<'_>) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    out.write_all(harmless_of(text).as_bytes()).and_then(|()| out.flush()).map_err(|error| {
        match error.kind() {
            io::ErrorKind::BrokenPipe => OutputError::Closed,
            _ => OutputError::Io(error),
        }
    })
}

/// Writes a line to stderr, if anybody reads it.
pub(crate) fn tell(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", harmless_of(text));
}

/// What is printed, harmless: here, where all of it passes, and nowhere else.
fn harmless_of(text: Arguments<'_>) -> Cow<'_, str> {
    match text.as_str() {
        Some(text) => harmless(text),
        None => Cow::Owned(harmless(&text.to_string()).into_owned()),
    }
}

/// The text without what would steer a terminal: much of what is shown was written by others, who could move
/// the cursor, change what stands there already or turn the direction of a line.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    match text.contains(steers) {
        true => Cow::Owned(text.replace(steers, "\u{fffd}")),
        false => Cow::Borrowed(text),
    }
}

fn steers(char: char) -> bool {
    let turns =
        matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (char.is_control() && !matches!(char, '\n' | '\t'))
}

/// Whether that is all that went wrong.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OutputError::Closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        let name = "ann\u{1b}[2J\u{1b}]0;x\u{7}\r\u{9b}1m\u{202e}bob\t\n";
        let told = harmless_of(format_args!("{name}")).into_owned();
        assert_eq!(told, "ann\u{fffd}[2J\u{fffd}]0;x\u{fffd}\u{fffd}\u{fffd}1m\u{fffd}bob\t\n");
        assert!(matches!(harmless_of(format_args!("a line\n")), Cow::Borrowed(_)));
    }
}
