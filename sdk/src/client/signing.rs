//! Calls that say who asks, where a node wants to know.

use std::task::{Context, Poll};

use bytes::Bytes;
use colearn_net::{Asked, Connector, Content, NetError, Signing, content_of};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;

use super::BoxFuture;

/// How often a call is repeated because of who asks: unsigned, and over a connection that was made meanwhile.
const TRIES: usize = 3;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The digest of what a call brings, for one whose body is not known when it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brings(pub(super) Content);

/// A channel that signs what a node wants to be signed.
#[derive(Clone)]
pub(super) struct SignedChannel {
    channel: Channel,
    connector: Connector,
    signing: Signing,
}

impl SignedChannel {
    pub(super) fn new(channel: Channel, connector: Connector, signing: Signing) -> Self {
        Self { channel, connector, signing }
    }

    async fn authorization(
        &self,
        path: &str,
        content: Content,
        is_stated: bool,
    ) -> Result<Option<HeaderValue>, NetError> {
        let asked = Asked { method: Method::POST.as_str(), path, content };
        self.signing.authorize(asked, self.connector.channel(), is_stated).await
    }

    async fn call_channel(&mut self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        std::future::poll_fn(|context| self.channel.poll_ready(context)).await?;
        Ok(self.channel.call(request).await?)
    }

    /// A call whose body is sent as it comes; it cannot be repeated here.
    async fn bring(
        mut self,
        mut request: Request<Body>,
        Brings(content): Brings,
    ) -> Result<Response<Body>, BoxError> {
        if let Some(value) = self.authorization(request.uri().path(), content, true).await? {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let response = self.call_channel(request).await?;
        self.signing.hear(response.headers())?;
        Ok(response)
    }

    /// A call with one message.
    async fn ask(mut self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let content = content_of(&body);
        let mut tries = 0;
        loop {
            let mut request = again(&parts, body.clone());
            if let Some(value) = self.authorization(parts.uri.path(), content, false).await? {
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            let response = self.call_channel(request).await?;
            if !is_refused(response.headers())
                || tries == TRIES
                || !self.signing.hear(response.headers())?
            {
                return Ok(response);
            }
            tries += 1;
        }
    }
}

/// Whether it is to be known who asks.
fn is_refused(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::WWW_AUTHENTICATE)
}

fn again(parts: &http::request::Parts, body: Bytes) -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(body)));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().clone_from(&parts.headers);
    *request.extensions_mut() = parts.extensions.clone();
    request
}

impl Service<Request<Body>> for SignedChannel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.channel.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that was waited for; the other waits for itself.
        let waited = self.channel.clone();
        let channel = std::mem::replace(&mut self.channel, waited);
        let mut this = Self { channel, ..self.clone() };
        let path = request.uri().path();
        // Transactions are signed in themselves.
        if path.ends_with("/Submit") || path.ends_with("/SubmitStream") {
            let answer = this.channel.call(request);
            return Box::pin(async move { Ok(answer.await?) });
        }
        match request.extensions().get::<Brings>().copied() {
            Some(brings) => Box::pin(this.bring(request, brings)),
            None => Box::pin(this.ask(request)),
        }
    }
}
