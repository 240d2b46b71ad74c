//! Learners that fail or attack.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::attack::{self, Aim, Attack, Gang};
use colearn_learning::BuiltinLearner;
use colearn_learning::data::Share;
use colearn_sdk::learner::{Judgement, Learner, Privacy, Proposed, Result, Score, Scored, Weights};
use colearn_sdk::local::{Conduct, Voting};

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
    /// what serves the gang better than the model that there is, against everything else. And it says that it
    /// holds no update of the honest.
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
    /// Sets what others notice, of a member of a gang beside these honest learners.
    pub(super) fn conduct(&self, conduct: &mut Conduct, haste: u64, honest: &[usize]) {
        conduct.training_ms = conduct.training_ms.saturating_add(self.slow_ms + haste);
        conduct.voting_ms = conduct.voting_ms.saturating_add(self.slow_ms);
        conduct.away.extend(self.away.iter().cloned());
        conduct.withheld_from = self.attack.map_or_else(Vec::new, |it| it.withholds(honest));
        if self.vote == Some(VoteFault::Colludes) {
            conduct.denies = honest.to_vec();
        }
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

    /// The data it learns from, poisoned if its attack does that.
    pub(super) fn poison(&self, share: &Share) -> Share {
        self.attack.map_or_else(|| share.clone(), |attack| attack.poison(share))
    }

    fn waits(&self) -> bool {
        self.attack.is_some_and(Attack::waits)
    }
}

/// A learner with a fault.
pub(super) struct Saboteur {
    inner: BuiltinLearner,
    fault: Fault,
    gang: Arc<Gang>,
    /// Which of the gang it is.
    member: usize,
    random: ChaCha8Rng,
}

impl Saboteur {
    pub(super) fn new(
        inner: BuiltinLearner,
        fault: Fault,
        gang: Arc<Gang>,
        member: usize,
        seed: u64,
    ) -> Self {
        Self { inner, fault, gang, member, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    pub(super) fn inner(&self) -> &BuiltinLearner {
        &self.inner
    }

    /// How many have to go before it in a round: who waits for the honest comes after them, and the first of
    /// those works out what all of them send.
    pub(super) fn haste(&self) -> u64 {
        match (self.fault.waits(), self.member) {
            (false, _) => 0,
            (true, 0) => 1,
            (true, _) => Self::SLOWEST,
        }
    }

    /// The most that [`Self::haste`] is.
    pub(super) const SLOWEST: u64 = 2;

    /// Whether it has planted a backdoor.
    pub(super) fn plants(&self) -> bool {
        self.fault.attack == Some(Attack::Backdoor)
    }

    /// What it proposes instead of what it learned.
    fn spoil(&mut self, learned: Weights) -> Result<Weights> {
        let Some(attack) = self.fault.attack else { return Ok(learned) };
        let spec = self.inner.spec();
        let mut network = spec.read(&learned)?;
        if attack.waits() {
            let base = self.inner.current();
            let sent = self.gang.sends(attack, spec, &base, self.member)?;
            network.set_values(sent.unwrap_or_default());
        } else {
            let base = spec.read(&self.inner.current())?;
            let weights = base.values().zip(network.values());
            let spoilt: Option<Vec<f32>> = weights
                .map(|(base, learned)| attack::spoil(attack, base, learned, &mut self.random))
                .collect();
            network.set_values(spoilt.unwrap_or_default());
        }
        Ok(spec.write(&network)?)
    }

    fn aim(&self) -> Aim {
        if self.plants() { Aim::Open } else { Aim::Harm }
    }

    /// Whether some weights serve the gang better than others; a backdoor also, if as well.
    fn is_better(&self, weights: &Weights, than: &Weights) -> bool {
        let (one, other) =
            (self.gang.worth(weights, self.aim()), self.gang.worth(than, self.aim()));
        one > other || (self.plants() && one == other)
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
            Some(VoteFault::Colludes) if self.gang.merges() => {
                self.is_better(weights, &self.inner.current()).into()
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
            Some(VoteFault::Colludes) => Ok(self.is_better(guarded.weights, open.weights)),
            Some(VoteFault::Opposite) => Ok(!self.inner.prefer(guarded, open)?),
            Some(
                VoteFault::Approves | VoteFault::Rejects | VoteFault::Copies | VoteFault::Never,
            )
            | None => self.inner.prefer(guarded, open),
        }
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.gang.lived_with(weights);
        self.inner.accept(weights)
    }

    fn current(&self) -> Weights {
        self.inner.current()
    }
}
