//! What those who collude know: everything.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use colearn_contracts::{Digest, Merging};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::super::baseline::Aggregation;
use super::super::numbers::Numbers;
use super::super::own::{Layout, OwnAttack, Seen as OwnSeen};
use super::adaptive::Foresight;
use super::together::Seen;
use super::{Attack, opens};
use colearn_learning::BuiltinLearner;
use colearn_sdk::learner::{Learner as _, Result, Score, Scored, Weights};

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Rule {
    /// One proposes, the others vote.
    Votes,
    /// All vote on two merges.
    Merged(Merging),
    /// A server combines.
    Server(Aggregation),
}

/// What those who collude want of a model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in super::super) enum Aim {
    /// That it is bad for the honest.
    Harm,
    /// That the backdoor opens.
    Open,
}

/// Those who collude.
pub(in super::super) struct Gang {
    rule: Rule,
    members: usize,
    /// How models are numbers, if anybody looks at those.
    numbers: Option<Arc<Numbers>>,
    /// An attack that was handed in.
    own: Option<Own>,
    /// What its members have proposed.
    proposed: Mutex<HashSet<Digest>>,
    /// What the honest have trained last, by their numbers.
    trained: Mutex<BTreeMap<usize, Weights>>,
    /// Learners with the data of the honest; none where nobody can know that.
    judges: Mutex<Vec<BuiltinLearner>>,
    /// What models are worth to the gang.
    known: Mutex<HashMap<(Digest, Aim), f64>>,
    /// What was agreed on last.
    plan: Mutex<Option<Plan>>,
    /// The global model, last, and the one before.
    models: Mutex<VecDeque<Weights>>,
}

/// An attack that was handed in, and what it is told besides.
pub(in super::super) struct Own {
    /// The attack.
    pub(in super::super) attack: OwnAttack,
    /// What the numbers are.
    pub(in super::super) layout: Layout,
    /// The scenario's seed.
    pub(in super::super) seed: u64,
}

/// A turn of one of a gang.
#[derive(Clone, Copy)]
pub(in super::super) struct Turn<'a> {
    /// The round.
    pub(in super::super) round: u64,
    /// Which learner it is, counted from 0.
    pub(in super::super) learner: usize,
    /// Which of the gang.
    pub(in super::super) member: usize,
    /// The global model.
    pub(in super::super) base: &'a Weights,
    /// What it has trained.
    pub(in super::super) trained: &'a Weights,
}

/// What a gang has agreed to send, and what it goes by.
struct Plan {
    attack: Attack,
    base: Digest,
    trained: Vec<Digest>,
    values: Arc<Vec<Vec<f32>>>,
}

impl Gang {
    /// So many, who know the rule, beside the honest.
    pub(in super::super) fn new(
        rule: Rule,
        members: usize,
        numbers: Option<Arc<Numbers>>,
        own: Option<Own>,
        honest: Vec<BuiltinLearner>,
    ) -> Self {
        Self {
            rule,
            members,
            numbers,
            own,
            proposed: Mutex::default(),
            trained: Mutex::default(),
            judges: Mutex::new(honest),
            known: Mutex::default(),
            plan: Mutex::default(),
            models: Mutex::default(),
        }
    }

    /// How models are numbers, if anybody looks at those.
    pub(in super::super) fn numbers(&self) -> Option<&Numbers> {
        self.numbers.as_deref()
    }

    /// Whether it knows what models are worth to the honest.
    pub(in super::super) fn can_judge(&self) -> bool {
        !lock(&self.judges).is_empty()
    }

    /// Whether what is voted on are merges.
    pub(in super::super) fn merges(&self) -> bool {
        matches!(self.rule, Rule::Merged(_))
    }

    pub(in super::super) fn add(&self, weights: &Weights) {
        lock(&self.proposed).insert(weights.digest());
    }

    pub(in super::super) fn has(&self, weights: &Weights) -> bool {
        lock(&self.proposed).contains(&weights.digest())
    }

    /// Sees what an honest learner has trained.
    pub(in super::super) fn see(&self, number: usize, weights: &Weights) {
        lock(&self.trained).insert(number, weights.clone());
    }

    /// Sees what the global model is now.
    pub(in super::super) fn lived_with(&self, model: &Weights) {
        let mut models = lock(&self.models);
        if models.back() != Some(model) {
            models.push_back(model.clone());
        }
        if models.len() > 2 {
            models.pop_front();
        }
    }

    /// How well a model serves the gang. What is no model serves nobody.
    pub(in super::super) fn worth(&self, weights: &Weights, aim: Aim) -> f64 {
        // All of the gang ask for the same; the first finds out. Nothing here runs on other threads.
        let mut judges = lock(&self.judges);
        let known = lock(&self.known).get(&(weights.digest(), aim)).copied();
        known.unwrap_or_else(|| {
            let worth = match aim {
                Aim::Harm => {
                    let test = |judge: &mut BuiltinLearner| judge.test(weights).ok()?.test;
                    let scores: Vec<f64> = judges.iter_mut().filter_map(test).collect();
                    -scores.iter().sum::<f64>() / scores.len() as f64
                }
                Aim::Open => {
                    let network = judges.first().map(|judge| judge.spec().read(weights));
                    let network = network.and_then(std::result::Result::ok);
                    network.map_or(f64::NAN, |network| opens(&network, judges.iter()))
                }
            };
            lock(&self.known).insert((weights.digest(), aim), worth);
            worth
        })
    }

    /// How many of the honest prefer the guarded merge.
    pub(super) fn honest_who_prefer(&self, guarded: &Weights, open: &Weights) -> usize {
        let scored = |weights| Scored { weights, score: Score::none(true) };
        let mut judges = lock(&self.judges);
        let prefers = |judge: &mut BuiltinLearner| judge.prefer(scored(guarded), scored(open));
        judges.iter_mut().filter_map(|judge| prefers(judge).ok()).filter(|prefers| *prefers).count()
    }

    /// What an attack that was handed in sends in a member's turn; `None` if there is none.
    ///
    /// # Errors
    /// That of the attack.
    pub(in super::super) fn asks_own(&self, turn: Turn<'_>) -> Result<Option<Vec<f32>>> {
        let (Some(own), Some(numbers)) = (&self.own, self.numbers()) else { return Ok(None) };
        let trained: Vec<Weights> = lock(&self.trained).values().cloned().collect();
        let seen = OwnSeen {
            round: turn.round,
            learner: turn.learner + 1,
            member: turn.member,
            members: self.members,
            layout: own.layout.clone(),
            base: numbers.read(turn.base)?,
            trained: numbers.read(turn.trained)?,
            // Whose training has led nowhere has nothing to be seen.
            honest: trained.iter().filter_map(|it| numbers.read(it).ok()).collect(),
            seed: own.seed,
        };
        (own.attack)(seen).map(Some)
    }

    /// The weights that a member of the gang sends, from the global model: what all have
    /// agreed on once they have seen the updates of the honest. `None` if there is nothing to agree on.
    pub(in super::super) fn sends(
        &self,
        attack: Attack,
        base: &Weights,
        member: usize,
    ) -> Result<Option<Vec<f32>>> {
        let Some(numbers) = self.numbers() else { return Ok(None) };
        let trained: Vec<Weights> = lock(&self.trained).values().cloned().collect();
        let digests: Vec<Digest> = trained.iter().map(Weights::digest).collect();
        let agreed = |plan: &Plan| {
            (plan.attack, plan.base, &plan.trained) == (attack, base.digest(), &digests)
        };
        // No lock is held while it is worked out: that runs on all threads, of which another may come back
        // here. So several may work it out, and come to the same; mostly the first has done it for all.
        let (known, went_on) = {
            let plan = lock(&self.plan);
            let known = plan.as_ref().filter(|plan| agreed(plan)).map(|plan| plan.values.clone());
            (known, plan.as_ref().is_none_or(|plan| plan.base != base.digest()))
        };
        let values = match known {
            Some(values) => values,
            None => {
                let values = Arc::new(self.agree(attack, numbers, base, &trained, went_on)?);
                let (base, values_of_all) = (base.digest(), values.clone());
                let plan = Plan { attack, base, trained: digests, values: values_of_all };
                *lock(&self.plan) = Some(plan);
                values
            }
        };
        Ok(values.get(member).cloned())
    }

    /// What each member sends. `went_on` says whether the last round has accepted something.
    fn agree(
        &self,
        attack: Attack,
        numbers: &Numbers,
        base: &Weights,
        trained: &[Weights],
        went_on: bool,
    ) -> Result<Vec<Vec<f32>>> {
        let values = |weights: &Weights| -> Result<Vec<f64>> {
            Ok(numbers.read(weights)?.into_iter().map(f64::from).collect())
        };
        let from = values(base)?;
        let mut honest = Vec::new();
        for weights in trained {
            let values = values(weights)?;
            honest.push(values.iter().zip(&from).map(|(value, base)| value - base).collect());
        }
        let seen = Seen { base: &from, honest: &honest, members: self.members };
        // The same for all who work it out.
        let mut random = ChaCha8Rng::from_seed(base.digest().0);
        let steps = match attack {
            Attack::Adaptive => {
                let previous = lock(&self.models).front().cloned().filter(|_| went_on);
                let (gang, rule) = (self, self.rule);
                let foresight = Foresight { gang, rule, numbers, base, previous, trained };
                foresight.best(&seen, &mut random)?
            }
            _ => seen.steps(attack, &mut random),
        };
        let all = steps.unwrap_or_default().into_iter();
        Ok(all.map(|step| seen.weights(&step).collect()).collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
