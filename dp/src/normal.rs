//! The normal distribution, accurate in both tails.

use std::f64::consts::SQRT_2;

/// The probability that a standard normal lies in `low..high`; either may be infinite.
pub(super) fn mass(low: f64, high: f64) -> f64 {
    // In the upper tail both values are near 1 and their difference would lose its digits.
    let difference = if low > 0.0 { below(-low) - below(-high) } else { below(high) - below(low) };
    difference.max(0.0)
}

/// The probability that a standard normal is below `z`.
pub(super) fn below(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}
