//! Model keys: what the members of an experiment share, and keep from everybody else.

use std::fmt;
use std::io::{self, Read as _};
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{ID_BYTES, TAG_BYTES};

/// The most keys that one file can have.
const MAX_KEYS: usize = 1000;
/// The largest file of keys that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// What a file of keys begins with.
const HEAD: &str = "\
# Model keys (colearn model keys): whoever has them reads the models that are encrypted under them.
# For members only. A newcomer need not have those before it came: hand on a copy without their lines.
";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Others can read the file.
    #[error(
        "the model keys {} can be read by others (mode {mode:03o}); run: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is no key.
    #[error(
        "{what}: line {line} of model keys; a line is a number, larger than those before, and 64 hexadecimal digits"
    )]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no key in it.
    #[error("there are no model keys in it; make some with: colearn model keys new FILE")]
    Empty,
    /// There are more than anybody needs.
    #[error("more than {MAX_KEYS} model keys, or more than {MAX_FILE_BYTES} bytes")]
    TooMany,
    /// The file is there already.
    #[error("{} exists and is not overwritten; another key is added with: colearn model keys add {}",
        .0.display(), .0.display())]
    Exists(PathBuf),
    /// The file holds something else.
    #[error("cannot use {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Box<KeysError>,
    },
    /// The file cannot be read or written.
    #[error("cannot access the model keys {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A key under which models are encrypted. Its bytes are not shown.
#[derive(Clone)]
pub struct ModelKey {
    number: u32,
    secret: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelKey({}, {})", self.number, hex::encode(self.id()))
    }
}

impl ModelKey {
    fn random(number: u32) -> Result<Self, KeysError> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(KeysError::Random)?;
        Ok(Self { number, secret })
    }

    /// Which it is of those that followed one another: from 1 on.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What names it in the models that are encrypted under it. Nothing of the key follows from that.
    pub fn id(&self) -> [u8; ID_BYTES] {
        let derived = self.derive(b"id", &self.number.to_be_bytes()).finalize().into_bytes();
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&derived[..ID_BYTES]);
        id
    }

    /// What stands for a model of this digest in its encryption: each has its own, and only who has the key can tell
    /// whose it is.
    pub(crate) fn tag(&self, digest: &[u8; 32]) -> [u8; TAG_BYTES] {
        self.derive(b"tag", digest).finalize().into_bytes().into()
    }

    /// Whether it is that of a model of this digest.
    pub(crate) fn is_tag(&self, digest: &[u8; 32], tag: &[u8; TAG_BYTES]) -> bool {
        self.derive(b"tag", digest).verify_slice(tag).is_ok()
    }

    /// The key that encrypts that one model and nothing else.
    pub(crate) fn of_model(&self, tag: &[u8; TAG_BYTES]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.derive(b"model", tag).finalize().into_bytes().into())
    }

    /// HMAC-SHA256, which is a pseudorandom function of what follows the name of its purpose.
    fn derive(&self, purpose: &[u8], of: &[u8]) -> Hmac<Sha256> {
        // HMAC fills shorter keys up with zeros; of this length there is none that it could refuse.
        let mut block = Zeroizing::new([0; 64]);
        block[..self.secret.len()].copy_from_slice(&*self.secret);
        let mut mac = Hmac::<Sha256>::new(&(*block).into());
        for part in [b"colearn/model-key/v1/", purpose, b"\n", of] {
            mac.update(part);
        }
        mac
    }
}

/// The model keys of an experiment, the newest last. There is at least one.
#[derive(Clone, Debug)]
pub struct ModelKeys(Vec<ModelKey>);

impl ModelKeys {
    /// A first key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<Self, KeysError> {
        Ok(Self(vec![ModelKey::random(1)?]))
    }

    /// Adds another key, under which everything is encrypted from now on.
    ///
    /// # Errors
    /// If the system gives no random numbers, or there are too many.
    pub fn add(&mut self) -> Result<&ModelKey, KeysError> {
        let next = self.newest().number.checked_add(1).filter(|_| self.0.len() < MAX_KEYS);
        self.0.push(ModelKey::random(next.ok_or(KeysError::TooMany)?)?);
        Ok(self.newest())
    }

    /// Reads keys as [`ModelKeys::to_text`] writes them: a number and a key a line; `#` begins a remark.
    ///
    /// # Errors
    /// If a line is no key, or there are none or too many.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let mut keys: Vec<ModelKey> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let bad = |what| KeysError::Line { line: at + 1, what };
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(number) = words.next() else { continue };
            let number: u32 = number.parse().map_err(|_| bad("no number"))?;
            if number <= keys.last().map_or(0, ModelKey::number) {
                return Err(bad("numbers ascend from 1"));
            }
            let mut secret = Zeroizing::new([0; 32]);
            let digits = words.next().ok_or(bad("no key"))?;
            hex::decode_to_slice(digits, &mut *secret).map_err(|_| bad("no key"))?;
            if words.next().is_some() {
                return Err(bad("more than a key"));
            }
            if keys.len() == MAX_KEYS {
                return Err(KeysError::TooMany);
            }
            keys.push(ModelKey { number, secret });
        }
        if keys.is_empty() { Err(KeysError::Empty) } else { Ok(Self(keys)) }
    }

    /// Reads the keys in a file that nobody else may read.
    ///
    /// # Errors
    /// If it cannot be read, others may, or it holds something else.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let failed = |source| KeysError::Io { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        #[cfg(unix)]
        {
            let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeysError::Exposed { path: path.to_owned(), mode });
            }
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        let keys = match text.len() as u64 > MAX_FILE_BYTES {
            true => Err(KeysError::TooMany),
            false => Self::parse(&text),
        };
        let of = |reason| KeysError::File { path: path.to_owned(), reason: Box::new(reason) };
        keys.map_err(of)
    }

    /// Writes them to a new file that only its owner may read.
    ///
    /// # Errors
    /// If it is there already, or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), KeysError> {
        match colearn_files::create_secret(path, self.to_text().as_bytes()).map_err(io::Error::from)
        {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(KeysError::Exists(path.to_owned()))
            }
            done => done.map_err(|source| KeysError::Io { path: path.to_owned(), source }),
        }
    }

    /// Writes them in place of those that the file has.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn replace(&self, path: &Path) -> Result<(), KeysError> {
        let written = colearn_files::replace_secret(path, self.to_text().as_bytes());
        written.map_err(|error| KeysError::Io { path: path.to_owned(), source: error.into() })
    }

    /// All of them, secrets included.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(HEAD.to_owned());
        // Set aside at once: what grows leaves copies behind.
        text.reserve(self.0.len() * 80);
        for key in &self.0 {
            let secret = Zeroizing::new(hex::encode(key.secret.as_slice()));
            text.push_str(&format!("{} ", key.number));
            text.push_str(&secret);
            text.push('\n');
        }
        text
    }

    /// The one under which is encrypted what is made now.
    pub fn newest(&self) -> &ModelKey {
        // There is at least one.
        &self.0[self.0.len() - 1]
    }

    /// The one with this id, if it is among them.
    pub fn with_id(&self, id: &[u8; ID_BYTES]) -> Option<&ModelKey> {
        self.0.iter().find(|key| key.id() == *id)
    }

    /// Those whose number is smaller: what somebody has who has not got the later ones yet. `None` if there are none.
    pub fn before(&self, number: u32) -> Option<Self> {
        let earlier = self.0.iter().filter(|key| key.number < number).cloned().collect::<Vec<_>>();
        (!earlier.is_empty()).then_some(Self(earlier))
    }

    /// Whether none of those with these numbers, first and last included, is missing.
    pub fn have_all(&self, first: u32, last: u32) -> bool {
        let here = self.0.iter().filter(|key| (first..=last).contains(&key.number)).count() as u64;
        here == (u64::from(last) + 1).saturating_sub(u64::from(first))
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ModelKey> {
        self.0.iter()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_they_are_read_and_shown_without_their_secrets() {
        let mut keys = ModelKeys::generate().unwrap();
        keys.add().unwrap();
        let text = keys.to_text();
        let again = ModelKeys::parse(&text).unwrap();
        assert_eq!(again.to_text(), text);
        assert_eq!(again.newest().number(), 2);
        let shown = format!("{keys:?}");
        let secret = text.lines().last().unwrap().split(' ').nth(1).unwrap();
        assert!(secret.len() == 64 && !shown.contains(secret), "{shown}");
        let ids: Vec<_> = keys.iter().map(ModelKey::id).collect();
        assert_ne!(ids[0], ids[1]);
        assert_eq!(again.with_id(&ids[0]).unwrap().number(), 1);
    }

    #[test]
    fn a_key_that_is_missing_between_others_is_noticed() {
        let key = "ab".repeat(32);
        let keys = ModelKeys::parse(&format!("2 {key}\n3 {key}\n5 {key}")).unwrap();
        for (first, last, all) in [(2, 3, true), (3, 3, true), (3, 2, true), (3, 5, false)] {
            assert_eq!(keys.have_all(first, last), all, "{first} to {last}");
        }
        assert!(!keys.have_all(1, 2) && !keys.have_all(0, u32::MAX));
    }

    #[test]
    fn what_is_no_file_of_keys_is_told_with_its_line() {
        let key = "ab".repeat(32);
        for (text, line) in [
            (format!("1 {key}\n1 {key}"), 2),
            (format!("# first\n0 {key}"), 2),
            ("1".to_owned(), 1),
            (format!("1 {key} {key}"), 1),
            (format!("1 {}", &key[2..]), 1),
            (format!("x {key}"), 1),
        ] {
            let error = ModelKeys::parse(&text).unwrap_err();
            assert!(
                matches!(error, KeysError::Line { line: found, .. } if found == line),
                "{error}"
            );
        }
        assert!(matches!(ModelKeys::parse("# nothing\n"), Err(KeysError::Empty)));
        // A newcomer has no earlier ones.
        assert_eq!(
            ModelKeys::parse(&format!("7 {key} # since June")).unwrap().newest().number(),
            7
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_keys_is_its_owners_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.keys");
        let keys = ModelKeys::generate().unwrap();
        keys.create(&path).unwrap();
        assert!(matches!(keys.create(&path), Err(KeysError::Exists(_))));
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        assert_eq!(ModelKeys::read(&path).unwrap().to_text(), keys.to_text());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = ModelKeys::read(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        keys.replace(&path).unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::write(&path, "nonsense").unwrap();
        let error = ModelKeys::read(&path).unwrap_err().to_string();
        assert!(error.contains("model.keys") && error.contains("line 1"), "{error}");
    }
}
