//! The connection that what is signed is bound to.

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connect::root_cause;
use crate::http::IDLE;
use crate::signed::Channel;
use crate::{Connector, NetError};

/// One connection at a time to one server, of HTTP/2, so that it does for all requests. A pool would keep several, or
/// make one more while another comes up, and never tells over which of them a request goes: what is signed for one
/// connection is not good on another.
pub(crate) struct Bound {
    connector: Connector,
    current: Mutex<Option<Connection>>,
}

/// What is asked over it is signed for its channel.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) requests: SendRequest<Full<Bytes>>,
    pub(crate) channel: Option<Channel>,
    used: Instant,
}

impl Bound {
    /// Of connections that speak HTTP/2.
    pub(crate) fn new(connector: Connector) -> Self {
        Self { connector, current: Mutex::default() }
    }

    /// The connection that there is, or another one if it has ended, or is so old that the server may just end it.
    /// Whoever comes while one is made waits for it.
    ///
    /// # Errors
    /// If the server is not reached, or speaks something else.
    pub(crate) async fn connection(&self) -> Result<Connection, NetError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &mut *current
            && !connection.requests.is_closed()
            && connection.used.elapsed() < IDLE
        {
            connection.used = Instant::now();
            return Ok(connection.clone());
        }
        *current = None;
        let stream = self.connector.clone().connect().await?;
        let (url, channel) = (self.connector.url().to_owned(), stream.channel());
        // A server that is gone without a word is noticed while it is asked something: the next one asks over another
        // connection.
        let handshake = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(IDLE)
            .keep_alive_timeout(IDLE)
            .handshake(stream);
        let (requests, driver) = handshake.await.map_err(|error| {
            let told = NetError::below(&url, &error);
            told.unwrap_or_else(|| NetError::Unreachable { url, reason: root_cause(&error) })
        })?;
        // It ends with the last request over it; whoever asks is told why.
        tokio::spawn(driver);
        let connection = Connection { requests, channel, used: Instant::now() };
        Ok(current.insert(connection).clone())
    }
}
