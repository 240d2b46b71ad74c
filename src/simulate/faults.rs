//! Learners that fail or attack.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::attack::{self, Aim, Attack, Gang, Turn};
use super::subject::{Subject, tested};
use colearn_learning::data::Share;
use colearn_sdk::learner::{
    Judgement, Learner, Privacy, Proposed, Result, Score, Scored, Task, Weights,
};
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
    inner: Subject,
    /// Which of all learners it is, counted from 0.
    number: usize,
    fault: Fault,
    gang: Arc<Gang>,
    /// Which of the gang it is.
    member: usize,
    /// The round that it has been told of.
    round: u64,
    random: ChaCha8Rng,
}

impl Saboteur {
    pub(super) fn new(
        inner: Subject,
        number: usize,
        fault: Fault,
        gang: Arc<Gang>,
        member: usize,
        seed: u64,
    ) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { inner, number, fault, gang, member, round: 0, random }
    }

    pub(super) fn inner(&self) -> &Subject {
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
        let Some(attack) = self.fault.attack.filter(|attack| !attack.poisons()) else {
            return Ok(learned);
        };
        let Some(numbers) = self.gang.numbers() else { return Ok(learned) };
        let base = self.inner.current();
        let sent = if attack == Attack::Own {
            let (round, learner, member) = (self.round, self.number, self.member);
            let turn = Turn { round, learner, member, base: &base, trained: &learned };
            self.gang.asks_own(turn)?
        } else if attack.waits() {
            self.gang.sends(attack, &base, self.member)?
        } else {
            let weights = numbers.read(&base)?.into_iter().zip(numbers.read(&learned)?);
            weights
                .map(|(base, learned)| attack::spoil(attack, base, learned, &mut self.random))
                .collect()
        };
        Ok(match sent {
            Some(values) => numbers.write(&learned, &values)?,
            None => learned,
        })
    }

    fn aim(&self) -> Aim {
        if self.plants() { Aim::Open } else { Aim::Harm }
    }

    /// Whether some weights serve the gang better than others; a backdoor also, if as well.
    fn is_better(&mut self, weights: &Weights, than: &Weights) -> bool {
        if !self.gang.can_judge() {
            // What is bad for itself is the best guess at what is bad for the others.
            let mut harm =
                |weights| self.inner.test(weights).map_or(f64::NAN, |score| -tested(&score));
            return harm(weights) > harm(than);
        }
        let (one, other) =
            (self.gang.worth(weights, self.aim()), self.gang.worth(than, self.aim()));
        one > other || (self.plants() && one == other)
    }
}

impl Learner for Saboteur {
    fn begin(&mut self, task: &Task) -> bool {
        self.round = task.round;
        self.inner.begin(task)
    }

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

    fn score_privacy(&self) -> Option<Privacy> {
        self.inner.score_privacy()
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        // Its own weights may be none that can be scored.
        let score = self.inner.test(weights).unwrap_or_else(|_| Score::none(false));
        let judgement = match self.fault.vote {
            Some(VoteFault::Approves) => Judgement::Approve,
            Some(VoteFault::Rejects) => Judgement::Reject(None),
            Some(VoteFault::Opposite) => (score.judgement != Judgement::Approve).into(),
            Some(VoteFault::Colludes) if self.gang.merges() => {
                let current = self.inner.current();
                self.is_better(weights, &current).into()
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
