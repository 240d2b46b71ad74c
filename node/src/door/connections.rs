//! Connections: how many there may be, and for how long they may be of no use.
//!
//! What one address can have is bounded before what all can have together, or one could take it all.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::time::Instant;

use crate::peer::Peer;

/// How long a connection may take until its first request: a handshake, and a head.
const UNTIL_FIRST: Duration = Duration::from_secs(20);
/// How long a connection may be open without a request.
const UNUSED: Duration = Duration::from_secs(300);
/// Files that are not connections: the ledger, the index, weights, the other nodes.
#[cfg(unix)]
const OTHER_FILES: usize = 128;

/// How many connections there may be: no more than this process may have files.
pub(crate) fn within_files(asked: usize) -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted = asked.saturating_add(OTHER_FILES) as u64;
        let most = maximum.unwrap_or(u64::MAX);
        let mut may = current.unwrap_or(u64::MAX);
        if may < wanted {
            let more = wanted.min(most);
            // The soft limit is there for programs that cannot do with more; this one can.
            if setrlimit(Resource::Nofile, Rlimit { current: Some(more), maximum }).is_ok() {
                may = more;
            }
        }
        if may < wanted {
            // Even where there are few, half of them are left for the rest.
            let few = usize::try_from(may).unwrap_or(usize::MAX);
            let can = few.saturating_sub(OTHER_FILES).max(few / 2).min(asked);
            tracing::warn!(
                can,
                asked,
                "this process may have too few files for as many connections; raise its limit (ulimit -n)"
            );
            return can;
        }
    }
    asked
}

/// Room for connections.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Inner>);

struct Inner {
    each: usize,
    total: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    count: usize,
    by: HashMap<Peer, usize>,
}

/// Room for one connection, until it is dropped.
pub(crate) struct Slot {
    slots: Slots,
    peer: Peer,
}

impl Slots {
    pub(crate) fn new(total: usize, each: usize) -> Self {
        Self(Arc::new(Inner { each, total, open: Mutex::default() }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a connection of theirs, if there is some.
    pub(crate) fn take(&self, peer: Peer) -> Option<Slot> {
        let mut open = self.open();
        if open.count >= self.0.total {
            return None;
        }
        if open.by.get(&peer).is_some_and(|by| *by >= self.0.each) {
            return None;
        }
        *open.by.entry(peer).or_default() += 1;
        open.count += 1;
        Some(Slot { slots: self.clone(), peer })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        open.count = open.count.saturating_sub(1);
        if let Some(by) = open.by.get_mut(&self.peer) {
            *by -= 1;
            // Or addresses that were here once would be all that is left.
            if *by == 0 {
                open.by.remove(&self.peer);
            }
        }
    }
}

/// What a connection is used for.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Mutex<Used>>);

struct Used {
    /// Requests whose answers have not ended.
    open: usize,
    /// When it is too long that there was none.
    until: Instant,
}

/// A request, until its answer has ended.
pub(crate) struct Request(Activity);

impl Activity {
    pub(crate) fn begin() -> Self {
        Self(Arc::new(Mutex::new(Used { open: 0, until: Instant::now() + UNTIL_FIRST })))
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    pub(crate) fn request(&self) -> Request {
        self.used().open += 1;
        Request(self.clone())
    }

    /// Resolves when it has been of no use for too long.
    pub(crate) async fn unused(&self) {
        loop {
            let until = {
                let used = self.used();
                let now = Instant::now();
                match used.open {
                    0 if used.until <= now => return,
                    0 => used.until,
                    // It is looked at again when it could have been unused for long at the earliest.
                    _ => now + UNUSED,
                }
            };
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut used = self.0.used();
        used.open = used.open.saturating_sub(1);
        used.until = Instant::now() + UNUSED;
    }
}

/// The body of an answer, with which the request ends.
pub(crate) struct Counted {
    body: Body,
    _request: Request,
}

impl Counted {
    pub(crate) fn new(body: Body, request: Request) -> Self {
        Self { body, _request: request }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_share_and_no_more() {
        let slots = Slots::new(5, 2);
        let from = |text: &str| slots.take(Peer::at(text.parse().unwrap()));
        let (first, second) = (from("10.0.0.1").unwrap(), from("10.0.0.1").unwrap());
        assert!(from("10.0.0.1").is_none());
        let others = ["2001:db8::1", "2001:db8::2"].map(|it| from(it).unwrap());
        assert!(from("2001:db8::3").is_none());
        let last = from("2001:db8:0:1::1").unwrap();
        assert!(from("10.0.0.2").is_none(), "there is no room for anybody");
        drop(first);
        assert!(from("10.0.0.1").is_some());
        drop((second, others, last));
        let open = slots.open();
        assert_eq!((open.count, open.by.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_of_no_use_ends_and_what_is_used_does_not() {
        let began = Instant::now();
        Activity::begin().unused().await;
        assert_eq!(began.elapsed(), UNTIL_FIRST);

        let activity = Activity::begin();
        let request = activity.request();
        let watched = activity.clone();
        let ended = tokio::spawn(async move { watched.unused().await });
        tokio::time::sleep(10 * UNUSED).await;
        assert!(!ended.is_finished());
        let last = Instant::now();
        drop(request);
        ended.await.unwrap();
        assert!((UNUSED..=2 * UNUSED).contains(&last.elapsed()));
    }
}
