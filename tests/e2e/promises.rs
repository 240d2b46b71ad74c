//! Receipts, exports, and ledgers that break their word.

use std::path::Path;

use colearn_contracts::{Act, Action, Join};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Signer, Verifier};
use colearn_records::pins::Pins;
use colearn_sdk::client::{self, ClientError, Followed, Memory, Options, Trust};
use colearn_sdk::participant::Event;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::{
    Counter, NodeProcess, Process, Speaker, colearn, copy, fail, id, key, name, run, succeed,
};

/// A node with an experiment and a learner that keeps its receipts.
async fn node_with_receipts(dir: &Path) -> (NodeProcess, Speaker) {
    let node = NodeProcess::start(&dir.join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    // Only what this one does is remembered.
    let memory = Memory::open(&dir.join("learner"), id(&key(1))).unwrap();
    let mut speaker = Speaker::remembering(&node.url, memory).await;
    speaker.act(&key(1), Action::new(name("x"), Act::Join(Join::new(0, None)))).await.unwrap();
    (node, speaker)
}

fn audit(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(&[&["audit"], arguments].concat());
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_kept_checked_offline_and_honoured() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (node, mut speaker) = node_with_receipts(dir.path()).await;
    let vkey = node.started["verifier_key"].as_str().unwrap().to_owned();
    let receipts = path("learner/receipts");
    let receipt = path("learner/receipts/000000000000.receipts");
    let verify = |receipt: &str, more: &[&str]| {
        [&["ledger", "verify-receipt", receipt, "--key", &vkey], more]
            .concat()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect::<Vec<String>>()
    };
    let run_verify = |receipt: &str, more: &[&str]| {
        let output = colearn(&[]).args(verify(receipt, more)).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (good, text) = run_verify(&receipt, &[]);
    assert!(
        good && text.contains("joins x") && text.contains("RECEIPT OK index=2 size=3"),
        "{text}"
    );
    assert_eq!(run_verify(&receipt, &["--index", "2"]), (good, text));
    assert!(!run_verify(&receipt, &["--index", "1"]).0);
    let (good, text) = run_verify(&receipt, &["--json"]);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert!(good && json["index"] == 2, "{text}");

    // A receipt for any entry, from the folder of the running node or its URL.
    for from in [&path("data"), &node.url] {
        let made = path("made.tlog-proof");
        succeed(&["ledger", "proof", "1", "--from", from, "--out", &made]);
        assert!(run_verify(&made, &[]).0);
        // With another entry it proves nothing.
        let other = path("other.tlog-proof");
        succeed(&["ledger", "proof", "2", "--from", from, "--out", &other]);
        assert!(!run_verify(&made, &["--entry", &path("other.entry")]).0);
    }
    let error = fail(&["ledger", "proof", "9", "--from", &node.url]);
    assert!(error.contains("entry 9 does not exist"), "{error}");

    // As long as the ledger grows, it honours what it has signed.
    let checkpoint = path("old.checkpoint");
    std::fs::write(&checkpoint, crate::support::http(&format!("{}/checkpoint", node.url)).1)
        .unwrap();
    let snapshot = dir.path().join("snapshot");
    copy(&dir.path().join("data"), &snapshot);
    speaker.act(&key(2), Action::new(name("x"), Act::Join(Join::new(0, None)))).await.unwrap();
    let honoured = ["--receipts", &receipts, "--since", &checkpoint];
    let (code, text) = audit(&[&[path("data").as_str()], &honoured[..]].concat());
    assert_eq!(code, Some(0), "{text}");
    let (code, _) = audit(&[&[node.url.as_str()], &honoured[..]].concat());
    assert_eq!(code, Some(0));
    node.stop();

    // Put back to an older copy it is a ledger that passes by itself, but not before its receipts.
    let place = snapshot.to_str().unwrap();
    assert_eq!(audit(&[place]).0, Some(0));
    let (code, text) = audit(&[place, "--receipts", &receipts]);
    assert_eq!(code, Some(20), "{text}");
    assert!(text.contains("entry 3: BROKEN PROMISE: "), "{text}");
    assert!(text.contains("it has only 3 entries"), "{text}");
    // A receipt of another ledger is no promise of this one.
    let stranger = dir.path().join("stranger");
    NodeProcess::start(&stranger).stop();
    let (code, text) = audit(&[stranger.to_str().unwrap(), "--receipts", &receipts]);
    assert_eq!(code, Some(21), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_forks_its_history_is_found_out_by_both_learners() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut ann) = node_with_receipts(dir.path()).await;
    let bob_memory = || Memory::open(&dir.path().join("bob"), id(&key(5))).unwrap();
    let mut bob = Speaker::remembering(&node.url, bob_memory()).await;
    bob.followed.catch_up(&mut |_| {}).await.unwrap();
    let address = node.address();
    node.stop();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    copy(&dir.path().join("data"), &one);
    copy(&dir.path().join("data"), &other);

    // The operator shows Ann one history and Bob another, under the same key.
    let node = NodeProcess::start_at(&one, &address);
    ann.act(&key(3), Action::new(name("x"), Act::Join(Join::new(0, None)))).await.unwrap();
    ann.followed.catch_up(&mut |_| {}).await.unwrap();
    let action = Action::new(name("x"), Act::Join(Join::new(0, None)));
    let seen_by_ann = ann.followed.sign(key(4), action).unwrap();
    node.stop();
    let node = NodeProcess::start_at(&other, &address);
    bob.act(&key(5), Action::new(name("x"), Act::Join(Join::new(0, None)))).await.unwrap();
    bob.followed.catch_up(&mut |_| {}).await.unwrap();

    // Ann, connected to Bob's, is told of a longer history that does not continue hers.
    let ann_memory = Memory::open(&dir.path().join("learner"), id(&key(1))).unwrap();
    let error = Followed::connect(&node.url, ann_memory).await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::Fork { .. }), "{error}");
    assert!(error.to_string().starts_with("FORK: "), "{error}");
    let evidence =
        std::fs::read_to_string(dir.path().join("learner/evidence/00-fork.txt")).unwrap();
    assert_eq!(
        evidence.matches("\u{2014} colearn/").count(),
        2,
        "both signed checkpoints: {evidence}"
    );
    // Nor can what she signed ever be merged into it.
    let refused = bob.followed.submit(&seen_by_ann).await.unwrap_err();
    assert!(refused.to_string().contains("not in this ledger's history"), "{refused}");
    node.stop();

    // And Bob, connected to Ann's.
    let node = NodeProcess::start_at(&one, &address);
    let error = Followed::connect(&node.url, bob_memory()).await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::Fork { .. }), "{error}");
    assert!(dir.path().join("bob/evidence/00-fork.txt").exists());
    // Each history passes by itself; with the other's receipts it does not.
    let receipts = dir.path().join("bob/receipts");
    let (code, text) = audit(&[one.to_str().unwrap(), "--receipts", receipts.to_str().unwrap()]);
    assert_eq!(code, Some(20), "{text}");
    // Rolled back to before, too.
    node.stop();
    let _node = NodeProcess::start_at(&dir.path().join("data"), &address);
    let error =
        Followed::connect(format!("http://{address}"), bob_memory()).await.map(drop).unwrap_err();
    assert!(matches!(error, ClientError::RolledBack { .. }), "{error}");
    assert!(error.to_string().starts_with("ROLLED BACK: the node shows 3 entries"), "{error}");
    assert!(dir.path().join("bob/evidence/01-rolled-back.txt").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_complete_incremental_and_audited() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let public = path("public");
    let exported = succeed(&["ledger", "export", &public, "--from", &path("data")]);
    assert!(exported.starts_with("exported 2 entries to "), "{exported}");
    // Beyond one tile.
    let join = |seed: u16| {
        let mut bytes = [9; 32];
        bytes[..2].copy_from_slice(&seed.to_le_bytes());
        (
            ed25519_dalek::SigningKey::from_bytes(&bytes),
            Action::new(name("x"), Act::Join(Join::new(0, None))),
        )
    };
    for seed in 0..300 {
        let (key, action) = join(seed);
        speaker.act(&key, action).await.unwrap();
    }
    let from_url = path("from-url");
    succeed(&["ledger", "export", &public, "--from", &path("data")]);
    succeed(&["ledger", "export", &from_url, "--from", &node.url]);
    let again = succeed(&["ledger", "export", &public, "--from", &public]);
    assert!(again.ends_with(", 0 files written\n"), "{again}");
    let verdict = |place: &str| audit(&[place]).1.lines().last().unwrap().to_owned();
    assert!(verdict(&public).starts_with("AUDIT OK"), "{}", verdict(&public));
    assert_eq!(verdict(&public), verdict(&from_url));
    assert_eq!(verdict(&public), verdict(&node.url));
    assert_eq!(verdict(&public), verdict(&path("data")));
    for (level, signatures) in [("tree", "signatures=1"), ("signatures", "signatures=302")] {
        let (code, text) = audit(&[&public, "--level", level]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(signatures), "{text}");
    }

    // The lies that a foreign reader finds, ours finds too.
    let old_checkpoint = std::fs::read(dir.path().join("public/checkpoint")).unwrap();
    let lie = |file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let file = dir.path().join("public").join(file);
        let truth = std::fs::read(&file).unwrap();
        let mut lie = truth.clone();
        change(&mut lie);
        std::fs::write(&file, lie).unwrap();
        let (code, text) = audit(&[&public]);
        std::fs::write(&file, truth).unwrap();
        (code, text)
    };
    let (code, text) = lie("tile/0/000", &|tile| tile[7000] ^= 1);
    assert_eq!(code, Some(22), "{text}");
    assert!(text.contains("tile/0/000 is not what its entries hash to"), "{text}");
    assert_eq!(lie("tile/1/000.p/1", &|tile| tile[0] ^= 1).0, Some(22));
    // Wherever in an entry it falls.
    let (code, text) = lie("tile/entries/000", &|bundle| bundle[20_000] ^= 1);
    assert!(matches!(code, Some(13..=19)), "{text}");
    assert_eq!(
        lie("tile/entries/001.p/47", &|bundle| bundle.truncate(bundle.len() - 1)).0,
        Some(13)
    );
    assert_eq!(lie("tile/entries/001.p/47", &|bundle| bundle.clear()).0, Some(12));
    assert_eq!(
        lie("checkpoint", &|note| {
            let at = note.len() - 9;
            note[at] ^= 1;
        })
        .0,
        Some(11)
    );
    // Also where it is no longer even a note: its base64 is none.
    assert_eq!(
        lie("checkpoint", &|note| {
            let at = note.len() - 9;
            note[at] = b'.';
        })
        .0,
        Some(11)
    );
    let (key, action) = join(300);
    speaker.act(&key, action).await.unwrap();
    succeed(&["ledger", "export", &public, "--from", &node.url]);
    let old = path("old.checkpoint");
    std::fs::copy(dir.path().join("public/checkpoint"), &old).unwrap();
    // An old checkpoint, shown as the newest: known by whoever has seen a newer one.
    let file = dir.path().join("public/checkpoint");
    std::fs::write(&file, &old_checkpoint).unwrap();
    assert_eq!(audit(&[&public]).0, Some(0));
    let (code, text) = audit(&[&public, "--since", &old]);
    assert_eq!(code, Some(20), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_insists_on_a_witness_signs_nothing_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("data"));
    let log = node.started["verifier_key"].as_str().unwrap().to_owned();
    let (address, data) = (node.address(), path("witness"));
    node.stop();
    let witness = |listen: &str| {
        let listen = ["--listen", listen, "--log", &log];
        let mut process =
            Process::start(&[&["witness", "--json", "--data", &data][..], &listen].concat());
        let started: Value = serde_json::from_str(&process.line().unwrap()).unwrap();
        let text = |field: &str| started[field].as_str().unwrap().to_owned();
        (process, text("verifier_key"), text("address"))
    };
    let (mut process, witness_key, witness_url) = witness("127.0.0.1:0");
    process.kill();
    let by = format!("w={witness_key}@{witness_url}");
    let more = ["--listen", &address, "--witness", &by];
    let node = NodeProcess::start_with(&dir.path().join("data"), &more);
    Speaker::connect(&node.url).await.create("x", &Counter::weights(0), 1).await;

    let witness_key = Verifier::parse(&witness_key).unwrap();
    let pins = Pins::new(None, None, vec![witness_key], None).unwrap();
    let (tell, mut events) = mpsc::unbounded_channel();
    let options = Options {
        trust: Trust { pins, ..Trust::default() },
        watch: Box::new(move |event| drop(tell.send(event.clone()))),
        ..Options::new(&node.url, name("x"), key(1))
    };
    let run = client::run(Counter { value: 0 }, options);
    let running = tokio::spawn(async move { run.await.unwrap().1 });
    let reason = loop {
        match events.recv().await.unwrap() {
            Event::Distrusted { reason, .. } => break reason,
            Event::Joined => panic!("nobody has witnessed what was joined"),
            _ => {}
        }
    };
    assert!(reason.starts_with("0 of the 1 witnesses that were named"), "{reason}");
    let seen = Speaker::connect(&node.url).await.followed.size();
    assert_eq!(seen, 2, "nothing was recorded");
    // Once it is there, all goes on.
    let (_process, ..) = witness(witness_url.strip_prefix("http://").unwrap());
    let other = Options::new(&node.url, name("x"), key(2));
    let (_, other) = client::run(Counter { value: 0 }, other).await.unwrap();
    assert_eq!(running.await.unwrap().model, other.model);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn witnesses_cosign_what_the_node_shows_and_no_fork_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("data"));
    let vkey = node.started["verifier_key"].as_str().unwrap().to_owned();
    let (fork, address) = (dir.path().join("fork"), node.address());

    let log = format!("{vkey}={}", node.url);
    let data = path("witness");
    let arguments =
        ["witness", "--json", "--data", &data, "--listen", "127.0.0.1:0", "--log", &log];
    let mut witness = Process::start(&arguments);
    let started: Value = serde_json::from_str(&witness.line().unwrap()).unwrap();
    let witness_key = started["verifier_key"].as_str().unwrap().to_owned();
    let witness_url = started["address"].as_str().unwrap().to_owned();
    let of = |key: &str| {
        fail(&["witness", "--data", &path("w2"), "--log", &format!("{key}={}", node.url)])
    };
    let error = of(&witness_key);
    assert!(error.contains("one is a witness's"), "{error}");
    let other = Signer::new("example.org/other", KeyKind::Log, key(9)).unwrap();
    let error = of(&other.verifier().to_string());
    assert!(error.contains("is not of this log"), "{error}");
    node.stop();
    copy(&dir.path().join("data"), &fork);

    let by = format!("w={witness_key}@{witness_url}");
    let more = ["--listen", &address, "--witness", &by];
    let node = NodeProcess::start_with(&dir.path().join("data"), &more);
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let cosigned = |url: &str| {
        let verifier = colearn_ledger::Verifier::parse(&witness_key).unwrap();
        let note = String::from_utf8(crate::support::http(&format!("{url}/checkpoint")).1).unwrap();
        let note = colearn_ledger::SignedNote::parse(&note).unwrap();
        verifier.verify(&note).is_ok().then(|| note.text().to_owned())
    };
    let state = |url: &str| {
        let answer = ureq::get(format!("{url}/checkpoint")).call().unwrap();
        answer.headers().get("colearn-witnessed").unwrap().to_str().unwrap().to_owned()
    };
    let text = crate::support::wait_for("the cosignature", || cosigned(&node.url));
    assert_eq!(text.lines().nth(1), Some("2"));
    assert_eq!(state(&node.url), "witnessed; cosignatures=1 quorum=1");
    // Other readers are not bothered by it, and may insist on it.
    assert_eq!(audit(&[&node.url]).0, Some(0));
    let stranger = {
        let signer = Signer::new("stranger", KeyKind::Witness, key(9)).unwrap();
        signer.verifier().to_string()
    };
    let public = path("public");
    succeed(&["ledger", "export", &public, "--from", &node.url]);
    for (place, witnesses, quorum, code) in [
        (&node.url, &[&witness_key][..], "1", 0),
        (&public, &[&witness_key], "1", 0),
        (&public, &[&witness_key, &stranger], "1", 0),
        (&public, &[&witness_key, &stranger], "2", 11),
        (&public, &[&stranger], "1", 11),
        // Its folder has none.
        (&path("data"), &[&witness_key], "1", 11),
    ] {
        let mut arguments = vec![place.as_str(), "--witness-quorum", quorum];
        witnesses.iter().for_each(|key| arguments.extend(["--witness", key.as_str()]));
        let (found, text) = audit(&arguments);
        assert_eq!(found, Some(code), "{text}");
        assert!(code == 0 || text.contains("witnesses have cosigned"), "{text}");
    }
    let proof = path("1.tlog-proof");
    succeed(&["ledger", "proof", "1", "--from", &node.url, "--out", &proof]);
    let verify = ["ledger", "verify-receipt", &proof, "--verifier-key", &vkey, "--witness"];
    assert!(succeed(&[&verify[..], &[&witness_key]].concat()).contains("RECEIPT OK"));
    let error = fail(&[&verify[..], &[&stranger]].concat());
    assert!(error.contains("no signature by stranger"), "{error}");
    // Killed and started again, the witness goes on where it was.
    witness.kill();
    let listen = witness_url.strip_prefix("http://").unwrap();
    let again = ["witness", "--json", "--data", &data, "--listen", listen, "--log", &vkey];
    let mut witness = Process::start(&again);
    assert!(witness.line().unwrap().contains(&witness_url));
    speaker.act(&key(1), Action::new(name("x"), Act::Join(Join::new(0, None)))).await.unwrap();
    crate::support::wait_for("the next cosignature", || {
        cosigned(&node.url).filter(|text| text.lines().nth(1) == Some("3"))
    });
    node.stop();

    // The same key with another history gets no cosignature, and says so.
    let node = NodeProcess::start_with(&fork, &more);
    let mut speaker = Speaker::connect(&node.url).await;
    for seed in 1..=4 {
        speaker.create(&format!("y{seed}"), &Counter::weights(seed), 3).await;
    }
    assert_eq!(state(&node.url), "unwitnessed; cosignatures=0 quorum=1");
    assert_eq!(cosigned(&node.url), None);
    node.stop();
    witness.terminate();
    assert_eq!(witness.wait(), Some(0));
}
