//! A chain whose contract has changed its past, or keeps another time than the chain, and a pin that was changed.

use std::path::Path;

use colearn_relay::{Account, Settings};
use colearn_testkit::chain::{Chain, Server};

use super::fetched::{keep, keeping, settings};
use super::mirrored::Written;
use super::two_headers::{at_any, begin, forked, refused, told};
use crate::error::ChainError;
use crate::{Config, Node};

/// The file that says so.
const FILE: &str = "chain-departed.json";

#[tokio::test]
async fn another_past_is_found_whatever_the_size_and_no_server_is_blamed_for_it() {
    let (mut had, mut now) = (Written::new(), Written::begun_at(1_500));
    had.play(20);
    now.play(60);
    let chain = keeping(&now);
    let server = Server::start(chain.clone(), now.entries.clone());
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&chain, &[&server], dir.path());
    // Of as many entries as behind one of its calls, and of so many that it has kept no root of them.
    let is_kept = |size: u64| now.ends.iter().any(|end| end.head().size == size);
    let kept = had.ends.iter().rfind(|end| is_kept(end.head().size)).unwrap();
    let mut not_kept = kept.clone();
    while is_kept(not_kept.head().size) {
        not_kept.push(2_000, b"something".to_vec()).unwrap();
    }
    for had in [kept, &not_kept] {
        let mut line = begin(&settings, dir.path()).await;
        let proven = line.advance().await.unwrap().unwrap();
        for end in &now.ends {
            line.check_past(end, &proven).await.unwrap();
        }
        // What a server forges shows nothing of the chain.
        server.bend(|method, asked| {
            let is_of_state = method == "abci_query" && asked["prove"] == true;
            is_of_state.then(|| Err("it is away".to_owned()))
        });
        let error = line.check_past(had, &proven).await.unwrap_err();
        assert!(matches!(error, ChainError::Rpc(_)), "{error}");
        server.bend(|_, _| None);
        line.check().await.unwrap();

        let error = line.check_past(had, &proven).await.unwrap_err();
        assert!(matches!(error, ChainError::Departed { .. }) && error.ends_trust(), "{error}");
        assert!(error.to_string().contains("that are not those and more"), "{error}");
        assert!(matches!(refused(&mut line).await, ChainError::Departed { .. }));
        // Nor after a restart, whatever is in the file.
        let file = dir.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(&hex::encode(had.to_bytes())), "{text}");
        let error = refused(&mut begin(&settings, dir.path()).await).await;
        assert!(error.to_string().contains("that are not those and more"), "{error}");
        std::fs::write(&file, "").unwrap();
        let error = refused(&mut begin(&settings, dir.path()).await).await;
        assert!(matches!(error, ChainError::Departed { .. }), "{error}");
        std::fs::remove_file(&file).unwrap();
    }
}

/// A node that mirrors what a server has, in this folder.
fn config(chain: &Chain, server: &Server, folder: &Path) -> Config {
    let account = folder.join("relay.pem");
    if !account.exists() {
        Account::generate().unwrap().save(&account).unwrap();
    }
    let settings: Settings = settings(chain, &[server], folder);
    Config { chain: Some(settings), ops: at_any(), ..Config::new(folder.join("data")) }
}

#[tokio::test]
async fn a_node_says_that_the_contract_departs_and_takes_nothing_more() {
    let longer = |mut written: Written| {
        written.play(9);
        written
    };
    let changed = longer(Written::begun_at(1_500));
    // The last header says that nothing was recorded before it.
    let backdated = longer(Written::new());
    let ahead = longer({
        let mut written = Written::new();
        written.wait_until(crate::clock::now_ms() + 3_600_000);
        written
    });
    for (now, why) in [
        (changed, "that are not those and more"),
        (backdated, "does not keep the chain's time"),
        (ahead, "does not keep the chain's time"),
    ] {
        let first = Written::new();
        let chain = keeping(&first);
        let server = Server::start(chain.clone(), first.entries);
        let dir = tempfile::tempdir().unwrap();
        let config = config(&chain, &server, dir.path());
        let node = Node::start(config.clone()).await.unwrap();
        let size = now.entries.len() as u64;
        assert_eq!(told(&node, "readyz", 200).await, "ok\n");
        server.change(|chain, entries| {
            entries.clone_from(&now.entries);
            keep(chain, &now);
        });
        let health = told(&node, "healthz", 503).await;
        assert!(health.contains("NOT TO BE GONE ON WITH") && health.contains(why), "{health}");
        assert!(size > 1 && dir.path().join("data").join(FILE).exists());
        assert!(told(&node, "readyz", 503).await.contains(why));
        node.shutdown().await.unwrap();
        let node = Node::start(config).await.unwrap();
        assert!(told(&node, "healthz", 503).await.contains(why));
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_trusted_now_has_to_be_of_the_chain_that_was_believed() {
    let written = Written::new();
    let [chain, other] = forked(keeping(&written));
    let server = Server::start(chain.clone(), written.entries.clone());
    let dir = tempfile::tempdir().unwrap();
    let before = settings(&chain, &[&server], dir.path());
    let mut line = begin(&before, dir.path()).await;
    line.advance().await.unwrap().unwrap();
    line.taken();
    // A newer one of the same chain, and an older.
    for height in [chain.height(), 2] {
        let newer = Settings { trust: Some(chain.trust(height)), ..before.clone() };
        begin(&newer, dir.path()).await;
    }
    let liar = Server::start(other.clone(), written.entries);
    let at_liar = settings(&chain, &[&liar], dir.path());
    let bent = Settings { trust: Some(other.trust(other.height())), ..at_liar };
    let refused = super::super::line::Line::begin(bent.servers().unwrap(), &bent, dir.path()).await;
    let Err(error) = refused else { panic!("it is begun") };
    let height = chain.height();
    assert!(
        matches!(error, ChainError::Contradicted { height: it, .. } if it == height),
        "{error}"
    );
}
