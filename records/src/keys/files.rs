//! Private keys in files: Ed25519 private keys in PKCS#8 PEM, readable by their owner only.

use std::fs::File;
use std::io::Read as _;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};

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
    #[error("{} is not an Ed25519 private key in PKCS#8 PEM; make one with: colearn key new FILE", path.display())]
    NotAKey {
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

/// Reads a key file.
///
/// # Errors
/// If it does not exist, is readable by others, or is not a key.
pub fn load(path: &Path) -> Result<SigningKey, KeyError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => KeyError::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(io)?;
    #[cfg(unix)]
    {
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
    }
    let not_a_key = || KeyError::NotAKey { path: path.to_owned() };
    let mut pem = String::new();
    file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut pem).map_err(|_| not_a_key())?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| not_a_key())
}

/// Writes a key to a new file; on Unix with mode 0600, elsewhere as the folder lets its owner.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn save_new(key: &SigningKey, path: &Path) -> Result<(), KeyError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::Io { path: path.to_owned(), source },
    };
    // The form without the public key, which OpenSSL and Python's cryptography read too.
    let pair = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let pem = pair.to_pkcs8_pem(LineEnding::LF);
    let pem = pem.map_err(|_| KeyError::NotAKey { path: path.to_owned() })?;
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
