//! `colearn top`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{anyhow, bail, ensure};
use clap::Args;
use colearn_contracts::ExperimentName;

use super::args::PlaceArgs;
use super::looking::{self, LookingArgs};
use super::signals::{Hangups, Signals};
use crate::top;
use crate::ui::Shared;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn top
  colearn top digits --node https://node.example:7400 --key a.pem
  colearn top --node http://127.0.0.1:7400 --ledger cdf1c20e... --witness 'w1+...'
  colearn top --from colearn-data

It shows what colearn ui shows, in the terminal: it follows the ledger itself and verifies each entry, like a learner,
and v tells item by item what was verified. Arrows and enter choose an experiment, tab another part of it, esc leads
back, ? tells the other keys, q ends it. NO_COLOR has it draw without colours. docs/page.md has more.")]
pub(crate) struct Top {
    /// The experiment to show [default: the list of all]
    #[arg(value_name = "NAME")]
    experiment: Option<ExperimentName>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    looking: LookingArgs,
}

impl Top {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        super::keep_to_oneself();
        let name = self.experiment.as_ref().map_or("NAME", ExperimentName::as_str);
        ensure!(
            io::stdin().is_terminal() && io::stdout().is_terminal(),
            "colearn top draws in a terminal, and this is none; without one: colearn experiment watch {name}, or for \
             programs: colearn experiment show {name} --json"
        );
        ensure!(
            std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            "this terminal (TERM=dumb) cannot be drawn on; without one: colearn experiment watch {name}"
        );
        let (mut signals, mut hangups) = (Signals::catch()?, Hangups::catch()?);
        let place = self.place.from.to_string();
        let (view, watching) = tokio::select! {
            opened = self.looking.open(&place) => opened?,
            asked = signals.asked() => return Ok(asked.exit_code()),
            () = hangups.next() => return Ok(ExitCode::FAILURE),
        };
        if let Some(name) = self.experiment.as_ref().filter(|name| view.experiment(name).is_none())
        {
            bail!(
                "there is no experiment {name}; colearn experiment list shows those that there are"
            );
        }
        let shared = Arc::new(Shared::new(view));
        // Keys are heard while it verifies.
        let following = tokio::spawn(looking::follow(watching, shared.clone()));
        tokio::select! {
            shown = top::show(shared, self.experiment, &mut signals, &mut hangups) => shown?,
            ended = following => return Err(match ended {
                Ok(()) => anyhow!("the ledger is not followed any more"),
                Err(error) => anyhow!("following the ledger failed: {error}"),
            }),
        }
        Ok(ExitCode::SUCCESS)
    }
}
