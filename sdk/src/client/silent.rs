//! Stores that have not answered: for a while they are left alone, as whoever waits for them waits in vain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a store may take at first until it begins to answer; one that has not may take twice as long the next time.
const FIRST_BYTE: Duration = Duration::from_secs(3);
/// For how long it is not asked again.
const LEFT_ALONE: Duration = Duration::from_secs(300);

/// The stores that have not answered lately; cheap to clone. There are no more than those that whoever runs this has
/// named.
#[derive(Clone, Default, Debug)]
pub(super) struct Silent(Arc<Mutex<BTreeMap<String, Silence>>>);

#[derive(Clone, Copy, Debug)]
struct Silence {
    until: Instant,
    patience: Duration,
}

impl Silent {
    /// How long a store's answer is waited for, at most `longest`; `None` if it is to be left alone.
    pub(super) fn patience(&self, store: &str, longest: Duration) -> Option<Duration> {
        match self.lock().get(store) {
            Some(silence) if Instant::now() < silence.until => None,
            Some(silence) => Some(silence.patience.min(longest)),
            None => Some(FIRST_BYTE.min(longest)),
        }
    }

    /// A store has not answered for so long.
    pub(super) fn note(&self, store: &str, waited: Duration) {
        let silence = Silence { until: Instant::now() + LEFT_ALONE, patience: waited * 2 };
        self.lock().insert(store.to_owned(), silence);
    }

    /// A store has answered.
    pub(super) fn heard(&self, store: &str) {
        self.lock().remove(store);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Silence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_store_is_left_alone_for_a_while_and_then_has_longer() {
        let (silent, store, longest) = (Silent::default(), "https://a", Duration::from_secs(10));
        let patience = || silent.patience(store, longest);
        for waited in [3, 6, 10, 10].map(Duration::from_secs) {
            assert_eq!(patience(), Some(waited));
            silent.note(store, waited);
            assert_eq!(patience(), None);
            assert_eq!(silent.patience("https://b", longest), Some(FIRST_BYTE));
            tokio::time::advance(LEFT_ALONE).await;
        }
        silent.heard(store);
        assert_eq!(patience(), Some(FIRST_BYTE));
        assert_eq!(silent.patience(store, Duration::from_secs(1)), Some(Duration::from_secs(1)));
    }
}
