#![doc = include_str!("../README.md")]

pub mod binomial;
mod composition;
pub mod guessing;
mod normal;
pub mod pld;
mod pure;
pub mod rdp;
#[cfg(test)]
mod tests;

pub use binomial::ln_gamma;
pub use composition::Composition;
pub use pure::gaussian_of;

/// Why a question about privacy has no answer.
#[derive(Clone, PartialEq, Debug)]
pub enum DpError {
    /// The noise is out of range.
    Noise(f64),
    /// The sampling rate is out of range.
    Sampling(f64),
    /// δ is out of range.
    Delta(f64),
    /// ε is out of range.
    Epsilon(f64),
    /// No noise in range is enough.
    Unreachable(f64),
    /// The operating system gives no randomness.
    Entropy,
}

// By hand: deriving it would take six of the crates that whoever wants an accountant alone compiles.
impl std::fmt::Display for DpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Noise(noise) => {
                write!(f, "the noise multiplier {noise} is not between {MIN_NOISE} and {MAX_NOISE}")
            }
            Self::Sampling(rate) => {
                write!(f, "the sampling rate {rate} is not above 0 and at most 1")
            }
            Self::Delta(delta) => {
                write!(f, "delta {delta} is not between 1e-12 and 1, both excluded")
            }
            Self::Epsilon(epsilon) => write!(f, "epsilon {epsilon} is not a positive number"),
            Self::Unreachable(epsilon) => write!(
                f,
                "no noise multiplier up to {MAX_NOISE} keeps epsilon at {epsilon}; take fewer steps"
            ),
            Self::Entropy => f.write_str("the operating system gives no randomness for the noise"),
        }
    }
}

impl std::error::Error for DpError {}

/// The smallest noise multiplier that is accounted for; less is no privacy.
pub const MIN_NOISE: f64 = 0.05;
/// The largest noise multiplier that is accounted for.
pub const MAX_NOISE: f64 = 1e4;

/// Checks that ε can be computed for this δ.
///
/// # Errors
/// If it is out of range.
pub fn check_delta(delta: f64) -> Result<(), DpError> {
    if delta > 1e-12 && delta < 1.0 { Ok(()) } else { Err(DpError::Delta(delta)) }
}

/// One step of DP-SGD.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mechanism {
    noise_multiplier: f64,
    sampling_rate: f64,
}

impl Mechanism {
    /// Noise of standard deviation `noise_multiplier` times the clipping norm, on a batch that each
    /// example is in with probability `sampling_rate`.
    ///
    /// # Errors
    /// If either is out of range.
    pub fn new(noise_multiplier: f64, sampling_rate: f64) -> Result<Self, DpError> {
        if !(MIN_NOISE..=MAX_NOISE).contains(&noise_multiplier) {
            return Err(DpError::Noise(noise_multiplier));
        }
        if !(sampling_rate > 0.0 && sampling_rate <= 1.0) {
            return Err(DpError::Sampling(sampling_rate));
        }
        Ok(Self { noise_multiplier, sampling_rate })
    }

    /// σ.
    pub fn noise_multiplier(&self) -> f64 {
        self.noise_multiplier
    }

    /// q.
    pub fn sampling_rate(&self) -> f64 {
        self.sampling_rate
    }
}

/// The same step several times.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Steps {
    /// The step.
    pub mechanism: Mechanism,
    /// How often.
    pub count: u64,
}

/// Some steps with the same settings, as a learner states them: nothing of it is checked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Segment {
    /// σ.
    pub noise: f64,
    /// q.
    pub sampling: f64,
    /// How many steps.
    pub steps: u64,
}

/// The ε that all these segments together have at `delta`: the smaller of both accountants' upper
/// bounds. This is the figure that learners state and auditors recompute. Where many settings would take it
/// seconds it is less exact, upwards and by less than a hundredth: a learner waits for it in each turn.
///
/// # Errors
/// If something is out of range.
///
/// ```
/// use colearn_dp::{Segment, epsilon_of};
/// let weak = Segment { noise: 0.6, sampling: 0.1, steps: 144 };
/// let strong = Segment { noise: 1.0, sampling: 0.1, steps: 144 };
/// let both = epsilon_of(&[weak, strong], 1e-5)?;
/// assert!(both > epsilon_of(&[Segment { steps: 288, ..strong }], 1e-5)?);
/// # Ok::<(), colearn_dp::DpError>(())
/// ```
pub fn epsilon_of(segments: &[Segment], delta: f64) -> Result<f64, DpError> {
    check_delta(delta)?;
    let steps = |segment: &Segment| -> Result<Steps, DpError> {
        let mechanism = Mechanism::new(segment.noise, segment.sampling)?;
        Ok(Steps { mechanism, count: segment.steps })
    };
    let all = segments.iter().map(steps).collect::<Result<Vec<Steps>, DpError>>()?;
    let by_rdp = rdp::epsilon(&all, delta);
    Ok(by_rdp.min(by_privacy_loss(&all, delta, by_rdp)))
}

/// The most steps that the distribution of the privacy loss is composed for. From ten times as many on,
/// rounding decides what comes of it, and the figure is far too low.
const MAX_COMPOSED_STEPS: u64 = 100_000_000;

/// ε by the distribution of the privacy loss, or as by Rényi divergences where there are too many steps.
fn by_privacy_loss(steps: &[Steps], delta: f64, by_rdp: f64) -> f64 {
    let count = steps.iter().fold(0_u64, |sum, it| sum.saturating_add(it.count));
    if count > MAX_COMPOSED_STEPS { by_rdp } else { pld::epsilon_about(steps, delta, by_rdp) }
}

/// How privacy is accounted for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Accountant {
    /// By Rényi divergences.
    Rdp,
    /// By the distribution of the privacy loss.
    #[default]
    Pld,
}

impl Accountant {
    /// The ε that all these steps together have at `delta`: an upper bound.
    ///
    /// # Errors
    /// If `delta` is out of range.
    pub fn epsilon(self, steps: &[Steps], delta: f64) -> Result<f64, DpError> {
        check_delta(delta)?;
        Ok(match self {
            Self::Rdp => rdp::epsilon(steps, delta),
            Self::Pld => by_privacy_loss(steps, delta, rdp::epsilon(steps, delta)),
        })
    }

    /// The least noise multiplier, within a thousandth, with which `count` steps stay at `epsilon`.
    ///
    /// # Errors
    /// If an argument is out of range, or no noise is enough.
    pub fn noise_multiplier(
        self,
        epsilon: f64,
        delta: f64,
        sampling_rate: f64,
        count: u64,
    ) -> Result<f64, DpError> {
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            return Err(DpError::Epsilon(epsilon));
        }
        let spends = |noise: f64| {
            let mechanism = Mechanism::new(noise, sampling_rate)?;
            self.epsilon(&[Steps { mechanism, count }], delta)
        };
        if spends(MAX_NOISE)? > epsilon {
            return Err(DpError::Unreachable(epsilon));
        }
        // Double until it is enough, then halve the gap; ε falls as the noise rises.
        let mut high = 0.5;
        while spends(high)? > epsilon {
            high *= 2.0;
        }
        let mut low = if high > 0.5 { high / 2.0 } else { MIN_NOISE };
        while high - low > 1e-3 * low {
            let middle = f64::midpoint(low, high);
            if spends(middle)? > epsilon {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(high)
    }
}
