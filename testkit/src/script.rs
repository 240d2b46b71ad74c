//! Scripts that tests run.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a script that can be run. Not by this process: while it has a file open for writing, a child that another
/// thread is starting has it open too, and then the file cannot be run ("text file busy").
///
/// # Panics
/// If it cannot be written.
#[allow(clippy::unwrap_used)]
pub fn script(path: &Path, text: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"cat > "$0" && chmod +x "$0""#]).arg(path).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}
