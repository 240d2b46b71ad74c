//! The page over HTTP: [`Page`] has its addresses, for whoever mounts them, and [`serve`] has them at a port of their
//! own, for browsers on this machine and nobody else.
//!
//! Nothing can be changed here. But what a follower may read, not every user of the machine may, and every web page
//! that a browser has open can send requests to it: so at that port all addresses begin with a secret, a request has to
//! name this machine as its host, and the page may load nothing from elsewhere.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use colearn_audit::explain::{Unexplained, explain};
use colearn_contracts::ExperimentName;
use futures_util::Stream;
use futures_util::stream::unfold;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::idle::Unstuck;
use super::search;
use super::state::{Asked, document};
use super::view::Shared;
use crate::cli::tell::{json, rounds};

/// Connections at a time; a browser opens six at most.
const MAX_CONNECTIONS: usize = 64;
/// Of these, streams that tell of changes: one for each page that somebody sees.
pub(crate) const MAX_STREAMS: usize = 24;
/// Rounds that are explained at a time: each replays the ledger.
const MAX_EXPLAINED: usize = 2;
/// Answers that are made at a time: each takes a thread, and the longest lie here whole.
const MAX_MADE: usize = 8;
/// How long a request's head may take to come, and what is written to be read.
const HEAD: Duration = Duration::from_secs(10);
const UNREAD: Duration = Duration::from_secs(30);
/// A page is told of changes so often at most.
const PAUSE: Duration = Duration::from_millis(250);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The rounds in full where nobody says how many.
const USUAL_ROUNDS: u64 = 60;

/// Own files and own answers, and nothing written into the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/page.js");
const STYLE: &str = include_str!("page/page.css");
const ICON: &str = include_str!("page/icon.svg");

/// What the page is answered from.
pub(crate) struct Page {
    /// Gives what is shown, to somebody who looks; what is shown goes on for as long as somebody has it.
    shared: Box<dyn Fn() -> Arc<Shared> + Send + Sync>,
    streams: Arc<Semaphore>,
    explained: Arc<Semaphore>,
    made: Arc<Semaphore>,
}

impl Page {
    /// One of what this gives, with so many streams that tell of changes at most.
    pub(crate) fn new(
        shared: impl Fn() -> Arc<Shared> + Send + Sync + 'static,
        max_streams: usize,
    ) -> Arc<Self> {
        let room = |places| Arc::new(Semaphore::new(places));
        Arc::new(Self {
            shared: Box::new(shared),
            streams: room(max_streams),
            explained: room(MAX_EXPLAINED),
            made: room(MAX_MADE),
        })
    }

    /// The page's addresses, relative to its own.
    pub(crate) fn routes(self: Arc<Self>) -> Router {
        let file = |kind: &'static str, text: &'static str| {
            get(async move || ([(CONTENT_TYPE, kind)], text))
        };
        Router::new()
            .route("/", file("text/html; charset=utf-8", HTML))
            .route("/page.js", file("text/javascript; charset=utf-8", SCRIPT))
            .route("/page.css", file("text/css; charset=utf-8", STYLE))
            .route("/icon.svg", file("image/svg+xml", ICON))
            .route("/api/state", get(state))
            .route("/api/events", get(events))
            .route("/api/round/{experiment}/{round}", get(round))
            .route("/api/entry/{index}", get(entry))
            .route("/api/search", get(found))
            .with_state(self)
            .layer(middleware::from_fn(safe))
    }

    /// Does what takes time on a thread of its own, in turn.
    async fn aside(&self, work: impl FnOnce() -> Response + Send + 'static) -> Response {
        let Ok(turn) = self.made.clone().acquire_owned().await else {
            return not(StatusCode::SERVICE_UNAVAILABLE, "this program ends");
        };
        // It has its turn until it is done, also when whoever has asked has gone.
        let work = move || (work(), turn);
        match tokio::task::spawn_blocking(work).await {
            Ok((answer, _)) => answer,
            Err(_) => not(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be computed"),
        }
    }
}

/// Has a browser load, show and tell others nothing but what is meant.
async fn safe(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let fixed: [(HeaderName, &'static str); 5] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Serves the page below the secret, until the process ends.
pub(crate) async fn serve(listener: TcpListener, at: SocketAddr, secret: &str, page: Arc<Page>) {
    let routes = Router::new()
        .nest(&format!("/{secret}/"), page.routes())
        .fallback(async || {
            let told = "Nothing is here. Open the whole address that colearn ui has printed.\n";
            (StatusCode::NOT_FOUND, told)
        })
        .layer(middleware::from_fn(move |request: Request, next: Next| guard(at, request, next)))
        .layer(middleware::from_fn(safe));
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = free.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files: others may end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let mut builder = Builder::new(TokioExecutor::new()).http1_only();
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
            let io = TokioIo::new(Unstuck::new(stream, UNREAD));
            if let Err(error) = builder.serve_connection(io, service).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
}

/// Only who has this machine's name for it is answered: another name that somebody has made lead here is another
/// site to a browser, and that site's scripts could read what is answered.
async fn guard(at: SocketAddr, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    match is_own(at, host) {
        true => next.run(request).await,
        false => {
            let told = format!("This is answered only at http://{at}/.\n");
            (StatusCode::MISDIRECTED_REQUEST, told).into_response()
        }
    }
}

/// Whether a request is for this machine by its own name.
fn is_own(at: SocketAddr, host: &str) -> bool {
    let own = [at.to_string(), format!("localhost:{}", at.port())];
    // What browsers leave out.
    let short = [at.ip().to_string(), "localhost".to_owned()];
    own.iter().any(|it| it == host) || (at.port() == 80 && short.iter().any(|it| it == host))
}

fn told(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// What could not be answered, in one sentence.
fn not(status: StatusCode, why: impl std::fmt::Display) -> Response {
    let told = told(&json!({ "error": why.to_string() }));
    (status, told).into_response()
}

/// The value of a question in the address.
fn asked(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or("").as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

async fn state(State(page): State<Arc<Page>>, RawQuery(query): RawQuery) -> Response {
    let experiment = match asked(query.as_deref(), "experiment").map(|it| it.parse()).transpose() {
        Ok(experiment) => experiment,
        Err(error) => return not(StatusCode::BAD_REQUEST, error),
    };
    let rounds = match asked(query.as_deref(), "rounds").map(|it| it.parse()).transpose() {
        Ok(rounds) => rounds.unwrap_or(USUAL_ROUNDS),
        Err(error) => return not(StatusCode::BAD_REQUEST, format!("rounds: {error}")),
    };
    let asked = Asked { experiment, rounds };
    let shared = (page.shared)();
    page.aside(move || {
        let revision = shared.revision();
        told(&document(&shared.read(), &asked, revision))
    })
    .await
}

async fn found(State(page): State<Arc<Page>>, RawQuery(query): RawQuery) -> Response {
    let asked = asked(query.as_deref(), "q").unwrap_or_default();
    let shared = (page.shared)();
    page.aside(move || told(&search::search(&shared.read(), &asked))).await
}

async fn entry(State(page): State<Arc<Page>>, Path(index): Path<u64>) -> Response {
    let shared = (page.shared)();
    page.aside(move || match search::entry(&shared.read(), index) {
        Ok(Some(entry)) => told(&entry),
        Ok(None) => not(StatusCode::NOT_FOUND, format!("there is no entry {index} here")),
        Err(error) => not(StatusCode::INTERNAL_SERVER_ERROR, error),
    })
    .await
}

async fn round(
    State(page): State<Arc<Page>>,
    Path((experiment, round)): Path<(String, u64)>,
) -> Response {
    let Ok(experiment) = experiment.parse::<ExperimentName>() else {
        return not(StatusCode::NOT_FOUND, "there is no experiment of this name");
    };
    let Ok(turn) = page.explained.clone().acquire_owned().await else {
        return not(StatusCode::SERVICE_UNAVAILABLE, "this program ends");
    };
    // From what was verified, not from what anybody says again.
    let shared = (page.shared)();
    page.aside(move || {
        let _turn = turn;
        let mut source = shared.read().book.source();
        drop(shared);
        match explain(&mut source, &experiment, round) {
            Ok(explained) => {
                let mut value = json::explanation(&experiment, round, &explained, None);
                value["text"] = rounds::explanation(&experiment, round, &explained, None).into();
                told(&value)
            }
            Err(error @ Unexplained::NoSuchRound(..)) => not(StatusCode::NOT_FOUND, error),
            Err(error) => not(StatusCode::INTERNAL_SERVER_ERROR, error),
        }
    })
    .await
}

async fn events(State(page): State<Arc<Page>>) -> Response {
    let Ok(place) = page.streams.clone().try_acquire_owned() else {
        let why = "as many pages are open already as there may be; close some";
        return not(StatusCode::SERVICE_UNAVAILABLE, why);
    };
    Sse::new(changes(page, place)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// The number of the last change, as soon as there is another one. Whoever reads slowly is told of fewer.
fn changes(
    page: Arc<Page>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let shared = (page.shared)();
    let mut changes = shared.changes();
    changes.mark_changed();
    unfold((shared, changes, place, false), async |(shared, mut changes, place, paused)| {
        if paused {
            tokio::time::sleep(PAUSE).await;
        }
        tokio::select! {
            () = shared.ended() => return None,
            changed = changes.changed() => changed.ok()?,
        }
        let revision = *changes.borrow_and_update();
        let event =
            Event::default().event("changed").data(json!({ "revision": revision }).to_string());
        Some((Ok(event), (shared, changes, place, true)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_own_names_are_answered_to() {
        let at = SocketAddr::from(([127, 0, 0, 1], 7480));
        assert!(is_own(at, "127.0.0.1:7480") && is_own(at, "localhost:7480"));
        for other in
            ["", "localhost", "evil.example:7480", "127.0.0.1", "127.0.0.1:80", "127.0.0.2:7480"]
        {
            assert!(!is_own(at, other), "{other}");
        }
        let usual = SocketAddr::from(([127, 0, 0, 1], 80));
        assert!(is_own(usual, "localhost") && is_own(usual, "127.0.0.1"));
    }
}
