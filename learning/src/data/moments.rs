//! How many numbers there are, their mean, and how far they are from it.

use serde::{Deserialize, Serialize};

/// How many numbers there are, their mean and their standard deviation.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// How many.
    pub count: u64,
    /// Their mean; 0 of none.
    pub mean: f64,
    /// The root of the mean square of their distances from it.
    pub deviation: f64,
}

impl Moments {
    /// Of some numbers.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        // Welford's recurrence: one pass, no cancellation.
        let (mut mean, mut squares, mut count) = (0.0, 0.0, 0_u64);
        for value in values {
            count += 1;
            let offset = value - mean;
            mean += offset / count as f64;
            squares += offset * (value - mean);
        }
        let deviation = (squares / f64::max(count as f64, 1.0)).sqrt();
        Self { count, mean, deviation }
    }

    /// Of these numbers and others.
    ///
    /// Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance, 1983.
    pub fn with(self, other: Self) -> Self {
        let count = self.count.saturating_add(other.count);
        if count == 0 {
            return Self::default();
        }
        let part = other.count as f64 / count as f64;
        let offset = other.mean - self.mean;
        let own = self.deviation.powi(2) * (1.0 - part);
        let theirs = other.deviation.powi(2) * part;
        let between = offset.powi(2) * part * (1.0 - part);
        let mean = self.mean + offset * part;
        Self { count, mean, deviation: (own + theirs + between).sqrt() }
    }

    /// To six digits, so that it reads well and survives any JSON library.
    pub fn rounded(self) -> Self {
        Self { count: self.count, mean: round(self.mean), deviation: round(self.deviation) }
    }

    /// What is subtracted from such numbers, and what divides what is left. Of numbers that are all the same, 1.
    pub fn mean_and_scale(self) -> (f64, f64) {
        let Self { mean, deviation, .. } = self.rounded();
        (mean, if deviation > 0.0 && deviation.is_finite() { deviation } else { 1.0 })
    }
}

/// Six significant digits.
fn round(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_tell_what_the_whole_does() {
        let values: Vec<f64> = (0..100).map(|it| f64::from(it * it % 37) + 1e6).collect();
        let whole = Moments::of(values.iter().copied());
        let parts = [&values[..1], &values[1..40], &[], &values[40..]];
        let merged = parts
            .iter()
            .fold(Moments::default(), |all, part| all.with(Moments::of(part.iter().copied())));
        assert_eq!(merged.count, 100);
        assert!((merged.mean - whole.mean).abs() < 1e-6, "{merged:?} {whole:?}");
        assert!((merged.deviation - whole.deviation).abs() < 1e-6, "{merged:?} {whole:?}");
        assert_eq!(Moments::of([3.0, 3.0].into_iter()).mean_and_scale(), (3.0, 1.0));
        assert_eq!(Moments::default().mean_and_scale(), (0.0, 1.0));
    }
}
