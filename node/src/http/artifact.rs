//! Weights over plain HTTP: what other nodes fetch them with, and anybody with `curl`.

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use crate::artifacts::{ArtifactError, ArtifactStore, Bringer, Reading, parse_digest};
use crate::door::rights::{Caller, Rights};
use crate::limits::PIECE_BYTES;
use crate::peer::Peer;

const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");

pub(crate) fn router(artifacts: ArtifactStore, rights: Rights) -> Router {
    Router::new().route("/artifact/{digest}", get(artifact)).with_state((artifacts, rights))
}

/// What is here, all of it or a range. Nothing is fetched for whoever asks: two nodes that both lack
/// something would wait for each other.
async fn artifact(
    State((artifacts, rights)): State<(ArtifactStore, Rights)>,
    Path(digest): Path<String>,
    caller: Option<Extension<Caller>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Response {
    let Some(digest) = parse_digest(&digest) else {
        return (StatusCode::NOT_FOUND, "that is no digest\n").into_response();
    };
    let caller = caller.map(|Extension(caller)| caller).unwrap_or_default();
    let who = Bringer::Peer(peer.map(|Extension(peer)| peer).unwrap_or_default());
    if let Err(refusal) = rights.check_weights(caller, &digest) {
        return (StatusCode::FORBIDDEN, format!("{refusal}\n")).into_response();
    }
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let asked = match range.map(parse_range) {
        None => None,
        Some(Some(range)) => Some(range),
        Some(None) => return not_satisfiable("a range is bytes=FIRST-LAST or bytes=FIRST-\n"),
    };
    let store = artifacts.clone();
    let found = tokio::task::spawn_blocking(move || -> Result<_, ArtifactError> {
        let artifacts = store;
        let size = artifacts.size_of(&digest).ok_or(ArtifactError::Missing(digest))?;
        let (first, last) = asked.unwrap_or((0, None));
        // An artifact has a byte at least.
        let last = last.map_or(size - 1, |last| last.min(size - 1));
        let length = (last + 1).saturating_sub(first);
        Ok((artifacts.download(who, &digest, first)?.read(length)?, size, first, last))
    });
    let (reading, size, first, last) = match found.await {
        Ok(Ok(found)) => found,
        Ok(Err(error @ ArtifactError::Missing(_))) => {
            return (StatusCode::NOT_FOUND, format!("{error}\n")).into_response();
        }
        Ok(Err(error @ ArtifactError::Store(_))) => {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "an artifact cannot be read");
            return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response();
        }
        Err(_) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    if first > last {
        return not_satisfiable("it is not that long\n");
    }
    let length = last - first + 1;
    let body = match reading {
        Reading::Read(bytes) => {
            artifacts.read_for_others(&bytes);
            Body::from(bytes)
        }
        // Read only as fast as it is taken; who stalls holds no thread.
        Reading::Opened(opened) => {
            let bytes = artifacts.for_others(opened).take(length);
            Body::from_stream(ReaderStream::with_capacity(bytes, PIECE_BYTES))
        }
    };
    let whole = [
        (CONTENT_TYPE, BINARY),
        (ACCEPT_RANGES, BYTES),
        (CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    match asked {
        None => (whole, body).into_response(),
        Some(_) => {
            let range = format!("bytes {first}-{last}/{size}");
            (StatusCode::PARTIAL_CONTENT, whole, [(CONTENT_RANGE, range)], body).into_response()
        }
    }
}

fn not_satisfiable(why: &'static str) -> Response {
    (StatusCode::RANGE_NOT_SATISFIABLE, why).into_response()
}

/// The first byte and the last, if it is said. No other form is known here.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    match last {
        "" => Some((first, None)),
        last => {
            let last = last.parse().ok()?;
            (first <= last).then_some((first, Some(last)))
        }
    }
}
