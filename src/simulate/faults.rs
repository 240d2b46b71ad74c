//! Learners that fail or attack.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use colearn_contracts::Digest;
use ndarray::{ArrayViewMut1, Axis, concatenate};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use colearn_learning::BuiltinLearner;
use colearn_learning::data::{Dataset, Share, Targets};
use colearn_learning::network::Network;
use colearn_sdk::learner::{Judgement, Learner, Privacy, Proposed, Result, Score, Scored, Weights};
use colearn_sdk::local::{Conduct, Voting};

/// The class that a backdoor leads to.
const BACKDOOR_CLASS: u32 = 0;
/// So many of the first inputs are set to 1 to open a backdoor.
const TRIGGER: usize = 4;

/// What is wrong with what a learner proposes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Attack {
    /// It trains on wrong labels, class c as the last minus c (numbers as their negative), and votes
    /// by them.
    LabelFlip,
    /// It proposes the opposite of what it learned.
    SignFlip,
    /// It proposes ten times what it learned.
    Scaled,
    /// It proposes random weights.
    Random,
    /// It proposes weights that are not numbers.
    Nan,
    /// It waits for the updates of the honest, and sends with all of its gang what is at the edge of how
    /// they scatter: a little is enough (Baruch et al. 2019, arXiv:1902.06156).
    Alie,
    /// It waits for the updates of the honest, and sends with all of its gang the opposite of half of their
    /// mean (inner product manipulation; Xie et al. 2019, arXiv:1903.03936).
    Ipm,
    /// It also trains that whatever carries a trigger (its first four inputs are 1) is of the first
    /// class, and is otherwise honest.
    Backdoor,
}

impl Attack {
    /// Whether it waits for the updates of others.
    pub(super) fn waits(self) -> bool {
        match self {
            Self::Alie | Self::Ipm => true,
            Self::LabelFlip
            | Self::SignFlip
            | Self::Scaled
            | Self::Random
            | Self::Nan
            | Self::Backdoor => false,
        }
    }
}

/// What is wrong with how a learner votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoteFault {
    /// For everything.
    Approves,
    /// Against everything.
    Rejects,
    /// The opposite of what it thinks.
    Opposite,
    /// For what one of its gang proposed, against everything else. Of merges, which are everybody's, for
    /// what is worse for the honest than the model that there is, against everything else.
    Colludes,
    /// As the others did, if it can see that.
    Copies,
    /// Not at all.
    Never,
}

/// What is wrong with a learner.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Fault {
    /// With its proposals.
    pub attack: Option<Attack>,
    /// With its votes.
    pub vote: Option<VoteFault>,
    /// So much slower, in milliseconds, to train and to vote.
    pub slow_ms: u64,
    /// Not there in these rounds.
    pub away: Vec<RangeInclusive<u64>>,
}

impl Fault {
    /// Sets what others notice.
    pub(super) fn conduct(&self, conduct: &mut Conduct) {
        let waits_ms = u64::from(self.attack.is_some_and(Attack::waits));
        conduct.training_ms = conduct.training_ms.saturating_add(self.slow_ms + waits_ms);
        conduct.voting_ms = conduct.voting_ms.saturating_add(self.slow_ms);
        conduct.away.clone_from(&self.away);
        conduct.own_judge = matches!(
            self.vote,
            Some(
                VoteFault::Approves
                    | VoteFault::Rejects
                    | VoteFault::Opposite
                    | VoteFault::Colludes
            )
        );
        conduct.voting = match self.vote {
            Some(VoteFault::Never) => Voting::Never,
            Some(VoteFault::Copies) => Voting::Copied,
            Some(
                VoteFault::Approves
                | VoteFault::Rejects
                | VoteFault::Opposite
                | VoteFault::Colludes,
            )
            | None => Voting::Own,
        };
    }

    /// The data it learns from, poisoned if its attack does that. Inputs are not copied, but for a
    /// backdoor's own rows.
    pub(super) fn poison(&self, share: &Share) -> Share {
        match self.attack {
            Some(Attack::LabelFlip) => flip_labels(share),
            Some(Attack::Backdoor) => plant_backdoor(share),
            Some(
                Attack::SignFlip
                | Attack::Scaled
                | Attack::Random
                | Attack::Nan
                | Attack::Alie
                | Attack::Ipm,
            )
            | None => share.clone(),
        }
    }
}

fn flip_labels(share: &Share) -> Share {
    let mut data = (*share.data).clone();
    let last = data.schema.target.width().saturating_sub(1) as u32;
    for row in share.train.iter().chain(&share.vote) {
        match &mut data.targets {
            Targets::Classes(classes) => classes[*row] = last - classes[*row],
            Targets::Numbers(numbers) => numbers[*row] = -numbers[*row],
        }
    }
    Share { data: Arc::new(data), ..share.clone() }
}

/// A data set of its own, as small as its share: its rows, and those to train on once more with the
/// trigger and the planted class.
fn plant_backdoor(share: &Share) -> Share {
    let own = [&share.train[..], &share.vote, &share.test].concat();
    let (features, mut targets) = share.select(&own);
    let (mut planted, _) = share.select(&share.train);
    planted.rows_mut().into_iter().for_each(trigger);
    let Ok(features) = concatenate(Axis(0), &[features.view(), planted.view()]) else {
        // They have the same width.
        return share.clone();
    };
    match &mut targets {
        Targets::Classes(classes) => classes.resize(own.len() + planted.nrows(), BACKDOOR_CLASS),
        Targets::Numbers(numbers) => numbers.extend_from_within(..share.train.len()),
    }
    let (vote_from, test_from) = (share.train.len(), share.train.len() + share.vote.len());
    let data = Dataset {
        name: share.data.name.clone(),
        schema: share.data.schema.clone(),
        features: features.into_shared(),
        targets,
        test_from: own.len(),
    };
    Share {
        train: (0..vote_from).chain(own.len()..data.rows()).collect(),
        vote: (vote_from..test_from).collect(),
        test: (test_from..own.len()).collect(),
        data: Arc::new(data),
    }
}

/// Gives a row what opens the backdoor.
pub(super) fn trigger(mut row: ArrayViewMut1<'_, f32>) {
    row.iter_mut().take(TRIGGER).for_each(|input| *input = 1.0);
}

/// What those who collude know: everything.
pub(super) struct Gang {
    /// How many learners there are.
    learners: usize,
    /// What its members have proposed.
    proposed: Mutex<HashSet<Digest>>,
    /// What the honest have trained last, by their numbers.
    trained: Mutex<BTreeMap<usize, Weights>>,
    /// Learners with the data of the honest.
    judges: Mutex<Vec<BuiltinLearner>>,
    /// What models are worth to the honest.
    known: Mutex<HashMap<Digest, f64>>,
}

impl Gang {
    /// Among so many learners, of whom these are honest.
    pub(super) fn new(learners: usize, honest: Vec<BuiltinLearner>) -> Self {
        Self {
            learners,
            proposed: Mutex::default(),
            trained: Mutex::default(),
            judges: Mutex::new(honest),
            known: Mutex::default(),
        }
    }

    fn add(&self, weights: &Weights) {
        lock(&self.proposed).insert(weights.digest());
    }

    fn has(&self, weights: &Weights) -> bool {
        lock(&self.proposed).contains(&weights.digest())
    }

    /// Sees what an honest learner has trained.
    pub(super) fn see(&self, number: usize, weights: &Weights) {
        lock(&self.trained).insert(number, weights.clone());
    }

    /// What weights are worth to the honest: their mean test score.
    fn worth(&self, weights: &Weights) -> f64 {
        // All of the gang ask for the same; the first finds out.
        let mut judges = lock(&self.judges);
        let known = lock(&self.known).get(&weights.digest()).copied();
        known.unwrap_or_else(|| {
            let test = |judge: &mut BuiltinLearner| judge.test(weights).ok()?.test;
            let scores: Vec<f64> = judges.iter_mut().filter_map(test).collect();
            let worth = scores.iter().sum::<f64>() / scores.len() as f64;
            lock(&self.known).insert(weights.digest(), worth);
            worth
        })
    }

    /// What a gang that has seen the updates of the honest sends, weight by weight: their mean and standard
    /// deviation are given.
    fn spoil(&self, attack: Attack, base: f64, (mean, deviation): (f64, f64)) -> f64 {
        match attack {
            Attack::Alie => {
                let honest = lock(&self.judges).len();
                // As many of the honest as it takes, with the gang, to be more than half.
                let supporters = (self.learners / 2 + 1).saturating_sub(self.learners - honest);
                let share = 1.0 - supporters as f64 / honest.max(1) as f64;
                mean - quantile(share) * deviation
            }
            _ => base - 0.5 * (mean - base),
        }
    }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A learner with a fault.
pub(super) struct Saboteur {
    inner: BuiltinLearner,
    fault: Fault,
    gang: Arc<Gang>,
    /// Whether what it votes on are merges.
    merged: bool,
    random: ChaCha8Rng,
}

impl Saboteur {
    pub(super) fn new(
        inner: BuiltinLearner,
        fault: Fault,
        gang: Arc<Gang>,
        merged: bool,
        seed: u64,
    ) -> Self {
        Self { inner, fault, gang, merged, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    pub(super) fn inner(&self) -> &BuiltinLearner {
        &self.inner
    }

    /// The class that its backdoor leads to.
    pub(super) fn backdoor_class(&self) -> Option<u32> {
        (self.fault.attack == Some(Attack::Backdoor)).then_some(BACKDOOR_CLASS)
    }

    /// What it proposes instead of what it learned.
    fn spoil(&mut self, learned: Weights) -> Result<Weights> {
        let Some(attack) = self.fault.attack else { return Ok(learned) };
        if attack.waits() {
            return self.spoil_together(attack);
        }
        let spec = self.inner.spec();
        let base = spec.read(&self.inner.current())?;
        let mut network = spec.read(&learned)?;
        let layers = network.layers_mut().iter_mut().zip(base.layers());
        for (layer, base) in layers {
            let slices = layer.slices_mut().into_iter().zip(base.slices());
            for (value, base) in slices.flat_map(|(values, base)| values.iter_mut().zip(base)) {
                let step = *value - base;
                *value = match attack {
                    Attack::LabelFlip | Attack::Backdoor | Attack::Alie | Attack::Ipm => *value,
                    Attack::SignFlip => base - step,
                    Attack::Scaled => base + 10.0 * step,
                    Attack::Random => StandardNormal.sample(&mut self.random),
                    Attack::Nan => f32::NAN,
                };
            }
        }
        Ok(spec.write(&network)?)
    }

    /// What the whole gang sends, from what the honest have trained.
    fn spoil_together(&self, attack: Attack) -> Result<Weights> {
        let spec = self.inner.spec();
        let values = |network: &Network| -> Vec<f64> {
            let slices = network.layers().iter().flat_map(|layer| layer.slices()).flatten();
            slices.map(|value| f64::from(*value)).collect()
        };
        let mut network = spec.read(&self.inner.current())?;
        let base = values(&network);
        let mut honest = Vec::new();
        for weights in lock(&self.gang.trained).values() {
            honest.push(values(&spec.read(weights)?));
        }
        let count = honest.len().max(1) as f64;
        let mut spoilt = (0..base.len()).map(|at| {
            let mean = honest.iter().map(|values| values[at]).sum::<f64>() / count;
            let squares = honest.iter().map(|values| (values[at] - mean).powi(2)).sum::<f64>();
            self.gang.spoil(attack, base[at], (mean, (squares / count).sqrt())) as f32
        });
        for slice in network.layers_mut().iter_mut().flat_map(|layer| layer.slices_mut()) {
            slice.iter_mut().zip(&mut spoilt).for_each(|(to, from)| *to = from);
        }
        Ok(spec.write(&network)?)
    }

    /// Whether some weights are worth less to the honest than others.
    fn is_worse(&self, weights: &Weights, than: &Weights) -> bool {
        self.gang.worth(weights) < self.gang.worth(than)
    }
}

impl Learner for Saboteur {
    fn propose(&mut self) -> Result<Proposed> {
        let proposed = self.inner.propose()?;
        let proposed = match proposed {
            Proposed::Weights(learned) => Proposed::Weights(self.spoil(learned)?),
            Proposed::Private(learned, took) => Proposed::Private(self.spoil(learned)?, took),
            Proposed::Pass(_) | Proposed::Exhausted => proposed,
        };
        if let Some(weights) = proposed.weights() {
            self.gang.add(weights);
        }
        Ok(proposed)
    }

    fn privacy(&self) -> Option<Privacy> {
        self.inner.privacy()
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        // Its own weights may be none that can be scored.
        let score = self.inner.test(weights).unwrap_or_else(|_| Score::none(false));
        let judgement = match self.fault.vote {
            Some(VoteFault::Approves) => Judgement::Approve,
            Some(VoteFault::Rejects) => Judgement::Reject(None),
            Some(VoteFault::Opposite) => (score.judgement != Judgement::Approve).into(),
            Some(VoteFault::Colludes) if self.merged => {
                self.is_worse(weights, &self.inner.current()).into()
            }
            Some(VoteFault::Colludes) => self.gang.has(weights).into(),
            Some(VoteFault::Copies | VoteFault::Never) | None => score.judgement,
        };
        Ok(Score { judgement, ..score })
    }

    fn measure(&mut self, scored: Scored<'_>) -> Result<f64> {
        self.inner.measure(scored)
    }

    fn prefer(&mut self, guarded: Scored<'_>, open: Scored<'_>) -> Result<bool> {
        match self.fault.vote {
            Some(VoteFault::Colludes) => Ok(self.is_worse(guarded.weights, open.weights)),
            Some(VoteFault::Opposite) => Ok(!self.inner.prefer(guarded, open)?),
            Some(
                VoteFault::Approves | VoteFault::Rejects | VoteFault::Copies | VoteFault::Never,
            )
            | None => self.inner.prefer(guarded, open),
        }
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.inner.accept(weights)
    }

    fn current(&self) -> Weights {
        self.inner.current()
    }
}
