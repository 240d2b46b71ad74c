//! Which programs are taken for CometBFT.

use colearn_comet::program::{Program, ProgramError};

use colearn_testkit::script;

/// What is said of a program whose `version` does this.
fn find(version: &str) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("any name");
    script(&path, &format!("#!/bin/sh\n[ \"$*\" = version ] || exit 9\n{version}\n"));
    match Program::find(Some(&path)) {
        Ok(program) => {
            assert_eq!(program.path(), path);
            Ok(program.version().to_owned())
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("any name") && said.contains("go install"), "{said}");
            Err(said)
        }
    }
}

#[test]
fn the_right_versions_are_taken() {
    for version in ["0.38.21", "0.38.25", "0.38.100", "0.38.25+abcdef"] {
        assert_eq!(find(&format!("echo {version}")), Ok(version.to_owned()));
    }
}

#[test]
fn other_versions_are_not() {
    for version in [
        "0.38.20",
        "0.38.9",
        "0.37.25",
        "0.39.30",
        "1.0.1",
        "v0.38.25",
        "0.38.25-rc1",
        "0.38.",
        "",
        "0.38.x",
    ] {
        let said = find(&format!("echo '{version}'")).unwrap_err();
        assert!(said.contains(&format!("version {version:?}")), "{said}");
    }
}

#[test]
fn what_cannot_be_run_is_told() {
    assert!(find("exit 3").unwrap_err().contains("exit status: 3"));
    let missing = Program::find(Some("/no/such/program".as_ref())).unwrap_err();
    assert!(matches!(missing, ProgramError::Run { .. }));
    assert!(missing.to_string().contains("/no/such/program: No such file"), "{missing}");
    assert!(ProgramError::Missing.to_string().contains("go install"));
}
