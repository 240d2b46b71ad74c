//! Why a server is not reached.

use std::path::PathBuf;

use colearn_keys::SignerError;

use crate::Fingerprint;

/// Why a server is not reached.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetError {
    /// It is no address.
    #[error("{0:?} is no address of a server; it looks like http://HOST:PORT or https://HOST")]
    Address(String),
    /// There is a name before the host, and perhaps a password. It is not repeated.
    #[error(
        "an address names no user and no password: what is asked for is signed, or shown a certificate"
    )]
    UserInAddress,
    /// It is no fingerprint.
    #[error("{0:?} is no fingerprint of a certificate: sha256: and 64 hex digits")]
    Fingerprint(String),
    /// A certificate is pinned, and none would be shown.
    #[error("{0} names a certificate, and without https none is shown")]
    PinWithoutTls(String),
    /// The address needs TLS, and this program was built without.
    #[error("{0} needs TLS, and this program was built without")]
    NoTls(String),
    /// Certificates or a key cannot be read.
    #[error("cannot use {} ({named_by}): {reason}; it is to be a file in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What names it.
        named_by: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A certificate was given without its key, or the other way round.
    #[error("a client's certificate and its key go together; give both")]
    HalfAnIdentity,
    /// A server of another ledger wants to know who asks.
    #[error(
        "{url} wants a signature for ledger {found}, and that is not the ledger that is meant: nothing was signed"
    )]
    OtherLedger {
        /// The address.
        url: String,
        /// Of the ledger.
        found: String,
    },
    /// A server wants what is signed to be bound to TLS, and there is none.
    #[error(
        "{0} wants a signature that is bound to TLS, and there is none on the way to it: nothing was signed; is its \
         address https://...?"
    )]
    NoChannel(String),
    /// The key that says who asks does not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// Nobody answers.
    #[error("nobody answers at {url}: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The proxy does not let it through.
    #[error("the proxy {proxy} does not lead to {url}: {reason}")]
    Proxy {
        /// Where the proxy is.
        proxy: String,
        /// Where it was to lead.
        url: String,
        /// What happened.
        reason: String,
    },
    /// A proxy of another kind.
    #[error(
        "the environment names a {scheme} proxy on the way to {url}, and only http ones can be used; NO_PROXY \
         makes an exception"
    )]
    ProxyScheme {
        /// Of the proxy's address.
        scheme: String,
        /// Where it was to lead.
        url: String,
    },
    /// Somebody answers, and is not believed or does not believe.
    #[error("{url} answers, and TLS fails: {fault}")]
    Tls {
        /// The address.
        url: String,
        /// Why.
        fault: TlsFault,
    },
    /// It answers something that is too long.
    #[error("{url} answers more than {limit} bytes")]
    TooLong {
        /// The address.
        url: String,
        /// How many are read.
        limit: usize,
    },
}

impl NetError {
    /// What an error comes of that lies somewhere below another one, if it is the way to the server: the one that a
    /// [`Connector`](crate::Connector) has given, or what came of it while its connection was used.
    pub fn below(url: &str, error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found.clone());
            }
            cause = error.source();
        }
        let of = |fault| Some(Self::Tls { url: url.to_owned(), fault });
        // INADEQUATE_SECURITY (RFC 9113, 7), as it is told: what a server answers that expects TLS.
        if url.starts_with("http://")
            && crate::connect::root_cause(error)
                .contains("security properties do not meet minimum requirements")
        {
            return of(TlsFault::SpeaksTls);
        }
        #[cfg(feature = "tls")]
        if let Some(fault) = crate::tls::fault(url, error) {
            return of(fault);
        }
        None
    }
}

/// Why TLS fails.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsFault {
    /// Another certificate than the pinned one.
    #[error(
        "its certificate is {found}, not {expected}; if that is right, take the new address of the server"
    )]
    OtherCertificate {
        /// Of the certificate that is shown.
        found: Fingerprint,
        /// The pinned one.
        expected: Fingerprint,
    },
    /// The pinned certificate, and not its key.
    #[error("it shows the pinned certificate and does not have its key: somebody stands between")]
    NotItsKey,
    /// An authority that is not believed.
    #[error(
        "nobody whom you believe vouches for its certificate; give --ca FILE (COLEARN_CA), or the certificate's \
         fingerprint behind the address: {0}#sha256:..."
    )]
    UnknownIssuer(String),
    /// A certificate for another name.
    #[error("its certificate is for another name; use the name it has, or pin it: {0}#sha256:...")]
    OtherName(String),
    /// A certificate whose time is over, or has not come.
    #[error("its certificate is out of date (or this machine's clock is wrong): {0}")]
    OutOfDate(String),
    /// It asks for a certificate.
    #[error(
        "it asks for a certificate of a client, and takes none or not this one; give --client-cert and --client-key"
    )]
    WantsCertificate,
    /// It does not speak TLS.
    #[error("it does not speak TLS; is its address http://...?")]
    NotTls,
    /// It speaks nothing else.
    #[error("it speaks TLS; is its address https://...?")]
    SpeaksTls,
    /// Something else.
    #[error("{0}")]
    Other(String),
}
