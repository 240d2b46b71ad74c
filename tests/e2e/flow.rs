//! Answers that nobody reads.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use colearn_contracts::{Act, Action, Admission, CreateExperiment, LearnerId, Parameters, VERSION};
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_proto::v1::coordinator_service_client::CoordinatorServiceClient;
use colearn_proto::v1::ledger_service_client::LedgerServiceClient;
use colearn_sdk::learner::{SAFETENSORS, Weights};

use crate::support::{NodeProcess, STRANGER, Speaker, channel_from, key, name};

/// What a process has in memory.
fn rss_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    rss.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() >> 10
}

/// The most that it has while somebody else reads something whole, and a moment longer.
async fn most_mib(node: &NodeProcess, weights: &Weights) -> u64 {
    let process = node.process.id();
    let reading = tokio::spawn({
        let (url, weights) = (node.url.clone(), weights.clone());
        async move {
            let reader = Speaker::connect(&url).await;
            let read = reader.client.download(&weights.model(SAFETENSORS)).await.unwrap();
            assert_eq!(read, weights);
        }
    });
    let (mut most, begun) = (0, Instant::now());
    while !reading.is_finished() || begun.elapsed() < Duration::from_secs(2) {
        most = most.max(rss_mib(process));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reading.await.unwrap();
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_streams_that_nobody_reads_take_little_memory() {
    const STREAMS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let mut speaker = Speaker::connect(&node.url).await;
    let weights = Weights::new(vec![7; 8 << 20]);
    speaker.client.upload(&weights).await.unwrap();
    // Entries of 50 KB each.
    let mut invited: BTreeSet<LearnerId> = BTreeSet::new();
    for number in 0..1_500_u32 {
        let mut learner = [1; 32];
        learner[..4].copy_from_slice(&number.to_be_bytes());
        invited.insert(LearnerId(learner));
    }
    for number in 0..96 {
        let create = CreateExperiment {
            version: VERSION.number(),
            parameters: Parameters::default(),
            admission: Admission::invite(invited.iter().copied()),
            model: weights.model(SAFETENSORS),
            plan: None,
        };
        let action = Action::new(name(&format!("x{number}")), Act::Create(create));
        speaker.act(&key(200 + number / 32), action).await.unwrap();
    }

    let before = most_mib(&node, &weights).await;
    // More than one connection may have.
    let mut channels = Vec::new();
    for _ in 0..4 {
        channels.push(channel_from(STRANGER, &node.url).await);
    }
    let mut told = Vec::new();
    let mut subscribed = Vec::new();
    for number in 0..STREAMS {
        let mut ledger = LedgerServiceClient::new(channels[number % 4].clone());
        let asked = v1::SubscribeRequest { start: 0 };
        subscribed.push(ledger.subscribe(asked).await.unwrap());
    }
    told.push(("subscribe", most_mib(&node, &weights).await.saturating_sub(before)));
    drop(subscribed);
    let mut downloaded = Vec::new();
    let refused = loop {
        let channel = channels[downloaded.len() % 4].clone();
        let digest = Bytes::copy_from_slice(&weights.digest().0);
        let asked = v1::DownloadArtifactRequest { digest, offset: 0 };
        match ArtifactServiceClient::new(channel).download_artifact(asked).await {
            Ok(chunks) => downloaded.push(chunks),
            Err(status) => break status,
        }
    };
    // Each has a file open.
    assert!(downloaded.len() < STREAMS);
    assert!(refused.message().contains("128 downloads"), "{refused}");
    told.push(("download", most_mib(&node, &weights).await.saturating_sub(before)));
    drop(downloaded);
    let mut watched = Vec::new();
    for number in 0..STREAMS {
        let mut coordinator = CoordinatorServiceClient::new(channels[number % 4].clone());
        let name = format!("x{}", number % 96);
        let asked = v1::WatchExperimentRequest { name, start: 0 };
        watched.push(coordinator.watch_experiment(asked).await.unwrap());
    }
    told.push(("watch", most_mib(&node, &weights).await.saturating_sub(before)));
    println!("MiB more than {before}: {told:?}");
    // Unbounded it would be two gigabytes and more.
    assert!(told.iter().all(|(_, more)| *more < 160), "MiB more than {before}: {told:?}");
}
