//! The built-in learner: a network on one share of a data set.

use std::path::Path;
use std::sync::Arc;

use colearn_contracts::{Digest, PrivacySpent};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::data::Share;
use super::metric::Metric;
use super::model::{ModelSpec, WeightsError};
use super::network::{Network, Workspace};
use super::optimizer::Optimizer;
use super::private::Spending;
use super::training::Training;
use colearn_dp::DpError;
use colearn_sdk::learner::{Learner, Proposed, Result, Score, Weights};

/// Why a learner cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuiltinError {
    /// The weights are not of a built-in model.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The data is not what the model is for.
    #[error("{name} is not what the model is for: {difference}")]
    Data {
        /// The data.
        name: String,
        /// What differs.
        difference: String,
    },
    /// The metric does not suit the model.
    #[error("a model that predicts a number cannot be judged by {0}; use loss")]
    Metric(&'static str),
    /// The training says what cannot be.
    #[error("{0}")]
    Training(&'static str),
    /// Training leads nowhere.
    #[error(
        "training diverged: its weights are not finite numbers any more; try a smaller learning rate"
    )]
    Diverged,
    /// Privacy cannot be accounted for.
    #[error(transparent)]
    Privacy(#[from] DpError),
}

/// A learner with a built-in model.
#[derive(Clone, Debug)]
pub struct BuiltinLearner {
    share: Share,
    training: Training,
    optimizer: Optimizer,
    spec: Arc<ModelSpec>,
    weights: Weights,
    random: ChaCha8Rng,
    metric: Metric,
    spending: Option<Spending>,
    /// The current weights' score on the voting rows, once it was needed.
    current_score: Option<f64>,
    /// The weights that were scored last, which may become the current ones, and their score.
    last_scored: Option<(Digest, f64)>,
}

impl BuiltinLearner {
    /// A learner on a share of data that begins with these weights, whose header says what model
    /// they are of. `seed` decides the order in which rows are visited.
    ///
    /// # Errors
    /// If the weights are not of a built-in model, or not of one for this data, or the training is
    /// none that can be.
    pub fn new(
        share: Share,
        training: Training,
        weights: Weights,
        seed: u64,
    ) -> std::result::Result<Self, BuiltinError> {
        training.check().map_err(BuiltinError::Training)?;
        let spec = ModelSpec::of(&weights)?;
        let own = ModelSpec::new(spec.hidden.clone(), spec.activation, share.data.schema.clone());
        if let Some(difference) = spec.difference(&own) {
            return Err(BuiltinError::Data { name: share.data.name.clone(), difference });
        }
        spec.read(&weights)?;
        let classifier = spec.is_classifier();
        let metric = training.score.unwrap_or(Metric::usual(classifier));
        if !metric.suits(classifier) {
            return Err(BuiltinError::Metric(metric.name()));
        }
        let rows = share.train.len();
        let spending = training
            .privacy()
            .map(|privacy| Spending::new(privacy, training.batch, rows))
            .transpose()?;
        Ok(Self {
            share,
            optimizer: training.optimizer(classifier),
            training,
            spec: Arc::new(spec),
            weights,
            random: ChaCha8Rng::seed_from_u64(seed),
            metric,
            spending,
            current_score: None,
            last_scored: None,
        })
    }

    /// Goes on with the privacy budget that an earlier run of this learner stated.
    ///
    /// # Errors
    /// If what it stated cannot be.
    pub fn resume(&mut self, spent: &PrivacySpent) -> std::result::Result<(), DpError> {
        match &mut self.spending {
            Some(spending) => spending.resume(spent),
            None => Ok(()),
        }
    }

    /// What its test score is: what it votes on, but accuracy rather than a classifier's loss, which
    /// says little to people.
    pub fn test_metric(&self) -> Metric {
        match self.metric {
            Metric::Loss => Metric::usual(self.spec.is_classifier()),
            Metric::Accuracy | Metric::Auc => self.metric,
        }
    }

    /// Its part of the data.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// The model it trains.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Judges a network on some rows.
    fn score(&self, metric: Metric, network: &Network, rows: &[usize]) -> f64 {
        let predictions = network.predict(self.share.data.view(), rows);
        metric.score(&predictions, &self.share.data.targets, rows)
    }

    /// The rows that decide a vote.
    fn voting_rows(&self) -> &[usize] {
        let all = &self.share.vote;
        let batches = self.training.vote_batches.unwrap_or(usize::MAX);
        // They are in random order, so the first are as good as any.
        &all[..all.len().min(batches.saturating_mul(self.training.batch).max(1))]
    }

    /// The current weights' score on the test rows.
    ///
    /// # Errors
    /// If the current weights cannot be read.
    pub fn test_score(&self) -> Result<f64> {
        Ok(self.score(self.test_metric(), &self.spec.read(&self.weights)?, &self.share.test))
    }

    /// Trains as for a proposal and keeps the result: learning alone, without asking anybody.
    ///
    /// # Errors
    /// If the weights cannot be encoded.
    pub fn train_alone(&mut self) -> Result<()> {
        self.weights = self.train()?;
        self.current_score = None;
        Ok(())
    }

    /// Writes the current weights to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, self.weights.bytes())
    }

    /// Steps that one proposal takes.
    fn steps(&self) -> u64 {
        let batches = self.share.train.len().div_ceil(self.training.batch);
        (self.training.epochs * batches) as u64
    }

    fn train(&mut self) -> Result<Weights> {
        let network = self.descend()?;
        if !network.is_finite() {
            return Err(BuiltinError::Diverged.into());
        }
        Ok(self.spec.write(&network)?)
    }

    fn descend(&mut self) -> Result<Network> {
        let mut network = self.spec.read(&self.weights)?;
        let mut state = self.optimizer.start(&network);
        let mut workspace = Workspace::default();
        let data = &self.share.data;
        if let Some(mut spending) = self.spending.take() {
            for _ in 0..self.steps() {
                spending.gradient(&network, data, &self.share.train, &mut workspace);
                self.optimizer.step(&mut network, &workspace.gradients, &mut state);
            }
            self.spending = Some(spending);
            return Ok(network);
        }
        let mut order = self.share.train.clone();
        for _ in 0..self.training.epochs {
            order.shuffle(&mut self.random);
            for rows in order.chunks(self.training.batch) {
                network.gradient(data.view(), &data.targets, rows, &mut workspace);
                self.optimizer.step(&mut network, &workspace.gradients, &mut state);
            }
        }
        Ok(network)
    }
}

impl Learner for BuiltinLearner {
    fn propose(&mut self) -> Result<Proposed> {
        let Some(spending) = &self.spending else {
            return Ok(Proposed::Weights(self.train()?));
        };
        match spending.after(self.steps())? {
            Some(spent) => Ok(Proposed::Private(self.train()?, spent)),
            None => Ok(Proposed::Exhausted),
        }
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        let network = self.spec.read(weights)?;
        let current = match self.current_score {
            Some(current) => current,
            None => self.score(self.metric, &self.spec.read(&self.weights)?, self.voting_rows()),
        };
        self.current_score = Some(current);
        let vote = self.score(self.metric, &network, self.voting_rows());
        self.last_scored = Some((weights.digest(), vote));
        // A score that is not a number is worse than any that is.
        let approve =
            vote >= current - self.training.margin || (current.is_nan() && !vote.is_nan());
        if self.training.hide_scores {
            return Ok(Score { vote: f64::NAN, test: None, approve });
        }
        let test = (!self.share.test.is_empty())
            .then(|| self.score(self.test_metric(), &network, &self.share.test));
        Ok(Score { vote, test, approve })
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.spec.read(weights)?;
        let scored = self.last_scored.filter(|(digest, _)| *digest == weights.digest());
        self.current_score = scored.map(|(_, score)| score);
        self.weights = weights.clone();
        Ok(())
    }

    fn current(&self) -> Weights {
        self.weights.clone()
    }
}
