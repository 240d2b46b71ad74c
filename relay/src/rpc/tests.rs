#![allow(clippy::unwrap_used)]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A server that answers every question so, and its address.
async fn server(status: u16, body: impl Into<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = body.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = format!(
                "HTTP/1.1 {status} Told\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let mut asked = [0; 65_536];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

fn rpc(servers: &[&str]) -> Rpc {
    let servers: Vec<String> = servers.iter().map(|it| (*it).to_owned()).collect();
    Rpc::new(&servers).unwrap()
}

const STATUS: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"node_info":{"network":"c-1"},"sync_info":{
    "latest_block_height":"17","latest_block_time":"2026-01-02T03:04:05.678901234Z","catching_up":false}}}"#;

#[tokio::test]
async fn the_next_server_is_asked_and_stays_the_first() {
    let well = server(200, STATUS).await;
    let page = server(503, "<html>busy</html>").await;
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Internal error","data":"height 5 is not available"}}"#;
    let pruned = server(500, error).await;
    let long = server(200, vec![b' '; MAX_ANSWER_BYTES + 1]).await;
    let rpc = rpc(&["http://127.0.0.1:1", &page, &pruned, &long, &well]);
    assert_eq!((rpc.server(), rpc.servers()), ("http://127.0.0.1:1", 5));
    let status = rpc.status().await.unwrap();
    let time_ms = 1_767_323_045_678;
    let expected = Status { chain_id: "c-1".into(), height: 17, time_ms, catching_up: false };
    assert_eq!(status, expected);
    assert_eq!(rpc.server(), well);
    assert_eq!(rpc.clone().status().await.unwrap(), expected);
    rpc.go_on();
    assert_eq!(rpc.server(), "http://127.0.0.1:1");

    let none = super::tests::rpc(&[&pruned, "http://127.0.0.1:1"]);
    let error = none.status().await.unwrap_err();
    assert!(error.to_string().contains("height 5 is not available"), "{error}");
    let none = super::tests::rpc(&[&page]).status().await.unwrap_err();
    assert!(none.to_string().contains("503: <html>busy</html>"), "{none}");
    let none = super::tests::rpc(&[&long]).status().await.unwrap_err();
    assert!(none.to_string().contains("more than"), "{none}");
    assert!(matches!(Rpc::new(&[]), Err(BadServer::None)));
    assert!(matches!(Rpc::new(&["ftp://a".to_owned()]), Err(BadServer::Address(_))));
}

#[test]
fn another_server_is_never_the_first() {
    let [one, two, three] = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"];
    assert!(rpc(&[one]).another(0).is_none());
    let rpc = rpc(&[one, two, three]);
    let asked = |turn| rpc.another(turn).map(|other| (other.server().to_owned(), other.servers()));
    assert_eq!([0, 1, 2].map(asked), [two, three, two].map(|it| Some((it.to_owned(), 1))));
    rpc.go_on();
    assert_eq!([0, 1].map(asked), [three, one].map(|it| Some((it.to_owned(), 1))));
}

#[tokio::test]
async fn what_makes_no_sense_is_no_answer() {
    for body in ["", "[]", "{}", "{\"result\":null}", "{\"result\":{}}", "{\"result\":7}"] {
        let rpc = rpc(&[&server(200, body).await]);
        assert!(rpc.status().await.is_err(), "{body}");
        assert!(rpc.block(5).await.is_err(), "{body}");
        assert!(rpc.value(b"k", 5).await.is_err(), "{body}");
        assert!(rpc.balance("a", "d").await.is_err(), "{body}");
        assert!(rpc.simulate(b"t").await.is_err(), "{body}");
        assert!(rpc.tx(&[0; 32]).await.is_err(), "{body}");
        assert!(rpc.unbonding().await.is_err(), "{body}");
    }
    // Validators without end, and what is not in base64.
    let endless = rpc(&[&server(200, r#"{"result":{"total":"10001","validators":[]}}"#).await]);
    let error = endless.block(5).await.unwrap_err();
    assert!(error.to_string().contains("more validators than any chain has"), "{error}");
    let odd = r#"{"result":{"response":{"code":0,"value":"!"}}}"#;
    assert!(rpc(&[&server(200, odd).await]).balance("a", "d").await.is_err());
    let no = "{\"result\":{\"response\":{\"code\":5,\"codespace\":\"sdk\",\"log\":\"a\\nb\"}}}";
    let error = rpc(&[&server(200, no).await]).value(b"k", 5).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::OutOfFunds));
    assert_eq!(error.to_string(), "the chain refuses (sdk 5): a b");
}

#[tokio::test]
async fn a_transaction_in_no_block_is_told_from_one_that_nobody_knows_of() {
    let answer = |data: &str| {
        format!(
            "{{\"error\":{{\"code\":-32603,\"message\":\"Internal error\",\"data\":\"{data}\"}}}}"
        )
    };
    let away = rpc(&[&server(500, answer("tx (0000) not found")).await]);
    assert_eq!(away.tx(&[0; 32]).await, Ok(None));
    let none = rpc(&[&server(500, answer("transaction indexing is disabled")).await]);
    assert!(none.tx(&[0; 32]).await.is_err());
    for (data, refusal) in [
        ("tx already exists in cache", Some(Refusal::InCache)),
        ("mempool is full: number of txs 5000 (max: 5000)", Some(Refusal::MempoolFull)),
        ("else", None),
    ] {
        let error = rpc(&[&server(500, answer(data)).await]).broadcast(b"t").await.unwrap_err();
        assert_eq!(error.refusal(), refusal, "{data}");
    }
}

#[tokio::test]
async fn no_key_in_an_address_is_told() {
    let page = server(404, "nothing at /v1/s3cret").await;
    let error =
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no","data":"/v1/s3cret"}}"#;
    let well_formed = server(200, error).await;
    let nonsense = server(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
    let long = server(200, vec![b' '; MAX_ANSWER_BYTES + 1]).await;
    for base in [&page, &well_formed, &nonsense, &long, "http://127.0.0.1:1"] {
        let rpc = rpc(&[&format!("{base}/v1/s3cret")]);
        assert_eq!(rpc.server(), base);
        let error = rpc.status().await.unwrap_err();
        for told in [error.to_string(), format!("{error:?}"), format!("{rpc:?}")] {
            assert!(told.contains(base) && !told.contains("s3cret"), "{told}");
        }
    }
}
