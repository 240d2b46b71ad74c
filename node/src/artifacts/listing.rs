//! What is stored, told to those who may download it.

use std::collections::HashMap;
use std::ops::Bound;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use colearn_contracts::Digest;
use colearn_proto::v1;

use super::uses::{Role, Use};
use super::{ArtifactStore, age};
use crate::door::rights::{Caller, Own, Rights};
use crate::limits::{LISTED_IN_PART, LOOKED_THROUGH};
use crate::pulling::models;

/// A list for one who asks, a part at a time.
pub(crate) struct Listing {
    store: ArtifactStore,
    rights: Rights,
    caller: Caller,
    next: Next,
}

/// Where a list is gone on with.
enum Next {
    Stored { after: Option<Digest> },
    Lost(std::vec::IntoIter<v1::ListedArtifact>),
    End,
}

impl Listing {
    pub(crate) fn new(store: ArtifactStore, rights: Rights, caller: Caller) -> Self {
        Self { store, rights, caller, next: Next::Stored { after: None } }
    }

    /// The next part, which may be empty; `None` at the end. What somebody may have is looked up anew for each.
    pub(crate) fn next(&mut self) -> Option<v1::ListArtifactsResponse> {
        let artifacts = match &mut self.next {
            Next::End => return None,
            Next::Stored { after } => {
                let own = self.rights.own(self.caller);
                let stored = self.store.stored_after(*after);
                let last = stored.last().map(|it| it.digest);
                let current = current(&own);
                let told = stored.iter().filter_map(|it| tell(it, &own, &current)).collect();
                self.next = match last {
                    Some(_) => Next::Stored { after: last },
                    None => Next::Lost(self.store.lost(&own).into_iter()),
                };
                told
            }
            Next::Lost(lost) => {
                let told: Vec<_> = lost.by_ref().take(LISTED_IN_PART).collect();
                if told.is_empty() {
                    self.next = Next::End;
                    return None;
                }
                told
            }
        };
        Some(v1::ListArtifactsResponse { artifacts })
    }
}

/// A stored artifact, and what it is to the ledger.
struct Stored {
    digest: Digest,
    size: u64,
    since: SystemTime,
    uses: Vec<Use>,
}

/// The models of one's experiments. A proposal that was accepted just now is one, which no entry says that names it.
fn current(own: &Own) -> HashMap<Digest, Use> {
    let of = own.experiments().map(|experiment| {
        let state = experiment.state();
        let (experiment, round) = (state.name.clone(), state.round);
        (state.model.digest, Use { role: Role::Model, round, experiment, is_own: true })
    });
    of.collect()
}

/// An artifact as it is told; `None` to one who may not download it.
fn tell(stored: &Stored, own: &Own, current: &HashMap<Digest, Use>) -> Option<v1::ListedArtifact> {
    let now = current.get(&stored.digest);
    let seen =
        stored.uses.iter().filter(|it| own.is_all() || (it.is_own && own.has(&it.experiment)));
    let most = seen.chain(now).max();
    if most.is_none() && !own.is_all() {
        return None;
    }
    let kind = match most.map(|it| it.role) {
        Some(Role::Model) => v1::ArtifactKind::Model,
        Some(Role::Proposal) => v1::ArtifactKind::Proposal,
        Some(Role::Update) => v1::ArtifactKind::Update,
        None => v1::ArtifactKind::Unnamed,
    };
    let since = age(stored.since, UNIX_EPOCH);
    Some(v1::ListedArtifact {
        digest: Bytes::copy_from_slice(&stored.digest.0),
        size: stored.size,
        kind: kind.into(),
        experiment: most.map(|it| it.experiment.to_string()).unwrap_or_default(),
        round: most.map_or(0, |it| it.round),
        since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    })
}

impl ArtifactStore {
    /// Some of what is stored behind this digest; none at the end. The state is locked for no longer than this takes.
    fn stored_after(&self, after: Option<Digest>) -> Vec<Stored> {
        let state = self.state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let named = state.named.as_ref();
        let uses = |digest| named.and_then(|it| it.of(digest)).unwrap_or_default().to_vec();
        let stored = state.stored.range((from, Bound::Unbounded)).take(LOOKED_THROUGH);
        stored
            .map(|(digest, it)| Stored {
                digest: *digest,
                size: it.size,
                since: it.since,
                uses: uses(digest),
            })
            .collect()
    }

    /// What one's experiments need that have not finished, and is not here.
    fn lost(&self, own: &Own) -> Vec<v1::ListedArtifact> {
        let mut lost = Vec::new();
        for experiment in own.unfinished() {
            let state = experiment.state();
            for model in models(state) {
                if self.size_of(&model.digest).is_none() {
                    lost.push(v1::ListedArtifact {
                        digest: Bytes::copy_from_slice(&model.digest.0),
                        size: model.size,
                        kind: v1::ArtifactKind::Lost.into(),
                        experiment: state.name.to_string(),
                        round: state.round,
                        since_ms: 0,
                    });
                }
            }
        }
        lost
    }
}
