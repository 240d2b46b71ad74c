#![doc = include_str!("../README.md")]

#[cfg(feature = "chain")]
#[allow(clippy::expect_used, clippy::unwrap_used)]
pub mod chain;
mod figures;
#[cfg(feature = "learner")]
mod near;
mod pace;
#[path = "../../src/cli/demo/ports.rs"]
mod ports;
mod script;
#[cfg(feature = "wasmd")]
#[allow(clippy::expect_used)]
pub mod wasmd;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use self::figures::Figures;
#[cfg(feature = "learner")]
pub use self::near::Near;
pub use self::pace::assert_pace;
pub use self::script::script;

/// What a machine may lack, one a line: its name, then the reason.
const MAY_LACK: &str = include_str!("../../.ci/may-lack");

/// Says past the test harness that the test, or a part of it, does not run because `what` is lacking.
///
/// `what` is one word, the one that `.ci/may-lack` would list; `why` says what was looked for, and how to
/// install it.
///
/// # Panics
/// With `COLEARN_REQUIRE_ALL=1`, if `what` is not in that list.
#[track_caller]
pub fn skip(what: &str, why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let at = std::panic::Location::caller();
    pass_on(&format!("skipped: {test} ({}:{}): {what}: {why}", at.file(), at.line()));
    let required = std::env::var_os("COLEARN_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required || may_lack(what), "{what} is required here: {why}");
}

/// Tells a skip that another test runner has already judged: one line.
///
/// # Panics
/// If the file that `COLEARN_SKIPS` names cannot be written: a skip must not get lost.
pub fn pass_on(line: &str) {
    let line = format!("{line}\n");
    // Not `eprintln!`, whose output the harness keeps to itself when the test passes. Nobody may be
    // reading standard error; that is no reason to fail.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("COLEARN_SKIPS") {
        // One write at the end of the file: many test programs share it.
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(written.is_ok(), "COLEARN_SKIPS={}: {written:?}", Path::new(&path).display());
    }
}

/// The path of reference data beside the repository, `../shared/reference/NAME`; a skip where it is absent.
#[track_caller]
pub fn reference(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("shared/reference").join(name);
    if path.exists() {
        return Some(path);
    }
    skip("shared", &format!("no ../shared/reference/{name}"));
    None
}

/// An address of loopback that nobody listens on, for a program that cannot be given a listener.
///
/// # Panics
/// If none is left.
#[must_use]
pub fn free_address() -> SocketAddr {
    free_addresses(1)[0]
}

/// So many such addresses.
///
/// # Panics
/// If none is left.
#[must_use]
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    match ports::free(count) {
        Ok(addresses) => addresses,
        Err(error) => panic!("{error}"),
    }
}

/// The CometBFT that `COLEARN_COMETBFT` names, or else the one that `.ci/cometbft` has built; a skip where
/// there is none.
#[track_caller]
pub fn cometbft() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("COLEARN_COMETBFT").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/cometbft");
    if built.exists() {
        return Some(built);
    }
    skip(
        "cometbft",
        "neither COLEARN_COMETBFT nor target/tools/cometbft; .ci/cometbft builds it with Go",
    );
    None
}

fn may_lack(what: &str) -> bool {
    let mut lines = MAY_LACK.lines().filter(|line| !line.starts_with('#'));
    lines.any(|line| line.split_whitespace().next() == Some(what))
}
