//! Private keys as `ssh-keygen` writes them (openssh-key-v1, PROTOCOL.key of OpenSSH), where they are
//! Ed25519 and not encrypted.

use ed25519_dalek::SigningKey;

use crate::ssh::{ED25519 as KIND, Reader, Short};

/// The label of such a file's PEM.
pub(super) const LABEL: &str = "OPENSSH PRIVATE KEY";
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Why a file of OpenSSH's gives no key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NoKey {
    /// It is not of the form.
    Malformed,
    /// It is encrypted.
    Encrypted,
    /// It is a key of this kind.
    Kind(String),
}

impl From<Short> for NoKey {
    fn from(_: Short) -> Self {
        Self::Malformed
    }
}

/// Reads what the PEM holds.
pub(super) fn decode(bytes: &[u8]) -> Result<SigningKey, NoKey> {
    let mut file = Reader(bytes.strip_prefix(MAGIC).ok_or(NoKey::Malformed)?);
    let (cipher, kdf, _kdf_options) = (file.string()?, file.string()?, file.string()?);
    // One file may hold several keys; none that ssh-keygen writes does.
    if file.number()? != 1 {
        return Err(NoKey::Malformed);
    }
    let mut public = Reader(file.string()?);
    let kind = public.string()?;
    if kind != KIND {
        return Err(NoKey::Kind(String::from_utf8_lossy(kind).into_owned()));
    }
    let public = public.string()?;
    if (cipher, kdf) != (b"none", b"none") {
        return Err(NoKey::Encrypted);
    }
    let mut private = Reader(file.string()?);
    // Two equal numbers show whoever decrypts that it worked.
    if private.number()? != private.number()? || private.string()? != KIND {
        return Err(NoKey::Malformed);
    }
    if private.string()? != public {
        return Err(NoKey::Malformed);
    }
    // The seed, and the public key once more.
    let (seed, again) = private.string()?.split_first_chunk().ok_or(NoKey::Malformed)?;
    let key = SigningKey::from_bytes(seed);
    if again != public || key.verifying_key().as_bytes() != public {
        return Err(NoKey::Malformed);
    }
    Ok(key)
}
