//! Accounting by the privacy loss distribution: tight to its discretisation, and rounded upwards.
//!
//! For two neighbouring data sets a step gives outputs distributed as P and Q, and the privacy loss
//! of an output is ln(P/Q). Its distribution under P says everything about (ε, δ):
//! δ(ε) = E\[(1 − exp(ε − loss))⁺\], and losses of several steps add up (Sommer, Meiser and
//! Mohammadi 2019).
//!
//! The distribution of one step is put on an evenly spaced grid by "connecting the dots" (Doroshenko
//! et al. 2022, arXiv:2207.04380): what lies between two grid points is moved to both so that its
//! mass under P and under Q stay what they are. That can only raise δ(ε), and only by the square of
//! the spacing. Composition is a power of the Fourier transform on a window that holds all but
//! `TAIL` of the mass by Chernoff's bound; what may fall outside is added to δ.

use realfft::RealFftPlanner;

use super::normal::{below, mass};
use super::{Mechanism, Steps, rdp};

/// The mass that the window may miss at either end; added to δ.
const TAIL: f64 = 1e-13;
/// Outputs further than this many standard deviations out are counted as a loss of infinity.
const REACH: f64 = 10.0;
/// The most points in a window.
const MAX_POINTS: usize = 1 << 21;
/// The finest and the coarsest grid, where ε is not small.
const SPACING: std::ops::RangeInclusive<f64> = 1e-4..=5e-3;
/// Where it is, a step's share of ε has so many points: with fewer, what the grid adds to each step would
/// be as much as the step itself.
const POINTS_OF_STEP: f64 = 50.0;
/// How many times as coarse a quick grid is.
const QUICK: f64 = 10.0;
/// So many settings are always composed on the finest grid,
const FEW: usize = 8;
/// and more where all their grids together have no more points: 64 settings of 1,000 steps have 17 million and
/// take eight seconds, on the quick grid half of one.
const MANY_POINTS: f64 = 500_000.0;

/// Which of the two data sets has the example. Neither direction is always the worse.
#[derive(Clone, Copy)]
enum Direction {
    Remove,
    Add,
}

/// The ε of some steps at `delta`, the larger of both directions. At least 0.
pub fn epsilon(steps: &[Steps], delta: f64) -> f64 {
    epsilon_on(steps, delta, spacing(steps, rdp::epsilon(steps, delta)))
}

/// The same, for who knows about how much it is: that says how fine the grid has to be. Where many settings
/// would take seconds, as of [`quick_epsilon`].
pub(super) fn epsilon_about(steps: &[Steps], delta: f64, about: f64) -> f64 {
    let spacing = spacing(steps, about);
    let takes_long = steps.len() > FEW && steps.len() as f64 * about / spacing > MANY_POINTS;
    epsilon_on(steps, delta, if takes_long { QUICK * spacing } else { spacing })
}

/// An upper bound of the same, for who only has to know that a figure is high enough. Where [`epsilon`] takes
/// long it costs a tenth, and is less than a hundredth above it.
pub fn quick_epsilon(steps: &[Steps], delta: f64) -> f64 {
    epsilon_on(steps, delta, QUICK * spacing(steps, rdp::epsilon(steps, delta)))
}

/// The spacing of the grid for some steps that have about this ε: the error grows with the number of steps
/// and the square of the spacing.
fn spacing(steps: &[Steps], about: f64) -> f64 {
    let count = steps.iter().map(|steps| steps.count as f64).sum::<f64>().max(1.0).sqrt();
    let reach = steps.iter().map(|steps| span(steps.mechanism)).fold(0.0, f64::max);
    let usual = (0.02 / count).clamp(*SPACING.start(), *SPACING.end());
    let fine = about / (POINTS_OF_STEP * count);
    usual.min(fine.max(reach / MAX_POINTS as f64))
}

/// The same on a grid of this spacing.
fn epsilon_on(steps: &[Steps], delta: f64, spacing: f64) -> f64 {
    let steps: Vec<Steps> = steps.iter().copied().filter(|steps| steps.count > 0).collect();
    if steps.is_empty() {
        return 0.0;
    }
    let remove = composed_epsilon(&steps, delta, spacing, Direction::Remove);
    if steps.iter().all(|steps| steps.mechanism.sampling_rate == 1.0) {
        // Without sampling the two directions are mirror images.
        return remove;
    }
    remove.max(composed_epsilon(&steps, delta, spacing, Direction::Add))
}

/// A distribution on the multiples of a spacing, and what is infinite.
struct Losses {
    /// The index of the first mass.
    first: i64,
    masses: Vec<f64>,
    infinite: f64,
}

fn composed_epsilon(steps: &[Steps], delta: f64, mut spacing: f64, direction: Direction) -> f64 {
    let reach = steps.iter().map(|steps| span(steps.mechanism)).fold(0.0, f64::max);
    // Coarser until the window is small enough. One step's losses must fit in memory too.
    loop {
        if reach / spacing > 4.0 * MAX_POINTS as f64 {
            spacing = reach / (4.0 * MAX_POINTS as f64);
        }
        let single: Vec<(Losses, u64)> = steps
            .iter()
            .map(|steps| (discretise(steps.mechanism, spacing, direction), steps.count))
            .collect();
        let (low, high) = window(&single, spacing);
        let points = (high - low + 1).unsigned_abs() as usize;
        if points > MAX_POINTS {
            // A little more, so that rounding does not ask for another try.
            spacing *= points as f64 / MAX_POINTS as f64 * 1.01;
            continue;
        }
        let size = points.next_power_of_two();
        let composed = compose(&single, low, size);
        return solve(&composed, spacing, delta);
    }
}

/// How far the finite losses of a step reach, together on both sides.
fn span(mechanism: Mechanism) -> f64 {
    let sigma = mechanism.noise_multiplier;
    2.0 * loss(mechanism, 1.0 + REACH * sigma).abs().max(loss(mechanism, -REACH * sigma).abs())
}

/// ln(1 − q + q·exp((2z − 1) / 2σ²)): the loss of output z when the example is removed.
fn loss(mechanism: Mechanism, z: f64) -> f64 {
    let (sigma, q) = (mechanism.noise_multiplier, mechanism.sampling_rate);
    let exponent = (2.0 * z - 1.0) / (2.0 * sigma * sigma);
    if q == 1.0 {
        exponent
    } else if exponent > 30.0 {
        q.ln() + exponent + ((1.0 - q) / q * (-exponent).exp()).ln_1p()
    } else {
        (q * exponent.exp_m1()).ln_1p()
    }
}

/// The z whose [`loss`] this is; minus infinity where none is that low.
fn output(mechanism: Mechanism, loss: f64) -> f64 {
    let (sigma, q) = (mechanism.noise_multiplier, mechanism.sampling_rate);
    let exponent = if q == 1.0 {
        loss
    } else if loss > 30.0 {
        loss - q.ln() + (-(1.0 - q) * (-loss).exp()).ln_1p()
    } else {
        let ratio = loss.exp_m1() / q;
        if ratio <= -1.0 {
            return f64::NEG_INFINITY;
        }
        ratio.ln_1p()
    };
    sigma * sigma * exponent + 0.5
}

/// One step's losses on the grid.
fn discretise(mechanism: Mechanism, spacing: f64, direction: Direction) -> Losses {
    let (sigma, q) = (mechanism.noise_multiplier, mechanism.sampling_rate);
    let (low_z, high_z) = (-REACH * sigma, 1.0 + REACH * sigma);
    let without = |low: f64, high: f64| mass(low / sigma, high / sigma);
    let with = |low: f64, high: f64| {
        let shifted = mass((low - 1.0) / sigma, (high - 1.0) / sigma);
        if q == 1.0 { shifted } else { (1.0 - q) * without(low, high) + q * shifted }
    };
    let (low_loss, high_loss) = match direction {
        Direction::Remove => (loss(mechanism, low_z), loss(mechanism, high_z)),
        Direction::Add => (-loss(mechanism, high_z), -loss(mechanism, low_z)),
    };
    let first = (low_loss / spacing).floor() as i64;
    let last = (high_loss / spacing).ceil() as i64;
    let mut masses = vec![0.0; (last - first + 1) as usize];
    // 1 − exp(−spacing).
    let step = -(-spacing).exp_m1();
    let at = |index: i64| match direction {
        Direction::Remove => output(mechanism, index as f64 * spacing),
        Direction::Add => output(mechanism, -(index as f64) * spacing),
    };
    let mut left = at(first);
    for index in first..last {
        let right = at(index + 1);
        let (under_p, under_q) = match direction {
            Direction::Remove => (with(left, right), without(left, right)),
            Direction::Add => (without(right, left), with(right, left)),
        };
        // What goes to the right end so that P's and Q's masses are both kept.
        let scaled_q = under_q * (index as f64 * spacing).exp();
        let to_right = ((under_p - scaled_q) / step).clamp(0.0, under_p);
        let slot = (index - first) as usize;
        masses[slot] += under_p - to_right;
        masses[slot + 1] += to_right;
        left = right;
    }
    // Below the grid: at its first point. Above: infinite.
    let (lowest, highest) = (at(first), at(last));
    let (under, infinite) = match direction {
        Direction::Remove => (with(f64::NEG_INFINITY, lowest), with(highest, f64::INFINITY)),
        Direction::Add => (1.0 - below(lowest / sigma), below(highest / sigma)),
    };
    masses[0] += under;
    Losses { first, masses, infinite }
}

/// The indices between which the sum of all steps lies, but for [`TAIL`] on either side.
fn window(single: &[(Losses, u64)], spacing: f64) -> (i64, i64) {
    let extreme = |pick: fn(&Losses) -> i64| {
        single.iter().fold(0_i64, |sum, (losses, count)| {
            sum.saturating_add(
                pick(losses).saturating_mul(i64::try_from(*count).unwrap_or(i64::MAX)),
            )
        })
    };
    let lowest = extreme(|losses| losses.first);
    let highest = extreme(|losses| losses.first + losses.masses.len() as i64 - 1);
    // Chernoff: P(S ≥ u) ≤ exp(K(t) − tu) with K the logarithm of the moment generating function.
    let bound = |sign: f64| {
        let mut best = f64::INFINITY;
        let mut t = 1e-4;
        while t < 1e4 {
            let mut exponent = -TAIL.ln();
            for (losses, count) in single {
                exponent += *count as f64 * log_moment(losses, sign * t * spacing);
            }
            best = best.min(exponent / t);
            t *= 1.25;
        }
        best
    };
    let high = (bound(1.0) / spacing).ceil();
    let low = -(bound(-1.0) / spacing).ceil();
    (lowest.max(low as i64), highest.min(high as i64))
}

/// ln Σ p·exp(t·index).
fn log_moment(losses: &Losses, t: f64) -> f64 {
    // From the end whose terms grow, so that nothing overflows: each term as it is to the largest power.
    let (first, masses) = (losses.first, &losses.masses);
    if t >= 0.0 {
        log_sum(masses.iter().rev(), t, (first + masses.len() as i64 - 1) as f64)
    } else {
        log_sum(masses.iter(), -t, -first as f64)
    }
}

/// ln Σ p·exp(t·power) where the powers begin with this one and fall by one; `t` is at least 0.
fn log_sum<'a>(masses: impl Iterator<Item = &'a f64>, t: f64, mut power: f64) -> f64 {
    // Numbers as small as this are slow, and smaller ones nothing.
    const SMALL: f64 = 1e-280;
    let factor = (-t).exp();
    let (mut sum, mut scale) = (0.0, 1.0);
    let mut down = 0.0;
    for p in masses {
        sum += p * scale;
        scale *= factor;
        down += 1.0;
        if scale < SMALL {
            // All the others together are at most this.
            if sum > 0.0 && scale <= sum * f64::EPSILON {
                break;
            }
            (sum, scale) = (if sum > 0.0 { sum / scale } else { 0.0 }, 1.0);
            (power, down) = (power - down, 0.0);
        }
    }
    sum.ln() + t * power
}

/// The sum of all steps on the window of `size` points from `low` on.
fn compose(single: &[(Losses, u64)], low: i64, size: usize) -> Losses {
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, backward) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
    let mut product = forward.make_output_vec();
    product.fill(1.0.into());
    let mut finite_log = 0.0;
    let mut shift = 0_i128;
    for (losses, count) in single {
        let mut input = forward.make_input_vec();
        let total: f64 = losses.masses.iter().sum();
        for (at, p) in losses.masses.iter().enumerate() {
            // Normalised, so that the power of many steps neither grows nor vanishes.
            input[at % size] += p / total;
        }
        finite_log += *count as f64 * (-losses.infinite).ln_1p();
        let mut spectrum = forward.make_output_vec();
        // The lengths are the plan's own.
        if forward.process(&mut input, &mut spectrum).is_err() {
            continue;
        }
        let power = *count as f64;
        for (product, value) in product.iter_mut().zip(&spectrum) {
            let (norm, angle) = value.to_polar();
            *product *= realfft::num_complex::Complex::from_polar(norm.powf(power), angle * power);
        }
        shift += i128::from(losses.first) * i128::from(*count);
    }
    // A real signal's first and last bins are real; rounding may have left something there.
    if let Some(bin) = product.first_mut() {
        bin.im = 0.0;
    }
    if let Some(bin) = product.last_mut() {
        bin.im = 0.0;
    }
    let mut output = backward.make_output_vec();
    let failed = backward.process(&mut product, &mut output).is_err();
    let finite = if failed { 0.0 } else { finite_log.exp() };
    // Index i of the cyclic result stands for the sum `shift + i` modulo the size.
    let offset = (i128::from(low) - shift).rem_euclid(size as i128) as usize;
    output.rotate_left(offset);
    let scale = finite / size as f64;
    let masses = output.into_iter().map(|p| (p * scale).max(0.0)).collect();
    Losses { first: low, masses, infinite: (1.0 - finite).max(0.0) + 2.0 * TAIL }
}

/// The least ε ≥ 0 with δ(ε) ≤ `delta`.
fn solve(losses: &Losses, spacing: f64, delta: f64) -> f64 {
    if losses.infinite > delta {
        return f64::INFINITY;
    }
    // From the top: the mass at or above a grid point, and the same weighted by exp(point − loss).
    let (mut above, mut weighted) = (0.0, 0.0);
    let factor = (-spacing).exp();
    for (at, p) in losses.masses.iter().enumerate().rev() {
        above += p;
        weighted = weighted * factor + p;
        let point = (losses.first + at as i64) as f64 * spacing;
        // δ just below this point's left neighbour.
        let left = losses.infinite + above - weighted * factor;
        if left > delta || point <= 0.0 {
            // Between the neighbour and this point δ(ε) = infinite + above − exp(ε − point)·weighted.
            let needed = (losses.infinite + above - delta) / weighted;
            return if needed <= 0.0 { 0.0 } else { (point + needed.ln()).max(0.0) };
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_that_of_its_terms_however_far_apart_they_are() {
        let masses = |count: usize, at: &[(usize, f64)]| {
            let mut masses = vec![0.0; count];
            at.iter().for_each(|(at, p)| masses[*at] = *p);
            Losses { first: -7, masses, infinite: 0.0 }
        };
        let spread = masses(20_000, &[(0, 0.25), (9_000, 0.5), (19_000, 0.25)]);
        let usual = Losses { first: 3, masses: vec![1e-3; 1_000], infinite: 0.0 };
        for losses in [spread, usual, masses(3, &[(1, 1e-300)])] {
            for t in [0.0, 1e-6, 0.01, 0.3, 5.0, 1e3, 1e7] {
                for t in [t, -t] {
                    let terms = || {
                        let terms = losses.masses.iter().zip(losses.first..);
                        terms.filter(|(p, _)| **p > 0.0).map(|(p, at)| p.ln() + t * at as f64)
                    };
                    let most = terms().fold(f64::NEG_INFINITY, f64::max);
                    let expected = most + terms().map(|it| (it - most).exp()).sum::<f64>().ln();
                    let found = log_moment(&losses, t);
                    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{t}");
                }
            }
        }
    }
}
