//! `colearn round`.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use colearn_audit as audit;
use colearn_audit::explain::{Explanation, explain};
use colearn_contracts::{Act, Decision, ExperimentName, Outcome, Selection};
use colearn_records::record::Record;
use serde_json::json;

use super::ledger::{describe, describe_json, trouble_at};

#[derive(Args)]
#[command(after_help = "Examples:
  colearn round 7 --from http://127.0.0.1:7400
  colearn round 7 --experiment xray --from colearn-data --explain")]
pub(crate) struct RoundArgs {
    /// The round
    round: u64,
    /// The experiment [default: the ledger's only one]
    #[arg(long, value_name = "NAME")]
    experiment: Option<ExperimentName>,
    /// A node's data folder, an exported folder, or a node's URL
    #[arg(
        long,
        env = "COLEARN_NODE",
        default_value = "http://127.0.0.1:7400",
        value_name = "PLACE"
    )]
    from: String,
    /// Draw the proposer again, and show from what
    #[arg(long)]
    explain: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RoundArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let experiment = match self.experiment {
            Some(experiment) => experiment,
            None => only_experiment(&self.from)?,
        };
        let explained = explain(&mut *audit::open(&self.from)?, &experiment, self.round)?;
        if self.explain {
            if self.json {
                println!("{}", to_json(&experiment, self.round, &explained));
            } else {
                print!("{}", to_text(&experiment, self.round, &explained));
            }
            return Ok(ExitCode::SUCCESS);
        }
        entries(&self.from, &experiment, self.round, explained.index, self.json)
    }
}

/// The name of a ledger's experiment, if it has one only.
fn only_experiment(place: &str) -> anyhow::Result<ExperimentName> {
    let mut source = audit::open(place)?;
    let mut found = None;
    for entry in audit::entries(&mut *source, u64::MAX) {
        let (_, bytes) = entry.map_err(trouble_at(place))?;
        if let Record::Transaction(transaction) = Record::decode(&bytes)?.record
            && let Act::Create(_) = transaction.action.what
        {
            if found.is_some() {
                bail!("the ledger has several experiments; name one with --experiment");
            }
            found = Some(transaction.action.experiment);
        }
    }
    match found {
        Some(name) => Ok(name),
        None => bail!("the ledger has no experiment yet"),
    }
}

/// Prints the entries of a round.
fn entries(
    place: &str,
    experiment: &ExperimentName,
    round: u64,
    first: u64,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut source = audit::open(place)?;
    for entry in audit::entries(&mut *source, u64::MAX) {
        let (index, bytes) = entry.map_err(trouble_at(place))?;
        if index < first {
            continue;
        }
        let decoded = Record::decode(&bytes)?;
        let of = match &decoded.record {
            Record::Transaction(transaction) => Some(&transaction.action.experiment),
            Record::Outcome(outcome) => Some(&outcome.experiment),
            Record::Genesis(_) | Record::KeyRotation(_) | Record::Upgrade(_) => None,
        };
        let mine = of == Some(experiment);
        if mine && json {
            println!("{}", describe_json(&decoded, &bytes));
        } else if mine {
            println!("{}", describe(&decoded));
        }
        let over = matches!(&decoded.record, Record::Outcome(Outcome { what: Decision::RoundClosed { round: closed, .. }, .. })
            if mine && *closed == round);
        if over {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn to_text(experiment: &ExperimentName, round: u64, explained: &Explanation) -> String {
    let mut text = format!("round {round} of {experiment}, opened by entry {}\n", explained.index);
    match explained.selection {
        Selection::RoundRobin => text += "selection   by turns, in joining order\n",
        Selection::Sortition => {
            text += &format!(
                "selection   sortition: the first 16 bytes of SHA-256 over\n\
                 \x20             \"colearn/v1/sortition\\n\"\n\
                 \x20             ledger  {}\n\
                 \x20             head    {} (leaf hash of entry {})\n\
                 \x20             name    {} bytes, {experiment}\n\
                 \x20             round   {round}\n\
                 \x20           modulo {} candidates gives {}\n",
                explained.ledger,
                explained.head,
                explained.head_index,
                experiment.as_str().len(),
                explained.candidates.len(),
                explained.drawn
            );
        }
    }
    for (at, candidate) in explained.candidates.iter().enumerate() {
        let mark = if at == explained.drawn { "*" } else { " " };
        text += &format!("{mark} {at:>4}  {candidate}\n");
    }
    let recorded = if explained.candidates.get(explained.drawn) == Some(&explained.proposer) {
        "as recorded"
    } else {
        "NOT as recorded"
    };
    text + &format!("proposer    {} ({recorded})\n", explained.proposer)
}

fn to_json(experiment: &ExperimentName, round: u64, explained: &Explanation) -> serde_json::Value {
    let candidates: Vec<String> = explained.candidates.iter().map(ToString::to_string).collect();
    json!({
        "experiment": experiment.to_string(),
        "round": round,
        "index": explained.index,
        "selection": match explained.selection {
            Selection::RoundRobin => "round_robin",
            Selection::Sortition => "sortition",
        },
        "ledger": explained.ledger.to_string(),
        "head": explained.head.to_string(),
        "head_index": explained.head_index,
        "candidates": candidates,
        "drawn": explained.drawn,
        "proposer": explained.proposer.to_string(),
    })
}
