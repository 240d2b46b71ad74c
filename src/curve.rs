//! An experiment's rounds as a curve, for the page and for plots.

use colearn_contracts::Verdict;
use colearn_records::history::{Round, unit};

/// More points than this are more than a picture shows.
const MAX_POINTS: usize = 800;

/// What a round came to, once it is closed.
pub(crate) fn verdict(round: &Round) -> Option<Verdict> {
    round.result.map(|result| result.verdict)
}

/// A round as a point: its means, those of the model that the experiment has after it, and the range of what
/// members measured.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) round: u64,
    /// Of the vote scores, and of the test scores.
    pub(crate) mean: (Option<f64>, Option<f64>),
    /// Those of the accepted model after this round.
    pub(crate) model: (Option<f64>, Option<f64>),
    /// The lowest and the highest of what members measured.
    pub(crate) range: Option<(f64, f64)>,
    pub(crate) verdict: Option<Verdict>,
}

/// All rounds as points.
pub(crate) fn points(rounds: &[Round]) -> Vec<Point> {
    let mut model = (None, None);
    rounds
        .iter()
        .map(|round| {
            let mean = round.mean_scores();
            if verdict(round) == Some(Verdict::Accepted) {
                model = mean;
            }
            Point { round: round.number, mean, model, range: range(round), verdict: verdict(round) }
        })
        .collect()
}

/// The lowest and the highest of what members measured: what decides where it is there, or else the test score.
fn range(round: &Round) -> Option<(f64, f64)> {
    let own = round.proposal.iter().map(|(_, scores)| *scores);
    let all = own.chain(round.ballots.values().map(|ballot| ballot.scores));
    let scores = all.filter_map(|it| it.vote.or(it.test)).map(unit);
    scores.fold(None, |range, it| match range {
        None => Some((it, it)),
        Some((low, high)) => Some((low.min(it), high.max(it))),
    })
}

/// At most about [`MAX_POINTS`] of them: of neighbours those with the lowest and the highest score stay.
pub(crate) fn thinned(points: &[Point]) -> Vec<Point> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let bucket = points.len().div_ceil(MAX_POINTS / 2);
    let mut kept = Vec::with_capacity(MAX_POINTS + 1);
    for bucket in points.chunks(bucket) {
        let score = |point: &Point| point.mean.0.or(point.mean.1);
        let scored = || bucket.iter().filter_map(|point| Some((score(point)?, point)));
        let low = scored().min_by(|a, b| a.0.total_cmp(&b.0)).map(|it| it.1);
        let high = scored().max_by(|a, b| a.0.total_cmp(&b.0)).map(|it| it.1);
        let mut two: Vec<&Point> = low.into_iter().chain(high).collect();
        if two.is_empty() {
            two.extend(bucket.last());
        }
        two.sort_by_key(|point| point.round);
        two.dedup_by_key(|point| point.round);
        kept.extend(two.into_iter().cloned());
    }
    // How it stands now is always there.
    if let Some(last) = points.last()
        && kept.last().is_some_and(|it| it.round != last.round)
    {
        kept.push(last.clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(round: u64, score: f64) -> Point {
        let mean = (Some(score), None);
        Point { round, mean, model: mean, range: None, verdict: None }
    }

    #[test]
    fn a_long_curve_keeps_its_ends_and_its_extremes() {
        let few: Vec<Point> = (1..=MAX_POINTS as u64).map(|at| point(at, 0.5)).collect();
        assert_eq!(thinned(&few).len(), few.len());
        let mut many: Vec<Point> = (1..=10_000).map(|at| point(at, 0.5)).collect();
        many[4321].mean.0 = Some(0.1);
        many[8765].mean.0 = Some(0.9);
        let kept = thinned(&many);
        assert!(kept.len() <= MAX_POINTS + 1, "{}", kept.len());
        let has = |round: u64| kept.iter().any(|point| point.round == round);
        assert!(has(1) && has(4322) && has(8766) && has(10_000));
        assert!(kept.is_sorted_by_key(|point| point.round));
    }
}
