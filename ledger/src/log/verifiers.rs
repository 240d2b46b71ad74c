//! The keys that sign a log's checkpoints together.

use crate::log::note::{Checkpoint, KeyKind, NoteError, SignedNote, Verifier};

/// Keys of one log, each under the log's name, of which more than two thirds must have signed a checkpoint: as
/// long as fewer than a third of those who hold them lie, no two checkpoints of two histories are signed.
/// One key alone signs for itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verifiers {
    name: String,
    keys: Vec<Verifier>,
}

impl Verifiers {
    /// These keys.
    ///
    /// # Errors
    /// If there are none, they have different names, one is a witness's, or two have the same key id: then
    /// a line could not be told to be the one's or the other's.
    pub fn new(keys: impl IntoIterator<Item = Verifier>) -> Result<Self, NoteError> {
        let keys: Vec<Verifier> = keys.into_iter().collect();
        let first = keys.first().ok_or(NoteError::Key("there are none"))?;
        let verifiers = Self { name: first.name().to_owned(), keys };
        let mut ids: Vec<[u8; 4]> = verifiers.iter().map(Verifier::id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(NoteError::Key("two have the same id"));
        }
        if verifiers.iter().any(|key| key.name() != verifiers.name()) {
            return Err(NoteError::Key("they have different names"));
        }
        if verifiers.iter().any(|key| key.kind() != KeyKind::Log) {
            return Err(NoteError::Key("one is a witness's"));
        }
        Ok(verifiers)
    }

    /// Nobody: of a log of this name whose roots something else than a signature proves. No note is ever
    /// signed by enough of them.
    pub fn none(name: String) -> Self {
        Self { name, keys: Vec::new() }
    }

    /// The log's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Verifier> {
        self.keys.iter()
    }

    /// The key, if there is only one.
    pub fn one(&self) -> Option<&Verifier> {
        match &self.keys[..] {
            [key] => Some(key),
            [] | [_, _, ..] => None,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// How many must have signed: the least number above two thirds.
    pub fn quorum(&self) -> usize {
        2 * self.count() / 3 + 1
    }

    /// Whether this is one of them.
    pub fn contains(&self, key: &Verifier) -> bool {
        self.iter().any(|other| other == key)
    }

    /// Those that have signed a note.
    ///
    /// # Errors
    /// If a line claims one of the keys and is wrong: nobody who signs honestly adds such a line.
    pub fn signed(&self, note: &SignedNote) -> Result<Vec<&Verifier>, NoteError> {
        let mut signed = Vec::new();
        for key in self.iter() {
            match key.verify(note) {
                Ok(()) => signed.push(key),
                Err(NoteError::Unsigned(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(signed)
    }

    /// Reads a signed checkpoint of this log, and verifies that enough of the keys have signed it.
    ///
    /// # Errors
    /// If anything about it is not as it should be. Signatures of other keys are ignored.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        if let Some(key) = self.one() {
            return Checkpoint::open(note, key);
        }
        let note = SignedNote::parse(note)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != self.name() {
            return Err(NoteError::WrongOrigin {
                expected: self.name().to_owned(),
                found: checkpoint.origin,
            });
        }
        let (signed, needed) = (self.signed(&note)?.len(), self.quorum());
        if signed < needed {
            return Err(NoteError::TooFew { signed, needed, of: self.count() });
        }
        Ok(checkpoint)
    }
}

impl From<Verifier> for Verifiers {
    fn from(key: Verifier) -> Self {
        Self { name: key.name().to_owned(), keys: vec![key] }
    }
}

impl std::str::FromStr for Verifiers {
    type Err = NoteError;

    /// Reads what is displayed: keys that are separated by commas. No key has one in it.
    fn from_str(text: &str) -> Result<Self, NoteError> {
        let keys = text.split(',').map(|key| Verifier::parse(key.trim()));
        Self::new(keys.collect::<Result<Vec<_>, _>>()?)
    }
}

impl std::fmt::Display for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, key) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            key.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::log::hash::Hash;
    use crate::log::note::Signer;

    fn signer(seed: u8) -> Signer {
        Signer::new("log", KeyKind::Log, SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    fn verifiers(count: u8) -> Verifiers {
        Verifiers::new((1..=count).map(|seed| signer(seed).verifier().clone())).unwrap()
    }

    fn note(signers: &[u8]) -> String {
        let checkpoint = Checkpoint { origin: "log".to_owned(), size: 7, root: Hash([7; 32]) };
        let text = checkpoint.text();
        let lines: String = signers.iter().map(|seed| signer(*seed).sign(&text, 0)).collect();
        format!("{text}\n{lines}")
    }

    #[test]
    fn more_than_two_thirds_must_have_signed() {
        for (count, quorum) in [(1, 1), (2, 2), (3, 3), (4, 3), (6, 5), (7, 5), (9, 7), (64, 43)] {
            let keys = verifiers(count);
            assert_eq!((keys.quorum(), 3 * quorum > 2 * usize::from(count)), (quorum, true));
            let enough: Vec<u8> = (1..=quorum as u8).collect();
            assert_eq!(keys.open(&note(&enough)).unwrap().size, 7);
            if quorum > 1 {
                let too_few =
                    NoteError::TooFew { signed: quorum - 1, needed: quorum, of: count.into() };
                assert_eq!(keys.open(&note(&enough[1..])), Err(too_few));
            }
        }
        assert_eq!(verifiers(1).open(&note(&[2])), Err(NoteError::Unsigned("log".to_owned())));
    }

    #[test]
    fn where_nobody_signs_nothing_is_signed() {
        let nobody = Verifiers::none("log".to_owned());
        assert_eq!((nobody.count(), nobody.one(), nobody.name()), (0, None, "log"));
        for signers in [&[1][..], &[1, 2, 3]] {
            let few = NoteError::TooFew { signed: 0, needed: 1, of: 0 };
            assert_eq!(nobody.open(&note(signers)), Err(few));
        }
    }

    #[test]
    fn nobody_counts_twice_and_strangers_do_not_count() {
        let keys = verifiers(4);
        let few = NoteError::TooFew { signed: 2, needed: 3, of: 4 };
        assert_eq!(keys.open(&note(&[1, 2, 2, 2, 9])), Err(few));
        assert!(keys.open(&note(&[9, 1, 8, 3, 4])).is_ok());
        // A line that claims a key, and signs something else.
        let good = note(&[1, 2, 3]);
        let forged = Checkpoint { origin: "log".to_owned(), size: 8, root: Hash([7; 32]) };
        let forged = signer(4).sign(&forged.text(), 0);
        let refused = keys.open(&format!("{good}{forged}"));
        assert_eq!(refused, Err(NoteError::BadSignature("log".to_owned())));
        let other_log = good.replacen("log", "other", 1);
        assert!(matches!(keys.open(&other_log), Err(NoteError::WrongOrigin { .. })));
    }

    #[test]
    fn only_keys_that_can_be_told_apart_sign_together() {
        let key = |seed: u8| signer(seed).verifier().clone();
        assert!(Verifiers::new([]).is_err());
        assert!(Verifiers::new([key(1), key(2), key(1)]).is_err());
        let other = SigningKey::from_bytes(&[3; 32]).verifying_key();
        let named = Verifier::new("other", KeyKind::Log, other).unwrap();
        assert!(Verifiers::new([key(1), named]).is_err());
        let witness = Verifier::new("log", KeyKind::Witness, other).unwrap();
        assert!(Verifiers::new([key(1), witness]).is_err());
        assert_eq!(verifiers(1), key(1).into());
        assert_eq!(verifiers(2).to_string(), format!("{}, {}", key(1), key(2)));
        for count in [1, 2, 64] {
            assert_eq!(verifiers(count).to_string().parse(), Ok(verifiers(count)));
        }
        assert!("".parse::<Verifiers>().is_err());
    }
}
