//! The merges of a round: computed from what members have trained, and judged by a learner. The client and the
//! local backend do it in the same way, for learners in any language.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use colearn_contracts::{Digest, Merges, Reason};
use colearn_merge::{Error, Merge, Merged as Whole, Report, Source};

use crate::large;
use crate::learner::{Failure, Judgement, LARGE_BYTES, Learner, Score, Scored, Weights};
use crate::participant::MergeTask;

/// The two merges of a round, as far as there are any.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The open one.
    pub open: Option<Weights>,
    /// The guarded one.
    pub guarded: Option<Weights>,
    /// What became of each update.
    pub report: Report,
}

impl Merged {
    /// Merges: large models in files of a folder, if there is one, and otherwise in memory.
    ///
    /// # Errors
    /// If something cannot be read or written: these are no faults of the updates.
    pub fn compute(
        task: &MergeTask,
        base: &dyn Source,
        previous: Option<&dyn Source>,
        updates: &[&dyn Source],
        dir: Option<&Path>,
    ) -> Result<Self, Error> {
        Self::compute_as(task, base, previous, updates, dir, true)
    }

    /// The same, into files that have no names where they are not to be found again.
    pub(crate) fn compute_as(
        task: &MergeTask,
        base: &dyn Source,
        previous: Option<&dyn Source>,
        updates: &[&dyn Source],
        dir: Option<&Path>,
        named: bool,
    ) -> Result<Self, Error> {
        let rules = &task.rules;
        let (clip_permille, momentum_permille) = (rules.clip_permille, rules.momentum_permille);
        let merge = Merge { base, previous, updates, clip_permille, momentum_permille };
        if let Some(dir) = dir.filter(|_| task.base.size >= LARGE_BYTES) {
            return Self::in_files(&merge, dir, named);
        }
        let merged = merge.in_memory()?;
        let [open, guarded] = [merged.open, merged.guarded].map(|it| it.map(Weights::new));
        Ok(Self { open, guarded, report: merged.report })
    }

    /// Merges into files, which are named by their digests when they are whole, or never.
    fn in_files(merge: &Merge<'_>, dir: &Path, named: bool) -> Result<Self, Error> {
        colearn_files::create_folder(dir).map_err(|error| Error::Write(error.into()))?;
        let (mut open, mut guarded) = (Output::create(dir, named)?, Output::create(dir, named)?);
        let report = merge.write(&mut open.file, &mut guarded.file)?;
        let open = open.finish(dir, report.open.as_ref().ok()).map_err(Error::Write)?;
        let guarded = guarded.finish(dir, report.guarded.as_ref().ok()).map_err(Error::Write)?;
        Ok(Self { open, guarded, report })
    }

    /// What they are called on the ledger.
    pub fn named(&self) -> Merges {
        let digest = |weights: &Option<Weights>| weights.as_ref().map(Weights::digest);
        Merges { open: digest(&self.open), guarded: digest(&self.guarded) }
    }
}

/// A merge that is written, which is gone with this where it is not finished.
struct Output {
    file: File,
    /// Where it has a name.
    path: Option<PathBuf>,
}

impl Output {
    fn create(dir: &Path, named: bool) -> Result<Self, Error> {
        let made = match named {
            true => large::new_file(dir).map(|(file, path)| (file, Some(path))),
            false => large::nameless_file(dir).map(|file| (file, None)),
        };
        let (file, path) = made.map_err(Error::Write)?;
        Ok(Self { file, path })
    }

    /// The weights, where a merge was written whole.
    fn finish(self, dir: &Path, written: Option<&Whole>) -> io::Result<Option<Weights>> {
        let Some(whole) = written else { return Ok(None) };
        let weights = Weights::in_file(self.file.try_clone()?)?;
        if (weights.digest().0, weights.bytes().len() as u64) != (whole.digest, whole.size) {
            return Err(io::Error::other("what was written reads otherwise"));
        }
        if let Some(path) = &self.path {
            std::fs::rename(path, large::path(dir, weights.digest()))?;
        }
        Ok(Some(weights))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // It has another name if it was finished.
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What a learner thinks of the merges of a round.
#[derive(Clone, PartialEq, Debug)]
pub struct Judged {
    /// Which merges they are.
    pub merges: Merges,
    /// What the base is worth, if that was asked for.
    pub base: Option<(Digest, Worth)>,
    /// What the open merge is worth, if there is one.
    pub open: Option<Worth>,
    /// What the guarded merge is worth, if there is one.
    pub guarded: Option<Worth>,
    /// Whether the guarded merge is better.
    pub prefers_guarded: bool,
}

/// What weights are worth to a learner.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Worth {
    /// What it says of them.
    pub score: Score,
    /// The same as finely as it can tell; what can be borne follows from that.
    pub measure: f64,
}

impl From<Score> for Worth {
    fn from(score: Score) -> Self {
        Self { score, measure: score.vote }
    }
}

impl Judged {
    /// Has a learner judge merges, and the base if that is asked for.
    pub fn by<L: Learner + ?Sized>(
        learner: &mut L,
        base: Option<&Weights>,
        open: Option<&Weights>,
        guarded: Option<&Weights>,
    ) -> Self {
        let base = base.map(|base| (base.digest(), worth(learner, base)));
        let open_worth = open.map(|weights| worth(learner, weights));
        // The two are often the same, and the same has one score: it may have noise.
        let is_same = open.zip(guarded).is_some_and(|(open, guarded)| open == guarded);
        let guarded_worth = match is_same {
            true => open_worth,
            false => guarded.map(|weights| worth(learner, weights)),
        };
        let worths = [open_worth, guarded_worth];
        let prefers_guarded = match (open.zip(worths[0]), guarded.zip(worths[1])) {
            (Some((open, open_worth)), Some((guarded, guarded_worth))) => {
                let open = Scored { weights: open, score: open_worth.score };
                let guarded = Scored { weights: guarded, score: guarded_worth.score };
                learner.prefer(guarded, open).unwrap_or_else(|error| {
                    tracing::warn!(%error, "merges that cannot be compared");
                    false
                })
            }
            (_, _) => false,
        };
        let digest = |weights: Option<&Weights>| weights.map(Weights::digest);
        Self {
            merges: Merges { open: digest(open), guarded: digest(guarded) },
            base,
            open: worths[0],
            guarded: worths[1],
            prefers_guarded,
        }
    }

    /// The same, with what may be told of the scores of the merges.
    pub(crate) fn told(mut self, mut clear: impl FnMut(Digest, Score) -> Score) -> Self {
        let merges = [self.merges.open, self.merges.guarded];
        for (worth, digest) in [&mut self.open, &mut self.guarded].into_iter().zip(merges) {
            if let (Some(worth), Some(digest)) = (worth, digest) {
                worth.score = clear(digest, worth.score);
            }
        }
        self
    }

    /// What is said where there is no merge, or none can be had.
    pub(crate) fn nothing() -> Self {
        let merges = Merges::default();
        Self { merges, base: None, open: None, guarded: None, prefers_guarded: false }
    }

    fn judgements(&self) -> impl Iterator<Item = (Judgement, Worth)> {
        [self.open, self.guarded].into_iter().flatten().map(|worth| (worth.score.judgement, worth))
    }

    /// Why none of the merges can be borne, in a word: what is said of the open one comes first.
    pub(crate) fn reason(&self) -> Option<Reason> {
        // Whoever has judged them has had them.
        let mut reasons = self.judgements().filter_map(|(judgement, _)| judgement.reason());
        reasons.find(|reason| *reason != Reason::Unavailable)
    }

    /// Whether the learner says of all that there is that it cannot tell, and measures nothing of it.
    pub(crate) fn is_abstention(&self) -> bool {
        self.judgements().all(|(judgement, worth)| {
            matches!(judgement, Judgement::Abstain(_)) && !worth.measure.is_finite()
        })
    }
}

/// What cannot be scored cannot be borne.
fn worth<L: Learner + ?Sized>(learner: &mut L, weights: &Weights) -> Worth {
    let score = learner.test(weights).unwrap_or_else(|error| {
        tracing::warn!(%error, weights = %weights.digest(), "weights that cannot be scored");
        Score::none(Judgement::Reject(Some(Failure::reason_of(&error))))
    });
    let measure = learner.measure(Scored { weights, score }).unwrap_or(f64::NAN);
    Worth { score, measure }
}
