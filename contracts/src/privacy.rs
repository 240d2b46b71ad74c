//! Differential privacy as the ledger knows it: fixed-point integers, stated by learners.

use serde::{Deserialize, Serialize};

use crate::version::Version;

/// The most segments a statement can have (R62).
pub const MAX_SEGMENTS: usize = 64;

/// What each learner's proposals together may reveal (R42).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrivacyCap {
    /// The largest ε, in millionths; at least 1.
    pub epsilon_micros: u64,
    /// The largest δ, in millionths of a millionth; 1 to 10^12.
    pub delta_picos: u64,
}

impl PrivacyCap {
    pub(crate) fn is_valid(&self) -> bool {
        self.epsilon_micros > 0 && (1..=1_000_000_000_000).contains(&self.delta_picos)
    }
}

/// Steps of DP-SGD with the same settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrivacySegment {
    /// The noise multiplier σ, in millionths.
    pub noise_micros: u64,
    /// The norm that each example's gradient was clipped to, in millionths.
    pub clip_micros: u64,
    /// The share of the examples in a batch, in billionths; 1 to 10^9.
    pub sampling_nanos: u64,
    /// How many steps were taken.
    pub steps: u64,
}

impl PrivacySegment {
    /// Whether two segments could be one.
    fn has_settings_of(&self, other: &Self) -> bool {
        (self.noise_micros, self.clip_micros, self.sampling_nanos)
            == (other.noise_micros, other.clip_micros, other.sampling_nanos)
    }
}

/// How a learner's proposals were trained.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PrivateTraining {
    /// Version 1: how the present one was, with all steps so far. What came before, with other
    /// settings, is not said.
    Last(PrivacySegment),
    /// From version 2 on: all that was done, in order (R62).
    All(Vec<PrivacySegment>),
}

/// What a learner says that its proposals so far, the present one included, have revealed, and how
/// they were trained (DP-SGD).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrivacySpent {
    /// ε so far, in millionths. Never less than the learner stated before.
    pub epsilon_micros: u64,
    /// δ of that ε, in millionths of a millionth.
    pub delta_picos: u64,
    /// What it comes from.
    pub training: PrivateTraining,
}

impl PrivacySpent {
    /// R51. The version that it is written for.
    pub(crate) fn needs(&self) -> Version {
        match self.training {
            PrivateTraining::Last(_) => Version::V1,
            PrivateTraining::All(_) => Version::V2,
        }
    }

    /// Everything that was stated, as segments.
    pub fn segments(&self) -> &[PrivacySegment] {
        match &self.training {
            PrivateTraining::Last(segment) => core::slice::from_ref(segment),
            PrivateTraining::All(segments) => segments,
        }
    }

    /// The steps so far.
    pub fn steps(&self) -> u64 {
        // Saturating: a statement comes from outside. Whole, it is checked against R62.
        self.segments().iter().fold(0, |sum, segment| sum.saturating_add(segment.steps))
    }

    /// R42, R62. Whether it can be, with nothing else known.
    pub(crate) fn is_valid(&self) -> bool {
        match &self.training {
            PrivateTraining::Last(last) => {
                self.delta_picos <= 1_000_000_000_000
                    && (1..=1_000_000_000).contains(&last.sampling_nanos)
                    && last.steps > 0
            }
            PrivateTraining::All(segments) => {
                // Nothing that is trained on data reveals nothing, or is unlimited without noise.
                self.epsilon_micros > 0
                    && (1..=1_000_000_000_000).contains(&self.delta_picos)
                    && (1..=MAX_SEGMENTS).contains(&segments.len())
                    && segments.iter().all(|segment| {
                        segment.noise_micros > 0
                            && segment.clip_micros > 0
                            && (1..=1_000_000_000).contains(&segment.sampling_nanos)
                            && segment.steps > 0
                    })
                    && self.steps() < u64::MAX
                    && segments.windows(2).all(|pair| !pair[0].has_settings_of(&pair[1]))
            }
        }
    }

    /// R42, R62. Whether it goes on from what the learner stated before.
    pub(crate) fn continues(&self, before: &Self) -> bool {
        if self.epsilon_micros < before.epsilon_micros {
            return false;
        }
        let grows = self.delta_picos >= before.delta_picos && self.steps() > before.steps();
        match (&self.training, &before.training) {
            (PrivateTraining::Last(now), _) => now.steps >= before.steps(),
            // What version 1 stated tells of settings only the last; at least the steps are counted.
            (PrivateTraining::All(_), PrivateTraining::Last(_)) => grows,
            (PrivateTraining::All(now), PrivateTraining::All(done)) => grows && extends(now, done),
        }
    }

    /// Whether a cap allows it.
    pub fn is_within(&self, cap: &PrivacyCap) -> bool {
        self.epsilon_micros <= cap.epsilon_micros && self.delta_picos <= cap.delta_picos
    }
}

/// Whether one list of segments begins with another, the last of which may have gone on.
fn extends(now: &[PrivacySegment], before: &[PrivacySegment]) -> bool {
    let Some((last, done)) = before.split_last() else { return true };
    now.len() >= before.len()
        && now[..done.len()] == *done
        && now[done.len()].has_settings_of(last)
        && now[done.len()].steps >= last.steps
}
