//! Going on at another node of the same ledger: where one fails, and where another one shows more.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use colearn_ledger::Hash;
use colearn_records::transaction::{Seen, Transaction};

use super::followed::{Followed, Sent};
use super::nodes::Failures;
use super::receipts::Pledge;
use super::{BoxFuture, Client, ClientError, Progress, Submitted, Suspicion};
use crate::weights::Weights;

impl Followed {
    /// Whether several nodes keep the ledger, or mirror it. They do not have its last entries at the same moment, so one
    /// that shows less than another is behind, and was not put back to an older copy.
    pub(super) fn several_keepers(&self) -> bool {
        let keys = self.keys();
        keys.validators().is_some() || keys.is_on_chain() || self.client.nodes().are_several()
    }

    /// Follows the ledger to its end after something has gone wrong: over another connection, and where
    /// several nodes are known at the first of them that will do.
    ///
    /// # Errors
    /// What is wrong with the node, or with each of several ([`ClientError::NoNode`]).
    pub fn recover(&mut self) -> BoxFuture<'_, Result<(), ClientError>> {
        Box::pin(async move {
            let mut failures = Failures::default();
            while let Err(error) = self.reconnect().await {
                failures.try_next(&mut self.client.nodes, error)?;
            }
            self.catch_up_somewhere(&mut |_| {}).await
        })
    }

    /// Follows the ledger to the end that it has now, at another node if this one will not do.
    ///
    /// # Errors
    /// Those of [`Followed::catch_up`]; of several nodes, what is wrong with each.
    pub fn catch_up_somewhere<'a>(
        &'a mut self,
        told: &'a mut (dyn FnMut(Progress) + Send),
    ) -> BoxFuture<'a, Result<(), ClientError>> {
        Box::pin(async move {
            let mut failures = Failures::default();
            let mut connected = Ok(());
            loop {
                let caught_up = match connected {
                    Ok(()) => self.catch_up(&mut *told).await,
                    Err(error) => Err(error),
                };
                let Err(error) = caught_up else { return Ok(()) };
                failures.try_next(&mut self.client.nodes, error)?;
                connected = self.reconnect().await;
            }
        })
    }

    /// What a signature vouches for now, at another node if this one will not do: of a public chain's ledger it may prove
    /// nothing, or only what is too old.
    pub(super) async fn seen_somewhere(&mut self) -> Result<Seen, ClientError> {
        let mut failures = Failures::default();
        loop {
            match self.seen_now().await {
                Err(error) => failures.try_next(&mut self.client.nodes, error)?,
                seen => return seen,
            }
            self.recover().await?;
        }
    }

    async fn seen_now(&mut self) -> Result<Seen, ClientError> {
        self.freshen().await?;
        self.check_pledges().await?;
        self.seen()
    }

    /// Submits what is signed, the same bytes to another node if this one will not do: what is recorded
    /// already has its receipt. The weights that it names, if it names any that are here, each node is given
    /// first: the one that had them may be gone.
    pub(super) async fn submit_somewhere(
        &mut self,
        signed: &Transaction,
        weights: Option<&Weights>,
    ) -> Result<Submitted, ClientError> {
        let mut failures = Failures::default();
        loop {
            let uploaded = match weights {
                Some(weights) => self.client.upload(weights).await,
                None => Ok(()),
            };
            let submitted = match uploaded {
                Ok(()) => self.submit(signed).await,
                Err(error) => Err(error),
            };
            match submitted {
                Err(error) => failures.try_next(&mut self.client.nodes, error)?,
                submitted => return submitted,
            }
            self.recover().await?;
        }
    }

    /// Uploads weights, to another node if this one will not do.
    pub(super) async fn upload_somewhere(&mut self, weights: &Weights) -> Result<(), ClientError> {
        let mut failures = Failures::default();
        while let Err(error) = self.client.upload(weights).await {
            failures.try_next(&mut self.client.nodes, error)?;
            self.recover().await?;
        }
        Ok(())
    }

    /// Holds what another node shows to what was followed here. What that node cannot prove is passed over;
    /// where it shows more of the same ledger, that is what this one has to reach.
    ///
    /// # Errors
    /// [`ClientError::Fork`] if the ledger's key has signed both this history and another one.
    async fn compare(&mut self, shown: Shown) -> Result<Option<Pledge>, ClientError> {
        let Shown { mut client, note, old_size, proof } = shown;
        // What is asked now is asked of the node that has to prove something.
        std::mem::swap(&mut self.client, &mut client);
        let compared = self.try_compare(note, old_size, proof).await;
        std::mem::swap(&mut self.client, &mut client);
        match compared {
            Err(error) if error.is_the_nodes_own() => {
                tracing::debug!(%error, "another node proves nothing");
                Ok(None)
            }
            compared => compared,
        }
    }

    async fn try_compare(
        &mut self,
        note: String,
        old_size: u64,
        mut proof: Vec<Hash>,
    ) -> Result<Option<Pledge>, ClientError> {
        let checkpoint = self.signed(&note).await?;
        let size = self.size();
        let pledge = Pledge { size: checkpoint.size, root: checkpoint.root, signed: note };
        if checkpoint.size <= size {
            // It is reached already, and has to fit.
            self.expect(pledge);
            self.check_pledges().await?;
            return Ok(None);
        }
        if old_size != size {
            proof = self.client.consistency(size, checkpoint.size).await?;
        }
        match self.follower.is_begun_by(&checkpoint, [], &proof) {
            true => Ok(Some(pledge)),
            false => Err(self.other_history(&checkpoint, &pledge.signed).await),
        }
    }
}

/// What another node shows: its checkpoint, with the proof that it goes on from `old_size` entries.
struct Shown {
    client: Client,
    note: String,
    old_size: u64,
    proof: Vec<Hash>,
}

/// The other nodes, of which one is asked now and then how far the ledger is: whoever speaks to one node only
/// could be kept from its news for ever.
pub(super) struct Others {
    suspicion: Suspicion,
    stage: Stage,
    /// Which of the others was asked last, counted from the node that is spoken to.
    asked: usize,
}

enum Stage {
    /// Nothing is known, and another one is asked at this time.
    Content(Instant),
    /// Another one was asked, and has until then to answer.
    Asking(JoinHandle<Result<Shown, ClientError>>, Instant),
    /// Another one shows more, and the node that is spoken to has so long to send it. Only what it is
    /// listened to counts: a learner that trains meanwhile has not read what lies there.
    Ahead(Box<(Client, Pledge)>, Duration),
}

impl Stage {
    fn begin(suspicion: Suspicion) -> Self {
        Self::Content(Instant::now() + suspicion.asked_every)
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        if let Stage::Asking(asking, _) = &self.stage {
            asking.abort();
        }
    }
}

impl Others {
    pub(super) fn new(suspicion: Suspicion) -> Self {
        Self { suspicion, stage: Stage::begin(suspicion), asked: 0 }
    }

    /// Another node is spoken to from now on.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::new(self.suspicion);
    }

    /// Does what is due, and says when something is due next; `None` where there are no others.
    ///
    /// # Errors
    /// [`ClientError::Behind`] if another one has shown more and this one has not reached it, and the other
    /// is the next to go on to; [`ClientError::Fork`] if it shows what does not fit.
    async fn watch(&mut self, followed: &mut Followed) -> Result<Option<Instant>, ClientError> {
        if !followed.client.nodes().are_several() {
            return Ok(None);
        }
        let now = Instant::now();
        match &mut self.stage {
            Stage::Content(until) if now >= *until => self.ask(followed),
            Stage::Asking(asking, until) if asking.is_finished() || now >= *until => {
                asking.abort();
                let shown = asking.await;
                self.stage = Stage::begin(self.suspicion);
                match shown {
                    Ok(Ok(shown)) => {
                        let client = shown.client.clone();
                        if let Some(ahead) = followed.compare(shown).await? {
                            let left = self.suspicion.reached_within;
                            self.stage = Stage::Ahead(Box::new((client, ahead)), left);
                        }
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "another node that will not do"),
                    // It did not answer in time.
                    Err(_) => {}
                }
            }
            Stage::Ahead(ahead, left) => {
                let (client, pledge) = &mut **ahead;
                let (shown, known) = (followed.size(), pledge.size);
                let is_reached = shown >= known;
                if is_reached || left.is_zero() {
                    // Whoever has reached it, the ledger's key has signed it.
                    followed.expect(pledge.clone());
                    let other = client.nodes().clone();
                    self.stage = Stage::begin(self.suspicion);
                    followed.check_pledges().await?;
                    if !is_reached {
                        followed.client.nodes.let_be_next(&other);
                        let url = followed.client.url().to_owned();
                        return Err(ClientError::Behind { url, shown, known });
                    }
                }
            }
            Stage::Content(_) | Stage::Asking(..) => {}
        }
        Ok(Some(match &self.stage {
            Stage::Content(until) | Stage::Asking(_, until) => *until,
            Stage::Ahead(_, left) => Instant::now() + *left,
        }))
    }

    /// What the node sends next, if it does before the pause is over; it has been waited for since then.
    /// Meanwhile the other nodes are asked whether it keeps anything back.
    pub(super) async fn receive_within(
        &mut self,
        followed: &mut Followed,
        since: Instant,
        pause: Option<Duration>,
    ) -> Result<Option<Sent>, ClientError> {
        let until = pause.map(|pause| Instant::now() + pause);
        loop {
            let due = self.watch(followed).await?;
            let Some(wake) = due.into_iter().chain(until).min() else {
                return followed.receive_since(since).await.map(Some);
            };
            let began = Instant::now();
            let received = tokio::time::timeout_at(wake, followed.receive_since(since)).await;
            self.listened(began.elapsed());
            match received {
                Ok(received) => return received.map(Some),
                Err(_) if until.is_some_and(|until| until <= wake) => return Ok(None),
                // Something is due with the others.
                Err(_) => {}
            }
        }
    }

    /// The node that is spoken to was listened to for so long.
    fn listened(&mut self, time: Duration) {
        if let Stage::Ahead(_, left) = &mut self.stage {
            *left = left.saturating_sub(time);
        }
    }

    fn ask(&mut self, followed: &Followed) {
        let others: Vec<_> = followed.client.nodes().others().collect();
        let Some(nodes) = others.get(self.asked % others.len().max(1)).cloned() else { return };
        self.asked = (self.asked + 1) % others.len();
        let (client, old_size) = (followed.client.clone(), followed.size());
        let asking = tokio::spawn(async move {
            let client = client.to(nodes).await?;
            let (note, proof) = client.checkpoint(old_size).await?;
            Ok(Shown { client, note, old_size, proof })
        });
        self.stage = Stage::Asking(asking, Instant::now() + self.suspicion.reached_within);
    }
}
