//! A node whose ledger is set aside, and which fetches it again from the others.

use colearn_ledger::note::KeyKind;
use colearn_ledger::{Ledger, Options, Signer, Verifier};
use colearn_proto::v1;
use colearn_records::{keys, record};
use serde_json::Value;

use crate::founding::started_over;
use crate::support::network::{LEARNERS, Network, all_ended, create, path, take_part};
use crate::support::{run, succeed};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_starts_over_and_one_that_had_signed_something_else_does_not() {
    const ROUNDS: u64 = 10;
    let Some(network) = tokio::task::spawn_blocking(|| Network::start(4)).await.unwrap() else {
        return;
    };
    create(&network, ROUNDS).await;
    let learners: Vec<_> = LEARNERS.iter().map(|seed| take_part(&network, *seed)).collect();
    let mut closed = learners[0].closed.clone();
    closed.wait_for(|closed| *closed >= 3).await.unwrap();
    let started = tokio::task::spawn_blocking(move || start_over(network));
    let mut network = started.await.unwrap();
    let audits = all_ended(&mut network, learners, ROUNDS).await;
    assert_eq!(audits[0]["rounds"], ROUNDS);
}

fn start_over(mut network: Network) -> Network {
    let data = network.data(3);
    let origin = {
        let key = network.nodes[3].as_ref().unwrap().started["verifier_key"].as_str().unwrap();
        let key = key.split(", ").next().unwrap();
        Verifier::parse(key).unwrap().name().to_owned()
    };
    network.nodes[3].take().unwrap().stop();
    let state = data.join("comet/data/priv_validator_state.json");
    let (signed, weights) = (std::fs::read(&state).unwrap(), names(&data.join("artifacts")));
    let whole = tempfile::tempdir().unwrap();
    crate::support::copy(&data, whole.path());
    let told = succeed(&["network", "resync", "--data", path(&data)]);
    assert!(told.contains("ledger-before-1"), "{told}");
    assert_eq!(std::fs::read(&state).unwrap(), signed);
    assert_eq!(names(&data.join("artifacts")), weights);
    // Not even the network's file is needed.
    network.restart_bare(3);
    started_over(&network, 3);
    let ledger = succeed(&["audit", path(&data.join("ledger-before-1")), "--json"]);
    let ledger: Value = serde_json::from_str(&ledger).unwrap();
    assert_eq!(ledger["ok"], true, "what was set aside is whole: {ledger}");

    // In another folder, the same node has signed an entry that the others do not have.
    network.nodes[3].take().unwrap().stop();
    let key = keys::load(&whole.path().join("node.pem")).unwrap();
    let signer = Signer::new(&origin, KeyKind::Log, key).unwrap();
    let options =
        Options { keys_of: record::keys_of, drop_unanchored: true, ..Options::new(signer) };
    let (mut ledger, _) = Ledger::open(&whole.path().join("ledger"), options).unwrap();
    let (hash, proposer) = (vec![7; 32].into(), vec![7; 20].into());
    let block = v1::Block { height: 1 << 40, hash, proposer, ..v1::Block::default() };
    let time_ms = ledger.head().time_ms;
    ledger.append(time_ms, record::block_payload(&block), Vec::new()).unwrap();
    let vouched = ledger.commit().unwrap().checkpoint.clone();
    drop(ledger);
    // The key has signed blocks since, in the folder that was started over.
    std::fs::copy(&state, whole.path().join("comet/data/priv_validator_state.json")).unwrap();
    let told = succeed(&["network", "resync", "--data", path(whole.path())]);
    assert!(told.contains(&vouched.root.to_string()), "{told}");
    let place = &network.places[3];
    let (listen, comet) = (place.listen.to_string(), path(&place.comet).to_owned());
    let arguments = ["node", "--listen", &listen, "--cometbft", &comet, "--data"];
    // While the others go on, it comes to where it had signed something else.
    for _ in 0..2 {
        let output = run(&[&arguments[..], &[path(whole.path())]].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        let both = told.contains(&vouched.root.to_string()) && told.contains("have the root");
        assert!(both && told.contains("ledger-before-1"), "{told}");
    }
    network.restart(3);
    network
}

fn names(dir: &std::path::Path) -> std::collections::BTreeSet<std::ffi::OsString> {
    std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name()).collect()
}
