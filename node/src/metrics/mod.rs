//! What a running node tells in numbers, as OpenMetrics (docs/operations.md has the table).
//!
//! Nearly all is gathered when somebody asks, from what is there anyway: pictures of the state, what is open, what lies
//! on the disk. A scrape takes no lock that whoever orders waits for longer than a reader's.

mod chronicle;
mod counts;
mod experiments;
mod family;
mod process;

use std::fmt;
use std::path::PathBuf;
#[cfg(unix)]
use std::sync::Arc;

use colearn_contracts::LearnerId;

use self::family::Families;
use crate::artifacts::ArtifactStore;
use crate::clock;
use crate::disk::DiskReserve;
use crate::door::calls::Calls;
use crate::door::connections::Slots;
use crate::http::health::Health;
#[cfg(unix)]
use crate::order::replicated::Network;
use crate::reads::Reads;
use crate::view::Views;
use crate::witness::Cosignatures;

pub(crate) use self::chronicle::Chronicle;
pub(crate) use self::counts::{Class, Counts};

/// What a member is called in metrics and logs: enough of its key that nobody finds another that begins so, and its
/// beginning is what the commands print.
pub(crate) fn key_id(learner: &LearnerId) -> String {
    hex::encode(&learner.0[..8])
}

/// All that is looked at when somebody asks.
pub(crate) struct Metrics {
    pub(crate) counts: Counts,
    pub(crate) chronicle: Chronicle,
    pub(crate) views: Views,
    pub(crate) reads: Reads,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) cosignatures: Cosignatures,
    pub(crate) slots: Slots,
    pub(crate) calls: Calls,
    pub(crate) disk: DiskReserve,
    pub(crate) health: Health,
    /// Where the ledger's files are.
    pub(crate) journal: PathBuf,
    /// How this node is, where several keep the ledger.
    #[cfg(unix)]
    pub(crate) network: Option<Arc<Network>>,
}

impl Metrics {
    /// Everything, in OpenMetrics' text form. May wait for the disk.
    ///
    /// # Errors
    /// Never: it is written to memory.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut families = Families::default();
        self.ledger(&mut families);
        self.refusals_and_times(&mut families);
        self.weights(&mut families);
        self.door(&mut families);
        self.disk(&mut families);
        #[cfg(unix)]
        self.network(&mut families);
        let view = self.views.latest();
        experiments::experiments(&mut families, &view, &self.chronicle.told(), clock::now_ms());
        let mut of_process = Families::default();
        process::process(&mut of_process);
        let text = families.text(Some("colearn"))? + &of_process.text(Some("process"))?;
        Ok(text + "# EOF\n")
    }

    fn ledger(&self, families: &mut Families) {
        let view = self.views.latest();
        let labels = [
            ("version", env!("CARGO_PKG_VERSION").into()),
            ("rules", view.version().number().to_string().into()),
        ];
        families.info("build", "The node's version, and that of the rules.").sample(labels, 1_u64);
        families.gauge("ready", "Whether it takes what is submitted.").is(self.health.is_ready());
        families.gauge("ledger_entries", "Durable entries.").is(view.size());
        let signed = self.reads.checkpoint().map(|signed| signed.checkpoint.size);
        let help = "Entries under the last checkpoint that is signed by who must have signed it.";
        families.gauge("checkpoint_entries", help).may_be(signed);
        let help = "What the ledger takes on the disk, without its index.";
        families.gauge("ledger", help).in_bytes().may_be(self.ledger_bytes());
        if let Some(standing) = self.cosignatures.standing() {
            families.gauge("witnesses", "Witnesses that are asked.").is(standing.asked);
            families
                .gauge("witness_quorum", "How many of them make a checkpoint witnessed.")
                .is(standing.quorum);
            let help = "Entries under the last checkpoint that enough witnesses have cosigned.";
            families.gauge("witnessed_entries", help).is(standing.size);
            let help = "When enough had cosigned it, in seconds since 1970.";
            let at = standing.at_ms.map(|at_ms| at_ms as f64 / 1e3);
            families.gauge("witnessed_timestamp", help).in_seconds().may_be(at);
        }
        let told = self.chronicle.told();
        let help = "Entries that the counters below count: they do when all that was there at the start is.";
        families.gauge("followed_entries", help).is(told.followed());
        if !told.is_caught_up() {
            return;
        }
        let help = "When the last entry was recorded, in seconds since 1970.";
        let last = told.last_ms as f64 / 1e3;
        families.gauge("last_entry_timestamp", help).in_seconds().is(last);
        let family = families.counter("entries", "Entries, by what they hold.");
        family.sample([("kind", "transaction".into())], told.acts.values().sum::<u64>());
        family.sample([("kind", "outcome".into())], told.outcomes);
        family.sample([("kind", "other".into())], told.others);
        let family = families.counter("transactions", "Recorded transactions, by what they do.");
        for (act, count) in &told.acts {
            family.sample([("act", (*act).into())], *count);
        }
        let family = families.counter("rounds", "Closed rounds of all experiments, by verdict.");
        for (verdict, count) in &told.rounds {
            family.sample([("verdict", (*verdict).into())], *count);
        }
    }

    fn refusals_and_times(&self, families: &mut Families) {
        let help = "What was refused since the start, by what refuses and why.";
        let family = families.counter("refusals", help);
        for (class, count) in self.counts.refusals() {
            family.sample([("by", class.by().into()), ("class", class.word())], count);
        }
        let [receipts, batches, syncs] = self.counts.histograms();
        let help = "From a transaction's arrival to its receipt: it is durable.";
        families.histogram("receipt", help, receipts).in_seconds();
        let help = "Transactions that were decided together.";
        families.histogram("batch_transactions", help, batches);
        let help = "What it took to make a batch durable.";
        families.histogram("sync", help, syncs).in_seconds();
    }

    fn weights(&self, families: &mut Families) {
        let standing = self.artifacts.standing();
        families.gauge("artifacts", "Weights that are stored, in files.").is(standing.stored);
        let help = "What stored and unfinished weights take.";
        families.gauge("artifacts_stored", help).in_bytes().is(standing.used_bytes);
        let help = "What they may take.";
        families.gauge("artifacts_quota", help).in_bytes().is(standing.quota_bytes);
        families.gauge("uploads_running", "Uploads on their way.").is(standing.running);
        families.counter("uploads", "Uploads that came whole.").is(standing.uploads);
        let help = "Bytes of weights that were uploaded.";
        families.counter("uploaded", help).in_bytes().is(standing.uploaded_bytes);
        let help = "Bytes of weights that were read for others.";
        families.counter("downloaded", help).in_bytes().is(standing.downloaded_bytes);
    }

    fn door(&self, families: &mut Families) {
        let (open, most) = self.slots.taken();
        families.gauge("connections", "Open connections.").is(open);
        families.gauge("connections_limit", "How many there may be.").is(most);
        let taken = self.calls.taken();
        let family =
            families.gauge("calls", "Open calls, by kind; watchers are of the kind watch.");
        for (kind, open, _) in &taken {
            family.sample([("kind", (*kind).into())], *open);
        }
        let family =
            families.gauge("calls_limit", "How many of strangers, or of members, there may be.");
        for (kind, _, most) in &taken {
            family.sample([("kind", (*kind).into())], *most);
        }
    }

    fn disk(&self, families: &mut Families) {
        let help = "Free space on the disk of the data folder.";
        families.gauge("disk_free", help).in_bytes().may_be(self.disk.free());
        let help = "With less than that nothing is taken.";
        families.gauge("disk_reserve", help).in_bytes().is(self.disk.reserved());
    }

    #[cfg(unix)]
    fn network(&self, families: &mut Families) {
        let Some(network) = &self.network else { return };
        let standing = network.standing();
        families
            .gauge("network_height", "The last block that is durable here.")
            .is(standing.height);
        families.gauge("network_nodes", "Nodes that keep the ledger.").is(standing.nodes);
        families
            .gauge("network_peers", "Nodes that this one is connected to.")
            .may_be(standing.peers);
        let help = "Transactions that wait for the other nodes.";
        families.gauge("network_waiting", help).is(standing.waiting);
        let help = "Whether it goes on with the others.";
        families.gauge("network_in_step", help).is(standing.in_step);
    }

    /// What the files of the journal have in bytes.
    fn ledger_bytes(&self) -> Option<u64> {
        let files = std::fs::read_dir(&self.journal).ok()?;
        let sizes = files.filter_map(|file| file.ok()?.metadata().ok());
        Some(sizes.filter(std::fs::Metadata::is_file).map(|data| data.len()).sum())
    }
}
