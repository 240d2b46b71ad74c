//! How an object store is reached: by the same way as every other server (`colearn_net`), with its proxies and
//! authorities.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use colearn_net::{Address, Connector, Protocol, Trust};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest,
    HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};

/// How long a store may take to begin to answer.
const PATIENCE: Duration = Duration::from_secs(60);
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
            let why = "is not encrypted, and not on this machine; use https, or say so: AWS_ALLOW_HTTP=true";
            return Err(unusable(format!("{origin} {why}")));
        }
        let connector = Connector::new(&address, &self.trust, Protocol::Http1);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector.map_err(|error| unusable(error.to_string()))?);
        clients.insert(origin, client.clone());
        Ok(client)
    }
}

#[tonic::async_trait]
impl HttpService for Servers {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let client = self.client(&request)?;
        let answer = tokio::time::timeout(PATIENCE, client.request(request)).await;
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
                let why = NoWay(format!("no answer for {} s", PATIENCE.as_secs()));
                return Err(HttpError::new(HttpErrorKind::Timeout, why));
            }
        };
        let (head, body) = answer.into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}
