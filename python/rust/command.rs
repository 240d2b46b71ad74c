//! The `colearn` command, run by the interpreter.

use std::ffi::OsString;
use std::process::ExitCode;

use colearn::Program;
use pyo3::prelude::*;

/// Runs the command, and gives its exit code.
///
/// `python` is the interpreter's file: `python -m colearn_client` is how the command starts itself again.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>, python: OsString) -> u8 {
    let before = ["-m", "colearn_client"].map(OsString::from).to_vec();
    let program = Program { file: Some(python), before };
    let code = py.detach(|| colearn::main(arguments, program));
    // An exit code does not say which one it is.
    (0..=u8::MAX).find(|number| ExitCode::from(*number) == code).unwrap_or(1)
}
