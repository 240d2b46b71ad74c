//! What is printed, until nobody reads it any more: `colearn ledger show data | head` ends quietly.

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
    out.write_fmt(text).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::Io(error),
    })
}

/// Writes a line to stderr, if anybody reads it.
pub(crate) fn tell(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether that is all that went wrong.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OutputError::Closed))
}
