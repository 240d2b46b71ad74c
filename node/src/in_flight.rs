//! Bytes on their way to those who read.
//!
//! What an answer is made of stays in memory until it is sent, and who does not read lets it lie there. So an
//! answer is gone on with only as long as little of it lies there: of its own, of all that its peer asks for, and
//! of all that anybody does. Whoever reads nothing for long is hung up on, however small the answer is: what lies here, and
//! the places that it takes, go only with its connection.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::door::connections::HangUp;
use crate::limits::{
    FREE_BYTES, IN_FLIGHT_BYTES, IN_FLIGHT_BYTES_OF_ANSWER, IN_FLIGHT_BYTES_OF_PEER,
    READER_PATIENCE,
};
use crate::peer::Peer;
use crate::rates::Rates;

/// Has all answers of these routes bounded together. Called where a runtime runs.
pub(crate) fn bounded(routes: Router, rates: Option<Rates>) -> Router {
    bounded_within(routes, rates, READER_PATIENCE)
}

/// The same, where an answer may lie for so long.
pub(crate) fn bounded_within(routes: Router, rates: Option<Rates>, patience: Duration) -> Router {
    routes.layer(from_fn_with_state(InFlight::new(rates, patience), bound))
}

async fn bound(State(in_flight): State<InFlight>, request: Request, next: Next) -> Response {
    let peer = Peer::of(request.extensions());
    let hang_up = request.extensions().get::<HangUp>().cloned();
    let response = next.run(request).await;
    response.map(|body| Body::new(in_flight.answer(peer, hang_up, body)))
}

/// What is on its way from one node.
#[derive(Clone)]
struct InFlight(Arc<Inner>);

struct Inner {
    /// How many bytes go out a second, where that is bounded.
    rates: Option<Rates>,
    node: Arc<Semaphore>,
    peers: Mutex<HashMap<Peer, Weak<Semaphore>>>,
    answers: Mutex<Vec<Weak<Answer>>>,
    takers: Mutex<Vec<Weak<Taker>>>,
}

impl InFlight {
    fn new(rates: Option<Rates>, patience: Duration) -> Self {
        let inner = Arc::new(Inner {
            rates,
            node: Arc::new(Semaphore::new(IN_FLIGHT_BYTES)),
            peers: Mutex::default(),
            answers: Mutex::default(),
            takers: Mutex::default(),
        });
        let looked_after = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(patience / 6).await;
                let Some(inner) = looked_after.upgrade() else { return };
                lock(&inner.answers).retain(|answer| {
                    answer.upgrade().inspect(|answer| answer.give_up_after(patience)).is_some()
                });
                lock(&inner.takers).retain(|taker| {
                    taker.upgrade().inspect(|taker| taker.give_up_after(patience)).is_some()
                });
                lock(&inner.peers).retain(|_, all| all.strong_count() > 0);
            }
        });
        Self(inner)
    }

    fn answer(&self, peer: Peer, hang_up: Option<HangUp>, body: Body) -> Bounded {
        let in_flight = self.clone();
        let taker = Taker::begin(hang_up);
        lock(&self.0.takers).push(Arc::downgrade(&taker));
        Bounded { in_flight, peer, taker, body, answer: None, begun: false, next: None }
    }

    /// Counts an answer that is more than a few bytes.
    fn count(&self, peer: Peer, taker: &Taker) -> Arc<Answer> {
        let answer = Arc::new(Answer {
            hang_up: taker.hang_up.clone(),
            own: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_OF_ANSWER)),
            peer: peer.is_known().then(|| self.all_of(peer)),
            node: self.0.node.clone(),
            state: Mutex::new(Unread {
                bytes: 0,
                shared: 0,
                since: Instant::now(),
                given_up: false,
            }),
        });
        lock(&self.0.answers).push(Arc::downgrade(&answer));
        answer
    }

    fn all_of(&self, peer: Peer) -> Arc<Semaphore> {
        let mut peers = lock(&self.0.peers);
        if let Some(all) = peers.get(&peer).and_then(Weak::upgrade) {
            return all;
        }
        let all = Arc::new(Semaphore::new(IN_FLIGHT_BYTES_OF_PEER));
        peers.insert(peer, Arc::downgrade(&all));
        all
    }
}

/// Whoever an answer is for, and whether it is taken. An answer is asked for a piece at a time, and only when there is a
/// window for it (HTTP/2) or the one before is on its way (HTTP/1.1): so one that is not asked for is not taken.
struct Taker {
    /// Ends the connection.
    hang_up: Option<HangUp>,
    state: Mutex<Taken>,
}

struct Taken {
    /// Whether it is the other end's turn: something was made, or there was nothing yet, and no more is asked for.
    is_offered: bool,
    /// How many pieces that are not counted lie here.
    lying: usize,
    /// When that was last otherwise.
    since: Instant,
}

impl Taker {
    fn begin(hang_up: Option<HangUp>) -> Arc<Self> {
        let state = Taken { is_offered: true, lying: 0, since: Instant::now() };
        Arc::new(Self { hang_up, state: Mutex::new(state) })
    }

    /// Whether the next step is the other end's.
    fn offers(&self, is_offered: bool) {
        let mut taken = lock(&self.state);
        (taken.is_offered, taken.since) = (is_offered, Instant::now());
    }

    /// What is not counted, and is known to lie here all the same until it is sent.
    fn free(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        lock(&self.state).lying += 1;
        Bytes::from_owner(Free { bytes, taker: self.clone() })
    }

    fn give_up_after(&self, patience: Duration) {
        let taken = lock(&self.state);
        if (taken.is_offered || taken.lying > 0)
            && taken.since.elapsed() >= patience
            && let Some(hang_up) = &self.hang_up
        {
            tracing::debug!("an answer that nobody takes is given up");
            hang_up.now();
        }
    }
}

/// A few bytes that are not counted.
struct Free {
    bytes: Bytes,
    taker: Arc<Taker>,
}

impl AsRef<[u8]> for Free {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        let mut taken = lock(&self.taker.state);
        taken.lying -= 1;
        taken.since = Instant::now();
    }
}

/// One answer on its way.
struct Answer {
    /// Ends its connection.
    hang_up: Option<HangUp>,
    own: Arc<Semaphore>,
    /// What all answers to its peer have, where that is known.
    peer: Option<Arc<Semaphore>>,
    node: Arc<Semaphore>,
    state: Mutex<Unread>,
}

struct Unread {
    bytes: usize,
    /// What of that is counted with the answers of others.
    shared: usize,
    /// When some of it was last taken, or it began to lie there.
    since: Instant,
    /// It is not counted any more.
    given_up: bool,
}

impl Answer {
    fn shared(&self) -> impl Iterator<Item = &Arc<Semaphore>> {
        self.peer.iter().chain([&self.node])
    }

    /// What else of its own there would be, if nothing else of it were on its way.
    fn rest(bytes: u32) -> u32 {
        IN_FLIGHT_BYTES_OF_ANSWER as u32 - bytes
    }

    /// Takes room for so many bytes, if there is some.
    fn try_take(self: &Arc<Self>, bytes: u32) -> Option<Room> {
        let own = self.own.clone().try_acquire_many_owned(bytes).ok()?;
        let shared: Result<Vec<_>, _> =
            self.shared().map(|of| of.clone().try_acquire_many_owned(bytes)).collect();
        match shared {
            Ok(shared) => Some(self.took(bytes, own, shared)),
            Err(_) => {
                let _rest = self.own.try_acquire_many(Self::rest(bytes)).ok()?;
                Some(self.took(bytes, own, Vec::new()))
            }
        }
    }

    /// Waits for room. One piece of each answer waits for no other answer: it is made, and lies in memory whether
    /// it is sent or not; so nobody who reads is held up by those who do not. It fails if whoever reads this is
    /// given up.
    async fn take(self: Arc<Self>, bytes: u32) -> Result<Room, AcquireError> {
        let own = self.own.clone().acquire_many_owned(bytes).await?;
        let shared = async {
            let mut taken = Vec::with_capacity(2);
            for of in self.shared() {
                taken.push(of.clone().acquire_many_owned(bytes).await?);
            }
            Ok::<_, AcquireError>(taken)
        };
        let shared = tokio::select! {
            biased;
            shared = shared => shared?,
            alone = self.own.acquire_many(Self::rest(bytes)) => alone.map(|_| Vec::new())?,
        };
        Ok(self.took(bytes, own, shared))
    }

    fn took(
        self: &Arc<Self>,
        bytes: u32,
        own: OwnedSemaphorePermit,
        shared: Vec<OwnedSemaphorePermit>,
    ) -> Room {
        let bytes = bytes as usize;
        let room = Room { bytes, is_shared: !shared.is_empty(), answer: self.clone() };
        let mut unread = lock(&self.state);
        if unread.given_up {
            return room;
        }
        if unread.bytes == 0 {
            unread.since = Instant::now();
        }
        unread.bytes += bytes;
        unread.shared += if room.is_shared { bytes } else { 0 };
        own.forget();
        shared.into_iter().for_each(OwnedSemaphorePermit::forget);
        drop(unread);
        room
    }

    /// Ends it, and its connection, if nothing of it was taken for so long. It keeps nobody else from anything even
    /// before that has gone.
    fn give_up_after(&self, patience: Duration) {
        let mut unread = lock(&self.state);
        if unread.given_up || unread.bytes == 0 || unread.since.elapsed() < patience {
            return;
        }
        unread.given_up = true;
        self.shared().for_each(|of| of.add_permits(unread.shared));
        self.own.close();
        tracing::debug!(bytes = unread.bytes, "an answer that nobody reads is given up");
        if let Some(hang_up) = &self.hang_up {
            hang_up.now();
        }
    }
}

/// Room that a piece takes until it is sent, or nobody waits for it any more.
struct Room {
    bytes: usize,
    is_shared: bool,
    answer: Arc<Answer>,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut unread = lock(&self.answer.state);
        if unread.given_up {
            return;
        }
        unread.bytes -= self.bytes;
        unread.since = Instant::now();
        self.answer.own.add_permits(self.bytes);
        if self.is_shared {
            unread.shared -= self.bytes;
            self.answer.shared().for_each(|of| of.add_permits(self.bytes));
        }
    }
}

/// A piece of an answer, with its room.
struct Piece {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

type Taking = Pin<Box<dyn Future<Output = Result<Room, AcquireError>> + Send>>;

/// A body that is gone on with when there is room.
struct Bounded {
    in_flight: InFlight,
    peer: Peer,
    taker: Arc<Taker>,
    body: Body,
    answer: Option<Arc<Answer>>,
    /// Whether something was sent. The first few bytes are free: most answers have no more.
    begun: bool,
    /// A piece that waits for room.
    next: Option<(Bytes, Taking)>,
}

/// Why an answer ends early.
#[derive(Debug, thiserror::Error)]
#[error("nothing of the answer was read for {} s", READER_PATIENCE.as_secs())]
struct NotRead;

impl Drop for Bounded {
    fn drop(&mut self) {
        // What was not asked for before will not be. What still lies here is known by itself.
        self.taker.offers(false);
    }
}

impl Bounded {
    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self;
        if this.next.is_none() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            let bytes = match frame.into_data() {
                Ok(bytes) => bytes,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            };
            let is_free = !std::mem::replace(&mut this.begun, true) && bytes.len() <= FREE_BYTES;
            if bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let rates = this.in_flight.0.rates.as_ref();
            if is_free {
                rates.inspect(|rates| rates.note(bytes.len()));
                return Poll::Ready(Some(Ok(Frame::data(this.taker.free(bytes)))));
            }
            let answer =
                this.answer.get_or_insert_with(|| this.in_flight.count(this.peer, &this.taker));
            let count = counted(&bytes);
            // Before there is room for it: what waits for its turn is not what somebody does not read.
            let waits = match bytes.len() <= FREE_BYTES {
                // Receipts of a stream, news: they wait behind no download.
                true => {
                    rates.inspect(|rates| rates.note(bytes.len()));
                    None
                }
                false => rates.filter(|rates| !rates.try_turn(bytes.len())).cloned(),
            };
            if waits.is_none()
                && let Some(room) = answer.try_take(count)
            {
                return Poll::Ready(Some(Ok(piece(bytes, room))));
            }
            let (answer, peer, length) = (answer.clone(), this.peer, bytes.len());
            let taking = async move {
                if let Some(rates) = waits {
                    rates.turn(peer, length).await;
                }
                answer.take(count).await
            };
            this.next = Some((bytes, Box::pin(taking)));
        }
        let Some((_, taking)) = &mut this.next else { return Poll::Ready(None) };
        let taken = ready!(taking.as_mut().poll(context));
        match (taken, this.next.take()) {
            (Ok(room), Some((bytes, _))) => Poll::Ready(Some(Ok(piece(bytes, room)))),
            _ => Poll::Ready(Some(Err(axum::Error::new(NotRead)))),
        }
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = self.poll_next(context);
        // What there is not yet is waited for here, and not at the other end.
        self.taker.offers(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.next {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

/// What a piece counts as: one that is larger than all that may be on its way waits until nothing is.
fn counted(bytes: &Bytes) -> u32 {
    bytes.len().min(IN_FLIGHT_BYTES_OF_ANSWER) as u32
}

fn piece(bytes: Bytes, room: Room) -> Frame<Bytes> {
    Frame::data(Bytes::from_owner(Piece { bytes, _room: room }))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const CHUNK: usize = 64 << 10;

    /// What is made without end.
    fn endless() -> Body {
        let chunk = Bytes::from(vec![7; CHUNK]);
        Body::from_stream(futures_util::stream::repeat_with(move || {
            Ok::<_, NotRead>(chunk.clone())
        }))
    }

    async fn next(body: &mut Bounded) -> Option<Result<Bytes, axum::Error>> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
    }

    /// As much as is given at once.
    async fn unread(body: &mut Bounded) -> Vec<Bytes> {
        let mut unread = Vec::new();
        loop {
            let frame =
                poll_fn(|context| Poll::Ready(Pin::new(&mut *body).poll_frame(context))).await;
            match frame {
                Poll::Ready(Some(Ok(frame))) => unread.push(frame.into_data().unwrap()),
                Poll::Ready(_) => panic!("it has ended"),
                Poll::Pending => return unread,
            }
        }
    }

    fn peer(number: u8) -> Peer {
        Peer::at([10, 0, 0, number].into())
    }

    #[tokio::test]
    async fn what_nobody_reads_is_bounded_for_an_answer_a_peer_and_the_node() {
        let in_flight = InFlight::new(None, READER_PATIENCE);
        let of_answer = IN_FLIGHT_BYTES_OF_ANSWER / CHUNK;
        let mut all = Vec::new();
        let mut begin = async |number| {
            let mut body = in_flight.answer(peer(number), None, endless());
            let unread = unread(&mut body).await;
            let count = unread.len();
            all.push((body, unread));
            count
        };
        assert_eq!(begin(0).await, of_answer);
        let answers = IN_FLIGHT_BYTES_OF_PEER / IN_FLIGHT_BYTES_OF_ANSWER;
        for _ in 1..answers {
            assert_eq!(begin(0).await, of_answer);
        }
        // One piece of each comes through all the same.
        assert_eq!(begin(0).await, 1);
        for number in 1..(IN_FLIGHT_BYTES / IN_FLIGHT_BYTES_OF_PEER) as u8 {
            for _ in 0..answers {
                assert_eq!(begin(number).await, of_answer);
            }
        }
        assert_eq!(begin(200).await, 1);
        // A few bytes always come through.
        let mut small = in_flight.answer(peer(200), None, Body::from("ok"));
        assert_eq!(next(&mut small).await.unwrap().unwrap(), "ok");
        // What is read makes room for the others.
        let (_, mut last) = all.pop().unwrap();
        assert_eq!(last.len(), 1);
        let (mut body, _) = all.remove(0);
        last.extend(unread(&mut body).await);
        assert!(last.len() > 1);
        drop((body, last, all));
        assert_eq!(in_flight.0.node.available_permits(), IN_FLIGHT_BYTES);
    }

    #[tokio::test]
    async fn who_reads_nothing_is_given_up_and_who_waits_for_news_is_not() {
        let patience = Duration::from_millis(60);
        let in_flight = InFlight::new(None, patience);
        let (hung_up, goes_on) = (HangUp::default(), HangUp::default());
        let mut stalled = in_flight.answer(peer(1), Some(hung_up.clone()), endless());
        let lying = unread(&mut stalled).await;
        // Has read all that there is so far.
        let (sender, news) = tokio::sync::mpsc::channel::<Result<Bytes, NotRead>>(1);
        let stream = tokio_stream::wrappers::ReceiverStream::new(news);
        let mut waiting =
            in_flight.answer(peer(2), Some(goes_on.clone()), Body::from_stream(stream));
        for _ in 0..2 {
            sender.send(Ok(Bytes::from(vec![1; CHUNK]))).await.unwrap();
            next(&mut waiting).await.unwrap().unwrap();
        }
        assert!(unread(&mut waiting).await.is_empty());
        let ended = next(&mut stalled).await.unwrap().unwrap_err();
        assert!(hung_up.is_now() && !goes_on.is_now());
        assert!(ended.to_string().contains("was read"), "{ended}");
        // It is in nobody's way, though it still lies there; and it is given back once.
        assert_eq!(in_flight.0.node.available_permits(), IN_FLIGHT_BYTES);
        drop((lying, stalled));
        assert_eq!(in_flight.0.node.available_permits(), IN_FLIGHT_BYTES);
        sender.send(Ok(Bytes::from(vec![1; CHUNK]))).await.unwrap();
        next(&mut waiting).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn few_bytes_that_nobody_takes_are_given_up_and_news_are_waited_for() {
        let patience = Duration::from_millis(60);
        let in_flight = InFlight::new(None, patience);
        let answer = |body| {
            let hang_up = HangUp::default();
            (in_flight.answer(peer(1), Some(hang_up.clone()), body), hang_up)
        };
        // Nobody asks for it; nobody takes it, although the answer has ended; and what is asked for and is not there yet.
        let (_unasked, of_unasked) = answer(Body::from("ok"));
        let (mut ended, of_ended) = answer(Body::from("ok"));
        let _lying = next(&mut ended).await.unwrap().unwrap();
        drop(ended);
        let (mut taken, of_taken) = answer(Body::from("ok"));
        drop(next(&mut taken).await.unwrap().unwrap());
        drop(taken);
        let (mut waiting, of_waiting) =
            answer(Body::from_stream(futures_util::stream::pending::<Result<Bytes, NotRead>>()));
        assert!(unread(&mut waiting).await.is_empty());
        of_unasked.wait().await;
        of_ended.wait().await;
        assert!(!of_taken.is_now() && !of_waiting.is_now());
    }

    #[tokio::test]
    async fn a_piece_that_is_larger_than_all_that_may_be_unread_comes_alone() {
        let in_flight = InFlight::new(None, READER_PATIENCE);
        let large = Bytes::from(vec![1; 3 * IN_FLIGHT_BYTES_OF_ANSWER]);
        let twice =
            futures_util::stream::iter([large.clone(), large.clone()].map(Ok::<_, NotRead>));
        let mut body = in_flight.answer(peer(1), None, Body::from_stream(twice));
        let first = unread(&mut body).await;
        assert!(first.len() == 1 && first[0] == large);
        drop(first);
        assert_eq!(next(&mut body).await.unwrap().unwrap(), large);
        assert!(next(&mut body).await.is_none());
    }
}
