//! The binary itself, with the smallest application.

use std::net::TcpListener;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use colearn_comet::abci::Stopping;
use colearn_comet::files::{self, Genesis, Settings};
use colearn_comet::keys::{ConsensusKey, NodeKey};
use colearn_comet::process::{Process, Sockets, Stopped};
use colearn_comet::program::Program;
use colearn_comet::rpc::{Broadcast, Client, RpcError};
use rustix::process::{Pid, Signal, kill_process};

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

/// One validator's side: its folder, its application, and what runs.
struct Validator {
    home: tempfile::TempDir,
    key: [u8; 32],
    id: String,
    app: App,
    running: Option<Running>,
}

struct Running {
    process: Process,
    rpc: Client,
    stopping: Stopping,
    serving: JoinHandle<()>,
    sockets: Sockets,
}

impl Validator {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let key = ConsensusKey::create_or_open(home.path()).unwrap().public_key();
        let id = NodeKey::create_or_open(home.path()).unwrap().id();
        Self { home, key, id, app: App::default(), running: None }
    }

    fn start(&mut self, path: &Path, validators: &[[u8; 32]], settings: &Settings) -> &Running {
        let genesis = Genesis {
            chain_id: "test".to_owned(),
            time_ms: 1_700_000_000_000,
            app_version: 1,
            validators: validators.iter().map(|key| (hex::encode(&key[..4]), *key)).collect(),
        };
        let program = Program::find(Some(path)).unwrap();
        let (sockets, stopping) = (Sockets::create().unwrap(), Stopping::new());
        files::write(self.home.path(), &genesis, settings, &sockets).unwrap();
        let serving = self.app.serve_at(sockets.listen().unwrap(), &stopping);
        let process = Process::start(&program, self.home.path(), &sockets).unwrap();
        let rpc = Client::new(sockets.rpc());
        self.running.insert(Running { process, rpc, stopping, serving, sockets })
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// Waits until the application has this, in this order.
    fn has(&self, txs: &[&str]) {
        eventually(|| {
            (self.app.kept().txs == txs.iter().map(|tx| tx.as_bytes()).collect::<Vec<_>>())
                .then_some(())
        });
    }

    fn stop(&mut self) {
        let Running { process, stopping, serving, sockets, .. } = self.running.take().unwrap();
        assert_eq!(process.stop(), Stopped::Ended);
        assert!(!stopping.is_stopped());
        stopping.stop();
        serving.join().unwrap();
        drop(sockets);
    }
}

fn kill(process: &Process) {
    let pid = Pid::from_raw(process.pid().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn one_validator_makes_blocks_survives_its_death_and_stops() {
    let Some(path) = colearn_testkit::cometbft() else { return };
    let settings = Settings::new("127.0.0.1:0".parse().unwrap());
    let mut validator = Validator::new();
    let keys = [validator.key];
    // As if it had been killed in its first moments.
    let half = validator.home.path().join("data/blockstore.db");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join("MANIFEST-000000"), "").unwrap();
    files::clear_unmade(validator.home.path()).unwrap();
    let Running { rpc, process, .. } = validator.start(&path, &keys, &settings);
    assert_eq!(offer(rpc, b"a"), Broadcast::Taken);
    assert_eq!(offer(rpc, b"a"), Broadcast::InCache);
    assert_eq!(offer(rpc, b"no"), Broadcast::Refused { code: 1 });
    let (rpc, pid) = (rpc.clone(), process.pid());
    validator.has(&["a"]);
    let hash = validator.app.kept().hash();
    let status = eventually(|| rpc.status().ok().filter(|status| status.app_hash == hash));
    assert_eq!(status.id, validator.id);
    assert!(status.height >= 1 && !status.catching_up);
    assert_eq!(rpc.net_info().unwrap(), []);

    // It comes back by itself, and the application needs not.
    let process = &validator.running().process;
    kill(process);
    eventually(|| (process.restarts() == 1).then_some(()));
    assert_ne!(process.pid(), pid);
    assert_eq!(offer(&rpc, b"b"), Broadcast::Taken);
    validator.has(&["a", "b"]);
    validator.stop();

    // All of it again, with other sockets; and the application has lost all.
    validator.app = App::default();
    let rpc = validator.start(&path, &keys, &settings).rpc.clone();
    validator.has(&["a", "b"]);
    assert_eq!(offer(&rpc, b"c"), Broadcast::Taken);
    validator.has(&["a", "b", "c"]);
    validator.stop();
}

#[test]
fn four_validators_agree_and_one_of_them_may_be_gone() {
    let Some(path) = colearn_testkit::cometbft() else { return };
    // CometBFT cannot be asked which port it was given, so ports are found that are free just now.
    let free: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let at: Vec<_> = free.iter().map(|listener| listener.local_addr().unwrap()).collect();
    drop(free);
    let mut validators: Vec<_> = (0..4).map(|_| Validator::new()).collect();
    let keys: Vec<_> = validators.iter().map(|validator| validator.key).collect();
    let peers = validators.iter().zip(&at).map(|(validator, at)| format!("{}@{at}", validator.id));
    let peers: Vec<_> = peers.collect();
    let settings = |n: usize| Settings {
        persistent_peers: peers.iter().filter(|peer| **peer != peers[n]).cloned().collect(),
        ..Settings::new(at[n])
    };
    for (n, validator) in validators.iter_mut().enumerate() {
        validator.start(&path, &keys, &settings(n));
    }
    assert_eq!(offer(&validators[0].running().rpc, b"a"), Broadcast::Taken);
    validators.iter().for_each(|validator| validator.has(&["a"]));
    eventually(|| {
        let known = validators[3].running().rpc.net_info().unwrap();
        let mut ids: Vec<_> = known.into_iter().map(|peer| peer.id).collect();
        let mut others: Vec<_> = validators[..3].iter().map(|other| other.id.clone()).collect();
        ids.sort();
        others.sort();
        (ids == others).then_some(())
    });

    validators[3].stop();
    assert_eq!(offer(&validators[1].running().rpc, b"b"), Broadcast::Taken);
    validators[..3].iter().for_each(|validator| validator.has(&["a", "b"]));
    kill(&validators[2].running().process);
    validators[3].start(&path, &keys, &settings(3));
    validators[3].has(&["a", "b"]);
    assert_eq!(offer(&validators[3].running().rpc, b"c"), Broadcast::Taken);
    validators.iter().for_each(|validator| validator.has(&["a", "b", "c"]));
    validators.iter_mut().for_each(Validator::stop);
}

#[test]
fn an_application_that_fails_is_told_by_comet_s_log() {
    let Some(path) = colearn_testkit::cometbft() else { return };
    let mut validator = Validator::new();
    let keys = [validator.key];
    validator.start(&path, &keys, &Settings::new("127.0.0.1:0".parse().unwrap()));
    let Running { rpc, stopping, serving, process, sockets } = validator.running.take().unwrap();
    offer(&rpc, b"die");
    assert_eq!(stopping.wait().unwrap().to_string(), "asked to die");
    serving.join().unwrap();
    let log = validator.home.path().join("log");
    eventually(|| std::fs::read_to_string(&log).unwrap().contains("asked to die").then_some(()));
    drop((process, sockets));
}
