//! Looking on: a ledger that is followed as it grows, with every entry of it, for somebody who shows what has
//! happened and does nothing.

use std::time::Duration;

use bytes::Bytes;
use colearn_ledger::{Hash, TILE_WIDTH};
use colearn_proto::v1;
use tokio::time::Instant;
use tonic::Streaming;

use super::followed::Followed;
use super::moving::Others;
use super::{BoxFuture, ClientError, Suspicion};

/// How many entries are given at once, at most: four tiles.
const AT_ONCE: u64 = 4 * TILE_WIDTH;

/// A ledger that is looked at as it grows. Where several nodes keep it, the others are asked now and then
/// whether anything is kept back.
pub struct Watching {
    followed: Followed,
    others: Others,
    /// Since when the node has said nothing.
    silent: Instant,
    /// What is sent again.
    again: Option<Again>,
}

/// Entries of before, as they come again: in one stream, since nodes bound how often they are asked.
struct Again {
    stream: Streaming<v1::SubscribeResponse>,
    /// The index of the first that was not looked at, and what was read from there on.
    next: u64,
    read: Vec<Bytes>,
}

impl Again {
    async fn open(followed: &Followed, next: u64) -> Result<Self, ClientError> {
        let client = followed.client();
        let request = v1::SubscribeRequest { start: next };
        let stream = client.answer(client.ledger().subscribe(request)).await?;
        Ok(Self { stream, next, read: Vec::new() })
    }

    async fn read_on(&mut self, followed: &Followed) -> Result<(), ClientError> {
        let client = followed.client();
        let message = client.message(&mut self.stream).await?;
        let ended = || ClientError::Unreachable {
            url: client.url().to_owned(),
            reason: "the stream ended".to_owned(),
        };
        self.read.extend(message.ok_or_else(ended)?.entries);
        Ok(())
    }
}

impl Watching {
    /// Looks at what is followed.
    pub fn new(followed: Followed) -> Self {
        let others = Others::new(Suspicion::default());
        Self { followed, others, silent: Instant::now(), again: None }
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
        self.again = None;
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
            if start >= size {
                self.again = None;
                return Ok(Vec::new());
            }
            let begin = start - start % TILE_WIDTH;
            let count = (size - begin).min(AT_ONCE) as usize;
            let mut again = match self.again.take() {
                Some(again) if again.next == begin => again,
                Some(_) | None => Again::open(&self.followed, begin).await?,
            };
            while again.read.len() < count {
                again.read_on(&self.followed).await?;
            }
            let behind = again.read.split_off(count);
            let mut entries = std::mem::replace(&mut again.read, behind);
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
            // Only whole tiles are gone on behind.
            if (count as u64).is_multiple_of(TILE_WIDTH) {
                again.next += count as u64;
                self.again = Some(again);
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
