//! Student's distribution.

use colearn_dp::ln_gamma;

/// The probability that a value of Student's distribution with so many degrees of freedom is at least `t`.
pub(super) fn at_least(t: f64, freedom: f64) -> f64 {
    if t.is_nan() {
        return 1.0;
    }
    let tail = incomplete_beta(freedom / 2.0, 0.5, freedom / (freedom + t * t)) / 2.0;
    if t >= 0.0 { tail } else { 1.0 - tail }
}

/// The regularised incomplete beta function, by its continued fraction (Lentz 1976).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction is quick on this side of the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
    let keep = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / keep(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..500 {
        let m = f64::from(step);
        for numerator in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / keep(1.0 + numerator * d);
            c = keep(1.0 + numerator / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front.exp() * fraction / a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_tables() {
        // Upper 5 % and 0.5 % points, as any table has them.
        for (freedom, five, half) in [
            (1.0, 6.313_752, 63.656_74),
            (4.0, 2.131_847, 4.604_095),
            (30.0, 1.697_261, 2.749_996),
            (1000.0, 1.646_379, 2.580_755),
        ] {
            assert!((at_least(five, freedom) - 0.05).abs() < 1e-6, "{freedom}");
            assert!((at_least(half, freedom) - 0.005).abs() < 1e-6, "{freedom}");
            assert!((at_least(-five, freedom) - 0.95).abs() < 1e-6, "{freedom}");
            assert!((at_least(0.0, freedom) - 0.5).abs() < 1e-12);
        }
        assert_eq!(at_least(f64::INFINITY, 5.0), 0.0);
        assert_eq!(at_least(f64::NEG_INFINITY, 5.0), 1.0);
    }
}
