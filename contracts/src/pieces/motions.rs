//! Reading what the members are deciding together, and who has voted on that.

use std::collections::BTreeSet;

use super::keys;
use super::load::Loader;
use super::reach::Extent;
use super::split::MotionPiece;
use super::{Damaged, Store};
use crate::action::Act;
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::motions::OpenMotion;

impl<S: Store> Loader<'_, S> {
    /// What the members are deciding, and have decided, but for who has voted.
    pub(super) fn motions(&mut self, experiment: &mut Experiment) -> Result<(), Damaged> {
        for (key, value) in self.range(&[keys::MOTION]) {
            let number = key.get(1..).and_then(|number| number.try_into().ok());
            let number = u64::from_be_bytes(number.ok_or_else(|| self.damaged(&key))?);
            let piece: MotionPiece = self.decode(&key, &value)?;
            experiment.motions.open.insert(
                number,
                OpenMotion {
                    motion: piece.motion,
                    mover: piece.mover,
                    tally: piece.tally,
                    version: piece.version,
                    threshold: piece.threshold,
                    voters: BTreeSet::new(),
                    electorate: piece.electorate,
                    deadline_ms: piece.deadline_ms,
                },
            );
        }
        experiment.motions.adopted = self.values(keys::ADOPTED)?;
        Ok(())
    }

    /// Whether who votes on a motion, or changes its key, has voted already; of a whole experiment, who has.
    pub(super) fn voters(
        &mut self,
        experiment: &mut Experiment,
        extent: Extent,
        asked: Option<(LearnerId, &Act)>,
    ) -> Result<(), Damaged> {
        let voted_on = |act: &Act, number| {
            matches!(act, Act::MotionVote { number: asked, .. } if *asked == number)
                || matches!(act, Act::ReplaceKey { .. })
        };
        for (&number, open) in &mut experiment.motions.open {
            if extent == Extent::Whole {
                for (key, _) in self.range(&keys::by_number(keys::VOTER, number)) {
                    let voter = keys::tail(&key, 9).map(LearnerId);
                    open.voters.insert(voter.ok_or_else(|| self.damaged(&key))?);
                }
            } else if let Some((sender, act)) = asked
                && voted_on(act, number)
                && self.get(&keys::of_voter(number, sender)).is_some()
            {
                open.voters.insert(sender);
            }
        }
        Ok(())
    }
}
