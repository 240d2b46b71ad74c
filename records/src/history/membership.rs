//! In which rounds somebody was a member: who was not is not absent.

use std::collections::BTreeMap;

use colearn_contracts::LearnerId;

use super::rename;

/// From when to when each learner was a member, by the rounds' numbers.
#[derive(Clone, Default, Debug)]
pub(super) struct Membership(BTreeMap<LearnerId, Vec<Stay>>);

/// One time of being a member.
#[derive(Clone, Copy, Debug)]
struct Stay {
    /// The first round.
    first: u64,
    /// The last round; `None` while it goes on.
    last: Option<u64>,
}

impl Membership {
    /// Somebody joins after this round was opened, and takes part from the next one on.
    pub(super) fn join(&mut self, learner: LearnerId, round: u64) {
        let stays = self.0.entry(learner).or_default();
        match stays.last_mut() {
            // Who was to leave at the end of the round stays.
            Some(stay) if stay.last.is_none_or(|last| last >= round) => stay.last = None,
            _ => stays.push(Stay { first: round.saturating_add(1), last: None }),
        }
    }

    /// Somebody is no member any more when this round, the last that was opened, is over.
    pub(super) fn leave(&mut self, learner: LearnerId, round: u64) {
        if let Some(stay) = self.0.get_mut(&learner).and_then(|stays| stays.last_mut()) {
            stay.last.get_or_insert(round);
        }
    }

    pub(super) fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        rename(&mut self.0, from, to);
    }

    /// Whether a learner was a member in a round.
    pub(super) fn contains(&self, learner: LearnerId, round: u64) -> bool {
        let stays = self.0.get(&learner).map_or(&[][..], Vec::as_slice);
        let within =
            |stay: &Stay| stay.first <= round && stay.last.is_none_or(|last| round <= last);
        stays.iter().any(within)
    }
}
