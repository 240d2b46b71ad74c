//! `colearn init`: what it writes, asks and keeps.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

#[cfg(target_os = "linux")]
use crate::support::terminal::Terminal;
use crate::support::{NodeProcess, Process, colearn, fail, run, succeed, write_csv};

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_is_there_is_kept_and_what_is_not_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (csv, folder) = (text(&write_csv(dir.path())), dir.path().join("bank"));
    let init =
        ["init", &text(&folder), "--create", "--experiment", "credit", "--name", "Bank \"A\""];
    let init = [&init[..], &["--data", &csv, "--label", "class", "--json"]].concat();
    let first: Value = serde_json::from_str(&succeed(&init)).unwrap();
    let written =
        ["key.pem", "member.toml", "plan.toml", "schema.json", "colearn-learner@.service"];
    let written = [&written[..], &["learner-credit.env"]].concat();
    assert_eq!(first["written"], serde_json::json!(written), "{first}");
    let mode = std::fs::metadata(folder.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = succeed(&["key", "show", &text(&folder.join("key.pem"))]).trim().to_owned();
    assert_eq!(first["public_key"], Value::from(key.clone()));
    assert_eq!(
        read(folder.join("member.toml")),
        format!("{key} = {{ name = \"Bank \\\"A\\\"\" }}\n")
    );

    // Somebody has changed the plan, and a crash has left out a file.
    std::fs::write(folder.join("plan.toml"), "threshold = \"2/3\"\n").unwrap();
    std::fs::remove_file(folder.join("schema.json")).unwrap();
    let again: Value = serde_json::from_str(&succeed(&init)).unwrap();
    assert_eq!(again["written"], serde_json::json!(["schema.json"]));
    assert_eq!(again["public_key"], Value::from(key));
    assert_eq!(read(folder.join("plan.toml")), "threshold = \"2/3\"\n");

    // A line of another key is of no use to anybody.
    std::fs::remove_file(folder.join("key.pem")).unwrap();
    let told = fail(&init);
    assert!(told.contains("member.toml is of another key"), "{told}");
}

#[test]
fn what_cannot_be_is_told_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (csv, folder) = (text(&write_csv(dir.path())), text(&dir.path().join("new")));
    let refused = |more: &[&str]| fail(&[&["init", &folder][..], more].concat());
    let experiment = ["--experiment", "credit"];
    assert!(refused(&[]).contains("--create or --join"));
    assert!(refused(&["--join"]).contains("--experiment NAME"));
    let create = [&["--create"][..], &experiment].concat();
    let told = refused(&[&create[..], &["--data", &csv]].concat());
    assert!(told.contains("--label COLUMN"), "{told}");
    let told = refused(&[&create[..], &["--data", &csv, "--label", "nope"]].concat());
    assert!(told.contains("has no column \"nope\""), "{told}");
    let told = refused(&[&create[..], &["--data", "nowhere.csv"]].concat());
    assert!(told.contains("there is no nowhere.csv"), "{told}");
    let rust = [&create[..], &["--data", &csv, "--label", "class", "--learner", "rust"]].concat();
    let told = refused(&[&rust[..], &["--colearn-source", &folder]].concat());
    assert!(told.contains("sdk/Cargo.toml"), "{told}");
    let number = ["--data", &csv, "--label", "x", "--learner", "sklearn"];
    let told = refused(&[&create[..], &number].concat());
    assert!(told.contains("predicts a class, which \"x\" is not"), "{told}");
    for (flag, none) in [("--min-learners", "0"), ("--max-rounds", "0")] {
        assert_eq!(run(&["init", &folder, "--create", flag, none]).status.code(), Some(2));
    }
    let own = [&create[..], &["--label", "class", "--learner", "sklearn"]].concat();
    let told = refused(&[&own[..], &["--task", "iris"]].concat());
    assert!(told.contains("reads a file"), "{told}");
    let images = ["--learner", "images", "--classes", "3", "--task", "iris"];
    let told = refused(&[&create[..], &images].concat());
    assert!(told.contains("reads a file"), "{told}");
    let other = dir.path().join("semicolons.csv");
    std::fs::write(&other, read(&csv).replace(',', ";")).unwrap();
    let told = refused(&[&own[..], &["--data", &text(&other)]].concat());
    assert!(told.contains("plain CSV file") && told.contains(";"), "{told}");
    let spaced = dir.path().join("with space.csv");
    std::fs::copy(&csv, &spaced).unwrap();
    let told = refused(&[&create[..], &["--data", &text(&spaced), "--label", "class"]].concat());
    assert!(told.contains("another name"), "{told}");
    assert!(!Path::new(&folder).exists());
}

/// At a terminal it asks: here one that `script` (util-linux) makes.
#[cfg(target_os = "linux")]
#[test]
fn whoever_sits_at_a_terminal_is_asked() {
    let there = Command::new("script").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        colearn_testkit::skip("script", "no program script (util-linux)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    write_csv(dir.path());
    let program = env!("CARGO_BIN_EXE_colearn");
    let ask = |answers: &str| {
        let mut script = Command::new("script")
            .args(["-qec", &format!("'{program}' init bank"), "/dev/null"])
            .current_dir(dir.path())
            .env_remove("COLEARN_NODE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        script.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let ended = script.wait_with_output().unwrap();
        (ended.status.success(), String::from_utf8_lossy(&ended.stdout).into_owned())
    };
    // Broken off in the middle (Ctrl-D) it has written nothing.
    let (done, told) = ask("create\ncredit\n\u{4}");
    assert!(!done && told.contains("broken off"), "{told}");
    assert!(!dir.path().join("bank").exists());

    // A word that is none is asked for again; a line without one takes what is usual.
    let answers =
        "maybe\ncreate\ncredit\nBank A\n\nnowhere.csv\npoints.csv\nage\nclass\ny\n4\n\n2/3\nall\n";
    let (done, told) = ask(answers);
    assert!(done, "{told}");
    assert!(
        told.contains("write create, or join") && told.contains("there is no column \"age\""),
        "{told}"
    );
    let plan = read(dir.path().join("bank/plan.toml"));
    for rule in ["min_learners = 4 ", "max_rounds = 30 ", "threshold = \"2/3\"", "merging = {}"] {
        assert!(plan.contains(rule), "{rule}: {plan}");
    }
    let schema = read(dir.path().join("bank/schema.json"));
    assert!(schema.contains("\"x\"") && !schema.contains("\"y\""), "{schema}");
}

/// Questions are answered and a passphrase is typed at the same terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_passphrase_is_asked_for_after_the_questions() {
    let dir = tempfile::tempdir().unwrap();
    let locked = text(&dir.path().join("locked"));
    let init = ["init", &locked, "--join", "--experiment", "e", "--passphrase", "--task", "iris"];
    let mut terminal = Terminal::run(&colearn(&init), (100, 40));
    terminal.wait(&["What is this organisation called"]);
    terminal.press("Bank\n");
    terminal.wait(&["What learns?"]);
    terminal.press("\n");
    terminal.wait(&["New passphrase of"]);
    terminal.press("correct horse\n");
    terminal.wait(&["Once more: "]);
    terminal.press("correct horse\n");
    terminal.wait(&["next:", "give "]);
    assert_eq!(terminal.end(), Some(0));
    assert!(read(dir.path().join("locked/key.pem")).contains("ENCRYPTED"));
    assert!(read(dir.path().join("locked/member.toml")).contains("Bank"));
}

#[test]
fn a_learner_in_rust_is_begun_with_one_that_learns() {
    let dir = tempfile::tempdir().unwrap();
    let csv = text(&write_csv(dir.path()));
    let node = NodeProcess::start(&dir.path().join("data"));
    let folder = |name: &str| dir.path().join(name);
    let root = env!("CARGO_MANIFEST_DIR");
    let init = |name: &str, more: &[&str]| {
        let folder = text(&folder(name));
        let init = ["init", &folder, "--experiment", "credit", "--node", &node.url, "--data", &csv];
        let rust = ["--learner", "rust", "--colearn-source", root];
        succeed(&[&init[..], &rust, more].concat())
    };
    let told =
        init("a", &["--create", "--label", "class", "--min-learners", "2", "--max-rounds", "4"]);
    assert!(told.contains("experiment create credit"), "{told}");
    init("b", &["--join"]);
    let manifest = read(folder("a/learner/Cargo.toml"));
    let manifest: toml::Table = manifest.parse().unwrap();
    for (name, from) in manifest["dependencies"].as_table().unwrap() {
        if let Some(path) = from.get("path") {
            let there: toml::Table =
                read(format!("{}/Cargo.toml", path.as_str().unwrap())).parse().unwrap();
            assert_eq!(there["package"]["name"].as_str(), Some(name.as_str()));
        }
    }
    // It is this repository's example, which was built with the tests.
    let example =
        Path::new(env!("CARGO_BIN_EXE_colearn")).with_file_name("examples").join("own_data");
    assert_eq!(
        read(folder("a/learner/src/main.rs")),
        read(format!("{root}/learning/examples/own_data.rs")).replace("own_data", "learner")
    );
    let path = |name: &str| text(&folder(name));
    let (schema, initial, agreed) =
        (path("a/schema.json"), path("a/initial.json"), path("a/agreed.toml"));
    let made = Command::new(&example).args([&csv, &schema, "initial", &initial]).status();
    assert!(made.expect("plain `cargo test` builds the examples first").success());
    let members = read(folder("a/plan.toml")) + &read(folder("b/member.toml"));
    std::fs::write(folder("a/plan.toml"), members).unwrap();
    let (key, plan) = (path("a/key.pem"), path("a/plan.toml"));
    let create = ["experiment", "create", "credit", "--node", &node.url, "--key", &key];
    let weights = ["--weights", &initial, "--media-type", "application/json", "--agreed", &agreed];
    succeed(&[&create[..], &["--plan", &plan], &weights].concat());
    let takes_part = |name: &str| {
        let mut command = Command::new(&example);
        command.args([&csv, &schema, "join", &node.url, "credit"]);
        command.args([&path(&format!("{name}/key.pem")), &agreed]);
        Process::of(::colearn::supervise::Process::start(command).unwrap())
    };
    for mut learner in ["a", "b"].map(takes_part) {
        assert_eq!(learner.line().as_deref(), Some("finished after 4 rounds"));
        assert_eq!(learner.wait(), Some(0));
    }
    let shown = succeed(&["experiment", "show", "credit", "--node", &node.url, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let rounds = shown["history"]["rounds"].as_array().unwrap();
    assert!(rounds.iter().any(|round| round["verdict"] == "accepted"), "{shown:#}");
    // What is agreed on is the plan in force, and a learner with another one joins nothing.
    assert!(read(&agreed).contains("terms = \"") && read(&agreed).contains("verifier_key = \""));
    node.stop();
}
