//! Training with differential privacy: DP-SGD (Abadi et al. 2016, arXiv:1607.00133).

use colearn_contracts::PrivacySegment;
use rand::rngs::SysRng;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use rand_distr::{Distribution as _, Geometric, StandardNormal};
use rayon::prelude::*;

use super::data::Dataset;
use super::network::{Layer, Network, Workspace};
use colearn_dp::{DpError, Mechanism};
use colearn_sdk::learner;

/// Weights that get their noise from one stream.
const PIECE: usize = 1 << 14;

/// How training is kept private.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Privacy {
    /// The noise's standard deviation over the clipping norm.
    pub noise_multiplier: f64,
    /// The L2 norm to which each example's gradient is clipped.
    pub clip: f64,
    /// The δ that ε is stated for.
    pub delta: f64,
    /// The ε at which this learner stops proposing; `None` for no limit of its own.
    pub budget: Option<f64>,
    /// Where the noise comes from.
    pub noise: Noise,
}

/// Where the noise comes from.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Noise {
    /// The operating system's entropy: private.
    #[default]
    Secret,
    /// A seed: repeatable, for simulations. Whoever knows the seed can take the noise away.
    Seeded(u64),
}

/// Gradients with noise, and what they take. It counts nothing: whoever drives the learner does
/// ([`colearn_sdk::spending`]).
#[derive(Clone, Debug)]
pub struct DpSgd {
    privacy: Privacy,
    mechanism: Mechanism,
    /// The batch's expected size.
    batch: usize,
    random: ChaCha12Rng,
}

impl DpSgd {
    /// For batches of `batch` of so many rows on average.
    ///
    /// # Errors
    /// If the noise or δ is out of range, or there is no entropy.
    pub fn new(privacy: Privacy, batch: usize, rows: usize) -> Result<Self, DpError> {
        let sampling_rate = (batch as f64 / rows.max(1) as f64).min(1.0);
        let mechanism = Mechanism::new(privacy.noise_multiplier, sampling_rate)?;
        // Told now rather than in the learner's first turn.
        colearn_dp::check_delta(privacy.delta)?;
        let random = match privacy.noise {
            // Without entropy there is no privacy to be had: the process stops.
            Noise::Secret => {
                ChaCha12Rng::try_from_rng(&mut SysRng).map_err(|_| DpError::Entropy)?
            }
            Noise::Seeded(seed) => ChaCha12Rng::seed_from_u64(seed),
        };
        Ok(Self { privacy, mechanism, batch, random })
    }

    /// What so many steps take, rounded against oneself.
    pub fn takes(&self, steps: u64) -> learner::Privacy {
        // The casts saturate.
        let up = |value: f64, unit: f64| (value * unit).ceil() as u64;
        let down = |value: f64| (value * 1e6).floor() as u64;
        let segment = PrivacySegment {
            noise_micros: down(self.privacy.noise_multiplier),
            clip_micros: up(self.privacy.clip, 1e6),
            sampling_nanos: up(self.mechanism.sampling_rate(), 1e9).min(1_000_000_000),
            steps,
        };
        learner::Privacy {
            segment,
            delta_picos: up(self.privacy.delta, 1e12),
            max_epsilon_micros: self.privacy.budget.map(down),
        }
    }

    /// Draws each row with the sampling probability, independently: by the number of rows passed over
    /// before the next one, which is geometrically distributed.
    fn draw(&mut self, rows: &[usize]) -> Vec<usize> {
        let mut batch = Vec::new();
        // The rate is above 0 and at most 1.
        let Ok(gap) = Geometric::new(self.mechanism.sampling_rate()) else { return batch };
        let mut next = gap.sample(&mut self.random);
        while let Some(row) = usize::try_from(next).ok().and_then(|at| rows.get(at)) {
            batch.push(*row);
            next = next.saturating_add(1).saturating_add(gap.sample(&mut self.random));
        }
        batch
    }

    /// Computes the noisy mean gradient of one step into the workspace, over a batch that each of
    /// `rows` is in with the sampling probability, independently. The sum is divided by the batch's
    /// nominal size, since its real size is private.
    pub fn gradient(
        &mut self,
        network: &Network,
        data: &Dataset,
        rows: &[usize],
        workspace: &mut Workspace,
    ) {
        let batch = self.draw(rows);
        let clip = self.privacy.clip as f32;
        network.clipped_gradient(data.view(), &data.targets, &batch, clip, workspace);
        let deviation = (self.privacy.noise_multiplier * self.privacy.clip) as f32;
        let size = self.batch.max(1) as f32;
        // One normal for each weight is most of a step's work, so it is spread over the cores: a key
        // of its own for the step, and a stream of that key for each piece.
        let mut key = [0; 32];
        self.random.fill_bytes(&mut key);
        let slices = workspace.gradients.iter_mut().flat_map(Layer::slices_mut);
        let pieces: Vec<&mut [f32]> = slices.flat_map(|slice| slice.chunks_mut(PIECE)).collect();
        pieces.into_par_iter().enumerate().for_each(|(at, piece)| {
            let mut random = ChaCha12Rng::from_seed(key);
            random.set_stream(at as u64);
            for value in piece {
                let noise: f32 = StandardNormal.sample(&mut random);
                *value = (*value + deviation * noise) / size;
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_dp::{Accountant, Steps};
    use ndarray::Array2;

    use super::super::data::{Column, Schema, Target, Targets};
    use super::super::model::Activation;
    use super::*;

    const TRIALS: usize = 4000;
    const DELTA: f64 = 1e-5;

    /// Twenty ordinary rows and, last, a canary: its gradient is far above the clipping norm and
    /// points where nobody else's does.
    fn data() -> Dataset {
        let width = 12;
        let mut features = Array2::<f32>::zeros((21, width));
        for row in 0..20 {
            features[[row, row % (width - 1)]] = 0.5;
        }
        features[[20, width - 1]] = 50.0;
        Dataset {
            name: "canary".to_owned(),
            schema: Schema {
                features: vec![Column::Block { name: "x".into(), width, mean: 0.0, scale: 1.0 }],
                target: Target::Class { name: "y".into(), classes: vec!["0".into(), "1".into()] },
            },
            features: features.into_shared(),
            targets: Targets::Classes((0..21).map(|row| row % 2).collect()),
            test_from: 21,
            notes: Vec::new(),
        }
    }

    /// What an attacker who knows everything but whether the canary was there sees of single steps:
    /// the noisy sums along the canary's gradient, in units of the clipping norm.
    fn sample(noise_multiplier: f64, batch: usize, with_canary: bool) -> Vec<f64> {
        let data = data();
        let rows: Vec<usize> = (0..if with_canary { 21 } else { 20 }).collect();
        let privacy = Privacy {
            noise_multiplier,
            clip: 0.5,
            delta: DELTA,
            budget: None,
            noise: Noise::Seeded(u64::from(with_canary)),
        };
        let network = Network::new(&[12, 2], Activation::Relu, true, 3);
        let mut canary = Workspace::default();
        network.clipped_gradient(data.view(), &data.targets, &[20], 0.5, &mut canary);
        let mut sgd = DpSgd::new(privacy, batch, rows.len()).unwrap();
        let mut observe = |_| {
            let mut workspace = Workspace::default();
            sgd.gradient(&network, &data, &rows, &mut workspace);
            let pairs = workspace.gradients.iter().zip(&canary.gradients);
            let along = pairs
                .flat_map(|(a, b)| a.slices().concat().into_iter().zip(b.slices().concat()))
                .map(|(a, b)| f64::from(a) * f64::from(b))
                .sum::<f64>();
            along * batch as f64 / 0.25
        };
        (0..TRIALS).map(&mut observe).collect()
    }

    /// The upper end of a 99.9 % confidence interval of a probability (Wilson score).
    fn upper(hits: usize) -> f64 {
        let (n, z) = (TRIALS as f64, 3.29);
        let p = hits as f64 / n;
        let middle = p + z * z / (2.0 * n);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        (middle + half) / (1.0 + z * z / n)
    }

    /// The largest ε that the attacks of guessing by a threshold refute.
    fn refuted_epsilon(without: &[f64], with: &[f64]) -> f64 {
        let thresholds = (-40..80).map(|at| f64::from(at) / 10.0);
        let bounds = thresholds.map(|threshold| {
            let false_alarms = upper(without.iter().filter(|x| **x > threshold).count());
            let misses = upper(with.iter().filter(|x| **x <= threshold).count());
            // (ε, δ): 1 − misses ≤ exp(ε)·false_alarms + δ, and the same the other way round.
            let one = ((1.0 - misses - DELTA) / false_alarms).ln();
            let other = ((1.0 - false_alarms - DELTA) / misses).ln();
            one.max(other)
        });
        bounds.fold(0.0, f64::max)
    }

    fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    /// Audits the mechanism itself (Jagielski et al. 2020, arXiv:2006.07709): what an attacker can
    /// tell apart must not refute the ε that is claimed, and would if there were less noise.
    #[test]
    fn an_attacker_cannot_refute_the_claimed_epsilon() {
        let claimed = |noise: f64, sampling: f64| {
            let mechanism = Mechanism::new(noise, sampling).unwrap();
            Accountant::Pld.epsilon(&[Steps { mechanism, count: 1 }], DELTA).unwrap()
        };
        // All rows in every batch.
        let (without, with) = (sample(1.0, 21, false), sample(1.0, 21, true));
        let refuted = refuted_epsilon(&without, &with);
        assert!(refuted < claimed(1.0, 1.0), "{refuted}");
        assert!(refuted > 1.0, "the attack is too weak to say anything: {refuted}");
        // The noise has the deviation that it should, and the canary no more than the clipping norm.
        let ((low, deviation), (high, _)) =
            (mean_and_deviation(&without), mean_and_deviation(&with));
        assert!((deviation - 1.0).abs() < 0.05, "{deviation}");
        assert!((high - low - 1.0).abs() < 0.1, "{}", high - low);
        // Half of them: the canary is in half of the batches, and less is claimed.
        let refuted = refuted_epsilon(&sample(1.0, 10, false), &sample(1.0, 10, true));
        assert!(refuted < claimed(1.0, 0.5), "{refuted}");
        let (mean, _) = mean_and_deviation(&sample(1.0, 10, true));
        assert!((mean - low - 10.0 / 21.0).abs() < 0.1, "{mean}");
        // Were there a fifth of the noise, the audit would find out.
        let refuted = refuted_epsilon(&sample(0.2, 21, false), &sample(0.2, 21, true));
        assert!(refuted > claimed(1.0, 1.0), "{refuted}");
    }

    #[test]
    fn every_row_is_drawn_with_the_sampling_probability_and_independently() {
        let privacy = Privacy {
            noise_multiplier: 1.0,
            clip: 1.0,
            delta: DELTA,
            budget: None,
            noise: Noise::Seeded(5),
        };
        let rows: Vec<usize> = (0..40).collect();
        for batch in [2, 10, 30, 40] {
            let mut sgd = DpSgd::new(privacy, batch, rows.len()).unwrap();
            let rate = batch as f64 / 40.0;
            let (mut each, mut pairs, trials) = (vec![0_u32; 40], 0_u32, 20_000);
            for _ in 0..trials {
                let drawn = sgd.draw(&rows);
                assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
                drawn.iter().for_each(|row| each[*row] += 1);
                pairs += u32::from(drawn.contains(&3) && drawn.contains(&4));
            }
            // Five standard errors.
            let close = |count: u32, p: f64| {
                let n = f64::from(trials);
                (f64::from(count) - n * p).abs() <= 5.0 * (n * p * (1.0 - p)).sqrt()
            };
            assert!(each.iter().all(|count| close(*count, rate)), "{batch}: {each:?}");
            assert!(close(pairs, rate * rate), "{batch}: {pairs}");
        }
    }

    #[test]
    fn what_steps_take_is_rounded_against_oneself_and_noise_never_repeats() {
        let privacy = Privacy {
            noise_multiplier: 1.000_000_9,
            clip: 0.123_456_71,
            delta: 1.000_000_05e-5,
            budget: Some(2.000_000_9),
            noise: Noise::Secret,
        };
        let sgd = DpSgd::new(privacy, 1, 3).unwrap();
        let takes = sgd.takes(300);
        let segment = PrivacySegment {
            noise_micros: 1_000_000,
            clip_micros: 123_457,
            sampling_nanos: 333_333_334,
            steps: 300,
        };
        assert_eq!(takes.segment, segment);
        assert_eq!((takes.delta_picos, takes.max_epsilon_micros), (10_000_001, Some(2_000_000)));
        assert!(DpSgd::new(Privacy { delta: 0.0, ..privacy }, 1, 3).is_err());
        assert!(DpSgd::new(Privacy { noise_multiplier: 0.01, ..privacy }, 1, 3).is_err());
        // Without a seed nothing repeats.
        let data = data();
        let step = || {
            let (mut sgd, mut workspace) =
                (DpSgd::new(privacy, 1, 2).unwrap(), Workspace::default());
            let network = Network::new(&[12, 2], Activation::Relu, true, 3);
            sgd.gradient(&network, &data, &[0, 1], &mut workspace);
            workspace.gradients
        };
        assert_ne!(step(), step());
    }
}
