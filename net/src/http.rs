//! Asking a server over HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue, RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::bound::Bound;
use crate::connect::root_cause;
use crate::signed::{Asked, Signing, content_of};
use crate::{Address, Connector, NetError, Protocol, Trust};

/// The body of an answer that is read as it comes.
pub type Body = hyper::body::Incoming;

/// How long a connection that is not used is kept: less than servers do, a node for 10 s, so that none is used that is
/// just being closed.
pub(crate) const IDLE: Duration = Duration::from_secs(8);
/// How much of a refusal is told: a line of what others wrote.
const MAX_TOLD: usize = 200;
/// How often it is asked again because of who asks: signed, over a connection that can be told apart, and with what
/// is bound to that.
const SIGNED_TRIES: usize = 3;

/// Asks one server; connections are kept for the next question. Redirections are not followed: whoever was
/// asked answers, and nobody it points to.
#[derive(Clone)]
pub struct Http {
    client: Client<Connector, Full<Bytes>>,
    /// Where what is signed is bound to a connection.
    bound: Arc<Bound>,
    signing: Signing,
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
        let bound = Arc::new(Bound::new(connector.speaking(Protocol::Http2)));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        let signing = Signing::new(address, trust);
        Ok(Self { client, bound, signing, address: address.clone(), patience })
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
        self.whole(Method::GET, path, Bytes::new(), limit).await
    }

    /// The same, with this shown of who asks, and nothing else. For tests of those who repeat what they have heard.
    #[doc(hidden)]
    pub async fn get_with(
        &self,
        path: &str,
        shown: &str,
        limit: usize,
    ) -> Result<Answer, NetError> {
        let mut request = self.request(Method::GET, path, Bytes::new())?;
        let shown = HeaderValue::try_from(shown).map_err(|_| self.no_address(path))?;
        request.headers_mut().insert(AUTHORIZATION, shown);
        let answering = async {
            let answer = self.client.request(request).await;
            self.read(answer.map_err(|error| self.failed(&error))?, limit).await
        };
        tokio::time::timeout(self.patience, answering).await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// Posts bytes; of the answer so many are read.
    ///
    /// # Errors
    /// If it does not answer, or more.
    pub async fn post(&self, path: &str, body: Bytes, limit: usize) -> Result<Answer, NetError> {
        self.whole(Method::POST, path, body, limit).await
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
        let range = format!("bytes={first}-{last}");
        let range = HeaderValue::try_from(range).map_err(|_| self.no_address(path))?;
        let asking = self.ask(Method::GET, path, Bytes::new(), Some(range));
        tokio::time::timeout(self.patience, asking).await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// Asks, and says who asks where the server wants to know.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        range: Option<HeaderValue>,
    ) -> Result<Response<Body>, NetError> {
        let asked = Asked { method: method.as_str(), path, content: content_of(&body) };
        let mut tries = 0;
        loop {
            let mut request = self.request(method.clone(), path, body.clone())?;
            if let Some(range) = &range {
                request.headers_mut().insert(RANGE, range.clone());
            }
            let connection = match self.signing.is_bound() {
                true => Some(self.bound.connection().await?),
                false => None,
            };
            let channel = connection.as_ref().and_then(|connection| connection.channel);
            if let Some(value) = self.signing.authorize(asked, channel, false).await? {
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            let is_last = tries == SIGNED_TRIES;
            let answer = match connection {
                None => self.client.request(request).await.map_err(|error| self.failed(&error))?,
                Some(mut connection) => match connection.requests.send_request(request).await {
                    Ok(answer) => answer,
                    // It was ended before the request went out, which is for another one then.
                    Err(error) if error.is_canceled() && !is_last => {
                        tries += 1;
                        continue;
                    }
                    Err(error) => return Err(self.failed(&error)),
                },
            };
            let is_asked_who = answer.status() == StatusCode::UNAUTHORIZED;
            if !is_asked_who || is_last || !self.signing.hear(answer.headers())? {
                return Ok(answer);
            }
            tries += 1;
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

    async fn whole(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: usize,
    ) -> Result<Answer, NetError> {
        let answering = async {
            let answer = self.ask(method, path, body, None).await?;
            self.read(answer, limit).await
        };
        tokio::time::timeout(self.patience, answering).await.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn read(&self, answer: Response<Body>, limit: usize) -> Result<Answer, NetError> {
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
    }

    fn silent(&self) -> NetError {
        let reason = format!("no answer for {:?}", self.patience);
        NetError::Unreachable { url: self.address.url().to_owned(), reason }
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> NetError {
        NetError::below(self.address.url(), error).unwrap_or_else(|| NetError::Unreachable {
            url: self.address.url().to_owned(),
            reason: root_cause(error),
        })
    }
}
