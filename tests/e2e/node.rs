//! The node process: starting, serving, stopping, refusing.

use colearn_contracts::{Act, Action, Join};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Hash, Verifier};
use colearn_sdk::client::ClientError;

use crate::support::{
    Counter, NodeProcess, Process, Speaker, closed_port, fail, http, key, run, succeed,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_was_lost_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    let weights = Counter::weights(0);
    Speaker::connect(&node.url).await.create("x", &weights, 3).await;
    node.stop();
    // It ends with its standard input, which is empty.
    let start = || {
        let data = data.to_str().unwrap();
        let started = run(&["node", "--data", data, "--listen", "127.0.0.1:0", "--until-eof"]);
        String::from_utf8(started.stderr).unwrap()
    };
    let told = start();
    assert!(!told.contains("lost"), "{told}");
    std::fs::remove_dir_all(data.join("artifacts")).unwrap();
    let told = start();
    assert!(told.contains("the model's weights are lost here"), "{told}");
    assert!(told.contains(&weights.digest().to_string()), "{told}");
}

#[test]
fn a_node_starts_with_nothing_and_keeps_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/data");
    let node = NodeProcess::start(&data);
    let (id, key) = (node.started["ledger_id"].clone(), node.started["verifier_key"].clone());
    assert_eq!(id.as_str().unwrap().len(), 64);
    assert_eq!(http(&format!("{}/healthz", node.url)), (200, b"ok\n".to_vec()));

    let verifier = Verifier::parse(key.as_str().unwrap()).unwrap();
    let (status, note) = http(&format!("{}/checkpoint", node.url));
    assert_eq!(status, 200);
    let checkpoint = Checkpoint::open(&String::from_utf8(note).unwrap(), &verifier).unwrap();
    assert_eq!(checkpoint.size, 1);
    let (status, bundle) = http(&format!("{}/tile/entries/000.p/1", node.url));
    assert_eq!(status, 200);
    assert_eq!(usize::from(u16::from_be_bytes([bundle[0], bundle[1]])), bundle.len() - 2);
    assert_eq!(Hash::leaf(&bundle[2..]), checkpoint.root);
    let (status, tile) = http(&format!("{}/tile/0/000.p/1", node.url));
    assert_eq!((status, &tile[..]), (200, &checkpoint.root.0[..]));
    for missing in ["tile/0/000", "tile/0/000.p/2", "tile/entries/001", "tile/0/0", "tile/9/000"] {
        assert_eq!(http(&format!("{}/{missing}", node.url)).0, 404, "{missing}");
    }

    // A second node on the same data says why it does not start.
    let error = fail(&["node", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(error.contains("in use by another process"), "{error}");
    // And one on the same port.
    let other = dir.path().join("other");
    let error = fail(&["node", "--data", other.to_str().unwrap(), "--listen", &node.address()]);
    assert!(error.contains("cannot listen on"), "{error}");

    node.stop();
    let again = NodeProcess::start(&data);
    assert_eq!((&again.started["ledger_id"], &again.started["verifier_key"]), (&id, &key));
    assert_eq!(again.started["entries"], 1);
    assert_eq!(again.started["torn_bytes"], 0);
}

#[test]
fn a_node_says_what_to_insist_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let witness = colearn_ledger::Signer::new("w", KeyKind::Witness, key(1)).unwrap();
    let by = format!("w={}@http://{}", witness.verifier(), closed_port());
    let listen = ["--listen", "127.0.0.1:0", "--witness", &by];
    let mut node = Process::start(&[&["node", "--data", data], &listen[..]].concat());
    let pins = loop {
        let line = node.line().expect("it says so");
        if let Some(pins) = line.strip_prefix("pins ") {
            break pins.replace('\'', "");
        }
    };
    node.terminate();
    node.wait();
    // As a shell would read them.
    let pins: Vec<&str> = pins.split_whitespace().collect();
    let flags: Vec<&str> = pins.iter().step_by(2).copied().collect();
    assert_eq!(flags, ["--ledger", "--verifier-key", "--witness", "--witness-quorum"]);
    succeed(&[&["audit", data], &pins[..4]].concat());
    assert_eq!((pins[5], pins[7]), (witness.verifier().to_string().as_str(), "1"));
    // One key under two names would count twice.
    let twice = by.replacen("w=", "v=", 1);
    let error = fail(&[&["node", "--data", data], &listen[..], &["--witness", &twice]].concat());
    assert!(error.contains("are witnesses of one key"), "{error}");
}

#[test]
fn a_broken_data_folder_is_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap().to_owned();
    NodeProcess::start(dir.path()).stop();
    let start = || fail(&["node", "--data", &data, "--listen", "127.0.0.1:0"]);
    let journal = dir.path().join("ledger/journal/00000000.journal");
    let whole = std::fs::read(&journal).unwrap();

    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    std::fs::write(&journal, &damaged).unwrap();
    let error = start();
    assert!(error.contains("entry 0 of the journal is damaged"), "{error}");

    std::fs::write(&journal, &whole[..40]).unwrap();
    let error = start();
    assert!(error.contains("entry 0 of the journal is damaged"), "{error}");

    std::fs::write(&journal, &whole[..32]).unwrap();
    let error = start();
    assert!(
        error.contains("the journal ends at 0 entries but the ledger has vouched for 1"),
        "{error}"
    );

    std::fs::write(&journal, &whole).unwrap();
    std::fs::rename(dir.path().join("node.pem"), dir.path().join("old.pem")).unwrap();
    let error = start();
    assert!(error.contains("node.pem is missing") && error.contains("restore it"), "{error}");
    // No key was made that could be taken for it.
    assert!(!dir.path().join("node.pem").exists());
    let other = crate::support::key(1);
    colearn_records::keys::save_new(&other, &dir.path().join("node.pem")).unwrap();
    let error = start();
    assert!(error.contains("belongs to another ledger or key"), "{error}");

    std::fs::remove_file(dir.path().join("node.pem")).unwrap();
    std::fs::write(dir.path().join("node.pem"), "garbage").unwrap();
    let error = start();
    assert!(error.contains("can be read by others") && error.contains("chmod 600"), "{error}");

    // Nothing was lost by refusing.
    std::fs::rename(dir.path().join("old.pem"), dir.path().join("node.pem")).unwrap();
    let node = NodeProcess::start(dir.path());
    assert_eq!(node.started["entries"], 1);
}

#[test]
fn a_data_folder_that_is_a_file_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = fail(&["node", "--data", file.path().to_str().unwrap()]);
    assert!(error.starts_with("error: cannot "), "{error}");
    assert_eq!(run(&["node"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_ends_open_streams_and_exits() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let mut stream = speaker.client.watch(&crate::support::name("x"), 0).await.unwrap();
    assert!(stream.next().await.unwrap().entry.is_some());
    node.process.terminate();
    let ended = loop {
        if let Err(ended) = stream.next().await {
            break ended;
        }
    };
    assert!(matches!(ended, ClientError::Unreachable { .. }), "{ended}");
    assert_eq!(node.process.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_transactions_and_goes_on_reading() {
    let dir = tempfile::tempdir().unwrap();
    NodeProcess::start(dir.path()).stop();
    let reserve = u64::MAX.to_string();
    let more = ["--listen", "127.0.0.1:0", "--reserve-bytes", &reserve];
    let node = NodeProcess::start_with(dir.path(), &more);
    let mut speaker = Speaker::connect(&node.url).await;
    let join = Action::new(crate::support::name("x"), Act::Join(Join::new(0, None)));
    let error = speaker.act(&crate::support::key(1), join).await.unwrap_err();
    assert!(error.to_string().contains("disk is nearly full"), "{error}");
    assert_eq!(speaker.client.experiments().await.unwrap(), []);
    assert_eq!(speaker.client.entries(0, 9).await.unwrap().len(), 1);
    node.stop();
}
