//! Connections: how many there may be, and for how long they may be of no use.
//!
//! What one address can have is bounded before what all can have together, or one could take it all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[cfg(unix)]
use crate::limits::DOWNLOADS;
use crate::peer::{Peer, site};

/// How long a connection may take until its first request: a handshake, and a head.
const UNTIL_FIRST: Duration = Duration::from_secs(20);
/// How long a connection may be open without a request.
const UNUSED: Duration = Duration::from_secs(300);
/// How many times what one peer may have one site may: a network of IPv6 of 48 bits.
const PEERS_OF_SITE: usize = 2;
/// Files that are not connections: the ledger, the index, the other nodes; and weights.
#[cfg(unix)]
const OTHER_FILES: usize = 128 + DOWNLOADS.of_all;

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
    /// What the next one is called: a later one has a higher number.
    next: u64,
    count: usize,
    by: HashMap<Peer, usize>,
    sites: HashMap<IpAddr, BTreeMap<u64, Held>>,
}

/// A connection that has room.
struct Held {
    peer: Peer,
    activity: Activity,
    hang_up: HangUp,
}

/// Ends a connection at once; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct HangUp(CancellationToken);

impl HangUp {
    /// Ends it.
    pub(crate) fn now(&self) {
        self.0.cancel();
    }

    /// Resolves when it is ended.
    pub(crate) async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether it is ended.
    #[cfg(test)]
    pub(crate) fn is_now(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Room for one connection, until it is dropped.
pub(crate) struct Slot {
    slots: Slots,
    site: IpAddr,
    number: u64,
    peer: Peer,
    activity: Activity,
    hang_up: HangUp,
}

impl Slot {
    /// Whose it is.
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// What it is used for.
    pub(crate) fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// What ends it.
    pub(crate) fn hang_up(&self) -> HangUp {
        self.hang_up.clone()
    }

    /// Resolves when it is to end at once.
    pub(crate) async fn is_hung_up(&self) {
        self.hang_up.wait().await;
    }
}

impl Slots {
    pub(crate) fn new(total: usize, each: usize) -> Self {
        Self(Arc::new(Inner { each, total, open: Mutex::default() }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are, and how many there may be.
    pub(crate) fn taken(&self) -> (usize, usize) {
        (self.open().count, self.0.total)
    }

    /// Room for a connection from this address, if there is some. Where all have taken all of it, those who have
    /// most make some.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Slot> {
        let (peer, site) = (Peer::at(address), site(address));
        let mut open = self.open();
        let of_peer = open.by.get(&peer).copied().unwrap_or_default();
        let of_site = open.sites.get(&site).map_or(0, BTreeMap::len);
        if of_peer >= self.0.each || of_site >= self.0.each.saturating_mul(PEERS_OF_SITE) {
            return None;
        }
        if open.count >= self.0.total {
            let (of, number) = open.least_missed(site, of_site)?;
            let ended = open.remove(of, number)?;
            tracing::debug!(?ended.peer, "a connection makes room for another");
            ended.hang_up.now();
        }
        open.next += 1;
        open.count += 1;
        *open.by.entry(peer).or_default() += 1;
        let number = open.next;
        let (activity, hang_up) = (Activity::begin(), HangUp::default());
        let held = Held { peer, activity: activity.clone(), hang_up: hang_up.clone() };
        open.sites.entry(site).or_default().insert(number, held);
        Some(Slot { slots: self.clone(), site, number, peer, activity, hang_up })
    }
}

impl Open {
    /// Of those who have most, the one connection that has been idle longest. Nobody makes room for somebody who
    /// has as many, but for themselves.
    fn least_missed(&self, newcomer: IpAddr, of_newcomer: usize) -> Option<(IpAddr, u64)> {
        let mut sites: Vec<_> = self
            .sites
            .iter()
            // One more would only change places.
            .filter(|(site, held)| **site == newcomer || held.len() > of_newcomer + 1)
            .collect();
        sites.sort_unstable_by_key(|(_, held)| Reverse(held.len()));
        sites.into_iter().find_map(|(site, held)| {
            let idle = held.iter().filter_map(|(number, held)| {
                held.activity.idle_since().map(|since| (since, *number))
            });
            idle.min().map(|(_, number)| (*site, number))
        })
    }

    fn remove(&mut self, site: IpAddr, number: u64) -> Option<Held> {
        let of_site = self.sites.get_mut(&site)?;
        let held = of_site.remove(&number)?;
        // Or addresses that were here once would be all that is left.
        if of_site.is_empty() {
            self.sites.remove(&site);
        }
        self.count = self.count.saturating_sub(1);
        if let Some(by) = self.by.get_mut(&held.peer) {
            *by -= 1;
            if *by == 0 {
                self.by.remove(&held.peer);
            }
        }
        Some(held)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.open().remove(self.site, self.number);
    }
}

/// What a connection is used for.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Mutex<Used>>);

struct Used {
    /// Requests whose answers have not ended.
    open: usize,
    /// Since when there is none, if there is none.
    since: Instant,
    /// How long there may be none.
    may: Duration,
}

/// A request, until its answer has ended.
pub(crate) struct Request(Activity);

impl Activity {
    pub(crate) fn begin() -> Self {
        Self(Arc::new(Mutex::new(Used { open: 0, since: Instant::now(), may: UNTIL_FIRST })))
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    pub(crate) fn request(&self) -> Request {
        self.used().open += 1;
        Request(self.clone())
    }

    /// Since when nothing is asked over it; `None` where something is.
    fn idle_since(&self) -> Option<Instant> {
        let used = self.used();
        (used.open == 0).then_some(used.since)
    }

    /// Resolves when it has been of no use for too long.
    pub(crate) async fn unused(&self) {
        loop {
            let until = {
                let used = self.used();
                let now = Instant::now();
                let until = used.since + used.may;
                match used.open {
                    0 if until <= now => return,
                    0 => until,
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
        (used.since, used.may) = (Instant::now(), UNUSED);
    }
}

/// The body of an answer, with which what was taken for it ends.
pub(crate) struct Counted<T> {
    body: Body,
    _taken: T,
}

impl<T> Counted<T> {
    pub(crate) fn new(body: Body, taken: T) -> Self {
        Self { body, _taken: taken }
    }
}

impl<T: Unpin> HttpBody for Counted<T> {
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
        let slots = Slots::new(7, 2);
        let from = |text: &str| slots.take(text.parse().unwrap());
        let (first, second) = (from("10.0.0.1").unwrap(), from("10.0.0.1").unwrap());
        assert!(from("10.0.0.1").is_none());
        let others = ["2001:db8::1", "2001:db8::2"].map(|it| from(it).unwrap());
        assert!(from("2001:db8::3").is_none());
        // Networks of one site have more than one of them, and not without end.
        let more = ["2001:db8:0:1::1", "2001:db8:0:2::1"].map(|it| from(it).unwrap());
        assert!(from("2001:db8:0:3::1").is_none());
        drop(first);
        assert!(from("10.0.0.1").is_some());
        drop((second, others, more));
        let open = slots.open();
        assert_eq!((open.count, open.by.len(), open.sites.len()), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_most_makes_room_with_what_is_idle_longest() {
        let slots = Slots::new(6, 4);
        let from = |text: &str| slots.take(text.parse().unwrap());
        let is_taken = |slot: &Slot| slot.hang_up.is_now();
        let mut many = Vec::new();
        for _ in 0..4 {
            many.push(from("10.0.0.1").unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let few = ["10.0.0.2", "10.0.0.3"].map(|it| from(it).unwrap());
        // The first is in use, and the second was just now.
        let _asked = many[0].activity().request();
        drop(many[1].activity().request());
        let newcomer = from("10.0.0.4").unwrap();
        assert_eq!(many.iter().map(is_taken).collect::<Vec<_>>(), [false, false, true, false]);
        let last = from("10.0.0.5").unwrap();
        assert!(is_taken(&many[3]) && !is_taken(&many[1]));
        let again = from("10.0.0.4").unwrap();
        // It would have as many as those who have most: it takes its own.
        assert!(!is_taken(&many[1]) && is_taken(&newcomer));
        // Whose room was taken gives none back.
        drop(many);
        assert_eq!(slots.open().count, 4);
        drop((few, newcomer, last, again));
        let open = slots.open();
        assert_eq!((open.count, open.by.len(), open.sites.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn nobody_makes_room_for_who_has_as_many() {
        let slots = Slots::new(4, 4);
        let from = |text: &str| slots.take(text.parse().unwrap());
        let one = [from("10.0.0.1").unwrap(), from("10.0.0.1").unwrap()];
        let other = [from("10.0.0.2").unwrap(), from("10.0.0.2").unwrap()];
        let asked: Vec<_> = other.iter().map(|slot| slot.activity().request()).collect();
        // Its own are in use, and others have no more.
        assert!(from("10.0.0.2").is_none());
        drop(asked);
        let _again = from("10.0.0.2").unwrap();
        assert!(other[0].hang_up.is_now() && !one[0].hang_up.is_now());
        // Networks of one site are one here.
        let slots = Slots::new(4, 4);
        let from = |text: &str| slots.take(text.parse().unwrap());
        let site = ["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"];
        let site = site.map(|it| from(it).unwrap());
        let (_two, _three) = (from("10.0.0.1").unwrap(), from("10.0.0.2").unwrap());
        assert!(site[0].hang_up.is_now());
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
