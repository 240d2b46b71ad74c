//! What was done with some data altogether, in the whole numbers in which it is stated and recorded.

use std::collections::BTreeMap;

use super::{DpError, Segment, epsilon_of};

/// Steps with any settings, as far as they decide ε: what was done in another order is the same.
///
/// ```
/// use colearn_dp::Composition;
/// let mut done = Composition::default();
/// done.add(600_000, 100_000_000, 144);
/// let before = done.epsilon_micros(10_000_000)?;
/// done.add(1_000_000, 100_000_000, 144);
/// assert!(done.epsilon_micros(10_000_000)? > before);
/// # Ok::<(), colearn_dp::DpError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Composition {
    /// By noise and sampling rate.
    steps: BTreeMap<(u64, u64), u64>,
}

impl Composition {
    /// Adds steps with this noise multiplier, in millionths, and this sampling rate, in billionths.
    pub fn add(&mut self, noise_micros: u64, sampling_nanos: u64, steps: u64) {
        let sum = self.steps.entry((noise_micros, sampling_nanos)).or_insert(0);
        *sum = sum.saturating_add(steps);
    }

    /// How many steps.
    pub fn steps(&self) -> u64 {
        self.steps.values().fold(0, |sum, steps| sum.saturating_add(*steps))
    }

    /// The same, in the accountants' units: one segment for each of the settings.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = Segment> {
        self.steps.iter().map(|((noise_micros, sampling_nanos), steps)| Segment {
            noise: *noise_micros as f64 / 1e6,
            sampling: *sampling_nanos as f64 / 1e9,
            steps: *steps,
        })
    }

    /// The ε that it has at this δ, in millionths and rounded up, which is how it is stated; δ is in millionths
    /// of a millionth. At least 1: nothing that was trained on data reveals nothing.
    ///
    /// # Errors
    /// If something is out of range.
    pub fn epsilon_micros(&self, delta_picos: u64) -> Result<u64, DpError> {
        let segments: Vec<Segment> = self.segments().collect();
        let epsilon = epsilon_of(&segments, delta_picos as f64 / 1e12)?;
        // The cast saturates.
        Ok(((epsilon * 1e6).ceil() as u64).max(1))
    }
}
