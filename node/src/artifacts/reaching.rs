//! How an object store is reached: by the same way as every other server (`colearn_net`), with its proxies and
//! authorities.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use colearn_net::{Address, Connector, Protocol, Trust};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Body;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};

/// How long a store may take to begin to answer, and for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many bytes of what it is sent may take a second more: many parts share a line.
const BYTES_A_SECOND: u64 = 32 << 10;
/// How many pieces are read of an answer that tells of a failure.
const PIECES_OF_FAILURE: usize = 16;
/// How much of an answer is read ahead, and so the largest piece.
const AHEAD_BYTES: usize = 64 << 10;
/// How long a connection that is not used is kept.
const IDLE: Duration = Duration::from_secs(8);

/// Makes what reaches a store.
#[derive(Debug)]
pub(super) struct Reaching;

impl HttpConnector for Reaching {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        // Whose certificates are believed is as for everything else; who the node is, is nobody's business there.
        let trust = Trust::new(Trust::of_process().authorities, None);
        let is_plain = plain.as_deref() == Some("true");
        Ok(HttpClient::new(Servers { trust, is_plain, clients: Mutex::default() }))
    }
}

/// The servers of a store, by the beginning of their addresses.
struct Servers {
    trust: Trust,
    /// Whether what is not encrypted may leave this machine.
    is_plain: bool,
    clients: Mutex<HashMap<String, Client<Connector, HttpRequestBody>>>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Servers")
    }
}

/// The store's address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoWay(String);

impl Servers {
    fn client(
        &self,
        request: &HttpRequest,
    ) -> Result<Client<Connector, HttpRequestBody>, HttpError> {
        let unusable = |why: String| HttpError::new(HttpErrorKind::Unknown, NoWay(why));
        let uri = request.uri();
        let (scheme, authority) = (uri.scheme_str().unwrap_or("http"), uri.authority());
        let origin = format!("{scheme}://{}", authority.map_or("", |it| it.as_str()));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&origin) {
            return Ok(client.clone());
        }
        let address: Address = origin.parse().map_err(|error| unusable(format!("{error}")))?;
        if !address.is_https() && !address.is_loopback() && !self.is_plain {
            let why = "is not encrypted, and not on this machine; use https, or say so: AWS_ALLOW_HTTP=true \
                       (GOOGLE_..., AZURE_...)";
            return Err(unusable(format!("{origin} {why}")));
        }
        let connector = Connector::new(&address, &self.trust, Protocol::Http1);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(AHEAD_BYTES)
            .build(connector.map_err(|error| unusable(error.to_string()))?);
        clients.insert(origin, client.clone());
        Ok(client)
    }
}

#[tonic::async_trait]
impl HttpService for Servers {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let client = self.client(&request)?;
        let patience = patience(request.body().content_length() as u64);
        let answer = tokio::time::timeout(patience, client.request(request)).await;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let kind = match error.is_connect() {
                    true => HttpErrorKind::Connect,
                    false => HttpErrorKind::Interrupted,
                };
                return Err(HttpError::new(kind, error));
            }
            Err(_) => {
                return Err(silent(patience));
            }
        };
        let (head, body) = answer.into_parts();
        let pieces = if head.status.is_success() { usize::MAX } else { PIECES_OF_FAILURE };
        Ok(HttpResponse::from_parts(head, in_time(body, pieces)))
    }
}

/// For how long an answer is waited for to a request of so many bytes.
fn patience(bytes: u64) -> Duration {
    PATIENCE + Duration::from_secs(bytes / BYTES_A_SECOND)
}

fn silent(patience: Duration) -> HttpError {
    let why = NoWay(format!("no answer for {} s", patience.as_secs()));
    HttpError::new(HttpErrorKind::Timeout, why)
}

/// So many pieces of an answer, each in time.
fn in_time<B>(body: B, pieces: usize) -> HttpResponseBody
where
    B: Body<Data = Bytes, Error: Error + Send + Sync> + Send + Sync + Unpin + 'static,
{
    let next = |body: Option<B>| async move {
        let mut body = body?;
        let frame = match tokio::time::timeout(PATIENCE, body.frame()).await {
            Ok(frame) => frame?.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)),
            Err(_) => Err(silent(PATIENCE)),
        };
        // What has failed ends.
        let rest = frame.is_ok().then_some(body);
        Some((frame, rest))
    };
    HttpResponseBody::new(StreamBody::new(stream::unfold(Some(body), next).take(pieces)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use hyper::body::Frame;

    use super::*;

    fn piece() -> Result<Frame<Bytes>, Infallible> {
        Ok(Frame::data(Bytes::from_static(b"x")))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_go_on_is_given_up_and_of_failures_only_the_beginning_is_read()
    {
        let stalled = stream::iter([piece(), piece()]).chain(stream::pending());
        let error = in_time(StreamBody::new(stalled), usize::MAX).bytes().await.unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::Timeout);
        let endless = StreamBody::new(stream::repeat_with(piece));
        assert_eq!(in_time(endless, PIECES_OF_FAILURE).bytes().await.unwrap().len(), 16);
    }

    #[test]
    fn what_is_sent_has_time_to_go_over_a_slow_line() {
        assert_eq!(patience(0), PATIENCE);
        // Three parts of each of eight artifacts over 10 Mbit/s.
        let line_bytes_a_second = 10_000_000 / 8;
        let together = Duration::from_secs(24 * (8 << 20) / line_bytes_a_second);
        assert!(patience(8 << 20) > together);
    }
}
