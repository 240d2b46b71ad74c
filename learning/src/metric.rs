//! How good predictions are.

use ndarray::{Array2, ArrayView1};

use super::data::Targets;

/// What a learner votes on. Higher is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// The share of rows whose most likely class is right.
    Accuracy,
    /// The negative mean cross entropy in nats, or the negative mean squared error in units of the
    /// schema's scale squared.
    Loss,
    /// The area under the receiver operating characteristic; with more than two classes the mean
    /// over those present, each against the others.
    Auc,
    /// The mean over the classes present of the share of their rows that is right: a rare class counts
    /// as much as a common one.
    BalancedAccuracy,
    /// The mean of the classes' F1, over those that occur or are predicted.
    F1,
    /// The coefficient of determination: 1 minus the squared error over that of the rows' own mean.
    R2,
}

impl Metric {
    /// The metric that is used where none is asked for.
    pub fn usual(classifier: bool) -> Self {
        if classifier { Self::Accuracy } else { Self::Loss }
    }

    /// All that can judge a model of this kind, the usual one first.
    pub fn all(classifier: bool) -> &'static [Self] {
        match classifier {
            true => &[Self::Accuracy, Self::Auc, Self::BalancedAccuracy, Self::F1, Self::Loss],
            false => &[Self::Loss, Self::R2],
        }
    }

    /// Whether it can judge a model of this kind.
    pub fn suits(self, classifier: bool) -> bool {
        Self::all(classifier).contains(&self)
    }

    /// Why rows with these targets cannot tell good predictions from bad ones; `None` where they can. A single
    /// class is predicted best by whoever knows no other.
    pub fn cannot_judge(self, targets: &Targets, rows: &[usize]) -> Option<&'static str> {
        if rows.len() < 2 {
            return Some("there are fewer than two of them");
        }
        let differ = |same: &dyn Fn(usize, usize) -> bool| {
            rows.windows(2).any(|pair| !same(pair[0], pair[1]))
        };
        match targets {
            Targets::Classes(classes) if !differ(&|a, b| classes[a] == classes[b]) => {
                Some("all of them are of one class")
            }
            Targets::Numbers(numbers)
                if self == Self::R2 && !differ(&|a, b| numbers[a] == numbers[b]) =>
            {
                Some("all of them have the same number")
            }
            Targets::Classes(_) | Targets::Numbers(_) => None,
        }
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Loss => "negative loss",
            Self::Auc => "AUC",
            Self::BalancedAccuracy => "balanced accuracy",
            Self::F1 => "macro F1",
            Self::R2 => "R2",
        }
    }

    /// The score of `predictions` (`[rows, outputs]`) of some rows. NaN where there is none, for
    /// example the area under the curve of a single class.
    pub fn score(self, predictions: &Array2<f32>, targets: &Targets, rows: &[usize]) -> f64 {
        match (self, targets) {
            (Self::Loss, _) => -mean_loss(predictions, targets, rows),
            (Self::Accuracy, Targets::Classes(classes)) => accuracy(predictions, classes, rows),
            (Self::Auc, Targets::Classes(classes)) => auc(predictions, classes, rows),
            (Self::BalancedAccuracy, Targets::Classes(classes)) => {
                mean(per_class(predictions, classes, rows).iter().filter_map(ClassScores::recall))
            }
            (Self::F1, Targets::Classes(classes)) => {
                mean(per_class(predictions, classes, rows).iter().filter_map(ClassScores::f1))
            }
            (Self::R2, Targets::Numbers(numbers)) => r2(predictions, numbers, rows),
            (
                Self::Accuracy | Self::Auc | Self::BalancedAccuracy | Self::F1,
                Targets::Numbers(_),
            )
            | (Self::R2, Targets::Classes(_)) => f64::NAN,
        }
    }
}

/// How a class fared: counts of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassScores {
    /// Rows of the class.
    pub rows: u32,
    /// Rows that were taken for it, rightly or not.
    pub predicted: u32,
    /// Rows of it that were taken for it.
    pub right: u32,
}

impl ClassScores {
    /// Of the rows that were taken for it, the share that is of it; `None` if none was.
    pub fn precision(&self) -> Option<f64> {
        share(self.right, self.predicted)
    }

    /// Of its rows, the share that was taken for it; `None` if there is none.
    pub fn recall(&self) -> Option<f64> {
        share(self.right, self.rows)
    }

    /// The harmonic mean of both; 0 where one of them is missing, `None` where both are.
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.right, self.rows + self.predicted)
    }
}

fn share(part: u32, whole: u32) -> Option<f64> {
    (whole > 0).then(|| f64::from(part) / f64::from(whole))
}

/// The mean; NaN of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), it| (count + 1, sum + it));
    sum / f64::from(count)
}

/// How each class fares in `predictions` (`[rows, classes]`) of some rows.
pub fn per_class(predictions: &Array2<f32>, classes: &[u32], rows: &[usize]) -> Vec<ClassScores> {
    let mut all = vec![ClassScores::default(); predictions.ncols()];
    for (row, at) in predictions.rows().into_iter().zip(rows) {
        let own = classes[*at] as usize;
        all[own].rows += 1;
        if let Some(predicted) = likeliest(row) {
            all[predicted].predicted += 1;
            all[own].right += u32::from(predicted == own);
        }
    }
    all
}

/// The class that is more likely than each other. A tie is for none, and so is what is no number.
fn likeliest(row: ArrayView1<'_, f32>) -> Option<usize> {
    let first = row.iter().enumerate().reduce(|most, it| if it.1 > most.1 { it } else { most });
    let (at, most) = first?;
    (row.iter().filter(|other| *other < most).count() + 1 == row.len()).then_some(at)
}

/// Whether a row's predictions (`[outputs]`) are for its class.
pub(super) fn is_right(row: ArrayView1<'_, f32>, class: u32) -> bool {
    likeliest(row) == Some(class as usize)
}

/// The mean cross entropy or squared error.
pub(super) fn mean_loss(predictions: &Array2<f32>, targets: &Targets, rows: &[usize]) -> f64 {
    losses(predictions, targets, rows).sum::<f64>() / rows.len().max(1) as f64
}

/// Each row's own.
pub(super) fn losses<'a>(
    predictions: &'a Array2<f32>,
    targets: &'a Targets,
    rows: &'a [usize],
) -> impl Iterator<Item = f64> + 'a {
    predictions.rows().into_iter().zip(rows).map(move |(row, at)| match targets {
        Targets::Classes(classes) => {
            let likely = row[classes[*at] as usize];
            // NaN stays NaN; zero is as bad as can be told.
            if likely.is_nan() { f64::NAN } else { -f64::from(likely.max(f32::MIN_POSITIVE)).ln() }
        }
        Targets::Numbers(numbers) => f64::from(row[0] - numbers[*at]).powi(2),
    })
}

fn accuracy(predictions: &Array2<f32>, classes: &[u32], rows: &[usize]) -> f64 {
    let right: u32 = per_class(predictions, classes, rows).iter().map(|class| class.right).sum();
    f64::from(right) / rows.len().max(1) as f64
}

/// NaN where all numbers are the same: nothing is explained of what does not vary.
fn r2(predictions: &Array2<f32>, numbers: &[f32], rows: &[usize]) -> f64 {
    let number = |at: &usize| f64::from(numbers[*at]);
    let middle = mean(rows.iter().map(number));
    let varies: f64 = rows.iter().map(|at| (number(at) - middle).powi(2)).sum();
    let predicted = predictions.column(0);
    let errors = predicted.iter().zip(rows).map(|(it, at)| (f64::from(*it) - number(at)).powi(2));
    if varies > 0.0 { 1.0 - errors.sum::<f64>() / varies } else { f64::NAN }
}

fn auc(predictions: &Array2<f32>, classes: &[u32], rows: &[usize]) -> f64 {
    let count = predictions.ncols();
    // Of two classes the second says it all.
    let judged = if count == 2 { 1..2 } else { 0..count };
    let areas: Vec<f64> = judged
        .filter_map(|class| {
            let scores = predictions.column(class);
            let mut ranked: Vec<(f32, bool)> = scores
                .iter()
                .zip(rows)
                .map(|(score, at)| (*score, classes[*at] as usize == class))
                .collect();
            area(&mut ranked)
        })
        .collect();
    areas.iter().sum::<f64>() / areas.len() as f64
}

/// The probability that one of the class scores higher than one of the others; ties count half
/// (Mann and Whitney 1947). `None` if either is missing.
fn area(ranked: &mut [(f32, bool)]) -> Option<f64> {
    if ranked.iter().any(|(score, _)| score.is_nan()) {
        return Some(f64::NAN);
    }
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut below) = (0.0, 0.0);
    for group in ranked.chunk_by(|a, b| a.0 == b.0) {
        let ours = group.iter().filter(|(_, own)| *own).count() as f64;
        let others = group.len() as f64 - ours;
        wins += ours * (below + others / 2.0);
        below += others;
    }
    let ours = ranked.len() as f64 - below;
    (ours > 0.0 && below > 0.0).then(|| wins / (ours * below))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn scores_are_what_they_are_called() {
        let predictions = array![[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8]];
        let targets = Targets::Classes(vec![0, 1, 0, 1]);
        let rows = [0, 1, 2, 3];
        // The tie of the third row is not right.
        assert_eq!(Metric::Accuracy.score(&predictions, &targets, &rows), 0.75);
        assert_eq!(Metric::Auc.score(&predictions, &targets, &rows), 1.0);
        let loss = -(0.9_f64.ln() + 0.6_f64.ln() + 0.5_f64.ln() + 0.8_f64.ln()) / 4.0;
        assert!((Metric::Loss.score(&predictions, &targets, &rows) + loss).abs() < 1e-6);
        let worse = Targets::Classes(vec![1, 0, 0, 1]);
        // Of the four pairs, (row 0, row 1) and (row 0, row 2) are the wrong way round.
        assert_eq!(Metric::Auc.score(&predictions, &worse, &rows), 0.5);
        assert!(Metric::Auc.score(&predictions, &Targets::Classes(vec![0; 4]), &rows).is_nan());
        let broken = array![[f32::NAN, f32::NAN]];
        assert_eq!(Metric::Accuracy.score(&broken, &targets, &[0]), 0.0);
        assert!(Metric::Loss.score(&broken, &targets, &[0]).is_nan());
        assert!(Metric::F1.score(&broken, &targets, &[0]).abs() < 1e-12);
        let numbers = Targets::Numbers(vec![1.0, -1.0]);
        let squared = Metric::Loss.score(&array![[0.0], [0.0]], &numbers, &[0, 1]);
        assert_eq!(squared, -1.0);
    }

    #[test]
    fn a_rare_class_counts_as_much_as_a_common_one() {
        // Eight of class 0, two of class 1, one of which is found; one of class 0 is taken for class 2,
        // which has no rows.
        let mut predictions = Array2::zeros((10, 3));
        for row in 0..10 {
            let predicted = match row {
                0 => 2,
                8 => 1,
                _ => 0,
            };
            predictions[[row, predicted]] = 1.0_f32;
        }
        let classes: Vec<u32> = (0..10).map(|row| u32::from(row >= 8)).collect();
        let rows: Vec<usize> = (0..10).collect();
        let counted = per_class(&predictions, &classes, &rows);
        let scores = |rows, predicted, right| ClassScores { rows, predicted, right };
        assert_eq!(counted, [scores(8, 8, 7), scores(2, 1, 1), scores(0, 1, 0)]);
        assert_eq!((counted[2].recall(), counted[2].precision()), (None, Some(0.0)));
        let targets = Targets::Classes(classes);
        let close = |metric: Metric, expected: f64| {
            let score = metric.score(&predictions, &targets, &rows);
            assert!((score - expected).abs() < 1e-12, "{metric:?} {score} {expected}");
        };
        close(Metric::Accuracy, 0.8);
        close(Metric::BalancedAccuracy, (7.0 / 8.0 + 1.0 / 2.0) / 2.0);
        close(Metric::F1, (14.0 / 16.0 + 2.0 / 3.0 + 0.0) / 3.0);
        // Who always says the common class.
        let lazy = Array2::from_shape_fn((10, 3), |(_, class)| f32::from(u8::from(class == 0)));
        let score = |metric: Metric| metric.score(&lazy, &targets, &rows);
        assert_eq!((score(Metric::Accuracy), score(Metric::BalancedAccuracy)), (0.8, 0.5));
        assert!((score(Metric::F1) - 4.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn ties_and_what_is_no_number_are_for_no_class() {
        let nan = f32::NAN;
        let predictions = array![[0.5, 0.5], [nan, 0.4], [nan, nan], [0.1, 0.9]];
        let classes = [0, 1, 0, 1];
        let rows = [0, 1, 2, 3];
        let counted = per_class(&predictions, &classes, &rows);
        assert_eq!(counted[0], ClassScores { rows: 2, predicted: 0, right: 0 });
        assert_eq!(counted[1], ClassScores { rows: 2, predicted: 1, right: 1 });
        let targets = Targets::Classes(classes.to_vec());
        assert_eq!(Metric::BalancedAccuracy.score(&predictions, &targets, &rows), 0.25);
        let none = Array2::<f32>::zeros((0, 2));
        for metric in [Metric::BalancedAccuracy, Metric::F1, Metric::Auc] {
            assert!(metric.score(&none, &targets, &[]).is_nan(), "{metric:?}");
        }
    }

    #[test]
    fn r2_is_what_is_explained_of_what_varies() {
        let numbers = Targets::Numbers(vec![1.0, 2.0, 3.0, 6.0]);
        let rows = [0, 1, 2, 3];
        let score = |predictions: Array2<f32>| Metric::R2.score(&predictions, &numbers, &rows);
        assert_eq!(score(array![[1.0], [2.0], [3.0], [6.0]]), 1.0);
        assert_eq!(score(array![[3.0], [3.0], [3.0], [3.0]]), 0.0);
        // 14 is what varies, 4 the error.
        assert!((score(array![[1.0], [2.0], [3.0], [4.0]]) - (1.0 - 4.0 / 14.0)).abs() < 1e-12);
        assert!(score(array![[9.0], [9.0], [9.0], [9.0]]) < -1.0);
        assert!(score(array![[f32::NAN], [2.0], [3.0], [6.0]]).is_nan());
        let same = Targets::Numbers(vec![2.0, 2.0]);
        assert!(Metric::R2.score(&array![[2.0], [2.0]], &same, &[0, 1]).is_nan());
        assert!(Metric::R2.score(&array![[2.0]], &same, &[0]).is_nan());
        assert!(Metric::R2.cannot_judge(&same, &[0, 1]).is_some());
        assert!(Metric::Loss.cannot_judge(&same, &[0, 1]).is_none());
        assert!(Metric::Loss.cannot_judge(&same, &[0]).is_some());
        assert!(Metric::R2.cannot_judge(&numbers, &rows).is_none());
        let classes = Targets::Classes(vec![1, 1, 0]);
        assert!(Metric::Auc.cannot_judge(&classes, &[0, 1]).is_some());
        assert!(Metric::Auc.cannot_judge(&classes, &[0, 2]).is_none());
        assert!(Metric::F1.score(&array![[1.0]], &numbers, &[0]).is_nan());
        assert!(Metric::R2.score(&array![[1.0, 0.0]], &classes, &[0]).is_nan());
    }
}
