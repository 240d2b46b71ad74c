//! How following and delivering go, for who runs the node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// From which age on of the newest header the chain is said to stand still.
const STILL: Duration = Duration::from_secs(60);

/// How it goes; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Condition(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Of the newest header that is believed; 0 before the first.
    header_ms: u64,
    /// The height up to which all is here.
    height: u64,
    /// How many entries are here of how many that are proven, while they are taken over.
    taking_over: Option<(u64, u64)>,
    following: Option<String>,
    /// Why nothing more of the chain is believed.
    nothing: Option<String>,
    /// Why nothing is, as long as that lasts.
    nothing_now: Option<String>,
    /// Why the last delivery has failed, and when.
    delivering: Option<(Instant, String)>,
}

impl Condition {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the newest header that is believed, in ms since 1970.
    pub(crate) fn header_ms(&self) -> u64 {
        self.state().header_ms
    }

    /// It has been looked for what is new: until a header of this time all is here.
    pub(super) fn followed(&self, header_ms: u64) {
        let mut state = self.state();
        state.header_ms = state.header_ms.max(header_ms);
        (state.taking_over, state.nothing_now) = (None, None);
        if let Some(before) = state.following.take() {
            tracing::info!(before, "the chain is followed again");
        }
    }

    /// So many entries are here of so many that are proven.
    pub(super) fn taking_over(&self, here: u64, size: u64) {
        self.state().taking_over = Some((here, size)).filter(|_| here < size);
    }

    /// All is here up to the block of this height.
    pub(super) fn reached(&self, height: u64) {
        self.state().height = height;
    }

    /// The height of the newest block up to which all is here.
    pub(crate) fn height(&self) -> u64 {
        self.state().height
    }

    /// It could not be looked.
    pub(super) fn not_followed(&self, why: String) {
        let mut state = self.state();
        if state.following.as_ref() != Some(&why) {
            tracing::warn!(why, "the chain is not followed");
            state.following = Some(why);
        }
    }

    /// The last delivery has gone well, or why it has not.
    pub(super) fn delivered(&self, outcome: Result<(), String>) {
        let mut state = self.state();
        match outcome {
            Ok(()) => state.delivering = None,
            Err(why) => {
                tracing::warn!(why, "nothing is delivered");
                state.delivering = Some((Instant::now(), why));
            }
        }
    }

    /// Nothing more of the chain is believed, until somebody decides what is right.
    pub(super) fn believes_nothing(&self, why: String) {
        self.state().nothing = Some(why);
    }

    /// Nothing is believed until the chain is followed again.
    pub(super) fn believes_nothing_now(&self, why: String) {
        self.state().nothing_now = Some(why);
    }

    /// Why nothing is believed, if that is so.
    pub(super) fn why_nothing(&self) -> Option<String> {
        let state = self.state();
        state.nothing.clone().or_else(|| state.nothing_now.clone())
    }

    fn age(&self) -> Duration {
        Duration::from_millis(clock::now_ms().saturating_sub(self.header_ms()))
    }

    /// Whether no newer header has come for a while.
    pub(super) fn is_still(&self) -> bool {
        self.age() > STILL / 2
    }

    /// Why it does not go on, if it does not.
    pub(crate) fn trouble(&self) -> Option<String> {
        if let Some(why) = &self.state().following {
            return Some(format!("the chain is not followed: {why}"));
        }
        let (age, begun) = (self.age(), self.header_ms() > 0);
        let told =
            || format!("the chain stands still: its newest block is {} s old", age.as_secs());
        // While much is taken over the newest header is as old as that takes.
        (begun && age > STILL && self.state().taking_over.is_none()).then(told)
    }

    /// How far it is, if not all of the ledger is here yet; what is shown until then is not all that there is.
    pub(crate) fn incomplete(&self) -> Option<String> {
        let state = self.state();
        match state.taking_over {
            Some((here, size)) => {
                Some(format!("the chain's ledger is taken over: {here} of {size} entries are here"))
            }
            None if state.height == 0 => Some(
                "the chain's ledger is not here yet: nothing is proven since the start".to_owned(),
            ),
            None => None,
        }
    }

    /// Why nothing that is submitted is recorded, if that is so; reading goes on.
    pub(crate) fn undelivered(&self) -> Option<String> {
        let state = self.state();
        // It lapses: whoever sends nothing here for it would never see that it is over.
        let lately = state.delivering.as_ref().filter(|(since, _)| since.elapsed() < STILL);
        lately.map(|(_, why)| format!("nothing is delivered: {why}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_is_taken_over_is_no_trouble_and_not_all_there() {
        let condition = Condition::default();
        assert!(condition.trouble().is_none());
        assert!(condition.incomplete().unwrap().contains("is not here yet"));
        // The newest header is old by then.
        condition.followed(1_000);
        assert!(condition.trouble().unwrap().contains("stands still"));
        condition.taking_over(4_096, 10_000);
        assert!(condition.trouble().is_none());
        assert!(condition.incomplete().unwrap().contains("4096 of 10000 entries"));
        condition.taking_over(10_000, 10_000);
        condition.followed(clock::now_ms());
        condition.reached(7);
        assert!(condition.trouble().is_none() && condition.incomplete().is_none());
    }
}
