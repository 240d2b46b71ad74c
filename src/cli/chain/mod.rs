//! `colearn chain`.

mod deploy;
mod price;
mod status;
mod submit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use colearn_light::Trust;
use colearn_relay::{Account, Deliverer, Rpc, Settings};
use serde_json::json;

use self::deploy::Deploy;
pub(super) use self::deploy::wait;
use self::submit::Submit;

#[derive(Subcommand)]
pub(crate) enum Chain {
    /// Make an account that pays on a chain, in a new file, and print its address.
    #[command(after_help = "Example:
  colearn chain account --prefix fetch --out relay.pem

The key is a secp256k1 one in PEM, readable by you only. Whoever has the file has the money. Give each node an
account of its own, with about what it needs: what several sign for at the same time is refused.")]
    Account {
        /// What the chain's addresses begin with
        #[arg(long, value_name = "TEXT")]
        prefix: String,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Begin a ledger on a chain: put the contract there, and print what others need to know of it.
    Deploy(Deploy),
    /// Print the newest header as the chain's server says: what to trust, once others have the same.
    #[command(after_help = "Example:
  colearn chain trust --chain chain.toml

What is printed can be pasted into chain.toml, but a server of the chain says it, who may lie, also of how long the
header is to be trusted: compare the whole line with what the others that take part see.")]
    Trust {
        #[command(flatten)]
        chain: ChainFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how the chain is, what it proves of the ledger, what the account has, and what rounds cost.
    #[command(after_help = "Examples:
  colearn chain status --chain chain.toml
  colearn chain status --json

The exit code is 1 if the chain has halted, or if it does not prove what chain.toml trusts.")]
    Status {
        #[command(flatten)]
        chain: ChainFile,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Deliver what learners have signed to the contract oneself.
    Submit(Submit),
}

/// Which chain, and who pays there.
#[derive(Args)]
pub(crate) struct ChainFile {
    /// The file that says which chain, where its servers are, and who pays (relay/README.md)
    #[arg(long = "chain", default_value = "chain.toml", value_name = "FILE")]
    path: PathBuf,
}

/// Those settings, and who is asked.
struct Opened {
    settings: Settings,
    rpc: Rpc,
}

impl ChainFile {
    fn open(&self) -> anyhow::Result<Opened> {
        let settings = Settings::read(&self.path)?;
        let rpc = settings.servers()?;
        Ok(Opened { settings, rpc })
    }
}

impl Opened {
    fn deliverer(&self) -> anyhow::Result<Deliverer> {
        let account = self.settings.open_account()?;
        Ok(Deliverer::new(self.rpc.clone(), &self.settings, account))
    }

    fn contract(&self) -> anyhow::Result<&str> {
        self.settings
            .contract
            .as_deref()
            .context("the settings name no contract; colearn chain deploy makes one")
    }
}

impl Chain {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Account { prefix, out, json } => account(&prefix, &out, json),
            Self::Deploy(deploy) => deploy.run().await,
            Self::Trust { chain, json } => trust(&chain.open()?, json).await,
            Self::Status { chain, json } => status::run(&chain.open()?, json).await,
            Self::Submit(submit) => submit.run().await,
        }
    }
}

fn account(prefix: &str, out: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let account = Account::generate()?;
    // Before there is a file: a prefix that is none leaves nothing.
    let address = account.address(prefix)?;
    account.save(out)?;
    match json {
        true => println!("{}", json!({ "address": address })),
        false => println!("{address}"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn trust(opened: &Opened, json: bool) -> anyhow::Result<ExitCode> {
    let trust = opened.rpc.pin(opened.contract()?).await?;
    match json {
        true => {
            println!("{}", json!({ "server": opened.rpc.server(), "trust": trust.to_string() }))
        }
        false => tell_trust(&trust, opened.rpc.server()),
    }
    Ok(ExitCode::SUCCESS)
}

/// As a line of `chain.toml`.
fn tell_trust(trust: &Trust, server: &str) {
    println!("trust = \"{trust}\"");
    println!(
        "# {server} says so: compare the whole line with what somebody else sees before you trust it."
    );
}
