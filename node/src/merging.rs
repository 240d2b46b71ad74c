//! Merging what was sent in merged rounds, beside the members who do.
//!
//! A convenience that nobody has to believe: who computes the merges compares their digests, and who does not
//! takes those that were named. So nothing waits for it, and where it fails a member brings the merge.

use std::collections::BTreeMap;
use std::time::Duration;

use colearn_contracts::{Digest, ExperimentName, MergeStage, Merging, Model, Phase};
use colearn_merge::{Merge, Merged, Source};
use colearn_records::convert::ExperimentState;
use tokio_util::sync::CancellationToken;

use crate::artifacts::{ArtifactError, ArtifactStore, Made, Whole};
use crate::view::Views;

/// How often it is looked for rounds to be merged, at most: what is there for a moment only needs no merge.
const PAUSE: Duration = Duration::from_millis(100);

/// What a round's merges follow from.
struct Work {
    base: Model,
    previous: Option<Model>,
    updates: Vec<Model>,
    merging: Merging,
}

/// Why a round is not merged here.
#[derive(Debug, thiserror::Error)]
enum NotMerged {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Merge(#[from] colearn_merge::Error),
}

/// Merges the updates of each round that is voted on, one round after the other, until it is to stop.
pub(crate) async fn merge_rounds(
    views: Views,
    artifacts: ArtifactStore,
    stopping: CancellationToken,
) {
    let mut size = views.size();
    // The last round of each experiment that was looked at.
    let mut done: BTreeMap<ExperimentName, u64> = BTreeMap::new();
    while !stopping.is_cancelled() {
        let view = views.latest();
        let mut open = BTreeMap::new();
        for experiment in view.unfinished() {
            let state = experiment.state();
            let Some(work) = work(state) else { continue };
            open.insert(state.name.clone(), state.round);
            if done.get(&state.name) == Some(&state.round) {
                continue;
            }
            let (name, round, artifacts) = (&state.name, state.round, artifacts.clone());
            match tokio::task::spawn_blocking(move || merge(&work, &artifacts)).await {
                Ok(Ok(())) => tracing::debug!(experiment = %name, round, "merged"),
                Ok(Err(error)) => {
                    tracing::warn!(experiment = %name, round, %error, "not merged; members do that");
                }
                // The runtime is shutting down.
                Err(_) => return,
            }
            if stopping.is_cancelled() {
                return;
            }
        }
        done = open;
        let grown = async {
            tokio::time::sleep(PAUSE).await;
            size.changed().await
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = grown => if changed.is_err() { return },
        }
    }
}

/// What is to be merged, if what is merged is certain.
fn work(state: &ExperimentState) -> Option<Work> {
    let Phase::Merged(round) = &state.phase else { return None };
    let MergeStage::Voting { .. } = round.stage else { return None };
    Some(Work {
        base: state.model.clone(),
        previous: state.previous.clone(),
        updates: round.updates().map(|(_, model)| model.clone()).collect(),
        merging: state.parameters.merging?,
    })
}

/// Merges, and keeps what comes of it.
fn merge(work: &Work, artifacts: &ArtifactStore) -> Result<(), NotMerged> {
    let open = |model: &Model| artifacts.whole(&model.digest);
    let base = open(&work.base)?;
    let previous = work.previous.as_ref().map(open).transpose()?;
    let updates = work.updates.iter().map(open).collect::<Result<Vec<Whole>, _>>()?;
    let updates: Vec<&dyn Source> = updates.iter().map(|update| update as &dyn Source).collect();
    let merge = Merge {
        base: &base,
        previous: previous.as_ref().map(|previous| previous as &dyn Source),
        updates: &updates,
        clip_permille: work.merging.clip_permille,
        momentum_permille: work.merging.momentum_permille,
    };
    let mut open = artifacts.make(work.base.size)?;
    let mut guarded = artifacts.make(work.base.size)?;
    let report = merge.write(&mut open, &mut guarded)?;
    let keep = |made: Made, merged: Option<Merged>| match merged {
        Some(merged) => made.keep(Digest(merged.digest)),
        None => Ok(()),
    };
    keep(open, report.open.ok())?;
    keep(guarded, report.guarded.ok())?;
    Ok(())
}
