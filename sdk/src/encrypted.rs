//! Models that only members can read: the ledger names their encryption, and nodes keep nothing else. A learner has them
//! opened, and what it trains leaves encrypted. See docs/encrypted.md.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use colearn_contracts::{Digest, Reason};
use colearn_encrypted::{Encryptor, ModelKey, Opened, Round, is_encrypted, key_of};
pub use colearn_encrypted::{KeysError, ModelKeys, NotOpened};
use colearn_merge::{Input, Source};

use crate::large;
use crate::learner::{
    Judgement, LARGE_BYTES, Learner, LearnerError, Privacy, Proposed, Result, Score, Scored, Task,
    Weights,
};
use crate::merging::Merged;
use crate::participant::MergeTask;

/// How many opened models are kept: a learner is asked several times about the same.
const KEPT: usize = 4;

/// Why a learner cannot do with an experiment's models.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// They are encrypted, and it has no keys.
    #[error(
        "the experiment's models are encrypted, and there are no model keys; ask a member for them (--model-keys FILE)"
    )]
    NoKeys,
    /// Its keys do not open one.
    #[error("a model of the experiment: {0}")]
    NotOpened(#[from] NotOpened),
    /// One is under a key that not all need have any more.
    #[error(
        "it is encrypted under model key {number}, and the model before it under {held}: members that came since cannot \
         open it; whoever has sent it needs the newer file of keys"
    )]
    OldKey {
        /// The number of its key.
        number: u32,
        /// That of the model before it.
        held: u32,
    },
}

/// Encrypts models, and opens them.
#[derive(Clone, Debug)]
pub struct Encryption {
    keys: Arc<ModelKeys>,
    /// Where large ones lie.
    dir: Option<PathBuf>,
}

impl Encryption {
    /// With these keys; large models lie in files of a folder, if there is one, and otherwise in memory.
    pub fn new(keys: ModelKeys, dir: Option<PathBuf>) -> Self {
        Self { keys: Arc::new(keys), dir }
    }

    /// Encrypts a model under the newest key: to the same bytes wherever that is done.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn encrypt(&self, weights: &Weights) -> io::Result<Weights> {
        self.encrypt_under(self.keys.newest(), weights)
    }

    fn encrypt_under(&self, key: &ModelKey, weights: &Weights) -> io::Result<Weights> {
        let write = |to: &mut dyn Write| {
            let mut encryptor = Encryptor::new(to, key, &weights.digest().0)?;
            encryptor.write_all(weights.bytes())?;
            encryptor.finish().map(drop)
        };
        let Some(dir) = self.dir_for(weights) else { return in_memory(write) };
        colearn_files::create_folder(dir)?;
        let (file, path) = large::new_file(dir)?;
        let encrypted = in_file(file, write).and_then(|encrypted| {
            // Where a restart looks for it.
            std::fs::rename(&path, large::path(dir, encrypted.digest()))?;
            Ok(encrypted)
        });
        if encrypted.is_err() {
            // What stays takes room, and no more.
            let _ = std::fs::remove_file(path);
        }
        encrypted
    }

    /// Opens a model, if it is encrypted under one of the keys and nobody has changed it.
    ///
    /// # Errors
    /// If it is not, or a file cannot be read or written.
    pub fn open(&self, weights: &Weights) -> std::result::Result<Weights, NotOpened> {
        let opened = Opened::new(weights, &self.keys)?;
        let write = |to: &mut dyn Write| opened.copy_to(to);
        let opened = match self.dir_for(weights) {
            None => in_memory(write)?,
            Some(dir) => {
                colearn_files::create_folder(dir).map_err(io::Error::from)?;
                in_file(large::nameless_file(dir)?, write)?
            }
        };
        Ok(opened)
    }

    fn dir_for(&self, weights: &Weights) -> Option<&Path> {
        self.dir.as_deref().filter(|_| weights.bytes().len() as u64 >= LARGE_BYTES)
    }

    /// The merges of a round, of which everything is encrypted, too.
    pub(crate) fn merge(
        &self,
        task: &MergeTask,
        base: &dyn Source,
        previous: Option<&dyn Source>,
        updates: &[&dyn Source],
    ) -> std::result::Result<Merged, MergeError> {
        let round = Round::open(&self.keys, base, previous, updates)?;
        let previous = round.previous.as_ref().map(|previous| previous as &dyn Source);
        let dir = self.dir.as_deref();
        let updates = round.updates();
        let merged = Merged::compute_as(task, &round.base, previous, &updates, dir, false)?;
        let encrypt = |merge: Option<Weights>| match merge {
            None => Ok(None),
            Some(merge) => {
                let encrypted = self.encrypt_under(round.key(), &merge);
                encrypted.map(Some).map_err(colearn_merge::Error::Write)
            }
        };
        let (open, guarded) = (encrypt(merged.open)?, encrypt(merged.guarded)?);
        Ok(Merged { open, guarded, report: merged.report })
    }
}

/// Why a round was not merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    /// The model that is merged from, or the one before, cannot be opened.
    #[error(transparent)]
    NotOpened(NotOpened),
    #[error(transparent)]
    Merge(#[from] colearn_merge::Error),
}

impl From<NotOpened> for MergeError {
    fn from(error: NotOpened) -> Self {
        match error {
            NotOpened::Io(source) => {
                Self::Merge(colearn_merge::Error::Read { input: Input::Base, source })
            }
            error @ (NotOpened::NotEncrypted | NotOpened::UnknownKey(_) | NotOpened::Forged) => {
                Self::NotOpened(error)
            }
        }
    }
}

/// A model as its learner is to have it.
pub(crate) fn opened(
    encryption: Option<&Encryption>,
    weights: &Weights,
) -> std::result::Result<Weights, EncryptionError> {
    match encryption {
        Some(encryption) => Ok(encryption.open(weights)?),
        None if is_encrypted(weights).map_err(NotOpened::Io)? => Err(EncryptionError::NoKeys),
        None => Ok(weights.clone()),
    }
}

/// Whether something could not be read or written here.
fn is_io(error: &LearnerError) -> bool {
    let error = error.downcast_ref();
    matches!(error, Some(EncryptionError::NotOpened(NotOpened::Io(_))))
}

fn in_memory(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Weights> {
    let mut bytes = Vec::new();
    write(&mut bytes)?;
    Ok(Weights::new(bytes))
}

fn in_file(
    mut file: File,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Weights> {
    write(&mut file)?;
    Weights::in_file(file)
}

/// A model that the ledger names.
pub(crate) struct Current {
    /// The digest of what a learner has of it.
    pub(crate) opened: Digest,
    /// What the ledger names.
    pub(crate) named: Weights,
}

/// A learner whose experiment has encrypted models, or one that has not: outwards there is nothing but their encryption,
/// and the learner itself sees none of it.
pub(crate) struct Encrypted<L> {
    learner: L,
    encryption: Option<Encryption>,
    /// What the learner has begun with, or accepted since.
    held: Option<Current>,
    /// What was opened lately, by the digest of its encryption.
    opened: VecDeque<(Digest, Weights)>,
}

impl<L: Learner> Encrypted<L> {
    /// A learner that begins with this model, if it does as it is told.
    pub(crate) fn new(learner: L, encryption: Option<Encryption>, held: Option<Current>) -> Self {
        Self { learner, encryption, held, opened: VecDeque::new() }
    }

    pub(crate) fn into_inner(self) -> L {
        self.learner
    }

    fn open(&mut self, weights: &Weights) -> Result<Weights> {
        let digest = weights.digest();
        if let Some((_, opened)) = self.opened.iter().find(|(of, _)| *of == digest) {
            return Ok(opened.clone());
        }
        let opened = opened(self.encryption.as_ref(), weights)?;
        if self.encryption.is_some() {
            self.opened.push_back((digest, opened.clone()));
            let more = self.opened.len().saturating_sub(KEPT);
            self.opened.drain(..more);
        }
        Ok(opened)
    }

    /// Opens what was proposed. Who has come since the last model needs no key that is older than that one's, so what is under
    /// such a key would split the members.
    fn open_proposed(&mut self, weights: &Weights) -> Result<Weights> {
        if let (Some(Encryption { keys, .. }), Some(held)) = (&self.encryption, &self.held) {
            let numbers = [weights, &held.named].map(|it| key_of(it, keys).map(ModelKey::number));
            // What cannot be opened at all is told below.
            if let [Ok(number), Ok(held)] = numbers
                && number < held
            {
                return Err(EncryptionError::OldKey { number, held }.into());
            }
        }
        self.open(weights)
    }

    fn encrypt(&self, weights: Weights) -> Result<Weights> {
        match &self.encryption {
            None => Ok(weights),
            Some(encryption) => Ok(encryption.encrypt(&weights)?),
        }
    }
}

impl<L: Learner> Learner for Encrypted<L> {
    fn begin(&mut self, task: &Task) -> bool {
        self.learner.begin(task)
    }

    fn propose(&mut self) -> Result<Proposed> {
        Ok(match self.learner.propose()? {
            Proposed::Weights(weights) => Proposed::Weights(self.encrypt(weights)?),
            Proposed::Private(weights, segment) => {
                Proposed::Private(self.encrypt(weights)?, segment)
            }
            nothing @ (Proposed::Pass(_) | Proposed::Exhausted) => nothing,
        })
    }

    fn privacy(&self) -> Option<Privacy> {
        self.learner.privacy()
    }

    fn score_privacy(&self) -> Option<Privacy> {
        self.learner.score_privacy()
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        match self.open_proposed(weights) {
            Ok(weights) => self.learner.test(&weights),
            // A full disk says nothing of a model.
            Err(error) if is_io(&error) => {
                tracing::warn!(%error, weights = %weights.digest(), "abstaining from weights that cannot be opened here");
                Ok(Score::none(Judgement::Abstain(Some(Reason::Unavailable))))
            }
            Err(error) => Err(error),
        }
    }

    fn measure(&mut self, scored: Scored<'_>) -> Result<f64> {
        let weights = self.open(scored.weights)?;
        self.learner.measure(Scored { weights: &weights, ..scored })
    }

    fn prefer(&mut self, guarded: Scored<'_>, open: Scored<'_>) -> Result<bool> {
        let [first, second] = [guarded.weights, open.weights].map(|it| self.open(it));
        let (first, second) = (first?, second?);
        let guarded = Scored { weights: &first, ..guarded };
        self.learner.prefer(guarded, Scored { weights: &second, ..open })
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        let opened = self.open(weights)?;
        self.learner.accept(&opened)?;
        self.held = Some(Current { opened: opened.digest(), named: weights.clone() });
        Ok(())
    }

    fn current(&self) -> Weights {
        let current = self.learner.current();
        if self.encryption.is_none() {
            return current;
        }
        match &self.held {
            Some(held) if held.opened == current.digest() => held.named.clone(),
            // The ledger has named no such model; the learner is given what it names.
            Some(_) | None => Weights::new(Vec::new()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Adds a byte, and knows what it was asked about.
    struct Adds(Weights, Vec<Vec<u8>>);

    impl Learner for Adds {
        fn propose(&mut self) -> Result<Proposed> {
            let more = [&self.0.bytes()[..], b"+"].concat();
            Ok(Proposed::Weights(Weights::new(more)))
        }

        fn test(&mut self, weights: &Weights) -> Result<Score> {
            self.1.push(weights.bytes().to_vec());
            Ok(Score::none(Judgement::Approve))
        }

        fn accept(&mut self, weights: &Weights) -> Result<()> {
            self.0 = weights.clone();
            Ok(())
        }

        fn current(&self) -> Weights {
            self.0.clone()
        }
    }

    fn keys(text: &str) -> ModelKeys {
        ModelKeys::parse(text).unwrap()
    }

    fn first() -> ModelKeys {
        keys(&format!("1 {}", "07".repeat(32)))
    }

    #[test]
    fn a_learner_sees_models_and_others_their_encryption() {
        let encryption = Encryption::new(first(), None);
        let begin = Weights::new("begin");
        // The same as whoever has created the experiment has uploaded.
        let encrypted = encryption.encrypt(&begin).unwrap();
        let held = Current { opened: begin.digest(), named: encrypted.clone() };
        let learner = Adds(begin.clone(), Vec::new());
        let mut learner = Encrypted::new(learner, Some(encryption), Some(held));
        assert_eq!(learner.current(), encrypted);
        let proposed = learner.propose().unwrap();
        let proposed = proposed.weights().unwrap();
        assert!(is_encrypted(proposed).unwrap());
        learner.test(proposed).unwrap();
        learner.accept(proposed).unwrap();
        assert_eq!(&learner.current(), proposed);
        let inner = learner.into_inner();
        assert_eq!(
            (&inner.0.bytes()[..], &inner.1[..]),
            (&b"begin+"[..], &[b"begin+".to_vec()][..])
        );
    }

    #[test]
    fn nothing_is_taken_in_the_clear_with_keys_or_encrypted_without() {
        let (begin, encryption) = (Weights::new("begin"), Encryption::new(first(), None));
        let encrypted = encryption.encrypt(&begin).unwrap();
        let learner = || Adds(begin.clone(), Vec::new());
        let mut with = Encrypted::new(learner(), Some(encryption), None);
        assert!(with.accept(&begin).is_err() && with.test(&begin).is_err());
        let mut without = Encrypted::new(learner(), None, None);
        let error = without.accept(&encrypted).unwrap_err().to_string();
        assert!(error.contains("--model-keys"), "{error}");
        without.accept(&begin).unwrap();
        assert_eq!(without.current(), begin);
        let other = Encryption::new(keys(&format!("1 {}", "08".repeat(32))), None);
        let mut other = Encrypted::new(learner(), Some(other), None);
        let error = other.accept(&encrypted).unwrap_err().to_string();
        assert!(error.contains("newer file of keys"), "{error}");
    }

    /// After another key was added, what is current stays encrypted under the one before.
    #[test]
    fn what_is_made_under_a_new_key_follows_what_was_accepted_under_the_old_one() {
        let before = Encryption::new(first(), None);
        let model = before.encrypt(&Weights::new("model")).unwrap();
        let text = format!("1 {}\n2 {}", "07".repeat(32), "08".repeat(32));
        let after = Encryption::new(keys(&text), None);
        let learner = || Adds(Weights::new("model"), Vec::new());
        // A node that has lost the model is given it, also before anything is made under the new key.
        let held = Current { opened: Weights::new("model").digest(), named: model.clone() };
        let begun = Encrypted::new(learner(), Some(after.clone()), Some(held));
        assert_eq!(begun.current(), model);
        let mut learner = Encrypted::new(learner(), Some(after), None);
        assert_ne!(learner.current(), model);
        learner.accept(&model).unwrap();
        assert_eq!(learner.current(), model);
        let proposed = learner.propose().unwrap();
        let proposed = proposed.weights().unwrap();
        assert!(matches!(before.open(proposed), Err(NotOpened::UnknownKey(_))));
        learner.accept(proposed).unwrap();
        // Newcomers have the second key only.
        let old = before.encrypt(&Weights::new("better")).unwrap();
        let error = learner.test(&old).unwrap_err().to_string();
        assert!(error.contains("under model key 1"), "{error}");
    }

    #[test]
    fn large_models_lie_in_files_opened_ones_without_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let encryption = Encryption::new(first(), Some(dir.path().join("large")));
        let model = Weights::new(vec![5; LARGE_BYTES as usize]);
        let encrypted = encryption.encrypt(&model).unwrap();
        let opened = encryption.open(&encrypted).unwrap();
        assert_eq!(opened, model);
        assert_eq!(opened.bytes(), model.bytes());
        assert_eq!((encrypted.is_in_file(), opened.is_in_file()), (cfg!(unix), cfg!(unix)));
        let files: Vec<_> = std::fs::read_dir(dir.path().join("large")).unwrap().collect();
        let name = files[0].as_ref().unwrap().file_name();
        assert_eq!((files.len(), name.to_str()), (1, Some(&*encrypted.digest().to_string())));
    }

    #[test]
    fn a_folder_that_takes_nothing_is_nothing_against_a_model() {
        let dir = tempfile::tempdir().unwrap();
        let encryption = Encryption::new(first(), None);
        let model = encryption.encrypt(&Weights::new(vec![5; LARGE_BYTES as usize])).unwrap();
        // A file is where the folder is to be.
        let large = dir.path().join("large");
        std::fs::write(&large, "").unwrap();
        let encryption = Encryption::new(first(), Some(large));
        let learner = Adds(Weights::new("begin"), Vec::new());
        let mut learner = Encrypted::new(learner, Some(encryption), None);
        let judgement = learner.test(&model).unwrap().judgement;
        assert_eq!(judgement, Judgement::Abstain(Some(Reason::Unavailable)));
    }
}
