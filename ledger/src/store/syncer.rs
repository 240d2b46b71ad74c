//! Makes batches durable: in a thread of its own while the writer goes on with the next one, or in the
//! writer's own, which spares both two changes of threads.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
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
        Self::of(Done { signed, took: Duration::ZERO })
    }

    fn of(done: Done) -> Self {
        let (sender, receiver) = sync_channel(1);
        // The receiver is here and the channel has room.
        let _ = sender.send(Ok(done));
        Self(receiver)
    }
}

type Request = (Job, SyncSender<Result<Done, Error>>);

/// Writes batches, in their order; nothing after a failure.
pub(crate) struct Syncer {
    writer: Arc<Mutex<Writer>>,
    jobs: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(crate) fn start(journal: Journal, anchor: Anchor, shared: Arc<Shared>) -> Self {
        let writer = Arc::new(Mutex::new(Writer { files: Some((journal, anchor)), shared }));
        let used = writer.clone();
        // One in the channel and one in work: more would only delay the answer to a writer that
        // should slow down.
        let (jobs, requests) = sync_channel::<Request>(1);
        let thread = std::thread::spawn(move || {
            for (job, reply) in requests {
                let done = lock(&used).sync(job);
                let failed = done.is_err();
                // Whoever does not wait does not acknowledge either.
                let _ = reply.send(done);
                if failed {
                    return;
                }
            }
        });
        Self { writer, jobs: Some(jobs), thread: Some(thread) }
    }

    /// Hands over a batch; waits if two are on their way.
    pub(crate) fn seal(&self, job: Job) -> Result<Sealed, Error> {
        let (reply, done) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or(Error::Stopped)?;
        jobs.send((job, reply)).map_err(|_| Error::Stopped)?;
        Ok(Sealed(done))
    }

    /// Makes a batch durable before it returns, in this thread: those that were handed over are all done,
    /// or it would be written before them.
    pub(crate) fn seal_here(&self, job: Job) -> Result<Sealed, Error> {
        lock(&self.writer).sync(job).map(Sealed::of)
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

pub(crate) fn is_published(shared: &Shared, signed: &Arc<SignedCheckpoint>) -> bool {
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

/// The files that batches are written to.
struct Writer {
    /// `None` after a failure. A failed sync is never tried again: what the disk holds is unknown.
    files: Option<(Journal, Anchor)>,
    shared: Arc<Shared>,
}

/// A panic while it was held has left files that nobody may write to.
fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().unwrap_or_else(|poisoned| {
        let mut writer = poisoned.into_inner();
        writer.files = None;
        writer
    })
}

impl Writer {
    fn sync(&mut self, job: Job) -> Result<Done, Error> {
        let Some((mut journal, mut anchor)) = self.files.take() else { return Err(Error::Stopped) };
        let began = Instant::now();
        let signed = sync(&mut journal, &mut anchor, &self.shared, job)?;
        self.files = Some((journal, anchor));
        Ok(Done { signed, took: began.elapsed() })
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
