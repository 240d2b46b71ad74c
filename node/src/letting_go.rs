//! Letting go of what merged rounds have left, where the operator wants that: updates, and merges that are no
//! model any more.
//!
//! Which these are the ledger says, from its first entry on, so a restart forgets none. What is a model now, was
//! the one before it or the first one, or belongs to a round that is kept, stays; so does whatever came otherwise.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{Act, Digest, ExperimentName, Phase};
use colearn_records::convert::ExperimentState;
use colearn_records::record::Record;
use tokio_util::sync::CancellationToken;

use crate::artifacts::ArtifactStore;
use crate::reads::Reads;
use crate::view::Views;

/// How many bytes of entries are read at a time.
const PART_BYTES: usize = 1 << 20;

/// Lets go of what is older than so many rounds behind the open one, until it is to stop.
pub(crate) async fn let_go(
    keep: u64,
    reads: Reads,
    views: Views,
    artifacts: ArtifactStore,
    stopping: CancellationToken,
) {
    let mut size = views.size();
    let mut left = Left::default();
    while !stopping.is_cancelled() {
        let view = views.latest();
        while left.followed < view.size() {
            let (start, end) = (left.followed, view.size());
            let entries = match reads.read(move |it| it.entries(start, end, PART_BYTES)).await {
                Ok(entries) if !entries.is_empty() => entries,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "updates are kept: the ledger cannot be read");
                    return;
                }
            };
            for entry in entries {
                left.note(&entry);
            }
        }
        let states = view.experiments_after("").map(|experiment| experiment.state());
        for digest in left.gone(keep, states) {
            match artifacts.remove(&digest) {
                Ok(()) => tracing::debug!(%digest, "let go"),
                Err(error) => tracing::warn!(%digest, %error, "cannot be let go"),
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = size.changed() => if changed.is_err() { return },
        }
    }
}

/// What merged rounds have left, as far as it is not gone.
#[derive(Default)]
struct Left {
    /// So many entries were looked at.
    followed: u64,
    /// What was sent and named, by experiment and round.
    rounds: BTreeMap<ExperimentName, BTreeMap<u64, BTreeSet<Digest>>>,
    /// What came otherwise: what experiments began with, and proposals. Else whoever votes in a merged round could
    /// have the models of others deleted by naming them.
    otherwise: BTreeSet<Digest>,
}

impl Left {
    fn note(&mut self, entry: &[u8]) {
        self.followed += 1;
        // What a node has recorded it can decode.
        let Ok(Record::Transaction(transaction)) = Record::decode(entry).map(|it| it.record) else {
            return;
        };
        let (round, digests) = match &transaction.action.what {
            Act::Create(create) => {
                self.otherwise.insert(create.model.digest);
                return;
            }
            Act::Propose(proposal) => {
                self.otherwise.insert(proposal.weights.digest);
                return;
            }
            Act::Update(update) => (update.round, [Some(update.weights.digest), None]),
            Act::RevealUpdate(reveal) => {
                (reveal.update.round, [Some(reveal.update.weights.digest), None])
            }
            Act::MergeVote(vote) => (vote.round, [vote.merges.open, vote.merges.guarded]),
            Act::RevealMergeVote(reveal) => {
                (reveal.vote.round, [reveal.vote.merges.open, reveal.vote.merges.guarded])
            }
            _ => return,
        };
        let rounds = self.rounds.entry(transaction.action.experiment.clone()).or_default();
        rounds.entry(round).or_default().extend(digests.into_iter().flatten());
    }

    /// What nothing needs any more.
    fn gone<'a>(
        &mut self,
        keep: u64,
        states: impl Iterator<Item = &'a ExperimentState>,
    ) -> BTreeSet<Digest> {
        let mut needed = self.otherwise.clone();
        let mut gone = BTreeSet::new();
        for state in states {
            needed.insert(state.model.digest);
            needed.extend(state.previous.as_ref().map(|previous| previous.digest));
            let Some(rounds) = self.rounds.get_mut(&state.name) else { continue };
            let over = u64::from(matches!(state.phase, Phase::Finished(_)));
            let kept = rounds.split_off(&(state.round + over).saturating_sub(keep));
            gone.extend(std::mem::replace(rounds, kept).into_values().flatten());
        }
        needed.extend(self.rounds.values().flat_map(BTreeMap::values).flatten());
        gone.retain(|digest| !needed.contains(digest));
        gone
    }
}
