//! Transactions: a learner's signed actions, in their one encoding.

use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;
use colearn_contracts::{Act, Action, ExperimentName, LearnerId};
use colearn_keys::{Key, SignerError};
use colearn_ledger::Hash;
use colearn_proto::v1;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::convert::{self, BadField};
use crate::keys::learner_id;

/// The longest body, in bytes; what is left of an entry is for the envelope and the signature.
pub const MAX_BODY_BYTES: usize = 65_000;
const DOMAIN: &[u8] = b"colearn/v1/transaction\n";
const REPLACE_KEY_DOMAIN: &[u8] = b"colearn/v1/replace-key\n";

/// Which ledger a transaction is for: the SHA-256 of the genesis message.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LedgerId(pub [u8; 32]);

impl LedgerId {
    /// The id of the ledger that begins with this genesis.
    pub fn of(genesis: &v1::Genesis) -> Self {
        Self(Sha256::digest(genesis.encode_to_vec()).into())
    }
}

impl std::str::FromStr for LedgerId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| format!("{text:?} is not a ledger's id of 64 hex digits"))?;
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for LedgerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for LedgerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The history a signer vouches for: a checkpoint's size and root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The number of entries.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// Why a transaction is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// The body is too long.
    #[error("a transaction's body has at most 65,000 bytes, this one {0}")]
    TooLarge(usize),
    /// The body is not a transaction.
    #[error("not a transaction: {0}")]
    Malformed(#[from] BadField),
    /// The body is a transaction, but not in its one encoding.
    #[error(
        "not in the one encoding: fields ascend, a oneof stands where its lowest number would, \
         defaults and unknown fields are left out, and decoding and encoding again gives the same \
         bytes"
    )]
    NotCanonical,
    /// The key or signature does not fit.
    #[error(
        "the signature does not verify; it must be made with this learner's key over this \
         ledger's id"
    )]
    BadSignature,
    /// The new key has not agreed to replace the old one.
    #[error(
        "the new key has not agreed to replace this one: its signature over this ledger's id, both \
         keys and the experiment does not verify"
    )]
    NoConsent,
}

/// A well-formed transaction whose signature has not been looked at.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// Who is said to have signed it.
    pub sender: LearnerId,
    /// What is asked.
    pub action: Action,
    /// The history the signer vouches for.
    pub seen: Seen,
    /// The signature by which another key agrees to replace the sender's.
    consent: Option<Bytes>,
    message: v1::SignedTransaction,
}

impl Unverified {
    /// Decodes a transaction, insisting on its one encoding.
    ///
    /// # Errors
    /// If it is too large, malformed or not canonical.
    pub fn decode(message: v1::SignedTransaction) -> Result<Self, Invalid> {
        // Before anything is decoded: bodies come from strangers.
        if message.body.len() > MAX_BODY_BYTES {
            return Err(Invalid::TooLarge(message.body.len()));
        }
        let sender = convert::learner(&message.public_key, "public_key")?;
        let body = v1::Transaction::decode(message.body.clone())
            .map_err(|_| Invalid::Malformed(BadField("body")))?;
        // What was signed is the bytes, what is applied is the message. With one encoding only,
        // nobody can make a second transaction, with another digest, of what another has signed.
        if body.encode_to_vec() != message.body {
            return Err(Invalid::NotCanonical);
        }
        let seen = body.seen.ok_or(BadField("seen"))?;
        let root = Hash::try_from(&seen.root[..]).map_err(|_| BadField("seen.root"))?;
        let seen = Seen { size: seen.size, root };
        let action = body.action.ok_or(BadField("action"))?;
        // The contract knows nothing of signatures, so the consent stays behind when the action is
        // converted.
        let consent = consent_of(&action);
        let action = convert::action(action)?;
        Ok(Self { sender, action, seen, consent, message })
    }

    /// Verifies the signature: `verify_strict`, one at a time, is the rule everywhere.
    ///
    /// # Errors
    /// If it is not the sender's over this ledger's id and the body.
    pub fn check(&self, ledger: &LedgerId) -> Result<(), Invalid> {
        // Never in batches and never `verify`: batch and cofactored verification accept signatures
        // that this refuses, and all who replay must agree about each.
        let key = verifying_key(self.sender).ok_or(Invalid::BadSignature)?;
        let signature =
            Signature::from_slice(&self.message.signature).map_err(|_| Invalid::BadSignature)?;
        key.verify_strict(&signed_bytes(ledger, &self.message.body), &signature)
            .map_err(|_| Invalid::BadSignature)?;
        match (&self.action.what, &self.consent) {
            // Without the new key's consent a member could put a stranger's key in its own place, and
            // vote it into what its owner never joined.
            (Act::ReplaceKey { to }, Some(consent)) => {
                let key = verifying_key(*to).ok_or(Invalid::NoConsent)?;
                let consent = Signature::from_slice(consent).map_err(|_| Invalid::NoConsent)?;
                let message = consent_bytes(ledger, self.sender, *to, &self.action.experiment);
                key.verify_strict(&message, &consent).map_err(|_| Invalid::NoConsent)
            }
            _ => Ok(()),
        }
    }

    /// Turns into a transaction whose signature is known to verify.
    ///
    /// # Errors
    /// Those of [`Unverified::check`].
    pub fn verify(self, ledger: &LedgerId) -> Result<Transaction, Invalid> {
        self.check(ledger)?;
        Ok(self.verified_before())
    }

    /// Turns into a transaction without another look at the signature: for who has verified the very same
    /// bytes before, and only for that.
    pub fn verified_before(self) -> Transaction {
        let Self { sender, action, seen, message, .. } = self;
        Transaction { sender, action, seen, message }
    }

    /// The message as it was received.
    pub fn message(&self) -> &v1::SignedTransaction {
        &self.message
    }
}

/// How many keys each thread keeps decompressed, 200 bytes each.
const KEPT_KEYS: usize = 10_000;

thread_local! {
    static KEYS: RefCell<HashMap<LearnerId, VerifyingKey>> = RefCell::default();
}

/// A learner's key, decompressed. That is a fifth of the work of a verification and the same every
/// time, so it is done once for those who come often.
fn verifying_key(learner: LearnerId) -> Option<VerifyingKey> {
    KEYS.with_borrow_mut(|keys| {
        if let Some(key) = keys.get(&learner) {
            return Some(*key);
        }
        let key = VerifyingKey::from_bytes(&learner.0).ok()?;
        // Strangers decide which keys come, so their number is bounded; starting anew costs less than
        // keeping account of which came last.
        if keys.len() == KEPT_KEYS {
            keys.clear();
        }
        keys.insert(learner, key);
        Some(key)
    })
}

/// A transaction with a good signature. Only signing and [`Unverified::verify`] make
/// one, so holding one is the proof.
#[derive(Clone, Debug)]
pub struct Transaction {
    sender: LearnerId,
    action: Action,
    seen: Seen,
    message: v1::SignedTransaction,
}

impl Transaction {
    /// Signs an action. Replacing a key also takes the new key: [`Transaction::replace_key`].
    pub fn sign(key: &SigningKey, ledger: &LedgerId, seen: Seen, action: Action) -> Self {
        let message = convert::action_message(&action);
        let signing = Unsigned::new(learner_id(key), ledger, seen, action, message);
        let signature = key.sign(&signing.bytes);
        signing.signed(signature)
    }

    /// Signs an action with a key wherever that is kept.
    ///
    /// # Errors
    /// If it does not sign; never for a key that is here.
    pub fn sign_with(
        key: &Key,
        ledger: &LedgerId,
        seen: Seen,
        action: Action,
    ) -> Result<Self, SignerError> {
        let message = convert::action_message(&action);
        let signing = Unsigned::new(learner_id(key), ledger, seen, action, message);
        let signature = key.sign(&signing.bytes)?;
        Ok(signing.signed(signature))
    }

    /// Signs, with both keys, that `new` goes on in an experiment in place of `old`.
    pub fn replace_key(
        old: &SigningKey,
        new: &SigningKey,
        ledger: &LedgerId,
        seen: Seen,
        experiment: ExperimentName,
    ) -> Self {
        let (from, to) = (learner_id(old), learner_id(new));
        let consent = new.sign(&consent_bytes(ledger, from, to, &experiment));
        let signing = Unsigned::replacing(from, (to, consent), ledger, seen, experiment);
        let signature = old.sign(&signing.bytes);
        signing.signed(signature)
    }

    /// As [`Transaction::replace_key`], with keys wherever they are kept.
    ///
    /// # Errors
    /// If one of them does not sign; never for keys that are here.
    pub fn replace_key_with(
        old: &Key,
        new: &Key,
        ledger: &LedgerId,
        seen: Seen,
        experiment: ExperimentName,
    ) -> Result<Self, SignerError> {
        let (from, to) = (learner_id(old), learner_id(new));
        let consent = new.sign(&consent_bytes(ledger, from, to, &experiment))?;
        let signing = Unsigned::replacing(from, (to, consent), ledger, seen, experiment);
        let signature = old.sign(&signing.bytes)?;
        Ok(signing.signed(signature))
    }

    /// Who signed it.
    pub fn sender(&self) -> LearnerId {
        self.sender
    }

    /// What is asked.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// The history the signer vouches for.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// The message that is sent and recorded.
    pub fn message(&self) -> &v1::SignedTransaction {
        &self.message
    }
}

/// A transaction that lacks its signature.
struct Unsigned {
    sender: LearnerId,
    action: Action,
    seen: Seen,
    body: Vec<u8>,
    /// What the signature is to cover.
    bytes: Vec<u8>,
}

impl Unsigned {
    fn new(
        sender: LearnerId,
        ledger: &LedgerId,
        seen: Seen,
        action: Action,
        message: v1::transaction::Action,
    ) -> Self {
        let body = v1::Transaction {
            seen: Some(v1::Seen { size: seen.size, root: Bytes::copy_from_slice(&seen.root.0) }),
            action: Some(message),
        }
        .encode_to_vec();
        let bytes = signed_bytes(ledger, &body);
        Self { sender, action, seen, body, bytes }
    }

    /// That a key takes this one's place, to which it has agreed with a signature.
    fn replacing(
        from: LearnerId,
        (to, consent): (LearnerId, Signature),
        ledger: &LedgerId,
        seen: Seen,
        experiment: ExperimentName,
    ) -> Self {
        let message = v1::transaction::Action::ReplaceKey(v1::ReplaceKey {
            experiment: experiment.to_string(),
            new_public_key: Bytes::copy_from_slice(&to.0),
            new_signature: Bytes::copy_from_slice(&consent.to_bytes()),
        });
        let action = Action::new(experiment, Act::ReplaceKey { to });
        Self::new(from, ledger, seen, action, message)
    }

    /// With a signature by its key over its bytes.
    fn signed(self, signature: Signature) -> Transaction {
        let Self { sender, action, seen, body, .. } = self;
        let message = v1::SignedTransaction {
            body: body.into(),
            public_key: Bytes::copy_from_slice(&sender.0),
            signature: Bytes::copy_from_slice(&signature.to_bytes()),
        };
        Transaction { sender, action, seen, message }
    }
}

/// Identifies what is asked and by whom, whatever signature it carries.
///
/// Ed25519 lets a signer make many valid signatures of one message: were the signature part of this,
/// a transaction sent again could pass for another.
pub fn digest(message: &v1::SignedTransaction) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"colearn/v1/transaction-digest\n")
        .chain_update(&message.public_key)
        .chain_update(&message.body)
        .finalize()
        .into()
}

/// What a signature covers: "colearn/v1/transaction\n", the ledger's id, the body. So it is good on one
/// ledger and for one purpose only.
pub fn signed_bytes(ledger: &LedgerId, body: &[u8]) -> Vec<u8> {
    [DOMAIN, &ledger.0, body].concat()
}

/// The signature by which a new key agrees, where an action carries one.
fn consent_of(action: &v1::transaction::Action) -> Option<Bytes> {
    use v1::transaction::Action as Wire;
    match action {
        Wire::ReplaceKey(replace) => Some(replace.new_signature.clone()),
        Wire::CreateExperiment(_)
        | Wire::JoinExperiment(_)
        | Wire::LeaveExperiment(_)
        | Wire::Propose(_)
        | Wire::Pass(_)
        | Wire::Vote(_)
        | Wire::StopExperiment(_)
        | Wire::Commit(_)
        | Wire::Reveal(_)
        | Wire::ResumeExperiment(_)
        | Wire::Move(_)
        | Wire::Ballot(_)
        | Wire::Evaluate(_)
        | Wire::Update(_)
        | Wire::CommitUpdate(_)
        | Wire::RevealUpdate(_)
        | Wire::Have(_)
        | Wire::MergeVote(_)
        | Wire::RevealMergeVote(_) => None,
    }
}

/// What a new key signs to agree: "colearn/v1/replace-key\n", the ledger's id, the old key, the new
/// key, the experiment's name.
fn consent_bytes(
    ledger: &LedgerId,
    from: LearnerId,
    to: LearnerId,
    experiment: &ExperimentName,
) -> Vec<u8> {
    [REPLACE_KEY_DOMAIN, &ledger.0, &from.0, &to.0, experiment.as_str().as_bytes()].concat()
}
