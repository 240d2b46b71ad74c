//! What an encrypted key file is opened with.

use pkcs8::der::zeroize::Zeroizing;

/// A passphrase; wiped from memory when it is no longer needed.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// The variable that a program without anybody at its terminal takes it from.
    pub const VARIABLE: &str = "COLEARN_KEY_PASSPHRASE";

    /// This passphrase; `None` if it is empty, which would protect nothing.
    pub fn new(text: String) -> Option<Self> {
        let text = Zeroizing::new(text);
        if text.is_empty() { None } else { Some(Self(text)) }
    }

    /// The one in [`Passphrase::VARIABLE`], if there is one.
    pub fn from_environment() -> Option<Self> {
        std::env::var(Self::VARIABLE).ok().and_then(Self::new)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}
