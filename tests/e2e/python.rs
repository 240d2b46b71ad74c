//! The Python package's own tests, against the program that was just built.

use std::path::Path;
use std::process::Command;

/// Runs them with the interpreter in `COLEARN_PYTHON`, or `python3`, where the package is installed.
#[test]
fn the_python_package_passes_its_tests() {
    let python = std::env::var("COLEARN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = Command::new(&python).args(["-c", "import colearn_client, pytest"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "skipped: {python} has no colearn_client and pytest; install them: \
             pip install './python[sklearn,pandas]' pytest"
        );
        return;
    }
    let tested = Command::new(&python)
        .args(["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"])
        .current_dir(root.join("python"))
        .env("COLEARN_PROGRAM", env!("CARGO_BIN_EXE_colearn"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&tested.stdout).into_owned();
    // What was skipped, and why.
    eprintln!("{told}");
    let errors = String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{told}\n{errors}");
    assert!(told.contains(" passed"), "{told}");
}
