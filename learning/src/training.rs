//! How the built-in learner trains and votes: described here once, for files and flags alike.

use serde::Deserialize;

use super::data::Targets;
use super::metric::Metric;
use super::optimizer::{Optimizer, OptimizerKind};
use super::private::{Noise, Privacy};
use colearn_sdk::policy::{MAX_SCORE_EPSILON, MIN_SCORE_EPSILON};

/// By how much in loss an open merge has to be better for a cautious learner.
pub(super) const CAUTION: f64 = 0.05;

/// How much rows count in training, by their class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClassWeights {
    /// Each row as much as another.
    #[default]
    Even,
    /// Each class as much as another: its rows by the inverse of how many of the training rows it has.
    Balanced,
}

impl ClassWeights {
    /// What a row of each of `classes` classes counts, 1 on average over these rows; `None` where all count the
    /// same. A class that has no rows weighs nothing.
    pub(super) fn of(self, targets: &Targets, rows: &[usize], classes: usize) -> Option<Vec<f32>> {
        match (self, targets) {
            (Self::Even, _) | (Self::Balanced, Targets::Numbers(_)) => None,
            (Self::Balanced, Targets::Classes(all)) => {
                let mut counts = vec![0_u32; classes];
                rows.iter().for_each(|row| counts[all[*row] as usize] += 1);
                let present = counts.iter().filter(|count| **count > 0).count();
                let even = rows.len() as f64 / present.max(1) as f64;
                let weight =
                    |count: &u32| if *count > 0 { (even / f64::from(*count)) as f32 } else { 0.0 };
                Some(counts.iter().map(weight).collect())
            }
        }
    }
}

/// When a vote is for weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VoteRule {
    /// They score no lower than the current ones, but for the margin.
    #[default]
    Score,
    /// Row by row, they are not shown to be worse than the current ones, with the confidence that is asked for.
    NotWorse,
    /// Row by row, they are better with that confidence.
    Better,
}

/// How the built-in learner trains and votes. Read from a file, what is left out takes its default.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Passes over the training rows for one proposal.
    pub epochs: usize,
    /// Rows in a mini-batch, at least one; with privacy their mean number.
    pub batch: usize,
    /// How weights follow their gradient.
    pub optimizer: OptimizerKind,
    /// The step size; `None` for one that suits the optimiser and the loss.
    pub learning_rate: Option<f32>,
    /// The momentum of gradient descent; 0 for none.
    pub momentum: f32,
    /// What votes are decided on; `None` for accuracy, or loss where a number is predicted.
    pub score: Option<Metric>,
    /// Approve what is not worse than the current weights by more than this, in units of the score.
    pub margin: f64,
    /// When a vote is for weights.
    pub vote: VoteRule,
    /// How sure a vote by paired comparison has to be, from 0.5 to below 1: where two models are as good, one is taken for
    /// worse in at most the rest of all cases.
    pub confidence: f64,
    /// Judge on so many mini-batches of the voting rows; `None` for all.
    pub vote_batches: Option<usize>,
    /// Of the two merges of a merged round, prefer the guarded one unless the open one is better by more than
    /// 0.05 in loss: a first defence against backdoors, which costs something where learners hold
    /// different data.
    pub cautious: bool,
    /// Train as well on rows in which what would fool the model most is set, with their right classes:
    /// another defence against backdoors. It takes several times as long.
    pub harden: bool,
    /// How much rows count in training, by their class.
    pub class_weights: ClassWeights,
    /// Record no scores; they say something about private data.
    pub hide_scores: bool,
    /// Add noise to the scores that leave, so that each has this ε; for accuracies only, which one row changes by no more than
    /// one over their number.
    pub score_epsilon: Option<f64>,
    /// Train with differential privacy (DP-SGD) and this noise multiplier.
    pub noise: Option<f64>,
    /// The L2 norm to which each example's gradient is clipped then, above 0.
    pub clip: f64,
    /// The δ that ε is stated for.
    pub delta: f64,
    /// The ε at which this learner proposes no more; `None` for no limit of its own.
    pub epsilon: Option<f64>,
    /// Where the noise comes from. No file says this: whether a run is private or can be repeated
    /// is for the program to decide.
    #[serde(skip)]
    pub noise_source: Noise,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            epochs: 5,
            batch: 32,
            optimizer: OptimizerKind::Sgd,
            learning_rate: None,
            momentum: 0.9,
            score: None,
            margin: 0.0,
            vote: VoteRule::Score,
            confidence: 0.9,
            vote_batches: None,
            cautious: false,
            harden: false,
            class_weights: ClassWeights::Even,
            hide_scores: false,
            score_epsilon: None,
            noise: None,
            clip: 1.0,
            delta: 1e-5,
            epsilon: None,
            noise_source: Noise::Secret,
        }
    }
}

impl Training {
    /// Checks what does not depend on data or model.
    ///
    /// # Errors
    /// What cannot be, in a sentence.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.batch == 0 {
            return Err("batch must be positive");
        }
        if !(self.clip > 0.0 && self.clip.is_finite()) {
            return Err("clip must be positive");
        }
        if let Some(epsilon) = self.score_epsilon
            && !(MIN_SCORE_EPSILON..=MAX_SCORE_EPSILON).contains(&epsilon)
        {
            return Err("score_epsilon is from 0.001 to 16");
        }
        if self.score_epsilon.is_some() && self.hide_scores {
            return Err("score_epsilon says how scores leave, and hide_scores that none do");
        }
        if !(0.5..1.0).contains(&self.confidence) {
            return Err("confidence is from 0.5 to below 1");
        }
        if self.vote != VoteRule::Score && self.margin != 0.0 {
            return Err("a margin goes with the vote \"score\" only; the others have a confidence");
        }
        if self.harden && self.noise.is_some() {
            return Err(
                "harden goes without noise: each row would be seen twice, and counted once",
            );
        }
        if self.class_weights == ClassWeights::Balanced && self.noise.is_some() {
            return Err(
                "balanced class weights go without noise: they say how many rows each class has, which no \
                 noise covers",
            );
        }
        Ok(())
    }

    /// The optimiser, for a classifier or for a model that predicts a number.
    pub fn optimizer(&self, classifier: bool) -> Optimizer {
        match self.optimizer {
            OptimizerKind::Sgd => Optimizer::sgd(self.learning_rate, self.momentum, classifier),
            OptimizerKind::Adam => Optimizer::adam(self.learning_rate),
        }
    }

    /// How training is kept private, if it is.
    pub fn privacy(&self) -> Option<Privacy> {
        self.noise.map(|noise_multiplier| Privacy {
            noise_multiplier,
            clip: self.clip,
            delta: self.delta,
            budget: self.epsilon,
            noise: self.noise_source,
        })
    }

    /// The same, its noise drawn from another seed if it is drawn from one.
    pub fn with_noise_seed(mut self, seed: u64) -> Self {
        if let Noise::Seeded(_) = self.noise_source {
            self.noise_source = Noise::Seeded(seed);
        }
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_differs_from_the_defaults() {
        let read = |text| serde_json::from_str::<Training>(text);
        assert_eq!(read("{}").unwrap(), Training::default());
        let training = read(r#"{ "optimizer": "adam", "score": "auc", "noise": 1.1 }"#).unwrap();
        assert_eq!(training.optimizer(true), Optimizer::Adam { learning_rate: 0.001 });
        assert_eq!(training.score, Some(Metric::Auc));
        assert_eq!(training.privacy().unwrap().noise, Noise::Secret);
        let error = read(r#"{ "optimizer": "lbfgs" }"#).unwrap_err().to_string();
        assert!(error.contains("\"lbfgs\" is not one of sgd, adam"), "{error}");
        assert!(read(r#"{ "noise_source": "secret" }"#).is_err());
        assert!(Training { clip: f64::NAN, ..Training::default() }.check().is_err());
        let both = Training { harden: true, noise: Some(1.0), ..Training::default() };
        assert!(both.check().unwrap_err().starts_with("harden goes without noise"));
        let both = Training {
            class_weights: ClassWeights::Balanced,
            noise: Some(1.0),
            ..Training::default()
        };
        assert!(both.check().unwrap_err().contains("go without noise"));
        assert!(Training { batch: 0, ..Training::default() }.check().is_err());
        let paired = Training { vote: VoteRule::NotWorse, ..Training::default() };
        assert_eq!(read(r#"{ "vote": "not_worse" }"#).unwrap(), paired);
        paired.check().unwrap();
        assert!(Training { margin: 0.1, ..paired }.check().unwrap_err().contains("margin"));
        for epsilon in [0.0, -1.0, 17.0, f64::NAN] {
            let noised = Training { score_epsilon: Some(epsilon), ..Training::default() };
            assert!(noised.check().is_err(), "{epsilon}");
        }
        let noised = Training { score_epsilon: Some(0.5), ..Training::default() };
        noised.check().unwrap();
        assert!(Training { hide_scores: true, ..noised }.check().is_err());
        for confidence in [0.4, 1.0, f64::NAN] {
            assert!(Training { confidence, ..paired }.check().is_err(), "{confidence}");
        }
    }

    #[test]
    fn balanced_classes_weigh_the_same_and_rows_one_on_average() {
        let targets = Targets::Classes(vec![0, 0, 0, 2, 2, 2, 2, 2, 2, 1]);
        // The last row is not trained on.
        let rows: Vec<usize> = (0..9).collect();
        let weights = ClassWeights::Balanced.of(&targets, &rows, 3).unwrap();
        assert_eq!(weights, [1.5, 0.0, 0.75]);
        assert_eq!(ClassWeights::Balanced.of(&targets, &[], 3).unwrap(), [0.0; 3]);
        assert!(ClassWeights::Even.of(&targets, &rows, 3).is_none());
        assert!(ClassWeights::Balanced.of(&Targets::Numbers(vec![1.0]), &[0], 1).is_none());
    }
}
