//! A key in an ssh-agent (draft-ietf-sshm-ssh-agent): which keys it has, and having it sign. The two messages are read
//! here, since the libraries for them trust the agent: with lengths, with time, and with what it signs.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::key::{Signer, SignerError};
use crate::place::Wanted;
use crate::ssh::{ED25519, Reader, Short};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// The longest answer that OpenSSH's agent gives, in bytes.
const MAX_ANSWER_BYTES: u32 = 256 * 1024;
/// How much of the name of a kind is shown.
const MAX_KIND_BYTES: usize = 64;

/// An Ed25519 key in an agent. The agent may end and start again at the same socket.
pub struct AgentKey {
    socket: PathBuf,
    wanted: Wanted,
    /// How long an answer may take.
    limit: Duration,
    public: [u8; 32],
}

impl AgentKey {
    /// The key that is wanted of the agent at a socket, which may take so long for each answer.
    ///
    /// # Errors
    /// If there is no agent, or not that key.
    pub fn find(socket: PathBuf, wanted: Wanted, limit: Duration) -> Result<Self, SignerError> {
        let mut it = Self { socket, wanted, limit, public: [0; 32] };
        it.public = it.choose(it.keys()?)?;
        Ok(it)
    }

    fn choose(&self, keys: Vec<AgentsKey>) -> Result<[u8; 32], SignerError> {
        let by = || self.to_string();
        let (mut fit, mut other) = (Vec::new(), None);
        for key in &keys {
            let fits = match &self.wanted {
                Wanted::Only => key.public.is_ok(),
                Wanted::Comment(comment) => key.comment == comment.as_bytes(),
                Wanted::Fingerprint(fingerprint) => key.fingerprint == *fingerprint,
            };
            match &key.public {
                _ if !fits => {}
                Ok(public) => fit.push((*public, key.fingerprint.clone())),
                Err(kind) => other = Some(kind.clone()),
            }
        }
        let prints = |keys: &[([u8; 32], String)]| keys.iter().map(|(_, it)| it.clone()).collect();
        match (&fit[..], other) {
            ([(public, _)], _) => Ok(*public),
            ([], Some(kind)) => Err(SignerError::OtherKind { by: by(), kind }),
            ([], None) => Err(SignerError::NotInAgent { by: by(), has: ed25519(&keys) }),
            (several, _) => Err(SignerError::Ambiguous { by: by(), has: prints(several) }),
        }
    }

    /// All keys that it shows.
    fn keys(&self) -> Result<Vec<AgentsKey>, SignerError> {
        let answer = self.ask(&[REQUEST_IDENTITIES])?;
        let malformed = |_: Short| self.malformed("a list of keys that breaks off");
        match answer.split_first() {
            Some((&IDENTITIES_ANSWER, list)) => {
                let mut list = Reader(list);
                let count = list.number().map_err(malformed)?;
                let mut keys = Vec::new();
                // Each takes bytes of an answer that is bounded.
                for _ in 0..count {
                    let blob = list.string().map_err(malformed)?;
                    let comment = list.string().map_err(malformed)?;
                    keys.push(AgentsKey::read(blob, comment));
                }
                Ok(keys)
            }
            // As some agents say that they are locked.
            Some((&FAILURE, _)) => Ok(Vec::new()),
            _ => Err(self.malformed("something else than its keys")),
        }
    }

    /// Asks one thing, over a connection of its own.
    fn ask(&self, request: &[u8]) -> Result<Vec<u8>, SignerError> {
        let until = Instant::now() + self.limit;
        let mut answer = vec![0; 4];
        let mut asking = || -> io::Result<bool> {
            let mut stream = InTime { stream: UnixStream::connect(&self.socket)?, until };
            let length = u32::try_from(request.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], request].concat())?;
            stream.read_exact(&mut answer)?;
            let length = Reader(&answer).number().unwrap_or_default();
            if length == 0 || length > MAX_ANSWER_BYTES {
                return Ok(false);
            }
            answer.resize(length as usize, 0);
            stream.read_exact(&mut answer).map(|()| true)
        };
        match asking() {
            Ok(true) => Ok(answer),
            Ok(false) => Err(self.malformed("an answer of an impossible length")),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                Err(SignerError::Silent { by: self.to_string(), limit: self.limit })
            }
            Err(error) => Err(SignerError::AgentGone {
                socket: self.socket.clone(),
                reason: error.to_string(),
            }),
        }
    }

    fn malformed(&self, what: &str) -> SignerError {
        SignerError::Malformed { by: self.to_string(), what: what.to_owned() }
    }
}

/// The fingerprints of those that could be used.
fn ed25519(keys: &[AgentsKey]) -> Vec<String> {
    let usable = keys.iter().filter(|key| key.public.is_ok());
    usable.map(|key| key.fingerprint.clone()).collect()
}

impl Signer for AgentKey {
    fn public_key(&self) -> Result<[u8; 32], SignerError> {
        Ok(self.public)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        let request =
            [&[SIGN_REQUEST][..], &string(&blob(&self.public)), &string(message), &[0; 4]].concat();
        let answer = self.ask(&request)?;
        match answer.split_first() {
            Some((&SIGN_RESPONSE, signed)) => {
                signature(signed).ok_or_else(|| self.malformed("a signature that is not Ed25519's"))
            }
            Some((&FAILURE, _)) => {
                let keys = self.keys()?;
                let has_it = keys.iter().any(|key| key.public.as_ref() == Ok(&self.public));
                let by = self.to_string();
                Err(match has_it {
                    true => SignerError::Refused { by },
                    false => SignerError::NotInAgent { by, has: ed25519(&keys) },
                })
            }
            _ => Err(self.malformed("something else than a signature")),
        }
    }
}

impl fmt::Display for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wanted.fmt(f)
    }
}

/// A key as an agent shows it.
struct AgentsKey {
    /// What it is of another kind than Ed25519.
    public: Result<[u8; 32], String>,
    comment: Vec<u8>,
    fingerprint: String,
}

impl AgentsKey {
    fn read(blob: &[u8], comment: &[u8]) -> Self {
        let mut fields = Reader(blob);
        let kind = fields.string().unwrap_or_default();
        let public = match kind == ED25519 {
            true => fields.string().unwrap_or_default().try_into().map_err(|_| kind_of(kind)),
            false => Err(kind_of(kind)),
        };
        let digest = Sha256::digest(blob);
        let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(digest));
        Self { public, comment: comment.to_vec(), fingerprint }
    }
}

/// The name of a kind, for people: letters, digits and what kinds have besides.
fn kind_of(kind: &[u8]) -> String {
    let shown = kind.iter().take(MAX_KIND_BYTES).map(|byte| char::from(*byte));
    shown.filter(|it| it.is_ascii_alphanumeric() || "-@.".contains(*it)).collect()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    // What is signed has 65 kB at most, and keys less.
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// An Ed25519 public key in SSH's encoding.
fn blob(public: &[u8; 32]) -> Vec<u8> {
    [string(ED25519), string(public)].concat()
}

/// The signature in an answer.
fn signature(answer: &[u8]) -> Option<[u8; 64]> {
    let mut fields = Reader(Reader(answer).string().ok()?);
    let kind = fields.string().ok()?;
    let signature = fields.string().ok()?;
    (kind == ED25519).then(|| signature.try_into().ok()).flatten()
}

/// A connection that is over at a time, whatever trickles in until then.
struct InTime {
    stream: UnixStream,
    until: Instant,
}

impl InTime {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Read for InTime {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for InTime {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::net::UnixListener;

    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;
    use crate::Key;

    /// Longer than anything here takes.
    const LONG: Duration = Duration::from_secs(60);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn listed(keys: &[(Vec<u8>, &str)]) -> Vec<u8> {
        let mut list = [&[IDENTITIES_ANSWER][..], &(keys.len() as u32).to_be_bytes()].concat();
        for (blob, comment) in keys {
            list.extend([string(blob), string(comment.as_bytes())].concat());
        }
        list
    }

    fn ours(seed: u8, comment: &str) -> (Vec<u8>, &str) {
        (blob(&key(seed).verifying_key().to_bytes()), comment)
    }

    fn signed_by(seed: u8, message: &[u8]) -> Vec<u8> {
        let signature = key(seed).sign(message).to_bytes();
        let signature = [string(ED25519), string(&signature)].concat();
        [vec![SIGN_RESPONSE], string(&signature)].concat()
    }

    /// An agent that says what it is told to: bytes after the length, or as they are.
    struct Agent {
        _dir: tempfile::TempDir,
        socket: PathBuf,
    }

    impl Agent {
        fn new(mut answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let socket = dir.path().join("agent");
            let listener = UnixListener::bind(&socket).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut length = [0; 4];
                    stream.read_exact(&mut length).unwrap();
                    let mut request = vec![0; u32::from_be_bytes(length) as usize];
                    stream.read_exact(&mut request).unwrap();
                    let answer = answer(&request);
                    // Whoever has heard enough has gone.
                    let _ = stream.write_all(&answer);
                }
            });
            Self { _dir: dir, socket }
        }

        /// One that has these keys, and signs so.
        fn having(keys: Vec<u8>, mut sign: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
            Self::new(move |request| {
                let answer = match request[0] {
                    REQUEST_IDENTITIES => keys.clone(),
                    _ => {
                        let mut fields = Reader(&request[1..]);
                        fields.string().unwrap();
                        sign(fields.string().unwrap())
                    }
                };
                string(&answer)
            })
        }

        fn find(&self, wanted: &str) -> Result<Key, SignerError> {
            self.find_within(wanted, LONG)
        }

        fn find_within(&self, wanted: &str, limit: Duration) -> Result<Key, SignerError> {
            Key::elsewhere(AgentKey::find(self.socket.clone(), wanted.into(), limit)?)
        }
    }

    #[test]
    fn a_key_is_found_by_comment_fingerprint_or_because_it_is_the_only_one() {
        let agent = Agent::having(listed(&[ours(1, "ann"), ours(2, "bob")]), |it| signed_by(1, it));
        let ann = agent.find("ann").unwrap();
        assert_eq!(ann.verifying_key(), key(1).verifying_key());
        assert_eq!(ann.sign(b"x").unwrap(), key(1).sign(b"x"));
        let print = AgentsKey::read(&ours(2, "").0, b"").fingerprint;
        assert_eq!(agent.find(&print).unwrap().verifying_key(), key(2).verifying_key());
        let told = agent.find("").unwrap_err();
        assert!(matches!(&told, SignerError::Ambiguous { has, .. } if has.len() == 2), "{told}");
        assert!(told.to_string().contains(&format!("agent:{print}")), "{told}");
        let told = agent.find("carol").unwrap_err().to_string();
        assert!(told.contains("no Ed25519 key agent:carol") && told.contains(&print), "{told}");
        let one = Agent::having(listed(&[ours(3, "x")]), |it| signed_by(3, it));
        one.find("").unwrap().check().unwrap();
    }

    #[test]
    fn keys_of_other_kinds_are_told_and_two_with_one_comment() {
        let fido = [string(b"sk-ssh-ed25519@openssh.com\x1b[2J"), string(&[0; 32])].concat();
        let agent =
            Agent::having(listed(&[(fido, "token"), ours(1, "both"), ours(2, "both")]), |it| {
                signed_by(1, it)
            });
        let told = agent.find("token").unwrap_err();
        assert!(
            matches!(&told, SignerError::OtherKind { kind, .. } if kind.starts_with("sk-")),
            "{told}"
        );
        assert!(!told.to_string().contains('\x1b'), "{told}");
        assert!(matches!(agent.find("both"), Err(SignerError::Ambiguous { .. })));
        let locked = Agent::having(listed(&[]), |_| vec![FAILURE]);
        assert!(locked.find("").unwrap_err().to_string().contains("ssh-add -X"));
    }

    #[test]
    fn a_lying_agent_is_told() {
        let keys = || listed(&[ours(1, "ann")]);
        let sign = |how: fn(&[u8]) -> Vec<u8>| Agent::having(keys(), how).find("ann")?.sign(b"x");
        let by = || "agent:ann".to_owned();
        let wrong = Err(SignerError::WrongSignature { by: by() });
        // Another key's, and one over something else.
        assert_eq!(sign(|it| signed_by(2, it)), wrong);
        assert_eq!(sign(|_| signed_by(1, b"something else")), wrong);
        assert_eq!(sign(|_| vec![FAILURE]), Err(SignerError::Refused { by: by() }));
        for nonsense in [
            |_: &[u8]| vec![SIGN_RESPONSE],
            |_: &[u8]| vec![SIGN_RESPONSE, 0xff, 0xff, 0xff, 0xff],
            |_: &[u8]| {
                [vec![SIGN_RESPONSE], string(&[string(ED25519), string(&[0; 63])].concat())]
                    .concat()
            },
            |_: &[u8]| {
                [vec![SIGN_RESPONSE], string(&[string(b"ssh-rsa"), string(&[0; 64])].concat())]
                    .concat()
            },
            |_: &[u8]| vec![99],
        ] {
            let told = sign(nonsense).unwrap_err();
            assert!(matches!(told, SignerError::Malformed { .. }), "{told}");
        }
        for list in [
            vec![IDENTITIES_ANSWER],
            [&[IDENTITIES_ANSWER][..], &[0xff; 4], &string(b"x")].concat(),
            vec![99],
        ] {
            let told = Agent::having(list, |_| Vec::new()).find("ann").unwrap_err();
            assert!(matches!(told, SignerError::Malformed { .. }), "{told}");
        }
    }

    #[test]
    fn an_answer_without_end_is_not_waited_for() {
        for length in [0, MAX_ANSWER_BYTES + 1, u32::MAX] {
            let told = Agent::new(move |_| length.to_be_bytes().to_vec()).find("").unwrap_err();
            assert!(told.to_string().contains("impossible length"), "{told}");
        }
        // Closed in the middle: it may be back.
        let told = Agent::new(|_| vec![0, 0, 0, 9, IDENTITIES_ANSWER]).find("").unwrap_err();
        assert!(matches!(told, SignerError::AgentGone { .. }) && told.is_transient(), "{told}");
    }

    #[test]
    fn silence_has_an_end() {
        // It listens, and answers nobody.
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let _listener = UnixListener::bind(&socket).unwrap();
        let limit = Duration::from_millis(20);
        let told = AgentKey::find(socket, Wanted::Only, limit).err().unwrap();
        assert_eq!(told, SignerError::Silent { by: "agent:".to_owned(), limit });
    }

    #[test]
    fn no_agent_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let told = AgentKey::find(socket.clone(), Wanted::Only, LONG).err().unwrap();
        assert!(
            told.to_string().contains(socket.to_str().unwrap()) && told.is_transient(),
            "{told}"
        );
    }
}
