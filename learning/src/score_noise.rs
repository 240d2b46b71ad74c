//! Noise in the scores that leave: how many rows are right, and so the accuracy, is hidden as far as one row goes.
//!
//! The scores for voting and for testing are of different rows, so that a row is in one of them only: both together have
//! the ε of each. One row more right or wrong changes the count by 1; how many rows there are is no secret.

use colearn_contracts::PrivacySegment;
use colearn_dp::{DpError, gaussian_of};
use colearn_sdk::learner::Privacy;
use rand::SeedableRng as _;
use rand::rngs::SysRng;
use rand_chacha::ChaCha12Rng;

use super::data::noise::DiscreteLaplace;
use super::private::Noise;
use super::training::Training;

/// ε is a whole number of these, so that the noise has exactly the one that is counted.
const UNDER: u32 = 1_000_000;

/// Where noise for scores comes from.
#[derive(Clone, Debug)]
pub(super) struct ScoreNoise {
    laplace: DiscreteLaplace,
    random: ChaCha12Rng,
    takes: Privacy,
}

impl ScoreNoise {
    /// The noise that some training asks for, if it does.
    pub(super) fn of(training: &Training) -> Result<Option<Self>, DpError> {
        let Some(epsilon) = training.score_epsilon else { return Ok(None) };
        // Checked to be at most 16; what is less than a millionth is left out, which is more noise.
        let over = (epsilon * f64::from(UNDER)).floor() as u32;
        let laplace = DiscreteLaplace::new(over, UNDER);
        let random = match training.noise_source {
            Noise::Secret => {
                ChaCha12Rng::try_from_rng(&mut SysRng).map_err(|_| DpError::Entropy)?
            }
            Noise::Seeded(seed) => ChaCha12Rng::seed_from_u64(!seed),
        };
        // Rounded against oneself.
        let noise_micros = (gaussian_of(laplace.epsilon())? * 1e6).floor() as u64;
        let segment = PrivacySegment {
            noise_micros,
            clip_micros: 0,
            sampling_nanos: 1_000_000_000,
            steps: 1,
        };
        let takes = Privacy {
            segment,
            delta_picos: (training.delta * 1e12).ceil() as u64,
            max_epsilon_micros: training.epsilon.map(|epsilon| (epsilon * 1e6).floor() as u64),
        };
        Ok(Some(Self { laplace, random, takes }))
    }

    /// What one scoring takes: as a step on all rows.
    pub(super) fn takes(&self) -> Privacy {
        self.takes
    }

    /// An accuracy of so many rows, with noise: again one that so many rows can have.
    pub(super) fn add(&mut self, accuracy: f64, rows: usize) -> f64 {
        // Exact: the accuracy is a whole number over this one.
        let right = (accuracy * rows as f64).round() as i64;
        let noised = right.saturating_add(self.laplace.sample(&mut self.random));
        noised.clamp(0, rows as i64) as f64 / rows.max(1) as f64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn noise(epsilon: f64, source: Noise) -> ScoreNoise {
        let training =
            Training { score_epsilon: Some(epsilon), noise_source: source, ..Training::default() };
        ScoreNoise::of(&training).unwrap().unwrap()
    }

    #[test]
    fn one_row_changes_no_outcome_by_more_than_epsilon() {
        // 20,000 scores of 10 and of 11 right rows of 20: how often each comes out, beside the other.
        let epsilon = 0.5;
        let counts = |right: f64| {
            let mut noise = noise(epsilon, Noise::Seeded(3));
            let mut counts = [0_u32; 21];
            for _ in 0..20_000 {
                counts[(noise.add(right / 20.0, 20) * 20.0).round() as usize] += 1;
            }
            counts
        };
        let (ten, eleven) = (counts(10.0), counts(11.0));
        for (value, (one, other)) in ten.iter().zip(eleven).enumerate() {
            let (one, other) = (f64::from(*one), f64::from(other));
            // Five standard deviations of each count.
            let most = |count: f64| (count + 5.0 * count.sqrt() + 5.0) * epsilon.exp();
            assert!(one <= most(other) && other <= most(one), "{value}: {one} {other}");
        }
        assert!(ten[10] > ten[5] && ten[5] > 0);
    }

    #[test]
    fn it_takes_what_it_lets_through_and_is_nobody_elses() {
        assert!(ScoreNoise::of(&Training::default()).unwrap().is_none());
        let takes = noise(0.5, Noise::Secret).takes().segment;
        assert_eq!(takes.noise_micros, (gaussian_of(0.5).unwrap() * 1e6).floor() as u64);
        let draws = |source| {
            let mut noise = noise(0.1, source);
            (0..20).map(|_| noise.add(0.5, 1000)).collect::<Vec<f64>>()
        };
        assert_ne!(draws(Noise::Secret), draws(Noise::Secret));
        assert_eq!(draws(Noise::Seeded(1)), draws(Noise::Seeded(1)));
        assert!(draws(Noise::Secret).iter().all(|score| (0.0..=1.0).contains(score)));
    }
}
