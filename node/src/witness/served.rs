//! Serving a witness, by the same door as a node: with TLS, and as little for strangers.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::witness::Witness;
use crate::config::{Config, Security};
use crate::door::calls::Calls;
use crate::door::connections::{Slots, within_files};
use crate::door::serve::{Door, serve};
use crate::door::tls::{self, Tls};
use crate::error::NodeError;
use crate::metrics::{Class, Counts};
use crate::{BoxFuture, watched};

/// A witness that others reach.
pub struct ServedWitness {
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    stopping: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl ServedWitness {
    /// Listens; `data` is where a certificate is kept that it makes itself. Port 0 picks a free one. Connections and
    /// calls are bounded as a node's are by default.
    ///
    /// # Errors
    /// If others could listen and nothing is said of that, or certificates or the address cannot be used.
    pub fn start(
        witness: &Witness,
        data: &Path,
        listen: SocketAddr,
        security: Security,
    ) -> BoxFuture<Result<Self, NodeError>> {
        let (routes, config) = (witness.router(), Config::new(data));
        Box::pin(async move {
            let tls = tls::secured(&security, listen, &config.data)?;
            let slots =
                Slots::new(within_files(config.max_connections), config.connections_per_address);
            let listener = TcpListener::bind(listen)
                .await
                .map_err(|source| NodeError::Io { doing: format!("listen on {listen}"), source })?;
            let address = listener
                .local_addr()
                .map_err(|source| NodeError::Io { doing: "find the address".to_owned(), source })?;
            let (counts, stopping) = (Counts::default(), CancellationToken::new());
            let routes = Calls::new(&config, counts.clone()).bound(routes);
            let (shown, full) = (tls.clone(), Class::Door("connections"));
            let door = Door { listener, slots, tls: shown, counts: counts.clone(), full };
            let serving = tokio::spawn(serve(door, routes, stopping.clone()));
            let shown = tls.clone();
            let look = move || {
                shown.iter().for_each(|tls| tls.look());
                counts.tell();
            };
            tokio::spawn(watched::every_now_and_then(look, stopping.clone()));
            Ok(Self { address, tls, stopping, serving })
        })
    }

    /// Its address for nodes; with the fingerprint of its certificate where nobody else vouches for that.
    pub fn url(&self) -> String {
        tls::url(self.tls.as_deref(), self.address)
    }

    /// The fingerprint of the certificate that it shows, if it shows one.
    pub fn fingerprint(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| tls.fingerprint().to_string())
    }

    /// Reads the files of its certificate anew, which it does by itself when they change. `false` if it has none.
    pub fn reload(&self) -> bool {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
        self.tls.is_some()
    }

    /// Stops: no new connections, and what was asked is answered.
    pub fn shutdown(self) -> BoxFuture<()> {
        Box::pin(async move {
            self.stopping.cancel();
            // A panic while serving has been reported by the runtime.
            let _ = self.serving.await;
        })
    }
}
