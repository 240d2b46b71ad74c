//! `colearn experiment show`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use colearn::plot;
use colearn_audit::ChainReport;
use colearn_audit::experiments::Told;
use colearn_contracts::ExperimentName;
use colearn_records::pins::Pins;

use super::reading::Reading;
use crate::cli::args::{PinArgs, PlaceArgs};
use crate::cli::tell::rounds::RoundTable;
use crate::cli::tell::{json, text};

#[derive(Args)]
#[command(after_help = "Examples:
  colearn experiment show digits --plot digits.svg
  colearn experiment show digits --from colearn-export
  colearn experiment show digits --trust fetchhub-4/19000000/5e1f.../1209600s/9ab3.../fetch1...

A node is asked and says what it has. A folder is audited first, and shown as of its signed checkpoint; so is what a
node has, where something is insisted on.")]
pub(crate) struct Show {
    /// The experiment
    name: ExperimentName,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    pins: PinArgs,
    /// Draw scores and votes to this file (.svg, .png or .html)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { name, place, pins, plot, json } = self;
        if let Some(path) = &plot {
            plot::check_path(path)?;
        }
        let reading = Reading::open(&place.from, &pins.pins(&Pins::default())?).await?;
        let told = reading.told(&name).await?;
        let chain = reading.chain().await?;
        if json {
            let mut shown = json::experiment(&told.state, Some(&told.history));
            if let Some(chain) = &chain {
                shown["chain"] = serde_json::to_value(chain)?;
            }
            println!("{}", serde_json::to_string_pretty(&shown)?);
        } else {
            tell(&told, chain.as_ref());
        }
        if let Some(path) = plot {
            let kept = chain.as_ref().map(text::kept_on_chain);
            let notes = kept.map_or_else(Vec::new, |(keeper, proof)| vec![keeper, proof]);
            plot::write(&told.history, None, &notes, &path)?;
            eprintln!("plot written to {}", path.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn tell(Told { state: experiment, history }: &Told, chain: Option<&ChainReport>) {
    let model = &experiment.model;
    println!("experiment  {} ({})", experiment.name, text::phase(&experiment.phase));
    if let Some(chain) = chain {
        let (keeper, proof) = text::kept_on_chain(chain);
        println!("ledger      {keeper}\n            {proof}");
    }
    println!("creator     {}", text::who(&history.names, experiment.creator));
    println!("model       {} ({} bytes, {})", model.digest, model.size, model.media_type);
    println!("version     {} of the rules", experiment.version);
    println!("members     {}", experiment.member_count);
    println!(
        "decide      {} of the {} votes of all that are admitted",
        experiment.parameters.governance(experiment.version),
        experiment.governing_weight
    );
    for (at, line) in text::plan_of(experiment).to_text().lines().skip(1).enumerate() {
        println!("{}{line}", if at == 0 { "rules       " } else { "            " });
    }
    for moved in &history.motions {
        let open = experiment.motions.iter().find(|open| open.number == moved.number);
        println!("motion      {}", text::moved(moved, open, &history.names));
    }
    println!();
    let mut table = RoundTable::default();
    for round in &history.rounds {
        println!("{}", table.line(history, round));
    }
    println!("\n{}", text::learner_table(history).trim_end());
    if !history.evaluations.is_empty() {
        println!("\n{}", text::evaluation_table(history).trim_end());
    }
}
