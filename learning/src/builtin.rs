//! The built-in learner: a network on one share of a data set.

use std::path::Path;
use std::sync::Arc;

use colearn_contracts::{Digest, Reason};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::data::Share;
use super::hardening::harden;
use super::metric::Metric;
use super::model::{ModelSpec, WeightsError};
use super::network::{Network, Workspace};
use super::optimizer::Optimizer;
use super::paired::{Comparison, Pair};
use super::private::DpSgd;
use super::reading::Reader;
use super::score_noise::ScoreNoise;
use super::training::{CAUTION, Training, VoteRule};
use colearn_dp::DpError;
use colearn_sdk::learner::{
    Failure, Judgement, Learner, Privacy, Proposed, Result, Score, Scored, Weights,
};
use colearn_sdk::records::words::Word as _;

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
    #[error("a model that predicts {} cannot be judged by {name}; use one of {}", if *classifier { "a class" } else { "a number" },
        Metric::all(*classifier).iter().map(|it| it.word()).collect::<Vec<_>>().join(", "))]
    Metric {
        /// The metric.
        name: &'static str,
        /// Whether the model predicts a class.
        classifier: bool,
    },
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
    reader: Arc<Reader>,
    weights: Weights,
    random: ChaCha8Rng,
    metric: Metric,
    private: Option<DpSgd>,
    score_noise: Option<ScoreNoise>,
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
            return Err(BuiltinError::Metric { name: metric.name(), classifier });
        }
        if training.score_epsilon.is_some() && metric != Metric::Accuracy {
            return Err(BuiltinError::Training(
                "score_epsilon is for accuracies: of other scores one row may change any amount, which no noise hides; \
                 score by accuracy, or hide scores",
            ));
        }
        let score_noise = ScoreNoise::of(&training)?;
        if training.harden && !classifier {
            return Err(BuiltinError::Training(
                "a model that predicts a number has no class that a backdoor leads to; leave harden out",
            ));
        }
        let rows = share.train.len();
        let private = training
            .privacy()
            .map(|privacy| DpSgd::new(privacy, training.batch, rows))
            .transpose()?;
        Ok(Self {
            share,
            optimizer: training.optimizer(classifier),
            training,
            reader: Arc::new(Reader::new(spec)),
            weights,
            random: ChaCha8Rng::seed_from_u64(seed),
            metric,
            private,
            score_noise,
            current_score: None,
            last_scored: None,
        })
    }

    /// What its test score is: what it votes on, but accuracy rather than a classifier's loss, which
    /// says little to people.
    pub fn test_metric(&self) -> Metric {
        match self.metric {
            Metric::Loss => Metric::usual(self.spec().is_classifier()),
            Metric::Accuracy | Metric::Auc | Metric::BalancedAccuracy | Metric::F1 | Metric::R2 => {
                self.metric
            }
        }
    }

    /// Has these read weights together, as far as their model is the first one's: all of a simulation's look at the
    /// same ones, and to read them is most of what few rows cost.
    pub fn read_together(learners: &mut [&mut Self]) {
        let Some(first) = learners.first() else { return };
        let reader = Arc::new(Reader::shared(first.spec().clone()));
        for learner in learners {
            if learner.spec() == reader.spec() {
                learner.reader = reader.clone();
            }
        }
    }

    /// Its part of the data.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// The model it trains.
    pub fn spec(&self) -> &ModelSpec {
        self.reader.spec()
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

    /// What it votes on.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Why its voting rows cannot tell good weights from bad ones, so that it abstains; `None` where they can.
    pub fn cannot_judge(&self) -> Option<&'static str> {
        self.metric.cannot_judge(&self.share.data.targets, self.voting_rows())
    }

    /// What follows from the score of some weights, beside that of the current ones.
    fn judge(&self, network: &Network, vote: f64, current: f64) -> Result<Judgement> {
        // A score that is not a number, or is infinite, is worse than any that is finite: no test has to say so.
        let are_numbers = vote.is_finite() && current.is_finite();
        let approves = match self.training.vote {
            VoteRule::NotWorse if are_numbers => {
                !self.paired(network, |pair| pair.is_worse(self.training.confidence))?
            }
            VoteRule::Better if are_numbers => {
                self.paired(network, |pair| pair.is_better(self.training.confidence))?
            }
            VoteRule::Score | VoteRule::NotWorse | VoteRule::Better => {
                vote >= current - self.training.margin || (current.is_nan() && !vote.is_nan())
            }
        };
        Ok(if self.cannot_judge().is_some() {
            Judgement::Abstain(Some(Reason::TooLittleData))
        } else if approves {
            Judgement::Approve
        } else if vote.is_finite() {
            Judgement::Reject(Some(Reason::Worse))
        } else {
            Judgement::Reject(Some(Reason::NotFinite))
        })
    }

    /// Compares a network with the current weights, on the rows that decide a vote.
    fn paired(&self, second: &Network, ask: impl FnOnce(Pair<'_>) -> bool) -> Result<bool> {
        let (metric, rows, data) = (self.metric, self.voting_rows(), &self.share.data);
        let first = self.reader.read(&self.weights)?.predict(data.view(), rows);
        let second = second.predict(data.view(), rows);
        Ok(ask(Pair { metric, targets: &data.targets, rows, first: &first, second: &second }))
    }

    /// The current weights' score on the test rows.
    ///
    /// # Errors
    /// If the current weights cannot be read.
    pub fn test_score(&self) -> Result<f64> {
        let network = self.reader.read(&self.weights)?;
        Ok(self.score(self.test_metric(), &network, &self.share.test))
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

    /// The same, kept only where it would approve of it: a model of its own under the rule that the shared one is under.
    /// Whether it was kept.
    ///
    /// # Errors
    /// If it cannot train.
    pub fn improve_alone(&mut self) -> Result<bool> {
        let weights = self.train()?;
        // Nobody judges where the rows cannot: then what was trained last is what there is.
        let judgement = self.test(&weights)?.judgement;
        let keeps = matches!(judgement, Judgement::Approve | Judgement::Abstain(_));
        if keeps {
            self.accept(&weights)?;
        }
        Ok(keeps)
    }

    /// Two models on its test rows; `None` where it has none.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn compare(&self, first: &Weights, second: &Weights) -> Result<Option<Comparison>> {
        let rows = &self.share.test;
        if rows.is_empty() {
            return Ok(None);
        }
        let predict = |weights: &Weights| -> Result<_> {
            Ok(self.reader.read(weights)?.predict(self.share.data.view(), rows))
        };
        let (first, second) = (predict(first)?, predict(second)?);
        let (metric, targets) = (self.test_metric(), &self.share.data.targets);
        Ok(Some(Pair { metric, targets, rows, first: &first, second: &second }.compare()))
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
            let source = BuiltinError::Diverged.into();
            return Err(Failure { reason: Reason::NotFinite, source }.into());
        }
        Ok(self.spec().write(&network)?)
    }

    fn descend(&mut self) -> Result<Network> {
        let mut network = Arc::unwrap_or_clone(self.reader.read(&self.weights)?);
        let mut state = self.optimizer.start(&network);
        let mut workspace = Workspace::default();
        let data = &self.share.data;
        let mut order = self.share.train.clone();
        let classes = data.schema.target.classes().len();
        let weights = self.training.class_weights.of(&data.targets, &order, classes);
        if let Some(mut private) = self.private.take() {
            for _ in 0..self.steps() {
                private.gradient(&network, data, &self.share.train, &mut workspace);
                self.optimizer.step(&mut network, &workspace.gradients, &mut state);
            }
            self.private = Some(private);
            return Ok(network);
        }
        for _ in 0..self.training.epochs {
            // Anew in each pass: what has been learned against one way of fooling it leaves others.
            let hardened = match self.training.harden {
                true => harden(&network, &self.share, &mut self.random),
                false => None,
            };
            let (features, targets) = match &hardened {
                Some((features, targets)) => (features.view(), targets),
                None => (data.view(), &data.targets),
            };
            if hardened.is_some() {
                order = (0..features.nrows()).collect();
            }
            order.shuffle(&mut self.random);
            for rows in order.chunks(self.training.batch) {
                network.weighted_gradient(
                    features,
                    targets,
                    rows,
                    weights.as_deref(),
                    &mut workspace,
                );
                self.optimizer.step(&mut network, &workspace.gradients, &mut state);
            }
        }
        Ok(network)
    }
}

impl Learner for BuiltinLearner {
    fn propose(&mut self) -> Result<Proposed> {
        if self.share.train.is_empty() {
            return Ok(Proposed::Pass(Some(Reason::TooLittleData)));
        }
        let weights = self.train()?;
        Ok(match self.privacy() {
            Some(privacy) => Proposed::Private(weights, privacy.segment),
            None => Proposed::Weights(weights),
        })
    }

    fn privacy(&self) -> Option<Privacy> {
        self.private.as_ref().map(|private| private.takes(self.steps()))
    }

    fn score_privacy(&self) -> Option<Privacy> {
        self.score_noise.as_ref().map(ScoreNoise::takes)
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        let network = match self.reader.read(weights) {
            Ok(network) => network,
            Err(WeightsError::NotFinite(_)) => {
                return Ok(Score::none(Judgement::Reject(Some(Reason::NotFinite))));
            }
            Err(error) => return Err(error.into()),
        };
        let current = match self.current_score {
            Some(current) => current,
            None => {
                let current = self.reader.read(&self.weights)?;
                self.score(self.metric, &current, self.voting_rows())
            }
        };
        self.current_score = Some(current);
        let vote = self.score(self.metric, &network, self.voting_rows());
        self.last_scored = Some((weights.digest(), vote));
        let judgement = self.judge(&network, vote, current)?;
        if self.training.hide_scores {
            return Ok(Score::none(judgement));
        }
        let test = (!self.share.test.is_empty())
            .then(|| self.score(self.test_metric(), &network, &self.share.test));
        let rows = (self.voting_rows().len(), self.share.test.len());
        Ok(match &mut self.score_noise {
            // What is decided follows from the score as it is.
            Some(noise) => Score {
                vote: noise.add(vote, rows.0),
                test: test.map(|test| noise.add(test, rows.1)),
                judgement,
            },
            None => Score { vote, test, judgement },
        })
    }

    /// By loss, whatever it votes with.
    fn measure(&mut self, scored: Scored<'_>) -> Result<f64> {
        let network = self.reader.read(scored.weights)?;
        Ok(self.score(Metric::Loss, &network, self.voting_rows()))
    }

    /// By loss, which tells finely, and, unless it is cautious, by accuracy as far as it is not lower; on all rows but those for the
    /// test. It compares two merges of everybody's updates and certifies neither, so rows that were trained
    /// on serve as well.
    fn prefer(&mut self, guarded: Scored<'_>, open: Scored<'_>) -> Result<bool> {
        let rows = [&self.share.train[..], &self.share.vote].concat();
        let scores = |weights: &Weights| -> Result<(f64, f64)> {
            let network = self.reader.read(weights)?;
            let predictions = network.predict(self.share.data.view(), &rows);
            let score =
                |metric: Metric| metric.score(&predictions, &self.share.data.targets, &rows);
            Ok((score(Metric::Loss), score(Metric::Accuracy)))
        };
        let (guarded, open) = (scores(guarded.weights)?, scores(open.weights)?);
        if self.training.cautious {
            return Ok(guarded.0 >= open.0 - CAUTION);
        }
        // There is no accuracy where a number is predicted.
        let less_accurate = guarded.1 < open.1;
        Ok(guarded.0 > open.0 && !less_accurate)
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.reader.read(weights)?;
        let scored = self.last_scored.filter(|(digest, _)| *digest == weights.digest());
        self.current_score = scored.map(|(_, score)| score);
        self.weights = weights.clone();
        Ok(())
    }

    fn current(&self) -> Weights {
        self.weights.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::data::{Dataset, Embedded, Split, Targets};
    use super::super::model::Activation;
    use super::super::training::ClassWeights;
    use super::*;

    /// A learner on some of the irises, with a model that has seen none.
    fn learner(change: impl FnOnce(&mut Share, &mut Training)) -> BuiltinLearner {
        let data = Arc::new(Dataset::embedded(Embedded::Iris).unwrap());
        let mut share = data.split(Split::Iid, 2, 1).unwrap().swap_remove(0);
        let mut training = Training::default();
        change(&mut share, &mut training);
        let spec = ModelSpec::new(vec![8], Activation::Relu, data.schema.clone());
        let initial = spec.write(&spec.untrained(1)).unwrap();
        BuiltinLearner::new(share, training, initial, 1).unwrap()
    }

    fn proposed(learner: &mut BuiltinLearner) -> Weights {
        learner.propose().unwrap().weights().unwrap().clone()
    }

    #[test]
    fn better_weights_are_approved_and_worse_ones_are_not() {
        let mut learner = learner(|_, _| {});
        let untrained = learner.current();
        let better = proposed(&mut learner);
        assert_eq!(learner.test(&better).unwrap().judgement, Judgement::Approve);
        learner.accept(&better).unwrap();
        let worse = learner.test(&untrained).unwrap();
        assert_eq!(worse.judgement, Judgement::Reject(Some(Reason::Worse)));
        learner.training.hide_scores = true;
        let hidden = learner.test(&untrained).unwrap();
        assert!(hidden.vote.is_nan() && hidden.test.is_none());
        assert_eq!(hidden.judgement, worse.judgement);
    }

    #[test]
    fn noise_is_for_the_scores_that_leave_and_not_for_the_vote() {
        let with = |score_epsilon| {
            let mut learner = learner(|_, training| {
                training.score_epsilon = score_epsilon;
                training.noise_source = super::super::private::Noise::Seeded(1);
            });
            let better = proposed(&mut learner);
            let scores = [0; 30].map(|_| learner.test(&better).unwrap());
            (scores, learner.score_privacy())
        };
        let (plain, takes) = with(None);
        assert!(takes.is_none());
        let (noised, takes) = with(Some(0.05));
        assert_eq!(takes.unwrap().segment.steps, 1);
        assert!(noised.iter().all(|score| score.judgement == plain[0].judgement));
        assert!(noised.iter().any(|score| score.vote != plain[0].vote));
        assert!(noised.iter().any(|score| score.test != plain[0].test));
        let refused = |score| {
            let data = Arc::new(Dataset::embedded(Embedded::Iris).unwrap());
            let share = data.split(Split::Iid, 2, 1).unwrap().swap_remove(0);
            let spec = ModelSpec::new(vec![], Activation::Relu, data.schema.clone());
            let initial = spec.write(&spec.untrained(1)).unwrap();
            let training =
                Training { score: Some(score), score_epsilon: Some(1.0), ..Training::default() };
            BuiltinLearner::new(share, training, initial, 1).unwrap_err().to_string()
        };
        for score in [Metric::Loss, Metric::Auc, Metric::BalancedAccuracy, Metric::F1] {
            assert!(refused(score).contains("for accuracies"));
        }
    }

    #[test]
    fn a_vote_by_paired_comparison_needs_rows_that_differ() {
        let judgement = |vote, metric, weights: &dyn Fn(&mut BuiltinLearner) -> Weights| {
            let mut learner = learner(|_, training| {
                (training.vote, training.score) = (vote, Some(metric));
            });
            let weights = weights(&mut learner);
            learner.test(&weights).unwrap().judgement
        };
        let same = |learner: &mut BuiltinLearner| learner.current();
        let better = |learner: &mut BuiltinLearner| proposed(learner);
        let worse = |learner: &mut BuiltinLearner| {
            let untrained = learner.current();
            let better = proposed(learner);
            learner.accept(&better).unwrap();
            untrained
        };
        let rejected = Judgement::Reject(Some(Reason::Worse));
        for metric in [Metric::Accuracy, Metric::Loss] {
            for (rule, expected) in [
                (VoteRule::NotWorse, [Judgement::Approve, Judgement::Approve, rejected]),
                (VoteRule::Better, [rejected, Judgement::Approve, rejected]),
            ] {
                let found = [
                    judgement(rule, metric, &same),
                    judgement(rule, metric, &better),
                    judgement(rule, metric, &worse),
                ];
                assert_eq!(found, expected, "{rule:?} {metric:?}");
            }
        }
    }

    #[test]
    fn a_merge_is_preferred_by_loss_and_accuracy_together() {
        let mut learner = learner(|_, _| {});
        let untrained = learner.current();
        let better = proposed(&mut learner);
        let none = Score::none(true);
        let untrained = Scored { weights: &untrained, score: none };
        let better = Scored { weights: &better, score: none };
        // Whatever the scores say: it looks for itself.
        assert!(learner.prefer(better, untrained).unwrap());
        assert!(!learner.prefer(untrained, better).unwrap());
        assert!(!learner.prefer(better, better).unwrap());
        let other = Weights::new("of another model");
        assert!(learner.prefer(Scored { weights: &other, score: none }, better).is_err());
    }

    #[test]
    fn a_cautious_learner_prefers_guarded_unless_open_is_clearly_better() {
        let mut learner = learner(|_, training| training.cautious = true);
        let untrained = learner.current();
        learner.train_alone().unwrap();
        let better = learner.current();
        let score = Score::none(true);
        let [untrained, better] = [&untrained, &better].map(|weights| Scored { weights, score });
        assert!(learner.prefer(better, better).unwrap());
        assert!(learner.prefer(better, untrained).unwrap());
        assert!(!learner.prefer(untrained, better).unwrap());
    }

    #[test]
    fn hardening_trains_other_weights_and_is_for_classes_without_noise() {
        let trained = |harden: bool| {
            let mut learner = learner(|_, training| training.harden = harden);
            learner.train_alone().unwrap();
            (learner.test_score().unwrap(), learner.current())
        };
        let (plain, hardened) = (trained(false), trained(true));
        assert_ne!(plain.1, hardened.1);
        assert_eq!(hardened.1, trained(true).1);
        assert!(hardened.0 >= plain.0 - 0.2, "{} {}", hardened.0, plain.0);
        let data = Arc::new(Dataset::embedded(Embedded::Diabetes).unwrap());
        let share = data.split(Split::Iid, 2, 1).unwrap().swap_remove(0);
        let spec = ModelSpec::new(vec![4], Activation::Relu, data.schema.clone());
        let weights = spec.write(&spec.untrained(1)).unwrap();
        let training = Training { harden: true, ..Training::default() };
        let error = BuiltinLearner::new(share, training, weights, 1).unwrap_err().to_string();
        assert!(error.contains("leave harden out"), "{error}");
    }

    #[test]
    fn weights_that_are_no_numbers_are_neither_approved_nor_proposed() {
        let mut broken = learner(|_, training| training.learning_rate = Some(1e30));
        let error = broken.propose().unwrap_err();
        let failure: &Failure = error.downcast_ref().unwrap();
        assert_eq!(failure.reason, Reason::NotFinite);
        assert!(error.to_string().contains("try a smaller learning rate"), "{error}");
        let mut network = broken.spec().read(&broken.current()).unwrap();
        network.layers_mut()[0].slices_mut()[0][0] = f32::NAN;
        let weights = broken.spec().write(&network).unwrap();
        let judged = broken.test(&weights).unwrap();
        assert_eq!(judged.judgement, Judgement::Reject(Some(Reason::NotFinite)));
        assert!(broken.test(&Weights::new("of another model")).is_err());
    }

    #[test]
    fn too_little_data_neither_judges_nor_trains() {
        let one_class = |share: &mut Share, _: &mut Training| {
            let Targets::Classes(classes) = &share.data.targets else { return };
            share.vote.retain(|row| classes[*row] == 0);
            assert!(share.vote.len() > 1);
        };
        let none = |share: &mut Share, _: &mut Training| share.vote.clear();
        let first = |share: &mut Share, training: &mut Training| {
            (training.batch, training.vote_batches) = (1, Some(1));
            share.vote.truncate(9);
        };
        for mut learner in [learner(one_class), learner(none), learner(first)] {
            assert!(learner.cannot_judge().is_some());
            let better = proposed(&mut learner);
            let judgement = learner.test(&better).unwrap().judgement;
            assert_eq!(judgement, Judgement::Abstain(Some(Reason::TooLittleData)));
        }
        let mut empty = learner(|share, _| share.train.clear());
        let passed = Proposed::Pass(Some(Reason::TooLittleData));
        assert_eq!(empty.propose().unwrap(), passed);
    }

    #[test]
    fn with_balanced_weights_a_rare_class_is_found_that_is_lost_without() {
        // Two classes that overlap, one of them eight times as common.
        let table = |row: usize| {
            let rare = row.is_multiple_of(9);
            let noise = ((row * 7919) % 100) as f32 / 50.0 - 1.0;
            (u32::from(rare), noise + if rare { 0.6 } else { -0.2 })
        };
        let rows: Vec<(u32, f32)> = (0..900).map(table).collect();
        let features = ndarray::Array2::from_shape_fn((900, 1), |(row, _)| rows[row].1);
        let data = Arc::new(Dataset {
            name: "rare".to_owned(),
            schema: crate::data::Schema {
                features: vec![crate::data::Column::Block {
                    name: "x".into(),
                    width: 1,
                    mean: 0.0,
                    scale: 1.0,
                }],
                target: crate::data::Target::Class {
                    name: "y".into(),
                    classes: vec!["common".into(), "rare".into()],
                },
            },
            features: features.into_shared(),
            targets: Targets::Classes(rows.iter().map(|row| row.0).collect()),
            test_from: 900,
            notes: Vec::new(),
        });
        let score = |class_weights| {
            let share = data.split(Split::Iid, 1, 1).unwrap().swap_remove(0);
            let spec = ModelSpec::new(vec![4], Activation::Tanh, data.schema.clone());
            let initial = spec.write(&spec.untrained(1)).unwrap();
            let score = Some(Metric::BalancedAccuracy);
            let training = Training { class_weights, score, ..Training::default() };
            let mut learner = BuiltinLearner::new(share, training, initial, 1).unwrap();
            learner.train_alone().unwrap();
            learner.test_score().unwrap()
        };
        let (even, balanced) = (score(ClassWeights::Even), score(ClassWeights::Balanced));
        assert!(balanced > even + 0.05, "{even} {balanced}");
    }

    #[test]
    fn a_metric_is_for_classes_or_for_numbers() {
        let make = |embedded, score| {
            let data = Arc::new(Dataset::embedded(embedded).unwrap());
            let share = data.split(Split::Iid, 2, 1).unwrap().swap_remove(0);
            let spec = ModelSpec::new(vec![4], Activation::Relu, data.schema.clone());
            let weights = spec.write(&spec.untrained(1)).unwrap();
            let training = Training { score: Some(score), ..Training::default() };
            BuiltinLearner::new(share, training, weights, 1)
        };
        let told = make(Embedded::Iris, Metric::R2).unwrap_err().to_string();
        assert!(
            told.contains("predicts a class") && told.contains("balanced_accuracy, f1"),
            "{told}"
        );
        let told = make(Embedded::Diabetes, Metric::F1).unwrap_err().to_string();
        assert!(told.contains("predicts a number") && told.contains("loss, r2"), "{told}");
        let mut learner = make(Embedded::Diabetes, Metric::R2).unwrap();
        let before = learner.test_score().unwrap();
        for _ in 0..3 {
            learner.train_alone().unwrap();
        }
        let after = learner.test_score().unwrap();
        assert!(before < after && after < 1.0, "{before} {after}");
    }
}
