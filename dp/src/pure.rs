//! Pure differential privacy beside DP-SGD: what has an ε of its own is composed as a step of Gaussian noise.

use super::normal::below;
use super::{DpError, MAX_NOISE, MIN_NOISE};

/// The noise multiplier of a step on all rows (sampling rate 1) that reveals no less than anything with this ε and a δ of 0:
/// σ = 1 / (2 Φ⁻¹(1 / (1 + exp(-ε)))).
///
/// Among all that is ε-differentially private, randomised response is the most revealing (Kairouz, Oh and Viswanath 2015). Its
/// trade-off between the errors of an attacker is two straight lines that meet where both errors are 1 / (1 + exp(ε)); that of the
/// Gaussian is convex, begins and ends where they do, and passes through that point for this σ: it lies below everywhere, so an
/// attacker does no worse (Dong, Roth and Su 2019, arXiv:1905.02383). So many small things compose far below the sum of their ε.
///
/// # Errors
/// If ε is none, or so small or large that the multiplier is out of range.
///
/// ```
/// use colearn_dp::{Segment, epsilon_of, gaussian_of};
/// // A hundred times ε = 0.1 add up to 10, or compose to 5.7 at a delta of 1e-5.
/// let noise = gaussian_of(0.1)?;
/// let all = epsilon_of(&[Segment { noise, sampling: 1.0, steps: 100 }], 1e-5)?;
/// assert!(all > 5.0 && all < 7.0, "{all}");
/// # Ok::<(), colearn_dp::DpError>(())
/// ```
pub fn gaussian_of(epsilon: f64) -> Result<f64, DpError> {
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        return Err(DpError::Epsilon(epsilon));
    }
    // Φ(-z) = 1 / (1 + exp(ε)), in the tail that keeps its digits; z is halved towards.
    let tail = 1.0 / (1.0 + epsilon.exp());
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if below(-middle) > tail {
            low = middle;
        } else {
            high = middle;
        }
    }
    // The larger z is the smaller σ: rounded against oneself.
    let noise = 1.0 / (2.0 * high);
    if (MIN_NOISE..=MAX_NOISE).contains(&noise) {
        Ok(noise)
    } else {
        Err(DpError::Epsilon(epsilon))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Segment, epsilon_of};
    use super::*;

    /// The δ at an ε of a Gaussian with a distance of µ (Balle and Wang 2018).
    fn delta(mu: f64, epsilon: f64) -> f64 {
        below(mu / 2.0 - epsilon / mu) - epsilon.exp() * below(-mu / 2.0 - epsilon / mu)
    }

    #[test]
    fn the_step_reveals_no_less_at_any_epsilon() {
        for epsilon in [0.01_f64, 0.1, 0.5, 1.0, 3.0, 8.0] {
            let mu = 1.0 / gaussian_of(epsilon).unwrap();
            for at in 0..100 {
                let asked = epsilon * f64::from(at) / 100.0;
                // Randomised response with this ε.
                let response = (epsilon.exp() - asked.exp()) / (1.0 + epsilon.exp());
                assert!(delta(mu, asked) >= response - 1e-12, "{epsilon} {asked}");
            }
            // At ε = 0 both are the largest difference there is, and as large: no less noise would do.
            let most = (epsilon.exp() - 1.0) / (epsilon.exp() + 1.0);
            assert!((delta(mu, 0.0) - most).abs() < 1e-9, "{epsilon}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_and_many_compose_below_their_sum() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-6, 1e3] {
            assert!(gaussian_of(wrong).is_err(), "{wrong}");
        }
        let noise = gaussian_of(0.05).unwrap();
        let composed = epsilon_of(&[Segment { noise, sampling: 1.0, steps: 400 }], 1e-5).unwrap();
        assert!(composed < 8.0, "{composed}, not 20");
    }
}
