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
        let why = format!(
            "{python} has no colearn_client and pytest; install them: \
             pip install './python[sklearn,pandas]' pytest"
        );
        colearn_testkit::skip("colearn_client", &why);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let skips = dir.path().join("skips");
    let tested = Command::new(&python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .current_dir(root.join("python"))
        .env("COLEARN_PROGRAM", env!("CARGO_BIN_EXE_colearn"))
        .env("COLEARN_SKIPS", &skips)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    // Its own rule for skips is that of the tests here (conftest.py); only the telling is left to do.
    for line in std::fs::read_to_string(&skips).unwrap_or_default().lines() {
        colearn_testkit::pass_on(line);
    }
    let told = String::from_utf8_lossy(&tested.stdout).into_owned();
    let errors = String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{told}\n{errors}");
    assert!(told.contains(" passed"), "{told}");
}
