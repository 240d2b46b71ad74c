//! Pins: which ledger somebody insists on, whose key keeps it, and which witnesses must have seen it.
//!
//! They are no rules of an experiment. They say whom to believe, so whoever pins checks them before
//! anything else is believed, and nobody else need have the same.

use colearn_ledger::note::KeyKind;
use colearn_ledger::{NoteError, SignedNote, Verifier, Verifiers};

use crate::log_keys::LogKeys;
use crate::plan::quoted;
use crate::transaction::LedgerId;

/// What somebody insists on of a ledger; the default is nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Pins {
    ledger: Option<LedgerId>,
    verifier_key: Option<Verifier>,
    witnesses: Vec<Verifier>,
    quorum: usize,
    trust: Option<String>,
}

/// Why pins cannot be meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPins {
    /// The key that is to keep the ledger is a witness's.
    #[error("{0} is a witness's key, not a ledger's; `colearn node` prints the ledger's")]
    NotALedgersKey(Verifier),
    /// The key that is to cosign is a ledger's.
    #[error("{0} is a ledger's key, not a witness's; `colearn witness` prints the witness's")]
    NotAWitnesssKey(Verifier),
    /// One key would be counted twice.
    #[error("{0} and {1} are witnesses of one key, which counts once; leave one of them out")]
    SameKey(String, String),
    /// More than there are, or none.
    #[error("a quorum of {quorum} of {witnesses} witnesses cannot be; it is 1 to {witnesses}")]
    Quorum {
        /// How many must have cosigned.
        quorum: usize,
        /// How many there are.
        witnesses: usize,
    },
    /// A quorum of nobody.
    #[error("a quorum is of witnesses, and none is named")]
    NoWitnesses,
}

/// Why a ledger is not believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unpinned {
    /// It is another one.
    #[error(
        "this is the ledger {found}, and {expected} was insisted on; ask who keeps it which is right"
    )]
    Ledger {
        /// The pin.
        expected: LedgerId,
        /// The ledger that is there.
        found: LedgerId,
    },
    /// It is, and was, kept by another key.
    #[error(
        "the ledger is kept by {found} and never was by {expected}, which was insisted on; ask who \
         keeps it which is right"
    )]
    Key {
        /// The pin.
        expected: Verifier,
        /// The key that keeps it.
        found: Verifiers,
    },
    /// Too few witnesses have cosigned the checkpoint.
    #[error(
        "{found} of the {} witnesses that were named have cosigned the checkpoint, and {needed} must; \
         {}", found + missing.len(), reasons(missing)
    )]
    Witnesses {
        /// How many have.
        found: usize,
        /// How many must.
        needed: usize,
        /// Who has not, and why that is.
        missing: Vec<NoteError>,
    },
    /// What is said to be a checkpoint is none.
    #[error(transparent)]
    Note(#[from] NoteError),
}

fn reasons(missing: &[NoteError]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The fewest of `all` witnesses of which any two groups have one in common. So whoever shows two
/// histories needs one that has cosigned both, and some may be away.
pub fn majority(all: usize) -> usize {
    if all == 0 { 0 } else { all / 2 + 1 }
}

impl Pins {
    /// Insists on what is given. Of the witnesses `quorum` must have cosigned; [`majority`] where that
    /// is not said.
    ///
    /// # Errors
    /// If the keys are of another kind, or the quorum can never be, or always.
    pub fn new(
        ledger: Option<LedgerId>,
        verifier_key: Option<Verifier>,
        witnesses: Vec<Verifier>,
        quorum: Option<usize>,
    ) -> Result<Self, BadPins> {
        if let Some(key) = verifier_key.as_ref().filter(|key| key.kind() != KeyKind::Log) {
            return Err(BadPins::NotALedgersKey(key.clone()));
        }
        for (at, witness) in witnesses.iter().enumerate() {
            if witness.kind() != KeyKind::Witness {
                return Err(BadPins::NotAWitnesssKey(witness.clone()));
            }
            let before = &witnesses[..at];
            if let Some(same) = before.iter().find(|other| other.key() == witness.key()) {
                let (one, other) = (same.name().to_owned(), witness.name().to_owned());
                return Err(BadPins::SameKey(one, other));
            }
        }
        let count = witnesses.len();
        let quorum = match quorum {
            None => majority(count),
            Some(_) if count == 0 => return Err(BadPins::NoWitnesses),
            Some(quorum) if (1..=count).contains(&quorum) => quorum,
            Some(quorum) => return Err(BadPins::Quorum { quorum, witnesses: count }),
        };
        Ok(Self { ledger, verifier_key, witnesses, quorum, trust: None })
    }

    /// The same, and of the public chain that keeps the ledger the header and code that this line names, if one is
    /// given: as `colearn chain trust` prints it. Whether it is one is looked at by whoever verifies chains.
    #[must_use]
    pub fn trusting(self, line: Option<String>) -> Self {
        Self { trust: line.or(self.trust), ..self }
    }

    /// The same, but for what is given. A quorum is of the witnesses that are given, or else of these.
    ///
    /// # Errors
    /// Those of [`Pins::new`].
    pub fn with(
        &self,
        ledger: Option<LedgerId>,
        verifier_key: Option<Verifier>,
        witnesses: Vec<Verifier>,
        quorum: Option<usize>,
    ) -> Result<Self, BadPins> {
        let (witnesses, quorum) = match witnesses.is_empty() && !self.witnesses.is_empty() {
            true => (self.witnesses.clone(), quorum.or(Some(self.quorum))),
            false => (witnesses, quorum),
        };
        let verifier_key = verifier_key.or_else(|| self.verifier_key.clone());
        let pins = Self::new(ledger.or(self.ledger), verifier_key, witnesses, quorum)?;
        Ok(pins.trusting(self.trust.clone()))
    }

    /// The same witnesses, of this ledger; and of the key that keeps it, if one does.
    #[must_use]
    pub fn of_ledger(self, keys: &LogKeys) -> Self {
        Self { ledger: Some(keys.ledger()), verifier_key: keys.current().one().cloned(), ..self }
    }

    /// Whether nothing is insisted on.
    pub fn is_empty(&self) -> bool {
        let Self { ledger, verifier_key, witnesses, quorum: _, trust } = self;
        ledger.is_none() && verifier_key.is_none() && witnesses.is_empty() && trust.is_none()
    }

    /// The ledger that is insisted on.
    pub fn ledger(&self) -> Option<LedgerId> {
        self.ledger
    }

    /// The key that must keep the ledger, or have kept it.
    pub fn verifier_key(&self) -> Option<&Verifier> {
        self.verifier_key.as_ref()
    }

    /// The witnesses of whom [`Pins::quorum`] must have cosigned.
    pub fn witnesses(&self) -> &[Verifier] {
        &self.witnesses
    }

    /// Which header of the public chain that keeps the ledger, and which code there, is trusted.
    pub fn trust(&self) -> Option<&str> {
        self.trust.as_deref()
    }

    /// How many witnesses must have cosigned.
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// The pins as a plan has them: each key with its value.
    pub fn in_plan(&self) -> Vec<(&'static str, String)> {
        let key = |key: &Verifier| quoted(&key.to_string());
        let mut lines = Vec::new();
        lines.extend(self.ledger.map(|ledger| ("ledger", quoted(&ledger.to_string()))));
        lines.extend(self.verifier_key.as_ref().map(|it| ("verifier_key", key(it))));
        if !self.witnesses.is_empty() {
            let witnesses: Vec<String> = self.witnesses.iter().map(key).collect();
            lines.push(("witnesses", format!("[{}]", witnesses.join(", "))));
            lines.push(("witness_quorum", self.quorum.to_string()));
        }
        lines.extend(self.trust.as_ref().map(|line| ("trust", quoted(line))));
        lines
    }

    /// The pins as flags of `colearn`, to be pasted into a shell.
    pub fn flags(&self) -> String {
        let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let key = |key: &Verifier| quote(&key.to_string());
        let mut flags = Vec::new();
        flags.extend(self.ledger.map(|ledger| format!("--ledger {ledger}")));
        flags.extend(self.verifier_key.as_ref().map(|it| format!("--verifier-key {}", key(it))));
        flags.extend(self.witnesses.iter().map(|witness| format!("--witness {}", key(witness))));
        if !self.witnesses.is_empty() {
            flags.push(format!("--witness-quorum {}", self.quorum));
        }
        flags.extend(self.trust.as_ref().map(|line| format!("--trust {}", quote(line))));
        flags.join(" ")
    }

    /// Checks a ledger with these keys, and a note that one of them was verified to have signed.
    ///
    /// # Errors
    /// Which pin does not hold.
    pub fn check(&self, keys: &LogKeys, note: &str) -> Result<(), Unpinned> {
        self.check_keys(keys)?;
        self.check_witnesses(note)
    }

    /// Checks which ledger it is and whose key keeps it.
    ///
    /// # Errors
    /// Which pin does not hold.
    pub fn check_keys(&self, keys: &LogKeys) -> Result<(), Unpinned> {
        if let Some(expected) = self.ledger.filter(|expected| *expected != keys.ledger()) {
            return Err(Unpinned::Ledger { expected, found: keys.ledger() });
        }
        // One that was changed since is as good: it has signed for the one that came after it.
        match &self.verifier_key {
            Some(expected) if !keys.contains(expected) => {
                let (expected, found) = (expected.clone(), keys.current().clone());
                Err(Unpinned::Key { expected, found })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that enough witnesses have cosigned a note.
    ///
    /// # Errors
    /// If they have not, or it is no note.
    pub fn check_witnesses(&self, note: &str) -> Result<(), Unpinned> {
        if self.witnesses.is_empty() {
            return Ok(());
        }
        let note = SignedNote::parse(note)?;
        let verified = self.witnesses.iter().map(|witness| witness.verify(&note));
        let missing: Vec<NoteError> = verified.filter_map(Result::err).collect();
        let (found, needed) = (self.witnesses.len() - missing.len(), self.quorum);
        if found >= needed { Ok(()) } else { Err(Unpinned::Witnesses { found, needed, missing }) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use colearn_ledger::{Checkpoint, Hash, Signer};
    use colearn_proto::v1;
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::log_keys::{self, KeyChange};

    fn signer(name: &str, kind: KeyKind, seed: u8) -> Signer {
        Signer::new(name, kind, SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    fn keys(seed: u8) -> LogKeys {
        let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
        LogKeys::of_genesis(&v1::Genesis {
            origin: "log".to_owned(),
            log_public_key: Bytes::copy_from_slice(key.as_bytes()),
            ..v1::Genesis::default()
        })
        .unwrap()
    }

    #[test]
    fn another_ledger_or_key_is_not_believed_and_a_changed_key_is() {
        let (mut ours, theirs) = (keys(1), keys(2));
        let pins = |ledger, key| Pins::new(ledger, key, Vec::new(), None).unwrap();
        let on_ledger = pins(Some(ours.ledger()), None);
        let on_key = pins(None, ours.current().one().cloned());
        for pins in [&Pins::default(), &on_ledger, &on_key] {
            assert_eq!(pins.check(&ours, "no note is looked at without witnesses"), Ok(()));
        }
        assert!(Pins::default().is_empty() && !on_ledger.is_empty() && !on_key.is_empty());
        assert_eq!(Pins::default().check_keys(&theirs), Ok(()));
        assert_eq!(
            on_ledger.check_keys(&theirs),
            Err(Unpinned::Ledger { expected: ours.ledger(), found: theirs.ledger() })
        );
        let error = on_key.check_keys(&theirs).unwrap_err();
        assert!(matches!(&error, Unpinned::Key { .. }), "{error}");
        let [a, b] = [1, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let rotated = KeyChange::Rotation(log_keys::sign(&ours.ledger(), &a, &b));
        ours.follow(5, &rotated).unwrap();
        assert_eq!(on_key.check_keys(&ours), Ok(()));
        assert_eq!(pins(None, ours.current().one().cloned()).check_keys(&ours), Ok(()));
    }

    #[test]
    fn a_quorum_of_the_named_witnesses_must_have_cosigned_this_very_checkpoint() {
        let log = signer("log", KeyKind::Log, 1);
        let witnesses = [("w1", 11), ("w2", 12), ("w3", 13), ("stranger", 14)]
            .map(|(name, seed)| signer(name, KeyKind::Witness, seed));
        let named: Vec<Verifier> =
            witnesses[..3].iter().map(|witness| witness.verifier().clone()).collect();
        let checkpoint = |size| Checkpoint { origin: "log".to_owned(), size, root: Hash([7; 32]) };
        // The checkpoint of 5 entries, cosigned by these as if it had been of `size`.
        let note = |size, by: &[usize]| {
            let text = checkpoint(size).text();
            let lines = by.iter().map(|at| witnesses[*at].sign(&text, 1_700_000_000));
            checkpoint(5).sign(&log) + &lines.collect::<String>()
        };
        let pins = |quorum| Pins::new(None, None, named.clone(), quorum).unwrap();
        assert_eq!(pins(None).quorum(), 2, "more than half");
        for (size, by, found) in [
            (5, &[][..], 0),
            (5, &[0], 1),
            (5, &[0, 0, 3], 1),
            (5, &[0, 2], 2),
            (5, &[0, 1, 2], 3),
            (4, &[0, 1, 2], 0),
        ] {
            for quorum in 1..=3 {
                let held = pins(Some(quorum)).check(&keys(1), &note(size, by));
                match held {
                    Ok(()) => assert!(found >= quorum, "{by:?} at {size}, {quorum}"),
                    Err(Unpinned::Witnesses { found: counted, needed, missing }) => {
                        assert_eq!((counted, needed), (found, quorum));
                        assert_eq!(missing.len(), 3 - found);
                        assert!(found < quorum);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
        let error = pins(None).check_witnesses(&note(5, &[1])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 of the 3 witnesses that were named have cosigned the checkpoint, and 2 must; \
             no signature by w1; no signature by w3"
        );
        let forged = note(4, &[2]);
        let error = pins(Some(1)).check_witnesses(&forged).unwrap_err();
        assert!(error.to_string().contains("the signature by w3 does not verify"), "{error}");
        assert!(matches!(pins(None).check_witnesses("none"), Err(Unpinned::Note(_))));
    }

    #[test]
    fn pins_are_written_to_be_pasted() {
        let log = signer("log", KeyKind::Log, 1).verifier().clone();
        let witness = signer("it's\u{1}", KeyKind::Witness, 2).verifier().clone();
        let ledger = keys(1).ledger();
        let witnesses = vec![witness.clone()];
        let pins = Pins::new(Some(ledger), Some(log.clone()), witnesses, None).unwrap();
        let written = witness.to_string();
        let (_, encoded) = written.split_once('+').unwrap();
        assert_eq!(
            pins.flags(),
            format!(
                "--ledger {ledger} --verifier-key '{log}' --witness 'it'\\''s\u{1}+{encoded}' \
                 --witness-quorum 1"
            )
        );
        let plan = pins.in_plan();
        assert_eq!(plan[2], ("witnesses", format!("[\"it's\\u0001+{encoded}\"]")));
        let lines: Vec<String> =
            plan.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        assert_eq!(crate::plan::Plan::parse(&lines.join("\n")).unwrap().pins, pins);
        let trusting = Pins::default().trusting(Some("a/1/b".to_owned())).trusting(None);
        assert_eq!(trusting.flags(), "--trust 'a/1/b'");
        assert_eq!(trusting.in_plan(), [("trust", "\"a/1/b\"".to_owned())]);
        assert_eq!(trusting.with(None, None, Vec::new(), None), Ok(trusting.clone()));
        assert_eq!(crate::plan::Plan::parse("trust = 'a/1/b'").unwrap().pins, trusting);
        assert!(!trusting.is_empty());
        assert!(Pins::default().flags().is_empty() && Pins::default().in_plan().is_empty());
    }

    #[test]
    fn pins_that_cannot_be_meant_are_refused() {
        let [log, witness, again] =
            [("log", KeyKind::Log, 1), ("w", KeyKind::Witness, 2), ("again", KeyKind::Witness, 2)]
                .map(|(name, kind, seed)| signer(name, kind, seed).verifier().clone());
        let with = |witnesses: &[&Verifier], quorum| {
            let witnesses = witnesses.iter().copied().cloned().collect();
            Pins::new(None, None, witnesses, quorum).map(|pins| pins.quorum())
        };
        assert_eq!(with(&[], None), Ok(0));
        assert_eq!(with(&[&witness], None), Ok(1));
        assert_eq!(with(&[], Some(1)), Err(BadPins::NoWitnesses));
        for quorum in [0, 2] {
            let refused = Err(BadPins::Quorum { quorum, witnesses: 1 });
            assert_eq!(with(&[&witness], Some(quorum)), refused);
        }
        let same = BadPins::SameKey("w".to_owned(), "again".to_owned());
        assert_eq!(with(&[&witness, &again], None), Err(same));
        assert_eq!(with(&[&log], None), Err(BadPins::NotAWitnesssKey(log.clone())));
        // Of those that were named before, where none are.
        let planned = Pins::new(None, Some(log.clone()), vec![witness.clone()], None).unwrap();
        assert_eq!(planned.with(None, None, Vec::new(), None), Ok(planned.clone()));
        let refused = Err(BadPins::Quorum { quorum: 2, witnesses: 1 });
        assert_eq!(planned.with(None, None, Vec::new(), Some(2)), refused);
        let other = planned.with(None, None, vec![again.clone()], None).unwrap();
        assert_eq!((other.witnesses(), other.verifier_key()), (&[again.clone()][..], Some(&log)));
        let on_witness = Pins::new(None, Some(witness.clone()), Vec::new(), None);
        assert_eq!(on_witness, Err(BadPins::NotALedgersKey(witness)));
        let quorums = [0, 1, 2, 3, 4, 5].map(majority);
        assert_eq!(quorums, [0, 1, 2, 2, 3, 3]);
    }
}
