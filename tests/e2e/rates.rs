//! Bytes a second: who asks for more at a time has no more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use colearn_sdk::client::Client;
use colearn_sdk::learner::Weights;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::support::NodeProcess;

const BYTES_A_SECOND: u64 = 3 << 20;
/// What is read to begin with, while not everybody is there yet, and then.
const BEGUN: u64 = 1 << 20;
const READ: u64 = 3 << 20;

/// Reads something again and again from an address of this machine, and counts.
async fn read(node: SocketAddr, from: [u8; 4], path: String, count: Arc<AtomicU64>) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(node).await.unwrap();
        let asked = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                bytes => count.fetch_add(bytes as u64, Ordering::Relaxed),
            };
        }
    }
}

/// Forty downloads of one address, and one of another.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_with_many_downloads_leaves_another_its_share() {
    let dir = tempfile::tempdir().unwrap();
    let rate = BYTES_A_SECOND.to_string();
    let node = NodeProcess::start_with(
        dir.path(),
        &["--listen", "127.0.0.1:0", "--max-bytes-per-second", &rate],
    );
    let weights = Weights::new(vec![7; 1 << 20]);
    Client::connect(&node.url).await.unwrap().upload(&weights).await.unwrap();
    let (address, path) =
        (node.address().parse().unwrap(), format!("/artifact/{}", weights.digest()));
    let (many, one) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..40 {
        reading.spawn(read(address, [127, 0, 0, 2], path.clone(), many.clone()));
    }
    reading.spawn(read(address, [127, 0, 0, 3], path, one.clone()));
    let until = async |bytes: u64| {
        while one.load(Ordering::Relaxed) < bytes {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        (one.load(Ordering::Relaxed), many.load(Ordering::Relaxed))
    };
    let begun = std::time::Instant::now();
    let (one_before, many_before) = until(BEGUN).await;
    let (one_after, many_after) = until(BEGUN + READ).await;
    let (one, many) = (one_after - one_before, many_after - many_before);
    // Without turns it would have forty times as much.
    assert!(many < 2 * one && one < 2 * many, "{one} and {many}");
    // And both together what there is.
    let most = BYTES_A_SECOND as f64 * (begun.elapsed().as_secs_f64() + 1.0);
    assert!((one_after + many_after) as f64 <= 1.2 * most, "{}", one_after + many_after);
    drop(reading);
    node.stop();
}
