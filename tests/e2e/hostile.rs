//! One of four organisations lies, in whatever it can lie in: as a proposer, about what it has come to, with
//! its signature, and by running twice. The other three go on.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use colearn_comet::abci::response;
use colearn_comet::abci::response_process_proposal::ProposalStatus;
use colearn_comet::keys::NodeKey;
use colearn_comet::testing::Between;
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Hash, Signer};
use colearn_proto::v1;
use colearn_proto::v1::validator_change::Change;
use colearn_records::network_file;
use colearn_records::record;
use colearn_testkit::{free_address, free_addresses, script};
use prost::Message as _;
use serde_json::Value;

use crate::support::network::{Network, Place, Sender};
use crate::support::{copy, http, wait_for};

/// Who lies, of four.
const LIAR: usize = 3;
/// Above what a receipt takes on a slow machine where a proposer or two are passed over.
const USUAL: Duration = Duration::from_secs(15);

/// What CometBFT is told in the place of what its node has answered.
#[derive(Default)]
enum Lie {
    #[default]
    None,
    /// Proposals that no block may be, one after the other; and that each of them is good.
    Junk(Vec<Vec<Bytes>>),
    /// Proposals of nothing.
    Nothing,
    /// That every block came to something else.
    AppHash,
}

/// What a node takes for CometBFT: the real one, and between them somebody who lies when he is told to.
struct Liar {
    comet: PathBuf,
    lie: Arc<Mutex<Lie>>,
    /// How many lies were told.
    told: Arc<AtomicUsize>,
    _between: Between,
    _dir: tempfile::TempDir,
}

impl Liar {
    fn before(comet: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (socket, node) = (dir.path().join("s"), dir.path().join("node"));
        let program = dir.path().join("cometbft");
        let (lie, told) = (Arc::<Mutex<Lie>>::default(), Arc::<AtomicUsize>::default());
        // Each start of a node has files of its own; CometBFT may be started again with the same.
        let text = format!(
            r#"#!/bin/sh
config="$3/config/config.toml"
if [ "$1" = start ] && ! grep -q '{socket}' "$config"; then
    sed -n 's|^proxy_app = "unix://\(.*\)"$|\1|p' "$config" >'{node}'
    sed -i 's|^proxy_app = .*|proxy_app = "unix://{socket}"|' "$config"
fi
exec '{comet}' "$@"
"#,
            socket = socket.display(),
            node = node.display(),
            comet = comet.display(),
        );
        script(&program, &text);
        let application =
            move || Ok(PathBuf::from(std::fs::read_to_string(&node)?.trim_end().to_owned()));
        let (lies, counts) = (lie.clone(), told.clone());
        let alter = move |answer| lies.lock().unwrap().instead_of(answer, &counts);
        let between = Between::stand(&socket, application, alter).unwrap();
        Self { comet: program, lie, told, _between: between, _dir: dir }
    }

    fn lie(&self, lie: Lie) {
        self.told.store(0, Ordering::SeqCst);
        *self.lie.lock().unwrap() = lie;
    }

    fn told(&self) -> usize {
        self.told.load(Ordering::SeqCst)
    }
}

impl Lie {
    fn instead_of(&self, mut answer: response::Value, told: &AtomicUsize) -> response::Value {
        use response::Value as A;
        match (self, &mut answer) {
            (Self::Junk(junk), A::PrepareProposal(proposal)) => {
                proposal.txs = junk[told.fetch_add(1, Ordering::SeqCst) % junk.len()].clone();
            }
            // Even its own vote is for it.
            (Self::Junk(_), A::ProcessProposal(judged)) => {
                judged.set_status(ProposalStatus::Accept);
            }
            (Self::Nothing, A::PrepareProposal(proposal)) => {
                if !proposal.txs.is_empty() {
                    told.fetch_add(1, Ordering::SeqCst);
                }
                proposal.txs.clear();
            }
            (Self::AppHash, A::FinalizeBlock(block)) => {
                told.fetch_add(1, Ordering::SeqCst);
                block.app_hash = Bytes::from_static(&[7; 32]);
            }
            (Self::None | Self::Junk(_) | Self::Nothing | Self::AppHash, _) => {}
        }
        answer
    }
}

/// Four nodes, of which the last has a liar beside it; `None` where there is no CometBFT.
#[track_caller]
fn with_liar() -> Option<(Network, Liar)> {
    let mut places = Place::here(4)?;
    let liar = Liar::before(&places[LIAR].comet);
    places[LIAR].comet = liar.comet.clone();
    Some((Network::at(places), liar))
}

/// How blocks name who has proposed them.
fn address(network: &Network, at: usize) -> String {
    let text = std::fs::read_to_string(network.file()).unwrap();
    let validators = network_file::read_network(&text).unwrap().validators().unwrap();
    hex::encode(validators.get(&format!("org-{at}")).unwrap().consensus_address())
}

/// Who has proposed the blocks of these entries.
fn proposers(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["block"]["proposer"].as_str()).collect()
}

/// Somebody at each of these nodes.
async fn senders(network: &Network, at: impl IntoIterator<Item = usize>) -> Vec<Sender> {
    let mut senders = Vec::new();
    for at in at {
        senders.push(Sender::at(network, at).await);
    }
    senders
}

/// All have something recorded in turn, in no more than the usual time each, until it is enough. How many
/// receipts each has at least.
async fn goes_on(senders: &mut [Sender], mut enough: impl FnMut() -> bool) -> u64 {
    let mut times = 0;
    while !enough() || times == 0 {
        times += 1;
        assert!(times < 30, "it does not come to what it should");
        for sender in &mut *senders {
            let took = sender.send().await.unwrap();
            assert!(took < USUAL, "{took:?}");
        }
    }
    times
}

/// What no block may hold, of each kind.
fn junk(sender: &mut Sender) -> Vec<Vec<Bytes>> {
    let genuine = Bytes::from(sender.keep_back());
    let mut forged = v1::Entry::decode(genuine.clone()).unwrap();
    if let Some(v1::entry::Payload::Transaction(transaction)) = &mut forged.payload {
        transaction.signature = vec![1; 64].into();
    }
    let tick = |time_ms: u64| Bytes::from([&[0], &time_ms.to_be_bytes()[..]].concat());
    let change = |name: &str| {
        let change = Some(Change::Remove(name.to_owned()));
        let change = v1::ValidatorChange { number: 1, change, approvals: Vec::new() };
        Bytes::from(record::validator_change_payload(&change))
    };
    vec![
        vec![Bytes::from_static(b"junk")],
        vec![forged.encode_to_vec().into()],
        vec![genuine.clone(), genuine],
        vec![tick(1_000), tick(2_000)],
        vec![change("org-0"), change("org-1")],
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_proposes_is_looked_at_by_the_others() {
    let Some((mut network, liar)) = with_liar() else { return };
    let mut senders = senders(&network, 0..LIAR).await;
    goes_on(&mut senders, || true).await;
    let mut other = Sender::at(&network, LIAR).await;
    let junk = junk(&mut other);
    let kinds = junk.len();
    let before = network.size(0);
    liar.lie(Lie::Junk(junk));
    let times = goes_on(&mut senders, || liar.told() > kinds).await;
    let after = network.size(0);
    liar.lie(Lie::None);
    // It has no lasting harm from what it said.
    other.send().await.unwrap();
    network.finish();
    let entries = network.entries(0);
    let own = address(&network, LIAR);
    assert!(!proposers(&entries[before..after]).contains(&own.as_str()), "{entries:?}");
    let all = serde_json::to_string(&entries).unwrap();
    assert!(!all.contains("s103-1"), "what was proposed twice at once is recorded");
    for sender in &senders {
        assert!(network.honoured(&sender.memory) > times);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_leaves_out_the_others_take() {
    let Some((mut network, liar)) = with_liar() else { return };
    // Its own learners' transactions, too: its CometBFT hands them on.
    let mut senders = senders(&network, 0..4).await;
    liar.lie(Lie::Nothing);
    goes_on(&mut senders, || liar.told() > 2).await;
    network.finish();
    let own = address(&network, LIAR);
    assert!(!proposers(&network.entries(0)).contains(&own.as_str()));
    for sender in &senders {
        assert!(network.honoured(&sender.memory) > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_comes_to_something_else_says_so_and_comes_back() {
    let Some((mut network, liar)) = with_liar() else { return };
    let mut senders = senders(&network, 0..LIAR).await;
    goes_on(&mut senders, || true).await;
    liar.lie(Lie::AppHash);
    let mut health = Ok(());
    goes_on(&mut senders, || {
        health = network.health(LIAR);
        health.is_err()
    })
    .await;
    let why = health.unwrap_err();
    let (halts, hash) = ("takes no part any more", "wrong Block.Header.AppHash");
    assert!(why.contains(halts) && why.contains(hash), "{why}");
    let status = network.status(0);
    assert!(status.contains("org-3 does not go on: cometbft runs and"), "{status}");
    assert!(network.log(LIAR).contains(hash), "{}", network.log(LIAR));
    // Nothing is taken there that could not be answered.
    let refused = Sender::at(&network, LIAR).await.send().await.unwrap_err().to_string();
    assert!(refused.contains(halts), "{refused}");

    // The lie stops, but its CometBFT has it in its store.
    liar.lie(Lie::None);
    network.stop(LIAR);
    network.restart(LIAR);
    let why = wait_for("it says why it does not go on", || network.health(LIAR).err());
    let (ends, store) = ("ends as soon as it is started", "state.AppHash does not match");
    assert!(why.contains(ends) && why.contains(store), "{why}");
    // Later each time.
    let log = network.log(LIAR);
    assert!(log.contains("in 3.2s") && log.matches("is started again").count() < 8, "{log}");

    // As docs/network.md says.
    network.stop(LIAR);
    network.forget_blocks(LIAR);
    network.restart(LIAR);
    goes_on(&mut senders, || network.health(LIAR).is_ok()).await;
    let times = goes_on(&mut senders, || true).await;
    network.finish();
    for sender in &senders {
        assert!(network.honoured(&sender.memory) > times);
    }
}

/// What stands before a node's door: it passes all on, but what the node is asked to sign for it signs itself,
/// with the node's key, when it is told to.
struct Door {
    lies: Arc<AtomicBool>,
}

impl Door {
    /// At one address for a node that listens at another. Its key and the ledger's name come when there are
    /// some.
    fn open(at: SocketAddr, node: SocketAddr, signer: Arc<Mutex<Option<Signer>>>) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let lies = Arc::new(AtomicBool::new(false));
        let lying = lies.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (signer, lying) = (signer.clone(), lying.clone());
                std::thread::spawn(move || {
                    // Whoever asks sees its connection end.
                    let _ = pass_on(stream.unwrap(), node, &lying, &signer);
                });
            }
        });
        Self { lies }
    }

    fn lie(&self, lies: bool) {
        self.lies.store(lies, Ordering::SeqCst);
    }
}

fn pass_on(
    mut asks: TcpStream,
    node: SocketAddr,
    lying: &AtomicBool,
    signer: &Mutex<Option<Signer>>,
) -> std::io::Result<()> {
    let mut head = vec![0; 4096];
    let read = asks.read(&mut head)?;
    head.truncate(read);
    let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
    let size = path.strip_prefix("/checkpoint/").and_then(|size| size.parse::<u64>().ok());
    if let (Some(size), true) = (size, lying.load(Ordering::SeqCst)) {
        let signer = signer.lock().unwrap().clone().unwrap();
        let origin = signer.verifier().name().to_owned();
        let text = Checkpoint { origin, size, root: Hash([size as u8; 32]) }.text();
        let note = format!("{text}\n{}", signer.sign(&text, 0));
        let length = note.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{note}"
        );
        return asks.write_all(answer.as_bytes());
    }
    let mut asked = TcpStream::connect(node)?;
    // One question a connection, so that each is looked at.
    let head = match head.strip_suffix(b"\r\n\r\n") {
        Some(head) if head.starts_with(b"GET ") => {
            [head, b"\r\nconnection: close\r\n\r\n"].concat()
        }
        _ => head,
    };
    asked.write_all(&head)?;
    let (mut answers, mut told) = (asked.try_clone()?, asks.try_clone()?);
    let answering = std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut told);
        let _ = told.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut asks, &mut asked);
    let _ = asked.shutdown(Shutdown::Write);
    let _ = answering.join();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_signs_another_history_is_named_and_two_of_four_stop_all() {
    let Some(mut places) = Place::here(4) else { return };
    let mut doors = Vec::new();
    for place in &mut places[2..] {
        place.listen = free_address();
        place.reached = place.listen;
        let signer = Arc::<Mutex<Option<Signer>>>::default();
        doors.push((Door::open(place.url, place.listen, signer.clone()), signer));
    }
    let mut network = Network::at(places);
    let note = String::from_utf8(http(&format!("{}/checkpoint/1", network.url(0))).1).unwrap();
    let origin = note.lines().next().unwrap();
    for (at, (_, signer)) in doors.iter().enumerate() {
        let key = colearn_records::keys::load(&network.data(2 + at).join("node.pem")).unwrap();
        *signer.lock().unwrap() = Some(Signer::new(origin, KeyKind::Log, key).unwrap());
    }
    let mut senders = senders(&network, 0..2).await;
    goes_on(&mut senders, || true).await;

    doors[1].0.lie(true);
    let evidence = |at: usize, of: usize| {
        let files = std::fs::read_dir(network.data(at)).unwrap();
        let mut names = files.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.find(|it| it.starts_with("fork-") && it.ends_with(&format!("-org-{of}.txt")))
    };
    goes_on(&mut senders, || evidence(0, 3).is_some() && evidence(1, 3).is_some()).await;
    assert_eq!((network.health(0), network.health(1)), (Ok(()), Ok(())));
    let told = std::fs::read_to_string(network.data(0).join(evidence(0, 3).unwrap())).unwrap();
    assert_eq!(told.matches(origin).count(), 4, "two notes, each signed: {told}");
    let status = network.status(0);
    assert!(status.contains("org-3 has signed another history than org-0 has"), "{status}");

    doors[0].0.lie(true);
    // The block comes, but nobody who is honest can show it.
    let waits = tokio::time::timeout(Duration::from_secs(3), senders[0].send()).await;
    assert!(!matches!(waits, Ok(Ok(_))), "{waits:?}");
    for at in 0..2 {
        let why = wait_for("it is contradicted", || network.health(at).err());
        assert_eq!(why, "2 of the 4 nodes have signed another history than this one\n");
    }
    let refused = senders[1].send().await.unwrap_err().to_string();
    assert!(refused.contains("submit to another node"), "{refused}");
    let status = network.status(0);
    assert!(status.contains("org-1 does not go on: 2 of the 4 nodes"), "{status}");

    doors.iter().for_each(|(door, _)| door.lie(false));
    wait_for("they agree again", || (0..2).all(|at| network.health(at).is_ok()).then_some(()));
    let times = goes_on(&mut senders, || true).await;
    network.finish();
    for sender in &senders {
        assert!(network.honoured(&sender.memory) > times);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_runs_twice_with_one_key_is_named_in_the_ledger() {
    let Some(mut network) = tokio::task::spawn_blocking(|| Network::start(4)).await.unwrap() else {
        return;
    };
    let mut senders = senders(&network, 0..LIAR).await;
    goes_on(&mut senders, || true).await;
    network.stop(LIAR);
    let twin = network.dir.path().join("twin");
    copy(&network.data(LIAR), &twin);
    network.restart(LIAR);
    // Of two with one node's key each peer would know only one.
    std::fs::remove_file(twin.join("comet/config/node_key.json")).unwrap();
    let fresh = free_addresses(2);
    let place = Place { listen: fresh[0], ..network.places[LIAR].clone() };
    let p2p = fresh[1].to_string();
    let id = NodeKey::create_or_open(&twin.join("comet")).unwrap().id();
    for at in 0..4 {
        std::fs::write(network.data(at).join("observers"), format!("{id}\n")).unwrap();
    }
    let began = Instant::now();
    let log = network.dir.path().join("twin-log");
    let running = network.start_in(&place, &twin, &log, &["--p2p-listen", &p2p]);
    let url = format!("{}/network", network.url(0));
    let named = || {
        let (_, told) = http(&url);
        let told: Value = serde_json::from_slice(&told).unwrap();
        told["caught"]["org-3"].is_object()
    };
    let times = goes_on(&mut senders, named).await;
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    let status = network.status(0);
    assert!(
        status.contains("org-3 was caught signing against the rules (duplicate_vote"),
        "{status}"
    );
    running.stop();
    // It starts from what the ledger says.
    network.stop(0);
    network.restart(0);
    assert!(named());
    network.finish();
    let told = network.audit(1);
    assert_eq!(told["network"]["caught"]["org-3"]["kind"], "duplicate_vote", "{told}");
    for sender in &senders {
        assert!(network.honoured(&sender.memory) > times);
    }
}
