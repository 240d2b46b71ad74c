//! Weights in Google's store and in Azure's, as far as a server on this machine speaks as they do.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use colearn_contracts::Digest;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::{RetryConfig, StaticCredentialProvider};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::bucket::{Bucket, PART_BYTES, both, encrypted};
use super::reaching::Reaching;
use super::{ArtifactError, Bringer};

/// When everything came.
const CAME: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
/// Behind it a batch's parts begin, in what is asked and in what is answered.
const BOUNDARY: &str = "between";

#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    Google,
    Azure,
}

/// A store, of which each list has one object and says how to go on.
#[derive(Clone)]
struct Cloud(Arc<Mutex<Kept>>, Speaks);

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Vec<u8>>,
    /// What comes in parts, by object, and by the part's name.
    parts: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// How often something was brought in parts, and how often that was given up.
    begun: usize,
    given_up: usize,
}

/// What is asked: the object's name or none, and the question.
struct Asked {
    object: String,
    query: BTreeMap<String, String>,
}

impl Asked {
    fn of(uri: &axum::http::Uri) -> Self {
        let path = decoded(uri.path());
        let (bucket, object) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        assert_eq!(bucket, "models");
        let pairs = uri.query().unwrap_or_default().split('&').filter(|it| !it.is_empty());
        let pair = |it: &str| {
            let (key, value) = it.split_once('=').unwrap_or((it, ""));
            (decoded(key), decoded(&value.replace('+', " ")))
        };
        Self { object: object.to_owned(), query: pairs.map(pair).collect() }
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.query.get(key).is_some_and(|it| it == value)
    }
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        rest = others;
        match (first, others) {
            (b'%', [high, low, others @ ..]) => {
                bytes.extend(hex::decode([*high, *low]).unwrap());
                rest = others;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn answer(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let answer = Response::builder().status(status).header("etag", "\"x\"");
    answer.header("last-modified", CAME).body(body.into()).unwrap()
}

/// What stands between tags of this name.
fn between<'a>(text: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    text.split(&open).skip(1).map(|it| it.split(&close).next().unwrap()).collect()
}

impl Cloud {
    async fn start(speaks: Speaks) -> (Self, String) {
        let cloud = Self(Arc::default(), speaks);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(asked).with_state(cloud.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (cloud, url)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    fn list(&self, asked: &Asked) -> Response<Body> {
        let Asked { query, .. } = asked;
        let prefix = query.get("prefix").cloned().unwrap_or_default();
        let (token, next) = match self.1 {
            Speaks::Google => ("continuation-token", "NextContinuationToken"),
            Speaks::Azure => ("marker", "NextMarker"),
        };
        let after = query.get(token).cloned().unwrap_or_default();
        let is_listed = |name: &str| {
            let rest = name.strip_prefix(&prefix);
            let deeper = query.contains_key("delimiter") && rest.is_some_and(|it| it.contains('/'));
            rest.is_some() && !deeper && name > after.as_str()
        };
        let kept = self.kept();
        let mut listed = kept.objects.iter().filter(|(name, _)| is_listed(name));
        let (first, more) = (listed.next(), listed.next().is_some());
        let next = match first {
            Some((name, _)) if more => format!("<{next}>{name}</{next}>"),
            Some(_) | None => String::new(),
        };
        let text = match self.1 {
            Speaks::Google => {
                let object = first.map(|(name, whole)| {
                    let size = whole.len();
                    format!(
                        "<Contents><Key>{name}</Key><Size>{size}</Size><LastModified>\
                         2026-01-01T00:00:00.000Z</LastModified><ETag>\"x\"</ETag></Contents>"
                    )
                });
                format!("<ListBucketResult>{}{next}</ListBucketResult>", object.unwrap_or_default())
            }
            Speaks::Azure => {
                let object = first.map(|(name, whole)| {
                    let size = whole.len();
                    format!(
                        "<Blob><Name>{name}</Name><Properties><Last-Modified>{CAME}</Last-Modified>\
                         <Content-Length>{size}</Content-Length><Content-Type>x/y</Content-Type>\
                         <Etag>x</Etag></Properties></Blob>"
                    )
                });
                let object = object.unwrap_or_default();
                format!("<EnumerationResults><Blobs>{object}</Blobs>{next}</EnumerationResults>")
            }
        };
        answer(StatusCode::OK, text)
    }

    fn get(&self, asked: &Asked, range: Option<&str>) -> Response<Body> {
        let kept = self.kept();
        let Some(whole) = kept.objects.get(&asked.object) else {
            return answer(StatusCode::NOT_FOUND, "");
        };
        let Some(range) = range else { return answer(StatusCode::OK, whole.clone()) };
        let first: usize =
            range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
        let mut part = answer(StatusCode::PARTIAL_CONTENT, whole[first..].to_vec());
        let range = format!("bytes {first}-{}/{}", whole.len() - 1, whole.len());
        part.headers_mut().insert("content-range", range.parse().unwrap());
        part
    }

    fn bring(&self, asked: Asked, body: Bytes) -> Response<Body> {
        let mut kept = self.kept();
        let part = asked.query.get("partNumber").or(asked.query.get("blockid"));
        if let Some(part) = part.cloned() {
            if self.1 == Speaks::Google {
                assert_eq!(asked.query["uploadId"], asked.object);
            }
            kept.parts.entry(asked.object).or_default().insert(part, body.into());
        } else if asked.is("comp", "blocklist") {
            kept.begun += 1;
            return Self::put_together(&mut kept, asked, &body, "Uncommitted");
        } else {
            kept.objects.insert(asked.object, body.into());
        }
        answer(StatusCode::CREATED, "")
    }

    fn put_together(kept: &mut Kept, asked: Asked, body: &[u8], tag: &str) -> Response<Body> {
        let mut parts = kept.parts.remove(&asked.object).unwrap();
        let listed = between(std::str::from_utf8(body).unwrap(), tag);
        let parts = listed.iter().map(|part| parts.remove(*part).unwrap());
        let whole = parts.collect::<Vec<_>>().concat();
        kept.objects.insert(asked.object, whole);
        let text = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>";
        answer(StatusCode::OK, text)
    }

    fn post(&self, asked: Asked, body: &[u8]) -> Response<Body> {
        let mut kept = self.kept();
        if asked.is("comp", "batch") {
            return Self::batch(&mut kept, std::str::from_utf8(body).unwrap());
        }
        if asked.query.contains_key("uploads") {
            kept.begun += 1;
            kept.parts.insert(asked.object.clone(), BTreeMap::new());
            let id = format!("<UploadId>{}</UploadId>", asked.object);
            let tag = "InitiateMultipartUploadResult";
            return answer(StatusCode::OK, format!("<{tag}>{id}</{tag}>"));
        }
        Self::put_together(&mut kept, asked, body, "PartNumber")
    }

    /// Azure removes in batches: what is asked in each part is a request of its own, which is signed.
    fn batch(kept: &mut Kept, body: &str) -> Response<Body> {
        let mut parts = String::new();
        let asked = body.lines().filter_map(|line| line.strip_prefix("DELETE "));
        for (id, line) in asked.enumerate() {
            let object = Asked::of(&line.split(' ').next().unwrap().parse().unwrap()).object;
            let status = match kept.objects.remove(&object) {
                Some(_) => "202 Accepted",
                None => "404 The specified blob does not exist.",
            };
            parts += &format!(
                "--{BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: {id}\r\n\r\nHTTP/1.1 {status}\r\n\
                 x-ms-version: 2018-11-09\r\n\r\n"
            );
        }
        assert_eq!(body.matches("Authorization: SharedKey account:").count(), 1, "{body}");
        let mut batch = answer(StatusCode::ACCEPTED, format!("{parts}--{BOUNDARY}--"));
        let kind = format!("multipart/mixed; boundary={BOUNDARY}");
        batch.headers_mut().insert("content-type", kind.parse().unwrap());
        batch
    }

    fn remove(&self, asked: &Asked) -> Response<Body> {
        let mut kept = self.kept();
        if asked.query.contains_key("uploadId") {
            kept.parts.remove(&asked.object).unwrap();
            kept.given_up += 1;
            return answer(StatusCode::NO_CONTENT, "");
        }
        match kept.objects.remove(&asked.object) {
            Some(_) => answer(StatusCode::NO_CONTENT, ""),
            None => answer(StatusCode::NOT_FOUND, ""),
        }
    }
}

async fn asked(State(cloud): State<Cloud>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let header = |name: &str| head.headers.get(name).and_then(|it| it.to_str().ok());
    let signs = match cloud.1 {
        Speaks::Google => "Bearer token",
        Speaks::Azure => "SharedKey account:",
    };
    if !header("authorization").is_some_and(|it| it.starts_with(signs)) {
        return answer(StatusCode::FORBIDDEN, "");
    }
    let asked = Asked::of(&head.uri);
    match head.method {
        Method::GET if asked.object.is_empty() => cloud.list(&asked),
        Method::GET => cloud.get(&asked, header("range")),
        Method::PUT => cloud.bring(asked, body),
        Method::POST => cloud.post(asked, &body),
        Method::DELETE => cloud.remove(&asked),
        other => panic!("{other} is not asked"),
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn put(bucket: &Bucket, bytes: &[u8], digest: Digest) -> Result<(), ArtifactError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    bucket.put(Bringer::Node, file, digest)
}

/// Everything that a node does with a store.
fn is_used(bucket: &Bucket, cloud: &Cloud) {
    // In one piece, and in parts.
    let all: [Vec<u8>; 2] =
        [10, PART_BYTES as usize + 3].map(|size| (0..size).map(|at| (at % 251) as u8).collect());
    for whole in &all {
        put(bucket, whole, digest(whole)).unwrap();
        let mut fetched = Vec::new();
        bucket.fetch(digest(whole), whole.len() as u64, &mut fetched).unwrap();
        assert!(fetched == *whole);
        let cut = put(bucket, &whole[1..], digest(&[0]));
        assert!(matches!(cut, Err(ArtifactError::WrongDigest { .. })), "{cut:?}");
    }
    let names: Vec<String> = cloud.kept().objects.keys().cloned().collect();
    let mut expected = all.each_ref().map(|whole| format!("of/node/{}", digest(whole)));
    expected.sort();
    assert_eq!(names, expected);
    match cloud.1 {
        Speaks::Google => {
            let Kept { begun, given_up, ref parts, .. } = *cloud.kept();
            assert_eq!((begun, given_up, parts.len()), (2, 1, 0));
        }
        // What is never put together it forgets after a week.
        Speaks::Azure => assert_eq!(cloud.kept().begun, 1),
    }

    let (large, size) = (&all[1], all[1].len() as u64);
    let mut tail = bucket.read(Bringer::Node, digest(large), size, size - 5).unwrap();
    let tail = bucket.run(Bringer::Node, async move {
        let mut read = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut tail, &mut read).await?;
        Ok(read)
    });
    assert_eq!(tail.unwrap(), large[large.len() - 5..]);

    assert_eq!(bucket.mark().unwrap(), None);
    bucket.leave("mine").unwrap();
    assert_eq!(bucket.mark().unwrap().as_deref(), Some("mine"));
    // Neither that nor what lies deeper is an artifact, and lists have several parts.
    let deeper = format!("of/node/others/{}", digest(b"x"));
    cloud.kept().objects.insert(deeper, Vec::new());
    let mut listed: Vec<_> = bucket.list().unwrap().iter().map(|it| (it.0, it.1, it.2)).collect();
    listed.sort_by_key(|it| it.1);
    let came = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_767_225_600);
    assert_eq!(listed, all.each_ref().map(|it| (digest(it), it.len() as u64, came)));

    for _ in 0..2 {
        bucket.run(Bringer::Node, bucket.removal(digest(&all[0]))).unwrap();
    }
    let gone = bucket.fetch(digest(&all[0]), 10, Vec::new());
    assert!(matches!(gone, Err(ArtifactError::Missing(_))), "{gone:?}");
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_kept_in_googles_store() {
    let (cloud, url) = Cloud::start(Speaks::Google).await;
    let credential = GcpCredential { bearer: "token".to_owned() };
    let store = encrypted(GoogleCloudStorageBuilder::new())
        .with_base_url(&url)
        .with_bucket_name("models")
        .with_credentials(Arc::new(StaticCredentialProvider::new(credential)))
        .with_retry(no_retries())
        .with_http_connector(Reaching);
    let bucket = Bucket::of(both(store.build().unwrap()), "of/node").unwrap();
    tokio::task::spawn_blocking(move || is_used(&bucket, &cloud)).await.unwrap();
}

/// Its builder allows that for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_to_googles_store_in_the_clear() {
    let credential = GcpCredential { bearer: "token".to_owned() };
    let store = encrypted(GoogleCloudStorageBuilder::new())
        .with_base_url("http://store.invalid")
        .with_bucket_name("models")
        .with_credentials(Arc::new(StaticCredentialProvider::new(credential)))
        .with_retry(no_retries())
        .with_http_connector(Reaching);
    let bucket = Bucket::of(both(store.build().unwrap()), "").unwrap();
    let listed = tokio::task::spawn_blocking(move || bucket.list()).await.unwrap();
    let told = listed.unwrap_err().to_string();
    assert!(told.contains("is not encrypted"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_kept_in_azures_store() {
    let (cloud, url) = Cloud::start(Speaks::Azure).await;
    let store = MicrosoftAzureBuilder::new()
        .with_endpoint(url.clone())
        .with_container_name("models")
        .with_account("account")
        .with_access_key("c2VjcmV0")
        .with_retry(no_retries())
        .with_http_connector(Reaching);
    let bucket = Bucket::of(both(store.build().unwrap()), "of/node").unwrap();
    tokio::task::spawn_blocking(move || {
        is_used(&bucket, &cloud);
        let life = std::time::Duration::from_secs(60);
        let address = bucket.address(Bringer::Node, digest(b"x"), life).unwrap().unwrap();
        let object = format!("{url}/models/of/node/{}?", digest(b"x"));
        assert!(address.starts_with(&object) && address.contains("sig="), "{address}");
    })
    .await
    .unwrap();
}
