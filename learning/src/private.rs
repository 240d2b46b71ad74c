//! Training with differential privacy: DP-SGD (Abadi et al. 2016, arXiv:1607.00133).

use colearn_contracts::{MAX_SEGMENTS, PrivacySegment, PrivacySpent, PrivateTraining};
use rand::rngs::SysRng;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;
use rand_distr::{Distribution as _, Geometric, StandardNormal};
use rayon::prelude::*;

use super::data::Dataset;
use super::network::{Layer, Network, Workspace};
use colearn_dp::{DpError, Mechanism, Segment, epsilon_of};

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

/// What has been spent so far, and the generator of sampling and noise.
#[derive(Clone, Debug)]
pub struct Spending {
    privacy: Privacy,
    mechanism: Mechanism,
    /// What earlier runs of this learner stated: all that was done, in order, and what it revealed.
    before: Vec<PrivacySegment>,
    epsilon_micros: u64,
    delta_picos: u64,
    /// The steps of this run.
    steps: u64,
    /// The batch's expected size.
    batch: usize,
    random: ChaCha12Rng,
}

impl Spending {
    /// Nothing spent yet, for batches of `batch` of so many rows on average.
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
        Ok(Self {
            privacy,
            mechanism,
            before: Vec::new(),
            epsilon_micros: 0,
            // What is no share of a whole is rounded up; the cast saturates.
            delta_picos: (privacy.delta * 1e12).ceil() as u64,
            steps: 0,
            batch,
            random,
        })
    }

    /// Goes on where earlier runs of this learner stopped, as the ledger has it.
    ///
    /// # Errors
    /// If what was stated cannot be accounted for.
    pub fn resume(&mut self, spent: &PrivacySpent) -> Result<(), DpError> {
        for segment in spent.segments() {
            let Segment { noise, sampling, .. } = as_accounted(segment);
            Mechanism::new(noise, sampling)?;
        }
        self.before = spent.segments().to_vec();
        self.epsilon_micros = spent.epsilon_micros;
        self.delta_picos = self.delta_picos.max(spent.delta_picos);
        Ok(())
    }

    /// What will have been spent after so many more steps, earlier runs included; `None` if that is over
    /// the budget, or the settings have changed more often than a statement can say.
    ///
    /// # Errors
    /// If it cannot be computed.
    pub fn after(&self, more: u64) -> Result<Option<PrivacySpent>, DpError> {
        let mut segments = self.before.clone();
        let own = self.settings(self.steps + more);
        match segments.last_mut() {
            Some(last) if PrivacySegment { steps: own.steps, ..*last } == own => {
                last.steps = last.steps.saturating_add(own.steps);
            }
            Some(_) | None => segments.push(own),
        }
        if segments.len() > MAX_SEGMENTS {
            return Ok(None);
        }
        // Of what is stated, rounding included: whoever recomputes it comes to the same.
        let accounted: Vec<Segment> = segments.iter().map(as_accounted).collect();
        let epsilon = epsilon_of(&accounted, self.delta_picos as f64 / 1e12)?;
        if self.privacy.budget.is_some_and(|budget| epsilon > budget) {
            return Ok(None);
        }
        // Never less than was stated before, even where another accountant had found more; the cast
        // saturates.
        let epsilon_micros = ((epsilon * 1e6).ceil() as u64).max(self.epsilon_micros).max(1);
        let training = PrivateTraining::All(segments);
        Ok(Some(PrivacySpent { epsilon_micros, delta_picos: self.delta_picos, training }))
    }

    /// So many steps with this run's settings, rounded against oneself.
    fn settings(&self, steps: u64) -> PrivacySegment {
        // The casts saturate.
        let up = |value: f64, unit: f64| (value * unit).ceil() as u64;
        PrivacySegment {
            noise_micros: (self.privacy.noise_multiplier * 1e6).floor() as u64,
            clip_micros: up(self.privacy.clip, 1e6),
            sampling_nanos: up(self.mechanism.sampling_rate(), 1e9).min(1_000_000_000),
            steps,
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
        self.steps += 1;
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

/// A stated segment, in the accountant's units.
fn as_accounted(segment: &PrivacySegment) -> Segment {
    Segment {
        noise: segment.noise_micros as f64 / 1e6,
        sampling: segment.sampling_nanos as f64 / 1e9,
        steps: segment.steps,
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
        let mut spending = Spending::new(privacy, batch, rows.len()).unwrap();
        let mut observe = |_| {
            let mut workspace = Workspace::default();
            spending.gradient(&network, &data, &rows, &mut workspace);
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
            let mut spending = Spending::new(privacy, batch, rows.len()).unwrap();
            let rate = batch as f64 / 40.0;
            let (mut each, mut pairs, trials) = (vec![0_u32; 40], 0_u32, 20_000);
            for _ in 0..trials {
                let drawn = spending.draw(&rows);
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

    fn privacy(noise_multiplier: f64, budget: Option<f64>) -> Privacy {
        Privacy { noise_multiplier, clip: 1.0, delta: DELTA, budget, noise: Noise::Secret }
    }

    fn spending(noise_multiplier: f64, budget: Option<f64>) -> Spending {
        Spending::new(privacy(noise_multiplier, budget), 10, 1000).unwrap()
    }

    /// The figure that an auditor comes to.
    fn recomputed(spent: &PrivacySpent) -> f64 {
        let segments: Vec<Segment> = spent.segments().iter().map(as_accounted).collect();
        epsilon_of(&segments, spent.delta_picos as f64 / 1e12).unwrap()
    }

    #[test]
    fn spending_adds_up_survives_a_restart_and_stops_at_the_budget() {
        let fresh = || spending(1.0, Some(2.0));
        let spent = fresh().after(300).unwrap().unwrap();
        assert_eq!((spent.steps(), spent.delta_picos), (300, 10_000_000));
        let [segment] = spent.segments() else { panic!("{spent:?}") };
        assert_eq!((segment.noise_micros, segment.sampling_nanos), (1_000_000, 10_000_000));
        let mut restarted = fresh();
        restarted.resume(&spent).unwrap();
        let more = restarted.after(200).unwrap().unwrap();
        assert_eq!(Some(&more), fresh().after(500).unwrap().as_ref());
        assert!(more.epsilon_micros > spent.epsilon_micros);
        assert_eq!(restarted.after(100_000), Ok(None));
        // Without a seed nothing repeats.
        let data = data();
        let step = || {
            let (mut spending, mut workspace) = (fresh(), Workspace::default());
            let network = Network::new(&[12, 2], Activation::Relu, true, 3);
            spending.gradient(&network, &data, &[0, 1], &mut workspace);
            workspace.gradients
        };
        assert_ne!(step(), step());
    }

    #[test]
    fn what_was_done_with_other_settings_stays_what_it_was() {
        let weak = spending(0.6, None).after(144).unwrap().unwrap();
        let mut stronger = spending(1.0, None);
        stronger.resume(&weak).unwrap();
        let both = stronger.after(144).unwrap().unwrap();
        let steps: Vec<(u64, u64)> =
            both.segments().iter().map(|it| (it.noise_micros, it.steps)).collect();
        assert_eq!(steps, [(600_000, 144), (1_000_000, 144)]);
        let stated = both.epsilon_micros as f64 / 1e6;
        assert!((stated - recomputed(&both)).abs() < 2e-6, "{stated}");
        let all_strong = spending(1.0, None).after(288).unwrap().unwrap();
        assert!(both.epsilon_micros > weak.epsilon_micros.max(all_strong.epsilon_micros));
        // And again with those of before the last: a third segment, as only neighbours are one.
        let mut again = spending(0.6, None);
        again.resume(&both).unwrap();
        assert_eq!(again.after(1).unwrap().unwrap().segments().len(), 3);
        // A larger delta was stated: it stays, and epsilon is stated for it.
        let mut loose = spending(1.0, None);
        loose.resume(&PrivacySpent { delta_picos: 20_000_000, ..both.clone() }).unwrap();
        assert_eq!(loose.after(1).unwrap().unwrap().delta_picos, 20_000_000);
    }

    #[test]
    fn a_figure_never_falls_even_where_another_had_been_stated() {
        let stated = spending(1.0, None).after(10).unwrap().unwrap();
        let high = PrivacySpent { epsilon_micros: stated.epsilon_micros + 500_000, ..stated };
        let mut resumed = spending(1.0, None);
        resumed.resume(&high).unwrap();
        let next = resumed.after(1).unwrap().unwrap();
        assert_eq!((next.epsilon_micros, next.steps()), (high.epsilon_micros, 11));
    }

    #[test]
    fn with_more_settings_than_a_statement_can_say_the_budget_is_spent() {
        let mut spent: Option<PrivacySpent> = None;
        for at in 0..=MAX_SEGMENTS {
            let mut spending = spending(if at % 2 == 0 { 20.0 } else { 30.0 }, None);
            if let Some(spent) = &spent {
                spending.resume(spent).unwrap();
            }
            match spending.after(1).unwrap() {
                Some(more) => spent = Some(more),
                None => assert_eq!(at, MAX_SEGMENTS),
            }
        }
        let spent = spent.unwrap();
        assert_eq!(spent.segments().len(), MAX_SEGMENTS);
        // With the settings of the last one it still goes on.
        let mut same = spending(30.0, None);
        same.resume(&spent).unwrap();
        assert_eq!(same.after(5).unwrap().unwrap().steps(), MAX_SEGMENTS as u64 + 5);
        let mut cannot = spending(1.0, None);
        let nothing = PrivacySegment { noise_micros: 0, ..spent.segments()[0] };
        let training = PrivateTraining::Last(nothing);
        assert_eq!(cannot.resume(&PrivacySpent { training, ..spent }), Err(DpError::Noise(0.0)));
    }
}
