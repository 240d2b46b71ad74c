//! Weights from a store at an address that a node has handed out: what a node can do with that, and a store.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use colearn_contracts::Digest;
use colearn_sdk::client::{Client, Nodes, TlsTrust};
use colearn_sdk::learner::SAFETENSORS;

use crate::proxy::Proxy;
use crate::support::{Counter, NodeProcess};

/// A server that gives every request this answer, and tells of the requests.
fn server(answer: Vec<u8>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut head = String::new();
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            while lines.read_line(&mut head).unwrap() > 2 {}
            // Whoever is asked and not listened to has told all the same.
            if tell.send(head).is_err() || stream.write_all(&answer).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A store that takes connections, and says nothing, costs a download a moment, and those after it nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_store_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let (proxy, url) = Proxy::start(&node.url, None).await;
    let all = [7, 8, 9].map(Counter::weights);
    let uploads = Client::connect(&node.url).await.unwrap();
    for weights in &all {
        uploads.upload(weights).await.unwrap();
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = format!("http://{}/models", silent.local_addr().unwrap());
    let trust = TlsTrust::of_process().fetching_from(vec![store.clone()]);
    let client = Client::connect(Nodes::from(&url).trusting(trust)).await.unwrap();
    for weights in &all {
        proxy.point_to(format!("{store}/{}", weights.digest()));
        let found = client.download(&weights.model(SAFETENSORS)).await.unwrap();
        assert_eq!(found.digest(), weights.digest());
    }
    // It was connected to once.
    silent.set_nonblocking(true).unwrap();
    silent.accept().unwrap();
    let again = silent.accept().unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::WouldBlock);
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_gone_to_where_it_was_named_and_believed_no_more_than_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(dir.path());
    let (proxy, url) = Proxy::start(&node.url, None).await;
    let weights = Counter::weights(7);
    let model = weights.model(SAFETENSORS);
    let bytes = weights.bytes().to_vec();
    Client::connect(&node.url).await.unwrap().upload(&weights).await.unwrap();
    let from = async |named: Option<SocketAddr>| {
        let named = named.map(|it| format!("http://{it}/models"));
        let trust = TlsTrust::of_process().fetching_from(named.into_iter().collect());
        let client = Client::connect(Nodes::from(&url).trusting(trust)).await.unwrap();
        client.download(&model).await.map(|found| found.digest())
    };
    let points_to = |address: SocketAddr, digest: Digest| {
        proxy.point_to(format!("http://{address}/models/of/{digest}?signature=x"));
    };

    // Only the store has them: they come from there, and it is told nothing of who asks.
    proxy.withhold(weights.digest());
    let (store, requests) = server(answer("206 Partial Content", "", &bytes));
    points_to(store, weights.digest());
    assert_eq!(from(Some(store)).await.unwrap(), weights.digest());
    let asked = requests.recv().unwrap().to_ascii_lowercase();
    let expected = format!("get /models/of/{}?signature=x http/1.1\r\n", weights.digest());
    assert!(asked.starts_with(&expected), "{asked}");
    let told: Vec<&str> =
        asked.lines().skip(1).filter_map(|it| it.split_once(':')).map(|it| it.0).collect();
    assert!(told.iter().all(|it| ["host", "range"].contains(it)), "{asked}");

    // Whoever has named no store, or another one, goes nowhere on a node's word.
    let (trap, trapped) = server(answer("200 OK", "", &bytes));
    points_to(trap, weights.digest());
    from(None).await.unwrap_err();
    from(Some(store)).await.unwrap_err();
    // Nor is another object there asked for,
    points_to(store, Counter::weights(8).digest());
    from(Some(store)).await.unwrap_err();
    // nor is anybody followed elsewhere.
    let to = format!("location: http://{trap}/models/of/{}\r\n", weights.digest());
    let (sends_on, _requests) = server(answer("302 Found", &to, b""));
    points_to(sends_on, weights.digest());
    from(Some(sends_on)).await.unwrap_err();
    assert!(trapped.try_recv().is_err() && requests.try_recv().is_err());

    // What is wrong there is nobody's loss: the node has them.
    proxy.give_out();
    let longer = [&bytes[..], b"and more"].concat();
    for wrong in [
        answer("206 Partial Content", "", &vec![7; bytes.len()]),
        answer("206 Partial Content", "", &longer),
        answer("206 Partial Content", "", &bytes[..5]),
        answer("404 Not Found", "", b"NoSuchKey"),
        b"nothing of the sort\r\n\r\n".to_vec(),
    ] {
        let (wrong, asked) = server(wrong);
        points_to(wrong, weights.digest());
        assert_eq!(from(Some(wrong)).await.unwrap(), weights.digest());
        asked.recv().unwrap();
    }
    node.stop();
}
