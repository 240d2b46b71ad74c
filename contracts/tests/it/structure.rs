//! No circle between the crate's files: none uses a file that uses it, by whatever way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The files below `dir`, by module: `round/vote.rs` is `round::vote`, `round/mod.rs` is `round`.
fn read(dir: &Path, module: &str, into: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let name = match (module, stem) {
            (_, "mod") => module.to_owned(),
            ("", _) => stem.to_owned(),
            _ => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            read(&path, &name, into);
        } else if name != "lib" {
            into.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// The modules that a file names in its `use` lines.
fn uses(module: &str, text: &str) -> BTreeSet<String> {
    let parent = module.rsplit_once("::").map(|(parent, _)| parent);
    let of = |line: &str| {
        let line = line.trim_start_matches("pub ").strip_prefix("use ")?;
        let own = line.strip_prefix("super::").and(parent).map(str::to_owned);
        let other = line.strip_prefix("crate::").map(|path| {
            let (first, _) = path.split_once("::").expect("a file by its name, not by the root");
            first.to_owned()
        });
        own.or(other)
    };
    text.lines().filter_map(of).collect()
}

#[test]
fn files_use_each_other_in_one_direction_only() {
    let mut files = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    let mut left: BTreeMap<&str, BTreeSet<String>> =
        files.iter().map(|(module, text)| (module.as_str(), uses(module, text))).collect();
    assert!(left.len() > 20 && left["experiment"].contains("roster"), "{left:?}");
    // Whoever uses nothing that is left is no part of a circle.
    loop {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, uses)| uses.iter().all(|used| !left.contains_key(used.as_str())))
            .map(|(module, _)| *module)
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
    }
    assert!(left.is_empty(), "a circle: {left:?}");
}
