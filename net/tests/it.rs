//! Servers that show what they should not, and some that break off.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use colearn_net::{Address, Fingerprint, Http, NetError, TlsFault, Trust};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// Shows a certificate, whether it has its key or another one.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A server that answers a line of HTTP: its address, pinned.
async fn server(has_its_key: bool) -> Address {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["elsewhere.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let with = if has_its_key { key } else { KeyPair::generate().unwrap() };
    let provider = ring::default_provider();
    let with = PrivateKeyDer::try_from(with.serialize_der()).unwrap();
    let with = provider.key_provider.load_private_key(with).unwrap();
    let shown = CertifiedKey::new(vec![certificate.der().clone()], with);
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(shown))));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        }
    });
    format!("{url}#{}", Fingerprint::of(certificate.der())).parse().unwrap()
}

async fn ask(address: &Address) -> Result<String, NetError> {
    let http = Http::new(address, &Trust::default(), Duration::from_secs(20)).unwrap();
    Ok(http.get("/", 100).await?.text().unwrap())
}

#[tokio::test]
async fn a_pinned_certificate_is_believed_of_whoever_has_its_key() {
    // Another name, and nobody vouches for it.
    assert_eq!(ask(&server(true).await).await.unwrap(), "hello");
    // The certificate is public: anybody can show it.
    let error = ask(&server(false).await).await.unwrap_err();
    assert!(matches!(error, NetError::Tls { fault: TlsFault::NotItsKey, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_not_reached_and_has_no_fault_of_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    for scheme in ["http", "https"] {
        let error = ask(&format!("{scheme}://{address}").parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, NetError::Unreachable { .. }), "{error}");
    }
}

#[tokio::test]
async fn more_than_is_read_is_refused_and_what_others_write_is_told_in_a_line() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let body = format!("\u{1b}[2Jno\r\n{}", "x".repeat(300));
            let head = format!("HTTP/1.1 503 No\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    let http = Http::new(&address, &Trust::default(), Duration::from_secs(20)).unwrap();
    let error = http.get("/", 100).await.unwrap_err();
    assert!(matches!(error, NetError::TooLong { limit: 100, .. }), "{error}");
    let told = http.get("/", 1000).await.unwrap().text().unwrap_err();
    assert_eq!(told, "it answers 503: [2Jno");
}
