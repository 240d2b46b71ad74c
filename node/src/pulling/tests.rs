//! Weights from other nodes: real ones, and some that lie.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use bytes::Bytes;
use colearn_contracts::{Act, Action, Limits, Proposal, Scores, VERSION};
use colearn_merge::Source as _;
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_records::keys::learner_id;
use colearn_records::transaction::{Seen, Transaction};
use colearn_records::validators;
use colearn_records::validators::Validator;
use ed25519_dalek::SigningKey;
use sha2::{Digest as _, Sha256};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::disk::DiskReserve;
use crate::door::calls::Calls;
use crate::door::connections::Slots;
use crate::door::rights::Rights;
use crate::door::serve::{Door, router, serve};
use crate::door::who::Who;
use crate::http::health::Health;
use crate::keeper::{Decision, Keeper};
use crate::metrics::{Class, Counts};
use crate::order::Order;
use crate::order::solo::SoloThread;
use crate::peer::Peer;
use crate::reads::Reads;
use crate::testing::{create, join, keeper, key, log_keys, name, signed};
use crate::view::Publisher;
use crate::witness::Cosignatures;
use crate::{Config, Node, Shared};

const OWN: u8 = 1;

fn patience() -> Patience {
    Patience {
        part_bytes: 1000,
        part: Duration::from_millis(300),
        pause: (Duration::from_millis(5), Duration::from_millis(20)),
        // Whoever waits in these tests waits for what comes.
        submission: Duration::from_secs(60),
        download: Duration::from_secs(60),
    }
}

fn weights(seed: u8) -> Vec<u8> {
    (0..2500_u32).map(|at| (at % 251) as u8 ^ seed).collect()
}

fn model(bytes: &[u8]) -> Model {
    let digest = Digest(Sha256::digest(bytes).into());
    Model { digest, size: bytes.len() as u64, media_type: "m".to_owned() }
}

fn store(dir: &Path) -> ArtifactStore {
    ArtifactStore::open(&dir.join("artifacts"), 1 << 20, 1 << 24, DiskReserve::new(dir, 0)).unwrap()
}

fn put(store: &ArtifactStore, bytes: &[u8]) {
    let Model { digest, size, .. } = model(bytes);
    let mut upload = store.upload(Bringer::Node, digest, size, 0).unwrap().unwrap();
    upload.write(bytes).unwrap();
    upload.finish().unwrap();
}

fn stored(store: &ArtifactStore, digest: &Digest) -> Vec<u8> {
    let whole = store.whole(digest).unwrap();
    let mut bytes = vec![0; whole.size().unwrap() as usize];
    whole.read_at(0, &mut bytes).unwrap();
    bytes
}

/// This node, and others at these addresses.
fn network(others: &[String]) -> watch::Receiver<Arc<LogKeys>> {
    let validator = |(number, url): (u8, &String)| {
        let (name, p2p) = (format!("org-{number}"), format!("{number:040x}@127.0.0.1:1"));
        let consensus = SigningKey::from_bytes(&[100 + number; 32]);
        let it = Validator::sign(&name, &p2p, url, &key(number), &consensus).unwrap();
        it.message().clone()
    };
    let own = "http://127.0.0.1:1".to_owned();
    let all = (OWN..).zip(std::iter::once(&own).chain(others)).map(validator).collect();
    let genesis =
        validators::genesis(Some("test".to_owned()), all, 1_000, VERSION, &Limits::default());
    watch::channel(Arc::new(LogKeys::of_genesis(&genesis.unwrap()).unwrap())).1
}

fn pulling(artifacts: &ArtifactStore, others: &[String]) -> Pulling {
    pulling_with(patience(), artifacts, others)
}

fn pulling_with(patience: Patience, artifacts: &ArtifactStore, others: &[String]) -> Pulling {
    let own = Credential::new(key(OWN));
    let stopping = CancellationToken::new();
    Pulling::new(artifacts.clone(), Others::Keepers(network(others)), own, patience, &stopping)
}

/// A node that keeps another ledger, which does not matter to who fetches weights.
async fn node(dir: &Path) -> (Node, String) {
    let node = Node::start(Config::new(dir)).await.unwrap();
    let url = format!("http://{}", node.address());
    (node, url)
}

/// Somebody who answers as they like: told which path and range is asked for.
fn somebody(
    answer: impl Fn(&str, u64, u64, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || -> std::io::Result<()> {
                let (mut path, mut range) = (String::new(), (0, 0));
                for line in BufReader::new(stream.try_clone()?).lines() {
                    let line = line?;
                    if let Some(rest) = line.strip_prefix("GET ") {
                        path = rest.split(' ').next().unwrap().to_owned();
                    } else if let Some(rest) = line.strip_prefix("range: bytes=") {
                        let (first, last) = rest.split_once('-').unwrap();
                        range = (first.parse().unwrap(), last.parse().unwrap());
                    } else if line.is_empty() {
                        break;
                    }
                }
                answer(&path, range.0, range.1, &mut stream)
            });
        }
    });
    url
}

/// The head of an answer that promises the range.
fn promise(first: u64, last: u64, size: usize, out: &mut TcpStream) -> std::io::Result<()> {
    let length = last - first + 1;
    write!(
        out,
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {first}-{last}/{size}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_names_is_fetched_and_nothing_else() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (node, url) = node(there.path()).await;
    let (named, other) = (weights(0), weights(1));
    put(&store(there.path()), &named);
    put(&store(there.path()), &other);

    let artifacts = store(here.path());
    let mut keeper = keeper(&here.path().join("ledger"));
    let (mut publisher, views) = Publisher::new(keeper.contract(), keeper.head().size);
    let pulling = pulling(&artifacts, &[url]);
    tokio::spawn(pulling.clone().follow(views));
    let mut decide = |keeper: &mut Keeper, learner, action| {
        let decided = keeper.decide(2_000, &signed(learner, action)).unwrap();
        assert!(matches!(decided, Decision::Recorded(_)));
        let (touched, size) = (keeper.take_touched(), keeper.head().size);
        let view = publisher.draw(keeper.contract(), &touched, size);
        publisher.publish(view);
        publisher.show_entries(size);
    };
    let mut action = create("a");
    let Act::Create(creating) = &mut action.what else { unreachable!() };
    creating.model = model(&named);
    decide(&mut keeper, 1, action);
    // Until it was looked at nobody may wait for it.
    while !pulling.wait_for(&model(&named).digest).await {
        tokio::task::yield_now().await;
    }
    assert_eq!(stored(&artifacts, &model(&named).digest), named);
    assert!(!pulling.wait_for(&model(&other).digest).await);
    assert_eq!(artifacts.size_of(&model(&other).digest), None);

    // What is voted on, too.
    decide(&mut keeper, 1, join("a", 1, 0));
    decide(&mut keeper, 2, join("a", 1, 0));
    let Phase::Proposing { proposer, .. } =
        *keeper.contract().experiment(&name("a")).unwrap().phase()
    else {
        unreachable!()
    };
    let learner = if proposer == learner_id(&key(1)) { 1 } else { 2 };
    let proposal = Proposal {
        round: 1,
        base: model(&named).digest,
        weights: model(&other),
        scores: Scores::default(),
        privacy: None,
    };
    decide(&mut keeper, learner, Action::new(name("a"), Act::Propose(proposal)));
    while !pulling.wait_for(&model(&other).digest).await {
        tokio::task::yield_now().await;
    }
    assert_eq!(stored(&artifacts, &model(&other).digest), other);

    node.shutdown().await.unwrap();
}

/// Or an experiment that ends with a merge would have its last model at some nodes only.
#[test]
fn an_experiment_that_was_seen_to_be_live_still_has_its_model_fetched_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = keeper(dir.path());
    let view = |keeper: &Keeper| Publisher::new(keeper.contract(), keeper.head().size).1.latest();
    keeper.decide(2_000, &signed(1, create("a"))).unwrap();
    let mut live = BTreeSet::new();
    let named = named_by(&view(&keeper), &mut live);
    assert_eq!(named.len(), 1);
    let stopped = keeper.decide(2_000, &signed(1, Action::new(name("a"), Act::Stop))).unwrap();
    assert!(matches!(stopped, Decision::Recorded(_)));
    assert_eq!(view(&keeper).unfinished().count(), 0);
    assert_eq!(named_by(&view(&keeper), &mut live), named);
    assert!(named_by(&view(&keeper), &mut BTreeSet::new()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_no_longer_is_waited_for_no_longer() {
    let here = tempfile::tempdir().unwrap();
    let pulling = pulling(&store(here.path()), &[]);
    let lost = Wanted { digest: Digest([9; 32]), size: 1 };
    pulling.look(BTreeSet::from([lost])).await;
    let waiting = tokio::spawn({
        let pulling = pulling.clone();
        async move { pulling.wait_for(&lost.digest).await }
    });
    pulling.look(BTreeSet::new()).await;
    assert!(!waiting.await.unwrap());
}

/// Whoever is asked first: an honest node among four that are not is enough.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_believed_and_nobody_holds_it_up() {
    let there = tempfile::tempdir().unwrap();
    let (node, honest) = node(there.path()).await;
    let bytes = weights(0);
    put(&store(there.path()), &bytes);
    let size = bytes.len();
    let other_bytes = somebody(move |_, first, last, out| {
        promise(first, last, size, out)?;
        out.write_all(&vec![7; (last - first + 1) as usize])
    });
    // Says nothing of a length, and does not end.
    let too_many = somebody(move |_, first, last, out| {
        write!(
            out,
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {first}-{last}/{size}\r\n\
             connection: close\r\n\r\n"
        )?;
        loop {
            out.write_all(&[8; 4096])?;
        }
    });
    let trickle = somebody(move |_, first, last, out| {
        promise(first, last, size, out)?;
        loop {
            out.write_all(&[9])?;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let nothing = somebody(|_, _, _, out| {
        // Until the other side gives up.
        out.read(&mut [0; 1]).map(drop)
    });
    let others = [other_bytes, too_many, trickle, nothing, honest];
    for first in 0..others.len() {
        let here = tempfile::tempdir().unwrap();
        let artifacts = store(here.path());
        let pulling = pulling(&artifacts, &others);
        let asking = tokio::task::spawn_blocking(move || {
            let (wanted, stop) = (Wanted::from(&model(&weights(0))), CancellationToken::new());
            let mut doubts = Doubts { rounds: first, ..Doubts::default() };
            let mut tries = 0;
            while pulling.ask_all(wanted, &mut doubts, &stop).is_err() {
                tries += 1;
                assert!(tries < 3, "not fetched when node {first} is asked first: {doubts:?}");
            }
            doubts
        });
        let doubts = asking.await.unwrap();
        assert!(!doubts.liars.contains("org-6"), "the honest node is not to blame");
        assert_eq!(stored(&artifacts, &model(&bytes).digest), bytes);
        assert_eq!(artifacts.room_bytes(), 1 << 20);
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_transfer_goes_on_where_it_ended() {
    let here = tempfile::tempdir().unwrap();
    let bytes = weights(0);
    let (size, asked) = (bytes.len(), Arc::new(Mutex::new(Vec::new())));
    let (sent, seen) = (bytes.clone(), asked.clone());
    // Breaks off in the middle of each second part, so that a transfer takes several tries.
    let url = somebody(move |_, first, last, out| {
        let breaks = {
            let mut seen = seen.lock().unwrap();
            seen.push(first);
            seen.len() == 2
        };
        promise(first, last, size, out)?;
        let last = if breaks { first + 99 } else { last };
        out.write_all(&sent[first as usize..=last as usize])
    });
    let wanted = Wanted::from(&model(&bytes));
    let others = [url];
    for goes_on in [false, true] {
        // As after a restart: a store that knows only what lies in its folder.
        let artifacts = store(here.path());
        let pulling = pulling(&artifacts, &others);
        let asking = tokio::task::spawn_blocking(move || {
            pulling.ask_all(wanted, &mut Doubts::default(), &CancellationToken::new()).is_ok()
        });
        assert_eq!(asking.await.unwrap(), goes_on);
    }
    assert_eq!(*asked.lock().unwrap(), [0, 1000, 1100, 2100]);
    assert_eq!(stored(&store(here.path()), &wanted.digest), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_are_fetched_at_once() {
    let here = tempfile::tempdir().unwrap();
    let all: Vec<Vec<u8>> = (0..2 * AT_ONCE as u8).map(weights).collect();
    let (sent, size) = (all.clone(), all[0].len());
    let (now, most) = (Mutex::new(0), Arc::new(Mutex::new(0)));
    // Nobody gets anything before so many have asked.
    let (together, seen) = (std::sync::Barrier::new(AT_ONCE), most.clone());
    let url = somebody(move |path, first, last, out| {
        let asked = sent.iter().find(|it| path.ends_with(&model(it).digest.to_string())).unwrap();
        {
            let mut now = now.lock().unwrap();
            *now += 1;
            let mut most = seen.lock().unwrap();
            *most = (*most).max(*now);
        }
        together.wait();
        *now.lock().unwrap() -= 1;
        promise(first, last, size, out)?;
        out.write_all(&asked[first as usize..=last as usize])
    });
    let artifacts = store(here.path());
    let patience = Patience { part_bytes: 1 << 20, part: Duration::from_secs(60), ..patience() };
    let pulling = pulling_with(patience, &artifacts, &[url]);
    pulling.look(all.iter().map(|bytes| Wanted::from(&model(bytes))).collect()).await;
    for bytes in &all {
        assert!(pulling.wait_for(&model(bytes).digest).await);
        assert_eq!(stored(&artifacts, &model(bytes).digest), *bytes);
    }
    assert_eq!(*most.lock().unwrap(), AT_ONCE);
}

/// Kept parts that somebody has uploaded need not be what they should be.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_and_is_wrong_does_not_stay_in_the_way() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (node, url) = node(there.path()).await;
    let bytes = weights(0);
    put(&store(there.path()), &bytes);
    let artifacts = store(here.path());
    let wanted = Wanted::from(&model(&bytes));
    let begin = |bringer| {
        let mut upload = artifacts.upload(bringer, wanted.digest, wanted.size, 0).unwrap().unwrap();
        upload.write(&[1; 1500]).unwrap();
        upload
    };
    drop(begin(Bringer::Node));
    // Nor does somebody who has begun and does not go on.
    let silent = begin(Bringer::Peer(Peer::default()));
    let pulling = pulling(&artifacts, &[url]);
    pulling.look(BTreeSet::from([wanted])).await;
    assert!(pulling.wait_for(&wanted.digest).await);
    assert_eq!(stored(&artifacts, &wanted.digest), bytes);
    assert!(matches!(silent.finish(), Err(ArtifactError::Incomplete)));
    node.shutdown().await.unwrap();
}

/// A node with all its services, which knows another.
struct Serving {
    pulling: Pulling,
    url: String,
    stopping: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    order: Order,
    seen: Seen,
}

impl Serving {
    async fn start(dir: &Path, others: &[String]) -> Self {
        let keeper = keeper(&dir.join("ledger"));
        let (reader, artifacts) = (keeper.reader(), store(dir));
        let seen = Seen { size: 1, root: reader.root(1).unwrap() };
        let stopping = CancellationToken::new();
        let (reserve, counts) = (DiskReserve::new(dir, 0), Counts::default());
        let health = Health::new(
            stopping.clone(),
            reserve.clone(),
            #[cfg(unix)]
            None,
            None,
        );
        let order =
            Order::Alone(SoloThread::start(keeper, reserve, counts.clone(), stopping.clone()));
        let reads = Reads::new(reader, None);
        let pulling = pulling(&artifacts, others);
        let cosignatures = Cosignatures::new(0, 0);
        let rights = Rights::public(artifacts.clone());
        let keys = log_keys();
        let who = Who::new(keys.ledger().0, [0; 32], false, rights.clone(), counts.clone());
        let who = who.unwrap();
        let pulled = Some(pulling.clone());
        let shared = Shared {
            reads,
            artifacts,
            presigned: None,
            pulling: pulled,
            cosignatures,
            rights,
            who,
            health,
            counts: counts.clone(),
            verifiers: keys.current().clone(),
        };
        let services = crate::services(&keys, &order, shared, &stopping);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router(services, Calls::new(&Config::new(""), counts.clone()), None);
        let (slots, full) = (Slots::new(64, 64), Class::Door("connections"));
        let door = Door { listener, slots, tls: None, counts, full };
        let serving = tokio::spawn(serve(door, router, stopping.clone()));
        Self { pulling, url, stopping, serving, order, seen }
    }

    async fn stop(self) {
        self.stopping.cancel();
        self.serving.await.unwrap();
        tokio::task::spawn_blocking(|| self.order.join()).await.unwrap().unwrap();
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url.clone()).unwrap().connect().await.unwrap()
    }

    async fn submit(&self, model: Model) -> Result<v1::Receipt, tonic::Status> {
        let mut action: Action = create("a");
        let Act::Create(creating) = &mut action.what else { unreachable!() };
        creating.model = model;
        let ledger = log_keys().ledger();
        let transaction = Transaction::sign(&key(1), &ledger, self.seen, action);
        let mut client = CoordinatorServiceClient::new(self.channel().await);
        let transaction = Some(transaction.message().clone());
        let answer = client.submit(v1::SubmitRequest { transaction }).await?;
        Ok(answer.into_inner().receipt.unwrap())
    }

    async fn download(&self, digest: Digest, offset: u64) -> Result<Vec<u8>, tonic::Status> {
        let mut client = ArtifactServiceClient::new(self.channel().await);
        let digest = Bytes::copy_from_slice(&digest.0);
        let request = v1::DownloadArtifactRequest { digest, offset };
        let mut parts = client.download_artifact(request).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await? {
            bytes.extend_from_slice(&part.chunk);
        }
        Ok(bytes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_uploaded_to_another_node_may_be_submitted_and_downloaded_here() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (node, url) = node(there.path()).await;
    let serving = Serving::start(here.path(), &[url]).await;
    let bytes = weights(0);

    // Nobody has it.
    let refused = serving.submit(model(&bytes)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("upload them first"), "{}", refused.message());
    put(&store(there.path()), &bytes);
    // Nobody has named it: it is there, and not fetched for whoever asks.
    let refused = serving.download(model(&bytes).digest, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    serving.submit(model(&bytes)).await.unwrap();
    assert_eq!(serving.download(model(&bytes).digest, 7).await.unwrap(), bytes[7..]);

    // Named, and nowhere yet: whoever asks waits until somebody has it.
    let later = weights(2);
    serving.pulling.look(BTreeSet::from([Wanted::from(&model(&later))])).await;
    let waiting = serving.download(model(&later).digest, 0);
    let bringing = async { put(&store(there.path()), &later) };
    let (got, ()) = tokio::join!(waiting, bringing);
    assert_eq!(got.unwrap(), later);
    serving.stop().await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_has_ranges() {
    let there = tempfile::tempdir().unwrap();
    let (node, url) = node(there.path()).await;
    let bytes = weights(0);
    put(&store(there.path()), &bytes);
    let digest = model(&bytes).digest;
    let get = async |path: String, range: Option<&'static str>| {
        let url = format!("{url}{path}");
        let asking = tokio::task::spawn_blocking(move || {
            let agent = ureq::Agent::new_with_config(
                ureq::Agent::config_builder().http_status_as_error(false).build(),
            );
            let request = agent.get(&url);
            let request = match range {
                Some(range) => request.header("range", range),
                None => request,
            };
            let mut answer = request.call().unwrap();
            let said =
                answer.headers().get("content-range").map(|it| it.to_str().unwrap().to_owned());
            let body = answer.body_mut().read_to_vec().unwrap();
            (answer.status().as_u16(), said, body)
        });
        asking.await.unwrap()
    };
    let path = || format!("/artifact/{digest}");
    assert_eq!(get(path(), None).await, (200, None, bytes.clone()));
    let said = |range: &str| Some(format!("bytes {range}/2500"));
    let part = get(path(), Some("bytes=10-19")).await;
    assert_eq!(part, (206, said("10-19"), bytes[10..20].to_vec()));
    for range in ["bytes=2490-", "bytes=2490-9999"] {
        let part = get(path(), Some(range)).await;
        assert_eq!(part, (206, said("2490-2499"), bytes[2490..].to_vec()));
    }
    for range in ["bytes=2500-", "bytes=9-8", "bytes=-5", "bytes=0-1,3-4", "lines=1-2"] {
        assert_eq!(get(path(), Some(range)).await.0, 416, "{range}");
    }
    for path in [format!("/artifact/{}", Digest([3; 32])), "/artifact/x".to_owned()] {
        assert_eq!(get(path, None).await.0, 404);
    }
    let shouted = format!("/artifact/{}", digest.to_string().to_uppercase());
    assert_eq!(get(shouted, None).await.0, 404, "one spelling");
    node.shutdown().await.unwrap();
}
