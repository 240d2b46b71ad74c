//! The HTTP read API: C2SP tlog-tiles.

#[cfg(unix)]
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use colearn_ledger::{Resource, TILE_WIDTH};
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use crate::limits::PIECE_BYTES;
#[cfg(unix)]
use crate::order::replicated::Signatures;
use crate::reads::Reads;
use crate::refusal::Refusal;
use crate::witness::Cosignatures;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// A tile never changes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const SHORT: HeaderValue = HeaderValue::from_static("public, max-age=2");

/// Says whether enough witnesses have cosigned a checkpoint.
const WITNESSED: &str = "colearn-witnessed";

/// What the routes read.
#[derive(Clone)]
pub(crate) struct Tiles {
    pub(crate) reads: Reads,
    pub(crate) cosignatures: Cosignatures,
    pub(crate) stopping: CancellationToken,
    /// What signs for this node, where several keep the ledger.
    #[cfg(unix)]
    pub(crate) signatures: Option<Arc<Signatures>>,
}

pub(crate) fn router(tiles: Tiles) -> Router {
    Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/checkpoint/{size}", get(checkpoint_of))
        .route("/tile/{*path}", get(tile))
        .with_state(tiles)
}

/// This node's word for the first so many entries, for the other nodes: with the lines of others that it
/// knows. Waits until they are durable here.
#[cfg(unix)]
async fn checkpoint_of(State(tiles): State<Tiles>, Path(size): Path<u64>) -> Response {
    let Some(signatures) = &tiles.signatures else { return not_several() };
    let note = tokio::select! {
        () = tiles.stopping.cancelled() => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        note = signatures.note(size) => note,
    };
    match note {
        Ok(Some(note)) => ([(CONTENT_TYPE, TEXT)], note).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "this node has not come so far\n").into_response(),
        Err(error) => {
            tracing::error!(%error, "the ledger's root cannot be read");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

#[cfg(not(unix))]
async fn checkpoint_of(Path(_): Path<u64>) -> Response {
    not_several()
}

fn not_several() -> Response {
    (StatusCode::NOT_FOUND, "one node keeps this ledger: its word is at /checkpoint\n")
        .into_response()
}

async fn checkpoint(State(tiles): State<Tiles>) -> Response {
    match tiles.reads.checkpoint() {
        Some(signed) => {
            let (note, state) = tiles.cosignatures.attach(&signed);
            let mut answer = ([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, SHORT)], note).into_response();
            if let Some(state) = state.and_then(|state| HeaderValue::try_from(state).ok()) {
                answer.headers_mut().insert(WITNESSED, state);
            }
            answer
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn tile(State(tiles): State<Tiles>, Path(path): Path<String>) -> Response {
    let Some(resource) = Resource::parse(&format!("tile/{path}")) else {
        return (StatusCode::NOT_FOUND, "there is no such tile path\n").into_response();
    };
    let (Resource::Hashes { width, .. } | Resource::Entries { width, .. }) = resource;
    let read = match resource {
        Resource::Hashes { .. } => {
            let read = tiles.reads.read(move |reader| reader.resource(resource));
            read.await.map(|bytes| bytes.map(Body::from))
        }
        Resource::Entries { number, width } => bundle(tiles.reads, number, width).await,
    };
    match read {
        Ok(Some(body)) => {
            let cache = if u64::from(width) == TILE_WIDTH { IMMUTABLE } else { SHORT };
            ([(CONTENT_TYPE, BINARY), (CACHE_CONTROL, cache)], body).into_response()
        }
        Ok(None) => (StatusCode::NOT_FOUND, "the ledger is not that long\n").into_response(),
        Err(error) => {
            tracing::error!(%error, "a tile cannot be read");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

/// A bundle of entries, if there are so many. It may have 16 MiB: more than a piece is read as it is taken.
async fn bundle(reads: Reads, number: u64, width: u16) -> Result<Option<Body>, Refusal> {
    let start = number.checked_mul(TILE_WIDTH);
    let ends = start.and_then(|start| Some((start, start.checked_add(u64::from(width))?)));
    let Some((start, end)) = ends.filter(|(_, end)| *end <= reads.in_memory().size()) else {
        return Ok(None);
    };
    let (first, next) = piece(&reads, start, end).await?;
    if next == end {
        return Ok(Some(Body::from(first)));
    }
    let pieces = stream::try_unfold((Some(first), next), move |(read, next)| {
        let reads = reads.clone();
        async move {
            match read {
                Some(read) => Ok(Some((read, (None, next)))),
                None if next < end => {
                    let (read, next) = piece(&reads, next, end).await?;
                    Ok::<_, Refusal>(Some((read, (None, next))))
                }
                None => Ok(None),
            }
        }
    });
    Ok(Some(Body::from_stream(pieces)))
}

async fn piece(reads: &Reads, start: u64, end: u64) -> Result<(Bytes, u64), Refusal> {
    let read = reads.read(move |reader| reader.bundle(start, end, PIECE_BYTES));
    read.await.map(|(bytes, next)| (Bytes::from(bytes), next))
}
