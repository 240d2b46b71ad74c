//! What is stored, told to those who may download it.

use std::collections::{HashMap, HashSet};
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
    /// What is the caller's, and the models of that, as they were when the list began.
    own: Option<(Own, HashMap<Digest, Use>)>,
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
        Self { store, rights, caller, own: None, next: Next::Stored { after: None } }
    }

    /// The next part, which may be empty; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<v1::ListArtifactsResponse> {
        let (own, current) = self.own.get_or_insert_with(|| {
            let own = self.rights.own(self.caller);
            let current = current(&own);
            (own, current)
        });
        let artifacts = match &mut self.next {
            Next::End => return None,
            Next::Stored { after } => {
                let (last, told) = self.store.told_after(*after, own, current);
                self.next = match last {
                    Some(_) => Next::Stored { after: last },
                    None => Next::Lost(self.store.lost(own).into_iter()),
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
struct Stored<'a> {
    digest: Digest,
    size: u64,
    since: SystemTime,
    uses: &'a [Use],
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
fn tell(
    stored: &Stored<'_>,
    own: &Own,
    current: &HashMap<Digest, Use>,
) -> Option<v1::ListedArtifact> {
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
    /// Looks through some of what is stored behind this digest, and tells of it: the last of it, `None` at the end, and
    /// what may be told. Nothing else of the state is copied while it is locked.
    fn told_after(
        &self,
        after: Option<Digest>,
        own: &Own,
        current: &HashMap<Digest, Use>,
    ) -> (Option<Digest>, Vec<v1::ListedArtifact>) {
        let state = self.state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let named = state.named.as_ref();
        let uses = |digest| named.and_then(|it| it.of(digest)).unwrap_or_default();
        let (mut last, mut told) = (None, Vec::new());
        for (digest, it) in state.stored.range((from, Bound::Unbounded)).take(LOOKED_THROUGH) {
            let (size, since, uses) = (it.size, it.since, uses(digest));
            told.extend(tell(&Stored { digest: *digest, size, since, uses }, own, current));
            last = Some(*digest);
        }
        (last, told)
    }

    /// What one's experiments need that have not finished, and is not here.
    fn lost(&self, own: &Own) -> Vec<v1::ListedArtifact> {
        let mut lost = Vec::new();
        for experiment in own.unfinished() {
            let state = experiment.state();
            let mut seen = HashSet::new();
            for model in models(state) {
                // A model may be the one before, too.
                if seen.insert(model.digest) && self.size_of(&model.digest).is_none() {
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
