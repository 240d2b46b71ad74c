//! Two models on the same rows: by how much one is better, and how sure that is. What both get right or wrong says
//! nothing about which is better, so rows are compared one by one; two scores beside each other would hide that.

use colearn_dp::binomial::at_least;
use ndarray::{Array2, Axis};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::data::Targets;
use super::metric::{Metric, is_right, losses};
use super::student;

/// What intervals are stated for: 95 %.
pub const CONFIDENCE: f64 = 0.95;
/// The 97.5th percentile of the standard normal.
const Z: f64 = 1.959_963_985;
/// How often rows are drawn anew, where no formula says how a score scatters,
const REPLICATES: usize = 2000;
/// at least,
const LEAST_REPLICATES: usize = 200;
/// and how many rows may be drawn altogether.
const DRAWN: usize = 100_000_000;
/// The seed of these draws: the same rows and models give the same answer.
pub const SEED: u64 = 1;

/// Two models on the same rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Comparison {
    /// How many rows.
    pub rows: usize,
    /// The first one's score: higher is better.
    pub first: f64,
    /// The second one's.
    pub second: f64,
    /// By how much the second one's is higher, at [`CONFIDENCE`]: of accuracies by the adjusted interval of Bonett
    /// and Price (2012), of other scores by the percentiles of a paired bootstrap (Efron 1979).
    pub interval: [f64; 2],
    /// Rows that only one of them gets right, where there is such a thing.
    pub only: Option<Discordant>,
}

/// Rows on which two models differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Discordant {
    /// Those that only the first gets right,
    pub first: u64,
    /// and those that only the second does.
    pub second: u64,
}

impl Discordant {
    /// How likely a difference of this size, either way, would be if both were as good: McNemar's test (1947), exact.
    pub fn p_value(self) -> f64 {
        let all = self.first + self.second;
        (2.0 * at_least(self.first.max(self.second), all, 0.5)).min(1.0)
    }

    /// How likely the second would be at least so much better, if both were as good.
    fn chance_of_better(self) -> f64 {
        at_least(self.second, self.first + self.second, 0.5)
    }

    /// How likely it would be at least so much worse.
    fn chance_of_worse(self) -> f64 {
        at_least(self.first, self.first + self.second, 0.5)
    }
}

/// By how much a loss is far from another: about what guessing costs, of classes as of numbers that were scaled.
const FAR: f64 = 1.0;

/// Two models' predictions (`[rows, outputs]`) of the same rows.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// What is measured.
    pub metric: Metric,
    /// The targets of the data.
    pub targets: &'a Targets,
    /// Which of its rows were predicted.
    pub rows: &'a [usize],
    /// What the first makes of them.
    pub first: &'a Array2<f32>,
    /// What the second does.
    pub second: &'a Array2<f32>,
}

impl Pair<'_> {
    /// By how much the second is better.
    pub fn compare(&self) -> Comparison {
        let (first, second) = (self.score(self.first), self.score(self.second));
        let only = self.discordant();
        let interval = match only.filter(|_| self.metric == Metric::Accuracy) {
            Some(only) => adjusted(only, self.rows.len()),
            None => percentiles(self.bootstrap()),
        };
        Comparison { rows: self.rows.len(), first, second, interval, only }
    }

    /// Whether the second is better at this confidence, by a one-sided test: McNemar's, exact, of accuracies; Student's, paired, of
    /// losses, which also decides by R2, since that is higher where the loss is lower; and a paired bootstrap of other scores.
    pub fn is_better(&self, confidence: f64) -> bool {
        let rest = 1.0 - confidence;
        match self.metric {
            Metric::Accuracy => self.discordant().is_some_and(|it| it.chance_of_better() <= rest),
            Metric::Loss | Metric::R2 => self.student(1.0) <= rest,
            Metric::Auc | Metric::BalancedAccuracy | Metric::F1 => {
                is_rare(&self.bootstrap(), confidence, |difference| difference <= 0.0)
            }
        }
    }

    /// Whether the second is worse at this confidence, by the same tests. Of losses also where they are on average higher by more than
    /// 1, and more than the first's are scattered: a single row that makes them so is none that a test could not tell from chance.
    pub fn is_worse(&self, confidence: f64) -> bool {
        let rest = 1.0 - confidence;
        match self.metric {
            Metric::Accuracy => self.discordant().is_some_and(|it| it.chance_of_worse() <= rest),
            Metric::Loss | Metric::R2 => self.student(-1.0) <= rest || self.is_far_worse(),
            Metric::Auc | Metric::BalancedAccuracy | Metric::F1 => {
                is_rare(&self.bootstrap(), confidence, |difference| difference >= 0.0)
            }
        }
    }

    /// How likely the second's rows would have so much less loss, times `sign`, if both were as good: Student's paired test
    /// (1908).
    fn student(&self, sign: f64) -> f64 {
        let losses = |predictions| losses(predictions, self.targets, self.rows);
        let gains: Vec<f64> =
            losses(self.first).zip(losses(self.second)).map(|(a, b)| sign * (a - b)).collect();
        let count = gains.len() as f64;
        let mean = gains.iter().sum::<f64>() / count;
        if gains.len() < 2 || mean == 0.0 {
            return 1.0;
        }
        let squares: f64 = gains.iter().map(|gain| (gain - mean).powi(2)).sum();
        // Where all rows gain the same it is infinite.
        student::at_least(mean / (squares / (count - 1.0) / count).sqrt(), count - 1.0)
    }

    fn is_far_worse(&self) -> bool {
        let losses = |predictions| losses(predictions, self.targets, self.rows);
        let count = self.rows.len() as f64;
        let mean = |predictions| losses(predictions).sum::<f64>() / count;
        let (first, second) = (mean(self.first), mean(self.second));
        let squares = losses(self.first).map(|it| (it - first).powi(2)).sum::<f64>();
        second.is_nan() || second > first + (squares / count).sqrt().max(FAR)
    }

    fn score(&self, predictions: &Array2<f32>) -> f64 {
        self.metric.score(predictions, self.targets, self.rows)
    }

    fn discordant(&self) -> Option<Discordant> {
        let Targets::Classes(classes) = self.targets else { return None };
        let mut only = Discordant { first: 0, second: 0 };
        let predicted = self.first.rows().into_iter().zip(self.second.rows());
        for ((first, second), at) in predicted.zip(self.rows) {
            let own = classes[*at];
            match (is_right(first, own), is_right(second, own)) {
                (true, false) => only.first += 1,
                (false, true) => only.second += 1,
                (true, true) | (false, false) => {}
            }
        }
        Some(only)
    }

    /// Differences between the scores on rows that are drawn with replacement, the same for both. Draws that have no
    /// score, such as of one class alone, are left out.
    fn bootstrap(&self) -> Vec<f64> {
        let count = self.rows.len();
        if count == 0 {
            return Vec::new();
        }
        let replicates = (DRAWN / count).clamp(LEAST_REPLICATES, REPLICATES);
        let difference = |replicate: usize| {
            let mut random = ChaCha8Rng::seed_from_u64(SEED);
            random.set_stream(replicate as u64);
            let drawn: Vec<usize> = (0..count).map(|_| random.random_range(0..count)).collect();
            let rows: Vec<usize> = drawn.iter().map(|at| self.rows[*at]).collect();
            let score = |predictions: &Array2<f32>| {
                self.metric.score(&predictions.select(Axis(0), &drawn), self.targets, &rows)
            };
            score(self.second) - score(self.first)
        };
        let differences = (0..replicates).into_par_iter().map(difference);
        let mut differences: Vec<f64> = differences.filter(|it| !it.is_nan()).collect();
        differences.sort_by(f64::total_cmp);
        differences
    }
}

/// Whether so few of the differences are such that the opposite holds at this confidence.
fn is_rare(differences: &[f64], confidence: f64, such: impl Fn(f64) -> bool) -> bool {
    let many = differences.iter().filter(|difference| such(**difference)).count();
    !differences.is_empty() && many as f64 <= (1.0 - confidence) * differences.len() as f64
}

fn percentiles(sorted: Vec<f64>) -> [f64; 2] {
    let at = |share: f64| {
        let place = (share * (sorted.len() as f64 - 1.0)).round() as usize;
        sorted.get(place).copied().unwrap_or(f64::NAN)
    };
    let tail = (1.0 - CONFIDENCE) / 2.0;
    [at(tail), at(1.0 - tail)]
}

/// The interval of a difference of proportions of the same rows, with a row more on either side.
fn adjusted(only: Discordant, rows: usize) -> [f64; 2] {
    let rows = rows as f64 + 2.0;
    let share = |count: u64| (count as f64 + 1.0) / rows;
    let (first, second) = (share(only.first), share(only.second));
    let difference = second - first;
    let half = Z * ((first + second - difference * difference) / rows).sqrt();
    [(difference - half).max(-1.0), (difference + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    /// Predictions of two classes that are right where `right` says so; all rows are of class 1.
    fn predictions(right: &[bool]) -> Array2<f32> {
        Array2::from_shape_fn(
            (right.len(), 2),
            |(row, class)| {
                if (class == 1) == right[row] { 0.8 } else { 0.2 }
            },
        )
    }

    /// So many rows that both get right, only the first, only the second, and neither.
    fn rights(counts: [usize; 4]) -> (Vec<bool>, Vec<bool>) {
        let kinds = [(true, true), (true, false), (false, true), (false, false)];
        counts.iter().zip(kinds).flat_map(|(count, kind)| vec![kind; *count]).unzip()
    }

    fn with<T>(metric: Metric, counts: [usize; 4], ask: impl Fn(Pair<'_>) -> T) -> T {
        let (first, second) = rights(counts);
        let rows: Vec<usize> = (0..first.len()).collect();
        let targets = Targets::Classes(vec![1; first.len()]);
        let (first, second) = (predictions(&first), predictions(&second));
        ask(Pair { metric, targets: &targets, rows: &rows, first: &first, second: &second })
    }

    #[test]
    fn rows_that_differ_decide_and_the_others_do_not() {
        // 5 against 15 of 20 that differ: 2 P(X >= 15) = 0.0414 by hand.
        let p = Discordant { first: 5, second: 15 }.p_value();
        assert!((p - 0.041_389_465).abs() < 1e-8, "{p}");
        assert_eq!(Discordant { first: 0, second: 0 }.p_value(), 1.0);
        assert_eq!(Discordant { first: 3, second: 3 }.p_value(), 1.0);
        for both in [0, 80, 100_000] {
            let counts = [both, 5, 15, 0];
            assert!(with(Metric::Accuracy, counts, |pair| pair.is_better(0.95)));
            assert!(!with(Metric::Accuracy, counts, |pair| pair.is_better(0.98)));
            assert!(!with(Metric::Accuracy, counts, |pair| pair.is_worse(0.5)));
        }
        // What is the same is neither, however little is asked for.
        for metric in [Metric::Accuracy, Metric::Loss] {
            assert!(!with(metric, [50, 0, 0, 50], |pair| pair.is_better(0.5) || pair.is_worse(0.5)));
        }
    }

    #[test]
    fn intervals_hold_the_difference_and_shrink_with_rows() {
        let few = with(Metric::Accuracy, [60, 10, 20, 10], |pair| pair.compare());
        assert_eq!((few.rows, few.first, few.second), (100, 0.7, 0.8));
        assert_eq!(few.only, Some(Discordant { first: 10, second: 20 }));
        // (21 - 11) / 102, with 1.96 sqrt((32/102 - (10/102)^2) / 102) on either side.
        assert!((few.interval[0] + 0.008_97).abs() < 1e-4, "{few:?}");
        assert!((few.interval[1] - 0.205_05).abs() < 1e-4, "{few:?}");
        let many = with(Metric::Accuracy, [6000, 1000, 2000, 1000], |pair| pair.compare());
        assert!(many.interval[0] > 0.08 && many.interval[1] < 0.12, "{many:?}");
        // The bootstrap agrees where both can be asked: of these the loss is the accuracy, but for its unit.
        let loss = with(Metric::Loss, [600, 100, 200, 100], |pair| pair.compare());
        let unit = (0.8_f64 / 0.2).ln();
        let accuracy = with(Metric::Accuracy, [600, 100, 200, 100], |pair| pair.compare());
        for (loss, accuracy) in loss.interval.iter().zip(accuracy.interval) {
            assert!((loss / unit - accuracy).abs() < 0.004, "{loss} {accuracy}");
        }
        let again = with(Metric::Loss, [600, 100, 200, 100], |pair| pair.compare());
        assert_eq!(again, loss, "the draws have a seed");
    }

    #[test]
    fn what_has_no_score_has_no_interval() {
        let auc = with(Metric::Auc, [5, 1, 1, 1], |pair| pair.compare());
        assert!(auc.first.is_nan() && auc.interval[0].is_nan(), "{auc:?}");
        assert!(!with(Metric::Auc, [5, 0, 9, 1], |pair| pair.is_better(0.5)));
        let none = with(Metric::Loss, [0; 4], |pair| pair.compare());
        assert!(none.interval[0].is_nan());
    }

    #[test]
    fn losses_are_compared_by_students_test() {
        // Losses of ten rows that differ by 0.1 to 1.0: t = 5.745 with 9 degrees of freedom, p = 0.00014.
        let first = Array2::from_shape_fn((10, 1), |(row, _)| (0.1 * (row as f32 + 1.0)).sqrt());
        let second = Array2::zeros((10, 1));
        let (targets, rows) = (Targets::Numbers(vec![0.0; 10]), (0..10).collect::<Vec<_>>());
        for metric in [Metric::Loss, Metric::R2] {
            let pair =
                Pair { metric, targets: &targets, rows: &rows, first: &first, second: &second };
            assert!(pair.is_better(0.9998) && !pair.is_better(0.9999), "{metric:?}");
            assert!(!pair.is_worse(0.5));
            let turned = Pair { first: &second, second: &first, ..pair };
            assert!(turned.is_worse(0.9998) && !turned.is_worse(0.9999) && !turned.is_better(0.5));
        }
    }

    #[test]
    fn one_row_that_is_far_off_makes_a_model_worse_though_a_test_could_not_tell() {
        let first = Array2::from_elem((30, 1), 0.1_f32);
        let (targets, rows) = (Targets::Numbers(vec![0.0; 30]), (0..30).collect::<Vec<_>>());
        for far in [30_000.0, f32::INFINITY, f32::NAN] {
            let second =
                Array2::from_shape_fn((30, 1), |(row, _)| if row == 0 { far } else { 0.09 });
            let metric = Metric::Loss;
            let pair =
                Pair { metric, targets: &targets, rows: &rows, first: &first, second: &second };
            assert!(pair.is_worse(0.999) && !pair.is_better(0.5), "{far}");
        }
    }

    #[test]
    fn of_models_that_are_as_good_few_are_taken_for_worse() {
        // 1,000 pairs of models that are right by chance on 60 rows: a one-sided test at 0.9 is wrong in at most a tenth.
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut wrong = 0;
        for _ in 0..1000 {
            let mut counts = [0; 4];
            (0..60).for_each(|_| counts[random.random_range(0..4)] += 1);
            wrong += u32::from(with(Metric::Accuracy, counts, |pair| pair.is_worse(0.9)));
        }
        assert!((20..=100).contains(&wrong), "{wrong}");
    }
}
