//! What an encrypted key file is opened with.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use pkcs8::der::zeroize::Zeroizing;

use crate::files::KeyError;

/// What is read of a file with a passphrase.
const MAX_FILE_BYTES: u64 = 4096;

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

    /// The variable that names a file with it: a container's secret, or what systemd has decrypted.
    pub const FILE_VARIABLE: &str = "COLEARN_KEY_PASSPHRASE_FILE";

    /// The one in [`Passphrase::VARIABLE`], or in the file that [`Passphrase::FILE_VARIABLE`] names; `None` where
    /// neither is set.
    ///
    /// # Errors
    /// If that file cannot be read, or holds more than a line.
    pub fn from_environment() -> Result<Option<Self>, KeyError> {
        if let Some(here) = std::env::var(Self::VARIABLE).ok().and_then(Self::new) {
            return Ok(Some(here));
        }
        match std::env::var_os(Self::FILE_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => Self::in_file(Path::new(&path)).map(Some),
            None => Ok(None),
        }
    }

    /// The only line of a file.
    fn in_file(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::PassphraseFile { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
        let mut lines = text.lines();
        match (lines.next().map(str::to_owned).and_then(Self::new), lines.next()) {
            (Some(passphrase), None) => Ok(passphrase),
            _ => Err(failed(std::io::Error::other("it is to hold one line, the passphrase"))),
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_line_and_that_is_the_passphrase() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Passphrase::in_file(&path)
        };
        let expected = Passphrase::new(" two words ".to_owned()).unwrap();
        for text in [" two words ", " two words \n", " two words \r\n"] {
            assert!(read(text).unwrap() == expected, "{text:?}");
        }
        for text in ["", "\n", "two\nlines", "one\n\n"] {
            assert!(read(text).unwrap_err().to_string().contains("one line"), "{text:?}");
        }
        let told = Passphrase::in_file(&dir.path().join("nowhere")).unwrap_err().to_string();
        assert!(told.contains("nowhere") && told.contains(Passphrase::FILE_VARIABLE), "{told}");
    }
}
