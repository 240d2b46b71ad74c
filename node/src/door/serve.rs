//! One listener for gRPC and HTTP.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use colearn_net::{CHANNEL_LABEL, Channel};
use colearn_proto::FILE_DESCRIPTOR_SET;
use colearn_proto::v1::artifact_service_server::ArtifactServiceServer;
use colearn_proto::v1::coordinator_service_server::CoordinatorServiceServer;
use colearn_proto::v1::ledger_service_server::LedgerServiceServer;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use super::calls::Calls;
use super::connections::{Counted, Slot, Slots};
use super::tls::Tls;
use super::who::Who;
use crate::grpc::artifact::Artifacts;
use crate::grpc::coordinator::Coordinator;
use crate::grpc::ledger::Ledger;
use crate::http::health::Health;
#[cfg(unix)]
use crate::http::network::{self, Networks};
use crate::http::tiles::{self, Tiles};
use crate::http::{artifact, health};
use crate::in_flight;
use crate::metrics::{Class, Counts};
use crate::rates::Rates;

/// How many calls one connection may have open: a learner has a few.
const MAX_STREAMS: u32 = 128;
/// How long a client may take to send its request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent connection is asked whether it lives, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long open calls may take to end when the node stops, and a little longer for their connections.
const GRACE: Duration = Duration::from_secs(5);
const LITTLE: Duration = Duration::from_millis(500);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long accepting pauses when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The largest gRPC message that is read: a transaction. While it comes what has come lies here.
const MAX_MESSAGE_BYTES: usize = 128 << 10;
/// And of weights: a chunk of 1 MiB, and what it is in.
const MAX_CHUNK_BYTES: usize = (1 << 20) + (64 << 10);
/// What a client may send ahead on one call: a chunk.
const WINDOW_BYTES: u32 = 1 << 20;

/// The first byte of what a client says that speaks TLS (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// How long somebody who is refused has to read why, and to go.
const UNTIL_READ: Duration = Duration::from_secs(2);
/// How much is read of somebody who is refused.
const MAX_UNREAD: u64 = 64 << 10;
/// What somebody is told who does not, in HTTP/1.1,
const NO_TLS_HTTP1: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 39\r\nconnection: close\r\n\r\nthis port speaks TLS: use https://...\r\n";
/// and in HTTP/2: settings, and GOAWAY for inadequate security (RFC 9113, 6.8 and 7).
const NO_TLS_HTTP2: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
    \0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0c";

/// Everything that is served.
pub(crate) struct Services {
    pub(crate) coordinator: Coordinator,
    pub(crate) ledger: Ledger,
    pub(crate) artifacts: Artifacts,
    pub(crate) tiles: Tiles,
    pub(crate) health: Health,
    #[cfg(unix)]
    pub(crate) networks: Networks,
    pub(crate) who: Who,
}

/// How connections are taken.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) slots: Slots,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) counts: Counts,
    /// What a connection too many is counted as.
    pub(crate) full: Class,
}

/// Serves until `stopping` is cancelled, then lets open calls end.
pub(crate) async fn serve(door: Door, router: axum::Router, stopping: CancellationToken) {
    let Door { listener, slots, tls, counts, full } = door;
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(4 * WINDOW_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let taking = Arc::new(Taking { builder, router, tls, stopping: stopping.clone() });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        let Some((stream, address)) = accepted else { continue };
        let Some(slot) = slots.take(address) else {
            // Closed at once: whoever waits to be taken would wait for who has taken all.
            counts.refuse(full, &format_args!("a connection too many, from {address}"));
            continue;
        };
        let taking = taking.clone();
        connections.spawn(async move {
            tokio::select! {
                () = taking.take(stream, &slot) => {}
                () = slot.is_hung_up() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GRACE + LITTLE, connections.wait()).await.is_err() {
        tracing::warn!("some calls did not end in time");
    }
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, IpAddr)> {
    match listener.accept().await {
        Ok((stream, address)) => {
            // Without this a small call takes 45 ms. A socket that refuses has gone already.
            stream.set_nodelay(true).ok()?;
            Some((stream, address.ip()))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// What every connection is served with.
struct Taking {
    builder: Builder<TokioExecutor>,
    router: axum::Router,
    tls: Option<Arc<Tls>>,
    stopping: CancellationToken,
}

impl Taking {
    /// Serves a connection to its end.
    async fn take(&self, stream: TcpStream, slot: &Slot) {
        let securing = tokio::time::timeout(HANDSHAKE, secure(stream, self.tls.as_deref()));
        let secured = tokio::select! {
            () = self.stopping.cancelled() => return,
            secured = securing => secured,
        };
        let Ok(Some(stream)) = secured else { return };
        let channel = channel(&stream);
        let (peer, activity, hang_up) = (slot.peer(), slot.activity(), slot.hang_up());
        let (router, used) = (self.router.clone(), activity.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(hang_up.clone());
            if let Some(channel) = channel {
                request.extensions_mut().insert(channel);
            }
            let counted = used.request();
            let answering = router.clone().call(request);
            async move {
                let answer = answering.await?;
                Ok::<_, Infallible>(answer.map(|body| Counted::new(body, counted)))
            }
        });
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            done = connection.as_mut() => return told(done),
            () = self.stopping.cancelled() => {}
            () = activity.unused() => {}
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(done) = tokio::time::timeout(GRACE, connection).await {
            told(done);
        }
    }
}

fn told(done: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = done {
        tracing::debug!(%error, "a connection broke");
    }
}

type Secured = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Shakes hands, where there is something to be shown.
async fn secure(mut stream: TcpStream, tls: Option<&Tls>) -> Option<Secured> {
    let Some(tls) = tls else { return Some(Either::Left(stream)) };
    let mut first = [0; 2];
    let count = stream.peek(&mut first).await.ok()?;
    if count == 0 {
        return None;
    }
    if first[0] != TLS_HANDSHAKE {
        // Told in what is spoken there, or it would look as if nobody was here. HTTP/2 begins with PRI.
        let told: &[u8] = if first == *b"PR" { NO_TLS_HTTP2 } else { NO_TLS_HTTP1 };
        let _ = stream.write_all(told).await;
        until_read(stream).await;
        return None;
    }
    match tls.acceptor().accept(stream).into_fallible().await {
        Ok(stream) => Some(Either::Right(Box::new(stream))),
        Err((error, stream)) => {
            tracing::debug!(%error, "no TLS");
            // What is wrong was told, such as that a certificate is missing.
            until_read(stream).await;
            None
        }
    }
}

/// What is bound to a connection.
fn channel(stream: &Secured) -> Option<Channel> {
    let Either::Right(stream) = stream else { return None };
    let connection = stream.get_ref().1;
    connection.export_keying_material(Channel::default(), CHANNEL_LABEL, Some(&[])).ok()
}

/// Waits until the other end has gone: what it was told last would be lost if this closed first, with something
/// unread.
async fn until_read(stream: TcpStream) {
    let rest = &mut stream.take(MAX_UNREAD);
    let _ = tokio::time::timeout(UNTIL_READ, tokio::io::copy(rest, &mut tokio::io::sink())).await;
}

/// Everything that is served, to those who may have it.
pub(crate) fn router(services: Services, calls: Calls, rates: Option<Rates>) -> axum::Router {
    let Services {
        coordinator,
        ledger,
        artifacts,
        tiles,
        health: of_node,
        #[cfg(unix)]
        networks,
        who,
    } = services;
    let coordinator =
        CoordinatorServiceServer::new(coordinator).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let ledger = LedgerServiceServer::new(ledger).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let plain = tiles::router(tiles)
        .merge(artifact::router(artifacts.store.clone(), artifacts.rights.clone()))
        .merge(health::health(of_node));
    #[cfg(unix)]
    let plain = plain.merge(network::router(networks));
    let artifacts =
        ArtifactServiceServer::new(artifacts).max_decoding_message_size(MAX_CHUNK_BYTES);
    let (_, health) = tonic_health::server::health_reporter();
    let mut routes = tonic::service::Routes::new(coordinator)
        .add_service(ledger)
        .add_service(artifacts)
        .add_service(health);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .build_v1();
    match reflection {
        Ok(reflection) => routes = routes.add_service(reflection),
        Err(error) => tracing::warn!(%error, "gRPC reflection is off"),
    }
    // Who asks is known before it is counted what it asks, and what is on its way to it.
    let routes = in_flight::bounded(routes.prepare().into_axum_router().merge(plain), rates);
    who.guard(calls.clone().bound(routes), calls)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http2;

    use super::*;

    /// Whoever opens no window takes nothing, however little it is, and holds its place no longer than its patience.
    #[tokio::test]
    async fn who_takes_no_answer_of_a_few_bytes_is_hung_up_on() {
        let patience = Duration::from_millis(300);
        let routes = Router::new().route("/few", get(|| async { Body::from("ok") }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door {
            listener,
            slots: Slots::new(8, 8),
            tls: None,
            counts: Counts::default(),
            full: Class::Door("connections"),
        };
        let stopping = CancellationToken::new();
        tokio::spawn(serve(
            door,
            in_flight::bounded_within(routes, None, patience),
            stopping.clone(),
        ));
        let asks = async |window: u32| {
            let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
            let mut client = http2::Builder::new(TokioExecutor::new());
            client.initial_stream_window_size(window);
            let (mut requests, connection) = client.handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let request = Request::get("http://node/few").body(Empty::<Bytes>::new()).unwrap();
            (requests.send_request(request).await.unwrap(), requests, connection)
        };
        // All three headers come; of two answers no byte is taken, or one.
        let (_none, _requests, unread) = asks(0).await;
        let (_one, _requests, little) = asks(1).await;
        let (all, _requests, read) = asks(1 << 16).await;
        assert_eq!(all.collect().await.unwrap().to_bytes(), "ok");
        let ended = async {
            // However the end of it is told.
            let _ = unread.await.unwrap();
            let _ = little.await.unwrap();
        };
        tokio::time::timeout(60 * patience, ended).await.unwrap();
        assert!(!read.is_finished());
        stopping.cancel();
    }
}
