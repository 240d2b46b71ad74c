//! What a node of several says of itself and of the others, and changes of who they are on their way in.

use std::sync::PoisonError;
use std::time::Duration;

use colearn_comet::process::Ailment;
use colearn_comet::rpc::Client;
use colearn_ledger::SignedNote;
use colearn_records::convert::BadField;
use colearn_records::log_keys::KeyChange;
use colearn_records::transaction::Invalid;
use serde_json::{Value, json};

use super::Submissions;
use super::ordered::{self, Ordered};
use crate::order::Answers;
use crate::refusal::Refusal;

/// The longest change of who keeps the ledger.
pub(crate) const MAX_CHANGE_BYTES: usize = colearn_records::record::MAX_PAYLOAD_BYTES;

/// How long CometBFT is asked for its peers: whoever wants to know that wants to know the rest, too.
const PEERS_PATIENCE: Duration = Duration::from_secs(1);

/// A node of several, as it is asked how it is.
pub(crate) struct Network {
    submissions: Submissions,
}

/// A node of several in numbers.
pub(crate) struct Standing {
    /// Of the last block that is durable here.
    pub(crate) height: u64,
    /// How many keep the ledger.
    pub(crate) nodes: usize,
    /// To how many others CometBFT is connected; `None` where it does not say.
    pub(crate) peers: Option<usize>,
    /// How many transactions wait.
    pub(crate) waiting: usize,
    /// Whether it goes on with the others.
    pub(crate) in_step: bool,
}

/// Why a node does not go on. Others may.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Nothing is ordered.
    #[error(
        "{waiting} transactions wait, and no block came for {} s: fewer than two thirds of the nodes \
         are there, or this one does not reach them",
        .idle.as_secs()
    )]
    Stuck {
        /// How many wait.
        waiting: usize,
        /// Since when no block came.
        idle: Duration,
    },
    /// It was started over.
    #[error(
        "this node was started over and has {has} entries; before it had signed {of}, and until these are here \
         again it signs nothing"
    )]
    StartedOver {
        /// How many are here.
        has: u64,
        /// How many must be.
        of: u64,
    },
    /// CometBFT does not take part.
    #[error("{0}; see comet/log in the data folder")]
    Comet(Ailment),
    /// The first block is not due.
    #[error(
        "the chain begins in {} s by this node's clock: that is the time of the entry from which on several keep the \
         ledger. If nobody meant that, this clock is behind, or that of whoever has made the entry was ahead",
        .0.as_millis().div_ceil(1000)
    )]
    NotBegun(Duration),
    /// Too many others have another history.
    #[error("{by} of the {of} nodes have signed another history than this one")]
    Contradicted {
        /// How many have.
        by: usize,
        /// How many there are.
        of: usize,
    },
}

impl Network {
    pub(super) fn new(submissions: Submissions) -> Self {
        Self { submissions }
    }

    /// Why it does not go on here, if it does not.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let Submissions { application, signatures, health, .. } = &self.submissions;
        if let Some((by, of)) = signatures.contradiction(application.shown.published_size()) {
            return Some(Trouble::Contradicted { by, of });
        }
        if let Some(of) = application.before.pending() {
            return Some(Trouble::StartedOver { has: *application.committed.borrow(), of });
        }
        if let Some(ailment) = health.ailment() {
            return Some(Trouble::Comet(ailment));
        }
        if let Some(ahead) = application.not_begun() {
            return Some(Trouble::NotBegun(ahead));
        }
        let idle = application.stuck()?;
        Some(Trouble::Stuck { waiting: application.waiting.count(), idle })
    }

    /// How it is, in numbers. For a moment it may wait for a block that is being recorded, and for CometBFT.
    pub(crate) fn standing(&self) -> Standing {
        let Submissions { application, rpc, .. } = &self.submissions;
        let rpc = Client::with_patience(rpc.socket().to_owned(), PEERS_PATIENCE);
        // Each by itself: within the struct's expression the locks would be held until the last field is there, which
        // asks for them, too, and while CometBFT is asked.
        let height = application.blocks().height();
        let nodes = application.keys.borrow().validators().map_or(0, |them| them.iter().count());
        Standing {
            height,
            nodes,
            peers: rpc.net_info().ok().map(|peers| peers.len()),
            waiting: application.waiting.count(),
            in_step: self.trouble().is_none(),
        }
    }

    /// How it is, in JSON. For a moment it may wait for a block that is being recorded.
    pub(crate) fn report(&self) -> Value {
        let Submissions { application, signatures, .. } = &self.submissions;
        let keys = application.keys.borrow().clone();
        let published = application.shown.published().borrow().clone();
        let (published_size, signed) = published.map_or((0, 0), |it| {
            let size = it.checkpoint.size;
            let note = SignedNote::parse(&it.note);
            // As many as are known: no more are asked for than are needed.
            let by = note.map_or(0, |note| keys.at(size).signed(&note).map_or(0, |by| by.len()));
            (size, by)
        });
        let them = keys.validators();
        let listed = them.into_iter().flat_map(|them| them.iter());
        let own = listed.clone().find(|it| it.log_key() == signatures.own().key());
        let validators: Vec<Value> = listed
            .map(|it| json!({ "name": it.name(), "url": it.url(), "node_id": it.node_id() }))
            .collect();
        let pace = application.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let idle_ms = pace.idle_ms(application.clock.now_ms());
        drop(pace);
        let blocks = application.blocks();
        let (height, caught) = (blocks.height(), json!(blocks.caught()));
        drop(blocks);
        json!({
            "name": own.map(|own| own.name()),
            "version": env!("CARGO_PKG_VERSION"),
            "height": height,
            "size": *application.committed.borrow(),
            "published_size": published_size,
            "signed": signed,
            "quorum": keys.current().quorum(),
            "validators": validators,
            "tolerated": them.map(|them| them.tolerated()),
            "contradicted": signatures.contradicted(),
            "clocks_ahead_ms": signatures.skews(),
            "caught": caught,
            "waiting": application.waiting.count(),
            "idle_ms": idle_ms,
            "trouble": self.trouble().map(|trouble| trouble.to_string()),
        })
    }

    /// Has a change of who keeps the ledger recorded, given the payload of its entry.
    ///
    /// # Errors
    /// If it is none, or not approved by those whose consent it needs, as far as this node knows: anybody may
    /// send them, and what enters here takes room in everybody's blocks.
    pub(crate) fn submit_change(&self, payload: &[u8]) -> Result<Answers, Refusal> {
        let Some(Ordered::Change(change)) = ordered::read(payload) else {
            return Err(
                Invalid::from(BadField("payload, which is to be a validator change")).into()
            );
        };
        let mut keys = (**self.submissions.application.keys.borrow()).clone();
        let size = *self.submissions.application.committed.borrow();
        keys.follow(size, &KeyChange::Validators((*change).clone()))
            .map_err(|bad| Refusal::NoChange(bad.to_string()))?;
        self.submissions.submit_change(&change)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
