//! `colearn ledger`.

use std::process::ExitCode;

use clap::Subcommand;
use colearn::audit::{self, Trouble};
use colearn::history::unit;
use colearn::record::{Placed, Record};
use colearn_contracts::{Action, Outcome, Scores};
use colearn_ledger::Hash;
use serde_json::json;

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
}

impl Ledger {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Self::Show { place, start, count, json } = self;
        let mut source = audit::open(&place)?;
        let end = count.map_or(u64::MAX, |count| start.saturating_add(count));
        let mut index = 0;
        while index < end {
            let entries = match source.next_entries(end) {
                Ok(entries) => entries,
                Err(Trouble::Unreadable(error)) => return Err(error.into()),
                Err(Trouble::Damaged { index, what }) => {
                    anyhow::bail!("entry {index} is damaged: {what}; run: colearn audit {place}")
                }
            };
            if entries.is_empty() {
                break;
            }
            for bytes in entries {
                if index >= start && index < end {
                    let placed = Record::decode(&bytes).map_err(|error| {
                        anyhow::anyhow!("entry {index}: {error}; run: colearn audit {place}")
                    })?;
                    if json {
                        println!("{}", describe_json(&placed, &bytes));
                    } else {
                        println!("{}", describe(&placed));
                    }
                }
                index += 1;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn scores(scores: Scores) -> String {
    let text = |name: &str, value: Option<i64>| match value {
        Some(value) => format!(" {name} {:.3}", unit(value)),
        None => String::new(),
    };
    text("vote score", scores.vote) + &text("test score", scores.test)
}

/// An entry on one line.
fn describe(placed: &Placed) -> String {
    let what = match &placed.record {
        Record::Genesis(genesis) => format!("genesis      {}", genesis.origin),
        Record::Transaction(transaction) => {
            let action = match &transaction.action {
                Action::Create(create) => {
                    format!("creates {} with model {}", create.name, create.model.digest)
                }
                Action::Join { experiment, .. } => format!("joins {experiment}"),
                Action::Leave { experiment, .. } => format!("leaves {experiment}"),
                Action::Propose(proposal) => format!(
                    "proposes in {} round {}: {}{}",
                    proposal.experiment,
                    proposal.round,
                    proposal.weights.digest,
                    scores(proposal.scores)
                ),
                Action::Pass { experiment, round } => format!("passes {experiment} round {round}"),
                Action::Vote(vote) => format!(
                    "{} in {} round {}{}",
                    if vote.approve { "approves" } else { "rejects" },
                    vote.experiment,
                    vote.round,
                    scores(vote.scores)
                ),
                Action::Stop { experiment } => format!("stops {experiment}"),
            };
            format!("{}     {action}", short(transaction.sender))
        }
        Record::Outcome(outcome) => {
            let text = match outcome {
                Outcome::RoundOpened { experiment, round, proposer, .. } => {
                    format!("{experiment} round {round} opened, proposer {}", short(*proposer))
                }
                Outcome::VotingOpened { experiment, round, electorate, .. } => {
                    format!("{experiment} round {round}: {electorate} may vote")
                }
                Outcome::RoundClosed {
                    experiment,
                    round,
                    verdict,
                    approvals,
                    rejections,
                    electorate,
                    ..
                } => format!(
                    "{experiment} round {round} {verdict:?}: {approvals} for, {rejections} against, \
                     of {electorate}"
                ),
                Outcome::Waiting { experiment, members, min_learners } => {
                    format!("{experiment} waits: {members} of {min_learners} members")
                }
                Outcome::Finished { experiment, reason, rounds, model } => {
                    format!("{experiment} finished ({reason:?}) after {rounds} rounds: {model}")
                }
            };
            format!("contract     {text}")
        }
    };
    format!(
        "{:>8}  {}  {what}",
        placed.index,
        humantime::format_rfc3339_millis(time(placed.time_ms))
    )
}

fn time(time_ms: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_millis(time_ms.min(i64::MAX as u64 / 1000))
}

fn describe_json(placed: &Placed, bytes: &[u8]) -> serde_json::Value {
    let record = match &placed.record {
        Record::Genesis(genesis) => json!({ "genesis": { "origin": genesis.origin } }),
        Record::Transaction(transaction) => json!({ "transaction": {
            "sender": transaction.sender.to_string(),
            "seen_size": transaction.seen.size,
            "action": readable(serde_json::to_value(&transaction.action).unwrap_or_default()),
        } }),
        Record::Outcome(outcome) => {
            json!({ "outcome": readable(serde_json::to_value(outcome).unwrap_or_default()) })
        }
    };
    json!({
        "index": placed.index,
        "time_ms": placed.time_ms,
        "leaf_hash": Hash::leaf(bytes).to_string(),
        "bytes": bytes.len(),
        "record": record,
    })
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
