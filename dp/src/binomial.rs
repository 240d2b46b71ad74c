//! The binomial distribution: exact tails, and what a count says of a probability.

/// The probability of at least `count` successes in `trials`, each of which succeeds with `probability`.
///
/// ```
/// use colearn_dp::binomial::at_least;
/// assert!((at_least(2, 3, 0.5) - 0.5).abs() < 1e-12);
/// assert_eq!((at_least(0, 3, 0.1), at_least(4, 3, 0.9)), (1.0, 0.0));
/// ```
pub fn at_least(count: u64, trials: u64, probability: f64) -> f64 {
    if count == 0 {
        return 1.0;
    }
    if count > trials || probability <= 0.0 {
        return 0.0;
    }
    if probability >= 1.0 {
        return 1.0;
    }
    // Away from the mean terms only become smaller, so each tail is summed from its largest on.
    if count as f64 > trials as f64 * probability {
        upper_tail(count, trials, probability)
    } else {
        (1.0 - upper_tail(trials - count + 1, trials, 1.0 - probability)).max(0.0)
    }
}

/// The logarithm of the gamma function, of a positive number.
pub fn ln_gamma(of: f64) -> f64 {
    libm::lgamma(of)
}

/// The probability of exactly `count` successes.
pub fn exactly(count: u64, trials: u64, probability: f64) -> f64 {
    if count > trials {
        return 0.0;
    }
    if probability <= 0.0 {
        return f64::from(u8::from(count == 0));
    }
    if probability >= 1.0 {
        return f64::from(u8::from(count == trials));
    }
    let (k, n) = (count as f64, trials as f64);
    let ways = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    (ways + k * probability.ln() + (n - k) * (-probability).ln_1p()).exp()
}

fn upper_tail(count: u64, trials: u64, probability: f64) -> f64 {
    let mut term = exactly(count, trials, probability);
    let mut sum = term;
    let odds = probability / (1.0 - probability);
    for at in count..trials {
        term *= (trials - at) as f64 / (at + 1) as f64 * odds;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum.min(1.0)
}

/// The least probability that so many successes do not refute at this confidence, one-sided (Clopper and Pearson
/// 1934): in at most `1 - confidence` of all cases it is above the true one.
///
/// ```
/// use colearn_dp::binomial::lowest;
/// // The rule of three, the other way round: of 100 none failed.
/// assert!((lowest(100, 100, 0.95) - 0.05_f64.powf(0.01)).abs() < 1e-9);
/// assert_eq!(lowest(0, 100, 0.95), 0.0);
/// ```
pub fn lowest(successes: u64, trials: u64, confidence: f64) -> f64 {
    if successes == 0 {
        return 0.0;
    }
    // The tail rises with the probability.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_least(successes, trials, middle) > 1.0 - confidence {
            high = middle;
        } else {
            low = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_definition() {
        // 10 trials at 0.3, by hand: sums of C(10, k) 0.3^k 0.7^(10-k).
        let choose = [1.0, 10.0, 45.0, 120.0, 210.0, 252.0, 210.0, 120.0, 45.0, 10.0, 1.0];
        for count in 0..=10_u64 {
            let term = |k: u64| {
                let (k, at) = (k as i32, k as usize);
                choose[at] * 0.3_f64.powi(k) * 0.7_f64.powi(10 - k)
            };
            let expected: f64 = (count..=10).map(term).sum();
            assert!((at_least(count, 10, 0.3) - expected).abs() < 1e-12, "{count}");
            assert!((exactly(count, 10, 0.3) - term(count)).abs() < 1e-12, "{count}");
        }
        assert_eq!((exactly(0, 5, 0.0), exactly(5, 5, 1.0), exactly(6, 5, 0.5)), (1.0, 1.0, 0.0));
        // Far from the mean nothing is lost, and of many trials nothing overflows.
        let tiny = at_least(900, 1000, 0.5);
        assert!(tiny > 0.0 && tiny < 1e-150, "{tiny}");
        assert!((at_least(500_000, 1_000_000, 0.5) - 0.5).abs() < 1e-3);
        assert!((at_least(100, 1000, 0.5) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_lowest_probability_is_that_of_clopper_and_pearson() {
        // By sums of exact binomial coefficients, in Python's integers.
        assert!((lowest(45, 100, 0.95) - 0.365_162_290_194_25).abs() < 1e-9);
        // What it refutes is refuted.
        for (successes, trials) in [(1, 10), (7, 10), (500, 900)] {
            let low = lowest(successes, trials, 0.9);
            assert!((at_least(successes, trials, low) - 0.1).abs() < 1e-6);
        }
    }
}
