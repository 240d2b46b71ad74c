//! A merged round of a run: what everybody trains, and what everybody thinks of the merges.

use std::collections::HashMap;

use colearn_contracts::{Digest, MergeStage, MergeTally, Phase, Stage};
use colearn_merge::Source;
use rayon::prelude::*;

use super::{LocalError, Run, Voting, no_secret};
use crate::learner::{Learner, Score, Task, Weights, Work};
use crate::merging::{Judged, Merged};
use crate::participant::{Assignment, Duty, MergeTask};
use crate::turn::{self, Trained};

/// What was trained in a round.
type Updates = HashMap<Digest, Update>;

/// An update, and who has sent it.
struct Update {
    weights: Weights,
    senders: Vec<usize>,
}

impl Run<'_> {
    /// One round: updates, what is held of them, and votes on what is merged of them.
    pub(super) fn hold_merged<L: Learner + Send>(
        &mut self,
        learners: &mut [L],
    ) -> Result<(), LocalError> {
        let round = self.round();
        let updates = self.train(learners, round)?;
        self.all_submit(round)?;
        self.gather(round, &updates)?;
        let mut merged = None;
        // Whoever takes the checkers' word has to wait for it.
        for _ in 0..2 {
            self.judge_merges(learners, round, &updates, &mut merged)?;
        }
        self.wait_while(round, |stage| {
            matches!(stage, MergeStage::Voting { stage: Stage::Open | Stage::Commit { .. }, .. })
        });
        self.all_submit(round)?;
        let model = self.ledger.experiment().map(|it| it.model().digest);
        let merges = merged.into_iter().flat_map(|merged| [merged.open, merged.guarded]).flatten();
        match merges.into_iter().find(|merge| Some(merge.digest()) == model) {
            Some(accepted) => self.take_accepted(learners, &accepted),
            None => Ok(()),
        }
    }

    /// What the merged round waits for and until when, if it is still open.
    fn merge_stage(&self, round: u64) -> Option<(&MergeStage, u64)> {
        let experiment = self.ledger.experiment()?;
        match experiment.phase() {
            Phase::Merged(open) if experiment.round() == round => {
                Some((&open.stage, open.deadline_ms))
            }
            Phase::Merged(_)
            | Phase::Voting { .. }
            | Phase::Waiting
            | Phase::Paused(_)
            | Phase::Proposing { .. }
            | Phase::Finished(_) => None,
        }
    }

    /// Lets time pass to the end of this stage.
    fn wait_while(&mut self, round: u64, waits: impl Fn(&MergeStage) -> bool) {
        if let Some((stage, deadline_ms)) = self.merge_stage(round)
            && waits(stage)
        {
            self.wait_until(deadline_ms);
        }
    }

    /// Whether something that is said at a time comes before the stage is over. Each entry takes at
    /// least a millisecond.
    fn is_in_time(&self, round: u64, at_ms: u64) -> bool {
        let next_ms = at_ms.max(self.ledger.now_ms() + 1);
        self.merge_stage(round).is_some_and(|(_, deadline_ms)| next_ms < deadline_ms)
    }

    /// All who are there and fast enough train: who takes equally long at the same time, who takes longer
    /// after them.
    fn train<L: Learner + Send>(
        &mut self,
        learners: &mut [L],
        round: u64,
    ) -> Result<Updates, LocalError> {
        let opened_ms = self.ledger.now_ms();
        let mut updates = Updates::new();
        let mut times: Vec<u64> = self.conducts.iter().map(|conduct| conduct.training_ms).collect();
        times.sort_unstable();
        times.dedup();
        for training_ms in times {
            let ready_ms = opened_ms.saturating_add(training_ms);
            if !self.is_in_time(round, ready_ms) {
                break;
            }
            let asked = |at: usize| -> Option<Assignment> {
                let conduct = &self.conducts[at];
                let here = conduct.training_ms == training_ms && !conduct.is_away(round);
                match self.participants[at].duty() {
                    Duty::Train(asked) if here => Some(asked),
                    _ => None,
                }
            };
            let asked: Vec<Option<Assignment>> = (0..learners.len()).map(asked).collect();
            let all = learners.par_iter_mut().zip(&mut self.spending).zip(asked);
            let trained: Vec<_> = all
                .map(|((learner, spending), asked)| {
                    let asked = asked?;
                    learner.begin(&Task::new(round, Work::Update, asked.base, None));
                    Some(turn::take(learner, spending, &asked))
                })
                .collect();
            for (at, work) in trained.into_iter().enumerate() {
                let Some(work) = work else { continue };
                match &work {
                    Ok(Trained::Proposal { weights, .. }) => {
                        let update = updates.entry(weights.digest());
                        let sent = || Update { weights: weights.clone(), senders: Vec::new() };
                        update.or_insert_with(sent).senders.push(at);
                    }
                    Ok(Trained::Pass { .. } | Trained::Exhausted { .. }) => {}
                    Err(error) => tracing::warn!(learner = at + 1, %error, "passing the turn"),
                }
                let sealed = self.participants[at].trained(round, work, no_secret(at, round));
                if self.is_in_time(round, ready_ms) {
                    self.submit_sealed(ready_ms, at, sealed)?;
                }
            }
        }
        self.wait_while(round, |stage| *stage == MergeStage::Training);
        Ok(updates)
    }

    /// Everybody who is there submits what it owes, such as what it has committed to; then the time for that
    /// is over.
    fn all_submit(&mut self, round: u64) -> Result<(), LocalError> {
        let reveals = |stage: &MergeStage| {
            matches!(
                stage,
                MergeStage::Revealing | MergeStage::Voting { stage: Stage::Reveal { .. }, .. }
            )
        };
        for at in 0..self.participants.len() {
            let open = self.merge_stage(round).is_some_and(|(stage, _)| reveals(stage));
            if open && !self.conducts[at].is_away(round) && self.is_in_time(round, 0) {
                self.submit_owed(0, at)?;
            }
        }
        self.wait_while(round, reveals);
        Ok(())
    }

    /// Everybody who is there says what it holds: everything, but for what is withheld from it or it denies.
    fn gather(&mut self, round: u64, sent: &Updates) -> Result<(), LocalError> {
        for at in 0..self.participants.len() {
            if let Duty::Gather { updates, .. } = self.participants[at].duty()
                && !self.conducts[at].is_away(round)
                && self.is_in_time(round, 0)
            {
                // At most 64.
                let bits = updates.iter().enumerate();
                let held = bits.fold(0, |held, (bit, update)| {
                    let holds = sent.get(&update.digest).is_some_and(|it| self.holds(at, it));
                    held | u64::from(holds) << bit
                });
                self.participants[at].gathered(round, held);
                self.submit_owed(0, at)?;
            }
        }
        self.wait_while(round, |stage| matches!(stage, MergeStage::Gathering { .. }));
        Ok(())
    }

    /// Whether a learner has got an update from one of its senders, and says so.
    fn holds(&self, learner: usize, update: &Update) -> bool {
        update.senders.iter().any(|sender| {
            let withheld = self.conducts[*sender].withheld_from.contains(&learner);
            !withheld && !self.conducts[learner].denies.contains(sender)
        })
    }

    /// Who can vote now, is there and does so, in the order of the votes' arrival; and what that takes.
    fn merge_voters(&self, round: u64) -> Vec<(usize, MergeTask)> {
        let mut voters: Vec<(usize, MergeTask)> = (0..self.conducts.len())
            .filter(|at| !self.conducts[*at].is_away(round))
            .filter(|at| self.conducts[*at].voting != Voting::Never)
            .filter_map(|at| match self.participants[at].duty() {
                Duty::Merge(task) => Some((at, task)),
                _ => None,
            })
            .collect();
        voters.sort_by_key(|(at, _)| {
            let conduct = &self.conducts[*at];
            (conduct.voting == Voting::Copied, conduct.voting_ms, *at)
        });
        voters
    }

    /// Merges, unless that is done, and has those vote on it who can.
    fn judge_merges<L: Learner + Send>(
        &mut self,
        learners: &mut [L],
        round: u64,
        updates: &Updates,
        merged: &mut Option<Merged>,
    ) -> Result<(), LocalError> {
        let voters = self.merge_voters(round);
        let Some((_, task)) = voters.first() else { return Ok(()) };
        let opened_ms = self.ledger.now_ms();
        let merges = match merged {
            Some(merges) => merges,
            None => merged.insert(self.merge(task, updates)?),
        };
        let base = self.models.back();
        let mut tasks: Vec<Option<&MergeTask>> = vec![None; learners.len()];
        for (at, task) in &voters {
            if self.conducts[*at].voting == Voting::Own {
                tasks[*at] = Some(task);
            }
        }
        let mut judged: Vec<Option<Judged>> = learners
            .par_iter_mut()
            .zip(tasks)
            .map(|(learner, task)| {
                let base = base.filter(|_| task.is_some_and(|task| task.score_base));
                task.map(|task| {
                    learner.begin(&Task::new(round, Work::Merge, task.base.digest, None));
                    Judged::by(learner, base, merges.open.as_ref(), merges.guarded.as_ref())
                })
            })
            .collect();
        let mut last_ms = opened_ms;
        for (voter, _) in &voters {
            let conduct = &self.conducts[*voter];
            let at_ms = match conduct.voting {
                Voting::Copied => last_ms,
                Voting::Own | Voting::Never => opened_ms.saturating_add(conduct.voting_ms),
            };
            let Some((MergeStage::Voting { tally, .. }, _)) = self.merge_stage(round) else {
                break;
            };
            if !self.is_in_time(round, at_ms) {
                continue;
            }
            last_ms = last_ms.max(at_ms);
            let judged = judged[*voter].take().unwrap_or_else(|| copied(merges, tally));
            let sealed = self.participants[*voter].judged(round, &judged, no_secret(*voter, round));
            self.submit_sealed(at_ms, *voter, sealed)?;
        }
        Ok(())
    }

    fn merge(&self, task: &MergeTask, updates: &Updates) -> Result<Merged, LocalError> {
        let updates: Vec<&[u8]> = task
            .updates
            .iter()
            .filter_map(|update| updates.get(&update.digest))
            .map(|update| &update.weights.bytes()[..])
            .collect();
        let updates: Vec<&dyn Source> =
            updates.iter().map(|update| update as &dyn Source).collect();
        let held = |digest: Digest| {
            let held = self.models.iter().rfind(|held| held.digest() == digest);
            held.map(|held| &held.bytes()[..]).unwrap_or_default()
        };
        let base = held(task.base.digest);
        let previous = task.previous.as_ref().map(|previous| held(previous.digest));
        let previous = previous.as_ref().map(|previous| previous as &dyn Source);
        Ok(Merged::compute(task, &base, previous, &updates, None)?)
    }
}

/// What somebody says who has not looked at the merges: what those who came before say, as far as it can
/// be seen.
fn copied(merges: &Merged, tally: &MergeTally) -> Judged {
    let votes = tally.leading();
    let most = |votes_for: u32| 2 * votes_for >= votes.weight;
    let like = |merge: &Option<Weights>, votes_for| {
        merge.as_ref().map(|_| Score::none(most(votes_for)).into())
    };
    Judged {
        merges: merges.named(),
        base: None,
        open: like(&merges.open, votes.bear_open),
        guarded: like(&merges.guarded, votes.bear_guarded),
        prefers_guarded: merges.guarded.is_some() && 2 * votes.prefer_guarded > votes.weight,
    }
}
