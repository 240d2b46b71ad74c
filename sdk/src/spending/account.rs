//! What all trainings in one experiment come to: what the ledger has of them and what it has not, as
//! the list that is stated next.

use colearn_contracts::{
    Digest, MAX_SEGMENTS, PrivacySegment, PrivacySpent, PrivateTraining, Scores, Version,
};
use colearn_dp::Composition;
use sha2::{Digest as _, Sha256};

/// A training whose result has left, or was about to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Training {
    pub(super) round: u64,
    /// What came out of it.
    pub(super) weights: Digest,
    /// What it took, by itself.
    pub(super) took: PrivacySegment,
    /// How many trainings, up to this one, the ledger was not known to have when this one was written.
    pub(super) unrecorded: usize,
    /// What is stated if it is recorded: ε and δ,
    pub(super) epsilon_micros: u64,
    pub(super) delta_picos: u64,
    /// and what was done altogether.
    pub(super) all: Vec<PrivacySegment>,
}

impl Training {
    /// One without differential privacy, as a site counts it: a step without noise.
    pub(super) fn unprotected(round: u64, weights: Digest) -> Self {
        let took = PrivacySegment {
            noise_micros: 0,
            clip_micros: 0,
            sampling_nanos: 1_000_000_000,
            steps: 1,
        };
        let (unrecorded, epsilon_micros, delta_picos) = (0, u64::MAX, 0);
        Self { round, weights, took, unrecorded, epsilon_micros, delta_picos, all: Vec::new() }
    }

    /// A score that has left, with noise: as a step on all rows of which nothing is stated. It is of some weights, and no training
    /// of which they came.
    pub(super) fn score(round: u64, of: Digest, scores: Scores, took: PrivacySegment) -> Self {
        let weights = Self::score_name(of, scores);
        let took = PrivacySegment { clip_micros: 0, ..took };
        let (unrecorded, epsilon_micros, delta_picos) = (0, 0, 0);
        Self { round, weights, took, unrecorded, epsilon_micros, delta_picos, all: Vec::new() }
    }

    /// What is written in the place of weights for scores of some: another draw of the noise is another score, and counts.
    pub(super) fn score_name(of: Digest, scores: Scores) -> Digest {
        let mut named = Sha256::new().chain_update(b"colearn/v1/score\n").chain_update(of.0);
        for score in [scores.vote, scores.test] {
            named.update([u8::from(score.is_some())]);
            named.update(score.unwrap_or_default().to_be_bytes());
        }
        Digest(named.finalize().into())
    }

    /// Whether it is a score.
    pub(super) fn is_score(&self) -> bool {
        self.took.clip_micros == 0 && !self.is_unprotected()
    }

    /// Whether no ε bounds what it reveals.
    pub(super) fn is_unprotected(&self) -> bool {
        self.took.noise_micros == 0
    }

    /// The statement that is proposed with it.
    pub(super) fn statement(&self, version: Version) -> PrivacySpent {
        let training = match version {
            // Only the last settings can be said, with all steps.
            Version::V1 => {
                PrivateTraining::Last(PrivacySegment { steps: steps(&self.all), ..self.took })
            }
            Version::V2 => PrivateTraining::All(self.all.clone()),
        };
        PrivacySpent {
            epsilon_micros: self.epsilon_micros,
            delta_picos: self.delta_picos,
            training,
        }
    }

    /// Whether the ledger says what was proposed with it.
    fn is_stated_by(&self, stated: &PrivacySpent) -> bool {
        let version = match stated.training {
            PrivateTraining::Last(_) => Version::V1,
            PrivateTraining::All(_) => Version::V2,
        };
        self.statement(version) == *stated
    }
}

/// What was done before the next training.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Done {
    /// What the next statement has to begin with (R62).
    fixed: Vec<PrivacySegment>,
    /// What was done besides, which it may say in any order.
    free: Vec<PrivacySegment>,
    /// The trainings in it that the ledger is not known to have.
    pub(super) unrecorded: usize,
}

impl Done {
    /// What these trainings and the ledger's last statement come to. What is not known to be in the
    /// statement counts besides it.
    ///
    /// The statement is that of one of these trainings, and what follows in the journal was never
    /// recorded. Or it is of none: the journal was lost, is an old copy, or another program used the
    /// key. Then it counts in full, and so do the trainings that the ledger did not have when the last
    /// was written.
    pub(super) fn of(
        trainings: &[Training],
        stated: Option<&PrivacySpent>,
        as_segment: impl FnOnce(&PrivacySpent, PrivacySegment) -> PrivacySegment,
    ) -> Self {
        let last = trainings.last();
        let Some(stated) = stated else {
            let free = last.map(|last| last.all.clone()).unwrap_or_default();
            return Self { free, unrecorded: trainings.len(), ..Self::default() };
        };
        let recorded = trainings.iter().rposition(|it| it.is_stated_by(stated));
        let unrecorded = match recorded {
            Some(at) => trainings.len() - at - 1,
            None => last.map_or(0, |last| last.unrecorded.min(trainings.len())),
        };
        let mut done = Self { unrecorded, ..Self::default() };
        match (&stated.training, recorded) {
            (PrivateTraining::All(segments), _) => done.fixed.clone_from(segments),
            (PrivateTraining::Last(_), Some(at)) => done.free.clone_from(&trainings[at].all),
            (PrivateTraining::Last(last), None) => done.free.push(as_segment(stated, *last)),
        }
        let besides = &trainings[trainings.len() - unrecorded..];
        done.free.extend(besides.iter().map(|training| training.took));
        done
    }

    /// The list of it and one more training: in order, or, where that is longer than a statement can
    /// be, with fewer settings than there were, none of which reveals less. `None` if there is no such
    /// list.
    pub(super) fn and(&self, next: PrivacySegment) -> Option<Vec<PrivacySegment>> {
        let free = || self.free.iter().copied().chain([next]);
        let mut list = self.fixed.clone();
        free().for_each(|segment| push(&mut list, segment));
        if list.len() <= MAX_SEGMENTS {
            return Some(list);
        }
        // By settings, those of the last stated ones first.
        let mut list = self.fixed.clone();
        let mut others: Vec<PrivacySegment> = Vec::new();
        for segment in free() {
            match list.last_mut().filter(|last| are_alike(last, &segment)) {
                Some(last) => last.steps = last.steps.saturating_add(segment.steps),
                None => match others.iter_mut().find(|other| are_alike(other, &segment)) {
                    Some(other) => other.steps = other.steps.saturating_add(segment.steps),
                    None => others.push(segment),
                },
            }
        }
        let room = MAX_SEGMENTS.saturating_sub(list.len());
        if others.len() <= room {
            list.extend(others);
            return Some(list);
        }
        match room.checked_sub(1) {
            // As many as there is room for, and the others as the worst of them.
            Some(many) => {
                let worst = others.split_off(many);
                list.extend(others);
                let worst = worst.into_iter().reduce(worse)?;
                push(&mut list, worst);
            }
            // As if it had been done with the last settings, if those reveal no less.
            None => {
                let last = list.last_mut()?;
                let added = others.into_iter().reduce(worse)?;
                if last.noise_micros > added.noise_micros
                    || last.sampling_nanos < added.sampling_nanos
                {
                    return None;
                }
                last.steps = last.steps.saturating_add(added.steps);
            }
        }
        Some(list)
    }
}

/// Adds steps to a list, in which neighbours differ.
fn push(list: &mut Vec<PrivacySegment>, segment: PrivacySegment) {
    match list.last_mut().filter(|last| are_alike(last, &segment)) {
        Some(last) => last.steps = last.steps.saturating_add(segment.steps),
        None => list.push(segment),
    }
}

fn are_alike(one: &PrivacySegment, other: &PrivacySegment) -> bool {
    PrivacySegment { steps: other.steps, ..*one } == *other
}

/// All steps of both, with settings that reveal no less than either's.
fn worse(one: PrivacySegment, other: PrivacySegment) -> PrivacySegment {
    PrivacySegment {
        noise_micros: one.noise_micros.min(other.noise_micros),
        clip_micros: one.clip_micros.max(other.clip_micros),
        sampling_nanos: one.sampling_nanos.max(other.sampling_nanos),
        steps: one.steps.saturating_add(other.steps),
    }
}

/// The steps of a list.
pub(super) fn steps(list: &[PrivacySegment]) -> u64 {
    list.iter().fold(0, |sum, segment| sum.saturating_add(segment.steps))
}

/// What a list comes to, with what was done elsewhere.
pub(super) fn compose<'a>(segments: impl IntoIterator<Item = &'a PrivacySegment>) -> Composition {
    let mut composition = Composition::default();
    for it in segments {
        composition.add(it.noise_micros, it.sampling_nanos, it.steps);
    }
    composition
}
