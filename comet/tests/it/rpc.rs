//! The client, against answers that a real CometBFT gives seldom or never.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use colearn_comet::rpc::{Broadcast, Client, RpcError};

/// What the client makes of an answer to `broadcast_tx_sync`.
fn broadcast(answer: &str) -> Result<Broadcast, RpcError> {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("rpc.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"}}") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            let asked = String::from_utf8(asked).unwrap();
            assert!(asked.contains(r#""params":{"tx":"YQ=="}"#), "{asked}");
            stream.write_all(answer.as_bytes()).unwrap();
        });
        Client::new(socket).broadcast_tx_sync(b"a")
    })
}

fn with(body: &str) -> Result<Broadcast, RpcError> {
    broadcast(&format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}"))
}

fn error(data: &str) -> Result<Broadcast, RpcError> {
    let error =
        r#""jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Internal error","data":"#;
    with(&format!("{{{error}\"{data}\"}}}}"))
}

#[test]
fn what_becomes_of_a_transaction_is_told_apart() {
    assert_eq!(with(r#"{"result":{"code":0,"hash":"00"}}"#).unwrap(), Broadcast::Taken);
    assert_eq!(with(r#"{"result":{"code":7}}"#).unwrap(), Broadcast::Refused { code: 7 });
    assert_eq!(error("tx already exists in cache").unwrap(), Broadcast::InCache);
    let full = "mempool is full: number of txs 5000 (max: 5000), total txs bytes 1 (max: 2)";
    assert!(matches!(error(full), Err(RpcError::MempoolFull)));
    let Err(RpcError::Refused(why)) = error("Tx too large") else { panic!() };
    assert_eq!(why, "Tx too large");
}

#[test]
fn what_is_no_answer_is_an_error() {
    assert!(matches!(broadcast(""), Err(RpcError::Unreachable(_))));
    assert!(matches!(broadcast("HTTP/1.0 200 OK\r\n"), Err(RpcError::Unreachable(_))));
    for body in
        ["", r#"{"result":{"co"#, "[]", "{}", r#"{"result":{}}"#, r#"{"result":{"code":-1}}"#]
    {
        assert!(matches!(with(body), Err(RpcError::Invalid(_))), "{body}");
    }
}

#[test]
fn nobody_is_waited_for_forever() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("rpc.sock");
    let client = Client::with_patience(socket.clone(), Duration::from_millis(50));
    assert!(matches!(client.status(), Err(RpcError::Unreachable(_))));
    let _deaf = UnixListener::bind(socket).unwrap();
    assert!(matches!(client.net_info(), Err(RpcError::Unreachable(_))));
}
