//! What one would do without votes: every learner trains in every round, and a server that all trust
//! combines their updates.

use std::sync::Arc;

use rayon::prelude::*;

use super::numbers::Numbers;
use super::own::{OwnRule, Sent};
use super::{Player, honest_score};
use colearn_sdk::learner::{Learner as _, LearnerError, Task, Work};
use colearn_sdk::local::Conduct;

/// How updates are combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aggregation {
    /// Their mean (McMahan et al. 2017, arXiv:1602.05629), all weighing the same.
    Average,
    /// Their mean, and half of the last movement (Hsu et al. 2019, arXiv:1909.06335).
    Momentum,
    /// The median of each weight (Yin et al. 2018, arXiv:1803.01498).
    Median,
    /// The update closest to its neighbours (Krum; Blanchard et al. 2017, arXiv:1703.02757), told
    /// how many attackers there are.
    Krum,
    /// The mean of those updates that Krum likes best, as many as there are honest learners: it is told
    /// how many.
    MultiKrum,
    /// The last movement, moved three times by the mean of the updates' differences from it, each clipped
    /// to their median length (centred clipping; Karimireddy et al. 2021, arXiv:2012.10333).
    Clipping,
    /// As a rule does that was handed in.
    Own,
}

/// How often centred clipping moves its centre.
const CLIPPINGS: usize = 3;

/// A server, and what it knows of learners.
pub(super) struct Server {
    pub(super) aggregation: Aggregation,
    /// The rule that was handed in, for [`Aggregation::Own`].
    pub(super) own: Option<OwnRule>,
    pub(super) numbers: Arc<Numbers>,
    /// On how many rows each learner trains, if that is known.
    pub(super) rows: Vec<usize>,
    /// The scenario's seed.
    pub(super) seed: u64,
}

impl Server {
    /// Runs some rounds, each with those who are there; gives the honest learners' mean test score after each.
    pub(super) fn run(
        &self,
        players: &mut [Player],
        conducts: &[Conduct],
        rounds: u64,
        mut watch: impl FnMut(u64, f64),
    ) -> Result<Vec<f64>, LearnerError> {
        let hostile = players.iter().filter(|player| !player.is_honest()).count();
        // What is no model, or not made of numbers, is left out.
        let propose = |player: &mut Player| {
            let proposed = player.propose().ok()?;
            self.numbers.read(proposed.weights()?).ok()
        };
        let mut last: Vec<f32> = Vec::new();
        let mut scores = Vec::new();
        for round in 1..=rounds {
            let Some(model) = players.first().map(|player| player.current()) else { break };
            let base = self.numbers.read(&model)?;
            let task = Task::new(round, Work::Update, model.digest(), None);
            let mut proposed: Vec<Option<Vec<f32>>> = vec![None; players.len()];
            // Some of the others wait for what the honest have, and then for each other.
            for haste in 0..=Player::SLOWEST {
                let all = players.par_iter_mut().zip(&mut proposed);
                all.zip(conducts)
                    .filter(|((player, _), it)| player.haste() == haste && !it.is_away(round))
                    .for_each(|((player, update), _)| {
                        player.begin(&task);
                        *update = propose(player);
                    });
            }
            last.resize(base.len(), 0.0);
            let (next, step) = match &self.own {
                Some(rule) => (rule(self.sent(round, &base, proposed))?, None),
                None => {
                    let mut steps: Vec<Vec<f32>> = proposed.into_iter().flatten().collect();
                    for step in &mut steps {
                        step.iter_mut().zip(&base).for_each(|(value, base)| *value -= base);
                    }
                    let step = combine(self.aggregation, &steps, hostile, &last);
                    let to = |step: &Vec<f32>| {
                        base.iter().zip(step).map(|(base, step)| base + step).collect()
                    };
                    (step.as_ref().map(to), step)
                }
            };
            // Where large updates have made the mean infinite, the old model stays.
            let is_finite = |values: &Vec<f32>| values.iter().all(|value| value.is_finite());
            if let Some(next) = next.filter(is_finite) {
                let weights = self.numbers.write(&model, &next)?;
                players.par_iter_mut().try_for_each(|player| player.accept(&weights))?;
                last = step.unwrap_or_default();
            }
            let score = honest_score(players)?;
            scores.push(score);
            watch(round, score);
        }
        Ok(scores)
    }

    /// What a rule is told that was handed in.
    fn sent(&self, round: u64, base: &[f32], proposed: Vec<Option<Vec<f32>>>) -> Sent {
        let all = proposed.into_iter().enumerate();
        let (who, updates): (Vec<usize>, Vec<Vec<f32>>) =
            all.filter_map(|(at, update)| Some((at, update?))).unzip();
        let rows = |at: &usize| self.rows.get(*at).map_or(1.0, |rows| *rows as f64);
        let total: f64 = who.iter().map(rows).sum();
        Sent {
            round,
            layout: Arc::new(self.numbers.layout()),
            base: base.to_vec(),
            weights: who.iter().map(|at| rows(at) / total).collect(),
            learners: who.into_iter().map(|at| at + 1).collect(),
            updates,
            seed: self.seed,
        }
    }
}

/// The step that follows from those of the learners, of one length all; `None` if there are none. `hostile` is
/// what it is told of the attackers' number, and `last` the step before.
pub(super) fn combine(
    aggregation: Aggregation,
    steps: &[Vec<f32>],
    hostile: usize,
    last: &[f32],
) -> Option<Vec<f32>> {
    let all: Vec<&[f32]> = steps.iter().map(Vec::as_slice).collect();
    match aggregation {
        Aggregation::Average => mean(&all),
        Aggregation::Momentum => {
            let step = mean(&all)?;
            Some(step.iter().zip(last).map(|(step, last)| step + 0.5 * last).collect())
        }
        Aggregation::Median => median(&all),
        Aggregation::Krum => krum(&all, hostile).first().map(|best| steps[*best].clone()),
        Aggregation::MultiKrum => {
            let honest = steps.len().saturating_sub(hostile).max(1);
            let best = krum(&all, hostile).into_iter().take(honest);
            mean(&best.map(|at| all[at]).collect::<Vec<_>>())
        }
        Aggregation::Clipping => {
            let mut centre = last.to_vec();
            for _ in 0..CLIPPINGS {
                centre = clipped_towards(&all, &centre)?;
            }
            Some(centre)
        }
        // Whoever has it asks it.
        Aggregation::Own => None,
    }
}

fn mean(steps: &[&[f32]]) -> Option<Vec<f32>> {
    let mut sums = vec![0.0; steps.first()?.len()];
    for step in steps {
        sums.iter_mut().zip(*step).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    Some(sums.into_iter().map(|sum| (sum / steps.len() as f64) as f32).collect())
}

fn median(steps: &[&[f32]]) -> Option<Vec<f32>> {
    let mut values = Vec::with_capacity(steps.len());
    let mut middle = |at: usize| {
        values.clear();
        values.extend(steps.iter().map(|step| step[at]));
        let (below, upper, _) = values.select_nth_unstable_by(steps.len() / 2, f32::total_cmp);
        let lower = below.iter().copied().max_by(f32::total_cmp);
        match lower.filter(|_| steps.len().is_multiple_of(2)) {
            Some(lower) => f32::midpoint(lower, *upper),
            None => *upper,
        }
    };
    Some((0..steps.first()?.len()).map(&mut middle).collect())
}

/// The updates by the sum of the squared distances to so many neighbours as are honest for certain, the
/// closest first.
fn krum(steps: &[&[f32]], hostile: usize) -> Vec<usize> {
    let neighbours = steps.len().saturating_sub(hostile + 2).max(1);
    let spread: Vec<f64> = steps
        .iter()
        .map(|step| {
            let mut all: Vec<f64> = steps.iter().map(|other| distance(step, other)).collect();
            all.sort_unstable_by(f64::total_cmp);
            // The first is the update itself.
            all.iter().skip(1).take(neighbours).sum()
        })
        .collect();
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by(|a, b| spread[*a].total_cmp(&spread[*b]));
    order
}

/// The squared distance.
fn distance(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(one, other)| f64::from(one - other).powi(2)).sum()
}

/// Centred clipping's next centre.
fn clipped_towards(steps: &[&[f32]], centre: &[f32]) -> Option<Vec<f32>> {
    let lengths: Vec<f64> = steps.iter().map(|step| distance(step, centre).sqrt()).collect();
    let mut sorted = lengths.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let limit = *sorted.get(steps.len().checked_sub(1)? / 2)?;
    let mut next: Vec<f64> = centre.iter().map(|value| f64::from(*value)).collect();
    for (step, length) in steps.iter().zip(lengths) {
        let share = (limit / length).min(1.0) / steps.len() as f64;
        for (next, (value, centre)) in next.iter_mut().zip(step.iter().zip(centre)) {
            *next += share * f64::from(value - centre);
        }
    }
    Some(next.into_iter().map(|value| value as f32).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_combined_as_they_should_be() {
        let steps = [vec![1.0, 0.0], vec![2.0, 0.0], vec![3.0, 0.0], vec![100.0, -8.0]];
        let of = |aggregation| combine(aggregation, &steps, 1, &[2.0, 4.0]).unwrap();
        assert_eq!(of(Aggregation::Average), [26.5, -2.0]);
        assert_eq!(of(Aggregation::Momentum), [27.5, 0.0]);
        assert_eq!(of(Aggregation::Median), [2.5, 0.0]);
        assert_eq!(of(Aggregation::Krum), [1.0, 0.0]);
        assert_eq!(of(Aggregation::MultiKrum), [2.0, 0.0]);
        assert_eq!(combine(Aggregation::Median, &steps[..3], 0, &[0.0; 2]).unwrap(), [2.0, 0.0]);
    }

    #[test]
    fn of_none_there_is_nothing_and_of_one_that_one() {
        for aggregation in [
            Aggregation::Average,
            Aggregation::Momentum,
            Aggregation::Median,
            Aggregation::Krum,
            Aggregation::MultiKrum,
            Aggregation::Clipping,
        ] {
            assert_eq!(combine(aggregation, &[], 0, &[0.0]), None, "{aggregation:?}");
            let alone = combine(aggregation, &[vec![4.0]], 0, &[0.0]);
            assert_eq!(alone, Some(vec![4.0]), "{aggregation:?}");
        }
    }

    /// From 0 the distances are 1, 2, 3, so the limit is 2 and the mean (1 + 2 + 2) / 3; and so on.
    #[test]
    fn centred_clipping_moves_its_centre_by_what_is_clipped() {
        let steps: [&[f32]; 3] = [&[1.0], &[2.0], &[3.0]];
        let first = clipped_towards(&steps, &[0.0]).unwrap();
        assert!((first[0] - 5.0 / 3.0).abs() < 1e-6, "{first:?}");
        // From 5/3: -2/3, 1/3, 4/3, of which the median length is 2/3: (-2/3 + 1/3 + 2/3) / 3 = 1/9.
        let second = clipped_towards(&steps, &first).unwrap();
        assert!((second[0] - 16.0 / 9.0).abs() < 1e-6, "{second:?}");
        // A single far one moves the mean at will, and this hardly.
        let far: [&[f32]; 3] = [&[1.0], &[2.0], &[1e6]];
        assert_eq!(clipped_towards(&far, &[0.0]).unwrap(), first);
    }
}
