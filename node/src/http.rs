//! The HTTP read API: C2SP tlog-tiles, and a health check.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use colearn_ledger::{Resource, TILE_WIDTH};

use super::core::Core;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// A tile never changes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const SHORT: HeaderValue = HeaderValue::from_static("public, max-age=2");

/// Says whether enough witnesses have cosigned a checkpoint.
const WITNESSED: &str = "colearn-witnessed";

pub(super) fn router(core: Core) -> Router {
    Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
        .route("/healthz", get(health))
        .with_state(core)
}

async fn checkpoint(State(core): State<Core>) -> Response {
    match core.reader.checkpoint() {
        Some(signed) => {
            let (note, state) = core.cosignatures.attach(&signed);
            let mut answer = ([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, SHORT)], note).into_response();
            if let Some(state) = state.and_then(|state| HeaderValue::try_from(state).ok()) {
                answer.headers_mut().insert(WITNESSED, state);
            }
            answer
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn tile(State(core): State<Core>, Path(path): Path<String>) -> Response {
    let Some(resource) = Resource::parse(&format!("tile/{path}")) else {
        return (StatusCode::NOT_FOUND, "there is no such tile path\n").into_response();
    };
    let (Resource::Hashes { width, .. } | Resource::Entries { width, .. }) = resource;
    let found = tokio::task::spawn_blocking(move || core.reader.resource(resource)).await;
    match found {
        Ok(Ok(Some(bytes))) => {
            let cache = if u64::from(width) == TILE_WIDTH { IMMUTABLE } else { SHORT };
            ([(CONTENT_TYPE, BINARY), (CACHE_CONTROL, cache)], bytes).into_response()
        }
        Ok(Ok(None)) => (StatusCode::NOT_FOUND, "the ledger is not that long\n").into_response(),
        Ok(Err(error)) => {
            tracing::error!(%error, "a tile cannot be read");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn health(State(core): State<Core>) -> Response {
    if core.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
    } else {
        "ok\n".into_response()
    }
}
