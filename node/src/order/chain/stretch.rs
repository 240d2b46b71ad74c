//! The entries of the ledger as servers send them, in stretches each of which the chain proves: whatever a server sends,
//! no more than one of them is in memory, and what was taken over of a long ledger need not be fetched again.

use std::time::Duration;

use colearn_ledger::{Entry, Head, MAX_ENTRY_BYTES};
use colearn_records::on_chain::{Between, OutOfTime, Tree};

use super::line::Line;
use crate::error::ChainError;

/// How much a stretch has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// From so many entries, or bytes, on it ends at the next place where the contract has kept a root: behind a call.
    pub(super) enough: (usize, usize),
    /// With so many it is refused: more than the calls of one block can record.
    pub(super) most: (usize, usize),
    /// How long the servers may take for it: who sends a little of it now and then holds everything up.
    pub(super) within: Duration,
}

/// Those of a node.
pub(super) const BOUNDS: Bounds =
    Bounds { enough: (4096, 4 << 20), most: (65_536, 32 << 20), within: Duration::from_secs(300) };

/// Entries that follow what is here.
#[derive(Debug)]
pub(super) struct Stretch {
    bounds: Bounds,
    /// How many bytes the entries have.
    bytes: usize,
    /// The index of the first, and the time of the entry before it.
    from: (u64, u64),
    entries: Vec<Vec<u8>>,
    /// The entries' times.
    times_ms: Vec<u64>,
    /// The ledger's end behind them.
    end: Tree,
}

impl Stretch {
    pub(super) fn behind(from: Tree, bounds: Bounds) -> Self {
        let Head { size, time_ms, .. } = *from.head();
        let (entries, times_ms) = (Vec::new(), Vec::new());
        Self { bounds, bytes: 0, from: (size, time_ms), entries, times_ms, end: from }
    }

    /// Whether its entries have the times of blocks between these headers, none that of an earlier one than the last.
    ///
    /// # Errors
    /// Which one has not.
    pub(super) fn check_times(&self, between: Between) -> Result<(), OutOfTime> {
        let (first, before_ms) = self.from;
        let after_ms = between.after_ms.max(before_ms);
        Between { after_ms, ..between }.check_all(first, self.times_ms.iter().copied())
    }

    /// The entries, and the ledger's end behind them.
    pub(super) fn into_parts(self) -> (Vec<Vec<u8>>, Tree) {
        (self.entries, self.end)
    }

    /// Takes an entry that a server says is the next. `false` if the stretch ends before it.
    ///
    /// # Errors
    /// If it does not follow, or there is no end.
    pub(super) fn push(&mut self, bytes: Vec<u8>) -> Result<bool, ChainError> {
        let before = *self.end.head();
        let unproven = || ChainError::Unproven { index: before.size };
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(unproven());
        }
        let entry = Entry::decode(&bytes).map_err(|_| unproven())?;
        // All calls of a block have its time, and each that has recorded something has kept the root behind it.
        if entry.time_ms > before.time_ms && self.has(self.bounds.enough) {
            return Ok(false);
        }
        if self.has(self.bounds.most) {
            return Err(ChainError::Endless { index: before.size, time_ms: before.time_ms });
        }
        let time_ms = entry.time_ms;
        follow(&mut self.end, &bytes, entry)?;
        self.bytes += bytes.len();
        self.times_ms.push(time_ms);
        self.entries.push(bytes);
        Ok(true)
    }

    fn has(&self, (entries, bytes): (usize, usize)) -> bool {
        self.entries.len() >= entries || self.bytes >= bytes
    }
}

/// The next stretch of the ledger, from one end of it on towards another that the newest header proves.
///
/// # Errors
/// If no server answers, or what the first sends is not what the chain proves, or takes too long.
pub(super) async fn fetch(
    line: &Line,
    from: &Tree,
    proven: &Tree,
    bounds: Bounds,
) -> Result<Stretch, ChainError> {
    let (index, within) = (from.head().size, bounds.within);
    let fetched = tokio::time::timeout(within, fetch_all(line, from, proven, bounds)).await;
    fetched.unwrap_or(Err(ChainError::Slow { index, within }))
}

async fn fetch_all(
    line: &Line,
    from: &Tree,
    proven: &Tree,
    bounds: Bounds,
) -> Result<Stretch, ChainError> {
    let mut stretch = Stretch::behind(from.clone(), bounds);
    loop {
        let next = stretch.end.head().size;
        if next == proven.head().size {
            let index = from.head().size;
            return if stretch.end == *proven {
                Ok(stretch)
            } else {
                Err(ChainError::Unproven { index })
            };
        }
        let sent = line.rpc().entries(line.contract(), next).await?;
        if sent.is_empty() {
            return Err(ChainError::Unproven { index: next });
        }
        let left = usize::try_from(proven.head().size - next).unwrap_or(usize::MAX);
        for bytes in sent.into_iter().take(left) {
            if !stretch.push(bytes)? {
                line.check_root(&stretch.end).await?;
                return Ok(stretch);
            }
        }
    }
}

/// The end of a ledger of this first entry alone.
///
/// # Errors
/// If it is none.
pub(super) fn first(bytes: &[u8]) -> Result<Tree, ChainError> {
    let mut tree = Tree::empty();
    let entry = Entry::decode(bytes).map_err(|_| ChainError::Unproven { index: 0 })?;
    follow(&mut tree, bytes, entry)?;
    Ok(tree)
}

/// Whether entries lead from one end of the ledger to the other.
pub(super) fn check(from: &Tree, entries: &[Vec<u8>], to: &Tree) -> Result<(), ChainError> {
    let mut tree = from.clone();
    for bytes in entries {
        let unproven = |_| ChainError::Unproven { index: tree.head().size };
        let entry = Entry::decode(bytes).map_err(unproven)?;
        follow(&mut tree, bytes, entry)?;
    }
    match tree == *to {
        true => Ok(()),
        false => Err(ChainError::Unproven { index: from.head().size }),
    }
}

fn follow(tree: &mut Tree, bytes: &[u8], entry: Entry) -> Result<(), ChainError> {
    let index = tree.head().size;
    match tree.push(entry.time_ms, entry.payload) {
        Ok(pushed) if pushed == bytes => Ok(()),
        Ok(_) | Err(_) => Err(ChainError::Unproven { index }),
    }
}
