//! `docs/vectors`: what whoever writes another client, or another follower, has to come to.
//!
//! The files are committed, and `docs/vectors/README.md` says what is in them. One test here writes them
//! anew, another has them checked by `docs/vectors/check.py`, which shares no line with this program.
//! Where they are to change, `COLEARN_BLESS=1 cargo test -p colearn-records vectors` writes them.

mod entries;
mod histories;
mod merges;
mod messages;
mod notes;
mod refusals;
mod signatures;
mod transactions;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What lists the digests of the files, as `sha256sum` writes it.
const SUMS: &str = "SHA256SUMS";
/// All files together, in bytes.
const MAX_BYTES: usize = 1_000_000;
/// How many values of each file are changed to see whether the reader notices.
const CHANGES: usize = 60;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors")
}

/// Every file, in the order in which the README has them.
fn files() -> Vec<(&'static str, String)> {
    fn file(name: &'static str, content: &impl Serialize) -> (&'static str, String) {
        (name, serde_json::to_string_pretty(content).unwrap() + "\n")
    }
    vec![
        file("signatures.json", &signatures::file()),
        file("transactions.json", &transactions::file()),
        file("entries.json", &entries::file()),
        file("tree.json", &tree::file()),
        file("notes.json", &notes::file()),
        file("histories.json", &histories::file()),
        file("refusals.json", &refusals::file()),
        file("merges.json", &merges::file()),
    ]
}

fn sums(files: &[(&str, String)]) -> String {
    let line =
        |(name, text): &(&str, String)| format!("{}  {name}\n", hex::encode(Sha256::digest(text)));
    files.iter().map(line).collect()
}

/// Writes files to a folder of their own.
fn write(folder: &Path, files: &[(&str, String)]) {
    fs::create_dir_all(folder).unwrap();
    files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
}

#[test]
fn the_committed_files_are_current() {
    let mut files = files();
    files.push((SUMS, sums(&files)));
    if std::env::var_os("COLEARN_BLESS").is_some() {
        write(&folder(), &files);
    }
    for (name, text) in &files {
        assert!(
            fs::read_to_string(folder().join(name)).is_ok_and(|committed| committed == *text),
            "docs/vectors/{name} is not what this program writes; where that is meant, \
             `COLEARN_BLESS=1 cargo test -p colearn-records vectors` writes it anew"
        );
    }
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    assert!(bytes < MAX_BYTES, "the vectors have {bytes} bytes");
}

#[test]
fn the_readme_tells_of_every_case() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let mut untold = Vec::new();
    for (file, text) in files() {
        each(&serde_json::from_str(&text).unwrap(), &mut String::new(), &mut |path, value| {
            let told = |text: &Value| readme.contains(&format!("`{}`", text.as_str().unwrap()));
            let refused = path.contains("/refused/");
            let is_told = match path.rsplit('/').next() {
                Some("name") if is_case_name(path) => told(value),
                // In the row of its case, so that no case is told with another's reason.
                Some("reason" | "rule") if refused => {
                    let case: Value = serde_json::from_str(&text).unwrap();
                    let parent = path.rsplit_once('/').unwrap().0;
                    let name = case.pointer(parent).unwrap()["name"].as_str().unwrap();
                    let why = match value {
                        Value::String(reason) => format!("`{reason}`"),
                        rule => format!("R{rule}"),
                    };
                    let row = format!("| `{name}` | {why} |");
                    readme.lines().any(|line| line.starts_with(&row))
                }
                _ => true,
            };
            if !is_told {
                untold.push(format!("{file}{path}: {value}"));
            }
        });
    }
    assert!(untold.is_empty(), "docs/vectors/README.md does not tell of:\n{}", untold.join("\n"));
}

#[test]
fn a_reader_that_shares_nothing_with_this_program_comes_to_the_same() {
    let Some(output) = check(&[folder()]) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Not by their digests alone: the reader derives each value from others.
#[test]
fn the_reader_notices_whatever_is_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let mut unnoticed = Vec::new();
    for (name, text) in files() {
        let whole: Value = serde_json::from_str(&text).unwrap();
        let mut paths = Vec::new();
        each(&whole, &mut String::new(), &mut |path, _| paths.push(path.to_owned()));
        paths.retain(|path| is_derived(path));
        let step = paths.len().div_ceil(CHANGES).max(1);
        let intact = scratch.path().join(format!("{name}-intact"));
        write(&intact, &[(name, text.clone())]);
        let mut folders = vec![(intact, "")];
        for (number, path) in paths.iter().step_by(step).enumerate() {
            let mut changed = whole.clone();
            change(changed.pointer_mut(path).unwrap());
            let folder = scratch.path().join(format!("{name}-{number}"));
            write(&folder, &[(name, serde_json::to_string(&changed).unwrap())]);
            folders.push((folder, path.as_str()));
        }
        let all: Vec<PathBuf> = folders.iter().map(|(folder, _)| folder.clone()).collect();
        let Some(output) = check(&all) else { return };
        assert!(!output.status.success());
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told.lines().count(), folders.len(), "{told}");
        let ok = told.lines().zip(&folders).filter(|(line, _)| line.ends_with(": ok"));
        let mut ok = ok.map(|(_, (_, path))| *path);
        assert_eq!(ok.next(), Some(""), "{told}");
        unnoticed.extend(ok.map(|path| format!("{name}{path}")));

        // What follows from nothing else, the digests keep.
        let mut damaged = text.clone().into_bytes();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        let folder = scratch.path().join(name);
        write(&folder, &[(SUMS, sums(&[(name, text)]))]);
        fs::write(folder.join(name), damaged).unwrap();
        assert!(!check(&[folder]).unwrap().status.success(), "{name}");
    }
    assert!(unnoticed.is_empty(), "changed unnoticed: {unnoticed:#?}");
}

/// Whether other values of the file lead to this one. Names are names; what is refused mostly stays so
/// when it is changed, and by which rule a contract refuses it only a contract can tell.
fn is_derived(path: &str) -> bool {
    let refused = path.contains("/refused/");
    !is_case_name(path) && (!refused || path.ends_with("/reason"))
}

/// Whether it is what a case is called, and not a name in what the case is about.
fn is_case_name(path: &str) -> bool {
    path.ends_with("/name")
        && !["/message/", "/genesis/"].iter().any(|inside| path.contains(inside))
}

/// Visits every value that holds no others, with its place (RFC 6901).
fn each(value: &Value, path: &mut String, visit: &mut impl FnMut(&str, &Value)) {
    let length = path.len();
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(place, item)| (place.to_string(), item)).collect()
        }
        Value::Object(fields) => fields.iter().map(|(key, it)| (key.clone(), it)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return visit(path, value);
        }
    };
    for (key, child) in children {
        path.push('/');
        path.push_str(&key);
        each(child, path, visit);
        path.truncate(length);
    }
}

/// Makes another value of the same kind.
fn change(value: &mut Value) {
    *value = match &*value {
        Value::Bool(flag) => Value::Bool(!flag),
        Value::Number(number) => Value::from(number.as_u64().unwrap() + 1),
        Value::String(text) => {
            let mut letters: Vec<char> = text.chars().collect();
            // Base64 does not use all bits of its last letters: not those.
            let place = letters.len() / 2;
            match letters.get_mut(place) {
                Some(letter) => *letter = if *letter == '0' { '1' } else { '0' },
                None => letters.push('0'),
            }
            Value::String(letters.into_iter().collect())
        }
        Value::Null | Value::Array(_) | Value::Object(_) => {
            unreachable!("holds others, or nothing")
        }
    };
}

/// Has the reader check the files of these folders; a skip where there is no Python.
fn check(folders: &[PathBuf]) -> Option<Output> {
    let output = Command::new("python3").arg(folder().join("check.py")).args(folders).output();
    if output.is_err() {
        colearn_testkit::skip("python3", "no python3 in PATH, by which docs/vectors/check.py runs");
    }
    output.ok()
}
