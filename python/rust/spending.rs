//! What a learner's proposals reveal, as it says it: what all of them come to is counted by the SDK.

use colearn_contracts::PrivacySegment;
use colearn_sdk::learner::Privacy;
use pyo3::prelude::*;

/// Some steps with the same settings, as the package's class has them.
#[derive(FromPyObject, Clone, Copy)]
pub(crate) struct Segment {
    noise_multiplier: f64,
    clip: f64,
    sampling_rate: f64,
    steps: u64,
}

impl Segment {
    /// In the ledger's fixed point, rounded against oneself.
    pub(crate) fn stated(self) -> PrivacySegment {
        PrivacySegment {
            noise_micros: (self.noise_multiplier * 1e6 + 1e-6).floor() as u64,
            clip_micros: up(self.clip, 1e6),
            sampling_nanos: up(self.sampling_rate, 1e9).min(1_000_000_000),
            steps: self.steps,
        }
    }
}

/// A number in fixed point, rounded up; what was read from fixed point stays it. The cast saturates.
fn up(value: f64, unit: f64) -> u64 {
    (value * unit - 1e-6).ceil() as u64
}

/// What the next training takes, and what may be taken in all.
#[derive(FromPyObject, Clone, Copy)]
pub(crate) struct Settings {
    segment: Segment,
    delta: f64,
    max_epsilon: Option<f64>,
}

impl Settings {
    /// As the SDK accounts for it.
    pub(crate) fn stated(self) -> Privacy {
        Privacy {
            segment: self.segment.stated(),
            delta_picos: up(self.delta, 1e12),
            max_epsilon_micros: self.max_epsilon.map(|most| (most * 1e6 + 1e-6).floor() as u64),
        }
    }
}
