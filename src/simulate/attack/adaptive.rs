//! Attackers who know the rule, and try what each attack would come to.

use colearn_contracts::Merging;
use colearn_merge::{Merge, Source};
use colearn_sdk::learner::{Result, Weights};
use rand::Rng;

use super::super::baseline::{self, Aggregation};
use super::super::numbers::Numbers;
use super::together::Seen;
use super::{Aim, Attack, Gang, Rule};

/// What they try.
const TRIED: [Attack; 4] = [Attack::Alie, Attack::Ipm, Attack::Limit, Attack::Gate];

/// What is known before a round ends.
pub(super) struct Foresight<'a> {
    pub gang: &'a Gang,
    pub rule: Rule,
    pub numbers: &'a Numbers,
    pub base: &'a Weights,
    /// The model before the base, if the movement between them counts.
    pub previous: Option<Weights>,
    /// What the honest have sent.
    pub trained: &'a [Weights],
}

impl Foresight<'_> {
    /// Of what is tried, what serves the gang best.
    pub(super) fn best(
        &self,
        seen: &Seen<'_>,
        random: &mut impl Rng,
    ) -> Result<Option<Vec<Vec<f64>>>> {
        let mut best: Option<(f64, Vec<Vec<f64>>)> = None;
        let tried = TRIED.into_iter().filter_map(|attack| seen.steps(attack, random));
        for steps in tried.collect::<Vec<_>>().into_iter().chain([seen.hidden()]) {
            let worth = self.worth(seen, &steps)?;
            if best.as_ref().is_none_or(|(most, _)| worth > *most) {
                best = Some((worth, steps));
            }
        }
        Ok(best.map(|(_, steps)| steps))
    }

    /// How well what such steps come to serves the gang.
    fn worth(&self, seen: &Seen<'_>, steps: &[Vec<f64>]) -> Result<f64> {
        let result = match self.rule {
            // Nobody sends at the same time as the honest.
            Rule::Votes => None,
            Rule::Merged(rules) => self.merged(seen, steps, &rules)?,
            Rule::Server(rule) => self.combined(seen, steps, rule)?,
        };
        Ok(result.map_or(f64::NEG_INFINITY, |weights| self.gang.worth(&weights, Aim::Harm)))
    }

    fn write(&self, values: impl Iterator<Item = f32>) -> Result<Weights> {
        Ok(self.numbers.write(self.base, &values.collect::<Vec<_>>())?)
    }

    /// What a server would make of it.
    fn combined(
        &self,
        seen: &Seen<'_>,
        steps: &[Vec<f64>],
        rule: Aggregation,
    ) -> Result<Option<Weights>> {
        let single = |step: &Vec<f64>| step.iter().map(|value| *value as f32).collect();
        let all: Vec<Vec<f32>> = seen.honest.iter().chain(steps).map(single).collect();
        let last: Vec<f32> = match &self.previous {
            Some(previous) => {
                let before = self.numbers.read(previous)?;
                let moved = seen.base.iter().zip(before);
                moved.map(|(base, before)| (base - f64::from(before)) as f32).collect()
            }
            None => vec![0.0; seen.base.len()],
        };
        let step = baseline::combine(rule, &all, steps.len(), &last);
        let to = |(step, base): (&f32, &f64)| (base + f64::from(*step)) as f32;
        step.map(|step| self.write(step.iter().zip(seen.base).map(to))).transpose()
    }

    /// The merge that would be taken, if all can bear it.
    fn merged(
        &self,
        seen: &Seen<'_>,
        steps: &[Vec<f64>],
        rules: &Merging,
    ) -> Result<Option<Weights>> {
        let mut updates = self.trained.to_vec();
        for step in steps {
            updates.push(self.write(seen.weights(step))?);
        }
        let bytes: Vec<&[u8]> = updates.iter().map(|update| &update.bytes()[..]).collect();
        let updates: Vec<&dyn Source> = bytes.iter().map(|update| update as &dyn Source).collect();
        let base = &self.base.bytes()[..];
        let previous = self.previous.as_ref().map(|previous| &previous.bytes()[..]);
        let merged = Merge {
            base: &base,
            previous: previous.as_ref().map(|previous| previous as &dyn Source),
            updates: &updates,
            clip_permille: rules.clip_permille,
            momentum_permille: rules.momentum_permille,
        }
        .in_memory()?;
        let [open, guarded] = [merged.open, merged.guarded].map(|it| it.map(Weights::new));
        Ok(match (open, guarded) {
            (Some(open), Some(guarded)) => {
                let worth = |weights| self.gang.worth(weights, Aim::Harm);
                let gang = if worth(&guarded) > worth(&open) { steps.len() } else { 0 };
                let prefer = self.gang.honest_who_prefer(&guarded, &open) + gang;
                let guard = 2 * prefer > self.trained.len() + steps.len();
                Some(if guard { guarded } else { open })
            }
            (open, guarded) => open.or(guarded),
        })
    }
}
