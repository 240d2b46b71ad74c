//! The binary itself: one validator, the smallest application.

use std::time::{Duration, Instant};

use colearn_comet::abci::Stopping;
use colearn_comet::files::{self, Genesis, Settings};
use colearn_comet::keys::{ConsensusKey, NodeKey};
use colearn_comet::process::{Process, Sockets, Stopped};
use colearn_comet::program::Program;
use colearn_comet::rpc::{Broadcast, Client, RpcError};

use crate::app::App;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "it takes too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Offers a transaction as soon as CometBFT can be reached.
fn offer(rpc: &Client, tx: &[u8]) -> Broadcast {
    eventually(|| match rpc.broadcast_tx_sync(tx) {
        Ok(became) => Some(became),
        Err(RpcError::Unreachable(_)) => None,
        Err(error) => panic!("{error}"),
    })
}

#[test]
fn one_validator_makes_blocks_survives_its_death_and_stops() {
    let Some(path) = colearn_testkit::cometbft() else { return };
    let program = Program::find(Some(&path)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let key = ConsensusKey::create_or_open(home.path()).unwrap();
    let node = NodeKey::create_or_open(home.path()).unwrap();
    let genesis = Genesis {
        chain_id: "test".to_owned(),
        time_ms: 1_700_000_000_000,
        app_version: 1,
        validators: vec![("a".to_owned(), key.public_key())],
    };
    let settings = Settings::new("127.0.0.1:0".parse().unwrap());
    let app = App::default();
    let start = |app: &App, sockets: &Sockets, stopping: &Stopping| {
        files::write(home.path(), &genesis, &settings, sockets).unwrap();
        let serving = app.serve_at(sockets.listen().unwrap(), stopping);
        let process = Process::start(&program, home.path(), sockets).unwrap();
        (serving, process)
    };

    let (sockets, stopping) = (Sockets::create().unwrap(), Stopping::new());
    let (serving, process) = start(&app, &sockets, &stopping);
    let rpc = Client::new(sockets.rpc());
    assert_eq!(offer(&rpc, b"a"), Broadcast::Taken);
    assert_eq!(offer(&rpc, b"a"), Broadcast::InCache);
    assert_eq!(offer(&rpc, b"no"), Broadcast::Refused { code: 1 });
    eventually(|| (app.kept().txs == [b"a"]).then_some(()));
    let status =
        eventually(|| rpc.status().ok().filter(|status| status.app_hash == app.kept().hash()));
    assert_eq!(status.id, node.id());
    assert!(status.height >= 1 && !status.catching_up);
    assert_eq!(rpc.net_info().unwrap(), []);

    // It comes back by itself, and the application needs not.
    let pid = rustix::process::Pid::from_raw(process.pid().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually(|| (process.restarts() == 1).then_some(()));
    assert_eq!(offer(&rpc, b"b"), Broadcast::Taken);
    eventually(|| (app.kept().txs == [b"a", b"b"]).then_some(()));
    assert_eq!(process.stop(), Stopped::Ended);
    assert!(!stopping.is_stopped());
    stopping.stop();
    serving.join().unwrap();

    // All of it again, with other sockets; and the application has lost all.
    let (sockets, stopping) = (Sockets::create().unwrap(), Stopping::new());
    let new = App::default();
    let (serving, process) = start(&new, &sockets, &stopping);
    eventually(|| (new.kept().txs == app.kept().txs).then_some(()));
    assert_eq!(offer(&Client::new(sockets.rpc()), b"c"), Broadcast::Taken);
    eventually(|| (new.kept().txs.len() == 3).then_some(()));
    assert_eq!(process.stop(), Stopped::Ended);
    stopping.stop();
    serving.join().unwrap();
}

#[test]
fn an_application_that_fails_is_told_by_comet_s_log() {
    let Some(path) = colearn_testkit::cometbft() else { return };
    let program = Program::find(Some(&path)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let key = ConsensusKey::create_or_open(home.path()).unwrap();
    let genesis = Genesis {
        chain_id: "test".to_owned(),
        time_ms: 1_700_000_000_000,
        app_version: 1,
        validators: vec![("a".to_owned(), key.public_key())],
    };
    let (sockets, stopping) = (Sockets::create().unwrap(), Stopping::new());
    let settings = Settings::new("127.0.0.1:0".parse().unwrap());
    files::write(home.path(), &genesis, &settings, &sockets).unwrap();
    let serving = App::default().serve_at(sockets.listen().unwrap(), &stopping);
    let process = Process::start(&program, home.path(), &sockets).unwrap();
    offer(&Client::new(sockets.rpc()), b"die");
    assert_eq!(stopping.wait().unwrap().to_string(), "asked to die");
    serving.join().unwrap();
    let log = home.path().join("log");
    eventually(|| std::fs::read_to_string(&log).unwrap().contains("asked to die").then_some(()));
    drop(process);
}
