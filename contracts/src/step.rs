//! When and where something happens, and one call on its way through the rules.

use crate::id::Digest;
use crate::outcome::Decision;
use crate::version::Version;

/// The last millisecond that ledger time can name: the end of the year 9999 (R70). A later time counts
/// as this; a ledger that records one is not a ledger.
pub const MAX_TIME_MS: u64 = 253_402_300_799_999;

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

    /// R30, R70. This moment, not before `earliest_ms` and not beyond the end of time.
    pub(crate) fn after(self, earliest_ms: u64) -> Self {
        // Deadlines lie a month ahead at most. Were there times at the end of the numbers, one that
        // opens there would be due at once, and the next, for ever.
        Self { now_ms: self.now_ms.min(MAX_TIME_MS).max(earliest_ms), ..self }
    }
}

/// Where and when one experiment is called: all that it knows of the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The ledger's id, which sealed ballots (R34) and sortition (R32) are bound to. The same for the
    /// experiment's whole life.
    pub ledger: Digest,
    /// The version of the rules that the ledger follows now: what is created follows it (R52), and what
    /// there is may adopt it (R69).
    pub version: Version,
    /// When. Never earlier than in the call before (R30).
    pub at: Moment,
    /// The most members that may take part or wait to (R92); `u32::MAX` but on a chain.
    pub max_members: u32,
}

/// One action, or one advance of time, on its way through the rules.
pub(crate) struct Step {
    pub(crate) context: Context,
    /// What has come of it so far, in order.
    pub(crate) decisions: Vec<Decision>,
}

impl Step {
    pub(crate) fn new(context: Context) -> Self {
        let context = Context { at: context.at.after(0), ..context };
        Self { context, decisions: Vec::new() }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.context.at.now_ms
    }

    /// The deadline of what begins now and lasts this long.
    pub(crate) fn deadline_ms(&self, lasts_ms: u64) -> u64 {
        // It cannot overflow: now is bounded (R70), and how long it lasts too (R2).
        self.now_ms().saturating_add(lasts_ms)
    }

    pub(crate) fn push(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }
}
