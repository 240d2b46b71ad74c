//! A key that signs, wherever it is kept.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// Begins what is signed twice to see whether the signatures are the same; the public key follows. No transaction and
/// no request begins so.
const CHECK_DOMAIN: &[u8] = b"colearn/v2/signer-check\n";

/// Signs with a key that is kept elsewhere: in an agent, a token, a service. Nothing that it says is believed:
/// [`Key`] verifies each signature. It is shown as what it is called.
pub trait Signer: fmt::Display + Send + Sync {
    /// The public key, 32 bytes.
    ///
    /// # Errors
    /// If it cannot be had.
    fn public_key(&self) -> Result<[u8; 32], SignerError>;

    /// An Ed25519 signature (RFC 8032, 5.1: pure, without a context) over these bytes. May take its time, such as
    /// for somebody who has to agree.
    ///
    /// # Errors
    /// If there is none.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError>;
}

/// Why a key that is kept elsewhere does not sign.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignerError {
    /// No agent is named.
    #[error(
        "{by} is a key in an ssh-agent, and SSH_AUTH_SOCK names none; start one with: eval \"$(ssh-agent)\", and give it \
         the key with: ssh-add FILE"
    )]
    NoAgent {
        /// The key, as it was written.
        by: String,
    },
    /// This system has no agent that is known here.
    #[error(
        "{by} is a key in an ssh-agent, and on this system those are not spoken to; use exec:COMMAND or a file"
    )]
    NoAgentHere {
        /// The key, as it was written.
        by: String,
    },
    /// Nobody listens at the agent's socket, or it is closed while the agent is asked.
    #[error("no ssh-agent answers at {} (SSH_AUTH_SOCK): {reason}; is it running?", socket.display())]
    AgentGone {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The agent does not have the key.
    #[error(
        "the ssh-agent has no Ed25519 key {by}; it shows {}; give it the key with: ssh-add FILE",
        shown(.has)
    )]
    NotInAgent {
        /// The key, as it was written.
        by: String,
        /// The fingerprints of the Ed25519 keys that it shows. A locked agent shows none.
        has: Vec<String>,
    },
    /// Several of the agent's keys could be meant.
    #[error("{by} could be any of {} Ed25519 keys in the ssh-agent; name one: agent:{}", .has.len(), .has.join(" or agent:"))]
    Ambiguous {
        /// The key, as it was written.
        by: String,
        /// Their fingerprints.
        has: Vec<String>,
    },
    /// The agent's key is of another kind.
    #[error(
        "{by} is a key of the kind {kind}; an Ed25519 key is needed (keys of FIDO tokens, \"sk-\", sign something else)"
    )]
    OtherKind {
        /// The key, as it was written.
        by: String,
        /// Its kind.
        kind: String,
    },
    /// Whoever keeps the key will not sign.
    #[error(
        "{by} was not allowed to sign: the ssh-agent has refused, as it does where somebody who is asked says no"
    )]
    Refused {
        /// The key, as it was written.
        by: String,
    },
    /// There was no answer in time.
    #[error(
        "{by} has not signed within {} s; whoever is asked may take longer with {}=SECONDS",
        limit.as_secs(), crate::place::TIME_LIMIT
    )]
    Silent {
        /// The key, as it was written.
        by: String,
        /// What it had.
        limit: Duration,
    },
    /// The answer is none.
    #[error("{by} answers nonsense: {what}")]
    Malformed {
        /// The key, as it was written.
        by: String,
        /// What is wrong.
        what: String,
    },
    /// The signature is none by this key.
    #[error("{by} has made a signature that its public key does not verify; nothing was sent")]
    WrongSignature {
        /// The key, as it was written.
        by: String,
    },
    /// Signing again gives another signature.
    #[error(
        "{by} signs the same bytes differently each time; Ed25519 does not, and what a learner has committed to could \
         not be found again after a restart"
    )]
    NotDeterministic {
        /// The key, as it was written.
        by: String,
    },
    /// The command cannot be read.
    #[error("{by} is no command: {what}")]
    NoCommand {
        /// The key, as it was written.
        by: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The command cannot be started.
    #[error("cannot run {by}: {reason}")]
    CannotRun {
        /// The key, as it was written.
        by: String,
        /// What happened.
        reason: String,
    },
    /// The command has failed.
    #[error("{by} has failed ({status}), asked for {asked}")]
    CommandFailed {
        /// The key, as it was written.
        by: String,
        /// How it ended.
        status: String,
        /// What it was to do.
        asked: &'static str,
    },
    /// Whoever was to sign panicked.
    #[error("the key's own code panicked")]
    Panicked,
}

/// What an agent shows.
fn shown(fingerprints: &[String]) -> String {
    match fingerprints {
        [] => "none at all (a locked one does: ssh-add -X)".to_owned(),
        several => several.join(", "),
    }
}

impl SignerError {
    /// Whether trying again later may help: the agent or token may be back, or somebody there to agree. Not where
    /// somebody said no, and not where what came is a lie.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::AgentGone { .. }
            | Self::NotInAgent { .. }
            | Self::Silent { .. }
            | Self::CommandFailed { .. } => true,
            Self::NoAgent { .. }
            | Self::NoAgentHere { .. }
            | Self::Ambiguous { .. }
            | Self::OtherKind { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::WrongSignature { .. }
            | Self::NotDeterministic { .. }
            | Self::NoCommand { .. }
            | Self::CannotRun { .. }
            | Self::Panicked => false,
        }
    }
}

/// A private key, here or elsewhere. Cheap to clone, and never shown.
#[derive(Clone)]
pub struct Key {
    public: VerifyingKey,
    held: Held,
}

#[derive(Clone)]
enum Held {
    Here(Arc<SigningKey>),
    Elsewhere(Arc<Elsewhere>),
}

struct Elsewhere {
    signer: Box<dyn Signer>,
    /// Whether it has signed the same twice with one signature.
    is_deterministic: AtomicBool,
    /// What was derived last, and from what: somebody may be asked for each signature.
    derived: Mutex<Option<(Vec<u8>, [u8; 32])>>,
}

impl Key {
    /// A key that is kept elsewhere.
    ///
    /// # Errors
    /// If its public key cannot be had, or is none.
    pub fn elsewhere(signer: impl Signer + 'static) -> Result<Self, SignerError> {
        let public = VerifyingKey::from_bytes(&signer.public_key()?);
        let public = public.ok().filter(|public| !public.is_weak());
        let public = public.ok_or_else(|| SignerError::Malformed {
            by: signer.to_string(),
            what: "its 32 bytes are no public key".to_owned(),
        })?;
        let (is_deterministic, derived) = (AtomicBool::new(false), Mutex::default());
        let elsewhere = Elsewhere { signer: Box::new(signer), is_deterministic, derived };
        Ok(Self { public, held: Held::Elsewhere(Arc::new(elsewhere)) })
    }

    /// The key's bytes, if they are here.
    pub fn here(&self) -> Option<&SigningKey> {
        match &self.held {
            Held::Here(key) => Some(key),
            Held::Elsewhere(_) => None,
        }
    }

    /// The public key.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public
    }

    /// Signs. Waits for whoever keeps the key; what comes from elsewhere is verified.
    ///
    /// # Errors
    /// If it is kept elsewhere, and there is no signature or a wrong one. Never for a key that is here.
    pub fn sign(&self, message: &[u8]) -> Result<Signature, SignerError> {
        let elsewhere = match &self.held {
            Held::Here(key) => return Ok(key.sign(message)),
            Held::Elsewhere(elsewhere) => elsewhere,
        };
        let signature = Signature::from_bytes(&elsewhere.signer.sign(message)?);
        match self.public.verify_strict(message, &signature) {
            Ok(()) => Ok(signature),
            Err(_) => Err(SignerError::WrongSignature { by: elsewhere.signer.to_string() }),
        }
    }

    /// Sees that signing twice gives the same signature, as Ed25519 does: what is derived from a key that is kept
    /// elsewhere would be lost otherwise. Asked once; a key that is here needs none of it.
    ///
    /// # Errors
    /// If it does not sign, or not the same.
    pub fn check(&self) -> Result<(), SignerError> {
        let Held::Elsewhere(elsewhere) = &self.held else { return Ok(()) };
        if elsewhere.is_deterministic.load(Ordering::Acquire) {
            return Ok(());
        }
        let message = [CHECK_DOMAIN, self.public.as_bytes()].concat();
        if self.sign(&message)? != self.sign(&message)? {
            return Err(SignerError::NotDeterministic { by: elsewhere.signer.to_string() });
        }
        elsewhere.is_deterministic.store(true, Ordering::Release);
        Ok(())
    }

    /// A secret that only this key gives, the same each time. `domain` says what it is for, and no other bytes that
    /// are signed begin with it; `context` of what.
    ///
    /// Of a key that is here it is the SHA-256 over domain, secret key and context. Of one that is kept elsewhere, over
    /// domain, signature and context, where the signature covers domain, public key and context.
    ///
    /// # Errors
    /// If it is kept elsewhere, and does not sign or not the same twice.
    pub fn secret(&self, domain: &[u8], context: &[u8]) -> Result<[u8; 32], SignerError> {
        let of = |from: &[u8]| {
            let hash = Sha256::new().chain_update(domain).chain_update(from).chain_update(context);
            <[u8; 32]>::from(hash.finalize())
        };
        let elsewhere = match &self.held {
            Held::Here(key) => return Ok(of(key.as_bytes())),
            Held::Elsewhere(elsewhere) => elsewhere,
        };
        let message = [domain, self.public.as_bytes(), context].concat();
        let derived = || elsewhere.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, secret)) = &*derived()
            && *of == message
        {
            return Ok(*secret);
        }
        self.check()?;
        let secret = of(&self.sign(&message)?.to_bytes());
        *derived() = Some((message, secret));
        Ok(secret)
    }
}

impl AsRef<VerifyingKey> for Key {
    fn as_ref(&self) -> &VerifyingKey {
        &self.public
    }
}

impl From<SigningKey> for Key {
    fn from(key: SigningKey) -> Self {
        Self { public: key.verifying_key(), held: Held::Here(Arc::new(key)) }
    }
}

impl From<&SigningKey> for Key {
    fn from(key: &SigningKey) -> Self {
        key.clone().into()
    }
}

impl From<&Self> for Key {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

/// Shows the public half.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", hex::encode(self.public.as_bytes()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use curve25519_dalek::{EdwardsPoint, Scalar};
    use sha2::Sha512;

    use super::*;

    /// Signs with another key, or something else each time.
    struct Liar {
        shown: SigningKey,
        signs: SigningKey,
        /// How many signatures it has made; `None` to count nothing.
        drawn: Option<AtomicU64>,
    }

    impl fmt::Display for Liar {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("liar")
        }
    }

    impl Signer for Liar {
        fn public_key(&self) -> Result<[u8; 32], SignerError> {
            Ok(self.shown.verifying_key().to_bytes())
        }

        fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
            let Some(drawn) = &self.drawn else { return Ok(self.signs.sign(message).to_bytes()) };
            // With a nonce of its own each time: it verifies, and is not the one signature.
            let nonce = Scalar::from(drawn.fetch_add(1, Ordering::Relaxed));
            let point = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
            let hash = Sha512::new()
                .chain_update(point)
                .chain_update(self.signs.verifying_key().as_bytes())
                .chain_update(message);
            let hash = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
            let scalar = nonce + hash * self.signs.to_scalar();
            Ok(Signature::from_components(point, scalar.to_bytes()).to_bytes())
        }
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn elsewhere(shown: u8, signs: u8, drawn: Option<AtomicU64>) -> Key {
        Key::elsewhere(Liar { shown: key(shown), signs: key(signs), drawn }).unwrap()
    }

    #[test]
    fn it_signs_the_same_wherever_it_is_kept() {
        let (here, there) = (Key::from(key(1)), elsewhere(1, 1, None));
        assert_eq!(here.sign(b"x"), there.sign(b"x"));
        assert_eq!(here.verifying_key(), there.verifying_key());
        assert!(here.here().is_some() && there.here().is_none());
        there.check().unwrap();
    }

    #[test]
    fn a_signature_by_another_key_is_not_taken() {
        let wrong = Err(SignerError::WrongSignature { by: "liar".to_owned() });
        assert_eq!(elsewhere(1, 2, None).sign(b"x").map(drop), wrong);
        assert_eq!(elsewhere(1, 2, None).check(), wrong);
    }

    #[test]
    fn who_signs_differently_each_time_derives_nothing() {
        let it = elsewhere(1, 1, Some(AtomicU64::new(1)));
        // Each is good, and they differ.
        assert_ne!(it.sign(b"x").unwrap(), it.sign(b"x").unwrap());
        let refused = SignerError::NotDeterministic { by: "liar".to_owned() };
        assert_eq!(it.check(), Err(refused.clone()));
        assert_eq!(it.secret(b"a", b"b"), Err(refused));
    }

    #[test]
    fn a_secret_follows_from_key_domain_and_context() {
        for make in [|seed| Key::from(key(seed)), |seed| elsewhere(seed, seed, None)] {
            let it = make(1);
            let secret = it.secret(b"a\n", b"b").unwrap();
            assert_eq!(make(1).secret(b"a\n", b"b"), Ok(secret));
            for other in
                [it.secret(b"c\n", b"b"), it.secret(b"a\n", b"c"), make(2).secret(b"a\n", b"b")]
            {
                assert_ne!(other, Ok(secret));
            }
            assert_eq!(it.secret(b"a\n", b"b"), Ok(secret), "another in between changes nothing");
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        struct Nobody([u8; 32]);
        impl fmt::Display for Nobody {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("nobody")
            }
        }
        impl Signer for Nobody {
            fn public_key(&self) -> Result<[u8; 32], SignerError> {
                Ok(self.0)
            }
            fn sign(&self, _: &[u8]) -> Result<[u8; 64], SignerError> {
                Err(SignerError::Panicked)
            }
        }
        // No point of the curve, and one of small order.
        let mut two = [0; 32];
        two[0] = 2;
        for bytes in [two, [0; 32]] {
            assert!(matches!(Key::elsewhere(Nobody(bytes)), Err(SignerError::Malformed { .. })));
        }
    }
}
