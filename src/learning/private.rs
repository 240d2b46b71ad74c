//! Training with differential privacy: DP-SGD (Abadi et al. 2016, arXiv:1607.00133).

use colearn_contracts::PrivacySpent;
use rand::rngs::SysRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::data::Dataset;
use super::network::{Layer, Network, Workspace};
use crate::dp::{Accountant, DpError, Mechanism, Steps};

/// How training is kept private.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Privacy {
    /// The noise's standard deviation over the clipping norm.
    pub noise_multiplier: f64,
    /// The L2 norm to which each example's gradient is clipped.
    pub clip: f64,
    /// The δ that ε is stated for.
    pub delta: f64,
    /// How ε is computed.
    pub accountant: Accountant,
    /// The ε at which this learner stops proposing; `None` for no limit of its own.
    pub budget: Option<f64>,
    /// Where the noise comes from.
    pub noise: Noise,
}

/// Where the noise comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noise {
    /// The operating system's entropy: private.
    Secret,
    /// A seed: repeatable, for simulations. Whoever knows the seed can take the noise away.
    Seeded(u64),
}

/// What has been spent so far, and the generator of sampling and noise.
#[derive(Clone, Debug)]
pub struct Spending {
    privacy: Privacy,
    mechanism: Mechanism,
    /// What an earlier run of this learner stated.
    before: Option<Steps>,
    steps: u64,
    random: ChaCha20Rng,
}

impl Spending {
    /// Nothing spent yet, sampling each example with probability `sampling_rate`.
    ///
    /// # Errors
    /// If the noise or δ is out of range, or there is no entropy.
    pub fn new(privacy: Privacy, sampling_rate: f64) -> Result<Self, DpError> {
        let mechanism = Mechanism::new(privacy.noise_multiplier, sampling_rate)?;
        // Told now rather than in the learner's first turn.
        privacy.accountant.epsilon(&[Steps { mechanism, count: 1 }], privacy.delta)?;
        let random = match privacy.noise {
            // Without entropy there is no privacy to be had: the process stops.
            Noise::Secret => {
                ChaCha20Rng::try_from_rng(&mut SysRng).map_err(|_| DpError::Entropy)?
            }
            Noise::Seeded(seed) => ChaCha20Rng::seed_from_u64(seed),
        };
        Ok(Self { privacy, mechanism, before: None, steps: 0, random })
    }

    /// Goes on where an earlier run of this learner stopped, as the ledger has it.
    ///
    /// # Errors
    /// If what it stated cannot be.
    pub fn resume(&mut self, spent: &PrivacySpent) -> Result<(), DpError> {
        let mechanism = Mechanism::new(
            spent.noise_micros as f64 / 1e6,
            (spent.sampling_nanos as f64 / 1e9).min(1.0),
        )?;
        self.before = Some(Steps { mechanism, count: spent.steps });
        Ok(())
    }

    /// What will have been spent after so many more steps; `None` if that is over the budget.
    ///
    /// # Errors
    /// If it cannot be computed.
    pub fn after(&self, more: u64) -> Result<Option<PrivacySpent>, DpError> {
        let own = Steps { mechanism: self.mechanism, count: self.steps + more };
        let all: Vec<Steps> = self.before.into_iter().chain([own]).collect();
        let epsilon = self.privacy.accountant.epsilon(&all, self.privacy.delta)?;
        if self.privacy.budget.is_some_and(|budget| epsilon > budget) {
            return Ok(None);
        }
        // Rounded against oneself; the casts saturate.
        let up = |value: f64, unit: f64| (value * unit).ceil() as u64;
        Ok(Some(PrivacySpent {
            epsilon_micros: up(epsilon, 1e6),
            delta_picos: up(self.privacy.delta, 1e12),
            noise_micros: (self.privacy.noise_multiplier * 1e6).floor() as u64,
            clip_micros: up(self.privacy.clip, 1e6),
            sampling_nanos: up(self.mechanism.sampling_rate(), 1e9).min(1_000_000_000),
            steps: all.iter().map(|steps| steps.count).sum(),
        }))
    }

    /// Computes the noisy mean gradient of one step into the workspace, over a batch that each of
    /// `rows` is in with the sampling probability, independently. The sum is divided by the batch's
    /// expected size, since its real size is private.
    pub fn gradient(
        &mut self,
        network: &Network,
        data: &Dataset,
        rows: &[usize],
        workspace: &mut Workspace,
    ) {
        self.steps += 1;
        let rate = self.mechanism.sampling_rate();
        let batch: Vec<usize> =
            rows.iter().copied().filter(|_| self.random.random_bool(rate)).collect();
        let clip = self.privacy.clip as f32;
        network.clipped_gradient(data.view(), &data.targets, &batch, clip, workspace);
        let deviation = (self.privacy.noise_multiplier * self.privacy.clip) as f32;
        let size = (rate * rows.len() as f64).max(1.0) as f32;
        for slice in workspace.gradients.iter_mut().flat_map(Layer::slices_mut) {
            for value in slice {
                let noise: f32 = StandardNormal.sample(&mut self.random);
                *value = (*value + deviation * noise) / size;
            }
        }
    }
}
