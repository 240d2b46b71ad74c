//! Requests that say who asks. A server that wants to know refuses with a challenge, and the request is repeated
//! with a signature over that and all that it asks; requests after it are signed at once. Where nobody is asked,
//! nobody says who it is.
//!
//! What is signed (Ed25519) is, one after the other: [`DOMAIN`]; the 32 bytes of the ledger; the public key of the
//! server; its challenge, 16 bytes; a nonce, 16 bytes; the channel, 32 bytes; the SHA-256 of the body (of weights
//! that are sent up: their digest, which is what comes with them); and the method, a space, and the path. The channel
//! is what TLS exports as `EXPORTER-Channel-Binding` for an empty context (RFC 9266) where TLS ends at the server, so
//! that nobody between can pass on what was signed for it; it is zero where it does not.
//!
//! A challenge takes the place of a time: clocks of several organisations differ, and the server's own restart must
//! make old signatures void.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use colearn_keys::{Key, SignerError};
use ed25519_dalek::{Signature, VerifyingKey};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use sha2::{Digest as _, Sha256};

use crate::NetError;

/// Begins what is signed. No note that a key signs has a zero in it, and no transaction begins so.
const DOMAIN: &[u8] = b"colearn/v1/request\0";
/// The scheme (RFC 9110, 11.1).
const SCHEME: &str = "Colearn";
/// What is read of a header at most.
const MAX_HEADER_BYTES: usize = 1024;
/// What TLS exports its channel as (RFC 9266).
pub const CHANNEL_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// What is bound to a connection.
pub type Channel = [u8; 32];

/// The SHA-256 of a body.
pub type Content = [u8; 32];

/// The SHA-256 of this body.
pub fn content_of(body: &[u8]) -> Content {
    Sha256::digest(body).into()
}

/// Whose key signs what is asked for.
#[derive(Clone)]
pub struct Credential {
    key: Key,
    ledger: Option<[u8; 32]>,
}

impl Credential {
    /// This key, for whatever server asks.
    pub fn new(key: impl Into<Key>) -> Self {
        Self { key: key.into(), ledger: None }
    }

    /// The same, for servers of this ledger only.
    pub fn for_ledger(self, ledger: [u8; 32]) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// Its public half.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        (self.public_key(), self.ledger) == (other.public_key(), other.ledger)
    }
}

impl Eq for Credential {}

/// Shows the public half.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", hex::encode(self.public_key()))
    }
}

/// What a server wants to be signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// Which ledger it keeps.
    pub ledger: [u8; 32],
    /// Its public key.
    pub server: [u8; 32],
    /// What it has drawn.
    pub challenge: [u8; 16],
    /// Whether TLS ends at it: then the channel is signed, too.
    pub bound: bool,
}

/// What a request shows of who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authorization {
    /// Whose signature it is.
    pub key: [u8; 32],
    /// The challenge that was signed.
    pub challenge: [u8; 16],
    /// What whoever asks has drawn.
    pub nonce: [u8; 16],
    /// The signature.
    pub signature: [u8; 64],
    /// The digest of what comes, where that is not known from the body at once.
    pub content: Option<Content>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// Path and query, without a path before everything that the server serves.
    pub path: &'a str,
    /// Of the body.
    pub content: Content,
}

fn message(
    challenge: &Challenge,
    nonce: &[u8; 16],
    channel: Option<Channel>,
    asked: Asked<'_>,
) -> Vec<u8> {
    let channel = channel.unwrap_or_default();
    [
        DOMAIN,
        &challenge.ledger,
        &challenge.server,
        &challenge.challenge,
        nonce,
        &channel,
        &asked.content,
        asked.method.as_bytes(),
        b" ",
        asked.path.as_bytes(),
    ]
    .concat()
}

impl Authorization {
    /// Whether the signature is that of the key over all of this.
    pub fn is_signed(
        &self,
        challenge: &Challenge,
        channel: Option<Channel>,
        asked: Asked<'_>,
    ) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.key) else { return false };
        let message = message(challenge, &self.nonce, channel, asked);
        key.verify_strict(&message, &Signature::from_bytes(&self.signature)).is_ok()
    }

    /// What a request shows, if it shows something of this kind.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(AUTHORIZATION)?.to_str().ok()?.parse().ok()
    }
}

impl Challenge {
    /// What a refusal wants to be signed, if it does.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let all = headers.get_all(WWW_AUTHENTICATE).iter();
        all.filter_map(|value| value.to_str().ok()?.parse().ok()).next()
    }

    /// As a header of a refusal.
    pub fn header(&self) -> (HeaderName, HeaderValue) {
        // Letters, digits and quotes only.
        let value = HeaderValue::try_from(self.to_string());
        (WWW_AUTHENTICATE, value.unwrap_or(HeaderValue::from_static(SCHEME)))
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ledger, server) = (hex::encode(self.ledger), hex::encode(self.server));
        let (challenge, bound) = (hex::encode(self.challenge), u8::from(self.bound));
        write!(
            f,
            "{SCHEME} ledger=\"{ledger}\", server=\"{server}\", challenge=\"{challenge}\", bound=\"{bound}\""
        )
    }
}

impl fmt::Display for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, challenge, nonce, signature, content } = self;
        let (key, challenge) = (hex::encode(key), hex::encode(challenge));
        let (nonce, signature) = (hex::encode(nonce), hex::encode(signature));
        write!(
            f,
            "{SCHEME} key=\"{key}\", challenge=\"{challenge}\", nonce=\"{nonce}\", signature=\"{signature}\""
        )?;
        match content {
            None => Ok(()),
            Some(content) => write!(f, ", content=\"{}\"", hex::encode(content)),
        }
    }
}

/// A header that is not of this kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// The parameters of a header of this scheme: `NAME="VALUE"` with commas between. What is not known is passed over.
fn parameters(text: &str) -> Result<impl Iterator<Item = (&str, &str)>, Malformed> {
    if text.len() > MAX_HEADER_BYTES {
        return Err(Malformed);
    }
    let (scheme, rest) = text.split_once(' ').ok_or(Malformed)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(Malformed);
    }
    Ok(rest.split(',').filter_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        Some((name, value.trim_matches('"')))
    }))
}

fn fixed<const N: usize>(value: &str) -> Result<[u8; N], Malformed> {
    let mut bytes = [0; N];
    hex::decode_to_slice(value, &mut bytes).map_err(|_| Malformed)?;
    Ok(bytes)
}

impl FromStr for Challenge {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (mut ledger, mut server, mut challenge, mut bound) = (None, None, None, None);
        for (name, value) in parameters(text)? {
            match name {
                "ledger" => ledger = Some(fixed(value)?),
                "server" => server = Some(fixed(value)?),
                "challenge" => challenge = Some(fixed(value)?),
                "bound" => bound = Some(value == "1"),
                _ => {}
            }
        }
        let of = || {
            Some(Self { ledger: ledger?, server: server?, challenge: challenge?, bound: bound? })
        };
        of().ok_or(Malformed)
    }
}

impl FromStr for Authorization {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (mut key, mut challenge, mut nonce) = (None, None, None);
        let (mut signature, mut content) = (None, None);
        for (name, value) in parameters(text)? {
            match name {
                "key" => key = Some(fixed(value)?),
                "challenge" => challenge = Some(fixed(value)?),
                "nonce" => nonce = Some(fixed(value)?),
                "signature" => signature = Some(fixed(value)?),
                "content" => content = Some(fixed(value)?),
                _ => {}
            }
        }
        let of = || {
            let (key, challenge, nonce) = (key?, challenge?, nonce?);
            Some(Self { key, challenge, nonce, signature: signature?, content })
        };
        of().ok_or(Malformed)
    }
}

/// Signs what one server is asked, once it has said what it wants to be signed; cheap to clone.
#[derive(Clone)]
pub struct Signing {
    url: String,
    is_https: bool,
    credential: Option<Credential>,
    /// What is signed is for this ledger.
    ledger: Arc<OnceLock<[u8; 32]>>,
    wanted: Arc<Mutex<Option<Challenge>>>,
}

impl Signing {
    /// For the server at an address.
    pub fn new(address: &crate::Address, trust: &crate::Trust) -> Self {
        let credential = trust.credential.clone();
        let ledger = credential.as_ref().and_then(|credential| credential.ledger);
        Self {
            url: address.url().to_owned(),
            is_https: address.is_https(),
            credential,
            ledger: Arc::new(ledger.map_or_else(OnceLock::new, OnceLock::from)),
            wanted: Arc::default(),
        }
    }

    /// From now on nothing is signed for another ledger than this, if none was named before.
    pub fn insist_on(&self, ledger: [u8; 32]) {
        self.ledger.get_or_init(|| ledger);
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, Option<Challenge>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is asked is bound to the connection.
    pub fn is_bound(&self) -> bool {
        self.wanted().is_some_and(|challenge| challenge.bound)
    }

    /// What an answer wants to be signed. Whether it is worth asking again, signed.
    ///
    /// # Errors
    /// If the server is of another ledger than this is signed for, or wants what only a lie can want.
    pub fn hear(&self, headers: &HeaderMap) -> Result<bool, NetError> {
        let (Some(_), Some(challenge)) = (&self.credential, Challenge::of(headers)) else {
            return Ok(false);
        };
        if self.ledger.get().is_some_and(|ledger| *ledger != challenge.ledger) {
            let found = hex::encode(challenge.ledger);
            return Err(NetError::OtherLedger { url: self.url.clone(), found });
        }
        if challenge.bound && !self.is_https {
            return Err(NetError::NoChannel(self.url.clone()));
        }
        *self.wanted() = Some(challenge);
        Ok(true)
    }

    /// As [`Signing::authorization`]; a key that is kept elsewhere is waited for on a thread where that may take its
    /// time.
    ///
    /// # Errors
    /// Those of [`Signing::authorization`].
    pub async fn authorize(
        &self,
        asked: Asked<'_>,
        channel: Option<Channel>,
        is_stated: bool,
    ) -> Result<Option<HeaderValue>, NetError> {
        let elsewhere = self.credential.as_ref().is_some_and(|it| it.key.here().is_none());
        if !elsewhere || self.wanted().is_none() {
            return self.authorization(asked, channel, is_stated);
        }
        let (this, content) = (self.clone(), asked.content);
        let (method, path) = (asked.method.to_owned(), asked.path.to_owned());
        let signed = tokio::task::spawn_blocking(move || {
            let asked = Asked { method: &method, path: &path, content };
            this.authorization(asked, channel, is_stated)
        });
        signed.await.unwrap_or(Err(NetError::Signer(SignerError::Panicked)))
    }

    /// What says who asks, once the server has said that it wants to know. The channel is that of the connection that
    /// is used; the content is sent along where `is_stated`. Waits for whoever keeps the key, if it is kept elsewhere.
    ///
    /// # Errors
    /// If the key does not sign, or the system gives no random numbers.
    pub fn authorization(
        &self,
        asked: Asked<'_>,
        channel: Option<Channel>,
        is_stated: bool,
    ) -> Result<Option<HeaderValue>, NetError> {
        let (Some(credential), Some(challenge)) = (&self.credential, *self.wanted()) else {
            return Ok(None);
        };
        // It may have been insisted on after the server has said what it wants.
        if self.ledger.get().is_some_and(|ledger| *ledger != challenge.ledger) {
            return Ok(None);
        }
        let channel = channel.filter(|_| challenge.bound);
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| NetError::Random(error.to_string()))?;
        let signature = credential.key.sign(&message(&challenge, &nonce, channel, asked))?;
        let authorization = Authorization {
            key: credential.public_key(),
            challenge: challenge.challenge,
            nonce,
            signature: signature.to_bytes(),
            content: is_stated.then_some(asked.content),
        };
        let mut value = HeaderValue::try_from(authorization.to_string())
            .map_err(|error| NetError::Random(error.to_string()))?;
        // Nothing that logs headers has to show it.
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;
    use crate::{Address, Trust};

    fn challenge() -> Challenge {
        Challenge { ledger: [1; 32], server: [2; 32], challenge: [3; 16], bound: true }
    }

    fn refusal(challenge: &Challenge) -> HeaderMap {
        HeaderMap::from_iter([challenge.header()])
    }

    fn signing(url: &str, credential: Credential) -> Signing {
        let trust = Trust::default().signed_by(credential);
        Signing::new(&url.parse::<Address>().unwrap(), &trust)
    }

    const ASKED: Asked<'static> = Asked { method: "GET", path: "/a?b", content: [4; 32] };

    #[test]
    fn headers_are_read_as_they_are_written_and_nothing_else_is() {
        let it = challenge();
        assert_eq!(Challenge::of(&refusal(&it)), Some(it));
        let text = it.to_string();
        assert!(text.starts_with("Colearn ledger=\"0101"), "{text}");
        for bad in [
            "",
            "Colearn",
            "Basic realm=\"x\"",
            &text.replace("server", "serves"),
            &text.replace("\"0101", "\"01"),
            &text.replace("\"0101", "\"zz01"),
            &format!("{text}, x=\"{}\"", "y".repeat(1024)),
        ] {
            assert_eq!(bad.parse::<Challenge>(), Err(Malformed), "{bad}");
        }
        // What comes later may say more, and proxies may write it another way.
        let more = text.replace("Colearn ", "colearn new=1,").replace(", ", ",");
        assert_eq!(more.parse(), Ok(it));
        for content in [None, Some([9; 32])] {
            let (key, signature) = ([5; 32], [8; 64]);
            let (challenge, nonce) = ([6; 16], [7; 16]);
            let it = Authorization { key, challenge, nonce, signature, content };
            assert_eq!(it.to_string().parse(), Ok(it));
        }
    }

    #[test]
    fn whatever_is_changed_is_not_what_was_signed() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let signing = signing("https://h", Credential::new(&key));
        let signed = |channel| {
            let value = signing.authorization(ASKED, channel, false).unwrap()?;
            value.to_str().unwrap().parse::<Authorization>().ok()
        };
        assert_eq!(signed(Some([5; 32])), None, "nobody has asked");
        assert!(signing.hear(&refusal(&challenge())).unwrap() && signing.is_bound());
        let channel = Some([5; 32]);
        let it = signed(channel).unwrap();
        assert_eq!(it.key, key.verifying_key().to_bytes());
        assert!(it.is_signed(&challenge(), channel, ASKED));
        assert_ne!(signed(channel).unwrap().nonce, it.nonce);
        let other = |change: &dyn Fn(&mut Challenge)| {
            let mut other = challenge();
            change(&mut other);
            it.is_signed(&other, channel, ASKED)
        };
        assert!(!other(&|it| it.ledger[0] ^= 1));
        assert!(!other(&|it| it.server[0] ^= 1));
        assert!(!other(&|it| it.challenge[0] ^= 1));
        assert!(!it.is_signed(&challenge(), None, ASKED));
        assert!(!it.is_signed(&challenge(), Some([6; 32]), ASKED));
        for asked in [
            Asked { method: "PUT", ..ASKED },
            Asked { path: "/a", ..ASKED },
            Asked { content: [5; 32], ..ASKED },
        ] {
            assert!(!it.is_signed(&challenge(), channel, asked));
        }
        assert!(!Authorization { nonce: [0; 16], ..it.clone() }.is_signed(
            &challenge(),
            channel,
            ASKED
        ));
        let others = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
        assert!(!Authorization { key: others, ..it }.is_signed(&challenge(), channel, ASKED));
    }

    #[test]
    fn what_is_signed_stays_what_it_was() {
        // For other implementations: computed by another one, too.
        let key = SigningKey::from_bytes(&[7; 32]);
        let message = message(&challenge(), &[5; 16], Some([6; 32]), ASKED);
        assert_eq!(message.len(), 19 + 32 + 32 + 16 + 16 + 32 + 32 + 8);
        assert!(
            message.starts_with(b"colearn/v1/request\0\x01") && message.ends_with(b"\x04GET /a?b")
        );
        let digest = hex::encode(Sha256::digest(key.sign(&message).to_bytes()));
        assert_eq!(digest, "acf1652937b7941d031d1cba870035fe1a6699180749264303554c5c1179166c");
    }

    #[test]
    fn nothing_is_signed_for_another_ledger_or_a_channel_that_is_not_there() {
        let credential = || Credential::new(SigningKey::from_bytes(&[7; 32]));
        let here = signing("https://h", credential().for_ledger([1; 32]));
        assert_eq!(here.hear(&refusal(&challenge())), Ok(true));
        let there = signing("https://h", credential().for_ledger([2; 32]));
        let refused = there.hear(&refusal(&challenge())).unwrap_err();
        assert!(matches!(refused, NetError::OtherLedger { .. }), "{refused}");
        assert_eq!(there.authorization(ASKED, None, false), Ok(None));
        let later = signing("https://h", credential());
        later.insist_on([2; 32]);
        later.insist_on([1; 32]);
        assert!(later.hear(&refusal(&challenge())).is_err());
        let before = signing("https://h", credential());
        assert_eq!(before.hear(&refusal(&challenge())), Ok(true));
        before.insist_on([2; 32]);
        assert_eq!(before.authorization(ASKED, None, false), Ok(None));
        let clear = signing("http://h", credential());
        assert!(matches!(clear.hear(&refusal(&challenge())), Err(NetError::NoChannel(_))));
        let unbound = Challenge { bound: false, ..challenge() };
        assert_eq!(clear.hear(&refusal(&unbound)), Ok(true));
        // Who has no key is told what the server says.
        let nobody = Signing::new(&"https://h".parse::<Address>().unwrap(), &Trust::default());
        assert_eq!(nobody.hear(&refusal(&challenge())), Ok(false));
        assert!(!format!("{:?}", credential()).contains("0707"));
    }
}
