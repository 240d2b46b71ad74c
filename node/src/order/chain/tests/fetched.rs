//! What a mirror fetches of a long ledger, from servers that lie or end on the way.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use colearn_ledger::{Frontier, Hash, Head, MAX_ENTRY_BYTES};
use colearn_records::on_chain::{Root, Tree};
use colearn_relay::Settings;
use colearn_testkit::chain::{Answer, CONTRACT, Chain, ID, Server, entries_answer};
use tokio_util::sync::CancellationToken;

use super::super::first::first_entry;
use super::super::line::Line;
use super::super::stretch::{BOUNDS, Bounds, fetch};
use super::super::{Shared, follow};
use super::mirrored::{Written, mirror};
use crate::clock;
use crate::error::ChainError;

/// How many of the largest entries a server sends at once.
const EACH: u64 = 3;
/// Small ones: a ledger for tests has many stretches.
const SMALL: Bounds = Bounds { enough: (50, 1 << 20), most: (200, 4 << 20), ..BOUNDS };

/// A chain whose contract has kept a ledger, with the roots behind its calls.
pub(super) fn keeping(written: &Written) -> Chain {
    let mut chain = Chain::begin(clock::now_ms() - 60_000);
    keep(&mut chain, written);
    chain
}

/// Two blocks more, by which the contract keeps that.
pub(super) fn keep(chain: &mut Chain, written: &Written) {
    for end in &written.ends {
        chain.set(&Root::key(end.head().size), end.kept_root().to_bytes());
    }
    if let Some(end) = written.ends.last() {
        chain.keep(end.to_bytes());
    }
    chain.block(chain.time_ms() + 1_000);
    chain.block(chain.time_ms() + 1_000);
}

/// What `chain.toml` says of servers of this chain.
pub(super) fn settings(chain: &Chain, servers: &[&Server], folder: &Path) -> Settings {
    let servers: Vec<String> = servers.iter().map(|server| server.url()).collect();
    let text = format!(
        "chain_id = \"{ID}\"\nrpc = {servers:?}\nprefix = \"wasm\"\ndenom = \"stake\"\ngas_price = 0\nmax_fee = 0\n\
         max_fee_a_day = 0\naccount = \"relay.pem\"\ncontract = \"{CONTRACT}\"\ntrust = \"{}\"\n",
        chain.trust(1)
    );
    let path = folder.join("chain.toml");
    std::fs::write(&path, text).unwrap();
    Settings::read(&path).unwrap()
}

async fn line(chain: &Chain, server: &Server, folder: &Path) -> Line {
    let settings = settings(chain, &[server], folder);
    Line::begin(settings.servers().unwrap(), &settings, folder).await.unwrap()
}

fn asks_for_entries(asked: &serde_json::Value) -> bool {
    asked["path"].as_str().is_some_and(|path| path.contains("SmartContractState"))
}

#[tokio::test]
async fn a_long_ledger_is_taken_over_in_stretches_and_gone_on_with_where_it_ended() {
    let mut written = Written::new();
    written.play(900);
    let chain = keeping(&written);
    let to = written.ends.last().unwrap().clone();
    let server = Server::start(chain.clone(), written.entries.clone());
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let mut mirrored = mirror(&ledger);
    let mut stretches = 0;
    while mirrored.tree() != &to {
        // Killed between any two, it begins with a header that it has believed and entries that it has.
        let mut line = line(&chain, &server, dir.path()).await;
        let proven = line.advance().await.unwrap().unwrap();
        assert_eq!(proven.tree, to);
        let had = mirrored.tree().head().size;
        let (entries, end) = fetch(&line, mirrored.tree(), &to, SMALL).await.unwrap().into_parts();
        assert!(written.ends.contains(&end), "behind a call");
        assert!((50..=200).contains(&entries.len()) || end == to, "{}", entries.len());
        mirrored.take(&entries, &end).unwrap();
        drop(mirrored);
        mirrored = mirror(&ledger);
        assert_eq!(mirrored.tree(), &end);
        assert!(end.head().size > had);
        stretches += 1;
    }
    assert!(stretches > 5, "{stretches}");
    let reader = mirrored.keeper().reader();
    assert_eq!(reader.entries(0, reader.size(), usize::MAX).unwrap(), written.entries);
}

#[tokio::test]
async fn while_a_long_ledger_is_taken_over_it_is_told_how_far_it_is() {
    let mut written = Written::new();
    written.play(9_000);
    let size = written.entries.len() as u64;
    assert!(size > BOUNDS.enough.0 as u64 + 500, "{size}");
    let chain = keeping(&written);
    let server = Server::start(chain.clone(), written.entries.clone());
    // It says nothing of what lies behind the first stretch, until it is let go on.
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    server.bend(move |_, asked| {
        if asks_for_entries(asked) && entries_from(asked) > BOUNDS.enough.0 as u64 {
            let _ = waits.recv();
        }
        None
    });
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&chain, &[&server], dir.path());
    let mirror = mirror(&dir.path().join("ledger"));
    let (shared, _jobs) = Shared::new(mirror, settings.servers().unwrap(), dir.path());
    let line = line(&chain, &server, dir.path()).await;
    let (stopping, condition) = (CancellationToken::new(), shared.condition.clone());
    let looked = async {
        let mut begun = shared.begun.subscribe();
        begun.wait_for(|begun| *begun).await.unwrap();
        let told = condition.incomplete().unwrap();
        assert!(told.contains(&format!(" of {size} entries are here")), "{told}");
        assert_eq!(condition.trouble(), None);
        drop(go_on);
        let mut published = shared.published.subscribe();
        published.wait_for(Option::is_some).await.unwrap();
        while condition.incomplete().is_some() {
            tokio::task::yield_now().await;
        }
        stopping.cancel();
    };
    let (followed, ()) = tokio::join!(follow(&shared, line, &stopping), looked);
    followed.unwrap();
    assert_eq!(shared.mirror().tree().head().size, size);
}

/// From which one on entries are asked for.
fn entries_from(asked: &serde_json::Value) -> u64 {
    let data = hex::decode(asked["data"].as_str().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&data).into_owned();
    let (_, from) = text.split_once("\"from\":").unwrap();
    from.trim_end_matches('}').parse().unwrap()
}

#[tokio::test]
async fn entries_without_an_end_or_too_large_are_refused_in_bounded_memory() {
    let mut written = Written::new();
    written.play(20);
    let mut chain = keeping(&written);
    // It says that the ledger is long, as a chain would have to prove.
    let from = written.ends.last().unwrap().clone();
    let head = Head { size: 1 << 40, ..*from.head() };
    let to = Tree::of(head, Frontier::from_peaks(head.size, vec![Hash::ZERO]).unwrap()).unwrap();
    chain.keep(to.to_bytes());
    chain.block(chain.time_ms() + 1_000);
    chain.block(chain.time_ms() + 1_000);
    let server = Server::start(chain.clone(), Vec::new());
    let dir = tempfile::tempdir().unwrap();
    let mut line = line(&chain, &server, dir.path()).await;
    assert_eq!(line.advance().await.unwrap().unwrap().tree, to);

    // Each follows the one before: all of one time, or each of another.
    for later_ms in [0, 1] {
        let mut tree = from.clone();
        let sent = Arc::new(AtomicU64::new(0));
        let count = sent.clone();
        server.bend(move |_, asked| {
            asks_for_entries(asked).then(|| -> Answer {
                let entries: Vec<Vec<u8>> = (0..EACH)
                    .map(|_| {
                        let time_ms = tree.head().time_ms + later_ms;
                        tree.push(time_ms, large_payload()).unwrap()
                    })
                    .collect();
                let bytes: usize = entries.iter().map(Vec::len).sum();
                count.fetch_add(bytes as u64, Ordering::Relaxed);
                Ok(entries_answer(&entries, 0))
            })
        });
        let refused = fetch(&line, &from, &to, BOUNDS).await.unwrap_err();
        let limit = if later_ms == 0 { BOUNDS.most.1 } else { BOUNDS.enough.1 };
        let is_refused = match later_ms {
            0 => matches!(refused, ChainError::Endless { .. }),
            // No contract has kept a root there.
            _ => matches!(refused, ChainError::Answer(_) | ChainError::Proof(_)),
        };
        assert!(is_refused, "{refused}");
        // One answer more than is kept, at most.
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent <= limit as u64 + 2 * EACH * MAX_ENTRY_BYTES as u64, "{sent}");
    }
    // One each time that it is asked, slowly, and for ever.
    let mut tree = from.clone();
    server.bend(move |_, asked| {
        asks_for_entries(asked).then(|| {
            std::thread::sleep(Duration::from_millis(20));
            Ok(entries_answer(&[tree.push(tree.head().time_ms, vec![0x7a, 1, 7]).unwrap()], 0))
        })
    });
    let quick = Bounds { within: Duration::from_millis(200), ..BOUNDS };
    let refused = fetch(&line, &from, &to, quick).await.unwrap_err();
    assert!(matches!(refused, ChainError::Slow { .. }), "{refused}");
    let large = vec![vec![7; MAX_ENTRY_BYTES + 1]];
    for entries in [large, vec![b"nothing".to_vec()], Vec::new()] {
        server
            .bend(move |_, asked| asks_for_entries(asked).then(|| Ok(entries_answer(&entries, 0))));
        let refused = fetch(&line, &from, &to, BOUNDS).await.unwrap_err();
        assert!(matches!(refused, ChainError::Unproven { .. }), "{refused}");
    }
}

/// A field of protobuf that nobody knows, of 65,000 bytes.
fn large_payload() -> Vec<u8> {
    [&[0x7a, 0xe8, 0xfb, 0x03][..], &[7; 65_000]].concat()
}

#[tokio::test]
async fn the_first_entry_is_proven_by_itself() {
    let mut written = Written::new();
    written.play(300);
    let chain = keeping(&written);
    let liar = Server::start(chain.clone(), written.entries[1..].to_vec());
    let honest = Server::start(chain.clone(), written.entries.clone());
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    honest.bend(move |_, asked| {
        count.fetch_add(u64::from(asks_for_entries(asked)), Ordering::Relaxed);
        None
    });
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&chain, &[&liar, &honest], dir.path());
    let first = first_entry(&settings, &dir.path().join("data")).await.unwrap();
    assert_eq!(first.chain.unwrap().contract, CONTRACT);
    // Not all of a ledger for one entry of it.
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
