//! What a key has signed and trained in one experiment.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use colearn_contracts::{
    Act, Action, Digest, ExperimentName, Proposal, Reveal, RevealMergeVote, RevealUpdate, Scores,
    Update,
};
use colearn_files::Lock;
use colearn_proto::v1;
use colearn_records::convert;
use colearn_records::transaction::{Transaction, Unverified};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::{damaged, data, try_lock};
use crate::client::ClientError;
use crate::large;
use crate::participant::{Assignment, Secret, Turn};
use crate::spending::Settings;
use crate::turn::Made;
use crate::weights::{LARGE_BYTES, Weights};

const SIGNED: &str = "signed.json";
const TRAINED: &str = "trained.json";
const WEIGHTS: &str = "trained.weights";
const LIVED_WITH: &str = "lived-with.json";

/// What a key has signed and trained in one experiment, in a folder or until the process ends.
#[derive(Debug)]
pub(in crate::client) struct Turns {
    dir: Option<PathBuf>,
    experiment: ExperimentName,
    /// As long as it is held, no other process signs for this key here.
    _lock: Option<Lock>,
    /// The last turn and the last ballot that were signed for. Rounds only go forward.
    turn: Option<Unverified>,
    ballot: Option<Unverified>,
    /// What was committed to last, with its salt: a vote on a proposal,
    sealed: Option<Reveal>,
    /// one on merges,
    sealed_merge_vote: Option<RevealMergeVote>,
    /// and an update.
    sealed_update: Option<RevealUpdate>,
    /// What was trained for the turn that is not over yet.
    trained: Option<Trained>,
    /// The last global models, with what the learner measured of each.
    lived_with: Vec<(Digest, f64)>,
}

/// What was kept of weights, which may lie in a file that its owner has written to since: what leaves is what was
/// accounted for, and nothing else.
fn kept(read: io::Result<Weights>, of: &Weights, path: &Path) -> Result<Weights, ClientError> {
    let same = read.and_then(|kept| match kept == *of {
        true => Ok(kept),
        false => Err(io::Error::other(
            "the weights have changed since they were made; write those of each round to a file of their own",
        )),
    });
    same.map_err(|error| ClientError::data(path, error))
}

/// All in hex, of the wire's encoding.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Signed {
    pub(super) turn: Option<String>,
    pub(super) ballot: Option<String>,
    pub(super) sealed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed_merge_vote: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed_update: Option<String>,
}

/// What came of training, kept until the turn is over.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::client) struct Trained {
    pub(in crate::client) round: u64,
    /// The global model that it began from.
    base: Digest,
    pub(in crate::client) made: Made,
}

/// The same beside the weights' file.
#[derive(Serialize, Deserialize)]
struct Written {
    round: u64,
    /// Digests, in hex.
    base: String,
    weights: String,
    vote: Option<i64>,
    test: Option<i64>,
    /// What it took, and the δ that it is stated for.
    taken: Option<(Settings, u64)>,
}

impl Turns {
    pub(super) fn open(
        dir: Option<PathBuf>,
        experiment: &ExperimentName,
    ) -> Result<Self, ClientError> {
        let mut turns = Self {
            dir: dir.clone(),
            experiment: experiment.clone(),
            _lock: None,
            turn: None,
            ballot: None,
            sealed: None,
            sealed_merge_vote: None,
            sealed_update: None,
            trained: None,
            lived_with: Vec::new(),
        };
        let Some(dir) = dir else { return Ok(turns) };
        colearn_files::create_folder(&dir).map_err(|error| data(&dir, error))?;
        let held = try_lock(&dir.join("lock"))?;
        turns._lock = Some(held.ok_or_else(|| ClientError::MemoryInUse { dir: dir.clone() })?);
        turns.read_signed(&dir.join(SIGNED))?;
        turns.trained = Self::read_trained(&dir);
        turns.lived_with = Self::read_lived_with(&dir).unwrap_or_default();
        Ok(turns)
    }

    /// What was signed as the folder has it, to be looked at: whoever signs may go on with it.
    pub(super) fn shown(dir: &Path, experiment: &ExperimentName) -> Result<Self, ClientError> {
        let mut turns = Self::open(None, experiment)?;
        turns.read_signed(&dir.join(SIGNED))?;
        Ok(turns)
    }

    /// What cannot be read is not passed over: something else could be signed in its place.
    fn read_signed(&mut self, path: &Path) -> Result<(), ClientError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(ClientError::Data { path: path.to_owned(), source }),
        };
        let signed: Signed =
            serde_json::from_slice(&bytes).map_err(|error| damaged(path, &error.to_string()))?;
        let is_here = |it: &Unverified| it.action.experiment == self.experiment;
        let transaction = |hex: Option<String>| match hex {
            None => Ok(None),
            Some(hex) => transaction(&hex).filter(is_here).map(Some).ok_or(()),
        };
        let sealed = match signed.sealed {
            None => Ok(None),
            Some(hex) => sealed(&hex, &self.experiment).map(Some).ok_or(()),
        };
        let sealed_merge_vote =
            read_act(signed.sealed_merge_vote, &self.experiment, |act| match act {
                Act::RevealMergeVote(reveal) => Some(reveal),
                _ => None,
            });
        let sealed_update = read_act(signed.sealed_update, &self.experiment, |act| match act {
            Act::RevealUpdate(reveal) => Some(reveal),
            _ => None,
        });
        let unreadable = |()| damaged(path, "what was signed cannot be read");
        self.sealed_merge_vote = sealed_merge_vote.map_err(unreadable)?;
        self.sealed_update = sealed_update.map_err(unreadable)?;
        let read = transaction(signed.turn)
            .and_then(|turn| Ok((turn, transaction(signed.ballot)?, sealed?)))
            .map_err(unreadable)?;
        (self.turn, self.ballot, self.sealed) = read;
        Ok(())
    }

    /// What is damaged is trained again: it was never signed.
    fn read_trained(dir: &Path) -> Option<Trained> {
        let written: Written =
            serde_json::from_slice(&std::fs::read(dir.join(TRAINED)).ok()?).ok()?;
        let weights = large::read(&dir.join(WEIGHTS)).ok()?;
        let Written { round, base, weights: of, vote, test, taken } = written;
        let taken = taken.map(|(settings, delta_picos)| (settings.segment(), delta_picos));
        let made = Made { weights, scores: Scores { vote, test }, taken };
        let trained = Trained { round, base: digest(&base)?, made };
        (digest(&of)? == trained.made.weights.digest()).then_some(trained)
    }

    /// What is damaged is as if it had never been there: the learner measures again.
    fn read_lived_with(dir: &Path) -> Option<Vec<(Digest, f64)>> {
        let written = std::fs::read(dir.join(LIVED_WITH)).ok()?;
        let written: Vec<(String, String)> = serde_json::from_slice(&written).ok()?;
        let model = |(model, score): &(String, String)| Some((digest(model)?, score.parse().ok()?));
        written.iter().map(model).collect()
    }

    /// The last global models, the oldest first, with what the learner measured of each.
    pub(in crate::client) fn lived_with(&self) -> &[(Digest, f64)] {
        &self.lived_with
    }

    /// Remembers them, if they are others than before.
    pub(in crate::client) fn keep_lived_with(
        &mut self,
        models: impl ExactSizeIterator<Item = (Digest, f64)>,
    ) -> Result<(), ClientError> {
        let (models, before) = (models.collect::<Vec<_>>(), &self.lived_with);
        // A score may be no number, which equals nothing: a model is scored once.
        if models.iter().map(|(model, _)| model).eq(before.iter().map(|(model, _)| model)) {
            return Ok(());
        }
        self.lived_with = models;
        let Some(dir) = &self.dir else { return Ok(()) };
        let path = dir.join(LIVED_WITH);
        // As text: it is read as the very number that was written.
        let written = self.lived_with.iter().map(|(model, it)| (model.to_string(), it.to_string()));
        let json = serde_json::to_vec(&written.collect::<Vec<_>>());
        let json = json.map_err(|error| damaged(&path, &error.to_string()))?;
        colearn_files::replace_secret(&path, &json).map_err(|error| data(&path, error))
    }

    /// The turn and the ballot that were signed for last.
    pub(in crate::client) fn signed(&self) -> impl Iterator<Item = &Unverified> {
        self.turn.iter().chain(&self.ballot)
    }

    /// The turns that were signed for last.
    pub(in crate::client) fn signed_turns(&self) -> Vec<Turn> {
        self.signed().filter_map(|signed| Turn::of(&signed.action)).collect()
    }

    /// What was signed for this turn or ballot, if anything was: it is sent again rather than signing
    /// another.
    pub(in crate::client) fn signed_for(&self, turn: &Turn) -> Option<&Unverified> {
        self.signed().find(|signed| Turn::of(&signed.action).as_ref() == Some(turn))
    }

    /// Remembers what is signed for a turn or ballot, durably, before it is sent. `instead` says that it
    /// stands for what was signed for that turn before and has been refused for good.
    ///
    /// # Errors
    /// [`ClientError::SignedBefore`] if something else was signed for this round, or anything for a later
    /// one; and if it cannot be kept.
    pub(in crate::client) fn keep_signed(
        &mut self,
        signed: &Transaction,
        instead: bool,
    ) -> Result<(), ClientError> {
        let Some(turn) = Turn::of(signed.action()) else { return Ok(()) };
        let slot = match turn {
            Turn::Propose { .. } => &mut self.turn,
            Turn::Vote { .. } | Turn::Merge { .. } => &mut self.ballot,
        };
        if let Some(before) = slot
            && let Some(last) = Turn::of(&before.action)
        {
            let again = last.round() == turn.round()
                && (before.action.what == signed.action().what || instead);
            if !again && turn.round() <= last.round() {
                let (round, last) = (turn.round(), last.round());
                return Err(ClientError::SignedBefore { round, last });
            }
        }
        let kept = Unverified::decode(signed.message().clone());
        *slot = Some(kept.map_err(|error| ClientError::Malformed(error.to_string()))?);
        self.save()
    }

    /// The sealed ballot that was kept last.
    pub(in crate::client) fn sealed(&self) -> Option<&Reveal> {
        self.sealed.as_ref()
    }

    /// The sealed ballot on merges that was kept last.
    pub(in crate::client) fn sealed_merge_vote(&self) -> Option<&RevealMergeVote> {
        self.sealed_merge_vote.as_ref()
    }

    /// The sealed update that was kept last.
    pub(in crate::client) fn sealed_update(&self) -> Option<&RevealUpdate> {
        self.sealed_update.as_ref()
    }

    /// Remembers what is committed to before that is done, durably: without the salt it could never be
    /// revealed.
    pub(in crate::client) fn keep_sealed(&mut self, sealed: &Secret) -> Result<(), ClientError> {
        let kept = match sealed {
            Secret::Vote(reveal) => keep(&mut self.sealed, reveal),
            Secret::MergeVote(reveal) => keep(&mut self.sealed_merge_vote, reveal),
            Secret::Update(reveal) => keep(&mut self.sealed_update, reveal),
        };
        if kept { Ok(()) } else { self.save() }
    }

    fn save(&self) -> Result<(), ClientError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let encoded = |signed: &Unverified| hex::encode(signed.message().encode_to_vec());
        let signed = Signed {
            turn: self.turn.as_ref().map(encoded),
            ballot: self.ballot.as_ref().map(encoded),
            sealed: self.sealed.as_ref().and_then(|reveal| {
                let act = Act::Reveal(reveal.clone());
                match convert::action_message(&Action::new(self.experiment.clone(), act)) {
                    v1::transaction::Action::Reveal(message) => {
                        Some(hex::encode(message.encode_to_vec()))
                    }
                    _ => None,
                }
            }),
            sealed_merge_vote: self
                .sealed_merge_vote
                .clone()
                .map(|reveal| self.written_act(Act::RevealMergeVote(reveal))),
            sealed_update: self
                .sealed_update
                .clone()
                .map(|reveal| self.written_act(Act::RevealUpdate(reveal))),
        };
        write_signed(dir, &signed)
    }

    /// An act in hex, as the transaction that it stands in.
    fn written_act(&self, act: Act) -> String {
        let action = Some(convert::action_message(&Action::new(self.experiment.clone(), act)));
        hex::encode(v1::Transaction { action, ..v1::Transaction::default() }.encode_to_vec())
    }

    /// What was trained for a turn that is not over.
    pub(in crate::client) fn trained(&self) -> Option<&Trained> {
        self.trained.as_ref()
    }

    /// The weights that what was signed for this turn shows, so that they may leave. What was trained can be
    /// here without: it is only committed to, or something else was signed, since it could not be spent.
    pub(in crate::client) fn shown_with(&self, turn: &Turn) -> Option<&Weights> {
        let shown = match &self.signed_for(turn)?.action.what {
            Act::Propose(Proposal { weights, .. }) | Act::Update(Update { weights, .. }) => weights,
            _ => return None,
        };
        let trained = self.trained.as_ref().map(|trained| &trained.made.weights);
        trained.filter(|weights| weights.digest() == shown.digest)
    }

    /// What was trained for this turn: nobody trains twice for one.
    pub(in crate::client) fn trained_for(&self, asked: &Assignment) -> Option<&Made> {
        let trained = self.trained.as_ref();
        let trained = trained.filter(|it| it.round == asked.round && it.base == asked.base);
        trained.map(|trained| &trained.made)
    }

    /// Keeps what was trained, durably, until [`Turns::forget_trained`], and gives it back: large weights lie only in
    /// the folder from now on.
    pub(in crate::client) fn keep_trained(
        &mut self,
        asked: &Assignment,
        mut made: Made,
    ) -> Result<Made, ClientError> {
        if let Some(kept) = self.trained_for(asked).filter(|kept| **kept == made) {
            return Ok(kept.clone());
        }
        let Assignment { round, base, .. } = *asked;
        let written = Written {
            round,
            base: base.to_string(),
            weights: made.weights.digest().to_string(),
            vote: made.scores.vote,
            test: made.scores.test,
            taken: made.taken.map(|(it, delta_picos)| (Settings::of(&it), delta_picos)),
        };
        if let Some(dir) = &self.dir {
            let json =
                serde_json::to_vec(&written).map_err(|error| damaged(dir, &error.to_string()))?;
            let path = dir.join(WEIGHTS);
            // The weights first: the other file says that they are whole.
            colearn_files::replace_secret(&path, made.weights.bytes())
                .and_then(|()| colearn_files::replace_secret(&dir.join(TRAINED), &json))
                .map_err(|error| data(dir, error))?;
            if made.weights.is_in_file() || made.weights.bytes().len() as u64 >= LARGE_BYTES {
                made.weights = kept(Weights::open(&path), &made.weights, &path)?;
            }
        } else if made.weights.is_in_file() {
            let bytes = made.weights.bytes().to_vec();
            let path = Path::new("the learner's weights");
            made.weights = kept(Ok(Weights::new(bytes)), &made.weights, path)?;
        }
        self.trained = Some(Trained { round, base, made: made.clone() });
        Ok(made)
    }

    /// The turn is over.
    pub(in crate::client) fn forget_trained(&mut self) {
        self.trained = None;
        if let Some(dir) = &self.dir {
            // What stays of them is passed over, and replaced by the next.
            let _ = std::fs::remove_file(dir.join(TRAINED));
            let _ = std::fs::remove_file(dir.join(WEIGHTS));
        }
    }
}

pub(super) fn write_signed(dir: &Path, signed: &Signed) -> Result<(), ClientError> {
    let path = dir.join(SIGNED);
    let json =
        serde_json::to_vec_pretty(signed).map_err(|error| damaged(&path, &error.to_string()))?;
    // Not readable by others: it holds the salt of a sealed ballot.
    colearn_files::replace_secret(&path, &json).map_err(|error| data(&path, error))
}

/// Puts this in its place; whether it was there before.
fn keep<T: Clone + PartialEq>(place: &mut Option<T>, what: &T) -> bool {
    let kept = place.as_ref() == Some(what);
    if !kept {
        *place = Some(what.clone());
    }
    kept
}

/// An act of this experiment that was written in hex, if one was.
fn read_act<T>(
    hex: Option<String>,
    experiment: &ExperimentName,
    is: impl Fn(Act) -> Option<T>,
) -> Result<Option<T>, ()> {
    let Some(hex) = hex else { return Ok(None) };
    let read = || {
        let message = v1::Transaction::decode(Bytes::from(hex::decode(hex).ok()?)).ok()?;
        let action = convert::action(message.action?).ok()?;
        (action.experiment == *experiment).then(|| is(action.what)).flatten()
    };
    read().map(Some).ok_or(())
}

fn digest(hex: &str) -> Option<Digest> {
    hex::decode(hex).ok()?.try_into().ok().map(Digest)
}

/// A signed transaction, from hex.
pub(super) fn transaction(hex: &str) -> Option<Unverified> {
    let bytes = Bytes::from(hex::decode(hex).ok()?);
    Unverified::decode(v1::SignedTransaction::decode(bytes).ok()?).ok()
}

/// A sealed ballot of this experiment, from hex.
fn sealed(hex: &str, experiment: &ExperimentName) -> Option<Reveal> {
    let (of, reveal) = any_sealed(hex)?;
    (of == *experiment).then_some(reveal)
}

/// A sealed ballot, with its experiment, from hex.
pub(super) fn any_sealed(hex: &str) -> Option<(ExperimentName, Reveal)> {
    let message = v1::Reveal::decode(Bytes::from(hex::decode(hex).ok()?)).ok()?;
    let action = convert::action(v1::transaction::Action::Reveal(message)).ok()?;
    match action.what {
        Act::Reveal(reveal) => Some((action.experiment, reveal)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_contracts::{CommitUpdate, PrivacySegment, Version};
    use colearn_ledger::Hash;
    use colearn_records::transaction::{LedgerId, Seen};
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::learner::Privacy;
    use crate::spending::Spending;

    fn name() -> ExperimentName {
        "x".parse().unwrap()
    }

    fn asked(round: u64, base: u8) -> Assignment {
        let base = Digest([base; 32]);
        Assignment { round, base, version: Version::V2, cap: None, stated: None }
    }

    fn made() -> Made {
        let took = PrivacySegment {
            noise_micros: 20_000_000,
            clip_micros: 1_000_000,
            sampling_nanos: 1_000_000_000,
            steps: 5,
        };
        let scores = Scores { vote: Some(-3), test: None };
        let weights = Weights::new(b"trained".to_vec());
        Made { weights, scores, taken: Some((took, 10_000_000)) }
    }

    #[test]
    fn what_was_trained_is_there_after_a_restart_until_its_turn_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("experiments/x");
        let open = || Turns::open(Some(dir.clone()), &name()).unwrap();
        let mut turns = open();
        assert_eq!(turns.trained_for(&asked(3, 1)), None);
        turns.keep_trained(&asked(3, 1), made()).unwrap();
        drop(turns);
        let turns = open();
        assert_eq!(turns.trained_for(&asked(3, 1)), Some(&made()));
        // Neither for another round, nor from another model.
        assert_eq!(turns.trained_for(&asked(4, 1)), None);
        assert_eq!(turns.trained_for(&asked(3, 2)), None);
        drop(turns);
        // What is not whole is none.
        std::fs::write(dir.join(WEIGHTS), "trai").unwrap();
        assert!(open().trained().is_none());
        std::fs::write(dir.join(WEIGHTS), "trained").unwrap();
        let mut turns = open();
        assert!(turns.trained().is_some());
        turns.forget_trained();
        drop(turns);
        assert!(open().trained().is_none());
    }

    /// A learner may have trained into a file of its own, and train into it again.
    #[test]
    fn what_is_kept_of_a_file_is_what_was_made_whatever_becomes_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        for dir in [None, Some(folder.path().join("experiments/x"))] {
            let mut turns = Turns::open(dir, &name()).unwrap();
            std::fs::write(&own, "trained").unwrap();
            let from_file = || Made { weights: Weights::open(&own).unwrap(), ..made() };
            let kept = turns.keep_trained(&asked(3, 1), from_file()).unwrap();
            std::fs::write(&own, "another").unwrap();
            assert_eq!(&kept.weights.bytes()[..], b"trained");
            let trained = turns.trained().unwrap().made.clone();
            assert_eq!(&trained.weights.bytes()[..], b"trained");

            let changed = from_file();
            std::fs::write(&own, "no more").unwrap();
            let error = turns.keep_trained(&asked(4, 1), changed).unwrap_err().to_string();
            assert!(error.contains("have changed since"), "{error}");
            assert_eq!(turns.trained().unwrap().made, trained, "nothing else is to leave");
            turns.forget_trained();
        }
    }

    /// What came of training may be here though it was never spent: the process has ended after a pass was
    /// signed instead.
    #[test]
    fn weights_are_shown_again_only_with_what_was_signed_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("experiments/x");
        let turn = Turn::Propose { experiment: name(), round: 3 };
        let (base, trained) = (Digest([1; 32]), made().weights);
        let proposal = |weights: &Weights| {
            let (weights, scores) = (weights.model("m"), Scores::default());
            Proposal { round: 3, base, weights, scores, privacy: None }
        };
        let update = |weights: &Weights| {
            let (weights, scores) = (weights.model("m"), Scores::default());
            Update { round: 3, base, weights, scores, privacy: None }
        };
        let other = Weights::new(b"other".to_vec());
        let commitment = Digest([2; 32]);
        for (act, is_shown) in [
            (Act::Pass { round: 3, exhausted: true, reason: None }, false),
            (Act::CommitUpdate(CommitUpdate { round: 3, base, commitment }), false),
            (Act::Propose(proposal(&other)), false),
            (Act::Update(update(&other)), false),
            (Act::Propose(proposal(&trained)), true),
            (Act::Update(update(&trained)), true),
        ] {
            let mut turns = Turns::open(Some(dir.clone()), &name()).unwrap();
            turns.keep_trained(&asked(3, 1), made()).unwrap();
            assert_eq!(turns.shown_with(&turn), None, "nothing is signed");
            let seen = Seen { size: 1, root: Hash([3; 32]) };
            let key = SigningKey::from_bytes(&[4; 32]);
            let action = Action::new(name(), act.clone());
            let signed = Transaction::sign(&key, &LedgerId([5; 32]), seen, action);
            turns.keep_signed(&signed, false).unwrap();
            drop(turns);
            // Started again, it is owed once more.
            let turns = Turns::open(Some(dir.clone()), &name()).unwrap();
            assert_eq!(turns.signed_turns(), std::slice::from_ref(&turn));
            assert_eq!(turns.shown_with(&turn), is_shown.then_some(&trained), "{act:?}");
            drop(turns);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }

    #[test]
    fn models_that_were_lived_with_are_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("experiments/x");
        let open = || Turns::open(Some(dir.clone()), &name()).unwrap();
        let models = [0.1 + 0.2, -1e300, f64::NAN].into_iter().enumerate();
        let models = models.map(|(at, score)| (Digest([at as u8; 32]), score));
        open().keep_lived_with(models.clone()).unwrap();
        let read = open().lived_with().to_vec();
        let bits = |(model, score): (Digest, f64)| (model, score.to_bits());
        assert!(read.into_iter().map(bits).eq(models.map(bits)));
        // What is not whole is none.
        std::fs::write(dir.join(LIVED_WITH), "[[").unwrap();
        assert!(open().lived_with().is_empty());
    }

    #[test]
    fn what_was_kept_before_a_crash_is_spent_after_it_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("experiments/x");
        let asked = asked(3, 1);
        // The process ends between keeping and spending.
        Turns::open(Some(dir.clone()), &name()).unwrap().keep_trained(&asked, made()).unwrap();
        let take = || {
            let turns = Turns::open(Some(dir.clone()), &name()).unwrap();
            let mut spending = Spending::open(folder.path(), &name()).unwrap();
            let Made { weights, taken: Some((segment, delta_picos)), .. } =
                turns.trained_for(&asked).unwrap()
            else {
                panic!()
            };
            let (segment, delta_picos) = (*segment, *delta_picos);
            let taken = Privacy { segment, delta_picos, max_epsilon_micros: None };
            spending.spend(weights.digest(), &taken, &asked).unwrap()
        };
        assert_eq!((take().steps(), take().steps()), (5, 5));
    }
}
