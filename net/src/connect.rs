//! The way to a server: through a proxy where the environment names one, with TLS where the address says so.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::signed::Channel;
use crate::{Address, NetError, TlsFault, Trust};

/// How long the way may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a silent connection is probed.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// What is spoken over a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, as gRPC needs it.
    Http2,
}

impl Protocol {
    #[cfg(feature = "tls")]
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// What TLS has told about a connection that is in use: since TLS 1.3 a server refuses a client's certificate, or
/// that there is none, after the handshake is over for the client. HTTP/2 would say only that it broke.
type Trouble = Arc<Mutex<Option<NetError>>>;

/// Connects to one server, over and over.
#[derive(Clone)]
pub struct Connector {
    address: Address,
    proxy: Option<Intercept>,
    trouble: Trouble,
    /// Of the last connection.
    channel: Arc<Mutex<Option<Channel>>>,
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsConnector>,
}

impl Connector {
    /// Connects to a server in whom one trusts so.
    ///
    /// # Errors
    /// If files in which the trust is kept cannot be used.
    pub fn new(address: &Address, trust: &Trust, protocol: Protocol) -> Result<Self, NetError> {
        #[cfg(feature = "tls")]
        let tls = match address.is_https() {
            true => Some(tokio_rustls::TlsConnector::from(crate::tls::config(
                address, trust, protocol,
            )?)),
            false => None,
        };
        #[cfg(not(feature = "tls"))]
        if address.is_https() {
            let (_, _) = (trust, protocol);
            return Err(NetError::NoTls(address.url().to_owned()));
        }
        // Whatever a proxy is for, it leads away from this machine.
        let proxy = match address.is_loopback() {
            true => None,
            false => Matcher::from_env().intercept(address.uri()),
        };
        // To any other its password would be told in clear, or HTTP be spoken to what is none.
        if let Some(proxy) = &proxy
            && proxy.uri().scheme_str() != Some("http")
        {
            let scheme = proxy.uri().scheme_str().unwrap_or("?").to_owned();
            return Err(NetError::ProxyScheme { scheme, url: address.url().to_owned() });
        }
        Ok(Self {
            address: address.clone(),
            proxy,
            trouble: Trouble::default(),
            channel: Arc::default(),
            #[cfg(feature = "tls")]
            tls,
        })
    }

    /// The address it leads to.
    pub(crate) fn url(&self) -> &str {
        self.address.url()
    }

    /// What is bound to the last connection that was made, where it has TLS: good for those who make one after the
    /// other only.
    pub fn channel(&self) -> Option<Channel> {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same way, for what is spoken so.
    pub(crate) fn speaking(&self, protocol: Protocol) -> Self {
        #[cfg(not(feature = "tls"))]
        let _ = protocol;
        Self {
            trouble: Trouble::default(),
            channel: Arc::default(),
            #[cfg(feature = "tls")]
            tls: self.tls.as_ref().map(|tls| {
                let mut config = (**tls.config()).clone();
                config.alpn_protocols = vec![protocol.alpn().to_vec()];
                tokio_rustls::TlsConnector::from(Arc::new(config))
            }),
            ..self.clone()
        }
    }

    /// Why a connection broke off that was in use, if TLS has said so since this was asked last.
    pub fn trouble(&self) -> Option<NetError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) async fn connect(self) -> Result<Stream, NetError> {
        // What was told of connections before says nothing of this one.
        self.trouble();
        let url = self.address.url().to_owned();
        let proxy = self.proxy.as_ref().map(|proxy| proxy.uri().to_string());
        match tokio::time::timeout(PATIENCE, self.connect_at_leisure()).await {
            Ok(connected) => connected,
            Err(_) => {
                let reason = format!("no answer for {} s", PATIENCE.as_secs());
                Err(match proxy {
                    Some(proxy) => NetError::Proxy { proxy, url, reason },
                    None => NetError::Unreachable { url, reason },
                })
            }
        }
    }

    async fn connect_at_leisure(self) -> Result<Stream, NetError> {
        let url = || self.address.url().to_owned();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        // Of several addresses each has its share of the time.
        tcp.set_connect_timeout(Some(4 * PATIENCE / 5));
        let to = with_port(self.address.uri());
        let stream = match &self.proxy {
            None => tcp.call(to).await.map_err(|error| NetError::Unreachable {
                url: url(),
                reason: root_cause(&error),
            })?,
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                tunnel.call(to).await.map_err(|error| NetError::Proxy {
                    proxy: proxy.uri().to_string(),
                    url: url(),
                    reason: root_cause(&error),
                })?
            }
        };
        self.secure(stream.into_inner()).await
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, stream: TcpStream) -> Result<Stream, NetError> {
        Ok(self.stream(stream, false, None))
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, stream: TcpStream) -> Result<Stream, NetError> {
        use tokio_rustls::rustls::pki_types::ServerName;
        use tokio_util::either::Either;

        use crate::signed::CHANNEL_LABEL;

        let Some(tls) = &self.tls else {
            return Ok(self.stream(Either::Left(stream), false, None));
        };
        let url = self.address.url();
        let host = self.address.uri().host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned());
        let name = name.map_err(|_| NetError::Address(url.to_owned()))?;
        let stream = tls.connect(name, stream).await.map_err(|error| {
            match crate::tls::fault(url, &error) {
                Some(fault) => NetError::Tls { url: url.to_owned(), fault },
                // As any connection may: the server is full, or was just stopped.
                None => NetError::Unreachable {
                    url: url.to_owned(),
                    reason: format!("it closed the connection in the TLS handshake: {error}"),
                },
            }
        })?;
        // Versions of TLS that cannot say this cannot be bound to (RFC 9266, 4.2).
        let connection = stream.get_ref().1;
        let exported =
            connection.export_keying_material(Channel::default(), CHANNEL_LABEL, Some(&[])).ok();
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = exported;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(self.stream(Either::Right(Box::new(stream)), is_http2, exported))
    }

    fn stream(&self, io: Io, is_http2: bool, channel: Option<Channel>) -> Stream {
        let (url, trouble) = (self.address.url().to_owned(), self.trouble.clone());
        let is_first = !self.address.is_https();
        Stream { io: TokioIo::new(io), is_http2, channel, is_first, url, trouble }
    }
}

/// The address with its port: a proxy is told where to go.
fn with_port(uri: &Uri) -> Uri {
    if uri.port().is_some() {
        return uri.clone();
    }
    let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let authority = format!("{}:{port}", uri.host().unwrap_or_default());
    let mut parts = uri.clone().into_parts();
    parts.authority = authority.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// What lies at the bottom of an error, which is what people can do something about.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = NetError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, NetError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Poll::Ready(Ok(()))
    }

    /// Wherever is asked for, it leads to the one server.
    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

#[cfg(feature = "tls")]
type Io = tokio_util::either::Either<TcpStream, Box<tokio_rustls::client::TlsStream<TcpStream>>>;
#[cfg(not(feature = "tls"))]
type Io = TcpStream;

/// A connection.
pub struct Stream {
    io: TokioIo<Io>,
    is_http2: bool,
    channel: Option<Channel>,
    /// Whether nothing was read yet, and nothing is encrypted.
    is_first: bool,
    url: String,
    trouble: Trouble,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self.is_http2 {
            true => Connected::new().negotiated_h2(),
            false => Connected::new(),
        }
    }
}

/// What ends an answer in HTTP/2 of a server that expects TLS: GOAWAY for inadequate security (RFC 9113, 6.8 and 7).
const WANTS_TLS: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0c";
/// As much of a first answer as is looked at.
const FIRST: usize = 64;

impl Stream {
    /// What is bound to it, where it has TLS.
    pub(crate) fn channel(&self) -> Option<Channel> {
        self.channel
    }

    fn tell(&self, told: NetError) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }

    /// Reads what comes first where nothing is encrypted. HTTP/2 may end the connection over it before anything was
    /// asked, and keep the reason to itself.
    fn poll_first(
        &mut self,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; FIRST];
        let room = FIRST.min(buffer.remaining());
        let mut first = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(self.io.inner_mut()).poll_read(context, &mut first))?;
        self.is_first = false;
        if first.filled().ends_with(WANTS_TLS) {
            self.tell(NetError::Tls { url: self.url.clone(), fault: TlsFault::SpeaksTls });
        }
        buffer.put_slice(first.filled());
        Poll::Ready(Ok(()))
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_first {
            return self.poll_first(context, buffer);
        }
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if let Poll::Ready(Err(error)) = &read
            && let Some(told) = NetError::below(&self.url, error)
        {
            self.tell(told);
        }
        read
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }
}
