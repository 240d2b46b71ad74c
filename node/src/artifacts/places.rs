//! Places at an object store: what one may have of them, before what all may have together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Bringer;
use crate::limits::Share;

/// Places of one kind.
pub(super) struct Places {
    of_all: Arc<Semaphore>,
    of_peer: usize,
    of_peers: Mutex<BTreeMap<Bringer, Arc<Semaphore>>>,
}

/// A place, as long as this lives.
pub(super) struct Place {
    _own: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(Share { of_peer, of_all }: Share) -> Self {
        Self { of_all: Arc::new(Semaphore::new(of_all)), of_peer, of_peers: Mutex::default() }
    }

    /// A place, if there is one now.
    pub(super) fn try_take(&self, who: Bringer) -> Option<Place> {
        let own = self.of(who).map(Semaphore::try_acquire_owned).transpose().ok()?;
        let of_all = self.of_all.clone().try_acquire_owned().ok()?;
        Some(Place { _own: own, _of_all: of_all })
    }

    /// Waits for a place: first for one of those that one may have, so that nobody stands in the others' way with
    /// more. `None` never comes: there are always some.
    pub(super) async fn take(&self, who: Bringer) -> Option<Place> {
        let own = match self.of(who) {
            Some(own) => Some(own.acquire_owned().await.ok()?),
            None => None,
        };
        let of_all = self.of_all.clone().acquire_owned().await.ok()?;
        Some(Place { _own: own, _of_all: of_all })
    }

    /// What one may have; the node itself does no more at a time than it needs.
    fn of(&self, who: Bringer) -> Option<Arc<Semaphore>> {
        let Bringer::Peer(_) = who else { return None };
        let mut of_peers = self.of_peers.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has a place or waits for one holds it, too.
        of_peers.retain(|_, places| Arc::strong_count(places) > 1);
        let new = || Arc::new(Semaphore::new(self.of_peer));
        Some(of_peers.entry(who).or_insert_with(new).clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::peer::Peer;

    fn peer(number: u8) -> Bringer {
        Bringer::Peer(Peer::at([10, 0, 0, number].into()))
    }

    #[test]
    fn nobody_has_all_places_nor_stands_in_anothers_way_while_it_waits() {
        let places = Places::new(Share { of_peer: 2, of_all: 4 });
        let mine = [1, 1].map(|who| places.try_take(peer(who)).unwrap());
        assert!(places.try_take(peer(1)).is_none());
        let mut waits: Vec<_> = (0..9).map(|_| Box::pin(places.take(peer(1)))).collect();
        assert!(waits.iter_mut().all(|it| it.as_mut().now_or_never().is_none()));
        let other = places.take(peer(2)).now_or_never().unwrap();
        // The node is bounded by what there is.
        let node = places.try_take(Bringer::Node).unwrap();
        assert!(places.try_take(Bringer::Node).is_none() && places.try_take(peer(3)).is_none());
        drop(mine);
        let done = waits.iter_mut().filter_map(|it| it.as_mut().now_or_never().flatten());
        assert_eq!(done.collect::<Vec<_>>().len(), 2);
        drop((waits, other, node));
        // Who was here once is forgotten.
        drop(places.try_take(peer(4)));
        assert_eq!(places.of_peers.lock().unwrap().len(), 1);
    }
}
