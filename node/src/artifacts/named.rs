//! What a ledger says of artifacts: which it names, in which round, and for how long they are kept.
//!
//! That follows from its entries, from the first one on, so that a restart forgets none.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{Act, Action, Digest, ExperimentName, Phase};
use colearn_records::convert::ExperimentState;
use colearn_records::record::{DecodedEntry, Record};

use super::uses::{Naming, Role};
use crate::config::{Keep, KeepArtifacts};
use crate::pulling::models;

/// What the entries of a ledger name.
#[derive(Default)]
pub(super) struct Named {
    /// So many entries were looked at.
    followed: u64,
    /// What experiments began with.
    initial: BTreeMap<ExperimentName, Digest>,
    rounds: BTreeMap<ExperimentName, BTreeMap<u64, Round>>,
}

/// What is named in one round.
#[derive(Default)]
struct Round {
    /// What was trained from: the experiment's model.
    models: BTreeSet<Digest>,
    proposals: BTreeSet<Digest>,
    /// Updates of a merged round, and what its votes name: that may be anything.
    updates: BTreeSet<Digest>,
}

impl Named {
    /// How many entries were looked at.
    pub(super) fn followed(&self) -> u64 {
        self.followed
    }

    /// Looks at the next entry; gives what it names.
    pub(super) fn note(&mut self, entry: &[u8]) -> Option<Naming> {
        self.note_read(Record::decode(entry).ok().as_ref())
    }

    /// The same of an entry that was read; what a node has recorded it can decode.
    pub(super) fn note_read(&mut self, entry: Option<&DecodedEntry>) -> Option<Naming> {
        self.followed += 1;
        let Record::Transaction(transaction) = &entry?.record else { return None };
        let Action { experiment, what } = &transaction.action;
        let (round, named) = self.note_act(experiment, what)?;
        let is_own = !matches!(what, Act::MergeVote(_) | Act::RevealMergeVote(_));
        let experiment = experiment.clone();
        (!named.is_empty()).then_some(Naming { experiment, round, is_own, named })
    }

    /// The round, and what an act names in it.
    fn note_act(
        &mut self,
        experiment: &ExperimentName,
        what: &Act,
    ) -> Option<(u64, Vec<(Digest, Role)>)> {
        let (round, base, named) = match what {
            Act::Create(create) => {
                self.initial.insert(experiment.clone(), create.model.digest);
                return Some((0, vec![(create.model.digest, Role::Model)]));
            }
            Act::Propose(proposal) => {
                let (base, digest) = (proposal.base, proposal.weights.digest);
                let round = self.round(experiment, proposal.round);
                round.models.insert(base);
                round.proposals.insert(digest);
                let named = vec![(base, Role::Model), (digest, Role::Proposal)];
                return Some((proposal.round, named));
            }
            Act::Update(update) => {
                (update.round, Some(update.base), [Some(update.weights.digest), None])
            }
            Act::RevealUpdate(reveal) => {
                let update = &reveal.update;
                (update.round, Some(update.base), [Some(update.weights.digest), None])
            }
            Act::MergeVote(vote) => (vote.round, None, [vote.merges.open, vote.merges.guarded]),
            Act::RevealMergeVote(reveal) => {
                let vote = &reveal.vote;
                (vote.round, None, [vote.merges.open, vote.merges.guarded])
            }
            Act::Join { .. }
            | Act::Leave { .. }
            | Act::Pass { .. }
            | Act::Vote(_)
            | Act::Commit(_)
            | Act::Reveal(_)
            | Act::Resume { .. }
            | Act::ReplaceKey { .. }
            | Act::Move { .. }
            | Act::MotionVote { .. }
            | Act::Stop
            | Act::CommitUpdate(_)
            | Act::Have { .. }
            | Act::Evaluate(_) => return None,
        };
        let of_round = self.round(experiment, round);
        of_round.models.extend(base);
        let named = named.into_iter().flatten();
        of_round.updates.extend(named.clone());
        let named = named.map(|digest| (digest, Role::Update));
        Some((round, named.chain(base.map(|base| (base, Role::Model))).collect()))
    }

    fn round(&mut self, experiment: &ExperimentName, round: u64) -> &mut Round {
        self.rounds.entry(experiment.clone()).or_default().entry(round).or_default()
    }

    /// What only experiments name that have ended, but for what each shows: what it began with, its model and the one
    /// before.
    pub(super) fn spare(&self, states: &[&ExperimentState]) -> BTreeSet<Digest> {
        let least = Keep { artifacts: KeepArtifacts::Last(0), updates: Some(0) };
        let mut needed = self.kept(least, states.iter().copied());
        let mut spare = BTreeSet::new();
        for state in states {
            let rounds = self.rounds.get(&state.name).into_iter().flat_map(BTreeMap::values);
            let named =
                rounds.flat_map(|it| it.models.iter().chain(&it.proposals).chain(&it.updates));
            if is_over(state) == 1 { &mut spare } else { &mut needed }.extend(named);
        }
        spare.difference(&needed).copied().collect()
    }

    /// What is kept of what the ledger names.
    pub(super) fn kept<'a>(
        &self,
        keep: Keep,
        states: impl Iterator<Item = &'a ExperimentState>,
    ) -> BTreeSet<Digest> {
        // For how many rounds behind the open one; none for all of them.
        let (models, proposals) = match keep.artifacts {
            KeepArtifacts::All => (None, None),
            KeepArtifacts::Accepted => (None, Some(0)),
            KeepArtifacts::Last(rounds) => (Some(rounds), Some(rounds)),
        };
        let updates = keep.updates.or(proposals);
        let mut kept: BTreeSet<Digest> = self.initial.values().copied().collect();
        for state in states {
            kept.extend(models_of(state));
            let Some(rounds) = self.rounds.get(&state.name) else { continue };
            for (number, round) in rounds {
                let behind = state.round.saturating_add(is_over(state)).saturating_sub(*number);
                let is_kept = |rounds: Option<u64>| rounds.is_none_or(|rounds| behind <= rounds);
                if is_kept(models) {
                    kept.extend(&round.models);
                }
                if is_kept(proposals) {
                    kept.extend(&round.proposals);
                }
                if is_kept(updates) {
                    kept.extend(&round.updates);
                }
            }
        }
        kept
    }
}

/// What an experiment shows now.
fn models_of(state: &ExperimentState) -> impl Iterator<Item = Digest> {
    models(state).into_iter().map(|model| model.digest)
}

/// One more round is closed where there is no open one.
fn is_over(state: &ExperimentState) -> u64 {
    u64::from(matches!(state.phase, Phase::Finished(_)))
}

/// How far experiments are. As long as it is the same nothing more goes.
pub(super) fn progress<'a>(
    states: impl Iterator<Item = &'a ExperimentState>,
) -> BTreeMap<ExperimentName, u64> {
    states.map(|state| (state.name.clone(), state.round + is_over(state))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_contracts::{FinishReason, MergeVote, Merges, Model, Proposal, Scores};
    use colearn_ledger::{Entry, Hash};
    use colearn_records::record;

    use super::*;
    use crate::testing::{Draws, keeper, name, next_step, signed};

    /// In a history that has something of everything.
    #[test]
    fn what_is_needed_is_kept_whatever_else_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let (mut draws, mut now_ms) = (Draws(3), 1_000);
        let mut named = Named::default();
        let mut needed_once = BTreeSet::new();
        let (mut went, mut rounds) = (BTreeSet::new(), 0);
        let keep = |artifacts| Keep { artifacts, updates: None };
        for _ in 0..600 {
            now_ms += [0, 1, 7, 60][draws.below(4) as usize];
            let transaction = next_step(&mut draws, keeper.contract());
            keeper.decide(now_ms, &transaction).unwrap();
            if keeper.is_unsealed() {
                keeper.seal().unwrap().wait().unwrap();
            }
            let reader = keeper.reader();
            while let Ok(entry) = reader.entry(named.followed()) {
                named.note(&entry);
            }
            let states: Vec<_> =
                keeper.contract().experiments().map(|it| ExperimentState::of(it, 0)).collect();
            rounds = rounds.max(states.iter().map(|state| state.round).max().unwrap_or_default());
            let needed: BTreeSet<Digest> = states.iter().flat_map(models_of).collect();
            needed_once.extend(states.iter().map(|state| state.model.digest));
            let all = named.kept(keep(KeepArtifacts::All), states.iter());
            for artifacts in
                [KeepArtifacts::Accepted, KeepArtifacts::Last(0), KeepArtifacts::Last(2)]
            {
                let kept = named.kept(keep(artifacts), states.iter());
                assert!(kept.is_superset(&needed) && kept.is_subset(&all));
                assert!(named.initial.values().all(|initial| kept.contains(initial)));
                went.extend(all.difference(&kept).copied());
            }
            let accepted = named.kept(keep(KeepArtifacts::Accepted), states.iter());
            // Every model that ever was, from the moment that something was trained from it.
            let used = named.rounds.values().flat_map(BTreeMap::values).flat_map(|it| &it.models);
            assert!(used.clone().all(|model| accepted.contains(model)));
            assert!(used.clone().all(|model| needed_once.contains(model)));
        }
        assert!(rounds > 3 && went.len() > 5, "{rounds} {}", went.len());

        // Once one has ended, what it has left can go, but for what it shows and what the other names.
        let states = keeper.contract().experiments().map(|it| ExperimentState::of(it, 0));
        let mut states: Vec<_> = states.collect();
        let of = |state: &ExperimentState| {
            let rounds = named.rounds[&state.name].values();
            let all =
                rounds.flat_map(|it| it.models.iter().chain(&it.proposals).chain(&it.updates));
            all.copied().collect::<BTreeSet<Digest>>()
        };
        assert_eq!(named.spare(&states.iter().collect::<Vec<_>>()), BTreeSet::new());
        states[0].phase = Phase::Finished(FinishReason::Stopped);
        let spare = named.spare(&states.iter().collect::<Vec<_>>());
        let needed: BTreeSet<Digest> = states.iter().flat_map(models_of).collect();
        let initial: BTreeSet<Digest> = named.initial.values().copied().collect();
        let kept = [&needed, &initial, &of(&states[1])];
        assert!(!spare.is_empty() && kept.iter().all(|kept| kept.is_disjoint(&spare)));
        let gone_or_kept = of(&states[0]);
        assert!(
            gone_or_kept
                .iter()
                .all(|it| spare.contains(it) || kept.iter().any(|of| of.contains(it)))
        );
    }

    #[test]
    fn what_members_say_that_a_merge_is_is_not_their_experiments_by_that() {
        let entry = |act| {
            let payload = record::transaction_payload(&signed(1, Action::new(name("a"), act)));
            let parent = Hash::ZERO;
            Entry { index: 1, parent, time_ms: 1_000, payload }.encode()
        };
        let digest = Digest([7; 32]);
        let merges = Merges { open: Some(digest), guarded: None };
        let vote = MergeVote {
            round: 1,
            merges,
            bear_open: true,
            bear_guarded: false,
            prefer_guarded: false,
            reason: None,
            scores_open: Scores::default(),
            scores_guarded: Scores::default(),
            link: None,
        };
        let mut named = Named::default();
        let naming = |round, is_own, named| Naming { experiment: name("a"), round, is_own, named };
        let voted = named.note(&entry(Act::MergeVote(vote)));
        assert_eq!(voted, Some(naming(1, false, vec![(digest, Role::Update)])));
        let weights = Model { digest, size: 1, media_type: "m".to_owned() };
        let (base, scores) = (Digest([8; 32]), Scores::default());
        let proposal = Proposal { round: 1, base, weights, scores, privacy: None };
        let of = named.note(&entry(Act::Propose(proposal)));
        let own = vec![(base, Role::Model), (digest, Role::Proposal)];
        assert_eq!(of, Some(naming(1, true, own)));
    }
}
