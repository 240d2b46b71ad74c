//! Who pays on the chain: a secp256k1 key in a file.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bech32::{Bech32, Hrp};
use k256::SecretKey;
use k256::ecdsa::signature::Signer as _;
use k256::ecdsa::{Signature, SigningKey};
use k256::elliptic_curve::zeroize::Zeroizing;
use k256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use ripemd::Ripemd160;
use sha2::{Digest as _, Sha256};

/// A key file has a few hundred bytes.
const MAX_FILE_BYTES: u64 = 16_384;
/// The longest prefix that an address may have here: with its 20 bytes it is within what bech32 is made for.
const MAX_PREFIX: usize = 48;

/// A key of a chain's account.
#[derive(Clone)]
pub struct Account {
    key: SigningKey,
}

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum BadAccount {
    /// There is no file.
    #[error(
        "there is no account {}; make one with: colearn chain account --prefix PREFIX --out {}",
        path.display(), path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is a file already.
    #[error("{} exists and is not overwritten; choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the file.
    #[error("the account {} can be read by others (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is no key.
    #[error(
        "{} is not a secp256k1 private key in PEM without a passphrase; make one with: colearn chain account",
        path.display()
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("cannot access the account {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The prefix is none.
    #[error("{0:?} is no prefix of addresses: 1 to {MAX_PREFIX} of a-z 0-9, such as cosmos")]
    Prefix(String),
}

impl Account {
    /// A new one from the system's random number generator.
    ///
    /// # Errors
    /// If there are no random numbers.
    pub fn generate() -> Result<Self, BadAccount> {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(&mut *bytes).map_err(BadAccount::Random)?;
            // Of 2^128 numbers one is no key.
            if let Ok(key) = SigningKey::from_slice(&*bytes) {
                return Ok(Self { key });
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self { key: SigningKey::from_slice(bytes).ok()? })
    }

    /// Reads a file: PKCS#8, or SEC1 as `openssl ecparam -genkey -name secp256k1` writes it.
    ///
    /// # Errors
    /// If it is not there, is readable by others, or no such key.
    pub fn open(path: &Path) -> Result<Self, BadAccount> {
        let io = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => BadAccount::Missing { path: path.to_owned() },
            _ => BadAccount::Io { path: path.to_owned(), source },
        };
        let file = File::open(path).map_err(io)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(BadAccount::Exposed { path: path.to_owned(), mode });
            }
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_BYTES).read_to_end(&mut text).map_err(io)?;
        let not_a_key = || BadAccount::NotAKey { path: path.to_owned() };
        let text = std::str::from_utf8(&text).map_err(|_| not_a_key())?;
        // openssl puts the curve's parameters before it.
        let begin = ["-----BEGIN PRIVATE KEY-----", "-----BEGIN EC PRIVATE KEY-----"]
            .into_iter()
            .find_map(|label| text.find(label));
        let pem = text.get(begin.ok_or_else(not_a_key)?..).unwrap_or_default();
        let key =
            SecretKey::from_pkcs8_pem(pem).ok().or_else(|| SecretKey::from_sec1_pem(pem).ok());
        Ok(Self { key: key.ok_or_else(not_a_key)?.into() })
    }

    /// Writes it to a new file, as PKCS#8, which only its owner may read.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), BadAccount> {
        let io = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AlreadyExists => BadAccount::Exists { path: path.to_owned() },
            _ => BadAccount::Io { path: path.to_owned(), source },
        };
        let pem = SecretKey::from(&self.key).to_pkcs8_pem(LineEnding::LF);
        let pem = pem.map_err(|error| io(std::io::Error::other(error)))?;
        // Whole or not at all: half a key after a crash would be neither usable nor overwritten.
        colearn_files::create_secret(path, pem.as_bytes()).map_err(|error| io(error.into()))
    }

    /// Its address on chains whose addresses begin so, such as `cosmos`.
    ///
    /// # Errors
    /// If that is no prefix.
    pub fn address(&self, prefix: &str) -> Result<String, BadAccount> {
        let bad = || BadAccount::Prefix(prefix.to_owned());
        let of_prefix = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if prefix.len() > MAX_PREFIX || !prefix.bytes().all(of_prefix) {
            return Err(bad());
        }
        let hash = Ripemd160::digest(Sha256::digest(self.public_key()));
        let prefix = Hrp::parse(prefix).map_err(|_| bad())?;
        bech32::encode::<Bech32>(prefix, &hash).map_err(|_| bad())
    }

    /// Its public key, compressed.
    pub fn public_key(&self) -> [u8; 33] {
        let point = self.key.verifying_key().to_sec1_point(true);
        let mut bytes = [0; 33];
        bytes.copy_from_slice(point.as_bytes());
        bytes
    }

    /// Signs bytes as chains verify it: ECDSA of their SHA-256, the same each time (RFC 6979), with the lower of the two
    /// values that s can have.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let signature: Signature = self.key.sign(bytes);
        signature.normalize_s().to_bytes().into()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", hex::encode(self.public_key()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// As `openssl ecparam -name secp256k1 -genkey` writes it: the parameters first, then SEC1.
    const OPENSSL: &str = "-----BEGIN EC PARAMETERS-----
BgUrgQQACg==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHQCAQEEIHXU6f3gYohmYiVUZJspiS7RlHgzPNpRFZYHSXMEBJREoAcGBSuBBAAK
oUQDQgAEVoI0TnWzGcIlZZKH0Yc3dWOchtuKp1E5NF+0epGnAud7oR1cY2nENQJF
XrjC37Ygce4Q2HtuQWsEVaYa0fqPtA==
-----END EC PRIVATE KEY-----
";

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        #[cfg(not(unix))]
        let _ = mode;
    }

    #[test]
    fn what_is_written_is_read_and_others_may_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.pem");
        assert!(matches!(Account::open(&path), Err(BadAccount::Missing { .. })));
        let account = Account::generate().unwrap();
        account.save(&path).unwrap();
        assert!(matches!(account.save(&path), Err(BadAccount::Exists { .. })));
        assert_eq!(Account::open(&path).unwrap().public_key(), account.public_key());
        assert_ne!(Account::generate().unwrap().public_key(), account.public_key());
        let text = std::fs::read_to_string(&path).unwrap();
        #[cfg(unix)]
        {
            write(&path, &text, 0o640);
            assert!(matches!(Account::open(&path), Err(BadAccount::Exposed { mode: 0o640, .. })));
        }
        write(&path, OPENSSL, 0o600);
        assert_eq!(
            Account::open(&path).unwrap().address("wasm").unwrap(),
            "wasm1usx0j6vv82fm0f6hcmshm0z0qu2etp7ezwpzks"
        );
        // Half of it, nothing, and an Ed25519 key.
        let other = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
";
        for none in [&text[..60], "", "\u{0}", other] {
            write(&path, none, 0o600);
            assert!(matches!(Account::open(&path), Err(BadAccount::NotAKey { .. })), "{none}");
        }
    }

    #[test]
    fn an_address_needs_a_prefix() {
        let account = Account::generate().unwrap();
        assert!(account.address("fetch").unwrap().starts_with("fetch1"));
        for none in ["", "A", "a b", "\u{e9}", &"a".repeat(49)] {
            assert!(matches!(account.address(none), Err(BadAccount::Prefix(_))), "{none}");
        }
    }
}
