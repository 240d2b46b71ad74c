//! How good predictions are.

use ndarray::Array2;

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
}

impl Metric {
    /// The metric that is used where none is asked for.
    pub fn usual(classifier: bool) -> Self {
        if classifier { Self::Accuracy } else { Self::Loss }
    }

    /// Whether it can judge a model of this kind.
    pub fn suits(self, classifier: bool) -> bool {
        match self {
            Self::Loss => true,
            Self::Accuracy | Self::Auc => classifier,
        }
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Loss => "negative loss",
            Self::Auc => "AUC",
        }
    }

    /// The score of `predictions` (`[rows, outputs]`) of some rows. NaN where there is none, for
    /// example the area under the curve of a single class.
    pub fn score(self, predictions: &Array2<f32>, targets: &Targets, rows: &[usize]) -> f64 {
        match (self, targets) {
            (Self::Loss, _) => -mean_loss(predictions, targets, rows),
            (Self::Accuracy, Targets::Classes(classes)) => accuracy(predictions, classes, rows),
            (Self::Auc, Targets::Classes(classes)) => auc(predictions, classes, rows),
            (Self::Accuracy | Self::Auc, Targets::Numbers(_)) => f64::NAN,
        }
    }
}

/// The mean cross entropy or squared error.
pub(super) fn mean_loss(predictions: &Array2<f32>, targets: &Targets, rows: &[usize]) -> f64 {
    let predicted = predictions.rows().into_iter().zip(rows);
    let sum: f64 = match targets {
        Targets::Classes(classes) => predicted
            .map(|(row, at)| {
                let likely = row[classes[*at] as usize];
                // NaN stays NaN; zero is as bad as can be told.
                if likely.is_nan() {
                    f64::NAN
                } else {
                    -f64::from(likely.max(f32::MIN_POSITIVE)).ln()
                }
            })
            .sum(),
        Targets::Numbers(numbers) => {
            predicted.map(|(row, at)| f64::from(row[0] - numbers[*at]).powi(2)).sum()
        }
    };
    sum / rows.len().max(1) as f64
}

fn accuracy(predictions: &Array2<f32>, classes: &[u32], rows: &[usize]) -> f64 {
    let mut right = 0_u32;
    for (row, at) in predictions.rows().into_iter().zip(rows) {
        let own = row[classes[*at] as usize];
        // A tie with a wrong class is not right; NaN never is.
        if row.iter().filter(|other| **other < own).count() + 1 == row.len() {
            right += 1;
        }
    }
    f64::from(right) / rows.len().max(1) as f64
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
        let numbers = Targets::Numbers(vec![1.0, -1.0]);
        let squared = Metric::Loss.score(&array![[0.0], [0.0]], &numbers, &[0, 1]);
        assert_eq!(squared, -1.0);
    }
}
