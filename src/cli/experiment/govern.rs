//! What members decide, and other single words to the ledger: `move`, `ballot`, `leave`, `resume`,
//! `stop`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use colearn_contracts::{Act, Action, ExperimentName, Invitation, LearnerId, Motion};
use colearn_records::keys;
use colearn_sdk::client::{Client, Described, Memory};

use super::rules::{Rules, parse_share};
use crate::cli::args::NodeAddress;

/// Who signs an action, and of which experiment.
#[derive(Args)]
pub(crate) struct ActionArgs {
    /// The experiment
    name: String,
    #[command(flatten)]
    node: NodeAddress,
    /// The private key to sign with
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl ActionArgs {
    /// Signs and submits what the experiment's state asks for, and says it in a line.
    pub(crate) async fn act(
        &self,
        done: &str,
        act: impl FnOnce(&Described) -> anyhow::Result<Act>,
    ) -> anyhow::Result<ExitCode> {
        let key = keys::load(&self.key)?;
        let name: ExperimentName = self.name.parse()?;
        let mut client = Client::connect(&self.node.node, Memory::default()).await?;
        let known = client.experiment(&name, Some(keys::learner_id(&key))).await?;
        let action = Action::new(name, act(&known)?);
        let submitted = client.act(&key, action).await?;
        println!("{done} {}, entry {}", self.name, submitted.receipt.index);
        Ok(ExitCode::SUCCESS)
    }

    pub(crate) async fn stop(self) -> anyhow::Result<ExitCode> {
        self.act("stopped", |_| Ok(Act::Stop)).await
    }

    pub(crate) async fn leave(self) -> anyhow::Result<ExitCode> {
        self.act("left", |known| {
            let term = known.member.as_ref().map_or(0, |member| member.term);
            Ok(Act::Leave { term })
        })
        .await
    }

    pub(crate) async fn resume(self) -> anyhow::Result<ExitCode> {
        self.act("resumed", |known| Ok(Act::Resume { round: known.experiment.round })).await
    }

    pub(crate) async fn ballot(self, number: u64, approve: bool) -> anyhow::Result<ExitCode> {
        let done = if approve { "approved a motion in" } else { "rejected a motion in" };
        self.act(done, |_| Ok(Act::MotionVote { number, approve })).await
    }
}

#[derive(Args)]
#[command(after_help = "Examples:
  colearn experiment move xray --key a.pem set --threshold 2/3 --missed-turns 5
  colearn experiment move xray --key a.pem admit 3b6a27bc...=2
  colearn experiment move xray --key a.pem expel d75a9801...
  colearn experiment move xray --key a.pem stop

The other members vote with: colearn experiment ballot NAME NUMBER approve --key FILE")]
pub(crate) struct MoveArgs {
    #[command(flatten)]
    action: ActionArgs,
    #[command(subcommand)]
    motion: MotionArg,
}

#[derive(Subcommand)]
enum MotionArg {
    /// Go on under changed rules; what is not given stays
    Set(Box<Rules>),
    /// Let a learner join, also one that was expelled
    Admit {
        /// Its public key, and what its vote weighs if not 1
        #[arg(value_name = "PUBLIC_KEY[=WEIGHT]", value_parser = parse_share)]
        learner: Invitation,
    },
    /// Suspend a member; it may rejoin
    Suspend {
        /// Its public key
        #[arg(value_name = "PUBLIC_KEY", value_parser = keys::parse_learner_id)]
        learner: LearnerId,
    },
    /// Expel a member
    Expel {
        /// Its public key
        #[arg(value_name = "PUBLIC_KEY", value_parser = keys::parse_learner_id)]
        learner: LearnerId,
    },
    /// End the experiment
    Stop,
}

impl MoveArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { action, motion } = self;
        action
            .act("moved a motion in", |known| {
                let state = &known.experiment;
                let motion = match motion {
                    MotionArg::Set(rules) => {
                        let mut parameters = state.parameters.clone();
                        rules.apply(&mut parameters)?;
                        Motion::SetParameters(Box::new(parameters))
                    }
                    MotionArg::Admit { learner } => Motion::Admit(learner),
                    MotionArg::Suspend { learner } => Motion::Suspend(learner),
                    MotionArg::Expel { learner } => Motion::Expel(learner),
                    MotionArg::Stop => Motion::Stop,
                };
                let number = state.last_motion + 1;
                println!("motion {number}");
                Ok(Act::Move { number, motion })
            })
            .await
    }
}
