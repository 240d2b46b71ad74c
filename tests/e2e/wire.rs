//! The services as a client meets them, also a hostile one.

use bytes::Bytes;
use colearn_contracts::{Act, Action, Choice, Join, Proposal, Scores, Vote};
use colearn_ledger::Hash;
use colearn_proto::RULE_METADATA;
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_proto::v1::ledger_service_client::LedgerServiceClient;
use colearn_records::transaction::{LedgerId, MAX_BODY_BYTES, Seen, Transaction};
use colearn_sdk::client::{ClientError, Refused};
use colearn_sdk::learner::{SAFETENSORS, Weights};
use prost::Message as _;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::{self, Counter, NodeProcess, Speaker, channel, key, name};

async fn coordinator(node: &NodeProcess) -> CoordinatorServiceClient<Channel> {
    CoordinatorServiceClient::new(channel(&node.url).await)
}

async fn submit(
    coordinator: &mut CoordinatorServiceClient<Channel>,
    transaction: v1::SignedTransaction,
) -> Result<v1::Receipt, Status> {
    let request = v1::SubmitRequest { transaction: Some(transaction) };
    Ok(coordinator.submit(request).await?.into_inner().receipt.unwrap())
}

fn ledger_id(node: &NodeProcess) -> LedgerId {
    let hex = node.started["ledger_id"].as_str().unwrap();
    LedgerId(hex::decode(hex).unwrap().try_into().unwrap())
}

fn nothing_seen() -> Seen {
    Seen { size: 0, root: Hash::empty_root() }
}

fn join() -> Action {
    support::join("x", 3, 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_very_same_transaction_gets_its_original_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    speaker.followed.catch_up(&mut |_| {}).await.unwrap();
    let signed = speaker.followed.sign(key(1), join()).unwrap();
    let first = speaker.followed.submit(&signed).await.unwrap();
    let again = speaker.followed.submit(&signed).await.unwrap();
    assert_eq!(first.receipt.index, again.receipt.index);
    assert_eq!(first.entry, again.entry);
    // Also after a restart, and all at once.
    node.stop();
    let node = NodeProcess::start(dir.path());
    let mut coordinator = coordinator(&node).await;
    assert_eq!(
        submit(&mut coordinator, signed.message().clone()).await.unwrap().index,
        first.receipt.index
    );
    let id = ledger_id(&node);
    let other = Transaction::sign(&key(2), &id, nothing_seen(), join()).message().clone();
    let all = (0..32).map(|_| {
        let (mut coordinator, other) = (coordinator.clone(), other.clone());
        tokio::spawn(async move { submit(&mut coordinator, other).await.unwrap().index })
    });
    let mut indices = Vec::new();
    for one in all.collect::<Vec<_>>() {
        indices.push(one.await.unwrap());
    }
    assert!(indices.iter().all(|index| *index == indices[0]), "{indices:?}");
    // A new signature is not the same transaction.
    let seen = Seen { size: 1, root: speaker_root(&node).await };
    let anew = Transaction::sign(&key(1), &id, seen, join()).message().clone();
    let refused = submit(&mut coordinator, anew).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(refused.metadata().get(RULE_METADATA).unwrap(), "7");
}

/// The root of the first entry alone.
async fn speaker_root(node: &NodeProcess) -> Hash {
    let mut ledger = LedgerServiceClient::new(channel(&node.url).await);
    let request = v1::GetEntriesRequest { start: 0, count: 1 };
    let entries = ledger.get_entries(request).await.unwrap().into_inner().entries;
    Hash::leaf(&entries[0])
}

#[tokio::test]
async fn what_is_not_a_transaction_of_this_ledger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let mut coordinator = coordinator(&node).await;
    let id = ledger_id(&node);
    let good = || Transaction::sign(&key(1), &id, nothing_seen(), join()).message().clone();
    let mut refuse = async |message: v1::SignedTransaction| {
        let status = submit(&mut coordinator, message).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };

    let elsewhere = Transaction::sign(&key(1), &LedgerId([0; 32]), nothing_seen(), join());
    assert_eq!(refuse(elsewhere.message().clone()).await.0, Code::Unauthenticated);
    let mut forged = good();
    forged.public_key = Bytes::copy_from_slice(key(2).verifying_key().as_bytes());
    assert_eq!(refuse(forged).await.0, Code::Unauthenticated);
    let mut short = good();
    short.signature.truncate(63);
    assert_eq!(refuse(short).await.0, Code::Unauthenticated);
    // A key of small order verifies almost anything, unless one is strict.
    let mut small = good();
    let mut identity = [0; 32];
    identity[0] = 1;
    small.public_key = Bytes::copy_from_slice(&identity);
    assert_eq!(refuse(small).await.0, Code::Unauthenticated);

    let reencode = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good();
        let mut body = message.body.to_vec();
        change(&mut body);
        message.body = body.into();
        message
    };
    // The same meaning in another encoding: an unknown field, and the fields in another order.
    let (code, text) = refuse(reencode(&|body| body.extend([0xf8, 0x01, 0x01]))).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("one encoding"), "{text}");
    let swapped = reencode(&|body| {
        let seen = 2 + usize::from(body[1]);
        body.rotate_left(seen);
    });
    assert_eq!(refuse(swapped).await.0, Code::InvalidArgument);
    assert_eq!(refuse(reencode(&|body| body.truncate(5))).await.0, Code::InvalidArgument);
    assert_eq!(refuse(reencode(&|body| body.clear())).await.0, Code::InvalidArgument);
    let (code, text) = refuse(reencode(&|body| body.resize(MAX_BODY_BYTES + 1, 0))).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("at most 65,000 bytes"), "{text}");
    // So large that it is not even read.
    let huge = refuse(reencode(&|body| body.resize(3 << 20, 0))).await;
    assert_eq!(huge.0, Code::OutOfRange);

    // A history that is not this ledger's.
    for seen in [
        Seen { size: 1, root: Hash([1; 32]) },
        Seen { size: 1 << 40, root: Hash([1; 32]) },
        Seen { size: 0, root: Hash([1; 32]) },
    ] {
        let message = Transaction::sign(&key(1), &id, seen, join()).message().clone();
        let (code, text) = refuse(message).await;
        assert_eq!(code, Code::FailedPrecondition);
        assert!(text.contains("not in this ledger's history"), "{text}");
    }
    let empty = coordinator.submit(v1::SubmitRequest { transaction: None }).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);

    // Nothing of this left a trace.
    speaker.followed.catch_up(&mut |_| {}).await.unwrap();
    assert_eq!(speaker.followed.size(), 2);
}

#[tokio::test]
async fn rounds_by_hand_and_a_vote_on_a_closed_round() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    speaker.act(&key(1), join()).await.unwrap();
    speaker.act(&key(2), join()).await.unwrap();
    let propose = |round, base: &Weights, weights: &Weights| {
        Action::new(
            name("x"),
            Act::Propose(Proposal {
                round,
                base: base.digest(),
                weights: weights.model(SAFETENSORS),
                scores: Scores { vote: Some(1), test: None },
                privacy: None,
            }),
        )
    };
    let vote = |round, weights: &Weights| {
        let weights = weights.digest();
        let scores = Scores { vote: Some(-5), test: Some(7) };
        let (choice, reason, link) = (Choice::Approve, None, None);
        Action::new(name("x"), Act::Vote(Vote { round, weights, choice, reason, scores, link }))
    };
    let (zero, one) = (Counter::weights(0), Counter::weights(1));
    // Weights that nobody uploaded cannot be proposed.
    let error = speaker.act(&key(1), propose(1, &zero, &one)).await.unwrap_err();
    assert!(error.to_string().contains("upload them first"), "{error}");
    speaker.client.upload(&one).await.unwrap();
    speaker.act(&key(1), propose(1, &zero, &one)).await.unwrap();
    speaker.act(&key(2), vote(1, &one)).await.unwrap();
    let error = speaker.act(&key(2), vote(1, &one)).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { rule: Some(11), refused: Refused::Temporary, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("the current round is 2"), "{error}");

    // Watching from any index gives the same entries from there on.
    let mut whole = Vec::new();
    let mut stream = speaker.client.watch(&name("x"), 0).await.unwrap();
    while let Some(entry) = stream.next().await.unwrap().entry {
        whole.push(entry);
    }
    assert_eq!(whole.len(), 9);
    for start in 1..=10 {
        let mut stream = speaker.client.watch(&name("x"), start).await.unwrap();
        let mut part = Vec::new();
        loop {
            let message = stream.next().await.unwrap();
            match message.entry {
                Some(entry) => part.push(entry),
                None => {
                    assert_eq!(message.next, 10);
                    break;
                }
            }
        }
        assert_eq!(part, whole[(start as usize - 1).min(9)..], "from {start}");
    }
    // What comes later arrives on an open stream.
    speaker
        .act(
            &key(2),
            Action::new(name("x"), Act::Pass { round: 2, exhausted: false, reason: None }),
        )
        .await
        .unwrap();
    let entry = loop {
        if let Some(entry) = stream.next().await.unwrap().entry {
            break entry;
        }
    };
    assert_eq!(v1::Entry::decode(entry).unwrap().index, 10);
}

#[tokio::test]
async fn a_watcher_is_told_of_its_own_experiment_only() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    speaker.create("y", &Counter::weights(0), 3).await;
    let mut stream = speaker.client.watch(&name("x"), 0).await.unwrap();
    assert!(stream.next().await.unwrap().entry.is_some());
    assert!(stream.next().await.unwrap().entry.is_none());
    // The second one opens a round.
    let joins = [(1, "y"), (2, "y"), (1, "x")];
    for (learner, experiment) in joins {
        let join = Action::new(name(experiment), Act::Join(Join::new(0, None)));
        speaker.act(&key(learner), join).await.unwrap();
    }
    // Not even that there was nothing for it.
    let message = stream.next().await.unwrap();
    assert_eq!(v1::Entry::decode(message.entry.unwrap()).unwrap().index, 6);
    // The state of a receipt's holder has what the receipt is for, and watching from there on too.
    let known = speaker.client.experiment(&name("x"), None).await.unwrap();
    assert_eq!((known.size, known.experiment.member_count), (7, 1));
    let mut stream = speaker.client.watch(&name("x"), known.size).await.unwrap();
    let message = stream.next().await.unwrap();
    assert_eq!((message.entry, message.next), (None, 7));
}

#[tokio::test]
async fn a_stream_of_submissions_is_answered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let id = ledger_id(&node);
    let mut requests = Vec::new();
    for seed in 1..=40 {
        let transaction = Transaction::sign(&key(seed), &id, nothing_seen(), join());
        let mut message = transaction.message().clone();
        if seed % 10 == 0 {
            message.signature = Bytes::from_static(&[0; 64]);
        }
        requests.push(v1::SubmitStreamRequest { transaction: Some(message) });
    }
    let mut coordinator = coordinator(&node).await;
    let mut answers =
        coordinator.submit_stream(tokio_stream::iter(requests.clone())).await.unwrap().into_inner();
    for (at, request) in requests.iter().enumerate() {
        use v1::submit_stream_response::Result as Wire;
        let answer = answers.message().await.unwrap().unwrap().result.unwrap();
        match answer {
            Wire::Receipt(receipt) => {
                let entry = v1::Entry::decode(receipt.entry).unwrap();
                let Some(v1::entry::Payload::Transaction(recorded)) = entry.payload else {
                    panic!("not a transaction")
                };
                assert_eq!(Some(recorded), request.transaction);
            }
            Wire::Refusal(refusal) => {
                assert_eq!((at + 1) % 10, 0);
                assert_eq!(refusal.code, Code::Unauthenticated as u32);
                assert_eq!(refusal.rule, 0);
            }
        }
    }
    assert!(answers.message().await.unwrap().is_none());

    // What the contract refuses is refused with the rule's number, as a single submission is.
    let unknown_term = Action::new(name("x"), Act::Join(Join::new(5, None)));
    let transaction = Transaction::sign(&key(41), &id, nothing_seen(), unknown_term);
    let request = v1::SubmitStreamRequest { transaction: Some(transaction.message().clone()) };
    let answers = coordinator.submit_stream(tokio_stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(v1::submit_stream_response::Result::Refusal(refusal)) = answer.result else {
        panic!("recorded")
    };
    assert_eq!((refusal.rule, refusal.code), (7, Code::Aborted as u32));
}

#[tokio::test]
async fn uploads_resume_and_lie_in_vain() {
    use v1::upload_artifact_request::Part;
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let mut artifacts = ArtifactServiceClient::new(channel(&node.url).await);
    let bytes: Bytes = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>().into();
    let weights = Weights::new(bytes.clone());
    let digest = Bytes::copy_from_slice(&weights.digest().0);
    let size = bytes.len() as u64;
    let upload = |digest: &Bytes, size, offset, chunks: Vec<Bytes>| {
        let header = v1::UploadHeader { digest: digest.clone(), size, offset };
        let parts =
            std::iter::once(Part::Header(header)).chain(chunks.into_iter().map(Part::Chunk));
        let parts: Vec<_> =
            parts.map(|part| v1::UploadArtifactRequest { part: Some(part) }).collect();
        tokio_stream::iter(parts)
    };

    // Half of it, then a break.
    let half =
        upload(&digest, size, 0, vec![bytes.slice(..1_000_000), bytes.slice(1_000_000..1_500_000)]);
    assert_eq!(artifacts.upload_artifact(half).await.unwrap_err().code(), Code::Aborted);
    let stat = v1::StatArtifactRequest { digest: digest.clone(), room: false, address: true };
    let there = artifacts.stat_artifact(stat.clone()).await.unwrap().into_inner();
    assert_eq!((there.stored, there.partial_size), (false, 1_500_000));
    let request = v1::DownloadArtifactRequest { digest: digest.clone(), offset: 0 };
    assert_eq!(artifacts.download_artifact(request).await.unwrap_err().code(), Code::NotFound);
    // From beyond what is kept it cannot go on.
    let gap = upload(&digest, size, 1_600_000, vec![]);
    assert_eq!(artifacts.upload_artifact(gap).await.unwrap_err().code(), Code::OutOfRange);
    let rest = upload(
        &digest,
        size,
        1_500_000,
        vec![bytes.slice(1_500_000..2_500_000), bytes.slice(2_500_000..)],
    );
    assert_eq!(artifacts.upload_artifact(rest).await.unwrap().into_inner().size, size);
    let there = artifacts.stat_artifact(stat).await.unwrap().into_inner();
    assert_eq!((there.stored, there.size, there.partial_size), (true, size, 0));
    let speaker = Speaker::connect(&node.url).await;
    assert_eq!(speaker.client.download(&weights.model(SAFETENSORS)).await.unwrap(), weights);

    // Other bytes than announced, more than announced, no header, nothing.
    let lie = upload(&Bytes::from_static(&[1; 32]), 3, 0, vec![Bytes::from_static(b"abc")]);
    assert_eq!(artifacts.upload_artifact(lie).await.unwrap_err().code(), Code::InvalidArgument);
    let long = upload(&Bytes::from_static(&[1; 32]), 3, 0, vec![Bytes::from_static(b"abcd")]);
    assert_eq!(artifacts.upload_artifact(long).await.unwrap_err().code(), Code::InvalidArgument);
    let large = upload(&Bytes::from_static(&[1; 32]), u64::MAX, 0, vec![]);
    assert_eq!(artifacts.upload_artifact(large).await.unwrap_err().code(), Code::InvalidArgument);
    let short_digest = upload(&Bytes::from_static(&[1; 31]), 3, 0, vec![]);
    let status = artifacts.upload_artifact(short_digest).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let headless = v1::UploadArtifactRequest { part: Some(Part::Chunk(Bytes::new())) };
    let status = artifacts.upload_artifact(tokio_stream::iter([headless])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = artifacts.upload_artifact(tokio_stream::iter([])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn who_is_silent_stalls_nothing_beyond_the_deadlines() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (key_file, initial) = (path("creator.pem"), path("initial"));
    crate::support::succeed(&["key", "new", &key_file]);
    std::fs::write(&initial, "0").unwrap();
    let create = ["experiment", "create", "x", "--node", &node.url, "--key", &key_file, "--open"];
    let rules = ["--weights", &initial, "--proposal-deadline", "20ms", "--max-rounds", "3"];
    let never = ["--missed-turns", "0", "--idle-rotations", "0"];
    crate::support::succeed(&[&create[..], &rules, &never].concat());
    let mut speaker = Speaker::connect(&node.url).await;
    let join = || Action::new(name("x"), Act::Join(Join::new(0, None)));
    speaker.act(&key(1), join()).await.unwrap();
    speaker.act(&key(2), join()).await.unwrap();
    // Nobody ever says anything again, and still it comes to its end.
    let watched = crate::support::succeed(&["experiment", "watch", "x", "--node", &node.url]);
    assert_eq!(watched.matches("expired").count(), 3, "{watched}");
    assert!(watched.ends_with("finished: max_rounds\n"), "{watched}");
}

#[tokio::test]
async fn health_and_reflection_are_on() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let channel = Channel::from_shared(node.url.clone()).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let status = health.check(request).await.unwrap().into_inner().status();
    assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving);
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let asked = reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap();
    let answer = asked.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("no list") };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in ["CoordinatorService", "LedgerService", "ArtifactService"] {
        assert!(names.contains(&format!("colearn.v1.{service}")), "{names:?}");
    }
}
