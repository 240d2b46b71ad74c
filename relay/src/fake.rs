//! A server of a chain that says what a test wants.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a server answers to a method and its parameters: a result, or the data of an error.
type Answers = dyn FnMut(&str, &Value) -> Result<Value, String> + Send;

/// Starts one, and gives its address.
pub(crate) async fn serve(
    answers: impl FnMut(&str, &Value) -> Result<Value, String> + Send + 'static,
) -> String {
    let answers: Arc<Mutex<Box<Answers>>> = Arc::new(Mutex::new(Box::new(answers)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let question = question(stream).await;
            let Some((mut stream, question)) = question else { continue };
            let method = question["method"].as_str().unwrap();
            let answer = (answers.lock().unwrap())(method, &question["params"]);
            let (status, body) = match answer {
                Ok(result) => (200, json!({ "jsonrpc": "2.0", "id": 1, "result": result })),
                Err(data) => {
                    let error =
                        json!({ "code": -32603, "message": "Internal error", "data": data });
                    (500, json!({ "jsonrpc": "2.0", "id": 1, "error": error }))
                }
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} Told\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

async fn question(mut stream: TcpStream) -> Option<(TcpStream, Value)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
            });
            if body.len() >= length? {
                return Some((stream, serde_json::from_str(body).ok()?));
            }
        }
        let mut more = [0; 65_536];
        match stream.read(&mut more).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&more[..count]),
            _ => return None,
        }
    }
}
