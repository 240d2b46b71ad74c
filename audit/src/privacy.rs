//! What learners have stated of their privacy budgets, held to what they say they did.
//!
//! Nobody but the learner knows what it did. But what it says can be recomputed, and an ε below that is
//! wrong whatever it did.

use std::collections::HashMap;

use colearn_contracts::{PrivacySegment, PrivacySpent, PrivateTraining};
use colearn_dp::{
    Composition, MAX_NOISE, MIN_NOISE, Mechanism, Segment, Steps, check_delta, epsilon_of, pld,
};
use colearn_records::record::Record;
use rayon::prelude::*;

use crate::finding::{Finding, Kind};

/// What a statement may be below what is recomputed: accountants round.
const TOLERANCE: f64 = 0.01;
/// The smallest δ that is accounted for.
const MIN_DELTA: f64 = 1.000_001e-12;
/// The most steps that are accounted for, all together. Far more than anybody takes; with a hundred times as
/// many, rounding would decide what comes of it.
const MAX_STEPS: u64 = 100_000_000;
/// The most recomputed figures that are kept.
const MAX_KNOWN: usize = 10_000;

/// Statements on their way to be recomputed, and what was recomputed before: members of one experiment
/// often say the same.
#[derive(Default)]
pub(crate) struct Statements {
    waiting: Vec<Statement>,
    known: HashMap<Done, Recomputed>,
}

/// What a proposal states, or an update.
struct Statement {
    index: u64,
    /// ε, in millionths.
    epsilon_micros: u64,
    done: Done,
}

/// What was done, as far as it decides ε: not how gradients were clipped, nor in which order.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Done {
    delta_picos: u64,
    steps: Composition,
}

/// What ε comes to.
#[derive(Clone, Copy)]
struct Recomputed {
    /// What is cheap to know: no less than the figure that is to be stated.
    bound: f64,
    /// That figure; only where the bound did not suffice.
    figure: Option<f64>,
}

impl Statements {
    /// Takes what a record states, if it does. In version 1 what was done before, with other settings, is
    /// not said, so nothing can be recomputed.
    pub(crate) fn take(&mut self, index: u64, record: &Record) {
        if let Record::Transaction(transaction) = record
            && let Some(stated) = transaction.action.what.privacy()
            && let PrivacySpent { epsilon_micros, delta_picos, training } = stated
            && let PrivateTraining::All(segments) = training
        {
            let done = Done::new(*delta_picos, segments);
            self.waiting.push(Statement { index, epsilon_micros: *epsilon_micros, done });
        }
    }

    /// Recomputes what was taken, on all cores: how many statements, and those that are too low.
    pub(crate) fn check(&mut self) -> (u64, Vec<Finding>) {
        let waiting = std::mem::take(&mut self.waiting);
        if self.known.len() > MAX_KNOWN {
            self.known.clear();
        }
        // Once for each list, by the lowest that is stated of it.
        let mut lowest: HashMap<&Done, u64> = HashMap::new();
        for statement in &waiting {
            let stated = lowest.entry(&statement.done).or_insert(u64::MAX);
            *stated = statement.epsilon_micros.min(*stated);
        }
        let known = &self.known;
        let recomputed: Vec<(Done, Recomputed)> = lowest
            .into_par_iter()
            .map(|(done, stated)| (done.clone(), recompute(done, stated, known.get(done).copied())))
            .collect();
        self.known.extend(recomputed);
        let too_low = |statement: &Statement| statement.too_low(self.known.get(&statement.done)?);
        (waiting.len() as u64, waiting.iter().filter_map(too_low).collect())
    }
}

impl Statement {
    fn too_low(&self, recomputed: &Recomputed) -> Option<Finding> {
        let epsilon = recomputed.figure.unwrap_or(recomputed.bound);
        is_too_low(self.epsilon_micros, epsilon).then(|| Finding {
            kind: Kind::Privacy,
            index: Some(self.index),
            expected: format!(
                "at least {epsilon:.6} at delta {:e}, recomputed from the steps that it lists",
                self.done.delta()
            ),
            got: format!("epsilon {:.6} is stated", micros(self.epsilon_micros)),
        })
    }
}

impl Done {
    fn new(delta_picos: u64, segments: &[PrivacySegment]) -> Self {
        let mut steps = Composition::default();
        for it in segments {
            steps.add(it.noise_micros, it.sampling_nanos, it.steps);
        }
        Self { delta_picos, steps }
    }

    fn delta(&self) -> f64 {
        self.delta_picos as f64 / 1e12
    }

    /// What an accountant can follow of it. Where it cannot, it is given less than was done: what is found
    /// too low then is too low for certain.
    fn accountable(&self) -> (Vec<Segment>, f64) {
        let segments = self.steps.segments();
        let most = MAX_STEPS / (segments.len() as u64).max(1);
        let least = |it: Segment| Segment {
            noise: it.noise.max(MIN_NOISE),
            steps: it.steps.min(most),
            ..it
        };
        let segments = segments.map(least).filter(|it| it.noise <= MAX_NOISE);
        (segments.collect(), self.delta().max(MIN_DELTA))
    }
}

/// What ε comes to, as exactly as it takes to say whether so much is too low.
fn recompute(done: &Done, stated_micros: u64, known: Option<Recomputed>) -> Recomputed {
    let (segments, delta) = done.accountable();
    let mut recomputed = known.unwrap_or_else(|| Recomputed {
        bound: bound(&segments, delta).unwrap_or_default(),
        figure: None,
    });
    if recomputed.figure.is_none() && is_too_low(stated_micros, recomputed.bound) {
        recomputed.figure = epsilon_of(&segments, delta).ok();
    }
    recomputed
}

/// The cheap bound; nothing where every ε is right, which is so for a δ of 1.
fn bound(segments: &[Segment], delta: f64) -> Option<f64> {
    let steps = |it: &Segment| {
        let mechanism = Mechanism::new(it.noise, it.sampling).ok()?;
        Some(Steps { mechanism, count: it.steps })
    };
    check_delta(delta).ok()?;
    let steps = segments.iter().map(steps).collect::<Option<Vec<Steps>>>()?;
    Some(pld::quick_epsilon(&steps, delta))
}

fn is_too_low(stated_micros: u64, epsilon: f64) -> bool {
    micros(stated_micros) < epsilon * (1.0 - TOLERANCE)
}

/// A number from its millionths.
fn micros(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn segment(noise_micros: u64, sampling_nanos: u64, steps: u64) -> PrivacySegment {
        PrivacySegment { noise_micros, clip_micros: 1_000_000, sampling_nanos, steps }
    }

    /// What this list comes to at this delta, in millionths, if so much is stated.
    fn figure(delta_picos: u64, segments: &[PrivacySegment], stated_micros: u64) -> Recomputed {
        recompute(&Done::new(delta_picos, segments), stated_micros, None)
    }

    #[test]
    fn the_expensive_figure_is_computed_only_where_the_cheap_bound_is_not_enough() {
        let done = [segment(1_000_000, 100_000_000, 288)];
        let cheap = figure(10_000_000, &done, u64::MAX);
        assert!(cheap.figure.is_none());
        let exact = figure(10_000_000, &done, 1);
        assert!(exact.figure.unwrap() < cheap.bound);
        // What is known is not computed again.
        let known = recompute(&Done::new(10_000_000, &done), 1, Some(exact));
        assert_eq!(known.figure, exact.figure);
    }

    #[test]
    fn order_and_clipping_change_nothing() {
        let (a, b) = (segment(1_000_000, 10_000_000, 5), segment(2_000_000, 10_000_000, 7));
        let clipped = PrivacySegment { clip_micros: 1, ..a };
        let one = Done::new(1, &[a, b, a]);
        assert!(one == Done::new(1, &[a, clipped, b]));
        assert!(one != Done::new(2, &[a, b, a]) && one != Done::new(1, &[a, b]));
    }

    #[test]
    fn what_no_accountant_can_follow_is_found_only_where_it_is_too_low_for_certain() {
        let too_low = |delta_picos, done: PrivacySegment, stated_micros| {
            let Recomputed { bound, figure } = figure(delta_picos, &[done], stated_micros);
            is_too_low(stated_micros, figure.unwrap_or(bound))
        };
        let usual = segment(1_000_000, 100_000_000, 288);
        // Hardly any noise, as many steps as can be written, the smallest delta.
        assert!(too_low(10_000_000, segment(1, 1_000_000_000, 1), 1_000_000));
        assert!(too_low(10_000_000, segment(1_000_000, 100_000_000, u64::MAX - 1), 1_000_000));
        assert!(too_low(1, usual, 1_000_000));
        // With a delta of 1 everything is right, and so is nothing beyond all noise.
        assert!(!too_low(1_000_000_000_000, usual, 1));
        assert!(!too_low(10_000_000, segment(u64::MAX, 100_000_000, 288), 1));
    }
}
