//! What the reference says of the program: the page of commands is its own help, and the documents in `docs/reference/json.md`
//! have the fields that it prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{NodeProcess, succeed};

const PROGRAM: &str = env!("CARGO_BIN_EXE_colearn");

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name)
}

#[test]
fn the_page_of_commands_is_what_the_program_says() {
    let path = page("commands.md");
    let now = succeed(&["man", "--markdown"]);
    if std::env::var_os("COLEARN_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let then = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = now.lines().zip(then.lines()).find(|(now, then)| now != then);
    assert!(
        now == then,
        "docs/reference/commands.md is not what `--help` says (the first difference: {differs:?}); \
         `COLEARN_BLESS=1 cargo test --test e2e the_page_of_commands` writes it anew"
    );
}

/// A command of the page, and the documents below it.
struct Example {
    command: String,
    documents: Vec<Value>,
}

fn examples() -> Vec<Example> {
    let text = std::fs::read_to_string(page("json.md")).unwrap();
    let blocks = text.split("```console\n").skip(1);
    let commands = blocks.flat_map(|block| {
        let block = block.split("\n```").next().unwrap();
        // Output does not begin with a prompt.
        let mut parts = vec![];
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => parts.push((command.to_owned(), String::new())),
                None => {
                    let (_, told): &mut (String, String) =
                        parts.last_mut().expect("a command first");
                    *told += line;
                    *told += "\n";
                }
            }
        }
        parts
    });
    let example = |(command, told): (String, String)| {
        let documents = serde_json::Deserializer::from_str(&told).into_iter::<Value>();
        let documents = documents.map(|it| it.unwrap_or_else(|error| panic!("{command}: {error}")));
        Example { documents: documents.collect(), command }
    };
    commands.map(example).collect()
}

/// Runs a line as a shell does, in a folder, and gives what it prints; of what goes on until it is ended the first line.
fn printed(line: &str, folder: &Path, node: &NodeProcess) -> String {
    let goes_on = ["colearn node --data", "colearn ui ", "colearn witness "]
        .iter()
        .any(|it| line.starts_with(it));
    let mut command = Command::new("sh");
    // The shell gives its place to the command, so that ending the one ends the other.
    command.args(["-c", &format!("{}{line}", if goes_on { "exec " } else { "" })]);
    let own = Path::new(PROGRAM).parent().unwrap().to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all =
        std::env::join_paths([own].into_iter().chain(std::env::split_paths(&others))).unwrap();
    command.current_dir(folder).env("PATH", all).env("COLEARN_LOG", "error,sled=off");
    command.env("COLEARN_NODE", &node.url);
    command.env("VERIFIER_KEY", node.started["verifier_key"].as_str().unwrap());
    if goes_on {
        let mut process = colearn::supervise::Process::start(command).unwrap();
        let told = process.line().unwrap().expect("it says that it has started");
        process.kill().unwrap();
        return told;
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a document has the fields of an example, and nothing else. What is `null` in one of them may be anything in the
/// other, of lists only the first elements are looked at, and where fields are keys of members, those of one.
fn fits(example: &Value, real: &Value) -> bool {
    match (example, real) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Bool(_), Value::Bool(_)) => true,
        (Value::Number(_), Value::Number(_)) => true,
        (Value::String(_), Value::String(_)) => true,
        (Value::Array(example), Value::Array(real)) => {
            example.iter().zip(real).take(1).all(|(example, real)| fits(example, real))
        }
        (Value::Object(example), Value::Object(real)) => {
            let of_members = example.keys().any(|name| name.ends_with("..."));
            if of_members || example.is_empty() || real.is_empty() {
                return example
                    .values()
                    .zip(real.values())
                    .take(1)
                    .all(|(one, other)| fits(one, other));
            }
            example.len() == real.len()
                && example
                    .iter()
                    .all(|(name, one)| real.get(name).is_some_and(|other| fits(one, other)))
        }
        _ => false,
    }
}

#[test]
fn each_command_that_prints_json_is_told_of() {
    let commands = succeed(&["man", "--markdown"]);
    let told = std::fs::read_to_string(page("json.md")).unwrap();
    let sections = commands.split("\n## ").flat_map(|it| it.split("\n### "));
    let prints = sections.filter(|it| it.lines().any(|line| line == "      --json"));
    let names = prints.map(|it| it.lines().next().unwrap().trim_start_matches("colearn "));
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 35, "{names:?}");
    for name in names {
        let is_told =
            told.contains(&format!("colearn {name}")) || told.contains(&format!("`{name}"));
        assert!(is_told, "docs/reference/json.md says nothing of `{name} --json`");
    }
}

#[test]
fn documents_have_the_fields_that_the_page_shows() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut compared = 0;
    for Example { command, documents } in examples() {
        let told = printed(&command, dir.path(), &node);
        if documents.is_empty() {
            continue;
        }
        let real = serde_json::Deserializer::from_str(&told).into_iter::<Value>();
        let real: Vec<Value> = real.map(|it| it.expect(&command)).collect();
        for document in documents {
            assert!(
                real.iter().any(|real| fits(&document, real)),
                "`{command}` prints\n{told}\nand docs/reference/json.md shows\n{document:#}"
            );
            compared += 1;
        }
    }
    assert!(compared > 40, "only {compared} documents were found in the page");
}

#[test]
fn what_differs_does_not_fit() {
    let shown =
        serde_json::json!({"a": 1, "b": [{"c": "x"}], "d": {"3da543e0...": {"e": 1}}, "f": null});
    let real = |text: &str| fits(&shown, &serde_json::from_str(text).unwrap());
    assert!(real(r#"{"a": 2, "b": [{"c": "y"}], "d": {"77": {"e": 5}}, "f": [1]}"#));
    assert!(
        !real(r#"{"a": "2", "b": [{"c": "y"}], "d": {"77": {"e": 5}}, "f": 1}"#),
        "another type"
    );
    assert!(!real(r#"{"a": 2, "b": [{"c": "y", "z": 1}], "d": {}, "f": 1}"#), "one more field");
    assert!(!real(r#"{"a": 2, "b": [], "d": {"77": {"g": 5}}, "f": 1}"#), "another name");
}
