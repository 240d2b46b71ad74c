//! Whether the node is well, for whoever decides by that where to go and what to start anew.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::disk::DiskReserve;
use crate::order::chain::Condition;
#[cfg(unix)]
use crate::order::replicated::Network;
use crate::refusal::Refusal;

/// Tells how the node is; cheap to clone.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inner>);

struct Inner {
    stopping: CancellationToken,
    disk: DiskReserve,
    /// How this node is, where several keep the ledger.
    #[cfg(unix)]
    network: Option<Arc<Network>>,
    /// How following a public chain goes, where a contract there keeps the ledger.
    chain: Option<Condition>,
}

impl Health {
    pub(crate) fn new(
        stopping: CancellationToken,
        disk: DiskReserve,
        #[cfg(unix)] network: Option<Arc<Network>>,
        chain: Option<Condition>,
    ) -> Self {
        Self(Arc::new(Inner {
            stopping,
            disk,
            #[cfg(unix)]
            network,
            chain,
        }))
    }

    /// Why it does not go on, if it does not.
    fn ails(&self) -> Option<String> {
        if self.0.stopping.is_cancelled() {
            return Some("stopping".to_owned());
        }
        #[cfg(unix)]
        if let Some(trouble) = self.0.network.as_ref().and_then(|network| network.trouble()) {
            return Some(trouble.to_string());
        }
        self.0.chain.as_ref().and_then(Condition::trouble)
    }

    /// Why it takes nothing, if it takes nothing. It may go on reading all the same.
    fn refuses(&self) -> Option<String> {
        let full = || {
            let (free, reserve) = self.0.disk.lacking()?;
            Some(Refusal::DiskFull { free, reserve }.to_string())
        };
        let chain = || self.0.chain.as_ref();
        let incomplete = || chain().and_then(Condition::incomplete);
        let undelivered = || chain().and_then(Condition::undelivered);
        self.ails().or_else(full).or_else(incomplete).or_else(undelivered)
    }

    /// Whether it takes what is submitted.
    pub(crate) fn is_ready(&self) -> bool {
        self.refuses().is_none()
    }
}

/// Whether it goes on.
pub(crate) fn health(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(async |State(health): State<Health>| told(health.ails())))
        .with_state(health)
}

/// Whether it takes what is submitted.
pub(crate) fn readiness(health: Health) -> Router {
    Router::new()
        .route("/readyz", get(async |State(health): State<Health>| told(health.refuses())))
        .with_state(health)
}

fn told(why: Option<String>) -> Response {
    match why {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
