//! The built-in learner: a network on one share of a data set.

use std::path::Path;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::data::Share;
use super::network::{Network, Sgd, WeightsError};
use crate::learner::{Learner, Proposed, Result, Score, Weights};

/// How the built-in learner trains and votes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Training {
    /// The widths between inputs and classes; 0 for softmax regression.
    pub hidden: usize,
    /// Passes over the training rows for one proposal.
    pub epochs: usize,
    /// Rows in a mini-batch.
    pub batch: usize,
    /// The optimiser.
    pub sgd: Sgd,
    /// Approve what is not worse than the current weights by more than this, in accuracy.
    pub margin: f64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            hidden: 32,
            epochs: 5,
            batch: 32,
            sgd: Sgd { learning_rate: 0.05, momentum: 0.9 },
            margin: 0.0,
        }
    }
}

impl Training {
    /// The untrained network for data of this shape.
    pub fn network(&self, features: usize, classes: usize, seed: u64) -> Network {
        if self.hidden == 0 {
            Network::new(&[features, classes], seed)
        } else {
            Network::new(&[features, self.hidden, classes], seed)
        }
    }
}

/// A learner with a built-in model.
#[derive(Clone, Debug)]
pub struct BuiltinLearner {
    share: Share,
    training: Training,
    network: Network,
    weights: Weights,
    random: ChaCha8Rng,
    /// The accuracy of the current weights on the voting rows.
    current_accuracy: f64,
}

impl BuiltinLearner {
    /// A learner on a share of data. `model_seed` decides the initial weights and must be the same
    /// for all who begin together; `seed` decides the order in which rows are visited.
    ///
    /// # Errors
    /// If the weights cannot be encoded.
    pub fn new(
        share: Share,
        training: Training,
        model_seed: u64,
        seed: u64,
    ) -> std::result::Result<Self, WeightsError> {
        let (features, classes) = (share.data.width(), share.data.classes.len());
        let network = training.network(features, classes, model_seed);
        let weights = network.to_weights()?;
        let random = ChaCha8Rng::seed_from_u64(seed);
        let mut learner = Self { share, training, network, weights, random, current_accuracy: 0.0 };
        learner.current_accuracy = learner.evaluate(&learner.network, &learner.share.vote);
        Ok(learner)
    }

    /// The accuracy of a network on some of the share's rows.
    fn evaluate(&self, network: &Network, rows: &[usize]) -> f64 {
        let (features, labels) = self.share.select(rows);
        network.evaluate(features.view(), &labels).accuracy
    }

    /// The current weights' accuracy on the test rows.
    pub fn test_accuracy(&self) -> f64 {
        self.evaluate(&self.network, &self.share.test)
    }

    /// Trains as for a proposal and keeps the result: learning alone, without asking anybody.
    ///
    /// # Errors
    /// If the weights cannot be encoded.
    pub fn train_alone(&mut self) -> Result<()> {
        let network = self.train();
        self.weights = network.to_weights()?;
        self.network = network;
        Ok(())
    }

    /// Writes the current weights to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, self.weights.bytes())
    }

    fn train(&mut self) -> Network {
        let mut network = self.network.clone();
        let mut velocity = network.at_rest();
        let mut order = self.share.train.clone();
        for _ in 0..self.training.epochs {
            order.shuffle(&mut self.random);
            for rows in order.chunks(self.training.batch.max(1)) {
                let (features, labels) = self.share.select(rows);
                network.step(features.view(), &labels, self.training.sgd, &mut velocity);
            }
        }
        network
    }
}

impl Learner for BuiltinLearner {
    fn propose(&mut self) -> Result<Proposed> {
        Ok(Proposed::Weights(self.train().to_weights()?))
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        let network = self.network.with_weights(weights)?;
        let vote = self.evaluate(&network, &self.share.vote);
        let test = (!self.share.test.is_empty()).then(|| self.evaluate(&network, &self.share.test));
        let approve = vote >= self.current_accuracy - self.training.margin;
        Ok(Score { vote, test, approve })
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        let network = self.network.with_weights(weights)?;
        self.current_accuracy = self.evaluate(&network, &self.share.vote);
        self.network = network;
        self.weights = weights.clone();
        Ok(())
    }

    fn current(&self) -> Weights {
        self.weights.clone()
    }
}
