//! What a learner can bear: whether a model is no worse to it than models that it has lived with.

use std::collections::VecDeque;

use colearn_contracts::Digest;

/// How many of the last global models count.
const REMEMBERED: usize = 8;

/// A learner's scores of the last global models. The bar follows from how they swing: where learners hold
/// different data it is patient, where scores settle it is strict. No unit, no margin.
#[derive(Clone, Default, Debug)]
pub(super) struct Bearing(VecDeque<(Digest, f64)>);

impl Bearing {
    /// After these models.
    pub(super) fn new(models: &[(Digest, f64)]) -> Self {
        let mut bearing = Self::default();
        for (model, score) in models {
            bearing.lived_with(*model, *score);
        }
        bearing
    }

    /// What it follows from, the oldest first.
    pub(super) fn models(&self) -> impl ExactSizeIterator<Item = (Digest, f64)> {
        self.0.iter().copied()
    }

    /// Whether the score of this global model is known, or known not to be a number.
    pub(super) fn knows(&self, model: Digest) -> bool {
        self.0.iter().any(|(known, _)| *known == model)
    }

    /// Takes the score of what is now the global model.
    pub(super) fn lived_with(&mut self, model: Digest, score: f64) {
        if self.0.back().is_some_and(|(last, _)| *last == model) {
            return;
        }
        self.0.push_back((model, score));
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// Whether a model of this score can be borne: it is below the least by no more than the least is
    /// below the greatest. As long as there is nothing to compare with, everything can. `None` if the
    /// score says nothing.
    pub(super) fn bears(&self, score: f64) -> Option<bool> {
        if !score.is_finite() {
            return None;
        }
        let known = self.0.iter().map(|(_, score)| *score).filter(|score| score.is_finite());
        let (least, greatest, count) = known
            .fold((f64::INFINITY, f64::NEG_INFINITY, 0), |(least, greatest, count), score| {
                (least.min(score), greatest.max(score), count + 1)
            });
        Some(count < 2 || score >= least - (greatest - least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearing(scores: &[f64]) -> Bearing {
        let models = scores.iter().enumerate();
        let models: Vec<_> = models.map(|(at, score)| (Digest([at as u8; 32]), *score)).collect();
        Bearing::new(&models)
    }

    #[test]
    fn the_bar_is_as_far_below_the_least_as_that_is_below_the_greatest() {
        let bearing = bearing(&[0.5, 0.75, 0.625]);
        assert_eq!(bearing.bears(0.25), Some(true));
        assert_eq!(bearing.bears(0.249), Some(false));
        assert_eq!(bearing.bears(2.0), Some(true));
        assert_eq!(bearing.bears(f64::NAN), None);
        assert_eq!(bearing.bears(f64::NEG_INFINITY), None);
    }

    #[test]
    fn everything_can_be_borne_until_there_are_two_scores() {
        assert_eq!(bearing(&[]).bears(-1e300), Some(true));
        assert_eq!(bearing(&[0.9]).bears(0.0), Some(true));
        assert_eq!(bearing(&[0.9, f64::NAN]).bears(0.0), Some(true));
        assert_eq!(bearing(&[0.9, 0.9]).bears(0.0), Some(false));
        assert_eq!(bearing(&[0.9, 0.9]).bears(0.9), Some(true));
    }

    #[test]
    fn only_the_last_eight_models_count_and_each_once() {
        let mut long = bearing(&[0.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]);
        assert_eq!(long.bears(-0.9), Some(true));
        // The same once more.
        long.lived_with(Digest([7; 32]), 0.1);
        assert_eq!(long.bears(-0.9), Some(true));
        long.lived_with(Digest([8; 32]), 0.9);
        assert_eq!(long.bears(0.8), Some(false));
    }
}
