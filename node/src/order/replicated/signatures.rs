//! Checkpoints that more than two thirds of the nodes have signed.
//!
//! Each node signs what is durable on its own disk. Whoever wants to show a checkpoint asks the others for
//! theirs of the same size: `GET /checkpoint/<size>` waits until that is durable there. No quorum, no
//! receipt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Hash, Reader, SignedCheckpoint, SignedNote, Signer, Verifier};
use colearn_records::follower::Blocks;
use colearn_records::log_keys::LogKeys;
use colearn_records::record::Record;
use colearn_records::validators::Validator;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::application::Application;
use super::before::Before;
use super::peers::{self, Answer};
use crate::https::Servers;

/// How far ahead of a node it may be asked to sign: it waits until it is there.
pub(crate) const MAX_AHEAD: u64 = 1_000;
/// How long a node waits until it has what it is asked to sign.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// After an answer that was none, another node is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How far two clocks may differ, in ms. CometBFT takes no block from more than a minute ahead, and a deadline
/// is over when the clocks of most say so.
const MAX_SKEW_MS: i64 = 5_000;
/// For how many sizes the lines of others are kept, to be handed on.
const KEPT_SIZES: usize = 64;

/// Signs for this node, and knows what others have signed.
pub(crate) struct Signatures {
    signer: Signer,
    reader: Reader,
    committed: watch::Receiver<u64>,
    keys: watch::Receiver<Arc<LogKeys>>,
    /// The lines of others that verify, by size.
    lines: Mutex<BTreeMap<u64, Vec<(Verifier, String)>>>,
    /// Who has signed another history than this one, and of how many entries at most.
    contradicted: Mutex<BTreeMap<String, u64>>,
    /// Whose clock shows another time, by so many ms.
    skews: Mutex<BTreeMap<String, i64>>,
    /// The others.
    servers: Servers,
    /// What must come before it signs.
    before: Arc<Before>,
    /// Where evidence is kept: a node that is started anew has not forgotten.
    data: PathBuf,
}

/// What another node says about a size.
enum Said {
    /// These lines are right, and of this history.
    Lines(Vec<(Verifier, String)>),
    /// It has signed another root.
    OtherRoot,
    /// Nothing that can be used.
    Nothing(String),
}

impl Signatures {
    pub(super) fn new(
        signer: Signer,
        reader: Reader,
        committed: watch::Receiver<u64>,
        keys: watch::Receiver<Arc<LogKeys>>,
        before: Arc<Before>,
        data: PathBuf,
    ) -> Self {
        let contradicted = Mutex::new(evidence(&data));
        let (lines, skews) = (Mutex::default(), Mutex::default());
        let servers = Servers::default();
        Self { signer, reader, committed, keys, lines, contradicted, skews, servers, before, data }
    }

    /// This node's note of the first `size` entries, when they are durable here, with the lines of others
    /// that it knows; `None` if that takes too long, or no block ends there.
    pub(crate) async fn note(&self, size: u64) -> Result<Option<String>, colearn_ledger::Error> {
        let mut committed = self.committed.clone();
        let there = *committed.borrow_and_update();
        if size == 0 || size > there.saturating_add(MAX_AHEAD) || self.before.pending().is_some() {
            return Ok(None);
        }
        let reached = committed.wait_for(|there| *there >= size);
        if !matches!(tokio::time::timeout(PATIENCE, reached).await, Ok(Ok(_))) {
            return Ok(None);
        }
        // Of a block all is signed or nothing, whoever asks: a checkpoint within one would be a fault.
        let last = Record::decode(&self.reader.entry(size - 1)?);
        if !last.is_ok_and(|last| Blocks::behind(&last).is_some()) {
            return Ok(None);
        }
        let root = self.reader.root(size)?;
        let text = self.text(size, root);
        let mut note = format!("{text}\n{}", self.signer.sign(&text, 0));
        for (_, line) in self.lines().get(&size).into_iter().flatten() {
            note.push_str(line);
        }
        Ok(Some(note))
    }

    fn text(&self, size: u64, root: Hash) -> String {
        let origin = self.signer.verifier().name().to_owned();
        Checkpoint { origin, size, root }.text()
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<(Verifier, String)>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that this node signs with.
    pub(super) fn own(&self) -> &Verifier {
        self.signer.verifier()
    }

    /// The nodes that have signed another history than this one.
    pub(super) fn contradicted(&self) -> Vec<String> {
        let contradicted = self.contradicted.lock().unwrap_or_else(PoisonError::into_inner);
        contradicted.keys().cloned().collect()
    }

    /// Notes what another node's clock shows while this one's shows `now_ms`, and warns when they come to differ.
    fn compare_clocks(&self, name: &str, clock_ms: u64, now_ms: u64) {
        let ms = |time_ms: u64| i64::try_from(time_ms).unwrap_or(i64::MAX);
        let skew_ms = ms(clock_ms).saturating_sub(ms(now_ms));
        let mut skews = self.skews.lock().unwrap_or_else(PoisonError::into_inner);
        if skew_ms.abs() < MAX_SKEW_MS {
            skews.remove(name);
        } else if skews.insert(name.to_owned(), skew_ms).is_none() {
            let differs_s = skew_ms as f64 / 1000.0;
            tracing::warn!(
                node = name,
                differs_s,
                "another node's clock shows another time than this one's; see to NTP: blocks from a minute \
                 ahead are refused"
            );
        }
    }

    /// Whose clock shows another time than this node's, and by how many ms it is ahead.
    pub(super) fn skews(&self) -> BTreeMap<String, i64> {
        self.skews.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many contradict this node, and of how many, if these are more than a third: then there is no quorum
    /// for what this node has. What enough have signed with it since is contradicted no longer.
    pub(super) fn contradiction(&self, published: u64) -> Option<(usize, usize)> {
        let keys = self.keys.borrow().clone();
        let them = keys.validators()?;
        let contradicted = self.contradicted.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |it: &&Validator| contradicted.get(it.name()).is_some_and(|at| *at > published);
        let (by, of) = (them.iter().filter(since).count(), them.count());
        (3 * by > of).then_some((by, of))
    }

    /// Looks at what a node has answered.
    fn judge(&self, from: &Validator, keys: &LogKeys, own: &Checkpoint, note: &str) -> Said {
        let parsed = match SignedNote::parse(note) {
            Ok(parsed) => parsed,
            Err(error) => return Said::Nothing(error.to_string()),
        };
        let stated = match Checkpoint::parse(parsed.text()) {
            Ok(stated) => stated,
            Err(error) => return Said::Nothing(error.to_string()),
        };
        if (&stated.origin, stated.size) != (&own.origin, own.size) {
            return Said::Nothing("it answered something else than it was asked".to_owned());
        }
        if stated.root != own.root {
            // Only its own word is held against it.
            let key = Verifier::new(&own.origin, KeyKind::Log, *from.log_key());
            return match key.is_ok_and(|key| key.verify(&parsed).is_ok()) {
                true => {
                    self.keep_evidence(from, own, note);
                    Said::OtherRoot
                }
                false => Said::Nothing("it answered with another root, and not signed".to_owned()),
            };
        }
        let of = keys.at(own.size);
        match of.signed(&parsed) {
            Ok(signed) => Said::Lines(
                signed
                    .into_iter()
                    .filter_map(|key| Some((key.clone(), parsed.line_of(key)?)))
                    .collect(),
            ),
            Err(error) => Said::Nothing(error.to_string()),
        }
    }

    /// Keeps the first of each node, which is enough: it could sign another history at every size.
    fn keep_evidence(&self, from: &Validator, own: &Checkpoint, note: &str) {
        let size = own.size;
        let mut contradicted = self.contradicted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = contradicted.get(from.name()).copied();
        contradicted.insert(from.name().to_owned(), size.max(before.unwrap_or(0)));
        drop(contradicted);
        if before.is_some() {
            return;
        }
        let path = evidence_path(&self.data, size, from.name());
        let text = own.text();
        let ours = format!("{text}\n{}", self.signer.sign(&text, 0));
        let kept = std::fs::write(&path, format!("{ours}\n{note}"));
        tracing::error!(
            node = from.name(),
            size,
            evidence = %path.display(),
            kept = kept.is_ok(),
            "a node has signed another history than this one"
        );
    }

    fn remember(&self, size: u64, new: Vec<(Verifier, String)>) {
        let mut lines = self.lines();
        let known = lines.entry(size).or_default();
        for (key, line) in new {
            if key != *self.signer.verifier() && !known.iter().any(|(other, _)| *other == key) {
                known.push((key, line));
            }
        }
        while lines.len() > KEPT_SIZES {
            lines.pop_first();
        }
    }

    /// The checkpoint with as many lines as it needs, this node's first; `None` if there are too few.
    fn gathered(&self, own: &Checkpoint, keys: &LogKeys) -> Option<SignedCheckpoint> {
        let of = keys.at(own.size);
        let text = own.text();
        let mut signed: Vec<String> = Vec::new();
        if of.contains(self.signer.verifier()) && self.before.pending().is_none() {
            signed.push(self.signer.sign(&text, 0));
        }
        for (_, line) in self.lines().get(&own.size).into_iter().flatten() {
            // Readers of notes take sixteen lines: none more than is needed.
            if signed.len() < of.quorum() {
                signed.push(line.clone());
            }
        }
        let note = format!("{text}\n{}", signed.concat());
        let checkpoint = of.open(&note).ok()?;
        Some(SignedCheckpoint { checkpoint, note })
    }
}

/// Where it is kept that a node has signed another history.
fn evidence_path(data: &Path, size: u64, name: &str) -> PathBuf {
    data.join(format!("fork-{size}-{name}.txt"))
}

/// Who has signed another history before this node was started, and of how many entries.
fn evidence(data: &Path) -> BTreeMap<String, u64> {
    let files = std::fs::read_dir(data).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    let read = |name: String| {
        let (size, by) = name.strip_prefix("fork-")?.strip_suffix(".txt")?.split_once('-')?;
        Some((by.to_owned(), size.parse().ok()?))
    };
    names.filter_map(read).collect()
}

/// Has each newest state signed by enough nodes, and shown, until the node stops.
pub(super) async fn gather(
    application: Arc<Application>,
    signatures: Arc<Signatures>,
    stopping: CancellationToken,
) {
    let mut committed = application.committed.subscribe();
    loop {
        if *committed.borrow_and_update() > application.shown.published_size() {
            // What is newer would do for this, too; but this first, or under load nothing would ever be signed.
            tokio::select! {
                () = stopping.cancelled() => return,
                () = gather_one(&application, &signatures) => {}
            }
            continue;
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = committed.changed() => if changed.is_err() { return },
        }
    }
}

/// Asks each node once to sign what is newest, until enough have.
pub(super) async fn gather_one(application: &Application, signatures: &Arc<Signatures>) {
    let size = application.shown.ask();
    let keys = signatures.keys.borrow().clone();
    let own = match signatures.reader.root(size) {
        Ok(root) => {
            let origin = signatures.signer.verifier().name().to_owned();
            Arc::new(Checkpoint { origin, size, root })
        }
        Err(error) => {
            tracing::error!(%error, "the ledger's root cannot be read");
            tokio::time::sleep(PAUSE).await;
            return;
        }
    };
    let (sender, mut heard) = mpsc::channel(64);
    let me = *signatures.signer.verifier().key();
    let others = keys.validators().into_iter().flat_map(|them| them.iter());
    for other in others.filter(|it| *it.log_key() != me) {
        tokio::spawn(ask(signatures.servers.clone(), other.clone(), size, sender.clone()));
    }
    drop(sender);
    let started = tokio::time::Instant::now();
    loop {
        if let Some(signed) = signatures.gathered(&own, &keys) {
            let signed = Arc::new(signed);
            application.shown.publish(&signed);
            application.waiting.signed(&signed);
            return;
        }
        match tokio::time::timeout(PATIENCE, heard.recv()).await {
            Ok(Some((from, Ok(Answer { text: note, clock_ms })))) => {
                if let Some(clock_ms) = clock_ms {
                    signatures.compare_clocks(from.name(), clock_ms, application.clock.now_ms());
                }
                match signatures.judge(&from, &keys, &own, &note) {
                    Said::Lines(lines) => signatures.remember(size, lines),
                    Said::OtherRoot => {}
                    Said::Nothing(why) => {
                        tracing::warn!(node = from.name(), why, "no signature of a checkpoint");
                    }
                }
            }
            Ok(Some((from, Err(why)))) => {
                tracing::debug!(node = from.name(), why, "no signature of a checkpoint");
            }
            // All were asked, or it takes long: the newest is asked for, which may be this one again.
            Ok(None) | Err(_) => {
                if started.elapsed() < PAUSE {
                    tokio::time::sleep(PAUSE).await;
                }
                return;
            }
        }
    }
}

/// Asks a node for its note of a size.
async fn ask(
    servers: Servers,
    validator: Validator,
    size: u64,
    heard: mpsc::Sender<(Validator, Result<Answer, String>)>,
) {
    let answer = peers::get(&servers, validator.url(), &format!("/checkpoint/{size}")).await;
    // Nobody listens once enough have signed.
    let _ = heard.send((validator, answer)).await;
}
