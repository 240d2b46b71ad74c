//! `colearn experiment watch`.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;
use colearn::place::Place;
use colearn_contracts::{Act, Decision, ExperimentName};
use colearn_records::history::History;
use colearn_records::record::{DecodedEntry, Record};
use colearn_sdk::client::{ClientError, Patience, Watching};

use super::notices::Notices;
use super::reading::whose;
use crate::cli::args::NodeAddress;
use crate::cli::looking::LookingArgs;
use crate::cli::tell::rounds::RoundTable;
use crate::cli::tell::{json, text};
use crate::ui;

/// How long new entries are waited for at a time: longer than the client waits for any answer.
const QUIET: Duration = Duration::from_secs(75);

#[derive(Args)]
#[command(after_help = "Examples:
  colearn experiment watch digits
  colearn experiment watch digits --json | jq -c 'select(.verdict)'
  colearn experiment watch digits --mine a.pem --exec 'mail -s \"$COLEARN_EVENT\" ann@example.org'

It follows the ledger itself and verifies each entry, like a learner.

--exec runs a command by the shell for what happens from now on, with what happened as JSON on its standard input
and, in the environment, COLEARN_EXPERIMENT, COLEARN_ROUND and COLEARN_EVENT: round, absent (members did not vote),
motion, motion-decided, suspended, paused, finished, alarm (the node has shown what cannot be, or it is followed no
more); with --mine KEY also my-turn and my-vote. One runs after the other, and is ended after a minute.
With --json one object a line: each round as it closes, as in show --json, and what happens beside the
rounds, as outcome or transaction.")]
pub(crate) struct Watch {
    /// The experiment
    name: ExperimentName,
    #[command(flatten)]
    node: NodeAddress,
    /// Run this command for what happens
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Also when it is this key's turn, or its time to vote: a private key, or a public one
    #[arg(long, value_name = "KEY", requires = "exec")]
    mine: Option<String>,
    #[command(flatten)]
    looking: LookingArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Watch {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let (name, node) = (&self.name, &self.node.node);
        if let Some(folder) = Place::new(node).folder().filter(|folder| folder.exists()) {
            let folder = folder.display();
            bail!(
                "watch follows a running node; of a folder: colearn experiment show {name} --from {folder}"
            );
        }
        let mine = self.mine.as_deref().map(whose).transpose()?;
        // Who mistypes an address is told at once; a node that goes away later is waited for.
        let mut watching = self.looking.watching(&Place::new(node)).await?;
        let begin = |command| Notices::begin(command, name.to_string(), mine);
        let notices = self.exec.clone().map(begin).transpose()?;
        let mut telling = Telling::new(&self, notices.as_ref());
        let watched = telling.follow(&mut watching).await;
        if let Err(error) = &watched {
            telling.alarmed(error);
        }
        if let Some(notices) = notices {
            tokio::task::block_in_place(|| notices.end());
        }
        watched.map(|()| ExitCode::SUCCESS)
    }
}

/// What was told so far.
struct Telling<'a> {
    watch: &'a Watch,
    notices: Option<&'a Notices>,
    history: History,
    table: RoundTable,
    /// How many closed rounds were printed.
    printed: usize,
    /// How many entries were looked at.
    next: u64,
    /// Whether everything that was there at the beginning has been told.
    live: bool,
    /// What commands were told of last that is wrong.
    alarm: Option<&'static str>,
}

impl<'a> Telling<'a> {
    fn new(watch: &'a Watch, notices: Option<&'a Notices>) -> Self {
        Self {
            watch,
            notices,
            history: History::new(watch.name.clone()),
            table: RoundTable::default(),
            printed: 0,
            next: 0,
            live: false,
            alarm: None,
        }
    }

    /// Tells what happens until the experiment is over, whatever becomes of the node in between.
    async fn follow(&mut self, watching: &mut Watching) -> anyhow::Result<()> {
        let mut patience = Patience::new(None);
        loop {
            let mut error = match self.go_on(watching).await? {
                ControlFlow::Break(()) => return Ok(()),
                ControlFlow::Continue(error) => Some(error),
            };
            while let Some(wrong) = error.take() {
                self.suspect(&wrong);
                let (reason, pause) = patience.pause_after(wrong)?;
                tracing::warn!(reason, "waiting for the node");
                tokio::time::sleep(pause).await;
                error = watching.recover().await.err();
            }
            patience.renew();
        }
    }

    /// Tells what happens until something is wrong with the node, or the way to it.
    async fn go_on(
        &mut self,
        watching: &mut Watching,
    ) -> anyhow::Result<ControlFlow<(), ClientError>> {
        loop {
            let before = match watching.past(self.next).await {
                Ok(entries) => entries,
                Err(error) => return Ok(ControlFlow::Continue(error)),
            };
            if !before.is_empty() {
                if self.take(&before)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            if !self.live {
                let name = &self.watch.name;
                ensure!(
                    !self.history.is_empty(),
                    "there is no experiment {name}; colearn experiment list shows those that there are"
                );
                tracing::info!(experiment = %name, "caught up");
                self.live = true;
            }
            let entries = match watching.next(QUIET).await {
                Ok(entries) => entries,
                Err(error) => return Ok(ControlFlow::Continue(error)),
            };
            // What was followed otherwise in between is fetched again.
            let is_next = self.next + entries.len() as u64 == watching.followed().size();
            if is_next && self.take(&entries)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Has the command be run for what the node should not have shown.
    fn suspect(&mut self, error: &ClientError) {
        let alarm = ui::alarm(error, ui::now_ms());
        if let Some(alarm) = alarm.filter(|alarm| self.alarm != Some(alarm.kind)) {
            self.alarm = Some(alarm.kind);
            if let Some(notices) = self.notices {
                notices.alarm(&self.history, alarm.kind, &alarm.what, alarm.remedy);
            }
        }
    }

    /// It goes on no more, and no command was told why.
    fn alarmed(&self, error: &anyhow::Error) {
        if let Some(notices) = self.notices.filter(|_| self.alarm.is_none()) {
            let stopped = ui::stopped(error);
            notices.alarm(&self.history, stopped.kind, &stopped.what, stopped.remedy);
        }
    }

    fn take(&mut self, entries: &[bytes::Bytes]) -> anyhow::Result<ControlFlow<()>> {
        // What was wrong is over where the ledger goes on.
        self.alarm = if entries.is_empty() { self.alarm } else { None };
        for entry in entries {
            self.next += 1;
            let decoded = Record::decode(entry)?;
            if decoded.record.experiment() == Some(&self.watch.name)
                && self.tell(&decoded).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn tell(&mut self, decoded: &DecodedEntry) -> ControlFlow<()> {
        let as_json = self.watch.json;
        self.history.record(decoded);
        if let Some(notices) = self.notices.filter(|_| self.live) {
            notices.recorded(decoded, &self.history);
        }
        if !as_json
            && let Record::Transaction(transaction) = &decoded.record
            && let Act::Create(create) = &transaction.action.what
        {
            println!("{}", self.table.begin(create.parameters.merging.is_some()));
        }
        match beside_rounds(&decoded.record, &self.history) {
            Some(_) if as_json => println!("{}", json::happened(decoded)),
            Some(line) => println!("       {line}"),
            None => {}
        }
        for round in self.history.closed().skip(self.printed) {
            match as_json {
                true => println!("{}", round.to_json()),
                false => println!("{}", self.table.line(&self.history, round)),
            }
            self.printed += 1;
        }
        let Some(reason) = self.history.finished else { return ControlFlow::Continue(()) };
        match as_json {
            true => println!("{}", json::happened(decoded)),
            false => println!("{}", text::finished(reason)),
        }
        ControlFlow::Break(())
    }
}

/// What the lines of the rounds do not tell.
fn beside_rounds(record: &Record, history: &History) -> Option<String> {
    match record {
        Record::Outcome(outcome) => match outcome.what {
            Decision::Waiting { .. }
            | Decision::Paused { .. }
            | Decision::Suspended { .. }
            | Decision::MotionOpened { .. }
            | Decision::MotionDecided { .. }
            | Decision::MotionTookEffect { .. } => Some(text::outcome(outcome, &history.names)),
            Decision::RoundOpened { .. }
            | Decision::VotingOpened { .. }
            | Decision::RevealOpened { .. }
            | Decision::RoundClosed { .. }
            | Decision::TrainingOpened { .. }
            | Decision::GatheringOpened { .. }
            | Decision::MergeVotingOpened { .. }
            | Decision::MergeDecided { .. }
            | Decision::Finished { .. } => None,
        },
        Record::Transaction(transaction) => match &transaction.action.what {
            Act::Move { motion, number } => {
                let rules = history.motions.last().and_then(|moved| moved.rules.as_deref());
                Some(format!(
                    "motion {number}: {} moves to {}",
                    text::who(&history.names, transaction.sender),
                    text::motion_against(rules, motion)
                ))
            }
            Act::Create(_)
            | Act::Join(_)
            | Act::Leave { .. }
            | Act::Propose(_)
            | Act::Pass { .. }
            | Act::Vote(_)
            | Act::Commit(_)
            | Act::Reveal(_)
            | Act::Resume { .. }
            | Act::ReplaceKey { .. }
            | Act::MotionVote { .. }
            | Act::Update(_)
            | Act::CommitUpdate(_)
            | Act::RevealUpdate(_)
            | Act::Have { .. }
            | Act::MergeVote(_)
            | Act::RevealMergeVote(_)
            | Act::Stop => None,
            Act::Evaluate(_) => Some(text::entry_action(transaction.sender, &transaction.action)),
        },
        Record::Genesis(_)
        | Record::KeyRotation(_)
        | Record::Upgrade(_)
        | Record::Block(_)
        | Record::ValidatorChange(_) => None,
    }
}
