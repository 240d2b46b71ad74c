//! The keys that sign a ledger's checkpoints: those in its first entry, and those they were changed
//! to by later ones.

use bytes::Bytes;
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, NoteError, SignedNote, Verifier, Verifiers};
use colearn_proto::v1;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::on_chain::PublicChain;
use crate::transaction::LedgerId;
use crate::validators::{BadChange, Validator, Validators};

const DOMAIN: &[u8] = b"colearn/v1/key-rotation\n";

/// Why an entry does not change the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadRotation {
    /// The old key is not the ledger's.
    #[error("it changes another key than the ledger's, which is {0}")]
    OtherKey(Verifiers),
    /// The new key is none, or the same.
    #[error("its new key cannot be used")]
    BadKey,
    /// A signature is missing or wrong.
    #[error("it is not signed by both keys")]
    Unsigned,
}

/// What changes the keys.
#[derive(Clone, PartialEq, Debug)]
pub enum KeyChange {
    /// Another key.
    Rotation(v1::KeyRotation),
    /// Other nodes, which keep the ledger together.
    Validators(v1::ValidatorChange),
}

/// Why an entry does not change the keys.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadKeyChange {
    /// It is no change of the one key.
    #[error(transparent)]
    Rotation(#[from] BadRotation),
    /// It is no change of who keeps the ledger.
    #[error(transparent)]
    Validators(#[from] BadChange),
    /// It changes the one key of a ledger that several nodes keep.
    #[error(
        "several nodes keep this ledger: a node changes its keys with an update of its description"
    )]
    InNetwork,
    /// It changes who signs for a ledger that nobody signs for.
    #[error("a contract on a public chain keeps this ledger: it has no keys that could change")]
    OnChain,
}

/// Who keeps a ledger, for some time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Keepers {
    pub(crate) verifiers: Verifiers,
    /// `None` where one node keeps it alone.
    pub(crate) validators: Option<Validators>,
}

impl Keepers {
    /// Several nodes.
    pub(crate) fn together(origin: &str, validators: Validators) -> Result<Self, BadChange> {
        Ok(Self { verifiers: validators.verifiers(origin)?, validators: Some(validators) })
    }

    /// A contract on a public chain, for which nobody signs.
    pub(crate) fn on_chain(origin: String) -> Self {
        Self { verifiers: Verifiers::none(origin), validators: None }
    }

    /// One node.
    pub(crate) fn alone(key: Verifier) -> Self {
        Self { verifiers: key.into(), validators: None }
    }
}

/// The keys of a ledger, from the first on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogKeys {
    ledger: LedgerId,
    first: Keepers,
    /// The entries that changed the keys, and who keeps the ledger after each.
    changes: Vec<(u64, Keepers)>,
}

impl LogKeys {
    /// The keys in a ledger's first entry, none where a contract on a public chain keeps it; `None` if they
    /// cannot be used.
    pub fn of_genesis(genesis: &v1::Genesis) -> Option<Self> {
        let first = match PublicChain::of_genesis(genesis).ok()? {
            Some(chain) => Keepers::on_chain(chain.origin()),
            None => Self::who_signs(genesis)?,
        };
        Some(Self { ledger: LedgerId::of(genesis), first, changes: Vec::new() })
    }

    fn who_signs(genesis: &v1::Genesis) -> Option<Keepers> {
        Some(match Validators::of_genesis(genesis).ok()? {
            Some(validators) => Keepers::together(&genesis.origin, validators).ok()?,
            None => Keepers::alone(verifier(&genesis.origin, &genesis.log_public_key)?),
        })
    }

    /// Whether nobody signs for the ledger: a contract on a public chain keeps it.
    pub fn is_on_chain(&self) -> bool {
        self.first.verifiers.count() == 0
    }

    /// The public chain's id, and the address of the contract there that keeps the ledger, if one does.
    pub fn public_chain(&self) -> Option<(&str, &str)> {
        PublicChain::of_origin(self.current().name()).filter(|_| self.is_on_chain())
    }

    /// Who kept the ledger first, and after each change.
    pub(crate) fn parts(&self) -> (&Keepers, &[(u64, Keepers)]) {
        (&self.first, &self.changes)
    }

    pub(crate) fn of_parts(ledger: LedgerId, first: Keepers, changes: Vec<(u64, Keepers)>) -> Self {
        Self { ledger, first, changes }
    }

    /// Which ledger's keys these are.
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// Follows the change at entry `index`.
    ///
    /// # Errors
    /// If it is not approved by those whose consent it needs.
    pub fn follow(&mut self, index: u64, change: &KeyChange) -> Result<(), BadKeyChange> {
        let new = self.check(change)?;
        self.change(index, new);
        Ok(())
    }

    /// Who keeps the ledger after a change, if that is one.
    pub(crate) fn check(&self, change: &KeyChange) -> Result<Keepers, BadKeyChange> {
        if self.is_on_chain() {
            return Err(BadKeyChange::OnChain);
        }
        match (change, &self.keepers().validators) {
            (KeyChange::Rotation(rotation), None) => {
                Ok(Keepers::alone(self.check_rotation(rotation)?))
            }
            (KeyChange::Rotation(_), Some(_)) => Err(BadKeyChange::InNetwork),
            (KeyChange::Validators(change), validators) => {
                let after = match (validators, self.current().one()) {
                    (Some(validators), _) => validators.after(&self.ledger, change)?,
                    (None, Some(solo)) => Validators::found(&self.ledger, solo.key(), change)?,
                    (None, None) => return Err(BadChange::NoNetwork.into()),
                };
                Ok(Keepers::together(self.current().name(), after)?)
            }
        }
    }

    fn check_rotation(&self, rotation: &v1::KeyRotation) -> Result<Verifier, BadRotation> {
        let other = || BadRotation::OtherKey(self.current().clone());
        let current = self.current().one().ok_or_else(other)?;
        if rotation.old_public_key[..] != current.key().as_bytes()[..] {
            return Err(other());
        }
        let new = verifier(current.name(), &rotation.new_public_key);
        let new = new.filter(|new| new != current).ok_or(BadRotation::BadKey)?;
        // The old key alone would let its thief appoint any other; the new key alone, anybody.
        let message = message(&self.ledger, &rotation.old_public_key, &rotation.new_public_key);
        let signed = |key: &VerifyingKey, signature: &[u8]| {
            Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(&message, &signature).is_ok())
        };
        if !signed(current.key(), &rotation.old_signature)
            || !signed(new.key(), &rotation.new_signature)
        {
            return Err(BadRotation::Unsigned);
        }
        Ok(new)
    }

    /// Since entry `index` these keep the ledger.
    pub(crate) fn change(&mut self, index: u64, new: Keepers) {
        self.changes.push((index, new));
    }

    /// The keys as the first `size` entries give them.
    #[must_use]
    pub fn before(&self, size: u64) -> Self {
        let changes = self.changes.iter().filter(|(index, _)| *index < size);
        Self { ledger: self.ledger, first: self.first.clone(), changes: changes.cloned().collect() }
    }

    fn keepers(&self) -> &Keepers {
        self.changes.last().map_or(&self.first, |(_, keepers)| keepers)
    }

    /// The keys that sign now.
    pub fn current(&self) -> &Verifiers {
        &self.keepers().verifiers
    }

    /// The nodes that kept the ledger together first, and the entry from which on: 0, or the one that made
    /// several of one. `None` where one node keeps it alone.
    pub fn founders(&self) -> Option<(u64, &Validators)> {
        if let Some(validators) = &self.first.validators {
            return Some((0, validators));
        }
        self.changes.iter().find_map(|(index, keepers)| {
            keepers.validators.as_ref().map(|validators| (*index, validators))
        })
    }

    /// The nodes that keep the ledger together now; `None` where one keeps it alone.
    pub fn validators(&self) -> Option<&Validators> {
        self.keepers().validators.as_ref()
    }

    /// The keys of which enough must have signed a checkpoint of this size.
    pub fn at(&self, size: u64) -> &Verifiers {
        // The change is signed for by the new key already in the checkpoint that first counts it:
        // whoever holds only the old key can say nothing about what comes after.
        let change = self.changes.iter().rfind(|(index, _)| *index < size);
        &change.map_or(&self.first, |(_, keepers)| keepers).verifiers
    }

    /// The node that has, or had, the consensus key with this address, by which blocks name it.
    pub fn of_consensus_address(&self, address: &[u8]) -> Option<&Validator> {
        let keepers = self.changes.iter().rev().map(|(_, it)| it);
        let validators = keepers.chain([&self.first]).filter_map(|it| it.validators.as_ref());
        validators.flat_map(Validators::iter).find(|it| it.consensus_address() == address)
    }

    /// The nodes that have, or had, this name; each with the keys that it had then.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Validator> {
        let keepers = std::iter::once(&self.first).chain(self.changes.iter().map(|(_, it)| it));
        keepers.filter_map(|it| it.validators.as_ref()?.get(name))
    }

    /// Whether this is, or was, the ledger's key.
    pub fn contains(&self, key: &Verifier) -> bool {
        self.all().any(|keys| keys.contains(key))
    }

    /// The keys at all times.
    fn all(&self) -> impl Iterator<Item = &Verifiers> {
        let keepers = std::iter::once(&self.first).chain(self.changes.iter().map(|(_, it)| it));
        keepers.map(|keepers| &keepers.verifiers)
    }

    /// The entries that changed the key.
    pub fn changes(&self) -> Vec<u64> {
        self.changes.iter().map(|(index, _)| *index).collect()
    }

    /// Reads a signed checkpoint and verifies it with the keys of its time.
    ///
    /// # Errors
    /// Those of [`Verifiers::open`].
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let stated = Checkpoint::parse(SignedNote::parse(note)?.text())?;
        self.at(stated.size).open(note)
    }

    /// Reads a checkpoint of this ledger's, whoever has signed it: of a ledger that a contract on a public chain keeps
    /// nobody has whose word counts.
    ///
    /// # Errors
    /// If it is none, or another log's.
    pub fn stated(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let stated = Checkpoint::parse(SignedNote::parse(note)?.text())?;
        let expected = self.current().name();
        if stated.origin == expected {
            return Ok(stated);
        }
        Err(NoteError::WrongOrigin { expected: expected.to_owned(), found: stated.origin })
    }

    /// Whether any of them, be it the one of its time or not, has signed this checkpoint.
    pub fn have_signed(&self, note: &str) -> bool {
        self.all().any(|keys| keys.open(note).is_ok())
    }
}

/// The entry that changes a ledger's key from `old` to `new`.
pub fn sign(ledger: &LedgerId, old: &SigningKey, new: &SigningKey) -> v1::KeyRotation {
    let (old_key, new_key) = (old.verifying_key(), new.verifying_key());
    let message = message(ledger, old_key.as_bytes(), new_key.as_bytes());
    v1::KeyRotation {
        old_public_key: Bytes::copy_from_slice(old_key.as_bytes()),
        new_public_key: Bytes::copy_from_slice(new_key.as_bytes()),
        old_signature: Bytes::copy_from_slice(&old.sign(&message).to_bytes()),
        new_signature: Bytes::copy_from_slice(&new.sign(&message).to_bytes()),
    }
}

fn verifier(origin: &str, key: &[u8]) -> Option<Verifier> {
    let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    Verifier::new(origin, KeyKind::Log, key).ok()
}

fn message(ledger: &LedgerId, old: &[u8], new: &[u8]) -> Vec<u8> {
    [DOMAIN, &ledger.0, old, new].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_both_keys_together_change_the_key() {
        let [a, b, c] = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let genesis = v1::Genesis {
            origin: "log".to_owned(),
            log_public_key: Bytes::copy_from_slice(a.verifying_key().as_bytes()),
            ..v1::Genesis::default()
        };
        let mut keys = LogKeys::of_genesis(&genesis).unwrap();
        let first = keys.current().clone();
        let ledger = keys.ledger();

        let follow = |keys: &mut LogKeys, index, rotation: &v1::KeyRotation| {
            keys.follow(index, &KeyChange::Rotation(rotation.clone())).map_err(|bad| match bad {
                BadKeyChange::Rotation(bad) => bad,
                other => panic!("{other}"),
            })
        };
        let stolen = sign(&ledger, &c, &b);
        assert!(matches!(follow(&mut keys, 5, &stolen), Err(BadRotation::OtherKey(_))));
        let same = sign(&ledger, &a, &a);
        assert_eq!(follow(&mut keys, 5, &same), Err(BadRotation::BadKey));
        let other_ledger = sign(&LedgerId([9; 32]), &a, &b);
        assert_eq!(follow(&mut keys, 5, &other_ledger), Err(BadRotation::Unsigned));
        let good = sign(&ledger, &a, &b);
        let unwilling =
            v1::KeyRotation { new_signature: good.old_signature.clone(), ..good.clone() };
        assert_eq!(follow(&mut keys, 5, &unwilling), Err(BadRotation::Unsigned));
        assert_eq!(*keys.current(), first);

        follow(&mut keys, 5, &good).unwrap();
        follow(&mut keys, 9, &sign(&ledger, &b, &c)).unwrap();
        assert_eq!(keys.at(5), &first, "a checkpoint that does not count the change");
        assert_eq!(keys.at(6).one().unwrap().key(), &b.verifying_key());
        assert_eq!(keys.at(10), keys.current());
        assert!(keys.contains(first.one().unwrap()) && keys.changes() == [5, 9]);
    }
}
