//! Differential privacy as the ledger knows it: fixed-point integers, stated by learners.

use serde::{Deserialize, Serialize};

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

/// What a learner says that its proposals so far, the present one included, have revealed, and how
/// the present one was trained (DP-SGD).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PrivacySpent {
    /// ε so far, in millionths. Never less than the learner stated before.
    pub epsilon_micros: u64,
    /// δ of that ε, in millionths of a millionth.
    pub delta_picos: u64,
    /// The noise multiplier σ, in millionths.
    pub noise_micros: u64,
    /// The norm that each example's gradient was clipped to, in millionths.
    pub clip_micros: u64,
    /// The share of the examples in a batch, in billionths; 1 to 10^9.
    pub sampling_nanos: u64,
    /// How many steps were taken so far. Never less than the learner stated before.
    pub steps: u64,
}

impl PrivacySpent {
    pub(crate) fn is_valid(&self) -> bool {
        self.delta_picos <= 1_000_000_000_000
            && (1..=1_000_000_000).contains(&self.sampling_nanos)
            && self.steps > 0
    }

    pub(crate) fn continues(&self, before: &Self) -> bool {
        self.epsilon_micros >= before.epsilon_micros && self.steps >= before.steps
    }

    /// Whether a cap allows it.
    pub fn is_within(&self, cap: &PrivacyCap) -> bool {
        self.epsilon_micros <= cap.epsilon_micros && self.delta_picos <= cap.delta_picos
    }
}
