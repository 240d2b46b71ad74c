//! The operator's own listener: metrics, health, and a page that says what there is. Prometheus and browsers cannot
//! sign what they ask, so it is apart from the other, and on this machine alone unless somebody says otherwise.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::OpsListen;
use crate::error::NodeError;
use crate::http::health::{Health, health, readiness};
use crate::in_flight;
use crate::metrics::Metrics;

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const READS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// What is at `/`.
const INDEX: &str = "\
colearn node

/metrics   what Prometheus collects, as OpenMetrics
/healthz   ok, or 503 and why the node does not go on
/readyz    ok, or 503 and why it takes nothing now
";

/// What came of listening.
pub(crate) enum Listening {
    Off,
    At(TcpListener),
    /// Nobody has said where, and this is not to be had; the node goes on without.
    Not {
        address: SocketAddr,
        why: io::Error,
    },
}

/// Listens, for a node that was to listen at `asked` and does so at `own`.
///
/// # Errors
/// If somebody has said where, and it is not to be had.
pub(crate) async fn listen(
    ops: &OpsListen,
    asked: SocketAddr,
    own: SocketAddr,
) -> Result<Listening, NodeError> {
    let address = match ops {
        OpsListen::Off => return Ok(Listening::Off),
        OpsListen::At(address) => *address,
        OpsListen::NextPort => match next_port(asked, own) {
            Ok(address) => address,
            Err(why) => return Ok(Listening::Not { address: own, why }),
        },
    };
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Listening::At(listener)),
        Err(why) if *ops == OpsListen::NextPort => Ok(Listening::Not { address, why }),
        Err(source) => {
            Err(NodeError::Io { doing: format!("listen on {address} (--ops-listen)"), source })
        }
    }
}

/// On this machine, at the port after the node's own; at any where the node's own may be any.
fn next_port(asked: SocketAddr, own: SocketAddr) -> io::Result<SocketAddr> {
    let ip = match own.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) | IpAddr::V6(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let port = match asked.port() {
        0 => 0,
        _ => own.port().checked_add(1).ok_or_else(|| io::Error::other("there is no next port"))?,
    };
    Ok(SocketAddr::new(ip, port))
}

/// What is served there, with what else is mounted, which has a line at `/`.
pub(crate) fn router(
    address: SocketAddr,
    metrics: Metrics,
    mounted: Option<(&'static str, Router)>,
) -> Router {
    let (line, mounted) = mounted.unwrap_or_default();
    let index = format!("{INDEX}{line}{}", if line.is_empty() { "" } else { "\n" });
    let of_metrics = Scrapes(Arc::new(metrics), Arc::new(Semaphore::new(1)));
    let health_of: Health = of_metrics.0.health.clone();
    let routes = Router::new()
        .route("/", get(index))
        .route("/metrics", get(scrape))
        .with_state(of_metrics)
        .merge(health(health_of.clone()))
        .merge(readiness(health_of))
        .merge(mounted);
    let routes = routes.layer(from_fn(only_reads));
    // Where only this machine can connect a page of somebody else's could still have a browser ask here, under a name
    // of its own that it says is this address.
    let routes = match address.ip().is_loopback() {
        true => routes.layer(from_fn(only_of_this_machine)),
        false => routes,
    };
    in_flight::bounded(routes, None)
}

/// What answers scrapes, one after the other: of many at once each would only take longer.
#[derive(Clone)]
struct Scrapes(Arc<Metrics>, Arc<Semaphore>);

async fn scrape(State(scrapes): State<Scrapes>) -> Response {
    let Scrapes(metrics, turns) = scrapes;
    let Ok(turn) = turns.acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    // It has the turn until it is done, also when whoever has asked has gone.
    let gathering = move || {
        let text = metrics.text();
        drop(turn);
        text
    };
    match tokio::task::spawn_blocking(gathering).await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        // The runtime is shutting down.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn only_reads(request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let told = (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, READS)], "this is only read\n");
        return told.into_response();
    }
    let headers = request.headers();
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    if has_body {
        return (StatusCode::BAD_REQUEST, "no body is taken here\n").into_response();
    }
    let mut answer = next.run(request).await;
    // In place of what a page has said of itself already.
    for (name, value) in [(CACHE_CONTROL, NO_STORE), (X_CONTENT_TYPE_OPTIONS, NO_SNIFF)] {
        answer.headers_mut().insert(name, value);
    }
    answer
}

async fn only_of_this_machine(request: Request, next: Next) -> Response {
    if asks_this_machine(&request) {
        return next.run(request).await;
    }
    let told = "ask for localhost or 127.0.0.1: this is for programs on this machine\n";
    (StatusCode::MISDIRECTED_REQUEST, told).into_response()
}

/// Whether whoever asks says whom it means, and means this machine.
fn asks_this_machine(request: &Request) -> bool {
    let of_header = request.headers().get(HOST).map(|host| host.as_bytes());
    let of_uri = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let mut asked = of_header.into_iter().chain(of_uri).peekable();
    asked.peek().is_some() && asked.all(is_this_machine)
}

/// Whether somebody who asks for this host means this machine, whoever answers for names.
fn is_this_machine(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_have_mean_this_machine() {
        for host in
            ["localhost", "LocalHost:7401", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:7401"]
        {
            assert!(is_this_machine(host.as_bytes()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:7401",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "evil.example@localhost",
            "localhost@evil.example",
            "",
            "\u{ff}",
        ] {
            assert!(!is_this_machine(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn it_is_at_the_next_port_of_this_machine() {
        let next = |asked: &str, own: &str| {
            next_port(asked.parse().unwrap(), own.parse().unwrap()).map(|it| it.to_string()).ok()
        };
        let is = |address: &str| Some(address.to_owned());
        assert_eq!(next("0.0.0.0:7400", "0.0.0.0:7400"), is("127.0.0.1:7401"));
        assert_eq!(next("[::1]:7400", "[::1]:7400"), is("[::1]:7401"));
        assert_eq!(next("127.0.0.1:0", "127.0.0.1:40001"), is("127.0.0.1:0"));
        assert_eq!(next("127.0.0.1:65535", "127.0.0.1:65535"), None);
    }
}
