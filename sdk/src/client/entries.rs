//! An experiment's entries, as a node sends them.

use bytes::Bytes;
use colearn_proto::v1;
use tonic::Streaming;

use super::{BoxFuture, ClientError};

/// A stream of an experiment's entries, in order.
pub struct Entries {
    url: String,
    stream: Streaming<v1::WatchExperimentResponse>,
}

/// What comes next in a stream of entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Next {
    /// The entry's bytes; `None` says that there is nothing more for now.
    pub entry: Option<Bytes>,
    /// The index from which a broken stream is to be opened again.
    pub next: u64,
}

impl Entries {
    pub(super) fn new(url: String, stream: Streaming<v1::WatchExperimentResponse>) -> Self {
        Self { url, stream }
    }

    /// What comes next, as soon as it is there.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when the stream ends or breaks: open it again.
    pub fn next<'a>(&'a mut self) -> BoxFuture<'a, Result<Next, ClientError>> {
        Box::pin(async move {
            let message = self.stream.message().await;
            let message = message.map_err(|status| ClientError::from_status(&self.url, &status))?;
            let ended = || ClientError::Unreachable {
                url: self.url.clone(),
                reason: "the stream ended".to_owned(),
            };
            let v1::WatchExperimentResponse { entry, next } = message.ok_or_else(ended)?;
            Ok(Next { entry, next })
        })
    }
}
