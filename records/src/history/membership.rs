//! In which rounds somebody was a member: who was not is not absent.

use std::collections::BTreeMap;

use colearn_contracts::{LearnerId, SuspendReason};

use super::rename;

/// From when to when each learner was a member, by the rounds' numbers.
#[derive(Clone, Default, Debug)]
pub(super) struct Membership(BTreeMap<LearnerId, Vec<Stay>>);

/// One time of being a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stay {
    /// The first round.
    pub first: u64,
    /// The last round; `None` while it goes on.
    pub last: Option<u64>,
    /// When it joined, in ms since 1970.
    pub joined_ms: u64,
    /// When it left or lost its seat, in ms since 1970; it takes part until the last round is over. `None` while it
    /// goes on.
    pub left_ms: Option<u64>,
    /// Why it lost its seat; `None` of who has left.
    pub suspended: Option<SuspendReason>,
}

impl Membership {
    /// Somebody joins after this round was opened, and takes part from the next one on.
    pub(super) fn join(&mut self, learner: LearnerId, round: u64, now_ms: u64) {
        let stays = self.0.entry(learner).or_default();
        match stays.last_mut() {
            // Who was to leave at the end of the round stays.
            Some(stay) if stay.last.is_none_or(|last| last >= round) => {
                (stay.last, stay.left_ms, stay.suspended) = (None, None, None);
            }
            _ => stays.push(Stay {
                first: round.saturating_add(1),
                last: None,
                joined_ms: now_ms,
                left_ms: None,
                suspended: None,
            }),
        }
    }

    /// Somebody is no member any more when this round, the last that was opened, is over.
    pub(super) fn leave(
        &mut self,
        learner: LearnerId,
        round: u64,
        now_ms: u64,
        suspended: Option<SuspendReason>,
    ) {
        let stay = self.0.get_mut(&learner).and_then(|stays| stays.last_mut());
        if let Some(stay) = stay
            && stay.last.is_none()
        {
            (stay.last, stay.left_ms, stay.suspended) = (Some(round), Some(now_ms), suspended);
        }
    }

    pub(super) fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        rename(&mut self.0, from, to);
    }

    /// Whether a learner was a member in a round.
    pub(super) fn contains(&self, learner: LearnerId, round: u64) -> bool {
        let within =
            |stay: &Stay| stay.first <= round && stay.last.is_none_or(|last| round <= last);
        self.stays(learner).iter().any(within)
    }

    /// The times in which a learner was a member, in order.
    pub(super) fn stays(&self, learner: LearnerId) -> &[Stay] {
        self.0.get(&learner).map_or(&[], Vec::as_slice)
    }
}
