//! `colearn ledger`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use colearn_audit::{self as audit, Trouble};
use colearn_contracts::{
    Act, Decision, ExperimentName, Motion, Outcome, PauseReason, Reveal, Scores, SuspendReason,
};
use colearn_ledger::{Checkpoint, Exporter, Forgotten, Hash, Receipt, TreeBuilder, Verifier, tree};
use colearn_records::history::unit;
use colearn_records::plan::Plan;
use colearn_records::record::{DecodedEntry, Record};
use serde::Serialize;
use serde_json::json;

use super::audit::progress_bar;
use super::table::short;

#[derive(Subcommand)]
pub(crate) enum Ledger {
    /// Print entries, one a line. Nothing is verified; use `colearn audit` for that.
    #[command(after_help = "Examples:
  colearn ledger show colearn-data
  colearn ledger show http://127.0.0.1:7400 --start 100 --count 20 --json")]
    Show {
        /// A node's data folder (it may be running), an exported folder, or a node's URL
        place: String,
        /// The first entry
        #[arg(long, default_value_t = 0, value_name = "INDEX")]
        start: u64,
        /// How many entries [default: all]
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Write the ledger as static files that any web server can serve: C2SP tlog-tiles.
    #[command(after_help = "Examples:
  colearn ledger export public --from colearn-data
  colearn ledger export public --from http://127.0.0.1:7400

What is there already is left alone; a second export writes only what is new.")]
    Export {
        /// The folder to write to
        dir: PathBuf,
        /// A node's data folder (it may be running), an exported folder, or a node's URL
        #[arg(long, default_value = "http://127.0.0.1:7400", value_name = "PLACE")]
        from: String,
    },
    /// Make a receipt for an entry: the proof that the signed ledger holds it (C2SP tlog-proof).
    #[command(after_help = "Example:
  colearn ledger proof 42 --from colearn-data --out 42.tlog-proof

Beside the receipt, with the ending .entry, the entry itself is written.")]
    Proof {
        /// The entry
        index: u64,
        /// A node's data folder (it may be running), an exported folder, or a node's URL
        #[arg(long, default_value = "http://127.0.0.1:7400", value_name = "PLACE")]
        from: String,
        /// The receipt's file [default: INDEX.tlog-proof]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a receipt offline, against nothing but the ledger's key.
    #[command(after_help = "Example:
  colearn ledger verify-receipt 42.tlog-proof --key 'colearn/0011223344556677+...'")]
    VerifyReceipt {
        /// The receipt (tlog-proof)
        file: PathBuf,
        /// The ledger's verifier key
        #[arg(long, value_name = "VKEY")]
        key: String,
        /// The entry the receipt is for [default: the receipt's file with the ending .entry]
        #[arg(long, value_name = "FILE")]
        entry: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Ledger {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Show { place, start, count, json } => show(&place, start, count, json),
            Self::Export { dir, from } => export(&dir, &from),
            Self::Proof { index, from, out } => {
                let out = out.unwrap_or_else(|| format!("{index}.tlog-proof").into());
                proof(index, &from, &out)
            }
            Self::VerifyReceipt { file, key, entry, json } => {
                let entry = entry.unwrap_or_else(|| file.with_extension("entry"));
                verify_receipt(&file, &key, &entry, json)
            }
        }
    }
}

/// What stops reading a place, with what to do about it.
pub(crate) fn trouble_at(place: &str) -> impl Fn(Trouble) -> anyhow::Error {
    move |trouble| match trouble {
        Trouble::Unreadable(error) => error.into(),
        Trouble::Damaged { index, what } => {
            anyhow!("entry {index} is damaged: {what}; run: colearn audit {place}")
        }
    }
}

fn show(place: &str, start: u64, count: Option<u64>, json: bool) -> anyhow::Result<ExitCode> {
    let end = count.map_or(u64::MAX, |count| start.saturating_add(count));
    for entry in audit::entries(&mut *audit::open(place)?, end) {
        let (index, bytes) = entry.map_err(trouble_at(place))?;
        if index < start {
            continue;
        }
        let decoded = Record::decode(&bytes)
            .map_err(|error| anyhow!("entry {index}: {error}; run: colearn audit {place}"))?;
        if json {
            println!("{}", describe_json(&decoded, &bytes));
        } else {
            println!("{}", describe(&decoded));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The signed checkpoint of a place, verified with the ledger's key.
fn signed_checkpoint(place: &str) -> anyhow::Result<(Checkpoint, String)> {
    audit::signed_checkpoint(&mut *audit::open(place)?)
        .with_context(|| format!("{place} cannot be trusted; run: colearn audit {place}"))
}

fn export(dir: &Path, place: &str) -> anyhow::Result<ExitCode> {
    let (checkpoint, note) = signed_checkpoint(place)?;
    let bar = progress_bar("exporting");
    bar.set_length(checkpoint.size);
    let mut exporter = Exporter::new(dir);
    for entry in audit::entries(&mut *audit::open(place)?, checkpoint.size) {
        let (index, bytes) = entry.map_err(trouble_at(place))?;
        bar.set_position(index + 1);
        exporter.push(&bytes)?;
    }
    bar.finish_and_clear();
    let written = exporter.finish(&note)?;
    println!("exported {} entries to {}, {written} files written", checkpoint.size, dir.display());
    Ok(ExitCode::SUCCESS)
}

fn proof(index: u64, place: &str, out: &Path) -> anyhow::Result<ExitCode> {
    let (checkpoint, note) = signed_checkpoint(place)?;
    if index >= checkpoint.size {
        bail!("entry {index} does not exist; the ledger has {}", checkpoint.size);
    }
    let mut tree = TreeBuilder::new();
    let mut wanted = Vec::new();
    let mut source = audit::open(place)?;
    for entry in audit::entries(&mut *source, checkpoint.size) {
        let (at, bytes) = entry.map_err(trouble_at(place))?;
        tree.push(Hash::leaf(&bytes));
        if at == index {
            wanted = bytes;
        }
    }
    let path = loop {
        match tree::inclusion(&tree, index, checkpoint.size) {
            Ok(path) => break path,
            Err(Forgotten(tile)) => {
                let leaves = source.leaves(tile).map_err(|trouble| match trouble {
                    Trouble::Unreadable(error) => error.into(),
                    Trouble::Damaged { index, what } => anyhow!("entry {index}: {what}"),
                })?;
                if !tree.recall(tile, leaves) {
                    bail!("{place} gave other entries the second time");
                }
            }
        }
    };
    let receipt = Receipt { index, path, checkpoint: note };
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write(out, receipt.to_text().as_bytes())?;
    write(&out.with_extension("entry"), &wanted)?;
    println!("wrote {} and its entry", out.display());
    Ok(ExitCode::SUCCESS)
}

fn verify_receipt(file: &Path, key: &str, entry: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let verifier = Verifier::parse(key)?;
    let receipt = Receipt::parse(&String::from_utf8_lossy(&read(file)?))?;
    let entry = read(entry).context("a receipt is checked with its entry: --entry FILE")?;
    let checkpoint = receipt.verify(Hash::leaf(&entry), &verifier)?;
    let decoded = Record::decode(&entry)?;
    if decoded.index != receipt.index {
        bail!("the entry says it is {}, the receipt {}", decoded.index, receipt.index);
    }
    if json {
        let receipt = json!({
            "index": receipt.index,
            "size": checkpoint.size,
            "root": checkpoint.root.to_string(),
            "entry": describe_json(&decoded, &entry),
        });
        println!("{receipt}");
    } else {
        println!("{}", describe(&decoded));
        println!(
            "RECEIPT OK index={} size={} root={}",
            receipt.index, checkpoint.size, checkpoint.root
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn scores(scores: Scores) -> String {
    let text = |name: &str, value: Option<i64>| match value {
        Some(value) => format!(" {name} {:.3}", unit(value)),
        None => String::new(),
    };
    text("vote score", scores.vote) + &text("test score", scores.test)
}

/// What a motion is to do.
pub(crate) fn describe_motion(motion: &Motion) -> String {
    match motion {
        Motion::SetParameters(parameters) => {
            let plan = Plan {
                name: None,
                parameters: (**parameters).clone(),
                limits_weights: true,
                admission: None,
            };
            format!("set {}", plan.to_text().trim_end().replace('\n', ", "))
        }
        Motion::Admit(share) => format!("admit {} with weight {}", share.learner, share.weight),
        Motion::Suspend(learner) => format!("suspend {learner}"),
        Motion::Expel(learner) => format!("expel {learner}"),
        Motion::Stop => "stop".to_owned(),
    }
}

/// A decision of the contract.
pub(crate) fn describe_outcome(outcome: &Outcome) -> String {
    let experiment = &outcome.experiment;
    match &outcome.what {
        Decision::RoundOpened { round, proposer, .. } => {
            format!("{experiment} round {round} opened, proposer {}", short(*proposer))
        }
        Decision::VotingOpened { round, electorate, .. } => {
            format!("{experiment} round {round}: {electorate} may vote")
        }
        Decision::RevealOpened { round, committed, .. } => {
            format!("{experiment} round {round}: {committed} may reveal")
        }
        Decision::RoundClosed { round, verdict, approvals, rejections, electorate, .. } => format!(
            "{experiment} round {round} {verdict:?}: {approvals} for, {rejections} against, of \
             {electorate}"
        ),
        Decision::Waiting { members, min_learners } => {
            format!("{experiment} waits: {members} of {min_learners} members")
        }
        Decision::Paused { reason } => format!(
            "{experiment} pauses: {}",
            match reason {
                PauseReason::NobodyProposes => "nobody has proposed for too long",
                PauseReason::BudgetsSpent => "every member's privacy budget is spent",
            }
        ),
        Decision::Suspended { learner, reason } => format!(
            "{experiment}: {} {}",
            short(*learner),
            match reason {
                SuspendReason::MissedTurns => "is suspended, having missed too many turns",
                SuspendReason::Decided => "is suspended by the members",
                SuspendReason::Expelled => "is expelled by the members",
            }
        ),
        Decision::MotionOpened { number, electorate, .. } => {
            format!("{experiment} motion {number}: {electorate} may vote")
        }
        Decision::MotionDecided { number, adopted, approvals, rejections, electorate } => format!(
            "{experiment} motion {number} {}: {approvals} for, {rejections} against, of {electorate}",
            if *adopted { "adopted" } else { "rejected" }
        ),
        Decision::MotionTookEffect { number } => {
            format!("{experiment} motion {number} is in effect")
        }
        Decision::Finished { reason, rounds, model } => {
            format!("{experiment} finished ({reason:?}) after {rounds} rounds: {model}")
        }
    }
}

/// An entry on one line.
pub(crate) fn describe(decoded: &DecodedEntry) -> String {
    let what = match &decoded.record {
        Record::Genesis(genesis) => format!("genesis      {}", genesis.origin),
        Record::KeyRotation(rotation) => {
            let [from, to] = [&rotation.old_public_key, &rotation.new_public_key].map(hex::encode);
            format!("node         changes its key from {from} to {to}")
        }
        Record::Upgrade(upgrade) => {
            let version = upgrade.contract_version;
            format!("node         has new experiments follow version {version} of the rules")
        }
        Record::Transaction(transaction) => {
            let experiment = &transaction.action.experiment;
            let action = match &transaction.action.what {
                Act::Create(create) => {
                    format!("creates {experiment} with model {}", create.model.digest)
                }
                Act::Join { .. } => format!("joins {experiment}"),
                Act::Leave { .. } => format!("leaves {experiment}"),
                Act::Propose(proposal) => format!(
                    "proposes in {experiment} round {}: {}{}",
                    proposal.round,
                    proposal.weights.digest,
                    scores(proposal.scores)
                ),
                Act::Pass { round, exhausted } => format!(
                    "passes {experiment} round {round}{}",
                    if *exhausted { ", its privacy budget is spent" } else { "" }
                ),
                Act::Commit(commit) => {
                    format!("commits to a ballot in {experiment} round {}", commit.round)
                }
                Act::Reveal(Reveal { vote, .. }) => format!(
                    "reveals that it {} in {experiment} round {}{}",
                    if vote.approve { "approves" } else { "rejects" },
                    vote.round,
                    scores(vote.scores)
                ),
                Act::Resume { .. } => format!("resumes {experiment}"),
                Act::ReplaceKey { to } => {
                    format!("goes on as {} in {experiment}", short(*to))
                }
                Act::Move { number, motion } => {
                    format!("moves in {experiment}, motion {number}: {}", describe_motion(motion))
                }
                Act::MotionVote { number, approve } => format!(
                    "{} motion {number} in {experiment}",
                    if *approve { "approves" } else { "rejects" }
                ),
                Act::Vote(vote) => format!(
                    "{} in {experiment} round {}{}",
                    if vote.approve { "approves" } else { "rejects" },
                    vote.round,
                    scores(vote.scores)
                ),
                Act::Stop => format!("stops {experiment}"),
            };
            format!("{}     {action}", short(transaction.sender))
        }
        Record::Outcome(outcome) => format!("contract     {}", describe_outcome(outcome)),
    };
    format!(
        "{:>8}  {}  {what}",
        decoded.index,
        humantime::format_rfc3339_millis(time(decoded.time_ms))
    )
}

fn time(time_ms: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_millis(time_ms.min(i64::MAX as u64 / 1000))
}

pub(crate) fn describe_json(decoded: &DecodedEntry, bytes: &[u8]) -> serde_json::Value {
    let record = match &decoded.record {
        Record::Genesis(genesis) => json!({ "genesis": { "origin": genesis.origin } }),
        Record::Transaction(transaction) => json!({ "transaction": {
            "sender": transaction.sender.to_string(),
            "seen_size": transaction.seen.size,
            "action": readable(flat(&transaction.action.what, &transaction.action.experiment)),
        } }),
        Record::KeyRotation(rotation) => json!({ "key_rotation": {
            "from": hex::encode(&rotation.old_public_key),
            "to": hex::encode(&rotation.new_public_key),
        } }),
        Record::Upgrade(upgrade) => json!({ "upgrade": { "version": upgrade.contract_version } }),
        Record::Outcome(outcome) => {
            json!({ "outcome": readable(flat(&outcome.what, &outcome.experiment)) })
        }
    };
    json!({
        "index": decoded.index,
        "time_ms": decoded.time_ms,
        "leaf_hash": Hash::leaf(bytes).to_string(),
        "bytes": bytes.len(),
        "record": record,
    })
}

/// An action or decision as one object under its kind, with the experiment among its fields.
fn flat(what: impl Serialize, experiment: &ExperimentName) -> serde_json::Value {
    use serde_json::Value;
    let mut kinds = match serde_json::to_value(what).unwrap_or_default() {
        Value::Object(kinds) => kinds,
        // A kind without fields of its own.
        kind => json!({ kind.as_str().unwrap_or_default(): {} })
            .as_object()
            .cloned()
            .unwrap_or_default(),
    };
    if let Some(vote) = kinds.remove("MotionVote") {
        kinds.insert("Ballot".to_owned(), vote);
    }
    for (kind, fields) in &mut kinds {
        match kind.as_str() {
            "Create" => fields["name"] = json!(experiment),
            "Reveal" => fields["vote"]["experiment"] = json!(experiment),
            _ => fields["experiment"] = json!(experiment),
        }
    }
    Value::Object(kinds)
}

/// Writes arrays of 32 bytes, which are keys and digests, as hex.
fn readable(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Array(items) => {
            let bytes: Option<Vec<u8>> = items
                .iter()
                .map(|item| item.as_u64().and_then(|byte| u8::try_from(byte).ok()))
                .collect();
            match bytes {
                Some(bytes) if bytes.len() == 32 => Value::String(hex::encode(bytes)),
                _ => Value::Array(items.into_iter().map(readable).collect()),
            }
        }
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, readable(value))).collect())
        }
        other => other,
    }
}
