//! The page at a node's own port: what the node says, without an own follower's proof. It is read as long as somebody
//! looks, once for all of them; a node at which nobody looks has nothing of it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, Version};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use colearn_node::{Mount, Shown};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::book::{Book, Kept};
use super::feed::{ended, stopped};
use super::serve::Page;
use super::view::{Connection, Place, Shared, Told, View};

/// Pages that are told of changes at a time: each has one of the few connections of that port.
const MAX_STREAMS: usize = 6;
/// What may be asked of the page at a time, besides these.
const MAX_ASKED: usize = 8;
/// What nobody has looked at for so long is let go of.
const UNSEEN: Duration = Duration::from_secs(60);
/// How often it is looked whether somebody does.
const LOOKED_FOR: Duration = Duration::from_secs(5);
/// How many entries are read at once: others wait so long for the view.
const AT_ONCE: u64 = 512;

/// What a node serves at its own port besides metrics and health.
pub(crate) fn page_of_node() -> Mount {
    let about = "/page/     experiments and rounds in a browser, as this node says them";
    Mount::new(about, |shown| match shown {
        Some(shown) => {
            let own = Own::new(shown, UNSEEN, LOOKED_FOR);
            let page = Page::new(move || own.clone().shared(), MAX_STREAMS);
            let at_once = Arc::new(Semaphore::new(MAX_ASKED));
            Router::new()
                .nest("/page/", page.routes())
                .route("/page", get(async || Redirect::permanent("/page/")))
                .layer(from_fn(move |request, next| bounded(at_once.clone(), request, next)))
        }
        None => {
            let told = "This node tells only whom --read says, and nobody is asked here who it is: so there is no \
                        page. Run colearn ui or colearn top with --key.\n";
            let refused = get(async move || (StatusCode::FORBIDDEN, told));
            Router::new().route("/page", refused.clone()).route("/page/", refused)
        }
    })
}

/// Answers are whole documents, and each lies here until it is read: one for a connection, and fewer than there are
/// connections, so that health and metrics are answered beside them.
async fn bounded(at_once: Arc<Semaphore>, request: Request, next: Next) -> Response {
    if request.version() == Version::HTTP_2 {
        let told = "the page is there by HTTP/1.1\n";
        return (StatusCode::HTTP_VERSION_NOT_SUPPORTED, told).into_response();
    }
    let Ok(_turn) = at_once.try_acquire() else {
        let told = "others are asking as much as may be asked at a time; ask again\n";
        return (StatusCode::SERVICE_UNAVAILABLE, told).into_response();
    };
    next.run(request).await
}

/// A ledger of this process.
trait Ledger: Kept {
    /// Its name.
    fn name(&self) -> String;
    /// How many entries may be shown.
    fn size(&self) -> u64;
    /// The checkpoint that counts them, as it was signed.
    fn checkpoint(&self) -> String;
    /// Resolves when there are more than so many; `false` when there will never be.
    fn grown(&self, beyond: u64) -> impl Future<Output = bool> + Send;
}

impl Kept for Shown {
    fn entries(&self, start: u64, count: u64) -> io::Result<Vec<Vec<u8>>> {
        Self::entries(self, start, start.saturating_add(count)).map_err(io::Error::other)
    }
}

impl Ledger for Shown {
    fn name(&self) -> String {
        Self::origin(self)
    }

    fn size(&self) -> u64 {
        Self::size(self)
    }

    fn checkpoint(&self) -> String {
        Self::checkpoint(self).unwrap_or_default()
    }

    async fn grown(&self, beyond: u64) -> bool {
        Self::grown(self, beyond).await
    }
}

/// A ledger that is read while somebody looks.
struct Own<L> {
    ledger: Arc<L>,
    /// It is let go of when nobody has looked for so long, which is looked for so often.
    unseen: Duration,
    looked_for: Duration,
    looked_at: Mutex<Option<LookedAt>>,
}

struct LookedAt {
    shared: Arc<Shared>,
    /// When somebody asked for it last.
    last: Instant,
}

impl<L: Ledger + 'static> Own<L> {
    fn new(ledger: L, unseen: Duration, looked_for: Duration) -> Arc<Self> {
        let (ledger, looked_at) = (Arc::new(ledger), Mutex::new(None));
        Arc::new(Self { ledger, unseen, looked_for, looked_at })
    }

    /// What is shown, for somebody who looks: it is there for as long as it is held.
    fn shared(self: Arc<Self>) -> Arc<Shared> {
        let mut looked_at = self.looked_at();
        if let Some(looked_at) = looked_at.as_mut() {
            looked_at.last = Instant::now();
            return looked_at.shared.clone();
        }
        let told = Told::of(Place::Own(self.ledger.name()), Default::default(), false);
        let shared = Arc::new(Shared::new(View::over(Book::of(self.ledger.clone()), told)));
        *looked_at = Some(LookedAt { shared: shared.clone(), last: Instant::now() });
        drop(looked_at);
        tokio::spawn(self.clone().follow(shared.clone()));
        shared
    }

    fn looked_at(&self) -> MutexGuard<'_, Option<LookedAt>> {
        self.looked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it at the ledger's end for as long as somebody looks, and the node runs.
    async fn follow(self: Arc<Self>, shared: Arc<Shared>) {
        tokio::select! {
            () = self.keep(&shared) => {}
            // There are never more: the node stops, and waits for none who look.
            _ = self.ledger.grown(u64::MAX) => shared.end(),
        }
    }

    async fn keep(&self, shared: &Arc<Shared>) {
        let mut is_over = false;
        while !self.let_go(shared) {
            if is_over {
                tokio::time::sleep(self.looked_for).await;
                continue;
            }
            let next = shared.read().book.size();
            let size = self.ledger.size();
            if next < size {
                if let Err(error) = self.take(shared, next, size).await {
                    // Such as too many open files: what was not read is read later.
                    if error.is::<io::Error>() {
                        tracing::warn!(%error, "the page's entries cannot be read; it is tried again");
                        tokio::time::sleep(self.looked_for).await;
                        continue;
                    }
                    is_over = true;
                    shared.change(|view| {
                        view.told.alarm = Some(stopped(&error));
                        ended(view);
                    });
                }
                continue;
            }
            if !matches!(shared.read().told.connection, Connection::Live) {
                shared.change(|view| view.told.connection = Connection::Live);
            }
            tokio::select! {
                more = self.ledger.grown(next) => if !more { return },
                () = tokio::time::sleep(self.looked_for) => {}
            }
        }
    }

    /// Reads some of the entries from `next` on, of `size` that there are.
    async fn take(&self, shared: &Arc<Shared>, next: u64, size: u64) -> anyhow::Result<()> {
        let (ledger, shared) = (self.ledger.clone(), shared.clone());
        let reading = move || {
            let entries = ledger.entries(next, AT_ONCE.min(size - next))?;
            let entries: Vec<Bytes> = entries.into_iter().map(Bytes::from).collect();
            let checkpoint = ledger.checkpoint();
            shared.change(|view| {
                view.take(&entries)?;
                view.told.checkpoint = checkpoint;
                if let Connection::Reading { size: of } = &mut view.told.connection {
                    *of = size;
                }
                Ok(())
            })
        };
        tokio::task::spawn_blocking(reading).await?
    }

    /// Whether nobody has looked for long. It is let go of then: whoever comes next begins anew.
    fn let_go(&self, shared: &Arc<Shared>) -> bool {
        let mut looked_at = self.looked_at();
        // Held here and where it is followed, and by everybody who looks.
        let is_seen = looked_at.as_ref().is_some_and(|it| it.last.elapsed() < self.unseen)
            || Arc::strong_count(shared) > 2;
        if !is_seen {
            *looked_at = None;
        }
        !is_seen
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::watch;

    /// A ledger that counts how often its first entry is read.
    struct Counting {
        entries: watch::Sender<Vec<Vec<u8>>>,
        begun: AtomicU64,
    }

    impl Kept for Arc<Counting> {
        fn entries(&self, start: u64, count: u64) -> io::Result<Vec<Vec<u8>>> {
            if start == 0 {
                self.begun.fetch_add(1, Ordering::SeqCst);
            }
            let entries = self.entries.borrow();
            Ok(entries.iter().skip(start as usize).take(count as usize).cloned().collect())
        }
    }

    impl Ledger for Arc<Counting> {
        fn name(&self) -> String {
            "colearn/test".to_owned()
        }

        fn size(&self) -> u64 {
            self.entries.borrow().len() as u64
        }

        fn checkpoint(&self) -> String {
            String::new()
        }

        async fn grown(&self, beyond: u64) -> bool {
            let mut entries = self.entries.subscribe();
            entries.wait_for(|entries| entries.len() as u64 > beyond).await.is_ok()
        }
    }

    fn genesis() -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frozen/v2");
        let mut source = colearn_audit::open(folder).unwrap();
        let first = colearn_audit::entries(&mut *source, 1).next().unwrap();
        first.unwrap().1
    }

    async fn read(shared: &Shared, size: u64) {
        let mut changes = shared.changes();
        while shared.read().book.size() < size
            || !matches!(shared.read().told.connection, Connection::Live)
        {
            changes.changed().await.unwrap();
        }
    }

    #[tokio::test]
    async fn it_is_read_once_for_all_who_look_and_let_go_of_when_nobody_does() {
        let (entries, begun) = (watch::Sender::new(vec![genesis()]), AtomicU64::new(0));
        let ledger = Arc::new(Counting { entries, begun });
        let own = Own::new(ledger.clone(), Duration::ZERO, Duration::from_millis(1));
        let begun = || ledger.begun.load(Ordering::SeqCst);
        tokio::task::yield_now().await;
        assert_eq!(begun(), 0, "nobody has looked");

        let (first, second) = (own.clone().shared(), own.clone().shared());
        assert!(Arc::ptr_eq(&first, &second));
        read(&first, 1).await;
        drop(second);
        assert_eq!(begun(), 1);
        // As long as one of them stays, however quietly, it is there; and no longer.
        assert!(!own.let_go(&first));
        assert!(Arc::ptr_eq(&first, &own.clone().shared()));
        let gone = Arc::downgrade(&first);
        drop(first);
        while gone.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        let again = own.clone().shared();
        read(&again, 1).await;
        assert_eq!(begun(), 2);

        // What cannot be followed is said, and it is over.
        let mut changes = again.changes();
        ledger.entries.send_modify(|entries| entries.push(b"no entry".to_vec()));
        while again.read().told.alarm.is_none() {
            changes.changed().await.unwrap();
        }
        assert_eq!(again.read().told.alarm.as_ref().unwrap().kind, "stopped");
        assert!(matches!(again.read().told.connection, Connection::Ended { .. }));
    }
}
