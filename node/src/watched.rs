//! Files that are read anew when they change.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

/// How often it is looked whether files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A file as it looks from outside: any of it differs once it was written anew. `None` where there is none.
pub(crate) type Look = Option<(SystemTime, u64)>;

/// How a file looks now.
pub(crate) fn look(path: &Path) -> Look {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len()))
}

/// Does something every now and then where it may block, until the node stops.
pub(crate) async fn every_now_and_then(
    look: impl Fn() + Clone + Send + 'static,
    stopping: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // The runtime is shutting down if this fails.
        if tokio::task::spawn_blocking(look.clone()).await.is_err() {
            return;
        }
    }
}
