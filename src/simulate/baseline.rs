//! What one would do without votes: every learner trains in every round, and a server combines
//! their updates.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::Player;
use colearn_learning::network::Network;
use colearn_sdk::learner::{Learner as _, LearnerError};

/// How updates are combined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aggregation {
    /// Their mean (McMahan et al. 2017, arXiv:1602.05629), all weighing the same.
    Average,
    /// The median of each weight (Yin et al. 2018, arXiv:1803.01498).
    Median,
    /// The update closest to its neighbours (Krum; Blanchard et al. 2017, arXiv:1703.02757), told
    /// how many attackers there are.
    Krum,
}

/// Runs some rounds; gives the honest learners' mean test score after each.
pub(super) fn run(
    players: &mut [Player],
    aggregation: Aggregation,
    rounds: u64,
    mut watch: impl FnMut(u64, f64),
) -> Result<Vec<f64>, LearnerError> {
    let Some(first) = players.first() else { return Ok(Vec::new()) };
    let spec = first.inner().spec().clone();
    let hostile = players.iter().filter(|player| !player.is_honest()).count();
    // What is no model, or not made of numbers, is left out.
    let propose = |player: &mut Player| {
        let proposed = player.propose().ok()?;
        Some(flatten(&spec.read(proposed.weights()?).ok()?))
    };
    let mut scores = Vec::new();
    for round in 1..=rounds {
        let mut proposed: Vec<Option<Vec<f32>>> = vec![None; players.len()];
        // Some of the others wait for what the honest have.
        for honest in [true, false] {
            let all = players.par_iter_mut().zip(&mut proposed);
            let of_them = all.filter(|(player, _)| player.is_honest() == honest);
            of_them.for_each(|(player, update)| *update = propose(player));
        }
        let updates: Vec<Vec<f32>> = proposed.into_iter().flatten().collect();
        if let Some(combined) = combine(aggregation, &updates, hostile) {
            let mut network = spec.read(&players[0].current())?;
            let mut values = combined.into_iter();
            for slice in network.layers_mut().iter_mut().flat_map(|layer| layer.slices_mut()) {
                slice.iter_mut().zip(&mut values).for_each(|(to, from)| *to = from);
            }
            let weights = spec.write(&network)?;
            // Where large updates have made the mean infinite, the old model stays.
            if network.is_finite() {
                players.par_iter_mut().try_for_each(|player| player.accept(&weights))?;
            }
        }
        let mut honest = Vec::new();
        for player in players.iter() {
            if player.is_honest() {
                honest.push(player.inner().test_score()?);
            }
        }
        let score = honest.iter().sum::<f64>() / honest.len() as f64;
        scores.push(score);
        watch(round, score);
    }
    Ok(scores)
}

fn flatten(network: &Network) -> Vec<f32> {
    network.layers().iter().flat_map(|layer| layer.slices()).flatten().copied().collect()
}

/// Combines updates of one length; `None` if there are none.
fn combine(aggregation: Aggregation, updates: &[Vec<f32>], hostile: usize) -> Option<Vec<f32>> {
    let width = updates.first()?.len();
    match aggregation {
        Aggregation::Average => {
            let mean = |at: usize| {
                let sum: f64 = updates.iter().map(|update| f64::from(update[at])).sum();
                (sum / updates.len() as f64) as f32
            };
            Some((0..width).map(mean).collect())
        }
        Aggregation::Median => {
            let median = |at: usize| {
                let mut values: Vec<f32> = updates.iter().map(|update| update[at]).collect();
                values.sort_unstable_by(f32::total_cmp);
                let middle = values.len() / 2;
                if values.len() % 2 == 1 {
                    values[middle]
                } else {
                    f32::midpoint(values[middle - 1], values[middle])
                }
            };
            Some((0..width).into_par_iter().map(median).collect())
        }
        Aggregation::Krum => {
            let distance = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum()
            };
            let neighbours = updates.len().saturating_sub(hostile + 2).max(1);
            let spread: Vec<f64> = updates
                .par_iter()
                .map(|update| {
                    let mut all: Vec<f64> =
                        updates.iter().map(|other| distance(update, other)).collect();
                    all.sort_unstable_by(f64::total_cmp);
                    // The first is the update itself.
                    all.iter().skip(1).take(neighbours).sum()
                })
                .collect();
            let better = |a: &usize, b: &usize| -> Ordering { spread[*a].total_cmp(&spread[*b]) };
            (0..updates.len()).min_by(better).map(|best| updates[best].clone())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_combined_as_they_should_be() {
        let updates = [vec![1.0, 0.0], vec![2.0, 0.0], vec![3.0, 0.0], vec![100.0, -8.0]];
        let of = |aggregation| combine(aggregation, &updates, 1).unwrap();
        assert_eq!(of(Aggregation::Average), [26.5, -2.0]);
        assert_eq!(of(Aggregation::Median), [2.5, 0.0]);
        assert_eq!(of(Aggregation::Krum), [1.0, 0.0]);
        assert_eq!(combine(Aggregation::Krum, &[], 0), None);
        assert_eq!(combine(Aggregation::Krum, &[vec![4.0]], 0), Some(vec![4.0]));
    }
}
