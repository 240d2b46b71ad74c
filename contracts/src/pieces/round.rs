//! Reading the present round.

use std::collections::{BTreeMap, BTreeSet};

use super::keys;
use super::load::Loader;
use super::reach::Extent;
use super::split::{Counts, PartPiece, PhaseCore, StageCore};
use super::{Damaged, Store};
use crate::action::Act;
use crate::experiment::Experiment;
use crate::id::LearnerId;
use crate::merge_tally::{MergeTally, Named};
use crate::merging::Merges;
use crate::parameters::{Close, Model};
use crate::round::{MergeStage, MergedRound, Participant, Phase};

/// Which pairs of merges are read, of those that were named.
enum Pairs {
    All,
    /// That which a vote names, and whatever decides what follows from it: the leading one, and where rounds
    /// close early those that checkers name, of whom there are few.
    Judged {
        judged: Merges,
        early: bool,
    },
    None,
}

impl<S: Store> Loader<'_, S> {
    /// The present round.
    pub(super) fn round(
        &mut self,
        experiment: &mut Experiment,
        phase: PhaseCore,
        extent: Extent,
        act: Option<&Act>,
    ) -> Result<(), Damaged> {
        let early = experiment.parameters.close == Close::Early;
        let like = experiment.model.clone();
        experiment.rounds.phase = match phase {
            PhaseCore::Waiting => Phase::Waiting,
            PhaseCore::Paused(reason) => Phase::Paused(reason),
            PhaseCore::Proposing { proposer, deadline_ms } => {
                Phase::Proposing { proposer, deadline_ms }
            }
            PhaseCore::Voting { proposer, weights, size, tally, stage, deadline_ms } => {
                let weights = Model { digest: weights, size, media_type: like.media_type };
                Phase::Voting { proposer, weights, tally, stage, deadline_ms }
            }
            PhaseCore::Finished(reason) => Phase::Finished(reason),
            PhaseCore::Merged { stage, deadline_ms } => {
                let whole = extent >= Extent::Round;
                let judged = match act {
                    Some(Act::MergeVote(vote)) => Some(vote.merges),
                    Some(Act::RevealMergeVote(reveal)) => Some(reveal.vote.merges),
                    _ => None,
                };
                let mut participants = Vec::new();
                if whole {
                    let parts: Vec<(LearnerId, PartPiece)> = self.values(keys::PARTICIPANT)?;
                    participants.extend(
                        parts
                            .into_iter()
                            .map(|(learner, part)| Participant { learner, part: part.part(&like) }),
                    );
                }
                let checkers = match whole || judged.is_some() {
                    true => self.piece(keys::CHECKERS)?.unwrap_or_default(),
                    false => Vec::new(),
                };
                let stage = match stage {
                    StageCore::Training => MergeStage::Training,
                    StageCore::Revealing => MergeStage::Revealing,
                    StageCore::Gathering => {
                        let (said, held) = self.needed(keys::HELD)?;
                        MergeStage::Gathering { said, held }
                    }
                    StageCore::Voting { counts, stage } => {
                        let pairs = match judged {
                            _ if whole => Pairs::All,
                            Some(judged) => Pairs::Judged { judged, early },
                            None => Pairs::None,
                        };
                        let tally = self.tally(counts, pairs)?;
                        MergeStage::Voting { tally, stage }
                    }
                };
                Phase::Merged(Box::new(MergedRound { participants, checkers, stage, deadline_ms }))
            }
        };
        Ok(())
    }

    /// The votes on merges, with those for these pairs.
    fn tally(&mut self, counts: Counts, which: Pairs) -> Result<MergeTally, Damaged> {
        let mut pairs: BTreeMap<Merges, Named> = BTreeMap::new();
        let (checked, others) = match which {
            Pairs::All => (true, true),
            // Whether enough may yet agree is asked of every pair that a checker names.
            Pairs::Judged { early, .. } => (early && counts.checkers > 0, false),
            Pairs::None => (false, false),
        };
        for (kind, is_read) in [(keys::CHECKED_PAIR, checked), (keys::PAIR, others)] {
            for (key, value) in if is_read { self.range(&[kind]) } else { Vec::new() } {
                let pair = keys::pair(&key).ok_or_else(|| self.damaged(&key))?;
                pairs.insert(pair, self.decode(&key, &value)?);
            }
        }
        if let Pairs::Judged { judged, .. } = which {
            for pair in [judged, counts.leading].into_iter().filter(|pair| !pair.is_none()) {
                for kind in [keys::CHECKED_PAIR, keys::PAIR] {
                    if !pairs.contains_key(&pair)
                        && let Some(named) = self.piece(&keys::of_pair(kind, &pair))?
                    {
                        pairs.insert(pair, named);
                    }
                }
            }
        }
        let unread = counts.pairs.checked_sub(pairs.len() as u32);
        let unread = unread.ok_or_else(|| self.damaged(keys::CORE))?;
        let mut checked = BTreeSet::new();
        for (pair, _) in pairs.iter().filter(|(_, named)| named.checkers > 0) {
            checked.insert(*pair);
        }
        Ok(MergeTally {
            electorate: counts.electorate,
            cast: counts.cast,
            abstentions: counts.abstentions,
            unavailable: counts.unavailable,
            checkers: counts.checkers,
            checkers_cast: counts.checkers_cast,
            pairs,
            leading: counts.leading,
            checked,
            unread,
        })
    }
}
