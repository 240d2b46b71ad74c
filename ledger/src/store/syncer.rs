//! The thread that makes batches durable while the writer goes on with the next one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::log::note::SignedCheckpoint;
use crate::store::anchor::Anchor;
use crate::store::error::Error;
use crate::store::journal::Journal;
use crate::store::shared::Shared;

/// A batch to be made durable.
pub(crate) struct Job {
    pub(crate) frames: Vec<u8>,
    /// The first index of the segment that begins behind the frames, if one does.
    pub(crate) roll: Option<u64>,
    pub(crate) signed: Arc<SignedCheckpoint>,
}

/// A batch that is on its way to the disk.
#[must_use = "nothing may be acknowledged before it is durable"]
pub struct Sealed(Receiver<Result<Done, Error>>);

/// A batch that is durable.
struct Done {
    signed: Arc<SignedCheckpoint>,
    /// What its writes and syncs took.
    took: Duration,
}

impl Sealed {
    /// Waits until the batch and its checkpoint are durable. Then what was appended may be
    /// acknowledged and the checkpoint may be published.
    ///
    /// # Errors
    /// If a write or sync failed. Nothing may be acknowledged then, and nothing more is taken.
    pub fn wait(self) -> Result<Arc<SignedCheckpoint>, Error> {
        self.wait_timed().map(|(signed, _)| signed)
    }

    /// The same, with what it took to write and sync the batch; nothing if it was durable already.
    ///
    /// # Errors
    /// As [`Sealed::wait`].
    pub fn wait_timed(self) -> Result<(Arc<SignedCheckpoint>, Duration), Error> {
        let Done { signed, took } = self.0.recv().unwrap_or(Err(Error::Stopped))?;
        Ok((signed, took))
    }

    /// A batch that is durable already.
    fn done(signed: Arc<SignedCheckpoint>) -> Self {
        let (sender, receiver) = sync_channel(1);
        // The receiver is here and the channel has room.
        let _ = sender.send(Ok(Done { signed, took: Duration::ZERO }));
        Self(receiver)
    }
}

type Request = (Job, SyncSender<Result<Done, Error>>);

/// Hands batches to the thread.
pub(crate) struct Syncer {
    jobs: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(crate) fn start(mut journal: Journal, mut anchor: Anchor, shared: Arc<Shared>) -> Self {
        // One in the channel and one in work: more would only delay the answer to a writer that
        // should slow down.
        let (jobs, requests) = sync_channel::<Request>(1);
        let thread = std::thread::spawn(move || {
            for (job, reply) in requests {
                let began = Instant::now();
                let done = sync(&mut journal, &mut anchor, &shared, job)
                    .map(|signed| Done { signed, took: began.elapsed() });
                let failed = done.is_err();
                // Whoever does not wait does not acknowledge either.
                let _ = reply.send(done);
                if failed {
                    // A failed sync is never tried again: what the disk holds is unknown.
                    return;
                }
            }
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Hands over a batch; waits if two are on their way.
    pub(crate) fn seal(&self, job: Job) -> Result<Sealed, Error> {
        let (reply, done) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or(Error::Stopped)?;
        jobs.send((job, reply)).map_err(|_| Error::Stopped)?;
        Ok(Sealed(done))
    }

    /// Waits for a batch that was handed over before. It is durable only once it is published: until
    /// then it may be on its way, or have failed, and then it must not be called durable here.
    pub(crate) fn seal_again(
        &self,
        signed: Arc<SignedCheckpoint>,
        shared: &Shared,
    ) -> Result<Sealed, Error> {
        if is_published(shared, &signed) {
            return Ok(Sealed::done(signed));
        }
        // Behind the batch itself in the queue, with nothing left to write.
        self.seal(Job { frames: Vec::new(), roll: None, signed })
    }
}

fn is_published(shared: &Shared, signed: &Arc<SignedCheckpoint>) -> bool {
    shared.state().committed.as_ref().is_some_and(|committed| Arc::ptr_eq(committed, signed))
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // Closing the channel ends the thread once it has done what was handed over; joined before
        // the ledger's lock is given up, so that no other process meets a write of this one.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported; there is nothing left to do here.
            let _ = thread.join();
        }
    }
}

fn sync(
    journal: &mut Journal,
    anchor: &mut Anchor,
    shared: &Shared,
    job: Job,
) -> Result<Arc<SignedCheckpoint>, Error> {
    if is_published(shared, &job.signed) {
        return Ok(job.signed);
    }
    // In this order: a checkpoint whose entries are not on the disk would make the next opening
    // refuse the ledger as rolled back; entries without a checkpoint are only not acknowledged.
    if !job.frames.is_empty() {
        journal.write(&job.frames)?;
    }
    anchor.write(&job.signed.note)?;
    shared.state_mut().committed = Some(job.signed.clone());
    // Last: the batch is durable without the segment that follows. If that cannot be begun the
    // ledger stops, since the next batch has nowhere to go; the next opening keeps these entries.
    if let Some(first) = job.roll {
        journal.roll(first)?;
    }
    Ok(job.signed)
}
