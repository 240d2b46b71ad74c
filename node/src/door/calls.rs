//! Calls: how many may be open, how often somebody may ask, and how long what is asked may take to come.
//!
//! What one peer can have is bounded before what all can have together, or one could take it all.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::connections::Counted;
use super::refusing::{is_grpc, refused};
use super::who::WORD;
use crate::config::Config;
use crate::limits::{
    BODY_TIME, CALLS_AHEAD, CALLS_OF_ALL, DOWNLOADS, LOOKS, LOOKS_OF_ADDRESS, OPEN_CALLS, READS,
    SUBMISSION_STREAMS, SUBMISSION_TIME, SUBMISSIONS, Share, TURN_PATIENCE, UPLOAD_CALLS, WORDS,
};
use crate::metrics::{Class, Counts};
use crate::peer::Peer;

/// What a call takes of a node, and how long, differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Submission,
    SubmissionStream,
    Upload,
    Download,
    Watch,
    Read,
    /// What everybody may ask, whoever else has to say who it is.
    Open,
    /// A node's word for how far it is, which the others wait for.
    Word,
}

impl Kind {
    /// `None` for what costs nothing, and is asked by those who look whether the node is well.
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/healthz" => return None,
            "/colearn.v1.CoordinatorService/Submit" => Self::Submission,
            "/colearn.v1.CoordinatorService/SubmitStream" => Self::SubmissionStream,
            "/colearn.v1.CoordinatorService/WatchExperiment"
            | "/colearn.v1.LedgerService/Subscribe" => Self::Watch,
            "/colearn.v1.LedgerService/GetLedger" | "/checkpoint" => Self::Open,
            path if path.starts_with("/grpc.") => Self::Open,
            path if path.starts_with(WORD) => Self::Word,
            "/colearn.v1.ArtifactService/UploadArtifact" => Self::Upload,
            "/colearn.v1.ArtifactService/DownloadArtifact" => Self::Download,
            path if path.starts_with("/artifact/") => Self::Download,
            _ => Self::Read,
        })
    }

    /// Whether what is asked comes as whoever asks likes.
    fn is_streamed(self) -> bool {
        match self {
            Self::SubmissionStream | Self::Upload => true,
            Self::Submission
            | Self::Download
            | Self::Watch
            | Self::Read
            | Self::Open
            | Self::Word => false,
        }
    }

    /// Whether it is counted how often it is asked. Submissions wait in the ledger's queue, which is bounded, and
    /// uploads have places of their own.
    fn is_paced(self) -> bool {
        match self {
            Self::Submission | Self::SubmissionStream | Self::Upload => false,
            Self::Download | Self::Watch | Self::Read | Self::Open | Self::Word => true,
        }
    }
}

/// Why a call is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum TooMuch {
    #[error(
        "one peer may have {most} {what} open at a time{changed_by}; end one, or try again in a moment"
    )]
    OfPeer { what: &'static str, most: usize, changed_by: &'static str },
    #[error(
        "the node has {most} {what} open, and no more at a time{changed_by}; try again in a moment"
    )]
    OfAll { what: &'static str, most: usize, changed_by: &'static str },
    #[error(
        "one peer may ask {0} times a second (--max-calls-per-second); try again in a moment, and ask one thing \
         after the other"
    )]
    OftenByPeer(u32),
    #[error(
        "the node answers {0} calls a second ({CALLS_OF_ALL} times --max-calls-per-second), and others ask too; try \
         again in a moment"
    )]
    OftenByAll(u32),
    #[error("what is asked has not come whole within {} s", .0.as_secs())]
    Slow(Duration),
}

impl TooMuch {
    /// What it is counted as.
    fn class(self) -> Class {
        Class::Door(match self {
            Self::OfPeer { .. } => "calls_of_peer",
            Self::OfAll { .. } => "calls_of_all",
            Self::OftenByPeer(_) => "rate_of_peer",
            Self::OftenByAll(_) => "rate_of_all",
            Self::Slow(_) => "slow",
        })
    }
}

impl From<TooMuch> for Status {
    fn from(too_much: TooMuch) -> Self {
        let code = match too_much {
            TooMuch::Slow(_) => Code::Aborted,
            TooMuch::OfPeer { .. }
            | TooMuch::OfAll { .. }
            | TooMuch::OftenByPeer(_)
            | TooMuch::OftenByAll(_) => Code::ResourceExhausted,
        };
        Self::new(code, too_much.to_string())
    }
}

/// What all calls of a node may have together; cheap to clone.
#[derive(Clone)]
pub(crate) struct Calls(Arc<Inner>);

struct Inner {
    submissions: Places,
    submission_streams: Places,
    uploads: Places,
    downloads: Places,
    watches: Places,
    reads: Places,
    open: Places,
    words: Places,
    looks: Places,
    paces: Paces,
    look_paces: Paces,
    counts: Counts,
    body_time: Duration,
    submission_time: Duration,
}

impl Calls {
    pub(crate) fn new(config: &Config, counts: Counts) -> Self {
        let watches = Share { of_peer: config.watchers_per_address, of_all: config.max_watchers };
        Self(Arc::new(Inner {
            submissions: Places::new("submissions", SUBMISSIONS),
            submission_streams: Places::new("streams of submissions", SUBMISSION_STREAMS),
            uploads: Places::new("uploads", UPLOAD_CALLS),
            downloads: Places::new("downloads", DOWNLOADS),
            watches: Places {
                peers_changed_by: " (--max-watchers-per-address)",
                changed_by: " (--max-watchers)",
                ..Places::new("followers and watchers", watches)
            },
            reads: Places::new("calls", READS),
            open: Places::new("calls that everybody may make", OPEN_CALLS),
            words: Places::new("questions how far this node is", WORDS),
            looks: Places::new("calls of which it is looked who makes them", LOOKS),
            paces: Paces::new(config.calls_per_second),
            look_paces: Paces::new(config.calls_per_second.saturating_mul(LOOKS_OF_ADDRESS)),
            counts,
            body_time: BODY_TIME,
            submission_time: SUBMISSION_TIME,
        }))
    }

    /// Has all calls of these routes bounded together.
    pub(crate) fn bound(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(self, bound))
    }

    /// How many are open of each kind, and how many of strangers, or of members, may be.
    pub(crate) fn taken(&self) -> Vec<(&'static str, usize, usize)> {
        let Inner { submissions, submission_streams, uploads, downloads, .. } = &*self.0;
        let Inner { watches, reads, open, words, looks, .. } = &*self.0;
        let kinds = [
            ("submit", submissions),
            ("submit_stream", submission_streams),
            ("upload", uploads),
            ("download", downloads),
            ("watch", watches),
            ("read", reads),
            ("open", open),
            ("word", words),
            ("look", looks),
        ];
        let of = |(kind, places): (&'static str, &Places)| {
            let open = places.taken.iter().map(|taken| lock(taken).count).sum();
            (kind, open, places.share.of_all)
        };
        kinds.map(of).into()
    }

    /// A refusal, counted.
    pub(crate) fn refuse(&self, too_much: TooMuch, is_grpc: bool) -> Response {
        self.0.counts.refuse(too_much.class(), &too_much);
        refused(too_much.into(), is_grpc)
    }

    fn body_time(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Submission => self.0.submission_time,
            _ => self.0.body_time,
        }
    }

    async fn begin(&self, kind: Kind, peer: Peer) -> Result<Place, TooMuch> {
        let place = self.places(kind).take(peer)?;
        if kind.is_paced() {
            wait_for(self.0.paces.turn(peer)?).await;
        }
        Ok(place)
    }

    /// Room for finding out who asks, counted by where it comes from.
    pub(crate) async fn look(&self, from: Peer) -> Result<Place, TooMuch> {
        let place = self.0.looks.take(from)?;
        wait_for(self.0.look_paces.turn(from)?).await;
        Ok(place)
    }

    fn places(&self, kind: Kind) -> &Places {
        match kind {
            Kind::Submission => &self.0.submissions,
            Kind::SubmissionStream => &self.0.submission_streams,
            Kind::Upload => &self.0.uploads,
            Kind::Download => &self.0.downloads,
            Kind::Watch => &self.0.watches,
            Kind::Read => &self.0.reads,
            Kind::Open => &self.0.open,
            Kind::Word => &self.0.words,
        }
    }
}

/// Waits for a turn that has not come. For one that is now a timer takes until the next of its ticks: a millisecond.
async fn wait_for(turn: Instant) {
    if turn > Instant::now() {
        tokio::time::sleep_until(turn).await;
    }
}

async fn bound(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    let Some(kind) = Kind::of(request.uri().path()) else { return next.run(request).await };
    let is_grpc = is_grpc(&request);
    let place = match calls.begin(kind, Peer::of(request.extensions())).await {
        Ok(place) => place,
        Err(too_much) => return calls.refuse(too_much, is_grpc),
    };
    let answer = match kind.is_streamed() || request.body().is_end_stream() {
        true => next.run(request).await,
        false => match whole(calls.body_time(kind), request, next).await {
            Ok(answer) => answer,
            Err(slow) => return calls.refuse(slow, is_grpc),
        },
    };
    answer.map(|body| Body::new(Counted::new(body, place)))
}

/// Answers a request that comes whole in this time, or of which no more is wanted.
async fn whole(patience: Duration, request: Request, next: Next) -> Result<Response, TooMuch> {
    let (coming, came) = oneshot::channel();
    let request = request.map(|body| Body::new(Coming { body, coming: Some(coming) }));
    let mut answering = std::pin::pin!(next.run(request));
    tokio::select! {
        answer = answering.as_mut() => return Ok(answer),
        came = tokio::time::timeout(patience, came) => {
            if came.is_err() {
                return Err(TooMuch::Slow(patience));
            }
        }
    }
    Ok(answering.await)
}

/// What is asked, as it comes.
struct Coming {
    body: Body,
    /// Dropped when it has come.
    coming: Option<oneshot::Sender<Infallible>>,
}

impl HttpBody for Coming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.coming = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Places for calls of a kind.
struct Places {
    what: &'static str,
    share: Share,
    peers_changed_by: &'static str,
    changed_by: &'static str,
    /// Of those of whom it is known where they are, and of those of whom it is known who they are: strangers cannot
    /// take what members have.
    taken: [Arc<Mutex<Taken>>; 2],
}

#[derive(Default)]
struct Taken {
    count: usize,
    by: HashMap<Peer, usize>,
}

/// A call's place, until its answer has ended.
pub(crate) struct Place {
    peer: Peer,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    fn new(what: &'static str, share: Share) -> Self {
        Self { what, share, peers_changed_by: "", changed_by: "", taken: Default::default() }
    }

    fn take(&self, peer: Peer) -> Result<Place, TooMuch> {
        let &Self { what, share: Share { of_peer, of_all }, peers_changed_by, changed_by, .. } =
            self;
        let places = &self.taken[usize::from(peer.is_key())];
        let mut taken = lock(places);
        let by = taken.by.get(&peer).copied().unwrap_or_default();
        if by >= of_peer {
            return Err(TooMuch::OfPeer { what, most: of_peer, changed_by: peers_changed_by });
        }
        if taken.count >= of_all {
            return Err(TooMuch::OfAll { what, most: of_all, changed_by });
        }
        taken.by.insert(peer, by + 1);
        taken.count += 1;
        Ok(Place { peer, taken: places.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.count = taken.count.saturating_sub(1);
        if let Some(by) = taken.by.get_mut(&self.peer) {
            *by -= 1;
            // Or who was here once would be all that is left.
            if *by == 0 {
                taken.by.remove(&self.peer);
            }
        }
    }
}

/// How often it may be asked. Who has not asked for [`CALLS_AHEAD`] may ask for all of that at once, and then waits
/// for his turn.
struct Paces {
    of_peer: u32,
    of_all: u32,
    asked: Mutex<Asked>,
}

struct Asked {
    /// Until when what was asked takes, at the pace at which it may be asked.
    all: Instant,
    by: HashMap<Peer, Instant>,
    /// So many are remembered until it is looked who need not be.
    most: usize,
}

impl Paces {
    fn new(of_peer: u32) -> Self {
        let asked = Asked { all: Instant::now(), by: HashMap::new(), most: 1024 };
        let of_all = of_peer.saturating_mul(CALLS_OF_ALL);
        Self { of_peer: of_peer.max(1), of_all: of_all.max(1), asked: Mutex::new(asked) }
    }

    /// When it is the turn of somebody who asks now.
    fn turn(&self, peer: Peer) -> Result<Instant, TooMuch> {
        let now = Instant::now();
        let mut asked = lock(&self.asked);
        let after = |until: Instant, rate: u32| {
            let until = until.max(now) + Duration::from_secs(1) / rate;
            let turn = until.checked_sub(CALLS_AHEAD).map_or(now, |turn| turn.max(now));
            (until, turn)
        };
        let by = asked.by.get(&peer).copied().unwrap_or(now);
        let (by, turn_of_peer) = after(by, self.of_peer);
        if turn_of_peer > now + TURN_PATIENCE {
            return Err(TooMuch::OftenByPeer(self.of_peer));
        }
        let (all, turn) = after(asked.all, self.of_all);
        if turn > now + TURN_PATIENCE {
            return Err(TooMuch::OftenByAll(self.of_all));
        }
        asked.all = all;
        asked.by.insert(peer, by);
        if asked.by.len() > asked.most {
            asked.by.retain(|_, until| *until > now);
            asked.most = 2 * asked.by.len().max(512);
        }
        Ok(turn.max(turn_of_peer))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::routing::{get, post};
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;

    use axum::http::StatusCode;
    use axum::http::header::CONTENT_TYPE;

    use super::*;

    fn peer(number: u8) -> Peer {
        Peer::at([10, 0, 0, number].into())
    }

    fn calls(watchers: usize, per_second: u32) -> Calls {
        let mut config = Config::new("");
        (config.max_watchers, config.watchers_per_address) = (watchers + 1, watchers);
        config.calls_per_second = per_second;
        Calls::new(&config, Counts::default())
    }

    const WATCH: &str = "/colearn.v1.LedgerService/Subscribe";
    const UPLOAD: &str = "/colearn.v1.ArtifactService/UploadArtifact";

    /// Everything answers with what was asked, when that has come.
    async fn ask(calls: &Calls, peer: Peer, path: &str, is_grpc: bool, body: Body) -> Response {
        let echo = |bytes: Bytes| async move { bytes };
        let routes = Router::new().route("/{*any}", post(echo)).route("/healthz", get(echo));
        let mut request = axum::http::Request::post(path).body(body).unwrap();
        request.extensions_mut().insert(peer);
        if is_grpc {
            request.headers_mut().insert(CONTENT_TYPE, "application/grpc".parse().unwrap());
        }
        calls.clone().bound(routes).call(request).await.unwrap()
    }

    async fn text(answer: Response) -> String {
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn status(answer: &Response) -> (Code, String) {
        let status = Status::from_header_map(answer.headers()).unwrap();
        (status.code(), status.message().to_owned())
    }

    #[tokio::test]
    async fn one_peer_watches_so_much_and_all_together_so_much() {
        let calls = calls(2, 1_000);
        let watch = async |number| ask(&calls, peer(number), WATCH, true, Body::from("x")).await;
        let held = [watch(1).await, watch(1).await];
        let (code, why) = status(&watch(1).await);
        assert_eq!(code, Code::ResourceExhausted);
        assert!(why.contains("2 followers and watchers"), "{why}");
        assert!(why.contains("--max-watchers-per-address"), "{why}");
        let other = watch(2).await;
        let (code, why) = status(&watch(3).await);
        assert_eq!(code, Code::ResourceExhausted);
        assert!(why.contains("the node has 3") && why.contains("(--max-watchers)"), "{why}");
        // Who watches does something else as well.
        let read = ask(&calls, peer(1), "/checkpoint", false, Body::from("read")).await;
        assert_eq!(text(read).await, "read");
        // An answer that has ended is none.
        drop(held);
        assert_eq!(text(watch(1).await).await, "x");
        drop(other);
        let taken = lock(&calls.0.watches.taken[0]);
        assert_eq!((taken.count, taken.by.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_too_often_is_slowed_down_and_then_refused() {
        let calls = calls(1_000, 10);
        let read = async |number| ask(&calls, peer(number), "/x", false, Body::empty()).await;
        // Between two ticks of the timers.
        tokio::time::advance(Duration::from_micros(300)).await;
        let began = Instant::now();
        for _ in 0..40 {
            assert_eq!(read(1).await.status(), StatusCode::OK);
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "all that was saved up");
        // One thing after the other, at the pace at which it may be asked.
        for _ in 0..20 {
            assert_eq!(read(1).await.status(), StatusCode::OK);
        }
        assert!(began.elapsed().abs_diff(Duration::from_secs(2)) < Duration::from_millis(100));
        // All at once.
        let all = futures_util::future::join_all((0..10).map(|_| read(1))).await;
        let (answered, refused): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|answer| answer.status() == StatusCode::OK);
        assert_eq!((answered.len(), refused.len()), (2, 8));
        for answer in refused {
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            let why = text(answer).await;
            assert!(why.contains("10 times a second (--max-calls-per-second)"), "{why}");
        }
        // Nobody else is slowed down, and nothing that is not a question.
        let began = Instant::now();
        assert_eq!(read(2).await.status(), StatusCode::OK);
        for path in ["/colearn.v1.CoordinatorService/Submit", UPLOAD] {
            for _ in 0..100 {
                let answer = ask(&calls, peer(1), path, true, Body::from("x")).await;
                assert_eq!(text(answer).await, "x");
            }
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_often_are_bounded_together_and_forgotten() {
        let paces = Paces::new(10);
        let ahead = CALLS_OF_ALL * 10 * CALLS_AHEAD.as_secs() as u32;
        let ask = |at: u32| paces.turn(Peer::at(std::net::Ipv4Addr::from(at).into()));
        let refused = (0..2 * ahead).find_map(|at| ask(at).err()).unwrap();
        assert_eq!(refused, TooMuch::OftenByAll(160));
        tokio::time::advance(2 * CALLS_AHEAD).await;
        for at in 0..ahead {
            assert_eq!(ask(5_000 + at).unwrap(), Instant::now());
        }
        assert!(lock(&paces.asked).by.len() <= 2 * ahead as usize);
        tokio::time::advance(2 * CALLS_AHEAD).await;
        for at in 0..ahead {
            ask(50_000 + at).unwrap();
        }
        let asked = lock(&paces.asked);
        assert!(asked.by.len() <= asked.most, "{} of {}", asked.by.len(), asked.most);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_is_not_waited_for() {
        let calls = calls(10, 1_000);
        // Something now and then, and no end.
        let slow = || {
            Body::from_stream(futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
            }))
        };
        let began = Instant::now();
        let answer = ask(&calls, peer(1), "/validator-change", false, slow()).await;
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(began.elapsed(), BODY_TIME);
        for (path, time) in [(WATCH, "20 s"), ("/colearn.v1.CoordinatorService/Submit", "5 s")] {
            let (code, why) = status(&ask(&calls, peer(1), path, true, slow()).await);
            assert_eq!(code, Code::Aborted);
            assert!(why.contains(&format!("has not come whole within {time}")), "{why}");
        }
        assert_eq!(lock(&calls.0.watches.taken[0]).count, 0);
        // What comes as one likes does.
        let upload = ask(&calls, peer(1), UPLOAD, true, slow());
        assert!(tokio::time::timeout(3 * BODY_TIME, upload).await.is_err());
        // And an answer may take as long as it takes.
        let answer = std::future::pending::<()>;
        let routes = Router::new().route("/{*any}", post(move |_: Bytes| answer()));
        let mut routes = calls.clone().bound(routes);
        let request = axum::http::Request::post("/x").body(Body::from("x")).unwrap();
        let answering = routes.call(request);
        assert!(tokio::time::timeout(3 * BODY_TIME, answering).await.is_err());
    }

    #[test]
    fn strangers_do_not_take_the_places_of_those_who_say_who_they_are() {
        let calls = Calls::new(&Config::new(""), Counts::default());
        let places = calls.places(Kind::Read);
        let addresses = (0..100).map(|it| Peer::at(std::net::Ipv4Addr::new(10, 0, 0, it).into()));
        let held: Vec<_> =
            addresses.flat_map(|peer| std::iter::from_fn(move || places.take(peer).ok())).collect();
        assert_eq!(held.len(), READS.of_all);
        let member = Peer::with_key(colearn_contracts::LearnerId([1; 32]));
        let own: Vec<_> = std::iter::from_fn(|| places.take(member).ok()).collect();
        assert_eq!(own.len(), READS.of_peer);
        // What is open to everybody is no part of it.
        for path in ["/checkpoint", "/grpc.health.v1.Health/Watch"] {
            assert_eq!(Kind::of(path), Some(Kind::Open));
        }
        assert_eq!(Kind::of("/checkpoint/17"), Some(Kind::Word));
    }
}
