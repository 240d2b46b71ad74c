//! What a server secures its connections with.

use std::path::PathBuf;

use clap::Args;
use colearn_node::{Security, TlsConfig};

/// The heading of these flags in help.
pub(crate) const TLS: &str = "TLS";

/// What a server secures its connections with.
#[derive(Args)]
pub(crate) struct TlsArgs {
    /// Its certificate, and those that vouch for it, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", group = "certificate", help_heading = TLS)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = TLS)]
    pub(crate) tls_key: Option<PathBuf>,
    /// Take only clients with a certificate that one of these vouches for
    #[arg(long, value_name = "FILE", requires = "certificate", conflicts_with = "insecure", help_heading = TLS)]
    pub(crate) client_ca: Option<PathBuf>,
    /// Make a certificate, once, that clients know by its fingerprint: it is in the address that is printed
    #[arg(long, group = "certificate", conflicts_with_all = ["tls_cert", "tls_key"], help_heading = TLS)]
    pub(crate) tls_self_signed: bool,
    /// Encrypt nothing although other machines can reach it: a proxy does, or the network is trusted
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_self_signed"], help_heading = TLS)]
    pub(crate) insecure: bool,
}

impl TlsArgs {
    /// The same for whoever listens.
    pub(crate) fn security(self) -> Security {
        match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => {
                Security::Tls(TlsConfig { certificate, key, client_authorities: self.client_ca })
            }
            _ if self.tls_self_signed => {
                Security::SelfSigned { client_authorities: self.client_ca }
            }
            _ if self.insecure => Security::Insecure,
            _ => Security::Loopback,
        }
    }
}
