//! Noise for counts.

use rand::{Rng, RngExt as _};

/// Noise for whole numbers: k with a probability proportional to exp(-|k| · epsilon), exactly.
///
/// Canonne, Kamath and Steinke, The Discrete Gaussian for Differential Privacy, 2020, algorithms 1 and 2: there is no
/// arithmetic with fractions in it, whose rounding would tell what the noise hides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DiscreteLaplace {
    /// Epsilon is `over / under`.
    over: u64,
    under: u64,
}

impl DiscreteLaplace {
    /// With an epsilon of `over / under`, both from 1 to 2^32.
    pub(crate) fn new(over: u32, under: u32) -> Self {
        Self { over: u64::from(over.max(1)), under: u64::from(under.max(1)) }
    }

    pub(crate) fn epsilon(self) -> f64 {
        self.over as f64 / self.under as f64
    }

    pub(crate) fn sample(self, random: &mut impl Rng) -> i64 {
        loop {
            let rest = random.random_range(0..self.under);
            if !falls(rest, self.under, random) {
                continue;
            }
            let mut whole = 0_u64;
            while falls(1, 1, random) {
                whole += 1;
            }
            // Neither is near its limit: `whole` is above 64 once in 10^28 times.
            let size = (rest + self.under.saturating_mul(whole)) / self.over;
            let negative = random.random_range(0..2_u8) == 1;
            if negative && size == 0 {
                continue;
            }
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            return if negative { -size } else { size };
        }
    }
}

/// True with a probability of exp(-over / under), for `over` of at most `under`.
fn falls(over: u64, under: u64, random: &mut impl Rng) -> bool {
    let mut at = 1_u64;
    // The chance to go on is less than 1 / at.
    while random.random_range(0..under.saturating_mul(at)) < over {
        at += 1;
    }
    at % 2 == 1
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn it_is_as_probable_as_it_should_be() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for (over, under) in [(1, 2), (3, 2), (1, 10)] {
            let noise = DiscreteLaplace::new(over, under);
            let samples = 200_000;
            let mut counts = std::collections::BTreeMap::<i64, u32>::new();
            for _ in 0..samples {
                *counts.entry(noise.sample(&mut random)).or_default() += 1;
            }
            let ratio = (-noise.epsilon()).exp();
            for value in -3..=3_i64 {
                let expected =
                    (1.0 - ratio) / (1.0 + ratio) * ratio.powi(value.unsigned_abs() as i32);
                let found = f64::from(counts[&value]) / f64::from(samples);
                // Five standard deviations.
                let margin = 5.0 * (expected / f64::from(samples)).sqrt();
                assert!((found - expected).abs() < margin, "{value}: {found} {expected}");
            }
        }
    }
}
