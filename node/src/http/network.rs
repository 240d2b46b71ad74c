//! Over plain HTTP, where several nodes keep the ledger: how this one is, and changes of who they are.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::artifacts::ArtifactStore;
use crate::door::refusing::refused;
use crate::order::replicated::{MAX_CHANGE_BYTES, Network};
use crate::pulling;
use crate::refusal::Refusal;
use crate::view::{View, Views};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The most experiments that are told of.
const MAX_EXPERIMENTS: usize = 1_000;
/// How long whoever submits a change waits for it to be signed by enough nodes.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the routes read.
#[derive(Clone)]
pub(crate) struct Networks {
    /// Nothing where one node keeps the ledger.
    pub(crate) network: Option<Arc<Network>>,
    pub(crate) views: Views,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) stopping: CancellationToken,
}

pub(crate) fn router(networks: Networks) -> Router {
    Router::new()
        .route("/network", get(network))
        .route("/validator-change", post(validator_change))
        .layer(DefaultBodyLimit::max(MAX_CHANGE_BYTES))
        .with_state(networks)
}

fn alone() -> Response {
    (
        StatusCode::NOT_FOUND,
        "one node keeps this ledger: there is no network to tell of or to change\n",
    )
        .into_response()
}

async fn network(State(networks): State<Networks>) -> Response {
    let Some(network) = networks.network else { return alone() };
    let (view, artifacts) = (networks.views.latest(), networks.artifacts);
    let told = tokio::task::spawn_blocking(move || {
        let mut report = network.report();
        report["experiments"] = experiments(&view, &artifacts);
        report
    });
    match told.await {
        Ok(report) => json_answer(report),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Which models of the experiments that are not finished are here, and what else of theirs is not.
fn experiments(view: &View, artifacts: &ArtifactStore) -> Value {
    let told = view.unfinished().take(MAX_EXPERIMENTS).map(|experiment| {
        let state = experiment.state();
        let missing: Vec<String> = pulling::models(state)
            .into_iter()
            .filter(|model| artifacts.size_of(&model.digest).is_none())
            .map(|model| model.digest.to_string())
            .collect();
        let model = state.model.digest.to_string();
        let here = !missing.contains(&model);
        json!({
            "name": state.name.as_str(),
            "round": state.round,
            "model": model,
            "here": here,
            "missing": missing,
        })
    });
    told.collect()
}

async fn validator_change(State(networks): State<Networks>, payload: Bytes) -> Response {
    let Some(network) = networks.network else { return alone() };
    let answers = match network.submit_change(&payload) {
        Ok(answers) => answers,
        Err(refusal) => return refused(refusal.into(), false),
    };
    let answered = tokio::select! {
        () = networks.stopping.cancelled() => return refused(Refusal::Stopped.into(), false),
        answered = tokio::time::timeout(PATIENCE, answers) => answered,
    };
    match answered {
        Ok(Ok(mut answers)) => match answers.pop() {
            Some(Ok(recorded)) => json_answer(json!({ "index": recorded.entry.index() })),
            Some(Err(refusal)) => refused(refusal.into(), false),
            None => refused(Refusal::Stopped.into(), false),
        },
        Ok(Err(_)) => refused(Refusal::Stopped.into(), false),
        Err(_) => {
            let waits = "it was handed on, and is not signed by enough nodes yet; GET /network shows when it counts\n";
            (StatusCode::GATEWAY_TIMEOUT, waits).into_response()
        }
    }
}

fn json_answer(value: Value) -> Response {
    ([(CONTENT_TYPE, JSON)], format!("{value}\n")).into_response()
}
