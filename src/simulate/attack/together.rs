//! What a gang sends that has seen the updates of the honest.

use rand::Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::Attack;

/// What a gang goes by: steps from the same base.
pub(super) struct Seen<'a> {
    /// The model that there is.
    pub base: &'a [f64],
    /// The honest learners' steps from it.
    pub honest: &'a [Vec<f64>],
    /// How many are in the gang.
    pub members: usize,
}

impl Seen<'_> {
    /// The steps that each member of the gang sends. `None` if it waits for nothing, or has seen nothing.
    pub(super) fn steps(&self, attack: Attack, random: &mut impl Rng) -> Option<Vec<Vec<f64>>> {
        let first = self.honest.first()?;
        let (mean, deviation) = self.mean_and_deviation();
        let less = |deviations: f64| -> Vec<f64> {
            mean.iter().zip(&deviation).map(|(mean, by)| mean - deviations * by).collect()
        };
        let all = |step: Vec<f64>| Some(vec![step; self.members]);
        match attack {
            Attack::Alie => {
                let (learners, honest) = (self.honest.len() + self.members, self.honest.len());
                // As many of the honest as it takes, with the gang, to be more than half.
                let supporters = (learners / 2 + 1).saturating_sub(self.members);
                all(less(quantile(1.0 - supporters as f64 / honest as f64)))
            }
            Attack::Ipm => all(scaled(&mean, -0.5)),
            Attack::Mimic => all(first.clone()),
            Attack::Mixed => {
                let mut weights = || -> Vec<f64> {
                    let drawn = |base: &f64| {
                        let weight: f64 = StandardNormal.sample(random);
                        weight - base
                    };
                    self.base.iter().map(drawn).collect()
                };
                Some(halves(self.members, &mut weights, &less(1.0)))
            }
            Attack::Limit => all(self.limit(&mean)),
            Attack::Gate => {
                let lengths = self.honest.iter().map(|step| length(step));
                let shortest = lengths.fold(f64::INFINITY, f64::min);
                let mut unrelated = || -> Vec<f64> {
                    let step: Vec<f64> =
                        mean.iter().map(|_| StandardNormal.sample(random)).collect();
                    let by = shortest / length(&step);
                    scaled(&step, by)
                };
                Some(halves(self.members, &mut unrelated, &self.limit(&mean)))
            }
            // Which of the others, is for who knows the rule; what, for who has handed it in.
            Attack::Adaptive
            | Attack::Own
            | Attack::LabelFlip
            | Attack::SignFlip
            | Attack::Scaled
            | Attack::Random
            | Attack::Nan
            | Attack::Zero
            | Attack::Withheld
            | Attack::HalfWithheld
            | Attack::Backdoor => None,
        }
    }

    /// The weights that a step leads to.
    pub(super) fn weights(&self, step: &[f64]) -> impl Iterator<Item = f32> {
        self.base.iter().zip(step).map(|(base, step)| (base + step) as f32)
    }

    /// As far against the mean as honest updates are from it, so that it is among their neighbours.
    pub(super) fn hidden(&self) -> Vec<Vec<f64>> {
        let (mean, _) = self.mean_and_deviation();
        let scatter = self.honest.iter().map(|step| distance(step, &mean));
        let by = 1.0 - median(scatter) / length(&mean).max(f64::MIN_POSITIVE);
        vec![scaled(&mean, by); self.members]
    }

    fn mean_and_deviation(&self) -> (Vec<f64>, Vec<f64>) {
        let count = self.honest.len().max(1) as f64;
        let of = |at: usize| {
            let values = || self.honest.iter().map(|step| step[at]);
            let mean = values().sum::<f64>() / count;
            let squares = values().map(|value| (value - mean).powi(2)).sum::<f64>();
            (mean, (squares / count).sqrt())
        };
        (0..self.base.len()).map(of).unzip()
    }

    /// The opposite of the mean, twice as long as honest updates are: clipping starts there, as it counts the
    /// gang's as well.
    fn limit(&self, mean: &[f64]) -> Vec<f64> {
        let usual = median(self.honest.iter().map(|step| length(step)));
        scaled(mean, -2.0 * usual / length(mean).max(f64::MIN_POSITIVE))
    }
}

/// Each second member of a gang sends something of its own, and the others the same.
fn halves(members: usize, own: &mut impl FnMut() -> Vec<f64>, same: &[f64]) -> Vec<Vec<f64>> {
    (0..members).map(|at| if at % 2 == 0 { own() } else { same.to_vec() }).collect()
}

fn scaled(step: &[f64], by: f64) -> Vec<f64> {
    step.iter().map(|value| by * value).collect()
}

fn length(step: &[f64]) -> f64 {
    step.iter().map(|value| value * value).sum::<f64>().sqrt()
}

fn distance(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| (one - other).powi(2)).sum::<f64>().sqrt()
}

/// The lower one; zero of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// The standard normal distribution's quantile.
fn quantile(share: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let below = 0.5 * libm::erfc(-middle / std::f64::consts::SQRT_2);
        if below < share { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Two honest learners, whose mean is (2, 0) and standard deviation (1, 0), and so many others.
    fn steps(attack: Attack, members: usize) -> Vec<Vec<f64>> {
        let honest = [vec![1.0, 0.0], vec![3.0, 0.0]];
        let seen = Seen { base: &[0.0, 0.0], honest: &honest, members };
        seen.steps(attack, &mut ChaCha8Rng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn a_gang_sends_what_follows_from_the_honest_updates() {
        assert_eq!(steps(Attack::Ipm, 2), [[-1.0, 0.0], [-1.0, 0.0]]);
        assert_eq!(steps(Attack::Mimic, 1), [[1.0, 0.0]]);
        // Of three it takes one of the two honest with the gang: the median of a normal distribution.
        let alie = steps(Attack::Alie, 1);
        assert!((alie[0][0] - 2.0).abs() < 1e-6 && alie[0][1] == 0.0, "{alie:?}");
        let mixed = steps(Attack::Mixed, 3);
        assert_eq!(mixed[1], [1.0, 0.0]);
        assert_ne!(mixed[0], mixed[2]);
    }

    #[test]
    fn the_longest_that_is_not_clipped_is_twice_what_is_usual() {
        // The usual length is the lower one of 1 and 3.
        assert_eq!(steps(Attack::Limit, 1), [[-2.0, 0.0]]);
        let gate = steps(Attack::Gate, 2);
        assert!((length(&gate[0]) - 1.0).abs() < 1e-9, "{gate:?}");
        assert_eq!(gate[1], [-2.0, 0.0]);
    }

    #[test]
    fn what_hides_is_as_far_from_the_mean_as_the_honest_are() {
        let honest = [vec![1.0, 0.0], vec![3.0, 0.0]];
        let seen = Seen { base: &[0.0, 0.0], honest: &honest, members: 1 };
        assert_eq!(seen.hidden(), [[1.0, 0.0]]);
    }

    #[test]
    fn a_gang_that_has_seen_nothing_has_nothing_to_send() {
        let seen = Seen { base: &[0.0], honest: &[], members: 3 };
        assert_eq!(seen.steps(Attack::Alie, &mut ChaCha8Rng::seed_from_u64(1)), None);
    }

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        assert!(quantile(0.5).abs() < 1e-9);
        assert!((quantile(0.975) - 1.959_963_985).abs() < 1e-6);
    }
}
