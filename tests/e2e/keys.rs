//! Changing keys: the node's and the learners'.

use std::io::{Read as _, Write as _};
use std::path::Path;

use colearn_contracts::{Act, Action, Join};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, SignedNote, Signer, Verifier};
use colearn_records::keys;
use colearn_sdk::client::{Followed, Memory};

use crate::support::terminal;
use crate::support::{
    Counter, NodeProcess, Speaker, copy, fail, http, id, key, name, run, succeed,
};

fn audit(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(&[&["audit"], arguments].concat());
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn rotate(data: &Path, more: &[&str]) -> serde_json::Value {
    let arguments = ["node", "rotate-key", "--json", "--data", data.to_str().unwrap()];
    serde_json::from_str(&succeed(&[&arguments[..], more].concat())).unwrap()
}

fn verifies(note: &str, key: &serde_json::Value) -> bool {
    Checkpoint::open(note, &Verifier::parse(key.as_str().unwrap()).unwrap()).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_follows_the_nodes_new_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    let address = node.address();
    let error = fail(&["node", "rotate-key", "--data", &path("data")]);
    assert!(error.contains("in use"), "{error}");
    let memory = Memory::open(&dir.path().join("learner"), id(&key(1))).unwrap();
    let mut speaker = Speaker::remembering(&node.url, memory).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    speaker.act(&key(1), Action::new(name("x"), Act::Join(Join::new(0, None)))).await.unwrap();
    let (ledger, old) = (node.started["ledger_id"].clone(), node.started["verifier_key"].clone());
    node.stop();

    let before = dir.path().join("before");
    copy(&data, &before);
    let done = rotate(&data, &[]);
    assert_eq!((&done["from"], &done["index"]), (&old, &3.into()));
    let new = done["to"].clone();
    let node = NodeProcess::start_at(&data, &address);
    assert_eq!(node.started["verifier_key"], new);
    // While the old key is there, both sign.
    let note = String::from_utf8(http(&format!("{}/checkpoint", node.url)).1).unwrap();
    assert!(verifies(&note, &old) && verifies(&note, &new), "{note}");
    // A learner that knew the old key, anew and with its connection of before.
    let memory = Memory::open(&dir.path().join("learner"), id(&key(1))).unwrap();
    Followed::connect(&node.url, memory).await.unwrap();
    speaker.act(&key(2), Action::new(name("x"), Act::Join(Join::new(0, None)))).await.unwrap();
    node.stop();

    // Changed again, and this time the old key is gone at once.
    let newest = rotate(&data, &["--drop-old"])["to"].clone();
    assert!(!data.join("node-old.pem").exists());
    let node = NodeProcess::start_at(&data, &address);
    let note = String::from_utf8(http(&format!("{}/checkpoint", node.url)).1).unwrap();
    assert!(!verifies(&note, &new) && verifies(&note, &newest), "{note}");
    // The first call over a connection that broke may fail.
    let mut tries = 0;
    let join = Action::new(name("x"), Act::Join(Join::new(0, None)));
    while let Err(error) = speaker.act(&key(3), join.clone()).await {
        tries += 1;
        assert!(tries < 10, "{error}");
    }

    // The audit follows too, wherever it reads from, and takes any of the ledger's keys.
    let export = path("export");
    succeed(&["ledger", "export", &export, "--from", &path("data")]);
    succeed(&["ledger", "proof", "3", "--from", &node.url, "--out", &path("3.tlog-proof")]);
    succeed(&[
        "ledger",
        "verify-receipt",
        &path("3.tlog-proof"),
        "--verifier-key",
        newest.as_str().unwrap(),
    ]);
    for place in [&path("data"), &export, &node.url] {
        for pinned in [&old, &new, &newest] {
            let (code, text) = audit(&[
                place,
                "--verifier-key",
                pinned.as_str().unwrap(),
                "--receipts",
                &path("learner/receipts"),
            ]);
            assert_eq!(code, Some(0), "{text}");
        }
        for level in ["tree", "signatures"] {
            assert_eq!(audit(&[place, "--level", level]).0, Some(0));
        }
        let stranger = Signer::new("other", KeyKind::Log, key(9)).unwrap();
        let (code, text) = audit(&[place, "--verifier-key", &stranger.verifier().to_string()]);
        assert_eq!(code, Some(10), "{text}");
        let (code, text) = audit(&[place, "--ledger", &"11".repeat(32)]);
        assert_eq!(code, Some(10), "{text}");
        assert_eq!(audit(&[place, "--ledger", ledger.as_str().unwrap()]).0, Some(0));
    }
    node.stop();

    // Whoever has the old key can no longer speak for the ledger.
    let old_key = keys::load(&before.join("node.pem")).unwrap();
    let checkpoint = dir.path().join("export/checkpoint");
    let note = std::fs::read_to_string(&checkpoint).unwrap();
    let stated = Checkpoint::parse(SignedNote::parse(&note).unwrap().text()).unwrap();
    let forger = Signer::new(&stated.origin, KeyKind::Log, old_key).unwrap();
    std::fs::write(&checkpoint, stated.sign(&forger)).unwrap();
    let (code, text) = audit(&[&export]);
    assert_eq!(code, Some(11), "{text}");
    assert!(text.contains("AUDIT FAIL code=11 name=checkpoint index=- expected="), "{text}");
    assert!(text.contains(" got=\"checkpoint: no signature by "), "{text}");
}

#[test]
fn an_interrupted_change_of_the_key_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    NodeProcess::start(&data).stop();
    let old = std::fs::read(data.join("node.pem")).unwrap();
    // Interrupted before the change was recorded: the key that was made is used by the next try.
    succeed(&["key", "new", data.join("node-next.pem").to_str().unwrap()]);
    let made = std::fs::read(data.join("node-next.pem")).unwrap();
    let done = rotate(&data, &[]);
    assert_eq!(std::fs::read(data.join("node.pem")).unwrap(), made);
    assert_eq!(std::fs::read(data.join("node-old.pem")).unwrap(), old);

    // Interrupted after it was recorded, before the files were in place.
    let half = dir.path().join("half");
    copy(&data, &half);
    std::fs::rename(half.join("node.pem"), half.join("node-next.pem")).unwrap();
    std::fs::rename(half.join("node-old.pem"), half.join("node.pem")).unwrap();
    let node = NodeProcess::start(&half);
    assert_eq!(node.started["verifier_key"], done["to"]);
    node.stop();
    assert_eq!(std::fs::read(half.join("node.pem")).unwrap(), made);
    let (code, text) = audit(&[half.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");

    // With the old key alone the node does not go on.
    std::fs::rename(half.join("node-old.pem"), half.join("node.pem")).unwrap();
    let error = fail(&["node", "--data", half.to_str().unwrap()]);
    assert!(error.contains("node.pem is not the ledger's key"), "{error}");
}

/// A command that takes a passphrase from its environment.
fn with_passphrase(passphrase: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = crate::support::colearn(arguments);
    command.env("COLEARN_KEY_PASSPHRASE", passphrase).stdin(std::process::Stdio::null());
    command.output().unwrap()
}

#[test]
fn an_encrypted_key_is_used_like_any_other_and_stays_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pem").to_str().unwrap().to_owned();
    let encrypted = || {
        let text = std::fs::read_to_string(&file).unwrap();
        text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    };
    let text = |output: std::process::Output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // Nobody is at a terminal here.
    let error = fail(&["key", "new", &file, "--passphrase"]);
    assert!(error.contains("set COLEARN_KEY_PASSPHRASE"), "{error}");
    let id = text(with_passphrase("correct horse", &["key", "new", &file, "--passphrase"]));
    assert!(encrypted());
    assert_eq!(text(with_passphrase("correct horse", &["key", "show", &file])), id);
    let error = fail(&["key", "show", &file]);
    assert!(error.contains("a.pem is encrypted; set COLEARN_KEY_PASSPHRASE"), "{error}");
    let wrong = with_passphrase("correct", &["key", "show", &file]);
    let error = String::from_utf8(wrong.stderr).unwrap();
    assert!(error.starts_with("error: the passphrase does not open "), "{error}");
    let reads = |passphrase: &str| {
        let mut openssl = std::process::Command::new("openssl");
        let arguments = ["pkey", "-in", &file, "-noout", "-passin"];
        openssl.args(arguments).arg(format!("pass:{passphrase}")).output()
    };
    match reads("correct horse") {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            assert!(!reads("correct").unwrap().status.success());
        }
        Err(_) => colearn_testkit::skip("openssl", "apt-get install openssl"),
    }

    // What takes its place is as well guarded.
    let node = NodeProcess::start(&dir.path().join("data"));
    let rotate = ["key", "rotate", &file, "--node", &node.url, "--json"];
    let rotated = text(with_passphrase("correct horse", &rotate));
    let rotated: serde_json::Value = serde_json::from_str(&rotated).unwrap();
    assert_eq!(rotated["from"], id.trim());
    assert!(encrypted());
    let next = text(with_passphrase("correct horse", &["key", "show", &file]));
    assert_eq!(rotated["to"], next.trim());
}

#[test]
fn at_a_terminal_a_passphrase_is_asked_for_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pem").to_str().unwrap().to_owned();
    // Answers each question with what is typed; gives the exit code and what was shown, and whether the
    // terminal shows again what is typed.
    let answer = |arguments: &[&str], typed: &[&str]| {
        let (mut user, inside) = terminal::pair();
        let mut command = crate::support::colearn(arguments);
        command.stdin(inside.try_clone().unwrap()).stderr(inside.try_clone().unwrap());
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let (mut shown, mut byte) = (Vec::new(), [0]);
        for keys in typed {
            while !shown.ends_with(b": ") {
                user.read_exact(&mut byte).unwrap();
                shown.push(byte[0]);
            }
            shown.push(b'|');
            user.write_all(keys.as_bytes()).unwrap();
        }
        let code = child.wait().unwrap().code();
        let modes = rustix::termios::tcgetattr(&inside).unwrap().local_modes;
        let shows = modes.contains(rustix::termios::LocalModes::ECHO);
        (code, String::from_utf8(shown).unwrap(), shows)
    };
    let new = ["key", "new", &file, "--passphrase"];
    let (code, shown, shows) = answer(&new, &["corect\u{7f}\u{7f}\u{7f}rect horse\n", "other\n"]);
    assert_eq!((code, shows), (Some(1), true), "{shown}");
    assert!(!shown.contains("horse"), "{shown}");
    assert!(!std::path::Path::new(&file).exists());
    let (code, shown, shows) =
        answer(&new, &["corect\u{7f}\u{7f}\u{7f}rect horse\n", "correct horse\n"]);
    assert_eq!((code, shows), (Some(0), true), "{shown}");
    assert!(with_passphrase("correct horse", &["key", "show", &file]).status.success());
    // Broken off, the terminal is left as it was.
    let (code, shown, shows) = answer(&["key", "show", &file], &["corr\u{3}"]);
    assert_eq!((code, shows), (Some(130), true), "{shown}");
}
