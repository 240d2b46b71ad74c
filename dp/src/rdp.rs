//! Accounting by Rényi differential privacy (Mironov 2017, arXiv:1702.07476).
//!
//! With N the noise alone, at one example's gradient 0 and with it 1 (in units of the clipping norm),
//! and r(z) = 1 − q + q·exp((2z − 1) / 2σ²) the ratio of densities, one step has the Rényi divergence
//! of order α
//!
//! RDP(α) = ln(E\[r(z)^α\]) / (α − 1), z ~ N(0, σ²)
//!
//! (Mironov, Talwar and Zhang 2019, arXiv:1908.10530: of the two directions this is the larger.)
//! Divergences of several steps add up, and ε = min over α of
//! RDP(α) + ln(1 − 1/α) − ln(δα) / (α − 1) (Canonne, Kamath and Steinke 2020, arXiv:2004.00010,
//! proposition 12).
//!
//! For integer α the expectation is a finite sum. For others it is integrated numerically; the series
//! in common use cuts off too early at small orders. Both compute E\[r^α\] − 1 without subtracting, so
//! that divergences far below the machine's precision are right too.

use super::{Mechanism, Steps};

/// The orders that are tried: 1.1, 1.2 .. 10.9, 11 .. 63, 128, 256, 512, 1024.
pub fn orders() -> Vec<f64> {
    let fractional = (11..110).map(|tenths| f64::from(tenths) / 10.0);
    let integer = (11..64).chain([128, 256, 512, 1024]).map(f64::from);
    fractional.chain(integer).collect()
}

/// The Rényi divergence of order `alpha` > 1 of one step.
pub fn step(mechanism: Mechanism, alpha: f64) -> f64 {
    let (sigma, q) = (mechanism.noise_multiplier, mechanism.sampling_rate);
    if q == 1.0 {
        return alpha / (2.0 * sigma * sigma);
    }
    let log_excess = if alpha.fract() == 0.0 && alpha <= 1e6 {
        log_excess_sum(sigma, q, alpha as u32)
    } else {
        log_excess_integral(sigma, q, alpha)
    };
    log1p_exp(log_excess) / (alpha - 1.0)
}

/// The ε of some steps at `delta`, over [`orders`]. At least 0.
pub fn epsilon(steps: &[Steps], delta: f64) -> f64 {
    if steps.iter().all(|steps| steps.count == 0) {
        return 0.0;
    }
    let of_order = |alpha: f64| {
        let spent: f64 =
            steps.iter().map(|steps| steps.count as f64 * step(steps.mechanism, alpha)).sum();
        spent + (-1.0 / alpha).ln_1p() - (delta * alpha).ln() / (alpha - 1.0)
    };
    orders().into_iter().map(of_order).fold(f64::INFINITY, f64::min).max(0.0)
}

/// ln(E\[r^α\] − 1) for integer α: the binomial sum over k of C(α, k) (1−q)^(α−k) q^k
/// (exp((k² − k) / 2σ²) − 1). Its terms for k of 0 and 1 vanish, and the others are positive.
fn log_excess_sum(sigma: f64, q: f64, alpha: u32) -> f64 {
    let n = f64::from(alpha);
    let mut log_binomial = n.ln();
    let mut terms = Vec::with_capacity(alpha as usize);
    for k in 2..=alpha {
        let k = f64::from(k);
        log_binomial += (n - k + 1.0).ln() - k.ln();
        let exponent = (k * k - k) / (2.0 * sigma * sigma);
        let log_growth = log_expm1(exponent);
        terms.push(log_binomial + (n - k) * (-q).ln_1p() + k * q.ln() + log_growth);
    }
    log_sum(&terms)
}

/// ln(E\[r^α\] − 1) for any α > 1, by the trapezoidal rule, which converges geometrically for a
/// function that is analytic in a strip around the real line (Trefethen and Weideman 2014). Since
/// E\[r\] = 1, r^α − 1 − α(r − 1) has the same expectation as r^α − 1, and is never negative.
fn log_excess_integral(sigma: f64, q: f64, alpha: f64) -> f64 {
    let variance = sigma * sigma;
    // r vanishes at a distance of πσ² from the real line, and the Gaussian wants steps below σ.
    let width = sigma.min(variance) / 8.0;
    // The integrand's modes are near 0 and near α; both have tails like the noise's.
    let (low, high) = (-40.0 * sigma, alpha + 40.0 * sigma);
    let count = ((high - low) / width).ceil() as usize;
    let log_q = q.ln();
    let terms: Vec<f64> = (0..=count)
        .map(|i| {
            let z = low + width * i as f64;
            let exponent = (2.0 * z - 1.0) / (2.0 * variance);
            let log_density = -z * z / (2.0 * variance);
            // u = r − 1; where it is large only its logarithm can be had.
            let log_value = if exponent + log_q > 30.0 {
                alpha * (log_q + exponent + ((1.0 - q) / q * (-exponent).exp()).ln_1p())
            } else {
                bernoulli_excess(q * exponent.exp_m1(), alpha).ln()
            };
            log_density + log_value
        })
        .collect();
    log_sum(&terms) + width.ln() - (std::f64::consts::TAU * variance).ln() / 2.0
}

/// (1 + u)^α − 1 − αu for u > −1, without cancellation for small u.
fn bernoulli_excess(u: f64, alpha: f64) -> f64 {
    if (alpha * u).abs() > 0.1 || u.abs() > 0.1 {
        return (alpha * u.ln_1p()).exp_m1() - alpha * u;
    }
    // The binomial series from its third term on.
    let mut term = alpha * (alpha - 1.0) / 2.0 * u * u;
    let mut sum = 0.0;
    let mut k = 2.0;
    while term.abs() > sum * 1e-18 {
        sum += term;
        term *= (alpha - k) / (k + 1.0) * u;
        k += 1.0;
    }
    sum
}

/// ln(exp(x) − 1) for x > 0.
fn log_expm1(x: f64) -> f64 {
    if x > 30.0 { x + (-(-x).exp()).ln_1p() } else { x.exp_m1().ln() }
}

/// ln(1 + exp(x)).
fn log1p_exp(x: f64) -> f64 {
    if x > 30.0 { x + (-x).exp() } else { x.exp().ln_1p() }
}

/// ln of the sum of exp(terms).
fn log_sum(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
}
