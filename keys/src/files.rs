//! Private keys in files, readable by their owner only: Ed25519 in PKCS#8 PEM, encrypted or not, as
//! `openssl` writes it too, and what `ssh-keygen` writes.

use std::fs::File;
use std::io::Read as _;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::KeypairBytes;
use pkcs8::der::pem::{self, LineEnding};
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef,
};

use crate::key::SignerError;
use crate::openssh::{self, NoKey};
use crate::passphrase::Passphrase;

/// A key file is a few hundred bytes; anything much larger is something else.
const MAX_KEY_FILE_BYTES: u64 = 16_384;

/// Why a key could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others can read the file.
    #[error("the private key {} can be read by others (mode {mode:03o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key.
    #[error("{} is not an Ed25519 private key in PEM; make one with: colearn key new FILE", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else than such a key.
    #[error("{} holds {what}; an Ed25519 private key is needed: colearn key new FILE", path.display())]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// What it holds.
        what: String,
    },
    /// The file is encrypted, and nothing to open it with was given.
    #[error(
        "the private key {} is encrypted; set {} to its passphrase, or {} to a file that holds it",
        path.display(), Passphrase::VARIABLE, Passphrase::FILE_VARIABLE
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase does not open it.
    #[error("the passphrase does not open {}", path.display())]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The file is encrypted in a way that is not read here.
    #[error(
        "{} is encrypted in a way that is not read here; write it anew with: \
         openssl pkcs8 -topk8 -v2 aes-256-cbc -in {} -out NEW",
        path.display(), path.display()
    )]
    OtherCipher {
        /// The file.
        path: PathBuf,
    },
    /// OpenSSH's own encryption is not read here.
    #[error(
        "{} is encrypted as OpenSSH does it, which is not read here; have an agent use it (ssh-add {}, then \
         agent: in the file's place), or take the passphrase from a copy with: ssh-keygen -p -N '' -f COPY",
        path.display(), path.display()
    )]
    EncryptedByOpenssh {
        /// The file.
        path: PathBuf,
    },
    /// There is no file.
    #[error("there is no key file {}; make one with: colearn key new {}", path.display(), path.display())]
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
    /// The file cannot be read or written.
    #[error("cannot access the key file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file that is to hold the passphrase cannot be read.
    #[error("cannot read the passphrase in {} ({}): {source}", path.display(), Passphrase::FILE_VARIABLE)]
    PassphraseFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The key is in no file, and not to be had.
    #[error(transparent)]
    Elsewhere(#[from] SignerError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A new key from the system's random number generator.
///
/// # Errors
/// If there are no random numbers.
pub fn generate() -> Result<SigningKey, KeyError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(KeyError::Random)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// What a key file holds.
#[derive(Debug)]
pub enum KeyFile {
    /// A key.
    Open(SigningKey),
    /// A key that a passphrase opens.
    Locked(LockedKey),
}

/// A key that a passphrase opens.
#[derive(Clone, Debug)]
pub struct LockedKey {
    path: PathBuf,
    encrypted: Vec<u8>,
}

impl LockedKey {
    /// Opens it.
    ///
    /// # Errors
    /// If this is not the passphrase, or what is opened is no such key.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<SigningKey, KeyError> {
        let path = || self.path.clone();
        let info = EncryptedPrivateKeyInfoRef::try_from(&self.encrypted[..])
            .map_err(|_| KeyError::OtherCipher { path: path() })?;
        let opened = info.decrypt(passphrase.as_bytes()).map_err(|error| match error {
            pkcs8::Error::EncryptedPrivateKey(
                pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }
                | pkcs8::pkcs5::Error::NoPbes1CryptSupport
                | pkcs8::pkcs5::Error::AlgorithmParametersInvalid { .. },
            ) => KeyError::OtherCipher { path: path() },
            // A wrong passphrase gives garbage, and whether its padding is right is chance.
            _ => KeyError::WrongPassphrase { path: path() },
        })?;
        match from_der(&self.path, opened.as_bytes()) {
            Err(KeyError::NotAKey { path }) => Err(KeyError::WrongPassphrase { path }),
            read => read,
        }
    }
}

/// Reads a key file; one that is encrypted with the passphrase that the environment has.
///
/// # Errors
/// If it does not exist, is readable by others, is not a key, or cannot be opened.
pub fn load(path: &Path) -> Result<SigningKey, KeyError> {
    match read(path)? {
        KeyFile::Open(key) => Ok(key),
        KeyFile::Locked(locked) => match Passphrase::from_environment()? {
            Some(passphrase) => locked.unlock(&passphrase),
            None => Err(KeyError::Locked { path: path.to_owned() }),
        },
    }
}

/// Reads a key file.
///
/// # Errors
/// If it does not exist, is readable by others, or is not a key.
pub fn read(path: &Path) -> Result<KeyFile, KeyError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => KeyError::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(io)?;
    #[cfg(unix)]
    {
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        if mode & others(path, credentials.as_deref()) != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_KEY_FILE_BYTES).read_to_end(&mut bytes).map_err(io)?;
    parse(path, &bytes)
}

/// The permissions that a key file may not have. What systemd shows to a service is for that alone, by a list of who may
/// read it, and the most that such a list gives is shown as what the group may.
#[cfg(unix)]
fn others(path: &Path, credentials: Option<&Path>) -> u32 {
    match credentials {
        Some(folder) if folder.is_absolute() && path.parent() == Some(folder) => 0o037,
        _ => 0o077,
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<KeyFile, KeyError> {
    let not_a_key = || KeyError::NotAKey { path: path.to_owned() };
    let other = |what: &str| KeyError::OtherKey { path: path.to_owned(), what: what.to_owned() };
    if bytes.starts_with(b"ssh-") || bytes.starts_with(b"ecdsa-") {
        return Err(other("a public key of OpenSSH's"));
    }
    let block = pem_block(bytes).ok_or_else(not_a_key)?;
    // The lines may be as long as whoever wrote them liked.
    let mut decoder = pem::Decoder::new_detect_wrap(&block).map_err(|_| not_a_key())?;
    let label = decoder.type_label();
    let mut decoded = Zeroizing::new(Vec::new());
    decoder.decode_to_end(&mut decoded).map_err(|_| not_a_key())?;
    match label {
        "PRIVATE KEY" => from_der(path, &decoded).map(KeyFile::Open),
        "ENCRYPTED PRIVATE KEY" => {
            EncryptedPrivateKeyInfoRef::try_from(&decoded[..])
                .map_err(|_| KeyError::OtherCipher { path: path.to_owned() })?;
            let (path, encrypted) = (path.to_owned(), decoded.to_vec());
            Ok(KeyFile::Locked(LockedKey { path, encrypted }))
        }
        openssh::LABEL => match openssh::decode(&decoded) {
            Ok(key) => Ok(KeyFile::Open(key)),
            Err(NoKey::Malformed) => Err(not_a_key()),
            Err(NoKey::Encrypted) => Err(KeyError::EncryptedByOpenssh { path: path.to_owned() }),
            Err(NoKey::Kind(kind)) => Err(other(&format!("a key of the kind {kind}"))),
        },
        "PUBLIC KEY" => Err(other("a public key")),
        label => Err(other(&format!("what its first line calls {label}"))),
    }
}

/// The lines of the first PEM block. Tools write others before and after it, and systems end lines in
/// their own ways.
fn pem_block(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut block = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    for line in text.lines().skip_while(|line| !line.starts_with("-----BEGIN ")) {
        block.extend_from_slice(line.trim_end().as_bytes());
        block.push(b'\n');
        if line.starts_with("-----END ") {
            return Some(block);
        }
    }
    None
}

/// The key in a PKCS#8 structure.
fn from_der(path: &Path, der: &[u8]) -> Result<SigningKey, KeyError> {
    let not_a_key = || KeyError::NotAKey { path: path.to_owned() };
    let info = PrivateKeyInfoRef::try_from(der).map_err(|_| not_a_key())?;
    if info.algorithm.oid != ed25519_dalek::pkcs8::ALGORITHM_OID {
        let what = format!("a private key of another kind ({})", info.algorithm.oid);
        return Err(KeyError::OtherKey { path: path.to_owned(), what });
    }
    SigningKey::from_pkcs8_der(der).map_err(|_| not_a_key())
}

/// Writes a key to a new file; on Unix with mode 0600, elsewhere as the folder lets its owner.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn save_new(key: &SigningKey, path: &Path) -> Result<(), KeyError> {
    write(path, pair(key).to_pkcs8_pem(LineEnding::LF))
}

/// Writes a key to a new file, encrypted: AES-256, and scrypt with what OpenSSL reads.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn save_new_locked(
    key: &SigningKey,
    path: &Path,
    passphrase: &Passphrase,
) -> Result<(), KeyError> {
    write(path, pair(key).to_pkcs8_encrypted_pem(passphrase.as_bytes(), LineEnding::LF))
}

/// The form without the public key, which OpenSSL and Python's cryptography read too.
fn pair(key: &SigningKey) -> KeypairBytes {
    KeypairBytes { secret_key: key.to_bytes(), public_key: None }
}

fn write(path: &Path, pem: pkcs8::Result<Zeroizing<String>>) -> Result<(), KeyError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::Io { path: path.to_owned(), source },
    };
    let pem = pem.map_err(|source| io(std::io::Error::other(source)))?;
    // Whole or not at all: half a key after a crash would be neither usable nor overwritten.
    colearn_files::create_secret(path, pem.as_bytes()).map_err(|error| io(error.into()))
}

/// Reads a key file, or makes one if there is none.
///
/// # Errors
/// If it cannot be read or written.
pub fn load_or_create(path: &Path) -> Result<SigningKey, KeyError> {
    match load(path) {
        Err(KeyError::Missing { .. }) => {
            let key = generate()?;
            save_new(&key, path)?;
            Ok(key)
        }
        other => other,
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_shows_to_a_service_alone_may_have_a_list_of_who_reads_it() {
        let folder = Path::new("/run/credentials/colearn-learner@x.service");
        let key = folder.join("key.pem");
        assert_eq!(others(&key, Some(folder)), 0o037);
        for (path, credentials) in [
            (&*key, None),
            (&*key, Some(Path::new("/run/credentials"))),
            (Path::new("key.pem"), Some(Path::new(""))),
            (Path::new("/run/credentials/x/../y/key.pem"), Some(Path::new("/run/credentials/y"))),
        ] {
            assert_eq!(others(path, credentials), 0o077, "{}", path.display());
        }
    }

    #[test]
    fn a_key_survives_its_file_and_is_guarded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.pem");
        assert!(matches!(load(&path), Err(KeyError::Missing { .. })));
        let key = load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap(), key);
        assert!(matches!(save_new(&key, &path), Err(KeyError::Exists { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = load(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(load(&path), Err(KeyError::NotAKey { .. })));
    }
}
