//! What the page is told of: a ledger's verified entries, and what has become of each experiment.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use bytes::Bytes;
use colearn_audit::AuditReport;
use colearn_contracts::{Contract, Experiment, ExperimentName};
use colearn_records::follower::{Depth, Follower};
use colearn_records::history::History;
use colearn_records::log_keys::LogKeys;
use colearn_records::pins::Pins;
use colearn_sdk::client::ProvenEnd;
use tokio::sync::watch;

use super::book::Book;
use super::pace::Pace;

/// Where the entries come from.
pub(crate) enum Place {
    /// A node, whose ledger is followed. Its address.
    Node(String),
    /// A folder that was audited. Its path.
    Folder(String),
    /// The node in whose process this is, which says what is shown. Its ledger's name.
    Own(String),
}

/// How the place is reached.
pub(crate) enum Connection {
    /// What it has is here, and what comes next comes at once.
    Live,
    /// It is not reached; what is here stays.
    Away {
        /// Since when, in ms since 1970.
        since_ms: u64,
        /// Why.
        reason: String,
    },
    /// It is not followed any more, since trying again does not help; what is here stays.
    Ended {
        /// Since when, in ms since 1970.
        since_ms: u64,
    },
    /// It is being read for the first time.
    Reading {
        /// How many entries there are to read.
        size: u64,
    },
    /// It was read once, and is not read again.
    Read {
        /// When, in ms since 1970.
        at_ms: u64,
    },
}

/// That somebody has lied, or the program cannot go on.
pub(crate) struct Alarm {
    /// Which it is, for programs.
    pub(crate) kind: &'static str,
    /// Since when, in ms since 1970.
    pub(crate) since_ms: u64,
    /// What was found.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: &'static str,
    /// Whether what was verified here is still worth something.
    pub(crate) withdraws: bool,
}

impl Alarm {
    /// It in a few words.
    pub(crate) fn title(&self) -> &'static str {
        match self.kind {
            "fork" => "FORK: the ledger has two histories",
            "rolled_back" => "ROLLED BACK: the node shows less than it had",
            "broken_rules" => "The ledger breaks its own rules",
            "other_ledger" => "This is another ledger",
            "not_proven" => "The node sends what its ledger has not signed",
            "audit_failed" => "The audit has failed",
            _ => "Nothing new is followed",
        }
    }
}

/// What there is to tell beside the entries.
pub(crate) struct Told {
    pub(crate) place: Place,
    pub(crate) connection: Connection,
    pub(crate) alarm: Option<Alarm>,
    /// The checkpoint that counts the entries, as it was signed.
    pub(crate) checkpoint: String,
    /// What was insisted on.
    pub(crate) pins: Pins,
    /// Whether a key's memory says which ledger it is, and what it had.
    pub(crate) remembered: bool,
    /// How many entries each witness that is insisted on has cosigned.
    pub(crate) witnesses: Vec<(String, u64)>,
    /// What the audit of a folder came to.
    pub(crate) audit: Option<AuditReport>,
    /// What the public chain that keeps the ledger has proven of what was followed.
    pub(crate) proven: Option<ProvenEnd>,
}

impl Told {
    /// At the beginning.
    pub(crate) fn of(place: Place, pins: Pins, remembered: bool) -> Self {
        let connection = match place {
            Place::Node(_) => Connection::Live,
            Place::Folder(_) => Connection::Read { at_ms: now_ms() },
            Place::Own(_) => Connection::Reading { size: 0 },
        };
        Self {
            place,
            connection,
            alarm: None,
            checkpoint: String::new(),
            pins,
            remembered,
            witnesses: Vec::new(),
            audit: None,
            proven: None,
        }
    }
}

/// What has become of an experiment.
pub(crate) struct Tale {
    pub(crate) history: History,
    pub(crate) pace: Pace,
    /// The entry that created it.
    pub(crate) created: u64,
    /// When something happened in it last, in ms of ledger time.
    pub(crate) last_ms: u64,
}

/// A ledger as it is shown.
pub(crate) struct View {
    pub(crate) book: Book,
    /// Runs the contract, and knows the ledger's keys; `None` before the first entry.
    follower: Option<Follower>,
    pub(crate) tales: BTreeMap<ExperimentName, Tale>,
    /// When the last entry was recorded, in ms of ledger time.
    pub(crate) last_ms: u64,
    pub(crate) told: Told,
}

impl View {
    /// One without entries.
    ///
    /// # Errors
    /// If there is no room for temporary files.
    pub(crate) fn new(told: Told) -> std::io::Result<Self> {
        Ok(Self::over(Book::new()?, told))
    }

    /// One without entries, which go into this book.
    pub(crate) fn over(book: Book, told: Told) -> Self {
        Self { book, follower: None, tales: BTreeMap::new(), last_ms: 0, told }
    }

    /// The contract after the entries so far.
    pub(crate) fn contract(&self) -> Option<&Contract> {
        self.follower.as_ref().and_then(Follower::contract)
    }

    /// An experiment, and what has become of it.
    pub(crate) fn experiment(&self, name: &ExperimentName) -> Option<(&Experiment, &Tale)> {
        Some((self.contract()?.experiment(name)?, self.tales.get(name)?))
    }

    /// The keys that sign the ledger's checkpoints.
    pub(crate) fn keys(&self) -> Option<&LogKeys> {
        self.follower.as_ref().map(Follower::keys)
    }

    /// Adds entries that were verified.
    ///
    /// # Errors
    /// If they cannot be kept; and if they cannot be followed, which those that were verified can.
    pub(crate) fn take(&mut self, entries: &[Bytes]) -> anyhow::Result<()> {
        let begin = self.book.size();
        self.book
            .push(entries)
            .map_err(|error| anyhow!("cannot keep entries in a temporary file: {error}"))?;
        for (index, bytes) in (begin..).zip(entries) {
            self.follow(index, bytes).map_err(|error| anyhow!("entry {index}: {error}"))?;
        }
        Ok(())
    }

    fn follow(&mut self, index: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let follower = match &mut self.follower {
            Some(follower) => follower,
            none => none.insert(Follower::new(Depth::Replay, bytes)?),
        };
        let entry = follower.reader().read(bytes.to_vec());
        follower.follow(&entry)?;
        let Some(decoded) = entry.decoded() else { return Ok(()) };
        self.last_ms = decoded.time_ms;
        let Some(name) = decoded.record.experiment() else { return Ok(()) };
        let tale = self.tales.entry(name.clone()).or_insert_with(|| Tale {
            history: History::new(name.clone()),
            pace: Pace::default(),
            created: index,
            last_ms: 0,
        });
        tale.history.record(decoded);
        tale.pace.record(decoded);
        tale.last_ms = decoded.time_ms;
        Ok(())
    }
}

/// A view that one task changes and others read, and who waits for changes.
pub(crate) struct Shared {
    view: RwLock<View>,
    /// Grows with each change.
    revision: watch::Sender<u64>,
    /// Whether nobody is to wait for changes any more.
    over: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn new(view: View) -> Self {
        let (revision, over) = (watch::Sender::new(1), watch::Sender::new(false));
        Self { view: RwLock::new(view), revision, over }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and tells who waits.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let changed = change(&mut self.view.write().unwrap_or_else(PoisonError::into_inner));
        self.revision.send_modify(|revision| *revision += 1);
        changed
    }

    /// The number of the last change.
    pub(crate) fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Is told of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Has everybody go who waits for changes.
    pub(crate) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Resolves when nobody is to wait any more.
    pub(crate) async fn ended(&self) {
        // It fails when the sender has gone, and that is here.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }
}

/// This machine's clock, in ms since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
