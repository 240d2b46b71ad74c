//! A skip is told past the harness and counted, and fails where everything is required.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

/// Not a test of its own: what the tests below run in a process of its own.
#[test]
#[ignore = "skips on purpose"]
fn a_test_that_skips() {
    colearn_testkit::skip(&std::env::var("LACKING").unwrap(), "not installed");
}

fn run(lacking: &str, skips: &Path, required: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_test_that_skips", "--ignored"]);
    command.env("LACKING", lacking).env("COLEARN_SKIPS", skips).env_remove("COLEARN_REQUIRE_ALL");
    command.envs(required.map(|value| ("COLEARN_REQUIRE_ALL", value))).output().unwrap()
}

#[test]
fn a_skip_is_told_and_counted_and_fails_where_all_is_required() {
    let dir = tempfile::tempdir().unwrap();
    let skips = dir.path().join("skips");
    let mut told = String::new();
    for (lacking, required, passes) in [
        ("abacus", None, true),
        ("abacus", Some("0"), true),
        ("abacus", Some("1"), false),
        ("gpu", Some("1"), true),
        // A comment's sign is not a name.
        ("#", Some("1"), false),
    ] {
        let output = run(lacking, &skips, required);
        let (stdout, stderr) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.success(), passes, "{lacking} {required:?}: {stdout}{stderr}");
        let line = stderr.lines().find(|line| line.starts_with("skipped: ")).unwrap();
        assert!(line.starts_with("skipped: a_test_that_skips (testkit/tests/skip.rs:"), "{line}");
        assert!(line.ends_with(&format!("): {lacking}: not installed")), "{line}");
        if !passes {
            assert!(stdout.contains(&format!("{lacking} is required here")), "{stdout}");
        }
        told += &format!("{line}\n");
        assert_eq!(std::fs::read_to_string(&skips).unwrap(), told);
    }
}
