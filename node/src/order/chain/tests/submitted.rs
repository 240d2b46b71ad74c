//! What becomes of transactions that are submitted to a mirror.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use colearn_contracts::{Act, Rejection};
use colearn_ledger::Entry;
use colearn_records::record;
use colearn_records::transaction::{Transaction, Unverified};
use colearn_relay::{Account, Deliverer, Settings};
use colearn_testkit::chain::Server;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::delivery::{Job, deliver};
use super::super::{Answers, Shared, Submissions};
use super::fetched::{keeping, settings};
use super::mirrored::{Written, mirror};
use crate::access::{Access, Grant};
use crate::artifacts::ArtifactStore;
use crate::disk::DiskReserve;
use crate::door::rights::Rights;
use crate::order::waiting::{self, Waiter};
use crate::refusal::Refusal;
use crate::testing::{create, name, signed};

/// A mirror in this folder of what is written, all of which is here; and what it is to deliver.
fn begin(
    written: &Written,
    settings: &Settings,
    folder: &Path,
) -> (Arc<Shared>, mpsc::Receiver<Job>) {
    let mut mirror = mirror(&folder.join("ledger"));
    let to = written.ends.last().unwrap();
    mirror.take(&written.entries[1..], to).unwrap();
    Shared::new(mirror, settings.servers().unwrap(), folder)
}

fn submit(shared: &Arc<Shared>, transaction: Transaction) -> Answers {
    Submissions(shared.clone()).submit(vec![transaction]).unwrap()
}

async fn refused(answers: Answers) -> String {
    match answers.await.unwrap().remove(0) {
        Err(Refusal::NoOrder(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("recorded"),
    }
}

#[tokio::test]
async fn nothing_is_refused_for_good_by_half_a_ledger_and_nothing_delivered_that_nobody_believes() {
    let written = Written::new();
    let server = Server::start(keeping(&written), written.entries.clone());
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    server.bend(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        None
    });
    let dir = tempfile::tempdir().unwrap();
    Account::generate().unwrap().save(&dir.path().join("relay.pem")).unwrap();
    let settings = settings(&keeping(&written), &[&server], dir.path());
    let (shared, jobs) = begin(&written, &settings, dir.path());
    let early = submit(&shared, signed(1, create("a")));
    assert!(refused(early).await.contains("not here yet"));

    shared.condition.reached(3);
    let queued = submit(&shared, signed(1, create("a")));
    shared.jobs.try_send(Job::Tick(vec![name("a")])).unwrap_or_else(|_| panic!("it is full"));
    shared.condition.believes_nothing("TWO HEADERS".to_owned());
    assert_eq!(refused(submit(&shared, signed(2, create("b")))).await, "TWO HEADERS");
    let deliverer =
        Deliverer::new(settings.servers().unwrap(), &settings, settings.open_account().unwrap());
    let stopping = CancellationToken::new();
    let delivering = tokio::spawn(deliver(shared.clone(), deliverer, jobs, stopping.clone()));
    assert_eq!(refused(queued).await, "TWO HEADERS");
    // Behind the tick: once this is answered, that was passed over.
    let last = signed(2, create("c"));
    let payload = Bytes::from(record::transaction_payload(&last));
    let key = waiting::key(&payload);
    let (waiters, answers) = Waiter::of(1);
    assert!(shared.waiting.wait_for(key, &payload, waiters[0].clone()).unwrap());
    let job = Job::Transaction { key, payload, transaction: Box::new(last), tries: 0 };
    shared.jobs.send(job).await.unwrap_or_else(|_| panic!("it has ended"));
    assert_eq!(refused(answers).await, "TWO HEADERS");
    stopping.cancel();
    delivering.await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 0, "a server was asked, to pay for it");
}

#[tokio::test]
async fn what_is_recorded_already_was_used_here_too() {
    let mut written = Written::new();
    written.play(5);
    let server = Server::start(keeping(&written), written.entries.clone());
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&keeping(&written), &[&server], dir.path());
    let (shared, _jobs) = begin(&written, &settings, dir.path());
    // As after a restart: it is recorded, and nobody has noted for whom.
    let payload = Entry::decode(&written.entries[1]).unwrap().payload;
    let message = record::read_transaction(&payload).unwrap();
    let recorded = Unverified::decode(message).unwrap().verified_before();
    let experiment = recorded.action().experiment.clone();
    assert!(!shared.used.contains(&experiment));
    // Everybody has what is old, and could have the mirror pay for any experiment.
    shared.condition.followed(Entry::decode(&written.entries[1]).unwrap().time_ms + 3_600_001);
    drop(submit(&shared, recorded.clone()));
    assert!(!shared.used.contains(&experiment));
    let (shared, _jobs) = begin(&written, &settings, &dir.path().join("again"));
    // Nor is paid for who may not write here.
    let (folder, disk) = (dir.path().join("artifacts"), DiskReserve::new(dir.path(), 0));
    let store = ArtifactStore::open(&folder, 1, 1, disk).unwrap();
    let write = Grant { public: false, members: false, keys: Vec::new() };
    let nobody = Access { write, ..Access::by_default([127, 0, 0, 1].into(), dir.path()) };
    shared.rights.set(Rights::test(&nobody, store)).unwrap_or_else(|_| panic!("they are set"));
    drop(submit(&shared, recorded.clone()));
    assert!(!shared.used.contains(&experiment));
    let (shared, _jobs) = begin(&written, &settings, &dir.path().join("more"));
    let _answers = submit(&shared, recorded);
    assert!(shared.used.contains(&experiment));
}

#[tokio::test]
async fn what_the_rules_refuse_meanwhile_is_not_paid_for() {
    let mut written = Written::new();
    written.play(60);
    let server = Server::start(keeping(&written), written.entries.clone());
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    server.bend(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        None
    });
    let dir = tempfile::tempdir().unwrap();
    Account::generate().unwrap().save(&dir.path().join("relay.pem")).unwrap();
    let settings = settings(&keeping(&written), &[&server], dir.path());
    let mirror = mirror(&dir.path().join("ledger"));
    let (shared, jobs) = Shared::new(mirror, settings.servers().unwrap(), dir.path());
    shared.condition.reached(3);
    // Somebody else is the first to create it.
    let created = written.entries.iter().find_map(|bytes| {
        let payload = Entry::decode(bytes).unwrap().payload;
        let it = Unverified::decode(record::read_transaction(&payload)?).unwrap();
        matches!(it.action.what, Act::Create(_)).then_some(it.action.experiment)
    });
    let queued = submit(&shared, signed(200, create(created.unwrap().as_str())));
    let to = written.ends.last().unwrap();
    shared.mirror().take(&written.entries[1..], to).unwrap();
    let deliverer =
        Deliverer::new(settings.servers().unwrap(), &settings, settings.open_account().unwrap());
    let stopping = CancellationToken::new();
    let delivering = tokio::spawn(deliver(shared.clone(), deliverer, jobs, stopping.clone()));
    let answer = queued.await.unwrap().remove(0);
    assert!(matches!(answer, Err(Refusal::Rejected(Rejection::ExperimentExists))), "{answer:?}");
    stopping.cancel();
    delivering.await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 0, "a server was asked, to pay for it");
}
