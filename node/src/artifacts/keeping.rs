//! Keeping the store in order beside the ledger: it learns what is named, and lets go of what the operator does
//! not want to keep of closed rounds. Whoever reads all entries for that tells the chronicle of them, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use colearn_contracts::Digest;
use colearn_records::record::Record;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::named::{Named, progress};
use super::uses::Naming;
use super::{ArtifactError, ArtifactStore, LettingGo};
use crate::config::{Keep, KeepArtifacts};
use crate::limits::TIDY_EVERY;
use crate::metrics::Chronicle;
use crate::reads::Reads;
use crate::view::{View, Views};

/// How many bytes of entries are read at a time.
const PART_BYTES: usize = 1 << 20;
/// How often the ledger is looked at, at most.
const PAUSE: Duration = Duration::from_millis(50);

/// Keeps the store in order until it is to stop.
pub(crate) async fn keep(
    keep: Keep,
    reads: Reads,
    views: Views,
    artifacts: ArtifactStore,
    chronicle: Chronicle,
    stopping: CancellationToken,
) {
    let mut size = views.size();
    let mut named = Named::default();
    let mut looked = BTreeMap::new();
    // Beside all this: a store may take its time.
    let mut letting_go: Option<JoinHandle<Outcome>> = None;
    let mut is_cut = false;
    let mut tidying = tokio::time::interval(TIDY_EVERY);
    let everything = Keep { artifacts: KeepArtifacts::All, updates: None };
    while !stopping.is_cancelled() {
        size.mark_unchanged();
        let view = views.latest();
        match follow(&mut named, &chronicle, &view, &reads).await {
            Ok(new) => artifacts.are_named(new, named.followed()),
            Err(error) => {
                tracing::warn!(%error, "artifacts are kept, and nothing is told of rounds: the ledger cannot be read");
                return;
            }
        }
        let states = || view.experiments_after("").map(|experiment| experiment.state());
        let now = progress(states());
        if letting_go.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(ended) = letting_go.take()
        {
            // The runtime is shutting down if this fails.
            let Ok(outcome) = ended.await else { return };
            is_cut = outcome == Outcome::Cut;
        }
        if keep != everything && now != looked && letting_go.is_none() {
            looked = now;
            artifacts.are_spare(named.spare(&states().collect::<Vec<_>>()));
            let kept = named.kept(keep, states());
            let all = named.kept(everything, states());
            let (begun, stopping) = (artifacts.begin_letting_go(), stopping.clone());
            letting_go =
                Some(tokio::task::spawn_blocking(move || let_go(&begun, &all, &kept, &stopping)));
        }
        let grown = async {
            tokio::time::sleep(PAUSE).await;
            size.changed().await
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = grown => if changed.is_err() { return },
            _ = tidying.tick() => {
                if std::mem::take(&mut is_cut) {
                    looked.clear();
                }
                let store = artifacts.clone();
                if tokio::task::spawn_blocking(move || store.tidy()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Looks at the entries up to a picture; what they name.
async fn follow(
    named: &mut Named,
    chronicle: &Chronicle,
    view: &View,
    reads: &Reads,
) -> Result<Vec<Naming>, crate::refusal::Refusal> {
    let mut new = Vec::new();
    while named.followed() < view.size() {
        let (start, end) = (named.followed(), view.size());
        let entries = reads.read(move |it| it.entries(start, end, PART_BYTES)).await?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            let entry = Record::decode(entry).ok();
            chronicle.note(entry.as_ref());
            new.extend(named.note_read(entry.as_ref()));
        }
    }
    Ok(new)
}

/// How letting go has ended.
#[derive(PartialEq, Eq)]
enum Outcome {
    Whole,
    /// The store does not answer: it goes on later.
    Cut,
}

/// Removes what is here of all that is named, but for what is kept. Each removal is whole, so one that is cut
/// short goes on later, or at the next start.
fn let_go(
    begun: &LettingGo,
    all: &BTreeSet<Digest>,
    kept: &BTreeSet<Digest>,
    stopping: &CancellationToken,
) -> Outcome {
    let LettingGo(artifacts) = begun;
    let (mut files, mut bytes, mut outcome) = (0_u64, 0, Outcome::Whole);
    for digest in artifacts.stored() {
        if stopping.is_cancelled() {
            break;
        }
        if !all.contains(&digest) || kept.contains(&digest) {
            continue;
        }
        match artifacts.remove(&digest) {
            Ok(Some(size)) => {
                files += 1;
                bytes += size;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%digest, %error, "cannot be let go");
                // Each of the others would be waited for as long.
                if matches!(error, ArtifactError::Store(_)) {
                    outcome = Outcome::Cut;
                    break;
                }
            }
        }
    }
    if files > 0 {
        tracing::info!(files, bytes, "let go of what closed rounds have left");
    }
    outcome
}
