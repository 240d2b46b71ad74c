//! What guesses prove: a lower bound of ε from how often an attacker guesses right which examples a training had seen.
//! Steinke, Nasr and Jagielski, Privacy Auditing with One (1) Training Run, 2023 (arXiv:2305.08846), theorem 5.2.

use super::binomial::{at_least, exactly};

/// Guesses about canaries, each of which was trained on or not by the toss of a coin of its own. Whether to guess about one, and
/// what, follows from what was seen; how many guesses there are does not.
///
/// ```
/// use colearn_dp::guessing::Guesses;
/// let attack = Guesses { canaries: 1000, guesses: 100, right: 90 };
/// let proven = attack.epsilon(1e-5, 0.95);
/// assert!(proven > 1.4 && proven < (90.0_f64 / 10.0).ln());
/// assert_eq!(Guesses { right: 50, ..attack }.epsilon(1e-5, 0.95), 0.0);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guesses {
    /// How many canaries there were.
    pub canaries: u64,
    /// About how many of them something was guessed.
    pub guesses: u64,
    /// How many guesses were right.
    pub right: u64,
}

/// The largest ε that is looked for.
const MOST: f64 = 64.0;

impl Guesses {
    /// How likely so many right guesses are at most, where training was (ε, δ)-differentially private.
    pub fn p_value(self, epsilon: f64, delta: f64) -> f64 {
        let Self { canaries, guesses, right } = self;
        let probability = 1.0 / (1.0 + (-epsilon).exp());
        let at_most = at_least(right, guesses, probability);
        // What δ may add: it can be spent on the outcomes just below.
        let (mut most, mut sum) = (0.0_f64, 0.0);
        for below in 1..=right {
            let term = exactly(right - below, guesses, probability);
            sum += term;
            most = most.max(sum / below as f64);
            // Terms only become smaller from here on, and their mean with them.
            if term < most * 1e-3 && (right - below) as f64 <= guesses as f64 * probability {
                break;
            }
        }
        (at_most + most * delta * 2.0 * canaries as f64).min(1.0)
    }

    /// The largest ε that these guesses refute at this δ and confidence; 0 where they refute none. In at most
    /// `1 - confidence` of all audits of a training that is (ε, δ)-differentially private it is above that ε.
    pub fn epsilon(self, delta: f64, confidence: f64) -> f64 {
        let refutes = |epsilon: f64| self.p_value(epsilon, delta) <= 1.0 - confidence;
        if !refutes(0.0) {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, MOST);
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if refutes(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all outcomes of `guesses` tosses with the largest probability that ε allows, how many are refuted wrongly.
    fn wrong(guesses: u64, epsilon: f64, confidence: f64) -> f64 {
        let probability = 1.0 / (1.0 + (-epsilon).exp());
        (0..=guesses)
            .filter(|right| {
                Guesses { canaries: guesses, guesses, right: *right }.epsilon(0.0, confidence)
                    > epsilon
            })
            .map(|right| exactly(right, guesses, probability))
            .sum()
    }

    #[test]
    fn the_true_epsilon_is_refuted_as_seldom_as_is_said() {
        for guesses in [20, 200] {
            for epsilon in [0.1, 1.0, 3.0] {
                let wrong = wrong(guesses, epsilon, 0.95);
                assert!(wrong <= 0.05, "{guesses} {epsilon}: {wrong}");
            }
        }
        // Nor is it much too careful, where there are enough outcomes to tell apart.
        assert!(wrong(200, 1.0, 0.95) > 0.02);
    }

    #[test]
    fn without_delta_it_is_the_quantile_of_the_binomial() {
        // All of 100 right: p^100 = 0.05, and epsilon is the logit of p.
        let p = 0.05_f64.powf(0.01);
        let all = Guesses { canaries: 100, guesses: 100, right: 100 };
        assert!((all.epsilon(0.0, 0.95) - (p / (1.0 - p)).ln()).abs() < 1e-6);
        // A larger delta explains more, and so do fewer right guesses and more canaries.
        let some = Guesses { canaries: 1000, guesses: 100, right: 90 };
        assert!(some.epsilon(1e-4, 0.95) < some.epsilon(1e-6, 0.95));
        assert!(Guesses { right: 80, ..some }.epsilon(1e-5, 0.95) < some.epsilon(1e-5, 0.95));
        let more = Guesses { canaries: 10_000, ..some };
        assert!(more.epsilon(1e-5, 0.95) < some.epsilon(1e-5, 0.95));
        assert_eq!(some.epsilon(0.5, 0.95), 0.0, "with such a delta anything goes");
    }

    #[test]
    fn the_part_of_delta_is_that_of_all_outcomes_below() {
        for (guesses, right, epsilon) in
            [(50, 40, 0.5), (50, 10, 2.0), (300, 290, 1.0), (7, 7, 0.0)]
        {
            let it = Guesses { canaries: 400, guesses, right };
            let probability = 1.0 / (1.0 + f64::exp(-epsilon));
            let (mut most, mut sum) = (0.0_f64, 0.0);
            for below in 1..=right {
                sum += exactly(right - below, guesses, probability);
                most = most.max(sum / below as f64);
            }
            let expected = at_least(right, guesses, probability) + most * 1e-4 * 800.0;
            let found = it.p_value(epsilon, 1e-4);
            assert!((found - expected.min(1.0)).abs() < 1e-9, "{found} {expected}");
        }
    }
}
