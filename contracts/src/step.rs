//! When and where something happens, and one call on its way through the rules.

use crate::id::Digest;
use crate::outcome::Decision;

/// When something happens: in ledger time, and after which entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Ledger time, in ms.
    pub now_ms: u64,
    /// The leaf hash of the ledger's last entry: what sortition draws from (R32).
    pub head: Digest,
}

impl Moment {
    /// A moment where there is no ledger: the head is zero.
    pub fn without_ledger(now_ms: u64) -> Self {
        Self { now_ms, head: Digest([0; 32]) }
    }
}

/// Where and when one experiment is called: all that it knows of the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The ledger's id, which sealed ballots (R34) and sortition (R32) are bound to. The same for the
    /// experiment's whole life.
    pub ledger: Digest,
    /// When. Never earlier than in the call before (R30).
    pub at: Moment,
}

/// One action, or one advance of time, on its way through the rules.
pub(crate) struct Step {
    pub(crate) context: Context,
    /// What has come of it so far, in order.
    pub(crate) decisions: Vec<Decision>,
}

impl Step {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, decisions: Vec::new() }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.context.at.now_ms
    }

    /// The deadline of what begins now and lasts this long.
    pub(crate) fn deadline_ms(&self, lasts_ms: u64) -> u64 {
        // Saturating: ledger time comes from outside and may be absurd. A deadline at the end of time
        // is never passed, which is the worst that can come of it.
        self.now_ms().saturating_add(lasts_ms)
    }

    pub(crate) fn push(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }
}
