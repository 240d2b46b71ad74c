//! Witnesses that somebody insists on: before anything is signed, so many of them must have seen the same
//! ledger. A node that shows different histories to different learners has to find another set of them for
//! each.

use std::time::Duration;

use colearn_ledger::{NoteError, SignedNote, Verifier};
use colearn_records::pins::Unpinned;
use tokio::time::{Instant, sleep};

use super::followed::Followed;
use super::{BoxFuture, ClientError};

/// More checkpoints than witnesses that anybody would name.
const MAX_COSIGNED: usize = 64;
/// The first and the longest pause before the node is asked again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long they are waited for before that is told. Nodes ask them as soon as anything is recorded.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Followed {
    /// Waits until as many witnesses as are demanded have cosigned what was followed so far.
    ///
    /// # Errors
    /// [`Unpinned::Witnesses`] if they do not in time; [`ClientError::Fork`] if one has cosigned another
    /// history.
    pub async fn wait_for_witnesses(&mut self) -> Result<(), ClientError> {
        let needed = self.size();
        if self.trust.pins.witnesses().is_empty() || self.witnessed >= needed {
            return Ok(());
        }
        let (started, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let missing = self.missing_witnesses(needed).await?;
            let pins = &self.trust.pins;
            let found = pins.witnesses().len() - missing.len();
            if found >= pins.quorum() {
                self.witnessed = needed;
                return Ok(());
            }
            if started.elapsed() >= LONGEST_WAIT {
                return Err(Unpinned::Witnesses { found, needed: pins.quorum(), missing }.into());
            }
            sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// How many entries of this history each of the witnesses that are demanded has cosigned, as far as the
    /// node shows it; 0 for none. Their names, in the order of the pins.
    ///
    /// # Errors
    /// If the node does not answer; [`ClientError::Fork`] if one has cosigned another history.
    pub fn witnessed(&mut self) -> BoxFuture<'_, Result<Vec<(String, u64)>, ClientError>> {
        Box::pin(async move {
            let witnesses = self.trust.pins.witnesses().to_vec();
            if witnesses.is_empty() {
                return Ok(Vec::new());
            }
            let mut notes = self.client.cosigned().await?;
            notes.truncate(MAX_COSIGNED);
            let mut witnessed = Vec::new();
            for witness in &witnesses {
                let mut most = 0;
                for note in &notes {
                    let size = self.cosigned_size(witness, note, 0).await?;
                    most = most.max(size.unwrap_or(0));
                }
                witnessed.push((witness.name().to_owned(), most));
            }
            Ok(witnessed)
        })
    }

    /// Why which of the witnesses have not cosigned so many entries of this history.
    async fn missing_witnesses(&mut self, needed: u64) -> Result<Vec<NoteError>, ClientError> {
        let mut notes = self.client.cosigned().await?;
        notes.truncate(MAX_COSIGNED);
        let witnesses = self.trust.pins.witnesses().to_vec();
        let mut missing = Vec::new();
        for witness in &witnesses {
            let mut cosigned = false;
            for note in &notes {
                cosigned = cosigned || self.cosigned_size(witness, note, needed).await?.is_some();
            }
            if !cosigned {
                missing.push(NoteError::Unsigned(witness.name().to_owned()));
            }
        }
        Ok(missing)
    }

    /// How many entries of this history a witness has cosigned with this, if it has and they are as many as
    /// are needed.
    async fn cosigned_size(
        &mut self,
        witness: &Verifier,
        note: &str,
        needed: u64,
    ) -> Result<Option<u64>, ClientError> {
        let signed = SignedNote::parse(note).and_then(|note| witness.verify(&note));
        let keys = &self.keys;
        // What a contract on a chain keeps nobody but witnesses has signed: they have seen what a mirror showed.
        let opened = match keys.is_on_chain() {
            true => keys.stated(note),
            false => keys.open(note),
        };
        let (Ok(()), Ok(checkpoint)) = (signed, opened) else { return Ok(None) };
        if checkpoint.size < needed {
            return Ok(None);
        }
        let size = self.size();
        if checkpoint.size <= size {
            return match self.root(checkpoint.size).await? == Some(checkpoint.root) {
                true => Ok(Some(checkpoint.size)),
                false => Err(self.fork("a witness has cosigned another one", note)),
            };
        }
        let proof = self.client.consistency(size, checkpoint.size).await?;
        match self.follower.is_begun_by(&checkpoint, [], &proof) {
            true => Ok(Some(checkpoint.size)),
            false => {
                let what = "what a witness has cosigned is not proven to go on from it";
                Err(self.unproven(what.to_owned(), note, &[]))
            }
        }
    }
}
