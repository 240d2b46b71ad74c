//! `colearn round`.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use colearn_audit as audit;
use colearn_audit::explain::{Explanation, explain};
use colearn_audit::merges::MergeReport;
use colearn_contracts::{Act, Decision, ExperimentName, Outcome};
use colearn_records::record::Record;

use super::args::{PlaceArgs, WeightsArgs};
use super::ledger::trouble_at;
use super::tell::{json, rounds, text};

#[derive(Args)]
#[command(after_help = "Examples:
  colearn round 7 --from http://127.0.0.1:7400
  colearn round 7 --experiment xray --from colearn-data --explain
  colearn round 7 --from colearn-export --merges colearn-data")]
pub(crate) struct RoundArgs {
    /// The round
    round: u64,
    /// The experiment [default: the ledger's only one]
    #[arg(long, value_name = "NAME")]
    experiment: Option<ExperimentName>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Draw again who trained, and show from what; of a merged round also what was sent, who said what, and
    /// why it has its verdict; and, where the weights are at hand, what became of each update
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    weights: WeightsArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RoundArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let place = self.place.from.one()?;
        let experiment = match &self.experiment {
            Some(experiment) => experiment.clone(),
            None => only_experiment(place)?,
        };
        let explained = explain(&mut *audit::open(place)?, &experiment, self.round)?;
        if self.explain || self.weights.are_named() {
            let computed = self.computed(place, &explained)?;
            let (round, computed) = (self.round, computed.as_ref());
            if self.json {
                println!("{}", json::explanation(&experiment, round, &explained, computed));
            } else {
                print!("{}", rounds::explanation(&experiment, round, &explained, computed));
            }
            return Ok(ExitCode::SUCCESS);
        }
        entries(place, &experiment, self.round, explained.index, self.json)
    }

    /// The merges of a merged round that is over, computed again, if the weights are at hand.
    fn computed(
        &self,
        place: &str,
        explained: &Explanation,
    ) -> anyhow::Result<Option<MergeReport>> {
        let merged = explained.merged.as_ref().and_then(|merged| merged.recorded.as_ref());
        let Some(merged) = merged else { return Ok(None) };
        let weights = self.weights.weights_beside(place, merged.bytes())?;
        Ok(weights.map(|weights| merged.compute(&*weights)))
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
            Record::Genesis(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => None,
        };
        let mine = of == Some(experiment);
        if mine && json {
            println!("{}", json::entry(&decoded, &bytes));
        } else if mine {
            println!("{}", text::entry(&decoded));
        }
        let over = matches!(&decoded.record, Record::Outcome(Outcome { what: Decision::RoundClosed { round: closed, .. }, .. })
            if mine && *closed == round);
        if over {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
