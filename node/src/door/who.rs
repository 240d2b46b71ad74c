//! Who asks: signatures of requests are looked at before anything is done for them.
//!
//! What is signed, and how it is asked for, is said in `colearn_net`. A challenge is good for minutes, for this process
//! only, and each nonce once: what was overheard is worth nothing, and no clock is needed.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, FORWARDED, HeaderName};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use colearn_contracts::LearnerId;
use colearn_net::{Asked, Authorization, Challenge, Channel, Content, content_of};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tonic::Code;

use super::calls::Calls;
use super::refusing::{is_grpc, refused};
use super::rights::{Caller, Right, Rights};
use crate::limits::{
    CHALLENGE_LIFE, LOOKED_AT_AGAIN, MAX_SIGNED_BYTES, SIGNED_BODY_TIME, SIGNED_OF_ALL,
    SIGNED_OF_KEY,
};
use crate::metrics::Counts;
use crate::peer::Peer;
use crate::refusal::Refusal;

/// Where weights come: they are known by their digest, which is what is signed.
const UPLOAD: &str = "/colearn.v1.ArtifactService/UploadArtifact";
/// Where a node is asked what it has signed, and waited for until it has.
pub(super) const WORD: &str = "/checkpoint/";
/// A proxy says with this for whom it asks.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What was signed to be coming.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stated(pub(crate) Content);

/// The right that whoever asks for something has to have; `None` where all may, or where what comes is signed in itself.
fn needed(path: &str) -> Option<Right> {
    if let Some(method) = path.strip_prefix("/colearn.v1.") {
        return match method {
            // Whoever is to sign has to know the ledger; transactions are looked at when they are admitted.
            "LedgerService/GetLedger"
            | "CoordinatorService/Submit"
            | "CoordinatorService/SubmitStream" => None,
            "ArtifactService/UploadArtifact" => Some(Right::Write),
            _ => Some(Right::Read),
        };
    }
    // What is signed with the ledger's key is for everybody: it is what others are held to.
    let is_open = path == "/healthz"
        || path == "/checkpoint"
        || path.starts_with(WORD)
        || path == "/validator-change"
        || path.starts_with("/grpc.");
    (!is_open).then_some(Right::Read)
}

/// Looks at who asks; cheap to clone.
#[derive(Clone)]
pub(crate) struct Who(Arc<Inner>);

struct Inner {
    ledger: [u8; 32],
    server: [u8; 32],
    /// Whether TLS ends here.
    bound: bool,
    rights: Rights,
    challenges: Mutex<Challenges>,
    counts: Counts,
    /// Whether it was told that a proxy lets everybody in.
    told: std::sync::Once,
}

/// What was drawn last, and before.
struct Challenges {
    now: Drawn,
    before: Option<Drawn>,
    since: Instant,
}

struct Drawn {
    challenge: [u8; 16],
    /// How many there are of all.
    count: usize,
    /// What each key has drawn itself: it counts once.
    seen: HashMap<LearnerId, HashSet<[u8; 16]>>,
}

impl Drawn {
    fn new() -> Result<Self, Refusal> {
        let mut challenge = [0; 16];
        getrandom::fill(&mut challenge).map_err(|error| Refusal::Random(error.to_string()))?;
        Ok(Self { challenge, count: 0, seen: HashMap::new() })
    }
}

impl Challenges {
    fn new() -> Result<Self, Refusal> {
        Ok(Self { now: Drawn::new()?, before: None, since: Instant::now() })
    }

    /// Draws another when it is time.
    fn renew(&mut self) -> Result<(), Refusal> {
        let age = self.since.elapsed();
        if age < CHALLENGE_LIFE && self.now.count < SIGNED_OF_ALL {
            return Ok(());
        }
        let last = std::mem::replace(&mut self.now, Drawn::new()?);
        self.before = (age < 2 * CHALLENGE_LIFE).then_some(last);
        self.since = Instant::now();
        Ok(())
    }

    fn drawn(&mut self, challenge: &[u8; 16]) -> Option<&mut Drawn> {
        let before = self.before.as_mut();
        [Some(&mut self.now), before].into_iter().flatten().find(|it| it.challenge == *challenge)
    }
}

impl Who {
    /// For a node of this ledger, with this key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub(crate) fn new(
        ledger: [u8; 32],
        server: [u8; 32],
        bound: bool,
        rights: Rights,
        counts: Counts,
    ) -> Result<Self, Refusal> {
        let challenges = Mutex::new(Challenges::new()?);
        let told = std::sync::Once::new();
        Ok(Self(Arc::new(Inner { ledger, server, bound, rights, challenges, counts, told })))
    }

    /// Has whoever asks for these routes looked at.
    pub(crate) fn guard(self, routes: Router, calls: Calls) -> Router {
        routes.layer(from_fn_with_state((self, calls), look))
    }

    fn challenge(&self, challenge: [u8; 16]) -> Challenge {
        let Inner { ledger, server, bound, .. } = &*self.0;
        Challenge { ledger: *ledger, server: *server, challenge, bound: *bound }
    }

    /// What is to be signed now.
    fn current(&self) -> Result<Challenge, Refusal> {
        let mut challenges = self.0.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        challenges.renew()?;
        Ok(self.challenge(challenges.now.challenge))
    }

    /// Whether the challenge that was signed still counts.
    fn is_drawn(&self, shown: &Authorization) -> Result<(), Refusal> {
        let mut challenges = self.0.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        challenges.renew()?;
        challenges.drawn(&shown.challenge).map(drop).ok_or(Refusal::OldSignature)
    }

    /// Who has signed this, if it may, and has not signed it before.
    fn signer(
        &self,
        shown: &Authorization,
        channel: Option<Channel>,
        asked: Asked<'_>,
        may: impl FnOnce(LearnerId) -> Result<(), Refusal>,
    ) -> Result<LearnerId, Refusal> {
        let lock = || self.0.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_drawn(shown)?;
        // Not under the lock. Where TLS ends here there is no request without its channel.
        let channel = channel.filter(|_| self.0.bound);
        if self.0.bound && channel.is_none() {
            return Err(Refusal::BadSignature);
        }
        if !shown.is_signed(&self.challenge(shown.challenge), channel, asked) {
            return Err(Refusal::BadSignature);
        }
        // Keys cost nothing: nothing is remembered of those that may not.
        let key = LearnerId(shown.key);
        may(key)?;
        let mut challenges = lock();
        let drawn = challenges.drawn(&shown.challenge).ok_or(Refusal::OldSignature)?;
        let seen = drawn.seen.entry(key).or_default();
        if seen.len() >= SIGNED_OF_KEY {
            return Err(Refusal::TooMuch { key, of: SIGNED_OF_KEY });
        }
        if !seen.insert(shown.nonce) {
            return Err(Refusal::Repeated);
        }
        drawn.count += 1;
        Ok(key)
    }

    /// The request with who asks, if it may be asked.
    async fn check(
        &self,
        request: Request,
        may: impl FnOnce(LearnerId) -> Result<(), Refusal>,
    ) -> Result<(Request, LearnerId), Refusal> {
        let shown = Authorization::of(request.headers()).ok_or(Refusal::WhoAsks)?;
        // Before anything of it is read.
        self.is_drawn(&shown)?;
        let (parts, body) = request.into_parts();
        let is_upload = parts.uri.path() == UPLOAD;
        let (content, body) = match is_upload {
            true => (shown.content.ok_or(Refusal::BadSignature)?, body),
            false => {
                let reading =
                    tokio::time::timeout(SIGNED_BODY_TIME, to_bytes(body, MAX_SIGNED_BYTES));
                let Ok(Ok(body)) = reading.await else { return Err(Refusal::TooLong) };
                (content_of(&body), Body::from(body))
            }
        };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let asked = Asked { method: parts.method.as_str(), path, content };
        let channel = parts.extensions.get::<Channel>().copied();
        let key = self.signer(&shown, channel, asked, may)?;
        let mut request = Request::from_parts(parts, body);
        request.extensions_mut().insert(Caller(Some(key)));
        // Whose it is counts from here on, and not the way by which it came: many may share that. Where keys cost
        // nothing the way counts all the same.
        if self.0.rights.is_rare(key) {
            request.extensions_mut().insert(Peer::with_key(key));
        }
        if is_upload {
            request.extensions_mut().insert(Stated(content));
        }
        Ok((request, key))
    }

    /// A refusal, with what is to be signed where that is missing.
    fn refuse(&self, refusal: Refusal, is_grpc: bool) -> Response {
        self.0.counts.refuse(refusal.class(), &refusal);
        let wants = refusal.code() == Code::Unauthenticated;
        let mut response = refused(refusal.into(), is_grpc);
        if wants && let Ok(challenge) = self.current() {
            response.headers_mut().extend([challenge.header()]);
        }
        response
    }

    /// Behind a proxy everybody is on this machine.
    fn tell_of_proxy(&self, request: &Request) {
        let headers = request.headers();
        if headers.contains_key(FORWARDED_FOR) || headers.contains_key(FORWARDED) {
            self.0.told.call_once(|| {
                tracing::warn!(
                    "a proxy passes on what others ask, and everybody may read here; say who may: --read members \
                     --write members --create keys:FILE"
                );
            });
        }
    }
}

/// Answers what everybody may ask and whoever keeps the ledger has to be answered: strangers that take all places for it
/// must not keep the nodes from each other's words. Where there is no place it is said how to be known, and who is known
/// has places of his own.
async fn look_for_word(who: &Who, calls: &Calls, request: Request, next: Next) -> Response {
    let is_grpc = is_grpc(&request);
    if !request.headers().contains_key(AUTHORIZATION) {
        let answer = next.run(request).await;
        return match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => who.refuse(Refusal::WhoAsks, is_grpc),
            _ => answer,
        };
    }
    match known(who, calls, request, Right::Read).await {
        Ok((request, _)) => next.run(request).await,
        Err(refusal) => refusal,
    }
}

/// The request with who has signed it, if that may have this right; otherwise what is answered.
async fn known(
    who: &Who,
    calls: &Calls,
    request: Request,
    right: Right,
) -> Result<(Request, LearnerId), Response> {
    let is_grpc = is_grpc(&request);
    let place = match calls.look(Peer::of(request.extensions())).await {
        Ok(place) => place,
        Err(too_much) => return Err(calls.refuse(too_much, is_grpc)),
    };
    let checked = who.check(request, |key| who.0.rights.check(right, key)).await;
    drop(place);
    checked.map_err(|refusal| who.refuse(refusal, is_grpc))
}

async fn look(State((who, calls)): State<(Who, Calls)>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with(WORD) {
        return look_for_word(&who, &calls, request, next).await;
    }
    let Some(right) = needed(request.uri().path()) else { return next.run(request).await };
    if who.0.rights.is_public(right) {
        who.tell_of_proxy(&request);
        // Who has to sign for something else signs this as well, and is the same one.
        if !request.headers().contains_key(AUTHORIZATION) {
            return next.run(request).await;
        }
    }
    match known(&who, &calls, request, right).await {
        Ok((request, key)) => {
            let response = next.run(request).await;
            let rights = who.0.rights.clone();
            let looked = Instant::now();
            let ended = None;
            response.map(|body| Body::new(WhileAllowed { body, rights, right, key, looked, ended }))
        }
        Err(refusal) => refusal,
    }
}

/// An answer that ends when whoever has asked may not any more: many go on for as long as an experiment.
struct WhileAllowed {
    body: Body,
    rights: Rights,
    right: Right,
    key: LearnerId,
    looked: Instant,
    ended: Option<Refusal>,
}

impl HttpBody for WhileAllowed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(refusal) = self.ended.take() {
            return Poll::Ready(Some(Err(axum::Error::new(refusal))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // What is ready goes out: it may be what tells why there is no more.
        if self.looked.elapsed() >= LOOKED_AT_AGAIN {
            self.looked = Instant::now();
            self.ended = self.rights.check(self.right, self.key).err();
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderMap;
    use axum::http::header::CONTENT_TYPE;
    use colearn_net::{Credential, Signing, Trust};
    use tower_service::Service as _;

    use super::*;
    use crate::access::Access;
    use crate::artifacts::ArtifactStore;
    use crate::disk::DiskReserve;
    use crate::testing::key;

    const ASKED: Asked<'static> = Asked { method: "GET", path: "/tile/0/000", content: [4; 32] };

    fn who(dir: &std::path::Path, bound: bool) -> Who {
        let store = ArtifactStore::open(dir, 1 << 20, 1 << 20, DiskReserve::new(dir, 0)).unwrap();
        let elsewhere = [10, 0, 0, 1].into();
        let rights = Rights::test(&Access::by_default(elsewhere, dir), store);
        Who::new([1; 32], [2; 32], bound, rights, Counts::default()).unwrap()
    }

    fn signing(url: &str, number: u8) -> Signing {
        let trust = Trust::default().signed_by(Credential::new(key(number)));
        Signing::new(&url.parse().unwrap(), &trust)
    }

    fn any(_: LearnerId) -> Result<(), Refusal> {
        Ok(())
    }

    fn sign(who: &Who, signing: &Signing, channel: Option<Channel>) -> Authorization {
        let challenged = HeaderMap::from_iter([who.current().unwrap().header()]);
        assert!(signing.hear(&challenged).unwrap());
        let value = signing.authorization(ASKED, channel, false).unwrap().unwrap();
        value.to_str().unwrap().parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_signature_counts_once_and_not_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let (who, signing) = (who(dir.path(), false), signing("http://h", 1));
        let first = sign(&who, &signing, None);
        let by = LearnerId(key(1).verifying_key().to_bytes());
        assert_eq!(who.signer(&first, None, ASKED, any).unwrap(), by);
        assert!(matches!(who.signer(&first, None, ASKED, any), Err(Refusal::Repeated)));
        // On its way while another challenge is drawn it counts, and is remembered;
        let second = sign(&who, &signing, None);
        tokio::time::advance(CHALLENGE_LIFE + Duration::from_secs(1)).await;
        assert_ne!(who.current().unwrap().challenge, second.challenge);
        assert_eq!(who.signer(&second, None, ASKED, any).unwrap(), by);
        assert!(matches!(who.signer(&second, None, ASKED, any), Err(Refusal::Repeated)));
        assert!(matches!(who.signer(&first, None, ASKED, any), Err(Refusal::Repeated)));
        // then it is void, however long nobody has asked.
        let third = sign(&who, &signing, None);
        tokio::time::advance(2 * CHALLENGE_LIFE).await;
        assert!(matches!(who.signer(&third, None, ASKED, any), Err(Refusal::OldSignature)));
        // What nobody has signed is not remembered, nor whoever may not.
        let signed = sign(&who, &signing, None);
        let may_not = |key| Err(Refusal::NoWeights { key });
        let refused = who.signer(&signed, None, ASKED, may_not).unwrap_err();
        assert!(matches!(refused, Refusal::NoWeights { .. }));
        let mut forged = sign(&who, &signing, None);
        forged.signature[0] ^= 1;
        assert!(matches!(who.signer(&forged, None, ASKED, any), Err(Refusal::BadSignature)));
        assert!(who.0.challenges.lock().unwrap().now.seen.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_with_the_right_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let creator = LearnerId(key(1).verifying_key().to_bytes());
        let list = dir.path().join(crate::access::CREATORS);
        std::fs::write(&list, creator.to_string()).unwrap();
        let rights = who(dir.path(), false).0.rights.clone();
        let (sender, parts) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
        let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(parts));
        let (looked, right, ended) = (Instant::now(), Right::Read, None);
        let rights_of = rights.clone();
        let body = WhileAllowed { body, rights: rights_of, right, key: creator, looked, ended };
        let mut stream = Body::new(body).into_data_stream();
        let mut next = async || {
            sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
            futures_util::StreamExt::next(&mut stream).await.unwrap()
        };
        assert!(next().await.is_ok());
        tokio::time::advance(2 * LOOKED_AT_AGAIN).await;
        assert!(next().await.is_ok());
        std::fs::write(&list, "# nobody\n").unwrap();
        rights.files().look();
        assert!(next().await.is_ok(), "it is looked at now and then");
        tokio::time::advance(2 * LOOKED_AT_AGAIN).await;
        assert!(next().await.is_ok(), "what is ready goes out");
        let error = next().await.unwrap_err().to_string();
        assert!(error.contains("may not read"), "{error}");
    }

    #[tokio::test]
    async fn a_key_asks_so_often_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (who, busy) = (who(dir.path(), false), signing("http://h", 1));
        let one = sign(&who, &busy, None);
        let by = LearnerId(one.key);
        let nonces = (0..SIGNED_OF_KEY as u128).map(u128::to_be_bytes).collect();
        who.0.challenges.lock().unwrap().now.seen.insert(by, nonces);
        assert!(matches!(who.signer(&one, None, ASKED, any), Err(Refusal::TooMuch { .. })));
        let other = sign(&who, &signing("http://h", 2), None);
        who.signer(&other, None, ASKED, any).unwrap();
    }

    #[tokio::test]
    async fn where_tls_ends_here_the_channel_is_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (who, signing) = (who(dir.path(), true), signing("https://h", 1));
        let channel = Some([7; 32]);
        for shown in [None, Some([8; 32])] {
            let signed = sign(&who, &signing, shown);
            let refused = who.signer(&signed, channel, ASKED, any).unwrap_err();
            assert!(matches!(refused, Refusal::BadSignature), "{refused}");
        }
        who.signer(&sign(&who, &signing, channel), channel, ASKED, any).unwrap();
    }

    #[tokio::test]
    async fn who_keeps_the_ledger_has_places_for_its_words_that_no_stranger_can_take() {
        let dir = tempfile::tempdir().unwrap();
        let known = LearnerId(key(1).verifying_key().to_bytes());
        std::fs::write(dir.path().join(crate::access::CREATORS), known.to_string()).unwrap();
        let who = who(dir.path(), false);
        // Strangers have taken all.
        let routes = Router::new().fallback(|request: Request| async move {
            match Peer::of(request.extensions()).is_key() {
                true => StatusCode::OK,
                false => StatusCode::TOO_MANY_REQUESTS,
            }
        });
        let calls = Calls::new(&crate::Config::new(dir.path()), Counts::default());
        let mut routes = who.clone().guard(routes, calls);
        let mut ask = async |path: &str, signing: Option<&Signing>| {
            let asked = Asked { method: "GET", path, content: content_of(&[]) };
            let shown = signing.map(|it| it.authorization(asked, None, false).unwrap().unwrap());
            let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
            request.headers_mut().extend(shown.map(|shown| (AUTHORIZATION, shown)));
            routes.call(request).await.unwrap()
        };
        let answer = ask("/checkpoint", None).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let answer = ask("/checkpoint/17", None).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let (own, stranger) = (signing("http://h", 1), signing("http://h", 2));
        for signing in [&own, &stranger] {
            assert!(signing.hear(answer.headers()).unwrap());
        }
        assert_eq!(ask("/checkpoint/17", Some(&own)).await.status(), StatusCode::OK);
        let answer = ask("/checkpoint/17", Some(&stranger)).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn every_path_but_a_few_is_for_those_who_say_who_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let who = who(dir.path(), false);
        let routes = Router::new().fallback(|| async { "in" });
        let calls = Calls::new(&crate::Config::new(dir.path()), Counts::default());
        let mut routes = who.clone().guard(routes, calls);
        for (path, is_open) in [
            ("/healthz", true),
            ("/checkpoint", true),
            ("/checkpoint/17", true),
            ("/colearn.v1.LedgerService/GetLedger", true),
            ("/colearn.v1.CoordinatorService/Submit", true),
            ("/colearn.v1.CoordinatorService/SubmitStream", true),
            ("/grpc.health.v1.Health/Check", true),
            ("/colearn.v1.CoordinatorService/ListExperiments", false),
            ("/colearn.v1.LedgerService/Subscribe", false),
            ("/colearn.v1.ArtifactService/UploadArtifact", false),
            ("/colearn.v1.ArtifactService/DownloadArtifact", false),
            ("/colearn.v1.Anything/Later", false),
            ("/tile/0/000", false),
            ("/artifact/00", false),
            ("/network", false),
            ("/anything/later", false),
            ("//healthz", false),
            ("/checkpoints", false),
        ] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let answer = routes.call(request).await.unwrap();
            let expected = if is_open { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            assert_eq!(answer.status(), expected, "{path}");
            assert_eq!(Challenge::of(answer.headers()).is_some(), !is_open, "{path}");
        }
        // As gRPC it is told in its manner.
        let request = Request::builder().uri("/colearn.v1.LedgerService/Subscribe");
        let request = request.header(CONTENT_TYPE, "application/grpc").body(Body::empty()).unwrap();
        let answer = routes.call(request).await.unwrap();
        assert_eq!(
            (answer.status(), answer.headers()["grpc-status"].as_bytes()),
            (StatusCode::OK, &b"16"[..])
        );
        // A body that has no end is not waited for.
        let endless = Body::from(vec![0; MAX_SIGNED_BYTES + 1]);
        let shown = sign(&who, &signing("http://h", 1), None).to_string();
        let request = Request::builder().uri("/network").header("authorization", shown);
        let answer = routes.call(request.body(endless).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
}
