//! How many bytes of answers go out a second, and whose turn it is where more are wanted.
//!
//! There is one clock for all. As long as it is not behind nobody waits, and nobody is counted. Once it is, those who wait
//! take turns: each key, or each site, so that it gains nothing to ask for more at a time or from more addresses of one
//! network. Whatever goes out that waits for no turn, turns have half of the rate. (Start-time fair queuing, Goyal, Vin and Cheng 1996.)

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::peer::Peer;

/// For how long nobody can have sent less than may be sent at once.
const AHEAD: Duration = Duration::from_millis(100);
/// How far what waits for no turn lets the clock be behind.
const BEHIND: Duration = Duration::from_secs(1);

/// The bytes a second of one node; cheap to clone.
#[derive(Clone)]
pub(crate) struct Rates(Arc<Inner>);

struct Inner {
    bytes_per_second: NonZeroU64,
    state: Mutex<State>,
    /// Somebody waits.
    wanted: Notify,
}

struct State {
    /// Until when what was sent takes, at this rate.
    until: Instant,
    /// Until when the last turn takes at half of it: the next one waits no longer.
    half: Instant,
    /// The number of the next one who waits.
    next: u64,
    /// What whoever was served last had had before.
    reached: u64,
    /// Those who wait, and those who have had more than that.
    peers: BTreeMap<Peer, Queue>,
}

/// Whoever waits, in the order of coming.
#[derive(Default)]
struct Queue {
    /// How many bytes it has had, as far as that is remembered: no less than those who were served had.
    had: u64,
    /// A number for each, its bytes, and how it is told.
    waiting: VecDeque<(u64, usize, oneshot::Sender<Granted>)>,
}

/// A turn that has come; given back where it is not [taken](Granted::take).
struct Granted {
    rates: Rates,
    bytes: usize,
}

impl Granted {
    fn take(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if self.bytes > 0 {
            let takes = self.rates.takes(self.bytes);
            let mut state = self.rates.state();
            state.until = state.until.checked_sub(takes).unwrap_or(state.until);
            state.half = state.half.checked_sub(2 * takes).unwrap_or(state.half);
            drop(state);
            self.rates.0.wanted.notify_one();
        }
    }
}

/// A place among those who wait, until it is dropped.
struct Place {
    rates: Rates,
    peer: Peer,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.rates.state();
        if let Some(queue) = state.peers.get_mut(&self.peer) {
            queue.waiting.retain(|(number, ..)| *number != self.number);
        }
        state.forget();
    }
}

impl State {
    /// Nobody is remembered who has had no more than those who come.
    fn forget(&mut self) {
        let reached = self.reached;
        self.peers.retain(|_, queue| !queue.waiting.is_empty() || queue.had > reached);
    }

    /// When the next turn is.
    fn turn(&self) -> Instant {
        self.until.min(self.half)
    }

    fn is_waited_for(&self) -> bool {
        self.peers.values().any(|queue| !queue.waiting.is_empty())
    }

    /// Whoever of those who wait has had least.
    fn first(&mut self) -> Option<(usize, oneshot::Sender<Granted>)> {
        let waiting = self.peers.values_mut().filter(|queue| !queue.waiting.is_empty());
        let queue = waiting.min_by_key(|queue| queue.had)?;
        let (_, bytes, tell) = queue.waiting.pop_front()?;
        self.reached = queue.had;
        queue.had = queue.had.saturating_add(bytes as u64);
        self.forget();
        Some((bytes, tell))
    }
}

impl Rates {
    /// So many bytes a second. Called where a runtime runs.
    pub(crate) fn new(bytes_per_second: NonZeroU64) -> Self {
        let now = Instant::now();
        let state = State { until: now, half: now, next: 0, reached: 0, peers: BTreeMap::new() };
        let inner =
            Arc::new(Inner { bytes_per_second, state: Mutex::new(state), wanted: Notify::new() });
        let served = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                let Some(rates) = served.upgrade().map(Rates) else { return };
                let turn = rates.serve();
                // Not held while nothing is to be done: the last one who has it ends this.
                drop(rates);
                match turn {
                    Some(turn) => tokio::time::sleep_until(turn).await,
                    None => {
                        let Some(inner) = served.upgrade() else { return };
                        let _ = tokio::time::timeout(BEHIND, inner.wanted.notified()).await;
                    }
                }
            }
        });
        Self(inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.0.bytes_per_second.get() as f64)
    }

    /// Counts what goes out.
    fn count(&self, state: &mut State, bytes: usize) {
        state.until = state.until.max(ahead(Instant::now())) + self.takes(bytes);
    }

    /// Counts what goes out in its turn.
    fn grant(&self, state: &mut State, bytes: usize) {
        self.count(state, bytes);
        let now = Instant::now();
        // One turn at most is owed: who had more than half while it was free has half from then on all the same.
        state.half = state.half.clamp(ahead(now), now) + 2 * self.takes(bytes);
    }

    /// Counts a few bytes that wait for no turn.
    pub(crate) fn note(&self, bytes: usize) {
        let mut state = self.state();
        let before = state.until;
        self.count(&mut state, bytes);
        // What turns have left to be made up for is not forgiven.
        let most = before.max(Instant::now() + BEHIND.max(self.takes(bytes)));
        state.until = state.until.min(most);
    }

    /// Gives turns to those who wait, as long as it is time; until when the next one waits, if one does.
    fn serve(&self) -> Option<Instant> {
        loop {
            let mut state = self.state();
            let turn = state.turn();
            if turn > Instant::now() {
                return state.is_waited_for().then_some(turn);
            }
            let (bytes, tell) = state.first()?;
            self.grant(&mut state, bytes);
            drop(state);
            // Given back where nobody waits any more, and that without the lock.
            drop(tell.send(Granted { rates: self.clone(), bytes }));
        }
    }

    /// Counts so many bytes where nobody has to wait; whether that is so.
    pub(crate) fn try_turn(&self, bytes: usize) -> bool {
        let mut state = self.state();
        let is_free = state.until <= Instant::now() && !state.is_waited_for();
        if is_free {
            self.grant(&mut state, bytes);
            // There is enough again, whoever has had most.
            state.peers.clear();
        }
        is_free
    }

    /// Waits until it is the turn of a peer to be sent so many bytes.
    pub(crate) async fn turn(self, peer: Peer, bytes: usize) {
        let peer = peer.site();
        let (tell, told) = oneshot::channel();
        let _place = {
            let mut state = self.state();
            let (number, reached) = (state.next, state.reached);
            state.next += 1;
            let queue = state.peers.entry(peer).or_default();
            queue.had = queue.had.max(reached);
            queue.waiting.push_back((number, bytes, tell));
            Place { rates: self.clone(), peer, number }
        };
        self.0.wanted.notify_one();
        // Nobody is told only where the node ends.
        if let Ok(granted) = told.await {
            granted.take();
        }
    }
}

/// When what takes no time now can have begun at the earliest.
fn ahead(now: Instant) -> Instant {
    now.checked_sub(AHEAD).unwrap_or(now)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PIECE: usize = 64 << 10;

    fn rates(pieces_a_second: u64) -> Rates {
        Rates::new(NonZeroU64::new(pieces_a_second * PIECE as u64).unwrap())
    }

    fn at(text: &str) -> Peer {
        Peer::at(text.parse().unwrap())
    }

    /// Somebody who always wants more, with so many answers at a time; how many pieces it has had.
    fn greedy(rates: &Rates, peer: Peer, answers: usize) -> Arc<AtomicUsize> {
        let had = Arc::new(AtomicUsize::new(0));
        for _ in 0..answers {
            let (rates, had) = (rates.clone(), had.clone());
            tokio::spawn(async move {
                loop {
                    rates.clone().turn(peer, PIECE).await;
                    had.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        had
    }

    async fn pieces_after<const N: usize>(
        time: Duration,
        of: [&Arc<AtomicUsize>; N],
    ) -> [usize; N] {
        tokio::time::sleep(time).await;
        of.map(|it| it.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_more_at_a_time_or_from_more_networks_of_a_site_has_no_more() {
        let rates = rates(100);
        // One key with one answer; one address with 200; and a site with 50 networks, with 10 each.
        let one = greedy(&rates, Peer::with_key(colearn_contracts::LearnerId([1; 32])), 1);
        let many = greedy(&rates, at("10.0.0.1"), 200);
        let site: Vec<_> =
            (0..50).map(|at_| greedy(&rates, at(&format!("2001:db8:0:{at_:x}::1")), 10)).collect();
        let [one, many] = pieces_after(Duration::from_secs(30), [&one, &many]).await;
        let site: usize = site.iter().map(|it| it.load(Ordering::Relaxed)).sum();
        let all = one + many + site;
        assert!((2_900..=3_100).contains(&all), "{all}");
        for share in [one, many, site] {
            assert!((900..=1_100).contains(&share), "{one} {many} {site}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_those_who_wait_are_counted_and_who_is_alone_has_all() {
        let rates = rates(100);
        // Two hundred who ask for a piece a second each would be far more than there is; of them most have gone.
        for host in 0..200 {
            rates.clone().turn(at(&format!("10.0.1.{host}")), PIECE).await;
        }
        let alone = greedy(&rates, at("10.0.0.1"), 1);
        let [had] = pieces_after(Duration::from_secs(10), [&alone]).await;
        assert!((950..=1_050).contains(&had), "{had}");
        // Who comes again and again with one piece has no more than who stays.
        let again = greedy(&rates, at("10.0.0.2"), 1);
        let [had_again, now] = pieces_after(Duration::from_secs(10), [&again, &alone]).await;
        assert!((450..=550).contains(&had_again) && (450..=550).contains(&(now - had)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_remembered_where_there_is_enough() {
        let rates = rates(10);
        for host in 0..200 {
            rates.clone().turn(at(&format!("10.0.1.{host}")), PIECE).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(rates.try_turn(PIECE));
        assert!(rates.state().peers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_gives_the_turn_back_and_a_few_bytes_wait_for_nobody() {
        let rates = rates(10);
        assert!(rates.try_turn(PIECE));
        // A crowd that waits and goes leaves nothing that others wait for.
        let crowd: Vec<_> =
            (0..1_000).map(|_| tokio::spawn(rates.clone().turn(at("10.0.0.1"), PIECE))).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!rates.try_turn(1));
        for waiting in crowd {
            waiting.abort();
        }
        let begun = Instant::now();
        rates.clone().turn(at("10.0.0.2"), PIECE).await;
        assert!(begun.elapsed() <= Duration::from_millis(300), "{:?}", begun.elapsed());
        assert!(rates.state().peers.len() <= 1);
        // However many of them there are, what waits for no turn makes the others wait for a second.
        for _ in 0..10_000 {
            rates.note(8 << 10);
        }
        let begun = Instant::now();
        rates.clone().turn(at("10.0.0.2"), PIECE).await;
        assert!(begun.elapsed() <= BEHIND + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn turns_have_half_however_much_waits_for_none() {
        let rates = rates(100);
        let had = greedy(&rates, at("10.0.0.1"), 4);
        let [alone] = pieces_after(Duration::from_secs(10), [&had]).await;
        assert!((950..=1_050).contains(&alone), "{alone}");
        // More than there is, for ever.
        let noted = rates.clone();
        tokio::spawn(async move {
            loop {
                noted.note(8 << 10);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let [now] = pieces_after(Duration::from_secs(10), [&had]).await;
        assert!((450..=600).contains(&(now - alone)), "{}", now - alone);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_turn_left_to_make_up_for_is_not_forgiven() {
        let rates = rates(1);
        assert!(rates.try_turn(10 * PIECE));
        let owed = rates.state().until;
        rates.note(1);
        assert!(rates.state().until >= owed);
    }
}
