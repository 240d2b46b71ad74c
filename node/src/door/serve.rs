//! One listener for gRPC and HTTP.

use std::sync::Arc;
use std::time::Duration;

use colearn_proto::FILE_DESCRIPTOR_SET;
use colearn_proto::v1::artifact_service_server::ArtifactServiceServer;
use colearn_proto::v1::coordinator_service_server::CoordinatorServiceServer;
use colearn_proto::v1::ledger_service_server::LedgerServiceServer;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::grpc::artifact::Artifacts;
use crate::grpc::coordinator::Coordinator;
use crate::grpc::ledger::Ledger;
use crate::http::artifact;
#[cfg(unix)]
use crate::http::network::{self, Networks};
use crate::http::tiles::{self, Tiles};

/// How many connections may be open; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// How many calls one connection may have open.
const MAX_STREAMS: u32 = 1024;
/// How long a client may take to send its request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent connection is asked whether it lives, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long open calls may take to end when the node stops.
const GRACE: Duration = Duration::from_secs(5);
/// How long accepting pauses when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The largest gRPC message that is read: a transaction, or a chunk of 1 MiB.
const MAX_MESSAGE_BYTES: usize = 2 << 20;
/// What a client may send ahead on one call: a few chunks.
const WINDOW_BYTES: u32 = 4 << 20;

/// Everything that is served.
pub(crate) struct Services {
    pub(crate) coordinator: Coordinator,
    pub(crate) ledger: Ledger,
    pub(crate) artifacts: Artifacts,
    pub(crate) tiles: Tiles,
    #[cfg(unix)]
    pub(crate) networks: Networks,
}

/// Serves until `stopping` is cancelled, then lets open calls end.
pub(crate) async fn serve(listener: TcpListener, services: Services, stopping: CancellationToken) {
    let router = router(services);
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
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some calls did not end in time");
    }
}

type Accepted = (tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<Accepted> {
    let slot = slots.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Without this a small call takes 45 ms. A socket that refuses has gone already.
            stream.set_nodelay(true).ok()?;
            Some((stream, slot))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn router(services: Services) -> axum::Router {
    let Services {
        coordinator,
        ledger,
        artifacts,
        tiles,
        #[cfg(unix)]
        networks,
    } = services;
    let coordinator =
        CoordinatorServiceServer::new(coordinator).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let ledger = LedgerServiceServer::new(ledger).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let plain = tiles::router(tiles).merge(artifact::router(artifacts.store.clone()));
    #[cfg(unix)]
    let plain = plain.merge(network::router(networks));
    let artifacts =
        ArtifactServiceServer::new(artifacts).max_decoding_message_size(MAX_MESSAGE_BYTES);
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
    routes.prepare().into_axum_router().merge(plain)
}
