//! Merged rounds, computed again: whether the merges that members agreed on follow from what was sent (R79).
//!
//! The contract never reads weights, so a majority that names something else is nothing that it could refuse.
//! Whoever has the weights can show it, and what became of each update.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use colearn_contracts::{
    Act, Contract, Decision, Digest, ExperimentName, LearnerId, Merges, Merging, Model,
};
use colearn_encrypted::{Encryptor, ModelKey, ModelKeys, NotOpened, Round, is_encrypted, key_of};
use colearn_merge::{Error, Fate, Merge, Merged, Report, Source};
use colearn_records::record::Record;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::finding::{Finding, Kind};

/// Where the weights are that a ledger names.
pub trait Weights: Sync {
    /// Some of them, with the digest that is asked for; `None` where they are not there.
    ///
    /// # Errors
    /// If they are there and cannot be read, or are other bytes.
    fn open(&self, model: &Model) -> io::Result<Option<Box<dyn Source>>>;

    /// The keys of encrypted models, where they are known. Without them merges of such models are not computed.
    fn model_keys(&self) -> Option<&ModelKeys> {
        None
    }
}

/// Weights of which encrypted ones can be opened.
pub struct Keyed {
    /// Where they are.
    pub weights: Box<dyn Weights>,
    /// What opens them.
    pub keys: ModelKeys,
}

impl Weights for Keyed {
    fn open(&self, model: &Model) -> io::Result<Option<Box<dyn Source>>> {
        self.weights.open(model)
    }

    fn model_keys(&self) -> Option<&ModelKeys> {
        Some(&self.keys)
    }
}

/// The folder of an exported ledger's weights. A node serves them at that path, and so does any web server that has
/// the export.
pub const EXPORTED: &str = "artifact";

/// Weights in files that have the names of their digests, as a node keeps them.
#[derive(Clone, Debug)]
pub struct WeightsFolder(PathBuf);

impl WeightsFolder {
    /// The folder of weights beside a ledger, if there is one: a node's data folder has `artifacts`, and an
    /// exported folder the path under which a node serves them.
    pub fn beside(ledger: &Path) -> Option<Self> {
        let folders = ["artifacts", EXPORTED].map(|name| ledger.join(name));
        folders.into_iter().find(|folder| folder.is_dir()).map(Self)
    }

    /// Such a folder itself, or one that has it.
    pub fn new(path: &Path) -> Self {
        Self::beside(path).unwrap_or_else(|| Self(path.to_owned()))
    }

    /// The file of these weights, whether it is there or not.
    pub fn file(&self, digest: Digest) -> PathBuf {
        self.0.join(digest.to_string())
    }
}

impl Weights for WeightsFolder {
    fn open(&self, model: &Model) -> io::Result<Option<Box<dyn Source>>> {
        let file = match File::open(self.file(model.digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if colearn_merge::digest(&file)? != model.digest.0 {
            let what = "the file of that name has other bytes";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Some(Box::new(file)))
    }
}

/// A merged round as it is recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedMerge {
    /// The experiment.
    pub experiment: ExperimentName,
    /// The round.
    pub round: u64,
    /// The entry that says what was agreed on.
    pub index: u64,
    /// What was trained from.
    pub base: Model,
    /// The model before the base; the base itself if nothing has moved (R74).
    pub previous: Model,
    /// How it is merged.
    pub merging: Merging,
    /// What is merged, in that order, and who has sent it.
    pub updates: Vec<(LearnerId, Model)>,
    /// Who has named which merges, abstentions left out.
    pub named: Vec<(LearnerId, Merges)>,
    /// The pair that was agreed on.
    pub agreed: Option<Merges>,
}

/// A merged round, computed again.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct MergeReport {
    /// The experiment.
    pub experiment: String,
    /// The round.
    pub round: u64,
    /// The entry that says what was agreed on.
    pub index: u64,
    /// What is needed to compute it and cannot be had: then it was not computed.
    pub missing: Vec<String>,
    /// What became of each update, in the order in which they are merged.
    pub updates: Vec<UpdateReport>,
    /// The open merge, hex, or why there is none.
    pub open: Computed,
    /// The guarded merge, likewise.
    pub guarded: Computed,
    /// The learners that have named a pair that follows with no keys that they may have had, hex. Where an update is
    /// under a model key that is not here, only those that named what was agreed on.
    pub false_pairs: Vec<String>,
    /// Whether what was agreed on is what was computed; `None` without agreement, or if it was not computed.
    pub as_agreed: Option<bool>,
}

/// A merge that was computed.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Computed {
    /// The digest, hex.
    pub digest: Option<String>,
    /// Why there is none.
    pub absent: Option<String>,
}

/// What became of an update.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct UpdateReport {
    /// Who has sent it, hex.
    pub learner: String,
    /// Its digest, hex.
    pub weights: String,
    /// Why it was left out.
    pub void: Option<String>,
    /// How far it is from the base.
    pub length: Option<f64>,
    /// Whether it was clipped in the open merge.
    pub clipped: bool,
    /// Among whose nearest it was, hex.
    pub neighbour_of: Vec<String>,
    /// The cosine of its angle to the open merge's step.
    pub cosine: Option<f64>,
}

impl RecordedMerge {
    /// How many bytes are needed to compute it.
    pub fn bytes(&self) -> u64 {
        let models = [&self.base, &self.previous].into_iter();
        let models = models.chain(self.updates.iter().map(|(_, update)| update));
        models.fold(0, |bytes: u64, model| bytes.saturating_add(model.size))
    }

    /// Computes the merges again. Nothing is written anywhere.
    pub fn compute(&self, weights: &dyn Weights) -> MergeReport {
        let mut report = MergeReport {
            experiment: self.experiment.to_string(),
            round: self.round,
            index: self.index,
            missing: Vec::new(),
            updates: Vec::new(),
            open: Computed::default(),
            guarded: Computed::default(),
            false_pairs: Vec::new(),
            as_agreed: None,
        };
        let mut open = |model: &Model| match weights.open(model) {
            Ok(Some(source)) => Some(source),
            Ok(None) => {
                report.missing.push(format!("{} is not there", model.digest));
                None
            }
            Err(error) => {
                report.missing.push(format!("{}: {error}", model.digest));
                None
            }
        };
        let base = open(&self.base);
        let has_moved = self.previous.digest != self.base.digest;
        let previous = has_moved.then(|| open(&self.previous)).flatten();
        let updates: Vec<Option<Box<dyn Source>>> =
            self.updates.iter().map(|(_, model)| open(model)).collect();
        let (Some(base), true) = (base, report.missing.is_empty()) else { return report };
        let updates: Vec<&dyn Source> = updates.iter().flatten().map(|it| &**it).collect();
        match self.merge(&*base, previous.as_deref(), &updates, weights) {
            Ok(possible) => self.tell(&possible, &mut report),
            Err(error) => report.missing.push(error),
        }
        report
    }

    /// Merges; what is encrypted is opened before, and the merges are encrypted as the members have done it.
    ///
    /// What is void depends on the keys that a member had: whoever had not got the newest yet has left out what is under
    /// it. So that is computed, too, where not all have named what follows from all keys.
    fn merge(
        &self,
        base: &dyn Source,
        previous: Option<&dyn Source>,
        updates: &[&dyn Source],
        weights: &dyn Weights,
    ) -> Result<Possible, String> {
        let (clip_permille, momentum_permille) =
            (self.merging.clip_permille, self.merging.momentum_permille);
        if !is_encrypted(base).map_err(|error| error.to_string())? {
            let merge = Merge { base, previous, updates, clip_permille, momentum_permille };
            let merged = merge.write(&mut io::sink(), &mut io::sink());
            let merged = merged.map_err(|error| error.to_string())?;
            return Ok(Possible {
                first: merged,
                others: Vec::new(),
                unknown: Vec::new(),
                may_be_more: false,
            });
        }
        let of_base = |error: &dyn std::fmt::Display| format!("{}: {error}", self.base.digest);
        let keys = weights.model_keys();
        let keys =
            keys.ok_or_else(|| of_base(&"it is encrypted; give the members' --model-keys"))?;
        let open = |keys: &ModelKeys| {
            Round::open(keys, base, previous, updates).map_err(|error| of_base(&error))
        };
        let mut round = open(keys)?;
        let first = self.merge_opened(&round)?;
        let (unknown, oldest) = (std::mem::take(&mut round.unknown), round.base.key().number());
        let mut possible = Possible { first, others: Vec::new(), unknown, may_be_more: false };
        // Whoever has merged had the keys of these.
        let had = round.previous.iter().chain([&round.base]).map(|it| it.key().number()).max();
        while !self.named().all(|pair| possible.has(pair))
            && Some(round.key().number()) > had
            && let Some(earlier) = keys.before(round.key().number())
        {
            round = open(&earlier)?;
            possible.others.push(self.merge_opened(&round)?);
        }
        possible.may_be_more =
            !possible.unknown.is_empty() && !self.was_merged_with(keys, oldest, weights);
        Ok(possible)
    }

    /// Whether what was agreed on shows that whoever has merged it had no key besides these, if the base's has this
    /// number.
    ///
    /// A merge is under the newest key of what counts in it. So no update counted in it that is under a newer one, and
    /// none under an older one than the base's ever does: an update that says that it is under another key than these
    /// was void for them, too, or the merge is not what follows. Else whoever lies could have somebody send an update
    /// that nobody can open, and nobody could show the lie.
    fn was_merged_with(&self, keys: &ModelKeys, oldest: u32, weights: &dyn Weights) -> bool {
        let agreed = self.agreed.into_iter().flat_map(|it| [it.open, it.guarded]).flatten();
        agreed.into_iter().any(|digest| {
            // A merge has the base's header, and so its size.
            let merge = weights.open(&Model { digest, ..self.base.clone() });
            let Ok(Some(merge)) = merge else { return false };
            match key_of(&*merge, keys) {
                Ok(key) => keys.have_all(oldest, key.number()),
                Err(NotOpened::NotEncrypted | NotOpened::Forged) => true,
                Err(NotOpened::UnknownKey(_) | NotOpened::Io(_)) => false,
            }
        })
    }

    /// Merges a round, and encrypts the merges.
    fn merge_opened(&self, round: &Round<'_>) -> Result<Report, String> {
        let told = |error: Error| error.to_string();
        let updates = round.updates();
        let merge = Merge {
            base: &round.base,
            previous: round.previous.as_ref().map(|previous| previous as &dyn Source),
            updates: &updates,
            clip_permille: self.merging.clip_permille,
            momentum_permille: self.merging.momentum_permille,
        };
        let mut report = merge.write(&mut io::sink(), &mut io::sink()).map_err(told)?;
        // Again, now that the digests are known: nothing is written anywhere.
        let mut open = Encrypting::of(report.open.as_ref().ok(), round.key()).map_err(told)?;
        let mut guarded =
            Encrypting::of(report.guarded.as_ref().ok(), round.key()).map_err(told)?;
        merge.write(&mut open, &mut guarded).map_err(told)?;
        for (merge, encrypted) in [(&mut report.open, open), (&mut report.guarded, guarded)] {
            if let (Ok(merge), Some(encrypted)) = (merge, encrypted.finish().map_err(told)?) {
                *merge = encrypted;
            }
        }
        Ok(report)
    }

    /// The pairs that were named or agreed on.
    fn named(&self) -> impl Iterator<Item = Merges> {
        self.named.iter().map(|(_, named)| *named).chain(self.agreed)
    }

    fn tell(&self, possible: &Possible, report: &mut MergeReport) {
        let as_agreed = self.agreed.map(|agreed| possible.has(agreed));
        if as_agreed == Some(false) && possible.may_be_more {
            // Members that have its key may have merged it.
            report.missing.push("an update is under a model key that is not here".to_owned());
            return;
        }
        let agreed = possible.all().find(|it| Some(pair(it)) == self.agreed);
        let merged = agreed.unwrap_or(&possible.first);
        let computed = pair(merged);
        let told = |digest: Option<Digest>, merge: &Result<_, colearn_merge::Absent>| Computed {
            digest: digest.map(|digest| digest.to_string()),
            absent: merge.as_ref().err().map(ToString::to_string),
        };
        report.open = told(computed.open, &merged.open);
        report.guarded = told(computed.guarded, &merged.guarded);
        let senders: Vec<String> = self.updates.iter().map(|(it, _)| it.to_string()).collect();
        let updates = self.updates.iter().zip(&merged.updates);
        report.updates = updates
            .map(|((learner, model), fate)| update(learner, model, fate, &senders))
            .collect();
        for unknown in &possible.unknown {
            if let Some(update) = report.updates.get_mut(*unknown) {
                update.void =
                    Some("it says that it is under a model key that is not here".to_owned());
            }
        }
        // With a key that is not here others may follow, but for those that were agreed on.
        let is_known = |pair| possible.unknown.is_empty() || Some(pair) == self.agreed;
        let others = self.named.iter().filter(|(_, pair)| is_known(*pair) && !possible.has(*pair));
        report.false_pairs = others.map(|(learner, _)| learner.to_string()).collect();
        report.as_agreed = as_agreed;
    }
}

/// What members may have merged of the same updates, as not all need have had the same keys.
struct Possible {
    /// With all keys that are here.
    first: Report,
    /// With earlier ones only.
    others: Vec<Report>,
    /// Which updates are under a key that is not here, or say so.
    unknown: Vec<usize>,
    /// Whether what was agreed on may follow with such a key.
    may_be_more: bool,
}

impl Possible {
    fn all(&self) -> impl Iterator<Item = &Report> {
        [&self.first].into_iter().chain(&self.others)
    }

    fn has(&self, named: Merges) -> bool {
        self.all().any(|report| pair(report) == named)
    }
}

/// What merges are called on the ledger.
fn pair(report: &Report) -> Merges {
    let digest = |merged: &Merged| Digest(merged.digest);
    Merges {
        open: report.open.as_ref().ok().map(digest),
        guarded: report.guarded.as_ref().ok().map(digest),
    }
}

/// What a merge is when it is encrypted; nothing of it is kept.
struct Encrypting(Option<Encryptor<Measured>>);

impl Encrypting {
    /// A merge that there is.
    fn of(merge: Option<&Merged>, key: &ModelKey) -> Result<Self, Error> {
        let begin = |merge: &Merged| Encryptor::new(Measured::default(), key, &merge.digest);
        Ok(Self(merge.map(begin).transpose().map_err(Error::Write)?))
    }

    fn finish(self) -> Result<Option<Merged>, Error> {
        let Some(encryptor) = self.0 else { return Ok(None) };
        let Measured { hasher, size } = encryptor.finish().map_err(Error::Write)?;
        Ok(Some(Merged { digest: hasher.finalize().into(), size }))
    }
}

impl Write for Encrypting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Some(encryptor) => encryptor.write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The digest and size of what is written.
#[derive(Default)]
struct Measured {
    hasher: Sha256,
    size: u64,
}

impl Write for Measured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn update(learner: &LearnerId, model: &Model, fate: &Fate, senders: &[String]) -> UpdateReport {
    let mut report = UpdateReport {
        learner: learner.to_string(),
        weights: model.digest.to_string(),
        void: None,
        length: None,
        clipped: false,
        neighbour_of: Vec::new(),
        cosine: None,
    };
    match fate {
        Fate::Void(void) => report.void = Some(void.to_string()),
        Fate::Counts(part) => {
            report.length = Some(part.length);
            report.clipped = part.clipped;
            let near = part.neighbour_of.iter().filter_map(|other| senders.get(*other));
            report.neighbour_of = near.cloned().collect();
            report.cosine = part.cosine;
        }
    }
    report
}

impl MergeReport {
    /// What is wrong with the ledger, if something is: most have agreed on what does not follow.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let text = |merge: &Computed| merge.digest.clone().unwrap_or_else(|| "none".to_owned());
        (self.as_agreed == Some(false)).then(|| Finding {
            kind: Kind::Merge,
            index: Some(self.index),
            expected: format!(
                "the merges that follow from what was sent in round {} of {}: open {}, guarded {}",
                self.round,
                self.experiment,
                text(&self.open),
                text(&self.guarded)
            ),
            got: "others were agreed on".to_owned(),
        })
    }
}

/// Finds the merged rounds in what is recorded.
#[derive(Debug, Default)]
pub struct MergedRounds(BTreeMap<ExperimentName, Open>);

/// A merged round that was not decided yet.
#[derive(Debug)]
struct Open {
    round: u64,
    base: Model,
    previous: Model,
    merging: Merging,
    /// By digest: who has sent it may go on under another key.
    sent: BTreeMap<Digest, Model>,
    merged: Vec<(LearnerId, Model)>,
    named: Vec<(LearnerId, Merges)>,
}

impl MergedRounds {
    /// Takes the next record, once the contract has taken it. Gives a round that it decides.
    pub fn take(
        &mut self,
        index: u64,
        record: &Record,
        contract: &Contract,
    ) -> Option<RecordedMerge> {
        match record {
            Record::Transaction(transaction) => {
                let name = &transaction.action.experiment;
                match &transaction.action.what {
                    Act::Update(update) => self.sent(name, update.round, &update.weights, contract),
                    Act::RevealUpdate(reveal) => {
                        self.sent(name, reveal.update.round, &reveal.update.weights, contract)
                    }
                    Act::MergeVote(vote) => self.named(name, transaction.sender, vote.merges),
                    Act::RevealMergeVote(reveal) => {
                        self.named(name, transaction.sender, reveal.vote.merges)
                    }
                    _ => {}
                }
                None
            }
            Record::Outcome(outcome) => self.decided(index, &outcome.experiment, &outcome.what),
            Record::Genesis(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => None,
        }
    }

    /// The round is open, so what the contract has of it now is what is merged from.
    fn sent(&mut self, name: &ExperimentName, round: u64, weights: &Model, contract: &Contract) {
        if self.0.get(name).is_none_or(|open| open.round != round) {
            let Some(experiment) = contract.experiment(name) else { return };
            let Some(merging) = experiment.parameters().merging else { return };
            let open = Open {
                round,
                base: experiment.model().clone(),
                previous: experiment.previous().clone(),
                merging,
                sent: BTreeMap::new(),
                merged: Vec::new(),
                named: Vec::new(),
            };
            self.0.insert(name.clone(), open);
        }
        if let Some(open) = self.0.get_mut(name) {
            open.sent.insert(weights.digest, weights.clone());
        }
    }

    fn named(&mut self, name: &ExperimentName, voter: LearnerId, merges: Merges) {
        if let Some(open) = self.0.get_mut(name)
            && !merges.is_none()
        {
            open.named.push((voter, merges));
        }
    }

    fn decided(
        &mut self,
        index: u64,
        name: &ExperimentName,
        decision: &Decision,
    ) -> Option<RecordedMerge> {
        match decision {
            Decision::MergeVotingOpened { updates, .. } => {
                let open = self.0.get_mut(name)?;
                let of = |sent: &colearn_contracts::Sent| {
                    Some((sent.learner, open.sent.get(&sent.weights)?.clone()))
                };
                open.merged = updates.iter().filter_map(of).collect();
                None
            }
            Decision::MergeDecided { round, agreed, .. } => {
                let open = self.0.remove(name).filter(|open| open.round == *round)?;
                Some(RecordedMerge {
                    experiment: name.clone(),
                    round: open.round,
                    index,
                    base: open.base,
                    previous: open.previous,
                    merging: open.merging,
                    updates: open.merged,
                    named: open.named,
                    agreed: *agreed,
                })
            }
            _ => None,
        }
    }
}
