//! Servers of a chain that show two headers of one height, and those that only lie, lag or are silent.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use colearn_relay::{Account, Settings};
use colearn_testkit::chain::{Chain, Server};

use super::super::line::Line;
use super::fetched::{keeping, settings};
use super::mirrored::Written;
use crate::error::ChainError;
use crate::{Config, Node, OpsListen};

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn begin(settings: &Settings, folder: &std::path::Path) -> Line {
    Line::begin(settings.servers().unwrap(), settings, folder).await.unwrap()
}

/// A chain with one more block, and the same with another one in its place.
pub(super) fn forked(mut chain: Chain) -> [Chain; 2] {
    let mut other = chain.clone();
    other.set(b"else", vec![1]);
    let time_ms = chain.time_ms() + 1_000;
    [&mut chain, &mut other].into_iter().for_each(|it| it.block(time_ms));
    assert_ne!(chain.blocks.last().unwrap().hash, other.blocks.last().unwrap().hash);
    [chain, other]
}

/// Goes on until it is refused.
pub(super) async fn refused(line: &mut Line) -> ChainError {
    let refused = async {
        loop {
            match line.advance().await {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap()
}

#[tokio::test]
async fn two_headers_are_kept_and_nothing_more_is_believed_until_somebody_decides() {
    let mut written = Written::new();
    written.play(5);
    let [chain, other] = forked(keeping(&written));
    let honest = Server::start(chain.clone(), written.entries.clone());
    let second = Server::start(other.clone(), written.entries.clone());
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&chain, &[&honest, &second], dir.path());
    let mut line = begin(&settings, dir.path()).await;
    // Nobody waits for the other server.
    assert_eq!(line.advance().await.unwrap().unwrap().height, chain.height());
    let height = chain.height();
    let is_it = |error| matches!(error, ChainError::TwoHeaders { height: it, .. } if it == height);
    // They are kept as soon as they are found, before anybody looks for that.
    let file = dir.path().join("chain-two-headers.json");
    let found = async {
        while !file.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap();
    assert!(is_it(line.check().await.unwrap_err()));
    assert!(is_it(refused(&mut line).await));
    let kept = std::fs::read_to_string(&file).unwrap();
    for chain in [&chain, &other] {
        assert!(kept.contains(&hex::encode(chain.blocks.last().unwrap().hash)), "{kept}");
    }
    // Nor after a restart, with one server alone, whatever is in the file.
    let alone = super::fetched::settings(&chain, &[&honest], dir.path());
    assert!(is_it(refused(&mut begin(&alone, dir.path()).await).await));
    std::fs::write(&file, "").unwrap();
    let error = refused(&mut begin(&alone, dir.path()).await).await;
    assert!(matches!(error, ChainError::TwoHeaders { height: 0, .. }), "{error}");
    std::fs::remove_file(&file).unwrap();
    begin(&alone, dir.path()).await.advance().await.unwrap().unwrap();
}

/// Headers are not compared more often than once a second: one that comes between is not compared.
#[tokio::test]
async fn validators_who_lie_about_who_comes_after_them_are_found_later_too() {
    let written = Written::new();
    let chain = keeping(&written);
    let liar = Server::start(chain.clone(), Vec::new());
    let honest = Server::start(chain.clone(), Vec::new());
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&chain, &[&liar, &honest], dir.path());
    let mut line = begin(&settings, dir.path()).await;
    line.advance().await.unwrap().unwrap();
    // From here on nothing of the chain's follows from what is believed.
    liar.change(|chain, _| chain.change_validators(vec![11, 12, 13, 14]));
    let found = async {
        loop {
            for server in [&honest, &liar] {
                server.change(|chain, _| chain.block(chain.time_ms() + 1));
            }
            if let Err(error) = line.advance().await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, found).await.unwrap();
    assert!(matches!(error, ChainError::TwoHeaders { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_lies_alone_or_is_behind_or_silent_stops_nobody() {
    let written = Written::new();
    let mut chain = keeping(&written);
    let behind = chain.clone();
    (0..3).for_each(|_| chain.block(chain.time_ms() + 1_000));
    // Others than the chain's validators have signed what it shows.
    let mut liar = Chain::begin_with(vec![11, 12, 13, 14], chain.blocks[0].time_ms);
    (1..chain.height()).for_each(|_| liar.block(liar.time_ms() + 1_000));
    let honest = Server::start(chain.clone(), written.entries.clone());
    // Connections are taken, and nothing is said.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for second in [Server::start(liar, Vec::new()), Server::start(behind, Vec::new())] {
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        second.bend(move |method, _| {
            count.fetch_add(u64::from(method == "commit"), Ordering::Relaxed);
            None
        });
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&chain, &[&honest, &second], dir.path());
        settings.rpc.push(silent.clone());
        let mut line = begin(&settings, dir.path()).await;
        let went_on = async {
            while asked.load(Ordering::Relaxed) < 2 {
                line.advance().await.unwrap().unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, went_on).await.unwrap();
        let heights = honest.grow(3);
        assert_eq!(line.advance().await.unwrap().unwrap().height, heights);
        assert!(!dir.path().join("chain-two-headers.json").exists());
    }
}

/// A node says it where it is looked whether it is well, also when it was started anew.
#[tokio::test]
async fn a_node_says_that_there_are_two_headers() {
    let written = Written::new();
    let [chain, other] = forked(keeping(&written));
    let honest = Server::start(chain.clone(), written.entries.clone());
    let second = Server::start(other, written.entries.clone());
    let dir = tempfile::tempdir().unwrap();
    Account::generate().unwrap().save(&dir.path().join("relay.pem")).unwrap();
    let settings = settings(&chain, &[&honest, &second], dir.path());
    let config =
        Config { chain: Some(settings), ops: at_any(), ..Config::new(dir.path().join("data")) };
    for _ in 0..2 {
        let node = Node::start(config.clone()).await.unwrap();
        assert!(told(&node, "healthz", 503).await.contains("TWO HEADERS"));
        node.shutdown().await.unwrap();
    }
}

/// Where nobody else listens.
pub(super) fn at_any() -> OpsListen {
    OpsListen::At(([127, 0, 0, 1], 0).into())
}

/// What a node says where it is looked whether it is well, once it says so with this status.
pub(super) async fn told(node: &Node, path: &str, status: u16) -> String {
    let url = format!("http://{}/{path}", node.ops_address().unwrap());
    let told = tokio::task::spawn_blocking(move || {
        let begun = std::time::Instant::now();
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let agent = ureq::Agent::new_with_config(config);
        loop {
            let mut answer = agent.get(&url).call().unwrap();
            let told = answer.body_mut().read_to_string().unwrap();
            if answer.status() == status {
                return told;
            }
            assert!(begun.elapsed() < PATIENCE, "{told}");
        }
    });
    told.await.unwrap()
}
