//! What is handed to a simulation instead of what is built in: learners, an attack, a rule.

use std::sync::Arc;

use super::attack::{Attack, Rule};
use super::baseline::Aggregation;
use super::faults::Fault;
use super::scenario::ScenarioError;
use colearn_sdk::learner::{Learner, Result};

/// A learner of one's own.
pub type OwnLearner = Box<dyn Learner + Send>;

/// An attack of one's own, for faults that say `attack = "own"`: the numbers that a learner sends instead of those
/// it has trained, as many. They may be no numbers. An error gives up the turn.
pub type OwnAttack = Arc<dyn Fn(Seen) -> Result<Vec<f32>> + Send + Sync>;

/// A rule of one's own, for `rule = "own"`: the next model's numbers, or `None` to stay with the one that there is.
/// What is not finite is not taken either. An error ends the run.
pub type OwnRule = Arc<dyn Fn(Sent) -> Result<Option<Vec<f32>>> + Send + Sync>;

/// The tensors that the numbers of a model are, in their order: names and shapes.
pub type Layout = Arc<Vec<(String, Vec<usize>)>>;

/// What is handed to a simulation.
#[derive(Default)]
pub struct Own {
    /// For each learner one of one's own, or `None` for a built-in one; empty if all are built in.
    pub learners: Vec<Option<OwnLearner>>,
    /// What faults send that say so.
    pub attack: Option<OwnAttack>,
    /// How a server combines updates.
    pub rule: Option<OwnRule>,
}

/// What an attacker knows when it is its turn.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// The round, counted from 1.
    pub round: u64,
    /// Which learner it is, counted from 1.
    pub learner: usize,
    /// Which of the faulty learners it is, counted from 0.
    pub member: usize,
    /// How many learners are faulty.
    pub members: usize,
    /// What the numbers are.
    pub layout: Layout,
    /// The model that there is.
    pub base: Vec<f32>,
    /// What it has trained from that.
    pub trained: Vec<f32>,
    /// What each honest learner has trained last, in their order. Where everybody trains in each round that is of this
    /// round, but of those that are away or slower.
    pub honest: Vec<Vec<f32>>,
    /// The scenario's seed.
    pub seed: u64,
}

/// What a server has when all have sent.
#[derive(Clone, PartialEq, Debug)]
pub struct Sent {
    /// The round, counted from 1.
    pub round: u64,
    /// What the numbers are.
    pub layout: Layout,
    /// The model that all have trained from.
    pub base: Vec<f32>,
    /// Who has sent, counted from 1, in order.
    pub learners: Vec<usize>,
    /// What each has sent: a model. What is none, or not finite, was left out.
    pub updates: Vec<Vec<f32>>,
    /// The share of each in all rows that were trained on; the same for all where learners bring their own data.
    pub weights: Vec<f64>,
    /// The scenario's seed.
    pub seed: u64,
}

/// Who is what in a scenario, as far as it decides what can be done.
pub(super) struct Cast<'a> {
    pub(super) rule: Rule,
    pub(super) faults: &'a [Option<Fault>],
    /// Which learners were handed in.
    pub(super) own: &'a [bool],
    /// Whether the scenario has divided data, of which those have been made.
    pub(super) has_shares: bool,
    pub(super) has_attack: bool,
    pub(super) has_rule: bool,
}

impl Cast<'_> {
    /// Whether all who are honest are built in, so that others can know their data.
    pub(super) fn knows_the_honest(&self) -> bool {
        let mut all = self.faults.iter().zip(self.own);
        all.all(|(fault, own)| fault.is_some() || !own)
    }

    /// # Errors
    /// If something was handed in that the scenario has no place for, the other way round, or if what it says has no
    /// meaning for learners of one's own.
    pub(super) fn check(&self) -> std::result::Result<(), ScenarioError> {
        let attacks = |attack| self.faults.iter().flatten().any(|it| it.attack == Some(attack));
        let own_attack = |attack| {
            self.faults.iter().zip(self.own).any(|(fault, own)| {
                *own && fault.as_ref().is_some_and(|it| it.attack == Some(attack))
            })
        };
        let own_rule = matches!(self.rule, Rule::Server(Aggregation::Own));
        let any_own = self.own.contains(&true);
        let broken = [
            (
                attacks(Attack::Own) && !self.has_attack,
                "a fault says attack = \"own\", and no attack was handed in: Python's simulate(..., attack=...) takes one",
            ),
            (
                self.has_attack && !attacks(Attack::Own),
                "an attack was handed in, and no fault says attack = \"own\"",
            ),
            (
                own_rule && !self.has_rule,
                "it says rule = \"own\", and no rule was handed in: Python's simulate(..., merge=...) takes one",
            ),
            (
                self.has_rule && !own_rule,
                "a rule was handed in, and the scenario says another; leave its rule out",
            ),
            (
                attacks(Attack::Adaptive) && !self.knows_the_honest(),
                "attack = \"adaptive\" tries what the honest would think, which is known of built-in learners only",
            ),
            (
                attacks(Attack::Adaptive) && own_rule,
                "attack = \"adaptive\" tries what the rule would do, which is known of built-in rules only",
            ),
            (
                attacks(Attack::Backdoor) && any_own,
                "attack = \"backdoor\" is measured by what models predict, which only built-in ones can be asked for",
            ),
            (
                own_attack(Attack::LabelFlip) && !self.has_shares,
                "attack = \"label_flip\" poisons data that the scenario divides, and these learners bring their own; \
                 hand in a function that makes them of shares, or learners that have wrong labels",
            ),
        ];
        match broken.into_iter().find(|(is_broken, _)| *is_broken) {
            Some((_, why)) => Err(ScenarioError::Malformed(why.to_owned())),
            None => Ok(()),
        }
    }

    /// Whether somebody looks at weights as numbers.
    pub(super) fn computes(&self) -> bool {
        let changes = |fault: &Fault| fault.attack.is_some_and(|attack| !attack.poisons());
        matches!(self.rule, Rule::Server(_)) || self.faults.iter().flatten().any(changes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::super::{Scenario, Simulation, SimulationReport};
    use super::*;
    use colearn_learning::data::Share;
    use colearn_learning::{BuiltinLearner, learner_seed};

    fn scenario(more: &str) -> (Scenario, Vec<Share>) {
        let text = format!(
            "task = \"iris\"\nlearners = 5\nrounds = 3\nseed = 7\nmodel = {{ hidden = [4] }}\n{more}"
        );
        let scenario = Scenario::parse(&text).unwrap();
        let shares = scenario.split(&scenario.load().unwrap()).unwrap();
        (scenario, shares)
    }

    fn run(scenario: &Scenario, shares: &[Share], own: Own) -> SimulationReport {
        let simulation = Simulation::with(scenario, shares, own).unwrap();
        simulation.run(|_, _| {}, |_, _| {}).unwrap().0
    }

    /// The built-in learners, as if somebody had made them.
    fn handed_in(scenario: &Scenario, shares: &[Share]) -> Vec<Option<OwnLearner>> {
        let initial = scenario.initial(&shares[0].data.schema).unwrap();
        let poisoned = scenario.poisoned(shares).unwrap();
        let learners = poisoned.into_iter().enumerate().map(|(at, share)| {
            let seed = learner_seed(scenario.seed, at + 1);
            let learner = BuiltinLearner::new(share, scenario.training(), initial.clone(), seed);
            Some(Box::new(learner.unwrap()) as OwnLearner)
        });
        learners.collect()
    }

    #[test]
    fn learners_that_are_handed_in_do_as_built_in_ones_would() {
        for more in [
            "churn = { leaves = 0.1 }\nfaults = [{ learners = [2], attack = \"sign_flip\", vote = \"opposite\" }]",
            "plan = { merging = {} }\nfaults = [{ learners = [2, 4], attack = \"ipm\" }]",
            "plan = { merging = {} }\nfaults = [{ learners = [3], attack = \"label_flip\" }]",
            "rule = \"median\"\nfaults = [{ learners = [5], attack = \"scaled\" }]",
        ] {
            let (scenario, shares) = scenario(more);
            let builtin = run(&scenario, &shares, Own::default());
            let learners = handed_in(&scenario, &shares);
            let own = run(&scenario, &shares, Own { learners, ..Own::default() });
            assert_eq!(own.root, builtin.root, "{more}");
            assert_eq!(own.scores, builtin.scores, "{more}");
            assert_eq!(own.final_score, builtin.final_score, "{more}");
            // The first alone, beside built-in ones.
            let mut learners = handed_in(&scenario, &shares);
            learners[1..].iter_mut().for_each(|learner| *learner = None);
            let mixed = run(&scenario, &shares, Own { learners, ..Own::default() });
            assert_eq!((mixed.root, mixed.scores), (builtin.root, builtin.scores), "{more}");
        }
    }

    #[test]
    fn an_attack_sees_what_there_is_and_decides_what_is_sent() {
        for (more, honest) in [("rule = \"average\"", 3), ("plan = { merging = {} }", 3), ("", 0)] {
            let attack = "faults = [{ learners = [2, 4], attack = \"own\" }]";
            let (scenario, shares) = scenario(&format!("{more}\n{attack}"));
            let told: Arc<Mutex<Vec<Seen>>> = Arc::default();
            let listening = told.clone();
            let attack: OwnAttack = Arc::new(move |seen| {
                listening.lock().unwrap().push(seen.clone());
                Ok(seen.base.iter().map(|value| value + 1.0).collect())
            });
            let own = || Own { attack: Some(attack.clone()), ..Own::default() };
            let first = run(&scenario, &shares, own());
            let mut told = std::mem::take(&mut *told.lock().unwrap());
            assert_eq!(first.root, run(&scenario, &shares, own()).root);
            told.sort_by_key(|seen| (seen.round, seen.learner));
            assert!(!told.is_empty(), "{more}");
            for seen in &told {
                let numbers = seen.layout.iter().map(|(_, shape)| shape.iter().product::<usize>());
                assert_eq!((seen.base.len(), seen.seed), (numbers.sum(), 7));
                assert_eq!((seen.learner, seen.members), (2 + 2 * seen.member, 2));
                assert!(seen.honest.len() >= honest && seen.trained != seen.base);
                assert!(seen.honest.iter().all(|it| it.len() == seen.base.len()));
            }
            if honest > 0 {
                let rounds: Vec<u64> = told.iter().map(|seen| seen.round).collect();
                assert_eq!(rounds, [1, 1, 2, 2, 3, 3], "{more}");
            }
        }
    }

    #[test]
    fn a_rule_has_what_was_sent_and_decides_what_comes_of_it() {
        let (mut scenario, shares) =
            scenario("split = \"unequal\"\nfaults = [{ learners = [5], attack = \"nan\" }]");
        scenario.rule = Some(Aggregation::Own);
        let ruled =
            |rule: OwnRule| run(&scenario, &shares, Own { rule: Some(rule), ..Own::default() });
        let stays = ruled(Arc::new(|_| Ok(None)));
        assert!(stays.scores.windows(2).all(|pair| pair[0] == pair[1]) && stays.root.is_none());
        let infinite = ruled(Arc::new(|sent| Ok(Some(vec![f32::INFINITY; sent.base.len()]))));
        assert_eq!(infinite.scores, stays.scores);
        let told: Arc<Mutex<Vec<Sent>>> = Arc::default();
        let listening = told.clone();
        ruled(Arc::new(move |mut sent| {
            listening.lock().unwrap().push(sent.clone());
            Ok(sent.updates.pop())
        }));
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 3);
        for (sent, next) in told.iter().zip(&told[1..]) {
            // What is no number is left out.
            assert_eq!(sent.learners, [1, 2, 3, 4]);
            assert_eq!(sent.updates.last(), Some(&next.base), "what it gave is what there is");
            assert!((sent.weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(sent.weights.is_sorted() && sent.weights[0] < sent.weights[3]);
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        let attack = || -> Option<OwnAttack> { Some(Arc::new(|seen| Ok(seen.base))) };
        let rule = || -> Option<OwnRule> { Some(Arc::new(|_| Ok(None))) };
        let fault =
            |attack: &str| format!("faults = [{{ learners = [2], attack = \"{attack}\" }}]");
        let with = |own: bool, more: &str, has_attack: bool, has_rule: bool| {
            let (scenario, shares) = scenario(more);
            let learners = if own { handed_in(&scenario, &shares) } else { Vec::new() };
            let attack = if has_attack { attack() } else { None };
            let rule = if has_rule { rule() } else { None };
            let shares = if own { &[] } else { &shares[..] };
            let made = Simulation::with(&scenario, shares, Own { learners, attack, rule });
            made.err().unwrap().to_string()
        };
        for (own, more, has_attack, has_rule, why) in [
            (false, fault("own"), false, false, "no attack was handed in"),
            (false, String::new(), true, false, "no fault says"),
            (false, "rule = \"own\"".to_owned(), false, false, "no rule was handed in"),
            (false, "rule = \"median\"".to_owned(), false, true, "another"),
            (true, fault("adaptive"), false, false, "built-in learners"),
            (true, fault("backdoor"), false, false, "built-in ones"),
            (true, fault("label_flip"), false, false, "bring their own"),
        ] {
            let error = with(own, &more, has_attack, has_rule);
            assert!(error.contains(why), "{more}: {error}");
        }
        for (text, why) in [
            ("split = \"iid\"", "split says"),
            ("learners = 3", "learners is 3, and 2 were handed in"),
        ] {
            let error = Scenario::parse_for(text, 2).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(Scenario::parse_for("rounds = 3", 2).unwrap().learners, 2);
    }
}
