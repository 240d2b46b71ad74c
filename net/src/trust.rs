//! Whose certificates are believed, and who one is: the certificate that is shown, the key that signs.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::Credential;
#[cfg(feature = "tls")]
use crate::NetError;

/// The environment's variables. The last is that of other programs with TLS.
pub(crate) const CA: &str = "COLEARN_CA";
pub(crate) const CLIENT_CERT: &str = "COLEARN_CLIENT_CERT";
pub(crate) const CLIENT_KEY: &str = "COLEARN_CLIENT_KEY";
const WEIGHTS_FROM: &str = "COLEARN_WEIGHTS_FROM";
#[cfg(feature = "tls")]
pub(crate) const CERTIFICATES: &str = "SSL_CERT_FILE";
#[cfg(feature = "tls")]
pub(crate) const CERTIFICATES_DIR: &str = "SSL_CERT_DIR";

/// A certificate that a client shows, with its key: files in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The certificate, and those that vouch for it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Whose certificates are believed, and what is shown to servers that ask who it is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Trust {
    /// A file of certificates in PEM, which alone vouch for servers; otherwise whoever this system believes.
    pub authorities: Option<PathBuf>,
    /// What is shown.
    pub identity: Option<Identity>,
    /// Whose key signs what is asked for, where a server wants to know who asks.
    pub credential: Option<Credential>,
    /// Beginnings of addresses from which weights are fetched if a node says that they are there. Whoever runs this names
    /// them: a node could send it anywhere.
    pub weights_from: Vec<String>,
    /// What named the authorities, for messages.
    named_by: Option<&'static str>,
    /// Whether the environment has a certificate without its key, or the other way round: told where TLS is asked
    /// for, which most of what a command does never does.
    is_half: bool,
}

static OF_PROCESS: OnceLock<Trust> = OnceLock::new();

impl Trust {
    /// Believes the certificates of a file, and shows one.
    pub fn new(authorities: Option<PathBuf>, identity: Option<Identity>) -> Self {
        Self { authorities, identity, ..Self::default() }
    }

    /// From what a command's flags say, `COLEARN_CA`, `COLEARN_CLIENT_CERT` and `COLEARN_CLIENT_KEY` taking the
    /// place of what they do not, and `COLEARN_WEIGHTS_FROM`. A certificate without a key, or the other way round, is told of where something
    /// is connected.
    pub fn given(
        authorities: Option<PathBuf>,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Self {
        let named_by = authorities.is_none().then_some(CA);
        let authorities = authorities.or_else(|| named(CA));
        let certificate = certificate.or_else(|| named(CLIENT_CERT));
        let (identity, is_half) = match (certificate, key.or_else(|| named(CLIENT_KEY))) {
            (Some(certificate), Some(key)) => (Some(Identity { certificate, key }), false),
            (None, None) => (None, false),
            _ => (None, true),
        };
        let weights_from = std::env::var(WEIGHTS_FROM).unwrap_or_default();
        let weights_from = weights_from.split(',').map(str::trim).filter(|it| !it.is_empty());
        let weights_from = weights_from.map(str::to_owned).collect();
        Self { authorities, identity, credential: None, weights_from, named_by, is_half }
    }

    /// The same, with weights fetched from addresses that begin with one of these, if there are some.
    #[must_use]
    pub fn fetching_from(self, weights_from: Vec<String>) -> Self {
        match weights_from.is_empty() {
            true => self,
            false => Self { weights_from, ..self },
        }
    }

    /// The same, with what is asked for signed by this key.
    #[must_use]
    pub fn signed_by(self, credential: Credential) -> Self {
        Self { credential: Some(credential), ..self }
    }

    /// What all of this process goes by that says nothing else: what [`Trust::set_for_process`] has set, or the
    /// environment's variables.
    pub fn of_process() -> Self {
        OF_PROCESS.get().cloned().unwrap_or_else(|| Self::given(None, None, None))
    }

    /// Sets what all of this process goes by, once and before anything is connected: for commands, whose flags
    /// are for all that they reach.
    pub fn set_for_process(self) {
        // Whoever was first is gone by already.
        let _ = OF_PROCESS.set(self);
    }

    /// The file whose certificates vouch for servers, and what names it; `None` for those of the system.
    #[cfg(feature = "tls")]
    pub(crate) fn authorities(&self) -> Option<(PathBuf, &'static str)> {
        match &self.authorities {
            Some(path) => Some((path.clone(), self.named_by.unwrap_or("--ca"))),
            None => named(CERTIFICATES).map(|path| (path, CERTIFICATES)),
        }
    }

    /// What is shown.
    ///
    /// # Errors
    /// If half of it is missing.
    #[cfg(feature = "tls")]
    pub(crate) fn shown(&self) -> Result<Option<&Identity>, NetError> {
        match self.is_half {
            true => Err(NetError::HalfAnIdentity),
            false => Ok(self.identity.as_ref()),
        }
    }
}

/// What the environment says, if it says something.
pub(crate) fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|it| !it.is_empty()).map(PathBuf::from)
}
