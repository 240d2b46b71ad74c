//! Looking on: a ledger that is followed as it grows, with every entry of it, for somebody who shows what has
//! happened and does nothing.

use std::time::Duration;

use bytes::Bytes;
use colearn_ledger::{Hash, TILE_WIDTH};
use tokio::time::Instant;

use super::followed::Followed;
use super::moving::Others;
use super::{BoxFuture, ClientError, Suspicion};

/// How many entries are fetched again at once, at most: as many tiles as four.
const AT_ONCE: u64 = 4 * TILE_WIDTH;

/// A ledger that is looked at as it grows. Where several nodes keep it, the others are asked now and then
/// whether anything is kept back.
pub struct Watching {
    followed: Followed,
    others: Others,
    /// Since when the node has said nothing.
    silent: Instant,
}

impl Watching {
    /// Looks at what is followed.
    pub fn new(followed: Followed) -> Self {
        let others = Others::new(Suspicion::default());
        Self { followed, others, silent: Instant::now() }
    }

    /// What is followed.
    pub fn followed(&self) -> &Followed {
        &self.followed
    }

    /// Waits so long at most for entries that are recorded next, and gives them once they are verified. What
    /// was followed otherwise in between is not among them: see [`Watching::past`].
    ///
    /// # Errors
    /// If the connection is lost, or something does not fit; then [`Watching::recover`].
    pub fn next(&mut self, within: Duration) -> BoxFuture<'_, Result<Vec<Bytes>, ClientError>> {
        Box::pin(async move {
            let (followed, since) = (&mut self.followed, self.silent);
            let sent = self.others.receive_within(followed, since, Some(within)).await?;
            let Some(sent) = sent else { return Ok(Vec::new()) };
            self.silent = Instant::now();
            let entries = self.followed.take(sent).await?;
            Ok(entries.iter().map(|entry| Bytes::copy_from_slice(entry.bytes())).collect())
        })
    }

    /// Follows the ledger to its end after something has gone wrong.
    ///
    /// # Errors
    /// Those of [`Followed::recover`].
    pub fn recover(&mut self) -> BoxFuture<'_, Result<(), ClientError>> {
        self.others.begin_anew();
        self.silent = Instant::now();
        self.followed.recover()
    }

    /// Entries that were followed already, from this one on, some hundreds at most; none if there are no more.
    /// They come from the node again, and are held to the tree that was verified.
    ///
    /// # Errors
    /// If the node cannot be reached; [`ClientError::Unproven`] if it sends others.
    pub fn past(&mut self, start: u64) -> BoxFuture<'_, Result<Vec<Bytes>, ClientError>> {
        Box::pin(async move {
            let size = self.followed.size();
            let begin = start - start % TILE_WIDTH;
            let count = size.saturating_sub(begin).min(AT_ONCE);
            if start >= size {
                return Ok(Vec::new());
            }
            let mut entries: Vec<Bytes> = Vec::new();
            while (entries.len() as u64) < count {
                let next = begin + entries.len() as u64;
                let left = count - entries.len() as u64;
                let sent = self.followed.client().entries(next, left as u32).await?;
                if sent.is_empty() {
                    return Err(ClientError::Malformed(format!("entry {next} is missing")));
                }
                entries.extend(sent.into_iter().take(left as usize));
            }
            for (at, tile) in (begin / TILE_WIDTH..).zip(entries.chunks(TILE_WIDTH as usize)) {
                let leaves: Vec<Hash> = tile.iter().map(|entry| Hash::leaf(entry)).collect();
                if !self.followed.follower.has_leaves(at, &leaves) {
                    let what = format!(
                        "entries {} and those behind it are not what they were",
                        at * TILE_WIDTH
                    );
                    return Err(self.followed.unproven(what, "", tile));
                }
            }
            Ok(entries.split_off((start - begin) as usize))
        })
    }

    /// How many entries each of the witnesses that are demanded has cosigned: see [`Followed::witnessed`].
    ///
    /// # Errors
    /// Those of [`Followed::witnessed`].
    pub fn witnessed(&mut self) -> BoxFuture<'_, Result<Vec<(String, u64)>, ClientError>> {
        self.followed.witnessed()
    }
}
