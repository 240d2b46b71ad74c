//! Asking a server over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::RANGE;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::connect::root_cause;
use crate::{Address, Connector, NetError, Protocol, Trust};

/// The body of an answer that is read as it comes.
pub type Body = hyper::body::Incoming;

/// How long a connection that is not used is kept: less than servers do, a node for 10 s, so that none is used that is
/// just being closed.
const IDLE: Duration = Duration::from_secs(8);
/// How much of a refusal is told: a line of what others wrote.
const MAX_TOLD: usize = 200;

/// Asks one server; connections are kept for the next question. Redirections are not followed: whoever was
/// asked answers, and nobody it points to.
#[derive(Clone)]
pub struct Http {
    client: Client<Connector, Full<Bytes>>,
    address: Address,
    patience: Duration,
}

/// A whole answer; one that says no is an answer, too.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, 200 if all is well.
    pub status: u16,
    /// What stands above the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body, if it is a text and the status says that all is well.
    ///
    /// # Errors
    /// What was answered instead, for people.
    pub fn text(&self) -> Result<String, String> {
        let text = String::from_utf8_lossy(&self.body);
        match self.status {
            200..=299 => Ok(text.into_owned()),
            status => {
                let line = text.lines().next().unwrap_or_default().trim();
                let told: String =
                    line.chars().filter(|it| !it.is_control()).take(MAX_TOLD).collect();
                let to = self.headers.get("location").and_then(|to| to.to_str().ok());
                let to = to.map_or_else(String::new, |to| format!(" (it points to {to})"));
                Err(format!("it answers {status}{to}: {told}"))
            }
        }
    }
}

impl Http {
    /// Asks a server in whom one trusts so; a whole answer may take so long.
    ///
    /// # Errors
    /// If files in which the trust is kept cannot be used.
    pub fn new(address: &Address, trust: &Trust, patience: Duration) -> Result<Self, NetError> {
        let connector = Connector::new(address, trust, Protocol::Http1)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { client, address: address.clone(), patience })
    }

    /// The same, where a whole answer may take so long.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Whom it asks.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What is under a path, of at most so many bytes.
    ///
    /// # Errors
    /// If it does not answer, or more.
    pub async fn get(&self, path: &str, limit: usize) -> Result<Answer, NetError> {
        self.whole(self.request(Method::GET, path, Bytes::new())?, limit).await
    }

    /// Posts bytes; of the answer so many are read.
    ///
    /// # Errors
    /// If it does not answer, or more.
    pub async fn post(&self, path: &str, body: Bytes, limit: usize) -> Result<Answer, NetError> {
        self.whole(self.request(Method::POST, path, body)?, limit).await
    }

    /// The bytes from `first` to `last` of what is under a path, as they come. Only the head of the answer is
    /// waited for.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn get_range(
        &self,
        path: &str,
        first: u64,
        last: u64,
    ) -> Result<Response<Body>, NetError> {
        let mut request = self.request(Method::GET, path, Bytes::new())?;
        let range = format!("bytes={first}-{last}").parse();
        request.headers_mut().insert(RANGE, range.map_err(|_| self.no_address(path))?);
        match tokio::time::timeout(self.patience, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn no_address(&self, path: &str) -> NetError {
        NetError::Address(format!("{}{path}", self.address.url()))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, NetError> {
        let uri: Uri =
            format!("{}{path}", self.address.url()).parse().map_err(|_| self.no_address(path))?;
        let request = Request::builder().method(method).uri(uri).body(Full::new(body));
        request.map_err(|_| self.no_address(path))
    }

    async fn whole(&self, request: Request<Full<Bytes>>, limit: usize) -> Result<Answer, NetError> {
        let answering = async {
            let answer = self.client.request(request).await.map_err(|error| self.failed(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                let url = self.address.url().to_owned();
                match error.is::<LengthLimitError>() {
                    true => NetError::TooLong { url, limit },
                    false => NetError::Unreachable { url, reason: root_cause(&*error) },
                }
            })?;
            let (status, body) = (head.status.as_u16(), body.to_bytes());
            Ok(Answer { status, headers: head.headers, body })
        };
        tokio::time::timeout(self.patience, answering).await.unwrap_or_else(|_| Err(self.silent()))
    }

    fn silent(&self) -> NetError {
        let reason = format!("no answer for {:?}", self.patience);
        NetError::Unreachable { url: self.address.url().to_owned(), reason }
    }

    fn failed(&self, error: &hyper_util::client::legacy::Error) -> NetError {
        NetError::below(self.address.url(), error).unwrap_or_else(|| NetError::Unreachable {
            url: self.address.url().to_owned(),
            reason: root_cause(error),
        })
    }
}
